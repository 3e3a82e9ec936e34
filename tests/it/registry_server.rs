//! A real `docker-registry` on a free port of the loopback interface.

use std::process::{Child, Command, Stdio};

use camino_tempfile::Utf8TempDir;

use crate::harness::{free_port, run, tool, wait, wait_for_server};

/// A running registry; ends with this value.
pub(crate) struct DockerRegistry {
    child: Child,
    port: u16,
    dir: Utf8TempDir,
}

impl DockerRegistry {
    /// An empty registry without access control.
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// An empty registry with this additional configuration.
    pub(crate) fn with(more: &str) -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: 127.0.0.1:{port}}}\n{}",
            dir.path(),
            more.replace("DIR", dir.path().as_str())
        );
        let file = dir.path().join("config.yml");
        fs_err::write(&file, config).expect("a file");
        let log = |name: &str| {
            let file = fs_err::File::create(dir.path().join(name)).expect("a log");
            file.into_parts().0
        };
        let start = |program: &str| {
            Command::new(program)
                .args(["serve", file.as_str()])
                .stdin(Stdio::null())
                .stdout(log("access"))
                .stderr(log("log"))
                .spawn()
        };
        // Debian's name of the program, else Fedora's.
        let mut child = start("docker-registry")
            .or_else(|_| start("registry"))
            .expect("docker-registry starts; `scripts/setup.sh test` installs it");
        wait_for_server(&mut child, port, || {
            fs_err::read_to_string(dir.path().join("log")).unwrap_or_default()
        });
        Self { child, port, dir }
    }

    /// `HOST:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Empties the file of a tag, as a disk that is full leaves it.
    pub(crate) fn damage(&self, repository: &str, tag: &str) {
        let tags = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags");
        let link = self.dir.path().join(tags).join(tag).join("current/link");
        fs_err::write(link, "").expect("a tag");
    }

    /// The requests since the start that changed something, or tried to: `PUT /v2/…`.
    pub(crate) fn changes(&self) -> Vec<String> {
        let log = fs_err::read_to_string(self.dir.path().join("access")).expect("a log");
        let lines = log.lines().filter_map(|line| {
            let (_, rest) = line.split_once('"')?;
            let request = rest.split_once('"')?.0;
            let changes = ["POST ", "PUT ", "PATCH ", "DELETE "];
            let changing = changes.iter().any(|method| request.starts_with(method));
            changing.then(|| request.to_owned())
        });
        lines.collect()
    }
}

/// The answer of `skopeo` about an image.
pub(crate) fn inspect(name: &str) -> serde_json::Value {
    let image = format!("docker://{name}");
    let args = ["inspect", "--tls-verify=false", &image];
    run(&mut tool("skopeo", args)).code(0).json()
}

/// The digest that `skopeo` sees, as 64 digits; `None` if the image does not exist.
///
/// `docker-registry` answers 500 while it rewrites the link to a manifest, each time that a tag of this manifest is put: the request
/// is then repeated.
pub(crate) fn seen_digest(name: &str) -> Option<String> {
    let image = format!("docker://{name}");
    let args = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}"];
    let mut seen = None;
    wait(&image, || {
        let ran = run(tool("skopeo", args).arg(&image));
        if ran.code == Some(0) {
            let digest = ran.stdout.trim().strip_prefix("sha256:");
            seen = Some(digest.expect("a digest").to_owned());
            return true;
        }
        let is_transient = ran.stderr.contains("500 Internal Server Error");
        let is_unknown = ran.stderr.contains("manifest unknown");
        assert!(is_transient || is_unknown, "{}", ran.stderr);
        is_unknown
    });
    seen
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.child
            .kill()
            .expect("the registry is there until it is stopped");
        self.child.wait().expect("the registry ends");
    }
}
