//! Files of head chunks: over starts, damage, disks that refuse or hang.

use super::*;
use crate::disk::MemDisk;

#[test]
fn files_stay_numbered_one_by_one() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let dir = Path::new("/data/chunks_head");
    let names =
        |disk: &Arc<dyn Disk>| disk.list(dir).unwrap().into_iter().map(|e| e.name).collect::<Vec<_>>();
    let put = |series| {
        let (head, loaded) = HeadChunks::open(Arc::clone(&disk), dir, i64::MIN, (0, 0)).unwrap();
        head.write(series, 10, 20, 1, ChunkEncoding::Xor, &[0, 1, 1, 1, 1]);
        head.flush();
        loaded.chunks.len()
    };
    put(1);
    // What a killed Prometheus leaves: a file made larger ahead of time, without a chunk.
    disk.open_write(&file_path(dir, 2), WriteMode::CreateNew).unwrap().append(&[0; 4096]).unwrap();
    assert_eq!(put(2), 1);
    assert_eq!(names(&disk), ["000001", "000002"]);
    assert_eq!(put(3), 2);
    // One in the middle that is no such file, and one that is gone.
    put(4);
    put(5);
    disk.open_write(&file_path(dir, 2), WriteMode::Truncate).unwrap().append(b"what is this").unwrap();
    disk.remove_file(&file_path(dir, 4)).unwrap();
    assert_eq!(put(6), 3);
    assert_eq!(names(&disk), ["000001", "000002", "000003", "000004", "000005", "000006"]);
    assert_eq!(put(7), 4);
}

#[test]
fn a_disk_that_refuses_costs_the_oldest_chunks_and_none_of_those_in_the_budget() {
    let faulty = crate::disk::FaultDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let dir = Path::new("/data/chunks_head");
    let (mut head, _) = HeadChunks::open(Arc::clone(&disk), dir, i64::MIN, (0, 0)).unwrap();
    head.leave_to_upkeep();
    (head.buffer_bytes, head.pending_bytes_max) = (500, 3000);
    let put = |head: &HeadChunks, n: u64| {
        head.write(n, 10, 20, 1, ChunkEncoding::Xor, &[[0, 1, n as u8].as_slice(), &[9; 60]].concat())
    };
    let mut chunks: Vec<MappedChunk> = (0..3).map(|n| put(&head, n)).collect();
    head.flush();
    faulty.set_capacity(faulty.used());
    for n in 3..100 {
        chunks.push(put(&head, n));
        head.flush_full();
    }
    let mut out = Vec::new();
    let read = |head: &HeadChunks, out: &mut Vec<u8>, c: &MappedChunk| head.read(c, out).unwrap();
    let there: Vec<bool> = chunks.iter().map(|c| read(&head, &mut out, c)).collect();
    let gone = there.iter().filter(|t| !**t).count();
    // What is on disk is there, then a run is gone, then all is there.
    assert!(there[..3].iter().all(|t| *t) && there[3 + gone..].iter().all(|t| *t), "{there:?}");
    assert!(gone > 40 && (100 - gone) * 96 > 2000, "{gone}");
    assert!(head.held().0 <= 3000 + 600 && head.held().1 > 0, "{:?}", head.held());
    // Room again: the rest goes to disk, in files that follow each other.
    faulty.set_capacity(u64::MAX);
    head.flush();
    assert_eq!(head.held().0, 0);
    for (n, c) in chunks.iter().enumerate() {
        assert_eq!(read(&head, &mut out, c), there[n]);
        assert!(!there[n] || out[2] == n as u8);
    }
    chunks.push(put(&head, 100));
    head.flush();
    drop(head);
    let names: Vec<u32> = files(&*disk, dir).unwrap();
    assert!(names.windows(2).all(|w| w[0] + 1 == w[1]), "{names:?}");
    let (_, loaded) = HeadChunks::open(disk, dir, i64::MIN, (0, 0)).unwrap();
    assert_eq!((loaded.chunks.len(), loaded.damaged.len()), (101 - gone, 0));
}

#[test]
fn a_disk_that_hangs_holds_up_nobody() {
    let faulty = crate::disk::FaultDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let (mut head, _) = HeadChunks::open(disk, Path::new("/data/chunks_head"), i64::MIN, (0, 0)).unwrap();
    head.leave_to_upkeep();
    head.buffer_bytes = 100;
    let put = |n: u64| {
        head.write(n, 10, 20, 1, ChunkEncoding::Xor, &[[0, 1, n as u8].as_slice(), &[9; 60]].concat())
    };
    let mut chunks = vec![put(0), put(1)];
    faulty.freeze();
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| head.flush());
        while head.output.try_lock().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        // Each of these returns while the other one hangs.
        chunks.extend((2..50).map(put));
        head.flush_full();
        let mut out = Vec::new();
        assert!(chunks.iter().all(|c| head.read(c, &mut out).unwrap()));
        assert!(!flusher.is_finished(), "the disk hangs");
        faulty.thaw();
    });
    head.flush();
    let mut out = Vec::new();
    assert!(chunks.iter().all(|c| head.read(c, &mut out).unwrap()));
}

#[test]
fn chunks_come_back_from_buffer_file_and_restart() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let dir = Path::new("/data/chunks_head");
    let (head, loaded) = HeadChunks::open(Arc::clone(&disk), dir, i64::MIN, (0, 0)).unwrap();
    assert!(loaded.chunks.is_empty());
    let data = |n: u8| vec![0, 1, n, n, n];
    let a = head.write(7, 10, 20, 1, ChunkEncoding::Xor, &data(1));
    let mut out = Vec::new();
    head.read(&a, &mut out).unwrap();
    assert_eq!(out, data(1));
    head.flush();
    let big = [vec![0, 1], vec![9; 5000]].concat();
    let b = head.write(7, 30, 40, 1, ChunkEncoding::Histogram, &big);
    head.read(&a, &mut out).unwrap();
    assert_eq!(out, data(1));
    head.flush();
    head.read(&b, &mut out).unwrap();
    assert_eq!((out.len(), b.max_time()), (5002, 40));
    drop(head);

    let (head, loaded) = HeadChunks::open(Arc::clone(&disk), dir, i64::MIN, (0, 0)).unwrap();
    assert_eq!((loaded.chunks[&7].as_slice(), loaded.damaged.len()), (&[a, b][..], 0));
    head.read(&b, &mut out).unwrap();
    assert_eq!(out.len(), 5002);
    let c = head.write(7, 50, 60, 1, ChunkEncoding::Xor, &data(3));
    assert_eq!(c.file(), 2);
    head.flush();
    head.truncate(2).unwrap();
    assert!(head.read(&a, &mut out).is_err());
    head.read(&c, &mut out).unwrap();
    // Damage is found, cut off, and forgotten with the next start.
    let path = file_path(dir, 2);
    disk.open_write(&path, WriteMode::Append).unwrap().write_at(&[0xff], 40).unwrap();
    assert!(head.read(&c, &mut out).is_err());
    let (_, loaded) = HeadChunks::open(Arc::clone(&disk), dir, i64::MIN, (0, 0)).unwrap();
    assert_eq!((loaded.chunks.len(), loaded.damaged.len()), (0, 1));
    let (_, loaded) = HeadChunks::open(disk, dir, i64::MIN, (0, 0)).unwrap();
    assert!(loaded.damaged.is_empty());
}
