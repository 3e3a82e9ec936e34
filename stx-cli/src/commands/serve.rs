//! `serve`: a mirror on the loopback interface, to try it out.

use std::net::Ipv4Addr;

use axum::middleware::from_fn_with_state;
use camino::Utf8Path;
use tokio::net::TcpListener;

use super::Context;
use crate::args::Serve;
use crate::exit::{Exit, Failure};
use crate::output;
use stx_builds::Mirror;
use stx_builds::mirror::directory;
use stx_builds::options::MirrorLocation;
use stx_builds::server::{files, hide_private, serve};

mod listing;

/// Serves until it is interrupted. Its only line of output is the address.
pub(crate) async fn run(context: &Context, args: &Serve) -> Result<(), Failure> {
    let root = match &args.dir {
        Some(dir) => match MirrorLocation::of(dir) {
            MirrorLocation::Directory => directory(dir)?.root().to_owned(),
            other => return Err(elsewhere(dir, other)),
        },
        None => match context.site.mirror()? {
            Mirror::Directory(store) => store.root().to_owned(),
            Mirror::Bucket(_) => {
                return Err(elsewhere("the mirror".into(), MirrorLocation::Bucket));
            }
        },
    };
    let address = (Ipv4Addr::LOCALHOST, args.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let (host, port) = address;
        Failure::usage(format!("{host}:{port}: {error}")).hint("give `--port 0` to use a free port")
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::new(Exit::Bug, error))?;
    output::write(&format!("http://{address}/\n"))?;
    let real = root.canonicalize_utf8();
    let real = real.map_err(|error| Failure::usage(format!("{root}: {error}")))?;
    let files = files(&root).layer(from_fn_with_state(real, listing::list));
    let interrupted = async {
        // Without a handler, the signal ends the program by default.
        drop(tokio::signal::ctrl_c().await);
    };
    serve(listener, hide_private(files), interrupted)
        .await
        .map_err(|error| Failure::new(Exit::Bug, error))
}

/// The error about a mirror that is not a directory.
fn elsewhere(mirror: &Utf8Path, location: MirrorLocation) -> Failure {
    let failure = Failure::usage(format!(
        "{mirror}: only a mirror in a directory can be served"
    ));
    failure.hint(match location {
        MirrorLocation::Bucket => "a bucket is served by its object store",
        MirrorLocation::Web => "a web server serves it already: name it with `--mirror`, or make a directory of it by `stx-builds copy`",
        MirrorLocation::Directory => "name the directory",
    })
}
