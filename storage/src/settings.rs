//! A tenant's small things, one partition of rows by kind, and the logins of its people. Who changed
//! what is written with the change, and so are where an API key is found, and which accounts want
//! something done by itself.

use std::sync::Arc;

use engine::account::Account;
use engine::activity::Activity;
use engine::id::{AccountId, SessionId, TenantId};
use engine::identity::api_key::ApiKey;
use engine::identity::session::Session;
use engine::resource::SettingKind;
use engine::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::activity;
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{alone, id, uuid};
use crate::port::{Batch, Change, Key, Part, Scan, Stamp, Store};
use crate::steps::in_steps;
use crate::tables::{ACCOUNTS_DUE, FOR_EVER, SESSIONS, SETTINGS};

/// Rows of a page.
const PAGE: usize = 500;

/// Settings of tenants, and sessions.
#[derive(Clone)]
pub struct Settings {
    store: Arc<dyn Store>,
}

/// A row of a tenant's settings.
#[derive(Clone, Debug)]
pub struct SettingRow {
    pub kind: i64,
    pub id: Uuid,
    body: Vec<u8>,
}

/// A change of a tenant's settings.
#[derive(Clone, Debug)]
pub enum SettingChange {
    Put(SettingRow),
    Delete(SettingKind, Uuid),
    /// Who made the others, and what they changed.
    Note(Activity),
}

impl SettingRow {
    /// A row of a value.
    pub fn new<T: Serialize>(kind: SettingKind, id: Uuid, value: &T) -> Self {
        Self { kind: kind as i64, id, body: encode(value) }
    }

    /// Its value.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        decode(&self.body)
    }
}

impl Settings {
    /// On this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// All rows of a tenant.
    pub async fn load(&self, tenant: TenantId) -> Result<Vec<SettingRow>, StoreError> {
        let mut all: Vec<SettingRow> = Vec::new();
        let mut next = Some(Scan::of(&SETTINGS, vec![id(tenant.0)], PAGE));
        while let Some(scan) = next {
            let page = self.store.scan(scan.clone()).await?;
            next = scan.behind(&page);
            all.extend(page.into_iter().filter_map(|row| match row.clustering.first() {
                Some(Part::Int(kind)) => {
                    let id = uuid(row.clustering.get(1))?;
                    Some(SettingRow { kind: *kind, id, body: row.body })
                }
                _ => None,
            }));
        }
        Ok(all)
    }

    /// Changes rows of one tenant, as one. Whose an API key is can be read as long as the key is
    /// there.
    pub async fn change(
        &self,
        tenant: TenantId,
        changes: Vec<SettingChange>,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let key =
            |kind: i64, row: Uuid| Key::new(vec![id(tenant.0)], vec![Part::Int(kind), id(row)]);
        let (mut before, mut written) = (Vec::new(), Vec::with_capacity(changes.len()));
        for change in changes {
            before.extend(login_of(tenant, &change)?);
            before.extend(due_of(tenant, &change)?);
            written.push(match change {
                SettingChange::Put(SettingRow { kind, id, body }) => {
                    let ttl = (kind == SettingKind::UsedKey as i64)
                        .then_some(std::time::Duration::from_secs(8 * 24 * 3600));
                    Change::Put { table: &SETTINGS, key: key(kind, id), body, ttl }
                }
                SettingChange::Delete(kind, id) => {
                    Change::Delete { table: &SETTINGS, key: key(kind as i64, id) }
                }
                SettingChange::Note(activity) => activity::written(tenant, &activity),
            });
        }
        in_steps(&*self.store, stamp, [before, written]).await
    }

    /// The accounts of all tenants for which something is due by then.
    pub async fn accounts_due(
        &self,
        by: Timestamp,
    ) -> Result<Vec<(TenantId, AccountId)>, StoreError> {
        let mut due = Vec::new();
        let mut next = Some(Scan::of(&ACCOUNTS_DUE, vec![Part::Int(0)], PAGE));
        while let Some(scan) = next {
            let page = self.store.scan(scan.clone()).await?;
            next = scan.behind(&page);
            for row in page {
                let of = |at: usize| uuid(row.clustering.get(at));
                // Of one that cannot be read it is looked whether it is due.
                if decode::<Timestamp>(&row.body).is_ok_and(|at| at > by) {
                    continue;
                }
                if let (Some(tenant), Some(account)) = (of(0), of(1)) {
                    due.push((TenantId(tenant), AccountId(account)));
                }
            }
        }
        Ok(due)
    }

    /// A login.
    pub async fn session(&self, session: SessionId) -> Result<Option<Session>, StoreError> {
        let body = self.store.get(&SESSIONS, &alone(id(session.0))).await?;
        body.map(|body| decode(&body)).transpose()
    }

    /// Writes a login, and what that is in the organization's activity; the login is gone some time
    /// after it has ended by itself.
    pub async fn put_session(
        &self,
        session: &Session,
        note: Option<&Activity>,
        now: Timestamp,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let ttl = Some(session.expires_at.since(now) + std::time::Duration::from_secs(3600));
        let (key, body) = (alone(id(session.id.0)), encode(session));
        let mut changes = vec![Change::Put { table: &SESSIONS, key, body, ttl }];
        changes.extend(note.map(|note| activity::written(session.tenant, note)));
        self.store.apply(Batch { stamp, changes }).await
    }
}

/// What a change of an account changes of what is due.
fn due_of(tenant: TenantId, change: &SettingChange) -> Result<Option<Change>, StoreError> {
    let (account, at) = match change {
        SettingChange::Put(row) if row.kind == SettingKind::Account as i64 => {
            (row.id, row.value::<Account>()?.due_at())
        }
        SettingChange::Delete(SettingKind::Account, account) => (*account, None),
        _ => return Ok(None),
    };
    let key = Key::new(vec![Part::Int(0)], vec![id(tenant.0), id(account)]);
    Ok(Some(match at {
        Some(at) => Change::Put { table: &ACCOUNTS_DUE, key, body: encode(&at), ttl: None },
        None => Change::Delete { table: &ACCOUNTS_DUE, key },
    }))
}

/// What a change of an API key changes of the login by which it is found.
fn login_of(tenant: TenantId, change: &SettingChange) -> Result<Option<Change>, StoreError> {
    Ok(match change {
        SettingChange::Put(row) if row.kind == SettingKind::ApiKey as i64 => {
            let login = Session::of_key(&row.value::<ApiKey>()?, tenant);
            let (key, body) = (alone(id(login.id.0)), encode(&login));
            Some(Change::Put { table: &SESSIONS, key, body, ttl: Some(FOR_EVER) })
        }
        SettingChange::Delete(SettingKind::ApiKey, row) => {
            Some(Change::Delete { table: &SESSIONS, key: alone(id(*row)) })
        }
        _ => None,
    })
}
