//! The commands on the page of a build, pasted unchanged into a shell.

use camino::Utf8Path;

use super::key::Key;
use super::{CHANNEL, DATES, Signed, change};
use crate::harness::{Ran, binary, run, tool};

/// The commands of a page, as a browser copies them.
fn commands(html: &str) -> Vec<String> {
    let parts = html.split("<pre class=\"command\" data-mirror>").skip(1);
    let texts = parts.filter_map(|part| part.split("</pre>").next());
    let copied = texts.map(|text| {
        let mut text = text.to_owned();
        for (escaped, plain) in [
            ("&#39;", "'"),
            ("&#34;", "\""),
            ("&#60;", "<"),
            ("&#62;", ">"),
            ("&#38;", "&"),
        ] {
            text = text.replace(escaped, plain);
        }
        text
    });
    copied.collect()
}

/// A reader with a shell, a home of its own, and `stx-builds`.
fn paste(dir: &Utf8Path, line: &str) -> Ran {
    let home = dir.join("home");
    fs_err::create_dir_all(home.join(".gnupg")).expect("a directory");
    run(tool("chmod", ["700", home.join(".gnupg").as_str()]).current_dir(dir)).ok();
    let program = binary();
    let programs = program.parent().expect("a directory");
    let path = std::env::var("PATH").expect("PATH");
    let mut shell = tool("sh", ["-c", line]);
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        shell.env_remove(proxy);
    }
    run(shell
        .current_dir(dir)
        .env("HOME", &home)
        .env("GNUPGHOME", home.join(".gnupg"))
        .env("XDG_STATE_HOME", home.join("state"))
        .env("PATH", format!("{programs}:{path}")))
}

#[test]
fn the_commands_that_check_a_download_work_when_pasted() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = Signed::new(&key.signing());
    signed.publish(DATES[0]).ok();
    let nginx = signed.serve();
    let url = nginx.url("");
    signed.configure(&format!("{}\n[site]\nurl = \"{url}\"", key.signing()));
    signed.stx(&["pages"]).ok();
    let build = format!("{CHANNEL}/{}", DATES[0]);
    let reader = signed.at("downloads");
    fs_err::create_dir_all(&reader).expect("a directory");
    let curl = |path: &str| paste(&reader, &format!("curl -fsS {}", nginx.url(path)));
    let page = curl(&format!("{build}.html")).ok();
    let lines = commands(&page);
    let [sums, signature, fetch, install] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(install.contains("config-manager"), "{install}");

    // Nothing was downloaded yet, so nothing can be verified.
    assert_ne!(paste(&reader, sums).code, Some(0));
    let image = reader.join("bootimage.iso");
    let bytes = curl(&format!("{build}/outputs/iso/bootimage.iso")).ok();
    fs_err::write(&image, bytes).expect("an image");
    assert_eq!(paste(&reader, sums).ok(), "bootimage.iso: OK\n");
    let before = change(&image);
    let wrong = paste(&reader, sums).code(1);
    assert!(
        wrong.stdout.contains("bootimage.iso: FAILED"),
        "{}",
        wrong.stdout
    );

    let good = paste(&reader, signature).code(0);
    assert!(good.stderr.contains("Good signature"), "{}", good.stderr);
    let of_build = signed.mirror(&format!("{build}/SHA256SUMS"));
    let right = change(&of_build);
    let bad = paste(&reader, signature).code(1);
    assert!(bad.stderr.contains("BAD signature"), "{}", bad.stderr);
    // The keyring is the one that the previous command stored.
    fs_err::remove_file(&image).expect("removed");
    paste(&reader, fetch).code(4);
    fs_err::write(&of_build, right).expect("written");
    paste(&reader, fetch).code(0);
    assert_eq!(fs_err::read(&image).expect("an image"), before);
}

#[test]
fn without_a_signature_the_page_names_no_key() {
    let signed = Signed::new("");
    let nginx = signed.serve();
    signed.configure(&format!("[site]\nurl = \"{}\"", nginx.url("")));
    fs_err::remove_dir_all(signed.at("tree/outputs/iso")).expect("removed");
    signed.publish(DATES[0]).ok();
    let page = signed.mirror(&format!("{CHANNEL}/{}.html", DATES[0]));
    let lines = commands(&fs_err::read_to_string(page).expect("a page"));
    let [sums, fetch, _] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(!fetch.contains("keyring"), "{fetch}");
    // Without an image, files have the same paths as in the build.
    let reader = signed.at("downloads");
    fs_err::create_dir_all(&reader).expect("a directory");
    paste(&reader, fetch).code(0);
    let tree = signed.at("like-the-build");
    let rpm = "outputs/RPMS/std/message-1-1.noarch.rpm";
    let to = tree.join(rpm);
    fs_err::create_dir_all(to.parent().expect("a parent")).expect("a directory");
    let from = signed.mirror(&format!("{CHANNEL}/{}/{rpm}", DATES[0]));
    fs_err::copy(from, to).expect("copied");
    assert_eq!(paste(&tree, sums).ok(), format!("{rpm}: OK\n"));
}
