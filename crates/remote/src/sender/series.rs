//! Series as they are sent, by their number in the log: relabeled once, when the log names them.
//!
//! What is here stands in the log, and goes when the log is cut: memory is bounded by the series of some hours,
//! one label set each, for 1.0 as the bytes of the message already.

use std::sync::Arc;

use hashbrown::HashMap;
use model::relabel::{self, RelabelConfig};
use model::{Labels, LabelsBuilder, MetricMetadata};
use storage::{MetadataRecord, SeriesRecord};

use crate::encode;

/// Labels of a series in the form in which messages take them.
#[derive(Debug)]
pub(crate) enum Form {
    /// Label fields of a 1.0 series, encoded.
    V1(Box<[u8]>),
    /// For the symbols of 2.0.
    V2(Labels),
}

/// A series that is sent.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) form: Form,
    pub(crate) metadata: Option<Arc<MetricMetadata>>,
}

#[derive(Debug)]
struct Slot {
    /// `None` where relabeling drops it.
    known: Option<Arc<Known>>,
    /// The last segment that names it.
    segment: u64,
}

/// What is known of a number.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Kept(&'a Arc<Known>),
    /// By relabeling.
    Dropped,
    /// The log never named it.
    Unknown,
}

/// All series of the log.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    slots: HashMap<u64, Slot>,
    external: Labels,
    rules: Vec<RelabelConfig>,
    v2: bool,
    builder: LabelsBuilder,
}

impl SeriesTable {
    pub(crate) fn new(external: Labels, rules: Vec<RelabelConfig>, v2: bool) -> Self {
        SeriesTable { slots: HashMap::new(), external, rules, v2, builder: LabelsBuilder::new() }
    }

    /// Takes series that a segment names.
    pub(crate) fn add(&mut self, all: Vec<SeriesRecord>, segment: u64) {
        for SeriesRecord { series, labels } in all {
            if let Some(slot) = self.slots.get_mut(&series)
                && slot.segment == segment
            {
                continue;
            }
            let known = self.sent_as(labels).map(|labels| {
                let metadata =
                    self.slots.get(&series).and_then(|s| s.known.as_ref()).and_then(|k| k.metadata.clone());
                Arc::new(Known { form: self.form(labels), metadata })
            });
            self.slots.insert(series, Slot { known, segment });
        }
    }

    fn form(&self, labels: Labels) -> Form {
        if self.v2 {
            return Form::V2(labels);
        }
        let mut out = Vec::new();
        encode::labels_v1(&mut out, &labels);
        Form::V1(out.into())
    }

    /// Labels with external ones, which give way to its own, and relabeled.
    fn sent_as(&mut self, labels: Labels) -> Option<Labels> {
        if self.external.is_empty() && self.rules.is_empty() {
            return Some(labels);
        }
        self.builder.clear();
        for (name, value) in &labels {
            self.builder.set(name, value);
        }
        for (name, value) in &self.external {
            if self.builder.get(name).is_empty() {
                self.builder.set(name, value);
            }
        }
        relabel::process(&self.rules, &mut self.builder).then(|| self.builder.build())
    }

    /// Takes metadata, which 2.0 sends with every sample.
    pub(crate) fn describe(&mut self, all: Vec<MetadataRecord>) {
        for MetadataRecord { series, metadata } in all {
            let Some(known) = self.slots.get_mut(&series).and_then(|s| s.known.as_mut()) else { continue };
            if let Form::V2(labels) = &known.form {
                let form = Form::V2(labels.clone());
                *known = Arc::new(Known { form, metadata: Some(Arc::new(metadata)) });
            }
        }
    }

    /// Forgets what the log no longer names. `living` is ascending.
    pub(crate) fn condense(&mut self, through: u64, living: &[u64]) {
        self.slots.retain(|n, slot| slot.segment > through || living.binary_search(n).is_ok());
        self.slots.shrink_to(self.slots.len() * 2);
    }

    pub(crate) fn find(&self, series: u64) -> Found<'_> {
        match self.slots.get(&series) {
            Some(Slot { known: Some(known), .. }) => Found::Kept(known),
            Some(_) => Found::Dropped,
            None => Found::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Config, LoadOptions};

    fn labels(known: &Known) -> String {
        match &known.form {
            Form::V2(labels) => labels.to_string(),
            Form::V1(bytes) => format!("{} bytes", bytes.len()),
        }
    }

    #[test]
    fn series_are_relabeled_once_and_forgotten_with_the_log() {
        let text = "remote_write: [{url: 'http://a', write_relabel_configs: [{source_labels: [__name__], regex: no, action: drop}, {regex: gone, action: labeldrop}]}]";
        let rules = Config::parse(text, &LoadOptions::default()).unwrap().remote_write.remove(0);
        let external = Labels::from_pairs([("dc", "x"), ("job", "other")]);
        let mut table = SeriesTable::new(external, rules.write_relabel_configs, true);
        let one = |series, pairs: &[(&str, &str)]| SeriesRecord {
            series,
            labels: Labels::from_pairs(pairs.iter().copied()),
        };
        table.add(
            vec![one(1, &[("__name__", "up"), ("job", "j"), ("gone", "1")]), one(2, &[("__name__", "no")])],
            3,
        );
        let Found::Kept(known) = table.find(1) else { panic!() };
        assert_eq!(labels(known), r#"{__name__="up", dc="x", job="j"}"#);
        assert!(matches!(table.find(2), Found::Dropped));
        assert!(matches!(table.find(3), Found::Unknown));
        let metadata = MetricMetadata { help: "h".into(), ..MetricMetadata::default() };
        table.describe(vec![MetadataRecord { series: 1, metadata }]);
        // Named anew in a later segment, as after a checkpoint: metadata stays.
        table.add(vec![one(1, &[("__name__", "up")])], 5);
        let Found::Kept(known) = table.find(1) else { panic!() };
        assert_eq!(known.metadata.as_ref().map(|m| m.help.as_str()), Some("h"));
        table.condense(4, &[]);
        assert!(matches!((table.find(1), table.find(2)), (Found::Kept(_), Found::Unknown)));
        table.condense(5, &[1]);
        assert!(matches!(table.find(1), Found::Kept(_)));
        table.condense(5, &[]);
        assert!(matches!(table.find(1), Found::Unknown));
    }
}
