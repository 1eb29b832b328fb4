//! Random expressions, directed by types and by what the data have, so that most of them are valid, join and
//! answer something.

use super::lists::{
    AGGREGATIONS, ARITHMETIC, COMPARISON, DATES, FLOATS, HISTOGRAM_OVER_TIME, HISTOGRAMS, NUMBERS,
    OF_HISTOGRAM, OVER_TIME, OVER_TIME_EXPERIMENTAL, PLAIN, SETS,
};
use super::node::{Kind, Node, Random};
use super::spoil::spoil;

/// What a vector should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Floats.
    Float,
    /// Native histograms.
    Histogram,
}

use Flavor::{Float, Histogram};

/// Makes expressions.
pub struct Generator {
    /// Where it gets its chances from.
    pub r: Random,
    /// With what the LTS release does not know, or reckons in another way: native histograms, `info`,
    /// `mad_over_time`, syntax.
    pub newer: bool,
}

impl Generator {
    /// One expression, whole.
    pub fn expression(&mut self) -> Node {
        let depth = 1 + self.r.below(3);
        let flavor = self.flavor();
        let node = match self.r.below(40) {
            0 => self.scalar(depth),
            1 => self.matrix(flavor, depth).0,
            2 => Node::leaf(Kind::Text, "\"a text\""),
            3..=9 => self.rare(depth),
            _ => self.vector(flavor, depth),
        };
        if self.r.once_in(25) { spoil(self, &node) } else { node }
    }

    /// One of the many functions that each are met seldom otherwise.
    fn rare(&mut self, depth: usize) -> Node {
        if self.r.once_in(12) {
            return self.absence(depth - 1);
        }
        if self.newer && self.r.once_in(8) {
            return self.between_kinds(Float, depth - 1);
        }
        self.plain(depth - 1)
    }

    fn flavor(&mut self) -> Flavor {
        if self.newer && self.r.below(3) == 0 { Histogram } else { Float }
    }

    /// An expression of a type, for arguments that have no taste.
    pub(super) fn of(&mut self, kind: Kind, depth: usize) -> Node {
        let flavor = self.flavor();
        match kind {
            Kind::Vector => self.vector(flavor, depth),
            Kind::Scalar => self.scalar(depth),
            Kind::Matrix => self.matrix(flavor, depth).0,
            Kind::Text => Node::leaf(Kind::Text, "\"instance\""),
        }
    }

    fn matcher(&mut self, name: &str) -> (String, &'static str) {
        let own: &[(&str, &'static str)] = match name {
            "c_total" => &[
                ("code=\"200\"", "="),
                ("code!=\"500\"", "!="),
                ("code=~\"4..\"", "=~"),
                ("code!~\"2.*\"", "!~"),
            ],
            "h_bucket" => &[
                ("le=\"+Inf\"", "="),
                ("le!=\"many\"", "!="),
                ("le=~\"[0-9.]+\"", "=~"),
                ("le!~\"many|10\"", "!~"),
            ],
            "short" => &[("n=\"4\"", "="), ("n!=\"0\"", "!="), ("n=~\"[2-4]\"", "=~"), ("n!~\"[01]\"", "!~")],
            _ => &[("job=\"a\"", "="), ("job!=\"b\"", "!=")],
        };
        let any: &[(&str, &'static str)] = &[
            ("job=\"a\"", "="),
            ("job!=\"a\"", "!="),
            ("job=~\"a|b\"", "=~"),
            ("instance=~\"i[01]\"", "=~"),
            ("instance!~\"i1|i2\"", "!~"),
            ("nosuch=\"\"", "="),
            ("job=~\".+\"", "=~"),
            ("job!~\"x.*\"", "!~"),
            ("job=~\"(?i)A|B\"", "=~"),
            ("instance=~\"i\\\\d|\"", "=~"),
            ("instance!=\"i0\"", "!="),
            ("job=~'[^c]'", "=~"),
            ("instance!~`.*2`", "!~"),
            ("instance=~\".*1|i0\"", "=~"),
        ];
        let (text, op) = if self.r.once_in(3) { self.r.pick(own) } else { self.r.pick(any) };
        let mark = match op {
            "=" => "matcher =",
            "!=" => "matcher !=",
            "=~" => "matcher =~",
            _ => "matcher !~",
        };
        (text.to_string(), mark)
    }

    /// A selector without time modifiers.
    fn selector(&mut self, kind: Kind, flavor: Flavor) -> Node {
        let mut node = Node::new(kind);
        if flavor == Float && self.r.once_in(20) {
            let more = self.r.pick(&["", ", job=\"a\"", ", \"la.bel\"=~\"(?s)a.*\"", ", größe!=\"\""]);
            return node.text(format!("{{\"utf-8 ü\"{more}}}")).mark("UTF-8 name");
        }
        let name = match flavor {
            Float if self.r.once_in(30) => self.r.pick(&["target_info", "build_info"]),
            Float => self.r.pick(&FLOATS),
            Histogram => self.r.pick(&HISTOGRAMS),
        };
        let mut matchers = Vec::new();
        let mut many = 0;
        while many < 2 && self.r.below(5) < 2 {
            let (text, mark) = self.matcher(name);
            matchers.push(text);
            node = node.mark(mark);
            many += 1;
        }
        match self.r.below(30) {
            0 => {
                matchers.insert(0, format!("__name__=\"{name}\""));
                node.text(format!("{{{}}}", matchers.join(","))).mark("matcher =")
            }
            1 => {
                matchers.insert(0, format!("__name__=~\"{name}|plain\""));
                node.text(format!("{{{}}}", matchers.join(", "))).mark("matcher =~")
            }
            2 => {
                matchers.insert(0, format!("\"{name}\""));
                node.text(format!("{{{}}}", matchers.join(",")))
            }
            _ if matchers.is_empty() => node.text(name),
            _ => node.text(name).extra(format!("{{{}}}", matchers.join(","))),
        }
    }

    fn duration(&mut self) -> &'static str {
        self.r.pick(&["1m", "5m", "2m30s", "10m", "45s", "17m", "90", "6m0s1ms", "0.5h", "8m"])
    }

    /// A duration as it stands in brackets: now and then one that is reckoned.
    fn long(&mut self) -> (String, Vec<&'static str>) {
        if self.r.below(8) > 0 {
            return (self.duration().to_string(), Vec::new());
        }
        let arithmetic =
            self.r.pick(&["5m*2", "10m-1m30s", "(5+2)*1m", "1h/4", "1h%25m", "2^3*1m", "-5m+12m", "300+5m"]);
        if !self.newer || self.r.once_in(2) {
            return (arithmetic.to_string(), vec!["duration expression"]);
        }
        let (text, mark) = self.r.pick(&[
            ("step()+5m", "step() in a duration"),
            ("4*step()+1m", "step() in a duration"),
            ("range()+7m", "range() in a duration"),
            ("range()/2+4m", "range() in a duration"),
            ("9m-range()%5m", "range() in a duration"),
            ("max_of(step(),4m)", "max_of in a duration"),
            ("min_of(range()+3m,11m)", "min_of in a duration"),
            ("max_of(range(),3m)", "max_of in a duration"),
            ("min_of(20m,10*step()+2m)", "min_of in a duration"),
        ]);
        (text.to_string(), vec!["duration expression", mark])
    }

    fn time_modifiers(&mut self, mut node: Node) -> Node {
        if self.r.below(4) > 0 {
            return node;
        }
        let offset = self.r.below(6);
        let at = self.r.below(6);
        let at_first = self.r.once_in(2);
        for turn in 0..2 {
            if (turn == 0) == at_first {
                let middle = (super::data::BEGIN_MS + super::data::LENGTH_MS / 2) / 1000;
                let (text, mark) = match at {
                    0 => (format!(" @ {}", middle + self.r.below(900) as i64), "@"),
                    1 => (format!(" @ {}.{}", middle - 300, self.r.below(1000)), "@"),
                    2 => (" @ start()".to_string(), "@ start()"),
                    3 => (" @ end()".to_string(), "@ end()"),
                    _ => continue,
                };
                node = node.extra(text).mark(mark);
            } else {
                let (text, marks): (&str, &[&'static str]) = match offset {
                    0 => (" offset 1m", &["offset"]),
                    1 => (" offset 7m30s", &["offset"]),
                    2 => (" offset -90s", &["offset", "offset, negative"]),
                    3 => (" OFFSET -4m", &["offset", "offset, negative"]),
                    4 => (" offset (3m*2)", &["offset", "duration expression"]),
                    _ if self.newer => {
                        (" offset (step()+1m)", &["offset", "duration expression", "step() in a duration"])
                    }
                    _ => continue,
                };
                node = node.extra(text);
                node.marks.extend(marks);
            }
        }
        node
    }

    /// A range vector, and whether its ends are `anchored` or `smoothed`.
    fn matrix(&mut self, flavor: Flavor, depth: usize) -> (Node, bool) {
        let (range, marks) = self.long();
        if depth > 0 && self.r.below(3) == 0 {
            let inner = self.vector(flavor, depth - 1);
            let mut node = Node::new(Kind::Matrix).text("(").child(inner).text(")").mark("subquery");
            node = match self.r.below(5) {
                0 => node.text(format!("[{range}:]")).mark("subquery, default step"),
                1 if self.newer && self.r.once_in(3) => {
                    node.text(format!("[{range}:max_of(step(),1m)]")).mark("max_of in a duration")
                }
                _ => {
                    let step = self.r.pick(&["30s", "1m", "77s", "15s", "2m*2"]);
                    node.text(format!("[{range}:{step}]"))
                }
            };
            node.marks.extend(marks);
            return (self.time_modifiers(node), false);
        }
        let mut node = self.selector(Kind::Matrix, flavor).text(format!("[{range}]"));
        node.marks.extend(marks);
        let mut extended = false;
        if self.newer && flavor == Float && self.r.once_in(10) {
            let word = self.r.pick(&["anchored", "smoothed"]);
            node = node.extra(format!(" {word}")).mark(word);
            extended = true;
        }
        (self.time_modifiers(node), extended)
    }

    /// A scalar.
    pub(super) fn scalar(&mut self, depth: usize) -> Node {
        let number = self.r.pick(&NUMBERS);
        let node = Node::new(Kind::Scalar);
        match self.r.below(20) {
            0 => node.text("time()").mark("time"),
            1 => node.text("pi()").mark("pi"),
            2 | 3 if depth > 0 => {
                let inner = self.single(depth - 1);
                node.text("scalar(").child(inner).text(")").mark("scalar")
            }
            4 | 5 if depth > 0 => {
                let op = self.r.pick(&ARITHMETIC);
                let (a, b) = (self.scalar(depth - 1), self.scalar(depth - 1));
                node.text("(").child(a).text(format!(" {op} ")).child(b).text(")").mark(op)
            }
            6 if depth > 0 => {
                let op = self.r.pick(&COMPARISON);
                let (a, b) = (self.scalar(depth - 1), self.scalar(depth - 1));
                node.text("(").child(a).text(format!(" {op} bool ")).child(b).text(")").mark(op).mark("bool")
            }
            7 | 14..=17 if self.newer => {
                let name = self.r.pick(&["start", "end", "step", "range"]);
                node.text(format!("{name}()")).mark(name)
            }
            8 | 18 | 19 if self.newer && depth > 0 => {
                let name = self.r.pick(&["max_of", "min_of"]);
                let (a, b) = (self.scalar(depth - 1), self.scalar(depth - 1));
                node.text(format!("{name}(")).child(a).text(", ").child(b).text(")").mark(name)
            }
            9 if depth > 0 => {
                let inner = self.scalar(depth - 1);
                node.text("-(").child(inner).text(")").mark("unary -")
            }
            _ => node.text(number),
        }
    }

    /// A vector of one series, mostly: what `scalar` wants.
    fn single(&mut self, depth: usize) -> Node {
        if self.r.once_in(4) {
            return self.vector(Float, depth);
        }
        if self.r.once_in(2) {
            let text = self.r.pick(&[
                "one{job=\"a\"}",
                "plain{job=\"b\",instance=\"i1\"}",
                "short{n=\"4\"}",
                "when{job=\"a\"}",
            ]);
            return Node::leaf(Kind::Vector, text);
        }
        let inner = self.vector(Float, depth);
        Node::new(Kind::Vector).text("max(").child(inner).text(")").mark("max")
    }

    fn grouping(&mut self) -> Option<(String, &'static str)> {
        let labels = self.r.pick(&[
            "job",
            "instance",
            "job, instance",
            "code",
            "le",
            "",
            "job,nosuch",
            "job, instance,",
        ]);
        match self.r.below(3) {
            0 => None,
            1 => Some((format!(" by ({labels}) "), "by")),
            _ => Some((format!(" without ({labels}) "), "without")),
        }
    }

    fn aggregate(&mut self, name: &'static str, parameter: Option<Node>, inner: Node) -> Node {
        let mut node = Node::new(Kind::Vector).text(name).mark(name);
        let grouping = self.grouping();
        let behind = self.r.once_in(5);
        if let (Some((text, mark)), false) = (&grouping, behind) {
            node = node.extra(text.clone()).mark(mark);
        }
        node = node.text("(");
        if let Some(parameter) = parameter {
            node = node.child(parameter).text(", ");
        }
        node = node.child(inner).text(")");
        if let (Some((text, mark)), true) = (grouping, behind) {
            node = node.extra(text).mark(mark);
        }
        node
    }

    /// A call with the pieces between its parentheses.
    fn call(name: &'static str, arguments: Vec<Node>) -> Node {
        let mut node = Node::new(Kind::Vector).text(format!("{name}(")).mark(name);
        for (at, argument) in arguments.into_iter().enumerate() {
            if at > 0 {
                node = node.text(", ");
            }
            node = node.child(argument);
        }
        node.text(")")
    }

    fn small(&mut self) -> Node {
        let text = self.r.pick(&["0.5", "0.9", "0", "1", "0.99", "1.5", "-1", "NaN", "0.25"]);
        Node::leaf(Kind::Scalar, text)
    }

    /// An instant vector.
    pub(super) fn vector(&mut self, flavor: Flavor, depth: usize) -> Node {
        if depth == 0 {
            let node = self.selector(Kind::Vector, flavor);
            if self.newer && flavor == Float && self.r.once_in(40) {
                return self.time_modifiers(node.extra(" smoothed").mark("smoothed"));
            }
            return self.time_modifiers(node);
        }
        let d = depth - 1;
        match self.r.below(20) {
            0..=3 => self.over_time(flavor, d),
            4..=6 if flavor == Float => self.plain(d),
            4 | 5 => self.between_kinds(flavor, d),
            7..=9 => self.aggregation(flavor, d),
            10..=12 => super::joins::binary(self, flavor, d),
            13 => super::joins::with_scalar(self, flavor, d),
            14 | 15 if flavor == Float => self.between_kinds(flavor, d),
            14 => super::joins::with_scalar(self, flavor, d),
            16 => self.labelled(flavor, d),
            17 => {
                let (inner, op) = (self.vector(flavor, d), self.r.pick(&["-", "-", "+"]));
                let mark = if op == "-" { "unary -" } else { "unary +" };
                Node::new(Kind::Vector).text(op).text("(").child(inner).text(")").mark(mark)
            }
            18 => self.ordered(flavor, d),
            _ => self.over_time(flavor, d),
        }
    }

    fn over_time(&mut self, flavor: Flavor, d: usize) -> Node {
        let (matrix, extended) = self.matrix(flavor, d);
        if extended {
            let names: &[&'static str] = if matrix.marks.contains(&"smoothed") {
                &["rate", "increase", "delta"]
            } else {
                &["rate", "increase", "delta", "changes", "resets"]
            };
            return Self::call(self.r.pick(names), vec![matrix]);
        }
        if flavor == Histogram && self.r.below(4) > 0 {
            return Self::call(self.r.pick(&HISTOGRAM_OVER_TIME), vec![matrix]);
        }
        match self.r.below(12) {
            0 => {
                let q = self.small();
                Self::call("quantile_over_time", vec![q, matrix])
            }
            1 => {
                let t = self.scalar(0);
                Self::call("predict_linear", vec![matrix, t])
            }
            2 => {
                let factor = |g: &mut Self| {
                    let text = g.r.pick(&["0.1", "0.5", "0.9", "0.3", "0.99", "1", "0"]);
                    Node::leaf(Kind::Scalar, text)
                };
                let (a, b) = (factor(self), factor(self));
                Self::call("double_exponential_smoothing", vec![matrix, a, b])
            }
            3..=5 => {
                let known =
                    if self.newer { &OVER_TIME_EXPERIMENTAL[..] } else { &OVER_TIME_EXPERIMENTAL[1..4] };
                Self::call(self.r.pick(known), vec![matrix])
            }
            _ => {
                let known = if self.newer { &OVER_TIME[..] } else { &OVER_TIME[1..] };
                Self::call(self.r.pick(known), vec![matrix])
            }
        }
    }

    fn plain(&mut self, d: usize) -> Node {
        match self.r.below(14) {
            0 | 1 => {
                let inner =
                    if self.r.once_in(3) { self.vector(Float, d) } else { Node::leaf(Kind::Vector, "when") };
                let name = self.r.pick(&DATES);
                if self.r.once_in(8) {
                    return Self::call(name, Vec::new());
                }
                Self::call(name, vec![inner])
            }
            2 => {
                let (inner, a, b) = (self.vector(Float, d), self.scalar(d), self.scalar(d));
                match self.r.below(4) {
                    0 | 3 => Self::call("clamp", vec![inner, a, b]),
                    1 => Self::call("clamp_min", vec![inner, a]),
                    _ => Self::call("clamp_max", vec![inner, a]),
                }
            }
            3 => {
                let (inner, to) = (self.vector(Float, d), self.scalar(0));
                Self::call("round", vec![inner, to])
            }
            4 => {
                let inner = self.scalar(d);
                Self::call("vector", vec![inner])
            }
            12 => self.absence(d),
            5 if self.newer => {
                let flavor = self.flavor();
                let inner = self.vector(flavor, d);
                // The block has no start timestamps: beside something that is there.
                let start = Self::call("start_timestamp", vec![inner]);
                if self.r.once_in(4) {
                    return start;
                }
                let other = self.vector(Float, 0);
                Node::new(Kind::Vector)
                    .text("(")
                    .child(start)
                    .text(") or (")
                    .child(other)
                    .text(")")
                    .mark("or")
            }
            _ => {
                let name = self.r.pick(&PLAIN);
                // Those that are defined on a part of the numbers only get such a part now and then.
                let inner = self.vector(Float, d);
                let inner = match name {
                    "acos" | "asin" | "atanh" if self.r.once_in(2) => {
                        Node::new(Kind::Vector).text("(").child(inner).text(" % 1)").mark("%")
                    }
                    _ => inner,
                };
                Self::call(name, vec![inner])
            }
        }
    }

    /// What tells that nothing is there, of what is there not.
    fn absence(&mut self, d: usize) -> Node {
        let nothing = self.r.pick(&[
            "nosuch",
            "plain{job=\"c\"}",
            "nosuch{job=\"a\",x=~\"y\"}",
            "plain{job=\"c\",job=\"d\"}",
        ]);
        match self.r.below(5) {
            0 | 1 => Self::call("absent", vec![Node::leaf(Kind::Vector, nothing)]),
            2 | 3 => {
                let range = self.duration();
                Self::call("absent_over_time", vec![Node::leaf(Kind::Matrix, format!("{nothing}[{range}]"))])
            }
            _ => {
                let inner = self.vector(Float, d);
                Self::call("absent", vec![inner])
            }
        }
    }

    fn aggregation(&mut self, flavor: Flavor, d: usize) -> Node {
        let inner = self.vector(flavor, d);
        let name = match self.r.below(10) {
            0 => self.r.pick(&["topk", "bottomk"]),
            1 => self.r.pick(&["limitk", "limit_ratio"]),
            2 => self.r.pick(&["quantile", "count_values"]),
            _ if flavor == Histogram && self.r.once_in(2) => self.r.pick(&["sum", "avg"]),
            _ => self.r.pick(&AGGREGATIONS),
        };
        let parameter = match name {
            "topk" | "bottomk" | "limitk" => {
                let text = self.r.pick(&["1", "2", "3", "5", "0", "2.9", "100"]);
                Some(if self.r.once_in(12) { self.scalar(d.min(1)) } else { Node::leaf(Kind::Scalar, text) })
            }
            "limit_ratio" => {
                let text = self.r.pick(&["0.5", "-0.5", "0.2", "-0.8", "1", "-1", "0", "1.5", "0.9"]);
                Some(Node::leaf(Kind::Scalar, text))
            }
            "quantile" => Some(if self.r.once_in(8) { self.scalar(d.min(1)) } else { self.small() }),
            "count_values" => {
                let text = self.r.pick(&["\"v\"", "\"job\"", "\"größe\"", "\"instance\""]);
                Some(Node::leaf(Kind::Text, text))
            }
            _ => None,
        };
        self.aggregate(name, parameter, inner)
    }

    /// From histograms to floats.
    fn between_kinds(&mut self, flavor: Flavor, d: usize) -> Node {
        if flavor == Histogram {
            return self.over_time(flavor, d);
        }
        let classic = !self.newer || self.r.once_in(3);
        let inner = if classic {
            let range = self.duration();
            let text = match self.r.below(5) {
                0 => "h_bucket".to_string(),
                1 => format!("rate(h_bucket[{range}])"),
                2 => format!("sum by (le) (rate(h_bucket[{range}]))"),
                3 => format!("sum by (job, le) (increase(h_bucket{{le!=\"many\"}}[{range}]))"),
                _ if !self.newer => "h_bucket{job=\"a\"}".to_string(),
                _ => "{__name__=~\"h_bucket|n\"}".to_string(),
            };
            Node::leaf(Kind::Vector, text)
        } else {
            self.vector(Histogram, d)
        };
        match self.r.below(6) {
            0 | 1 => {
                let q = if self.r.once_in(10) { self.scalar(0) } else { self.small() };
                Self::call("histogram_quantile", vec![q, inner])
            }
            2 if self.newer => {
                let pair = self.r.pick(&[
                    ("0", "1"),
                    ("0.5", "2.5"),
                    ("-Inf", "Inf"),
                    ("1", "0"),
                    ("-3", "0.7"),
                    ("NaN", "1"),
                    ("0", "+Inf"),
                ]);
                let (a, b) = (Node::leaf(Kind::Scalar, pair.0), Node::leaf(Kind::Scalar, pair.1));
                Self::call("histogram_fraction", vec![a, b, inner])
            }
            3 if self.newer => {
                let node = Node::new(Kind::Vector).text("histogram_quantiles(").child(inner);
                let label = self.r.pick(&["\"q\"", "\"job\"", "\"quantile\""]);
                let list = self.r.pick(&["0.5", "0.5, 0.9", "0, 0.25, 1", "0.1, 2, NaN", "-1, 0.99"]);
                node.text(format!(", {label}, {list})")).mark("histogram_quantiles")
            }
            _ if !self.newer => {
                let q = self.small();
                Self::call("histogram_quantile", vec![q, inner])
            }
            _ => {
                let inner = if classic { self.vector(Histogram, d) } else { inner };
                Self::call(self.r.pick(&OF_HISTOGRAM), vec![inner])
            }
        }
    }

    fn labelled(&mut self, flavor: Flavor, d: usize) -> Node {
        let inner = self.vector(flavor, d);
        let node = Node::new(Kind::Vector);
        match self.r.below(if self.newer { 3 } else { 2 }) {
            0 => {
                let rest = self.r.pick(&[
                    "\"x\", \"$1-y\", \"instance\", \"i(.)\"",
                    "\"job\", \"$0\", \"job\", \".*\"",
                    "\"größe\", \"${1}\", \"instance\", \"(?P<x>.)(.)\"",
                    "\"x\", \"${x}-$2\", \"instance\", \"(?P<x>.)(.)\"",
                    "\"instance\", \"\", \"job\", \"a\"",
                    "\"__name__\", \"renamed\", \"job\", \"a\"",
                    "\"code\", \"z\", \"nosuch\", \"\"",
                ]);
                node.text("label_replace(").child(inner).text(format!(", {rest})")).mark("label_replace")
            }
            1 => {
                let rest = self.r.pick(&[
                    "\"x\", \"/\", \"job\", \"instance\"",
                    "\"job\", \"-\", \"instance\", \"nosuch\"",
                    "\"x\", \"\"",
                    "\"größe\", \", \", \"job\"",
                    "\"instance\", \"\", \"nosuch\"",
                ]);
                node.text("label_join(").child(inner).text(format!(", {rest})")).mark("label_join")
            }
            _ => {
                let rest = self.r.pick(&[
                    "",
                    ", {version=~\".+\"}",
                    ", {region=\"eu\"}",
                    ", {__name__=\"build_info\"}",
                    ", {__name__=~\".*_info\"}",
                    ", {__name__=~\".+_info\", os=\"linux\"}",
                    ", {nosuch=\"\"}",
                    ", {region!=\"eu\"}",
                ]);
                node.text("info(").child(inner).extra(rest).text(")").mark("info")
            }
        }
    }

    fn ordered(&mut self, flavor: Flavor, d: usize) -> Node {
        let inner = self.vector(flavor, d);
        let name = self.r.pick(&["sort", "sort_desc", "sort_by_label", "sort_by_label_desc"]);
        let labels = match name {
            "sort_by_label" | "sort_by_label_desc" => {
                self.r.pick(&[", \"job\"", ", \"instance\", \"job\"", ", \"le\"", "", ", \"nosuch\""])
            }
            _ => "",
        };
        Node::new(Kind::Vector).text(format!("{name}(")).child(inner).text(format!("{labels})")).mark(name)
    }

    pub(super) fn arithmetic(&mut self) -> &'static str {
        self.r.pick(&ARITHMETIC)
    }
    pub(super) fn comparison(&mut self) -> &'static str {
        self.r.pick(&COMPARISON)
    }
    pub(super) fn set(&mut self) -> &'static str {
        self.r.pick(&SETS)
    }
}
