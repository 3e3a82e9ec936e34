use bytes::Bytes;
use camino_tempfile::tempdir;

use super::*;
use crate::incoming::digest_of;

fn path(text: &str) -> BuildPath {
    text.parse().expect("a path")
}

/// A record of a file with these bytes.
fn data(kind: &str, href: &str, bytes: &str) -> String {
    let digest = digest_of(bytes.as_bytes());
    format!(
        "<data type=\"{kind}\"><checksum type=\"sha256\">{digest}</checksum><open-checksum type=\"sha256\">00ff</open-checksum>\
         <location href=\"{href}\"/><timestamp>1541000000.5</timestamp><size>3</size></data>"
    )
}

/// A build with one package and these files in its `repodata/`; the text of each file is `abc`.
fn build(records: &str, files: &[&str]) -> Incoming {
    let mut incoming = Incoming::default();
    let mut put = |name: &str, text: String| {
        let entry = Entry::Generated(Bytes::from(text));
        incoming
            .entries
            .insert(path(&format!("inputs/RPMS/{name}")), entry);
    };
    put("a.rpm", "a package".to_owned());
    let index = format!("<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">{records}</repomd>");
    put("repodata/repomd.xml", index);
    for file in files {
        put(file, "abc".to_owned());
    }
    incoming
}

/// The types of the records that are carried over, and what is left out.
fn carried(records: &str, files: &[&str]) -> (Vec<String>, Vec<(String, String)>) {
    let mut all = carry(&mut build(records, files)).expect("read");
    let carried = all.remove(&path("inputs/RPMS")).unwrap_or_default();
    let kinds = carried.records.into_iter().map(|record| record.kind);
    (kinds.collect(), carried.left_out.into_iter().collect())
}

#[test]
fn every_record_that_is_not_made_anew_is_carried_over() {
    let records = [
        data("primary", "repodata/0-primary.xml.gz", "abc"),
        data("filelists_db", "repodata/0-filelists.sqlite.bz2", "abc"),
        data("updateinfo", "repodata/updateinfo.xml.zst", "abc"),
        data("group", "repodata/comps.xml", "abc"),
        data("productid", "productid", "abc"),
    ];
    let files = [
        "repodata/0-primary.xml.gz",
        "repodata/0-filelists.sqlite.bz2",
        "repodata/updateinfo.xml.zst",
        "repodata/comps.xml",
        "repodata/repomd.xml.asc",
        // From an earlier run.
        "repodata/9-other.xml.gz",
        "productid",
    ];
    let (kinds, left_out) = carried(&records.concat(), &files);
    assert_eq!(kinds, ["group", "productid", "updateinfo"]);
    assert_eq!(left_out, []);
}

#[test]
fn a_record_that_cannot_be_carried_over_is_named_with_the_reason() {
    let base = "<data type=\"a\"><checksum type=\"sha256\">00</checksum><location xml:base=\"http://x/\" href=\"a\"/></data>";
    let old = "<data type=\"a\"><checksum type=\"sha\">00</checksum><location href=\"repodata/a\"/></data>";
    let none = "<data type=\"a\"><location href=\"repodata/a\"/></data>";
    for (records, what, reason) in [
        (data("a", "repodata/a", "abd"), "a", "has another digest"),
        (data("a", "repodata/b", "abc"), "a", "is missing"),
        (data("a", "../../b", "abc"), "a", "\"../../b\""),
        (
            data("a&amp;", "repodata/a", "abc"),
            "a&",
            "its type is not a name",
        ),
        (base.to_owned(), "a", "is at another URL"),
        (old.to_owned(), "a", "of the kind sha, not sha256"),
        (none.to_owned(), "a", "names no digest"),
        ("<data".to_owned(), "repomd.xml", "cannot be read"),
        (String::new(), "repodata/a", "repomd.xml does not name it"),
        (
            data("a", "repodata/a", "abc").replace("00ff", "&lt;"),
            "a",
            "its open-checksum is neither a number nor a digest",
        ),
    ] {
        let (kinds, left_out) = carried(&records, &["repodata/a"]);
        assert_eq!(kinds, [""; 0], "{records}");
        let found = left_out.iter().find(|(name, _)| name == what);
        let (_, found) = found.unwrap_or_else(|| panic!("{records}: {left_out:?}"));
        assert!(found.contains(reason), "{found}");
    }
    let mut without = build("", &["repodata/a"]);
    without
        .entries
        .remove(&path("inputs/RPMS/repodata/repomd.xml"));
    let left_out = &carry(&mut without).expect("read")[&path("inputs/RPMS")].left_out;
    assert_eq!(left_out["repomd.xml"], "it is missing");
}

#[test]
fn a_build_without_metadata_of_its_own_has_nothing_to_carry() {
    let mut without = build("", &[]);
    without
        .entries
        .remove(&path("inputs/RPMS/repodata/repomd.xml"));
    assert_eq!(carry(&mut without).expect("read"), BTreeMap::new());
}

#[test]
fn carried_records_are_added_once_and_unchanged() {
    let dir = tempdir().expect("a directory");
    let file = dir.path().join("repodata/repomd.xml");
    fs::create_dir(dir.path().join("repodata")).expect("made");
    fs::write(&file, "<repomd>\n  <revision>1</revision>\n</repomd>\n").expect("written");
    let records = data("group", "repodata/a&amp;b", "abc");
    let all = carry(&mut build(&records, &["repodata/a&b"])).expect("read");
    let name = path("inputs/RPMS");
    let records = &all[&name].records;
    insert(dir.path(), &name, records).expect("inserted");
    let text = fs::read_to_string(&file).expect("a file");
    assert_eq!(
        text,
        format!(
            "<repomd>\n  <revision>1</revision>\n  <data type=\"group\">\n    \
             <checksum type=\"sha256\">{}</checksum>\n    <location href=\"repodata/a&amp;b\"/>\n    \
             <open-checksum type=\"sha256\">00ff</open-checksum>\n    <timestamp>1541000000.5</timestamp>\n    \
             <size>3</size>\n  </data>\n</repomd>\n",
            digest_of(b"abc")
        )
    );
    insert(dir.path(), &name, records).expect_err("it is there already");
    fs::write(&file, "").expect("written");
    insert(dir.path(), &name, records).expect_err("there is nothing to add to");
    insert(dir.path(), &name, &[]).expect("nothing to do");
}
