//! Bodies of rows: MessagePack with named fields, so that fields may be added.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;

/// A body of a value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut body = Vec::with_capacity(512);
    let mut to = rmp_serde::Serializer::new(&mut body).with_struct_map();
    value.serialize(&mut to).expect("writing to memory does not fail");
    body
}

/// The value of a body.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(body)
        .map_err(|error| StoreError::Corrupt(format!("a row cannot be read: {error}").into()))
}
