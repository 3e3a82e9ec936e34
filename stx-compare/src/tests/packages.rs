//! Packages of builds: choosing the reference of a package, and pairing the packages of two builds.

use stx_layout::SumLine;

use super::full;
use crate::inventory::{ChooseError, Inventory, pair};
use crate::package::Package;
use crate::version::Format;

fn inventory(lines: &[(&str, char)]) -> Inventory {
    let lines = lines.iter().map(|(path, digit)| SumLine {
        path: path.parse().expect("a path"),
        digest: digit.to_string().repeat(64).parse().expect("a digest"),
    });
    Inventory::of(&lines.collect())
}

#[test]
fn the_reference_is_chosen_by_name_architecture_and_phase() {
    let inventory = inventory(&[
        ("inputs/RPMS/bash-4.2-1.x86_64.rpm", '1'),
        ("inputs/RPMS/only-1-1.noarch.rpm", '1'),
        ("outputs/RPMS/rt/bash-4.2-9.x86_64.rpm", '2'),
        ("outputs/RPMS/rt/same-1-1.noarch.rpm", '5'),
        ("outputs/RPMS/std/bash-4.2-10.x86_64.rpm", '3'),
        ("outputs/RPMS/std/bash-4.2-9.x86_64.rpm", '4'),
        ("outputs/RPMS/std/repodata/repomd.xml", '4'),
        ("outputs/RPMS/std/same-1-1.noarch.rpm", '5'),
        ("outputs/SRPMS/std/same-1-1.src.rpm", '6'),
    ]);
    let choose = |name, arch, phase, version| {
        let chosen = inventory.choose(name, arch, phase, version);
        chosen.map(|(_, entry)| entry.path.to_string())
    };
    let std10 = Ok("outputs/RPMS/std/bash-4.2-10.x86_64.rpm".to_owned());
    let std9 = Ok("outputs/RPMS/std/bash-4.2-9.x86_64.rpm".to_owned());
    assert_eq!(
        choose("bash", "x86_64", Some("std"), None),
        std10,
        "10 is newer than 9"
    );
    assert_eq!(choose("bash", "x86_64", Some("std"), Some("4.2-11")), std10);
    assert_eq!(choose("bash", "x86_64", Some("std"), Some("4.2-9")), std9);
    assert!(matches!(
        choose("bash", "x86_64", None, None),
        Err(ChooseError::Ambiguous { .. })
    ));
    assert!(matches!(
        choose("bash", "noarch", None, None),
        Err(ChooseError::Absent { .. })
    ));
    assert_eq!(
        choose("only", "noarch", None, None),
        Ok("inputs/RPMS/only-1-1.noarch.rpm".to_owned())
    );
    assert_eq!(
        choose("same", "", None, None),
        Ok("outputs/RPMS/rt/same-1-1.noarch.rpm".to_owned())
    );
    assert_eq!(
        choose("same", "src", None, None),
        Ok("outputs/SRPMS/std/same-1-1.src.rpm".to_owned())
    );
}

#[test]
fn packages_of_two_builds_are_paired() {
    let from = inventory(&[
        ("outputs/RPMS/std/a-1-1.noarch.rpm", '1'),
        ("outputs/RPMS/std/b-1-1.noarch.rpm", '1'),
        ("outputs/RPMS/std/gone-1-1.noarch.rpm", '1'),
        ("outputs/RPMS/std/many-1-1.noarch.rpm", '1'),
        ("outputs/RPMS/std/many-1-2.noarch.rpm", '2'),
        ("outputs/RPMS/std/many-1-9.noarch.rpm", '3'),
    ]);
    let to = inventory(&[
        ("outputs/RPMS/std/a-1-1.noarch.rpm", '1'),
        ("outputs/RPMS/std/b-1-2.noarch.rpm", '2'),
        ("outputs/RPMS/std/many-1-10.noarch.rpm", '6'),
        ("outputs/RPMS/std/many-1-2.noarch.rpm", '5'),
        ("outputs/RPMS/std/new-1-1.noarch.rpm", '1'),
        ("outputs/RPMS/std/odd.rpm", '1'),
    ]);
    let (same, pairs) = pair(&from, &to);
    assert_eq!((same, from.count(), to.count()), (1, 6, 6));
    let version = |entry: &Option<crate::inventory::Entry>| {
        entry
            .as_ref()
            .map_or("-".to_owned(), |entry| entry.version.clone())
    };
    let shown: Vec<_> = pairs
        .iter()
        .map(|pair| {
            format!(
                "{} {} {}",
                pair.key.name,
                version(&pair.from),
                version(&pair.to)
            )
        })
        .collect();
    let expected = [
        "b 1-1 1-2",
        "gone 1-1 -",
        "many 1-2 1-2",
        "many 1-9 1-10",
        "many 1-1 -",
        "new - 1-1",
        "odd.rpm - ",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn debian_packages_are_paired_by_format_and_phase() {
    let inventory = inventory(&[
        ("inputs/packages/libc6_2.36-9_amd64.deb", '1'),
        ("outputs/RPMS/std/hello-1.0-1.riscv64.rpm", '2'),
        (
            "outputs/aptly/deb-local-build/pool/main/h/hello_1.0-1_amd64.deb",
            '3',
        ),
        ("outputs/rt/packages/hello_1.0-1_amd64.deb", '4'),
        ("outputs/std/packages/Packages.gz", '5'),
        ("outputs/std/packages/hello_1.0-1_amd64.deb", '3'),
        ("outputs/std/packages/hello_1.0-1_amd64.udeb", '6'),
        ("outputs/std/packages/hello_1.0~rc1-1_amd64.deb", '7'),
        ("outputs/std/packages/odd.deb", '8'),
        ("outputs/std/sources/hello/hello_1.0-1.dsc", '9'),
        ("outputs/std/sources/hello/hello_1.0.orig.tar.gz", 'a'),
    ]);
    assert_eq!(inventory.count(), 9);
    let choose = |name, arch, phase| {
        let chosen = inventory.choose(name, arch, phase, None);
        chosen.map(|(key, entry)| (key.format, entry.path.to_string()))
    };
    // `~` sorts before everything, so 1.0 is newer than 1.0~rc1.
    let rt = (Format::Deb, "outputs/rt/packages/hello_1.0-1_amd64.deb");
    assert_eq!(
        choose("hello", "amd64", Some("rt")),
        Ok((rt.0, rt.1.to_owned()))
    );
    let source = "outputs/std/sources/hello/hello_1.0-1.dsc".to_owned();
    assert_eq!(choose("hello", "source", None), Ok((Format::Dsc, source)));
    let several: Vec<_> = inventory.several().collect();
    let [(key, entries)] = several[..] else {
        panic!("{several:?}");
    };
    assert_eq!((key.phase(), key.format), ("std", Format::Deb));
    let versions: Vec<_> = entries.iter().map(|entry| entry.version.as_str()).collect();
    assert_eq!(versions, ["1.0~rc1-1", "1.0-1"]);
    assert!(matches!(
        choose("hello", "amd64", None),
        Err(ChooseError::Ambiguous { .. })
    ));
    let odd = (Format::Deb, "outputs/std/packages/odd.deb".to_owned());
    assert_eq!(choose("odd.deb", "", None), Ok(odd));
}

#[test]
fn documents_about_rpm_packages_name_no_field_of_debian() {
    let key = inventory(&[("outputs/RPMS/std/a-1-1.noarch.rpm", '1')]);
    let (_, pairs) = pair(&key, &Inventory::default());
    let text = serde_json::to_string(&pairs[0].key).expect("JSON");
    assert_eq!(
        text,
        r#"{"place":"outputs/RPMS/std","name":"a","arch":"noarch"}"#
    );
    let package = serde_json::to_value(full()).expect("JSON");
    for field in ["format", "listing", "control"] {
        assert!(package.get(field).is_none(), "{field}");
    }
    // An older document is read with its original meaning.
    let read: Package = serde_json::from_value(package).expect("a package");
    assert_eq!(read, full());
}
