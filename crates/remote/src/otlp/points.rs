//! Data points: each kind as the samples that it becomes.

use std::sync::Arc;

use model::float_text::format_f;
use model::{HistogramValue, Labels, LabelsBuilder, stale_nan};

use super::buckets::{Explicit, Exponential, Point, ms};
use super::receive::Warning;
use super::schema::{
    EXPONENTIAL, EXPONENTIAL_POINT, GAUGE, HISTOGRAM, HISTOGRAM_POINT, Message, NUMBER, QUANTILE, Range, SUM,
    SUMMARY, SUMMARY_POINT, each_field,
};
use super::translate::{Family, Run, Sample, Trouble};
use crate::WireError;

/// The message of a metric's data, that of its points, and where these have their attributes: by the number of the
/// field that holds the data.
fn shapes(shape: u32) -> (&'static Message, &'static Message, u32) {
    match shape {
        5 => (&GAUGE, &NUMBER, 7),
        7 => (&SUM, &NUMBER, 7),
        9 => (&HISTOGRAM, &HISTOGRAM_POINT, 9),
        10 => (&EXPONENTIAL, &EXPONENTIAL_POINT, 1),
        _ => (&SUMMARY, &SUMMARY_POINT, 7),
    }
}

/// Widens the span of times by those of all points; says how many there are.
pub(super) fn times(
    body: &[u8],
    shape: u32,
    data: Range,
    (earliest, latest): (&mut u64, &mut u64),
) -> Result<usize, WireError> {
    let (message, point, _) = shapes(shape);
    let mut count = 0;
    each_field(message, body, data, |field, raw| {
        if field != 1 {
            return Ok(());
        }
        count += 1;
        let mut nanos = 0;
        each_field(point, body, raw.range(), |field, raw| {
            if field == 3 {
                nanos = raw.number();
            }
            Ok(())
        })?;
        *earliest = nanos.min(*earliest);
        *latest = nanos.max(*latest);
        Ok(())
    })?;
    Ok(count)
}

/// Stores all points of a metric; the first that fails ends it.
pub(super) fn store(run: &mut Run<'_>, shape: u32, data: Range, family: &Family) -> Result<(), Trouble> {
    let (message, point, attributes) = shapes(shape);
    let body = run.body;
    let mut result = Ok(());
    each_field(message, body, data, |field, raw| {
        if field != 1 || result.is_err() {
            return Ok(());
        }
        let labels = run.attributes(point, attributes, raw.range())?;
        result = run.labels(labels, &family.metadata).and_then(|labels| match shape {
            9 if !run.config.convert_histograms_to_nhcb => classic(run, raw.range(), family, labels),
            9 => custom(run, raw.range(), family, labels),
            10 => exponential(run, raw.range(), family, labels),
            11 => summary(run, raw.range(), family, &labels),
            _ => number(run, raw.range(), family, labels, shape == 7),
        });
        Ok(())
    })?;
    result
}

fn named(labels: &LabelsBuilder, family: &Family, suffix: &str, more: Option<(&str, &str)>) -> Labels {
    let mut labels = labels.clone();
    if let Some((name, value)) = more {
        labels.set(name, value);
    }
    labels.set("__name__", &format!("{}{suffix}", family.name));
    labels.build()
}

fn number(
    run: &mut Run<'_>,
    range: Range,
    family: &Family,
    labels: LabelsBuilder,
    with_exemplars: bool,
) -> Result<(), Trouble> {
    let (mut point, mut value) = (Point::default(), 0.0);
    each_field(&NUMBER, run.body, range, |field, raw| {
        match field {
            2 => point.start_ms = ms(raw.number()),
            3 => point.t_ms = ms(raw.number()),
            4 => value = raw.float(),
            5 if with_exemplars => point.exemplar(raw.range())?,
            6 => value = raw.number() as i64 as f64,
            8 => point.stale = raw.number() & 1 != 0,
            _ => {}
        }
        Ok(())
    })?;
    let value = if point.stale { stale_nan() } else { value };
    let exemplars = run.exemplars(&point)?;
    let labels = named(&labels, family, "", None);
    run.sample(family, &labels, (point.start_ms, point.t_ms), Sample::Float(value), &exemplars)
}

fn classic(run: &mut Run<'_>, range: Range, family: &Family, labels: LabelsBuilder) -> Result<(), Trouble> {
    let Explicit { point, counts, bounds } = Explicit::read(run.body, range)?;
    let times = (point.start_ms, point.t_ms);
    let float = |v: f64| Sample::Float(if point.stale { stale_nan() } else { v });
    if let Some(sum) = point.sum {
        run.sample(family, &named(&labels, family, "_sum", None), times, float(sum), &[])?;
    }
    let count = point.count as f64;
    run.sample(family, &named(&labels, family, "_count", None), times, float(count), &[])?;
    let exemplars = run.exemplars(&point)?;
    let (mut rest, mut below) = (&exemplars[..], 0_u64);
    for (bound, n) in bounds.iter().zip(&counts) {
        below = below.wrapping_add(*n);
        // Both are in ascending order.
        let (own, later) = rest.split_at(rest.iter().position(|e| e.value > *bound).unwrap_or(rest.len()));
        rest = later;
        let labels = named(&labels, family, "_bucket", Some(("le", &format_f(*bound))));
        run.sample(family, &labels, times, float(below as f64), own)?;
    }
    let labels = named(&labels, family, "_bucket", Some(("le", "+Inf")));
    run.sample(family, &labels, times, float(count), rest)
}

fn custom(run: &mut Run<'_>, range: Range, family: &Family, labels: LabelsBuilder) -> Result<(), Trouble> {
    let histogram = Explicit::read(run.body, range)?;
    if histogram.point.is_odd() {
        odd(run, "histogram", &histogram.point);
    }
    let value = HistogramValue::Int(Arc::new(histogram.native(family.delta)));
    native(run, family, &labels, &histogram.point, value)
}

fn exponential(
    run: &mut Run<'_>,
    range: Range,
    family: &Family,
    labels: LabelsBuilder,
) -> Result<(), Trouble> {
    let histogram = Exponential::read(run.body, range)?;
    let value = histogram.native(family.delta).map_err(|text| Trouble::Metric(500, text))?;
    if histogram.point.is_odd() {
        odd(run, "exponential histogram", &histogram.point);
    }
    native(run, family, &labels, &histogram.point, HistogramValue::Int(Arc::new(value)))
}

fn odd(run: &mut Run<'_>, what: &str, point: &Point) {
    let sum = model::float_text::format_f_precision(point.sum.unwrap_or_default(), 6);
    let text = format!("{what} data point has zero count, but non-zero sum: {sum}");
    run.warn(Warning::ZeroCountNonZeroSum, text);
}

fn native(
    run: &mut Run<'_>,
    family: &Family,
    labels: &LabelsBuilder,
    point: &Point,
    value: HistogramValue,
) -> Result<(), Trouble> {
    let exemplars = run.exemplars(point)?;
    let labels = named(labels, family, "", None);
    run.sample(family, &labels, (point.start_ms, point.t_ms), Sample::Histogram(value), &exemplars)
}

fn summary(run: &mut Run<'_>, range: Range, family: &Family, labels: &LabelsBuilder) -> Result<(), Trouble> {
    let body = run.body;
    let mut point = Point::default();
    each_field(&SUMMARY_POINT, body, range, |field, raw| {
        match field {
            2 => point.start_ms = ms(raw.number()),
            3 => point.t_ms = ms(raw.number()),
            4 => point.count = raw.number(),
            5 => point.sum = Some(raw.float()),
            8 => point.stale = raw.number() & 1 != 0,
            _ => {}
        }
        Ok(())
    })?;
    let times = (point.start_ms, point.t_ms);
    let float = |v: f64| Sample::Float(if point.stale { stale_nan() } else { v });
    let sum = point.sum.unwrap_or(0.0);
    run.sample(family, &named(labels, family, "_sum", None), times, float(sum), &[])?;
    run.sample(family, &named(labels, family, "_count", None), times, float(point.count as f64), &[])?;
    let mut result = Ok(());
    each_field(&SUMMARY_POINT, body, range, |field, raw| {
        if field != 6 || result.is_err() {
            return Ok(());
        }
        let (mut quantile, mut value) = (0.0, 0.0);
        each_field(&QUANTILE, body, raw.range(), |field, raw| {
            match field {
                1 => quantile = raw.float(),
                _ => value = raw.float(),
            }
            Ok(())
        })?;
        let labels = named(labels, family, "", Some(("quantile", &format_f(quantile))));
        result = run.sample(family, &labels, times, float(value), &[]);
        Ok(())
    })?;
    result
}
