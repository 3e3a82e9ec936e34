//! Tests by labs. They are filed with the end of a run, run one at a time for each lab beside the builds, and turned into
//! verdicts.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use stx_layout::{BuildOutcome, VerdictEntry};
use stx_pipeline::Cancel;
use tokio::task::JoinHandle;

use super::intake::Cancelled;
use super::{ServeError, Service};
use crate::ledger::{
    Change, Ended, EndedVerdict, Run, RunEnd, VerdictEnd, VerdictOrigin, VerdictRequest,
};
use crate::{Lab, Tested};

/// The most starts of a test. A test that has not ended after this many is assumed to cause the restarts.
const STARTS: u32 = 5;

/// A running test.
struct Test {
    lab: String,
    cancel: Cancel,
    /// The user who cancelled the test.
    cancelled_by: Option<u32>,
    task: JoinHandle<()>,
}

/// The running tests, by the numbers of their requests.
#[derive(Default)]
pub(super) struct Tests(BTreeMap<u64, Test>);

impl Tests {
    pub(super) fn abort(&self) {
        self.0.values().for_each(|test| test.task.abort());
    }

    /// Cancels a test for a user; false if the test does not run.
    pub(super) fn cancel(&mut self, id: u64, uid: u32) -> bool {
        let Some(test) = self.0.get_mut(&id) else {
            return false;
        };
        test.cancelled_by.get_or_insert(uid);
        test.cancel.cancel();
        true
    }
}

impl Service<'_> {
    /// Requests for tests of the build that a run has published. Also ends older requests of its channel whose test has not
    /// begun: a lab that is slower than the builds tests only the newest.
    pub(super) fn tests_due(&self, run: &Run, end: &Ended) -> Vec<Change> {
        let RunEnd::Published {
            result: BuildOutcome::Success,
            ..
        } = &end.how
        else {
            return Vec::new();
        };
        let Some(build) = &run.build else {
            return Vec::new();
        };
        let state = self.state();
        let labs = self.setup.labs.iter();
        let mut changes = Vec::new();
        for (ahead, lab) in (0..).zip(labs.filter(|lab| lab.tests(&build.channel))) {
            let waiting = state.verdicts.values().filter(|request| {
                let is_same = request.build.channel == build.channel;
                is_same && request.lab() == Some(&lab.name) && request.started.is_none()
            });
            changes.extend(waiting.map(|request| Change::VerdictEnded {
                request: request.id,
                end: EndedVerdict {
                    at: end.at,
                    how: not_tested(format!("{} is tested instead", build.date)),
                },
            }));
            changes.push(Change::VerdictFiled(VerdictRequest {
                id: state.id(ahead),
                build: build.clone(),
                at: end.at,
                origin: VerdictOrigin::Lab {
                    lab: lab.name.clone(),
                },
                starts: 0,
                started: None,
                entry: None,
            }));
        }
        changes
    }

    /// Starts the oldest test of each idle lab.
    pub(super) fn start_tests(&mut self) -> Result<(), ServeError> {
        let requests: Vec<_> = self.state().verdicts.values().cloned().collect();
        for request in requests {
            let Some(name) = request.lab() else {
                continue;
            };
            if self.tests.0.values().any(|test| test.lab == name) {
                continue;
            }
            let lab = self.setup.labs.iter().find(|lab| lab.name == name).cloned();
            let Some(lab) = lab else {
                let why = "the lab is no longer in the configuration".to_owned();
                self.no_verdict(&request, not_tested(why))?;
                continue;
            };
            if request.starts >= STARTS {
                let why = format!("it was interrupted {} times", request.starts);
                self.no_verdict(&request, not_tested(why))?;
                continue;
            }
            let at = self.host.now();
            self.record(&[Change::TestStarted {
                request: request.id,
                at,
            }])?;
            let said = format!("test {}: {} by lab {name}", request.id, request.build);
            self.host.say(&said);
            self.spawn_test(&request, lab);
        }
        Ok(())
    }

    fn spawn_test(&mut self, request: &VerdictRequest, lab: Lab) {
        let (host, sender) = (Arc::clone(&self.host), self.sender.clone());
        let cancel = Cancel::new();
        let (switch, name) = (cancel.clone(), lab.name.clone());
        let (id, build) = (request.id, request.build.clone());
        let task = tokio::spawn(async move {
            let tested = host.test(&lab, &build, id, &switch).await;
            // Ignored: the receiver is gone once the service has stopped; the next start runs the test again.
            sender.send(super::Event::Tested { id, tested }).ok();
        });
        let test = Test {
            lab: name,
            cancel,
            cancelled_by: None,
            task,
        };
        self.tests.0.insert(id, test);
    }

    /// Records the outcome of a test. A verdict is then sent to the mirror like any other.
    pub(super) fn tested(&mut self, id: u64, tested: Tested) -> Result<(), ServeError> {
        let Some(request) = self.state().verdicts.get(&id).cloned() else {
            self.tests.0.remove(&id);
            return Ok(());
        };
        let Some(lab) = request.lab() else {
            self.tests.0.remove(&id);
            return Ok(());
        };
        match tested {
            Tested::Verdict {
                verdict,
                reason,
                url,
            } => {
                let entry = VerdictEntry {
                    build: request.build.clone(),
                    at: self.host.now().trunc_subsecs(0),
                    verdict,
                    author: lab.to_owned(),
                    reason,
                    url,
                };
                self.record(&[Change::TestEnded { request: id, entry }])?;
            }
            Tested::NotTested(why) => self.no_verdict(&request, not_tested(why))?,
            Tested::Cancelled => {
                let test = self.tests.0.get(&id);
                let how = match test.and_then(|test| test.cancelled_by) {
                    Some(uid) => VerdictEnd::Cancelled { uid },
                    None => not_tested("it was ended".to_owned()),
                };
                self.no_verdict(&request, how)?;
            }
        }
        // Only now: if the ledger cannot be written, this event is handled again.
        self.tests.0.remove(&id);
        Ok(())
    }

    /// Cancels a test. No user requested it, so only users who may cancel every request may cancel it.
    pub(super) fn cancel_test(&mut self, id: u64, uid: u32, at: DateTime<Utc>) -> Cancelled {
        let request = self.state().verdicts.get(&id);
        if request.is_none_or(|request| request.lab().is_none()) {
            return Err(format!(
                "user {uid} may not cancel verdict {id}: it is already given; leave another verdict to replace it"
            ));
        }
        if !self.host.may_cancel_all(uid) {
            return Err(format!(
                "user {uid} may not cancel request {id}, the test of a lab"
            ));
        }
        let text = format!("user {uid} cancels request {id}");
        if self.tests.cancel(id, uid) {
            return Ok((text, None));
        }
        let how = VerdictEnd::Cancelled { uid };
        let end = EndedVerdict { at, how };
        Ok((text, Some(Change::VerdictEnded { request: id, end })))
    }

    fn no_verdict(&mut self, request: &VerdictRequest, how: VerdictEnd) -> Result<(), ServeError> {
        let (id, at) = (request.id, self.host.now());
        let said = match &how {
            VerdictEnd::NotTested { why } => format!("not tested: {why}"),
            VerdictEnd::Cancelled { uid } => format!("cancelled by user {uid}"),
            VerdictEnd::Recorded { .. } | VerdictEnd::Refused { .. } => "over".to_owned(),
        };
        self.record(&[Change::VerdictEnded {
            request: id,
            end: EndedVerdict { at, how },
        }])?;
        self.host
            .say(&format!("test {id}: {} {said}", request.build));
        Ok(())
    }
}

fn not_tested(why: String) -> VerdictEnd {
    VerdictEnd::NotTested { why }
}
