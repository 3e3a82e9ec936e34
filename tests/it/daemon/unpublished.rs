//! A build that cannot be published.

use rustix::process::Signal;

use super::Site;
use crate::harness::run;

#[test]
fn a_build_of_a_commit_is_published_once_the_mirror_is_back_although_no_commit_follows() {
    let site = Site::new("", "poll = \"1s\"");
    let daemon = site.start_and_hold_second();
    // As if its disk was unmounted.
    let (mirror, away) = (site.small.at("mirror"), site.small.at("away"));
    fs_err::rename(&mirror, &away).expect("moved");
    fs_err::remove_file(site.small.at("hold")).expect("a file");
    site.until("the refusal", || site.log().contains("is not published:"));
    let status = run(&mut site.stx(&["status"])).ok();
    assert!(status.contains("is published again at"), "{status}");
    assert!(status.contains("not-published master/centos"), "{status}");
    let phases = site.log().matches("run 4: master").count();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));

    fs_err::rename(&away, &mirror).expect("moved");
    let daemon = site.start();
    site.until("the second build", || site.messages() == ["one", "two"]);
    site.until("the end of the alarm", || {
        !run(&mut site.stx(&["status"]))
            .ok()
            .contains("not-published")
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(site.log().matches("run 4: master").count(), phases);
    let history = site.history();
    let runs = history[0]["runs"].as_array().expect("runs");
    let ends: Vec<_> = runs.iter().map(|run| &run["end"]["outcome"]).collect();
    assert_eq!(ends, ["requeued", "published"]);
    assert_eq!(
        runs[1]["phases"].as_array().map(Vec::len),
        Some(0),
        "{runs:?}"
    );
    let notices = fs_err::read_to_string(site.small.at("notices")).unwrap_or_default();
    assert_eq!(notices.matches("\"failure\"").count(), 1, "{notices}");
    assert!(notices.contains("\"recovery\""), "{notices}");
}
