//! Plans and merges.
