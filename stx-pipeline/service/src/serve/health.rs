//! Finds the alarms, records them, and notifies people of them.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Event, ServeError, Service};
use crate::ledger::Change;
use crate::{Facts, Notice, health};

impl Service<'_> {
    pub(super) fn survey(&mut self) {
        let now = Instant::now();
        if self.surveying || self.next_survey > now {
            return;
        }
        self.surveying = true;
        self.next_survey = now + self.setup.settings.survey;
        let (host, sender) = (Arc::clone(&self.host), self.sender.clone());
        let taken = host.now();
        tokio::spawn(async move {
            let facts = Facts {
                taken,
                ..host.survey().await
            };
            // Ignored: the receiver is gone if the service stops.
            sender.send(Event::Surveyed(facts)).ok();
        });
    }

    pub(super) fn check_health(&mut self) -> Result<(), ServeError> {
        let at = self.host.now();
        let state = self.ledger.state();
        let blocked = self.blocked.as_ref();
        let alarms = health::check(state, &self.setup, &self.facts, &self.blind, blocked, at);
        let mut changes = Vec::new();
        let mut notices = Vec::new();
        for (alarm, text) in &alarms {
            let (alarm, text) = (alarm.clone(), text.clone());
            match state.alarms.get(&alarm) {
                // The alarm is the same; only the reason, the number or the command in its text has changed.
                Some((since, old)) if *old != text => {
                    let at = *since;
                    changes.push(Change::Raised { alarm, at, text });
                }
                Some(_) => {}
                None => {
                    changes.push(Change::Raised {
                        alarm: alarm.clone(),
                        at,
                        text: text.clone(),
                    });
                    notices.push(Notice::Alarm { at, alarm, text });
                }
            }
        }
        for alarm in state.alarms.keys() {
            if !alarms.contains_key(alarm) {
                let alarm = alarm.clone();
                changes.push(Change::Lowered {
                    alarm: alarm.clone(),
                });
                notices.push(Notice::AlarmOver { at, alarm });
            }
        }
        if !changes.is_empty() {
            self.record(&changes)?;
        }
        for notice in notices {
            self.host.notify(notice);
        }
        Ok(())
    }
}
