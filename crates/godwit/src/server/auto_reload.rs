//! Reload when the files change (`--config.auto-reload`): compares digests at an interval, so that a
//! ConfigMap's swapped links, an editor's rename and an NFS mount without events are all seen alike.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::parts::Sources;
use crate::args::ServerArgs;
use crate::reload::Reloader;

/// What to look at, and how it was.
pub struct Watched {
    path: PathBuf,
    known: Option<u128>,
}

/// The files as they are before they are read for the first time: a start may take minutes. `None` where the
/// watch is off.
pub fn look(args: &ServerArgs, sources: &Sources) -> Option<Watched> {
    let path = sources.path().filter(|_| args.config_auto_reload)?;
    let known = config::config_digest(&path).ok();
    Some(Watched { path, known })
}

/// Starts the watch.
pub fn start(
    watched: Option<Watched>,
    interval: Duration,
    reloader: Arc<Reloader>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(Watched { path, mut known }) = watched else { return };
        let digest = || {
            let path = path.clone();
            tokio::task::spawn_blocking(move || config::config_digest(&path))
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            match digest().await {
                Ok(Ok(now)) if known != Some(now) => {
                    tracing::info!("Configuration file change detected, reloading the configuration.");
                    // The error is logged and shown by the reloader; the next change tries again.
                    let _ = reloader.reload().await;
                    known = Some(now);
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(%error, "cannot look for changes of the configuration"),
                Err(_) => return,
            }
        }
    })
}
