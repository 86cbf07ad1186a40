//! What goes wrong with webhooks on their way, and many that leave as one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Courier, lock};
use crate::bodies;

/// The most updates that Meta puts into one webhook.
const BATCH: usize = 1000;

/// What goes wrong with webhooks. Shares are from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The share that is posted twice at the same time, byte for byte.
    pub repeats: f64,
    /// The share that has everything in it twice.
    pub twice_in_one: f64,
    /// The share that is posted a second time in another envelope, as for a second app.
    pub in_two_posts: f64,
    /// The share that others overtake.
    pub late: f64,
    /// By how much, simulated time.
    #[serde(with = "crate::clock::millis")]
    pub late_by: Duration,
    /// The share whose text is not escaped.
    pub plain: f64,
    /// The share that somebody without the secret posts first.
    pub forged: f64,
    /// Updates leave together.
    pub batch: Option<Batch>,
}

/// When updates leave that wait to leave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// When there are so many, at most 1000.
    pub most: usize,
    /// Or when the first has waited so long, simulated time.
    #[serde(with = "crate::clock::millis")]
    pub within: Duration,
}

/// An update that waits for others.
#[derive(Debug)]
pub(super) struct Waiting {
    url: Arc<str>,
    webhook: Value,
    done: oneshot::Sender<bool>,
}

impl Courier {
    /// Waits for others, leaves with them, and says whether they were answered 200.
    pub(super) async fn in_batch(
        &self,
        url: Arc<str>,
        webhook: Value,
        batch: Batch,
        faults: &Faults,
    ) -> bool {
        let (done, answered) = oneshot::channel();
        let count = {
            let mut waiting = lock(&self.waiting);
            waiting.push(Waiting { url, webhook, done });
            waiting.len()
        };
        if count >= batch.most.clamp(1, BATCH) {
            self.full.notify_one();
        }
        if count == 1 {
            tokio::select! {
                () = self.full.notified() => {}
                () = self.clock.sleep(batch.within) => {}
            }
            self.flush(faults).await;
        }
        answered.await.unwrap_or_default()
    }

    /// Sends what waits, one webhook for each address.
    async fn flush(&self, faults: &Faults) {
        let mut all = std::mem::take(&mut *lock(&self.waiting));
        while let Some(first) = all.first() {
            let url = Arc::clone(&first.url);
            let fits = |waiting: &mut Waiting| waiting.url == url;
            let together: Vec<_> = all.extract_if(.., fits).take(BATCH).collect();
            let (webhooks, waiters): (Vec<_>, Vec<_>) =
                together.into_iter().map(|one| (one.webhook, one.done)).unzip();
            let taken = self.send(&url, bodies::batch(webhooks), faults).await;
            for waiter in waiters {
                // Whoever left does not want to know.
                let _told = waiter.send(taken);
            }
        }
    }
}

/// The same in another envelope.
pub(super) fn otherwise(webhook: &Value) -> Value {
    let mut other = webhook.clone();
    if let Some(entries) = other["entry"].as_array_mut() {
        for entry in entries {
            entry["time"] = json!(1_700_000_000);
        }
    }
    other
}
