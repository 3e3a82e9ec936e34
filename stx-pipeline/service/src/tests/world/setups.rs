//! Configurations of the service.

use std::time::Duration;

use stx_layout::ReleaseId;

use crate::schedule::Schedule;
use crate::trigger::{Target, Watch};
use crate::{OnInterrupted, OnStop, Settings, Setup};

pub(in crate::tests) fn target(release: &str, git: &str) -> Target {
    Target {
        channel: format!("{release}/centos").parse().unwrap(),
        git: git.into(),
        recipe: "/recipe.toml".into(),
    }
}

pub(in crate::tests) fn watch(git: &str) -> Watch {
    let release = ReleaseId::from_git(git).unwrap();
    Watch::new(target(&release.to_string(), git))
}

pub(in crate::tests) fn polled(git: &str, seconds: u64) -> Watch {
    Watch {
        poll: Some(Duration::from_secs(seconds)),
        ..watch(git)
    }
}

pub(in crate::tests) fn scheduled(git: &str, cron: &str) -> Watch {
    Watch {
        schedule: Some(Schedule::new(cron, Duration::ZERO, git).unwrap()),
        ..watch(git)
    }
}

pub(in crate::tests) fn setup(watches: impl IntoIterator<Item = Watch>) -> Setup {
    Setup {
        settings: Settings {
            max_builds: 2,
            on_stop: OnStop::Finish,
            on_interrupted: OnInterrupted::Resume,
            prune: None,
            overdue: Duration::from_hours(12),
            min_free_percent: 10,
            tick: Duration::from_secs(20),
            survey: Duration::from_mins(10),
        },
        watches: watches.into_iter().collect(),
        labs: Vec::new(),
    }
}
