//! Reload when the files change (`--config.auto-reload`): compares digests at an interval, so that a
//! ConfigMap's swapped links, an editor's rename and an NFS mount without events are all seen alike.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::parts::Sources;
use crate::args::ServerArgs;
use crate::reload::Reloader;

/// Starts the watch; does nothing where it is off.
pub fn start(
    args: &ServerArgs,
    sources: &Sources,
    reloader: Arc<Reloader>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let (interval, path) = (args.config_auto_reload_interval, sources.path());
    let enabled = args.config_auto_reload;
    tokio::spawn(async move {
        let Some(path) = path.filter(|_| enabled) else { return };
        let digest = || {
            let path = path.clone();
            tokio::task::spawn_blocking(move || config::config_digest(&path))
        };
        let mut known = digest().await.ok().and_then(Result::ok);
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
