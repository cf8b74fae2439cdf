//! A batch of netfilter messages: building its bytes, sending it, reading the kernel's answers, and saying what they
//! mean. Depends on libc alone. Deliberately absent: dumps, notifications, and any other netlink family.
#![expect(unsafe_code, reason = "netlink sockets have no safe interface in std")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Why rules could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the caller.
    #[error(
        "not permitted to change the nftables rules of this network namespace: run with CAP_NET_ADMIN in the user \
         namespace that owns it (in Kubernetes, `capabilities: {{add: [NET_ADMIN]}}` on the init container)"
    )]
    NotPermitted,
    /// The kernel has no nf_tables, or not the parts that the rules need.
    #[error(
        "the kernel does not know {what} ({source}): it needs Linux 5.2 or later with nf_tables, nft_chain_nat, \
         nft_nat, nft_redir, nft_numgen, nft_reject_inet and nf_conntrack; load them with modprobe, as a pod may not"
    )]
    Unsupported {
        /// What the kernel was to create.
        what: String,
        /// What it answered.
        source: io::Error,
    },
    /// The kernel refused one of the messages for another reason.
    #[error("the kernel refused {what}: {source}; nothing was changed")]
    Refused {
        /// What the kernel was to create.
        what: String,
        /// What it answered.
        source: io::Error,
    },
    /// The batch has to go to the kernel in one piece, which a socket's buffer bounds.
    #[error(
        "the rules take {bytes} bytes in one message, more than this socket may send: raise net.core.wmem_max, run as \
         root, or ask for fewer rules"
    )]
    TooLarge {
        /// The size of the batch in bytes.
        bytes: usize,
    },
    /// The socket itself failed.
    #[error("cannot {what} the netlink socket: {source}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// What it answered.
        source: io::Error,
    },
    /// The kernel took the batch and did not answer.
    #[error("the kernel did not confirm the rules; install them again")]
    NoAnswer,
    /// More port ranges than [`crate::SKIP_RANGES_MAX`].
    #[error(
        "{count} {direction} port ranges to skip are more than {max}: join neighbouring ranges",
        max = crate::SKIP_RANGES_MAX
    )]
    TooManyRanges {
        /// `inbound` or `outbound`.
        direction: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A range that ends before it starts.
    #[error("the {direction} port range {start}-{end} ends before it starts: swap its ends")]
    EmptyRange {
        /// `inbound` or `outbound`.
        direction: &'static str,
        /// The first port.
        start: u16,
        /// The last port.
        end: u16,
    },
    /// IPv4 and IPv6 do not translate into each other.
    #[error("{0} and {1} are of different families: name two IPv4 or two IPv6 addresses")]
    MixedFamilies(std::net::IpAddr, std::net::IpAddr),
    /// More entries in one call than a bound of this crate.
    #[error("{count} {of} are more than {max}: ask for fewer")]
    TooMany {
        /// Of what.
        of: &'static str,
        /// How many there are.
        count: usize,
        /// How many may be.
        max: usize,
    },
}

/// Size of `struct nlmsghdr`: length u32, type u16, flags u16, sequence u32, port u32; all in host byte order.
const HEADER_BYTES: usize = 16;
/// The subsystem number of nf_tables within netfilter's netlink family.
const NF_TABLES: u8 = 10;
/// The message type that opens a transaction, and the one that commits it.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// The family number that netfilter has for "IPv4 and IPv6".
const FAMILY_INET: u8 = 1;
/// Room for one answer: a header, an errno and the header of the message it is about, with as much to spare again.
const ANSWER_BYTES_MAX: usize = 4096;

/// A transaction: all its messages take effect, or none.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// What each message creates, at the place of its sequence number.
    steps: Vec<String>,
    last: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), steps: Vec::new(), last: 0 };
        batch.bracket(BATCH_BEGIN);
        batch
    }

    /// Adds one message of nf_tables. `what` names it in errors.
    pub(crate) fn message(
        &mut self,
        what: impl FnOnce() -> String,
        kind: u8,
        flags: i32,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let kind = u16::from_be_bytes([NF_TABLES, kind]);
        self.append(what(), kind, flags, [FAMILY_INET, 0, 0, 0], attributes);
    }

    fn bracket(&mut self, kind: u16) {
        let generic = [0, 0, 0, NF_TABLES];
        self.append("the transaction".to_owned(), kind, 0, generic, |_| {});
    }

    fn append(
        &mut self,
        what: String,
        kind: u16,
        flags: i32,
        generic: [u8; 4],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        let sequence =
            u32::try_from(self.steps.len()).expect("a batch has far fewer than 4 billion messages");
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).expect("netlink flags have 16 bits");
        self.last = start;
        self.steps.push(what);
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(generic);
        attributes(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).expect("a message is far smaller than 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Ends the transaction; the bytes are complete after it.
    fn finish(&mut self) {
        // One acknowledgement is enough: errors are answered for any message, asked for or not, and an answer to
        // each of thousands would overflow the receive buffer.
        let flags = self.last + 6..self.last + 8;
        let asked = u16::from_ne_bytes([self.bytes[flags.start], self.bytes[flags.start + 1]])
            | u16::try_from(libc::NLM_F_ACK).expect("netlink flags have 16 bits");
        self.bytes[flags].copy_from_slice(&asked.to_ne_bytes());
        self.bracket(BATCH_END);
    }

    /// What `send` would send.
    #[cfg(test)]
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.finish();
        self.bytes
    }

    /// Commits the transaction.
    pub(crate) fn send(mut self) -> Result<(), Error> {
        self.finish();
        exchange(&self.bytes)?.verdict(&self.steps)
    }
}

/// Asks for one object of nf_tables; whether it is there. Nothing is changed.
pub(crate) fn is_there(
    what: impl FnOnce() -> String,
    kind: u8,
    attributes: impl FnOnce(&mut Attributes<'_>),
) -> Result<bool, Error> {
    let mut request = Batch { bytes: Vec::new(), steps: Vec::new(), last: 0 };
    request.message(what, kind, libc::NLM_F_ACK, attributes);
    let answers = exchange(&request.bytes)?;
    match answers.failed {
        Some((_, libc::ENOENT)) => Ok(false),
        _ => answers.verdict(&request.steps).map(|()| true),
    }
}

/// Sends messages and takes in what the kernel answers.
fn exchange(bytes: &[u8]) -> Result<Answers, Error> {
    let socket = open()?;
    make_room(&socket, bytes.len());
    write(&socket, bytes)?;
    // The kernel works them off before `send` returns, so every answer is already in the receive buffer.
    let mut answers = Answers::default();
    while let Some(datagram) = read(&socket)? {
        answers.add(&datagram);
    }
    Ok(answers)
}

/// Writes netlink attributes: length u16, type u16, value, padded to four bytes.
pub(crate) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    /// An attribute with these bytes.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |attributes| attributes.0.extend(value));
    }

    /// An attribute with a number, in network byte order as everywhere in netfilter.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute with a text, which the kernel wants to end in a zero.
    pub(crate) fn string(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |attributes| {
            attributes.0.extend(value.as_bytes());
            attributes.0.push(0);
        });
    }

    /// An attribute that consists of attributes.
    pub(crate) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        const NESTED: u16 = 0x8000;
        self.attribute(kind | NESTED, inner);
    }

    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend(0_u16.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        value(self);
        let length = u16::try_from(self.0.len() - start)
            .expect("the longest attribute is a rule, a few hundred bytes");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// What the kernel has answered so far.
#[derive(Default)]
struct Answers {
    acknowledged: bool,
    /// The sequence number and errno of the first error; those that follow come of it.
    failed: Option<(usize, i32)>,
}

impl Answers {
    /// Takes in a datagram of answers; what is cut short or is no answer is passed over.
    fn add(&mut self, mut datagram: &[u8]) {
        while let Some((header, rest)) = datagram.split_at_checked(HEADER_BYTES) {
            let length = number(header, 0).unwrap_or(0) as usize;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let Some(body) = length.checked_sub(HEADER_BYTES).and_then(|length| rest.get(..length)) else {
                return;
            };
            if libc::c_int::from(kind) == libc::NLMSG_ERROR
                && let (Some(errno), Some(sequence)) = (number(body, 0), number(header, 8))
            {
                match errno.cast_signed() {
                    0 => self.acknowledged = true,
                    errno => _ = self.failed.get_or_insert((sequence as usize, errno.saturating_neg())),
                }
            }
            let Some(next) = rest.get(body.len().next_multiple_of(4)..) else { return };
            datagram = next;
        }
    }

    fn verdict(&self, steps: &[String]) -> Result<(), Error> {
        match self.failed {
            None if self.acknowledged => Ok(()),
            None => Err(Error::NoAnswer),
            Some((sequence, errno)) => {
                let what = steps.get(sequence).map_or("the transaction", String::as_str).to_owned();
                let source = io::Error::from_raw_os_error(errno);
                Err(match errno {
                    libc::EPERM => Error::NotPermitted,
                    libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => {
                        Error::Unsupported { what, source }
                    }
                    _ => Error::Refused { what, source },
                })
            }
        }
    }
}

/// The number in host byte order at that place.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn open() -> Result<OwnedFd, Error> {
    // SAFETY: socket() takes no pointer.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_NETFILTER)
    };
    if fd < 0 {
        let source = io::Error::last_os_error();
        return Err(match source.raw_os_error() {
            Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
                Error::Unsupported { what: "netfilter's netlink family".to_owned(), source }
            }
            _ => Error::Socket { what: "open", source },
        });
    }
    // SAFETY: fd is a descriptor that the kernel just gave us and that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the socket fit for a batch of this size. Failures are left to `send` and `recv`, which name them.
fn make_room(socket: &OwnedFd, bytes: usize) {
    // The kernel keeps some of the buffer for itself, and caps what is not forced at net.core.wmem_max.
    let wanted = libc::c_int::try_from(bytes + 4096).unwrap_or(libc::c_int::MAX);
    if set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, wanted).is_err() {
        _ = set(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, wanted);
    }
    // An answer need not repeat the message that it is about.
    _ = set(socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
}

fn set(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("an int is small");
    // SAFETY: the pointer and the length are those of `value`, which outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn write(socket: &OwnedFd, bytes: &[u8]) -> Result<(), Error> {
    loop {
        // SAFETY: the pointer and the length are those of `bytes`, which the kernel only reads.
        let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent >= 0 {
            return Ok(());
        }
        let source = io::Error::last_os_error();
        match source.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EMSGSIZE) => return Err(Error::TooLarge { bytes: bytes.len() }),
            Some(libc::EPERM) => return Err(Error::NotPermitted),
            _ => return Err(Error::Socket { what: "write to", source }),
        }
    }
}

/// The next datagram that is already there.
fn read(socket: &OwnedFd) -> Result<Option<Vec<u8>>, Error> {
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    loop {
        // SAFETY: the pointer and the length are those of `buffer`, which nothing else refers to.
        let received = unsafe {
            libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
        };
        if let Ok(received) = usize::try_from(received) {
            buffer.truncate(received);
            return Ok(Some(buffer));
        }
        let source = io::Error::last_os_error();
        match source.raw_os_error() {
            // ENOBUFS says that answers were lost; those that came tell enough, and none is an error of its own.
            Some(libc::EINTR | libc::ENOBUFS) => {}
            Some(libc::EAGAIN) => return Ok(None),
            _ => return Err(Error::Socket { what: "read from", source }),
        }
    }
}

#[cfg(test)]
#[path = "netlink_tests.rs"]
mod tests;
