//! Upstream's metrics of HTTP requests, by the pattern of the route.

use std::collections::HashMap;
use std::time::Duration;

use telemetry::{Counter, CounterVec, Gauge, Histogram, HistogramVec, Registry, exponential_buckets};

use crate::routes::ROUTES;

/// Metrics of one route.
#[derive(Clone)]
pub(crate) struct RouteMetrics {
    pattern: &'static str,
    ok: Counter,
    seconds: Histogram,
    bytes: Histogram,
}

/// Metrics of all routes. Look-ups of the common case (status 200) touch no lock but the histogram's own.
pub(crate) struct HttpMetrics {
    requests: CounterVec,
    routes: HashMap<&'static str, RouteMetrics>,
    pub(crate) federation_errors: Counter,
    /// Requests of `/metrics` being answered, and those answered, by status.
    pub(crate) pages_in_flight: Gauge,
    pub(crate) pages: CounterVec,
    pub(crate) federation_warnings: Counter,
}

impl HttpMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let requests = registry.counter_vec(
            "prometheus_http_requests_total",
            "Counter of HTTP requests.",
            &["handler", "code"],
        );
        let seconds: HistogramVec = registry.histogram_vec(
            "prometheus_http_request_duration_seconds",
            "Histogram of latencies for HTTP requests.",
            &[0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0],
            &["handler"],
        );
        let bytes = registry.histogram_vec(
            "prometheus_http_response_size_bytes",
            "Histogram of response size for HTTP requests.",
            &exponential_buckets(100.0, 10.0, 8),
            &["handler"],
        );
        let route = |pattern: &'static str| RouteMetrics {
            pattern,
            ok: requests.with(&[pattern, "200"]),
            seconds: seconds.with(&[pattern]),
            bytes: bytes.with(&[pattern]),
        };
        let routes = ROUTES.iter().map(|r| (r.pattern, route(r.pattern))).collect();
        HttpMetrics {
            requests,
            routes,
            pages_in_flight: registry.gauge(
                "promhttp_metric_handler_requests_in_flight",
                "Current number of scrapes being served.",
            ),
            pages: {
                let pages = registry.counter_vec(
                    "promhttp_metric_handler_requests_total",
                    "Total number of scrapes by HTTP status code.",
                    &["code"],
                );
                // All three are there from the start, so that a rate sees the first failure.
                for code in ["200", "500", "503"] {
                    let _ = pages.with(&[code]);
                }
                pages
            },
            federation_errors: registry.counter(
                "prometheus_web_federation_errors_total",
                "Total number of errors that occurred while sending federation responses.",
            ),
            federation_warnings: registry.counter(
                "prometheus_web_federation_warnings_total",
                "Total number of warnings that occurred while sending federation responses.",
            ),
        }
    }

    /// Counts one answer.
    pub(crate) fn observe(&self, pattern: &str, status: u16, took: Duration, bytes: u64) {
        let Some(route) = self.routes.get(pattern) else { return };
        if status == 200 {
            route.ok.inc();
        } else {
            self.requests.with(&[route.pattern, &status.to_string()]).inc();
        }
        route.seconds.observe(took.as_secs_f64());
        route.bytes.observe(bytes as f64);
    }
}
