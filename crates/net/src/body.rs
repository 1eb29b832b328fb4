//! Response bodies: read, decompressed and bounded.

/// Bounds on memory for response bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Most bytes of one body after decompression, whatever the caller allows.
    pub body_bytes_max: u64,
    /// Most bytes of all large bodies in flight together.
    pub in_flight_bytes_max: u64,
}

impl Default for BodyLimits {
    fn default() -> Self {
        BodyLimits { body_bytes_max: 256 << 20, in_flight_bytes_max: 512 << 20 }
    }
}

/// Buffers for bodies, reused and bounded. Clones share the buffers.
#[derive(Clone, Debug)]
pub struct BodyPool {
    limits: BodyLimits,
}

impl BodyPool {
    /// An empty pool.
    #[must_use]
    pub fn new(limits: BodyLimits) -> Self {
        BodyPool { limits }
    }
}

/// A body; its buffer returns to the pool when dropped.
#[derive(Debug)]
pub struct PooledBody {
    bytes: Vec<u8>,
}

impl std::ops::Deref for PooledBody {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
