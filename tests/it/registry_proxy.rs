//! A proxy between the program and a real registry that injects faults: answers itself, cuts connections, kills the client.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The treatment of a request.
pub(crate) enum Act {
    /// Forward it to the registry.
    Pass,
    /// Send this answer; the registry does not receive the request.
    Answer(String),
    /// Close the connection after forwarding this many bytes of the request.
    Cut(usize),
}

/// Decides by the number of a request, from 0, and its head.
type Rule = dyn Fn(usize, &str) -> Act + Send + Sync;

/// A running proxy; ends with this value.
pub(crate) struct Proxy {
    port: u16,
    stopped: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicUsize>,
    rule: Arc<Mutex<Arc<Rule>>>,
}

impl Proxy {
    /// A proxy for the registry at `host` that forwards everything.
    pub(crate) fn before(host: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Self {
            port: listener.local_addr().expect("an address").port(),
            stopped: Arc::default(),
            seen: Arc::default(),
            count: Arc::default(),
            rule: Arc::new(Mutex::new(Arc::new(|_, _: &str| Act::Pass))),
        };
        let (stopped, seen, rule) = (
            Arc::clone(&proxy.stopped),
            Arc::clone(&proxy.seen),
            Arc::clone(&proxy.rule),
        );
        let (count, host) = (Arc::clone(&proxy.count), host.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(client) = client else { continue };
                let (seen, rule) = (Arc::clone(&seen), Arc::clone(&rule));
                let (count, host) = (Arc::clone(&count), host.clone());
                std::thread::spawn(move || {
                    // Broken connections are expected here.
                    drop(serve(&client, &host, &seen, &count, &rule));
                    drop(client.shutdown(Shutdown::Both));
                });
            }
        });
        proxy
    }

    /// `HOST:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sets the rule for subsequent requests, which are counted from 0 again.
    pub(crate) fn rule(&self, rule: impl Fn(usize, &str) -> Act + Send + Sync + 'static) {
        *self.rule.lock().expect("no panic") = Arc::new(rule);
        self.count.store(0, Ordering::SeqCst);
        self.seen.lock().expect("no panic").clear();
    }

    /// The heads of the requests since the last rule.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Reads a head; returns it, the part of the body that was read, and the length of the body.
fn head(client: &mut &TcpStream) -> std::io::Result<Option<(String, Vec<u8>, usize)>> {
    let mut read = Vec::new();
    let mut byte = [0; 1];
    while !read.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(None);
        }
        read.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&read).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    Ok(Some((text, read, length.unwrap_or(0))))
}

fn serve(
    mut client: &TcpStream,
    host: &str,
    seen: &Mutex<Vec<String>>,
    count: &AtomicUsize,
    rule: &Mutex<Arc<Rule>>,
) -> std::io::Result<()> {
    // One request per connection, so that the ends of requests need not be found.
    let Some((text, raw, length)) = head(&mut client)? else {
        return Ok(());
    };
    seen.lock().expect("no panic").push(text.clone());
    let rule = Arc::clone(&rule.lock().expect("no panic"));
    let most = match rule(count.fetch_add(1, Ordering::SeqCst), &text) {
        Act::Pass => usize::MAX,
        Act::Cut(bytes) => bytes,
        Act::Answer(answer) => {
            let mut body = vec![0; length];
            client.read_exact(&mut body)?;
            client.write_all(answer.as_bytes())?;
            return Ok(());
        }
    };
    // One request per connection: the registry closes it after its answer.
    let mut server = TcpStream::connect(host)?;
    let text = String::from_utf8_lossy(&raw).into_owned();
    let closing = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(closing.as_bytes())?;
    let mut left = length;
    let mut sent = 0;
    let mut buffer = [0; 4096];
    while left > 0 {
        let read = client.read(&mut buffer[..left.min(4096)])?;
        if read == 0 || sent + read > most {
            return Ok(());
        }
        server.write_all(&buffer[..read])?;
        left -= read;
        sent += read;
    }
    if most != usize::MAX {
        return Ok(());
    }
    std::io::copy(&mut server, &mut client)?;
    Ok(())
}
