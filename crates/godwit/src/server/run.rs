//! The life of the server: start, ready, reload, stop.

use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use telemetry::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
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
    // Heard from here on: one that comes before a reload can be waits for it, where it would end the process.
    let mut hangup = signal(SignalKind::hangup()).ok();
    let sources = Sources::new(&args, embedded)?;
    // The first reading proves the file before anything is opened, and decides how the store is opened.
    let watched = auto_reload::look(&args, &sources);
    let first = sources.read(None).map_err(|text| Failure {
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
    let handles = built.handles;
    let _readers = built.readers;
    let state = handles.state.clone();

    let listeners = net::bind(&args.web_listen_addresses)
        .map_err(|e| Failure::runtime("Unable to start web listener", e))?;
    // Nothing but the web config is read here.
    let server = net::Server::new(listeners, built.serve_options)
        .map_err(|e| Failure::runtime("Unable to validate web configuration file", e))?;
    // Requests are answered until the store is closed; `stop` comes first, this one last.
    let closed = CancellationToken::new();
    let web_task = tokio::spawn(server.run(built.router, closed.clone()));

    state.notifications().add(notices::STARTING_UP);
    let mut reloader = Reloader::new(sources.reader(first), &registry);
    steps::add(&mut reloader, &args, &late, &handles);
    let reloader = Arc::new(reloader);
    let discovery = handles.discovery.clone();
    let discovering = tokio::spawn(async move { discovery.run().await });
    let (scrape, sets) = (handles.scrape.clone(), built.sets);
    let scraping = tokio::spawn(async move { scrape.run(sets).await });
    let (notifier, notify_discovery) = (handles.notifier.clone(), handles.notify_discovery.clone());
    let finding = tokio::spawn(async move { notify_discovery.run().await });
    let notify_sets = built.notify_sets;
    let notifying = tokio::spawn(async move { notifier.run(notify_sets).await });
    // Targets are found and scraped while the log is replayed: what they say is held until the store is open.
    let ending = told_to_stop(&stop);
    tokio::pin!(ending);
    let opening = open_store(&args, &sources, &registry, &late, ending.as_mut());
    let (opened, reloaded) = tokio::join!(opening, reloader.reload());
    state.notifications().remove(notices::STARTING_UP);
    let ended = match put_in_force(opened, reloaded, &args, &reloader, &late).await {
        Err(failure) => Err(failure),
        Ok(false) => Ok(()),
        Ok(true) => {
            // Before the first sample comes.
            handles.workers.at_start(&handles.duty).await;
            let migrations = handles.migrations.clone();
            let _ = tokio::task::spawn_blocking(move || migrations.resume()).await;
            handles.scrape.store_opened();
            state.set_readiness(Readiness::Ready);
            tracing::info!("Server is ready to receive web requests.");
            if embedded {
                embedded::welcome(&sources.url(), Path::new(&args.storage_path));
            }
            let watch = auto_reload::start(
                watched,
                args.config_auto_reload_interval,
                Arc::clone(&reloader),
                stop.clone(),
            );
            let notice = new_series::watch(late.clone(), handles.scrape.clone(), state.clone());
            let disk_notice = slow_disk::watch(late.clone(), state.clone());
            until_stopped(&reloader, &state, &mut reloads, (&mut hangup, ending)).await;
            watch.abort();
            notice.abort();
            disk_notice.abort();
            Ok(())
        }
    };
    state.set_readiness(Readiness::Stopping);
    state.notifications().add(notices::SHUTTING_DOWN);
    stop.cancel();
    handles.rules.stop().await;
    tracing::info!("Stopping scrape manager...");
    handles.scrape.stop().await;
    // The last samples are in the log.
    tokio::join!(handles.notifier.stop(), handles.sender.stop());
    let _ = tokio::join!(discovering, scraping, finding, notifying);
    let migrations = handles.migrations.clone();
    let _ = tokio::task::spawn_blocking(move || migrations.stop()).await;
    let closing = close_store(&late).await;
    state.notifications().close();
    closed.cancel();
    let _ = web_task.await;
    ended.and(closing)
}

/// Gives the open store the settings of the first reload, then puts it in place: no sample comes before them.
/// False where the process was told to stop meanwhile.
async fn put_in_force(
    opened: Result<Option<tsdb::Db>, Failure>,
    reloaded: Result<(), String>,
    args: &ServerArgs,
    reloader: &Reloader,
    late: &LateDb,
) -> Result<bool, Failure> {
    let Some(db) = opened? else { return Ok(false) };
    let set = match (&reloaded, reloader.in_force().await) {
        (Ok(()), Some(loaded)) => steps::set_store(&db, &loaded, args),
        _ => Ok(()),
    };
    db.spawn_background();
    late.set(db);
    match reloaded.and(set) {
        Ok(()) => Ok(true),
        Err(text) => Err(Failure {
            text: format!("Error loading config from {:?}: {text}", args.config_file),
            code: 1,
        }),
    }
}

/// Opens the store on a blocking thread. `None` where the process was told to stop meanwhile.
async fn open_store(
    args: &ServerArgs,
    sources: &Sources,
    registry: &Registry,
    late: &LateDb,
    ending: Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<tsdb::Db>, Failure> {
    let options = parts::db_options(args, sources, registry, late)?;
    let path = args.storage_path.clone();
    let open = tokio::task::spawn_blocking(move || {
        // A disk that hangs holds up this thread and no other.
        tracing::info!(fs_type = fs_type(&path), "Starting TSDB ...");
        tsdb::Db::open(options)
    });
    let db = tokio::select! {
        opened = open => opened.map_err(|e| Failure::runtime("opening storage failed", e))?,
        () = ending => return Ok(None),
    };
    let db = db.map_err(|e| Failure {
        text: format!(
            "opening storage failed: {e} (`godwit doctor --storage.tsdb.path={}` looks closer)",
            args.storage_path
        ),
        code: 1,
    })?;
    tracing::info!("TSDB started");
    Ok(Some(db))
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

/// A signal to end, or `/-/quit`. One future from the start to the end, so that no signal comes between two.
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
    (hangup, mut ending): (&mut Option<Signal>, Pin<&mut impl Future<Output = ()>>),
) {
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
