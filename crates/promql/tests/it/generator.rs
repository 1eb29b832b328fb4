//! Random expressions over the series of the differential test.

/// xorshift64*: the same expressions for the same seed on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const METRICS: [&str; 6] = ["c_total", "g", "h_bucket", "n", "nc", "other"];
const OVER_TIME: [&str; 24] = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "first_over_time",
    "present_over_time",
    "changes",
    "resets",
    "deriv",
    "mad_over_time",
    "absent_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "ts_of_last_over_time",
    "ts_of_first_over_time",
];
const PLAIN: [&str; 33] = [
    "abs",
    "ceil",
    "floor",
    "exp",
    "sqrt",
    "ln",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "sgn",
    "deg",
    "rad",
    "round",
    "timestamp",
    "absent",
    "histogram_count",
    "histogram_sum",
    "histogram_avg",
    "histogram_stddev",
    "day_of_week",
    "hour",
    "year",
];

pub(crate) fn selector(r: &mut Random) -> String {
    let m = r.pick(&METRICS);
    let matcher = r.pick(&[
        "",
        "",
        "",
        "{job=\"a\"}",
        "{job!=\"a\"}",
        "{instance=~\"i[01]\"}",
        "{instance!~\"i1|i2\"}",
        "{code=\"\"}",
    ]);
    format!("{m}{matcher}")
}

fn modifiers(r: &mut Random) -> &'static str {
    ["", "", "", "", " offset 1m", " offset -30s", " @ end()", " @ start() offset 2m"][r.below(8)]
}

fn duration(r: &mut Random) -> &'static str {
    r.pick(&["1m", "5m", "2m30s", "10m", "45s", "17m"])
}

fn number(r: &mut Random) -> &'static str {
    r.pick(&["0", "1", "2", "0.5", "-1", "3.7", "NaN", "Inf", "1e3", "0.9"])
}

pub(crate) fn scalar(r: &mut Random, depth: usize) -> String {
    match r.below(6) {
        0 => "time()".to_string(),
        1 if depth > 0 => format!("scalar({})", vector(r, depth - 1)),
        2 => format!("({} {} {})", number(r), r.pick(&["+", "-", "*", "/", "%", "^"]), number(r)),
        _ => number(r).to_string(),
    }
}

fn grouping(r: &mut Random) -> String {
    let labels = r.pick(&["job", "instance", "job, instance", "code", "le", ""]);
    match r.below(3) {
        0 => String::new(),
        1 => format!(" by ({labels}) "),
        _ => format!(" without ({labels}) "),
    }
}

pub(crate) fn vector(r: &mut Random, depth: usize) -> String {
    if depth == 0 {
        return format!("{}{}", selector(r), modifiers(r));
    }
    let d = depth - 1;
    match r.below(16) {
        0..=2 => {
            let f = r.pick(&OVER_TIME);
            format!("{f}({}[{}]{})", selector(r), duration(r), modifiers(r))
        }
        3 => format!(
            "{}({}[{}:{}]{})",
            r.pick(&OVER_TIME),
            vector(r, d),
            duration(r),
            r.pick(&["30s", "1m", ""]),
            modifiers(r)
        ),
        4 => format!("{}({})", r.pick(&PLAIN), vector(r, d)),
        5..=7 => format!(
            "{}{}({})",
            r.pick(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]),
            grouping(r),
            vector(r, d)
        ),
        8 => {
            let op = r.pick(&["topk", "bottomk", "quantile", "limitk", "limit_ratio"]);
            let k = if op == "quantile" || op == "limit_ratio" { "0.5" } else { "2" };
            format!("{op}{}({k}, {})", grouping(r), vector(r, d))
        }
        9 => format!(
            "{} {} {}",
            paren(r, d),
            r.pick(&["+", "-", "*", "/", "%", "^", ">", "<", "==", "!=", ">= bool", "atan2"]),
            scalar(r, d)
        ),
        10 => {
            format!("{} {} {}", scalar(r, d), r.pick(&["+", "-", "*", "/", ">", "< bool", "!="]), paren(r, d))
        }
        11 => {
            let on = r.pick(&[
                "",
                "on (job, instance)",
                "ignoring (code, le)",
                "on (job) group_left ()",
                "on (instance) group_right (code)",
            ]);
            format!("{} {} {on} {}", paren(r, d), r.pick(&["+", "-", "*", "/", ">", "== bool"]), paren(r, d))
        }
        12 => format!(
            "{} {} {} {}",
            paren(r, d),
            r.pick(&["and", "or", "unless"]),
            r.pick(&["", "on (job)", "ignoring (code)"]),
            paren(r, d)
        ),
        13 => match r.below(4) {
            0 => format!(
                "histogram_quantile({}, {})",
                r.pick(&["0.5", "0.9", "0", "1", "1.5"]),
                r.pick(&[
                    "h_bucket",
                    "n",
                    "rate(h_bucket[5m])",
                    "sum by (le) (h_bucket)",
                    "rate(n[5m])",
                    "nc",
                    "rate(nc[10m])"
                ])
            ),
            1 => format!(
                "histogram_fraction(0, {}, {})",
                r.pick(&["1", "2.5", "Inf"]),
                r.pick(&["h_bucket", "n", "rate(n[5m])", "nc"])
            ),
            2 => format!("clamp({}, {}, {})", vector(r, d), number(r), number(r)),
            _ => format!(
                "quantile_over_time({}, {}[{}])",
                r.pick(&["0.1", "0.5", "2"]),
                selector(r),
                duration(r)
            ),
        },
        14 => match r.below(4) {
            0 => format!("label_replace({}, \"x\", \"$1-y\", \"instance\", \"i(.)\")", vector(r, d)),
            1 => format!("label_join({}, \"x\", \"/\", \"job\", \"instance\")", vector(r, d)),
            2 => format!("predict_linear({}[{}], {})", selector(r), duration(r), number(r)),
            _ => format!("sort_desc({})", vector(r, d)),
        },
        _ => format!("-{}", paren(r, d)),
    }
}

fn paren(r: &mut Random, d: usize) -> String {
    format!("({})", vector(r, d))
}
