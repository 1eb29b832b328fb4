//! `meta.json`: what a block is (upstream: `BlockMeta` in `tsdb/block.go`). Fields that others add (Thanos
//! keeps a section of its own) survive a rewrite.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use storage::StorageError;
use ulid::Ulid;

use super::META_FILE;
use crate::disk::{Disk, read_all_around, write_atomic};
use crate::index::codec::corrupt;

/// Made of out-of-order samples only.
pub const HINT_OUT_OF_ORDER: &str = "from-out-of-order";
/// Made of stale series only.
pub const HINT_STALE_SERIES: &str = "from-stale-series";
/// Made of chosen series only.
pub const HINT_SELECTED_SERIES: &str = "from-selected-series";

/// Largest file that is read. A block compacted of a thousand others lists them in some 100 KiB.
const FILE_BYTES_MAX: u64 = 16 << 20;
const VERSION: u32 = 1;
/// Our own field: the checksum of all others.
const SUM_KEY: &str = "godwit_crc32c";

/// Description of a block. Samples are within [mint_ms, maxt_ms): the end is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// Its name.
    #[serde(serialize_with = "put_ulid", deserialize_with = "take_ulid")]
    pub ulid: Ulid,
    /// First time.
    #[serde(rename = "minTime")]
    pub mint_ms: i64,
    /// Behind the last time.
    #[serde(rename = "maxTime")]
    pub maxt_ms: i64,
    /// How much is in it.
    #[serde(default)]
    pub stats: BlockStats,
    /// Where it comes from.
    #[serde(default)]
    pub compaction: Compaction,
    /// Of the format; 1.
    pub version: u32,
    /// What others wrote.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Counts of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// All samples.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Floats.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Histograms.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted ranges.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

/// Origin of a block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compaction {
    /// Most compactions that a sample in it went through; 1 from the head.
    pub level: u32,
    /// Blocks from the head that went into it.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "put_ulids",
        deserialize_with = "take_ulids"
    )]
    pub sources: Vec<Ulid>,
    /// Compacted into nothing: to be removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deletable: bool,
    /// The blocks it was made of.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub parents: Vec<BlockDesc>,
    /// A compaction of it failed: it is left alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// What is special about its data.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub hints: Vec<String>,
}

/// A block by name and range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDesc {
    /// Its name.
    #[serde(serialize_with = "put_ulid", deserialize_with = "take_ulid")]
    pub ulid: Ulid,
    /// First time.
    #[serde(rename = "minTime")]
    pub mint_ms: i64,
    /// Behind the last time.
    #[serde(rename = "maxTime")]
    pub maxt_ms: i64,
}

fn put_ulid<S: Serializer>(ulid: &Ulid, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(ulid)
}

fn take_ulid<'de, D: Deserializer<'de>>(d: D) -> Result<Ulid, D::Error> {
    let text = String::deserialize(d)?;
    Ulid::from_string(&text).map_err(|e| serde::de::Error::custom(format!("ULID {text:?}: {e}")))
}

fn put_ulids<S: Serializer>(ulids: &[Ulid], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(ulids.iter().map(Ulid::to_string))
}

fn take_ulids<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Ulid>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(d)?.unwrap_or_default();
    let parse = |t: &String| Ulid::from_string(t).map_err(serde::de::Error::custom);
    texts.iter().map(parse).collect()
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

impl Compaction {
    /// Whether a hint is set.
    #[must_use]
    pub fn has_hint(&self, hint: &str) -> bool {
        self.hints.iter().any(|h| h == hint)
    }
    /// Sets a hint; hints are sorted and unique.
    pub fn set_hint(&mut self, hint: &str) {
        if let Err(at) = self.hints.binary_search_by(|h| h.as_str().cmp(hint)) {
            self.hints.insert(at, hint.to_string());
        }
    }
}

impl BlockMeta {
    /// Of a block cut from the head.
    #[must_use]
    pub fn level_one(ulid: Ulid, mint_ms: i64, maxt_ms: i64) -> Self {
        BlockMeta {
            ulid,
            mint_ms,
            maxt_ms,
            stats: BlockStats::default(),
            compaction: Compaction { level: 1, sources: vec![ulid], ..Compaction::default() },
            version: VERSION,
            other: serde_json::Map::new(),
        }
    }

    /// Whether it may have a time within [mint_ms, maxt_ms]; its own end is open.
    #[must_use]
    pub fn overlaps(&self, mint_ms: i64, maxt_ms: i64) -> bool {
        self.mint_ms <= maxt_ms && mint_ms < self.maxt_ms
    }

    /// Reads a block's description.
    ///
    /// # Errors
    /// Absent, not JSON, a field missing, another version.
    pub fn read(disk: &dyn Disk, block_dir: &Path) -> Result<Self, StorageError> {
        let path = block_dir.join(META_FILE);
        let bytes = read_all_around(disk, &path, FILE_BYTES_MAX)?;
        let mut meta: BlockMeta = serde_json::from_slice(&bytes)
            .map_err(|e| corrupt(&path, 0, format!("line {} column {}: {e}", e.line(), e.column())))?;
        if meta.version != VERSION {
            return Err(corrupt(&path, 0, format!("unexpected meta file version {}", meta.version)));
        }
        if let Some(sum) = meta.other.remove(SUM_KEY)
            && sum.as_str() != Some(meta.sum().as_str())
        {
            return Err(corrupt(&path, 0, "checksum does not match"));
        }
        Ok(meta)
    }

    /// Checksum of the text without it. Upstream's file has none, and one flipped bit in a time would hide a
    /// block's samples, or make the head refuse what is newer; others skip the field, and drop it with the
    /// old content when they rewrite the file.
    fn sum(&self) -> String {
        format!("{:08x}", crc32c::crc32c(self.to_json().as_bytes()))
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut s = serde_json::Serializer::with_formatter(&mut text, format);
        // Strings and numbers into memory: nothing here can fail.
        if self.serialize(&mut s).is_err() {
            return String::new();
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// Replaces a block's description.
    ///
    /// # Errors
    /// No room, device failed.
    pub fn write(&self, disk: &dyn Disk, block_dir: &Path) -> Result<u64, StorageError> {
        let mut summed = self.clone();
        summed.other.remove(SUM_KEY);
        summed.other.insert(SUM_KEY.to_string(), serde_json::Value::String(summed.sum()));
        let text = summed.to_json();
        write_atomic(disk, &block_dir.join(META_FILE), text.as_bytes())?;
        Ok(text.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemDisk, WriteMode};

    const TEXT: &str = "{\n\t\"ulid\": \"01M812NMKGVFHX7CHBKZRP6HXB\",\n\t\"minTime\": 1795332600121,\n\t\"maxTime\": 1795332660000,\n\t\"stats\": {\n\t\t\"numSamples\": 83880,\n\t\t\"numFloatSamples\": 82680,\n\t\t\"numHistogramSamples\": 1200,\n\t\t\"numSeries\": 1662,\n\t\t\"numChunks\": 1662\n\t},\n\t\"compaction\": {\n\t\t\"level\": 1,\n\t\t\"sources\": [\n\t\t\t\"01M812NMKGVFHX7CHBKZRP6HXB\"\n\t\t],\n\t\t\"hints\": [\n\t\t\t\"from-out-of-order\"\n\t\t]\n\t},\n\t\"version\": 1,\n\t\"thanos\": {\n\t\t\"labels\": {\n\t\t\t\"a\": \"b\"\n\t\t}\n\t}\n}";

    #[test]
    fn a_flipped_bit_is_seen() {
        let disk = MemDisk::new();
        let dir = Path::new("b");
        disk.create_dir_all(dir).unwrap();
        let mut meta = BlockMeta::level_one(Ulid::from_parts(1, 2), 1000, 2000);
        meta.other.insert("thanos".to_string(), serde_json::json!({"labels": {"a": "b"}}));
        meta.write(&disk, dir).unwrap();
        assert_eq!(BlockMeta::read(&disk, dir).unwrap().to_json(), meta.to_json());
        let path = dir.join(META_FILE);
        let text = crate::disk::read_all(&disk, &path, 1 << 20).unwrap();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bad = text.clone();
                bad[at] ^= 1 << bit;
                disk.open_write(&path, WriteMode::Truncate).unwrap().append(&bad).unwrap();
                // Only what means the same, or hides the sum itself, may pass.
                if let Ok(read) = BlockMeta::read(&disk, dir) {
                    assert_eq!(
                        (read.mint_ms, read.maxt_ms, &read.compaction),
                        (1000, 2000, &meta.compaction)
                    );
                }
            }
        }
    }

    #[test]
    fn text_is_upstreams_and_others_fields_survive() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("b")).unwrap();
        disk.open_write(Path::new("b/meta.json"), WriteMode::Truncate)
            .unwrap()
            .append(TEXT.as_bytes())
            .unwrap();
        let meta = BlockMeta::read(&disk, Path::new("b")).unwrap();
        assert_eq!((meta.stats.num_series, meta.compaction.level), (1662, 1));
        assert!(meta.compaction.has_hint(HINT_OUT_OF_ORDER) && meta.other.contains_key("thanos"));
        assert_eq!(meta.to_json(), TEXT);
        for bad in [
            &TEXT[..100],
            "",
            "{}",
            &TEXT.replace("\"version\": 1", "\"version\": 2"),
            &TEXT.replace("01M8", "!!!!"),
        ] {
            disk.open_write(Path::new("b/meta.json"), WriteMode::Truncate)
                .unwrap()
                .append(bad.as_bytes())
                .unwrap();
            assert!(
                matches!(BlockMeta::read(&disk, Path::new("b")), Err(StorageError::Corrupt { .. })),
                "{bad}"
            );
        }
    }
}
