//! Expressions that are wrong on purpose: both servers must refuse them with the same words.

use super::generate::Generator;
use super::node::{Kind, Node};

/// Functions, with an argument of every type to choose from.
const NAMES: [&str; 14] = [
    "rate",
    "abs",
    "clamp",
    "histogram_quantile",
    "label_replace",
    "scalar",
    "vector",
    "round",
    "quantile_over_time",
    "time",
    "label_join",
    "sort_by_label",
    "absent",
    "nosuch",
];

/// Something wrong, made from an expression that is right.
pub(super) fn spoil(g: &mut Generator, node: &Node) -> Node {
    let text = node.print();
    let wrong = match g.r.below(20) {
        0..=4 => return call(g),
        5 => format!("{text}[5m]"),
        6 => format!("{text} offset 5m"),
        7 => format!("({text}) and 1"),
        8 => format!("1 {} 2", g.comparison()),
        9 => format!("({text}) + bool ({text})"),
        10 => format!(
            "{} ({text})",
            g.r.pick(&["sum by (job", "topk", "quantile by (job)", "count_values", "sum without"])
        ),
        11 => format!("({text}) {} on (job) group_left ({}) ({text})", g.set(), g.r.pick(&["job", ""])),
        12 => format!("({text}) / on (job) group_left (job) ({text})"),
        13 => {
            g.r.pick(&[
                "{}",
                "{job=\"\"}",
                "{__name__=\"\"}",
                "plain{job=~\"(\"}",
                "plain{job=\"a\" instance=\"b\"}",
                "plain{__name__=\"g\"}",
                "plain{job=~\"a{1001}\"}",
                "plain[0s]",
                "plain[5m:0s]",
                "rate(plain[-5m])",
                "plain @ x",
                "plain @ Inf",
                "plain offset 5",
                "plain[5m] offset 1m offset 2m",
                "plain @ 1 @ 2",
                "{\"plain\", \"g\"}",
                "rate(plain)",
                "sum()",
                "()",
                "",
                "plain{job!}",
                "\"open",
                "plain{job='a\\q'}",
                "1..2",
                "0xZ",
                "1m1h",
                "plain[1y300y]",
                "plain[5m] @ start() @ end()",
                "5m:",
                "plain{,}",
                "sum by (job,,x) (plain)",
                "foo bar",
                "# only a comment",
                "plain offset",
                "count_values(\"\\xff\", plain)",
                "label_replace(plain, \"\", \"\", \"\", \"\")",
                "label_replace(plain, \"x\", \"$1\", \"job\", \"(\")",
                "label_join(plain, \"\\xff\", \"\")",
                "topk(NaN, plain)",
                "topk(1e20, plain)",
                "quantile(plain, 1)",
                "limitk(Inf, plain)",
                "plain and on (job) 1",
                "bool",
                "plain == bool",
                "limit_ratio(NaN, plain)",
                "rate(plain[5m:1m] smoothed)",
                "max_over_time(plain[5m] anchored)",
                "rate(n[5m] anchored)",
                "plain anchored",
                "double_exponential_smoothing(plain[5m], 2, 0.5)",
                "double_exponential_smoothing(plain[5m], 0.5, -1)",
                "plain + fill(n) plain",
                "plain and fill(0) plain",
                "plain </ 3",
                "n </ n",
                "scalar(plain) </ 3",
                "info(plain, g)",
                "info(plain, {__name__=~\"a\"}[5m])",
                "plain[5m*plain]",
                "plain[5m/0]",
                "plain offset (1/0)",
                "rate(plain[step()])",
                "histogram_quantiles(n, \"q\")",
                "histogram_quantiles(n, \"\\xff\", 1)",
                "-\"text\"",
                "\"a\" + \"b\"",
                "-plain[5m]",
            ])
            .to_string()
        }
        14 => text.replacen(')', "", 1),
        15 => format!("{text})"),
        16 => format!(
            "{text} {} ",
            g.r.pick(&["+", "and", "==", "bool", "offset", "by (x)", "@", "[", "{", ",", "!", "=~", "\\"])
        ),
        _ => {
            // One character less, twice, or another one.
            let letters: Vec<char> = text.chars().collect();
            let at = g.r.below(letters.len());
            let mut letters = letters;
            match g.r.below(3) {
                0 => drop(letters.remove(at)),
                1 => letters.insert(at, letters[at]),
                _ => {
                    letters[at] =
                        g.r.pick(&['(', ']', '"', 'x', '5', ' ', '-', ':', 'é', '$', '\'', '{', '\n'])
                }
            }
            letters.into_iter().collect()
        }
    };
    Node::leaf(node.kind, wrong)
}

/// A call with arguments of any type and number.
fn call(g: &mut Generator) -> Node {
    let name = g.r.pick(&NAMES);
    let mut node = Node::new(Kind::Vector).text(format!("{name}("));
    for at in 0..g.r.below(5) {
        if at > 0 {
            node = node.text(", ");
        }
        let kind = g.r.pick(&[Kind::Vector, Kind::Vector, Kind::Scalar, Kind::Matrix, Kind::Text]);
        let argument = g.of(kind, 0);
        node = node.child(argument);
    }
    node.text(")")
}
