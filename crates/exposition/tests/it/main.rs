//! Behaviour of the whole crate: against what upstream's parsers made of the same bodies, against its own
//! writers, and against hostile bytes.

mod hostile;
mod upstream;
mod writers;
