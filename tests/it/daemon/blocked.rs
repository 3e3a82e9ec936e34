//! Retention that keeps builds that are due, and the messages about it.

use rustix::process::Signal;

use super::Site;
use crate::harness::run;

#[test]
fn blocked_retention_is_an_alarm_until_it_is_released() {
    let site = Site::new("prune = \"* * * * * *\"", "");
    for day in 1..=4 {
        // There were no builds for years after that: the clock may be wrong.
        run(site
            .small
            .build(&format!("2020010{day}T000000Z"))
            .args(["--force"]))
        .ok();
    }
    let daemon = site.start();
    let metric = || {
        let text = fs_err::read_to_string(site.small.at("stx-builds.prom")).unwrap_or_default();
        let mut lines = text.lines();
        let line = lines.find(|line| line.contains("kind=\"prune-blocked\""));
        line.map(str::to_owned).unwrap_or_default()
    };
    let notices = || fs_err::read_to_string(site.small.at("notices")).unwrap_or_default();
    site.until("the metric", || metric().ends_with("subject=\"mirror\"} 1"));
    let status = run(&mut site.stx(&["status"])).ok();
    let alarm = status.lines().find(|line| line.contains("prune-blocked"));
    let alarm = alarm.expect("an alarm");
    assert!(alarm.contains("`prune --allow 2`"), "{alarm}");
    site.until("the notice", || {
        notices().contains("\"kind\":\"prune-blocked\"")
    });

    run(&mut site.stx(&["prune", "--allow", "2"])).ok();
    assert_eq!(
        site.small.builds(),
        ["20200103T000000Z", "20200104T000000Z"]
    );
    site.until("the end of the alarm", || {
        notices().contains("\"event\":\"alarm-over\"")
    });
    site.until("the metric", || metric().ends_with("subject=\"\"} 0"));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
}
