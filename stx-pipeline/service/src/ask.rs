//! Limits for the requests of people, and for the texts that are published of them.

use stx_layout::{LinkError, check_link};

use super::{Ask, Order};

/// The most bytes of the reason of a request, which is published in the record of the build and in the indexes.
pub const LONGEST_REASON: usize = 1000;

/// The longest link to test results, in bytes.
const LONGEST_LINK: usize = 2000;

/// The most bytes of the name of a branch or tag.
const LONGEST_REF: usize = 255;

/// The most bytes of all reasons of a build in its record, without the count of those that are left out.
const LONGEST_TRIGGER: usize = 8000;

/// The reason that a request is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The reason is too long.
    #[error("the reason has {bytes} bytes; at most {LONGEST_REASON} are accepted")]
    LongReason {
        /// Its length.
        bytes: usize,
    },
    /// The name is not valid for a branch or tag of git.
    #[error("{name:?} is not a name of a git branch or tag: {why}")]
    NotARef {
        /// The name.
        name: String,
        /// The reason.
        why: &'static str,
    },
    /// The reason of a verdict has more than one line, or a control character.
    #[error("the reason contains a line break or another control character; one line is accepted")]
    ControlCharacter,
    /// The link is too long.
    #[error("the link has {bytes} bytes; at most {LONGEST_LINK} are accepted")]
    LongLink {
        /// Its length.
        bytes: usize,
    },
    /// The link to the test results is not a web URL, or contains a password.
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl Ask {
    /// Refuses texts that are too long to record, and names that a program would not accept as a branch.
    ///
    /// The command that leaves a message checks it, to report mistakes at once. The service checks it again, because any member
    /// of the build group can write the file by hand.
    pub fn check(&self) -> Result<(), AskError> {
        match self {
            Self::Build { git, reason, .. } => {
                if reason.len() > LONGEST_REASON {
                    let bytes = reason.len();
                    return Err(AskError::LongReason { bytes });
                }
                match wrong_ref(git) {
                    Some(why) => {
                        let end = git.floor_char_boundary(LONGEST_REF);
                        let name = git[..end].to_owned();
                        Err(AskError::NotARef { name, why })
                    }
                    None => Ok(()),
                }
            }
            Self::Cancel { .. } => Ok(()),
            Self::Mark { reason, url, .. } => {
                let (reason, url) = (reason.as_deref(), url.as_deref());
                reason.map_or(Ok(()), check_reason)?;
                url.map_or(Ok(()), check_results)
            }
        }
    }
}

/// Refuses a reason that is not one short line: pages and feeds show the reason of a verdict permanently.
fn check_reason(reason: &str) -> Result<(), AskError> {
    if reason.len() > LONGEST_REASON {
        let bytes = reason.len();
        return Err(AskError::LongReason { bytes });
    }
    if reason.contains(char::is_control) {
        return Err(AskError::ControlCharacter);
    }
    Ok(())
}

fn check_results(url: &str) -> Result<(), AskError> {
    if url.len() > LONGEST_LINK {
        let bytes = url.len();
        return Err(AskError::LongLink { bytes });
    }
    Ok(check_link(url)?)
}

/// The reason that a text is not a valid name of a branch or tag, by the rules of `git check-ref-format`.
///
/// Recipes pass the name to git and to their own scripts, in which a leading `-` would make it an option.
fn wrong_ref(name: &str) -> Option<&'static str> {
    let special = |byte: u8| byte.is_ascii_control() || b" ~^:?*[\\".contains(&byte);
    let part = |part: &str| {
        let lock = part.as_bytes().ends_with(b".lock");
        part.is_empty() || part.starts_with('.') || lock
    };
    if name.len() > LONGEST_REF {
        Some("it is longer than 255 bytes")
    } else if name.starts_with('-') {
        Some("it begins with `-`")
    } else if name.bytes().any(special) {
        Some("it contains a space, a control character or one of ~ ^ : ? * [ \\")
    } else if name.split('/').any(part) {
        Some("a part between slashes is empty, begins with `.` or ends with `.lock`")
    } else if name.contains("..") || name.contains("@{") || name.ends_with('.') || name == "@" {
        Some("it contains `..` or `@{`, ends with `.`, or is `@`")
    } else {
        None
    }
}

impl Order {
    /// The reasons for the build, as written in its record: the first reasons, and the number of the others.
    pub fn trigger(&self) -> String {
        let mut text = String::new();
        let mut left_out = self.more_reasons;
        for reason in &self.reasons {
            let cause = reason.cause.to_string();
            let separator = if text.is_empty() { "" } else { "; " };
            let room = LONGEST_TRIGGER.saturating_sub(text.len() + separator.len());
            if cause.len() <= room {
                text = text + separator + &cause;
            } else if text.is_empty() {
                text.push_str(&cause[..cause.floor_char_boundary(room)]);
                text.push('…');
            } else {
                left_out += 1;
            }
        }
        match left_out {
            0 => text,
            more => format!("{text}; and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::{Cause, Reason, Target};

    fn build(git: &str, reason: &str) -> Ask {
        Ask::Build {
            release: "master".parse().unwrap(),
            git: git.into(),
            reason: reason.into(),
            force: false,
            new_channel: false,
            channel: None,
        }
    }

    #[test]
    fn branches_and_tags_are_accepted_as_git_has_them() {
        let long = "b".repeat(LONGEST_REF);
        for git in ["master", "f/x", "r/2018.10", "v1.0-rc.1", "ä", "a@b", &long] {
            assert_eq!(build(git, "").check(), Ok(()), "{git}");
        }
        let longer = "b".repeat(LONGEST_REF + 1);
        for git in [
            "",
            "-b",
            "--upload-pack=touch /tmp/x",
            "a b",
            "a\nb",
            "a\u{7f}",
            "a..b",
            "a//b",
            "/a",
            "a/",
            "a.",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "@",
            "a@{1}",
            "a:b",
            "a\\b",
            &longer,
        ] {
            let refused = build(git, "").check();
            assert!(matches!(refused, Err(AskError::NotARef { .. })), "{git:?}");
        }
    }

    #[test]
    fn a_reason_has_a_maximum_length() {
        assert_eq!(build("master", &"x".repeat(1000)).check(), Ok(()));
        let refused = build("master", &"x".repeat(70_000)).check().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the reason has 70000 bytes; at most 1000 are accepted"
        );
    }

    #[test]
    fn a_verdict_has_a_line_of_reason_and_a_link_of_the_web() {
        let mark = |reason: Option<&str>, url: Option<&str>| {
            let ask = Ask::Mark {
                build: "master/centos/20200101T000000Z".parse().unwrap(),
                verdict: stx_layout::Verdict::Green,
                reason: reason.map(str::to_owned),
                url: url.map(str::to_owned),
            };
            ask.check().map_err(|error| error.to_string())
        };
        let link = "https://lab.example/run/5";
        assert_eq!(mark(Some("passed, größtenteils"), Some(link)), Ok(()));
        assert_eq!(mark(None, None), Ok(()));
        assert_eq!(mark(Some(&"x".repeat(1000)), None), Ok(()));
        for (reason, url, why) in [
            (Some("x".repeat(1001)), None, "at most 1000 are accepted"),
            (
                Some("a\nrun 7: published".to_owned()),
                None,
                "control character",
            ),
            (Some("a\u{1b}[2J".to_owned()), None, "control character"),
            (
                None,
                Some(format!("https://x/{}", "y".repeat(2000))),
                "at most 2000 are accepted",
            ),
            (
                None,
                Some("javascript:alert(1)".to_owned()),
                "http:// or https://",
            ),
            (
                None,
                Some("https://x/a b".to_owned()),
                "http:// or https://",
            ),
            (
                None,
                Some("https://ann:secret@lab.example/".to_owned()),
                "a password or a token",
            ),
        ] {
            let refused = mark(reason.as_deref(), url.as_deref()).unwrap_err();
            assert!(
                refused.contains(why) && !refused.contains("secret"),
                "{refused}"
            );
        }
    }

    fn order(texts: &[String], more_reasons: u64) -> Order {
        let reason = |text: &String| Reason {
            at: chrono::DateTime::UNIX_EPOCH,
            cause: Cause::Manual {
                uid: 1000,
                text: text.clone(),
            },
        };
        Order {
            target: Target {
                channel: "master/centos".parse().unwrap(),
                git: "master".into(),
                recipe: "/r".into(),
            },
            after: None,
            paths: crate::trigger::PathRules::default(),
            reasons: texts.iter().map(reason).collect(),
            more_reasons,
            force: false,
            retry_failed: false,
        }
    }

    #[test]
    fn the_record_lists_the_first_reasons_and_counts_the_others() {
        let two = order(&["a".into(), "b".into()], 0);
        assert_eq!(two.trigger(), "manual: a; manual: b");
        let more = order(&["a".into(), "b".into()], 3);
        assert_eq!(more.trigger(), "manual: a; manual: b; and 3 more");
        // A request that an earlier version filed.
        let many = vec!["x".repeat(60_000); 1000];
        let text = order(&many, 0).trigger();
        assert!(text.len() < LONGEST_TRIGGER + 30, "{}", text.len());
        assert!(text.ends_with("x…; and 999 more"), "{}", &text[7990..]);
        let one = order(&["ä".repeat(60_000)], 0).trigger();
        assert!(one.len() <= LONGEST_TRIGGER + 3 && one.ends_with('…'));
    }
}
