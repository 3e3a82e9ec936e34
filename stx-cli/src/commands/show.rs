//! `show`: one build.

use std::fmt::Write as _;

use serde::Serialize;
use stx_layout::{AliasEntry, AliasName, BuildDate, BuildId, BuildRecord, Channel, PhaseRecord};
use stx_publish::{MirrorRead as _, Scope};
use stx_retention::Verdict;

use super::list::Listed;
use super::{Context, refused};
use crate::args::Show;
use crate::exit::{Exit, Failure};
use crate::output;

/// A build as it was asked for.
enum Asked {
    Build(BuildId),
    Alias(Channel, AliasName),
}

fn asked(text: &str) -> Result<Asked, Failure> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let Some((channel, name)) = text.rsplit_once('/') else {
        return Err(Failure::usage(format!(
            "{text:?}: expected CHANNEL/BUILD-DATE or CHANNEL/ALIAS"
        )));
    };
    let channel: Channel = channel.parse().map_err(Failure::usage)?;
    if name.starts_with("latest_") {
        return Ok(Asked::Alias(channel, name.parse().map_err(Failure::usage)?));
    }
    let date: BuildDate = name.parse().map_err(Failure::usage)?;
    Ok(Asked::Build(BuildId::new(channel, date)))
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    listed: Listed,
    record: Option<&'a BuildRecord>,
}

pub(crate) async fn run(context: &Context, args: &Show) -> Result<(), Failure> {
    let store = context.open()?;
    let id = match asked(&args.build)? {
        Asked::Build(id) => id,
        Asked::Alias(channel, alias) => {
            match store.alias(&channel, &alias).await.map_err(refused)? {
                Some(AliasEntry::Build(date)) => BuildId::new(channel, date),
                Some(AliasEntry::Other(target)) => {
                    return Err(Failure::new(
                        Exit::Mirror,
                        format!("{channel}/{alias} points at {target:?}, which is no build"),
                    )
                    .hint("`stx-builds verify --repair` points it at the newest success"));
                }
                None => {
                    return Err(Failure::new(
                        Exit::NotFound,
                        format!("{channel}/{alias}: no such alias"),
                    ));
                }
            }
        }
    };
    let catalog = store
        .catalog(&Scope::Channel(id.channel.clone()))
        .await
        .map_err(refused)?;
    let Some(entry) = catalog.build(&id) else {
        let failure = Failure::new(Exit::NotFound, format!("{id}: no such build"));
        let newest = catalog
            .channels
            .get(&id.channel)
            .and_then(|channel| channel.builds.keys().next_back());
        return Err(match newest {
            Some(newest) => failure.hint(format!("the newest build of {} is {newest}", id.channel)),
            None => failure.hint("`stx-builds list` names the channels and builds"),
        });
    };
    let plan = stx_retention::plan(
        &catalog,
        &super::retention::policy(context)?.policy,
        context.now,
    );
    let listed = Listed::new(&catalog, &plan, id, entry);
    let shown = Shown {
        listed,
        record: entry.record(),
    };
    output::print(context.format(), &shown, || {
        human(&args.build, &shown, context)
    })
}

fn human(asked: &str, shown: &Shown<'_>, context: &Context) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("build", asked.to_owned());
    row("result", shown.listed.outcome());
    row(
        "stays",
        match &plan_reasons(&shown.listed) {
            reasons if reasons.is_empty() => shown.listed.stays(),
            reasons => format!("{} ({reasons})", shown.listed.stays()),
        },
    );
    let Some(record) = shown.record else {
        return output::columns(&rows);
    };
    row("id", record.id.to_string());
    row("age", output::age(context.now, record.id.date.time()));
    row(
        "size",
        format!("{} in {} files", output::bytes(record.bytes), record.files),
    );
    for (name, value) in [
        ("branch", &record.branch),
        ("recipe", &record.recipe),
        ("trigger", &record.trigger),
    ] {
        row(name, value.clone().unwrap_or_default());
    }
    let mut text = output::columns(
        &rows
            .into_iter()
            .filter(|row| !row[1].is_empty())
            .collect::<Vec<_>>(),
    );
    for deliverable in &record.missing_deliverables {
        let _ = writeln!(text, "missing  {deliverable}");
    }
    if !record.phases.is_empty() {
        let rows: Vec<_> = record.phases.iter().map(phase).collect();
        let _ = write!(text, "\nphases\n{}", output::columns(&rows));
    }
    if !record.sources.is_empty() {
        let rows: Vec<_> = record
            .sources
            .iter()
            .map(|source| vec![format!("  {}", source.path), source.commit.clone()])
            .collect();
        let _ = write!(text, "\nsources\n{}", output::columns(&rows));
    }
    text
}

/// The reasons of a verdict, in a line.
fn plan_reasons(listed: &Listed) -> String {
    match &listed.retention {
        Some(Verdict::Keep { reasons, .. }) => reasons
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
        Some(Verdict::Expire { rule, .. }) => rule.to_string(),
        None => String::new(),
    }
}

fn phase(phase: &PhaseRecord) -> Vec<String> {
    let took = match (phase.started, phase.finished) {
        (Some(started), Some(finished)) => format!("{} s", (finished - started).num_seconds()),
        _ => String::new(),
    };
    let status = serde_json::to_value(phase.status)
        .ok()
        .and_then(|status| Some(status.as_str()?.to_owned()));
    vec![
        format!("  {}", phase.name),
        status.unwrap_or_default(),
        took,
        phase.reason.clone().unwrap_or_default(),
    ]
}
