//! The tags that move, and the moving tag that belongs to the image of a build.

use super::{ImageName, ImageNameRef, Qualifier, Tag};

impl<'a> Tag<'a> {
    /// The git branch or tag at the beginning of a build's tag; `None` for tags of other forms.
    pub fn prefix(self) -> Option<&'a str> {
        match self {
            Self::Spec { prefix, .. }
            | Self::Stream { prefix, .. }
            | Self::Base { prefix, .. }
            | Self::Builder { prefix, .. } => Some(prefix),
            Self::Static { .. } | Self::Other(_) => None,
        }
    }

    /// The same tag with another [`prefix`](Self::prefix); `None` if the form has none.
    #[must_use]
    pub fn with_prefix(mut self, new: &'a str) -> Option<Self> {
        match &mut self {
            Self::Spec { prefix, .. }
            | Self::Stream { prefix, .. }
            | Self::Base { prefix, .. }
            | Self::Builder { prefix, .. } => *prefix = new,
            Self::Static { .. } | Self::Other(_) => return None,
        }
        Some(self)
    }

    /// The part of the tag that selects one of the images under the same name, if it has one.
    pub fn qualifier(self) -> Option<Qualifier> {
        match self {
            Self::Spec { qualifier, .. } => qualifier,
            Self::Stream { qualifier, .. }
            | Self::Base { qualifier, .. }
            | Self::Builder { qualifier, .. } => Some(qualifier),
            Self::Other(text) => unknown(text).map(|(_, qualifier)| qualifier),
            Self::Static { .. } => None,
        }
    }

    /// The text of the same tag with another qualifier; `None` if the form has none.
    ///
    /// ```
    /// # use stx_layout::{Qualifier, Tag};
    /// let dated = Tag::parse("master-debian-20260816T000100Z")?;
    /// assert_eq!(dated.with_qualifier(Qualifier::Latest).as_deref(), Some("master-debian-latest"));
    /// assert_eq!(Tag::parse("1.0")?.with_qualifier(Qualifier::Latest), None);
    /// # Ok::<(), stx_layout::ParseError>(())
    /// ```
    pub fn with_qualifier(mut self, new: Qualifier) -> Option<String> {
        match &mut self {
            Self::Spec { qualifier, .. } => *qualifier = Some(new),
            Self::Stream { qualifier, .. }
            | Self::Base { qualifier, .. }
            | Self::Builder { qualifier, .. } => *qualifier = new,
            Self::Other(text) => {
                let (head, _) = unknown(text)?;
                let text = format!("{head}-{new}");
                return Tag::parse(&text).is_ok().then_some(text);
            }
            Self::Static { .. } => return None,
        }
        self.compose().ok()
    }

    /// True for a tag that is intended to move from image to image: `latest`, alone or at the end of a tag of any form, and
    /// `stable`. A tag that is not known to move is never moved.
    ///
    /// ```
    /// # use stx_layout::Tag;
    /// assert!(Tag::parse("master-centos-stable-latest")?.moves());
    /// assert!(Tag::parse("latest")?.moves());
    /// assert!(Tag::parse("jenkins-agent-latest")?.moves());
    /// assert!(!Tag::parse("master-centos-stable-20190513T013000Z.0")?.moves());
    /// assert!(!Tag::parse("stx.6.0-v1.0.2")?.moves());
    /// assert!(!Tag::parse("dev-centos-pike")?.moves());
    /// # Ok::<(), stx_layout::ParseError>(())
    /// ```
    pub fn moves(self) -> bool {
        match self.qualifier() {
            Some(Qualifier::Latest | Qualifier::Stable) => true,
            Some(Qualifier::Built { .. }) => false,
            None => matches!(self, Tag::Other("latest" | "stable")),
        }
    }
}

impl ImageName {
    /// The moving name of a dated one; `None` for others, and if the form has no such tag.
    ///
    /// ```
    /// # use stx_layout::{ImageName, Qualifier};
    /// let dated: ImageName = "starlingx/stx-nova:master-centos-stable-20190513T013000Z.0".parse()?;
    /// let latest = dated.moving(Qualifier::Latest).expect("a dated name");
    /// assert_eq!(latest.as_str(), "starlingx/stx-nova:master-centos-stable-latest");
    /// let fixed: ImageName = "starlingx/stx-audit:stx.6.0-v1.0.2".parse()?;
    /// assert_eq!(fixed.moving(Qualifier::Latest), None);
    /// # Ok::<(), stx_layout::ParseError>(())
    /// ```
    pub fn moving(&self, qualifier: Qualifier) -> Option<Self> {
        let parts = self.parts();
        match parts.tag.qualifier() {
            Some(Qualifier::Built { .. }) => {}
            Some(Qualifier::Latest | Qualifier::Stable) | None => return None,
        }
        let tag = parts.tag.with_qualifier(qualifier)?;
        let tag = Tag::parse(&tag).ok()?;
        ImageNameRef { tag, ..parts }.compose().ok()
    }
}

/// The text before the qualifier of a tag of no known form, and the qualifier: `latest` or a date. `stable` is not taken for one,
/// because names end with it too.
fn unknown(text: &str) -> Option<(&str, Qualifier)> {
    let (head, last) = text.rsplit_once('-')?;
    match Qualifier::from_word(last)? {
        Qualifier::Stable => None,
        qualifier => (!head.is_empty()).then_some((head, qualifier)),
    }
}
