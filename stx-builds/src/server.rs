//! A read-only web server for a directory: a mirror to try out, or the preview of a build.

use std::future::Future;
use std::io;

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use camino::Utf8Path;
use percent_encoding::percent_decode_str;
use stx_layout::media_type;
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

mod ranges;

/// The private area of a mirror, which must not be served.
pub const PRIVATE: &str = ".stx";

/// The files of a directory, read-only and without listings; supports one or several ranges.
pub fn files(root: &Utf8Path) -> Router {
    Router::new()
        .fallback_service(ServeDir::new(root))
        .layer(from_fn(name_type))
        .layer(from_fn(ranges::answer))
}

/// Hides the private area of a mirror from readers.
pub fn hide_private(files: Router) -> Router {
    files.layer(from_fn(hide))
}

/// Gives files the types that they have on other servers. Those of `ServeDir` are for web sites: browsers would store `SHA256SUMS`.
async fn name_type(request: Request, next: Next) -> Response {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    // `ServeDir` answers the path of a directory with its `index.html`.
    let kind = (!path.ends_with('/')).then(|| media_type(&path));
    let mut response = next.run(request).await;
    if let Some(kind) = kind.filter(|_| response.status().is_success()) {
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

/// Serves until `end`, then finishes the responses that have begun.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    files: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, files)
        .with_graceful_shutdown(end)
        .await
}

/// Answers 404 for paths of the private area, also for percent-encoded ones.
async fn hide(request: Request, next: Next) -> Response {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    if path.split('/').any(|segment| segment == PRIVATE) {
        return StatusCode::NOT_FOUND.into_response();
    }
    next.run(request).await
}
