//! Which blocks become one, and how (upstream: `tsdb/compact.go`). `plan` and `retention` are pure functions
//! over descriptions; `merge` streams series by series; `recode` rewrites chunks that overlap, are cut by a
//! boundary or have deleted samples.

mod merge;
mod plan;
mod recode;
mod retention;

#[cfg(test)]
mod tests;

pub use merge::{Compacted, Rewrite, compact, compact_as, merged_meta, rewritten_meta};
pub use plan::{block_ranges, plan};
pub use recode::{ChunkBuilder, Recode, clip_chunk};
pub(crate) use recode::{RecodeWork, merge_chunks, recode_floats};
pub use retention::{KeepRule, beyond_size, beyond_time, keep_from};
