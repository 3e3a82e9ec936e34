//! Expands `${NAME}` in the texts of a recipe.
//!
//! Names are looked up in layers: the build's own variables, then `[variables]`, then a phase's `env`. A text of a layer sees
//! that layer and those below. A variable that names itself means the one in the layer below (`PATH = "/opt/bin:${PATH}"`).

use std::collections::{BTreeMap, HashMap};

/// The reason that a `${NAME}` cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScopeFault {
    #[error("`${{` without a name and `}}` after it in {text:?}")]
    Malformed { text: String },
    #[error("unknown variable `${{{name}}}`")]
    Unknown { name: String },
    #[error("variables name each other in a circle: {}", names.join(" -> "))]
    Cycle { names: Vec<String> },
    #[error("variables name each other more than {DEEPEST} deep")]
    TooDeep,
    #[error("longer than {LONGEST} bytes when expanded, which no process can be given")]
    TooLong,
    #[error(
        "the variables together are longer than {MOST} bytes when expanded, which no process can be given"
    )]
    TooMuch,
}

/// The greatest depth to which variables may name each other.
const DEEPEST: usize = 100;
/// The longest expanded text: Linux accepts no longer argument or variable (`MAX_ARG_STRLEN`).
const LONGEST: usize = 128 * 1024;
/// The largest size of all values together: the limit of Linux for arguments and environment, with the usual limit of the
/// stack.
const MOST: usize = 2 * 1024 * 1024;

/// A piece of a text with variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// True if `name` can name an environment variable.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Splits a text into its parts; a `$` without a following `{` is plain text.
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

/// The state of an expansion. A variable is expanded once, however often it is named: forty variables that each name the next
/// one twice would otherwise be expanded a million million times.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// The variables whose texts are being expanded, with their layers.
    open: Vec<(usize, String)>,
    /// The values, by layer and name.
    known: HashMap<(usize, String), String>,
    /// The total size of the values in bytes.
    bytes: usize,
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

    #[cfg(test)]
    fn expand(&self, text: &str) -> Result<String, ScopeFault> {
        self.expand_with(text, str::to_owned)
    }

    /// Checks that a name has a value. Values that are expanded on the way are kept in `way` for the next name.
    pub(crate) fn check(&self, name: &str, way: &mut Way) -> Result<(), ScopeFault> {
        way.open.clear();
        self.value(name, self.layers.len(), way).map(drop)
    }

    /// The value of every name; as the error, the text that cannot be expanded and the reason.
    pub(crate) fn environment(&self) -> Result<BTreeMap<String, String>, (String, ScopeFault)> {
        let mut values = BTreeMap::new();
        let mut way = Way::default();
        for name in self.layers.iter().flat_map(|layer| layer.keys()) {
            let value = self
                .value(name, self.layers.len(), &mut way)
                .map_err(|fault| (format!("${{{name}}}"), fault))?;
            values.insert(name.clone(), value);
        }
        Ok(values)
    }

    /// The value of `name` in the layers below `top`.
    fn value(&self, name: &str, top: usize, way: &mut Way) -> Result<String, ScopeFault> {
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
        let key = (layer, name.to_owned());
        if let Some(value) = way.known.get(&key) {
            return Ok(value.clone());
        }
        if let Some(start) = way.open.iter().position(|open| *open == key) {
            let mut names: Vec<_> = way.open[start..]
                .iter()
                .map(|(_, name)| name.clone())
                .collect();
            names.push(name.to_owned());
            return Err(ScopeFault::Cycle { names });
        }
        if way.open.len() == DEEPEST {
            return Err(ScopeFault::TooDeep);
        }
        way.open.push(key.clone());
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
        way.bytes += out.len();
        if way.bytes > MOST {
            return Err(ScopeFault::TooMuch);
        }
        way.known.insert(key, out.clone());
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
    fn a_layer_overrides_or_extends_the_variables_below_it() {
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

    /// Checking such variables takes no longer than any other mistake.
    #[test]
    fn variables_that_grow_exponentially_are_expanded_once_or_refused() {
        let base = map(&[]);
        let chain = |length: usize, times: usize, last: &str| {
            let mut variables = BTreeMap::from([(format!("V{length}"), last.to_owned())]);
            for number in 0..length {
                let next = format!("${{V{}}}", number + 1).repeat(times);
                variables.insert(format!("V{number}"), next);
            }
            variables
        };
        let expand = |variables: &BTreeMap<String, String>, text: &str| {
            let layers = [&base, variables];
            let scope = Scope { layers: &layers };
            let one = scope.expand(text);
            (one, scope.environment().map_err(|(_, fault)| fault))
        };
        let (one, all) = expand(&chain(40, 2, ""), "${V0}");
        assert_eq!(one.as_deref(), Ok(""));
        assert_eq!(all.expect("an environment").len(), 41);
        let (one, all) = expand(&chain(40, 2, "x"), "${V0}");
        assert_eq!(
            (one, all),
            (Err(ScopeFault::TooLong), Err(ScopeFault::TooLong))
        );
        let (one, all) = expand(&chain(10_000, 1, ""), "${V0}");
        assert_eq!(
            (one, all),
            (Err(ScopeFault::TooDeep), Err(ScopeFault::TooDeep))
        );
        let (one, _) = expand(&chain(10_000, 1, "x"), "${V9990}");
        assert_eq!(one.as_deref(), Ok("x"));
        // Each value is short enough, but all together are too long.
        let mut variables = map(&[("A", &"x".repeat(LONGEST))]);
        for number in 0..100 {
            variables.insert(format!("B{number}"), "${A}".to_owned());
        }
        let (one, all) = expand(&variables, "${B0}");
        assert_eq!(one.map(|text| text.len()), Ok(LONGEST));
        assert_eq!(all, Err(ScopeFault::TooMuch));
    }

    #[test]
    fn circular_unknown_and_unclosed_variables_are_refused() {
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
