//! The remaining time of a running build, by the median durations of the last successful builds of its channel.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{PhaseNow, PhaseState, RunningBuild};

/// The remaining time that a build is expected to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeLeft {
    /// Seconds, for the phases whose duration is known.
    pub seconds: i64,
    /// The unfinished phases that never succeeded before, in the order of the plan; their time is not included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

impl RunningBuild {
    /// The time left at `now`.
    ///
    /// The durations of whole builds show the effect of parallel phases and of the publication. So the sum of the remaining
    /// times of the phases is scaled by the duration of whole builds over the sum of their phases. The result is never less
    /// than the longest remaining phase. A phase that takes longer than usual has no time left.
    pub fn time_left(&self, now: DateTime<Utc>) -> TimeLeft {
        let left = |phase: &PhaseNow| -> i64 {
            let past = phase.past_seconds.unwrap_or(0).max(0);
            match phase.state {
                PhaseState::Waiting => past,
                PhaseState::Running => {
                    let began = phase.started.unwrap_or(now);
                    (past - (now - began).num_seconds().max(0)).max(0)
                }
                PhaseState::Succeeded
                | PhaseState::Failed
                | PhaseState::TimedOut
                | PhaseState::Cancelled
                | PhaseState::Skipped => 0,
            }
        };
        let open =
            |phase: &&PhaseNow| matches!(phase.state, PhaseState::Waiting | PhaseState::Running);
        let unknown: Vec<_> = self
            .phases
            .iter()
            .filter(open)
            .filter(|phase| phase.past_seconds.is_none())
            .map(|phase| phase.name.clone())
            .collect();
        let sum: i64 = self.phases.iter().map(left).sum();
        let longest = self.phases.iter().map(left).max().unwrap_or(0);
        let all: Option<i64> = self.phases.iter().map(|phase| phase.past_seconds).sum();
        let scaled = match (self.past_seconds, all) {
            (Some(whole), Some(all)) if all > 0 => {
                let scaled = i128::from(sum) * i128::from(whole.max(0)) / i128::from(all);
                i64::try_from(scaled).unwrap_or(i64::MAX)
            }
            _ => sum,
        };
        TimeLeft {
            seconds: scaled.max(longest),
            unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn build(whole: Option<i64>, phases: &[(PhaseState, i64, Option<i64>)]) -> RunningBuild {
        let phases = phases.iter().enumerate();
        RunningBuild {
            run: 2,
            request: 1,
            channel: "master/centos".parse().expect("a channel"),
            git: "master".to_owned(),
            build: None,
            started: at(0),
            reasons: Vec::new(),
            interruptions: 0,
            past_seconds: whole,
            phases: phases
                .map(|(number, (state, started, past))| PhaseNow {
                    name: format!("p{number}"),
                    state: *state,
                    attempts: 1,
                    started: (*state != Waiting).then(|| at(*started)),
                    finished: None,
                    past_seconds: *past,
                    log: None,
                })
                .collect(),
        }
    }

    use PhaseState::{Running, Succeeded, Waiting};

    #[test]
    fn a_new_build_is_estimated_from_earlier_builds() {
        let sequence = build(
            Some(300),
            &[(Waiting, 0, Some(100)), (Waiting, 0, Some(200))],
        );
        assert_eq!(sequence.time_left(at(0)).seconds, 300);
        // Parallel phases, and a publication of 100 s.
        let parallel = build(
            Some(200),
            &[(Waiting, 0, Some(200)), (Waiting, 0, Some(200))],
        );
        assert_eq!(parallel.time_left(at(0)).seconds, 200);
        let published = build(
            Some(400),
            &[(Waiting, 0, Some(100)), (Waiting, 0, Some(200))],
        );
        assert_eq!(published.time_left(at(0)).seconds, 400);
    }

    #[test]
    fn only_unfinished_phases_without_an_estimate_are_named() {
        let phases = [
            (Succeeded, 0, None),
            (Running, 10, Some(100)),
            (Waiting, 0, None),
        ];
        let left = build(Some(500), &phases).time_left(at(70));
        assert_eq!((left.seconds, left.unknown), (40, vec!["p2".to_owned()]));
        let none = build(None, &[(Running, 0, None)]).time_left(at(9));
        assert_eq!((none.seconds, none.unknown), (0, vec!["p0".to_owned()]));
    }

    #[test]
    fn the_time_left_never_grows_and_is_never_negative() {
        for whole in [None, Some(0), Some(90), Some(1_000), Some(i64::MAX)] {
            for past in [None, Some(0), Some(50), Some(400)] {
                let phases = [
                    (Succeeded, 0, Some(30)),
                    (Running, 30, past),
                    (Waiting, 0, Some(60)),
                ];
                let build = build(whole, &phases);
                let mut before = i64::MAX;
                // Include times before the start: the clock may have been put back.
                for now in -100..600 {
                    let left = build.time_left(at(now)).seconds;
                    assert!(
                        (60..=before).contains(&left),
                        "{whole:?} {past:?} {now}: {left}"
                    );
                    before = left;
                }
            }
        }
    }
}
