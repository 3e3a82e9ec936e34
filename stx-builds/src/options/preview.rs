//! The table `[preview]`: the address at which builds offer the files of their finished phases.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserialize;

/// The address and the URL of the preview of a build. The recipe decides if a build has a preview.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct PreviewTable {
    address: SocketAddr,
    host: Option<String>,
    token: bool,
}

impl PreviewTable {
    /// The address to listen on; port 0 means a free one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host and port in the URL of a server that listens on `port`.
    pub fn host(&self, port: u16) -> String {
        match &self.host {
            Some(host) => format!("{host}:{port}"),
            None => SocketAddr::new(self.address.ip(), port).to_string(),
        }
    }

    /// True if the paths of the URL begin with a secret token.
    pub fn token(&self) -> bool {
        self.token
    }
}

impl Default for PreviewTable {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(LOOPBACK, 0),
            host: None,
            token: false,
        }
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    address: Option<IpAddr>,
    port: u16,
    host: Option<String>,
    token: bool,
    public: bool,
}

/// True if an address can be reached only from this machine or a private network.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

impl TryFrom<Table> for PreviewTable {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        let Table {
            address,
            port,
            host,
            token,
            public,
        } = table;
        let address = address.unwrap_or(LOOPBACK);
        if !public && !is_private(address) {
            return Err(format!(
                "`address` {address} is not in a private network: everybody could read a build before it is published; set \
                 `public = true` to allow that"
            ));
        }
        let is_plain = |host: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
            !host.is_empty() && host.bytes().all(plain)
        };
        if let Some(host) = host.as_ref().filter(|host| !is_plain(host)) {
            return Err(format!("`host` must be the name of a host, not {host:?}"));
        }
        Ok(Self {
            address: SocketAddr::new(address, port),
            host,
            token,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PreviewTable, String> {
        crate::options::read_table(text, |options| options.preview)
    }

    #[test]
    fn a_public_address_is_accepted_only_with_the_option_public() {
        for (address, host) in [
            ("127.0.0.1", "127.0.0.1:80"),
            ("127.8.0.1", "127.8.0.1:80"),
            ("10.1.2.3", "10.1.2.3:80"),
            ("172.17.0.1", "172.17.0.1:80"),
            ("192.168.1.1", "192.168.1.1:80"),
            ("169.254.0.1", "169.254.0.1:80"),
            ("::1", "[::1]:80"),
            ("fd00::1", "[fd00::1]:80"),
            ("fe80::1", "[fe80::1]:80"),
        ] {
            let table = read(&format!("[preview]\naddress = \"{address}\"")).expect(address);
            assert_eq!(table.host(80), host);
        }
        for address in [
            "0.0.0.0",
            "::",
            "8.8.8.8",
            "172.32.0.1",
            "100.64.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            let text = format!("[preview]\naddress = \"{address}\"");
            let error = read(&text).expect_err(address);
            assert!(error.contains("everybody could read"), "{error}");
            read(&format!("{text}\npublic = true")).expect(address);
        }
    }

    #[test]
    fn a_configured_host_replaces_the_address_in_urls() {
        let table = read("[preview]\nhost = \"build-1.lab\"\nport = 8088\ntoken = true");
        let table = table.expect("a table");
        assert_eq!(table.host(8088), "build-1.lab:8088");
        assert_eq!(table.address().to_string(), "127.0.0.1:8088");
        assert!(table.token());
        assert_eq!(read(""), Ok(PreviewTable::default()));
        for host in ["", "a/b", "u@h", "h:80"] {
            let error = read(&format!("[preview]\nhost = {host:?}")).expect_err(host);
            assert!(error.contains("the name of a host"), "{error}");
        }
    }
}
