//! Bodies made to hurt: none may panic, hang or take memory out of proportion.

use exposition::{Event, Format, Parser, ParserOptions};
use model::LabelsBuilder;
use proptest::prelude::*;

const FORMATS: [Format; 3] = [Format::Text, Format::OpenMetrics, Format::Protobuf];

fn all_options() -> Vec<ParserOptions> {
    let on = ParserOptions {
        native_histograms: true,
        keep_classic: true,
        convert_classic_to_nhcb: true,
        start_timestamps: true,
        type_and_unit_labels: true,
    };
    vec![ParserOptions::default(), on]
}

/// Reads to the end or to the error; gives the number of events.
fn drain(body: &[u8], format: Format, options: &ParserOptions) -> Result<usize, String> {
    let mut parser = Parser::new(body, format, options);
    let mut builder = LabelsBuilder::new();
    for n in 0.. {
        match parser.next().map_err(|e| e.to_string())? {
            Event::Eof => return Ok(n),
            Event::Series(s) => {
                let _ = s.source.build(&mut builder);
            }
            _ => {}
        }
    }
    Ok(0)
}

#[test]
fn long_lines_and_labels() {
    let long = "x".repeat(4 << 20);
    for format in [Format::Text, Format::OpenMetrics] {
        for body in [
            long.clone(),
            format!("a{{b=\"{long}\"}} 1\n# EOF\n"),
            format!("a{{b=\"{long}"),
            format!("a {long}\n# EOF\n"),
            format!("# HELP a {long}\n# EOF\n"),
            format!("#{long}"),
            format!("a 1 {long}"),
        ] {
            if let Err(e) = drain(body.as_bytes(), format, &ParserOptions::default()) {
                assert!(e.len() < 1000, "an error of {} bytes", e.len());
            }
        }
    }
}

#[test]
fn a_label_too_long_to_store_is_refused() {
    let body = format!("a{{b=\"{}\"}} 1\n", "x".repeat((1 << 24) + 1));
    let mut parser = Parser::new(body.as_bytes(), Format::Text, &ParserOptions::default());
    let Ok(Event::Series(s)) = parser.next() else { panic!("no series") };
    assert!(s.source.build(&mut LabelsBuilder::new()).is_err());
}

#[test]
fn many_unclosed_quotes_stay_linear() {
    // Each line opens a quote that only the last byte of the body could close.
    let body = "a{b=\"".repeat(100_000);
    let from = std::time::Instant::now();
    let _ = drain(body.as_bytes(), Format::Text, &ParserOptions::default());
    let _ = drain(body.as_bytes(), Format::OpenMetrics, &ParserOptions::default());
    assert!(from.elapsed().as_secs() < 10);
}

#[test]
fn created_lookup_stays_linear() {
    // A family without created lines: a search from each sample to the end would take 10^10 steps.
    let mut body = String::from("# TYPE a counter\n");
    for i in 0..100_000 {
        body.push_str(&format!("a_total{{i=\"{i}\"}} 1\n"));
    }
    body.push_str("# EOF\n");
    let options = ParserOptions { start_timestamps: true, ..ParserOptions::default() };
    let from = std::time::Instant::now();
    assert_eq!(drain(body.as_bytes(), Format::OpenMetrics, &options), Ok(100_001));
    assert!(from.elapsed().as_secs() < 10);
}

#[test]
fn protobuf_that_lies() {
    for body in [
        &b"\xff\xff\xff\xff\x0f"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80",
        b"\x05\x22\xff\xff\xff\x0f",
        b"\x02\x22\x7f",
    ] {
        assert!(drain(body, Format::Protobuf, &ParserOptions::default()).is_err(), "{body:?}");
    }
    // Two bytes a bucket: a million of them are refused before they take memory.
    let mut histogram = Vec::new();
    for _ in 0..1_100_000 {
        histogram.extend_from_slice(b"\x1a\x00");
    }
    let wrap = |field: u8, inner: &[u8]| {
        let mut out = vec![field << 3 | 2];
        let mut n = inner.len();
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out.extend_from_slice(inner);
        out
    };
    let metric = wrap(4, &wrap(7, &histogram));
    let family = [&wrap(1, b"h")[..], b"\x18\x04", &metric].concat();
    let body = wrap(0, &family);
    let e = drain(&body[1..], Format::Protobuf, &ParserOptions::default()).unwrap_err();
    assert!(e.contains("more than 1048576 elements"), "{e}");
}

#[test]
fn errors_name_line_and_column() {
    let mut p = Parser::new(b"a 1\nb{c=\"d\"} x\n", Format::Text, &ParserOptions::default());
    p.next().unwrap();
    let e = p.next().unwrap_err();
    assert_eq!((e.line, e.column), (2, 10));
    assert!(e.to_string().ends_with("(line 2, column 10)"), "{e}");
}

fn token() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::sample::select(vec![
            "a",
            "a_b:c",
            "{",
            "}",
            "\"",
            "\\",
            "\n",
            " ",
            "\t",
            ",",
            "=",
            "#",
            "# ",
            " # {",
            "# EOF\n",
            "# TYPE a ",
            "histogram\n",
            "counter\n",
            "summary\n",
            "# HELP a ",
            "# UNIT a_s s\n",
            "1",
            "-1.5e3",
            "NaN",
            "+Inf",
            "le=\"1\"",
            "_bucket",
            "_created",
            "_sum",
            "\0",
            "é",
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn never_panics(parts in proptest::collection::vec(token(), 0..40)) {
        let body = parts.concat();
        for format in FORMATS {
            for options in all_options() {
                let _ = drain(&body, format, &options);
            }
        }
    }

    #[test]
    fn protobuf_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for options in all_options() {
            let _ = drain(&body, Format::Protobuf, &options);
            // As one family of the right length, and as one metric in it.
            let mut family = vec![body.len() as u8 & 0x7f];
            family.extend_from_slice(&body[..body.len().min(0x7f).min(body.len() & 0x7f)]);
            let _ = drain(&family, Format::Protobuf, &options);
        }
    }

    #[test]
    fn floats_read_as_written(v in any::<f64>()) {
        let mut text = String::new();
        exposition::number::write_go_float(&mut text, v);
        let back = exposition::number::parse_float(text.as_bytes()).unwrap();
        prop_assert!(back == v || (back.is_nan() && v.is_nan()));
    }

    #[test]
    fn decimals_read_as_the_library_reads_them(text in "-?[0-9]{1,19}(\\.[0-9]{1,10})?(e[+-]?[0-9]{1,2})?") {
        let want: f64 = text.parse().unwrap();
        prop_assert_eq!(exposition::number::parse_float(text.as_bytes()).unwrap().to_bits(), want.to_bits());
    }
}
