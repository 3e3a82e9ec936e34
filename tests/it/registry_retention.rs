//! Tags are removed when their build is purged, unless they are still needed.

use crate::harness::{run, tool};
use crate::registry::Published;
use crate::registry_proxy::{Act, Proxy};
use crate::registry_server::{DockerRegistry, seen_digest};

fn answer(status: &str, body: &str) -> Act {
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

/// Five builds of January; retention takes the older ones by `LATER`.
fn five_builds(host: &str) -> Published {
    let here = Published::on(host);
    for day in 1..=5 {
        here.layout("stx-nova", "stable", &format!("day {day}"));
        run(&mut here.publish(day)).code(0);
    }
    here
}

const LATER: &str = "2020-02-20T12:00:00Z";
/// More than the grace period later.
const GRACE_OVER: &str = "2020-02-24T12:00:00Z";

fn prune(here: &Published, now: &str) -> crate::harness::Ran {
    run(&mut here.stx(&["prune", "--allow", "10", "--now", now]))
}

#[test]
fn tags_are_removed_with_their_build_after_the_grace_period_unless_shared() {
    let registry = DockerRegistry::start();
    let here = five_builds(&registry.host());
    let pruned = prune(&here, LATER).code(0).json();
    assert_eq!(pruned["retired"].as_array().expect("builds").len(), 3);
    for day in 1..=5 {
        assert!(
            seen_digest(&here.nova(day)).is_some(),
            "it can be brought back"
        );
    }
    let pruned = prune(&here, GRACE_OVER).code(0).json();
    assert_eq!(pruned["purged"].as_array().expect("builds").len(), 3);
    assert_eq!(pruned["untagged"].as_array().expect("names").len(), 3);
    for day in 1..=5 {
        assert_eq!(seen_digest(&here.nova(day)).is_some(), day > 3, "day {day}");
    }
    let audit = here.name("stx-audit:stx.6.0-v1.0.2");
    assert!(seen_digest(&audit).is_some(), "other builds have it too");
    assert!(
        pruned["tags_kept"][&audit]
            .as_str()
            .expect("a reason")
            .contains("has it too")
    );
    assert_eq!(seen_digest(&here.latest()), seen_digest(&here.nova(5)));
    run(&mut here.stx(&["verify"])).ok();
}

#[test]
fn a_tag_is_kept_by_a_chart_or_by_the_same_image_of_a_kept_build() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    let (layout, kept) = (
        here.at("tree/outputs/docker-images/stx-nova"),
        here.at("kept"),
    );
    for day in 1..=5 {
        here.layout("stx-nova", "stable", &format!("day {day}"));
        // Days 2 and 5 have the same image.
        match day {
            2 => drop(run(&mut tool("cp", ["-a", layout.as_str(), kept.as_str()])).code(0)),
            5 => {
                fs_err::remove_dir_all(&layout).expect("removed");
                fs_err::rename(&kept, &layout).expect("moved");
            }
            _ => {}
        }
        if day == 5 {
            let values = here.at("values.yaml");
            let tag = here.nova(1).rsplit_once(':').expect("a tag").1.to_owned();
            fs_err::write(
                &values,
                format!("image:\n  repository: docker.io/starlingx/stx-nova\n  tag: {tag}\n"),
            )
            .expect("a file");
            let charts = here.at("tree/outputs/helm-charts");
            fs_err::create_dir_all(&charts).expect("a directory");
            let chart = charts.join("nova-1.0.tgz");
            let args = [
                "-czf",
                chart.as_str(),
                "-C",
                here.at("").as_str(),
                "values.yaml",
            ]
            .map(str::to_owned);
            run(&mut tool("tar", args)).ok();
        }
        run(&mut here.publish(day)).code(0);
    }
    prune(&here, LATER).code(0);
    let pruned = prune(&here, GRACE_OVER).code(0).json();
    let kept = |day: u32| {
        assert!(seen_digest(&here.nova(day)).is_some(), "day {day}");
        pruned["tags_kept"][here.nova(day)]
            .as_str()
            .expect("a reason")
            .to_owned()
    };
    assert!(kept(1).contains("nova-1.0.tgz"), "{}", kept(1));
    // docker-registry 2 can only remove a tag with its image, and with all other tags of the image.
    assert!(kept(2).contains("cannot remove a tag alone"), "{}", kept(2));
    assert_eq!(seen_digest(&here.nova(3)), None);
    let verified = run(&mut here.stx(&["verify"])).code(0).json();
    let owed: Vec<_> = verified["owed"].as_array().expect("tags").iter().collect();
    assert_eq!(owed.len(), 2, "{verified:#}");
    for (owed, day) in owed.iter().zip([1, 2]) {
        assert_eq!(owed["tags"][0]["name"], here.nova(day), "{owed:#}");
    }
    let again = prune(&here, GRACE_OVER).code(0).json();
    assert_eq!(again["untagged"], serde_json::json!([]));
    assert_eq!(again["tags_kept"].as_object().expect("tags").len(), 2);

    // They stay until they are no longer needed: the build with the chart and the same image is purged.
    fs_err::remove_dir_all(here.at("tree/outputs/helm-charts")).expect("removed");
    for day in 6..=8 {
        here.layout("stx-nova", "stable", &format!("day {day}"));
        run(&mut here.publish(day)).code(0);
    }
    prune(&here, "2020-03-20T12:00:00Z").code(0);
    let pruned = prune(&here, "2020-03-24T12:00:00Z").code(0).json();
    let gone = pruned["untagged"].as_array().expect("names");
    for day in [1, 2, 4, 5] {
        assert!(
            gone.contains(&here.nova(day).into()),
            "day {day}: {pruned:#}"
        );
        assert_eq!(seen_digest(&here.nova(day)), None, "day {day}");
    }
    let verified = run(&mut here.stx(&["verify"])).code(0).json();
    assert!(verified["owed"].is_null(), "{verified:#}");
    let again = prune(&here, "2020-03-24T12:00:00Z").code(0).json();
    assert_eq!(again["untagged"], serde_json::json!([]));
}

#[test]
fn a_build_stays_in_the_trash_while_the_registry_does_not_answer() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::before(&registry.host());
    let here = five_builds(&proxy.host());
    prune(&here, LATER).code(0);
    let page = "<html><body>Log in</body></html>";
    for (status, body) in [("403 Forbidden", ""), ("200 OK", page)] {
        proxy.rule(move |_, _| answer(status, body));
        let failed = prune(&here, GRACE_OVER).code(4).json();
        assert_eq!(failed["purged"], serde_json::json!([]), "{status}");
        assert_eq!(failed["left"].as_object().expect("builds").len(), 3);
    }
    proxy.rule(|_, _| answer("503 Service Unavailable", ""));
    let failed = prune(&here, GRACE_OVER).code(4).json();
    let left = failed["left"].as_object().expect("builds");
    let again = |why: &&serde_json::Value| {
        why.as_str()
            .is_some_and(|why| why.contains("not asked again"))
    };
    assert_eq!((left.len(), left.values().filter(again).count()), (3, 2));
    assert_eq!(
        proxy.seen().len(),
        5,
        "it is asked for the first build only"
    );
    proxy.rule(|_, _| Act::Pass);
    let done = prune(&here, GRACE_OVER).code(0).json();
    assert_eq!(done["purged"].as_array().expect("builds").len(), 3);
    assert_eq!(done["untagged"].as_array().expect("names").len(), 3);
}

#[test]
fn a_registry_without_deletion_keeps_the_tags_but_not_the_files() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::before(&registry.host());
    let here = five_builds(&proxy.host());
    prune(&here, LATER).code(0);
    proxy.rule(|_, head| {
        if head.starts_with("DELETE ") {
            return answer("405 Method Not Allowed", "");
        }
        Act::Pass
    });
    let pruned = prune(&here, GRACE_OVER).code(0).json();
    assert_eq!(pruned["purged"].as_array().expect("builds").len(), 3);
    assert_eq!(pruned["untagged"], serde_json::json!([]));
    let why = pruned["tags_kept"][here.nova(1)].as_str();
    assert!(why.expect("a reason").contains("enable deletion there"));
    let verified = run(&mut here.stx(&["verify"])).code(0).json();
    assert_eq!(verified["owed"].as_array().expect("tags").len(), 3);
    proxy.rule(|_, _| Act::Pass);
    let pruned = prune(&here, GRACE_OVER).code(0).json();
    assert_eq!(pruned["untagged"].as_array().expect("names").len(), 3);
}
