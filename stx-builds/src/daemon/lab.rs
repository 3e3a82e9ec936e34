//! The commands of labs, run like the phases of a build: in a process group of their own, with a log and a time limit, and all
//! processes that they start are ended.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::{BuildId, Verdict, check_link, printable};
use stx_pipeline::process::{ProcessRunner, end_orphans};
use stx_pipeline::{Cancel, Ended, Env, Invocation, Runner as _};
use stx_service::{LONGEST_REASON, Lab, Tested};

use crate::Site;

/// The time between the request that a command end and its kill.
const GRACE: Duration = Duration::from_secs(10);
/// The number of last lines of the output that become the reason.
const LINES: usize = 3;
/// The maximal size of the log of one test, in bytes.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;
/// The number of logs that are kept of each lab.
const LOGS: usize = 20;
/// The maximal size of the file with the link to the results, in bytes.
const LINK: u64 = 2000;

/// The variables that a command inherits from the service.
const INHERITED: [&str; 5] = ["PATH", "HOME", "USER", "LANG", "SSH_AUTH_SOCK"];

/// A test to run.
pub(super) struct LabTest<'a> {
    pub(super) site: &'a Site,
    pub(super) lab: &'a Lab,
    pub(super) build: &'a BuildId,
    /// The number of the request for its verdict.
    pub(super) request: u64,
    /// The lab's own directory.
    pub(super) dir: &'a Utf8Path,
    /// The mirror's root.
    pub(super) mirror: &'a Utf8Path,
}

impl LabTest<'_> {
    /// Runs the command.
    pub(super) async fn run(&self, cancel: &Cancel) -> Tested {
        let (work, name) = (self.dir.join("work"), &self.lab.name);
        // The command of a service that was killed may still run, on the same hardware.
        match end_orphans(self.dir, &work, GRACE).await {
            Ok(orphans) if orphans.is_empty() => {}
            Ok(_) => {
                let text = format!("lab {name}: ended the processes of an interrupted test");
                self.site.log(&text);
            }
            Err(error) => return Tested::NotTested(error.to_string()),
        }
        let prepared = empty(&work).and_then(|()| self.log());
        let log = match prepared {
            Ok(log) => log,
            Err(error) => return Tested::NotTested(error.to_string()),
        };
        let last = Mutex::new(VecDeque::new());
        let output = |_, line: &str| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if !line.trim().is_empty() {
                last.push_back(line.trim().to_owned());
            }
            if last.len() > LINES {
                last.pop_front();
            }
        };
        let link = work.join("result-url");
        let invocation = self.invocation(work, log, &link);
        let runner = ProcessRunner::new(self.dir.to_owned());
        let ended = runner.run(&invocation, &output, cancel).await;
        let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
        let last: Vec<_> = last.into();
        let verdict = |verdict, words: String| Tested::Verdict {
            verdict,
            reason: Some(line(&words)).filter(|words| !words.is_empty()),
            url: self.results(&link),
        };
        match ended {
            Ended::Exited { code } => verdict(Lab::verdict(code), last.join(" | ")),
            Ended::Signalled { .. } | Ended::TimedOut { .. } => {
                let mut words = vec![ended.to_string()];
                words.extend(last);
                verdict(Verdict::Red, words.join(" | "))
            }
            Ended::Cancelled => Tested::Cancelled,
            Ended::NotStarted { reason } | Ended::Lost { reason } => {
                Tested::NotTested(format!("{}: {reason}", self.lab.command[0]))
            }
        }
    }

    fn invocation(&self, work: Utf8PathBuf, log: Utf8PathBuf, link: &Utf8Path) -> Invocation {
        let own = INHERITED.into_iter().filter_map(|name| {
            let value = std::env::var(name).ok()?;
            Some((name.to_owned(), value))
        });
        let mut env: Vec<(String, String)> = own.collect();
        let said = self.lab.environment.iter();
        env.extend(said.map(|(name, value)| (name.clone(), value.clone())));
        let (id, site) = (self.build.to_string(), self.site.options.site());
        let url = site
            .url
            .map(|url| format!("{}/{id}/", url.trim_end_matches('/')));
        for (name, value) in [
            ("LAB", self.lab.name.clone()),
            ("BUILD", id.clone()),
            ("CHANNEL", self.build.channel.to_string()),
            ("BUILD_DATE", self.build.date.to_string()),
            // A mirror in a bucket gives `s3://BUCKET/PREFIX/…`.
            ("BUILD_PATH", self.mirror.join(&id).into_string()),
            ("BUILD_URL", url.unwrap_or_default()),
            ("RESULT_URL_FILE", link.to_string()),
            // Processes that the command leaves behind are recognised by these two variables.
            ("PHASE", format!("lab {}", self.lab.name)),
            ("MY_WORKSPACE", work.to_string()),
        ] {
            env.push((name.to_owned(), value));
        }
        let env: Env = env
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Invocation {
            program: self.lab.command[0].clone(),
            args: self.lab.command[1..].to_vec(),
            env,
            dir: work,
            log,
            log_limit: Some(LOG_LIMIT),
            timeout: Some(self.lab.timeout),
            stop_grace: Some(GRACE),
        }
    }

    /// The file for the log of this test; an interrupted test appends to its log. Removes the oldest logs of the lab.
    fn log(&self) -> io::Result<Utf8PathBuf> {
        let logs = self.dir.join("logs");
        fs_err::create_dir_all(&logs)?;
        let mut known = Vec::new();
        for entry in logs.read_dir_utf8()? {
            let path = entry?.into_path();
            let number = path.file_stem().and_then(|stem| stem.parse::<u64>().ok());
            known.extend(number.map(|number| (number, path)));
        }
        known.sort();
        let old = known.len().saturating_sub(LOGS - 1);
        for (_, path) in &known[..old] {
            fs_err::remove_file(path)?;
        }
        Ok(logs.join(format!("{}.log", self.request)))
    }

    /// The link that the command wrote. An invalid link is logged and left out.
    fn results(&self, file: &Utf8Path) -> Option<String> {
        let found = fs_err::symlink_metadata(file).ok()?;
        let text = if found.is_file() && found.len() <= LINK {
            fs_err::read_to_string(file).map_err(|error| error.to_string())
        } else {
            Err(format!("not a file of at most {LINK} bytes"))
        };
        let link = text.and_then(|text| {
            let link = text.trim().to_owned();
            check_link(&link).map_err(|error| error.to_string())?;
            Ok(link)
        });
        let name = &self.lab.name;
        link.map_err(|why| self.site.log(&format!("lab {name}: result-url: {why}")))
            .ok()
    }
}

/// Creates an empty directory, replacing an older one.
fn empty(dir: &Utf8Path) -> io::Result<()> {
    match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs_err::create_dir_all(dir)
}

/// A text as the reason of a verdict: one line without control characters. Of a long text, the end.
fn line(text: &str) -> String {
    let text = printable(text);
    let from = text.len().saturating_sub(LONGEST_REASON);
    text[text.ceil_char_boundary(from)..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_limited_length() {
        assert_eq!(line("3 of 3 passed"), "3 of 3 passed");
        assert!(!line("a\u{1b}[2J\nb").contains(char::is_control));
        let long = line(&("ä".repeat(2000) + "end"));
        assert!(
            long.len() <= LONGEST_REASON && long.ends_with("end"),
            "{long}"
        );
    }
}
