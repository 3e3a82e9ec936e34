//! Errors of mirrors behind a web server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use super::{Bed, row};

/// A web server that answers 404 below `/404/`, and a page for people for any other path.
fn web() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
            let Some(Ok(first)) = lines.next() else {
                continue;
            };
            // The rest of the request.
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let status = if first.starts_with("GET /404/") {
                "404 Not Found"
            } else {
                "200 OK"
            };
            let body = "\n<!DOCTYPE html><html><body>Please log in</body></html>";
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            // The client may have disconnected.
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    format!("http://{address}")
}

#[test]
fn a_web_page_is_not_reported_as_broken_json() {
    let bed = Bed::new();
    let web = web();
    let page = [
        "the server answered with a web page",
        "without a login or proxy in between?",
    ];
    let at = |args: &str| format!("--mirror {web}/html {args}");
    let (list, show, verify) = (
        at("list"),
        at("show master/centos/latest_build"),
        at("verify"),
    );
    let fetch = at("fetch master/centos/20200101T000000Z iso --to out");
    let missing = format!("--mirror {web}/404/mirror list");
    let missing_root = row(&*missing, 5, &["is not a mirror", "index.json: not found"]);
    let row = |args| row(args, 4, &page).without(&["line 1"]);
    bed.check([row(&list), row(&show), row(&verify), row(&fetch)]);
    bed.check([missing_root]);
}

#[test]
fn a_url_within_a_mirror_names_the_mirror() {
    let bed = Bed::new();
    let mut serve = bed.stx("serve srv/mirror --port 0");
    let mut child = serve
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program");
    let mut url = String::new();
    let stdout = child.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut url).expect("a line");
    let url = url.trim().to_owned();
    let is = format!("the mirror is {url}");
    let (master, channel) = (
        format!("--mirror {url}master list"),
        format!("--mirror {url}master/centos list"),
    );
    bed.check([
        row(&*master, 5, &["is not a mirror", &is]),
        row(
            &*channel,
            5,
            &["its index.json is that of the channel master/centos", &is],
        ),
    ]);
    child.kill().expect("ended");
    child.wait().expect("ended");
}
