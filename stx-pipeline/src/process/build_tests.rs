use camino_tempfile::Utf8TempDir;
use stx_layout::{BuildOutcome, ReleaseId};

use super::*;
use crate::process::{JournalWriter, read_journal, remove_journal, this_boot};
use crate::{BuildRequest, Recipe, plan};

const RECIPE: &str = r#"
schema = 1
name = "t"
distro = "centos"
source = { phase = "sync", repositories = ["*"] }
[[phase]]
name = "sync"
script = '''
test -e "$HOME/broken" && exit 1
test -e "$MY_REPO_ROOT/a" && exit
git init -q "$MY_REPO_ROOT/a"
git -C "$MY_REPO_ROOT/a" -c user.name=B -c user.email=b@example.org commit -q --allow-empty -m change
'''
[[phase]]
name = "make"
needs = ["sync"]
script = "echo made | tee $MY_WORKSPACE/boot.iso"
publish = [{ from = "boot.iso", to = "outputs/iso", min = 1 }]
"#;

fn started(dir: &Utf8TempDir) -> Started {
    let recipe = Recipe::from_toml(RECIPE).unwrap();
    let root = dir.path();
    let env = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", root.as_str()),
    ];
    let request = BuildRequest {
        base_env: env.map(|(name, value)| (name.into(), value.into())).into(),
        ..BuildRequest::new(
            recipe.channel(ReleaseId::Master),
            "master",
            "20181105T060000Z".parse().unwrap(),
            root.join("state"),
        )
    };
    let plan = plan(&recipe, &request).unwrap();
    Started::new(root.join("recipe.toml"), request, plan, now())
}

fn built(result: BuildResult) -> Built {
    match result {
        BuildResult::Built(built) => *built,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plan_becomes_a_record_files_and_texts() {
    let dir = camino_tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let started_phases = Mutex::new(Vec::new());
    let listen = |event: &Event| {
        if matches!(event.what, EventKind::Started { .. }) {
            started_phases.lock().unwrap().push(event.phase.clone());
        }
    };
    let build = Build::new(started(&dir), &state).unwrap().listen(&listen);
    let first = built(build.run().await.unwrap());
    assert_eq!(first.record.result, BuildOutcome::Success);
    assert_eq!(*started_phases.lock().unwrap(), ["sync", "make"]);
    let files = first.collection.deliverables.iter();
    let files: Vec<_> = files.map(|file| file.path.to_string()).collect();
    assert_eq!(
        files,
        [
            "outputs/iso/boot.iso",
            "outputs/logs/make.log",
            "outputs/logs/sync.log"
        ]
    );
    let texts = first.texts(&[]).unwrap();
    let names: Vec<_> = texts.keys().map(ToString::to_string).collect();
    let wanted = ["BUILD_INFO", "CHANGELOG", "CONTEXT", "LAST_COMMITS"];
    assert_eq!(names, wanted.map(|name| format!("outputs/{name}")));

    // As if the build had been killed before its result was safe: no phase is left to run, and the result is the same.
    let journal = read_journal(&state).unwrap().unwrap();
    let resumed = Build::resume(journal, &state).unwrap().listen(&listen);
    let resumed = resumed.unless(&|_| panic!("it had its commits"));
    assert_eq!(built(resumed.run().await.unwrap()), first);
    assert_eq!(started_phases.lock().unwrap().len(), 2);

    remove_journal(&state).unwrap();
    let same = |sources: &Sources| *sources == first.sources;
    let build = Build::new(started(&dir), &state).unwrap().unless(&same);
    let sources = first.sources.clone();
    assert_eq!(
        build.run().await.unwrap(),
        BuildResult::Unchanged { sources }
    );
}

#[tokio::test]
async fn a_build_without_a_commit_or_cancelled_has_no_record() {
    let dir = camino_tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let cancel = Cancel::new();
    cancel.cancel();
    let build = Build::new(started(&dir), &state).unwrap().cancel(&cancel);
    assert_eq!(build.run().await.unwrap(), BuildResult::Cancelled);

    fs_err::write(dir.path().join("broken"), "").unwrap();
    let build = Build::new(started(&dir), &state).unwrap();
    let result = build.run().await.unwrap();
    let BuildResult::NoCommit { records } = result else {
        panic!("{result:?}")
    };
    assert_eq!(records[0].status, PhaseStatus::Failed);
}

#[tokio::test]
async fn changed_sources_or_a_missing_directory_stop_a_resumed_build() {
    let dir = camino_tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let build = Build::new(started(&dir), &state).unwrap();
    built(build.run().await.unwrap());
    let mut journal = read_journal(&state).unwrap().unwrap();
    journal.sources.as_mut().unwrap().newest = None;
    let build = Build::resume(journal, &state).unwrap();
    let error = build.run().await.unwrap_err();
    assert!(
        matches!(error, BuildError::SourcesChanged { .. }),
        "{error}"
    );

    fs_err::remove_dir_all(&state).unwrap();
    fs_err::write(&state, "no directory").unwrap();
    let error = Build::new(started(&dir), &state).err().unwrap();
    assert!(matches!(error, BuildError::Prepare { .. }), "{error}");
}

#[test]
fn a_journal_is_read_completely_or_not_at_all_during_its_removal() {
    let dir = camino_tempfile::tempdir().unwrap();
    let line = r#"{"entry":"attempt","phase":"sync","attempt":1,"time":"2018-11-05T06:00:00Z"}"#;
    let journal = Journal::new(started(&dir), &format!("{line}\n"), "");
    assert_eq!(journal.begun.len(), 1);
    let state = dir.path();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..500 {
                let written = JournalWriter::resume(state, &journal).unwrap();
                drop(written);
                remove_journal(state).unwrap();
            }
        });
        while !writer.is_finished() {
            if let Some(read) = read_journal(state).unwrap() {
                assert_eq!(read.begun, journal.begun);
                assert_eq!(read.started.boot, this_boot());
            }
        }
    });
}
