use std::collections::BTreeMap;

use stx_pipeline::process::Lines as Writer;
use stx_pipeline::{Ended, Invocation};

use super::*;

fn invocation(log: &Utf8Path, limit: u64) -> Invocation {
    Invocation {
        program: "make".to_owned(),
        args: Vec::new(),
        env: BTreeMap::new(),
        dir: "/".into(),
        log: log.to_owned(),
        log_limit: Some(limit),
        timeout: None,
        stop_grace: None,
    }
}

/// The numbers that were printed, in the order in which they were shown.
fn numbers(shown: &[u8]) -> Vec<u32> {
    let text = String::from_utf8_lossy(shown);
    let last = |line: &str| line.split_once(" line ")?.1.parse().ok();
    text.lines().filter_map(last).collect()
}

/// Two attempts of a phase that print `lines` lines each, followed by a reader that looks after every `look` lines.
fn followed(limit: u64, lines: u32, look: u32, from_start: bool) -> (Vec<u32>, Vec<u8>) {
    let dir = camino_tempfile::tempdir().expect("a directory");
    let log = dir.path().join("logs/phase.log");
    let invocation = invocation(&log, limit);
    let mut shown = Vec::new();
    let mut growing = from_start.then(|| Growing::new("phase", &log));
    let mut number = 0;
    for _ in 0..2 {
        let mut writer = Writer::open(&invocation, "make", &|_, _| {}).expect("a log");
        for _ in 0..lines {
            writer
                .take(format!("line {number}\n").as_bytes())
                .expect("written");
            number += 1;
            if number % look == 0 {
                let growing = growing.get_or_insert_with(|| {
                    let seen = FileLog::open(&log).expect("a log");
                    Growing::after("phase", seen).expect("a log")
                });
                more(growing, &mut shown);
            }
        }
        writer.finish(&Ended::Exited { code: 0 }).expect("written");
    }
    let mut growing = growing.expect("it was looked at");
    more(&mut growing, &mut shown);
    let whole = fs_err::read(log).expect("a log");
    (numbers(&shown), whole)
}

fn more(growing: &mut Growing, shown: &mut Vec<u8>) {
    let flow = growing.more(&mut |part| {
        shown.extend_from_slice(part.bytes);
        ControlFlow::Continue(())
    });
    assert!(flow.expect("a log").is_continue());
}

#[test]
fn a_fast_reader_sees_each_line_once_despite_the_size_limit() {
    for limit in [100, 200, 400, 1_000, 1_000_000] {
        for lines in [1, 2, 5, 10, 20, 50] {
            let (shown, whole) = followed(limit, lines, 1, true);
            let all: Vec<_> = (0..2 * lines).collect();
            let whole = String::from_utf8_lossy(&whole);
            assert_eq!(shown, all, "limit {limit}, {lines} lines: {whole}");
        }
    }
}

#[test]
fn a_slow_reader_sees_no_line_twice_and_none_out_of_order() {
    for limit in [100, 300, 1_000, 1_000_000] {
        for look in [2, 3, 7, 20, 49] {
            for from_start in [true, false] {
                let (shown, whole) = followed(limit, 50, look, from_start);
                assert!(
                    shown.is_sorted() && shown.windows(2).all(|pair| pair[0] != pair[1]),
                    "limit {limit}, a look each {look}: {shown:?}"
                );
                // The end is always seen.
                assert_eq!(shown.last(), Some(&99), "limit {limit}, a look each {look}");
                if limit == 1_000_000 {
                    let all = numbers(&whole);
                    assert!(all.ends_with(&shown), "{shown:?}");
                }
            }
        }
    }
}

#[test]
fn reading_continues_in_a_copy_of_the_log() {
    let dir = camino_tempfile::tempdir().expect("a directory");
    let log = dir.path().join("phase.log");
    let mut growing = Growing::new("phase", &log);
    let mut shown = Vec::new();
    let mut look = |growing: &mut Growing| {
        growing.reopen().expect("a log");
        more(growing, &mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    };
    fs_err::write(&log, "1\n2\n").expect("written");
    assert_eq!(look(&mut growing), "1\n2\n");
    // The first copy is gone, and the second one is still shorter.
    fs_err::remove_file(&log).expect("removed");
    assert_eq!(look(&mut growing), "1\n2\n");
    fs_err::write(&log, "1\n").expect("written");
    assert_eq!(look(&mut growing), "1\n2\n");
    let mut file = fs_err::OpenOptions::new().append(true).open(&log);
    let file = file.as_mut().expect("a file");
    io::Write::write_all(file, b"2\n3\n").expect("written");
    assert_eq!(look(&mut growing), "1\n2\n3\n");
    io::Write::write_all(file, b"4\n").expect("written");
    assert_eq!(look(&mut growing), "1\n2\n3\n4\n");
}
