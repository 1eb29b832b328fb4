//! The programs that can hold a data folder: godwit and the versions of Prometheus that it is compared with.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::process::{godwit, peer};

/// A server under test or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Ours.
    Godwit,
    /// Prometheus 2.42, of Debian bookworm.
    Old,
    /// Prometheus 3.5 LTS, of Debian sid.
    Lts,
    /// Prometheus 3.15, the version that godwit tracks; only where `peers.sh --go` built it or
    /// `GODWIT_PEER_NEW` names it.
    New,
}

impl Program {
    /// Name and version for a table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Program::Godwit => "godwit",
            Program::Old => "Prometheus 2.42",
            Program::Lts => "Prometheus 3.5",
            Program::New => "Prometheus 3.15",
        }
    }

    /// The binary.
    ///
    /// # Errors
    /// It is not there.
    pub fn path(self) -> Result<PathBuf> {
        match self {
            Program::Godwit => godwit(),
            Program::Old => peer("prometheus-2.42"),
            Program::Lts => peer("prometheus"),
            Program::New => match std::env::var_os("GODWIT_PEER_NEW") {
                Some(path) => Ok(path.into()),
                None => peer("prometheus-new"),
            },
        }
    }

    /// True where it can be compared with: always but for 3.15. A path in the environment that leads nowhere
    /// counts as there, so that the test fails.
    #[must_use]
    pub fn at_hand(self) -> bool {
        self != Program::New || std::env::var_os("GODWIT_PEER_NEW").is_some() || self.path().is_ok()
    }

    /// Flags that let it take native histograms and exemplars.
    #[must_use]
    pub fn features(self) -> &'static str {
        match self {
            // 3.9 and newer have a setting in place of the flag, and warn about the flag.
            Program::New => "--enable-feature=exemplar-storage",
            _ => "--enable-feature=exemplar-storage,native-histograms",
        }
    }

    /// What stands under `global` so that native histograms are scraped.
    #[must_use]
    pub fn global(self) -> &'static str {
        match self {
            Program::New => "scrape_native_histograms: true",
            _ => "",
        }
    }
}

/// A compression of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Records as they are.
    None,
    /// The default of all versions.
    Snappy,
    /// From 2.45 on.
    Zstd,
}

impl Compression {
    /// The flag that asks for it.
    ///
    /// # Errors
    /// The program does not know it.
    pub fn flag(self, program: Program) -> Result<&'static str> {
        Ok(match (self, program) {
            (Compression::Zstd, Program::Old) => bail!("2.42 has no zstd"),
            (Compression::None, _) => "--no-storage.tsdb.wal-compression",
            (Compression::Snappy, _) => "--storage.tsdb.wal-compression",
            (Compression::Zstd, _) => "--storage.tsdb.wal-compression-type=zstd",
        })
    }
}
