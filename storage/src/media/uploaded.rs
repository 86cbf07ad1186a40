//! Which files a provider has from an account, so that the same is not taken there again.

use engine::id::AccountId;

use super::Media;
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, text};
use crate::port::{Change, Key};
use crate::tables::UPLOADED;

impl Media {
    /// The provider's id of a file with this hash, as long as it surely has it.
    pub async fn uploaded(
        &self,
        account: AccountId,
        sha256: &str,
    ) -> Result<Option<String>, StoreError> {
        let body = self.0.store.get(&UPLOADED, &key(account, sha256)).await?;
        body.map(|body| decode(&body)).transpose()
    }

    /// The provider has it under this id.
    pub async fn has_uploaded(
        &self,
        account: AccountId,
        sha256: &str,
        provider_media_id: &str,
    ) -> Result<(), StoreError> {
        let (table, key) = (&UPLOADED, key(account, sha256));
        let body = encode(&provider_media_id);
        self.apply(vec![Change::Put { table, key, body, ttl: None }]).await
    }

    /// The provider does not have it any more.
    pub async fn has_lost(&self, account: AccountId, sha256: &str) -> Result<(), StoreError> {
        self.apply(vec![Change::Delete { table: &UPLOADED, key: key(account, sha256) }]).await
    }
}

fn key(account: AccountId, sha256: &str) -> Key {
    Key::new(vec![id(account), text(sha256)], Vec::new())
}
