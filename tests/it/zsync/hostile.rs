//! Control files that lie, and servers without support for ranges: the file is fetched completely and correctly.

use camino::Utf8Path;

use super::delta::{Counted, build, fetch, is_there, next_image, number};
use super::{image, iso};
use crate::harness::{run, tool};
use crate::site::{CHANNEL, DATES};

/// Puts another control file into the second build, and its digest into the sums: the mirror itself is hostile.
fn replace(mirror: &Counted, control: &[u8]) {
    let path = mirror
        .site
        .mirror()
        .join(format!("{}.zsync", iso(DATES[1])));
    fs_err::remove_file(&path).expect("removed");
    fs_err::write(&path, control).expect("written");
    let dir = mirror.site.mirror().join(CHANNEL).join(DATES[1]);
    let line = |dir: &Utf8Path| {
        let ran = run(tool("sha256sum", ["outputs/iso/bootimage.iso.zsync"]).current_dir(dir)).ok();
        ran.trim_end().to_owned()
    };
    let sums = dir.join("SHA256SUMS");
    let text = fs_err::read_to_string(&sums).expect("sums");
    let lines = text.lines().map(|known| {
        if known.ends_with("/bootimage.iso.zsync") {
            line(&dir)
        } else {
            known.to_owned()
        }
    });
    let text: Vec<_> = lines.collect();
    fs_err::remove_file(&sums).expect("removed");
    fs_err::write(&sums, text.join("\n") + "\n").expect("written");
}

#[test]
fn a_false_control_file_causes_a_complete_download() {
    let (old, new) = (image(1, 160), image(2, 160));
    let mirror = Counted::new(&[&old, &new], "");
    let path = mirror
        .site
        .mirror()
        .join(format!("{}.zsync", iso(DATES[1])));
    let good = fs_err::read(path).expect("a control file");
    let end = good
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .expect("an end");
    let (header, sums) = good.split_at(end + 2);
    let header = str::from_utf8(header).expect("text").to_owned();
    let length = format!("Length: {}\n", new.len());
    let with = |from: &str, to: &str, sums: &[u8]| {
        assert!(header.contains(from), "{header}");
        [header.replace(from, to).as_bytes(), sums].concat()
    };
    let entry = sums.len() / new.len().div_ceil(2048);
    // The sums of blocks that the seed has, in another order: every block is found, but at a wrong place.
    let swapped: Vec<u8> = sums.chunks(4 * entry).rev().flatten().copied().collect();
    let longer = format!("Length: {}\n", new.len() + 100 * 2048);
    let more = [sums, &sums[..100 * entry]].concat();
    let fewer = format!("Length: {}\n", new.len() - 100 * 2048);
    for (control, said) in [
        (b"nothing of the kind".to_vec(), "has no header"),
        (
            with(&length, "Length: 18446744073709551615\n", sums),
            "too many blocks",
        ),
        (with(&length, "Length: 8589934592\n", sums), "bytes of sums"),
        (
            with("Blocksize: 2048", "Blocksize: 3", sums),
            "power of two",
        ),
        (
            with("Blocksize: 2048", "Blocksize: 16777216", sums),
            "bytes of sums",
        ),
        (
            with("Hash-Lengths: 2,", "Hash-Lengths: 9,", sums),
            "three numbers",
        ),
        (with("URL", "Z-URL", sums), "compressed"),
        (
            with("zsync: ", "\u{1b}]0;x\u{7}: 1\nzsync: ", sums),
            "does not know",
        ),
        (with("URL", "URL", &swapped), ""),
        (with(&length, &longer, &more), "its control file says"),
        (
            with(&length, &fewer, &sums[..sums.len() - 100 * entry]),
            "its control file says",
        ),
        (vec![b'x'; 65 << 20], "more than the"),
    ] {
        replace(&mirror, &control);
        let to = mirror.site.to("here");
        fs_err::write(to.join("bootimage.iso"), &old).expect("written");
        let ran = run(&mut fetch(&mirror.url(), &build(1), &to)).code(0);
        is_there(&to, &new);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
        assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
    }
}

#[test]
fn a_control_file_that_the_sums_do_not_name_is_not_read() {
    let (old, new) = (image(1, 160), image(2, 160));
    let mirror = Counted::new(&[&old, &new], "");
    let path = mirror
        .site
        .mirror()
        .join(format!("{}.zsync", iso(DATES[1])));
    let mut control = fs_err::read(&path).expect("a control file");
    *control.last_mut().expect("a byte") ^= 1;
    fs_err::remove_file(&path).expect("removed");
    fs_err::write(&path, control).expect("written");
    let to = mirror.site.to("here");
    fs_err::write(to.join("bootimage.iso"), &old).expect("written");
    let ran = run(&mut fetch(&mirror.url(), &build(1), &to)).code(0);
    is_there(&to, &new);
    assert!(
        ran.stderr.contains("not the one that SHA256SUMS names"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_server_without_ranges_sends_the_file_once() {
    let (mirror, new, ran) = next_image("max_ranges 0;");
    assert!(ran.stderr.contains("sends no ranges"), "{}", ran.stderr);
    assert!(number(&ran, "transferred") <= new.len() as u64 * 11 / 10);
    // The image in answer to one byte, which shows its size; the control file; the image in answer to one range; the complete image.
    // Answers to ranges are aborted at once; the data in the buffers of their connections was already sent.
    let answers = mirror.answers();
    let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200; 4], "{answers:?}");
    assert!(mirror.sent() < 3 * new.len() as u64, "{answers:?}");
}
