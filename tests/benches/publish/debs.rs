//! The first publish of real Debian packages, with the lists that apt reads.

use camino::Utf8PathBuf;

use crate::peers::{self, Bench};
use crate::table;

/// The number of packages to fetch if none are given.
const COUNT: usize = 420;

/// Publishes packages with and without the search of their payloads; the peer does not search.
pub(crate) fn first(bench: &Bench, runs: u64) {
    let packages = packages(bench);
    let (mut searched, mut unsearched, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let off = bench.dir.join("off.toml");
    fs_err::write(&off, "[privacy]\npackages = \"off\"\n").expect("written");
    let list = "apt-ftparchive packages . > Packages && gzip -k Packages && xz -k Packages \
                && apt-ftparchive release . > ../Release && mv ../Release .";
    for _ in 0..runs {
        bench.clear();
        searched.push(bench.publish_dir(&packages, "", 1));
        bench.clear();
        unsearched.push(bench.publish_dir(&packages, &format!("--config {off}"), 1));
        theirs.push(bench.time(&format!(
            "rsync -a {packages}/ theirs/1/ && {} && (cd theirs/1/outputs/std/packages && {list}) && sync -f theirs",
            peers::sums("theirs/1")
        )));
    }
    let peer = "rsync, sha256sum, apt-ftparchive, gzip, xz, sync -f";
    let case = "first publish of Debian packages";
    let searched_case = format!("{case}, payloads searched");
    table::row(&searched_case, peer, &searched, &theirs, 0.6);
    let case = format!("{case}, `packages = \"off\"`");
    table::row(&case, peer, &unsearched, &theirs, 0.6);
}

/// A build of packages: those in `STX_DEBS`, or packages that this machine has installed, which are fetched.
fn packages(bench: &Bench) -> Utf8PathBuf {
    let tree = bench.dir.join("debs");
    let dir = tree.join("outputs/std/packages");
    fs_err::create_dir_all(&dir).expect("made");
    let fetch = match std::env::var("STX_DEBS") {
        Ok(given) => format!("cp -L {given}/*.deb {dir}"),
        // The machine may have packages that none of its sources still offers.
        Err(_) => format!(
            "cd {dir} && apt-get -qq -o APT::Sandbox::User=root download \
             $(comm -12 <(dpkg-query -W -f '${{Package}}\\n' | sort -u) \
             <(apt-cache dumpavail | sed -n 's/^Package: //p' | sort -u) | sed -n 1,{COUNT}p)"
        ),
    };
    bench.time(&fetch);
    bench.settle();
    tree
}
