//! `fetch`, and other commands that only read, over a real nginx and in a directory.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use fs_err::os::unix::fs::symlink;
use rustix::process::{Pid, Signal, kill_process};
use stx_layout::size;

use crate::harness::{Ran, names, run, stx, tool, wait};
use crate::site::{CHANNEL, DATES, Site, noise};

const MIB: usize = 1 << 20;

fn fetch(mirror: &str, build: &str, what: &[&str], to: &Utf8Path) -> std::process::Command {
    let mut command = stx(["--mirror", mirror, "--format", "json", "fetch", build]);
    command.args(what).args(["--to", to.as_str()]);
    command
}

fn transferred(ran: &Ran) -> u64 {
    ran.json()["transferred"]
        .as_u64()
        .expect("a number of bytes")
}

/// True if a file is a partial download.
fn is_part(name: &str) -> bool {
    Utf8Path::new(name).extension() == Some("part")
}

/// Waits until a fetch has written `bytes` to a partial download in `to`.
fn wait_for_part(to: &Utf8Path, bytes: u64, child: &mut Child) {
    wait(&format!("{bytes} bytes are there"), || {
        let part = names(to).into_iter().find(|name| is_part(name));
        let length = part.and_then(|part| Some(fs_err::metadata(to.join(part)).ok()?.len()));
        let is_there = length.is_some_and(|length| length >= bytes);
        let ended = child.try_wait().expect("a child");
        assert!(
            is_there || ended.is_none(),
            "it ended before {bytes} bytes: {ended:?}"
        );
        is_there
    });
}

#[test]
fn reading_over_http_gives_the_result_of_the_directory() {
    let site = Site::new(&[b"an image", b"another image"]);
    let nginx = site.serve("location ^~ /.stx { return 404; }");
    let (url, dir) = (nginx.url(""), site.mirror());
    for command in [
        &["list"][..],
        &["list", CHANNEL],
        &["show", "master/centos/latest_build"],
    ] {
        let said = |mirror: &str| {
            let ran = run(stx(["--mirror", mirror, "--format", "json"]).args(command)).code(0);
            let mut said = ran.json();
            let builds = match said["builds"].as_array_mut() {
                Some(builds) => builds.iter_mut().collect(),
                None => vec![&mut said],
            };
            for build in builds {
                let build = build.as_object_mut().expect("a build");
                let known = build.remove("retention").expect("what the rules say");
                assert_eq!(known.is_null(), mirror.starts_with("http"), "{known}");
            }
            said["mirror"].take();
            (said, ran.stderr)
        };
        let ((there, note), (here, _)) = (said(&url), said(dir.as_str()));
        assert_eq!(there, here, "{command:?}");
        assert!(note.contains("shows neither pins nor readers"), "{note}");
    }
    let ran = run(&mut stx(["--mirror", &url, "verify"])).code(0);
    assert!(ran.stderr.contains("behind a URL"), "{}", ran.stderr);
    let refused = run(&mut stx(["--mirror", &url, "verify", "--repair"])).code(2);
    assert!(
        refused
            .stderr
            .contains("needs a mirror that is not behind a web server")
    );

    // One byte, with the same size: only the sum reveals it.
    let image = dir
        .join(CHANNEL)
        .join(DATES[0])
        .join("outputs/iso/bootimage.iso");
    fs_err::remove_file(&image).expect("removed");
    fs_err::write(&image, "an imagE").expect("written");
    let ran = run(&mut stx(["--mirror", &url, "--format", "json", "verify"])).code(4);
    let findings = ran.json()["findings"].clone();
    assert_eq!(findings.as_array().map(Vec::len), Some(1), "{findings}");
    assert_eq!(findings[0]["kind"], "changed");
    let fetched = run(&mut fetch(
        &url,
        &format!("{CHANNEL}/{}", DATES[0]),
        &["iso"],
        &site.to("changed"),
    ))
    .code(4);
    assert!(
        fetched.stderr.contains("corrupt on the mirror"),
        "{}",
        fetched.stderr
    );
    assert!(names(&site.to("changed")).is_empty());
}

#[test]
fn fetch_names_the_build_of_the_alias_and_fetches_nothing_twice() {
    let site = Site::new(&[b"an image", b"another image"]);
    let nginx = site.serve("");
    let to = site.to("here");
    for (transfer, what) in [
        (13 + 16, &["iso", "installer"][..]),
        (0, &["iso", "installer"]),
    ] {
        let ran = run(&mut fetch(&nginx.url(""), CHANNEL, what, &to)).code(0);
        let said = format!("{CHANNEL}/latest_build is {}", DATES[1]);
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
        assert_eq!(transferred(&ran), transfer);
        assert_eq!(ran.json()["build"], format!("{CHANNEL}/{}", DATES[1]));
    }
    assert_eq!(names(&to), ["bootimage.iso", "installer"]);
    let image = fs_err::read(to.join("bootimage.iso")).expect("an image");
    assert_eq!(image, b"another image");

    let ran = run(stx(["--mirror", &nginx.url(""), "fetch", CHANNEL, "iso"]).arg("--print-url"));
    let place = nginx.url(&format!("{CHANNEL}/{}/outputs/iso/bootimage.iso", DATES[1]));
    assert_eq!(ran.ok(), format!("{place}\n"));
    let there = run(&mut tool("curl", ["--fail", "--silent", &place])).ok();
    assert_eq!(there, "another image");

    let gone = format!("{CHANNEL}/20190101T000000Z");
    for mirror in [nginx.url(""), site.mirror().into_string()] {
        let ran = run(&mut fetch(&mirror, &gone, &["iso"], &to)).code(5);
        let newest = format!("the newest good build is {CHANNEL}/{}", DATES[1]);
        assert!(ran.stderr.contains(&newest), "{}", ran.stderr);
    }
}

#[test]
fn a_killed_fetch_transfers_only_the_rest_when_it_is_rerun() {
    let image = noise(1, 24 * MIB);
    let site = Site::new(&[&image]);
    let to = site.to("here");
    let before = {
        let slow = site.serve("limit_rate 8m;");
        let mut child = fetch(&slow.url(""), CHANNEL, &["iso"], &to)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        wait_for_part(&to, 4 << 20, &mut child);
        child.kill().expect("killed");
        child.wait().expect("it ends");
        let left = names(&to);
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(is_part(&left[0]), "{left:?}");
        fs_err::metadata(to.join(&left[0])).expect("a part").len()
    };
    let fast = site.serve("");
    let ran = run(&mut fetch(&fast.url(""), CHANNEL, &["iso"], &to)).code(0);
    assert_eq!(transferred(&ran), image.len() as u64 - before);
    let said = format!("{} transferred", size(image.len() as u64 - before));
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    assert_eq!(names(&to), ["bootimage.iso"]);
    let got = fs_err::read(to.join("bootimage.iso")).expect("an image");
    assert!(got == image, "the image is another one");
}

#[test]
fn a_build_retired_during_the_fetch_is_reported_with_the_newest_build() {
    let image = noise(2, 8 * MIB);
    let site = Site::new(&[&image, b"the newest image"]);
    let slow = site.serve("limit_rate 8m;");
    let to = site.to("here");
    let build = format!("{CHANNEL}/{}", DATES[0]);
    let mut command = fetch(&slow.url(""), &build, &["iso", "installer"], &to);
    let mut child = command
        .args(["--connections", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_for_part(&to, 1, &mut child);
    let dir = site.mirror().join(&build);
    fs_err::rename(&dir, site.dir.path().join("retired")).expect("moved away");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    for text in [
        "outputs/installer/vmlinuz: not on the mirror",
        "it was retired",
        &format!("the newest good build is {CHANNEL}/{}", DATES[1]),
    ] {
        assert!(said.contains(text), "{text} is not in {said}");
    }
    // A file that was open when the build was removed is complete.
    assert!(fs_err::read(to.join("bootimage.iso")).expect("an image") == image);
}

#[test]
fn a_build_in_a_directory_is_held_while_it_is_fetched() {
    let site = Site::new(&[&noise(3, 48 * MIB)]);
    let to = site.to("here");
    let build = site.mirror().join(CHANNEL).join(DATES[0]);
    let is_free = || {
        run(&mut tool(
            "flock",
            ["--exclusive", "--nonblock", build.as_str(), "true"],
        ))
        .code
            == Some(0)
    };
    assert!(is_free());
    let mut child = fetch(site.mirror().as_str(), CHANNEL, &["iso"], &to)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    wait_for_part(&to, 1, &mut child);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).expect("stopped");
    let free = is_free();
    kill_process(pid, Signal::CONT).expect("it goes on");
    assert!(child.wait().expect("it ends").success());
    assert!(!free, "nothing keeps the build while it is read");
    assert!(is_free());
}

/// 5 s, or the number of seconds in `STX_TEST_SECONDS`.
fn flipping_time() -> Duration {
    let seconds = std::env::var("STX_TEST_SECONDS");
    let seconds = seconds.map_or(5, |text| {
        text.parse().expect("STX_TEST_SECONDS is a number")
    });
    Duration::from_secs(seconds)
}

#[test]
fn a_moving_alias_never_mixes_two_builds() {
    let images = [noise(4, MIB), noise(5, MIB)];
    let site = Site::new(&[&images[0], &images[1]]);
    let nginx = site.serve("");
    let (stop, flips, fetches) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let seen = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let channel = site.mirror().join(CHANNEL);
            while !stop.load(Ordering::Relaxed) {
                let flip = flips.fetch_add(1, Ordering::Relaxed);
                let next = channel.join("next");
                symlink(DATES[usize::from(flip % 2 == 0)], &next).expect("a symlink");
                fs_err::rename(&next, channel.join("latest_build")).expect("moved over");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let end = Instant::now() + flipping_time();
        let readers: Vec<_> = (0..8)
            .map(|reader| {
                let (site, nginx, images, fetches, seen) =
                    (&site, &nginx, &images, &fetches, &seen);
                scope.spawn(move || {
                    let to = site.to(&format!("reader-{reader}"));
                    while Instant::now() < end {
                        let ran = run(&mut fetch(
                            &nginx.url(""),
                            CHANNEL,
                            &["iso", "context", "installer"],
                            &to,
                        ))
                        .code(0);
                        let build = ran.json()["build"].as_str().expect("a build").to_owned();
                        let index = usize::from(build.ends_with(DATES[1]));
                        let read = |name: &str| fs_err::read(to.join(name)).expect("a file");
                        assert!(
                            read("bootimage.iso") == images[index],
                            "{build}: another image"
                        );
                        assert_eq!(read("installer/vmlinuz"), DATES[index].as_bytes());
                        let context = String::from_utf8(read("CONTEXT")).expect("UTF-8");
                        assert!(context.contains(DATES[index]), "{build}: {context}");
                        assert_eq!(names(&to), ["CONTEXT", "bootimage.iso", "installer"]);
                        fetches.fetch_add(1, Ordering::Relaxed);
                        seen[index].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let failed = readers.into_iter().map(std::thread::ScopedJoinHandle::join);
        let failed: Vec<_> = failed.filter(Result::is_err).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(failed.is_empty(), "{} readers failed", failed.len());
    });
    let (flips, fetches) = (flips.into_inner(), fetches.into_inner());
    let [first, second] = seen.map(AtomicU64::into_inner);
    println!("{fetches} fetches ({first} and {second} of the two builds), {flips} flips");
    assert!(
        first > 0 && second > 0,
        "both builds were seen: {first}, {second}"
    );
    assert!(
        fetches >= 16 && flips >= 50,
        "{fetches} fetches, {flips} flips"
    );
}

/// Many object stores decode a bare `+` as a space, although a URL's path may contain it. This server refuses unencoded characters.
#[test]
fn names_are_requested_percent_encoded() {
    let (site, channel, date) = (Site::new(&[]), "feature/c++/centos", DATES[0]);
    let odd = "outputs/installer/libstdc++-8.5^1~2 (a)#1.tar";
    let file = site.dir.path().join("tree").join(odd);
    fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
    fs_err::write(&file, "a library").expect("a file");
    site.publish_to(channel, date, "success", b"an image");
    let nginx =
        site.serve("if ($request_uri ~ \"[^A-Za-z0-9._~/%-]\") { return 403; } location ^~ /.stx { return 404; }");
    let url = nginx.url("");
    run(&mut stx(["--mirror", &url, "list", channel])).ok();
    run(&mut stx(["--mirror", &url, "verify"])).ok();
    let to = site.to("fetched");
    run(&mut fetch(&url, channel, &[odd], &to)).code(0);
    let fetched = to.join(odd.strip_prefix("outputs/").expect("an output"));
    assert_eq!(fs_err::read(fetched).expect("fetched"), b"a library");

    let shown = run(&mut fetch(&url, channel, &[odd, "--print-url"], &to)).code(0);
    let shown = shown.json()[0]["url"].as_str().expect("a URL").to_owned();
    let encoded = "/feature/c%2B%2B/centos/20200101T000000Z/outputs/installer/libstdc%2B%2B-8.5%5E1~2%20%28a%29%231.tar";
    assert!(shown.ends_with(encoded), "{shown}");
    let got = run(&mut tool("curl", ["--silent", "--fail", &shown])).ok();
    assert_eq!(got, "a library");

    let copy = site.dir.path().join("copy");
    run(&mut stx(["copy", &url, copy.as_str()])).ok();
    let copied = copy.join(channel).join(date).join(odd);
    assert_eq!(fs_err::read(copied).expect("copied"), b"a library");

    // The build exists; the reader should not search for it.
    fs_err::remove_file(site.mirror().join(channel).join(date).join(odd)).expect("removed");
    let ran = run(&mut fetch(&url, channel, &[odd], &site.to("again"))).code(5);
    assert!(
        ran.stderr.contains("this file is missing"),
        "{}",
        ran.stderr
    );
}
