//! One binary for the crate's outer tests.

mod corpus;
mod limits;
