//! An HTTP/2 client that says exactly which bytes go over the wire, and nothing of its own accord: it
//! answers no ping, and reads only when told to.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The payload of a RST_STREAM.
pub(crate) const CANCEL: [u8; 4] = [0, 0, 0, 8];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The first frame of a gRPC call.
pub(crate) fn headers(stream: u32, path: &str) -> Vec<u8> {
    // HPACK: `POST http` from the static table, and a literal `:path`.
    let mut headers = vec![0x83, 0x86, 0x04, path.len() as u8];
    headers.extend(path.as_bytes());
    frame(HEADERS, END_HEADERS, stream, &headers)
}

/// The frames of a whole gRPC call with an empty message.
pub(crate) fn call(stream: u32, path: &str) -> Vec<u8> {
    let mut frames = headers(stream, path);
    frames.extend(frame(DATA, 0, stream, &[0; 5]));
    frames.extend(frame(DATA, END_STREAM, stream, &[]));
    frames
}

pub(crate) struct Client<S = TcpStream>(pub(crate) S);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client::greet(stream).await
    }
}

impl Client<UnixStream> {
    pub(crate) async fn connect_unix(path: &Path) -> Client<UnixStream> {
        Client::greet(UnixStream::connect(path).await.unwrap()).await
    }
}

impl Client<TcpStream> {
    /// Closes the connection with a RST.
    pub(crate) fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn greet(stream: S) -> Client<S> {
        let mut client = Client(stream);
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send(&frame(SETTINGS, 0, 0, &[])).await;
        // As much room for answers as there can be.
        client.send(&frame(WINDOW_UPDATE, 0, 0, &(i32::MAX as u32 - 65_535).to_be_bytes())).await;
        assert_eq!(client.next_frame().await, Some(SETTINGS));
        client
    }

    /// Opens a stream: `POST http /`, all from HPACK's static table.
    pub(crate) async fn open(&mut self, stream: u32) {
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x83, 0x86, 0x84])).await;
    }

    /// Reads the headers of so many answers, and then all that comes before the answer to a ping: the server has heeded
    /// everything that was sent, and nothing is left to read.
    pub(crate) async fn read_all(&mut self, answers: usize) {
        for _ in 0..answers {
            while self.next_frame().await.expect("the headers of an answer") != HEADERS {}
        }
        self.send(&frame(PING, 0, 0, &[0; 8])).await;
        while self.next_frame().await.expect("the answer to a ping") != PING {}
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Reads one frame and tells its kind; `None` at the end of the connection.
    pub(crate) async fn next_frame(&mut self) -> Option<u8> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(head[3])
    }
}
