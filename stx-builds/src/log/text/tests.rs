use super::*;

/// A log with these files: the log itself, the older and the newer file beside it.
fn log(files: [Option<&[u8]>; 3]) -> (camino_tempfile::Utf8TempDir, FileLog) {
    let dir = camino_tempfile::tempdir().expect("a directory");
    let path = dir.path().join("phase.log");
    for (number, bytes) in files.into_iter().enumerate() {
        let number = u8::try_from(number).expect("three files");
        let file = if number == 0 {
            path.clone()
        } else {
            beside(&path, number)
        };
        if let Some(bytes) = bytes {
            fs_err::write(file, bytes).expect("a file");
        }
    }
    let log = FileLog::open(&path).expect("a log");
    (dir, log)
}

async fn shown(log: &dyn Log, lines: Option<u64>) -> (Vec<u8>, usize) {
    let (mut bytes, mut longest) = (Vec::new(), 0);
    let from = log.start(lines).await.expect("a start");
    let mut sink = |part: LogPart<'_>| {
        assert_eq!(part.phase, "phase");
        longest = longest.max(part.bytes.len());
        bytes.extend_from_slice(part.bytes);
        ControlFlow::Continue(())
    };
    let flow = print(log, "phase", from, &mut sink).await;
    assert!(flow.expect("printed").is_continue());
    (bytes, longest)
}

/// The last lines by `tail`, as an independent reference.
#[expect(clippy::disallowed_methods, reason = "a test asks a real tool")]
fn tail(bytes: &[u8], lines: u64) -> Vec<u8> {
    let dir = camino_tempfile::tempdir().expect("a directory");
    let file = dir.path().join("log");
    fs_err::write(&file, bytes).expect("a file");
    let mut command = std::process::Command::new("tail");
    command.arg(format!("--lines={lines}")).arg(file);
    command.output().expect("tail of coreutils").stdout
}

#[tokio::test]
async fn the_last_lines_are_those_of_tail() {
    let mut numbers = Vec::new();
    for number in 0..200_000_u32 {
        numbers.extend_from_slice(format!("{number} \u{e9}\n").as_bytes());
    }
    let mut unended = numbers.clone();
    unended.extend_from_slice(b"no end\xff\xfe");
    let one = vec![b'x'; 300_000];
    // A line begins at each byte, so also at the boundary of two parts.
    let empty = vec![b'\n'; 300_000];
    for bytes in [
        &b""[..],
        b"\n",
        b"a",
        b"a\n\n",
        b"\n\nb",
        &numbers,
        &unended,
        &one,
        &empty,
    ] {
        let (_dir, log) = log([Some(bytes), None, None]);
        for lines in [0, 1, 2, 10, 50_000, 70_000, 1_000_000] {
            let (shown, longest) = shown(&log, Some(lines)).await;
            assert!(
                shown == tail(bytes, lines),
                "{} bytes, {lines} lines",
                bytes.len()
            );
            assert!(longest <= 2 * PIECE, "{longest}");
        }
        assert!(shown(&log, None).await.0 == bytes);
    }
}

#[tokio::test]
async fn a_log_with_files_beside_it_is_one_log() {
    let (_dir, log) = log([Some(b"1\n2\n"), Some(b"3\n"), Some(b"4\n5")]);
    assert_eq!(shown(&log, None).await.0, b"1\n2\n3\n4\n5");
    for lines in 0..7 {
        let expected = tail(b"1\n2\n3\n4\n5", lines);
        assert_eq!(shown(&log, Some(lines)).await.0, expected, "{lines}");
    }
    let (_dir, log) = self::log([None, None, None]);
    assert_eq!(shown(&log, Some(3)).await.0, b"");
}

#[tokio::test]
async fn a_log_of_gigabytes_is_read_from_its_end() {
    let dir = camino_tempfile::tempdir().expect("a directory");
    let path = dir.path().join("phase.log");
    let file = fs_err::File::create(&path).expect("a file");
    // Sparse, and too large to be read in time or to fit in memory.
    file.set_len(1 << 40).expect("a large file");
    let mut file = fs_err::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("a file");
    io::Write::write_all(&mut file, b"\nthe\nend\n").expect("written");
    let log = FileLog::open(&path).expect("a log");
    assert_eq!(shown(&log, Some(2)).await.0, b"the\nend\n");
    let last = last_lines(&log, 2, 16).await.expect("lines");
    assert_eq!(last, ["the", "end"]);
}

#[tokio::test]
async fn a_reader_can_stop_early() {
    let (_dir, log) = log([Some(&b"line\n".repeat(100_000)), None, None]);
    let mut parts = 0;
    let mut sink = |_: LogPart<'_>| {
        parts += 1;
        ControlFlow::Break(())
    };
    let flow = print(&log, "phase", 0, &mut sink).await;
    assert!(flow.expect("printed").is_break());
    assert_eq!(parts, 1);
}

#[tokio::test]
async fn the_end_of_a_failed_log_is_limited_in_lines_and_bytes() {
    let bytes = b"a\nb\n\xffc\nd".to_vec();
    let (_dir, log) = log([Some(&bytes), None, None]);
    let last = async |lines, bytes| last_lines(&log, lines, bytes).await.expect("lines");
    assert_eq!(last(2, 100).await, ["\u{fffd}c", "d"]);
    assert_eq!(last(9, 100).await, ["a", "b", "\u{fffd}c", "d"]);
    // An incomplete line is left out, unless it is the only one.
    assert_eq!(last(9, 5).await, ["\u{fffd}c", "d"]);
    assert_eq!(last(9, 1).await, ["d"]);
    let (_dir, log) = self::log([None, None, None]);
    assert_eq!(last_lines(&log, 2, 10).await.expect("lines"), [""; 0]);
}
