//! Connects in plain text, and notes when something else than HTTP/2 answers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use tonic::codegen::{Service, StdError};
use tower::service_fn;

use super::trouble::Trouble;

/// The first byte of HTTP/2. A server begins with a frame of settings, and its length is below 2^16.
const HTTP2: u8 = 0;
/// The first byte of an alert of TLS: the answer to what is no TLS.
const TLS_ALERT: u8 = 0x15;

/// Connects over TCP. Notes in `trouble` what answers, if that is no broker.
pub(super) fn connector(
    trouble: Trouble,
) -> impl Service<Uri, Response = TokioIo<Watched>, Error = StdError, Future: Send> + Send + 'static {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    service_fn(move |broker: Uri| {
        let (mut tcp, trouble) = (tcp.clone(), trouble.clone());
        async move {
            let io = tcp.call(broker).await?.into_inner();
            Ok(TokioIo::new(Watched { io, unheard: Some(trouble) }))
        }
    })
}

/// A connection whose first byte is looked at.
pub(super) struct Watched {
    io: TcpStream,
    /// The place for what is found. None once the other side has been heard.
    unheard: Option<Trouble>,
}

impl Watched {
    /// Notes what the other side speaks, by its first byte.
    fn hear(&mut self, said: &[u8]) {
        if let Some(first) = said.first()
            && let Some(trouble) = self.unheard.take()
        {
            match *first {
                HTTP2 => {}
                TLS_ALERT => trouble.speaks("it speaks TLS; write https://"),
                _ => trouble
                    .speaks("it does not speak HTTP/2, as brokers do; check the address, or write https:// for TLS"),
            }
        }
    }

    /// Passes on what became of a write. If it failed, the other side may have said why before it closed the
    /// connection.
    fn written<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = result {
            let mut last = [0];
            // Not by tokio, which may not know yet that there is something to read.
            let read = rustix::io::read(&self.io, &mut last).unwrap_or_default();
            self.hear(&last[..read]);
        }
        result
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.io).poll_read(cx, buf);
        this.hear(&buf.filled()[before..]);
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.written(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.written(result)
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
