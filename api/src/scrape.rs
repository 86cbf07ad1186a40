//! The metrics as Prometheus reads them, on an address of their own.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use storage::embedded::{Embedded, Stats};

/// Everything that was counted in this process, and what the store did since it was opened.
pub fn router(store: Option<Arc<Embedded>>) -> Router {
    let recorder = recorder();
    let text = move || async move {
        if let Some(store) = store {
            tell(&store.stats());
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

/// The process's recorder of metrics: one, however many servers run in it.
fn recorder() -> PrometheusHandle {
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
