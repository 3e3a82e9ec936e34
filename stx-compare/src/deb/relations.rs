//! Relations between packages, in the syntax of deb-control(5) and dsc(5).

use crate::package::Dependency;

/// The relations of a field: `NAME[:ARCH] (>= VERSION) [ARCHS] <PROFILES>`, alternatives separated by `|`, relations by `,`.
///
/// For a relation in any other form, the whole text becomes the name, so that nothing is lost.
pub(super) fn relations(value: &str) -> impl Iterator<Item = Dependency> {
    let relations = value.split(',').map(str::trim);
    relations
        .filter(|relation| !relation.is_empty())
        .map(relation)
}

fn relation(text: &str) -> Dependency {
    let alternatives: Vec<_> = text.split('|').map(one).collect();
    match alternatives.as_slice() {
        [one] => one.clone(),
        all => {
            let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
            let plain = all.iter().all(|one| one.condition.is_empty());
            let shown: Vec<_> = all.iter().map(shown).collect();
            let whens: Vec<_> = all.iter().map(|one| one.when.as_str()).collect();
            let when = if whens.iter().all(|when| when.is_empty()) {
                String::new()
            } else {
                whens.join(" | ")
            };
            Dependency {
                name: names.join(" | "),
                condition: if plain {
                    String::new()
                } else {
                    shown.join(" | ")
                },
                when,
            }
        }
    }
}

/// `exim4 (>= 4)`.
fn shown(one: &Dependency) -> String {
    if one.condition.is_empty() {
        one.name.clone()
    } else {
        format!("{} ({})", one.name, one.condition)
    }
}

/// One alternative.
fn one(text: &str) -> Dependency {
    let text = words(text);
    let whole = || Dependency {
        name: text.clone(),
        ..Dependency::default()
    };
    let end = text.find([' ', '(', '[', '<']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim();
    let (condition, rest) = match rest.strip_prefix('(') {
        None => ("", rest),
        Some(rest) => match rest.split_once(')') {
            None => return whole(),
            Some((condition, rest)) => (condition.trim(), rest.trim()),
        },
    };
    if name.is_empty() || !(rest.is_empty() || rest.starts_with(['[', '<'])) {
        return whole();
    }
    let at = condition.find(|letter| !"<>=".contains(letter));
    let (operator, version) = condition.split_at(at.unwrap_or(condition.len()));
    Dependency {
        name: name.to_owned(),
        condition: [operator, version.trim()].join(" ").trim().to_owned(),
        when: rest.to_owned(),
    }
}

/// The words of a text, which may span several lines, in one line.
fn words(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::relations;

    #[test]
    fn relations_are_read_as_policy_writes_them() {
        let cases = [
            ("libc6", ("libc6", "", "")),
            ("libc6 (>= 2.36)", ("libc6", ">= 2.36", "")),
            ("libc6(>=2.36)", ("libc6", ">= 2.36", "")),
            ("python3:any (<< 3.12~)", ("python3:any", "<< 3.12~", "")),
            ("libc6\n (= 1:2-3)", ("libc6", "= 1:2-3", "")),
            (
                "a [amd64 !i386] <!nocheck> <cross>",
                ("a", "", "[amd64 !i386] <!nocheck> <cross>"),
            ),
            ("a (>= 1) [amd64]", ("a", ">= 1", "[amd64]")),
            (
                "default-mta | mail-transport-agent",
                ("default-mta | mail-transport-agent", "", ""),
            ),
            ("a (>= 1)|b:any", ("a | b:any", "a (>= 1) | b:any", "")),
            ("a <!x> | b", ("a | b", "", "<!x> | ")),
            // Relations in any other form are kept unchanged.
            ("a (>= 1", ("a (>= 1", "", "")),
            ("a b", ("a b", "", "")),
            ("${shlibs:Depends}", ("${shlibs:Depends}", "", "")),
        ];
        for (text, (name, condition, when)) in cases {
            let found: Vec<_> = relations(text).collect();
            let [found] = &found[..] else {
                panic!("{text}: {found:?}");
            };
            let shown = (
                found.name.as_str(),
                found.condition.as_str(),
                found.when.as_str(),
            );
            assert_eq!(shown, (name, condition, when), "{text}");
        }
        let names: Vec<_> = relations("a,\n b (= 1), , c,")
            .map(|found| found.name)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
