//! The shared libraries that a package provides, from `shlibs` and `symbols`.

use std::collections::BTreeSet;

use crate::package::Dependency;

/// Reads `[TYPE: ]LIBRARY VERSION DEPENDENCY` lines; returns the lines in any other form.
///
/// `libz 1 zlib1g (>= 1:1.2)` becomes the library `libz.so.1`, whose condition is the package to depend on.
pub(super) fn shlibs(text: &str, provided: &mut BTreeSet<Dependency>) -> String {
    let mut odd = String::new();
    for line in text.lines() {
        let (kind, rest) = match line.split_once(": ") {
            Some((kind, rest)) if !kind.contains(' ') => (kind, rest),
            Some(_) | None => ("", line),
        };
        let mut words = rest.split_ascii_whitespace();
        let (Some(library), Some(version)) = (words.next(), words.next()) else {
            keep(&mut odd, line);
            continue;
        };
        provided.insert(Dependency {
            name: format!("{library}.so.{version}"),
            condition: words.collect::<Vec<_>>().join(" "),
            when: kind.to_owned(),
        });
    }
    odd
}

/// Reads deb-symbols(5); returns the lines in any other form.
///
/// A symbol is named `libz.so.1(adler32@Base)`, as RPM writes versions of libraries. Its condition is the version of the
/// package that introduced it.
pub(super) fn symbols(text: &str, provided: &mut BTreeSet<Dependency>) -> String {
    let mut odd = String::new();
    let mut library: Option<&str> = None;
    for line in text.lines() {
        let first = line.split_ascii_whitespace().next();
        let (name, condition) = match (line.bytes().next(), library, first) {
            (_, _, None) => continue,
            (Some(b' '), Some(library), Some(symbol)) => {
                (format!("{library}({symbol})"), rest(line, symbol))
            }
            // An alternative dependency, or a field of the library.
            (Some(b'|' | b'*'), Some(library), Some(_)) => (library.to_owned(), line.to_owned()),
            (Some(b' ' | b'|' | b'*'), ..) => {
                keep(&mut odd, line);
                continue;
            }
            (_, _, Some(name)) => {
                library = Some(name);
                (name.to_owned(), rest(line, name))
            }
        };
        provided.insert(Dependency {
            name,
            condition,
            when: "symbols".to_owned(),
        });
    }
    odd
}

/// The text after the first word of a line.
fn rest(line: &str, word: &str) -> String {
    let line = line.trim_start();
    line.strip_prefix(word).unwrap_or(line).trim().to_owned()
}

fn keep(odd: &mut String, line: &str) {
    if !line.trim().is_empty() {
        odd.push_str(line);
        odd.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(provided: &BTreeSet<Dependency>) -> Vec<String> {
        let lines = provided.iter();
        lines
            .map(|one| format!("{}|{}|{}", one.name, one.condition, one.when))
            .collect()
    }

    #[test]
    fn shlibs_and_symbols_both_provide_libraries() {
        let mut provided = BTreeSet::new();
        let odd = shlibs(
            "libz 1 zlib1g (>= 1:1.2)\nudeb: libz 1 zlib1g-udeb\nodd\n",
            &mut provided,
        );
        assert_eq!(odd, "odd\n");
        assert_eq!(
            shown(&provided),
            ["libz.so.1|zlib1g (>= 1:1.2)|", "libz.so.1|zlib1g-udeb|udeb"]
        );
        assert!(provided.iter().all(Dependency::is_soname));

        provided.clear();
        let odd = symbols(
            " before@Base 1\nlibz.so.1 zlib1g #MINVER#\n| zlib1g (<< 2)\n* Build-Depends-Package: zlib1g-dev\n \
             ZLIB_1.2@ZLIB_1.2 1:1.2\n adler32@Base 1:1.1.4 1\n",
            &mut provided,
        );
        assert_eq!(odd, " before@Base 1\n");
        let expected = [
            "libz.so.1|* Build-Depends-Package: zlib1g-dev|symbols",
            "libz.so.1|zlib1g #MINVER#|symbols",
            "libz.so.1|| zlib1g (<< 2)|symbols",
            "libz.so.1(ZLIB_1.2@ZLIB_1.2)|1:1.2|symbols",
            "libz.so.1(adler32@Base)|1:1.1.4 1|symbols",
        ];
        assert_eq!(shown(&provided), expected);
        assert!(provided.iter().all(Dependency::is_soname));
    }
}
