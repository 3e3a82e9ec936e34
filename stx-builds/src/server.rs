//! A read-only web server of a directory: of a mirror, to try it out, and of the preview of a build.

use std::future::Future;
use std::io;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use camino::Utf8Path;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

/// The private area of a mirror, which no server shows.
pub const PRIVATE: &str = ".stx";

/// The files of a directory, read-only and without listings.
pub fn files(root: &Utf8Path) -> Router {
    Router::new().fallback_service(ServeDir::new(root))
}

/// The same as if the private area of a mirror was not there.
pub fn hide_private(files: Router) -> Router {
    files.layer(from_fn(hide))
}

/// Serves until `end`, and lets answers that are on their way finish.
///
/// # Errors
/// Where nothing can be accepted any more.
pub async fn serve(
    listener: TcpListener,
    files: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, files)
        .with_graceful_shutdown(end)
        .await
}

/// Answers as if there was no private area, however its name is written.
async fn hide(request: Request, next: Next) -> Response {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    if path.split('/').any(|segment| segment == PRIVATE) {
        return StatusCode::NOT_FOUND.into_response();
    }
    next.run(request).await
}
