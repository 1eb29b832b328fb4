//! The life of the server: start, ready, reload, stop.

use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use telemetry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use web::{Readiness, ReloadRequest, notices};

use super::parts::{self, Sources};
use super::{Failure, auto_reload, new_series, not_built, slow_disk, steps};
use crate::args::ServerArgs;
use crate::late::LateDb;
use crate::reload::Reloader;
use crate::{embedded, logging, process_metrics};

/// Requests of `/-/reload` that wait: they are answered one by one, and a client that finds the queue full
/// waits in its connection.
const RELOADS_WAITING_MAX: usize = 16;

/// Runs the server until it is told to stop. Returns the exit code.
pub fn run(mut args: ServerArgs, program: &'static str, bare: bool) -> u8 {
    logging::start(args.log_level, args.log_format);
    let own_start = bare || (!args.is_given("config.file") && !Path::new(&args.config_file).exists());
    let embedded = program != "prometheus" && own_start;
    if embedded {
        args.storage_path =
            if args.is_given("storage.tsdb.path") { args.storage_path } else { "data/".into() };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return 1;
        }
    };
    let result = runtime.block_on(serve(args, embedded));
    // What still runs on blocking threads now is a query nobody waits for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => {
            tracing::info!("See you next time!");
            0
        }
        Err(failure) => {
            tracing::error!("{}", failure.text);
            failure.code
        }
    }
}

async fn serve(mut args: ServerArgs, embedded: bool) -> Result<(), Failure> {
    let sources = Sources::new(&args, embedded)?;
    // The first reading proves the file before anything is opened, and decides how the store is opened.
    let first = sources.read().map_err(|text| Failure {
        text: format!("Error loading config (--config.file={}): {text}", args.config_file),
        code: 2,
    })?;
    args.settle(&first.config);
    for what in not_built::given(&args) {
        tracing::warn!(
            "{what} is taken, but its part is not built into this version of godwit yet: see COMPAT.md"
        );
    }
    for warning in &args.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        version = process_metrics::TRACKED_VERSION,
        godwit = env!("CARGO_PKG_VERSION"),
        "Starting godwit"
    );

    let registry = Registry::new();
    process_metrics::register(&registry);
    let stop = CancellationToken::new();
    let late = LateDb::default();
    let (reload_requests, mut reloads) = mpsc::channel::<ReloadRequest>(RELOADS_WAITING_MAX);
    let built = parts::build(&args, &sources, &registry, &late, reload_requests, stop.clone())?;
    let state = built.state.clone();

    let listeners = net::bind(&args.web_listen_addresses)
        .map_err(|e| Failure::runtime("Unable to start web listener", e))?;
    // Nothing but the web config is read here.
    let server = net::Server::new(listeners, built.serve_options)
        .map_err(|e| Failure::runtime("Unable to validate web configuration file", e))?;
    // Requests are answered until the store is closed; `stop` comes first, this one last.
    let closed = CancellationToken::new();
    let web_task = tokio::spawn(server.run(built.router, closed.clone()));

    state.notifications().add(notices::STARTING_UP);
    let opened = open_store(&args, &sources, &registry, &late, &stop).await;
    state.notifications().remove(notices::STARTING_UP);
    let result = match opened {
        Err(failure) => Err(failure),
        Ok(false) => Ok(()),
        Ok(true) => {
            let mut reloader = Reloader::new(sources.reader(), &registry);
            steps::add(&mut reloader, &args, &late, &built.scrape, &built.discovery, &state, &built.config);
            let reloader = Arc::new(reloader);
            let discovery = built.discovery.clone();
            let discovering = tokio::spawn(async move { discovery.run().await });
            let (scrape, sets) = (built.scrape.clone(), built.sets);
            let scraping = tokio::spawn(async move { scrape.run(sets).await });
            let first = reloader.reload().await;
            let ended = match first {
                Err(text) => Err(Failure {
                    text: format!("Error loading config from {:?}: {text}", args.config_file),
                    code: 1,
                }),
                Ok(()) => {
                    state.set_readiness(Readiness::Ready);
                    tracing::info!("Server is ready to receive web requests.");
                    if embedded {
                        embedded::welcome(&sources.url(), Path::new(&args.storage_path));
                    }
                    let watch = auto_reload::start(&args, &sources, Arc::clone(&reloader), stop.clone());
                    let notice = new_series::watch(late.clone(), state.clone());
                    let disk_notice = slow_disk::watch(late.clone(), state.clone());
                    until_stopped(&reloader, &state, &mut reloads, &stop).await;
                    watch.abort();
                    notice.abort();
                    disk_notice.abort();
                    Ok(())
                }
            };
            state.set_readiness(Readiness::Stopping);
            state.notifications().add(notices::SHUTTING_DOWN);
            stop.cancel();
            tracing::info!("Stopping scrape manager...");
            built.scrape.stop().await;
            let _ = tokio::join!(discovering, scraping);
            ended
        }
    };
    stop.cancel();
    state.set_readiness(Readiness::Stopping);
    let closing = close_store(&late).await;
    state.notifications().close();
    closed.cancel();
    let _ = web_task.await;
    result.and(closing)
}

/// Opens the store on a blocking thread. False where the process was told to stop meanwhile.
async fn open_store(
    args: &ServerArgs,
    sources: &Sources,
    registry: &Registry,
    late: &LateDb,
    stop: &CancellationToken,
) -> Result<bool, Failure> {
    tracing::info!(fs_type = fs_type(&args.storage_path), "Starting TSDB ...");
    let options = parts::db_options(args, sources, registry, late)?;
    let open = tokio::task::spawn_blocking(move || tsdb::Db::open(options));
    let db = tokio::select! {
        opened = open => opened.map_err(|e| Failure::runtime("opening storage failed", e))?,
        () = told_to_stop(stop) => return Ok(false),
    };
    let db = db.map_err(|e| Failure {
        text: format!(
            "opening storage failed: {e} (`godwit doctor --storage.tsdb.path={}` looks closer)",
            args.storage_path
        ),
        code: 1,
    })?;
    db.spawn_background();
    late.set(db);
    tracing::info!("TSDB started");
    Ok(true)
}

fn fs_type(path: &str) -> String {
    let stat = rustix::fs::statfs(path).or_else(|_| rustix::fs::statfs("."));
    stat.map_or_else(|_| "unknown".into(), |s| format!("{:#x}", s.f_type))
}

async fn close_store(late: &LateDb) -> Result<(), Failure> {
    let Some(db) = late.get().cloned() else { return Ok(()) };
    let closed = tokio::task::spawn_blocking(move || db.close()).await;
    let closed = closed.map_err(|e| Failure::runtime("Error stopping storage", e))?;
    closed.map_err(|e| Failure::runtime("Error stopping storage", e))
}

/// A signal to end, or `/-/quit`.
async fn told_to_stop(stop: &CancellationToken) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return stop.cancelled().await;
    };
    tokio::select! {
        _ = term.recv() => tracing::warn!("Received an OS signal, exiting gracefully..."),
        _ = int.recv() => tracing::warn!("Received an OS signal, exiting gracefully..."),
        () = stop.cancelled() => tracing::warn!("Received termination request via web service, exiting gracefully..."),
    }
}

/// Serves reload requests until the end is asked for.
async fn until_stopped(
    reloader: &Reloader,
    state: &web::State,
    requests: &mut mpsc::Receiver<ReloadRequest>,
    stop: &CancellationToken,
) {
    let ending = told_to_stop(stop);
    tokio::pin!(ending);
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        let hung_up = async {
            match hangup.as_mut() {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            () = &mut ending => return,
            _ = hung_up => None,
            Some(answer) = requests.recv() => Some(answer),
        };
        let result = reloader.reload().await;
        show_result(state, &result);
        if let Some(answer) = answer {
            // The client may have gone away.
            let _ = answer.send(result);
        }
    }
}

/// The page shows a failed reload until one succeeds.
pub(super) fn show_result(state: &web::State, result: &Result<(), String>) {
    match result {
        Ok(()) => state.notifications().remove(notices::CONFIGURATION_UNSUCCESSFUL),
        Err(_) => state.notifications().add(notices::CONFIGURATION_UNSUCCESSFUL),
    }
}

/// Port of the first listen address, for URLs of our own.
pub(super) fn port_of(address: &str) -> u16 {
    let resolved = address.strip_prefix(':').map(|port| format!("0.0.0.0:{port}"));
    let resolved = resolved.as_deref().unwrap_or(address).to_socket_addrs();
    resolved.ok().and_then(|mut all| all.next()).map_or(9090, |a| a.port())
}
