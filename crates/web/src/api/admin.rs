//! `/admin/*`: what an operator asks of the store. Off unless `--web.enable-admin-api`.

use storage::QueryContext;

use super::{Call, params};
use crate::respond::{Answer, ApiError, ApiResult, ErrorKind, Success};
use crate::routes::Route;
use crate::state::{MigrationOrder, State};
use crate::text::parse_bool;

/// Answers one of the endpoints; on a thread of its own, since it may wait for a compaction.
pub(super) fn respond(state: &State, route: Route, call: &Call) -> ApiResult {
    if !state.parts.options.enable_admin_api {
        return Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled"));
    }
    let migrations = &state.parts.migrations;
    match route {
        Route::DeleteSeries => delete_series(state, call),
        Route::CleanTombstones => {
            let done = state.parts.status.clean_tombstones();
            done.map(|()| Success::NoContent).map_err(|e| internal(&e.to_string()))
        }
        Route::Import => import(state, call),
        Route::MigratePlan => {
            let plan = migrations.plan(&order(call)?).map_err(|e| internal(&format!("migrate: {e}")))?;
            let mut answer = Answer::new();
            answer.json.raw(&plan);
            Ok(answer.done())
        }
        Route::MigrateRun => told(state, migrations.run(&order(call)?)),
        Route::MigrateRelease => told(state, migrations.release(call.form.get("abandon") == "true")),
        Route::MigrateVerify => told(state, migrations.verify()),
        Route::MigrateSwitch => told(state, migrations.switch()),
        Route::MigrateRollback => told(state, migrations.rollback()),
        Route::MigrateStatus => Ok(migrate_status(state)),
        _ => snapshot(state, call),
    }
}

fn internal(text: &str) -> ApiError {
    ApiError::new(ErrorKind::Internal, text)
}

fn delete_series(state: &State, call: &Call) -> ApiResult {
    if let Some(e) = call.form.error() {
        return Err(ApiError::bad_data(format!("error parsing form values: {e}")));
    }
    if call.form.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let (start, end) = params::range(call)?;
    // A client that goes away does not stop a deletion half way.
    let ctx = QueryContext::unlimited();
    // One after the other, as upstream: what stands before a bad selector is deleted.
    for text in call.form.all("match[]") {
        // `{job=""}` deletes what has no job; no matcher at all selects nothing, not everything.
        let matchers = crate::selectors::one(&call.context(state).budget, text)
            .map_err(|e| e.api(|text| ApiError::parameter("match[]", text)))?;
        if !matchers.is_empty() {
            let done = state.parts.status.delete_series(&ctx, start.ms(), end.ms(), &matchers);
            done.map_err(|e| internal(&e.to_string()))?;
        }
    }
    Ok(Success::NoContent)
}

fn snapshot(state: &State, call: &Call) -> ApiResult {
    let text = call.form.get("skip_head");
    let skip_head = match text {
        "" => false,
        _ => parse_bool(text)
            .map_err(|e| ApiError::parameter("skip_head", format!("unable to parse boolean: {e}")))?,
    };
    let name =
        state.parts.status.snapshot(!skip_head).map_err(|e| internal(&format!("create snapshot: {e}")))?;
    let mut answer = Answer::new();
    answer.json.raw("{\"name\":").string(&name).raw("}");
    Ok(answer.done())
}

/// What is to be taken over: a Prometheus of this machine, whose data folder is `path`, or one behind the agent at
/// `agent`, whose key is in `keyFile`.
fn order(call: &Call) -> Result<MigrationOrder, ApiError> {
    let (path, agent, key_file) = (call.form.get("path"), call.form.get("agent"), call.form.get("keyFile"));
    if path.is_empty() == agent.is_empty() {
        return Err(ApiError::bad_data(
            "give either path, a data folder of this machine, or agent, as host:port",
        ));
    }
    for (name, text) in [("path", path), ("keyFile", key_file)] {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(ApiError::parameter(name, format!("{text:?} must begin with /")));
        }
    }
    if agent.is_empty() != key_file.is_empty() {
        return Err(ApiError::bad_data("agent and keyFile belong together"));
    }
    let bwlimit = match call.form.get("bwlimit") {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            ApiError::parameter("bwlimit", format!("{text:?} is no number of bytes a second"))
        })?),
    };
    Ok(MigrationOrder {
        source: if agent.is_empty() { path.into() } else { agent.into() },
        key_file: (!key_file.is_empty()).then(|| key_file.into()),
        bwlimit,
        hold: call.form.get("hold") == "true",
        offline: call.form.get("offline") == "true",
    })
}

fn told(state: &State, done: Result<(), String>) -> ApiResult {
    done.map(|()| migrate_status(state)).map_err(|e| internal(&format!("migrate: {e}")))
}

fn migrate_status(state: &State) -> Success {
    let mut answer = Answer::new();
    answer.json.raw(&state.parts.migrations.status());
    answer.done()
}

/// Takes in another data folder of this machine (`path`); upstream has no such endpoint. Without a path it
/// looks for blocks that came or went in the server's own folder.
fn import(state: &State, call: &Call) -> ApiResult {
    let path = call.form.get("path");
    if !path.is_empty() && !path.starts_with('/') {
        return Err(ApiError::parameter("path", format!("{path:?} must begin with /")));
    }
    let folder = (!path.is_empty()).then_some(std::path::Path::new(path));
    let blocks = state.parts.status.import(folder).map_err(|e| internal(&format!("import: {e}")))?;
    let mut answer = Answer::new();
    answer.json.raw("{\"blocks\":[");
    for (i, b) in blocks.iter().enumerate() {
        answer.json.raw(if i > 0 { ",{\"ulid\":" } else { "{\"ulid\":" }).string(&b.ulid);
        let numbers = format!(
            ",\"minTime\":{},\"maxTime\":{},\"numSamples\":{},\"how\":",
            b.mint_ms, b.maxt_ms, b.samples
        );
        answer.json.raw(&numbers).string(b.how).raw("}");
    }
    answer.json.raw("]}");
    Ok(answer.done())
}
