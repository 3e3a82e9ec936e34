//! Checks that a requested branch exists upstream, so that a typo is refused before anything is built.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::intake::LOOK;
use super::{Event, Service};
use crate::Message;
use crate::trigger::{Target, Upstream};

/// The most branches that are searched for at a time; a user may request many, and the others wait.
const AT_A_TIME: usize = 4;

/// The searches for branches of messages, and their results, by the ids of the messages.
#[derive(Default)]
pub(super) struct Asked {
    tasks: BTreeMap<String, JoinHandle<()>>,
    answers: BTreeMap<String, Result<bool, String>>,
}

impl Asked {
    /// Stores the result of a search.
    pub(super) fn answered(&mut self, id: String, found: Result<bool, String>) {
        // The result is useless if the message was withdrawn.
        if self.tasks.remove(&id).is_some() {
            self.answers.insert(id, found);
        }
    }

    /// Forgets the messages that no longer exist.
    pub(super) fn keep(&mut self, messages: &[Message]) {
        let there = |id: &String| messages.iter().any(|message| message.id == *id);
        self.answers.retain(|id, _| there(id));
        self.tasks.retain(|id, task| {
            let keep = there(id);
            if !keep {
                task.abort();
            }
            keep
        });
    }

    pub(super) fn abort(&self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

impl Service<'_> {
    /// True if an upstream of a target has its branch or tag; `None` while the search runs.
    pub(super) fn is_there(&mut self, id: &str, target: &Target) -> Option<Result<bool, String>> {
        if let Some(answer) = self.asked.answers.remove(id) {
            return Some(answer);
        }
        let upstreams = self.setup.upstreams(target);
        if upstreams.is_empty() {
            return Some(Err(
                "no entry of the configuration names its repositories".to_owned()
            ));
        }
        if self.asked.tasks.len() >= AT_A_TIME || self.asked.tasks.contains_key(id) {
            return None;
        }
        let (upstream, sender) = (Arc::clone(&self.upstream), self.sender.clone());
        let (key, git) = (id.to_owned(), target.git.clone());
        let task = tokio::spawn(async move {
            let look = any(&*upstream, &upstreams, &git);
            let found = tokio::time::timeout(LOOK, look)
                .await
                .unwrap_or_else(|_| Err(format!("it took more than {} s", LOOK.as_secs())));
            // Ignored: the receiver is gone once the service has stopped.
            sender.send(Event::Asked { id: key, found }).ok();
        });
        self.asked.tasks.insert(id.to_owned(), task);
        None
    }
}

/// True if one of several upstreams has a branch or tag.
async fn any(upstream: &dyn crate::Upstream, of: &[Upstream], git: &str) -> Result<bool, String> {
    let mut unknown = None;
    for one in of {
        match upstream.has(one, git).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(why) => unknown = Some(why),
        }
    }
    unknown.map_or(Ok(false), Err)
}
