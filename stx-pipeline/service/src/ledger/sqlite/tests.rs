use camino::Utf8Path;

use super::SqliteLedger;
use crate::ledger::{Change, Ledger as _, LedgerError};

fn is_refused(ledger: &mut SqliteLedger, file: &Utf8Path) -> bool {
    let change = Change::Received {
        id: "refused".into(),
    };
    let checked = ledger.check();
    [checked, ledger.record(&[change])].iter().all(|done| {
        let Err(LedgerError::Unavailable {
            op: "write",
            source,
        }) = done
        else {
            return false;
        };
        let why = source.to_string();
        why.starts_with(file.as_str()) && why.contains("restart the service")
    })
}

#[test]
fn a_ledger_that_was_moved_takes_no_change_until_the_same_files_are_back() {
    let dir = camino_tempfile::tempdir().unwrap();
    let [file, aside] = ["ledger.sqlite", "aside"].map(|name| dir.path().join(name));
    let mut ledger = SqliteLedger::open(&file).unwrap();
    let taken = |id: &str| Change::Received { id: id.into() };
    ledger.record(&[taken("first")]).unwrap();
    for suffix in ["", "-wal"] {
        let place = format!("{file}{suffix}");
        fs_err::rename(&place, &aside).unwrap();
        assert!(is_refused(&mut ledger, &file), "{suffix}: moved");
        fs_err::copy(&aside, &place).unwrap();
        assert!(is_refused(&mut ledger, &file), "{suffix}: another file");
        fs_err::rename(&aside, &place).unwrap();
        ledger.check().unwrap();
        ledger.record(&[taken(&format!("then{suffix}"))]).unwrap();
    }
    assert_eq!(ledger.state().messages.len(), 3);
    // A reader is not concerned: it does not write.
    let read = SqliteLedger::read(&file).unwrap();
    assert_eq!(read.state(), ledger.state());
    fs_err::rename(&file, &aside).unwrap();
    read.check().unwrap();
}

#[test]
fn the_error_about_a_damaged_ledger_is_one_line() {
    let dir = camino_tempfile::tempdir().unwrap();
    let file = dir.path().join("ledger.sqlite");
    drop(SqliteLedger::open(&file).unwrap());
    let bytes = fs_err::read(&file).unwrap();
    let mut found = 0;
    for page in 1..bytes.len() / 4096 {
        let mut damaged = bytes.clone();
        damaged[page * 4096..][..4096].fill(0xff);
        fs_err::write(&file, damaged).unwrap();
        if let Err(error @ LedgerError::Damaged { .. }) = SqliteLedger::read(&file) {
            assert!(!error.to_string().contains('\n'), "page {page}: {error}");
            found += 1;
        }
    }
    assert!(found > 0);
}
