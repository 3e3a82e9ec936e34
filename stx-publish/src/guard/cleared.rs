//! Trees that may be published.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::incoming::Incoming;
use crate::privacy::PrivacyReport;

/// A tree that may be published: the guard searched it for names, addresses and secrets of the build server, or somebody
/// said why it need not be.
///
/// It is made by [`clear`](super::clear), or by [`Cleared::unsearched`]; nothing else is taken by a
/// [`PublishRequest`](crate::PublishRequest), so a tree that nobody searched is not published by mistake:
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
    /// A tree that is not searched; the reason is in its report.
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

    /// Its files, for what the publisher itself adds or replaces after the search: signed copies, lists, bills of materials.
    /// Texts of others have to be searched before they are added.
    pub fn incoming_mut(&mut self) -> &mut Incoming {
        &mut self.incoming
    }

    /// The findings of the search.
    pub fn report(&self) -> &PrivacyReport {
        &self.report
    }

    /// Keeps a value as long as the tree, its requests and its plans: the owner of copies that its files lie in.
    pub fn keep(&mut self, owner: impl Any + Send + Sync) {
        self.copies.0.push(Arc::new(owner));
    }

    pub(crate) fn into_parts(self) -> (Incoming, PrivacyReport, Copies) {
        (self.incoming, self.report, self.copies)
    }
}

/// The owners of directories in which files of a tree lie, such as redacted copies. They are removed with the last of those
/// that know them; two plans are equal whatever they own.
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
