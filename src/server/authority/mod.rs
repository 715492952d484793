//! Accepts requests with any `:authority`, or with none.
//!
//! Over a Unix socket there is no host to name, and clients disagree on what to send instead. gRPC's C core (Python,
//! C++, Ruby, PHP) and others send the socket's path, percent-encoded or as it is. h2 refuses each such request, and
//! has no setting for it. The broker does not use the authority. So [`AnyAuthority`] takes it out before h2 sees it.
//!
//! To find it, every header block must be decoded, trailers included, since the client's encoder refers to earlier
//! ones. The fields go on as plain literals, so h2's own table stays empty. If something cannot be decoded, the
//! connection ends with an error. That counts as silence (R7), since nobody can tell what the client meant.

#[cfg(any(fuzzing, debug_assertions))]
pub mod fuzzing;
mod hpack;
mod huffman;
mod rewriter;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use rewriter::Rewriter;

/// The bytes that are read at a time.
const CHUNK: usize = 4 * 1024;

/// A rule that the client has broken.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the client sent {0}")]
struct Malformed(&'static str);

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// A client's connection on which h2 sees no `:authority`.
#[derive(Debug)]
pub struct AnyAuthority<T> {
    io: T,
    rewriter: Rewriter,
    /// Bytes that were read but not rewritten yet, because those before them have grown.
    input: Vec<u8>,
    /// Bytes for h2 to read next.
    output: Rest,
}

/// Bytes that wait to be taken.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    taken: usize,
}

impl Rest {
    fn new(bytes: Vec<u8>) -> Rest {
        Rest { bytes, taken: 0 }
    }

    fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// Moves as many as there is room for to `buf`. Gives back the memory of the last.
    fn move_to(&mut self, buf: &mut ReadBuf<'_>) {
        let count = buf.remaining().min(self.bytes.len() - self.taken);
        buf.put_slice(&self.bytes[self.taken..][..count]);
        self.taken += count;
        if self.is_empty() {
            *self = Rest::default();
        }
    }
}

impl<T> AnyAuthority<T> {
    /// Wraps a connection on which nothing has come yet.
    pub(super) fn new(io: T) -> AnyAuthority<T> {
        AnyAuthority { io, rewriter: Rewriter::new(), input: Vec::new(), output: Rest::default() }
    }

    /// Returns the connection itself.
    pub(super) fn get_ref(&self) -> &T {
        &self.io
    }

    /// Rewrites `chunk` until it has become about as much. Keeps the rest of it.
    fn rewrite(&mut self, mut chunk: &[u8]) {
        let mut output = Vec::with_capacity(chunk.len());
        while !chunk.is_empty() && output.len() < CHUNK && self.rewriter.step(&mut chunk, &mut output).is_ok() {}
        self.input = chunk.to_vec();
        self.output = Rest::new(output);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for AnyAuthority<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.output.is_empty() {
            // What came before it has been read by now.
            this.rewriter.check()?;
            if !this.input.is_empty() {
                let chunk = std::mem::take(&mut this.input);
                this.rewrite(&chunk);
                continue;
            }
            let mut chunk = [MaybeUninit::uninit(); CHUNK];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.rewrite(chunk.filled());
        }
        this.output.move_to(buf);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for AnyAuthority<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
