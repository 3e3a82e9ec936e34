//! Sequences of objects of which the newest counts: a compare-and-swap for servers that can only create objects.

use serde::de::DeserializeOwned;

use super::keys;
use super::objects::Objects;
use stx_publish::store::StoreError;

fn parse<T: DeserializeOwned>(name: String, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged {
        what: name,
        source: error.into(),
    })
}

impl Objects {
    /// The existing generations below a prefix, oldest first.
    pub(super) async fn generations(&self, prefix: &str) -> Result<Vec<u64>, StoreError> {
        let listed = self.list(prefix).await?;
        let numbers = listed.iter().filter_map(|it| keys::number(&it.name));
        Ok(numbers.collect())
    }

    /// The newest generation below a prefix, and its number; `None` if none ever existed.
    pub(super) async fn newest<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Option<(u64, T)>, StoreError> {
        // A generation that is deleted between listing and reading was replaced by a newer one.
        for _ in 0..8 {
            let Some(&number) = self.generations(prefix).await?.last() else {
                return Ok(None);
            };
            let name = keys::generation(prefix, number);
            let Some((bytes, _)) = self.get(&name).await? else {
                continue;
            };
            return parse(name, &bytes).map(|text| Some((number, text)));
        }
        Err(StoreError::Conflict {
            what: prefix.to_owned(),
            expected: "a name that is left alone for an instant".to_owned(),
            found: "one that changes all the time".to_owned(),
        })
    }

    /// The generation that a listing named as the newest, or one that has replaced it since.
    pub(super) async fn listed<T: DeserializeOwned>(
        &self,
        prefix: &str,
        number: u64,
    ) -> Result<Option<(u64, T)>, StoreError> {
        let name = keys::generation(prefix, number);
        match self.get(&name).await? {
            None => self.newest(prefix).await,
            Some((bytes, _)) => parse(name, &bytes).map(|text| Some((number, text))),
        }
    }

    /// Deletes those of `known` that are older than `generation`.
    pub(super) async fn delete_older(
        &self,
        prefix: &str,
        known: &[u64],
        generation: u64,
    ) -> Result<(), StoreError> {
        let older = known.iter().filter(|number| **number < generation);
        let older = older.map(|number| keys::generation(prefix, *number));
        self.delete(older.collect::<Vec<_>>()).await
    }
}
