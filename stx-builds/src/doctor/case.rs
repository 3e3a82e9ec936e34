//! The configuration with all files that it names, read as far as possible, and the mistakes in these files.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::config::{ConfigError, ConfigErrors, Position, position};
use stx_layout::{Catalog, Channel, ReleaseId};
use stx_pipeline::Recipe;
use stx_publish::Scope;
use stx_retention::PolicyFile;
use stx_service::{BranchConfig, ServiceConfig, Setup};

use super::machine::Machine;
use super::{Finding, Severity, Subject};
use crate::Site;
use crate::build::{RECIPE_FORM, recipe_findings};
use crate::error::{Error, ErrorKind};
use crate::options::{FORM, MirrorLocation, absolute, policy_file};

/// A recipe that the configuration names.
#[derive(Debug)]
pub(super) struct Named {
    /// The file.
    pub(super) file: Utf8PathBuf,
    /// The recipe.
    pub(super) recipe: Recipe,
    /// True if a schedule or a commit starts its builds; false if only a request does.
    pub(super) is_used: bool,
    /// The place in the configuration that names it.
    pub(super) at: Option<Position>,
}

/// The configuration of a site, as far as it can be read, and its machine.
pub struct Case<'a> {
    pub(super) site: &'a Site,
    pub(super) machine: &'a dyn Machine,
    /// The configuration file and its text.
    pub(super) file: Option<Utf8PathBuf>,
    pub(super) text: String,
    /// The service's part.
    pub(super) service: Option<ServiceConfig>,
    /// The same with the recipes that could be read.
    pub(super) setup: Option<Setup>,
    pub(super) recipes: Vec<Named>,
    /// True if each recipe that the configuration names could be read.
    pub(super) has_all_recipes: bool,
    pub(super) policy: Option<PolicyFile>,
    /// The channels to build, and those of the mirror.
    pub(super) channels: BTreeSet<Channel>,
    /// The keys that misspelt ones were probably meant to be: they are not reported as missing.
    pub(super) meant: BTreeSet<String>,
    /// The releases of branches whose channels are not known, because their recipes have mistakes.
    pub(super) open: Vec<ReleaseId>,
    /// The mirror's content; `None` if the mirror is not a directory, or does not exist.
    pub(super) catalog: Option<Catalog>,
    /// The reason why the directory is not a mirror, and cannot become one.
    pub(super) no_mirror: Option<Error>,
    /// The user that builds: the owner of the state directory, else of the spool, else the user of the command.
    pub(super) user: u32,
}

impl<'a> Case<'a> {
    /// Reads everything, and finds the mistakes in these files.
    pub(super) async fn read(
        site: &'a Site,
        mistakes: ConfigErrors,
        machine: &'a dyn Machine,
    ) -> Result<(Self, Vec<Finding>), Error> {
        let options = &site.options;
        let mut case = Self {
            site,
            machine,
            file: options.file().map(Utf8Path::to_owned),
            text: String::new(),
            service: None,
            setup: None,
            recipes: Vec::new(),
            has_all_recipes: true,
            policy: None,
            channels: BTreeSet::new(),
            meant: BTreeSet::new(),
            open: Vec::new(),
            catalog: None,
            no_mirror: None,
            user: machine.user(),
        };
        let mut findings = Vec::new();
        let Some(file) = case.file.clone() else {
            findings.push(Finding {
                severity: Severity::Error,
                file: None,
                at: None,
                subject: Subject::Configuration,
                message: "there is no stx-builds.toml here or in a directory above".to_owned(),
                why: "each command needs the mirror, the state directory and the recipe as options"
                    .to_owned(),
                fix: "`stx-builds init` writes one; --config, or STX_BUILDS_CONFIG, names another"
                    .to_owned(),
            });
            return Ok((case, findings));
        };
        case.text = fs_err::read_to_string(&file).map_err(Error::usage)?;
        let (service, found) = ServiceConfig::read(&case.text);
        let mut of_file: ConfigErrors = mistakes;
        of_file.extend(found.in_file(&file));
        case.service = service;
        let dir = absolute(file.parent().unwrap_or(Utf8Path::new("")))?;
        if let Some(service) = &mut case.service {
            service.resolve(&dir);
        }
        findings.extend(case.recipes(&mut of_file));
        let meant = of_file.iter().filter_map(|mistake| meant(&mistake.message));
        case.meant = meant.map(str::to_owned).collect();
        findings.extend(of_file.into_iter().map(of_configuration));
        findings.extend(case.policy());
        case.mirror().await;
        case.user = case.builder();
        Ok((case, findings))
    }

    /// The position of an entry of the configuration, or of the innermost existing table around it.
    pub(super) fn at(&self, path: &[&str]) -> Option<Position> {
        position(&self.text, path)
    }

    /// A finding about an entry of the configuration.
    pub(super) fn finding(
        &self,
        severity: Severity,
        subject: Subject,
        path: &[&str],
        [message, why, fix]: [String; 3],
    ) -> Finding {
        Finding {
            severity,
            file: self.file.clone(),
            at: self.at(path),
            subject,
            message,
            why,
            fix,
        }
    }

    /// The directory of the mirror, if the mirror is a directory.
    pub(super) fn mirror_dir(&self) -> Option<Utf8PathBuf> {
        let mirror = self.site.options.mirror.as_deref()?;
        (MirrorLocation::of(mirror) == MirrorLocation::Directory).then(|| mirror.to_owned())
    }

    /// The directory in which builds work.
    pub(super) fn state_dir(&self) -> Option<Utf8PathBuf> {
        let options = &self.site.options;
        let mirror = options.mirror.as_deref().unwrap_or(Utf8Path::new(""));
        options.state(mirror).ok()
    }

    /// Reads the recipes that the configuration names, and resolves the branches whose recipes are valid.
    fn recipes(&mut self, of_file: &mut ConfigErrors) -> Vec<Finding> {
        let options = &self.site.options;
        let mut findings = Vec::new();
        let mut read: BTreeMap<Utf8PathBuf, Option<Recipe>> = BTreeMap::new();
        let mut service = self.service.take();
        let mut wanted = Vec::new();
        let branches = service.iter().flat_map(|service| &service.branches);
        for branch in branches {
            let at = match &branch.recipe {
                Some(_) => Some(branch.at),
                None => self.at(&["recipe"]),
            };
            match branch.recipe.clone().or_else(|| options.recipe.clone()) {
                Some(recipe) => wanted.push((recipe, true, at)),
                None => of_file.extend([ConfigError {
                    file: self.file.clone(),
                    at: Some(branch.at),
                    message: "no recipe is named: neither `recipe` here nor that of the file"
                        .to_owned(),
                }]),
            }
        }
        if let Some(recipe) = &options.recipe {
            // Without a service, users build with this recipe; with a service, only builds on demand of other branches use it.
            wanted.push((recipe.clone(), service.is_none(), self.at(&["recipe"])));
        }
        for (file, is_used, at) in wanted {
            if read.contains_key(&file) {
                continue;
            }
            let severity = if is_used {
                Severity::Error
            } else {
                Severity::Warning
            };
            let recipe = match recipe_findings(&file, &options.variables) {
                Ok(Ok(recipe)) => Some(recipe),
                Ok(Err(mistakes)) => {
                    findings.extend(
                        mistakes
                            .into_iter()
                            .map(|mistake| of_recipe(mistake, severity)),
                    );
                    None
                }
                Err(failure) => {
                    findings.push(Finding {
                        severity,
                        file: self.file.clone(),
                        at,
                        subject: Subject::Recipe,
                        message: failure.chain(),
                        why: NO_BUILD.to_owned(),
                        fix: "name an existing recipe file that the service's user can read"
                            .to_owned(),
                    });
                    None
                }
            };
            self.has_all_recipes &= recipe.is_some();
            read.insert(file.clone(), recipe.clone());
            self.recipes.extend(recipe.map(|recipe| Named {
                file,
                recipe,
                is_used,
                at,
            }));
        }
        if let Some(service) = &mut service {
            let resolve = |branch: &BranchConfig| {
                let file = branch.recipe.clone().or_else(|| options.recipe.clone())?;
                let recipe = read.get(&file)?.as_ref()?;
                Some((file, recipe.channel(branch.release.clone())))
            };
            // The channels of other branches were reported with their recipes.
            let open = service
                .branches
                .iter()
                .filter(|branch| resolve(branch).is_none());
            self.open = open.map(|branch| branch.release.clone()).collect();
            let mut sound = service.clone();
            sound.branches.retain(|branch| resolve(branch).is_some());
            let unread = || "its recipe is not read".to_owned();
            match sound.setup(|branch| resolve(branch).ok_or_else(unread)) {
                Ok(setup) => {
                    let built = setup.watches.iter().map(|watch| watch.channel.clone());
                    self.channels.extend(built);
                    self.setup = Some(setup);
                }
                Err(mistakes) => match &self.file {
                    Some(file) => of_file.extend(mistakes.in_file(file)),
                    None => of_file.extend(mistakes),
                },
            }
        }
        self.service = service;
        findings
    }

    /// Reads the policy.
    fn policy(&mut self) -> Vec<Finding> {
        let Some(file) = self.site.options.policy() else {
            return Vec::new();
        };
        let why = "a policy with a mistake retires no builds, and the disk fills";
        let form = "docs/retention.md describes the form";
        match policy_file(file) {
            Ok(Ok(policy)) => {
                self.policy = Some(policy);
                Vec::new()
            }
            Ok(Err(mistakes)) => {
                let of_policy = |ConfigError { file, at, message }| Finding {
                    severity: Severity::Error,
                    file,
                    at,
                    subject: Subject::Policy,
                    fix: fix_of(&message, form),
                    message,
                    why: why.to_owned(),
                };
                mistakes.into_iter().map(of_policy).collect()
            }
            Err(failure) => vec![self.finding(
                Severity::Error,
                Subject::Policy,
                &["policy"],
                [
                    failure.chain(),
                    why.to_owned(),
                    format!("write the file, or remove `policy`: then the rules of the specification apply; {form}"),
                ],
            )],
        }
    }

    /// Reads the content of a mirror in a directory.
    async fn mirror(&mut self) {
        if self.mirror_dir().is_none() {
            return;
        }
        let store = match self.site.mirror() {
            Ok(store) => store,
            // The first build creates it.
            Err(failure) if failure.kind == ErrorKind::NotFound => return,
            Err(failure) => {
                self.no_mirror = Some(failure);
                return;
            }
        };
        if let Ok(catalog) = store.catalog(&Scope::All).await {
            self.channels.extend(catalog.channels.keys().cloned());
            self.catalog = Some(catalog);
        }
    }

    /// The user that builds.
    fn builder(&self) -> u32 {
        let spool = self
            .service
            .as_ref()
            .and_then(|service| service.spool.clone());
        let owners = [self.state_dir(), spool].into_iter().flatten();
        let mut owners = owners.filter_map(|dir| Some(self.machine.entry(&dir).ok()?.uid));
        owners.next().unwrap_or_else(|| self.machine.user())
    }
}

const NO_BUILD: &str = "no build of this recipe starts";

/// The word that a message suggests.
fn meant(message: &str) -> Option<&str> {
    let (_, rest) = message.rsplit_once("did you mean `")?;
    rest.split('`').next()
}

/// The correction that a message itself suggests, else the document that describes the form.
fn fix_of(message: &str, form: &str) -> String {
    match meant(message) {
        Some(word) => format!("write `{word}`; {form}"),
        None => form.to_owned(),
    }
}

fn of_configuration(ConfigError { file, at, message }: ConfigError) -> Finding {
    Finding {
        severity: Severity::Error,
        file,
        at,
        subject: Subject::Configuration,
        fix: fix_of(&message, FORM),
        message,
        why: "commands and the service refuse a configuration with a mistake".to_owned(),
    }
}

fn of_recipe(ConfigError { file, at, message }: ConfigError, severity: Severity) -> Finding {
    Finding {
        severity,
        file,
        at,
        subject: Subject::Recipe,
        fix: fix_of(&message, RECIPE_FORM),
        message,
        why: NO_BUILD.to_owned(),
    }
}
