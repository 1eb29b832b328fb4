//! Tokens and how error texts name them.

use super::ast::{AggregateOp, BinaryOp, PosRange};
use super::text::{go_quote, go_quote_prefix};

/// Words that mean something besides naming a metric or an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
}

/// Words that are functions of durations or times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Eof,
    Comment,
    Identifier,
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    Assign,
    MatchRegex,
    MatchNotRegex,
    At,
    Op(BinaryOp),
    Aggregator(AggregateOp),
    Keyword(Keyword),
    Preprocessor(Preprocessor),
}

/// A token: its kind and its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) pos: PosRange,
}

/// The meaning of a word, compared in lower case.
pub(crate) fn keyword(word: &str) -> Option<Kind> {
    use AggregateOp as A;
    let lower;
    let word = if word.bytes().any(|b| b.is_ascii_uppercase()) {
        lower = word.to_ascii_lowercase();
        lower.as_str()
    } else {
        word
    };
    Some(match word {
        "and" => Kind::Op(BinaryOp::And),
        "or" => Kind::Op(BinaryOp::Or),
        "unless" => Kind::Op(BinaryOp::Unless),
        "atan2" => Kind::Op(BinaryOp::Atan2),
        "sum" => Kind::Aggregator(A::Sum),
        "avg" => Kind::Aggregator(A::Avg),
        "count" => Kind::Aggregator(A::Count),
        "min" => Kind::Aggregator(A::Min),
        "max" => Kind::Aggregator(A::Max),
        "group" => Kind::Aggregator(A::Group),
        "stddev" => Kind::Aggregator(A::Stddev),
        "stdvar" => Kind::Aggregator(A::Stdvar),
        "topk" => Kind::Aggregator(A::Topk),
        "bottomk" => Kind::Aggregator(A::Bottomk),
        "count_values" => Kind::Aggregator(A::CountValues),
        "quantile" => Kind::Aggregator(A::Quantile),
        "limitk" => Kind::Aggregator(A::Limitk),
        "limit_ratio" => Kind::Aggregator(A::LimitRatio),
        "offset" => Kind::Keyword(Keyword::Offset),
        "smoothed" => Kind::Keyword(Keyword::Smoothed),
        "anchored" => Kind::Keyword(Keyword::Anchored),
        "by" => Kind::Keyword(Keyword::By),
        "without" => Kind::Keyword(Keyword::Without),
        "on" => Kind::Keyword(Keyword::On),
        "ignoring" => Kind::Keyword(Keyword::Ignoring),
        "group_left" => Kind::Keyword(Keyword::GroupLeft),
        "group_right" => Kind::Keyword(Keyword::GroupRight),
        "fill" => Kind::Keyword(Keyword::Fill),
        "fill_left" => Kind::Keyword(Keyword::FillLeft),
        "fill_right" => Kind::Keyword(Keyword::FillRight),
        "bool" => Kind::Keyword(Keyword::Bool),
        "start" => Kind::Preprocessor(Preprocessor::Start),
        "end" => Kind::Preprocessor(Preprocessor::End),
        "step" => Kind::Preprocessor(Preprocessor::Step),
        "range" => Kind::Preprocessor(Preprocessor::Range),
        "max_of" => Kind::Preprocessor(Preprocessor::MaxOf),
        "min_of" => Kind::Preprocessor(Preprocessor::MinOf),
        "inf" | "nan" => Kind::Number,
        _ => return None,
    })
}

impl Token {
    /// How an error text names the token whose bytes are `text`.
    pub(crate) fn describe(&self, text: &str) -> String {
        let plain = |text: &str| {
            if text.len() > 10 { format!("{}...", go_quote_prefix(text, 10)) } else { go_quote(text) }
        };
        match self.kind {
            Kind::Eof => "end of input".to_string(),
            Kind::Comment => format!("comment {}", plain(text)),
            Kind::Identifier => format!("identifier {}", go_quote(text)),
            Kind::MetricIdentifier => format!("metric identifier {}", go_quote(text)),
            Kind::String => format!("string {}", plain(text)),
            Kind::Number => format!("number {}", plain(text)),
            Kind::Duration => format!("duration {}", plain(text)),
            Kind::Keyword(_) => format!("<{text}>"),
            Kind::Op(_) | Kind::At | Kind::MatchRegex | Kind::MatchNotRegex => format!("<op:{text}>"),
            Kind::Aggregator(_) => format!("<aggr:{text}>"),
            _ => plain(text),
        }
    }
}
