//! Bodies that grow while they are sent: a channel on one side, an HTTP body on the other. The channel is
//! short, so that a slow client slows the sender, and memory stays bounded.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

/// A piece, or why the rest does not come: the connection is cut then, so that the client sees it.
pub(crate) type Piece = Result<Bytes, std::io::Error>;

/// The body; ends when the last sender is gone.
pub(crate) struct Stream(mpsc::Receiver<Piece>);

/// A channel and its body. At most `pieces` wait.
pub(crate) fn channel(pieces: usize) -> (mpsc::Sender<Piece>, Stream) {
    let (sender, receiver) = mpsc::channel(pieces.max(1));
    (sender, Stream(receiver))
}

#[cfg(test)]
impl Stream {
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        self.0.recv().await
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|p| p.map(Frame::data)))
    }
}
