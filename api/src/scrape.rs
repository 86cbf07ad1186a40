//! The metrics as Prometheus reads them, on an address of their own.

use std::sync::Arc;

use actors::desk::Desk;
use actors::permits::Amount;
use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use storage::embedded::{Embedded, Stats};

use crate::answers::Answers;
use crate::app::App;

/// Everything that was counted in this process, what the store did since it was opened, and how
/// old the oldest is of what is not done.
pub fn router(recorder: PrometheusHandle, app: App, store: Option<Arc<Embedded>>) -> Router {
    let text = move || async move {
        if let Some(store) = store {
            tell(&store.stats());
        }
        load(&app.desk, &app.answers);
        memory();
        metrics::gauge!("omnistream_search_segments").set(app.search.segments() as f64);
        let beside = [("sends", app.outbox.oldest()), ("search", app.search.oldest())];
        for (what, age) in app.desk.oldest().into_iter().chain(beside) {
            metrics::gauge!("omnistream_oldest_seconds", "what" => what).set(age.as_secs_f64());
        }
        recorder.render()
    };
    Router::new().route("/metrics", get(text))
}

fn tell(stats: &Stats) {
    metrics::counter!("omnistream_store_syncs_total").absolute(stats.groups);
    metrics::counter!("omnistream_store_commits_total").absolute(stats.batches);
    metrics::counter!("omnistream_store_rows_total").absolute(stats.writes);
    metrics::counter!("omnistream_store_log_bytes_total").absolute(stats.log_bytes);
    metrics::counter!("omnistream_store_stalls_total").absolute(stats.stalls);
    metrics::counter!("omnistream_store_refused_total").absolute(stats.refused);
    metrics::gauge!("omnistream_store_overlay_bytes").set(stats.overlay_bytes as f64);
}

fn load(desk: &Desk, answers: &Answers) {
    let (under_way, waiting) = (desk.permits().taken(), desk.waiting());
    let Amount { items, bytes } = waiting.amount();
    for (name, value) in [
        ("omnistream_inflight_items", under_way.items),
        ("omnistream_inflight_bytes", under_way.bytes),
        ("omnistream_waiting_items", items),
        ("omnistream_waiting_bytes", bytes),
        ("omnistream_waiting_threads", waiting.threads()),
        ("omnistream_pages_bytes", desk.pages().bytes()),
        ("omnistream_answers_bytes", answers.bytes()),
    ] {
        metrics::gauge!(name).set(value as f64);
    }
}

/// What the process holds itself, and what it has of files, which the system takes back when it needs it.
fn memory() {
    // Elsewhere than on Linux nobody says so.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (kind, name) in [("own", "RssAnon:"), ("files", "RssFile:")] {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        if let Some(kilobytes) = kilobytes {
            metrics::gauge!("omnistream_memory_bytes", "kind" => kind).set(kilobytes * 1024.0);
        }
    }
}

/// The process's recorder of metrics: one, however many servers run in it. What is counted before
/// it is there is counted nowhere.
pub fn recorder() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another recorder of metrics was there first");
            }
            handle
        })
        .clone()
}
