//! Files made by Go programs (`testdata/gen`): which patterns are accepted, with what error, what they
//! match, which groups they find and what replacing gives.

use goregex::Regex;

fn text(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

fn report(name: &str, checked: usize, wrong: &[String]) {
    assert!(checked > 100, "{name}: only {checked} checks");
    assert!(wrong.is_empty(), "{name}: {} of {checked} differ from Go:\n{}", wrong.len(), wrong.join("\n"));
}

/// What the shortcuts claim must follow from the verdicts.
fn check_shortcuts(
    re: &Regex,
    pattern: &str,
    texts: &[String],
    matches: impl Fn(usize) -> bool,
    wrong: &mut Vec<String>,
) {
    for (i, t) in texts.iter().enumerate() {
        let is_in_set = re.set_matches().map(|set| set.contains(t));
        if is_in_set.is_some_and(|inside| inside != matches(i)) {
            wrong.push(format!("{pattern:?}: set {:?} and {t:?}", re.set_matches()));
        }
        if matches(i) && !t.starts_with(re.prefix()) {
            wrong.push(format!("{pattern:?}: prefix {:?} and {t:?}", re.prefix()));
        }
        if re.matches_all() && !matches(i) {
            wrong.push(format!("{pattern:?}: does not match {t:?}"));
        }
    }
}

#[test]
fn verdicts_and_errors_are_gos() {
    let corpus = include_str!("../../testdata/corpus.txt");
    let mut lines = corpus.lines();
    let texts: Vec<String> = lines.next().unwrap().split('\t').skip(1).map(text).collect();
    let (mut checked, mut wrong) = (0, Vec::new());
    for line in lines {
        let mut fields = line.split('\t');
        let pattern = text(fields.next().unwrap());
        let verdict = fields.next().unwrap();
        checked += 1;
        if verdict == "E" {
            let want = text(fields.next().unwrap());
            match Regex::anchored(&pattern) {
                Err(got) if got.to_string() == want => {}
                got => wrong.push(format!("{pattern:?}: want {want}, got {got:?}")),
            }
            continue;
        }
        let re = match Regex::anchored(&pattern) {
            Ok(re) => re,
            Err(e) => {
                wrong.push(format!("{pattern:?}: refused: {e}"));
                continue;
            }
        };
        let digits: Vec<u32> = verdict.chars().rev().map(|c| c.to_digit(16).unwrap()).collect();
        let matches = |i: usize| digits.get(i / 4).is_some_and(|d| d >> (i % 4) & 1 == 1);
        // Captures use the automaton even where a shortcut decides.
        for (i, t) in texts.iter().enumerate() {
            let (fast, slow) = (re.is_match(t), re.captures(t).is_some());
            if (fast, slow) != (matches(i), matches(i)) {
                wrong.push(format!("{pattern:?} on {t:?}: want {}, got {fast}, captures {slow}", matches(i)));
            }
        }
        check_shortcuts(&re, &pattern, &texts, matches, &mut wrong);
    }
    report("corpus.txt", checked, &wrong);
}

#[test]
fn groups_and_replacements_are_gos() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for line in include_str!("../../testdata/submatch.txt").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [pattern, input, groups, replaced] = fields[..] else { panic!("{line}") };
        let (pattern, input, replaced) = (text(pattern), text(input), text(replaced));
        checked += 1;
        let re = Regex::new(&pattern).unwrap();
        let range = |r: Option<std::ops::Range<usize>>| {
            r.map_or("-1 -1".into(), |r| format!("{} {}", r.start, r.end))
        };
        let found = re.captures(&input);
        let got = found
            .map_or(String::new(), |c| (0..c.len()).map(|i| range(c.get(i))).collect::<Vec<_>>().join(" "));
        if got != groups {
            wrong.push(format!("{pattern:?} on {input:?}: want [{groups}], got [{got}]"));
        }
        let got = re.replace_all(&input, "<$0|${1}|$2|$n|$$|$1x>");
        if got != replaced {
            wrong.push(format!("{pattern:?} on {input:?}: want {replaced:?}, got {got:?}"));
        }
    }
    report("submatch.txt", checked, &wrong);
}

#[test]
fn probes() {
    #[derive(serde::Deserialize)]
    struct Probes {
        p: Vec<String>,
        i: Vec<String>,
    }
    let probes: Probes = serde_json::from_str(include_str!("../../testdata/probe.json")).unwrap();
    let expected = include_str!("../../testdata/probe.expected.txt");
    let (mut checked, mut wrong) = (0, Vec::new());
    for (pattern, want) in probes.p.iter().zip(expected.lines()) {
        checked += 1;
        let got = Regex::anchored(pattern).map_or("ERR".to_string(), |re| {
            probes.i.iter().map(|t| if re.is_match(t) { '1' } else { '0' }).collect()
        });
        if got != want {
            wrong.push(format!("{pattern:?}: want {want}, got {got}"));
        }
    }
    report("probe.json", checked, &wrong);
}
