//! `show`: show one build.

use std::fmt::Write as _;

use stx_builds::build_ref;
use stx_builds::listing::{ListedBuild, ShownBuild};
use stx_layout::{Origin, PhaseRecord, PhaseStatus, VerdictEntry, counted, printable, size};
use stx_publish::ThinnedSection;
use stx_retention::Decision;

use super::list::{outcome, stays};
use super::{Context, provenance};
use crate::args::Show;
use crate::exit::Failure;
use crate::output::{self, Cell, Text, Tone};

pub(crate) async fn run(context: &Context, args: &Show) -> Result<(), Failure> {
    if args.provenance {
        let reader = context.site.reader()?;
        let id = build_ref::resolve(reader.store(), &args.build).await?;
        let options = &context.site.options.provenance;
        let keys = options.trusted(&args.provenance_key)?;
        return provenance::show(context, reader.store(), &id, &keys).await;
    }
    let shown = context.site.show(&args.build).await?;
    output::print(context.format(), &shown, || {
        human(&args.build, &shown, context)
    })
}

fn human(asked: &str, shown: &ShownBuild, context: &Context) -> Text {
    let mut rows: Vec<[Cell; 2]> = vec![
        ["build".into(), asked.into()],
        ["result".into(), outcome(&shown.listed)],
    ];
    let mut row = |name: &str, value: String| rows.push([name.into(), value.into()]);
    row(
        "retention",
        match &plan_reasons(&shown.listed) {
            reasons if reasons.is_empty() => stays(&shown.listed),
            reasons => format!("{} ({reasons})", stays(&shown.listed)),
        },
    );
    let Some(record) = &shown.record else {
        return table(rows);
    };
    row("id", record.id.to_string());
    row("age", output::age(context.site.now, record.id.date.time()));
    row(
        "size",
        format!(
            "{} in {}",
            size(record.bytes),
            counted(record.files, "file")
        ),
    );
    for (name, value) in [
        ("branch", &record.branch),
        ("recipe", &record.recipe),
        ("trigger", &record.trigger),
    ] {
        row(name, value.clone().unwrap_or_default());
    }
    if let Some(after) = &record.after {
        row("after", after.build.to_string());
    }
    match &record.origin {
        Some(Origin::Promoted {
            from,
            at,
            by,
            reason,
        }) => {
            let reason = reason.as_deref().map(|reason| format!(": {reason}"));
            let day = at.format("%Y-%m-%d");
            row(
                "origin",
                format!(
                    "{from}, promoted by {by} on {day}{}",
                    reason.unwrap_or_default()
                ),
            );
        }
        Some(Origin::Adopted { at, evidence }) => {
            let day = at.format("%Y-%m-%d");
            let evidence = evidence.join(", ");
            row("origin", format!("adopted on {day}: {evidence}"));
        }
        Some(_) | None => {}
    }
    let mut whole = table(rows);
    let mut text = String::new();
    for section in &shown.listed.thinned {
        let ThinnedSection {
            section, at, rule, ..
        } = section;
        let day = at.time().format("%Y-%m-%d");
        let _ = writeln!(text, "thinned  {section} on {day}: {}", printable(rule));
    }
    for deliverable in &record.missing_deliverables {
        let _ = writeln!(text, "missing  {}", printable(deliverable));
    }
    if !shown.listed.verdicts.is_empty() {
        let rows: Vec<_> = shown.listed.verdicts.iter().rev().map(verdict).collect();
        text.push_str("\nverdicts\n");
        whole.push(std::mem::take(&mut text));
        whole.append(output::table(&rows));
    }
    if !record.phases.is_empty() {
        let rows: Vec<_> = record.phases.iter().map(phase).collect();
        text.push_str("\nphases\n");
        whole.push(std::mem::take(&mut text));
        whole.append(output::table(&rows));
    }
    if !record.sources.is_empty() {
        let rows: Vec<_> = record
            .sources
            .iter()
            .map(|source| vec![format!("  {}", source.path), source.commit.clone()])
            .collect();
        let _ = write!(text, "\nsources\n{}", output::columns(&rows));
    }
    whole.push(text);
    whole
}

/// The rows that have a value.
fn table(rows: Vec<[Cell; 2]>) -> Text {
    let rows = rows.into_iter().filter(|[_, value]| !value.is_empty());
    output::table(&rows.map(Vec::from).collect::<Vec<_>>())
}

/// The reasons of a decision, on one line.
fn plan_reasons(listed: &ListedBuild) -> String {
    match &listed.retention {
        Some(Decision::Keep { reasons, .. }) => reasons
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
        Some(Decision::Expire { rule, .. }) => rule.to_string(),
        None => String::new(),
    }
}

/// A verdict, on one line.
fn verdict(entry: &VerdictEntry) -> Vec<Cell> {
    vec![
        Cell::new(entry.verdict, format!("  {}", entry.verdict)),
        entry.at.format("%Y-%m-%d %H:%M UTC").to_string().into(),
        entry.author.clone().into(),
        entry.reason.clone().unwrap_or_default().into(),
        entry.url.clone().unwrap_or_default().into(),
    ]
}

fn phase(phase: &PhaseRecord) -> Vec<Cell> {
    let took = match (phase.started, phase.finished) {
        (Some(started), Some(finished)) => format!("{} s", (finished - started).num_seconds()),
        _ => String::new(),
    };
    let tone = match phase.status {
        PhaseStatus::Succeeded => Tone::Good,
        PhaseStatus::Failed | PhaseStatus::TimedOut => Tone::Bad,
        PhaseStatus::Cancelled | PhaseStatus::Skipped => Tone::Doubtful,
    };
    let status = serde_json::to_value(phase.status)
        .ok()
        .and_then(|status| Some(status.as_str()?.to_owned()));
    vec![
        format!("  {}", phase.name).into(),
        Cell::new(tone, status.unwrap_or_default()),
        took.into(),
        phase.reason.clone().unwrap_or_default().into(),
    ]
}
