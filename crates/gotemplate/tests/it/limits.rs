//! Templates made to hurt end with an error, soon and on an ordinary stack.

use gotemplate::{Prometheus, Query, Sample, Value, expand};

struct Nothing;

impl Query for Nothing {
    fn query(&self, _: &str) -> Result<Vec<Sample>, String> {
        Ok(Vec::new())
    }
}

fn run(text: &str) -> Result<String, String> {
    let functions = Prometheus { query: &Nothing, now_ms: 0, external_url: "", path_prefix: "" };
    expand(text, "test", &Value::Nil, &functions)
}

#[test]
fn hostile_templates_end() {
    for (text, want) in [
        ("{{range 1000000000000}}{{end}}", "steps"),
        ("{{range 1000000}}{{range 1000000}}{{end}}{{end}}", "steps"),
        ("{{range 100000}}{{printf \"%100000d\" 1}}{{end}}", "bytes"),
        ("{{$x := \"aaaaaaaaaa\"}}{{range 100}}{{$x = print $x $x}}{{end}}", "bytes"),
        ("{{$x := args 1}}{{range 1000}}{{$x = args $x $x}}{{end}}", "within one another"),
        ("{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}", "maximum template depth"),
        ("{{template \"test\"}}", "maximum template depth"),
        ("{{reReplaceAll \"\" (printf \"%100000d\" 1) (printf \"%100000d\" 1)}}", "too large"),
    ] {
        let error = run(text).expect_err(text);
        assert!(error.contains(want), "{text}: {error}");
    }
    // Printed, this would be 2^60 elements.
    let wide = format!("{{{{$x := args 1}}}}{}{{{{$x}}}}", "{{$x = args $x $x}}".repeat(60));
    assert!(run(&wide).is_err());
}

/// As deep as the parser allows, in the 2 MiB of a test's thread.
#[test]
fn deep_templates_fit_the_stack() {
    let levels = 190;
    let blocks = format!("{}x{}", "{{if true}}".repeat(levels), "{{end}}".repeat(levels));
    assert_eq!(run(&blocks).as_deref(), Ok("x"));
    let parens = format!("{{{{{}1{}}}}}", "(".repeat(levels), ")".repeat(levels));
    assert_eq!(run(&parens).as_deref(), Ok("1"));
    let calls = format!("{{{{{}1{}}}}}", "print (".repeat(levels / 2), ")".repeat(levels / 2));
    assert_eq!(run(&calls).as_deref(), Ok("1"));
    let nested = "{{if true}}{{with (print (print (print 1)))}}{{template \"a\"}}{{end}}{{end}}";
    assert!(run(&format!("{{{{define \"a\"}}}}{nested}{{{{end}}}}{{{{template \"a\"}}}}")).is_err());
}
