//! Directories: a build redirects to its page, any other directory gets a listing.

use std::io;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use percent_encoding::percent_decode_str;
use stx_builds::server::PRIVATE;
use stx_layout::BuildDate;
use stx_layout::index::PageName;
use stx_pages::{Listed, listing};

/// The kind of a requested directory.
enum Directory {
    /// Not a directory, or one with its own `index.html`.
    Other,
    /// A build, whose page is beside it.
    Build(BuildDate),
    /// Its listing.
    Listed(String),
}

/// Answers requests for directories below `root`, an absolute path, that have no page of their own.
pub(super) async fn list(
    State(root): State<Utf8PathBuf>,
    request: Request,
    next: Next,
) -> Response {
    let path = percent_decode_str(request.uri().path()).decode_utf8();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let Some(path) = path.ok().filter(|path| is_read && path.ends_with('/')) else {
        return next.run(request).await;
    };
    let path = path.into_owned();
    let looked = tokio::task::spawn_blocking(move || look(&root, &path)).await;
    match looked.map_err(io::Error::other).flatten() {
        // The file server handles a directory that cannot be read.
        Ok(Directory::Other) | Err(_) => next.run(request).await,
        Ok(Directory::Build(date)) => {
            let to = format!("../{}", PageName::HtmlOf(date).file_name());
            (StatusCode::FOUND, [(LOCATION, to)]).into_response()
        }
        Ok(Directory::Listed(text)) => {
            let headers = [
                (CONTENT_TYPE, "text/html; charset=utf-8"),
                (CACHE_CONTROL, "no-cache"),
            ];
            (headers, text).into_response()
        }
    }
}

fn look(root: &Utf8Path, path: &str) -> io::Result<Directory> {
    let relative = Utf8Path::new(path.trim_matches('/'));
    let plain = |part| matches!(part, Utf8Component::Normal(_));
    if !relative.components().all(plain) {
        return Ok(Directory::Other);
    }
    let asked = root.join(relative);
    // Symlinks are followed as by the file server, but not out of the mirror.
    let dir = asked.canonicalize_utf8()?;
    let inside = dir.strip_prefix(root);
    let is_shown = inside.is_ok_and(|inside| !inside.starts_with(PRIVATE));
    if !is_shown || !dir.is_dir() || dir.join("index.html").is_file() {
        return Ok(Directory::Other);
    }
    let date = dir.file_name().and_then(|name| name.parse().ok());
    if let (Some(date), Some(beside)) = (date, asked.parent())
        && beside.join(&*PageName::HtmlOf(date).file_name()).is_file()
    {
        return Ok(Directory::Build(date));
    }
    let mut entries = Vec::new();
    for entry in dir.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_name().starts_with('.') {
            continue;
        }
        // A dangling symlink, or an entry that has been removed meanwhile, is left out.
        if let Ok(found) = fs_err::metadata(entry.path()) {
            entries.push(Listed {
                name: entry.file_name().to_owned(),
                size: (!found.is_dir()).then_some(found.len()),
            });
        }
    }
    entries.sort_unstable();
    Ok(Directory::Listed(listing(path, &entries)))
}
