use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::{BuildRequest, Recipe, plan};

fn build_plan(phases: &str, jobs: usize) -> BuildPlan {
    let text = format!(
        "schema = 1\nname = \"t\"\ndistro = \"centos\"\njobs = {jobs}\n[source]\nphase = \"sync\"\n\
         [[phase]]\nname = \"sync\"\nrun = [\"sync\"]\n{phases}"
    );
    let recipe = Recipe::from_toml(&text).unwrap();
    let request = BuildRequest::new(
        recipe.channel(stx_layout::ReleaseId::Master),
        "master",
        "20181105T060000Z".parse().unwrap(),
        "/r",
    );
    plan(&recipe, &request).unwrap()
}

fn phase(name: &str, more: &str) -> String {
    format!(
        "[[phase]]\nname = \"{name}\"\nrun = [\"{name}\", \"${{SOURCE_DATE_EPOCH}}\"]\n{more}\n"
    )
}

/// Runs both steps; returns the result and the events.
fn run(plan: &BuildPlan, runner: &ScriptedRunner) -> (Executed, Vec<Event>) {
    run_until(plan, runner, false)
}

/// The same; `interrupted` is true if the canceller wants to resume the build.
fn run_until(
    plan: &BuildPlan,
    runner: &ScriptedRunner,
    interrupted: bool,
) -> (Executed, Vec<Event>) {
    let events = Mutex::new(Vec::new());
    let cancel = Cancel::new();
    let execution = Execution {
        runner,
        now: &|| DateTime::UNIX_EPOCH,
        events: &|event| events.lock().unwrap().push(event),
        finished: &|_| (),
        sleep: &|_| Box::pin(async {}),
        cancel: &cancel,
        interrupt: interrupted.then_some(&cancel),
        deadline: None,
    };
    let executed = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(async {
            let source = sendable(execute(plan, Step::Source, &execution)).await;
            let rest = Step::Rest {
                done: &source.records,
                source_date_epoch: Some(7),
            };
            execute(plan, rest, &execution).await
        });
    (executed, events.into_inner().unwrap())
}

/// Compiles only if the future can be sent to another thread, as a daemon needs.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

fn statuses(executed: &Executed) -> String {
    let of =
        |record: &PhaseRecord| format!("{} {:?} {}", record.name, record.status, record.attempts);
    executed
        .records
        .iter()
        .map(of)
        .collect::<Vec<_>>()
        .join(", ")
}

fn exits(code: i32) -> Scripted {
    Scripted::Ends(vec!["hello".into()], Ended::Exited { code })
}

#[test]
fn the_source_date_is_known_after_the_source_phase() {
    let plan = build_plan(&phase("a", ""), 1);
    let runner = ScriptedRunner::new();
    let (executed, _) = run(&plan, &runner);
    assert_eq!(statuses(&executed), "sync Succeeded 1, a Succeeded 1");
    let invocations = runner.invocations();
    assert!(!invocations[0].env.contains_key("SOURCE_DATE_EPOCH"));
    assert_eq!(invocations[1].variable("SOURCE_DATE_EPOCH"), "7");
    assert_eq!(invocations[1].args, ["7"]);
}

/// A subscriber of an embedding program sees the spans, but no credentials.
#[test]
fn a_subscriber_sees_phases_and_no_credentials() {
    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(line);
            Ok(line.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let plan = build_plan(
        "[[phase]]\nname = \"a\"\nrun = [\"git\", \"https://bob:geheim@example.org/x\"]\nretries = 1\n",
        1,
    );
    let reason = "cannot reach https://bob:geheim@example.org/x".to_owned();
    let runner = ScriptedRunner::new().on(
        "a",
        [Scripted::Ends(vec![], Ended::Lost { reason }), exits(0)],
    );
    // With a single subscriber, `tracing` disables an event for all threads if another test's thread meets it first: it asks
    // the subscriber of that thread, which has none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || run(&plan, &runner));
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("phase{phase=a}: stx_pipeline::execute: command command="),
        "{text}"
    );
    assert!(
        text.contains("attempt failed attempt=1 again=true"),
        "{text}"
    );
    assert_eq!(text.matches("example.org/x").count(), 3, "{text}");
    assert!(!text.contains("geheim"), "{text}");
}

#[test]
fn a_required_failure_stops_what_has_not_started() {
    let plan = build_plan(
        &[phase("a", ""), phase("b", ""), phase("c", "")].concat(),
        1,
    );
    let (executed, _) = run(&plan, &ScriptedRunner::new().on("b", [exits(2)]));
    assert_eq!(
        statuses(&executed),
        "sync Succeeded 1, a Succeeded 1, b Failed 1, c Skipped 0"
    );
    assert_eq!(executed.first_failing.as_deref(), Some("b"));
}

#[test]
fn an_optional_failure_does_not_stop_the_others() {
    let plan = build_plan(
        &[phase("a", "required = false"), phase("b", "")].concat(),
        1,
    );
    let (executed, _) = run(&plan, &ScriptedRunner::new().on("a", [exits(2)]));
    assert_eq!(
        statuses(&executed),
        "sync Succeeded 1, a Failed 1, b Succeeded 1"
    );
    assert_eq!(executed.first_failing, None);
}

#[test]
fn attempts_are_counted_and_reported_as_events() {
    let plan = build_plan(&phase("a", "retries = 2"), 1);
    let (executed, events) = run(&plan, &ScriptedRunner::new().on("a", [exits(1), exits(0)]));
    assert_eq!(statuses(&executed), "sync Succeeded 1, a Succeeded 2");
    let told: Vec<_> = events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap())
        .collect();
    insta::assert_snapshot!(told[2..].join("\n"));
}

#[test]
fn a_phase_that_hangs_times_out() {
    let plan = build_plan(&phase("a", "timeout = \"2s\""), 1);
    let (executed, _) = run(&plan, &ScriptedRunner::new().on("a", [Scripted::Hangs]));
    assert_eq!(statuses(&executed), "sync Succeeded 1, a TimedOut 1");
    assert_eq!(
        executed.records[1].reason.as_deref(),
        Some("timed out after 2s")
    );
}

#[test]
fn cancelling_ends_running_phases_and_starts_none() {
    let phases = [phase("a", ""), phase("b", "retries = 3"), phase("c", "")].concat();
    let runner = ScriptedRunner::new()
        .on("a", [Scripted::Cancels])
        .on("b", [Scripted::Hangs]);
    let (executed, _) = run(&build_plan(&phases, 2), &runner);
    assert_eq!(
        statuses(&executed),
        "sync Succeeded 1, a Cancelled 1, b Cancelled 1, c Skipped 0"
    );
}

#[test]
fn a_failed_source_phase_skips_all_other_phases() {
    let (executed, _) = run(
        &build_plan(&phase("a", ""), 1),
        &ScriptedRunner::new().on("sync", [exits(1)]),
    );
    assert_eq!(statuses(&executed), "sync Failed 1, a Skipped 0");
}

#[test]
fn retry_pauses_double_and_end_with_the_build() {
    let plan = build_plan(&phase("a", "retries = 9\nbackoff = \"20m\""), 1);
    let pauses: Vec<_> = (1..=4)
        .map(|attempt| plan.phases[1].pause_after(attempt).as_secs() / 60)
        .collect();
    assert_eq!(pauses, [20, 40, 60, 60]);
    let slept = Mutex::new(Vec::new());
    let cancel = Cancel::new();
    let runner = ScriptedRunner::new().on("a", (0..9).map(|_| exits(1)));
    let minutes = |minutes| DateTime::UNIX_EPOCH + chrono::TimeDelta::minutes(minutes);
    let now = || {
        let slept: Vec<Duration> = slept.lock().unwrap().clone();
        let slept: Duration = slept.iter().sum();
        minutes(i64::try_from(slept.as_secs() / 60).unwrap())
    };
    let execution = Execution {
        runner: &runner,
        now: &now,
        events: &|_| (),
        finished: &|_| (),
        sleep: &|pause| {
            slept.lock().unwrap().push(pause);
            Box::pin(async {})
        },
        cancel: &cancel,
        interrupt: None,
        deadline: Some(minutes(70)),
    };
    let executed = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(async {
            let source = execute(&plan, Step::Source, &execution).await;
            let rest = Step::Rest {
                done: &source.records,
                source_date_epoch: None,
            };
            execute(&plan, rest, &execution).await
        });
    assert_eq!(statuses(&executed), "sync Succeeded 1, a Failed 3");
    let slept: Vec<_> = slept
        .lock()
        .unwrap()
        .iter()
        .map(Duration::as_secs)
        .collect();
    assert_eq!(slept, [20 * 60, 40 * 60, 10 * 60]);
}

#[test]
fn a_finished_phase_is_not_run_again_whatever_its_outcome() {
    let phases = [
        phase("a", "required = false"),
        phase("b", "needs = [\"a\"]\nrequired = false"),
        phase("c", ""),
    ];
    let plan = build_plan(&phases.concat(), 1);
    let runner = ScriptedRunner::new();
    let cancel = Cancel::new();
    let finished = Mutex::new(Vec::new());
    let execution = Execution {
        runner: &runner,
        now: &|| DateTime::UNIX_EPOCH,
        events: &|_| (),
        finished: &|record| finished.lock().unwrap().push(record.name.clone()),
        sleep: &|_| Box::pin(async {}),
        cancel: &cancel,
        interrupt: None,
        deadline: None,
    };
    let record = |name: &str, status| PhaseRecord {
        name: name.into(),
        status,
        required: name == "sync",
        attempts: 1,
        started: None,
        finished: None,
        reason: None,
    };
    let done = [
        record("sync", PhaseStatus::Succeeded),
        record("a", PhaseStatus::Failed),
    ];
    let rest = Step::Rest {
        done: &done,
        source_date_epoch: None,
    };
    let executed = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(execute(&plan, rest, &execution));
    assert_eq!(
        statuses(&executed),
        "sync Succeeded 1, a Failed 1, b Skipped 0, c Succeeded 1"
    );
    assert_eq!(*finished.lock().unwrap(), ["c"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_dag_runs_in_order_and_is_recorded_once(
        edges in prop::collection::vec(prop::collection::vec(any::<bool>(), 8), 0..8),
        failing in prop::collection::vec(any::<bool>(), 8),
        jobs in 1..4_usize,
    ) {
        // Listed from last to first, so that the order of the file is never the order of the needs.
        let phases: String = edges.iter().enumerate().rev().map(|(index, needs)| {
            let needs: Vec<_> = (0..index).filter(|on| needs[*on]).map(|on| format!("\"p{on}\"")).collect();
            phase(&format!("p{index}"), &format!("needs = [{}]\nrequired = false", needs.join(", ")))
        }).collect();
        let plan = build_plan(&phases, jobs);
        let mut runner = ScriptedRunner::new();
        for (index, fails) in failing.iter().enumerate() {
            runner = runner.on(&format!("p{index}"), [exits(i32::from(*fails))]);
        }
        let (executed, events) = run(&plan, &runner);
        prop_assert!(runner.most_at_once() <= jobs);
        let names: Vec<_> = executed.records.iter().map(|record| &record.name).collect();
        let planned: Vec<_> = plan.phases.iter().map(|phase| &phase.name).collect();
        prop_assert_eq!(names, planned);
        let at = |name: &str, started: bool| events.iter().position(|event| event.phase == name && match event.what {
            EventKind::Started { .. } => started,
            EventKind::Finished { .. } => !started,
            EventKind::Output { .. } | EventKind::AttemptFailed { .. } | EventKind::Skipped { .. } => false,
        });
        for phase in &plan.phases {
            let Some(started) = at(&phase.name, true) else { continue };
            for need in &phase.needs {
                prop_assert!(at(need, false).is_some_and(|finished| finished < started));
            }
        }
    }
}

/// Phases `a`, `b` that needs it, and `stop`, which always runs.
fn with_stop(stop: &str) -> BuildPlan {
    let phases = [
        phase("stop", &format!("when = \"always\"\n{stop}")),
        phase("a", ""),
        phase("b", "needs = [\"a\"]"),
    ];
    build_plan(&phases.concat(), 4)
}

#[test]
fn a_phase_that_always_runs_is_last_and_does_not_fail_the_build() {
    let runner = ScriptedRunner::new();
    let (executed, _) = run(&with_stop(""), &runner);
    assert_eq!(
        statuses(&executed),
        "sync Succeeded 1, a Succeeded 1, b Succeeded 1, stop Succeeded 1"
    );
    let last = runner.invocations().pop().unwrap();
    assert_eq!(last.program, "stop");
    assert_eq!(last.timeout, Some(PhasePlan::LAST));
    for (failing, records) in [
        (
            "a",
            "sync Succeeded 1, a Failed 1, b Skipped 0, stop Succeeded 1",
        ),
        (
            "sync",
            "sync Failed 1, a Skipped 0, b Skipped 0, stop Succeeded 1",
        ),
        (
            "stop",
            "sync Succeeded 1, a Succeeded 1, b Succeeded 1, stop Failed 1",
        ),
    ] {
        let runner = ScriptedRunner::new().on(failing, [exits(1)]);
        let (executed, _) = run(&with_stop(""), &runner);
        assert_eq!(statuses(&executed), records);
        let required = (failing != "stop").then(|| failing.to_owned());
        assert_eq!(executed.first_failing, required);
    }
}

#[test]
fn a_phase_that_always_runs_is_run_after_a_cancel_but_not_before_a_resume() {
    let cancels = || ScriptedRunner::new().on("a", [Scripted::Cancels]);
    let (executed, _) = run(&with_stop("retries = 1"), &cancels());
    assert_eq!(
        statuses(&executed),
        "sync Succeeded 1, a Cancelled 1, b Skipped 0, stop Succeeded 1"
    );
    let (executed, _) = run_until(&with_stop(""), &cancels(), true);
    assert_eq!(
        statuses(&executed),
        "sync Succeeded 1, a Cancelled 1, b Skipped 0, stop Skipped 0"
    );
    assert_eq!(
        executed.records[3].reason.as_deref(),
        Some("the build was interrupted")
    );
    // A phase with needs of its own waits for those only, and has its own time limit.
    let plan = with_stop("needs = [\"a\"]\ntimeout = \"1m\"\nrequired = true");
    let (executed, _) = run(&plan, &ScriptedRunner::new().on("stop", [exits(1)]));
    assert_eq!(executed.first_failing.as_deref(), Some("stop"));
    let stop = plan
        .phases
        .iter()
        .find(|phase| phase.name == "stop")
        .unwrap();
    assert_eq!(stop.needs, ["sync", "a"]);
    assert_eq!(stop.invocation.timeout, Some(Duration::from_mins(1)));
}
