//! The HTTP surface: API, federation, life-cycle endpoints, metrics, remote write, the built-in page.
//!
//! [`router`] builds everything from a [`State`]; a State is made of the [`Parts`] of a server. Handlers are
//! plain functions on blocking threads: [`api`] has those of `/api/v1`.

mod active_queries;
mod api;
mod buckets;
mod compress;
mod debug;
mod federate;
mod form;
mod instrument;
mod json;
mod lifecycle;
mod metrics_page;
mod multipart;
mod negotiate;
mod notifications;
mod openapi;
mod page;
mod query_log;
mod read;
mod respond;
mod router;
mod routes;
mod scrape_views;
mod selectors;
mod state;
mod stream;
mod text;
mod time;
mod user_assets;
mod write;

pub use notifications::{Notifications, text as notices};
pub use query_log::SlowQueries;
pub use router::router;
pub use scrape_views::{PoolTargets, ScrapeViews, TargetMetadata, TargetView};
pub use state::{
    Alertmanagers, BuildInfo, ConfigTexts, ConfigView, Inner, MetricsPage, MigrationOrder, Migrations,
    Options, Parts, Readiness, ReloadRequest, State,
};
