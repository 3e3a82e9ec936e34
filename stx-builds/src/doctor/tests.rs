//! The checks, on simulated machines.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use stx_layout::config::ConfigErrors;
use stx_layout::{BuildOutcome, BuildRecord};
use stx_pipeline::Invocation;

use super::Severity::{Error, Warning};
use super::{
    Clock, Diagnosis, DoctorOptions, Entry, Finding, Machine, Said, Severity, Space, Subject,
};
use crate::options::Executors;
use crate::{Options, Site};

/// The user that builds.
const BUILDER: u32 = 4711;

/// A machine that matches the configuration below.
#[derive(Clone)]
struct Fake {
    user: u32,
    entries: BTreeMap<Utf8PathBuf, Entry>,
    programs: BTreeSet<&'static str>,
    groups: BTreeSet<&'static str>,
    free: u64,
    /// The network file system of the state directory.
    network: Option<&'static str>,
    now: DateTime<Utc>,
    written: DateTime<Utc>,
    synchronised: &'static str,
    git: &'static str,
    /// The answer of every mirror.
    mirrors: Result<bool, String>,
    /// The standard error of every place; empty if it works.
    places: &'static str,
}

fn dir(uid: u32, mode: u32) -> Entry {
    Entry {
        is_dir: true,
        uid,
        mode,
    }
}

fn file(uid: u32, mode: u32) -> Entry {
    Entry {
        is_dir: false,
        uid,
        mode,
    }
}

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2020, 1, 1, 12, 0, 0)
        .single()
        .expect("a time")
}

fn good() -> Fake {
    let entries = [
        ("/srv", dir(0, 0o755)),
        ("/srv/mirror", dir(BUILDER, 0o755)),
        ("/srv/state", dir(BUILDER, 0o700)),
        ("/srv/state/.service", dir(BUILDER, 0o700)),
        ("/srv/state/.service/ledger.sqlite", file(BUILDER, 0o600)),
        ("/srv/spool", dir(BUILDER, 0o3770)),
        ("/srv/metrics", dir(BUILDER, 0o755)),
    ];
    Fake {
        user: 0,
        entries: entries.map(|(path, entry)| (path.into(), entry)).into(),
        programs: [
            "git",
            "make",
            "/etc/notify",
            "/etc/lab",
            "timedatectl",
            "ssh",
        ]
        .into(),
        groups: ["leads"].into(),
        free: 50,
        network: None,
        now: noon(),
        written: noon() - TimeDelta::days(3),
        synchronised: "yes\n",
        git: "git version 2.47.3\n",
        mirrors: Ok(true),
        places: "",
    }
}

#[async_trait]
impl Machine for Fake {
    fn user(&self) -> u32 {
        self.user
    }

    fn entry(&self, path: &Utf8Path) -> io::Result<Entry> {
        let found = self.entries.get(path).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn can_write(&self, dir: &Utf8Path, user: u32) -> bool {
        self.entries.get(dir).is_some_and(|entry| entry.uid == user)
    }

    fn program(&self, word: &str) -> io::Result<Utf8PathBuf> {
        match self.programs.get(word) {
            Some(word) => Ok(Utf8PathBuf::from(*word)),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "it is not in PATH")),
        }
    }

    fn network_disk(&self, dir: &Utf8Path) -> Option<&'static str> {
        self.network.filter(|_| dir == "/srv/state")
    }

    fn space(&self, _: &Utf8Path) -> io::Result<Space> {
        Ok(Space {
            total: 100,
            free: self.free,
        })
    }

    fn clock(&self, files: &[Utf8PathBuf]) -> Clock {
        Clock {
            now: self.now,
            written: files
                .iter()
                .map(|file| (file.clone(), self.written))
                .collect(),
        }
    }

    fn has_group(&self, name: &str) -> bool {
        self.groups.contains(name)
    }

    async fn run(&self, invocation: Invocation, _: Duration) -> Result<Said, String> {
        let (stdout, stderr) = match invocation.program.as_str() {
            "git" => (self.git, ""),
            "timedatectl" => (self.synchronised, ""),
            _ => ("", self.places),
        };
        Ok(Said {
            ok: stderr.is_empty(),
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        })
    }

    async fn reach(&self, _: &Site, _: &Utf8Path, _: Duration) -> Result<bool, crate::Error> {
        let answer = self.mirrors.clone();
        answer.map_err(|why| crate::Error::new(crate::ErrorKind::Mirror, why))
    }
}

const CONFIG: &str = r#"mirror = "/srv/mirror"
state = "/srv/state"
recipe = "recipe.toml"
policy = "policy.toml"

[service]
spool = "/srv/spool"
metrics = "/srv/metrics/x.prom"
hook = ["/etc/notify"]
cancel_group = "leads"

[[branch]]
name = "master"
schedule = "0 6 * * *"

[[lab]]
name = "sanity"
channel = "master/*"
command = ["/etc/lab"]

[mirrors]
urls = ["https://mirror.example.org/"]

[place.box]
kind = "ssh"
host = "box"

[[place-rule]]
phases = ["sync"]
place = "box"
"#;

const RECIPE: &str = "schema = 1\nname = \"x\"\ndistro = \"centos\"\n[tools]\nmake = \"make\"\n[source]\n\
    phase = \"sync\"\nrepositories = []\n[[phase]]\nname = \"sync\"\nrun = [\"true\"]\n";

const POLICY: &str = "[[channel]]\nmatch = \"master/*\"\nkeep = \"30 days\"\n";

/// The findings about a configuration, its policy and a machine.
async fn findings(config: &str, policy: &str, machine: &Fake) -> Vec<Finding> {
    let dir = Utf8TempDir::new().expect("a directory");
    let write = |name: &str, text: &str| {
        let file = dir.path().join(name);
        fs_err::write(&file, text).expect("a file");
        file
    };
    let file = write("stx-builds.toml", config);
    write("recipe.toml", RECIPE);
    write("policy.toml", policy);
    let (options, mistakes) = Options::read(Some(&file), &Executors::default()).expect("options");
    let site = Site::open(options).at(noon());
    let how = DoctorOptions::default();
    let Diagnosis { findings, .. } = site
        .doctor(mistakes, machine, &how)
        .await
        .expect("a diagnosis");
    findings
}

#[tokio::test]
async fn a_correct_setup_has_no_findings() {
    assert_eq!(findings(CONFIG, POLICY, &good()).await, []);
}

/// A change of the machine, and the one finding that it causes.
type Row = (fn(&mut Fake), Severity, Subject, &'static str, &'static str);

impl Fake {
    /// Replaces a directory.
    fn has(&mut self, path: &str, entry: Entry) {
        self.entries.insert(path.into(), entry);
    }

    /// Removes a directory.
    fn lacks(&mut self, path: &str) {
        self.entries.remove(Utf8Path::new(path));
    }

    /// Uninstalls a program.
    fn misses(&mut self, program: &str) {
        self.programs.remove(program);
    }
}

/// Faults of files.
#[rustfmt::skip]
const FILES: [Row; 14] = [
    (|it| it.has("/srv/mirror", dir(0, 0o755)), Error, Subject::Files, "/srv/mirror belongs to root, and user 4711 cannot write it", "1:10"),
    (|it| it.lacks("/srv/mirror"), Error, Subject::Files, "cannot be made: /srv belongs to root", "1:10"),
    (|it| it.has("/srv/mirror", file(BUILDER, 0o644)), Error, Subject::Files, "/srv/mirror is not a directory", "1:10"),
    (|it| it.has("/srv/mirror", dir(BUILDER, 0o700)), Warning, Subject::Files, "/srv/mirror can be read by its owner only", "1:10"),
    (|it| it.has("/srv", dir(0, 0o700)), Warning, Subject::Files, "/srv can be read by its owner only", "1:10"),
    (|it| it.has("/srv/state/.service", dir(0, 0o700)), Error, Subject::Files, "/srv/state/.service belongs to root, and user 4711 cannot write it", "2:9"),
    (|it| it.has("/srv/state/.service/ledger.sqlite-wal", file(0, 0o600)), Error, Subject::Files, "ledger.sqlite-wal belongs to root, and user 4711 cannot write it", "2:9"),
    (|it| it.has("/srv/state/.service/ledger.sqlite", file(BUILDER, 0o400)), Error, Subject::Files, "ledger.sqlite is write-protected", "2:9"),
    (|it| it.has("/srv/spool", dir(0, 0o3770)), Error, Subject::Files, "/srv/spool belongs to root, not to user 4711", "7:9"),
    (|it| it.has("/srv/spool", dir(BUILDER, 0o3777)), Error, Subject::Files, "everybody can write /srv/spool", "7:9"),
    (|it| it.has("/srv/spool", dir(BUILDER, 0o2770)), Error, Subject::Files, "no sticky bit", "7:9"),
    (|it| it.lacks("/srv/metrics"), Error, Subject::Files, "/srv/metrics does not exist", "8:11"),
    (|it| it.network = Some("NFS"), Warning, Subject::Files, "/srv/state is on a network file system (NFS)", "2:9"),
    (|it| it.groups.clear(), Error, Subject::Files, "there is no group leads", "10:16"),
];

/// Faults of programs, of the clock and of other machines.
#[rustfmt::skip]
const OTHERS: [Row; 10] = [
    (|it| it.misses("/etc/notify"), Error, Subject::Programs, "/etc/notify cannot be run", "9:8"),
    (|it| it.misses("/etc/lab"), Error, Subject::Programs, "/etc/lab cannot be run", "19:11"),
    (|it| it.misses("make"), Error, Subject::Programs, "needs programs that are not in PATH: make", "3:10"),
    (|it| it.misses("git"), Error, Subject::Programs, "git cannot be run", "3:10"),
    (|it| it.git = "git version 2.30.2\n", Warning, Subject::Programs, "git 2.30.2 is too old", "3:10"),
    (|it| it.synchronised = "no\n", Warning, Subject::Time, "not synchronised", ""),
    (|it| it.written = noon() + TimeDelta::days(400), Error, Subject::Time, "the clock is behind: it says 2020-01-01 12:00:00", ""),
    (|it| it.mirrors = Err("refused".to_owned()), Warning, Subject::Mirrors, "https://mirror.example.org/ cannot be reached: refused", "22:9"),
    (|it| it.mirrors = Ok(false), Warning, Subject::Mirrors, "has no index.json", "22:9"),
    (|it| it.places = "connection refused\n\nTry --help\n", Error, Subject::Places, "place box cannot be used: ssh: connection refused; Try --help", "24:1"),
];

#[tokio::test]
async fn a_service_file_within_the_mirror_is_a_finding() {
    for (metrics, dashboard, message) in [
        ("/srv/metrics/x.prom", "/srv/metrics/x.html", ""),
        (
            "/srv/mirror/x.prom",
            "/srv/metrics/x.html",
            "/srv/mirror/x.prom is within the mirror",
        ),
        (
            "/srv/metrics/x.prom",
            "/srv/mirror/x.html",
            "/srv/mirror/x.html is within the mirror",
        ),
        (
            "/srv/metrics/x.prom",
            "/srv/none/x.html",
            "/srv/none does not exist",
        ),
        (
            "/srv/metrics/x.prom",
            "/srv/metrics",
            "/srv/metrics is a directory",
        ),
    ] {
        let keys = format!("metrics = {metrics:?}\ndashboard = {dashboard:?}\n");
        let config = CONFIG.replace("metrics = \"/srv/metrics/x.prom\"\n", &keys);
        let mut machine = good();
        machine.has("/srv", dir(BUILDER, 0o755));
        let found = findings(&config, POLICY, &machine).await;
        let texts: Vec<_> = found.iter().map(|found| &*found.message).collect();
        if message.is_empty() {
            assert_eq!(texts, [""; 0], "{keys}");
        } else {
            assert!(
                texts.len() == 1 && texts[0].contains(message),
                "{keys}: {texts:?}"
            );
        }
    }
}

#[tokio::test]
async fn each_fault_of_a_machine_is_one_finding() {
    for (change, severity, subject, message, at) in FILES.into_iter().chain(OTHERS) {
        let mut machine = good();
        change(&mut machine);
        let found = findings(CONFIG, POLICY, &machine).await;
        let [one] = &found[..] else {
            panic!("{message}: {found:#?}")
        };
        assert!(one.message.contains(message), "{message}: {one:?}");
        assert_eq!((one.severity, one.subject), (severity, subject), "{one:?}");
        let place = one
            .at
            .map_or(String::new(), |at| format!("{}:{}", at.line, at.column));
        assert_eq!(place, at, "{one:?}");
        assert!(!one.why.is_empty() && !one.fix.is_empty(), "{one:?}");
    }
    // Both directories are on the disk.
    let mut full = good();
    full.free = 9;
    let found = findings(CONFIG, POLICY, &full).await;
    let texts: Vec<_> = found.iter().map(|found| &*found.message).collect();
    assert!(
        texts.len() == 2 && texts[0].contains("9 % left, less than the 10 %"),
        "{texts:?}"
    );
}

/// The findings about a mirror with three daily builds of 20 bytes, on a disk of 100 bytes with `free` bytes left.
async fn with_builds(policy: &str, free: u64) -> Vec<Finding> {
    let dir = Utf8TempDir::new().expect("a directory");
    let mirror = dir.path().join("mirror");
    for date in ["20191230T060000Z", "20191231T060000Z", "20200101T060000Z"] {
        let id = format!("master/centos/{date}");
        let build = mirror.join(&id);
        let mut record = BuildRecord::new(id.parse().expect("a build"), BuildOutcome::Success);
        record.bytes = 20;
        fs_err::create_dir_all(&build).expect("a directory");
        let json = serde_json::to_vec(&record).expect("JSON");
        fs_err::write(build.join(BuildRecord::FILE_NAME), json).expect("a record");
    }
    let mut machine = good();
    machine.free = free;
    machine.has(mirror.as_str(), self::dir(BUILDER, 0o755));
    let config = CONFIG.replace("/srv/mirror", mirror.as_str());
    findings(&config, policy, &machine).await
}

/// The builds use 60 bytes, and each day adds 20.
#[tokio::test]
async fn a_mirror_that_fills_its_disk_within_a_month_is_found() {
    for (free, day) in [(39, "2020-01-03"), (40, "2020-01-04"), (59, "2020-01-04")] {
        let found = with_builds(POLICY, free).await;
        let [one] = &found[..] else {
            panic!("{free}: {found:#?}")
        };
        let message = format!("according to the forecast, the mirror's disk is full on {day}");
        assert_eq!(one.message, message, "{free}");
        let at = one.at.map(|at| (at.line, at.column));
        assert_eq!(
            (one.severity, one.subject, at),
            (Warning, Subject::Space, Some((1, 10)))
        );
        assert!(one.fix.contains("forecast --days 30"), "{one:?}");
    }
    // 30 days add 600 bytes: with room for them all, or a policy that makes room, there are no findings.
    assert_eq!(with_builds(POLICY, 600).await, []);
    let short = POLICY.replace("30 days", "2 days");
    assert_eq!(with_builds(&short, 59).await, []);
    // A policy with a mistake is one finding: no forecast is made with another policy.
    let wrong = POLICY.replace("keep", "kepe");
    let found = with_builds(&wrong, 39).await;
    assert!(
        found.iter().all(|found| found.subject == Subject::Policy),
        "{found:#?}"
    );
}

/// The free space of a bucket is unknown; the only disk is that of the state directory.
#[tokio::test]
async fn the_free_space_of_a_bucket_is_not_checked() {
    let config = CONFIG.replace("/srv/mirror", "s3://bucket/mirror");
    assert_eq!(findings(&config, POLICY, &good()).await, []);
    let mut full = good();
    full.free = 0;
    let found = findings(&config, POLICY, &full).await;
    let [one] = &found[..] else {
        panic!("{found:#?}")
    };
    assert!(
        one.message
            .starts_with("the disk of /srv/state has 0 % left"),
        "{one:?}"
    );
}

#[tokio::test]
async fn rules_that_match_nothing_are_found() {
    let policy = "[[channel]]\nmatch = \"mastre/*\"\nkeep = \"30 days\"\n";
    let config = CONFIG
        .replace("channel = \"master/*\"", "channel = \"release/*\"")
        .replace("phases = [\"sync\"]", "phases = [\"snyc\"]")
        .replace("schedule", "after = \"master/debian\"\nschedule");
    let found = findings(&config, policy, &good()).await;
    let texts: Vec<_> = found
        .iter()
        .map(|found| (found.subject, &*found.message))
        .collect();
    assert_eq!(
        texts,
        [
            (Subject::Rules, "`match = \"mastre/*\"` matches no channel"),
            (
                Subject::Rules,
                "master is built after master/debian, which no entry builds and the mirror does not have"
            ),
            (
                Subject::Rules,
                "lab sanity tests channels release/*, of which there is none"
            ),
            (Subject::Rules, "no phase of a recipe is named snyc"),
        ]
    );
}

/// The phase of a place rule may belong to a recipe that cannot be read.
#[tokio::test]
async fn a_missing_recipe_is_one_finding() {
    let config = CONFIG.replace("phases = [\"sync\"]", "phases = [\"other\"]")
        + "[[branch]]\nname = \"r/2018.10\"\nrecipe = \"gone.toml\"\n";
    let found = findings(&config, POLICY, &good()).await;
    let [one] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(one.subject, Subject::Recipe, "{one:?}");
}

#[tokio::test]
async fn a_state_directory_within_the_mirror_is_found() {
    let config = CONFIG.replace("/srv/state", "/srv/mirror/state");
    let mut machine = good();
    machine
        .entries
        .insert("/srv/mirror/state".into(), dir(BUILDER, 0o700));
    let found = findings(&config, POLICY, &machine).await;
    let [one] = &found[..] else {
        panic!("{found:#?}")
    };
    assert!(one.message.contains("is within the mirror"), "{one:?}");
}

#[tokio::test]
async fn without_a_configuration_there_is_one_finding() {
    let site = Site::open(Options::default()).at(noon());
    let how = DoctorOptions::default();
    let found = site
        .doctor(ConfigErrors::default(), &good(), &how)
        .await
        .expect("a diagnosis");
    assert_eq!((found.errors, found.warnings), (1, 0), "{found:#?}");
    assert!(found.findings[0].fix.contains("stx-builds init"));
}
