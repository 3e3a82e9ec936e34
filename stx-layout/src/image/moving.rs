//! Which tags move, and which moving tag belongs to the image of a build.

use super::{ImageName, ImageNameRef, Qualifier, Tag};

impl<'a> Tag<'a> {
    /// The git branch or tag that a tag of a build begins with; `None` for tags of other forms.
    pub fn prefix(self) -> Option<&'a str> {
        match self {
            Self::Spec { prefix, .. } | Self::Stream { prefix, .. } | Self::Base { prefix, .. } => {
                Some(prefix)
            }
            Self::Static { .. } | Self::Other(_) => None,
        }
    }

    /// The same tag with another [`prefix`](Self::prefix); `None` where the form has none.
    #[must_use]
    pub fn with_prefix(mut self, new: &'a str) -> Option<Self> {
        match &mut self {
            Self::Spec { prefix, .. } | Self::Stream { prefix, .. } | Self::Base { prefix, .. } => {
                *prefix = new;
            }
            Self::Static { .. } | Self::Other(_) => return None,
        }
        Some(self)
    }

    /// Which of the images under one tag it is, where the tag says that.
    pub fn qualifier(self) -> Option<Qualifier> {
        match self {
            Self::Spec { qualifier, .. } => qualifier,
            Self::Stream { qualifier, .. } | Self::Base { qualifier, .. } => Some(qualifier),
            Self::Static { .. } | Self::Other(_) => None,
        }
    }

    /// The same tag with another qualifier; `None` where the form has none.
    #[must_use]
    pub fn with_qualifier(self, new: Qualifier) -> Option<Self> {
        match self {
            Self::Spec {
                prefix,
                os,
                openstack_release,
                qualifier: _,
            } => Some(Self::Spec {
                prefix,
                os,
                openstack_release,
                qualifier: Some(new),
            }),
            Self::Stream {
                prefix,
                os,
                codename,
                arch,
                stream,
                qualifier: _,
            } => Some(Self::Stream {
                prefix,
                os,
                codename,
                arch,
                stream,
                qualifier: new,
            }),
            Self::Base {
                prefix,
                stream,
                qualifier: _,
            } => Some(Self::Base {
                prefix,
                stream,
                qualifier: new,
            }),
            Self::Static { .. } | Self::Other(_) => None,
        }
    }

    /// Whether the tag is there to be moved: `latest`, `stable`. What is not known to move is never moved.
    ///
    /// ```
    /// # use stx_layout::Tag;
    /// assert!(Tag::parse("master-centos-stable-latest")?.moves());
    /// assert!(Tag::parse("latest")?.moves());
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
    /// The moving name of a dated one; `None` for others, and where the form has no such tag.
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
        ImageNameRef { tag, ..parts }.compose().ok()
    }
}
