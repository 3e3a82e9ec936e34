//! Reading places from a configuration file, mistake by mistake.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use globset::GlobBuilder;
use serde::Deserialize;
use stx_layout::config::{self, ConfigErrors, Faults};
use stx_layout::meant;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Container, Place, Places, Rule, Slurm, Ssh};

type Value<'t> = Spanned<DeValue<'t>>;

const KINDS: [&str; 4] = ["local", "ssh", "container", "slurm"];

#[derive(Default)]
struct Reader {
    faults: Faults,
}

pub(super) fn read(text: &str, dir: &Utf8Path) -> Result<Places, ConfigErrors> {
    let mut reader = Reader::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reader.fault(error.span().map_or(0, |span| span.start), error.message());
    }
    let places = errors
        .is_empty()
        .then(|| reader.places(document.get_ref(), dir));
    reader.faults.locate(text).or(places)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalTable {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SshTable {
    host: Spanned<String>,
    port: Option<u16>,
    identity: Option<Utf8PathBuf>,
    #[serde(default)]
    options: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerTable {
    engine: Option<Spanned<String>>,
    image: Spanned<String>,
    network: Option<String>,
    #[serde(default)]
    mounts: Vec<Spanned<String>>,
    #[serde(default)]
    options: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlurmTable {
    partition: Option<String>,
    cpus: Option<Spanned<u32>>,
    memory: Option<Spanned<String>>,
    time: Option<Spanned<String>>,
    account: Option<String>,
    conf: Option<Utf8PathBuf>,
    #[serde(default)]
    options: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    phases: Spanned<Vec<Spanned<String>>>,
    place: Spanned<String>,
}

impl Reader {
    fn fault(&mut self, at: usize, message: impl Into<String>) {
        self.faults.add(at, message.into());
    }

    fn places(&mut self, document: &DeTable<'_>, dir: &Utf8Path) -> Places {
        // The build server is there without being described.
        let mut places = BTreeMap::from([("local".to_owned(), Place::Local)]);
        let mut named = vec!["local".to_owned()];
        match get(document, "place").map(|value| (value.span().start, value.get_ref())) {
            None => {}
            Some((_, DeValue::Table(tables))) => {
                for (name, table) in tables {
                    named.push(name.get_ref().to_string());
                    if let Some(place) = self.place(name, table, dir) {
                        places.insert(name.get_ref().to_string(), place);
                    }
                }
            }
            Some((at, _)) => self.fault(at, "`place` has to be tables, as `[place.NAME]`"),
        }
        let mut rules = Vec::new();
        match get(document, "place-rule").map(|value| (value.span().start, value.get_ref())) {
            None => {}
            Some((_, DeValue::Array(tables))) => {
                rules.extend(tables.iter().filter_map(|table| self.rule(table, &named)));
            }
            Some((at, _)) => self.fault(at, "`place-rule` has to be a list, as `[[place-rule]]`"),
        }
        Places { places, rules }
    }

    /// A table as a value of its own form; mistakes in it are noted where they stand.
    fn table<T: serde::de::DeserializeOwned>(&mut self, value: Value<'_>) -> Option<T> {
        config::read(value, &mut self.faults)
    }

    fn place(
        &mut self,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Value<'_>,
        dir: &Utf8Path,
    ) -> Option<Place> {
        let at = name.span().start;
        if !is_name(name.get_ref()) {
            self.fault(
                at,
                format!(
                    "place {:?}: a name is made of a-z, 0-9 and `-`",
                    name.get_ref()
                ),
            );
        }
        let mut value = value.clone();
        let DeValue::Table(table) = value.get_mut() else {
            self.fault(at, format!("`place.{}` has to be a table", name.get_ref()));
            return None;
        };
        let Some(kind) = table.remove("kind") else {
            self.fault(
                at,
                format!("`kind` is missing, one of {}", KINDS.join(", ")),
            );
            return None;
        };
        let kind_at = kind.span().start;
        match kind.get_ref().as_str() {
            Some("local") => self.table(value).map(|LocalTable {}| Place::Local),
            Some("ssh") => {
                let table = self.table(value)?;
                self.ssh(table, dir)
            }
            Some("container") => {
                let table = self.table(value)?;
                self.container(table, dir)
            }
            Some("slurm") => {
                let table = self.table(value)?;
                self.slurm(table, dir)
            }
            Some(other) => {
                self.fault(
                    kind_at,
                    format!("unknown kind {other:?}{}", meant(other, &KINDS)),
                );
                None
            }
            None => {
                self.fault(kind_at, "`kind` has to be a text");
                None
            }
        }
    }

    /// A word that is given to a program as it is, and must not be taken for one of its options.
    fn word(&mut self, what: &str, word: Spanned<String>) -> String {
        let at = word.span().start;
        let word = word.into_inner();
        if word.is_empty() || word.starts_with('-') || word.contains(char::is_whitespace) {
            self.fault(at, format!("{word:?} cannot be {what}"));
        }
        word
    }

    fn ssh(&mut self, table: SshTable, dir: &Utf8Path) -> Option<Place> {
        let before = self.faults.len();
        let host = self.word("a host", table.host);
        let mut options = Vec::new();
        for option in table.options {
            let at = option.span().start;
            let option = option.into_inner();
            let key = option.split_once('=').map_or("", |(key, _)| key);
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                self.fault(at, format!("{option:?} is not of the form Key=value"));
            }
            options.push(option);
        }
        let ssh = Ssh {
            host,
            port: table.port,
            identity: table.identity.map(|file| dir.join(file)),
            options,
        };
        (self.faults.len() == before).then_some(Place::Ssh(ssh))
    }

    fn container(&mut self, table: ContainerTable, dir: &Utf8Path) -> Option<Place> {
        let before = self.faults.len();
        let engine = match table.engine {
            Some(engine) => {
                let engine = self.word("a container engine", engine);
                // A program without a slash is one of the `PATH`.
                if engine.contains('/') {
                    dir.join(engine).into_string()
                } else {
                    engine
                }
            }
            None => "podman".to_owned(),
        };
        let image = self.word("an image", table.image);
        let mut mounts = Vec::new();
        for mount in table.mounts {
            let at = mount.span().start;
            let mount = dir.join(mount.into_inner()).into_string();
            if mount.strip_suffix(":ro").unwrap_or(&mount).contains(':') {
                self.fault(at, "a mount is a directory, or one with `:ro` after it");
            }
            mounts.push(mount);
        }
        let container = Container {
            engine,
            image,
            network: table.network,
            mounts,
            options: self.options(table.options),
        };
        (self.faults.len() == before).then_some(Place::Container(container))
    }

    /// Options that carry their value, so that none can be taken for the next one's.
    fn options(&mut self, options: Vec<Spanned<String>>) -> Vec<String> {
        let mut texts = Vec::new();
        for option in options {
            if !option.get_ref().starts_with("--") {
                let at = option.span().start;
                self.fault(
                    at,
                    format!("{:?} is not of the form --name=value", option.get_ref()),
                );
            }
            texts.push(option.into_inner());
        }
        texts
    }

    fn slurm(&mut self, table: SlurmTable, dir: &Utf8Path) -> Option<Place> {
        let before = self.faults.len();
        if let Some(cpus) = table.cpus.as_ref().filter(|cpus| *cpus.get_ref() == 0) {
            self.fault(cpus.span().start, "`cpus` is at least 1");
        }
        if let Some(memory) = &table.memory {
            let text = memory.get_ref();
            let number = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                self.fault(
                    memory.span().start,
                    format!("{text:?} is not a size: a number with K, M, G or T, as `4G`"),
                );
            }
        }
        let mut time = None;
        if let Some(text) = &table.time {
            match humantime::parse_duration(text.get_ref()) {
                Ok(duration) if duration >= Duration::from_secs(1) => time = Some(duration),
                Ok(_) => self.fault(text.span().start, "`time` is at least a second"),
                Err(error) => self.fault(
                    text.span().start,
                    format!("{:?} is not a time: {error}", text.get_ref()),
                ),
            }
        }
        let slurm = Slurm {
            partition: table.partition,
            cpus: table.cpus.map(Spanned::into_inner),
            memory: table.memory.map(Spanned::into_inner),
            time,
            account: table.account,
            conf: table.conf.map(|file| dir.join(file)),
            options: self.options(table.options),
        };
        (self.faults.len() == before).then_some(Place::Slurm(slurm))
    }

    fn rule(&mut self, value: &Value<'_>, named: &[String]) -> Option<Rule> {
        let rule: RuleTable = self.table(value.clone())?;
        let at = rule.place.span().start;
        let place = rule.place.into_inner();
        if !named.contains(&place) {
            self.fault(
                at,
                format!("unknown place {place:?}, there are {}", named.join(", ")),
            );
        }
        if rule.phases.get_ref().is_empty() {
            self.fault(rule.phases.span().start, "`phases` names no phase");
        }
        let mut globs = Vec::new();
        for text in rule.phases.into_inner() {
            match GlobBuilder::new(text.get_ref()).build() {
                Ok(glob) => globs.push(glob.compile_matcher()),
                Err(error) => self.fault(text.span().start, error.to_string()),
            }
        }
        Some(Rule { globs, place })
    }
}

fn get<'a, 't>(table: &'a DeTable<'t>, key: &str) -> Option<&'a Value<'t>> {
    table
        .iter()
        .find(|(name, _)| name.get_ref() == key)
        .map(|(_, value)| value)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
