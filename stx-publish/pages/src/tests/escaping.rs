//! Texts and names of builds on the pages: shown, and never executed.

use super::*;

#[tokio::test]
async fn texts_of_a_build_are_escaped() {
    let (store, site) = example().await;
    refresh(&store, &site).await.expect("pages");
    let of_build = PageName::HtmlOf(sample_id(2).date);
    for name in [PageName::IndexHtml, PageName::Feed, of_build] {
        let html = text(&store, &channel_page(name)).await;
        assert!(!html.contains("<b>"), "{name:?}");
        assert!(!html.contains('\u{1b}'), "{name:?}");
    }
}

#[tokio::test]
async fn links_contain_no_character_that_a_server_may_interpret() {
    let store = MemoryStore::new();
    let mut request = sample_request(1, BuildOutcome::Success, "day 1");
    let id = &mut request.record.id;
    id.channel = "feature/c++ ^x/centos".parse().expect("a channel");
    let channel = id.channel.clone();
    request.tree.incoming_mut().entries.insert(
        "outputs/iso/boot+^ #1.iso".parse().expect("a path"),
        Entry::Generated("an image".into()),
    );
    let plan = prepare(&store, request).await.expect("a plan");
    publish(&store, &plan).await.expect("published");
    let site = Site {
        url: Some("https://mirror.example.org/a+b/".to_owned()),
        ..Site::default()
    };
    refresh(&store, &site).await.expect("pages");
    let page = |channel: Option<&Channel>, name| PageId {
        channel: channel.cloned(),
        name,
    };
    for (page, links) in [
        (
            page(None, PageName::IndexHtml),
            &[
                "href=\"feature/c%2B%2B%20%5Ex/centos/index.html\"",
                "href=\"feature/c%2B%2B%20%5Ex/centos/20181101T060000Z.html\"",
                "/outputs/iso/boot%2B%5E%20%231.iso\"",
            ][..],
        ),
        (
            page(Some(&channel), PageName::IndexHtml),
            &[
                "href=\"20181101T060000Z/outputs/iso/boot%2B%5E%20%231.iso\"",
                "stx-builds fetch &#39;feature/c++ ^x/centos&#39; iso --mirror https://mirror.example.org/a+b/",
            ],
        ),
        (
            page(
                Some(&channel),
                PageName::HtmlOf("20181101T060000Z".parse().expect("a date")),
            ),
            &[
                "href=\"20181101T060000Z/outputs/iso/boot%2B%5E%20%231.iso\"",
                "curl -fsS &#39;https://mirror.example.org/a+b/feature/c%2B%2B%20%5Ex/centos/20181101T060000Z/SHA256SUMS&#39; |",
                "stx-builds fetch &#39;feature/c++ ^x/centos/20181101T060000Z&#39; iso --mirror https://mirror.example.org/a+b/",
            ],
        ),
        (
            page(Some(&channel), PageName::Feed),
            &[
                "<id>urn:stx-builds:feature/c%2B%2B%20%5Ex/centos/20181101T060000Z</id>",
                "href=\"https://mirror.example.org/a+b/feature/c%2B%2B%20%5Ex/centos/20181101T060000Z.html\"",
            ],
        ),
    ] {
        let text = text(&store, &page).await;
        for link in links {
            assert!(text.contains(link), "{link} is not in {text}");
        }
        let hrefs = text.split("href=\"").skip(1);
        for href in hrefs.filter_map(|rest| rest.split('"').next()) {
            let href = href.trim_start_matches("https://mirror.example.org/a+b/");
            assert!(!href.contains(['+', '^', ' ']), "{href}");
        }
    }
}

#[tokio::test]
async fn hostile_texts_are_shown_without_effect() {
    let store = MemoryStore::new();
    let mut request = sample_request(1, BuildOutcome::Success, "day 1");
    let evil = "<script>alert(\"1\")</script>'&\u{1b}[31m";
    let entries = &mut request.tree.incoming_mut().entries;
    let commit = "0".repeat(40);
    for (path, bytes) in [
        (
            "outputs/helm-charts/<img src=x onerror=alert(1)> &'.tgz",
            "a chart".to_owned(),
        ),
        (
            "outputs/CHANGELOG",
            format!("git/{evil} {commit} 2018-11-01T00:00:00Z {evil} {evil}\nno commit: {evil}\n"),
        ),
    ] {
        entries.insert(
            path.parse().expect("a path"),
            Entry::Generated(bytes.into()),
        );
    }
    let record = &mut request.record;
    for text in [&mut record.trigger, &mut record.branch, &mut record.recipe] {
        *text = Some(evil.to_owned());
    }
    record.missing_deliverables = vec![evil.to_owned()];
    record.named_images = vec![evil.to_owned()];
    record.images = vec![ImageRecord {
        name: evil.to_owned(),
        digest: Sha256([7; 32]),
        platform: Some(evil.to_owned()),
        size: Some(1),
    }];
    record.phases = vec![PhaseRecord {
        name: evil.to_owned(),
        status: PhaseStatus::TimedOut,
        required: false,
        attempts: 1,
        started: Some(record.id.date.time()),
        finished: Some(record.id.date.time()),
        reason: Some(evil.to_owned()),
    }];
    record.origin = Some(Origin::Adopted {
        at: record.id.date.time(),
        evidence: vec![evil.to_owned()],
    });
    let id = record.id.clone();
    let plan = prepare(&store, request).await.expect("a plan");
    publish(&store, &plan).await.expect("published");
    let mut site = Site {
        title: evil.to_owned(),
        ..Site::default()
    };
    site.about.insert(ReleaseKind::Master, evil.to_owned());
    let stay = Stay {
        until: None,
        reasons: vec![evil.to_owned()],
    };
    site.stays.insert(id.clone(), stay);
    refresh(&store, &site).await.expect("pages");
    let root = PageId {
        channel: None,
        name: PageName::IndexHtml,
    };
    for page in [
        root,
        channel_page(PageName::IndexHtml),
        channel_page(PageName::Feed),
        channel_page(PageName::HtmlOf(id.date)),
    ] {
        let html = text(&store, &page).await;
        assert!(!html.contains('\u{1b}'), "{html}");
        assert!(!html.contains("<img"), "{html}");
        // The scripts of the page itself have no attributes and no `alert`.
        assert!(!html.contains("<script>alert"), "{html}");
        assert!(
            html.contains("&#60;script&#62;alert(&#34;1&#34;)"),
            "{html}"
        );
    }
}
