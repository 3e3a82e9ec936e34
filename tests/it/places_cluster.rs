//! A real Slurm of four nodes on this machine, on free ports of the loopback interface.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{free_port, run, tool, wait_or_show};
use crate::places::{kill, path, processes};

/// The nodes.
pub(crate) const NODES: [&str; 4] = ["b1", "b2", "b3", "b4"];

/// The host name for the daemons, which listen on its address. The real name may have no address, or not the one that clients use:
/// Debian's installer maps it to 127.0.1.1.
const HOST: &str = "localhost";

/// A running cluster; ends with this value.
pub(crate) struct Cluster {
    dir: Utf8TempDir,
    daemons: Vec<(String, Child)>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let mut cluster = Self {
            dir,
            daemons: Vec::new(),
        };
        cluster.munge();
        cluster.configure();
        let conf = cluster.conf().into_string();
        cluster.daemon("slurmctld", &path("slurmctld"), &["-D", "-c", "-f", &conf]);
        for node in NODES {
            cluster.daemon(node, &path("slurmd"), &["-D", "-N", node, "-f", &conf]);
        }
        cluster.wait("every node is idle", || {
            let sinfo = run(&mut cluster.client("sinfo", &["-h", "-N", "-o", "%t"]));
            sinfo
                .stdout
                .lines()
                .filter(|state| *state == "idle")
                .count()
                == NODES.len()
        });
        cluster
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    /// Its `slurm.conf`.
    pub(crate) fn conf(&self) -> Utf8PathBuf {
        self.at("slurm.conf")
    }

    fn munge(&mut self) {
        let key: Vec<u8> = (0..=255).cycle().take(1024).collect();
        fs_err::write(self.at("key"), key).expect("a key");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs_err::set_permissions(self.at("key"), mode).expect("a key");
        let options = [
            ("key-file", "key"),
            ("socket", "munge"),
            ("pid-file", "munge.pid"),
            ("log-file", "munge.log"),
            ("seed-file", "munge.seed"),
        ];
        let mut args: Vec<_> = options
            .iter()
            .map(|(option, name)| format!("--{option}={}", self.at(name)))
            .collect();
        args.extend(["--force", "--foreground", "--num-threads=1"].map(str::to_owned));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        self.daemon("munged", &path("munged"), &args);
        self.wait("munged has its socket", || self.at("munge").exists());
    }

    fn configure(&self) {
        let base = self.dir.path();
        let user = run(&mut tool("id", ["-un"])).ok();
        let user = user.trim();
        let nodes = NODES.map(|node| {
            format!(
                "NodeName={node} NodeHostname={HOST} NodeAddr=127.0.0.1 Port={} CPUs=1 RealMemory=1000 State=UNKNOWN\n",
                free_port()
            )
        });
        let nodes = nodes.concat();
        // `cred_expire` is the time after which Slurm restarts a job; below 5 it takes its default of 120.
        let conf = format!(
            "ClusterName=stx\n\
             SlurmctldHost={HOST}(127.0.0.1)\n\
             SlurmctldPort={port}\n\
             AuthType=auth/munge\n\
             AuthInfo=socket={base}/munge,cred_expire=5\n\
             SlurmUser={user}\n\
             SlurmdUser={user}\n\
             SlurmctldPidFile={base}/slurmctld.pid\n\
             SlurmdPidFile={base}/%n.pid\n\
             StateSaveLocation={base}/state\n\
             SlurmdSpoolDir={base}/%n\n\
             SlurmctldLogFile={base}/slurmctld.log\n\
             SlurmdLogFile={base}/%n.log\n\
             ProctrackType=proctrack/linuxproc\n\
             TaskPlugin=task/none\n\
             JobAcctGatherType=jobacct_gather/none\n\
             AccountingStorageType=accounting_storage/none\n\
             JobCompType=jobcomp/none\n\
             SelectType=select/cons_tres\n\
             SelectTypeParameters=CR_Core\n\
             SchedulerType=sched/backfill\n\
             MpiDefault=none\n\
             SwitchType=switch/none\n\
             SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1\n\
             ReturnToService=2\n\
             KillWait=2\n\
             MinJobAge=600\n\
             CommunicationParameters=NoCtldInAddrAny,NoInAddrAny\n\
             {nodes}\
             PartitionName=build Nodes=b[1-4] Default=YES MaxTime=INFINITE State=UP\n",
            port = free_port(),
        );
        fs_err::create_dir(self.at("state")).expect("a directory");
        fs_err::write(self.conf(), conf).expect("a configuration");
    }

    fn daemon(&mut self, name: &str, program: &str, args: &[&str]) {
        let log = fs_err::File::create(self.at(&format!("{name}.out"))).expect("a log");
        let (log, _) = log.into_parts();
        let named = format!("echo {HOST} >/proc/sys/kernel/hostname && exec \"$@\"");
        let child = tool("unshare", ["--uts", "sh", "-c", &named, "sh", program])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("unshare starts; it needs root");
        self.daemons.push((name.to_owned(), child));
    }

    fn wait(&self, what: &str, so: impl Fn() -> bool) {
        wait_or_show(what, so, || {
            ["munged.out", "slurmctld.out", "b1.out"]
                .map(|name| fs_err::read_to_string(self.at(name)).unwrap_or_default())
                .concat()
        });
    }

    /// One of Slurm's programs.
    pub(crate) fn client(&self, program: &str, args: &[&str]) -> Command {
        let mut command = tool(program, args);
        command.env("SLURM_CONF", self.conf());
        command
    }

    /// The running job of a phase: its number and its node.
    pub(crate) fn running(&self, phase: &str) -> Option<(String, String)> {
        let args = ["-h", "-t", "RUNNING", "-o", "%A %N %j"];
        let squeue = run(&mut self.client("squeue", &args)).ok();
        squeue.lines().find_map(|line| {
            let [id, node, name] = *line.split(' ').collect::<Vec<_>>() else {
                return None;
            };
            name.starts_with(&format!("{phase}."))
                .then(|| (id.to_owned(), node.to_owned()))
        })
    }

    /// A place of this cluster; `more` is added to it.
    pub(crate) fn place(&self, name: &str, more: &str) -> String {
        format!(
            "[place.{name}]\nkind = \"slurm\"\npartition = \"build\"\nconf = \"{}\"\n{more}\n",
            self.conf()
        )
    }

    /// Kills a node as a power cut does: its daemon, and all processes of the phase that runs there.
    pub(crate) fn kill_node(&mut self, node: &str, phase: &str) {
        let at = self
            .daemons
            .iter()
            .position(|(name, _)| name == node)
            .expect("a node");
        let (_, mut slurmd) = self.daemons.remove(at);
        slurmd.kill().expect("a running daemon");
        slurmd.wait().expect("it ends");
        // The script, which would report the end of the phase; its parent, Slurm's keeper of the job; and the rest.
        let all = processes();
        let scripts: Vec<_> = all
            .iter()
            .filter(|process| process.command.contains(&format!("/jobs/{phase}.")))
            .collect();
        assert!(!scripts.is_empty(), "nothing of {phase} runs");
        let mut doomed: Vec<i32> = scripts.iter().map(|process| process.pid).collect();
        let keepers = scripts.iter().map(|process| process.parent);
        doomed.extend(keepers.filter(|keeper| {
            all.iter()
                .any(|process| process.pid == *keeper && process.command.contains("slurmstepd"))
        }));
        let mut at = 0;
        while at < doomed.len() {
            let parent = doomed[at];
            let children = all.iter().filter(|process| process.parent == parent);
            for child in children {
                if !doomed.contains(&child.pid) {
                    doomed.push(child.pid);
                }
            }
            at += 1;
        }
        // A power cut kills all of them at once. One after another, the keeper could still report that its script had died: stop each
        // before the first one is killed, the keepers before their scripts.
        for pid in doomed.iter().rev() {
            // A process that has just ended need not be stopped.
            kill_process(Pid::from_raw(*pid).expect("a process"), Signal::STOP).ok();
        }
        for pid in doomed {
            kill(pid);
        }
        run(&mut self.client(
            "scontrol",
            &[
                "update",
                &format!("NodeName={node}"),
                "State=DOWN",
                "Reason=killed",
            ],
        ))
        .ok();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Jobs first: a daemon leaves them behind.
        if self.daemons.iter().any(|(name, _)| name == "slurmctld") && !std::thread::panicking() {
            let left = run(&mut self.client("squeue", &["-h", "-o", "%j"])).ok();
            assert_eq!(left, "", "jobs are left in the cluster");
        } else {
            drop(self.client("scancel", &["--state=RUNNING"]).output());
            std::thread::sleep(Duration::from_secs(3));
        }
        for (_, daemon) in self.daemons.iter_mut().rev() {
            daemon.kill().ok();
            daemon.wait().ok();
        }
        // The keepers of jobs are not child processes of the test.
        let conf = format!("SLURM_CONF={}", self.conf());
        for process in processes() {
            let env = fs_err::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
            let ours = env
                .split(|byte| *byte == 0)
                .any(|entry| entry == conf.as_bytes());
            if ours && process.command.contains("slurmstepd") {
                kill(process.pid);
            }
        }
    }
}
