//! Prints samples as `promtool tsdb dump` does, to compare with what it printed.

use std::fmt::Write;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, bucket_bound};
use model::{HistogramValue, Labels, Matcher, Span};
use storage::{Querier, QueryContext, SampleBuf, SelectHints};
use tsdb::block::Block;

/// Go's `%g`.
pub(crate) fn go_g(v: f64) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{v:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    if v == 0.0 || (-4..6).contains(&exponent) {
        return format!("{v}");
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn labels(l: &Labels) -> String {
    let mut out = "{".to_string();
    for (i, (name, value)) in l.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        if model::name::is_legacy_label_name(name) {
            out.push_str(name);
        } else {
            model::name::write_quoted(&mut out, name).unwrap();
        }
        out.push('=');
        model::name::write_quoted(&mut out, value).unwrap();
    }
    out + "}"
}

/// Index and absolute count of each bucket.
fn side<T: Copy>(spans: &[Span], counts: &[T]) -> Vec<(i32, T)> {
    let mut next = 0;
    let mut all = Vec::new();
    for span in spans {
        next += span.offset;
        for _ in 0..span.length {
            all.push((next, counts[all.len()]));
            next += 1;
        }
    }
    all
}

fn histogram(value: &HistogramValue) -> String {
    let h = value.to_float();
    let custom = h.schema == CUSTOM_BUCKETS_SCHEMA;
    let bound = |i: i32| {
        if !custom {
            return bucket_bound(i, h.schema);
        }
        match usize::try_from(i) {
            Err(_) => f64::NEG_INFINITY,
            Ok(i) => h.custom_values.get(i).copied().unwrap_or(f64::INFINITY),
        }
    };
    let mut out = format!("{{count:{}, sum:{}", go_g(h.count), go_g(h.sum));
    for (i, count) in side(&h.negative_spans, &h.negative_buckets).into_iter().rev().filter(|b| b.1 != 0.0) {
        write!(out, ", [{},{}):{}", go_g(-bound(i)), go_g(-bound(i - 1)), go_g(count)).unwrap();
    }
    if h.zero_count != 0.0 {
        let z = go_g(h.zero_threshold);
        write!(out, ", [-{z},{z}]:{}", go_g(h.zero_count)).unwrap();
    }
    for (i, count) in side(&h.positive_spans, &h.positive_buckets).into_iter().filter(|b| b.1 != 0.0) {
        let open = if custom && i == 0 { '[' } else { '(' };
        write!(out, ", {open}{},{}]:{}", go_g(bound(i - 1)), go_g(bound(i)), go_g(count)).unwrap();
    }
    out + "}"
}

/// All samples of series that match, one a line.
pub(crate) fn dump(querier: &dyn Querier, matchers: &[Matcher]) -> String {
    let ctx = QueryContext::unlimited();
    let set = querier.select(&ctx, true, &SelectHints::default(), matchers).unwrap();
    let (mut out, mut samples) = (String::new(), SampleBuf::default());
    for series in set.series {
        samples.clear();
        series.read(i64::MIN, i64::MAX, &mut samples).unwrap();
        let name = labels(series.labels());
        for (i, t) in samples.times.iter().enumerate() {
            let value = match samples.histogram_at(i) {
                Some(h) => histogram(h),
                None => go_g(samples.values[i]),
            };
            writeln!(out, "{name} {value} {t}").unwrap();
        }
    }
    out
}

/// All samples of a block.
pub(crate) fn dump_block(block: &Block) -> String {
    dump(&block.querier(i64::MIN, i64::MAX), &[])
}
