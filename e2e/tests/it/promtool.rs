//! promtool looks at data folders: `tsdb list`, `analyze` and `dump` say what godwit says.

use std::path::Path;
use std::process::Command;

use e2e::dump::{Raw, Sample, of_text, same};
use e2e::process::peer;
use serde_json::Value;

use crate::folders::blocks;

fn run(program: &str, arguments: &[&str], data: &Path) -> String {
    let output = Command::new(peer(program).unwrap()).args(arguments).arg(data).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}\n{errors}");
    let bad =
        |l: &&str| ["level=error", "level=warn", "corrupt"].iter().any(|w| l.to_lowercase().contains(w));
    assert_eq!(errors.lines().find(bad), None, "{program} {arguments:?}");
    text.into_owned()
}

/// promtool 3.5 loses the first samples of a series of histograms, two of integers and one of floats: it looks
/// for samples of the other kinds first and skips those that it meets.
fn settle(dump: &mut Raw, samples: &mut Raw) {
    for (labels, ours) in samples {
        let Some(theirs) = dump.get_mut(labels) else { continue };
        let first: Vec<i64> = ours.keys().copied().take(2).collect();
        if first.iter().all(|t| matches!(ours.get(t), Some(Sample::Histogram(..)))) {
            for time in first {
                ours.remove(&time);
                theirs.remove(&time);
            }
        }
    }
}

/// Checks a folder that nobody has open; `old`: promtool 2.42 can read it too.
pub(crate) fn agrees(data: &Path, old: bool, samples: &Raw) {
    let (ids, busy) = blocks(data);
    assert!(!busy && ids.len() >= 2, "{ids:?}");
    let mut tools = vec!["promtool"];
    if old {
        tools.push("promtool-2.42");
    }
    for tool in tools {
        let list = run(tool, &["tsdb", "list"], data);
        for id in &ids {
            let meta = std::fs::read(data.join(id).join("meta.json")).unwrap();
            let stats = serde_json::from_slice::<Value>(&meta).unwrap()["stats"].clone();
            let line =
                list.lines().find(|l| l.starts_with(id)).unwrap_or_else(|| panic!("no {id} in {list}"));
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            for count in ["numSamples", "numChunks", "numSeries"] {
                let count = stats[count].to_string();
                assert!(fields.contains(&count.as_str()), "no {count} in {line}: {stats}");
            }
            let analysis = Command::new(peer(tool).unwrap())
                .args(["tsdb", "analyze", "--extended"])
                .args([data, Path::new(id)])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&analysis.stdout);
            let errors = String::from_utf8_lossy(&analysis.stderr);
            assert!(analysis.status.success() && errors.is_empty(), "{tool} analyze {id}: {text}\n{errors}");
            let series = format!("Series: {}\n", stats["numSeries"]);
            assert!(text.contains(&series), "no {series:?} in {text}");
        }
    }
    let mut dump = of_text(&run("promtool", &["tsdb", "dump"], data)).unwrap();
    let mut samples = samples.clone();
    settle(&mut dump, &mut samples);
    // 20 series of 240 samples by promtool, 40 of 540 pushed, and what was scraped.
    same(&dump, &samples, 26_000).unwrap();
}
