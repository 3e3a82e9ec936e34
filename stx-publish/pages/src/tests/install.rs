//! The files for `apt` and `dnf`.

use stx_publish::conformance::{sample_control, sample_deb};

use super::*;

#[tokio::test]
async fn files_for_apt_and_dnf_point_to_the_newest_build() {
    let store = MemoryStore::new();
    let put = async |day: u32, with_packages: bool| {
        let mut request = sample_request(day, BuildOutcome::Success, "text");
        let package = Entry::Generated(sample_deb(&sample_control("a", "1")));
        if with_packages {
            for name in [
                "outputs/std/packages/a.deb",
                "outputs/RPMS/std/a.rpm",
                "inputs/packages/a.deb",
            ] {
                let entries = &mut request.tree.incoming_mut().entries;
                entries.insert(name.parse().expect("a path"), package.clone());
            }
        }
        let plan = prepare(&store, request).await.expect("a plan");
        publish(&store, &plan).await.expect("published");
    };
    put(1, true).await;
    let mut site = Site::default();
    let page = |name| PageId {
        channel: Some(sample_id(1).channel),
        name,
    };
    let (apt, dnf) = (page(PageName::AptSources), page(PageName::DnfRepo));
    refresh(&store, &site).await.expect("pages");
    assert_eq!(
        store.page(&apt).await.expect("read"),
        None,
        "no URL is known"
    );
    site.url = Some("https://mirror.example.org/a+b/".to_owned());
    refresh(&store, &site).await.expect("pages");
    assert_eq!(
        text(&store, &apt).await,
        "# Packages of the newest good build of master/centos\nTypes: deb\nURIs: \
         https://mirror.example.org/a+b/master/centos/latest_build/outputs/std/packages\nSuites: /\nTrusted: yes\n"
    );
    assert_eq!(
        text(&store, &dnf).await,
        "# Packages of the newest good build of master/centos\n[master-centos-outputs-RPMS-std]\nname=StarlingX master/centos, \
         outputs/RPMS/std\nbaseurl=https://mirror.example.org/a+b/master/centos/latest_build/outputs/RPMS/std\nenabled=1\ngpgcheck=0\n"
    );
    let html = text(&store, &page(PageName::IndexHtml)).await;
    for link in [
        "href=\"apt.sources\"",
        "href=\"dnf.repo\"",
        "--add-repo https://mirror.example.org/a+b/master/centos/dnf.repo",
    ] {
        assert!(html.contains(link), "{link}: {html}");
    }
    // The files of a build name its directory; they exist before the index names them, and are removed with the build.
    let of = |day| sample_id(day).date;
    let of_build = page(PageName::AptSourcesOf(of(1)));
    assert_eq!(
        text(&store, &of_build).await,
        "# Packages of master/centos/20181101T060000Z\nTypes: deb\nURIs: \
         https://mirror.example.org/a+b/master/centos/20181101T060000Z/outputs/std/packages\nSuites: /\nTrusted: yes\n"
    );
    let repo = text(&store, &page(PageName::DnfRepoOf(of(1)))).await;
    assert!(
        repo.starts_with("# Packages of master/centos/20181101T060000Z\n[master-centos-20181101T060000Z-outputs-RPMS-std]\n"),
        "{repo}"
    );
    let html = text(&store, &page(PageName::HtmlOf(of(1)))).await;
    for line in [
        "href=\"20181101T060000Z.sources\"",
        "--add-repo https://mirror.example.org/a+b/master/centos/20181101T060000Z.repo",
    ] {
        assert!(html.contains(line), "{line}: {html}");
    }
    // A changed file is repaired by a thorough refresh, and by one with another URL.
    let about = page(PageName::HtmlOf(of(1)));
    let pages = store.lock_pages().await.expect("the lock");
    for page in [&of_build, &about] {
        pages.write(page, Bytes::from("x")).await.expect("written");
    }
    drop(pages);
    assert_eq!(
        refresh(&store, &site).await.expect("pages"),
        Refreshed::default()
    );
    site.thorough = true;
    let done = refresh(&store, &site).await.expect("pages");
    assert_eq!(done.written, [of_build.clone(), about.clone()]);
    site.thorough = false;
    site.url = Some("https://other.example.org".to_owned());
    refresh(&store, &site).await.expect("pages");
    assert!(
        text(&store, &of_build)
            .await
            .contains("URIs: https://other.example.org/master/")
    );
    // If the newest build has no packages, there is nothing to install.
    put(2, false).await;
    let done = refresh(&store, &site).await.expect("pages");
    assert_eq!(done.removed, [apt.clone(), dnf.clone()]);
    assert_eq!(store.page(&dnf).await.expect("read"), None);
}
