//! `model.EscapeName`, `model.UnescapeName` and `strconv.Quote`.

use model::name::{EscapingScheme, Quoted, escape, unescape};

#[test]
fn escapes_as_upstream() {
    let schemes = [EscapingScheme::Underscores, EscapingScheme::Dots, EscapingScheme::Values];
    let (mut checked, mut wrong) = (0, Vec::new());
    for line in include_str!("../../testdata/names.txt").lines() {
        let fields: Vec<String> = line.split('\t').map(|f| serde_json::from_str(f).unwrap()).collect();
        for (scheme, want) in schemes.iter().zip(fields[1..].chunks(2)) {
            let got = [escape(&fields[0], *scheme), unescape(&fields[0], *scheme)];
            if got != want {
                wrong.push(format!("{:?} {scheme:?}: want {want:?}, got {got:?}", fields[0]));
            }
            checked += 1;
        }
    }
    assert!(checked > 1000 && wrong.is_empty(), "{checked}: {}", wrong.join("\n"));
}

#[test]
fn quotes_every_character_as_go() {
    let ranges = include_str!("../../testdata/print.txt").lines().map(|line| {
        let (lo, hi) = line.split_once(' ').unwrap();
        (u32::from_str_radix(lo, 16).unwrap(), u32::from_str_radix(hi, 16).unwrap())
    });
    let ranges: Vec<_> = ranges.collect();
    for c in (0..=0x10_ffff).filter_map(char::from_u32) {
        let at = ranges.partition_point(|(_, hi)| *hi < c as u32);
        let plain = ranges.get(at).is_some_and(|(lo, _)| *lo <= c as u32);
        let quoted = Quoted(c.encode_utf8(&mut [0; 4])).to_string();
        assert_eq!(quoted == format!("\"{c}\""), plain, "{c:?} {quoted}");
    }
    assert_eq!(
        Quoted("a\u{a0}\u{e000}\u{f0000}\x7f\x01\n\"\\é").to_string(),
        r#""a\u00a0\ue000\U000f0000\x7f\x01\n\"\\é""#
    );
}
