//! The hash that stands for bytes which are not kept: a line of a page, the labels in a request.
//!
//! 128 bits, so that two of n keys are taken for the same with a probability of n²/2^129, and a secret of this
//! process's own, so that nobody can aim at it. A seed would do as well; but for keys above 240 bytes, which
//! containers have, a secret is made of it with each call.

use std::hash::BuildHasher as _;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_128_with_secret;

/// Bytes of the secret: what the algorithm's own has; it must have 136.
const SECRET_BYTES: usize = 192;

static SECRET: LazyLock<[u8; SECRET_BYTES]> = LazyLock::new(|| {
    let random = std::hash::RandomState::new();
    let mut secret = [0; SECRET_BYTES];
    for (i, bytes) in secret.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&random.hash_one(i).to_le_bytes());
    }
    secret
});

/// Hashes keys; equal bytes give equal hashes within a process, and others in another one.
#[derive(Clone, Copy)]
pub struct KeyHasher(&'static [u8; SECRET_BYTES]);

impl Default for KeyHasher {
    fn default() -> Self {
        KeyHasher(&SECRET)
    }
}

impl std::fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHasher")
    }
}

impl KeyHasher {
    /// The hash of a key (XXH3, 128 bits).
    #[must_use]
    #[inline]
    pub fn hash(self, key: &[u8]) -> u128 {
        xxh3_128_with_secret(key, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_lengths_differ() {
        let hasher = KeyHasher::default();
        let bytes = [7_u8; 600];
        let hashes: std::collections::HashSet<u128> = (0..600).map(|n| hasher.hash(&bytes[..n])).collect();
        assert_eq!(hashes.len(), 600);
        assert_eq!(hasher.hash(b"a"), KeyHasher::default().hash(b"a"));
        assert_ne!(hasher.hash(b"a"), xxhash_rust::xxh3::xxh3_128(b"a"), "it has a secret");
    }
}
