//! Families into the bytes of the chosen format.

use exposition::Family;

use crate::negotiate::Chosen;

/// The body of `/metrics` or `/federate`.
pub(crate) fn write(_families: &[Family], _chosen: Chosen) -> Vec<u8> {
    Vec::new()
}
