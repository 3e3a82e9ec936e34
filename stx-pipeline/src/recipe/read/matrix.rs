//! Expands phases with a matrix: one phase for each combination of the values.

use toml::Spanned;

use super::Reader;
use super::form::{PhaseTable, When};
use crate::scope::{Part, parts};

/// One combination: variables and their values, in the order of the file. Empty for a phase without a matrix.
pub(super) type Cell = Vec<(String, String)>;

/// The most phases of a matrix: a few lines could otherwise describe more phases than any machine can hold.
pub(super) const MOST_CELLS: usize = 1000;

/// True if a text can be the name of a phase, or a part of such a name.
fn names_phase(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes
        .first()
        .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

/// The name of the phase for a combination: `rpms` and `std` give `rpms-std`.
pub(super) fn instance(name: &str, cell: &Cell) -> String {
    let mut instance = name.to_owned();
    for (_, value) in cell {
        instance.push('-');
        instance.push_str(value);
    }
    instance
}

/// A text with the values of a combination; other variables are unchanged.
pub(super) fn fill(text: &str, cell: &Cell) -> String {
    // Another check reports a malformed text.
    let Ok(parts) = parts(text) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(text.len());
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Variable(name) => {
                if let Some((_, value)) = cell.iter().find(|(axis, _)| axis == name) {
                    out.push_str(value);
                } else {
                    out.extend(["${", name, "}"]);
                }
            }
        }
    }
    out
}

impl Reader {
    /// Registers the phases of a table, before other phases refer to them.
    pub(super) fn declare(&mut self, table: &PhaseTable) {
        let (at, name) = (table.name.span().start, table.name.get_ref());
        if !names_phase(name) {
            self.fault(
                at,
                format!("phase name `{name}` must be of the form [a-z0-9][a-z0-9-]*"),
            );
        }
        self.axes(table);
        let instances: Vec<_> = cells(table)
            .iter()
            .map(|cell| instance(name, cell))
            .collect();
        if is_always(table) {
            self.always.extend(instances.iter().cloned());
        }
        if self.families.contains_key(name) {
            self.fault(at, format!("there is a phase `{name}` already"));
        }
        for phase in &instances {
            if !self.phases.insert(phase.clone()) {
                self.fault(at, format!("there is a phase `{phase}` already"));
            }
        }
        if table.matrix.is_some() {
            if self.phases.contains(name) {
                self.fault(at, format!("there is a phase `{name}` already"));
            }
            self.families.insert(name.clone(), instances);
        }
    }

    /// Reports the mistakes of a matrix.
    fn axes(&mut self, table: &PhaseTable) {
        let Some(matrix) = &table.matrix else {
            return;
        };
        let (at, matrix) = (matrix.span().start, matrix.get_ref());
        if matrix.is_empty() && !self.faults.is_damaged(at) {
            self.fault(at, "`matrix` has no variable");
        }
        let sizes = matrix.values().map(|values| values.get_ref().len());
        if sizes.fold(1, usize::saturating_mul) > MOST_CELLS {
            self.fault(
                at,
                format!("`matrix` stands for more than {MOST_CELLS} phases"),
            );
        }
        for (name, values) in matrix {
            self.variable(name);
            let (at, name, values) = (values.span().start, name.get_ref(), values.get_ref());
            if values.is_empty() && !self.faults.is_damaged(at) {
                self.fault(at, format!("`{name}` has no values"));
            }
            for (index, text) in values.iter().enumerate() {
                let (at, text) = (text.span().start, text.get_ref());
                if !names_phase(text) {
                    self.fault(
                        at,
                        format!(
                            "`{text}` becomes part of a phase's name, of the form [a-z0-9][a-z0-9-]*"
                        ),
                    );
                }
                if values[..index]
                    .iter()
                    .any(|before| before.get_ref() == text)
                {
                    self.fault(at, format!("`{name}` has the value `{text}` already"));
                }
            }
        }
    }
}

/// True if a phase also runs after a failure.
pub(super) fn is_always(table: &PhaseTable) -> bool {
    let when = table.when.as_ref().map(Spanned::get_ref);
    when.is_some_and(|when| *when == When::Always)
}

/// The combinations of a table's matrix; a single empty one without a matrix. Empty if they are too many, which `axes` reports.
pub(super) fn cells(table: &PhaseTable) -> Vec<Cell> {
    let mut cells = vec![Cell::new()];
    let Some(matrix) = &table.matrix else {
        return cells;
    };
    // Sort by position, because the table is ordered by name.
    let mut axes: Vec<_> = matrix.get_ref().iter().collect();
    axes.sort_by_key(|(name, _)| name.span().start);
    for (name, values) in axes {
        let values = values.get_ref();
        if cells.len().saturating_mul(values.len()) > MOST_CELLS {
            return Vec::new();
        }
        cells = cells
            .iter()
            .flat_map(|cell| {
                values.iter().map(move |value| {
                    let mut cell = cell.clone();
                    cell.push((name.get_ref().clone(), value.get_ref().clone()));
                    cell
                })
            })
            .collect();
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_of_too_many_phases_is_refused() {
        let recipe = |axes: usize| {
            let values: Vec<_> = (0..10).map(|value| format!("\"{value}\"")).collect();
            let axes = (0..axes).map(|axis| format!("M{axis} = [{}]\n", values.join(", ")));
            let text = format!(
                "schema = 1\nname = \"x\"\ndistro = \"centos\"\n[source]\nphase = \"sync\"\n\
                 [[phase]]\nname = \"sync\"\nrun = [\"x\"]\n[[phase]]\nname = \"a\"\nrun = [\"x\"]\n\
                 [phase.matrix]\n{}",
                axes.collect::<String>()
            );
            crate::Recipe::from_toml(&text)
        };
        assert_eq!(recipe(3).expect("a recipe").phases.len(), MOST_CELLS + 1);
        for axes in [4, 9, 100] {
            let error = recipe(axes).expect_err("too many").to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(error.contains("more than 1000 phases"), "{error}");
        }
    }
}
