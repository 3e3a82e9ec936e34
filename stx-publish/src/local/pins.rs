//! The pins of a mirror in a directory: one small file per build, replaced as a whole by a rename.

use std::io::ErrorKind;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::{BuildDate, BuildId, Pin};

use super::Inner;
use super::disk::{io_error, remove_durably, replace_file};
use super::private::{MARK, PINS};
use crate::store::rules::{PinFile, check_there, is_within, put_pin, take_pin};
use crate::store::{Scope, StoreError};

/// The pins in a file; all of them must be of its build.
fn read(id: &BuildId, file: &Utf8Path) -> Result<Vec<Pin>, StoreError> {
    match fs::read(file) {
        Ok(text) => PinFile::read(id, file.as_str(), &text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(io_error("read", file)(source)),
    }
}

impl Inner {
    fn pin_file(&self, id: &BuildId) -> Utf8PathBuf {
        self.area(PINS, &id.channel)
            .join(format!("{}.json", id.date))
    }

    pub(super) fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError> {
        let builds = match scope {
            Scope::Build(id) => vec![id.clone()],
            Scope::All | Scope::Channel(_) => self.builds_with(PINS, scope)?,
        };
        let mut pins = Vec::new();
        for id in builds {
            if !is_within(&id, scope) {
                continue;
            }
            match read(&id, &self.pin_file(&id)) {
                Ok(found) => pins.extend(found),
                Err(error @ StoreError::Damaged { .. }) => pins.push(PinFile::unknown(id, &error)),
                Err(error) => return Err(error),
            }
        }
        Ok(pins)
    }

    /// The builds of the channels within `scope` that have a file in an area of the private directory, sorted.
    pub(super) fn builds_with(
        &self,
        area: &str,
        scope: &Scope,
    ) -> Result<Vec<BuildId>, StoreError> {
        let files = self.entries(area, scope)?.into_iter();
        let mut builds: Vec<_> = files
            .filter_map(|(channel, name, _)| {
                let date: BuildDate = name.strip_suffix(".json")?.parse().ok()?;
                Some(BuildId::new(channel, date))
            })
            .collect();
        builds.sort();
        Ok(builds)
    }

    pub(super) fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        let id = &pin.build;
        let is_there = fs::symlink_metadata(self.build_dir(id)).is_ok_and(|found| found.is_dir());
        let is_known = is_there || self.retired()?.iter().any(|it| it.is_whole(id));
        check_there(id, is_known)?;
        let mut pins = read(id, &self.pin_file(id))?;
        put_pin(&mut pins, pin);
        self.write_pins(id, pins)
    }

    pub(super) fn unpin(&self, id: &BuildId, author: &str) -> Result<Pin, StoreError> {
        let mut pins = read(id, &self.pin_file(id))?;
        let pin = take_pin(id, &mut pins, author)?;
        self.write_pins(id, pins)?;
        Ok(pin)
    }

    fn write_pins(&self, id: &BuildId, pins: Vec<Pin>) -> Result<(), StoreError> {
        let file = self.pin_file(id);
        self.make_durable(&self.area(PINS, &id.channel))?;
        if pins.is_empty() {
            self.step("unpin")?;
            return remove_durably(&file);
        }
        let staging = self.staging(&id.channel);
        self.make_area(&staging)?;
        let text = PinFile { pins }.to_json();
        self.step("pin")?;
        replace_file(&text, 0o600, &staging.join(format!("{MARK}pin")), &file)
    }
}
