//! stx-publish
