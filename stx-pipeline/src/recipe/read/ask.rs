//! Variables whose value the recipe asks for.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::Reader;
use super::form::Assignments;

/// A variable of `[variables]`.
pub(super) enum Variable {
    /// Its text.
    Text(String),
    /// The question that its value answers.
    Ask(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskTable {
    ask: String,
}

struct Form;

impl<'de> Deserialize<'de> for Variable {
    // Not an untagged enum, which would lose the position of a mistake in the table.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

impl<'de> Visitor<'de> for Form {
    type Value = Variable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or { ask = \"…?\" }")
    }

    fn visit_str<E>(self, text: &str) -> Result<Variable, E> {
        Ok(Variable::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Variable, A::Error> {
        let table = AskTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Variable::Ask(table.ask))
    }
}

impl Reader {
    /// The variables with their texts. A variable that asks gets the given value; a missing value is reported.
    pub(super) fn answered(
        &mut self,
        table: BTreeMap<Spanned<String>, Spanned<Variable>>,
    ) -> Assignments {
        let mut answered = Assignments::new();
        for (name, variable) in table {
            let span = variable.span();
            let text = match variable.into_inner() {
                Variable::Text(text) => text,
                Variable::Ask(question) => {
                    let name = name.get_ref();
                    let values = self.values.as_ref();
                    let value = values.map(|values| values.get(name).cloned());
                    if value == Some(None) {
                        self.fault(span.start, format!("`{name}`: no value; {question}"));
                    }
                    value.flatten().unwrap_or_default()
                }
            };
            answered.insert(name, Spanned::new(span, text));
        }
        answered
    }
}
