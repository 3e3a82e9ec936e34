//! The catalog pages of a mirror: `index.json`, `index.html` and a feed, made from the catalog.
//!
//! ```text
//! MirrorStore ──> Catalog ──> ChannelIndex, RootIndex ──> pages ──> those that differ are written
//! ```
//!
//! [`refresh`] reads the mirror, makes the pages and replaces those that differ. The pages need only a file server: no script,
//! and no resources from other places. If scripts are enabled, one adds filters and sorting.
//!
//! | module | is |
//! |---|---|
//! | `site` | the texts and facts that are not on the mirror: [`Site`] |
//! | `changes`, `contents` | the changed packages, images and repositories of a build |
//! | `summary`, `layers` | a channel in the index of the root, and the channel upon which it is built |
//! | `sources` | the files for `apt` and `dnf`: [`install_files`] |
//! | `html` | the HTML pages and the feed; [`listing`], a page of a directory; [`dashboard`], a page of the build service |
//! | `build_pages` | the page of each build, written only if something on it changed |
//! | `signed` | the signatures of the indexes: [`IndexSeal`] |
//! | `locked`, `replace` | the pages while they are locked; the replacement of those that differ |
//! | `refresh` | makes all pages: [`refresh`], [`refresh_sealed`], [`refresh_locked`]; or those of some channels: [`refresh_part`] |
//! | `check` | compares the pages with the mirror: [`verify_pages`] |
//!
//! The crate accesses a mirror only through [`stx_publish::MirrorStore`].

mod build_pages;
mod changes;
mod check;
mod contents;
mod html;
mod layers;
mod locked;
mod refresh;
mod replace;
mod signed;
mod site;
mod sources;
mod summary;
#[cfg(test)]
mod tests;

pub use check::verify_pages;
pub use html::{
    Dashboard, Listed, ShownAlarm, ShownBuild, ShownChannel, ShownPhase, ShownRequest, ShownResult,
    dashboard, listing, look_of_all,
};
pub use refresh::{
    Kept, MadeChannel, MadePart, MirrorContents, refresh, refresh_locked, refresh_part,
    refresh_sealed,
};
pub use signed::IndexSeal;
pub use site::{Refreshed, Site};
pub use sources::install_files;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
