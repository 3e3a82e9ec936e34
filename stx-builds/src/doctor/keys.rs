//! Keys and secrets: missing, unusable, or expiring soon.

use chrono::{DateTime, TimeDelta, Utc};

use super::case::Case;
use super::{Finding, Severity, Subject};
use crate::error::{Error, is_denied};
use crate::trust::keyring_problem;

/// A key that expires within this time is reported.
const SOON: TimeDelta = TimeDelta::days(30);

/// The checks.
pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let now = case.site.now;
    let failures = case.site.options.failures_of_builds(now);
    let signs = !failures.iter().any(|(table, _)| *table == "signing");
    let mut findings: Vec<_> = failures
        .into_iter()
        .map(|(table, failure)| of_table(case, table, &failure))
        .collect();
    if signs {
        findings.extend(expires(case, now));
    }
    findings.extend(keyring(case));
    findings
}

fn of_table(case: &Case<'_>, table: &str, failure: &Error) -> Finding {
    let why = match table {
        "privacy" => "no build can be searched, and so none is published",
        "registry" => "no container image can be pushed, and so no build with images is published",
        _ => "no build can be signed, and so none is published",
    };
    let fix = failure.hint.clone();
    let fix = fix.unwrap_or_else(|| format!("correct or remove this entry of [{table}]"));
    let message = failure.chain();
    // The key whose file the message names, if any.
    let path = case
        .at(&[table])
        .and_then(|_| key_of(case, table, &message));
    let path: Vec<_> = std::iter::once(table).chain(path).collect();
    let texts = [message, why.to_owned(), fix];
    // Keys and secrets may be readable by the service's user only.
    let severity = if is_denied(failure.error.as_ref()) {
        Severity::Warning
    } else {
        Severity::Error
    };
    case.finding(severity, Subject::Keys, &path, texts)
}

/// The key of a table whose file a message names.
fn key_of(case: &Case<'_>, table: &str, message: &str) -> Option<&'static str> {
    const KEYS: [&str; 6] = [
        "key_file",
        "passphrase_file",
        "public_key",
        "trusted_keys",
        "secrets_file",
        "builder",
    ];
    let lines: Vec<_> = case.text.lines().collect();
    KEYS.into_iter().find(|key| {
        let Some(at) = case
            .at(&[table, key])
            .filter(|at| Some(*at) != case.at(&[table]))
        else {
            return false;
        };
        let line = lines.get(at.line - 1).copied().unwrap_or_default();
        let mut values = line.split('"').skip(1).step_by(2);
        values.any(|value| !value.is_empty() && message.contains(value))
    })
}

/// A signing key that is valid today but expires soon.
fn expires(case: &Case<'_>, now: DateTime<Utc>) -> Option<Finding> {
    let signing = &case.site.options.signing;
    let failure = signing.check(now + SOON).err()?;
    let texts = [
        format!("the signing key expires soon: {}", failure.chain()),
        "no build can be signed from then on, and so none is published".to_owned(),
        "extend the key (gpg --quick-set-expire), publish its public half again, and give it to the readers".to_owned(),
    ];
    Some(case.finding(Severity::Warning, Subject::Keys, &["signing"], texts))
}

/// The keyring that readers use.
fn keyring(case: &Case<'_>) -> Option<Finding> {
    let file = case.site.options.keyring()?;
    let message = match fs_err::read(file) {
        Ok(bytes) => format!("{file}: {}", keyring_problem(&bytes)?),
        Err(error) => error.to_string(),
    };
    let texts = [
        message,
        "`list`, `show` and `fetch` refuse a mirror whose signatures they cannot check".to_owned(),
        "write the public keys there (gpg --export --armor), or remove `keyring`".to_owned(),
    ];
    Some(case.finding(Severity::Error, Subject::Keys, &["keyring"], texts))
}
