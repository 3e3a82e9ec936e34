//! A mirror whose file system is not mounted: its directory is empty, or does not exist.

use camino::Utf8PathBuf;

use super::{Site, kill};
use crate::harness::run;

/// Removes the mirror from its path, as `umount` does; returns its new path.
fn unmount(site: &Site) -> Utf8PathBuf {
    let (mirror, aside) = (site.at("mirror"), site.at("aside"));
    fs_err::rename(&mirror, &aside).expect("the mirror is there");
    fs_err::create_dir(&mirror).expect("a mount point");
    aside
}

fn mount(site: &Site) {
    fs_err::remove_dir(site.at("mirror")).expect("an empty mount point");
    fs_err::rename(site.at("aside"), site.at("mirror")).expect("the mirror is aside");
}

#[test]
fn without_a_mounted_mirror_nothing_is_built_published_or_read() {
    let site = Site::new();
    run(&mut site.build()).code(0);
    let publish = [
        "publish",
        "--channel=master/centos",
        "--date=20200102T000000Z",
        "--result=success",
        "aside/master/centos/20200101T000000Z",
    ];
    let again = ["build", "--recipe", "recipe.toml", "--force"];
    let aside = unmount(&site);
    for is_there in [true, false] {
        if !is_there {
            fs_err::remove_dir(site.at("mirror")).expect("an empty mount point");
        }
        let planned = [&again[..], &["--dry-run"]].concat();
        for args in [
            &again[..],
            &planned,
            &publish,
            &["list"],
            &["verify"],
            &["pages"],
            &["prune", "--dry-run"],
        ] {
            let refused = run(&mut site.stx(args)).code(4);
            assert!(
                refused.stderr.contains("is its file system mounted?"),
                "{args:?}: {}",
                refused.stderr
            );
            let there = site.at("mirror").read_dir_utf8().into_iter().flatten();
            let names: Vec<_> = there
                .map(|entry| entry.expect("readable").file_name().to_owned())
                .collect();
            assert!(names.is_empty(), "{args:?} made {names:?}");
        }
    }
    fs_err::rename(aside, site.at("mirror")).expect("the mirror is aside");
    run(&mut site.stx(&again)).code(0);
    assert_eq!(site.builds().len(), 2);
    // Following the hint makes a new mirror.
    fs_err::remove_dir_all(site.at("mirror")).expect("the mirror");
    fs_err::remove_file(site.at("mirror.state/mirror")).expect("the note");
    run(&mut site.stx(&again)).code(0);
    assert_eq!(site.builds().len(), 1);
}

#[test]
fn a_build_whose_workspace_is_lost_is_not_published_as_a_failure_of_its_branch() {
    for phase in ["left", "last"] {
        let site = Site::new();
        let mut child = site.held(phase);
        if phase == "last" {
            // All phases have ended, and only the publication is missing.
            unmount(&site);
            site.release(phase);
            assert_eq!(child.wait().expect("it ends").code(), Some(4));
            mount(&site);
        } else {
            kill(&mut child);
            site.release(phase);
        }
        let workspace = site.at("mirror.state/master/centos/work");
        fs_err::rename(&workspace, site.at("work")).expect("a workspace");
        for lost in ["removed", "emptied"] {
            if lost == "emptied" {
                fs_err::create_dir(&workspace).expect("a directory");
            }
            let refused = site.resume(&[]).code(2);
            let words = format!("its workspace {workspace} was {lost}");
            assert!(refused.stderr.contains(&words), "{}", refused.stderr);
            assert!(refused.stderr.contains("run `build`"), "{}", refused.stderr);
        }
        assert!(site.builds().is_empty(), "{phase}: {:?}", site.builds());
        let again = run(&mut site.build()).code(0);
        assert!(again.stderr.contains("is abandoned for a new build"));
        assert_eq!(site.record()["result"], "success", "{phase}");
    }
}

#[test]
fn a_build_is_published_after_its_mirror_is_mounted_again() {
    let site = Site::new();
    let child = site.held("last");
    unmount(&site);
    site.release("last");
    let output = child.wait_with_output().expect("it ended");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("is its file system mounted?"), "{stderr}");
    mount(&site);
    site.resume(&[]).code(0);
    assert_eq!(site.builds(), ["20200101T000000Z"]);
    assert_eq!(site.record()["result"], "success");
}
