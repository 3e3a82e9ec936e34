//! A distant server: a proxy that delays every byte, and logs the requests with their times.
//!
//! ```text
//! client ──delay──> server      a new connection takes another round trip, for its handshake
//! client <──delay── server      end of a request: the client has the last byte of its answer
//! ```
//!
//! The benchmarks use this, too.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::server::Server;

/// A proxy before a server; ends with this value.
pub(crate) struct Far {
    endpoint: String,
    credentials: (&'static str, &'static str),
    log: Log,
    _runtime: tokio::runtime::Runtime,
}

/// A request, or the handshake of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and path.
    pub(crate) what: String,
    /// The instant at which its first byte left the client.
    pub(crate) start: Instant,
    /// The instant at which the last byte of its answer arrived; absent before that.
    pub(crate) end: Option<Instant>,
}

type Log = Arc<Mutex<Vec<Asked>>>;

impl Far {
    /// Puts a proxy before a server: each byte takes `delay` in each direction.
    pub(crate) fn from(server: &dyn Server, delay: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let endpoint = server.endpoint();
        let address = endpoint.strip_prefix("http://").expect("plain HTTP");
        let address: SocketAddr = address.parse().expect("an address");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let log = Log::default();
        let noted = Arc::clone(&log);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let line = Line::new(Arc::clone(&noted), delay);
                tokio::spawn(async move {
                    // Either side may close the connection at any time.
                    line.connect(socket, address).await.ok();
                });
            }
        });
        Self {
            endpoint,
            credentials: server.credentials(),
            log,
            _runtime: runtime,
        }
    }

    /// The requests since the last call, by their start.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = std::mem::take(&mut *log);
        asked.sort_by_key(|it| it.start);
        asked
    }
}

impl Server for Far {
    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn credentials(&self) -> (&'static str, &'static str) {
        self.credentials
    }
}

/// The longest chain of requests that each began after the one before had ended: its length is the number of consecutive round trips.
pub(crate) fn chain(asked: &[Asked]) -> Vec<&Asked> {
    let mut ended: Vec<_> = asked.iter().filter(|it| it.end.is_some()).collect();
    ended.sort_by_key(|it| it.end);
    let mut chain: Vec<&Asked> = Vec::new();
    for it in ended {
        if chain.last().is_none_or(|last| last.end <= Some(it.start)) {
            chain.push(it);
        }
    }
    chain
}

/// A line for each request, with its times in milliseconds; the requests of the chain are numbered.
pub(crate) fn drawn(asked: &[Asked]) -> String {
    let Some(first) = asked.iter().map(|it| it.start).min() else {
        return "nothing was asked".to_owned();
    };
    let chain = chain(asked);
    let since = |at: Instant| (at - first).as_millis();
    let lines = asked.iter().map(|it| {
        let mark = match chain.iter().position(|other| std::ptr::eq(*other, it)) {
            Some(number) => format!("{:>3}", number + 1),
            None => "   ".to_owned(),
        };
        let end = it
            .end
            .map_or("never".to_owned(), |end| since(end).to_string());
        format!("{mark} {:>6} {end:>6} {}\n", since(it.start), it.what)
    });
    lines.collect()
}

/// One connection.
#[derive(Clone)]
struct Line {
    log: Log,
    delay: Duration,
    /// The request that is being answered, by its place in the log.
    current: Arc<Mutex<Option<usize>>>,
}

impl Line {
    fn new(log: Log, delay: Duration) -> Self {
        Self {
            log,
            delay,
            current: Arc::default(),
        }
    }

    async fn connect(self, client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
        let start = Instant::now();
        self.note("connect", start, Some(start + 2 * self.delay));
        let server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        let up = self
            .clone()
            .hand_on(from_client, to_server, 2 * self.delay, true);
        let down = self
            .clone()
            .hand_on(from_server, to_client, Duration::ZERO, false);
        tokio::join!(up, down);
        Ok(())
    }

    fn note(&self, what: &str, start: Instant, end: Option<Instant>) -> usize {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let what = what.to_owned();
        log.push(Asked { what, start, end });
        log.len() - 1
    }

    /// Forwards data, each byte with a delay; `first` additionally delays the first ones.
    async fn hand_on(
        self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        first: Duration,
        up: bool,
    ) {
        let (send, mut receive) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let (delay, line) = (self.delay, self.clone());
        let begun = Instant::now();
        let read = async move {
            let mut requests = Requests::default();
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                let now = Instant::now().max(begun + first);
                if up {
                    for what in requests.read(&buffer[..count]) {
                        let at = line.note(&what, now, None);
                        let mut current =
                            line.current.lock().unwrap_or_else(PoisonError::into_inner);
                        *current = Some(at);
                    }
                }
                if send.send((now + delay, buffer[..count].to_vec())).is_err() {
                    return;
                }
            }
        };
        let write = async move {
            while let Some((at, bytes)) = receive.recv().await {
                tokio::time::sleep_until(at.into()).await;
                if !up {
                    self.answered();
                }
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(read, write);
    }

    /// Part of the answer has arrived.
    fn answered(&self) {
        let current = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // The log may have been taken meanwhile.
        if let Some(asked) = current.and_then(|at| log.get_mut(at)) {
            asked.end = Some(Instant::now());
        }
    }
}

/// Parses the requests that a client sends.
#[derive(Default)]
struct Requests {
    head: Vec<u8>,
    /// The remaining bytes of the body.
    body: usize,
}

impl Requests {
    /// The requests whose head ends in these bytes.
    fn read(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let body = self.body.min(bytes.len());
            self.body -= body;
            bytes = &bytes[body..];
            let Some((byte, rest)) = bytes.split_first() else {
                break;
            };
            self.head.push(*byte);
            bytes = rest;
            if self.head.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.head).into_owned();
                self.head.clear();
                let mut lines = head.lines();
                let first = lines.next().unwrap_or_default();
                let first = first.strip_suffix(" HTTP/1.1").unwrap_or(first);
                found.push(first.to_owned());
                let length = lines.find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    let is_length = name.eq_ignore_ascii_case("content-length");
                    is_length.then(|| value.trim().parse().ok())?
                });
                self.body = length.unwrap_or_default();
            }
        }
        found
    }
}
