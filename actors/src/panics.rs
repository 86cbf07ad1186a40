//! Panics: a bug of ours, which costs what it is about and nobody else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

/// Something panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

/// Does this; a panic is counted and is an answer. What it was at work on is not used afterwards.
pub fn caught<T>(at: &'static str, run: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| noted(at, &*panic))
}

/// The same of what takes its time.
pub async fn caught_in<T>(at: &'static str, run: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(run).catch_unwind().await.map_err(|panic| noted(at, &*panic))
}

fn noted(at: &'static str, panic: &(dyn Any + Send)) -> Panicked {
    // Words that were put together may quote what a customer wrote; a literal cannot.
    let words = panic.downcast_ref::<&'static str>().copied().unwrap_or("no literal");
    tracing::error!(at, words, "something panicked");
    metrics::counter!("omnistream_panics_total", "at" => at).increment(1);
    Panicked
}
