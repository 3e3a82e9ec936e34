//! `serve`: a mirror on the loopback interface, to try it out.

use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

use super::Context;
use crate::args::Serve;
use crate::exit::{Exit, Failure};
use crate::output;
use stx_builds::Mirror;
use stx_builds::mirror::directory;

mod listing;

/// The private area of a mirror, which no server shows.
const PRIVATE: &str = ".stx";

/// Serves until it is interrupted. Its one line of output is the address.
pub(crate) async fn run(context: &Context, args: &Serve) -> Result<(), Failure> {
    let root = match &args.dir {
        Some(dir) => directory(dir)?.root().to_owned(),
        None => match context.site.mirror()? {
            Mirror::Directory(store) => store.root().to_owned(),
            Mirror::Bucket(_) => {
                let failure = Failure::usage("only a mirror in a directory can be served");
                return Err(failure.hint("a bucket is served by its object store"));
            }
        },
    };
    let address = (Ipv4Addr::LOCALHOST, args.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let (host, port) = address;
        Failure::usage(format!("{host}:{port}: {error}")).hint("`--port 0` takes a free one")
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::new(Exit::Bug, error))?;
    output::write(&format!("http://{address}/\n"))?;
    let real = root.canonicalize_utf8();
    let real = real.map_err(|error| Failure::usage(format!("{root}: {error}")))?;
    let files = Router::new()
        .fallback_service(ServeDir::new(root))
        .layer(from_fn_with_state(real, listing::list))
        .layer(from_fn(hide));
    let interrupted = async {
        // Without a handler, the signal ends the program by itself.
        drop(tokio::signal::ctrl_c().await);
    };
    axum::serve(listener, files)
        .with_graceful_shutdown(interrupted)
        .await
        .map_err(|error| Failure::new(Exit::Bug, error))
}

/// Answers as if there was no private area, however its name is written.
async fn hide(request: Request, next: Next) -> Response {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    if path.split('/').any(|segment| segment == PRIVATE) {
        return StatusCode::NOT_FOUND.into_response();
    }
    next.run(request).await
}
