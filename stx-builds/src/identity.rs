//! The names and addresses of this machine, which must not appear in builds.

use std::collections::BTreeSet;
use std::io::{self};
use std::net::IpAddr;

use stx_publish::Identity;

use crate::error::{Error, ErrorKind};

/// The machine's names and addresses, from the kernel, `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`.
///
/// Name servers are not asked, so that the identity does not depend on their answers.
pub(crate) fn of_this_machine() -> Result<Vec<Identity>, Error> {
    let fail = |what: &str, error: io::Error| {
        Error::new(ErrorKind::Usage, format!("{what}: {error}"))
            .hint("set `enabled = false` in [privacy] to publish without a search for names of this machine")
    };
    let text = |path: &str| match fs_err::read(path) {
        // The names of machines are ASCII; comments beside them may be in any encoding.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(fail("this machine's names cannot be read", error)),
    };
    let node = rustix::system::uname();
    let names = names(
        &node.nodename().to_string_lossy(),
        &text("/etc/hostname")?,
        &text("/etc/hosts")?,
        &text("/etc/resolv.conf")?,
    );
    let interfaces = if_addrs::get_if_addrs()
        .map_err(|error| fail("this machine's addresses cannot be read", error))?;
    let addresses: BTreeSet<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).collect();
    let names = names.into_iter().map(Identity::Machine);
    Ok(names
        .chain(addresses.into_iter().map(Identity::Address))
        .collect())
}

/// The names of the machine with the node name `node`: those on its lines in `/etc/hosts`, and those in its domains.
fn names(node: &str, hostname: &str, hosts: &str, resolv: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = [node, hostname]
        .iter()
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    let own = names.clone();
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let on_line = line.split_whitespace().skip(1).map(str::to_ascii_lowercase);
        let on_line: Vec<_> = on_line.collect();
        if on_line.iter().any(|name| own.contains(name)) {
            names.extend(on_line);
        }
    }
    for line in resolv.lines() {
        let mut words = line.split_whitespace();
        if !matches!(words.next(), Some("domain" | "search")) {
            continue;
        }
        for domain in words.map(|word| word.trim_matches('.').to_ascii_lowercase()) {
            let short = own.iter().filter(|name| !name.contains('.'));
            names.extend(short.map(|name| format!("{name}.{domain}")));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_the_names_of_its_hosts_line_and_domains() {
        let found = names(
            "Yow-Lab7",
            "yow-lab7\n",
            "127.0.0.1 localhost\n10.3.1.7 yow-lab7.corp.example YOW-LAB7 ci # ours\n10.3.1.8 other\n",
            "nameserver 10.3.1.1\nsearch lab.example. corp.example\n",
        );
        let found: Vec<_> = found.into_iter().collect();
        assert_eq!(
            found,
            [
                "ci",
                "yow-lab7",
                "yow-lab7.corp.example",
                "yow-lab7.lab.example"
            ]
        );
        assert!(names("", "\n", "127.0.0.1 localhost", "search x").is_empty());
    }
}
