//! Headless Chromium, controlled by the W3C protocol `WebDriver` through `curl`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::{Value, json};

/// The key of an element's reference (`WebDriver`, 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window; ends with this value.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    _profile: Utf8TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = Utf8TempDir::new().expect("a directory");
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts; `scripts/setup.sh test` installs it");
        let stdout = driver.stdout.take().expect("a pipe");
        let port = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver names its port");
        let base = format!("http://127.0.0.1:{port}/session");
        let answer = ask(
            "POST",
            &base,
            &json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {"args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--disable-dev-shm-usage", "--hide-scrollbars", format!("--user-data-dir={}", profile.path()),
                ]},
            }}}),
        );
        let id = answer["sessionId"].as_str().expect("a session");
        Self {
            driver,
            session: format!("{base}/{id}"),
            _profile: profile,
        }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        ask("POST", &format!("{}/{path}", self.session), body)
    }

    fn devtools(&self, command: &str, params: &Value) {
        self.post(
            "goog/cdp/execute",
            &json!({"cmd": command, "params": params}),
        );
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    pub(crate) fn address(&self) -> String {
        let found = ask("GET", &format!("{}/url", self.session), &Value::Null);
        found.as_str().expect("a URL").to_owned()
    }

    /// Sets the size of the window and the colours for subsequently opened pages.
    pub(crate) fn look(&self, width: u64, height: u64, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &scheme);
    }

    pub(crate) fn script(&self, script: &str, args: &[Value]) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": args}))
    }

    /// A script that calls its last argument with its result.
    pub(crate) fn script_later(&self, script: &str, args: &[Value]) -> Value {
        self.post("execute/async", &json!({"script": script, "args": args}))
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post(
            "element",
            &json!({"using": "css selector", "value": selector}),
        );
        let id = found[ELEMENT].as_str();
        id.unwrap_or_else(|| panic!("{selector}: {found}"))
            .to_owned()
    }

    pub(crate) fn click(&self, selector: &str) {
        self.post(
            &format!("element/{}/click", self.element(selector)),
            &json!({}),
        );
    }

    pub(crate) fn keys(&self, selector: &str, text: &str) {
        self.post(
            &format!("element/{}/value", self.element(selector)),
            &json!({ "text": text }),
        );
    }

    /// The violations that axe-core finds on the open page: rules, and the elements that break them.
    pub(crate) fn axe(&self) -> Value {
        let axe =
            fs_err::read_to_string(axe()).expect("axe-core; `scripts/setup.sh test` fetches it");
        self.script(&axe, &[]);
        self.script_later(
            "let done = arguments[0]; axe.run().then(found => done(found.violations.map(\
             wrong => ({rule: wrong.id, nodes: wrong.nodes.map(node => node.html + ': ' + node.failureSummary)}))))\
             .catch(error => done(String(error)));",
            &[],
        )
    }

    /// Fails the test if the console has an error.
    #[track_caller]
    pub(crate) fn no_errors(&self) {
        let log = self.post("se/log", &json!({"type": "browser"}));
        let log = log.as_array().expect("a log");
        let errors: Vec<_> = log
            .iter()
            .filter(|entry| entry["level"] != "INFO")
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    pub(crate) fn screenshot(&self, to: &Utf8Path) {
        let found = ask("GET", &format!("{}/screenshot", self.session), &Value::Null);
        let mut decode = Command::new("base64")
            .arg("--decode")
            .stdin(Stdio::piped())
            .stdout(fs_err::File::create(to).expect("a file").into_parts().0)
            .spawn()
            .expect("base64 starts");
        let mut input = decode.stdin.take().expect("a pipe");
        let text = found.as_str().expect("a picture");
        input.write_all(text.as_bytes()).expect("base64 reads");
        drop(input);
        assert!(decode.wait().expect("it ends").success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session, and would otherwise outlive its driver.
        let end = [
            "--silent",
            "--max-time",
            "10",
            "--request",
            "DELETE",
            &self.session,
        ];
        drop(Command::new("curl").args(end).output());
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

/// The path of axe-core, which `scripts/setup.sh` installs.
fn axe() -> Utf8PathBuf {
    crate::harness::cache().join("axe-core-4/axe.min.js")
}

/// A request, and the `value` of its answer.
#[track_caller]
fn ask(method: &str, url: &str, body: &Value) -> Value {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "60",
        "--noproxy",
        "*",
        "--request",
        method,
    ]);
    if !body.is_null() {
        curl.args([
            "--header",
            "Content-Type: application/json",
            "--data-binary",
            "@-",
        ]);
    }
    let mut child = curl
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl starts");
    let mut input = child.stdin.take().expect("a pipe");
    if !body.is_null() {
        input
            .write_all(body.to_string().as_bytes())
            .expect("curl reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("curl ends");
    assert!(output.status.success(), "{method} {url}: {}", output.status);
    let mut answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let value = answer["value"].take();
    assert!(value["error"].is_null(), "{method} {url}: {value:#}");
    value
}
