//! Target files: formats, replacement by rename, ConfigMap mounts, broken files, files that come and go.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use config::{FileSdConfig, SdConfigs};

use crate::support::{Running, addresses, labels};

fn files(patterns: &[String]) -> SdConfigs {
    // Long enough that every change below must come through the watch.
    let refresh_interval = Duration::from_secs(3600);
    SdConfigs {
        file_sd_configs: vec![FileSdConfig { files: patterns.to_vec(), refresh_interval }],
        ..SdConfigs::default()
    }
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_string()
}

fn replace(dir: &Path, name: &str, text: &str) {
    let temporary = dir.join(".new");
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, dir.join(name)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_files() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    replace(dir, "a.json", r#"[{"targets":["a:1"],"labels":{"x":"y"}},{"targets":["a:2"]}]"#);
    replace(dir, "b.yml", "- targets: [b:1]\n");
    let mut running = Running::new();
    running.apply(&[("job", files(&[path(dir, "*.json"), path(dir, "b.yml")]))]).await;
    let sets = running.until_addresses("job", &["a:1", "a:2", "b:1"]).await;
    let found = labels(&sets, "job", "a:1");
    assert_eq!((found["x"].as_str(), found["__meta_filepath"].as_str()), ("y", path(dir, "a.json").as_str()));
    let sources: Vec<&str> = sets["job"].iter().map(|g| g.source.as_str()).collect();
    assert_eq!(
        sources,
        [
            format!("{}:0", path(dir, "a.json")),
            format!("{}:1", path(dir, "a.json")),
            format!("{}:0", path(dir, "b.yml"))
        ]
    );
    let mtime = running.figure("prometheus_sd_file_mtime_seconds", &[("filename", &path(dir, "a.json"))]);
    assert!(mtime.unwrap() > 1e9);

    // Fewer groups, by rename.
    replace(dir, "a.json", r#"[{"targets":["a:3"]}]"#);
    running.until_addresses("job", &["a:3", "b:1"]).await;
    // A new file that matches; written in place.
    fs::write(dir.join("c.json"), r#"[{"targets":["c:1"]}]"#).unwrap();
    running.until_addresses("job", &["a:3", "b:1", "c:1"]).await;
    // Broken: the old targets stay, and another file's change gets through.
    replace(dir, "a.json", r#"[{"targets":["a:4"]"#);
    replace(dir, "b.yml", "- targets: [b:2]\n");
    running.until_addresses("job", &["a:3", "b:2", "c:1"]).await;
    assert!(running.figure("prometheus_sd_file_read_errors_total", &[]).unwrap() >= 1.0);
    // Mended, then gone.
    replace(dir, "a.json", r#"[{"targets":["a:5"]}]"#);
    running.until_addresses("job", &["a:5", "b:2", "c:1"]).await;
    fs::remove_file(dir.join("a.json")).unwrap();
    running.until_addresses("job", &["b:2", "c:1"]).await;
    assert_eq!(
        running.figure("prometheus_sd_file_mtime_seconds", &[("filename", &path(dir, "a.json"))]),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_a_mounted_config_map() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let version = |n: u32, text: &str| {
        let data = dir.join(format!("..2026_{n}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("targets.yml"), text).unwrap();
        symlink(&data, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        if n > 1 {
            fs::remove_dir_all(dir.join(format!("..2026_{}", n - 1))).unwrap();
        }
    };
    version(1, "- targets: [a:1]\n");
    symlink("..data/targets.yml", dir.join("targets.yml")).unwrap();
    let mut running = Running::new();
    running.apply(&[("job", files(&[path(dir, "*.yml")]))]).await;
    running.until_addresses("job", &["a:1"]).await;
    for n in 2..5 {
        version(n, &format!("- targets: [a:{n}]\n"));
        running.until_addresses("job", &[&format!("a:{n}")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_may_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let late = dir.path().join("late");
    let mut running = Running::new();
    let mut configs = files(&[path(&late, "t.json")]);
    configs.file_sd_configs[0].refresh_interval = Duration::from_millis(200);
    running.apply(&[("job", configs)]).await;
    running.until("an empty job", |sets| sets.contains_key("job") && addresses(sets, "job").is_empty()).await;
    fs::create_dir(&late).unwrap();
    replace(&late, "t.json", r#"[{"targets":["a:1"]}]"#);
    running.until_addresses("job", &["a:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let huge = fs::File::create(dir.join("huge.json")).unwrap();
    huge.set_len(1 << 40).unwrap();
    fs::write(dir.join("binary.yml"), b"\xff\xfe- targets").unwrap();
    fs::write(dir.join("deep.json"), "[".repeat(100_000)).unwrap();
    fs::create_dir(dir.join("folder.json")).unwrap();
    replace(dir, "good.json", r#"[{"targets":["a:1"]}]"#);
    let mut running = Running::new();
    running.apply(&[("job", files(&[path(dir, "*.json"), path(dir, "*.yml")]))]).await;
    running.until_addresses("job", &["a:1"]).await;
    assert!(running.figure("prometheus_sd_file_read_errors_total", &[]).unwrap() >= 4.0);
}
