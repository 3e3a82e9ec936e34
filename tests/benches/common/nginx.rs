//! nginx, for benchmarks that download.

use std::process::{Child, Command, Stdio};

use camino::Utf8Path;

#[path = "../../it/waiting.rs"]
#[expect(dead_code, reason = "tests also wait for other things")]
mod waiting;

use waiting::{free_port, wait_for_server};

/// A running nginx that serves `mirror/` of a directory; ends with this value.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) url: String,
}

impl Nginx {
    /// Starts it; it writes `access.log`. `limit` is in bytes per second for each connection; 0 means no limit.
    pub(crate) fn start(dir: &Utf8Path, limit: u64) -> Self {
        let port = free_port();
        // Workers of root's nginx would run as `nobody`, who cannot read here; without root the line has no effect.
        let conf = format!(
            "user root; daemon off; pid {dir}/pid; worker_processes 1; events {{}}\nhttp {{ access_log {dir}/access.log; sendfile on; \
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; \
             scgi_temp_path scgi; server {{ listen 127.0.0.1:{port}; root {dir}/mirror; limit_rate {limit}; }} }}\n"
        );
        fs_err::write(dir.join("nginx.conf"), conf).expect("a file");
        let path = std::env::var("PATH").expect("PATH");
        let mut child = Command::new("nginx")
            .args([
                "-p",
                dir.as_str(),
                "-e",
                "stderr",
                "-c",
                dir.join("nginx.conf").as_str(),
            ])
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx");
        wait_for_server(&mut child, port, || "nginx");
        let url = format!("http://127.0.0.1:{port}/");
        Self { child, url }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGKILL would leave the workers of the master behind.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        drop(self.child.wait());
    }
}
