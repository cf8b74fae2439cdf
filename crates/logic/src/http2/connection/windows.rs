//! The windows of what comes: how much the peer may send on each stream and on all together, and when it is told of more.
//!
//! Source: RFC 9113 sections 5.2 (flow control), 6.9 (WINDOW_UPDATE).

use super::super::wire::{self, FRAME_BYTES};
use super::{Connection, Limits, OUT_BYTES_MAX};

/// A stream's window grows to such a part of the connection's, and all of them together by no more, so that those that stop then do
/// not stop all others.
const GROWN_PER_CONNECTION: u32 = 2;

impl Connection {
    /// Whether slow readers hold so much of what all streams may have on their way, at this end or at the other, that a stream which is
    /// opened now might wait for them.
    #[must_use]
    pub fn is_clogged(&self) -> bool {
        let most = i64::from(self.limits.connection_window);
        let held = most - self.recv_window - self.owed as i64;
        held > most / 2 || self.send_window < FRAME_BYTES as i64 || self.out.len() > 4 * OUT_BYTES_MAX
    }

    /// Bytes of a stream have gone on: the peer may send as many again.
    pub fn release(&mut self, stream: u32, flow: usize) {
        // What a stream had left when it went was released then.
        let Some(open) = self.streams.get_mut(stream) else { return };
        let flow = flow.min(open.held);
        open.held -= flow;
        open.owed += flow;
        if open.owed >= open.recv_window_max as usize / 2 && !open.received {
            self.credit(stream);
        }
        self.complete(stream);
        self.owe(flow);
    }

    /// Tells the peer what it may send again on a stream. Whoever keeps up is given twice as much, and has fewer such frames to send;
    /// whoever is slow has no more than at first.
    fn credit(&mut self, stream: u32) {
        let Limits { stream_window, connection_window, .. } = self.limits;
        let grown: u32 = self.streams.iter_mut().map(|(_, open)| open.recv_window_max - stream_window).sum();
        let Some(open) = self.streams.get_mut(stream) else { return };
        if open.held == 0 {
            let most = connection_window / GROWN_PER_CONNECTION;
            let spare = most.saturating_sub(open.recv_window_max.max(grown));
            let more = open.recv_window_max.min(spare);
            open.owed += more as usize;
            open.recv_window_max += more;
        }
        open.recv_window += open.owed as i64;
        wire::window_update(stream, open.owed as u32, &mut self.out);
        open.owed = 0;
    }

    /// So much may come again on any stream; the peer is told of it in time, not each time.
    pub(super) fn owe(&mut self, flow: usize) {
        self.owed += flow;
        // What slow readers hold takes from what the others have: they are told before they have none.
        let left = usize::try_from(self.recv_window).unwrap_or(0);
        if self.owed >= (self.limits.connection_window as usize / 2).min(left.max(1)) {
            self.recv_window += self.owed as i64;
            wire::window_update(0, self.owed as u32, &mut self.out);
            self.owed = 0;
        }
    }
}
