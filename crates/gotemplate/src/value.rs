//! What a template computes with: values that carry their Go type, since texts of errors and `%T` name it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::FloatHistogram;

/// Maps within maps that `args` may build. Go has no bound; dropping a value recurses once a level.
pub const VALUE_DEPTH_MAX: usize = 64;

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value, or `nil`.
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `uint64`
    Uint(u64),
    /// `uint8`: a byte of a string.
    Byte(u8),
    /// `float64`
    Float(f64),
    /// `complex128`
    Complex(f64, f64),
    /// `string`
    Text(Arc<str>),
    /// `template.HTML`: a string that is not to be escaped.
    Html(Arc<str>),
    /// A slice.
    List(Arc<List>),
    /// A map from strings, in the order of its keys.
    Map(Arc<Map>),
    /// A struct.
    Record(Arc<Record>),
    /// What `query` gives.
    Samples(Arc<[Arc<Sample>]>),
    /// A pointer to one of them.
    Sample(Option<Arc<Sample>>),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
    /// `time.Time` in nanoseconds since 1970; `pointer` for `*time.Time`.
    Time {
        /// Nanoseconds.
        ns: i128,
        /// Whether it is a pointer.
        pointer: bool,
    },
    /// `time.Duration`; `pointer` for `*time.Duration`.
    Duration {
        /// Nanoseconds.
        ns: i64,
        /// Whether it is a pointer.
        pointer: bool,
    },
    /// `time.Month` (1 to 12).
    Month(i64),
    /// `time.Weekday` (0 is Sunday).
    Weekday(i64),
}

/// A slice with the Go type of its elements.
#[derive(Clone, Debug)]
pub struct List {
    /// E.g. `float64`.
    pub element: &'static str,
    /// The elements.
    pub items: Vec<Value>,
}

/// A map.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// Maps within one another, itself included.
    pub depth: usize,
    /// `map[string]interface {}` rather than `map[string]string`.
    pub any: bool,
    /// Its entries.
    pub entries: BTreeMap<String, Value>,
}

/// A struct.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its Go type.
    pub type_name: &'static str,
    /// Fields in order: name, whether it is an `interface {}`, value.
    pub fields: Vec<(&'static str, bool, Value)>,
}

/// One result of a query.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `map[string]string`
    pub labels: Value,
    /// A float or a histogram.
    pub value: Value,
}

impl Sample {
    /// From labels and a float or histogram.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: Value) -> Self {
        Sample { labels: Value::text_map(labels), value }
    }

    /// The struct that the pointer points to.
    #[must_use]
    pub fn record(&self) -> Record {
        let fields = vec![("Labels", false, self.labels.clone()), ("Value", true, self.value.clone())];
        Record { type_name: "template.sample", fields }
    }
}

impl Value {
    /// A string.
    #[must_use]
    pub fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    /// A map of strings.
    pub fn text_map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
        let entries = pairs.into_iter().map(|(k, v)| (k.to_string(), Value::text(v))).collect();
        Value::Map(Arc::new(Map { depth: 1, any: false, entries }))
    }

    /// The Go type; `<nil>` for none.
    #[must_use]
    pub fn type_name(&self) -> String {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint64",
            Value::Byte(_) => "uint8",
            Value::Float(_) => "float64",
            Value::Complex(..) => "complex128",
            Value::Text(_) => "string",
            Value::Html(_) => "template.HTML",
            Value::List(list) => return format!("[]{}", list.element),
            Value::Map(map) if map.any => "map[string]interface {}",
            Value::Map(_) => "map[string]string",
            Value::Record(record) => record.type_name,
            Value::Samples(_) => "template.queryResult",
            Value::Sample(_) => "*template.sample",
            Value::Histogram(_) => "*histogram.FloatHistogram",
            Value::Time { pointer: true, .. } => "*time.Time",
            Value::Time { .. } => "time.Time",
            Value::Duration { pointer: true, .. } => "*time.Duration",
            Value::Duration { .. } => "time.Duration",
            Value::Month(_) => "time.Month",
            Value::Weekday(_) => "time.Weekday",
        }
        .to_string()
    }

    /// What a pointer points to; other values as they are.
    #[must_use]
    pub fn indirect(&self) -> Value {
        match self {
            Value::Sample(Some(sample)) => Value::Record(Arc::new(sample.record())),
            Value::Time { ns, .. } => Value::Time { ns: *ns, pointer: false },
            Value::Duration { ns, .. } => Value::Duration { ns: *ns, pointer: false },
            other => other.clone(),
        }
    }

    /// What `if` decides by: not the zero of its type.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Value::Nil | Value::Sample(None) => false,
            Value::Bool(b) => *b,
            Value::Int(n) | Value::Month(n) | Value::Weekday(n) => *n != 0,
            Value::Uint(n) => *n != 0,
            Value::Byte(n) => *n != 0,
            Value::Float(v) => *v != 0.0,
            Value::Complex(re, im) => *re != 0.0 || *im != 0.0,
            Value::Text(t) | Value::Html(t) => !t.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Samples(samples) => !samples.is_empty(),
            Value::Duration { ns, pointer } => *pointer || *ns != 0,
            Value::Record(_) | Value::Sample(_) | Value::Histogram(_) | Value::Time { .. } => true,
        }
    }

    /// Levels of maps, as they were counted when made: a walk would visit a shared map once a reference.
    #[must_use]
    pub fn depth(&self) -> usize {
        if let Value::Map(map) = self { map.depth } else { 0 }
    }
}
