//! The preview of a build: files of its finished phases, for the phases that run after them.

/// The table `[preview]`: the files that a build offers over HTTP while it runs, at the paths that they will have on the
/// mirror. Phases find them by [`Preview::URL`]. The site's configuration holds the address of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// The phases whose files are offered when they are over; all of them if `None`.
    pub phases: Option<Vec<String>>,
}

impl Preview {
    /// The variable of the phases that holds the URL of the build: `${PREVIEW_URL}/outputs/std/packages`.
    pub const URL: &'static str = "PREVIEW_URL";

    /// True if the files of a phase are offered.
    pub fn offers(&self, phase: &str) -> bool {
        let phases = self.phases.as_ref();
        phases.is_none_or(|phases| phases.iter().any(|name| name == phase))
    }
}
