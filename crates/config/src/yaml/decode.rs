//! From tree to values, with all problems of a document in one pass.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::Secret;
use model::name::ValidationScheme;
use model::relabel::{RelabelConfig, RelabelError, RelabelParts};

use super::near::nearest;
use super::node::{Kind, Node, Pos};
use super::record::Record;
use super::resolve::{Meaning, resolve};
use crate::error::Problem;
use crate::global::GlobalConfig;
use crate::load::LoadOptions;

/// Problems reported of one file; more do not help the reader.
const PROBLEMS_MAX: usize = 30;

/// A finding of a check that looks at a whole struct.
#[derive(Debug)]
pub(crate) struct Invalid {
    /// The key whose place is reported; the struct's place where `None` or absent.
    pub(crate) key: Option<&'static str>,
    pub(crate) text: String,
}

impl Invalid {
    pub(crate) fn at(key: &'static str, text: impl Into<String>) -> Self {
        Invalid { key: Some(key), text: text.into() }
    }
}

impl<T: Into<String>> From<T> for Invalid {
    fn from(text: T) -> Self {
        Invalid { key: None, text: text.into() }
    }
}

/// Reads a value from a node.
pub(crate) trait Decode: Sized {
    /// What `key:` without a value gives: Go's zero value of the type.
    fn zero() -> Self;
    /// Overlays a node that is not null on `self`. False, with a problem noted, where it does not fit.
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool;
}

pub(crate) struct Decoder {
    /// What a `global` block that leaves a field out gives.
    pub(crate) global_defaults: GlobalConfig,
    /// Accept discovery mechanisms that are not built.
    pub(crate) unbuilt_discovery: bool,
    /// Skip keys that are not known.
    pub(crate) ignore_unknown: bool,
    /// Compiled rules by expression.
    rules: HashMap<Option<String>, RelabelConfig>,
    problems: Vec<Problem>,
    /// All findings, those beyond [`PROBLEMS_MAX`] too.
    found: usize,
    decoded: usize,
    from_aliases: usize,
    alias_depth: usize,
    exhausted: bool,
}

impl Decoder {
    pub(crate) fn new(options: &LoadOptions) -> Self {
        Decoder {
            global_defaults: options.global_defaults.clone(),
            unbuilt_discovery: options.unbuilt_discovery,
            ignore_unknown: false,
            rules: HashMap::new(),
            problems: Vec::new(),
            found: 0,
            decoded: 0,
            from_aliases: 0,
            alias_depth: 0,
            exhausted: false,
        }
    }

    /// Checks and compiles a rule under the UTF-8 scheme; equal expressions are compiled once a file.
    pub(crate) fn relabel(&mut self, parts: RelabelParts) -> Result<RelabelConfig, RelabelError> {
        let scheme = ValidationScheme::Utf8;
        if let Some(same) = self.rules.get(&parts.regex) {
            return RelabelConfig::sharing(parts, scheme, same);
        }
        let rule = RelabelConfig::new(parts, scheme)?;
        self.rules.insert(rule.parts().regex.clone(), rule.clone());
        Ok(rule)
    }

    pub(crate) fn fail(&mut self, pos: Pos, text: impl Into<String>) {
        self.found += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(pos.problem(text));
        }
    }

    /// Notes what a check of a whole struct found, at its key where that is written.
    pub(crate) fn fail_at(&mut self, node: &Node, invalid: Invalid) {
        let at = invalid.key.and_then(|key| node.get(key)).unwrap_or(node);
        self.fail(at.pos, invalid.text);
    }

    pub(crate) fn note(&mut self, problem: Problem) {
        self.found += 1;
        self.problems.push(problem);
    }

    /// Number of findings so far, to see whether a part was sound.
    pub(crate) fn found(&self) -> usize {
        self.found
    }

    /// All findings in order of the file.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|p| (p.line == 0, p.line, p.column));
        self.problems
    }

    /// Overlays a node on a value: null gives the zero value, aliases are followed within the budget.
    pub(crate) fn decode<T: Decode>(&mut self, node: &Node, into: &mut T) -> bool {
        if !self.enter(node) {
            return false;
        }
        let alias = is_alias(node);
        self.alias_depth += usize::from(alias);
        let target = node.target();
        let good = if self.is_null(target) {
            *into = T::zero();
            true
        } else {
            into.decode(target, self)
        };
        self.alias_depth -= usize::from(alias);
        good
    }

    /// The rule of go-yaml against bombs: of the first 400,000 values at most 99 % may come out of aliases,
    /// falling to 10 % at 4,000,000.
    fn enter(&mut self, node: &Node) -> bool {
        self.decoded += 1;
        self.from_aliases += usize::from(self.alias_depth > 0);
        if self.exhausted {
            return false;
        }
        let (all, aliased) = (self.decoded as f64, self.from_aliases as f64);
        let allowed = (0.99 - 0.89 * (all - 400_000.0) / 3_600_000.0).clamp(0.10, 0.99);
        if self.from_aliases > 100 && self.decoded > 1000 && aliased / all > allowed {
            self.exhausted = true;
            self.fail(node.pos, "document contains excessive aliasing");
            return false;
        }
        true
    }

    /// Whether a value, through anchors, is null.
    pub(crate) fn is_null(&mut self, node: &Node) -> bool {
        self.meaning(node.target()) == Some(Meaning::Null)
    }

    /// Meaning of a scalar; `None` for collections and for tags that contradict the text.
    pub(crate) fn meaning(&mut self, node: &Node) -> Option<Meaning> {
        let Kind::Scalar { text, plain } = &node.kind else { return None };
        let Some(tag) = node.tag.as_deref() else {
            return Some(if *plain { resolve(text) } else { Meaning::Text });
        };
        let resolved = resolve(text);
        match tag.strip_prefix("tag:yaml.org,2002:") {
            Some("null") if resolved == Meaning::Null => Some(resolved),
            Some("bool") if matches!(resolved, Meaning::Bool(_)) => Some(resolved),
            Some("int") if matches!(resolved, Meaning::Int(_) | Meaning::Uint(_)) => Some(resolved),
            Some("float") => match resolved {
                Meaning::Float(_) => Some(resolved),
                Meaning::Int(v) => Some(Meaning::Float(v as f64)),
                _ => None,
            },
            Some("null" | "bool" | "int") => None,
            // !!str, !!timestamp, !!binary (not decoded), "!" and private tags: the text.
            _ => Some(Meaning::Text),
        }
    }

    /// The text of a scalar, else a problem.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, want: &str) -> Option<&'n str> {
        match &node.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => {
                self.mismatch(node, want);
                None
            }
        }
    }

    pub(crate) fn mismatch(&mut self, node: &Node, want: &str) {
        let found = match &node.kind {
            Kind::Seq(_) => "a list".to_string(),
            Kind::Map(_) => "a mapping".to_string(),
            Kind::Scalar { text, .. } => {
                let cut: String = text.chars().take(40).collect();
                let dots = if cut.len() < text.len() { "..." } else { "" };
                format!("\"{cut}{dots}\"")
            }
            Kind::Shared { .. } => "an alias".to_string(),
        };
        self.fail(node.pos, format!("expected {want}, found {found}"));
    }

    /// Overlays a mapping on a struct: unknown and repeated keys are problems.
    pub(crate) fn record(&mut self, node: &Node, into: &mut dyn Record, what: &str) -> bool {
        let Kind::Map(pairs) = &node.kind else {
            self.mismatch(node, &format!("a mapping ({what})"));
            return false;
        };
        let mut seen: HashSet<&str> = HashSet::with_capacity(pairs.len());
        for (key, value) in pairs {
            if is_merge(key) {
                self.merge(value, &mut |node, cx| cx.record(node, into, what));
                continue;
            }
            let Some(name) = self.key(key) else { continue };
            if !seen.insert(name) {
                self.fail(key.pos, format!("{name:?} is given twice"));
                continue;
            }
            if !into.decode_field(name, key, value, self) && !self.ignore_unknown {
                self.unknown(key.pos, name, into, what);
            }
        }
        true
    }

    fn unknown(&mut self, pos: Pos, name: &str, record: &dyn Record, what: &str) {
        let mut names = Vec::new();
        record.names(&mut names);
        let hint = match (crate::legacy::renamed(name), nearest(name, names.iter().copied())) {
            (Some(text), _) => format!(", {text}"),
            (None, Some(near)) => format!(", did you mean {near:?}?"),
            (None, None) => String::new(),
        };
        let shown: String = name.chars().take(100).collect();
        self.fail(pos, format!("unknown field {shown:?} in {what}{hint}"));
    }

    /// A key's text; anything else than a scalar is a problem.
    fn key<'n>(&mut self, key: &'n Node) -> Option<&'n str> {
        self.text(key.target(), "a name")
    }

    fn merge(&mut self, node: &Node, apply: &mut dyn FnMut(&Node, &mut Decoder) -> bool) {
        if !self.enter(node) {
            return;
        }
        let alias = usize::from(is_alias(node));
        self.alias_depth += alias;
        let target = node.target();
        match &target.kind {
            Kind::Map(_) => {
                apply(target, self);
            }
            // Earlier ones win, so they come last.
            Kind::Seq(items) => {
                for item in items.iter().rev() {
                    if !self.enter(item) {
                        break;
                    }
                    let alias = usize::from(is_alias(item));
                    self.alias_depth += alias;
                    match item.target().kind {
                        Kind::Map(_) => {
                            apply(item.target(), self);
                        }
                        _ => self.mismatch(item.target(), "a mapping to merge"),
                    }
                    self.alias_depth -= alias;
                }
            }
            _ => self.mismatch(target, "a mapping or a list of mappings to merge"),
        }
        self.alias_depth -= alias;
    }

    /// Overlays a mapping with free keys.
    pub(crate) fn map<T: Decode>(&mut self, node: &Node, into: &mut BTreeMap<String, T>, want: &str) -> bool {
        let Kind::Map(pairs) = &node.kind else {
            self.mismatch(node, want);
            return false;
        };
        for (key, value) in pairs {
            if is_merge(key) {
                self.merge(value, &mut |node, cx| cx.map(node, into, want));
                continue;
            }
            let mut name = String::new();
            if !self.decode(key, &mut name) {
                continue;
            }
            let mut item = T::zero();
            if self.decode(value, &mut item) {
                match into.entry(name) {
                    Entry::Occupied(taken) => {
                        let text = format!("key {:?} already set in map", taken.key());
                        self.fail(key.pos, text);
                    }
                    Entry::Vacant(free) => {
                        free.insert(item);
                    }
                }
            }
        }
        true
    }

    /// Overlays a list whose items must not be null.
    pub(crate) fn list<T: Decode>(&mut self, node: &Node, into: &mut Vec<T>, null: &str) -> bool {
        if !self.enter(node) {
            return false;
        }
        let alias = usize::from(is_alias(node));
        self.alias_depth += alias;
        let target = node.target();
        let good = match &target.kind {
            Kind::Seq(items) => {
                into.clear();
                for item in items {
                    if self.is_null(item) {
                        self.fail(item.pos, null);
                        continue;
                    }
                    let mut value = T::zero();
                    if self.decode(item, &mut value) {
                        into.push(value);
                    }
                }
                true
            }
            Kind::Scalar { .. } if self.is_null(target) => {
                into.clear();
                true
            }
            _ => {
                self.mismatch(target, "a list");
                false
            }
        };
        self.alias_depth -= alias;
        good
    }
}

fn is_alias(node: &Node) -> bool {
    matches!(node.kind, Kind::Shared { alias: true, .. })
}

fn is_merge(key: &Node) -> bool {
    match &key.kind {
        Kind::Scalar { text, plain } => {
            text == "<<"
                && (*plain && key.tag.is_none() || key.tag.as_deref() == Some("tag:yaml.org,2002:merge"))
        }
        _ => false,
    }
}

impl Decode for String {
    fn zero() -> Self {
        String::new()
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        if node.tag.as_deref() == Some("tag:yaml.org,2002:binary") {
            cx.fail(node.pos, "!!binary values are not supported, write the text itself");
            return false;
        }
        let Some(text) = cx.text(node, "a string") else { return false };
        text.clone_into(self);
        true
    }
}

impl Decode for Secret {
    fn zero() -> Self {
        Secret::default()
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        // Not through String: a mismatch must not print the value.
        let Kind::Scalar { text, .. } = &node.kind else {
            cx.mismatch(node, "a string");
            return false;
        };
        *self = Secret::new(text.as_str());
        true
    }
}

impl Decode for bool {
    fn zero() -> Self {
        false
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        let Some(Meaning::Bool(value)) = cx.meaning(node) else {
            cx.mismatch(node, "true or false");
            return false;
        };
        *self = value;
        true
    }
}

impl Decode for i64 {
    fn zero() -> Self {
        0
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        match cx.meaning(node) {
            Some(Meaning::Int(value)) => *self = value,
            // go-yaml takes 1e3 and even 1.9 for an integer.
            Some(Meaning::Float(value)) if value.abs() < 9.2e18 => *self = value as i64,
            _ => {
                cx.mismatch(node, "an integer");
                return false;
            }
        }
        true
    }
}

impl Decode for u64 {
    fn zero() -> Self {
        0
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        match cx.meaning(node) {
            Some(Meaning::Int(value)) if value >= 0 => *self = value.unsigned_abs(),
            Some(Meaning::Uint(value)) => *self = value,
            Some(Meaning::Float(value)) if (0.0..1.8e19).contains(&value) => *self = value as u64,
            _ => {
                cx.mismatch(node, "an integer that is not negative");
                return false;
            }
        }
        true
    }
}

impl Decode for f64 {
    fn zero() -> Self {
        0.0
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        *self = match cx.meaning(node) {
            Some(Meaning::Int(value)) => value as f64,
            Some(Meaning::Uint(value)) => value as f64,
            Some(Meaning::Float(value)) => value,
            _ => {
                cx.mismatch(node, "a number");
                return false;
            }
        };
        true
    }
}

impl Decode for Duration {
    fn zero() -> Self {
        Duration::ZERO
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        let Some(text) = cx.text(node, "a duration such as 30s") else { return false };
        match model::duration::parse(text) {
            Ok(value) => {
                *self = value;
                true
            }
            Err(error) => {
                cx.fail(node.pos, format!("{error} (write for instance 30s, 5m, 1h30m)"));
                false
            }
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn zero() -> Self {
        Vec::new()
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        let Kind::Seq(items) = &node.kind else {
            cx.mismatch(node, "a list");
            return false;
        };
        self.clear();
        for item in items {
            let mut value = T::zero();
            if cx.decode(item, &mut value) {
                self.push(value);
            }
        }
        true
    }
}

impl<T: Decode + Clone> Decode for Arc<T> {
    fn zero() -> Self {
        Arc::new(T::zero())
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        Arc::make_mut(self).decode(node, cx)
    }
}

impl<T: Decode> Decode for Option<T> {
    fn zero() -> Self {
        None
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        let mut value = self.take().unwrap_or_else(T::zero);
        let good = value.decode(node, cx);
        *self = Some(value);
        good
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn zero() -> Self {
        BTreeMap::new()
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        cx.map(node, self, "a mapping")
    }
}
