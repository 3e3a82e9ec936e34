//! Phases that stand for several: one for each combination of the values of their matrix.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Reader, get};
use crate::recipe::Recipe;
use crate::scope::{Part, is_name, parts};

/// One combination: variables and their values, in the order of the file. Empty for a phase without a matrix.
pub(super) type Cell = Vec<(String, String)>;

/// No matrix stands for more phases: a few lines could stand for more than any machine can hold.
pub(super) const MOST_CELLS: usize = 1000;

/// Whether a text can name a phase, or be part of such a name.
fn names_phase(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes
        .first()
        .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

/// The name of the phase of a combination: `rpms` and `std` give `rpms-std`.
pub(super) fn instance(name: &str, cell: &Cell) -> String {
    let mut instance = name.to_owned();
    for (_, value) in cell {
        instance.push('-');
        instance.push_str(value);
    }
    instance
}

/// A text with the values of a combination; other variables are left as they are.
pub(super) fn fill(text: &str, cell: &Cell) -> String {
    // A text that is malformed is reported elsewhere.
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
    /// Takes down the phases that a table stands for, before anything names them.
    pub(super) fn declare(&mut self, at: usize, table: &DeTable<'_>) {
        let Some((at, name)) = self.needed(table, at, "name") else {
            return;
        };
        if !names_phase(&name) {
            self.fault(
                at,
                format!("phase name `{name}` has to be of the form [a-z0-9][a-z0-9-]*"),
            );
        }
        self.axes(table);
        let instances: Vec<_> = cells(table)
            .iter()
            .map(|cell| instance(&name, cell))
            .collect();
        if self.families.contains_key(&name) {
            self.fault(at, format!("there is a phase `{name}` already"));
        }
        for phase in &instances {
            if !self.phases.insert(phase.clone()) {
                self.fault(at, format!("there is a phase `{phase}` already"));
            }
        }
        if get(table, "matrix").is_some() {
            if self.phases.contains(&name) {
                self.fault(at, format!("there is a phase `{name}` already"));
            }
            self.families.insert(name, instances);
        }
    }

    /// Reports what is wrong with a matrix.
    fn axes(&mut self, table: &DeTable<'_>) {
        let Some(matrix) = self.table(table, "matrix") else {
            return;
        };
        if matrix.is_empty() {
            let at = get(table, "matrix").map_or(0, |value| value.span().start);
            self.fault(at, "`matrix` has no variable");
        }
        let sizes = matrix.values().map(|value| match value.get_ref() {
            DeValue::Array(values) => values.len(),
            _ => 1,
        });
        if sizes.fold(1, usize::saturating_mul) > MOST_CELLS {
            let at = get(table, "matrix").map_or(0, |value| value.span().start);
            self.fault(
                at,
                format!("`matrix` stands for more than {MOST_CELLS} phases"),
            );
        }
        for (name, value) in matrix {
            let at = name.span().start;
            let name = name.get_ref();
            if Recipe::RESERVED.contains(&name.as_ref()) {
                self.fault(at, format!("`{name}` is set by the build"));
            } else if !is_name(name) {
                self.fault(at, format!("`{name}` cannot name a variable"));
            }
            let values = self.texts(matrix, name).unwrap_or_default();
            if values.is_empty() && matches!(value.get_ref(), DeValue::Array(_)) {
                self.fault(value.span().start, format!("`{name}` has no values"));
            }
            for (index, (at, text)) in values.iter().enumerate() {
                if !names_phase(text) {
                    self.fault(
                        *at,
                        format!(
                            "`{text}` becomes part of a phase's name, of the form [a-z0-9][a-z0-9-]*"
                        ),
                    );
                }
                if values[..index].iter().any(|(_, before)| before == text) {
                    self.fault(*at, format!("`{name}` has the value `{text}` already"));
                }
            }
        }
    }
}

/// The combinations of a table's matrix; one, without variables, where it has none. None where there are too many, which is
/// reported with the matrix.
pub(super) fn cells(table: &DeTable<'_>) -> Vec<Cell> {
    let mut cells = vec![Cell::new()];
    let Some(DeValue::Table(matrix)) = get(table, "matrix").map(Spanned::get_ref) else {
        return cells;
    };
    // The table is in the order of the names.
    let mut axes: Vec<_> = matrix.iter().collect();
    axes.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in axes {
        let DeValue::Array(values) = value.get_ref() else {
            continue;
        };
        let values: Vec<_> = values
            .iter()
            .filter_map(|value| match value.get_ref() {
                DeValue::String(text) => Some(text.clone().into_owned()),
                _ => None,
            })
            .collect();
        if cells.len().saturating_mul(values.len()) > MOST_CELLS {
            return Vec::new();
        }
        cells = cells
            .iter()
            .flat_map(|cell| {
                values.iter().map(move |value| {
                    let mut cell = cell.clone();
                    cell.push((name.get_ref().clone().into_owned(), value.clone()));
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
    fn a_matrix_of_more_phases_than_can_be_held_is_refused() {
        let recipe = |axes: usize| {
            let values: Vec<_> = (0..10).map(|value| format!("\"{value}\"")).collect();
            let axes = (0..axes).map(|axis| format!("M{axis} = [{}]\n", values.join(", ")));
            let text = format!(
                "schema = 1\nname = \"x\"\ndistro = \"centos\"\n[source]\nphase = \"sync\"\n\
                 [[phase]]\nname = \"sync\"\nrun = [\"x\"]\n[[phase]]\nname = \"a\"\nrun = [\"x\"]\n\
                 [phase.matrix]\n{}",
                axes.collect::<String>()
            );
            Recipe::from_toml(&text)
        };
        assert_eq!(recipe(3).expect("a recipe").phases.len(), MOST_CELLS + 1);
        for axes in [4, 9, 100] {
            let error = recipe(axes).expect_err("too many").to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(error.contains("more than 1000 phases"), "{error}");
        }
    }
}
