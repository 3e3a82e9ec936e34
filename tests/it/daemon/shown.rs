//! The status document and the logs of running builds, as members of the spool's group see them.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use super::{Site, holding};
use crate::harness::{Ran, run, tool};

impl Site {
    /// The status document; `Null` while there is none.
    fn shown(&self) -> Value {
        let text = fs_err::read_to_string(self.small.at("state.spool/status.json"));
        text.map_or(Value::Null, |text| {
            serde_json::from_str(&text).expect("a whole document")
        })
    }

    /// Reads a file of the spool as a member of its group, or as somebody else.
    fn read_as(&self, group: &str, name: &str) -> Ran {
        let file = self.small.at("state.spool").join(name);
        run(&mut tool(
            "setpriv",
            [
                "--reuid=65534",
                "--regid=65534",
                group,
                "--",
                "cat",
                file.as_str(),
            ],
        ))
    }
}

#[test]
fn the_group_watches_builds_and_reads_their_redacted_logs_while_they_run() {
    let site = Site::new("", "schedule = \"0 6 * * *\"");
    fs_err::set_permissions(site.small.dir.path(), PermissionsExt::from_mode(0o755))
        .expect("a mode");
    let text = fs_err::read_to_string(site.small.at("stx-builds.toml")).expect("a configuration");
    let text = format!("{text}\n[privacy]\nhosts = [\"secret-builder.example\"]\n");
    fs_err::write(site.small.at("stx-builds.toml"), text).expect("a configuration");
    let dir = site.small.dir.path().to_owned();
    let says = format!("echo made on secret-builder.example\n{}", holding(&dir));
    site.small.commit("image.sh", &says);
    fs_err::write(site.small.at("hold"), "").expect("a file");

    let daemon = site.start();
    site.until("the document", || site.shown()["form"] == 1);
    let asked = run(&mut site.stx(&[
        "trigger", "master", "--reason", "please", "--format", "json",
    ]));
    let request = asked.code(0).json()["request"].as_u64().expect("a number");
    site.until_file("holds");
    let running = || site.shown()["running"][0].clone();
    let phase = |name: &str| {
        let running = running();
        let phases = running["phases"].as_array().cloned().unwrap_or_default();
        phases.into_iter().find(|phase| phase["name"] == name)
    };
    site.until("the phase", || {
        phase("image").is_some_and(|it| it["state"] == "running")
    });
    assert_eq!(running()["request"], request);
    let log = phase("image").expect("a phase")["log"].clone();
    let log = log.as_str().expect("a path").to_owned();
    let of_group = |name: &str| site.read_as("--groups=0", name);
    site.until("the line", || {
        let ran = of_group(&log);
        ran.stdout.contains("made on [redacted host]")
    });
    assert!(!of_group(&log).stdout.contains("secret-builder"));
    assert!(of_group("status.json").code(0).stdout.contains("please"));
    // Nobody else gets that far, and the log itself is still the service's own.
    for name in ["status.json", log.as_str()] {
        site.read_as("--clear-groups", name).code(1);
    }
    of_group("../state/master/centos/logs/image.log").code(1);

    // Killed, it shows the logs of the run again, and nothing of the one before.
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.end(), None);
    let stray = site.small.at("state.spool/running/99");
    fs_err::create_dir(&stray).expect("a directory");
    fs_err::remove_file(site.small.at("holds")).expect("a file");
    let daemon = site.start();
    site.until_file("holds");
    site.until("the line again", || {
        of_group(&log).stdout.contains("made on")
    });
    assert!(!stray.exists());
    assert_eq!(running()["interruptions"], 1);

    // A build that fails has its last lines in the history; nothing of a log stays after a stop.
    site.small
        .commit("image.sh", "echo it breaks here; exit 3\n");
    fs_err::remove_file(site.small.at("hold")).expect("a file");
    site.until("the end", || site.shown()["history"][0]["id"] == request);
    run(&mut site.stx(&["trigger", "master"])).code(0);
    site.until("the failure", || {
        let lines = &site.shown()["history"][0]["failing"]["log"];
        lines.to_string().contains("it breaks here")
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert!(!site.small.at("state.spool/running").exists());
}
