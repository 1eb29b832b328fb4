//! `/api/v1`: handlers as plain functions of a parsed request, run on blocking threads where they read the
//! store, and stopped when the client goes away.

mod admin;
mod alertmanagers;
mod ast;
mod filter;
mod labels;
mod params;
mod query;
mod rules;
mod search;
mod self_metrics;
pub(crate) mod status;
mod targets;

use std::sync::Arc;

use axum::response::Response;
use http::Method;
use storage::{Budget, CancelToken, QueryContext};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::compress::Encoding;
use crate::form::Form;
use crate::respond::{ApiError, ApiResult, ErrorKind, api_response};
use crate::routes::Route;
use crate::state::State;

/// What a handler needs of a request.
pub(crate) struct Call {
    pub(crate) form: Form,
    /// What `:name` matched, decoded.
    pub(crate) param: Vec<u8>,
    pub(crate) method: Method,
    /// Path as the client asked for it.
    pub(crate) path: String,
    /// Address of the client, "" where unknown.
    pub(crate) client: String,
    pub(crate) cancel: CancelToken,
}

impl Call {
    /// The context of a read that is not a query: no budget but that of all queries, no deadline.
    pub(crate) fn context(&self, state: &State) -> QueryContext {
        let o = &state.parts.options;
        QueryContext {
            budget: Budget::new(o.query_bytes_max, o.queries_bytes.clone()),
            cancel: self.cancel.clone(),
            deadline: None,
        }
    }
}

/// Cancels when dropped: hyper drops a handler's future when its client goes away.
pub(crate) struct CancelOnDrop(Option<CancelToken>);

impl CancelOnDrop {
    pub(crate) fn new(token: &CancelToken) -> Self {
        CancelOnDrop(Some(token.clone()))
    }

    /// No more to be cancelled.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(token) = &self.0 {
            token.cancel();
        }
    }
}

/// Runs a closure on a blocking thread (of `readers`, where there are such) within a slot; stops it when the caller goes away.
pub(crate) async fn on_thread<T: Send + 'static>(
    readers: Option<&Handle>,
    slots: &Arc<Semaphore>,
    cancel: &CancelToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    let _guard = CancelOnDrop::new(cancel);
    let run = move || {
        let _slot = slot;
        work()
    };
    let running = match readers {
        Some(readers) => readers.spawn_blocking(run),
        None => tokio::task::spawn_blocking(run),
    };
    running.await.ok()
}

/// What is told without reading the store: it must not wait for those who do.
fn knows_itself(route: Route) -> bool {
    matches!(
        route,
        Route::Alerts
            | Route::Rules
            | Route::Targets
            | Route::TargetsMetadata
            | Route::Metadata
            | Route::StatusRuntime
            | Route::StatusTsdb
            | Route::StatusBlocks
            | Route::SelfMetrics
    )
}

/// A text of so many bytes without a regular expression, which can take seconds to compile, is parsed where the
/// request came in: a millisecond.
const HERE_BYTES_MAX: usize = 16 << 10;

fn is_parsed_soon(text: &str) -> bool {
    text.len() <= HERE_BYTES_MAX && !text.contains('~')
}

/// Routes that upstream's agent does not have.
fn server_only(route: Route) -> bool {
    matches!(
        route,
        Route::Query
            | Route::QueryRange
            | Route::QueryExemplars
            | Route::FormatQuery
            | Route::ParseQuery
            | Route::Labels
            | Route::LabelValues
            | Route::Series
            | Route::SearchMetricNames
            | Route::SearchLabelNames
            | Route::SearchLabelValues
            | Route::Alertmanagers
            | Route::StatusTsdb
            | Route::StatusBlocks
            | Route::Alerts
            | Route::Rules
            | Route::DeleteSeries
            | Route::CleanTombstones
            | Route::Snapshot
            | Route::Import
            | Route::MigratePlan
            | Route::MigrateRun
            | Route::MigrateVerify
            | Route::MigrateSwitch
            | Route::MigrateRollback
            | Route::MigrateRelease
            | Route::MigrateStatus
    )
}

/// Answers a request of the API.
pub(crate) async fn respond(state: &State, route: Route, call: Call, encoding: Encoding) -> Response {
    if state.parts.options.agent && server_only(route) {
        let e = ApiError::new(ErrorKind::Execution, "unavailable with Prometheus Agent");
        return api_response(Err(e), encoding);
    }
    match route {
        Route::Query | Route::QueryRange => query::respond(state, route, call, encoding).await,
        // What reads no store and little memory is answered at once.
        Route::FormatQuery if is_parsed_soon(call.form.get("query")) => {
            api_response(query::format(state, &call), encoding)
        }
        Route::ParseQuery if is_parsed_soon(call.form.get("query")) => {
            api_response(query::parse(state, &call), encoding)
        }
        Route::ScrapePools => api_response(targets::pools(state), encoding),
        Route::ScrapePoolConfig => api_response(targets::pool_config(state, &call), encoding),
        Route::RelabelSteps => api_response(targets::relabel_steps(state, &call), encoding),
        Route::StatusConfig => api_response(status::config(state), encoding),
        Route::StatusBuild => api_response(status::build(state), encoding),
        Route::StatusFlags => api_response(status::flags(state), encoding),
        Route::WalReplay => api_response(status::replay(state), Encoding::Identity),
        Route::Notifications => api_response(status::notifications(state), Encoding::Identity),
        Route::NotificationsLive => state.notifications.live(),
        Route::Features => api_response(status::features(state), encoding),
        Route::SearchMetricNames | Route::SearchLabelNames | Route::SearchLabelValues
            if !state.parts.options.enable_search =>
        {
            api_response(Err(search::disabled()), Encoding::Identity)
        }
        Route::Alertmanagers => api_response(alertmanagers::alertmanagers(state), encoding),
        _ => {
            let cancel = call.cancel.clone();
            let owned = state.clone();
            // Upstream's stream is not compressed.
            let encoding = if route.is_search() { Encoding::Identity } else { encoding };
            let work = move || api_response(read(&owned, route, &call), encoding);
            let (readers, slots) = if knows_itself(route) {
                (None, &state.page_slots)
            } else {
                (state.parts.readers.as_ref(), &state.read_slots)
            };
            match on_thread(readers, slots, &cancel, work).await {
                Some(response) => response,
                None => api_response(Err(lost()), encoding),
            }
        }
    }
}

/// The error where a handler's thread died or the server is going down.
fn lost() -> ApiError {
    ApiError::new(ErrorKind::Internal, "the request failed inside the server; its log says why")
}

fn read(state: &State, route: Route, call: &Call) -> ApiResult {
    match route {
        Route::QueryExemplars => query::exemplars(state, call),
        Route::FormatQuery => query::format(state, call),
        Route::ParseQuery => query::parse(state, call),
        Route::Labels => labels::names(state, call),
        Route::LabelValues => labels::values(state, call),
        Route::Series => labels::series(state, call),
        Route::Alerts => rules::alerts(state),
        Route::Rules => rules::rules(state, call),
        Route::Targets => targets::targets(state, call),
        Route::TargetsMetadata => targets::targets_metadata(state, call),
        Route::Metadata => targets::metadata(state, call),
        Route::StatusRuntime => status::runtime(state),
        Route::StatusTsdb => status::tsdb(state, call),
        Route::StatusBlocks => status::blocks(state),
        Route::SelfMetrics => self_metrics::families(state, call),
        Route::SearchMetricNames | Route::SearchLabelNames | Route::SearchLabelValues => {
            search::search(state, route, call)
        }
        Route::DeleteSeries
        | Route::CleanTombstones
        | Route::Snapshot
        | Route::Import
        | Route::MigratePlan
        | Route::MigrateRun
        | Route::MigrateVerify
        | Route::MigrateSwitch
        | Route::MigrateRollback
        | Route::MigrateRelease
        | Route::MigrateStatus => admin::respond(state, route, call),
        _ => Err(lost()),
    }
}
