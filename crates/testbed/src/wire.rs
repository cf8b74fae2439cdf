//! How requests and answers cross the supervisor's socket: a line of JSON each, with file descriptors beside it where a command is to be
//! run. Depends on nix for the descriptors. Deliberately absent: what they mean (`spec`) and who does it (`api`).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The longest line: a request carries a whole environment, which Linux lets be some 2 MiB; it is seldom above 100 KiB.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Standard input, output and error.
pub(crate) const FDS_MAX: usize = 3;

/// One line of JSON.
pub(crate) fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The supervisor's end of a connection.
pub(crate) struct Connection {
    stream: UnixStream,
    read: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, read: Vec::new(), fds: Vec::new() }
    }

    /// The next message; `None` when the other end has closed. May be dropped while it waits.
    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let message = serde_json::from_slice(&self.read[..end])?;
                self.read.drain(..=end);
                return Ok(Some(message));
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the request is too long"));
            }
            let (read, fds) = (&mut self.read, &mut self.fds);
            let stream = &self.stream;
            let count = stream.async_io(Interest::READABLE, || receive(stream, read, fds)).await?;
            if count == 0 {
                return Ok(None);
            }
        }
    }

    /// The descriptors that have come so far.
    pub(crate) fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        use tokio::io::AsyncWriteExt;
        self.stream.write_all(&line(message)?).await
    }
}

fn receive(stream: &impl AsRawFd, read: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; FDS_MAX]);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let count = message.bytes;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(received.into_iter().map(crate::namespaces::received));
        }
    }
    read.extend_from_slice(&buffer[..count]);
    Ok(count)
}

/// Sends bytes with descriptors beside the first of them.
pub(crate) fn send_with(
    stream: &mut std::os::unix::net::UnixStream,
    bytes: &[u8],
    fds: &[std::os::fd::RawFd],
) -> io::Result<()> {
    use std::io::Write;
    let rights = [ControlMessage::ScmRights(fds)];
    let sent = sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(bytes)], &rights, MsgFlags::empty(), None)?;
    stream.write_all(&bytes[sent..])
}
