//! The table of routes: patterns, methods, and whether a route waits for the server to be ready. Patterns
//! are also the `handler` label of the HTTP metrics, hence they are spelled as upstream spells them.
//!
//! Rejected: axum's own matching. Upstream's router answers `OPTIONS`, wrong methods, slashes at the end and
//! `HEAD` in its own way, which scripts and load balancers see.

use http::Method;

/// Bits of [`RouteSpec::methods`].
pub(crate) const GET: u8 = 1;
pub(crate) const HEAD: u8 = 2;
pub(crate) const POST: u8 = 4;
pub(crate) const PUT: u8 = 8;

/// Every handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Query,
    QueryRange,
    QueryExemplars,
    FormatQuery,
    ParseQuery,
    Labels,
    LabelValues,
    Series,
    ScrapePools,
    ScrapePoolConfig,
    Targets,
    TargetsMetadata,
    RelabelSteps,
    Alertmanagers,
    Metadata,
    StatusConfig,
    StatusRuntime,
    StatusBuild,
    StatusFlags,
    StatusTsdb,
    StatusBlocks,
    SelfMetrics,
    Features,
    OpenApi,
    WalReplay,
    Notifications,
    NotificationsLive,
    Read,
    Write,
    Otlp,
    Alerts,
    Rules,
    DeleteSeries,
    CleanTombstones,
    Snapshot,
    Import,
    MigratePlan,
    MigrateRun,
    MigrateVerify,
    MigrateSwitch,
    MigrateRollback,
    MigrateRelease,
    MigrateStatus,
    Home,
    Graph,
    Page,
    Asset,
    UserAsset,
    SearchMetricNames,
    SearchLabelNames,
    SearchLabelValues,
    Favicon,
    Version,
    Metrics,
    MetricsPage,
    Federate,
    Quit,
    Reload,
    Healthy,
    Ready,
    Debug,
}

impl Route {
    /// Whether upstream has read the form, and no multipart body, before it looks for the first parameter.
    pub(crate) fn reads_plain_forms(self) -> bool {
        self.is_search() || matches!(self, Route::Series | Route::DeleteSeries | Route::Rules)
    }

    /// One of the three searches.
    pub(crate) fn is_search(self) -> bool {
        matches!(self, Route::SearchMetricNames | Route::SearchLabelNames | Route::SearchLabelValues)
    }
}

/// One row of the table.
pub(crate) struct RouteSpec {
    pub(crate) pattern: &'static str,
    pub(crate) methods: u8,
    pub(crate) route: Route,
    /// 503 until the server is ready.
    pub(crate) needs_ready: bool,
}

const fn spec(pattern: &'static str, methods: u8, route: Route, needs_ready: bool) -> RouteSpec {
    RouteSpec { pattern, methods, route, needs_ready }
}

/// All routes. `:name` matches one segment, `*rest` the rest of the path.
pub(crate) const ROUTES: &[RouteSpec] = &[
    spec("/api/v1/query", GET | POST, Route::Query, true),
    spec("/api/v1/query_range", GET | POST, Route::QueryRange, true),
    spec("/api/v1/query_exemplars", GET | POST, Route::QueryExemplars, true),
    spec("/api/v1/format_query", GET | POST, Route::FormatQuery, true),
    spec("/api/v1/parse_query", GET | POST, Route::ParseQuery, true),
    spec("/api/v1/labels", GET | POST, Route::Labels, true),
    spec("/api/v1/label/:name/values", GET, Route::LabelValues, true),
    spec("/api/v1/series", GET | POST, Route::Series, true),
    spec("/api/v1/scrape_pools", GET, Route::ScrapePools, true),
    spec("/api/v1/scrape_pools/config", GET, Route::ScrapePoolConfig, true),
    spec("/api/v1/targets", GET, Route::Targets, true),
    spec("/api/v1/targets/metadata", GET, Route::TargetsMetadata, true),
    spec("/api/v1/targets/relabel_steps", GET, Route::RelabelSteps, true),
    spec("/api/v1/alertmanagers", GET, Route::Alertmanagers, true),
    spec("/api/v1/metadata", GET, Route::Metadata, true),
    spec("/api/v1/status/config", GET, Route::StatusConfig, true),
    spec("/api/v1/status/runtimeinfo", GET, Route::StatusRuntime, true),
    spec("/api/v1/status/buildinfo", GET, Route::StatusBuild, true),
    spec("/api/v1/status/flags", GET, Route::StatusFlags, true),
    spec("/api/v1/status/tsdb", GET, Route::StatusTsdb, true),
    spec("/api/v1/status/tsdb/blocks", GET, Route::StatusBlocks, true),
    spec("/api/v1/status/self_metrics", GET, Route::SelfMetrics, true),
    spec("/api/v1/features", GET, Route::Features, true),
    spec("/api/v1/openapi.yaml", GET, Route::OpenApi, true),
    spec("/api/v1/status/walreplay", GET, Route::WalReplay, false),
    spec("/api/v1/notifications", GET, Route::Notifications, false),
    spec("/api/v1/notifications/live", GET, Route::NotificationsLive, false),
    spec("/api/v1/read", POST, Route::Read, true),
    spec("/api/v1/write", POST, Route::Write, true),
    spec("/api/v1/otlp/v1/metrics", POST, Route::Otlp, true),
    spec("/api/v1/search/metric_names", GET | POST, Route::SearchMetricNames, true),
    spec("/api/v1/search/label_names", GET | POST, Route::SearchLabelNames, true),
    spec("/api/v1/search/label_values", GET | POST, Route::SearchLabelValues, true),
    spec("/api/v1/alerts", GET, Route::Alerts, true),
    spec("/api/v1/rules", GET, Route::Rules, true),
    spec("/api/v1/admin/tsdb/delete_series", POST | PUT, Route::DeleteSeries, true),
    spec("/api/v1/admin/tsdb/clean_tombstones", POST | PUT, Route::CleanTombstones, true),
    spec("/api/v1/admin/tsdb/snapshot", POST | PUT, Route::Snapshot, true),
    spec("/api/v1/admin/tsdb/import", POST | PUT, Route::Import, true),
    spec("/api/v1/admin/migrate", GET, Route::MigrateStatus, true),
    spec("/api/v1/admin/migrate/plan", POST | PUT, Route::MigratePlan, true),
    spec("/api/v1/admin/migrate/run", POST | PUT, Route::MigrateRun, true),
    spec("/api/v1/admin/migrate/verify", POST | PUT, Route::MigrateVerify, true),
    spec("/api/v1/admin/migrate/switch", POST | PUT, Route::MigrateSwitch, true),
    spec("/api/v1/admin/migrate/rollback", POST | PUT, Route::MigrateRollback, true),
    spec("/api/v1/admin/migrate/release", POST | PUT, Route::MigrateRelease, true),
    spec("/", GET, Route::Home, false),
    spec("/graph", GET, Route::Graph, false),
    spec("/query", GET, Route::Page, false),
    spec("/alerts", GET, Route::Page, false),
    spec("/rules", GET, Route::Page, false),
    spec("/config", GET, Route::Page, false),
    spec("/flags", GET, Route::Page, false),
    spec("/service-discovery", GET, Route::Page, false),
    spec("/alertmanager-discovery", GET, Route::Page, false),
    spec("/status", GET, Route::Page, false),
    spec("/tsdb-status", GET, Route::Page, false),
    spec("/targets", GET, Route::Page, false),
    spec("/assets/*filepath", GET, Route::Asset, false),
    spec("/user/*filepath", GET, Route::UserAsset, false),
    spec("/favicon.svg", GET, Route::Favicon, false),
    spec("/favicon.ico", GET, Route::Favicon, false),
    spec("/version", GET, Route::Version, false),
    spec("/metrics", GET, Route::Metrics, false),
    spec("/metrics/*path", GET, Route::MetricsPage, false),
    spec("/federate", GET, Route::Federate, true),
    spec("/-/quit", GET | POST | PUT, Route::Quit, false),
    spec("/-/reload", GET | POST | PUT, Route::Reload, false),
    spec("/-/healthy", GET | HEAD, Route::Healthy, false),
    spec("/-/ready", GET | HEAD, Route::Ready, true),
    spec("/debug/*subpath", GET | POST, Route::Debug, false),
];

/// The bit of a method, 0 for one that no route has.
pub(crate) fn method_bit(method: &Method) -> u8 {
    match *method {
        Method::GET => GET,
        Method::HEAD => HEAD,
        Method::POST => POST,
        Method::PUT => PUT,
        _ => 0,
    }
}

/// `Allow` for a route, sorted as upstream's router sorts it.
pub(crate) fn allow(methods: u8) -> String {
    let named = [(GET, "GET"), (HEAD, "HEAD"), (0xff, "OPTIONS"), (POST, "POST"), (PUT, "PUT")];
    let names: Vec<&str> = named.iter().filter(|(bit, _)| methods & bit != 0).map(|(_, n)| *n).collect();
    names.join(", ")
}

/// Finds the route of a path (without route prefix); gives the part that `:name` or `*rest` matched, still
/// percent-encoded.
pub(crate) fn find(path: &str) -> Option<(&'static RouteSpec, &str)> {
    let found = |spec: &'static RouteSpec| {
        let param = matched(spec.pattern, path)?;
        // `/metrics/` is `/metrics` with a slash too many, not a page without a name.
        (spec.route != Route::MetricsPage || !param.is_empty()).then_some((spec, param))
    };
    ROUTES.iter().find_map(found)
}

fn matched<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    if let Some((head, _)) = pattern.split_once('*') {
        return path.strip_prefix(head);
    }
    let Some((head, tail)) = pattern.split_once(':') else { return (pattern == path).then_some("") };
    let tail = tail.find('/').map_or("", |i| &tail[i..]);
    let param = path.strip_prefix(head)?.strip_suffix(tail)?;
    (!param.is_empty() && !param.contains('/')).then_some(param)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_route() {
        let at = |p| find(p).map(|(s, param)| (s.route, param));
        assert_eq!(at("/api/v1/label/a%2Fb/values"), Some((Route::LabelValues, "a%2Fb")));
        assert_eq!(at("/api/v1/label//values"), None);
        assert_eq!(at("/api/v1/label/a/b/values"), None);
        assert_eq!(at("/debug/pprof/"), Some((Route::Debug, "pprof/")));
        assert_eq!(at("/"), Some((Route::Home, "")));
        assert_eq!(at("/nope"), None);
        assert_eq!(at("/query/"), None);
    }

    #[test]
    fn patterns_are_unique() {
        for (i, a) in ROUTES.iter().enumerate() {
            assert!(ROUTES[i + 1..].iter().all(|b| b.pattern != a.pattern), "{}", a.pattern);
        }
    }

    #[test]
    fn allow_is_sorted() {
        assert_eq!(allow(GET | POST), "GET, OPTIONS, POST");
        assert_eq!(allow(GET | HEAD), "GET, HEAD, OPTIONS");
        assert_eq!(allow(POST), "OPTIONS, POST");
    }
}
