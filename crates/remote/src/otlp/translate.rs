//! From a request of OpenTelemetry's to samples: names, labels, `target_info`. Follows upstream's
//! `storage/remote/otlptranslator/prometheusremotewrite`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use config::{OtlpConfig, TranslationStrategy};
use model::{Exemplar, HistogramValue, Labels, LabelsBuilder, MetricMetadata, MetricType};
use storage::{AppendError, Appender, SeriesRef};

use super::buckets::{Point, push};
use super::names::{self, Kind, Namer};
use super::receive::{Counters, OtlpOptions, Warning};
use super::schema::{
    EXEMPLAR, HISTOGRAM, METRIC, Message, REQUEST, RESOURCE, RESOURCE_METRICS, Range, SCOPE, SCOPE_METRICS,
    SUM, each_field,
};
use super::value::{attribute, text};
use crate::WireError;
use crate::receive::{Verdict, refusal_text, too_far_ahead, verdict};

/// Attributes of a point, a scope or a resource.
const ATTRIBUTES_MAX: usize = 1 << 12;
/// Samples of `target_info` for one resource: at half the usual look-back 17 days.
const INFO_SAMPLES_MAX: usize = 10_000;
/// Errors that an answer lists.
const ERRORS_LISTED_MAX: usize = 100;
/// Label names whose form is remembered within a request.
const NAMES_KEPT_MAX: usize = 1 << 12;

/// The status of an error that is neither the sample's nor a limit's: upstream's.
const FAILED: u16 = 500;

/// Why a request is not stored.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) text: String,
}

impl From<WireError> for Failure {
    fn from(e: WireError) -> Self {
        Failure { status: 400, text: e.to_string() }
    }
}

/// What does not end a request at once: the next metric is translated, but in the end nothing is stored.
pub(super) enum Trouble {
    /// The request cannot be read any further.
    Fatal(Failure),
    /// One metric's.
    Metric(u16, String),
}

impl From<WireError> for Trouble {
    fn from(e: WireError) -> Self {
        Trouble::Fatal(e.into())
    }
}

/// How sums and histograms count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Temporality(u64);

impl Temporality {
    pub(super) fn is_delta(self) -> bool {
        self.0 == 1
    }
    fn is_cumulative(self) -> bool {
        self.0 == 2
    }
}

/// A metric whose points are being stored.
pub(super) struct Family {
    pub(super) name: String,
    pub(super) metadata: MetricMetadata,
    pub(super) delta: bool,
}

/// One request on its way to the store.
pub(super) struct Run<'r> {
    pub(super) body: &'r [u8],
    pub(super) config: &'r OtlpConfig,
    options: &'r OtlpOptions,
    counters: &'r Counters,
    app: Box<dyn Appender + 'r>,
    latest_ms: i64,
    namer: Namer,
    label_names: HashMap<String, String>,
    /// Labels of all points of the resource: promoted attributes, then `job` and `instance`.
    promoted: Vec<(String, String)>,
    identity: [(&'static str, String); 2],
    scope: Vec<(String, String)>,
    seen_info: HashSet<(u64, i64)>,
    errors: Vec<String>,
    status: u16,
    limited: Option<(u16, String)>,
    warnings: BTreeSet<(Warning, String)>,
    collided: HashSet<String>,
}

/// What came of a request.
pub(super) struct Done<'r> {
    pub(super) app: Box<dyn Appender + 'r>,
    /// The first refusal by a limit of the store.
    pub(super) limited: Option<(u16, String)>,
    pub(super) warnings: BTreeSet<(Warning, String)>,
}

impl<'r> Run<'r> {
    pub(super) fn new(
        body: &'r [u8],
        config: &'r OtlpConfig,
        options: &'r OtlpOptions,
        counters: &'r Counters,
        app: Box<dyn Appender + 'r>,
        latest_ms: i64,
    ) -> Self {
        use TranslationStrategy as S;
        let strategy = config.translation_strategy;
        let namer = Namer {
            suffixes: !matches!(strategy, S::UnderscoreEscapingWithoutSuffixes | S::NoTranslation),
            utf8: matches!(strategy, S::NoUtf8EscapingWithSuffixes | S::NoTranslation),
            underscore_sanitization: config.label_name_underscore_sanitization,
            preserve_underscores: config.label_name_preserve_multiple_underscores,
        };
        Run {
            body,
            config,
            options,
            counters,
            app,
            latest_ms,
            namer,
            label_names: HashMap::new(),
            promoted: Vec::new(),
            identity: [("job", String::new()), ("instance", String::new())],
            scope: Vec::new(),
            seen_info: HashSet::new(),
            errors: Vec::new(),
            status: 0,
            limited: None,
            warnings: BTreeSet::new(),
            collided: HashSet::new(),
        }
    }

    /// Appends everything; the transaction is still to be committed.
    pub(super) fn all(mut self) -> Result<Done<'r>, Failure> {
        let read = self.resources();
        if let Err(failure) = read {
            self.app.rollback();
            return Err(failure);
        }
        if !self.errors.is_empty() {
            self.app.rollback();
            return Err(Failure { status: self.status, text: self.errors.join("\n") });
        }
        Ok(Done { app: self.app, limited: self.limited, warnings: self.warnings })
    }

    fn resources(&mut self) -> Result<(), Failure> {
        let body = self.body;
        let mut result = Ok(());
        each_field(&REQUEST, body, (0, body.len()), |_, raw| {
            if result.is_ok() {
                result = self.resource_metrics(raw.range());
            }
            Ok(())
        })?;
        result
    }

    /// Notes a metric's error and goes on, or ends.
    fn note(&mut self, result: Result<(), Trouble>) -> Result<(), Failure> {
        match result {
            Ok(()) => Ok(()),
            Err(Trouble::Fatal(failure)) => Err(failure),
            Err(Trouble::Metric(status, text)) => {
                // One sample that is at fault makes the request one that must not be sent again.
                self.status = if self.status == 400 { 400 } else { status };
                if self.errors.len() < ERRORS_LISTED_MAX {
                    self.errors.push(text);
                }
                Ok(())
            }
        }
    }

    pub(super) fn warn(&mut self, kind: Warning, text: String) {
        if self.warnings.len() < ERRORS_LISTED_MAX {
            self.warnings.insert((kind, text));
        }
    }

    fn resource_metrics(&mut self, range: Range) -> Result<(), Failure> {
        let body = self.body;
        let mut resource = (0, 0);
        each_field(&RESOURCE_METRICS, body, range, |field, raw| {
            if field == 1 {
                resource = raw.range();
            }
            Ok(())
        })?;
        let attributes = self.attributes(&RESOURCE, 1, resource)?;
        if let Err(text) = self.set_resource(&attributes) {
            return self.note(Err(Trouble::Metric(FAILED, text)));
        }
        let (mut earliest, mut latest) = (u64::MAX, 0);
        let mut result = Ok(());
        each_field(&RESOURCE_METRICS, body, range, |field, raw| {
            if field == 2 && result.is_ok() {
                result = self.scope_metrics(raw.range(), (&mut earliest, &mut latest));
            }
            Ok(())
        })?;
        result?;
        if earliest < u64::MAX {
            let told = self.target_info(&attributes, earliest, latest);
            self.note(told)?;
        }
        Ok(())
    }

    /// Attributes at a field of a message.
    pub(super) fn attributes(
        &self,
        message: &'static Message,
        number: u32,
        range: Range,
    ) -> Result<Vec<(String, String)>, WireError> {
        let mut all = Vec::new();
        each_field(message, self.body, range, |field, raw| {
            if field != number {
                return Ok(());
            }
            let (name, value) = attribute(self.body, raw.range())?;
            push(&mut all, (name.into_owned(), value), ATTRIBUTES_MAX, "attributes")
        })?;
        Ok(all)
    }

    fn set_resource(&mut self, attributes: &[(String, String)]) -> Result<(), String> {
        let get = |name: &str| attributes.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        let job = match (get("service.namespace"), get("service.name")) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name.to_string(),
            (_, None) => String::new(),
        };
        let instance = get("service.instance.id").unwrap_or_default().to_string();
        self.identity = [("job", job), ("instance", instance)];
        let config = self.config;
        let promote = |name: &String| {
            if config.promote_all_resource_attributes {
                !config.ignore_resource_attributes.contains(name)
            } else {
                config.promote_resource_attributes.contains(name)
            }
        };
        let mut promoted = BTreeMap::new();
        for (name, value) in attributes.iter().filter(|(name, _)| promote(name)) {
            promoted.insert(self.label(name)?, value.clone());
        }
        self.promoted = promoted.into_iter().collect();
        Ok(())
    }

    fn set_scope(&mut self, scope: Range, schema_url: &str) -> Result<(), Trouble> {
        self.scope.clear();
        if !self.config.promote_scope_metadata {
            return Ok(());
        }
        let body = self.body;
        let (mut name, mut version) = (String::new(), String::new());
        each_field(&SCOPE, body, scope, |field, raw| {
            match field {
                1 => name = text(body, raw.range()).into_owned(),
                2 => version = text(body, raw.range()).into_owned(),
                _ => {}
            }
            Ok(())
        })?;
        if name.is_empty() {
            return Ok(());
        }
        let mut labels = Vec::new();
        for (key, value) in self.attributes(&SCOPE, 3, scope)? {
            let key = self.label(&format!("otel_scope_{key}")).map_err(|e| Trouble::Metric(FAILED, e))?;
            labels.push((key, value));
        }
        labels.push(("otel_scope_name".into(), name));
        labels.push(("otel_scope_version".into(), version));
        labels.push(("otel_scope_schema_url".into(), schema_url.into()));
        self.scope = labels;
        Ok(())
    }

    fn scope_metrics(
        &mut self,
        range: Range,
        (earliest, latest): (&mut u64, &mut u64),
    ) -> Result<(), Failure> {
        let body = self.body;
        let (mut scope, mut url) = ((0, 0), (0, 0));
        each_field(&SCOPE_METRICS, body, range, |field, raw| {
            match field {
                1 => scope = raw.range(),
                3 => url = raw.range(),
                _ => {}
            }
            Ok(())
        })?;
        let set = self.set_scope(scope, &text(body, url));
        if set.is_err() {
            return self.note(set);
        }
        let mut result = Ok(());
        each_field(&SCOPE_METRICS, body, range, |field, raw| {
            if field == 2 && result.is_ok() {
                let stored = self.metric(raw.range(), (&mut *earliest, &mut *latest));
                result = self.note(stored);
            }
            Ok(())
        })?;
        result
    }

    fn metric(&mut self, range: Range, times: (&mut u64, &mut u64)) -> Result<(), Trouble> {
        let body = self.body;
        let (mut name, mut help, mut unit, mut data) = ("".into(), "".into(), "".into(), None);
        each_field(&METRIC, body, range, |field, raw| {
            match field {
                1 => name = text(body, raw.range()),
                2 => help = text(body, raw.range()),
                3 => unit = text(body, raw.range()),
                5..=11 => data = Some((field, raw.range())),
                _ => {}
            }
            Ok(())
        })?;
        let Some((shape, data)) = data else {
            let text = format!(
                "could not get aggregation temporality for {name} as it has unsupported metric type Empty"
            );
            return Err(Trouble::Metric(FAILED, text));
        };
        let points = super::points::times(body, shape, data, times)?;
        let (mut temporality, mut monotonic) = (Temporality(0), false);
        match shape {
            7 => each_field(&SUM, body, data, |field, raw| {
                match field {
                    2 => temporality = Temporality(raw.number()),
                    3 => monotonic = raw.number() != 0,
                    _ => {}
                }
                Ok(())
            })?,
            // Both histograms have it at the same place.
            9 | 10 => each_field(&HISTOGRAM, body, data, |field, raw| {
                if field == 2 {
                    temporality = Temporality(raw.number());
                }
                Ok(())
            })?,
            _ => {}
        }
        let counts = matches!(shape, 7 | 9 | 10);
        let delta = counts && temporality.is_delta();
        if counts && !temporality.is_cumulative() && !(delta && self.options.native_delta) {
            let name = model::name::Quoted(&name);
            let text = format!("invalid temporality and type combination for metric {name}");
            return Err(Trouble::Metric(FAILED, text));
        }
        let kind = match shape {
            5 => Kind::Gauge,
            7 if monotonic => Kind::Counter,
            _ => Kind::Other,
        };
        let family = self.namer.metric(&name, &unit, kind).map_err(|e| Trouble::Metric(FAILED, e))?;
        let metric_type = match shape {
            _ if delta => MetricType::Unknown,
            5 => MetricType::Gauge,
            7 if monotonic => MetricType::Counter,
            7 => MetricType::Gauge,
            11 => MetricType::Summary,
            _ => MetricType::Histogram,
        };
        if points == 0 {
            self.warn(Warning::EmptyDataPoints, format!("empty data points. {name} is dropped"));
            return Ok(());
        }
        let metadata =
            MetricMetadata { kind: metric_type, help: help.into_owned(), unit: names::unit(&unit, false) };
        let family = Family { name: family, metadata, delta };
        super::points::store(self, shape, data, &family)
    }

    /// The label that an attribute's name becomes.
    fn label(&mut self, name: &str) -> Result<String, String> {
        if let Some(made) = self.label_names.get(name) {
            return Ok(made.clone());
        }
        let made = self.namer.label(name)?;
        if self.label_names.len() < NAMES_KEPT_MAX {
            self.label_names.insert(name.to_string(), made.clone());
        }
        Ok(made)
    }

    /// Labels of a point but for its name.
    pub(super) fn labels(
        &mut self,
        attributes: Vec<(String, String)>,
        metadata: &MetricMetadata,
    ) -> Result<LabelsBuilder, Trouble> {
        let mut labels = self.own_labels(attributes, &["__name__"], "data point")?;
        for (name, value) in &self.promoted {
            if labels.get(name).is_empty() {
                labels.set(name, value);
            }
        }
        self.identify(&mut labels);
        for (name, value) in &self.scope {
            labels.set(name, value);
        }
        if self.options.type_and_unit_labels {
            if metadata.kind != MetricType::Unknown {
                labels.set("__type__", metadata.kind.as_str());
            }
            if !metadata.unit.is_empty() {
                labels.set("__unit__", &names::unit(&metadata.unit, self.namer.utf8));
            }
        }
        Ok(labels)
    }

    fn identify(&self, labels: &mut LabelsBuilder) {
        for (name, value) in self.identity.iter().filter(|(_, value)| !value.is_empty()) {
            labels.set(name, value);
        }
    }

    /// Labels of attributes alone. Those that become one label have their values joined, in the order of their
    /// own names.
    fn own_labels(
        &mut self,
        mut attributes: Vec<(String, String)>,
        but: &[&str],
        source: &str,
    ) -> Result<LabelsBuilder, Trouble> {
        attributes.retain(|(name, _)| !but.contains(&name.as_str()));
        attributes.sort_by(|a, b| a.0.cmp(&b.0));
        let mut labels = LabelsBuilder::new();
        if self.namer.utf8 {
            for (name, value) in &attributes {
                labels.set(name, value);
            }
            return Ok(labels);
        }
        for (name, value) in &attributes {
            let label = self.label(name).map_err(|e| Trouble::Metric(FAILED, e))?;
            let before = labels.get(&label);
            if before.is_empty() {
                labels.set(&label, value);
                continue;
            }
            let joined = format!("{before};{value}");
            labels.set(&label, &joined);
            if self.collided.len() < ERRORS_LISTED_MAX && self.collided.insert(label.clone()) {
                let mut names = Vec::new();
                for (other, _) in &attributes {
                    if self.label(other).is_ok_and(|made| made == label) {
                        names.push(model::name::Quoted(other).to_string());
                    }
                }
                let text = format!(
                    "OTLP {source} attributes {} collide as label {} after name sanitization, values are concatenated with ';'",
                    names.join(", "),
                    model::name::Quoted(&label)
                );
                self.warn(Warning::LabelNameCollision, text);
            }
        }
        Ok(labels)
    }

    /// `target_info` of a resource, at the ends of its samples' time and often enough between them.
    fn target_info(
        &mut self,
        attributes: &[(String, String)],
        earliest: u64,
        latest: u64,
    ) -> Result<(), Trouble> {
        const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];
        let has = |name: &&&str| attributes.iter().any(|(k, _)| k == **name);
        if attributes.len() == IDENTIFYING.iter().filter(has).count() {
            return Ok(());
        }
        let but: &[&str] = if self.config.keep_identifying_resource_attributes { &[] } else { &IDENTIFYING };
        let mut labels = self.own_labels(attributes.to_vec(), but, "resource")?;
        self.identify(&mut labels);
        labels.set("__name__", "target_info");
        let labels = labels.build();
        if labels.get("job").is_empty() && labels.get("instance").is_empty() {
            return Ok(());
        }
        let family = Family {
            name: "target_info".into(),
            metadata: MetricMetadata {
                kind: MetricType::Gauge,
                help: "Target metadata".into(),
                unit: String::new(),
            },
            delta: false,
        };
        let step = (self.options.lookback_ns / 2).max(1);
        let hash = labels.hash();
        let (mut at, mut samples) = (earliest as i64, 0);
        let latest = latest as i64;
        loop {
            let t_ms = at.min(latest).div_euclid(1_000_000);
            if self.seen_info.insert((hash, t_ms)) {
                self.sample(&family, &labels, (0, t_ms), Sample::Float(1.0), &[])?;
            }
            samples += 1;
            if at >= latest {
                return Ok(());
            }
            if samples > INFO_SAMPLES_MAX {
                let text =
                    format!("the samples of a resource are more than {INFO_SAMPLES_MAX} look-backs apart");
                return Err(Trouble::Metric(400, text));
            }
            at = at.saturating_add(step);
        }
    }

    /// Appends a sample with its exemplars. `times`: its start, and its own.
    pub(super) fn sample(
        &mut self,
        family: &Family,
        labels: &Labels,
        (start_ms, t_ms): (i64, i64),
        sample: Sample,
        exemplars: &[Exemplar],
    ) -> Result<(), Trouble> {
        if t_ms > self.latest_ms {
            return Err(Trouble::Metric(400, too_far_ahead()));
        }
        let histogram = match &sample {
            Sample::Histogram(h) => Some(h),
            Sample::Float(_) => None,
        };
        if self.options.start_zero_ingestion && start_ms != 0 {
            // Refused starts are the rule: they were stored by an earlier request.
            let _ = self.app.append_start_zero(SeriesRef::NONE, labels, t_ms, start_ms, histogram);
        }
        let appended = match &sample {
            Sample::Float(v) => self.app.append(SeriesRef::NONE, labels, 0, t_ms, *v),
            Sample::Histogram(h) => self.app.append_histogram(SeriesRef::NONE, labels, 0, t_ms, h),
        };
        let series = match appended {
            Ok(series) => series,
            Err(e) => return self.refuse(&e),
        };
        for exemplar in exemplars {
            match self.app.append_exemplar(series, exemplar) {
                Ok(()) => {}
                Err(AppendError::OutOfOrderExemplar) => self.counters.out_of_order_exemplars.inc(),
                Err(e) => tracing::debug!(error = %e, "OTLP: exemplar not stored"),
            }
        }
        let empty = family.metadata.kind == MetricType::Unknown
            && family.metadata.help.is_empty()
            && family.metadata.unit.is_empty();
        if empty {
            self.counters.without_metadata.inc();
        } else if self.options.append_metadata {
            let _ = self.app.update_metadata(series, &family.metadata);
        }
        Ok(())
    }

    fn refuse(&mut self, e: &AppendError) -> Result<(), Trouble> {
        match verdict(e) {
            Verdict::BadSample if matches!(e, AppendError::InvalidHistogram(_)) => {
                Err(Trouble::Metric(FAILED, refusal_text(e)))
            }
            Verdict::BadSample => Err(Trouble::Metric(400, refusal_text(e))),
            // The others are stored.
            Verdict::Limited(status) => {
                self.limited.get_or_insert_with(|| (status, e.to_string()));
                Ok(())
            }
            Verdict::Retry(status) => Err(Trouble::Fatal(Failure { status, text: e.to_string() })),
        }
    }

    /// Exemplars of a point.
    pub(super) fn exemplars(&self, point: &Point) -> Result<Vec<Exemplar>, Trouble> {
        point.exemplars.iter().map(|range| self.exemplar(*range)).collect()
    }

    fn exemplar(&self, range: Range) -> Result<Exemplar, Trouble> {
        let body = self.body;
        let (mut value, mut nanos, mut span, mut trace) = (None, 0, (0, 0), (0, 0));
        each_field(&EXEMPLAR, body, range, |field, raw| {
            match field {
                2 => nanos = raw.number(),
                3 => value = Some(raw.float()),
                4 => span = raw.range(),
                5 => trace = raw.range(),
                6 => value = Some(raw.number() as i64 as f64),
                _ => {}
            }
            Ok(())
        })?;
        let Some(value) = value else {
            return Err(Trouble::Metric(FAILED, "unsupported exemplar value type: Empty".into()));
        };
        let mut labels = LabelsBuilder::new();
        let mut chars = 0;
        for (name, id) in [("trace_id", trace), ("span_id", span)] {
            let id = body.get(id.0..id.1).unwrap_or_default();
            if id.iter().any(|b| *b != 0) {
                let text: String = id.iter().map(|b| format!("{b:02x}")).collect();
                chars += name.len() + text.len();
                labels.set(name, &text);
            }
        }
        let attributes = self.attributes(&EXEMPLAR, 7, range)?;
        chars += attributes.iter().map(|(k, v)| k.chars().count() + v.chars().count()).sum::<usize>();
        if chars <= model::exemplar::EXEMPLAR_LABEL_CHARS_MAX {
            for (name, value) in &attributes {
                labels.set(name, value);
            }
        }
        let timestamp_ms = (nanos as i64).div_euclid(1_000_000);
        Ok(Exemplar { labels: labels.build(), value, timestamp_ms, has_timestamp: timestamp_ms != 0 })
    }
}

/// A value.
pub(super) enum Sample {
    Float(f64),
    Histogram(HistogramValue),
}
