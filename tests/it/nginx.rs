//! A real nginx over a mirror, on a free port of the loopback interface.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{free_port, wait_for_server};

/// A running nginx; ends with this value.
pub(crate) struct Nginx {
    child: Child,
    port: u16,
    _dir: Utf8TempDir,
}

impl Nginx {
    /// Serves a mirror; `more` is added to its `server` block. Temporary files of nginx lie in `prefix`.
    pub(crate) fn of_mirror(prefix: &Utf8Path, mirror: &Utf8Path, more: &str) -> Self {
        let server = format!("server {{ listen 127.0.0.1:8080; root {mirror}; {more} }}");
        Self::of_blocks(prefix, &server)
    }

    /// Serves by blocks of the `http` context. Temporary files of nginx lie in `prefix`.
    pub(crate) fn of_blocks(prefix: &Utf8Path, blocks: &str) -> Self {
        fs_err::create_dir_all(prefix).expect("a directory");
        let conf = format!(
            "daemon off; pid nginx.pid; worker_processes 1; events {{}}\nhttp {{ access_log off; client_body_temp_path body; \
             proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n{blocks}\n}}\n"
        );
        Self::serve(prefix, &conf)
    }

    /// Serves with a complete configuration, with port 8080 replaced by a free port, and waits until it answers.
    pub(crate) fn serve(prefix: &Utf8Path, conf: &str) -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let port = free_port();
        let conf = conf.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        let file = dir.path().join("nginx.conf");
        let conf = conf.replace("pid nginx.pid", &format!("pid {}/nginx.pid", dir.path()));
        fs_err::write(&file, conf).expect("nginx.conf");
        let log = dir.path().join("log");
        let path = std::env::var("PATH").expect("PATH");
        let mut child = Command::new("nginx")
            .args([
                "-p",
                &format!("{prefix}/"),
                "-e",
                "stderr",
                "-c",
                file.as_str(),
            ])
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stdin(Stdio::null())
            .stderr(fs_err::File::create(&log).expect("a log").into_parts().0)
            .spawn()
            .expect("nginx starts; `scripts/setup.sh test` installs it");
        wait_for_server(&mut child, port, || {
            fs_err::read_to_string(&log).unwrap_or_default()
        });
        Self {
            child,
            port,
            _dir: dir,
        }
    }

    /// The address of a path of the mirror.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// The access log at `path`, with a line for each answered request.
    ///
    /// nginx writes the line after the answer. Its only worker has written it before it answers another request.
    pub(crate) fn log(&self, path: &Utf8Path) -> String {
        let server = TcpStream::connect(("127.0.0.1", self.port));
        let mut server = server.expect("nginx answers");
        server.write_all(b"HEAD / HTTP/1.0\r\n\r\n").expect("sent");
        server.read_to_end(&mut Vec::new()).expect("an answer");
        fs_err::read_to_string(path).expect("a log")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGKILL would leave the workers of the master behind.
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("nginx is there until it is stopped");
        self.child.wait().expect("nginx ends");
    }
}
