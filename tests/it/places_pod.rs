//! Pods for phases, without Kubernetes: a mount and a process namespace with other paths inside.
//!
//! `kubectl exec` does not start a process but asks the node to: if the client ends, the process stays. This pod does the same: a
//! server, the first process of the pod, takes commands from a pipe, and the client waits for their results.

use std::process::{Child, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;

use crate::harness::{tool, wait, write_script};
use crate::places::processes;

/// The first process: `server SHARED SERVER INSIDE`.
const SERVER: &str = r#"
set -eu
shared=$1 server=$2 inside=$3
mount -t tmpfs pod /mnt
mkdir -p "/mnt/server" "$inside"
mount --bind "$shared" "$inside"
mount --bind "$server" /mnt/server
# Under its own path the build server's directory is not there.
mount -t tmpfs nothing "$shared"
exec 3<> /mnt/server/requests
touch /mnt/server/ready
while read -r request <&3; do
    (
        status=0
        bash "/mnt/server/$request/command" < /dev/null > "/mnt/server/$request/output" 2> "/mnt/server/$request/errors" 3<&- || status=$?
        echo "$status" > "/mnt/server/$request/status.new"
        mv "/mnt/server/$request/status.new" "/mnt/server/$request/status"
    ) &
done
"#;

/// `client SERVER WORD...`: runs the words in the pod.
const CLIENT: &str = r#"#!/bin/bash
server=$1
shift
here() { kill -0 "$(cat "$server/pid")" 2> /dev/null; }
here || { echo 'error: pod not found' >&2; exit 1; }
request=$(mktemp -d -p "$server" --suffix=.request)
printf '%q ' "$@" > "$request/command"
exec 3<> "$server/requests"
echo "${request##*/}" >&3
until [[ -e $request/status ]]; do
    here || { echo 'command terminated' >&2; exit 137; }
    sleep 0.02
done
cat "$request/output"
cat "$request/errors" >&2
exit "$(cat "$request/status")"
"#;

/// A running pod; ends with this value.
pub(crate) struct Pod {
    dir: Utf8TempDir,
    child: Child,
    /// The path inside of the directory that it shares with the build server.
    pub(crate) inside: Utf8PathBuf,
}

impl Pod {
    /// Starts a pod that shares a directory.
    pub(crate) fn start(shared: &Utf8Path) -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        let name = dir.path().file_name().expect("a name");
        let inside = Utf8Path::new("/mnt").join(name).join("localdisk");
        write_script(&at("client"), CLIENT);
        let requests = tool("mkfifo", [at("requests").as_str()]).status();
        assert!(requests.expect("mkfifo").success());
        let words = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let child = tool("unshare", words)
            .args(["bash", "-c", SERVER, "server", shared.as_str()])
            .args([dir.path().as_str(), inside.as_str()])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare starts; it needs root");
        fs_err::write(at("pid"), child.id().to_string()).expect("a file");
        wait("the pod runs", || at("ready").exists());
        Self { dir, child, inside }
    }

    /// The program that runs words in the pod, and its first argument.
    pub(crate) fn client(&self) -> (Utf8PathBuf, [String; 1]) {
        let dir = self.dir.path();
        (dir.join("client"), [dir.to_string()])
    }

    /// The configuration of this pod as a place, for builds that share `shared` with it.
    pub(crate) fn place(&self, name: &str, shared: &Utf8Path) -> String {
        let dir = self.dir.path();
        format!(
            "[place.{name}]\nkind = \"exec\"\ncommand = [\"{dir}/client\", \"{dir}\"]\n\
             paths = {{ \"{shared}\" = \"{}\" }}\n",
            self.inside
        )
    }

    /// The processes that phases started in the pod, with their ids on the build server and their command lines.
    pub(crate) fn phases(&self) -> Vec<(i32, String)> {
        let mark = format!("MY_WORKSPACE={}/", self.inside);
        let ours = |pid: i32| {
            let environ = fs_err::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut entries = environ.split(|byte| *byte == 0);
            entries.any(|entry| entry.starts_with(mark.as_bytes()))
        };
        let found = processes().into_iter().filter(|process| ours(process.pid));
        found
            .map(|process| (process.pid, process.command))
            .collect()
    }

    /// The script that holds a phase.
    pub(crate) fn script(&self, phase: &str) -> Option<i32> {
        let run = format!("{}/state/master/centos/jobs/{phase}.", self.inside);
        let mut found = processes().into_iter();
        let script = found.find(|process| {
            process.command.starts_with("/bin/bash --noprofile") && process.command.contains(&run)
        });
        script.map(|process| process.pid)
    }

    /// The clients that wait for a command in the pod.
    pub(crate) fn clients(&self) -> Vec<i32> {
        let client = format!("{}/client {}", self.dir.path(), self.dir.path());
        let found = processes().into_iter();
        let found = found.filter(|process| process.command.contains(&client));
        found.map(|process| process.pid).collect()
    }

    /// Ends it like a node that is switched off.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a running pod");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
