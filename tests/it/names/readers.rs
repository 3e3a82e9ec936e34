//! The names of a mirror behind a real web server.

use camino::Utf8Path;

use super::{FIRST, image, publish};
use crate::harness::{run, stx, tool};

/// Publishes a release to the mirror in a directory, with the name that the specification gives it.
pub(crate) fn add_release(mirror: &Utf8Path, tree: &Utf8Path) {
    let stx = |args: &[&str]| run(stx(["--mirror", mirror.as_str()]).args(args));
    publish(tree, FIRST, stx, 5);
    stx(&["alias", "set", "r2018.10", "release/2018.10"]).ok();
}

/// The answer of a server to a URL.
fn curl(url: &str) -> String {
    let args = ["--silent", "--show-error", "--fail", "--noproxy", "*", url];
    run(&mut tool("curl", args)).ok()
}

/// Every name leads plain readers and `fetch` to the newest build; `url` ends with a slash.
pub(crate) fn leads(url: &str, to: &Utf8Path) {
    for path in [
        "r2018.10/centos/latest_build/outputs/iso/bootimage.iso",
        "release/latest_release/centos/latest_build/outputs/iso/bootimage.iso",
        "release/2018.10/centos/outputs/iso/bootimage.iso",
        "release/latest_release/centos/outputs/iso/bootimage.iso",
        "r2018.10/centos/outputs/iso/bootimage.iso",
    ] {
        assert_eq!(curl(&format!("{url}{path}")), image(FIRST, 5), "{path}");
    }
    fetches(url, to);
}

/// Our own reader follows the names.
pub(crate) fn fetches(url: &str, to: &Utf8Path) {
    for (n, name) in ["r2018.10/centos", "release/latest_release/centos", FIRST]
        .into_iter()
        .enumerate()
    {
        let to = to.join(n.to_string());
        let args = ["--mirror", url, "fetch", name, "iso", "--to", to.as_str()];
        run(&mut stx(args)).ok();
        let fetched = fs_err::read_to_string(to.join("bootimage.iso")).expect("an image");
        assert_eq!(fetched, image(FIRST, 5), "{name}");
    }
}
