//! Moves bytes from one plain connection to another inside the kernel, by way of a pipe, for connections that move a lot and
//! of which nobody has to see the bytes. Deliberately absent: TLS, and small messages, for which a copy costs less than the pipe.
//!
//! Source: splice(2), pipe(7).

use std::cell::RefCell;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use nix::fcntl::{SpliceFFlags, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What is asked of the kernel at once. It gives what fits into a pipe: 16 pieces of packets, as they lie in memory (pipe(7)).
const SPLICE_BYTES_MAX: usize = 256 * 1024;
/// A splice that moves less costs more than a copy.
const SPLICE_BYTES_MIN: usize = 16 * 1024;
/// So many pipes are kept for the next connections that move a lot, by each thread: one for each direction of two connections.
const SPARE_MAX: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, and the bytes in it.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
    held: usize,
    /// What came in last, at once.
    filled: usize,
}

impl Pipe {
    /// One that is kept, or a new one.
    ///
    /// # Errors
    /// When the process may not open more files.
    pub(super) fn take() -> io::Result<Self> {
        if let Some(spare) = SPARE.with_borrow_mut(Vec::pop) {
            return Ok(Self { filled: usize::MAX, ..spare });
        }
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, writer, held: 0, filled: usize::MAX })
    }

    /// Keeps it for whoever needs one next. With bytes of a connection in it, it is closed.
    pub(super) fn keep(self) {
        if self.held == 0 {
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_MAX {
                    spare.push(self);
                }
            });
        }
    }

    /// Whether so little came in last that a copy would have cost less.
    pub(super) const fn is_wasted(&self) -> bool {
        self.filled < SPLICE_BYTES_MIN
    }

    /// Takes what there is to read, into the empty pipe; 0 is the end.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &TcpStream) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0, "a full pipe would be taken for a socket that has nothing");
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, || move_some(from, &self.writer, SPLICE_BYTES_MAX)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(bytes) => {
                    (self.held, self.filled) = (bytes, bytes);
                    return Poll::Ready(Ok(bytes));
                }
            }
        }
    }

    /// Passes on all that is in the pipe.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<()>> {
        while self.held > 0 {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || move_some(&self.reader, to, self.held)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => self.held -= bytes,
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn move_some(from: &impl AsFd, to: &impl AsFd, bytes: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, bytes, flags)?)
}
