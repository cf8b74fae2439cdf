//! HTTP/1.1 and TCP load: a thread for each connection. A sleeping thread wakes within some 50 µs of its time, where an async
//! timer's millisecond would be larger than what is measured.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::{ANSWER_TIMEOUT, Kind, Plan, Schedule, Tallies};

/// The largest head of an answer, in bytes: what common servers take for a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header fields of an answer.
const FIELDS_MAX: usize = 64;
/// Bytes that bulk writes at once.
const BULK_BYTES: usize = 256 * 1024;
/// Pause after a connection could not be made.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Connects with the timeouts and without delay of small writes.
pub(super) fn connect(to: &str) -> anyhow::Result<TcpStream> {
    let mut last = None;
    for addr in to.to_socket_addrs().with_context(|| format!("{to} is no host:port that is known"))? {
        match TcpStream::connect_timeout(&addr, ANSWER_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("cannot connect to {to}")),
        None => bail!("{to} has no address"),
    }
}

/// Lets this pod's ports be used again a second after their connection's end: a new connection for each request would else use
/// all of them up within seconds. Where that may not be set, connections fail then, and are counted.
pub(super) fn reuse_ports() {
    for (setting, value) in [("tcp_tw_reuse", "1"), ("ip_local_port_range", "1024 65000")] {
        if let Err(error) = std::fs::write(format!("/proc/sys/net/ipv4/{setting}"), value) {
            eprintln!("conduit-bench: net.ipv4.{setting} stays as it is: {error}");
        }
    }
}

/// Runs one thread per connection and adds up what they saw.
pub(super) fn run(plan: &Plan, schedule: Schedule) -> anyhow::Result<Tallies> {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.connections)
            .map(|_| {
                scope.spawn(|| match plan.kind {
                    Kind::Bulk => bulk(plan, schedule),
                    _ => requests(plan, schedule, &next),
                })
            })
            .collect();
        let mut sum = Tallies::new(schedule);
        for thread in threads {
            sum.merge(thread.join().map_err(|_| anyhow::anyhow!("a load thread panicked"))?);
        }
        Ok(sum)
    })
}

/// Takes the next request that is due, waits for its time, sends it and reads the answer.
fn requests(plan: &Plan, schedule: Schedule, next: &AtomicU64) -> Tallies {
    let mut tallies = Tallies::new(schedule);
    let mut connection = None;
    let message = match plan.kind {
        Kind::Http => {
            format!("GET /bench HTTP/1.1\r\nhost: {}\r\nuser-agent: conduit-bench\r\n\r\n", plan.to).into()
        }
        _ => vec![b'x'; plan.bytes],
    };
    let mut buffer = vec![0; HEAD_BYTES_MAX.max(plan.bytes)];
    while let Some(due) = schedule.due(next.fetch_add(1, Ordering::Relaxed)) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let tally = tallies.of(schedule, due);
        if due.elapsed() > ANSWER_TIMEOUT {
            // Its answer would come too late even if it were sent now.
            tally.failed += 1;
            continue;
        }
        match exchange(plan, &mut connection, &message, &mut buffer) {
            Ok(()) => {
                tally.samples.record(due.elapsed());
                if plan.fresh {
                    connection = None;
                }
            }
            Err(error) => {
                tally.failed(&error);
                if connection.take().is_none() {
                    std::thread::sleep(CONNECT_PAUSE);
                }
            }
        }
    }
    tallies
}

fn exchange(
    plan: &Plan,
    connection: &mut Option<TcpStream>,
    message: &[u8],
    buffer: &mut [u8],
) -> anyhow::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(connect(&plan.to)?),
    };
    stream.write_all(message).context("cannot send")?;
    match plan.kind {
        Kind::Http => read_answer(stream, buffer),
        _ => stream.read_exact(&mut buffer[..message.len()]).context("the echo did not come back"),
    }
}

/// Reads one answer with a content-length and insists on status 200.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut filled = 0;
    loop {
        let n = stream.read(&mut buffer[filled..]).context("cannot read the answer")?;
        ensure!(n > 0, "the connection was closed before the answer's end");
        filled += n;
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        if let httparse::Status::Complete(head_bytes) = head.parse(&buffer[..filled])? {
            ensure!(head.code == Some(200), "the answer's status is {:?}", head.code);
            let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
            let length = length.context("the answer has no content-length")?.value;
            let length: usize = std::str::from_utf8(length)?.parse()?;
            let mut left = (head_bytes + length).checked_sub(filled).context("bytes follow the answer")?;
            while left > 0 {
                let n =
                    stream.read(&mut buffer[..left.min(HEAD_BYTES_MAX)]).context("cannot read the body")?;
                ensure!(n > 0, "the connection was closed before the body's end");
                left -= n;
            }
            return Ok(());
        }
        ensure!(filled < buffer.len(), "the answer's head is longer than {HEAD_BYTES_MAX} bytes");
    }
}

/// Writes until the time is over, says that it is done, and insists that every byte arrived.
fn bulk(plan: &Plan, schedule: Schedule) -> Tallies {
    let mut tallies = Tallies::new(schedule);
    let send = || -> anyhow::Result<u64> {
        let mut stream = connect(&plan.to)?;
        let (block, mut sent) = (vec![b'x'; BULK_BYTES], 0_u64);
        while schedule.start.elapsed() < schedule.duration {
            stream.write_all(&block).context("cannot send")?;
            sent += BULK_BYTES as u64;
        }
        stream.shutdown(Shutdown::Write)?;
        let mut arrived = [0; 8];
        stream.read_exact(&mut arrived).context("the sink did not say what arrived")?;
        let arrived = u64::from_be_bytes(arrived);
        ensure!(arrived == sent, "{arrived} of {sent} bytes arrived");
        Ok(sent)
    };
    let tally = tallies.of(schedule, schedule.start);
    match send() {
        Ok(sent) => {
            tally.bytes = sent;
            tally.samples.record(schedule.start.elapsed());
        }
        Err(error) => tally.failed(&error),
    }
    tallies
}

/// Opens connections, sends one request on each, says so and holds them until the process is killed.
///
/// # Errors
/// When one of them fails; the limit of open files is the usual reason.
pub(crate) fn hold(to: &str, connections: usize) -> anyhow::Result<()> {
    let plan = Plan {
        kind: Kind::Http,
        to: to.to_owned(),
        rate: 0,
        duration: Duration::ZERO,
        connections,
        calls: 1,
        fresh: false,
        bytes: 0,
    };
    let message = format!("GET /hold HTTP/1.1\r\nhost: {to}\r\n\r\n").into_bytes();
    let mut buffer = vec![0; HEAD_BYTES_MAX];
    let mut held = Vec::with_capacity(connections);
    for n in 0..connections {
        let mut connection = None;
        exchange(&plan, &mut connection, &message, &mut buffer).with_context(|| format!("connection {n}"))?;
        held.push(connection);
    }
    println!("holding {connections}");
    loop {
        std::thread::park();
    }
}
