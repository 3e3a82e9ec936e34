//! zsync control files, and downloads with them.
//!
//! | module | content |
//! |---|---|
//! | this one | control files of a publish, read by Debian's `zsync` |
//! | `delta` | `fetch` with control files, from each kind of server, killed and resumed |
//! | `metalink` | metalink files, and several mirrors |
//! | `hostile` | control files that lie, and servers that do not support ranges |

use camino::Utf8Path;
use std::os::unix::fs::MetadataExt as _;

use crate::harness::{publish_args, run, stx, tool};
use crate::site::{CHANNEL, DATES, Site, noise};

pub(crate) mod delta;
mod hostile;
mod metalink;

/// A file of packages of different sizes, with a header before each and padded to 2 KiB as in an ISO image; every twentieth package
/// depends on the day.
pub(crate) fn image(day: u64, packages: u64) -> Vec<u8> {
    let mut image = Vec::new();
    for package in 0..packages {
        let new = package % 20 == 7;
        let length = 20_000 + usize::try_from(package * 7_919 % 180_000).expect("small");
        // A rebuilt package has another size, which moves the data after it.
        let length = if new {
            length + usize::try_from(day).expect("small") * 3_000
        } else {
            length
        };
        let seed = if new {
            1_000_000 * day + package
        } else {
            package
        };
        image.extend_from_slice(format!("package {package}").as_bytes());
        image.extend_from_slice(&noise(seed, length));
        image.resize(image.len().next_multiple_of(2048), 0);
    }
    image
}

fn iso(date: &str) -> String {
    format!("{CHANNEL}/{date}/outputs/iso/bootimage.iso")
}

/// The number of bytes that `zsync` reports as fetched.
pub(crate) fn fetched(said: &str) -> u64 {
    let (_, rest) = said.rsplit_once("fetched ").expect("a count");
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next();
    digits.unwrap_or_default().parse().expect("a number")
}

/// Runs `zsync` in `dir`; returns its output.
pub(crate) fn zsync(dir: &Utf8Path, seed: &Utf8Path, to: &str, url: &str) -> String {
    let mut command = tool("zsync", ["-i", seed.as_str(), "-o", to, url]);
    let ran = run(command.current_dir(dir)).code(0);
    ran.stdout + &ran.stderr
}

#[test]
fn zsync_builds_the_next_image_from_the_previous_one() {
    let (old, new) = (image(1, 300), image(2, 300));
    let site = Site::new(&[&old, &new]);
    let nginx = site.serve("");
    let dir = site.to("zsync");
    let seed = site.mirror().join(iso(DATES[0]));
    let said = zsync(
        &dir,
        &seed,
        "new.iso",
        &nginx.url(&format!("{}.zsync", iso(DATES[1]))),
    );
    assert!(said.contains("checksum matches OK"), "{said}");
    assert!(fs_err::read(dir.join("new.iso")).expect("an image") == new);
    let most = new.len() as u64 / 10;
    assert!(fetched(&said) <= most, "{most}: {said}");

    // The sums contain it like every other file of the build.
    let build = site.mirror().join(CHANNEL).join(DATES[1]);
    let check = run(tool("sha256sum", ["--check", "SHA256SUMS"]).current_dir(&build)).ok();
    assert!(
        check.contains("outputs/iso/bootimage.iso.zsync: OK"),
        "{check}"
    );
}

#[test]
fn the_control_file_equals_that_of_zsyncmake_except_for_date_and_lengths_of_sums() {
    let new = image(2, 300);
    let site = Site::new(&[&new]);
    let ours = fs_err::read(site.mirror().join(format!("{}.zsync", iso(DATES[0])))).expect("ours");
    let made = site.to("made").join("theirs");
    let file = site.mirror().join(iso(DATES[0]));
    run(&mut tool(
        "zsyncmake",
        ["-o", made.as_str(), "-u", "bootimage.iso", file.as_str()],
    ))
    .ok();
    let theirs = fs_err::read(made).expect("theirs");
    let header = |bytes: &[u8]| {
        let end = bytes
            .windows(2)
            .position(|pair| pair == b"\n\n")
            .expect("an end");
        let text = str::from_utf8(&bytes[..end]).expect("text");
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("MTime: ") && !line.starts_with("Hash-Lengths: "));
        (
            lines.map(str::to_owned).collect::<Vec<_>>(),
            bytes[end + 2..].to_vec(),
        )
    };
    let ((ours, our_sums), (theirs, their_sums)) = (header(&ours), header(&theirs));
    assert_eq!(ours, theirs);
    assert!(
        our_sums.len() >= their_sums.len(),
        "no less sure than theirs"
    );
}

#[test]
fn a_linked_image_reuses_its_control_file_and_is_not_read() {
    let image = image(1, 200);
    assert!(image.len() > 16 << 20, "large enough for a control file");
    let site = Site::new(&[&image]);
    let tree = site.dir.path().join("tree");
    // A file that was changed in the last two seconds is not remembered, and its times are compared in whole seconds.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let publish = |date: &str, command: &mut std::process::Command| {
        let args = publish_args(tree.as_str(), CHANNEL, date, "success");
        run(command
            .args(["--mirror", site.mirror().as_str()])
            .args(args))
        .ok();
    };
    publish("20200101T120000Z", &mut stx::<&str>([]));
    let traced = |date: &str, config: &str| {
        let (trace, file) = (
            site.dir.path().join("trace"),
            site.dir.path().join("c.toml"),
        );
        fs_err::write(&file, config).expect("written");
        let binary = crate::harness::binary();
        let mut command = tool(
            "strace",
            [
                "-f",
                "-e",
                "trace=open,openat",
                "-o",
                trace.as_str(),
                binary.as_str(),
            ],
        );
        publish(date, command.args(["--config", file.as_str()]));
        let trace = fs_err::read_to_string(&trace).expect("a trace");
        let opened = |name: &str| trace.lines().filter(|line| line.contains(name)).count();
        let source = tree.join("outputs/iso/bootimage.iso\"");
        (opened("bootimage.iso.zsync"), opened(source.as_str()))
    };
    let (without, searched) = traced("20200102T000000Z", "[zsync]\nenabled = false\n");
    let (with, read) = traced("20200103T000000Z", "");
    assert_eq!(
        (without, with > 0),
        (0, true),
        "the control file is taken over"
    );
    assert_eq!(
        read, searched,
        "the image is searched, and not read for its control file"
    );
    let inode = |date: &str, suffix: &str| {
        let file = site.mirror().join(iso(date) + suffix);
        fs_err::metadata(file).expect("a file").ino()
    };
    for suffix in ["", ".zsync"] {
        assert_eq!(inode(DATES[0], suffix), inode("20200103T000000Z", suffix));
    }
}

#[test]
fn no_control_files_are_made_if_the_configuration_disables_them() {
    let site = Site::new(&[]);
    let config = site.dir.path().join("stx-builds.toml");
    let image = image(1, 100);
    for (day, (table, made)) in [
        ("enabled = false", false),
        ("min_size = \"1 GiB\"", false),
        ("files = [\"outputs/installer/*\"]", false),
        ("min_size = 1", true),
    ]
    .into_iter()
    .enumerate()
    {
        fs_err::write(&config, format!("[zsync]\n{table}\n")).expect("written");
        let date = format!("2020020{}T000000Z", day + 1);
        let tree = site.dir.path().join("tree");
        let file = tree.join("outputs/iso/bootimage.iso");
        fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs_err::write(&file, &image).expect("a file");
        run(stx([
            "--mirror",
            site.mirror().as_str(),
            "--config",
            config.as_str(),
        ])
        .args(publish_args(tree.as_str(), CHANNEL, &date, "success")))
        .ok();
        let control = site.mirror().join(format!("{}.zsync", iso(&date)));
        assert_eq!(control.exists(), made, "{table}");
    }
}
