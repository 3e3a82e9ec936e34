//! A day of a build farm: the real service, its ledger in a file and the plans of real recipes. Nodes only wait, and time is virtual.
//!
//! Each branch is due at midnight. A phase waits for a free node, as in the queue of a cluster, and keeps it for 10 to 55 minutes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use stx_layout::{BuildDate, BuildId, BuildOutcome, ReleaseId, VerdictEntry};
use stx_pipeline::execute::Stream;
use stx_pipeline::{
    BuildRequest, Cancel, Ended, Execution, Invocation, Recipe, RecipeFiles, Runner, Step, execute,
    plan,
};
use stx_service::ledger::{RunEnd, SqliteLedger};
use stx_service::schedule::Schedule;
use stx_service::status::{PastBuilds, Pulse, Status};
use stx_service::trigger::{self, Heads, Observation, Target, Watch};
use stx_service::{
    Builder, Control, Facts, Host, Lab, Left, Marking, Message, Notice, OnInterrupted, OnStop,
    Order, Progress, Pruned, Setup, Tell, Tested, Upstream, serve,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::{Settings, median};

/// The numbers of branches and nodes.
const FARMS: [(u32, u32); 3] = [(20, 20), (100, 200), (300, 200)];
const RECIPES: [&str; 2] = ["starlingx-centos-monolithic", "starlingx-debian-trixie"];
/// The share of a branch in `STX_BENCH_MIB`, in bytes: a small value leaves large farms out.
const BRANCH: u64 = 1 << 20;
const DAY: Duration = Duration::from_hours(24);

pub(super) fn measure(settings: &Settings) {
    println!(
        "\n| branches | nodes | builds in 24 h | nodes at work | wait of a build, median and longest | of a phase | steps of the service | a step |\n\
         |---|---|---|---|---|---|---|---|"
    );
    let recipes: Arc<[Recipe]> = RECIPES.map(recipe).into();
    for (branches, nodes) in FARMS {
        if u64::from(branches) * BRANCH > settings.bytes {
            continue;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let file = settings.dir.join(format!("ledger-{branches}-{nodes}"));
        runtime.block_on(day(branches, nodes, &recipes, &file));
    }
}

fn recipe(name: &str) -> Recipe {
    let dir = Utf8PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../recipes"));
    let read = |file: &Utf8Path| fs_err::read_to_string(file).map_err(|error| error.to_string());
    let file = dir.join(format!("{name}.toml"));
    let text = read(&file).expect("a recipe");
    let files = RecipeFiles::gather(&file, text, &mut |file| read(file));
    files.read_unanswered().expect("a recipe")
}

async fn day(branches: u32, nodes: u32, recipes: &Arc<[Recipe]>, file: &Utf8Path) {
    let farm = Arc::new(Farm {
        start: Instant::now(),
        recipes: Arc::clone(recipes),
        nodes: Semaphore::new(nodes as usize),
        counts: Mutex::default(),
        past: Mutex::default(),
    });
    let watches = (0..branches).map(|number| farm.watch(number)).collect();
    let setup = Setup {
        settings: stx_service::Settings {
            max_builds: nodes as usize,
            on_stop: OnStop::Finish,
            on_interrupted: OnInterrupted::Resume,
            prune: None,
            overdue: DAY,
            min_free_percent: 10,
            tick: Duration::from_secs(20),
            survey: Duration::from_mins(10),
        },
        watches,
        labs: Vec::new(),
    };
    let mut ledger = SqliteLedger::open(file).expect("a ledger");
    let (control, receiver) = mpsc::unbounded_channel();
    let [builder, upstream, host] = [(); 3].map(|()| Arc::clone(&farm));
    let clock = std::time::Instant::now();
    let serving = serve(&mut ledger, setup, builder, upstream, host, receiver);
    let end = async {
        tokio::time::sleep(DAY).await;
        control.send(Control::Stop).expect("it serves");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = serving => served.expect("served"),
        () = end => {}
    }
    let took = clock.elapsed().as_secs_f64();
    let counts = farm.counts.lock().expect("counts");
    let wait = |all: &[f64]| {
        let longest = all.iter().copied().fold(0.0, f64::max);
        format!("{:.1} h, {longest:.1} h", median(all.to_vec()))
    };
    let busy = counts.worked.as_secs_f64() / DAY.as_secs_f64() / f64::from(nodes);
    println!(
        "| {branches} | {nodes} | {} | {:.0} % | {} | {} | {} | {:.2} ms |",
        counts.built,
        busy * 100.0,
        wait(&counts.builds),
        wait(&counts.phases),
        counts.steps,
        took * 1e3 / f64::from(counts.steps),
    );
}

#[derive(Default)]
struct Counts {
    built: u32,
    steps: u32,
    worked: Duration,
    /// The hours that each build waited to start.
    builds: Vec<f64>,
    /// The hours that each phase waited for a node, after the phases that it needs.
    phases: Vec<f64>,
}

struct Farm {
    start: Instant,
    recipes: Arc<[Recipe]>,
    nodes: Semaphore,
    counts: Mutex<Counts>,
    /// The past builds, and the number of builds that had ended when they were read.
    past: Mutex<(u64, PastBuilds)>,
}

impl Farm {
    fn time(&self) -> DateTime<Utc> {
        // The first tick only sets the time of the next one, and starts no build.
        let start: DateTime<Utc> = "2020-01-01T23:59:30Z".parse().expect("a time");
        start + TimeDelta::from_std(self.start.elapsed()).expect("short")
    }

    fn recipe(&self, number: usize) -> &Recipe {
        &self.recipes[number % self.recipes.len()]
    }

    fn watch(&self, number: u32) -> Watch {
        let git = format!("f/branch{number}");
        let release = ReleaseId::from_git(&git).expect("a branch");
        let midnight = Schedule::new("0 0 * * *", Duration::ZERO, &git).expect("a time");
        Watch {
            schedule: Some(midnight),
            ..Watch::new(Target {
                channel: self.recipe(number as usize).channel(release),
                git,
                recipe: number.to_string().into(),
            })
        }
    }
}

#[async_trait]
impl Runner for Farm {
    async fn run(
        &self,
        invocation: &Invocation,
        _: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        _: &Cancel,
    ) -> Ended {
        let asked = Instant::now();
        let _node = self.nodes.acquire().await.expect("open");
        let waited = asked.elapsed().as_secs_f64() / 3600.0;
        self.counts.lock().expect("counts").phases.push(waited);
        let name = invocation.variable("PHASE");
        let work = Duration::from_mins(10 + 5 * (name.len() as u64 % 10));
        tokio::time::sleep(work).await;
        self.counts.lock().expect("counts").worked += work;
        Ended::Exited { code: 0 }
    }
}

#[async_trait]
impl Builder for Farm {
    async fn build(&self, order: &Order, tell: &Tell, cancel: &Cancel) -> Left {
        let waited = (self.time() - order.reasons[0].at).as_seconds_f64() / 3600.0;
        self.counts.lock().expect("counts").builds.push(waited);
        let number = order.target.recipe.as_str().parse().expect("a number");
        let date = BuildDate::at(self.time()).expect("a date");
        let channel = order.target.channel.clone();
        let mut request = BuildRequest::new(channel, &*order.target.git, date, "/build");
        let own = [
            ("USER", "builder"),
            ("HOME", "/home/builder"),
            ("PATH", "/usr/bin:/bin"),
        ];
        request.base_env = own.map(|(name, value)| (name.into(), value.into())).into();
        let plan = plan(self.recipe(number), &request).expect("a plan");
        tell(Progress::Named(plan.id.clone()));
        let execution = Execution {
            runner: self,
            now: &|| self.time(),
            events: &|event| tell(Progress::Phase(event)),
            finished: &|_| {},
            sleep: &|time| tokio::time::sleep(time).boxed(),
            cancel,
            interrupt: None,
            deadline: None,
        };
        let done = execute(&plan, Step::Source, &execution).await.records;
        let rest = Step::Rest {
            done: &done,
            source_date_epoch: None,
        };
        let ended = execute(&plan, rest, &execution).await;
        assert_eq!(ended.first_failing, None);
        self.counts.lock().expect("counts").built += 1;
        Left::Over(RunEnd::Published {
            result: BuildOutcome::Success,
            reason: None,
            sources: super::record(plan.id).sources,
        })
    }

    async fn resume(&self, _: &BuildId, _: &Tell, _: &Cancel) -> Left {
        unreachable!("nothing was interrupted")
    }

    async fn abandon(&self, _: &BuildId, _: &str) -> Left {
        unreachable!("nothing was interrupted")
    }

    async fn unfinished(&self) -> Result<Vec<BuildId>, String> {
        Ok(Vec::new())
    }

    async fn published(&self, _: &BuildId) -> Result<Option<RunEnd>, String> {
        Ok(None)
    }
}

#[async_trait]
impl Upstream for Farm {
    async fn observe(&self, _: &Watch, _: Option<&Heads>) -> Result<Observation, String> {
        unreachable!("no commits are looked for")
    }

    async fn has(&self, _: &trigger::Upstream, _: &str) -> Result<bool, String> {
        Ok(true)
    }
}

#[async_trait]
impl Host for Farm {
    fn now(&self) -> DateTime<Utc> {
        self.time()
    }

    fn messages(&self) -> Vec<Message> {
        Vec::new()
    }

    fn has_message(&self, _: &str) -> bool {
        false
    }

    fn discard(&self, _: &str) {}

    fn may_cancel_all(&self, _: u32) -> bool {
        false
    }

    fn user_name(&self, uid: u32) -> String {
        uid.to_string()
    }

    async fn mark(&self, _: &VerdictEntry) -> Marking {
        unreachable!("nobody marks")
    }

    async fn test(&self, _: &Lab, _: &BuildId, _: u64, _: &Cancel) -> Tested {
        unreachable!("there is no lab")
    }

    fn target(&self, _: &ReleaseId, git: &str) -> Result<Target, String> {
        Err(format!("{git} is not built"))
    }

    async fn survey(&self) -> Facts {
        Facts::default()
    }

    async fn prune(&self) -> Result<Pruned, String> {
        Ok(Pruned::default())
    }

    fn notify(&self, _: Notice) {}

    /// Makes the status document, as the service does after each step.
    fn pulse(&self, pulse: &Pulse<'_>) {
        let mut past = self.past.lock().expect("the past");
        if past.0 != pulse.ended {
            let read = PastBuilds::new(pulse.ledger, pulse.setup);
            *past = (pulse.ended, read.expect("the past"));
        }
        let status = Status::new(pulse, &past.1, self.time());
        drop(serde_json::to_vec(&status).expect("JSON"));
        self.counts.lock().expect("counts").steps += 1;
    }

    fn say(&self, _: &str) {}
}
