//! What a running server does by the clock, until it is stopped.

use std::time::Duration;

use actors::panics::caught_in;
use storage::names::Name;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::app::App;

/// What was left undone and could not be read is looked for again after this long.
const SWEEP_AGAIN: Duration = Duration::from_secs(5);
/// How often a store that takes no writes is asked again.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// Takes up what was left undone, and does for accounts what is due at their providers, at the start and
/// every hour. Nobody waits for it: a thread that is spoken to before takes up its own. A stop does not wait
/// for it either: whatever is left is done by the next one.
pub(super) fn sweep(app: App, mut stopping: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        tokio::select! {
            () = by_the_hour(&app) => {}
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {}
        }
    })
}

async fn by_the_hour(app: &App) {
    let mut hours = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hours.tick().await;
        tokio::join!(take_up(app), look_after_accounts(app));
    }
}

async fn look_after_accounts(app: &App) {
    let looked = Box::pin(app.outbox.look_after_accounts());
    if let Ok(Err(error)) = caught_in("accounts", looked).await {
        tracing::warn!(%error, "accounts were not looked after; it is tried again");
    }
}

async fn take_up(app: &App) {
    while let Ok(swept) = caught_in("sweep", Box::pin(app.desk.recover())).await {
        match swept {
            Ok(threads) => return tracing::info!(threads, "what was left undone is taken up"),
            Err(error) => tracing::warn!(%error, "what was left undone is looked for again"),
        }
        sleep(SWEEP_AGAIN).await;
    }
}

/// Takes away files that show nowhere, now and every hour.
pub(super) fn clear(app: App, mut stopping: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut hours = tokio::time::interval(Duration::from_secs(3600));
        let clear = async {
            loop {
                hours.tick().await;
                match caught_in("clear", Box::pin(app.fetcher.clear())).await {
                    Ok(Ok(files)) => tracing::info!(files, "files that showed nowhere are gone"),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "files that show nowhere stay for an hour");
                    }
                    Err(_) => {}
                }
            }
        };
        tokio::select! {
            () = clear => {}
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {}
        }
    })
}

/// Asks a store that refused a write until it takes one again: who is not ready gets no work by
/// which that would show.
pub(super) fn probe(app: App, mut stopping: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut takes = app.store.takes_writes();
        let ask = async {
            while takes.wait_for(|takes| !takes).await.is_ok() {
                tracing::error!(
                    "the store takes no writes: free space, or look at the disk or the cluster"
                );
                while !*takes.borrow() {
                    sleep(PROBE_EVERY).await;
                    // Once it is claimed nothing is written, but it would be refused all the same.
                    let _ = app.tenants.names().claim(&Name::global("store", "probe"), ()).await;
                }
                tracing::info!("the store takes writes again");
            }
        };
        tokio::select! {
            () = ask => {}
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {}
        }
    })
}
