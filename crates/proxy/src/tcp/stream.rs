//! The stream of the data path: a socket, possibly inside TLS or an HTTP/2 tunnel, with the bytes that were read from it and
//! not yet used. While nothing moves it holds no buffer: bytes are read into one scratch buffer per thread and copied out
//! only when they cannot be passed on at once.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use crate::http::tunnel::Tunnel;

/// The scratch buffer of a thread: four TLS records. Larger moved no more bytes per CPU-second.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// So many buffers that moved a lot are kept for the next that does, by each thread: what a stream's grown window takes.
const SPARE_MAX: usize = 8;
/// A buffer that is larger gives its memory back.
const SPARE_BYTES_MAX: usize = 256 * 1024;
/// One that is smaller is as quickly made anew.
const SPARE_BYTES_MIN: usize = 16 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, with room where one is to be had: what moves a lot would be given memory by the kernel again and again.
#[must_use]
pub fn spare() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Takes a buffer that is of no more use.
pub fn keep_spare(mut buffer: Vec<u8>) {
    if (SPARE_BYTES_MIN..=SPARE_BYTES_MAX).contains(&buffer.capacity()) {
        buffer.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_MAX {
                spare.push(buffer);
            }
        });
    }
}

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// What a read of a socket below TLS takes at most: four records. rustls asks for 4 KiB at a time, and each would be a system call.
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;

/// What TLS has not asked for yet is copied when it is no more, and the space read into kept for the next; else it takes the space along.
const COPIED_BYTES_MAX: usize = 4 * 1024;

thread_local! {
    static BELOW_TLS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A socket below TLS: read in large pieces, handed on in those that TLS asks for. At rest it holds no bytes.
#[derive(Debug)]
pub struct ReadAhead {
    ahead: Vec<u8>,
    /// How much of `ahead` was handed on.
    used: usize,
    socket: TcpStream,
}

impl ReadAhead {
    /// Reads give `first`, which was read before it was known who should read it, then what the socket gives.
    #[must_use]
    pub fn new(first: Bytes, socket: TcpStream) -> Self {
        Self { ahead: first.into(), used: 0, socket }
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        BELOW_TLS.with_borrow_mut(|space| {
            space.clear();
            space.reserve(READ_AHEAD_BYTES_MAX);
            let room = &mut (&mut *space).limit(READ_AHEAD_BYTES_MAX);
            ready!(poll_read_buf(Pin::new(&mut self.socket), cx, room))?;
            let (now, later) = space.split_at(space.len().min(buf.remaining()));
            buf.put_slice(now);
            if later.len() > COPIED_BYTES_MAX {
                self.used = now.len();
                self.ahead = std::mem::replace(space, spare());
            } else {
                self.ahead = later.to_vec();
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ahead = &this.ahead[this.used..];
        if ahead.is_empty() {
            return this.poll_socket(cx, buf);
        }
        let bytes = ahead.len().min(buf.remaining());
        buf.put_slice(&ahead[..bytes]);
        this.used += bytes;
        if this.used == this.ahead.len() {
            this.used = 0;
            keep_spare(std::mem::take(&mut this.ahead));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// What the bytes travel over.
#[derive(Debug)]
pub enum Io {
    /// Plain TCP.
    Tcp(TcpStream),
    /// Mutual TLS that we began.
    TlsClient(Box<tokio_rustls::client::TlsStream<ReadAhead>>),
    /// Mutual TLS that a peer began.
    TlsServer(Box<tokio_rustls::server::TlsStream<ReadAhead>>),
    /// One stream of an HTTP/2 connection (HBONE).
    Tunnel(Box<Tunnel>),
}

macro_rules! each {
    ($self:expr, $io:ident => $call:expr) => {
        match $self {
            Io::Tcp($io) => $call,
            Io::TlsClient($io) => $call,
            Io::TlsServer($io) => $call,
            Io::Tunnel($io) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        each!(self, io => io.is_write_vectored())
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}

/// An [`Io`] with the bytes read ahead.
#[derive(Debug)]
pub struct Stream {
    /// What the bytes travel over.
    pub io: Io,
    /// Read and not yet used.
    pub ahead: BytesMut,
}

impl Stream {
    /// A stream from which nothing was read yet.
    #[must_use]
    pub fn new(io: Io) -> Self {
        Self { io, ahead: BytesMut::new() }
    }

    /// Reads once into the thread's scratch buffer and hands the bytes to `use_bytes`; an empty slice means the end. Whoever holds
    /// bytes back says with [`Stream::release`] when they have gone on.
    ///
    /// # Errors
    /// Those of the read.
    pub fn poll_scratch<T>(
        &mut self,
        cx: &mut Context<'_>,
        use_bytes: impl FnOnce(&mut Self, &[u8], &mut Context<'_>) -> T,
    ) -> Poll<io::Result<T>> {
        if let Io::Tunnel(tunnel) = &mut self.io
            && !tunnel.is_over()
        {
            // What came is there already, and need not be copied.
            let came = ready!(tunnel.poll_take(cx))?;
            if !tunnel.is_over() {
                let used = use_bytes(self, &came, cx);
                keep_spare(came);
                return Poll::Ready(Ok(used));
            }
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            Poll::Ready(Ok(use_bytes(self, buf.filled(), cx)))
        })
    }

    /// What was read has gone on: more may come for it.
    pub fn release(&mut self) {
        if let Io::Tunnel(tunnel) = &mut self.io {
            tunnel.release();
        }
    }

    /// Reads once and appends to `ahead`. Gives the number of bytes, 0 at the end.
    ///
    /// # Errors
    /// Those of the read.
    pub fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_scratch(cx, |stream, bytes, _| {
            stream.ahead.extend_from_slice(bytes);
            stream.release();
            bytes.len()
        })
    }

    /// As [`Stream::poll_more`].
    ///
    /// # Errors
    /// Those of the read.
    pub async fn more(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_more(cx)).await
    }

    /// Looks, without waiting, whether an idle connection can still be used: nothing to read and not at its end.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.ahead.is_empty() && self.poll_more(&mut cx).is_pending()
    }

    /// Whether what is sent now may have to wait for those who share the connection and are slow.
    #[must_use]
    pub fn is_clogged(&self) -> bool {
        matches!(&self.io, Io::Tunnel(tunnel) if tunnel.is_clogged())
    }

    /// Takes all bytes read ahead, and gives their memory back.
    pub fn take_ahead(&mut self) -> Bytes {
        std::mem::take(&mut self.ahead).freeze()
    }

    /// Writes all of `bytes` and flushes.
    ///
    /// # Errors
    /// Those of the write.
    pub async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            while !bytes.is_empty() {
                let n = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                bytes.advance(n);
            }
            Pin::new(&mut self.io).poll_flush(cx)
        })
        .await
    }

    /// Says that no more bytes will come from us: FIN, `close_notify` or END_STREAM.
    ///
    /// # Errors
    /// Those of the shutdown.
    pub async fn finish(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await
    }
}

impl Io {
    /// The socket; a tunnel rarely has one of its own.
    #[must_use]
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::TlsClient(tls) => Some(&tls.get_ref().0.socket),
            Self::TlsServer(tls) => Some(&tls.get_ref().0.socket),
            Self::Tunnel(tunnel) => tunnel.socket(),
        }
    }
}

impl Stream {
    /// Drops the stream so that the peer sees a break, not an orderly end.
    pub fn abort(mut self) {
        if let Io::Tunnel(tunnel) = &mut self.io {
            return tunnel.reset();
        }
        // Of TLS the peer knows without close_notify that the bytes are not whole.
        if let Some(socket) = self.io.socket() {
            super::dial::reset_on_drop(socket);
        }
    }
}

/// For whoever parses for himself (HTTP/2): the bytes read ahead come first.
impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(n));
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
