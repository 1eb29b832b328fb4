//! All buckets of a float histogram from the lowest to the highest, as upstream's `AllBucketIterator` gives
//! them to the API: negative side reversed, zero bucket, positive side; bounds cut at the zero bucket.

use model::FloatHistogram;
use model::histogram::{Bucket, bucket_bound};

/// Calls `f` for each bucket, empty ones too (the zero bucket only where it holds something).
pub(crate) fn for_each(h: &FloatHistogram, mut f: impl FnMut(Bucket)) {
    let custom = h.uses_custom_buckets();
    let negative: Vec<(i32, f64)> = FloatHistogram::side(&h.negative_spans, &h.negative_buckets).collect();
    let mut clamped = |mut b: Bucket| {
        if b.upper < 0.0 && b.upper > -h.zero_threshold {
            b.upper = -h.zero_threshold;
        } else if b.lower > 0.0 && b.lower < h.zero_threshold {
            b.lower = h.zero_threshold;
        }
        f(b);
    };
    for (index, count) in negative.into_iter().rev() {
        let lower = -bound(h, index);
        let upper = -bound(h, index.saturating_sub(1));
        clamped(Bucket {
            lower,
            upper,
            lower_inclusive: lower < 0.0,
            upper_inclusive: upper > 0.0,
            count,
            index,
        });
    }
    if h.zero_count > 0.0 {
        clamped(Bucket {
            lower: -h.zero_threshold,
            upper: h.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: h.zero_count,
            index: 0,
        });
    }
    for (index, count) in FloatHistogram::side(&h.positive_spans, &h.positive_buckets) {
        let lower = bound(h, index.saturating_sub(1));
        let upper = bound(h, index);
        let (lower_inclusive, upper_inclusive) =
            if custom { (index == 0, true) } else { (lower < 0.0, upper > 0.0) };
        clamped(Bucket { lower, upper, lower_inclusive, upper_inclusive, count, index });
    }
}

fn bound(h: &FloatHistogram, index: i32) -> f64 {
    if !h.uses_custom_buckets() {
        return bucket_bound(index, h.schema);
    }
    match usize::try_from(index) {
        Ok(i) => h.custom_values.get(i).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Span;

    fn texts(h: &FloatHistogram) -> Vec<String> {
        let mut out = Vec::new();
        for_each(h, |b| {
            let (l, r) =
                (if b.lower_inclusive { '[' } else { '(' }, if b.upper_inclusive { ']' } else { ')' });
            out.push(format!("{l}{},{}{r}:{}", b.lower, b.upper, b.count));
        });
        out
    }

    #[test]
    fn exponential_both_sides() {
        let h = FloatHistogram {
            zero_threshold: 0.001,
            zero_count: 2.0,
            positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
            positive_buckets: vec![1.0, 0.0, 3.0],
            negative_spans: vec![Span { offset: 1, length: 2 }],
            negative_buckets: vec![4.0, 5.0],
            ..FloatHistogram::default()
        };
        let want = ["[-4,-2):5", "[-2,-1):4", "[-0.001,0.001]:2", "(0.5,1]:1", "(1,2]:0", "(4,8]:3"];
        assert_eq!(texts(&h), want);
    }

    #[test]
    fn custom_bounds() {
        let h = FloatHistogram {
            schema: -53,
            custom_values: vec![5.0, 10.0].into(),
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 2.0, 3.0],
            ..FloatHistogram::default()
        };
        assert_eq!(texts(&h), ["[-inf,5]:1", "(5,10]:2", "(10,inf]:3"]);
    }
}
