//! Blocks as a whole: the folder's life. Contents are tested against golden blocks in `tests/it`.

use std::path::Path;
use std::sync::Arc;

use model::Labels;
use storage::{Querier, QueryContext, SelectHints, StorageError};
use ulid::Ulid;

use super::*;
use crate::compact::ChunkBuilder;
use crate::disk::{Disk, MemDisk};

fn one_block(disk: &Arc<dyn Disk>, data: &Path, number: u64) -> BlockMeta {
    let mut builder = ChunkBuilder::default();
    for t in 0..300 {
        builder.push(0, t * 10, t as f64).unwrap();
    }
    let series = [Ok((Labels::from_pairs([("a", "b")]), builder.finish()))];
    let symbols = ["a", "b"].map(|s| Ok(s.to_string()));
    let meta = BlockMeta::level_one(Ulid::from_parts(number, 0), 0, 3000);
    write_block(Arc::clone(disk), data, meta, symbols, series).unwrap().unwrap()
}

#[test]
fn folder_has_whole_blocks_only() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let data = Path::new("data");
    disk.create_dir_all(&data.join("wal")).unwrap();
    let (a, b) = (one_block(&disk, data, 1), one_block(&disk, data, 2));
    let name = |m: &BlockMeta| data.join(m.ulid.to_string());
    let found: Vec<Ulid> = list_blocks(&*disk, data).unwrap().into_iter().map(|(u, _)| u).collect();
    assert_eq!(found, [a.ulid, b.ulid]);
    // What a crash leaves.
    for suffix in [CREATION_SUFFIX, DELETION_SUFFIX, ".tmp"] {
        disk.create_dir_all(&data.join(format!("{}{suffix}/chunks", Ulid::from_parts(7, 7)))).unwrap();
    }
    disk.create_dir_all(&data.join("mine.tmp")).unwrap();
    assert_eq!(clean_leftovers(&*disk, data).unwrap().len(), 3);
    assert!(disk.exists(&data.join("mine.tmp")).unwrap());
    let open = Block::open(Arc::clone(&disk), &name(&a)).unwrap();
    remove_block(&*disk, &name(&a)).unwrap();
    remove_block(&*disk, &name(&a)).unwrap();
    assert_eq!(list_blocks(&*disk, data).unwrap().len(), 1);
    // Who has it open reads on.
    let set =
        open.querier(0, 5000).select(&QueryContext::unlimited(), true, &SelectHints::default(), &[]).unwrap();
    let mut out = storage::SampleBuf::default();
    set.series[0].read(100, 199, &mut out).unwrap();
    assert_eq!(out.times, (10..20).map(|t| t * 10).collect::<Vec<_>>());
    let Err(e) = Block::open(Arc::clone(&disk), &name(&a)) else { panic!("a removed block opened") };
    assert!(matches!(e, StorageError::Io { .. }) && e.to_string().contains("meta.json"), "{e}");
}

#[test]
fn dropped_or_empty_writers_leave_nothing() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let data = Path::new("data");
    disk.create_dir_all(data).unwrap();
    let meta = BlockMeta::level_one(Ulid::from_parts(1, 0), 0, 10);
    let mut writer = BlockWriter::create(Arc::clone(&disk), data, meta.clone(), 1 << 20).unwrap();
    writer.add_symbol("a").unwrap();
    drop(writer);
    assert!(disk.list(data).unwrap().is_empty());
    let writer = BlockWriter::create(Arc::clone(&disk), data, meta, 1 << 20).unwrap();
    assert!(writer.finish().unwrap().is_none());
    assert!(disk.list(data).unwrap().is_empty());
}

#[test]
fn budget_and_cancel_stop_a_select() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let meta = one_block(&disk, Path::new(""), 1);
    let block = Block::open(disk, Path::new(&meta.ulid.to_string())).unwrap();
    let select = |ctx: &QueryContext| {
        block.querier(0, 100).select(ctx, true, &SelectHints::default(), &[]).map(|s| s.series.len())
    };
    let mut ctx = QueryContext::unlimited();
    assert_eq!(select(&ctx).unwrap(), 1);
    ctx.budget = storage::Budget::new(50, None);
    assert!(matches!(select(&ctx), Err(StorageError::MemoryLimit { .. })));
    ctx.cancel.cancel();
    assert!(matches!(select(&ctx), Err(StorageError::Cancelled)));
}
