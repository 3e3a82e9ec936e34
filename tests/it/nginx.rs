//! A real nginx over a mirror, on a free port of the loopback interface.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;

/// A running nginx; ends with this value.
pub(crate) struct Nginx {
    child: Child,
    port: u16,
    _dir: Utf8TempDir,
}

impl Nginx {
    /// Serves `root` and waits until the port answers.
    pub(crate) fn serve(root: &Utf8Path) -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        // The port is free now; should another process take it before nginx does, nginx ends and the wait below says so.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|probe| probe.local_addr())
            .expect("a port")
            .port();
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let conf = format!(
            "daemon off; master_process off; pid nginx.pid; error_log error.log; {user}
             events {{ }}
             http {{
                 access_log off; default_type application/octet-stream;
                 client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
                 server {{
                     listen 127.0.0.1:{port}; root {root}; autoindex on;
                     location /.stx {{ deny all; }}
                 }}
             }}\n"
        );
        fs_err::write(dir.path().join("nginx.conf"), conf).expect("nginx.conf");
        let prefix = format!("{}/", dir.path());
        let mut child = Command::new("nginx")
            .args(["-p", &prefix, "-e", "error.log", "-c", "nginx.conf"])
            .env(
                "PATH",
                format!("{}:/usr/sbin:/sbin", std::env::var("PATH").expect("PATH")),
            )
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts; `scripts/setup.sh test` installs it");
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = child.try_wait().expect("a child") {
                let log = fs_err::read_to_string(dir.path().join("error.log")).unwrap_or_default();
                panic!("nginx ended with {status}: {log}");
            }
            assert!(Instant::now() < end, "nginx does not answer on port {port}");
            std::thread::sleep(Duration::from_millis(10));
        }
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
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child
            .kill()
            .expect("nginx is there until it is stopped");
        self.child.wait().expect("nginx ends");
    }
}
