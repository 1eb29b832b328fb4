//! Results as JUnit XML (upstream: `util/junitxml`).

use std::fmt::Write as _;

/// Results of a file.
#[derive(Debug, Default)]
pub(super) struct Suite {
    name: String,
    errors: usize,
    failures: usize,
    timestamp: String,
    cases: Vec<Case>,
}

#[derive(Debug, Default)]
struct Case {
    name: String,
    failures: Vec<String>,
    error: String,
}

impl Suite {
    pub(super) fn new(name: &str) -> Suite {
        Suite { name: name.to_string(), ..Suite::default() }
    }

    /// The tests begin now.
    pub(super) fn begin(&mut self) {
        self.timestamp = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
    }

    /// A test that has failed where there are `failures`.
    pub(super) fn case(&mut self, name: String, failures: Vec<String>) {
        self.failures += failures.len();
        self.cases.push(Case { name, failures, error: String::new() });
    }

    /// The file cannot be tested.
    pub(super) fn abort(&mut self, error: &str) {
        self.errors += 1;
        self.cases.push(Case { name: "unknown".into(), failures: Vec::new(), error: error.to_string() });
    }
}

/// As Go's encoder escapes texts; what XML cannot have becomes the replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn print(suites: &[Suite]) -> String {
    let mut out = String::from("<testsuites>");
    for suite in suites {
        let _ = write!(
            out,
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"0\" timestamp=\"{}\">",
            escaped(&suite.name),
            suite.cases.len(),
            suite.failures,
            suite.errors,
            suite.timestamp
        );
        for case in &suite.cases {
            let _ = write!(out, "<testcase name=\"{}\">", escaped(&case.name));
            for failure in &case.failures {
                let _ = write!(out, "<failure>{}</failure>", escaped(failure));
            }
            if !case.error.is_empty() {
                let _ = write!(out, "<error>{}</error>", escaped(&case.error));
            }
            out.push_str("</testcase>");
        }
        out.push_str("</testsuite>");
    }
    out + "</testsuites>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_counts() {
        let mut suite = Suite::new("a<b");
        suite.case("x".into(), vec!["1 \"\n".into(), "2".into()]);
        suite.abort("\u{1}");
        assert_eq!(
            print(&[suite]),
            "<testsuites><testsuite name=\"a&lt;b\" tests=\"2\" failures=\"2\" errors=\"1\" skipped=\"0\" timestamp=\"\"><testcase name=\"x\"><failure>1 &#34;&#xA;</failure><failure>2</failure></testcase><testcase name=\"unknown\"><error>\u{fffd}</error></testcase></testsuite></testsuites>"
        );
    }
}
