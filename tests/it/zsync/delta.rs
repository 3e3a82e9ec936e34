//! `fetch` of the next image, of which only a part is transferred.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use super::{image, iso};
use crate::harness::{Ran, names, run, stx, tool};
use crate::nginx::Nginx;
use crate::site::{CHANNEL, DATES, Site, noise};

/// Fetches the image of a build.
pub(crate) fn fetch(mirror: &str, build: &str, to: &Utf8Path) -> Command {
    let mut command = stx([
        "--mirror", mirror, "--format", "json", "fetch", build, "iso",
    ]);
    command.args(["--to", to.as_str()]);
    command
}

/// A number in the report.
pub(crate) fn number(ran: &Ran, name: &str) -> u64 {
    let report = ran.json();
    let files = report["files"].as_array().expect("files").iter();
    files
        .map(|file| file[name].as_u64().expect("a number"))
        .sum()
}

/// A mirror of two images behind nginx, which counts the sent bytes.
pub(super) struct Counted {
    pub(super) site: Site,
    log: Utf8PathBuf,
    nginx: Nginx,
}

impl Counted {
    pub(super) fn new(images: &[&[u8]], more: &str) -> Self {
        let site = Site::new(images);
        let log = site.dir.path().join("access.log");
        let nginx = site.serve(&format!("access_log {log}; {more}"));
        Self { site, log, nginx }
    }

    pub(super) fn url(&self) -> String {
        self.nginx.url("")
    }

    /// The number of body bytes of images and control files sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.answers().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The status and the number of sent body bytes of each request for an image or its control file.
    pub(super) fn answers(&self) -> Vec<(u64, u64)> {
        let log = self.nginx.log(&self.log);
        let lines = log.lines().filter(|line| line.contains("bootimage.iso"));
        let answers = lines.map(|line| {
            let (_, rest) = line.split_once("\" ").expect("a request");
            let mut numbers = rest.split(' ').map(|text| text.parse().expect("a number"));
            let mut next = || numbers.next().expect("a status and a count");
            (next(), next())
        });
        answers.collect()
    }
}

pub(super) fn build(day: usize) -> String {
    format!("{CHANNEL}/{}", DATES[day])
}

/// Checks that the fetched image is this one, and that there are no other files.
pub(super) fn is_there(to: &Utf8Path, image: &[u8]) {
    assert_eq!(names(to), ["bootimage.iso"]);
    let found = fs_err::read(to.join("bootimage.iso")).expect("an image");
    assert!(found == image, "another image");
}

/// Fetches the second image over the first one, from an nginx with `more` settings; returns the mirror, the image and the run.
pub(super) fn next_image(more: &str) -> (Counted, Vec<u8>, Ran) {
    let (old, new) = (image(1, 300), image(2, 300));
    let mirror = Counted::new(&[&old, &new], more);
    let to = mirror.site.to("here");
    fs_err::write(to.join("bootimage.iso"), &old).expect("written");
    let ran = run(&mut fetch(&mirror.url(), &build(1), &to)).code(0);
    is_there(&to, &new);
    (mirror, new, ran)
}

#[test]
fn a_tenth_of_the_next_image_is_transferred() {
    let (old, new) = (image(1, 300), image(2, 300));
    let mirror = Counted::new(&[&old, &new], "");
    let to = mirror.site.to("here");
    let first = run(&mut fetch(&mirror.url(), &build(0), &to)).code(0);
    assert_eq!(number(&first, "reused"), 0);
    is_there(&to, &old);
    let before = mirror.answers().len();
    let ran = run(&mut fetch(&mirror.url(), &build(1), &to)).code(0);
    is_there(&to, &new);
    let answers = &mirror.answers()[before..];
    let sent: u64 = answers.iter().map(|(_, bytes)| bytes).sum();
    let most = new.len() as u64 / 10;
    assert!(sent <= most, "{sent} of {} bytes", new.len());
    // 15 packages are new. One request asks for up to a MiB of ranges; two more ask for the size and for the control file.
    assert!(answers.len() <= 2 + 4, "{answers:?}");
    // One byte was requested to learn the size, and the server puts a head of several lines before each range.
    let transferred = number(&ran, "transferred");
    let heads = (sent - 1).checked_sub(transferred).expect("what was sent");
    assert!((1..15 * 200).contains(&heads), "{heads}: {}", ran.stdout);
    let control = mirror
        .site
        .mirror()
        .join(format!("{}.zsync", iso(DATES[1])));
    let control = fs_err::metadata(control).expect("a control file").len();
    assert_eq!(
        number(&ran, "reused") + transferred - control,
        new.len() as u64,
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("taken from older files"),
        "{}",
        ran.stderr
    );
    // A third fetch transfers nothing, not even a control file; one byte is requested, to learn the size.
    let before = mirror.sent();
    let ran = run(&mut fetch(&mirror.url(), &build(1), &to)).code(0);
    assert_eq!(
        (mirror.sent() - before, number(&ran, "transferred")),
        (1, 0)
    );
}

#[test]
fn a_server_of_single_ranges_is_asked_for_several_ranges_once() {
    let (mirror, new, ran) = next_image("max_ranges 1;");
    assert!(
        ran.stderr.contains("taken from older files"),
        "{}",
        ran.stderr
    );
    // Two whole answers: the control file, and the image in answer to several ranges, which was aborted.
    let answers = mirror.answers();
    let whole = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(whole, 2, "{answers:?}");
    let ranges: u64 = answers
        .iter()
        .filter(|(status, _)| *status == 206)
        .map(|(_, bytes)| bytes)
        .sum();
    assert!(ranges <= new.len() as u64 / 10, "{answers:?}");
}

#[test]
fn a_seed_is_found_automatically_named_or_disabled() {
    let (old, new) = (image(1, 200), image(2, 200));
    let mirror = Counted::new(&[&old, &new], "");
    let most = new.len() as u64 / 10;
    let fetched = |to: &Utf8Path, more: &[&str]| {
        let before = mirror.sent();
        run(fetch(&mirror.url(), &build(1), to).args(more)).code(0);
        let found = fs_err::read(to.join("bootimage.iso")).expect("an image");
        assert!(found == new, "another image");
        mirror.sent() - before
    };
    let beside = mirror.site.to("beside");
    fs_err::write(beside.join("yesterday.iso"), &old).expect("written");
    fs_err::write(beside.join("notes.txt"), "no image").expect("written");
    let sent = fetched(&beside, &[]);
    assert!(sent <= most, "{sent}");
    assert_eq!(
        fs_err::read(beside.join("yesterday.iso"))
            .expect("it is left")
            .len(),
        old.len()
    );

    let elsewhere = mirror.site.dir.path().join("an image");
    fs_err::write(&elsewhere, &old).expect("written");
    let sent = fetched(&mirror.site.to("named"), &["--seed", elsewhere.as_str()]);
    assert!(sent <= most, "{sent}");
    // Two seeds, each with one half.
    let halves = ["first", "second"].map(|name| mirror.site.dir.path().join(name));
    let (first, second) = old.split_at(old.len() / 2);
    fs_err::write(&halves[0], first).expect("written");
    fs_err::write(&halves[1], second).expect("written");
    let named = ["--seed", halves[0].as_str(), "--seed", halves[1].as_str()];
    let sent = fetched(&mirror.site.to("halves"), &named);
    assert!(sent <= most, "{sent}");

    let whole = mirror.site.to("whole");
    fs_err::write(whole.join("bootimage.iso"), &old).expect("written");
    assert_eq!(fetched(&whole, &["--whole"]), new.len() as u64);
    let missing =
        run(fetch(&mirror.url(), &build(1), &mirror.site.to("no")).args(["--seed", "/no/such"]));
    let missing = missing.code(2);
    assert!(
        missing.stderr.contains("open /no/such"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_killed_delta_fetch_is_resumed_and_transfers_little_twice() {
    let (old, new) = (image(1, 300), image(2, 300));
    let mirror = Counted::new(&[&old, &new], "limit_rate 200k;");
    let to = mirror.site.to("here");
    fs_err::write(to.join("bootimage.iso"), &old).expect("written");
    // The total duration, on a machine that may be busy.
    let undisturbed = mirror.site.to("undisturbed");
    fs_err::write(undisturbed.join("bootimage.iso"), &old).expect("written");
    let begun = Instant::now();
    run(&mut fetch(&mirror.url(), &build(1), &undisturbed)).code(0);
    let time = begun.elapsed().as_millis();
    let before = mirror.sent();
    let mut state = std::process::id();
    let (mut kills, mut parts, mut whole) = (0, 0, 1);
    while kills < 8 {
        let mut child = fetch(&mirror.url(), &build(1), &to)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wait = u128::from(state >> 16) * time / (1 << 16);
        std::thread::sleep(Duration::from_millis(u64::try_from(wait).expect("seconds")));
        if let Some(status) = child.try_wait().expect("a child") {
            assert!(status.success(), "{status}");
            is_there(&to, &new);
            fs_err::write(to.join("bootimage.iso"), &old).expect("written");
            whole += 1;
            continue;
        }
        child.kill().expect("killed");
        child.wait().expect("it ends");
        kills += 1;
        // Until the new image is complete, the old image keeps its name, and at most one partial download exists.
        let left = names(&to);
        assert!(
            left.contains(&"bootimage.iso".to_owned()) && left.len() <= 2,
            "{left:?}"
        );
        parts += left.len() - 1;
    }
    let fast = mirror.site.serve("");
    run(&mut fetch(&fast.url(""), &build(1), &to)).code(0);
    is_there(&to, &new);
    println!(
        "{kills} kills, {whole} times whole, {parts} unfinished files, {} bytes sent",
        mirror.sent()
    );
    assert!(
        parts > 0,
        "{kills} kills, {whole} times whole, {parts} unfinished files"
    );
    let control = fs_err::metadata(mirror.site.mirror().join(iso(DATES[1]) + ".zsync"));
    let control = control.expect("a control file").len();
    // The data in transit at each kill, a few ranges, and the control file each time.
    let most = whole * (new.len() as u64 / 10) + kills * (control + new.len() as u64 / 50);
    let sent = mirror.sent() - before;
    assert!(sent <= most, "{sent} of at most {most}");
}

#[test]
fn a_control_file_of_zsyncmake_is_accepted() {
    let (old, new) = (image(1, 200), image(2, 200));
    let site = Site::new(&[&old]);
    let tree = site.dir.path().join("tree/outputs/iso");
    let source = site.dir.path().join("new.iso");
    fs_err::write(&source, &new).expect("written");
    let control = tree.join("bootimage.iso.zsync");
    run(&mut tool(
        "zsyncmake",
        [
            "-o",
            control.as_str(),
            "-u",
            "bootimage.iso",
            source.as_str(),
        ],
    ))
    .ok();
    site.publish(&new, DATES[1]);
    let published = site.mirror().join(format!("{}.zsync", iso(DATES[1])));
    let own = fs_err::read(&control).expect("that of zsyncmake");
    assert_eq!(
        fs_err::read(published).expect("a control file"),
        own,
        "it is left as it is"
    );
    let nginx = site.serve("");
    let to = site.to("here");
    fs_err::write(to.join("bootimage.iso"), &old).expect("written");
    let ran = run(&mut fetch(&nginx.url(""), &build(1), &to)).code(0);
    is_there(&to, &new);
    let transferred = number(&ran, "transferred");
    assert!(transferred <= new.len() as u64 / 10, "{transferred}");
}

/// Fetches two images one after the other from a server of any kind.
pub(crate) fn next_day(url: &str, site: &Site) {
    let channel = "feature/zsync/centos";
    let (old, new) = (image(1, 200), image(2, 200));
    let to = site.to("zsync");
    for (image, date) in [(&old, DATES[0]), (&new, DATES[1])] {
        site.publish_to(channel, date, "success", image);
        let ran = run(&mut fetch(url, channel, &to)).code(0);
        is_there(&to, image);
        let transferred = number(&ran, "transferred");
        let most = if date == DATES[0] {
            image.len()
        } else {
            image.len() / 10
        };
        assert!(transferred <= most as u64, "{url}: {transferred}");
    }
}

#[test]
fn an_image_without_a_useful_seed_is_fetched_completely() {
    let new = noise(9, 17 << 20);
    let mirror = Counted::new(&[b"another", &new], "");
    let to = mirror.site.to("here");
    fs_err::write(to.join("bootimage.iso"), noise(10, 18 << 20)).expect("written");
    let ran = run(&mut fetch(&mirror.url(), &build(1), &to)).code(0);
    is_there(&to, &new);
    assert!(
        ran.stderr.contains("contains too little of it"),
        "{}",
        ran.stderr
    );
    assert_eq!(number(&ran, "reused"), 0);
    let sent = mirror.sent();
    assert!(sent < new.len() as u64 + (new.len() as u64 / 50), "{sent}");
}
