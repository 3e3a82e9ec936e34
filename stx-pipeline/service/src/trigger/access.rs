//! Passes a URL with credentials to git: git gets the URL without them, and a helper that reads them from the environment.
//!
//! Every user of the machine can read arguments, including those of programs that git starts with the given or a rewritten URL.
//! Only a process's own user can read its environment.

use percent_encoding::percent_decode_str;
use stx_layout::{public_url, url_userinfo};

/// Prints the values of the environment. `printf` is built into shells, so no other process sees its arguments.
const HELPER: &str = "!f() { test \"$1\" = get && \
     printf 'username=%s\\npassword=%s\\n' \"$STX_BUILDS_GIT_USER\" \"$STX_BUILDS_GIT_PASSWORD\"; }; f";

/// The argument and the environment with which git reaches a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The URL as an argument.
    pub url: String,
    /// Variables to add to git's environment.
    pub env: Vec<(String, String)>,
}

/// The way to reach `url`, in an environment that already has `configured` values of git's configuration.
///
/// Passwords of SSH are dropped, because no program would accept them; this includes the form of scp.
///
/// # Errors
/// A URL whose credentials can only be passed as an argument. The error is one line, without the credentials.
pub fn access(url: &str, configured: usize) -> Result<Access, String> {
    let public = public_url(url);
    let unchanged = |url: String| Access {
        url,
        env: Vec::new(),
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok(unchanged(public));
    };
    let userinfo = url_userinfo(url);
    let user = userinfo.map(|userinfo| userinfo.split_once(':').unwrap_or((userinfo, "")));
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" | "ftp" | "ftps" => {
            if rest.contains('?') {
                return Err(format!(
                    "{public}: the query of its URL would be readable by every user of this machine; give a token as \
                     https://USER:TOKEN@HOST/PATH, or by a credential helper of git"
                ));
            }
            let Some((user, password)) = user else {
                return Ok(unchanged(public));
            };
            let decoded = |text: &str| {
                let text = percent_decode_str(text).decode_utf8();
                text.ok()
                    .filter(|text| !text.contains(['\n', '\r', '\0']))
                    .map(String::from)
                    .ok_or_else(|| {
                        format!("{public}: its user or password is not one line of text")
                    })
            };
            // For this server only, not for servers that it redirects to.
            let after = scheme.len() + "://".len();
            let host = public[after..].find(['/', '#']);
            let host = host.map_or(public.len(), |end| after + end);
            let config = [
                // Disable other helpers: they must neither be asked nor store the credentials.
                ("credential.helper".to_owned(), String::new()),
                (
                    format!("credential.{}.helper", &public[..host]),
                    HELPER.to_owned(),
                ),
            ];
            let mut env = vec![
                ("STX_BUILDS_GIT_USER".to_owned(), decoded(user)?),
                ("STX_BUILDS_GIT_PASSWORD".to_owned(), decoded(password)?),
                (
                    "GIT_CONFIG_COUNT".to_owned(),
                    (configured + config.len()).to_string(),
                ),
            ];
            for (number, (key, value)) in (configured..).zip(config) {
                env.push((format!("GIT_CONFIG_KEY_{number}"), key));
                env.push((format!("GIT_CONFIG_VALUE_{number}"), value));
            }
            Ok(Access { url: public, env })
        }
        "ssh" | "git+ssh" | "ssh+git" => {
            let host = userinfo.map_or(rest, |userinfo| &rest[userinfo.len() + 1..]);
            Ok(unchanged(match user {
                Some((user, _)) => format!("{scheme}://{user}@{host}"),
                None => url.to_owned(),
            }))
        }
        // A file name may contain any characters.
        _ if userinfo.is_none() => Ok(unchanged(url.to_owned())),
        _ => Ok(unchanged(public)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_argument_contains_credentials() {
        for (url, argument) in [
            (
                "https://jim:s3cret@h:8443/a/b.git",
                "https://h:8443/a/b.git",
            ),
            ("https://s3cret@h/a", "https://h/a"),
            ("https://h/a", "https://h/a"),
            ("ssh://git:s3cret@h/a?b", "ssh://git@h/a?b"),
            ("ssh://git@h/a", "ssh://git@h/a"),
            ("git://s3cret@h/a", "git://h/a"),
            ("git:s3cret@h:a", "git@h:a"),
            ("git@h:a", "git@h:a"),
            ("/srv/a", "/srv/a"),
            ("file:///srv/a?b", "file:///srv/a?b"),
        ] {
            assert_eq!(access(url, 0).unwrap().url, argument);
        }
    }

    #[test]
    fn credentials_are_added_to_the_environment_for_one_server() {
        let access = access("https://jim:s3%2Fcret:%40@h:8443/a/b.git", 2).unwrap();
        let value = |name: &str| {
            let mut env = access.env.iter();
            env.find(|(key, _)| key == name).map(|(_, value)| &**value)
        };
        assert_eq!(value("STX_BUILDS_GIT_USER"), Some("jim"));
        assert_eq!(value("STX_BUILDS_GIT_PASSWORD"), Some("s3/cret:@"));
        assert_eq!(value("GIT_CONFIG_COUNT"), Some("4"));
        assert_eq!(value("GIT_CONFIG_KEY_2"), Some("credential.helper"));
        assert_eq!(value("GIT_CONFIG_VALUE_2"), Some(""));
        assert_eq!(
            value("GIT_CONFIG_KEY_3"),
            Some("credential.https://h:8443.helper")
        );
        assert_eq!(value("GIT_CONFIG_VALUE_3"), Some(HELPER));
    }

    #[test]
    fn credentials_that_need_an_argument_are_refused_without_showing_them() {
        for url in [
            "https://h/a?private_token=s3cret",
            "https://jim:s3cret%0a@h/a",
        ] {
            let error = access(url, 0).unwrap_err();
            assert!(
                error.starts_with("https://h/a: ") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
