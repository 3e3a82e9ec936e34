//! Labs: commands that test the builds that the service publishes.

use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::Value;

use super::Site;
use super::verdicts::{green, requests, shown};
use crate::harness::run;

/// Determines the verdict from a file of the build; for a slow build, writes its process id and waits.
const LAB: &str = r#"set -e
test -f "$BUILD_PATH/build.json"
echo "testing $BUILD with $POOL"
echo "https://lab.example/$BUILD_DATE" > "$RESULT_URL_FILE"
case $(cat "$BUILD_PATH/outputs/wheels/message.whl") in
one) exit 0 ;;
two) exit 2 ;;
three) echo "the controller hangs" >&2; exit 1 ;;
slow) echo $$ > "$PIDS.new"; mv "$PIDS.new" "$PIDS"; sleep 1000 & wait ;;
esac
"#;

fn site(more: &str) -> Site {
    let site = Site::new("", "");
    let dir = site.small.dir.path();
    fs_err::write(site.small.at("lab.sh"), LAB).expect("a script");
    let lab = format!(
        "poll = \"1s\"\n[[lab]]\nname = \"sanity\"\nchannel = \"master/*\"\ncommand = [\"sh\", \"{dir}/lab.sh\"]\n\
         environment = {{ POOL = \"simplex\", PIDS = \"{dir}/pid\" }}\n{more}"
    );
    site.configure("", &lab);
    site
}

/// True if `count` requests for verdicts exist and all have ended.
fn over(site: &Site, count: usize) -> bool {
    let all = requests(site);
    all.len() == count && all.iter().all(|request| !request["end"].is_null())
}

#[test]
fn the_exit_codes_of_a_lab_set_the_verdicts() {
    let site = site("");
    let checked = run(&mut site.stx(&["daemon", "--check"])).code(0).stdout;
    assert!(checked.contains("lab sanity"), "{checked}");
    assert!(
        checked.contains("after each success, 14400 s at most"),
        "{checked}"
    );
    let daemon = site.start();
    let build = |index: usize| format!("master/centos/{}", site.small.builds()[index]);
    let newest = |index: usize| shown(&site, &build(index))[0].clone();
    site.until("the first verdict", || {
        site.log().contains("green: recorded, by sanity")
    });
    let verdict = newest(0);
    let said = format!("testing {} with simplex", build(0));
    assert_eq!(
        (&verdict["verdict"], &verdict["reason"]),
        (&"green".into(), &said.into())
    );
    let link = format!("https://lab.example/{}", site.small.builds()[0]);
    assert_eq!(
        (&verdict["author"], &verdict["url"]),
        (&"sanity".into(), &link.into())
    );
    assert_eq!(green(&site).as_ref(), site.small.builds().first());

    site.commit("two");
    site.until("the second verdict", || over(&site, 2));
    assert_eq!(newest(1)["verdict"], "yellow");
    site.commit("three");
    site.until("the third verdict", || over(&site, 3));
    let (verdict, reason) = (newest(2)["verdict"].clone(), newest(2)["reason"].clone());
    assert_eq!(verdict, "red");
    let reason = reason.as_str().expect("a reason");
    assert!(reason.ends_with("| the controller hangs"), "{reason}");
    assert_eq!(green(&site).as_ref(), site.small.builds().first());

    // A failed build is published, and not tested.
    site.small.commit("image.sh", "exit 3\n");
    site.until("the failed build", || {
        site.log().contains("published, fail")
    });
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(over(&site, 3), "{:#?}", requests(&site));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    run(&mut site.stx(&["verify"])).code(0);
}

#[test]
fn a_test_runs_beside_builds_restarts_after_a_crash_and_can_be_cancelled() {
    let site = site("");
    site.commit("slow");
    let daemon = site.start();
    let pid = || {
        site.until_file("pid");
        let text = fs_err::read_to_string(site.small.at("pid")).expect("a pid");
        fs_err::remove_file(site.small.at("pid")).expect("removed");
        Pid::from_raw(text.trim().parse().expect("a pid")).expect("a pid")
    };
    let first = pid();
    let status = || run(&mut site.stx(&["status"])).code(0).stdout;
    assert!(status().contains("by sanity (request"), "{}", status());
    // The next build does not wait, but its test does.
    site.commit("one");
    site.until("the build", || site.messages() == ["slow", "one"]);
    site.until("its test", || requests(&site).len() == 2);
    test_kill_process(first).expect("the first test runs");

    daemon.signal(Signal::KILL);
    assert_eq!(daemon.end(), None);
    test_kill_process(first).expect("it outlives the service");
    let daemon = site.start();
    site.until("its end", || test_kill_process(first).is_err());
    let second = pid();
    let oldest = |site: &Site| requests(site).last().expect("a request").clone();
    assert_eq!(oldest(&site)["starts"], 2);
    let number = oldest(&site)["id"].to_string();
    run(&mut site.stx(&["trigger", "--cancel", &number])).code(0);
    site.until("the end", || oldest(&site)["end"]["outcome"] == "cancelled");
    test_kill_process(second).expect_err("it was ended");
    site.until("the next test", || over(&site, 2));
    assert_eq!(green(&site).as_ref(), site.small.builds().last());
    assert_eq!(
        shown(&site, &format!("master/centos/{}", site.small.builds()[0])),
        Vec::<Value>::new()
    );
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_test_that_times_out_is_red_and_one_that_cannot_start_gives_no_verdict() {
    let more = "[[lab]]\nname = \"slow\"\nchannel = \"**\"\ncommand = [\"sleep\", \"100\"]\ntimeout = \"1s\"\n\
                [[lab]]\nname = \"broken\"\nchannel = \"**\"\ncommand = [\"./no-such-lab\"]\n\
                [[lab]]\nname = \"elsewhere\"\nchannel = \"release/**\"\ncommand = [\"true\"]\n";
    let site = site(more);
    let daemon = site.start();
    site.until("the build", || site.log().contains("published, success"));
    site.until("the verdicts", || over(&site, 3));
    let build = format!("master/centos/{}", site.small.builds()[0]);
    let verdicts = shown(&site, &build);
    let slow = verdicts.iter().find(|verdict| verdict["author"] == "slow");
    let slow = slow.expect("a verdict");
    assert_eq!(
        (&slow["verdict"], &slow["reason"]),
        (&"red".into(), &"timed out after 1s".into())
    );
    assert!(verdicts.iter().all(|verdict| verdict["author"] != "broken"));
    let listed = run(&mut site.stx(&["history", "--verdicts"]))
        .code(0)
        .stdout;
    let line = listed.lines().find(|line| line.contains("lab broken"));
    let line = line.expect("a line");
    assert!(
        line.contains("not tested") && line.contains("no-such-lab"),
        "{line}"
    );
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
}
