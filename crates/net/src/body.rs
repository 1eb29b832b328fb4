//! Response bodies: read, decompressed and bounded. The bound is on what comes out, as it comes out;
//! nothing is allocated by what a sender claims.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};

use crate::error::BodyError;
use crate::gunzip::{Gunzip, Step};
use crate::line::{BUFFER_BYTES, Reply, Source};
use crate::whole::{PACKED_BYTES_MAX, Whole};

/// What a body may hold without asking: most bodies of most targets, so that a hostile target which
/// uses up the memory for large bodies does not touch them. See [`BodyLimits::free_bytes`].
const FREE_BYTES_MAX: usize = 4 << 20;
/// 2,000 series.
const FREE_BYTES_MIN: usize = 256 << 10;
/// Unit of the account over large bodies.
const PERMIT_BYTES: usize = 1 << 20;
/// How long a growing body waits for memory that other large bodies hold.
const MEMORY_WAIT: Duration = Duration::from_secs(2);
/// Buffers kept for the next bodies: at most so many bytes in all, each at most a quarter of that.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Decoders kept; each holds about 50 KiB.
const KEPT_DECODERS_MAX: usize = 32;
/// Buffers kept for answers on their way in: as many as are in flight at most times, 2 MiB in all.
const KEPT_SCRATCH_MAX: usize = 64;
/// A window above 8 MiB is refused, as RFC 9659 allows for `Content-Encoding: zstd`.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Least growth of a buffer.
const GROWTH_BYTES_MIN: usize = 32 << 10;

/// Bounds on memory for response bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Most bytes of one body after decompression, whatever the caller allows.
    pub body_bytes_max: u64,
    /// Most bytes of all large bodies in flight together.
    pub in_flight_bytes_max: u64,
}

impl Default for BodyLimits {
    /// For a server with 1 GiB.
    fn default() -> Self {
        BodyLimits::for_memory(1 << 30)
    }
}

impl BodyLimits {
    /// Bounds for a server that may use `bytes` of memory: an eighth for one body (32 MiB to 1 GiB), a
    /// quarter for all large ones.
    #[must_use]
    pub fn for_memory(bytes: u64) -> Self {
        BodyLimits {
            body_bytes_max: (bytes / 8).clamp(32 << 20, 1 << 30),
            in_flight_bytes_max: (bytes / 4).clamp(64 << 20, 8 << 30),
        }
    }

    /// What each body may hold without asking: a 64th of what all large ones may, as a hundred hostile targets
    /// can send as much at once. 4 MiB from a server of 1 GiB on.
    fn free_bytes(&self) -> usize {
        let share = usize::try_from(self.in_flight_bytes_max / 64).unwrap_or(usize::MAX);
        share.clamp(FREE_BYTES_MIN, FREE_BYTES_MAX)
    }
}

/// How one body is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Most bytes after decompression, 0 for no limit of the caller's. A body of exactly as many is too
    /// large, as upstream has it.
    pub limit_bytes: u64,
    /// Whether `Content-Encoding: zstd` is taken.
    pub zstd: bool,
    /// What to expect, from the last time.
    pub size_hint: usize,
}

struct Shared {
    limits: BodyLimits,
    memory: Arc<Semaphore>,
    buffers: Mutex<Kept>,
    #[allow(clippy::vec_box, reason = "a decoder is 40 KiB and moves in and out of here for each body")]
    gunzips: Mutex<Vec<Box<GzipBody>>>,
    scratch: Mutex<Vec<Vec<u8>>>,
}

/// A buffer that an answer passes through; it goes back to the pool when dropped.
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    pool: Arc<Shared>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scratch({} bytes)", self.bytes.len())
    }
}

impl std::ops::Deref for Scratch {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Scratch {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut kept = self.pool.scratch.lock();
        if kept.len() < KEPT_SCRATCH_MAX {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// A gzip body on its way: collected while it is small, then decoded at once; else decoded by the piece.
struct GzipBody {
    whole: Whole,
    pieces: Gunzip,
    by_the_piece: bool,
}

#[derive(Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// Buffers and decoders for bodies, reused and bounded. Clones share them.
#[derive(Clone)]
pub struct BodyPool {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for BodyPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BodyPool({:?}, {} bytes kept)", self.shared.limits, self.shared.buffers.lock().bytes)
    }
}

/// A body. Its buffer goes back to the pool when dropped.
pub struct PooledBody {
    bytes: Vec<u8>,
    /// Memory taken out of the account for large bodies.
    held: Option<OwnedSemaphorePermit>,
    pool: Arc<Shared>,
}

impl std::fmt::Debug for PooledBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PooledBody({} bytes)", self.bytes.len())
    }
}

impl std::ops::Deref for PooledBody {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let capacity = bytes.capacity();
        let mut kept = self.pool.buffers.lock();
        if capacity > 0 && capacity <= KEPT_BYTES_MAX / 4 && kept.bytes + capacity <= KEPT_BYTES_MAX {
            // Not emptied: who decodes as a whole writes over it, and need not fill it with zeros first.
            kept.bytes += capacity;
            kept.buffers.push(bytes);
        }
        // Given back after the buffer is, so that the account never says less than is held.
        drop(kept);
        self.held = None;
    }
}

impl PooledBody {
    /// Makes room for at least one more byte: doubling up to 64 MiB, then by a quarter.
    async fn grow(&mut self, limit: usize) -> Result<(), BodyError> {
        let now = self.bytes.capacity();
        let step = if now < 64 << 20 { now } else { now / 4 };
        let wanted = (now + step.max(GROWTH_BYTES_MIN)).min(limit.max(now + 1));
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needed = wanted.saturating_sub(self.pool.limits.free_bytes()).div_ceil(PERMIT_BYTES);
        if needed > held {
            let no_memory = || BodyError::NoMemory { held_bytes: now as u64 };
            let more = u32::try_from(needed - held).map_err(|_| no_memory())?;
            let taking = Arc::clone(&self.pool.memory).acquire_many_owned(more);
            let taken = tokio::time::timeout(MEMORY_WAIT, taking).await;
            let permit = taken.ok().and_then(Result::ok).ok_or_else(no_memory)?;
            match &mut self.held {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            }
        }
        self.bytes.reserve_exact(wanted - self.bytes.len());
        Ok(())
    }
}

enum Coding {
    Identity,
    Gzip(Box<GzipBody>),
    Zstd(Box<ZstdDecoder<'static>>, usize),
}

impl BodyPool {
    /// An empty pool.
    #[must_use]
    pub fn new(limits: BodyLimits) -> Self {
        let permits = usize::try_from(limits.in_flight_bytes_max).unwrap_or(usize::MAX) / PERMIT_BYTES;
        let shared = Shared {
            limits,
            memory: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            buffers: Mutex::default(),
            gunzips: Mutex::default(),
            scratch: Mutex::default(),
        };
        BodyPool { shared: Arc::new(shared) }
    }

    /// A buffer with what its last user left in it.
    fn take(&self, hint: usize) -> PooledBody {
        let mut kept = self.shared.buffers.lock();
        // The last one returned is the warmest; one that is large enough saves the growth.
        let found = kept.buffers.iter().rposition(|b| b.capacity() >= hint);
        let bytes = found.map(|i| kept.buffers.swap_remove(i)).unwrap_or_default();
        kept.bytes -= bytes.capacity();
        drop(kept);
        PooledBody { bytes, held: None, pool: Arc::clone(&self.shared) }
    }

    /// A buffer of [`BUFFER_BYTES`].
    pub(crate) fn scratch(&self) -> Scratch {
        let bytes = self.shared.scratch.lock().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES]);
        Scratch { bytes, pool: Arc::clone(&self.shared) }
    }

    /// Reads a response's body, decompressed. The caller bounds the time.
    ///
    /// # Errors
    /// Too large, no memory, broken compression, a connection that ends early.
    pub async fn read<'a>(
        &self,
        reply: impl Into<Reply<'a>>,
        options: ReadOptions,
    ) -> Result<PooledBody, BodyError> {
        let reply = reply.into();
        let mut coding = match reply.encoding.as_deref() {
            Some(b"gzip") => Coding::Gzip(self.gunzip()),
            Some(b"zstd") if options.zstd => {
                let encoding_error = |e: std::io::Error| BodyError::Encoding(format!("zstd: {e}"));
                let mut decoder = ZstdDecoder::new().map_err(encoding_error)?;
                let window = DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
                decoder.set_parameter(window).map_err(encoding_error)?;
                Coding::Zstd(Box::new(decoder), 1)
            }
            Some(b"zstd") => {
                let text = "received a zstd-compressed response, but the \"zstd-scrape\" feature flag is not enabled";
                return Err(BodyError::Encoding(text.to_string()));
            }
            _ => Coding::Identity,
        };
        let mut body = self.take(options.size_hint);
        if !matches!(coding, Coding::Gzip(_)) {
            body.bytes.clear();
        }
        let result = self.fill(reply.source, &mut coding, body, options).await;
        if let Coding::Gzip(gunzip) = coding {
            let mut kept = self.shared.gunzips.lock();
            if kept.len() < KEPT_DECODERS_MAX {
                kept.push(gunzip);
            }
        }
        result
    }

    fn gunzip(&self) -> Box<GzipBody> {
        match self.shared.gunzips.lock().pop() {
            Some(mut used) => {
                used.pieces.reset();
                used.whole.packed.clear();
                used.by_the_piece = false;
                used
            }
            None => Box::new(GzipBody { whole: Whole::new(), pieces: Gunzip::new(), by_the_piece: false }),
        }
    }

    async fn fill(
        &self,
        mut source: Source<'_>,
        coding: &mut Coding,
        mut body: PooledBody,
        options: ReadOptions,
    ) -> Result<PooledBody, BodyError> {
        let hard = self.shared.limits.body_bytes_max;
        let (limit, too_large) = match options.limit_bytes {
            own @ 1.. if own <= hard => (own, BodyError::TooLarge),
            _ => (hard, BodyError::HardLimit { limit_bytes: hard }),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        while let Some(data) = source.next().await? {
            decode(coding, &data, &mut body, limit).await?;
            let collecting = matches!(&*coding, Coding::Gzip(gzip) if !gzip.by_the_piece);
            if !collecting && body.bytes.len() >= limit {
                return Err(too_large);
            }
        }
        if let Coding::Gzip(gzip) = coding
            && !gzip.by_the_piece
        {
            if gzip.whole.decode(&mut body.bytes, limit.min(self.shared.limits.free_bytes())) {
                return Ok(body);
            }
            gzip.go_by_the_piece(&mut body, limit).await?;
            if body.bytes.len() >= limit {
                return Err(too_large);
            }
        }
        let complete = match coding {
            Coding::Identity => true,
            Coding::Gzip(gzip) => gzip.pieces.is_complete(),
            Coding::Zstd(_, hint) => *hint == 0,
        };
        if !complete {
            return Err(BodyError::Encoding("unexpected EOF".to_string()));
        }
        Ok(body)
    }
}

impl GzipBody {
    /// Decodes what was collected.
    async fn go_by_the_piece(&mut self, body: &mut PooledBody, limit: usize) -> Result<(), BodyError> {
        self.by_the_piece = true;
        body.bytes.clear();
        unpack(&mut self.pieces, &self.whole.packed, body, limit).await
    }
}

async fn unpack(
    gunzip: &mut Gunzip,
    mut input: &[u8],
    body: &mut PooledBody,
    limit: usize,
) -> Result<(), BodyError> {
    loop {
        let step = gunzip.step(&mut input, &mut body.bytes);
        match step.map_err(|e| BodyError::Encoding(e.to_string()))? {
            Step::NeedInput => return Ok(()),
            Step::NeedRoom if body.bytes.len() >= limit => return Ok(()),
            Step::NeedRoom => body.grow(limit).await?,
        }
    }
}

/// Appends one piece, decoded; stops at `limit` bytes, which the caller takes as too large.
async fn decode(
    coding: &mut Coding,
    data: &[u8],
    body: &mut PooledBody,
    limit: usize,
) -> Result<(), BodyError> {
    match coding {
        Coding::Identity => {
            let mut rest = data;
            while !rest.is_empty() && body.bytes.len() < limit {
                let room = body.bytes.capacity() - body.bytes.len();
                if room == 0 {
                    body.grow(limit).await?;
                    continue;
                }
                let (now, later) = rest.split_at(room.min(rest.len()));
                body.bytes.extend_from_slice(now);
                rest = later;
            }
        }
        Coding::Gzip(gzip) => {
            if !gzip.by_the_piece {
                let packed = &mut gzip.whole.packed;
                if packed.len() + data.len() <= PACKED_BYTES_MAX {
                    packed.extend_from_slice(data);
                    return Ok(());
                }
                gzip.go_by_the_piece(body, limit).await?;
            }
            unpack(&mut gzip.pieces, data, body, limit).await?;
        }
        Coding::Zstd(decoder, hint) => {
            let mut input = InBuffer::around(data);
            loop {
                if body.bytes.len() >= limit {
                    break;
                }
                if body.bytes.len() == body.bytes.capacity() {
                    body.grow(limit).await?;
                }
                let start = body.bytes.len();
                let mut out = OutBuffer::around_pos(&mut body.bytes, start);
                let result = decoder.run(&mut input, &mut out);
                *hint = result.map_err(|e| BodyError::Encoding(format!("zstd: {e}")))?;
                let full = body.bytes.len() == body.bytes.capacity();
                // Output that did not fit is waiting inside the decoder although the input is used up.
                if input.pos() >= data.len() && !full {
                    break;
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn read_error(e: &hyper::Error) -> String {
    if e.is_incomplete_message() || e.is_body_write_aborted() {
        return "unexpected EOF".to_string();
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(s) = source {
        if let Some(io) = s.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::UnexpectedEof => "unexpected EOF".to_string(),
                _ => format!("read: {}", crate::secret::os_text(io)),
            };
        }
        source = s.source();
    }
    e.to_string()
}
