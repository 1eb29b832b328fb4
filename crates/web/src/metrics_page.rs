//! `/metrics` and the pages below it: metrics that godwit exposes.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use exposition::Family;
use exposition::write_family;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use hyper::body::{Frame, SizeHint};
use storage::CancelToken;

use crate::api::on_thread;
use crate::compress::Encoding;
use crate::form::Form;
use crate::negotiate;
use crate::respond::text_error;
use crate::state::State;

pub(crate) async fn serve(
    state: &State,
    request: Parts,
    gather: impl FnOnce(&mut dyn FnMut(Family)) + Send + 'static,
) -> Response {
    let chosen = negotiate::format(&request.headers);
    let encoding = negotiate::metrics_encoding(&request.headers);
    let form = Form::new(request.uri.query(), None);
    let work = move || {
        let wanted: HashSet<&str> = form.all("name[]").collect();
        let mut page = Page::new(encoding);
        gather(&mut |family: Family| {
            if wanted.is_empty() || wanted.contains(family.name.as_str()) {
                write_family(page.open(), &family, chosen.format, chosen.escaping);
                page.close();
            }
        });
        exposition::finish(page.open(), chosen.format);
        let mut response = Response::new(Body::empty());
        if let Ok(value) = HeaderValue::try_from(chosen.content_type()) {
            response.headers_mut().insert(CONTENT_TYPE, value);
        }
        page.put_into(&mut response);
        response
    };
    state.metrics.pages_in_flight.add(1.0);
    let response =
        on_thread(None, &state.page_slots, &CancelToken::default(), work).await.unwrap_or_else(|| {
            text_error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be gathered")
        });
    state.metrics.pages_in_flight.add(-1.0);
    state.metrics.pages.with(&[response.status().as_str()]).inc();
    response
}

/// Text that is put aside at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A page being written: with thousands of jobs it has tens of megabytes, which are not to be copied into ever
/// larger buffers.
struct Page {
    open: Vec<u8>,
    chunks: Chunks,
    gzip: Option<flate2::write::GzEncoder<Vec<u8>>>,
}

impl Page {
    fn new(encoding: Encoding) -> Self {
        // Level 1, as for other answers.
        let gzip = || flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        Page { open: Vec::new(), chunks: Chunks::default(), gzip: (encoding == Encoding::Gzip).then(gzip) }
    }

    /// Where to write.
    fn open(&mut self) -> &mut Vec<u8> {
        &mut self.open
    }

    /// Puts aside what was written, if it is enough.
    fn close(&mut self) {
        if self.open.len() >= CHUNK_BYTES {
            self.put_aside();
        }
    }

    fn put_aside(&mut self) {
        match &mut self.gzip {
            // Writing into memory does not fail.
            Some(gzip) => {
                let _ = gzip.write_all(&self.open);
                self.open.clear();
            }
            None => {
                let chunk = std::mem::take(&mut self.open).into_boxed_slice();
                self.chunks.push(chunk.into());
            }
        }
    }

    fn put_into(mut self, response: &mut Response) {
        self.put_aside();
        if let Some(gzip) = self.gzip.take() {
            self.chunks.push(gzip.finish().unwrap_or_default().into());
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.chunks.len));
        *response.body_mut() = Body::new(self.chunks);
    }
}

/// A body in parts.
#[derive(Default)]
struct Chunks {
    parts: VecDeque<Bytes>,
    len: u64,
}

impl Chunks {
    fn push(&mut self, part: Bytes) {
        self.len += part.len() as u64;
        self.parts.push_back(part);
    }
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.parts.pop_front();
        self.len -= part.as_ref().map_or(0, |p| p.len() as u64);
        Poll::Ready(part.map(|p| Ok(Frame::data(p))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}
