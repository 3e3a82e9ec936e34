//! The locks: the commands that exclude each other, and those that never wait.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use super::{CHANNELS, Site, date};
use crate::harness::{Ran, assert_whole, builds, run, wait, write_script};

/// A `createrepo_c` whose first call continues to write to its directory until it is told to stop.
struct Slow {
    bin: Utf8PathBuf,
}

impl Slow {
    fn new(site: &Site) -> Self {
        let bin = site.dir.path().join("bin");
        fs_err::create_dir(&bin).expect("a directory");
        let config = fs_err::read_to_string(site.config()).expect("a configuration");
        let config = format!("metadata = \"createrepo_c\"\n{config}");
        fs_err::write(site.config(), config).expect("a configuration");
        let script = format!(
            "#!/bin/sh\n\
             if mkdir {bin}/first 2>/dev/null; then\n\
             : > {bin}/started; i=0\n\
             while [ ! -e {bin}/stop ]; do i=$((i+1)); mkdir -p late; : > late/$i; done 2>/dev/null\n\
             rm -rf late; : > {bin}/ended\n\
             fi\n\
             PATH=${{PATH#*:}} exec createrepo_c \"$@\"\n"
        );
        write_script(&bin.join("createrepo_c"), &script);
        Self { bin }
    }

    fn with(&self, mut command: Command) -> Command {
        let path = std::env::var("PATH").expect("a PATH");
        command.env("PATH", format!("{}:{path}", self.bin));
        command
    }

    /// Starts a publisher, and waits until its `createrepo_c` writes.
    fn start(&self, command: Command) -> Child {
        let child = self
            .with(command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        self.wait_for("started");
        child
    }

    fn stop(&self) {
        fs_err::write(self.bin.join("stop"), "").expect("a file");
        self.wait_for("ended");
    }

    fn wait_for(&self, name: &str) {
        wait(name, || self.bin.join(name).exists());
    }
}

/// Runs a command that must not wait for any other.
fn at_once(mut command: Command) -> Ran {
    let started = Instant::now();
    let ran = run(&mut command);
    assert!(
        // The holder of the lock ends only when the test says so.
        started.elapsed() < Duration::from_secs(30),
        "{command:?} waited"
    );
    ran
}

#[test]
fn a_second_publisher_is_refused_at_once_and_readers_never_wait() {
    let site = Site::new(1);
    let [first, second, third] = [1, 2, 3].map(date);
    run(&mut site.publish(0, CHANNELS[0], &first)).ok();
    let slow = Slow::new(&site);
    let mut publisher = slow.start(site.publish(0, CHANNELS[0], &second));
    let busy = at_once(slow.with(site.publish(0, CHANNELS[0], &third))).code(6);
    assert!(busy.stderr.contains(CHANNELS[0]), "{}", busy.stderr);
    let listed = at_once(site.stx(&["list"])).ok();
    assert!(
        listed.contains(&first) && !listed.contains(&second),
        "{listed}"
    );
    at_once(site.stx(&["verify"])).ok();
    // Other channels are not blocked.
    at_once(slow.with(site.publish(0, CHANNELS[1], &second))).ok();
    slow.stop();
    assert!(publisher.wait().expect("it ends").success());
    assert_eq!(builds(&site.mirror(), CHANNELS[0]), [first, second]);
    assert_whole(&site.mirror(), CHANNELS[0]);
}

#[test]
fn a_child_of_a_killed_publisher_holds_the_lock_while_it_writes() {
    let site = Site::new(1);
    let date = date(1);
    let slow = Slow::new(&site);
    let mut publisher = slow.start(site.publish(0, CHANNELS[0], &date));
    publisher.kill().expect("a running process");
    publisher.wait().expect("it ends");
    // The orphan still writes: its directory can neither be removed nor used for staging.
    for _ in 0..5 {
        at_once(slow.with(site.publish(0, CHANNELS[0], &date))).code(6);
        at_once(site.stx(&["verify", "--repair"])).ok();
    }
    slow.stop();
    wait("the lock ends with the orphan", || {
        let ran = run(&mut slow.with(site.publish(0, CHANNELS[0], &date)));
        assert!(matches!(ran.code, Some(0 | 6)), "{ran:?}");
        ran.code == Some(0)
    });
    assert_eq!(builds(&site.mirror(), CHANNELS[0]), [date]);
    assert_whole(&site.mirror(), CHANNELS[0]);
    run(&mut site.stx(&["verify"])).ok();
}
