//! `init`: creates a first configuration from a few answers.
//!
//! ```text
//! questions ──> Answers ──> plan: files with their texts (pure) ──> write: each is new, or nothing is written
//! ```
//!
//! Each [`Question`] has a default and a reason. The texts have comments that name the documents and show the defaults of omitted
//! keys. [`Site::doctor`](crate::Site::doctor) finds no mistake in the written files.

mod texts;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use stx_layout::ReleaseId;
use stx_layout::config::parse_duration;
use stx_layout::{meant, redact_urls};
use stx_service::schedule::Schedule;
use stx_trust::provenance::BuilderId;

use crate::build::recipe_files;
use crate::error::{Error, ErrorKind, unusable};
use crate::options::{MirrorLocation, absolute};

/// A question of `init`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Question {
    /// The key of its answer, as `--set` has it.
    pub key: String,
    /// The question.
    pub ask: String,
    /// The reason for the question, and the meaning of its default.
    pub why: String,
    /// The answer for an empty line; `None` if an answer is required.
    pub default: Option<String>,
    /// The accepted answers; empty if any answer is accepted.
    pub choices: Vec<String>,
}

/// The answers, by the keys of their questions. Those of recipe variables begin with `variables.`.
pub type Answers = BTreeMap<String, String>;

/// The keys of the questions, without those of recipe variables.
pub const KEYS: [&str; 11] = [
    "mirror", "state", "distro", "recipe", "branch", "schedule", "keep", "newest", "signing",
    "key", "builder",
];

/// The prefix of the keys of recipe variables.
const VARIABLES: &str = "variables.";

/// The file of the configuration.
const CONFIGURATION: &str = "stx-builds.toml";

/// The file of the policy.
const POLICY: &str = "retention.toml";

/// The files of a first configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InitPlan {
    /// The files with their texts.
    pub files: BTreeMap<Utf8PathBuf, String>,
    /// The answers on which they are based.
    pub answers: Answers,
    /// The command that makes the repositories of the sample distribution, if that is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepare: Option<Vec<String>>,
}

/// True if the answers so far include a signer, so that its key is needed.
fn signs(answers: &Answers) -> bool {
    answers.get("signing").is_some_and(|how| how != "none")
}

/// The next question, given the answers so far; `None` when all are answered.
pub fn next_question(dir: &Utf8Path, answers: &Answers) -> Result<Option<Question>, Error> {
    let has = |key: &str| answers.contains_key(key);
    for key in KEYS {
        let is_asked = match key {
            // The recipe itself determines its distribution.
            "distro" => !has("recipe"),
            "key" => signs(answers),
            _ => true,
        };
        if is_asked && !has(key) {
            return question(key, dir, answers).map(Some);
        }
    }
    let Some(recipe) = answers.get("recipe") else {
        return Ok(None);
    };
    let file = absolute(dir)?.join(recipe);
    let asked = recipe_files(&file)?.questions();
    let open = asked
        .into_iter()
        .find(|(name, _)| !has(&format!("{VARIABLES}{name}")));
    Ok(open.map(|(name, ask)| Question {
        key: format!("{VARIABLES}{name}"),
        ask,
        why: format!("the recipe asks for {name}, and cannot be built without it"),
        default: None,
        choices: Vec::new(),
    }))
}

/// The question for a key.
fn question(key: &str, dir: &Utf8Path, answers: &Answers) -> Result<Question, Error> {
    let (ask, why, default, choices): (&str, &str, Option<String>, &[&str]) = match key {
        "mirror" => (
            "Where is the mirror?",
            "the directory that the web server serves, relative to the configuration; s3://BUCKET/PREFIX for a bucket",
            Some("mirror".to_owned()),
            &[],
        ),
        "state" => (
            "In which directory do builds work?",
            "sources, workspaces and logs; it needs space, and must not be within the mirror",
            Some("state".to_owned()),
            &[],
        ),
        "distro" => (
            "Which distribution is built?",
            "it selects the recipe; the samples build in seconds",
            Some("sample".to_owned()),
            &["sample", "sample-debian", "centos", "debian"],
        ),
        "recipe" => (
            "Which recipe builds it?",
            "a recipe file, relative to the configuration (docs/recipe.md)",
            answers
                .get("distro")
                .and_then(|distro| known_recipe(dir, distro)),
            &[],
        ),
        "branch" => (
            "Which branch is built?",
            "a git branch or tag: master, r/stx.12.0, f/NAME; more of them can be added later",
            Some("master".to_owned()),
            &[],
        ),
        "schedule" => (
            "When does the service build it?",
            "cron, in UTC: `0 6 * * *` is 06:00 each day; `none` builds on demand only",
            Some("0 6 * * *".to_owned()),
            &[],
        ),
        "keep" => (
            "How long are builds of master and feature branches kept?",
            "older ones move to the trash and are purged after 3 days; releases are kept for ever",
            Some("14 days".to_owned()),
            &[],
        ),
        "newest" => (
            "How many successes of a channel are kept at any age?",
            "so that a channel without new builds does not become empty",
            Some("2".to_owned()),
            &[],
        ),
        "signing" => (
            "Who signs published builds?",
            "`gpg`: a key in gpg's agent; `key-file`: an armored secret key; `none`: readers cannot tell who built it",
            Some("none".to_owned()),
            &["none", "gpg", "key-file"],
        ),
        "key" => (
            "Which key signs?",
            "the key's name or fingerprint for gpg, or the file, which nobody else may read",
            None,
            &[],
        ),
        "builder" => (
            "Which URI names this build server in provenance?",
            "readers see from it who is responsible for a build; `none` states no name",
            Some("none".to_owned()),
            &[],
        ),
        _ => return Err(unknown(key)),
    };
    Ok(Question {
        key: key.to_owned(),
        ask: ask.to_owned(),
        why: why.to_owned(),
        default,
        choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
    })
}

fn unknown(key: &str) -> Error {
    let mut known = KEYS.to_vec();
    known.push("variables.NAME");
    Error::usage(format!("--set {key}: unknown key{}", meant(key, &known)))
}

/// The recipe of a distribution: from the installed package, else from a source tree in this directory or above.
fn known_recipe(dir: &Utf8Path, distro: &str) -> Option<String> {
    let file = match distro {
        "sample" => "sample/recipe.toml",
        "sample-debian" => "sample-debian/recipe.toml",
        "centos" => "starlingx-centos.toml",
        "debian" => "starlingx-debian-trixie.toml",
        _ => return None,
    };
    let mut places = vec![Utf8PathBuf::from("/usr/share/stx-builds/recipes")];
    for start in [absolute(Utf8Path::new("")), absolute(dir)]
        .into_iter()
        .flatten()
    {
        places.extend(start.ancestors().map(|above| above.join("recipes")));
    }
    let mut files = places.iter().map(|place| place.join(file));
    files
        .find(|file| file.is_file())
        .map(Utf8PathBuf::into_string)
}

/// Checks an answer to its question.
///
/// # Errors
/// A wrong answer, with the accepted form.
pub fn check(dir: &Utf8Path, question: &Question, answer: &str) -> Result<(), Error> {
    let wrong = |why: String| Err(Error::usage(format!("{}: {why}", question.key)));
    is_text(&question.key, answer)?;
    let choices: Vec<_> = question.choices.iter().map(String::as_str).collect();
    if !choices.is_empty() && !choices.contains(&answer) {
        return wrong(format!(
            "unknown answer `{answer}`{}",
            meant(answer, &choices)
        ));
    }
    if let Some(path) = directory(&question.key, answer)
        && let Ok(found) = fs_err::metadata(absolute(dir)?.join(path))
        && !found.is_dir()
    {
        return wrong(format!("{answer} is not a directory"));
    }
    match question.key.as_str() {
        "mirror" if MirrorLocation::of(answer.into()) == MirrorLocation::Web => {
            let url = redact_urls(answer);
            wrong(format!(
                "{url} can be read only; name a directory, or s3://BUCKET/PREFIX"
            ))
        }
        "state" if answer.contains("://") => wrong("builds work in a directory".to_owned()),
        "recipe" => recipe_files(&absolute(dir)?.join(answer)).map(|_| ()),
        "branch" => ReleaseId::from_git(answer)
            .map(|_| ())
            .map_err(Error::usage),
        "schedule" if answer != "none" => {
            let read = Schedule::new(answer, Duration::ZERO, "");
            read.map(|_| ()).map_err(Error::usage)
        }
        "keep" if answer != "forever" => match parse_duration(answer).map_err(Error::usage)? {
            Duration::ZERO => {
                wrong("must be greater than zero; `forever` keeps all builds".to_owned())
            }
            _ => Ok(()),
        },
        "newest" => match answer.parse::<u32>() {
            Ok(_) => Ok(()),
            Err(_) => wrong(format!("expected a number, found `{answer}`")),
        },
        "builder" if answer != "none" => match answer.parse::<BuilderId>() {
            Ok(_) => Ok(()),
            Err(error) => wrong(error.to_string()),
        },
        _ => Ok(()),
    }
}

/// The directory that an answer names.
fn directory<'a>(key: &str, answer: &'a str) -> Option<&'a Utf8Path> {
    let is_directory = match key {
        "mirror" => MirrorLocation::of(answer.into()) == MirrorLocation::Directory,
        "state" => true,
        _ => false,
    };
    is_directory.then(|| Utf8Path::new(answer))
}

/// Refuses a state directory within the mirror, which everybody can read.
fn are_apart(dir: &Utf8Path, answers: &Answers) -> Result<(), Error> {
    let dir = absolute(dir)?;
    let of = |key: &str| Some(dir.join(directory(key, answers.get(key)?)?));
    match (of("mirror"), of("state")) {
        (Some(mirror), Some(state)) if state.starts_with(&mirror) => {
            let error = format!(
                "state: {state} is within the mirror {mirror}, and the web server would show it to everybody"
            );
            Err(Error::usage(error).hint("name a directory outside of the mirror"))
        }
        _ => Ok(()),
    }
}

/// Refuses an answer that is empty or has control characters.
fn is_text(key: &str, answer: &str) -> Result<(), Error> {
    if answer.trim().is_empty() {
        return Err(Error::usage(format!("{key}: an answer is needed")));
    }
    if answer.chars().any(char::is_control) {
        let error = format!("{key}: control characters cannot be part of an answer");
        return Err(Error::usage(error));
    }
    Ok(())
}

/// Checks the given answers before the first question, so that the user does not first answer all others.
///
/// # Errors
/// Unknown keys, wrong answers, and a key without a signer.
pub fn check_given(dir: &Utf8Path, given: &Answers) -> Result<(), Error> {
    for (key, answer) in given {
        if key.starts_with(VARIABLES) {
            is_text(key, answer)?;
        } else {
            check(dir, &question(key, dir, given)?, answer)?;
        }
    }
    are_apart(dir, given)?;
    if given.contains_key("key") && !signs(given) {
        return Err(Error::usage("--set key: no signer is given for this key")
            .hint("add --set signing=gpg or --set signing=key-file"));
    }
    Ok(())
}

/// The files that the answers produce in a directory. `given` are answers; the other questions use their defaults.
///
/// # Errors
/// As [`check_given`], and every question without an answer and without a default.
pub fn plan(dir: &Utf8Path, given: &Answers) -> Result<InitPlan, Error> {
    // First, since a wrong answer would lead to other questions.
    check_given(dir, given)?;
    let mut answers = given.clone();
    let mut missing = Vec::new();
    while let Some(question) = next_question(dir, &answers)? {
        let answer = question.default.clone().unwrap_or_else(|| {
            missing.push(format!("--set {}=…: {}", question.key, question.ask));
            // A placeholder that leads to the next question; it is never written.
            String::new()
        });
        if question.key == "recipe" && answer.is_empty() {
            break;
        }
        answers.insert(question.key, answer);
    }
    if !missing.is_empty() {
        return Err(
            Error::usage(missing.join("\n")).hint("these have no default: give each an answer")
        );
    }
    are_apart(dir, &answers)?;
    let prepare = sample(dir, &mut answers)?;
    let files = [
        (CONFIGURATION, texts::configuration(&answers)),
        (POLICY, texts::policy(&answers)),
    ];
    let files = files.map(|(name, text)| (dir.join(name), text));
    Ok(InitPlan {
        files: files.into(),
        answers,
        prepare,
    })
}

/// For the sample distribution, whose repositories a script beside its recipe makes: adds the variable that names them, and returns
/// the command that runs the script from the directory of the configuration.
fn sample(dir: &Utf8Path, answers: &mut Answers) -> Result<Option<Vec<String>>, Error> {
    let dir = absolute(dir)?;
    let recipe = answers.get("recipe").map(|recipe| dir.join(recipe));
    let script = recipe.and_then(|recipe| Some(recipe.parent()?.join("upstream")));
    let Some(script) = script.filter(|script| script.is_file()) else {
        return Ok(None);
    };
    let manifest = dir.join("upstream/manifest").into_string();
    answers
        .entry(format!("{VARIABLES}MANIFEST_URL"))
        .or_insert(manifest);
    let words = [script.as_str(), "create", "upstream"];
    Ok(Some(words.map(str::to_owned).to_vec()))
}

impl InitPlan {
    /// The configuration file.
    pub fn configuration(&self) -> Option<&Utf8Path> {
        let mut files = self.files.keys();
        files
            .find(|file| file.file_name() == Some(CONFIGURATION))
            .map(Utf8PathBuf::as_path)
    }

    /// Writes all files or none, and makes their directory. Existing files are not overwritten.
    ///
    /// # Errors
    /// A file that exists, or that cannot be written.
    pub fn write(&self) -> Result<(), Error> {
        for file in self.files.keys() {
            // A dangling symlink is in the way as well.
            if fs_err::symlink_metadata(file).is_ok() {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("{file} already exists; nothing was written"),
                )
                .hint("`stx-builds doctor` checks it; name another directory for a new one"));
            }
        }
        let mut made = Vec::new();
        for (file, text) in &self.files {
            if let Err(failure) = create(file, text) {
                // The files that were created would block the next attempt. All of them are this call's own.
                for file in made {
                    fs_err::remove_file(file).ok();
                }
                return Err(failure);
            }
            made.push(file);
        }
        Ok(())
    }
}

/// Creates a file, and its directory; leaves no part of the file behind on failure.
fn create(file: &Utf8Path, text: &str) -> Result<(), Error> {
    if let Some(dir) = file.parent().filter(|dir| !dir.as_str().is_empty()) {
        fs_err::create_dir_all(dir).map_err(|error| unusable(dir, error))?;
    }
    // `create_new`: a file that appeared meanwhile is not overwritten.
    let made = fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file);
    let mut made = made.map_err(|error| unusable(file, error))?;
    let written = made.write_all(text.as_bytes());
    written.and_then(|()| made.sync_all()).map_err(|error| {
        // As in `write`: report the error of writing.
        fs_err::remove_file(file).ok();
        unusable(file, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(set: &[(&str, &str)]) -> Answers {
        set.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_wrong_answer_is_refused_with_the_accepted_values() {
        let dir = camino_tempfile::Utf8TempDir::new().expect("a directory");
        let recipe = dir.path().join("recipe.toml");
        fs_err::write(
            &recipe,
            "schema = 1\n[variables]\nWHO = { ask = \"Who commits?\" }\n",
        )
        .expect("a file");
        for (set, words) in [
            (("mirorr", "x"), "unknown key; did you mean `mirror`?"),
            (("mirror", "https://example.org/"), "can be read only"),
            (
                ("signing", "gpgg"),
                "unknown answer `gpgg`, expected one of none, gpg, key-file",
            ),
            (("schedule", "0 6 30 2 *"), "never happens"),
            (("keep", "fourteen"), "is not a duration"),
            (("newest", "two"), "expected a number, found `two`"),
            (("branch", "mastre"), "expected a branch or tag"),
            (("recipe", "gone.toml"), "gone.toml"),
            (("builder", "a\nb"), "control characters"),
            (("builder", "builds"), "builder: "),
            (("variables.WHO", "a\u{7f}b"), "control characters"),
            (("mirror", " "), "an answer is needed"),
            (("keep", "0 days"), "must be greater than zero"),
            (("mirror", "/dev/null"), "/dev/null is not a directory"),
            (("state", "/dev/null"), "/dev/null is not a directory"),
            (("state", "/srv/mirror/state"), "is within the mirror"),
            (("key", "ABCD"), "no signer is given"),
        ] {
            let given = answers(&[
                ("recipe", "recipe.toml"),
                ("variables.WHO", "me"),
                ("mirror", "/srv/mirror"),
                set,
            ]);
            let error = plan(dir.path(), &given).expect_err(words).line();
            assert!(error.contains(words), "{words}: {error}");
            // On a terminal, they are refused before the first question.
            check_given(dir.path(), &given).expect_err(words);
        }
        // Also if the other directory is a default.
        let given = answers(&[
            ("recipe", "recipe.toml"),
            ("variables.WHO", "me"),
            ("mirror", "state"),
        ]);
        let error = plan(dir.path(), &given).expect_err("one directory").line();
        assert!(error.contains("is within the mirror"), "{error}");
        let error = plan(
            dir.path(),
            &answers(&[("recipe", "recipe.toml"), ("signing", "gpg")]),
        );
        let error = error.expect_err("missing answers").line();
        for words in [
            "--set key=…: Which key signs?",
            "--set variables.WHO=…: Who commits?",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn answers_are_quoted_and_keep_their_text() {
        let dir = camino_tempfile::Utf8TempDir::new().expect("a directory");
        fs_err::write(
            dir.path().join("r\"\\.toml"),
            "schema = 1\n[variables]\nA = { ask = \"A?\" }\n",
        )
        .expect("a file");
        let odd = "a \"b\" \\ ${c} ü";
        let given = answers(&[
            ("recipe", "r\"\\.toml"),
            ("mirror", odd),
            ("variables.A", odd),
            ("signing", "key-file"),
            ("key", odd),
            ("builder", "https://builds.example.org"),
        ]);
        let plan = plan(dir.path(), &given).expect("a plan");
        let text = &plan.files[&dir.path().join(CONFIGURATION)];
        let read: toml::Table = toml::from_str(text).expect("TOML");
        assert_eq!(read["mirror"].as_str(), Some(odd));
        assert_eq!(read["variables"]["A"].as_str(), Some(odd));
        assert_eq!(read["signing"]["key_file"].as_str(), Some(odd));
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = camino_tempfile::Utf8TempDir::new().expect("a directory");
        fs_err::write(dir.path().join("r.toml"), "schema = 1\n").expect("a file");
        let plan = plan(dir.path(), &answers(&[("recipe", "r.toml")])).expect("a plan");
        fs_err::write(dir.path().join(POLICY), "mine").expect("a file");
        let error = plan.write().expect_err("it exists").line();
        assert!(
            error.contains("retention.toml already exists; nothing was written"),
            "{error}"
        );
        assert!(!dir.path().join(CONFIGURATION).exists());
        assert_eq!(
            fs_err::read_to_string(dir.path().join(POLICY)).expect("it"),
            "mine"
        );
    }

    #[test]
    fn all_files_are_written_or_none() {
        let dir = camino_tempfile::Utf8TempDir::new().expect("a directory");
        fs_err::write(dir.path().join("r.toml"), "schema = 1\n").expect("a file");
        let mut plan = plan(dir.path(), &answers(&[("recipe", "r.toml")])).expect("a plan");
        // A directory cannot be made if a file has its name.
        let below = dir.path().join(POLICY).join("below");
        plan.files.insert(below, String::new());
        plan.write().expect_err("it cannot be written");
        let left = dir.path().read_dir_utf8().expect("a directory").flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name().to_owned()).collect();
        assert_eq!(left, ["r.toml"]);
    }
}
