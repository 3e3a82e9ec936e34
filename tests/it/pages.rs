//! The catalog pages in a real browser, served by nginx from files only.

use serde_json::{Value, json};
use stx_layout::{After, BuildId, BuildOutcome, Sha256};
use stx_pages::{
    Dashboard, ShownAlarm, ShownBuild, ShownChannel, ShownPhase, ShownRequest, ShownResult,
};
use stx_publish::conformance::sample_request;
use stx_publish::local::LocalStore;
use stx_publish::{prepare, publish};

use crate::harness::{Ran, root, run, stx, tool};
use crate::site::{CHANNEL, DATES, Site, noise};

mod browser;

use browser::Browser;

/// Width and height of a phone and of a desktop, in CSS pixels.
const SIZES: [(&str, u64, u64); 2] = [("phone", 390, 844), ("desktop", 1280, 900)];

fn site() -> Site {
    let site = Site::new(&[&noise(7, 3 << 20), &noise(8, 4 << 20)]);
    site.publish_to(CHANNEL, "20200103T000000Z", "fail", b"an image");
    site.publish_to(
        "feature/x/centos",
        "20200101T000000Z",
        "success",
        &noise(9, 9 << 20),
    );
    site.publish_to("rc/3.0/centos", "20200101T000000Z", "fail", b"an image");
    site
}

/// Adds layers: a chain that is deeper than a phone is wide if each list were indented, two channels upon one, one that is behind,
/// and one whose build below is not on the mirror.
fn add_layers(site: &Site) {
    let store = LocalStore::open(site.mirror()).expect("a mirror");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let put = |layer: &str, day: u32, below: Option<(&str, u32)>| {
        let id = |layer: &str, day: u32| -> BuildId {
            let id = format!("feature/layers/centos/{layer}/202001{day:02}T000000Z");
            id.parse().expect("a build")
        };
        let mut request = sample_request(1, BuildOutcome::Success, layer);
        request.record.id = id(layer, day);
        request.now = request.record.id.date.time();
        request.record.after = below.map(|(below, day)| After {
            build: id(below, day),
            sums: Sha256([7; 32]),
        });
        runtime.block_on(async {
            let plan = prepare(&store, request).await.expect("a plan");
            publish(&store, &plan).await.expect("published");
        });
    };
    put("compiler", 1, None);
    put("distro", 1, Some(("compiler", 1)));
    put("flock", 1, Some(("distro", 1)));
    put("distro", 2, Some(("compiler", 1)));
    put("containers", 2, Some(("distro", 2)));
    put("apart", 2, Some(("elsewhere", 2)));
    let mut below = "containers".to_owned();
    for number in 1..=12 {
        let layer = format!("layer{number}");
        put(&layer, 3, Some((&below, if number == 1 { 2 } else { 3 })));
        below = layer;
    }
    run(&mut stx(["--mirror", site.mirror().as_str(), "pages"])).ok();
}

/// The text of each channel in the layers, by the number of lists around it, without style sheet and script.
const LAYERS: &str = "return [...document.querySelectorAll('.layers li')].map(it => { let depth = 0;\
    for (let up = it.parentElement; up; up = up.parentElement) { depth += up.tagName === 'UL' ? 1 : 0; }\
    let copy = it.cloneNode(true); copy.querySelectorAll('ul').forEach(it => it.remove());\
    return depth + ' ' + copy.textContent.trim().split(/\\s+/).join(' '); });";

#[test]
fn the_layers_are_readable_without_scripts_and_colours() {
    let site = site();
    add_layers(&site);
    let nginx = site.serve("");
    let browser = Browser::start();
    browser.open(&nginx.url(""));
    let found = browser.script(LAYERS, &[]);
    let found: Vec<_> = list(&found).into_iter().take(6).collect();
    let of = |layer: &str| format!("feature/layers/centos/{layer}");
    assert_eq!(found[0], format!("1 {}", of("compiler")));
    let line = |depth: u32, layer: &str, state: &str, own: &str, below: &str, day: &str| {
        format!(
            "{depth} {} {state} 2020-01-{own} 00:00 UTC built upon {} of 2020-01-{day} 00:00 UTC",
            of(layer),
            of(below)
        )
    };
    assert_eq!(
        found[1],
        line(2, "distro", "up to date", "02", "compiler", "01")
    );
    assert_eq!(
        found[2],
        line(3, "containers", "up to date", "02", "distro", "02")
    );
    assert_eq!(
        found[3],
        line(4, "layer1", "up to date", "03", "containers", "02")
    );
    let found = browser.script(LAYERS, &[]);
    let found = list(&found);
    assert!(
        found.contains(&&*line(3, "flock", "behind", "01", "distro", "01")),
        "{found:#?}"
    );
    let apart = line(2, "apart", "behind", "02", "elsewhere", "02");
    assert!(
        found.contains(&&*format!("{apart}, which is not on this mirror")),
        "{found:#?}"
    );
    assert!(
        found.contains(&&*format!("1 {} not on this mirror", of("elsewhere"))),
        "{found:#?}"
    );
    // Each link leads to a page.
    let links = browser.script(
        "return [...document.querySelectorAll('.layers a')].map(it => it.href);",
        &[],
    );
    let links = list(&links);
    assert!(links.len() > 30, "{links:#?}");
    for link in links {
        run(&mut tool(
            "curl",
            ["--silent", "--fail", "--output", "/dev/null", link],
        ))
        .ok();
    }
    browser.no_errors();
}

/// A channel and a file with names of maximal length, without a place for a line break.
const LONG: &str =
    "feature/a_branch_whose_name_is_longer_than_a_phone_is_wide/debian/bookworm/amd64/monolithic";

fn add_long_names(site: &Site) {
    let charts = site.dir.path().join("tree/outputs/helm-charts");
    fs_err::create_dir_all(&charts).expect("a directory");
    fs_err::write(charts.join("x".repeat(200)), "a chart").expect("a file");
    site.publish_to(LONG, "20200101T000000Z", "success", &noise(3, 1 << 20));
}

/// The elements that extend beyond the window, or whose content does not fit.
const TOO_WIDE: &str = "return [...document.querySelectorAll('body *')].filter(it => !it.closest('.hidden, .skip, svg') &&\
    (it.getBoundingClientRect().right > innerWidth + 1 || it.scrollWidth > it.clientWidth + 1 && it.clientWidth > 0 &&\
    getComputedStyle(it).display !== 'inline')).map(it => it.outerHTML.slice(0, 200));";

fn list(found: &Value) -> Vec<&str> {
    let found = found.as_array().expect("an array");
    found
        .iter()
        .map(|text| text.as_str().expect("text"))
        .collect()
}

/// The text of the first cells of the rows that are shown.
const SHOWN: &str = "return [...document.querySelectorAll('tbody tr')].filter(row => row.checkVisibility())\
    .map(row => row.cells[0].innerText.trim().split('\\n')[0]);";

#[test]
fn a_page_can_be_filtered_and_sorted_and_leads_to_the_image() {
    let site = site();
    let nginx = site.serve("");
    let browser = Browser::start();
    browser.open(&nginx.url(""));
    assert_eq!(
        browser.script("return document.title;", &[]),
        "StarlingX builds"
    );
    let shown = browser.script(SHOWN, &[]);
    assert_eq!(
        list(&shown),
        ["master/centos", "rc/3.0/centos", "feature/x/centos"]
    );

    browser.keys("input[type=search]", "master");
    assert_eq!(list(&browser.script(SHOWN, &[])), ["master/centos"]);
    assert_eq!(
        browser.script("return document.querySelector('output').textContent;", &[]),
        "1 of 3 shown"
    );
    browser.click("section:not([hidden]) tbody tr:not([hidden]) th a");
    assert_eq!(
        browser.address(),
        nginx.url(&format!("{CHANNEL}/index.html"))
    );

    let first = browser.script(SHOWN, &[]);
    assert_eq!(list(&first).len(), 3);
    let (mut back, newest) = (list(&first), list(&first)[0]);
    assert!(newest.contains("2020-01-03"), "{newest}");
    back.reverse();
    browser.click("thead th:first-child button");
    assert_eq!(list(&browser.script(SHOWN, &[])), back);
    assert_eq!(
        browser.script("return document.querySelector('thead th').ariaSort;", &[]),
        "ascending"
    );
    browser.click("thead th:first-child button");
    assert_eq!(list(&browser.script(SHOWN, &[])), list(&first));
    browser.script(
        "let field = document.querySelector('select'); field.value = 'fail';\
         field.dispatchEvent(new Event('input', {bubbles: true}));",
        &[],
    );
    assert_eq!(list(&browser.script(SHOWN, &[])), [newest]);

    // The image behind the link has the displayed digest, and is in a dated build.
    let found = browser.script_later(
        "let link = document.querySelector('.get a'), done = arguments[0];\
         fetch(link.href).then(got => got.arrayBuffer()).then(bytes => crypto.subtle.digest('SHA-256', bytes))\
         .then(sum => done({href: link.href, said: document.querySelector('main').innerText,\
           sum: [...new Uint8Array(sum)].map(byte => byte.toString(16).padStart(2, '0')).join('')}))\
         .catch(error => done({error: String(error)}));",
        &[],
    );
    let (href, sum) = (
        found["href"].as_str().expect("a link"),
        found["sum"].as_str().expect("a sum"),
    );
    assert_eq!(
        href,
        nginx.url(&format!("{CHANNEL}/{}/outputs/iso/bootimage.iso", DATES[1]))
    );
    assert!(
        found["said"].as_str().expect("text").contains(sum),
        "{found}"
    );
    browser.click("nav a");
    assert_eq!(browser.address(), nginx.url("index.html"));
    browser.no_errors();
}

/// The dashboard of a busy service, or of one whose names and texts have maximal length.
fn dashboard(long: bool) -> String {
    use chrono::{TimeDelta, TimeZone as _, Utc};
    let begin = Utc.with_ymd_and_hms(2020, 1, 3, 0, 0, 0).single();
    let begin = begin.expect("a time");
    let at = |hour| begin + TimeDelta::hours(hour);
    let text = |text: &str| {
        if long {
            "x".repeat(300)
        } else {
            text.to_owned()
        }
    };
    let channel = || if long { LONG } else { CHANNEL }.to_owned();
    let phase = |name: &str, over: bool, failed: bool| ShownPhase {
        name: text(name),
        state: match (failed, over) {
            (true, _) => "failed",
            (false, true) => "succeeded",
            (false, false) => "running",
        }
        .to_owned(),
        failed,
        over,
        took: Some(TimeDelta::minutes(30)),
        past: Some(TimeDelta::minutes(60)),
    };
    let result = |class, failed: bool| ShownResult {
        class,
        words: text("2020-01-02 00:00 UTC: fail in 7 s: phase image failed"),
        log: if failed {
            vec![text("it breaks here")]
        } else {
            Vec::new()
        },
    };
    stx_pages::dashboard(&Dashboard {
        version: "1.2.3".to_owned(),
        mirror: text("/srv/mirror"),
        started: at(0),
        written: at(2),
        refresh: 30,
        alarms: vec![ShownAlarm {
            kind: "stale".to_owned(),
            subject: channel(),
            since: at(1),
            text: text("the newest success is from 3 days ago"),
            remedy: text("Run `stx-builds history`."),
        }],
        running: vec![ShownBuild {
            request: 7,
            name: channel(),
            started: at(1),
            past: Some(TimeDelta::hours(3)),
            phases: vec![
                phase("sync", true, false),
                phase("compile", false, false),
                phase("image", true, true),
            ],
        }],
        queue: vec![ShownRequest {
            request: 9,
            name: channel(),
            since: at(1),
            reasons: text("manual: please"),
        }],
        channels: vec![ShownChannel {
            name: channel(),
            next: Some(at(30)),
            results: (0..20)
                .map(|number| match number % 3 {
                    0 => result("ok", false),
                    1 => result("bad", true),
                    _ => result("off", false),
                })
                .collect(),
        }],
        disks: vec![("/srv".to_owned(), 1 << 30, 1 << 40)],
        forecast: (0..30).map(|day| (at(24 * day), 1 << (day + 10))).collect(),
        full: Some(at(24 * 25)),
    })
}

#[test]
fn the_pages_are_accessible_at_any_width_and_in_both_colour_schemes() {
    let site = site();
    add_layers(&site);
    add_long_names(&site);
    for (name, long) in [("dashboard", false), ("long-dashboard", true)] {
        let file = site.mirror().join(format!("{name}.html"));
        fs_err::write(file, dashboard(long)).expect("a page");
    }
    let nginx = site.serve("");
    let browser = Browser::start();
    let (long, long_build) = (
        format!("{LONG}/index.html"),
        format!("{LONG}/20200101T000000Z.html"),
    );
    for (page, path) in [
        ("root", "index.html"),
        ("channel", "master/centos/index.html"),
        ("build", "master/centos/20200102T000000Z.html"),
        ("dashboard", "dashboard.html"),
        ("long-dashboard", "long-dashboard.html"),
        ("long-channel", &*long),
        ("long-build", &*long_build),
    ] {
        for (size, width, height) in SIZES {
            for scheme in ["light", "dark"] {
                let shown = format!("{page}-{size}-{scheme}");
                browser.look(width, height, scheme);
                browser.open(&nginx.url(path));
                let wide = browser.script("return document.documentElement.scrollWidth;", &[]);
                assert!(
                    wide.as_u64().expect("a width") <= width,
                    "{shown}: {wide} wide"
                );
                let found = browser.script(TOO_WIDE, &[]);
                assert_eq!(found, json!([]), "{shown}: {found:#}");
                // The checks take seconds, and give the same result on another page of the same form.
                if page.starts_with("long") {
                    continue;
                }
                let mut found = browser.axe();
                if page == "dashboard" {
                    // It is displayed on a wall, and must reload by itself.
                    let found = found.as_array_mut().expect("an array");
                    found.retain(|it| it["rule"] != "meta-refresh");
                }
                assert_eq!(found, json!([]), "{shown}: {found:#}");
                if std::env::var_os("STX_TEST_SCREENSHOTS").is_some() {
                    let dir = root().join("target/screenshots");
                    fs_err::create_dir_all(&dir).expect("a directory");
                    browser.screenshot(&dir.join(format!("{shown}.png")));
                }
            }
        }
    }
    // The check can fail: a picture without a text.
    browser.script("document.body.append(document.createElement('img'));", &[]);
    assert!(browser.axe().to_string().contains("image-alt"));
    browser.no_errors();
}

#[test]
fn tidy_finds_no_mistake_in_the_pages() {
    let site = site();
    add_layers(&site);
    add_long_names(&site);
    let mut pages = 0;
    for entry in walkdir::WalkDir::new(site.mirror()) {
        let entry = entry.expect("a readable tree");
        let path = entry.path().to_str().expect("UTF-8");
        if entry.path().extension().is_some_and(|it| it == "html") {
            pages += 1;
            // A script fills an `<output>`.
            let args = ["-quiet", "-errors", "--drop-empty-elements", "no", path];
            let judged = run(&mut tool("tidy", args)).code(0);
            assert_eq!(judged.stderr, "", "{path}");
        }
    }
    assert_eq!(pages, 1 + (4 + 17) + (6 + 18));
    for long in [false, true] {
        let file = site.dir.path().join("dashboard.html");
        fs_err::write(&file, dashboard(long)).expect("a file");
        let judged = run(&mut tool("tidy", ["-quiet", "-errors", file.as_str()])).code(0);
        assert_eq!(judged.stderr, "");
    }
    let listing = stx_pages::listing("/a & b/20200101T000000Z/", &[]);
    let file = site.dir.path().join("listing.html");
    fs_err::write(&file, listing + "<p>").expect("a file");
    let judged = run(&mut tool("tidy", ["-quiet", "-errors", file.as_str()]));
    assert!(
        judged.stderr.contains("<p>"),
        "it does see something: {}",
        judged.stderr
    );
}

/// A copy that is killed before its last step has copied everything but made no pages.
#[test]
fn missing_pages_are_found_and_made() {
    let site = Site::new(&[b"an image"]);
    let (from, to) = (site.mirror(), site.dir.path().join("copy"));
    let config = site.dir.path().join("no-pages.toml");
    fs_err::write(&config, "[site]\nenabled = false\n").expect("a configuration");
    let copy = |more: &[&str]| {
        let mut command = stx(["copy", from.as_str(), to.as_str(), "--format", "json"]);
        run(command.args(more)).code(0).json()
    };
    let verify = |more: &[&str]| {
        let mut command = stx(["--mirror", to.as_str(), "verify", "--format", "json"]);
        run(command.args(more))
    };
    let found = |ran: Ran| -> Vec<String> {
        let report = ran.json();
        let findings = report["findings"].as_array().expect("findings").iter();
        findings
            .map(|finding| format!("{} {}", finding["path"], finding["kind"]).replace('"', ""))
            .collect()
    };
    copy(&["--config", config.as_str()]);
    assert!(!to.join("index.json").exists());
    // A mirror that is configured without pages.
    verify(&["--config", config.as_str()]).code(0);
    let missing = [
        "index.html page-missing",
        "index.json page-missing",
        "feed.xml page-missing",
        "index.html page-missing",
        "index.json page-missing",
    ];
    let ran = verify(&[]).code(4);
    assert!(ran.stderr.contains("--repair"), "{}", ran.stderr);
    assert_eq!(found(ran), missing);
    let again = copy(&[]);
    assert_eq!(again["copied"], json!([]));
    assert!(to.join("index.json").exists() && to.join(CHANNEL).join("feed.xml").exists());
    verify(&[]).code(0);

    let index = to.join(CHANNEL).join("index.json");
    fs_err::remove_file(&index).expect("removed");
    assert_eq!(found(verify(&[]).code(4)), ["index.json page-missing"]);
    let repaired = verify(&["--repair"]).code(0).json();
    let page = format!("{CHANNEL}/index.json");
    assert_eq!(repaired["repaired"]["pages"], json!([page]), "{repaired}");

    // A build that is missing from the mirror: its page is removed, not made.
    let build = to.join(CHANNEL).join(DATES[0]);
    let aside = site.dir.path().join("aside");
    fs_err::rename(&build, &aside).expect("moved");
    let mut repair = stx(["--mirror", to.as_str(), "verify", "--repair"]);
    let repaired = run(&mut repair).code(0).stdout;
    for line in [
        format!("{CHANNEL}/{}.html: removed, ", DATES[0]),
        "\nindex.html: made again".to_owned(),
    ] {
        assert!(repaired.contains(&line), "{line}: {repaired}");
    }
    fs_err::rename(&aside, &build).expect("moved");
    verify(&["--repair"]).code(0);

    // A mirror that has lost all of its channels.
    let channel = to.join(CHANNEL);
    fs_err::rename(&channel, &aside).expect("moved");
    assert_eq!(found(verify(&[]).code(4)), ["index.json page-stale"]);
    fs_err::rename(&aside, &channel).expect("moved");
    verify(&[]).code(0);

    // A build that is missing from the pages.
    site.publish(b"another image", DATES[1]);
    copy(&["--config", config.as_str()]);
    assert_eq!(
        found(verify(&[]).code(4)),
        ["index.json page-stale", "index.json page-stale"]
    );
    copy(&[]);
    verify(&[]).code(0);
}
