//! Labels of a known line, read out of its key once more: a store may forget a series while its target
//! still has it.

use exposition::{Event, LabelSource, OpenMetricsParser, ParserOptions, ProtoLabels, TextParser};
use model::Labels;

use super::IngestOptions;
use super::cache::TargetCache;
use super::labels::final_labels;
use super::page::{EntryId, KeyFormat};

/// Labels under which the entry's samples are stored. `None` for entries without, or where the rules drop
/// the line by now.
pub(super) fn labels_of_key(
    cache: &mut TargetCache,
    id: EntryId,
    key: &[u8],
    opts: &IngestOptions,
) -> Option<Labels> {
    let entry = *cache.page.entry(id)?;
    let options = ParserOptions::default();
    match entry.key_format {
        KeyFormat::Protobuf => {
            let source = LabelSource::Proto(ProtoLabels::from_key(key));
            final_labels(source, opts, &mut cache.builder).ok()?
        }
        KeyFormat::Text => {
            let line = [key, &b" 0\n"[..]].concat();
            let mut parser = TextParser::new(&line, &options);
            parser.seek(0, entry.metric_type);
            match parser.next() {
                Ok(Event::Series(s)) => final_labels(s.source, opts, &mut cache.builder).ok()?,
                _ => None,
            }
        }
        KeyFormat::OpenMetrics => {
            let line = [key, &b" 0\n"[..]].concat();
            let mut parser = OpenMetricsParser::new(&line, &options);
            parser.seek(0, entry.metric_type, "");
            match parser.next() {
                Ok(Event::Series(s)) => final_labels(s.source, opts, &mut cache.builder).ok()?,
                _ => None,
            }
        }
        KeyFormat::Other => None,
    }
}
