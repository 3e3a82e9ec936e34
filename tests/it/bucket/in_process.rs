//! Servers within the test: one that evaluates conditions, and one that only claims to.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use camino_tempfile::{Utf8TempDir, tempdir};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;

use super::server::Server;

const KEY: &str = "AKTEST";
const SECRET: &str = "SKTEST";

/// `s3s-fs`, which keeps objects in a directory; ends with this value.
pub(crate) struct S3s {
    endpoint: String,
    _runtime: tokio::runtime::Runtime,
    _dir: Utf8TempDir,
}

impl S3s {
    pub(crate) fn start() -> Self {
        let dir = tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let files = FileSystem::new(dir.path()).expect("a store");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    // A client may close the connection at any time.
                    drop(server.serve_connection(TokioIo::new(socket), service).await);
                });
            }
        });
        Self {
            endpoint: format!("http://{address}"),
            _runtime: runtime,
            _dir: dir,
        }
    }
}

impl Server for S3s {
    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn credentials(&self) -> (&'static str, &'static str) {
        (KEY, SECRET)
    }
}

/// A server that accepts every write without evaluating conditions; it runs until the process ends.
pub(crate) struct Lying {
    endpoint: String,
}

impl Lying {
    pub(crate) fn start() -> Self {
        Self::start_with("200 OK")
    }

    /// A server that answers writes with this status.
    pub(crate) fn start_with(written: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            let mut objects = BTreeMap::new();
            for socket in listener.incoming().flatten() {
                // One request per connection suffices.
                drop(answer(socket, &mut objects, written));
            }
        });
        Self { endpoint }
    }
}

fn answer(
    mut socket: TcpStream,
    objects: &mut BTreeMap<String, Vec<u8>>,
    written: &str,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    reader.read_line(&mut head)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(text) = lower.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap_or_default();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = head.split(' ');
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (status, body) = match method {
        "PUT" => {
            objects.insert(path.to_owned(), body);
            (written, Vec::new())
        }
        "POST" => ("200 OK", b"<DeleteResult/>".to_vec()),
        _ if path.contains("list-type") => (
            "200 OK",
            b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".to_vec(),
        ),
        _ => match objects.get(path) {
            Some(bytes) => ("200 OK", bytes.clone()),
            None => ("404 Not Found", Vec::new()),
        },
    };
    write!(
        socket,
        "HTTP/1.1 {status}\r\nETag: \"1\"\r\nLast-Modified: Thu, 01 Nov 2018 06:00:00 GMT\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    socket.write_all(&body)
}

impl Server for Lying {
    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn credentials(&self) -> (&'static str, &'static str) {
        (KEY, SECRET)
    }
}
