//! One suite for every kind of disk.

use std::io::ErrorKind;
use std::path::Path;

use super::*;

fn put(disk: &dyn Disk, path: &Path, content: &[u8]) {
    let mut file = disk.open_write(path, WriteMode::Truncate).unwrap();
    file.append(content).unwrap();
    file.sync().unwrap();
}

fn get(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    read_all(disk, path, 1 << 20).unwrap()
}

fn kind<T: std::fmt::Debug>(r: DiskResult<T>) -> ErrorKind {
    r.unwrap_err().source.kind()
}

fn behaves(disk: &dyn Disk, root: &Path) {
    let dir = root.join("a/b");
    disk.create_dir_all(&dir).unwrap();
    disk.create_dir_all(&dir).unwrap();
    let (one, two) = (dir.join("1"), dir.join("2"));

    // Write, append, overwrite, cut, read.
    put(disk, &one, b"hello");
    assert_eq!(kind(disk.open_write(&one, WriteMode::CreateNew)), ErrorKind::AlreadyExists);
    let mut w = disk.open_write(&one, WriteMode::Append).unwrap();
    assert_eq!(w.len(), 5);
    w.append(b" world").unwrap();
    w.write_at(b"J", 0).unwrap();
    let r = disk.open_read(&one).unwrap();
    assert_eq!(r.len().unwrap(), 11);
    let mut buf = [0; 5];
    assert_eq!((r.read_at(&mut buf, 6).unwrap(), &buf), (5, b"world"));
    assert_eq!(r.read_at(&mut buf, 9).unwrap(), 2);
    assert_eq!(r.read_at(&mut buf, 11).unwrap(), 0);
    assert_eq!(r.read_at(&mut buf, u64::MAX >> 1).unwrap(), 0);
    assert_eq!(kind(r.read_exact_at(&mut buf, 9)), ErrorKind::UnexpectedEof);
    w.set_len(3).unwrap();
    w.append(b"!").unwrap();
    assert_eq!(get(disk, &one), b"Jel!");
    assert_eq!(disk.size(&one).unwrap(), 4);
    assert_eq!(kind(read_all(disk, &one, 3)), ErrorKind::InvalidData);

    // Names.
    disk.hard_link(&one, &two).unwrap();
    assert_eq!(kind(disk.hard_link(&one, &two)), ErrorKind::AlreadyExists);
    put(disk, &dir.join("3"), b"three");
    disk.rename(&dir.join("3"), &two).unwrap();
    assert_eq!((get(disk, &one), get(disk, &two)), (b"Jel!".to_vec(), b"three".to_vec()));
    let names: Vec<_> = disk.list(&dir).unwrap().into_iter().map(|e| (e.name, e.is_dir)).collect();
    assert_eq!(names, [("1".to_string(), false), ("2".to_string(), false)]);
    assert_eq!(disk.list(&root.join("a")).unwrap(), [DirEntry { name: "b".into(), is_dir: true }]);
    disk.sync_dir(&dir).unwrap();

    // Directories move with all below; a full one is not replaced.
    disk.create_dir_all(&root.join("c/x")).unwrap();
    put(disk, &root.join("c/x/y"), b"z");
    assert!(disk.rename(&root.join("c"), &root.join("a")).is_err());
    disk.rename(&root.join("c"), &root.join("d")).unwrap();
    assert_eq!(get(disk, &root.join("d/x/y")), b"z");
    assert!(!disk.exists(&root.join("c")).unwrap() && disk.exists(&root.join("d/x")).unwrap());

    // Removal; open handles go on.
    let open = disk.open_read(&two).unwrap();
    disk.remove_file(&two).unwrap();
    assert_eq!(open.read_at(&mut buf, 0).unwrap(), 5);
    assert_eq!(kind(disk.remove_file(&two)), ErrorKind::NotFound);
    assert!(disk.open_read(&two).unwrap_err().is_not_found());
    assert_eq!(kind(disk.open_write(&root.join("no/file"), WriteMode::Truncate)), ErrorKind::NotFound);
    assert_eq!(kind(disk.list(&root.join("no"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.open_write(&two, WriteMode::Existing)), ErrorKind::NotFound);
    assert_eq!(disk.open_write(&one, WriteMode::Existing).unwrap().len(), 4);
    disk.remove_dir_all(&root.join("d")).unwrap();
    disk.remove_dir_all(&root.join("d")).unwrap();
    assert!(!disk.exists(&root.join("d/x/y")).unwrap());

    // Atomic replacement.
    write_atomic(disk, &one, b"new").unwrap();
    assert_eq!(get(disk, &one), b"new");
    assert_eq!(disk.list(&dir).unwrap().len(), 1);

    // Locks and room.
    let lock = disk.lock(&root.join("lock")).unwrap();
    assert_eq!(kind(disk.lock(&root.join("lock"))), ErrorKind::WouldBlock);
    drop(lock);
    disk.lock(&root.join("lock")).unwrap();
    let free = disk.free_bytes(root).unwrap();
    assert!(free > 0 && disk.total_bytes(root).unwrap() >= free);
    create_dir_durable(disk, &root.join("deep/er")).unwrap();
    create_dir_durable(disk, &root.join("deep/er")).unwrap();
    assert!(disk.list(&root.join("deep/er")).unwrap().is_empty());
}

#[test]
fn real_disk_behaves() {
    let dir = tempfile::tempdir().unwrap();
    behaves(&RealDisk, dir.path());
}

#[test]
fn memory_disk_behaves() {
    behaves(&MemDisk::new(), Path::new("/data"));
    behaves(&MemDisk::new(), Path::new("data"));
}

#[test]
fn sandbox_behaves_and_leaves_no_trace() {
    let (below, upper) = (MemDisk::new(), MemDisk::new());
    below.create_dir_all(Path::new("/data")).unwrap();
    upper.create_dir_all(Path::new("/u")).unwrap();
    let disk = SandboxDisk::new(Arc::new(below.clone()), Arc::new(upper), Path::new("/u"));
    behaves(&disk, Path::new("/data"));
    assert_eq!(below.list(Path::new("/data")).unwrap(), []);
}

#[test]
fn faulty_disk_behaves_where_it_has_no_faults() {
    behaves(&FaultDisk::new(1), Path::new("/data"));
    behaves(&FaultDisk::new(1), Path::new("data"));
}

#[test]
fn a_kill_keeps_all_and_a_power_cut_what_was_synced() {
    for seed in 0..200 {
        let disk = FaultDisk::new(seed);
        let dir = Path::new("/d");
        create_dir_durable(&disk, dir).unwrap();
        put(&disk, &dir.join("synced"), b"one");
        disk.sync_dir(dir).unwrap();
        write_atomic(&disk, &dir.join("atomic"), b"old").unwrap();
        let mut late = disk.open_write(&dir.join("synced"), WriteMode::Append).unwrap();
        late.append(&[7; 3000]).unwrap();
        put(&disk, &dir.join("atomic.tmp"), b"new");
        disk.rename(&dir.join("atomic.tmp"), &dir.join("atomic")).unwrap();
        disk.restart(Restart::Kill);
        assert!(late.append(b"x").is_err(), "handles of a dead process");
        assert_eq!(disk.size(&dir.join("synced")).unwrap(), 3003);
        disk.restart(Restart::PowerCut);
        assert!(get(&disk, &dir.join("synced")).starts_with(b"one"));
        let atomic = get(&disk, &dir.join("atomic"));
        assert!(atomic == b"old" || atomic == b"new");
    }
}

#[test]
fn faults_come_as_ordered() {
    let disk = FaultDisk::new(3);
    let path = Path::new("f");
    disk.inject(Fault { op: Op::Sync, path: "f".into(), skip: 1, times: 1, kind: FaultKind::Io });
    let mut file = disk.open_write(path, WriteMode::Append).unwrap();
    file.append(b"a").unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new(".")).unwrap();
    for _ in 0..20 {
        file.append(b"b").unwrap();
    }
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(get(&disk, path).len(), 21, "the cache still has it");
    disk.restart(Restart::PowerCut);
    let left = get(&disk, path);
    let dropped = 21 - left.iter().filter(|b| **b != 0).count();
    assert!(dropped > 0, "a sync after a failed one does not bring back what that dropped: {left:?}");
    drop(file);
    put(&disk, path, b"a");
    // Full: a part is written, and the error says so.
    disk.set_capacity(5);
    let mut file = disk.open_write(path, WriteMode::Append).unwrap();
    assert!(file.append(b"123456789").unwrap_err().is_full());
    assert_eq!(get(&disk, path), b"a1234");
    // A crash in the middle of a call.
    disk.set_capacity(u64::MAX);
    disk.crash_after(1);
    assert!(file.append(&[1; 100]).is_err() && disk.is_off() && disk.exists(path).is_err());
    disk.restart(Restart::Kill);
    assert!(disk.size(path).unwrap() >= 5);
    let (flipped, _) = disk.flip_bit(|p, _| p.ends_with("f")).unwrap();
    assert_eq!(flipped, Path::new("/f"));
}
