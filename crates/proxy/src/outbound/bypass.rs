//! Opens a connection of its own for a tunnel that moves a lot (`http::trunk::bypass` says how both ends go over to it). Whatever fails
//! before the server is ready, the tunnel stays where it is, and for good.

use std::sync::Arc;

use super::Outbound;
use super::balance::EndpointState;
use crate::http::trunk::bypass::{self, Way};
use crate::tcp::stream::{Io, Stream};

/// So many tunnels of this proxy have a connection of their own at once, until they end: one whose reader is slow holds some 128 KiB.
pub const BYPASSES_MAX: usize = 32;

/// Has a connection of its own opened when the tunnel moves a lot, once there is a place for it.
pub fn when_much(outbound: &Arc<Outbound>, state: &Arc<EndpointState>, stream: &mut Stream) {
    let Io::Tunnel(tunnel) = &mut stream.io else { return };
    let (outbound, state) = (outbound.clone(), state.clone());
    tunnel.when_much(Box::new(move |trunk, stream| {
        let Ok(place) = outbound.bypasses.clone().try_acquire_owned() else { return false };
        let (outbound, state, pools) = (outbound.clone(), state.clone(), outbound.pools.clone());
        let open = async move {
            let endpoint = &state.endpoint;
            let io = match state.pool.bypass(&outbound, endpoint).await {
                Ok(io) => io,
                Err(failure) => {
                    return tracing::debug!(endpoint = %endpoint.addr, %failure, "a tunnel gets no connection of its own");
                }
            };
            let unacknowledged = outbound.config.unacknowledged_timeout;
            let way = Way { io, unacknowledged, guard: Box::new(place) };
            let goes_on = bypass::ask(&trunk, stream, way, outbound.dialer.timeout).await;
            tracing::debug!(endpoint = %endpoint.addr, goes_on, "a connection for a tunnel");
        };
        // To its end: a tunnel that has begun to go over waits for what comes of it.
        let open = Box::pin(open);
        pools.spawn("outbound bypass", open);
        true
    }));
}
