//! A hostile web server on the loopback interface; it answers correctly unless it is told otherwise.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

/// The request of a reader.
pub(crate) struct Request {
    pub(crate) path: String,
    /// The first requested byte of a range.
    pub(crate) range: Option<usize>,
    /// The user and the password in the form of `Basic`, encoded.
    pub(crate) credentials: Option<String>,
    /// The number of requests for this path, including this one.
    pub(crate) count: u64,
}

/// The answer to it; the connection is closed after that.
pub(crate) enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A head, and then the same bytes forever.
    Endless { head: String, again: Vec<u8> },
    /// These bytes, and then nothing for as long as the reader waits.
    Stall(Vec<u8>),
}

impl Answer {
    pub(crate) fn ok(body: &[u8]) -> Self {
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        Self::Bytes([head.as_bytes(), body].concat())
    }

    pub(crate) fn redirect(to: &str) -> Self {
        let head = format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        Self::Bytes(head.into())
    }
}

type Decide = dyn Fn(&Request) -> Option<Answer> + Send + Sync;

struct State {
    root: Utf8PathBuf,
    decide: Box<Decide>,
    stop: AtomicBool,
    sent: AtomicU64,
    asked: Mutex<BTreeMap<String, u64>>,
}

/// The running server; ends with this value.
pub(crate) struct Hostile {
    state: Arc<State>,
    port: u16,
}

impl Hostile {
    /// Serves the files below `root`, except if `decide` returns another answer.
    pub(crate) fn start(
        root: &Utf8Path,
        decide: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let state = Arc::new(State {
            root: root.to_owned(),
            decide: Box::new(decide),
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            asked: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, stream) = (Arc::clone(&shared), stream.expect("a connection"));
                // Readers that disconnect early are expected.
                std::thread::spawn(move || shared.answer(stream).ok());
            }
        });
        Self { state, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The number of bytes that readers received.
    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.state.asked.lock().expect("no panic").values().sum()
    }

    /// The number of requests for files with this name.
    pub(crate) fn asked(&self, name: &str) -> u64 {
        let asked = self.state.asked.lock().expect("no panic");
        asked
            .iter()
            .filter(|(path, _)| path.ends_with(name))
            .map(|(_, count)| count)
            .sum()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl State {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(request) = self.request(&stream)? else {
            return Ok(());
        };
        let answer = (self.decide)(&request).unwrap_or_else(|| self.file(&request));
        match answer {
            Answer::Bytes(bytes) => self.send(&mut stream, &bytes),
            Answer::Endless { head, again } => {
                self.send(&mut stream, head.as_bytes())?;
                while !self.stop.load(Ordering::Relaxed) {
                    self.send(&mut stream, &again)?;
                }
                Ok(())
            }
            Answer::Stall(bytes) => {
                self.send(&mut stream, &bytes)?;
                stream.set_read_timeout(Some(Duration::from_mins(1)))?;
                stream.read(&mut [0]).map(drop)
            }
        }
    }

    fn request(&self, stream: &TcpStream) -> std::io::Result<Option<Request>> {
        let mut lines = BufReader::new(stream).lines();
        let Some(first) = lines.next().transpose()? else {
            return Ok(None);
        };
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut range, mut credentials) = (None, None);
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            match (&*name.to_lowercase(), value.split_once(['=', ' '])) {
                ("range", Some(("bytes", first))) => {
                    range = first.trim_end_matches('-').parse().ok();
                }
                ("authorization", Some(("Basic", text))) => credentials = Some(text.to_owned()),
                _ => {}
            }
        }
        let mut asked = self.asked.lock().expect("no panic");
        let count = asked.entry(path.clone()).or_default();
        *count += 1;
        Ok(Some(Request {
            path,
            range,
            credentials,
            count: *count,
        }))
    }

    fn file(&self, request: &Request) -> Answer {
        match fs_err::read(self.root.join(request.path.trim_start_matches('/'))) {
            Ok(bytes) => Answer::ok(&bytes),
            Err(_) => Answer::Bytes(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
            ),
        }
    }

    fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        stream.write_all(bytes)?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}
