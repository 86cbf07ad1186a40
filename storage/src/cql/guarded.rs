//! Rows that the replicas decide about: claimed, swapped, and settled where they did not answer.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::answers::{body_of, decision};
use super::statements::{Value, Verb};
use super::{AGAIN_AFTER, Cql, key_values, ttl_value};
use crate::error::StoreError;
use crate::port::{Claim, Key, Swap, Table};

impl Cql {
    /// What a guarded row holds, once all that was begun on it is decided. It is asked for as long as
    /// one answer may take.
    pub(super) async fn settled(
        &self,
        table: &'static Table,
        key: &Key,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let began = Instant::now();
        loop {
            match self.run(table, Verb::Settle, key_values(key)).await {
                Err(StoreError::Unavailable(_))
                    if began.elapsed() < self.0.options.request_timeout =>
                {
                    sleep(AGAIN_AFTER).await;
                }
                answer => return body_of(answer?),
            }
        }
    }

    /// Whether it applied, and what was there.
    async fn decide(
        &self,
        table: &'static Table,
        verb: Verb,
        values: Vec<Value<'_>>,
    ) -> Result<(bool, Option<Vec<u8>>), StoreError> {
        let result = self.run(table, verb, values).await?;
        decision(result)
    }

    pub(super) async fn claim_once(
        &self,
        table: &'static Table,
        key: &Key,
        body: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Claim, StoreError> {
        let mut values = key_values(key);
        values.extend([Value::Bytes(body), ttl_value(table, ttl)]);
        match self.decide(table, Verb::Claim, values).await {
            Ok((true, _)) => Ok(Claim::Won),
            Ok((false, Some(there))) => Ok(Claim::Lost(there)),
            Ok((false, None)) => Err(StoreError::Corrupt("a guarded row has no body".into())),
            // Whoever asks for all that was begun decides it.
            Err(StoreError::Unknown(cause)) => match self.settled(table, key).await {
                Ok(Some(there)) => Ok(Claim::Lost(there)),
                Ok(None) => Err(StoreError::Unavailable(cause)),
                Err(_) => Err(StoreError::Unknown(cause)),
            },
            Err(error) => Err(error),
        }
    }

    pub(super) async fn swap_once(
        &self,
        table: &'static Table,
        key: &Key,
        expected: Option<&[u8]>,
        body: Option<&[u8]>,
    ) -> Result<Swap, StoreError> {
        let mut values = key_values(key);
        let decided = match (expected, body) {
            (None, None) => {
                let there = self.settled(table, key).await?;
                return Ok(there.map_or(Swap::Done, |there| Swap::Stale(Some(there))));
            }
            (None, Some(body)) => {
                values.extend([Value::Bytes(body), ttl_value(table, None)]);
                self.decide(table, Verb::Claim, values).await
            }
            (Some(expected), Some(body)) => {
                values.splice(..0, [ttl_value(table, None), Value::Bytes(body)]);
                values.push(Value::Bytes(expected));
                self.decide(table, Verb::Replace, values).await
            }
            (Some(expected), None) => {
                values.push(Value::Bytes(expected));
                self.decide(table, Verb::Remove, values).await
            }
        };
        match decided {
            Ok((true, _)) => Ok(Swap::Done),
            Ok((false, there)) => Ok(Swap::Stale(there)),
            Err(StoreError::Unknown(cause)) => match self.settled(table, key).await {
                Ok(there) if there.as_deref() == body => Ok(Swap::Done),
                Ok(there) if there.as_deref() == expected => Err(StoreError::Unavailable(cause)),
                // Perhaps it was done, and another after it.
                _ => Err(StoreError::Unknown(cause)),
            },
            Err(error) => Err(error),
        }
    }
}
