//! Columns of samples, edited: some taken out, order restored.

use storage::SampleBuf;

/// Keeps the samples from index `from` on for which `keep(time)` holds.
pub(crate) fn retain_samples(out: &mut SampleBuf, from: usize, mut keep: impl FnMut(i64) -> bool) {
    let order: Vec<u32> = (from..out.len()).filter(|i| keep(out.times[*i])).map(|i| i as u32).collect();
    if order.len() + from < out.len() {
        permute(out, from, &order);
    }
}

/// Sorts the samples from index `from` on by time and keeps the first of those with equal time.
pub fn sort_by_time(out: &mut SampleBuf, from: usize) {
    let mut order: Vec<u32> = (from..out.len()).map(|i| i as u32).collect();
    order.sort_by_key(|i| out.times[*i as usize]);
    order.dedup_by_key(|i| out.times[*i as usize]);
    permute(out, from, &order);
}

/// As [`sort_by_time`], where times are not ascending already: overlapping chunks are rare.
pub fn restore_order(out: &mut SampleBuf, from: usize) {
    let times = out.times.get(from..).unwrap_or_default();
    if !times.is_sorted_by(|a, b| a < b) {
        sort_by_time(out, from);
    }
}

/// Makes the columns from `from` on what `order` (old indices) says.
fn permute(out: &mut SampleBuf, from: usize, order: &[u32]) {
    let times: Vec<i64> = order.iter().map(|i| out.times[*i as usize]).collect();
    let values: Vec<f64> = order.iter().map(|i| out.values[*i as usize]).collect();
    out.times.truncate(from);
    out.times.extend(times);
    out.values.truncate(from);
    out.values.extend(values);
    if !out.starts.is_empty() {
        let starts: Vec<i64> =
            order.iter().map(|i| out.starts.get(*i as usize).copied().unwrap_or(0)).collect();
        out.starts.truncate(from);
        out.starts.extend(starts);
    }
    if !out.histograms.is_empty() {
        let first = out.histograms.partition_point(|(i, _)| (*i as usize) < from);
        let tail = out.histograms.split_off(first);
        for (new, old) in order.iter().enumerate() {
            if let Ok(at) = tail.binary_search_by_key(old, |(i, _)| *i) {
                out.histograms.push(((from + new) as u32, tail[at].1.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Histogram, HistogramValue};
    use std::sync::Arc;

    #[test]
    fn columns_stay_together() {
        let mut out = SampleBuf::default();
        let histogram =
            |n| HistogramValue::Int(Arc::new(Histogram { count: n, sum: n as f64, ..Histogram::default() }));
        out.push(1, 1.0);
        out.push(9, 9.0);
        out.push_histogram(4, histogram(4));
        out.set_last_start(3);
        out.push(4, 44.0);
        out.push_histogram(2, histogram(2));
        sort_by_time(&mut out, 1);
        assert_eq!(out.times, [1, 2, 4, 9]);
        assert_eq!(out.values, [1.0, 2.0, 4.0, 9.0]);
        assert_eq!(out.starts, [0, 0, 3, 0]);
        assert_eq!(out.histograms.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1, 2]);
        retain_samples(&mut out, 0, |t| t != 2);
        assert_eq!((&out.times[..], &out.histograms[..]), (&[1, 4, 9][..], &[(1, histogram(4))][..]));
    }
}
