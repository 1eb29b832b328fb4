//! Blocks as a whole.
