//! What differs between lists of alerts, as a tree in colours: red is missing, green is too much, yellow is other.

use super::expected::{Alert, quoted};

const ADDED: &str = "\x1b[0;32m";
const REMOVED: &str = "\x1b[0;31m";
const CHANGED: &str = "\x1b[0;33m";
const END: &str = "\x1b[0m";
const INDENT: &str = "    ";

/// Writes lines; a colour ends and begins anew at each.
#[derive(Default)]
struct Painter {
    out: String,
    colour: Option<&'static str>,
    level: usize,
}

impl Painter {
    fn paint(&mut self, colour: Option<&'static str>) {
        if self.colour != colour {
            if self.colour.is_some() {
                self.out.push_str(END);
            }
            self.out.push_str(colour.unwrap_or_default());
            self.colour = colour;
        }
    }

    fn line(&mut self) {
        let colour = self.colour.take();
        if colour.is_some() {
            self.out.push_str(END);
        }
        self.out.push('\n');
        self.out.push_str(&INDENT.repeat(self.level));
        self.out.push_str(colour.unwrap_or_default());
        self.colour = colour;
    }

    /// Brackets with items in lines of their own, each item in the colour it sets; between them the colour of now.
    fn list<T>(&mut self, brackets: [char; 2], items: Vec<T>, mut item: impl FnMut(&mut Self, T)) {
        let around = self.colour;
        self.out.push(brackets[0]);
        let last = items.len();
        self.level += usize::from(last > 0);
        for (i, one) in items.into_iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            self.line();
            item(self, one);
            self.paint(around);
        }
        if last > 0 {
            self.level -= 1;
            self.line();
        }
        self.out.push(brackets[1]);
    }

    fn pairs(&mut self, want: Option<&[(String, String)]>, got: Option<&[(String, String)]>) {
        let find = |pairs: Option<&[(String, String)]>, name: &str| {
            pairs.and_then(|p| p.iter().find(|(n, _)| n == name)).map(|(_, v)| v.clone())
        };
        let mut names: Vec<&String> =
            want.iter().chain(&got).flat_map(|pairs| pairs.iter()).map(|(n, _)| n).collect();
        names.sort();
        names.dedup();
        let both = want.is_some() && got.is_some();
        self.list(['{', '}'], names, |p, name| {
            let (want, got) = (find(want, name), find(got, name));
            if both {
                p.paint(match (&want, &got) {
                    (Some(_), None) => Some(REMOVED),
                    (None, Some(_)) => Some(ADDED),
                    _ => None,
                });
            }
            p.out.push_str(&format!("{}: ", quoted(name)));
            match (want, got) {
                (Some(want), Some(got)) if want != got => {
                    p.paint(Some(CHANGED));
                    p.out.push_str(&format!("{} => {}", quoted(&want), quoted(&got)));
                }
                (Some(value), _) | (None, Some(value)) => p.out.push_str(&quoted(&value)),
                (None, None) => {}
            }
        });
    }
}

/// `None` where both are the same.
pub(super) fn compare(want: &[Alert], got: &[Alert]) -> Option<String> {
    // An empty list is shown as one alert without anything, so that there is something to compare with.
    let nothing = [Alert::default()];
    let want = if want.is_empty() { &nothing[..] } else { want };
    let got = if got.is_empty() { &nothing[..] } else { got };
    if want == got {
        return None;
    }
    let mut painter = Painter::default();
    let items: Vec<_> = (0..want.len().max(got.len())).map(|i| (want.get(i), got.get(i))).collect();
    painter.list(['[', ']'], items, |p, (want, got)| {
        p.paint(match (want, got) {
            (Some(_), None) => Some(REMOVED),
            (None, Some(_)) => Some(ADDED),
            _ => None,
        });
        p.list(['{', '}'], vec!["Annotations", "Labels"], |p, part| {
            let of = |alert: Option<&Alert>| {
                alert.map(|a| if part == "Labels" { a.labels.clone() } else { a.annotations.clone() })
            };
            p.out.push_str(&format!("\"{part}\": "));
            p.pairs(of(want).as_deref(), of(got).as_deref());
        });
    });
    Some(painter.out)
}
