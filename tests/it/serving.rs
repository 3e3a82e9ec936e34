//! The instructions of `docs/serving.md`, executed with the real servers.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;
use stx_layout::media_type;

use crate::harness::{
    assert_whole, builds, free_port, names, root, run, stx, tool, wait_for_server,
};
use crate::names::readers;
use crate::nginx::Nginx;
use crate::site::{CHANNEL, DATES, Site};

/// The blocks of a language in `docs/serving.md`, for the mirror of `site`.
fn blocks(language: &str, site: &Site) -> Vec<String> {
    let text = fs_err::read_to_string(root().join("docs/serving.md")).expect("docs/serving.md");
    let begin = format!("```{language}\n");
    let blocks = text.split(&begin).skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or_default());
    blocks
        .map(|block| block.replace("/srv/mirror", site.mirror().as_str()))
        .collect()
}

fn in_nginx(site: &Site, block: &str) -> Nginx {
    Nginx::of_blocks(&site.to("nginx"), block)
}

/// A server that ends with this value.
struct Server(Child);

impl Server {
    #[track_caller]
    fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        let mut server = Self(child.unwrap_or_else(|error| {
            panic!("{command:?}: {error}; `scripts/setup.sh test` installs it")
        }));
        wait_for_server(&mut server.0, port, || format!("{command:?}"));
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        // It may have already ended.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        drop(self.0.wait());
    }
}

/// The status and the headers of an answer, in lower case.
fn head(url: &str, more: &[&str]) -> String {
    let args = [
        "--silent",
        "--show-error",
        "--dump-header",
        "-",
        "--output",
        "/dev/null",
        "--noproxy",
        "*",
        url,
    ];
    run(tool("curl", args).args(more)).ok().to_lowercase()
}

fn has(url: &str, more: &[&str], wanted: &[&str]) {
    let found = head(url, more);
    for text in wanted {
        assert!(found.contains(text), "{url}: {text} is not in\n{found}");
    }
}

/// The types of files are those of `stx_layout::media_type`.
fn gives_types(url: &str, site: &Site) {
    let dir = site.mirror().join("types");
    fs_err::create_dir(&dir).expect("a directory");
    let named = "BUILD_INFO CHANGELOG CONTEXT InRelease KEYS LAST_COMMITS Packages Release SHA256SUMS Sources feed.xml";
    let extensions = "asc buildinfo changes dsc inc log lst repo sh sources txt html json xml rpm deb udeb iso zsync meta4 tar \
                      gz tgz xz bz2 zst";
    let files = extensions
        .split(' ')
        .map(|extension| format!("a-1.0.{extension}"));
    for name in named.split(' ').map(str::to_owned).chain(files) {
        fs_err::write(dir.join(&name), "").expect("a file");
        let kind = media_type(&name);
        assert_ne!(kind, "application/octet-stream", "{name}");
        let kind = format!("content-type: {kind}\r\n");
        has(&format!("{url}types/{name}"), &[], &[" 200", &kind]);
    }
    fs_err::remove_dir_all(&dir).expect("removed");
}

/// The checks of every server; `url` ends with a slash.
fn is_a_mirror(url: &str, site: &Site) {
    let dated = format!("{url}{CHANNEL}/{}", DATES[1]);
    let image = format!("{dated}/outputs/iso/bootimage.iso");
    for private in [
        ".stx/",
        ".stx",
        ".stx/retired",
        "%2estx/",
        &format!("{CHANNEL}/../../.stx/"),
    ] {
        has(&format!("{url}{private}"), &["--path-as-is"], &[" 404"]);
    }
    has(
        &image,
        &[],
        &[
            " 200",
            "immutable",
            "content-type: application/x-iso9660-image",
        ],
    );
    has(
        &image,
        &["--range", "3-6"],
        &[" 206", "content-range: bytes 3-6/13", "content-length: 4"],
    );
    // A build's own directory redirects to its page.
    let page = format!("/{CHANNEL}/{}.html", DATES[1]);
    has(
        &format!("{dated}/"),
        &[],
        &[" 302", &format!("{}\r\n", page.to_lowercase())],
    );
    let kind = "content-type: text/html";
    has(&format!("{dated}.html"), &[], &[" 200", "no-cache", kind]);
    let latest = format!("{url}{CHANNEL}/latest_build/outputs/iso/bootimage.iso");
    for (changes, kind) in [
        (format!("{url}index.json"), "content-type: application/json"),
        (format!("{url}index.html"), "content-type: text/html"),
        (
            format!("{url}{CHANNEL}/feed.xml"),
            "content-type: application/atom+xml",
        ),
        (latest, "content-type: application/x-iso9660-image"),
    ] {
        has(&changes, &[], &[" 200", "cache-control: no-cache", kind]);
    }
    gives_types(url, site);
    run(&mut stx(["--mirror", url, "verify"])).ok();
    run(&mut stx(["--mirror", url, "list"])).ok();
    let to = site.to("fetched");
    run(&mut stx([
        "--mirror",
        url,
        "fetch",
        CHANNEL,
        "iso",
        "--to",
        to.as_str(),
    ]))
    .ok();
    let image = fs_err::read(to.join("bootimage.iso")).expect("an image");
    assert_eq!(image, b"another image");
    readers::leads(url, &site.to("by-name"));
    crate::zsync::delta::next_day(url, site);
}

fn site() -> Site {
    let site = Site::new(&[b"an image", b"another image"]);
    readers::add_release(&site.mirror(), &site.to("release-tree"));
    site
}

#[test]
fn nginx_as_documented() {
    let site = site();
    let [block, redirect] = &blocks("nginx", &site)[..] else {
        panic!("two blocks for nginx");
    };
    is_a_mirror(&in_nginx(&site, block).url(""), &site);
    // The demo has the same configuration.
    let demo = root().join("stx-cli/src/commands/demo/nginx-server.conf");
    let demo = fs_err::read_to_string(demo).expect("a configuration");
    assert_eq!(demo.replace("/srv/mirror", site.mirror().as_str()), **block);

    let nginx = in_nginx(&site, redirect);
    let alias = nginx.url("master/centos/latest_build/outputs/iso/bootimage.iso");
    has(
        &alias,
        &[],
        &[
            " 302",
            &format!("/{}/outputs/iso/bootimage.iso", DATES[1].to_lowercase()),
        ],
    );
    let to = site.to("redirected");
    run(&mut stx([
        "--mirror",
        &nginx.url(""),
        "fetch",
        CHANNEL,
        "iso",
        "--to",
        to.as_str(),
    ]))
    .ok();
    assert_eq!(names(&to), ["bootimage.iso"]);
}

#[test]
fn apache_as_documented() {
    let site = site();
    let [block] = &blocks("apache", &site)[..] else {
        panic!("one block for Apache");
    };
    let dir = Utf8TempDir::new().expect("a directory");
    let path = dir.path();
    let program = ["/usr/sbin/apache2", "/usr/sbin/httpd"]
        .into_iter()
        .find(|file| Utf8Path::new(file).is_file());
    let modules = ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules"]
        .into_iter()
        .find(|dir| Utf8Path::new(dir).is_dir());
    let modules = modules.expect("Apache's modules; `scripts/setup.sh test` installs them");
    let port = free_port();
    let mut conf = format!(
        "ServerName localhost\nServerRoot {path}\nPidFile {path}/pid\nListen 127.0.0.1:{port}\nErrorLog {path}/log\n\
         DefaultRuntimeDir {path}\n"
    );
    for module in [
        "mpm_event",
        "unixd",
        "authz_core",
        "alias",
        "autoindex",
        "dir",
        "headers",
        "mime",
    ] {
        let file = format!("{modules}/mod_{module}.so");
        if Utf8Path::new(&file).is_file() {
            writeln!(conf, "LoadModule {module}_module {file}").expect("text");
        }
    }
    conf += "TypesConfig /etc/mime.types\nUser daemon\nGroup daemon\n";
    fs_err::write(path.join("httpd.conf"), conf + block).expect("a file");
    if rustix::process::getuid().is_root() {
        // Its workers run as another user.
        for dir in [site.dir.path(), path] {
            run(&mut tool("chmod", ["755", dir.as_str()])).ok();
        }
    }
    let mut command = tool(
        program.expect("Apache; `scripts/setup.sh test` installs it"),
        ["-DFOREGROUND", "-f", path.join("httpd.conf").as_str()],
    );
    let _server = Server::start(&mut command, port);
    is_a_mirror(&format!("http://127.0.0.1:{port}/"), &site);
}

#[test]
fn rsync_as_documented_and_a_downstream_mirror() {
    let site = site();
    let [block] = &blocks("rsync", &site)[..] else {
        panic!("one block for rsync");
    };
    let scripts = blocks("sh", &site);
    let mut scripts = scripts.iter().filter(|script| script.contains("rsync"));
    let (Some(script), None) = (scripts.next(), scripts.next()) else {
        panic!("one script with rsync");
    };
    let dir = Utf8TempDir::new().expect("a directory");
    let port = free_port();
    let conf = dir.path().join("rsyncd.conf");
    fs_err::write(
        &conf,
        format!("use chroot = no\naddress = 127.0.0.1\nport = {port}\n{block}"),
    )
    .expect("a file");
    let config = format!("--config={conf}");
    let _server = Server::start(
        &mut tool("rsync", ["--daemon", "--no-detach", &config]),
        port,
    );
    let script = script.replace("rsync://localhost/", &format!("rsync://127.0.0.1:{port}/"));
    let sync = || run(tool("sh", ["-e", "-c", &script]).current_dir(dir.path())).ok();
    sync();
    let mirror = dir.path().join("mirror");
    assert!(!mirror.join(".stx").exists(), "the private area was copied");
    assert_eq!(builds(&mirror, CHANNEL), DATES);
    assert_whole(&mirror, CHANNEL);
    run(&mut stx(["--mirror", mirror.as_str(), "verify"])).ok();
    // Retired builds disappear, new builds appear.
    site.publish(b"the third image", "20200103T000000Z");
    let old = site.mirror().join(CHANNEL).join(DATES[0]);
    fs_err::rename(old, site.dir.path().join("retired")).expect("moved away");
    sync();
    assert_eq!(builds(&mirror, CHANNEL), [DATES[1], "20200103T000000Z"]);
    let alias = mirror.join(CHANNEL).join("latest_build");
    assert_eq!(
        alias.read_link_utf8().expect("an alias"),
        "20200103T000000Z"
    );
    let private = format!("rsync://127.0.0.1:{port}/starlingx/.stx/");
    assert_ne!(run(&mut tool("rsync", [&private])).code, Some(0));
}

#[test]
fn serve_shows_a_mirror_on_the_loopback_interface() {
    let site = site();
    let mut child = stx(["serve", "--port", "0", site.mirror().as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut url = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    let _server = Server(child);
    BufReader::new(stdout).read_line(&mut url).expect("a line");
    let url = url.trim_end();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    for private in [
        ".stx/",
        ".stx",
        ".stx/retired",
        "%2estx/",
        ".st%78/pins",
        "x/../.stx/",
    ] {
        has(&format!("{url}{private}"), &["--path-as-is"], &[" 404"]);
    }
    has(
        &format!("{url}../../etc/passwd"),
        &["--path-as-is"],
        &[" 404"],
    );
    let image = format!("{url}{CHANNEL}/latest_build/outputs/iso/bootimage.iso");
    has(
        &image,
        &["--range", "3-6"],
        &[" 206", "content-range: bytes 3-6/13"],
    );
    ranges(&image);
    gives_types(url, &site);
    has(url, &[], &[" 200", "content-type: text/html"]);
    // A build's own directory redirects to its page, and directories below it are listed.
    let page = format!("location: ../{}.html", DATES[1].to_lowercase());
    for name in [DATES[1], "latest_build"] {
        let build = format!("{url}{CHANNEL}/{name}/");
        has(&build, &[], &[" 302", &page]);
        has(&format!("{build}outputs/"), &[], &[" 200", "text/html"]);
    }
    let listed = format!("{url}{CHANNEL}/{}/outputs/", DATES[1]);
    let text = run(&mut tool("curl", ["-fsS", "--noproxy", "*", &listed])).ok();
    for part in ["href=\"iso/\"", "href=\"CONTEXT\"", "href=\"../../"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let out = site.mirror().join(CHANNEL).join("out");
    std::os::unix::fs::symlink("/etc", &out).expect("a symlink");
    let private = site.mirror().join(CHANNEL).join("private");
    std::os::unix::fs::symlink("../../.stx", &private).expect("a symlink");
    for name in ["out", "private"] {
        has(&format!("{url}{CHANNEL}/{name}/"), &[], &[" 404"]);
        fs_err::remove_file(site.mirror().join(CHANNEL).join(name)).expect("removed");
    }
    has(
        &format!("{url}index.json"),
        &[],
        &["content-type: application/json"],
    );
    let to = site.to("fetched");
    run(&mut stx(["--mirror", url, "verify"])).ok();
    run(&mut stx([
        "--mirror",
        url,
        "fetch",
        CHANNEL,
        "iso",
        "--to",
        to.as_str(),
    ]))
    .ok();
    assert_eq!(names(&to), ["bootimage.iso"]);
    crate::zsync::delta::next_day(url, &site);
    // Debian's `zsync` requests several ranges at once.
    let channel = "feature/zsync/centos";
    let iso = |date| format!("{channel}/{date}/outputs/iso/bootimage.iso");
    let (old, dir) = (site.mirror().join(iso(DATES[0])), site.to("by-zsync"));
    let control = format!("{url}{}.zsync", iso(DATES[1]));
    let said = crate::zsync::zsync(&dir, &old, "new.iso", &control);
    assert!(said.contains("checksum matches OK"), "{said}");
    let length = fs_err::metadata(dir.join("new.iso"))
        .expect("an image")
        .len();
    assert!(crate::zsync::fetched(&said) <= length / 10, "{said}");
}

/// Requests for ranges of the file at `url`, "another image", with the answers that RFC 9110 requires.
fn ranges(url: &str) {
    let whole = &[" 200", "content-length: 13"][..];
    let missing = &[" 416", "content-range: bytes */13"][..];
    for (asked, wanted) in [
        (
            "bytes=0-1,5-6",
            &[" 206", "content-type: multipart/byteranges; boundary="][..],
        ),
        ("bytes=0-1,13-20", &[" 206", "content-range: bytes 0-1/13"]),
        ("bytes=-3", &[" 206", "content-range: bytes 10-12/13"]),
        (
            "bytes=-99999999999",
            &[" 206", "content-range: bytes 0-12/13"],
        ),
        (
            "bytes=4-99999999999",
            &[" 206", "content-range: bytes 4-12/13"],
        ),
        ("bytes=0-,0-,0-", whole),
        ("bytes=5-3", whole),
        ("bytes=abc", whole),
        ("lines=1-2", whole),
        ("bytes=13-", missing),
        ("bytes=13-14,20-30", missing),
        ("bytes=-0", missing),
    ] {
        has(url, &["--header", &format!("Range: {asked}")], wanted);
    }
    let other = ["--range", "0-1", "--header", "If-Range: \"other\""];
    has(url, &other, whole);
    has(url, &["--head", "--range", "0-1,5-6"], whole);
    let several = ["-sS", "--noproxy", "*", "--range", "0-1,5-6,-2", url];
    let body = run(&mut tool("curl", several)).ok();
    let parts: Vec<_> = body.split("\r\n").collect();
    let boundary = parts[1];
    let of = |range, text| {
        let kind = "Content-Type: application/x-iso9660-image";
        format!("\r\n{boundary}\r\n{kind}\r\nContent-Range: bytes {range}/13\r\n\r\n{text}")
    };
    let parts = [of("0-1", "an"), of("5-6", "er"), of("11-12", "ge")];
    assert_eq!(body, format!("{}\r\n{boundary}--\r\n", parts.concat()));
}
