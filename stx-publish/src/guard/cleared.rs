//! Trees that may be published.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::incoming::Incoming;
use crate::privacy::PrivacyReport;

/// A tree that may be published: the guard searched it for names, addresses and secrets of the build server, or the caller gave
/// a reason why that is not needed.
///
/// It is made by [`clear`](super::clear) or by [`Cleared::unsearched`]. A [`PublishRequest`](crate::PublishRequest) accepts
/// nothing else, so a tree that was not searched cannot be published by mistake:
///
/// ```compile_fail,E0308
/// # let record = stx_layout::BuildRecord::new("master/centos/20181105T060000Z".parse().unwrap(), stx_layout::BuildOutcome::Success);
/// # let now = record.id.date.time();
/// let scanned = stx_publish::Incoming::default();
/// stx_publish::PublishRequest::new(record, scanned, now);
/// ```
///
/// ```
/// # let record = stx_layout::BuildRecord::new("master/centos/20181105T060000Z".parse().unwrap(), stx_layout::BuildOutcome::Success);
/// # let now = record.id.date.time();
/// let scanned = stx_publish::Incoming::default();
/// let cleared = stx_publish::Cleared::unsearched(scanned, "made on a machine without secrets");
/// stx_publish::PublishRequest::new(record, cleared, now);
/// ```
#[derive(Debug, Clone)]
pub struct Cleared {
    incoming: Incoming,
    report: PrivacyReport,
    copies: Copies,
}

impl Cleared {
    /// A tree that is not searched; its report contains the reason.
    pub fn unsearched(incoming: Incoming, reason: impl Into<String>) -> Self {
        let report = PrivacyReport {
            skipped: Some(reason.into()),
            ..PrivacyReport::default()
        };
        Self::new(incoming, report)
    }

    pub(crate) fn new(incoming: Incoming, report: PrivacyReport) -> Self {
        Self {
            incoming,
            report,
            copies: Copies::default(),
        }
    }

    /// Its files.
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// Its files, for changes that the publisher makes after the search: signed copies, lists, bills of materials. Texts from
    /// other sources must be searched before they are added.
    pub fn incoming_mut(&mut self) -> &mut Incoming {
        &mut self.incoming
    }

    /// The findings of the search.
    pub fn report(&self) -> &PrivacyReport {
        &self.report
    }

    /// Keeps a value alive as long as the tree, its requests and its plans: the owner of the directory with its copied files.
    pub fn keep(&mut self, owner: impl Any + Send + Sync) {
        self.copies.0.push(Arc::new(owner));
    }

    pub(crate) fn into_parts(self) -> (Incoming, PrivacyReport, Copies) {
        (self.incoming, self.report, self.copies)
    }
}

/// The owners of directories that contain files of a tree, such as redacted copies. A directory is removed with the last value
/// that refers to it. Comparisons of plans ignore them.
#[derive(Clone, Default)]
pub struct Copies(Vec<Arc<dyn Any + Send + Sync>>);

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Copies({})", self.0.len())
    }
}

impl PartialEq for Copies {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Copies {}
