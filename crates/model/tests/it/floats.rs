//! `strconv.FormatFloat` and `strconv.ParseFloat`.

use model::float_text as ft;
use proptest::prelude::*;

#[test]
fn prints_as_go() {
    let mut checked = 0;
    for line in include_str!("../../testdata/float_print.txt").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let v = f64::from_bits(u64::from_str_radix(fields[0], 16).unwrap());
        let got = [
            ft::format_f(v),
            ft::format_g(v),
            ft::format_e(v, None),
            ft::format_g_precision(v, 4),
            ft::format_g_precision(v, 17),
            ft::format_e(v, Some(3)),
            ft::format_f_precision(v, 2),
        ];
        assert_eq!(got.each_ref().map(String::as_str)[..], fields[1..], "{v:?}");
        checked += 1;
    }
    assert!(checked > 700, "{checked}");
}

#[test]
fn reads_as_go() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for line in include_str!("../../testdata/float_parse.txt").lines() {
        let [text, bits, cause] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let text: String = serde_json::from_str(text).unwrap();
        let want = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
        let (got, error) = match ft::parse_float(&text) {
            Ok(v) => (v, "-".to_string()),
            Err(e @ ft::ParseFloatError::Range(v)) => (v, e.to_string()),
            Err(e) => (0.0, e.to_string()),
        };
        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        if !same || error != cause {
            wrong.push(format!("{text:?}: want {want:?} {cause}, got {got:?} {error}"));
        }
        checked += 1;
    }
    assert!(checked > 2000 && wrong.is_empty(), "{checked}: {}", wrong.join("\n"));
}

#[test]
fn bounds_are_normalised_as_openmetrics_floats() {
    let mut scratch = Vec::new();
    for (text, want) in [
        ("1", "1.0"),
        ("1.0", "1.0"),
        ("-1", "-1.0"),
        ("-0", "0.0"),
        ("0.1", "0.1"),
        ("1e6", "1e+06"),
        ("123456", "123456.0"),
        ("+Inf", "+Inf"),
        ("inf", "+Inf"),
        ("nan", "NaN"),
        ("abc", "abc"),
        ("", ""),
        ("0x1p4", "16.0"),
        ("1e999", "1e999"),
    ] {
        assert_eq!(ft::normalize_bound(text, &mut scratch), want, "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(bits: u64) {
        let v = f64::from_bits(bits);
        for text in [ft::format_f(v), ft::format_g(v), ft::format_e(v, None), ft::format_openmetrics(v)] {
            let back = ft::parse_float(&text).unwrap();
            prop_assert!(back == v || (back.is_nan() && v.is_nan()), "{} {}", text, back);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = ft::parse_float(&text);
    }
}
