//! What may exist once: a claim names what owns it, and a repeated claim finds its own.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, text};
use crate::port::{Claim, Key, Store, Swap};
use crate::tables::NAMES;

/// Names, each with the value of whoever claimed it first.
#[derive(Clone)]
pub struct Names {
    store: Arc<dyn Store>,
}

/// What may exist once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// A tenant, or nil for the whole installation.
    pub scope: Uuid,
    /// E.g. `phone`, or `phone:<account>` within one account.
    pub kind: String,
    pub name: String,
}

impl Names {
    /// On this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Who holds a name.
    pub async fn get<T: DeserializeOwned>(&self, name: &Name) -> Result<Option<T>, StoreError> {
        self.store.get(&NAMES, &name.key()).await?.map(|body| decode(&body)).transpose()
    }

    /// Claims a name; answers who holds it then: we, or who came first.
    pub async fn claim<T>(&self, name: &Name, value: T) -> Result<T, StoreError>
    where
        T: Serialize + DeserializeOwned,
    {
        match self.store.claim(&NAMES, name.key(), encode(&value), None).await? {
            Claim::Won => Ok(value),
            Claim::Lost(body) => decode(&body),
        }
    }

    /// Replaces who holds a name, if it is still `expected`. Answers whether it was.
    pub async fn swap<T: Serialize>(
        &self,
        name: &Name,
        expected: &T,
        value: &T,
    ) -> Result<bool, StoreError> {
        let (expected, value) = (Some(encode(expected)), Some(encode(value)));
        Ok(self.store.swap(&NAMES, name.key(), expected, value).await? == Swap::Done)
    }

    /// Gives a name back, if it is still held by `expected`.
    pub async fn release<T: Serialize>(&self, name: &Name, expected: &T) -> Result<(), StoreError> {
        let expected = Some(encode(expected));
        self.store.swap(&NAMES, name.key(), expected, None).await.map(|_| ())
    }
}

impl Name {
    /// Of the whole installation.
    pub fn global(kind: &str, name: &str) -> Self {
        Self { scope: Uuid::nil(), kind: kind.to_owned(), name: name.to_owned() }
    }

    fn key(&self) -> Key {
        Key::new(vec![id(self.scope), text(&self.kind), text(&self.name)], Vec::new())
    }
}
