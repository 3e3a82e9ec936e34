//! Phases in a pod that the real `kubectl exec` enters. No Kubernetes cluster can run here: instead, `apiserver.py` answers
//! `kubectl`, speaks the protocol of `exec`, and starts the commands in the pod of other tests.

use std::io::BufRead as _;
use std::process::{Child, Stdio};

use camino::Utf8PathBuf;

use crate::harness::{tool, wait};
use crate::places::{GOOD, Placed};
use crate::places_pod::Pod;

/// A namespace of a cluster with one pod; ends with this value.
struct Cluster {
    placed: Placed,
    pod: Pod,
    server: Child,
}

const SERVER: &str = include_str!("places_kubectl/apiserver.py");

impl Cluster {
    /// A build whose phases all run in the deployment `stx-builder` of the namespace of their project.
    fn start() -> Self {
        let placed = Placed::new("[place.there]\nkind = \"local\"\n");
        let dir = placed.small.dir.path().to_owned();
        let pod = Pod::start(&dir);
        let (client, words) = pod.client();
        let log = dir.join("requests");
        let mut server = tool("python3", ["-c", SERVER, log.as_str(), client.as_str()])
            .args(words)
            .env("NAMESPACE", "master-centos")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut port = String::new();
        let output = server.stdout.take().expect("a pipe");
        std::io::BufReader::new(output)
            .read_line(&mut port)
            .expect("a port");
        let kubeconfig = dir.join("kubeconfig");
        let port = port.trim();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
        );
        fs_err::write(&kubeconfig, text).expect("a file");
        // As in docs/places.md.
        let text = format!(
            "state = \"state\"\n[place.there]\nkind = \"exec\"\n\
             command = [\"kubectl\", \"exec\", \"-i\", \"-n\", \"${{PROJECT}}\", \"deploy/stx-builder\", \"--\"]\n\
             paths = {{ \"{dir}\" = \"{}\" }}\nenv = {{ KUBECONFIG = \"{kubeconfig}\", KUBECACHEDIR = \"{dir}/cache\" }}\n\
             [[place-rule]]\nphases = [\"im*\"]\nplace = \"there\"\n",
            pod.inside
        );
        fs_err::write(dir.join("stx-builds.toml"), text).expect("a configuration");
        Self {
            placed,
            pod,
            server,
        }
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.placed.small.at(name)
    }

    /// The clients that are connected.
    fn clients() -> Vec<i32> {
        let found = crate::places::processes().into_iter();
        let found = found.filter(|process| {
            process
                .command
                .contains("-n master-centos deploy/stx-builder")
        });
        found.map(|process| process.pid).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

#[test]
#[ignore = "needs kubectl 1.31, which is newer than what Debian 12 has: `make kubectl`"]
fn kubectl_enters_the_pod_and_its_end_does_not_end_the_phase() {
    let cluster = Cluster::start();
    let script = format!("echo \"in $MY_WORKSPACE, 'quoted'\"\n{GOOD}");
    cluster.placed.build("20200101T000000Z", &script).code(0);
    let log = cluster.placed.log("20200101T000000Z");
    let work = format!("{}/state/master/centos/work", cluster.pod.inside);
    assert!(log.contains(&format!(" in {work}, 'quoted'\n")), "{log}");
    // The status of the phase is that in its result file, not that of the client.
    cluster.placed.build("20200102T000000Z", "exit 7").code(3);
    assert_eq!(cluster.placed.reason("20200102T000000Z"), "exit status 7");

    // The requests as an API server receives them: no terminal, and each word separately.
    let requests = fs_err::read_to_string(cluster.at("requests")).expect("requests");
    let requests: Vec<serde_json::Value> = requests
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(
        requests.len() >= 4,
        "a check and a phase, twice: {requests:?}"
    );
    let options = [
        "container=builder",
        "stderr=true",
        "stdin=true",
        "stdout=true",
    ];
    for request in &requests {
        assert_eq!(request["options"], serde_json::json!(options), "{request}");
    }
    let run = requests.iter().find_map(|request| {
        let words = request["command"].as_array()?;
        let last = words.last()?.as_str()?;
        (last == "0" && words.len() > 4).then(|| words.clone())
    });
    let run = run.unwrap_or_else(|| panic!("no run among {requests:#?}"));
    assert_eq!(run[0], "/usr/bin/env");
    let jobs = format!("{}/state/master/centos/jobs/image.", cluster.pod.inside);
    assert!(
        run.iter()
            .any(|word| word.as_str().is_some_and(|word| word.starts_with(&jobs))),
        "{run:?}"
    );

    // A client that is killed.
    let text = format!(
        "touch \"$RECIPE_DIR/up\"\nuntil test -e \"$RECIPE_DIR/go\"; do sleep 0.05; done\n{GOOD}"
    );
    cluster.placed.small.commit("image.sh", &text);
    let mut build = cluster.placed.small.build("20200103T000000Z");
    build.stdout(Stdio::null()).stderr(Stdio::null());
    let mut build = build.spawn().expect("it starts");
    wait("the phase runs", || cluster.at("up").exists());
    let clients = Cluster::clients();
    assert!(!clients.is_empty(), "the build waits for kubectl");
    clients.into_iter().for_each(crate::places::kill);
    wait("no client is left", || Cluster::clients().is_empty());
    std::thread::sleep(std::time::Duration::from_secs(1));
    fs_err::write(cluster.at("go"), "").expect("a file");
    let status = build.wait().expect("it ends");
    assert_eq!(
        status.code(),
        Some(0),
        "{}",
        cluster.placed.reason("20200103T000000Z")
    );
    assert_eq!(cluster.pod.phases(), []);
}
