//! Waiting for events in other processes, and free ports for their servers.

use std::fmt::Display;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The longest wait for an event that an idle machine reaches at once.
const LIMIT: Duration = Duration::from_mins(2);

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn wait(what: &str, so: impl FnMut() -> bool) {
    wait_or_show(what, so, || "");
}

/// Waits until the condition holds. On failure, the test shows a log.
#[track_caller]
pub(crate) fn wait_or_show<L: Display>(
    what: &str,
    mut so: impl FnMut() -> bool,
    log: impl Fn() -> L,
) {
    let end = Instant::now() + LIMIT;
    let mut pause = Duration::from_millis(1);
    while !so() {
        assert!(
            Instant::now() < end,
            "not so in {LIMIT:?}: {what}\n{}",
            log()
        );
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(50));
    }
}

/// Waits until a started server answers on a port of this host.
#[track_caller]
pub(crate) fn wait_for_server<L: Display>(server: &mut Child, port: u16, log: impl Fn() -> L) {
    let answers = || {
        let ended = server.try_wait().expect("a child");
        assert!(ended.is_none(), "the server ended, {ended:?}: {}", log());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    };
    wait_or_show(&format!("a server answers on port {port}"), answers, &log);
}

/// A free port of this host that no other test gets.
///
/// The kernel assigns ports from 32,768 to clients, even between this probe and the start of the server, so this is a lower one.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of the tests may be active in parallel.
    let first = 20_000 + std::process::id() % 10_000;
    let first = u16::try_from(first).expect("below 30,000");
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
