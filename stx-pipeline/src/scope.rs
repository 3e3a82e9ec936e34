//! `${NAME}` in the texts of a recipe.
//!
//! Names are looked up in layers: what the build sets, then `[variables]`, then a phase's `env`. A text of a layer sees
//! that layer and those below; a variable that names itself means the one below it (`PATH = "/opt/bin:${PATH}"`).

use std::collections::BTreeMap;

/// What a `${NAME}` cannot be resolved for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScopeFault {
    #[error("`${{` without a name and `}}` after it in {text:?}")]
    Malformed { text: String },
    #[error("unknown variable `${{{name}}}`")]
    Unknown { name: String },
    #[error("variables name each other in a circle: {}", names.join(" -> "))]
    Cycle { names: Vec<String> },
    #[error("more than {MOST_REFERENCES} variables are looked up to expand it")]
    TooMany,
    #[error("longer than {LONGEST} bytes when expanded, which no process can be given")]
    TooLong,
}

/// No text leads to more variables, each counted as often as it is named. Forty that name the next one twice would lead
/// to a million million.
const MOST_REFERENCES: usize = 1000;
/// No expanded text is longer: Linux takes no longer argument or variable (`MAX_ARG_STRLEN`).
const LONGEST: usize = 128 * 1024;

/// A piece of a text with variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Whether `name` can name an environment variable.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Takes a text apart; a `$` that no `{` follows stands for itself.
pub(crate) fn parts(text: &str) -> Result<Vec<Part<'_>>, ScopeFault> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let name = after.split_once('}').filter(|(name, _)| is_name(name));
        let Some((name, after)) = name else {
            return Err(ScopeFault::Malformed {
                text: text.to_owned(),
            });
        };
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(Part::Variable(name));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// The way to a value.
#[derive(Debug, Default)]
struct Way {
    /// The variables whose texts are being expanded, with their layers.
    open: Vec<(usize, String)>,
    /// How many variables were looked up.
    references: usize,
}

fn add(out: &mut String, text: &str) -> Result<(), ScopeFault> {
    if out.len() + text.len() > LONGEST {
        return Err(ScopeFault::TooLong);
    }
    out.push_str(text);
    Ok(())
}

/// Layers of definitions, lowest first. The lowest holds values, the others texts with variables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) layers: &'a [&'a BTreeMap<String, String>],
}

impl Scope<'_> {
    /// Expands a text that sees every layer; `escape` is applied to the values, not to the text.
    pub(crate) fn expand_with(
        &self,
        text: &str,
        escape: fn(&str) -> String,
    ) -> Result<String, ScopeFault> {
        let mut out = String::new();
        let mut way = Way::default();
        for part in parts(text)? {
            match part {
                Part::Text(text) => add(&mut out, text)?,
                Part::Variable(name) => {
                    let value = self.value(name, self.layers.len(), &mut way)?;
                    add(&mut out, &escape(&value))?;
                }
            }
        }
        Ok(out)
    }

    pub(crate) fn expand(&self, text: &str) -> Result<String, ScopeFault> {
        self.expand_with(text, str::to_owned)
    }

    /// The value of every name; else the text that cannot be expanded.
    pub(crate) fn environment(&self) -> Result<BTreeMap<String, String>, (String, ScopeFault)> {
        let mut values = BTreeMap::new();
        for name in self.layers.iter().flat_map(|layer| layer.keys()) {
            let value = self
                .value(name, self.layers.len(), &mut Way::default())
                .map_err(|fault| (format!("${{{name}}}"), fault))?;
            values.insert(name.clone(), value);
        }
        Ok(values)
    }

    /// The value that `name` has below layer `top`.
    fn value(&self, name: &str, top: usize, way: &mut Way) -> Result<String, ScopeFault> {
        way.references += 1;
        if way.references > MOST_REFERENCES {
            return Err(ScopeFault::TooMany);
        }
        let Some(layer) = (0..top)
            .rev()
            .find(|at| self.layers[*at].contains_key(name))
        else {
            return Err(ScopeFault::Unknown {
                name: name.to_owned(),
            });
        };
        let text = &self.layers[layer][name];
        if layer == 0 {
            return Ok(text.clone());
        }
        let open = &way.open;
        if let Some(start) = open.iter().position(|(at, of)| *at == layer && of == name) {
            let mut names: Vec<_> = open[start..].iter().map(|(_, name)| name.clone()).collect();
            names.push(name.to_owned());
            return Err(ScopeFault::Cycle { names });
        }
        way.open.push((layer, name.to_owned()));
        let mut out = String::new();
        for part in parts(text)? {
            match part {
                Part::Text(text) => add(&mut out, text)?,
                Part::Variable(inner) => {
                    let below = if inner == name { layer } else { layer + 1 };
                    add(&mut out, &self.value(inner, below, way)?)?;
                }
            }
        }
        way.open.pop();
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn layers_shadow_and_a_variable_may_extend_the_one_below() {
        let base = map(&[("PATH", "/bin"), ("A", "base")]);
        let variables = map(&[("PATH", "/opt:${PATH}"), ("B", "${A}-b")]);
        let env = map(&[("A", "env"), ("PATH", "/env:${PATH}")]);
        let scope = Scope {
            layers: &[&base, &variables, &env],
        };
        assert_eq!(
            scope.expand("${PATH} ${A} ${B} $x").unwrap(),
            "/env:/opt:/bin env base-b $x"
        );
    }

    /// Both take no longer than any other mistake.
    #[test]
    fn variables_that_multiply_are_refused() {
        let base = map(&[]);
        for (last, fault) in [
            ("", ScopeFault::TooMany),
            (&*"x".repeat(1000), ScopeFault::TooLong),
        ] {
            let mut variables = BTreeMap::from([("V40".to_owned(), last.to_owned())]);
            for number in 0..40 {
                let next = format!("${{V{}}}", number + 1);
                variables.insert(format!("V{number}"), [next.as_str(), &next].concat());
            }
            let layers = [&base, &variables];
            let scope = Scope { layers: &layers };
            assert_eq!(scope.expand("${V0}"), Err(fault.clone()));
            let (text, found) = scope.environment().expect_err("no environment");
            assert_eq!((text.as_str(), found), ("${V0}", fault));
            assert_eq!(scope.expand("${V39}").as_deref(), Ok(&*last.repeat(2)));
        }
        // A chain is no deeper than the stack.
        let mut variables = BTreeMap::from([("V9999".to_owned(), String::new())]);
        for number in 0..9999 {
            variables.insert(format!("V{number}"), format!("${{V{}}}", number + 1));
        }
        let layers = [&base, &variables];
        let scope = Scope { layers: &layers };
        assert_eq!(scope.expand("${V0}"), Err(ScopeFault::TooMany));
        assert_eq!(scope.expand("${V9990}").as_deref(), Ok(""));
    }

    #[test]
    fn circles_unknown_names_and_half_names_are_refused() {
        let base = map(&[]);
        let variables = map(&[("A", "${B}"), ("B", "${A}"), ("C", "${C}")]);
        let scope = Scope {
            layers: &[&base, &variables],
        };
        insta::assert_snapshot!(scope.expand("${A}").unwrap_err(), @"variables name each other in a circle: A -> B -> A");
        insta::assert_snapshot!(scope.expand("${C}").unwrap_err(), @"unknown variable `${C}`");
        insta::assert_snapshot!(scope.expand("${A").unwrap_err(), @r#"`${` without a name and `}` after it in "${A""#);
    }
}
