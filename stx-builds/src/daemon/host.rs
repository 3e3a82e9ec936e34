//! The machine that the service runs on.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sd_notify::NotifyState;
use stx_layout::{AliasEntry, BuildId, Catalog, ReleaseId, VerdictEntry};
use stx_pipeline::Cancel;
use stx_publish::{MirrorStore, Scope};
use stx_service::metrics::Prunes;
use stx_service::status::Pulse;
use stx_service::trigger::Target;
use stx_service::{ChannelFacts, Disk, Facts, Host, Lab, Marking, Message, Notice, Pruned, Tested};

use super::board::Board;
use super::dashboard;
use super::hook::Hook;
use super::lab::LabTest;
use super::setup::{ReadOptions, Service, service_dir};
use super::spool::Spool;
use crate::build::BuildArea;
use crate::error::Error;
use crate::files::{self, Durable};
use crate::retention::Forecast;
use crate::site::clock;
use crate::users::{is_member, user_name};
use crate::{pages, retention, verdicts};

/// The interval at which the metrics are written.
const METRICS: Duration = Duration::from_secs(10);

/// The days of the dashboard's forecast.
const DAYS: u32 = 30;

/// The interval at which signed pages are checked, so that a mirror without publications does not seem to be outdated.
const PAGES: Duration = Duration::from_hours(1);

/// Clock, spool, mirror, disks, hook and service manager.
pub(super) struct LocalHost {
    pub(super) read: Arc<ReadOptions>,
    area: BuildArea,
    service: RwLock<Service>,
    spool: Spool,
    board: Board,
    hook: Mutex<Option<Hook>>,
    written: Mutex<Option<Instant>>,
    renewed: Mutex<Option<Instant>>,
    /// The builds and bytes that retention removed.
    prunes: Mutex<Prunes>,
    /// The newest forecast for the dashboard, and its time.
    forecast: Mutex<Option<(Instant, Option<Forecast>)>>,
}

impl LocalHost {
    pub(super) fn new(
        area: BuildArea,
        read: Arc<ReadOptions>,
        service: Service,
    ) -> Result<Self, Error> {
        let (spool, problem) = Spool::open(&service.spool(&area))?;
        problem
            .as_deref()
            .into_iter()
            .for_each(|problem| area.site.log(problem));
        let (board, problem) = Board::new(&service.spool(&area));
        problem
            .as_deref()
            .into_iter()
            .for_each(|problem| area.site.log(problem));
        // Continues the numbers of an earlier service; without its file they start anew.
        let file = service.config.metrics.as_ref();
        let text = file.and_then(|file| fs_err::read_to_string(file).ok());
        let prunes = text.map(|text| Prunes::read(&text)).unwrap_or_default();
        let hook = Hook::new(Arc::new(area.site.clone()));
        Ok(Self {
            read,
            area,
            service: RwLock::new(service),
            spool,
            board,
            hook: Mutex::new(Some(hook)),
            written: Mutex::new(None),
            renewed: Mutex::new(None),
            prunes: Mutex::new(prunes),
            forecast: Mutex::new(None),
        })
    }

    pub(super) fn replace(&self, service: Service) {
        *self.service.write().unwrap_or_else(PoisonError::into_inner) = service;
    }

    fn service(&self) -> Service {
        let service = self.service.read().unwrap_or_else(PoisonError::into_inner);
        service.clone()
    }

    /// Periodically signs again the indexes whose remaining validity is less than half.
    async fn renew(&self, store: &dyn MirrorStore) {
        let service = self.service();
        if !service.options.signing.signs() {
            return;
        }
        {
            let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            if renewed.is_some_and(|at| at.elapsed() < PAGES) {
                return;
            }
            *renewed = Some(Instant::now());
        }
        let site = self.area.site.with_options(service.options);
        pages::renew(&site, store, site.now).await;
    }

    /// Periodically forecasts the use of the disk for the dashboard. Not at every look, since it reads all records.
    async fn foretell(&self) {
        let service = self.service();
        if service.config.dashboard.is_none() {
            return;
        }
        {
            let mut forecast = self.forecast.lock().unwrap_or_else(PoisonError::into_inner);
            if forecast
                .as_ref()
                .is_some_and(|(at, _)| at.elapsed() < PAGES)
            {
                return;
            }
            // Only one forecast at a time; the old one is shown meanwhile.
            let old = forecast.take().and_then(|(_, old)| old);
            *forecast = Some((Instant::now(), old));
        }
        let site = self.area.site.with_options(service.options);
        match site.forecast(DAYS, []).await {
            Ok(made) => {
                let mut forecast = self.forecast.lock().unwrap_or_else(PoisonError::into_inner);
                *forecast = Some((Instant::now(), Some(made)));
            }
            Err(failure) => {
                let why = failure.line();
                self.area
                    .site
                    .log(&format!("the dashboard has no forecast: {why}"));
            }
        }
    }

    /// Writes the dashboard if there is a new status.
    fn write_dashboard(&self, pulse: &Pulse<'_>, service: &Service) {
        let Some(file) = &service.config.dashboard else {
            return;
        };
        let Some(status) = self.board.take_new() else {
            return;
        };
        let forecast = self.forecast.lock().unwrap_or_else(PoisonError::into_inner);
        let forecast = forecast
            .as_ref()
            .and_then(|(_, forecast)| forecast.as_ref());
        let text = dashboard::page(&status, pulse.facts, forecast);
        // The page is rewritten soon and need not survive a power loss.
        if let Err(error) = files::replace(file, text.as_bytes(), Durable::No) {
            self.area.site.log(&format!("dashboard: {error}"));
        }
    }

    /// Waits up to `limit` for the remaining notices, after all builds have ended.
    pub(super) async fn finish(&self, limit: Duration) {
        self.board.finish();
        let hook = self
            .hook
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(hook) = hook {
            hook.finish(limit).await;
        }
    }
}

#[async_trait]
impl Host for LocalHost {
    fn now(&self) -> DateTime<Utc> {
        clock()
    }

    fn messages(&self) -> Vec<Message> {
        let found = self.spool.read();
        found
            .problems
            .iter()
            .for_each(|problem| self.area.site.log(problem));
        found.messages
    }

    fn has_message(&self, id: &str) -> bool {
        self.spool.has(id)
    }

    fn discard(&self, id: &str) {
        if let Some(problem) = self.spool.discard(id) {
            self.area.site.log(&problem);
        }
    }

    fn may_cancel_all(&self, uid: u32) -> bool {
        let own = [0, rustix::process::geteuid().as_raw()];
        let service = self.service().config;
        let group = service.cancel_group.as_deref();
        own.contains(&uid)
            || group.is_some_and(|group| {
                // A failed look-up permits nothing.
                is_member(group, uid).unwrap_or_else(|why| {
                    self.area.site.log(&format!("cancel_group {group}: {why}"));
                    false
                })
            })
    }

    fn user_name(&self, uid: u32) -> String {
        user_name(uid)
    }

    async fn mark(&self, entry: &VerdictEntry) -> Marking {
        let site = self.area.site.with_options(self.service().options);
        match self.area.published() {
            Ok(Some(store)) => verdicts::record_late(&site, &*store, entry).await,
            Ok(None) => Marking::Refused("there is no mirror yet".to_owned()),
            Err(failure) => Marking::Later(failure.line()),
        }
    }

    async fn test(&self, lab: &Lab, build: &BuildId, request: u64, cancel: &Cancel) -> Tested {
        let site = self.area.site.with_options(self.service().options);
        let test = LabTest {
            site: &site,
            lab,
            build,
            request,
            dir: &service_dir(&self.area).join("labs").join(&lab.name),
            mirror: &self.area.mirror,
        };
        test.run(cancel).await
    }

    fn target(&self, release: &ReleaseId, git: &str) -> Result<Target, String> {
        self.service().target(release, git)
    }

    async fn survey(&self) -> Facts {
        let mut facts = Facts {
            spool: self.spool.lost(),
            ..Facts::default()
        };
        let mirror = self.area.check_known();
        match mirror.and_then(|()| self.area.published()) {
            Ok(None) => {}
            Ok(Some(store)) => {
                match store.catalog(&Scope::All).await {
                    Ok(catalog) => facts.channels = channels(&catalog),
                    Err(error) => facts.unknown.push(error.to_string()),
                }
                self.renew(&*store).await;
                self.foretell().await;
            }
            Err(failure) => facts.unknown.push(failure.line()),
        }
        for dir in [&self.area.mirror, &self.area.state] {
            if !dir.exists() {
                continue;
            }
            match rustix::fs::statvfs(dir.as_std_path()) {
                Ok(found) => facts.disks.push(Disk {
                    dir: dir.to_string(),
                    total: found.f_blocks * found.f_frsize,
                    free: found.f_bavail * found.f_frsize,
                }),
                Err(error) => facts.unknown.push(format!("{dir}: {error}")),
            }
        }
        facts
    }

    async fn prune(&self) -> Result<Pruned, String> {
        let site = self.area.site.with_options(self.service().options);
        let pruned = retention::prune_now(&site).await;
        let pruned = pruned.map_err(|failure| failure.line());
        let mut counts = self.prunes.lock().unwrap_or_else(PoisonError::into_inner);
        counts.add(&pruned, clock());
        drop(counts);
        pruned
    }

    fn notify(&self, notice: Notice) {
        let service = self.service().config;
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hook) = &*hook {
            hook.call(&service.hook, service.hook_timeout, notice);
        }
    }

    fn pulse(&self, pulse: &Pulse<'_>) {
        let state = pulse.state();
        let status = format!("{} run, {} wait", state.runs.len(), state.queue.len());
        // Without a service manager there is no receiver; if the manager does not receive it, its watchdog reports that.
        sd_notify::notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]).ok();
        let service = self.service();
        for problem in self.board.show(pulse, &self.area, &service) {
            self.area.site.log(&problem);
        }
        self.write_dashboard(pulse, &service);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.is_some_and(|at| at.elapsed() < METRICS) {
            return;
        }
        *written = Some(Instant::now());
        if let Some(file) = &service.config.metrics {
            let prunes = self.prunes.lock().unwrap_or_else(PoisonError::into_inner);
            let text = self.board.metrics(pulse, &prunes, clock());
            drop(prunes);
            // The metrics are rewritten soon and need not survive a power loss.
            if let Err(error) = files::replace(file, text.as_bytes(), Durable::No) {
                self.area.site.log(&format!("metrics: {error}"));
            }
        }
    }

    fn say(&self, text: &str) {
        self.area.site.log(text);
    }
}

/// The targets of the mirror's aliases, by channel.
fn channels(catalog: &Catalog) -> std::collections::BTreeMap<stx_layout::Channel, ChannelFacts> {
    let channels = catalog.channels.iter();
    channels
        .map(|(channel, entry)| {
            let aliases = entry.aliases.iter();
            let latest = aliases
                .filter(|(name, _)| name.to_string() == "latest_build")
                .find_map(|(_, alias)| match alias {
                    AliasEntry::Build(date) => Some(*date),
                    AliasEntry::Other(_) => None,
                });
            let facts = ChannelFacts {
                newest_success: entry.newest_success(),
                latest_build: latest,
            };
            (channel.clone(), facts)
        })
        .collect()
}
