//! Go's own verdicts against ours.

mod corpus;
mod limits;
