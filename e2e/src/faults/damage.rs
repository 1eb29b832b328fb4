//! Files of a data folder, and what a bad disk does to them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::kills::Dice;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit is turned.
    Bit,
    /// The end is gone.
    Cut,
    /// 512 bytes are zeros: a sector that was never written.
    Zeros,
    /// 64 bytes are noise.
    Noise,
}

/// One thing done to one file.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The file, below the data folder.
    pub file: PathBuf,
    /// What.
    pub damage: Damage,
    /// Where.
    pub offset: u64,
}

/// Kinds of files of a data folder: each gets its share of the trials, however many files it has.
const KINDS: [&str; 9] = [
    "wal/0",
    "wal/checkpoint",
    "wbl/",
    "chunks_head/",
    "/index",
    "/chunks/",
    "/meta.json",
    "/tombstones",
    "",
];

fn walk(folder: &Path, below: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), &path, into),
            Ok(_) if entry.metadata().is_ok_and(|m| m.len() > 0) => into.push(path),
            _ => {}
        }
    }
}

/// All files with bytes in them.
#[must_use]
pub fn files(data: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    walk(data, Path::new(""), &mut all);
    all.retain(|p| p.as_path() != Path::new("lock"));
    all
}

/// One file of a kind, which the number of the trial chooses, and a place in it where something is.
///
/// # Errors
/// It cannot be read.
pub fn pick(data: &Path, number: usize, dice: &mut Dice) -> Result<Option<(PathBuf, u64)>> {
    let kind = KINDS[number % KINDS.len()];
    let fit = |p: &PathBuf| p.display().to_string().contains(kind);
    let files: Vec<PathBuf> = files(data).into_iter().filter(fit).collect();
    if files.is_empty() {
        return Ok(None);
    }
    let file = files[dice.below(files.len() as u64) as usize].clone();
    let bytes = std::fs::read(data.join(&file))?;
    // Pages of a log end in zeros: damage where nothing is says nothing.
    let used = bytes.iter().rposition(|b| *b != 0).map_or(bytes.len(), |at| at + 1);
    Ok(Some((file, dice.below(used as u64))))
}

/// Damages one file, chosen by the dice among those of a kind; the number of the trial chooses kind and damage.
///
/// # Errors
/// A file cannot be written.
pub fn damage(data: &Path, number: usize, dice: &mut Dice) -> Result<Option<Trial>> {
    let Some((file, offset)) = pick(data, number, dice)? else { return Ok(None) };
    let path = data.join(&file);
    let (mut bytes, offset) = (std::fs::read(&path)?, offset as usize);
    let damage = [Damage::Bit, Damage::Cut, Damage::Zeros, Damage::Noise][number / KINDS.len() % 4];
    match damage {
        Damage::Bit => bytes[offset] ^= 1 << dice.below(8),
        Damage::Cut => bytes.truncate(offset),
        Damage::Zeros => {
            let end = (offset + 512).min(bytes.len());
            bytes[offset..end].fill(0);
        }
        Damage::Noise => {
            let end = (offset + 64).min(bytes.len());
            bytes[offset..end].iter_mut().for_each(|b| *b = dice.below(256) as u8);
        }
    }
    std::fs::write(path, bytes)?;
    Ok(Some(Trial { file, damage, offset: offset as u64 }))
}
