//! Merges the tables of a later file into those of an earlier one.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Merges a file into the files before it: tables by key, phases by name; any other value is replaced.
pub(super) fn merge<'t>(base: &mut DeTable<'t>, over: DeTable<'t>) {
    for (key, value) in over {
        let before = base.get_mut(key.get_ref().as_ref());
        match (before.map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(entries)), DeValue::Table(more)) => {
                for (key, value) in more.clone() {
                    replace(entries, key, value);
                }
            }
            (Some(DeValue::Array(phases)), DeValue::Array(more)) if key.get_ref() == "phase" => {
                let known: Vec<_> = phases
                    .iter()
                    .map(|it| name(it).map(str::to_owned))
                    .collect();
                let mut changed = Vec::new();
                for phase in more {
                    let name = name(phase);
                    let same = |at: &usize| name.is_some() && known[*at].as_deref() == name;
                    match (0..known.len()).find(same) {
                        // Two phases with this name in one file are rejected later, when the phases are read.
                        Some(at) if !changed.contains(&at) => {
                            if let Some(base) = phases.get_mut(at) {
                                merge_phase(base, phase);
                            }
                            changed.push(at);
                        }
                        Some(_) | None => phases.push(phase.clone()),
                    }
                }
            }
            (Some(_) | None, _) => replace(base, key, value),
        }
    }
}

/// Changes a phase: its keys are replaced, `env` by variable, and `run` also replaces `script`.
fn merge_phase<'t>(base: &mut Spanned<DeValue<'t>>, over: &Spanned<DeValue<'t>>) {
    let (DeValue::Table(base), DeValue::Table(over)) = (base.get_mut(), over.get_ref()) else {
        return;
    };
    for (key, value) in over.clone() {
        let other = match key.get_ref().as_ref() {
            "run" => "script",
            "script" => "run",
            "env" => {
                if let (Some(DeValue::Table(env)), DeValue::Table(more)) =
                    (base.get_mut("env").map(Spanned::get_mut), value.get_ref())
                {
                    for (key, value) in more.clone() {
                        replace(env, key, value);
                    }
                    continue;
                }
                ""
            }
            _ => "",
        };
        if !over.contains_key(other) {
            base.remove(other);
        }
        replace(base, key, value);
    }
}

/// Replaces a key and its value, with the positions of both.
fn replace<'t>(table: &mut DeTable<'t>, key: Spanned<DeString<'t>>, value: Spanned<DeValue<'t>>) {
    // `insert` would keep the old key, and mistakes would be reported at its position in the earlier file.
    table.remove(key.get_ref().as_ref());
    table.insert(key, value);
}

/// The name of a phase.
fn name<'v>(phase: &'v Spanned<DeValue<'_>>) -> Option<&'v str> {
    match phase.get_ref() {
        DeValue::Table(table) => table.get("name")?.get_ref().as_str(),
        _ => None,
    }
}

/// The texts of a list, with their offsets.
pub(super) fn list(value: &Spanned<DeValue<'_>>) -> Option<Vec<(usize, String)>> {
    let DeValue::Array(items) = value.get_ref() else {
        return None;
    };
    let text = |item: &Spanned<DeValue<'_>>| {
        Some((item.span().start, item.get_ref().as_str()?.to_owned()))
    };
    items.iter().map(text).collect()
}
