//! The status document, as those read it who may ask for builds.

use std::io;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use stx_service::status::{Answer, Read, Status};

use super::setup::Service;
use super::spool::{self, STATUS};
use crate::Site;
use crate::build::BuildArea;
use crate::error::{Error, ErrorKind};
use crate::site::clock;

/// How often the document is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A longer document is none of a service.
const LONGEST: u64 = 256 * 1024 * 1024;

impl Site {
    /// The directory of requests, in which the status document and the logs of running builds are.
    pub fn spool(&self, service: &Service) -> Result<Utf8PathBuf, Error> {
        Ok(service.spool(&BuildArea::new(self)?))
    }

    /// The status document that the service keeps in the spool; it is stale if the service does not run or hangs.
    pub fn service_status(&self, service: &Service) -> Result<Read, Error> {
        let dir = self.spool(service)?;
        let file = dir.join(STATUS);
        let text = spool::own_text(&dir, STATUS, LONGEST).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("{file}: the service has written no status yet"),
            )
            .hint("`stx-builds daemon` writes it when it starts"),
            io::ErrorKind::PermissionDenied => Error::usage(format!("{file}: {error}"))
                .hint("only members of the spool's group may read it"),
            _ => Error::usage(format!("{file}: {error}")),
        })?;
        Status::read(&text, clock()).map_err(|error| {
            let error = crate::error::chain(&error).to_string();
            Error::usage(format!("{file}: {error}"))
        })
    }
    /// Waits for the answer of a running service to a message; `None` if it has not come after `limit`, or cannot be read.
    pub async fn answer(
        &self,
        service: &Service,
        message: &str,
        limit: Duration,
    ) -> Option<Answer> {
        let end = Instant::now() + limit;
        loop {
            // Whoever cannot read it, or runs an older service, is given no number.
            if let Read::Fresh(status) = self.service_status(service).ok()?
                && let Some(answer) = status.answers.into_iter().rfind(|it| it.message == message)
            {
                return Some(answer);
            }
            if Instant::now() >= end || !self.service_running(service).ok()? {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
