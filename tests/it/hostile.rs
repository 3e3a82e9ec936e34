//! A mirror that lies, stalls and never ends, and the reactions of readers.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use fs_err::os::unix::fs::symlink;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sha2::Digest as _;
use stx_layout::{AliasName, BuildId, Sha256};
use stx_publish::{HttpOptions, HttpStore, MirrorRead as _, Scope, StoreError};

use crate::harness::{Ran, names, stx};
use crate::site::{CHANNEL, DATES, Site, noise};

mod packages;
mod refusals;
mod server;

use server::{Answer, Hostile, Request};

/// More than any reader needs for a small mirror, in bytes; debug builds need more memory.
const MEMORY: u64 = 400 << 20;

/// Runs a command and measures its memory.
fn watched(command: &mut Command) -> (Ran, u64) {
    let shown = format!("{command:?}");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let status = format!("/proc/{}/status", child.id());
    let (mut peak, end) = (0, Instant::now() + Duration::from_mins(2));
    while child.try_wait().expect("a child").is_none() {
        let text = fs_err::read_to_string(&status).unwrap_or_default();
        let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let high = high.and_then(|high| high.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(high.unwrap_or_default() << 10);
        assert!(Instant::now() < end, "{shown} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("it ended");
    let ran = Ran {
        command: shown,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    (ran, peak)
}

/// A mirror with one small build, about which the server lies.
struct Case {
    site: Site,
}

impl Case {
    fn new() -> Self {
        Self {
            site: Site::new(&[b"an image"]),
        }
    }

    fn serve(
        &self,
        answer: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> Hostile {
        Hostile::start(&self.site.mirror(), answer)
    }

    fn to(&self) -> camino::Utf8PathBuf {
        self.site.to("here")
    }

    /// Runs `fetch … iso`, and checks that nothing is written outside of `--to` and that memory is bounded.
    fn fetch(&self, server: &Hostile) -> Ran {
        self.run(
            server,
            &["fetch", CHANNEL, "iso", "--to", self.to().as_str()],
        )
    }

    fn run(&self, server: &Hostile, args: &[&str]) -> Ran {
        let to = self.to();
        let before = everything(self.site.dir.path(), &to);
        let url = server.url();
        let mut command = stx(["--mirror", &url]);
        command.args(args).current_dir(&to);
        let (ran, peak) = watched(&mut command);
        assert_eq!(
            everything(self.site.dir.path(), &to),
            before,
            "{} wrote outside of {to}",
            ran.command
        );
        assert!(
            peak < MEMORY,
            "{}: {} MiB of memory",
            ran.command,
            peak >> 20
        );
        assert!(
            !ran.stderr.contains("panicked") && ran.code != Some(1),
            "{}\n{}",
            ran.command,
            ran.stderr
        );
        for text in [&ran.stdout, &ran.stderr] {
            assert!(
                !text
                    .chars()
                    .any(|c| c.is_control() && c != '\n' && c != '\t'),
                "{} steers the terminal: {text:?}",
                ran.command
            );
        }
        ran
    }
}

/// Every file below `dir`, except those below `but`, with its length.
fn everything(dir: &Utf8Path, but: &Utf8Path) -> Vec<(String, u64)> {
    walkdir::WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.path() != but)
        .map(|entry| {
            let entry = entry.expect("a readable tree");
            let length = entry.metadata().map_or(0, |found| found.len());
            (
                entry.path().display().to_string(),
                if entry.file_type().is_file() {
                    length
                } else {
                    0
                },
            )
        })
        .collect()
}

#[track_caller]
fn says(ran: &Ran, code: i32, text: &str) {
    assert_eq!(ran.code, Some(code), "{}\n{}", ran.command, ran.stderr);
    assert!(
        ran.stderr.contains(text),
        "{text:?} is not in {}",
        ran.stderr
    );
}

#[test]
fn a_redirect_to_a_file_or_in_a_circle_is_refused() {
    for (to, text) in [
        ("file:///etc/passwd", "redirect"),
        ("ftp://127.0.0.1/x", "redirect"),
        ("/again", "more than 5 redirects"),
        ("http://[", "redirect"),
    ] {
        let case = Case::new();
        let server = case.serve(move |request| {
            (request.path.ends_with("bootimage.iso") || request.path == "/again")
                .then(|| Answer::redirect(to))
        });
        let ran = case.fetch(&server);
        assert_eq!(ran.code, Some(4), "{to}: {}", ran.stderr);
        assert!(ran.stderr.contains(text), "{to}: {}", ran.stderr);
        assert!(!ran.stdout.contains("root:") && !ran.stderr.contains("root:"));
        let names = names(&case.to());
        assert!(!names.contains(&"bootimage.iso".to_owned()), "{names:?}");
        assert!(server.requests() < 20, "{} requests", server.requests());
    }
}

#[test]
fn an_endless_text_is_refused_at_its_maximum_length() {
    for path in ["/index.json", "/master/centos/index.json"] {
        let case = Case::new();
        let server = case.serve(move |request| {
            (request.path == path).then(|| Answer::Endless {
                head: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"schema\":1,\"channels\":["
                    .to_owned(),
                again: b"{\"channel\":\"master/centos\",\"builds\":1,\"bytes\":1},".repeat(1000),
            })
        });
        says(&case.run(&server, &["list"]), 4, "longer than 64 MiB");
        // Includes kernel buffers and data in transit.
        assert!(
            server.sent() < 256 << 20,
            "{} bytes were taken",
            server.sent()
        );
    }
    for path in ["build.json", "SHA256SUMS"] {
        let case = Case::new();
        let server = case.serve(move |request| {
            request.path.ends_with(path).then(|| Answer::Endless {
                head: format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 8_u64 << 30),
                again: vec![b' '; 1 << 16],
            })
        });
        says(&case.fetch(&server), 4, "longer than 64 MiB");
        // The length was announced at the beginning.
        assert!(
            server.sent() < 32 << 20,
            "{} bytes were taken",
            server.sent()
        );
    }
}

#[test]
fn a_file_of_the_wrong_length_is_not_stored() {
    // Without a length, with a shorter one, with a longer one.
    let cases: [(&str, &[u8], &str); 4] = [
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            b"an image",
            "does not send the length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n",
            b"an image",
            "corrupt",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 80\r\nConnection: close\r\n\r\n",
            b"an image",
            "truncated: 8 of 80",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n",
            b"an imagE",
            "corrupt",
        ),
    ];
    for (head, body, text) in cases {
        let case = Case::new();
        let server = case.serve(move |request| {
            let bytes = [head.as_bytes(), body].concat();
            request
                .path
                .ends_with("bootimage.iso")
                .then_some(Answer::Bytes(bytes))
        });
        says(&case.fetch(&server), 4, text);
        let names = names(&case.to());
        assert!(!names.contains(&"bootimage.iso".to_owned()), "{names:?}");
    }
}

#[test]
fn a_file_that_changes_its_length_forever_is_given_up() {
    let case = Case::new();
    let server = case.serve(|request| {
        if !request.path.ends_with("bootimage.iso") {
            return None;
        }
        let size = if request.count % 2 == 1 { 80 } else { 4 };
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
        Some(Answer::Bytes([head.as_bytes(), b"an image"].concat()))
    });
    says(&case.fetch(&server), 4, "");
    assert!(server.requests() < 40, "{} requests", server.requests());
    assert!(!names(&case.to()).contains(&"bootimage.iso".to_owned()));
}

#[test]
fn a_path_that_leaves_the_mirror_is_refused() {
    let sum = "0".repeat(64);
    for path in [
        "../evil",
        "/etc/evil",
        "outputs/../../evil",
        "outputs/iso/..\\evil\u{1b}[2J",
        "a\0b",
    ] {
        let case = Case::new();
        let text = format!("{sum}  {path}\n");
        let server = case.serve(move |request| {
            request
                .path
                .ends_with("SHA256SUMS")
                .then(|| Answer::ok(text.as_bytes()))
        });
        let ran = case.run(
            &server,
            &["fetch", CHANNEL, "**", "--to", case.to().as_str()],
        );
        says(&ran, 4, "SHA256SUMS");
        assert!(names(&case.to()).is_empty());
    }
    for channel in ["../..", "master/../../x", "/etc", "master/centos\u{1b}[2J"] {
        let case = Case::new();
        let index = serde_json::json!({"schema": 1, "channels": [{"channel": channel, "builds": 1, "bytes": 1}]});
        let server = case.serve(move |request| {
            (request.path == "/index.json").then(|| Answer::ok(index.to_string().as_bytes()))
        });
        says(&case.run(&server, &["list"]), 4, "index.json");
        assert_eq!(server.requests(), 1, "nothing else is asked for");
    }
}

#[test]
fn texts_from_a_server_cannot_control_the_terminal() {
    let case = Case::new();
    let evil = "\u{1b}]0;evil\u{7}\u{1b}[2J<script>alert(1)</script>\u{9b}31m\u{202e}\u{200b}\nforged: a line";
    let file = case.site.mirror().join(CHANNEL).join("index.json");
    let index = fs_err::read_to_string(file).expect("an index");
    let mut index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    index["builds"][0]["record"]["trigger"] = evil.into();
    index["builds"][0]["record"]["branch"] = evil.into();
    index["strays"] = [evil].into();
    let mut unreadable = index["builds"][0].clone();
    unreadable["record"] = serde_json::Value::Null;
    unreadable["unreadable"] = evil.into();
    unreadable["date"] = DATES[1].into();
    index["builds"]
        .as_array_mut()
        .expect("builds")
        .push(unreadable);
    let server = case.serve(move |request| {
        (request.path == "/master/centos/index.json")
            .then(|| Answer::ok(index.to_string().as_bytes()))
    });
    let shown = case
        .run(&server, &["show", &format!("{CHANNEL}/{}", DATES[0])])
        .ok();
    assert!(shown.contains("<script>"), "what was written is shown");
    case.run(&server, &["list"]).ok();
    // The second build is in the index only.
    let verified = case.run(&server, &["verify"]).code(0);
    for text in [&shown, &verified.stdout, &verified.stderr] {
        assert!(!text.contains(['\u{202e}', '\u{200b}']), "{text}");
        assert!(
            !text.lines().any(|line| line.starts_with("forged")),
            "{text}"
        );
    }
    let json = case.run(
        &server,
        &[
            "--format",
            "json",
            "show",
            &format!("{CHANNEL}/{}", DATES[0]),
        ],
    );
    assert!(
        !json.stdout.contains(['\u{9b}', '\u{202e}']),
        "{}",
        json.stdout
    );
    assert_eq!(
        json.json()["record"]["trigger"],
        evil,
        "the values are the same"
    );
}

#[test]
fn a_busy_server_is_asked_again_after_the_requested_time() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let case = Case::new();
        let server = case.serve(move |request| {
            (request.path.ends_with("bootimage.iso") && request.count == 1).then(|| {
                Answer::Bytes(
                    format!("HTTP/1.1 {status}\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into(),
                )
            })
        });
        let begun = Instant::now();
        case.fetch(&server).ok();
        assert!(
            begun.elapsed() >= Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(names(&case.to()), ["bootimage.iso"]);
    }
    let case = Case::new();
    let server = case.serve(|request| {
        request.path.ends_with("bootimage.iso").then(|| {
            Answer::Bytes(b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into())
        })
    });
    says(&case.fetch(&server), 4, "503");
    assert_eq!(server.asked("bootimage.iso"), 5);
}

#[test]
fn a_broken_download_is_resumed() {
    let image = noise(6, 1 << 20);
    let case = Case {
        site: Site::new(&[&image]),
    };
    let bytes = image.clone();
    // Each answer is cut off after 100,000 bytes: eleven are needed.
    let server = case.serve(move |request| {
        if !request.path.ends_with("bootimage.iso") {
            return None;
        }
        let from = request.range.unwrap_or(0);
        let (status, more) = match request.range {
            Some(from) => (
                "206 Partial Content",
                format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()),
            ),
            None => ("200 OK", String::new()),
        };
        let rest = &bytes[from..];
        let head = format!(
            "HTTP/1.1 {status}\r\nETag: \"one\"\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n",
            rest.len()
        );
        let part = &rest[..rest.len().min(100_000)];
        Some(Answer::Bytes([head.as_bytes(), part].concat()))
    });
    let ran = case.run(
        &server,
        &[
            "--format",
            "json",
            "fetch",
            CHANNEL,
            "iso",
            "--to",
            case.to().as_str(),
        ],
    );
    assert_eq!(ran.json()["transferred"], image.len(), "{}", ran.stderr);
    ran.ok();
    let got = fs_err::read(case.to().join("bootimage.iso")).expect("an image");
    assert!(got == image);
    assert_eq!(server.asked("bootimage.iso"), 11);
}

#[test]
fn a_file_that_changes_between_two_parts_is_never_mixed() {
    let case = Case::new();
    let server = case.serve(|request| {
        if !request.path.ends_with("bootimage.iso") {
            return None;
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n";
        Some(Answer::Bytes(match request.count {
            1 => format!("{head}ETag: \"one\"\r\n\r\nan i").into(),
            _ => format!("{head}ETag: \"two\"\r\n\r\nAN IMAGE").into(),
        }))
    });
    says(&case.fetch(&server), 4, "changed");
    assert!(!names(&case.to()).contains(&"bootimage.iso".to_owned()));
}

#[test]
fn a_stalled_server_times_out() {
    let case = Case::new();
    let server = case.serve(|request| {
        (request.path == "/index.json" || request.path.ends_with("SHA256SUMS"))
            .then(|| Answer::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".into()))
    });
    let mut options = HttpOptions::default();
    options.connect = Duration::from_millis(300);
    options.idle = Duration::from_millis(300);
    options.attempts = 2;
    options.first_wait = Duration::from_millis(10);
    let store = HttpStore::new(&server.url(), options).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let begun = Instant::now();
        let id = BuildId::new(
            CHANNEL.parse().expect("a channel"),
            DATES[0].parse().expect("a date"),
        );
        for error in [
            store.catalog(&Scope::All).await.expect_err("no catalog"),
            store.sums(&id).await.expect_err("no sums"),
        ] {
            assert!(matches!(error, StoreError::Network { .. }), "{error:?}");
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        // The rest of the mirror is readable.
        let alias = store.alias(&id.channel, &AliasName::latest_build()).await;
        assert!(alias.expect("an alias").is_some());
    });
}

/// Makes a FIFO without a writer.
fn fifo(path: &Utf8Path) {
    mknodat(CWD, path.as_std_path(), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
}

#[test]
fn a_file_planted_by_another_user_is_not_written_to() {
    let case = Case::new();
    let server = case.serve(|_| None);
    let image = case
        .site
        .mirror()
        .join(CHANNEL)
        .join(DATES[0])
        .join("outputs/iso/bootimage.iso");
    let image = fs_err::read(image).expect("an image");
    let digest = Sha256(sha2::Sha256::digest(&image).into()).to_string();
    let part = |end: &str| {
        case.to()
            .join(format!("bootimage.iso.{}{end}", &digest[..16]))
    };
    let mine = case.site.dir.path().join("mine");
    fs_err::write(&mine, "mine").expect("written");
    symlink(&mine, part(".part")).expect("planted");
    symlink(&mine, part(".0123456789abcdef.part")).expect("planted");
    symlink(&mine, case.to().join("bootimage.iso")).expect("planted");
    fifo(&part(".fedcba9876543210.part"));
    // `fetch` checks that nothing outside of the directory changes.
    case.fetch(&server).ok();
    let fetched = case.to().join("bootimage.iso");
    assert!(fs_err::symlink_metadata(&fetched).expect("there").is_file());
    assert_eq!(fs_err::read(&fetched).expect("an image"), image);
    assert_eq!(fs_err::read_to_string(&mine).expect("mine"), "mine");
    assert_eq!(names(&case.to()).len(), 4, "nothing else is left");

    // A FIFO under the file's own name must not be read.
    fs_err::remove_file(&fetched).expect("removed");
    fifo(&fetched);
    case.fetch(&server).ok();
    assert_eq!(fs_err::read(&fetched).expect("an image"), image);
}
