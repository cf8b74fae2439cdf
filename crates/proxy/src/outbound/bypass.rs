//! Opens a connection of its own for a tunnel that moves a lot (`http::trunk::bypass` says how both ends go over to it). Whatever fails
//! here, the tunnel stays where it is.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;

use super::Outbound;
use super::balance::EndpointState;
use crate::http::trunk::Trunk;
use crate::http::trunk::bypass::{ENDED, GOES_ON, Hello, UNKNOWN, Way};
use crate::tcp::stream::{Io, Stream};

/// So many tunnels of this proxy have a connection of their own at once, those that come first: each takes some 100 KiB while it moves.
pub const BYPASSES_MAX: usize = 16;

/// Has a connection of its own opened when the tunnel moves a lot, unless there are enough of them then.
pub fn when_much(outbound: &Arc<Outbound>, state: &Arc<EndpointState>, stream: &mut Stream) {
    let Io::Tunnel(tunnel) = &mut stream.io else { return };
    let (outbound, state) = (outbound.clone(), state.clone());
    tunnel.when_much(Box::new(move |trunk, stream| {
        let Ok(place) = outbound.bypasses.clone().try_acquire_owned() else { return };
        let pools = outbound.pools.clone();
        pools.spawn("outbound bypass", async move {
            Box::pin(open(&outbound, &state, &trunk, stream, place)).await;
        });
    }));
}

async fn open(
    outbound: &Outbound,
    state: &EndpointState,
    trunk: &Trunk,
    stream: u32,
    place: OwnedSemaphorePermit,
) {
    let Some(proof) = trunk.proof() else { return };
    let endpoint = &state.endpoint;
    let mut io = match state.pool.bypass(outbound, endpoint).await {
        Ok(io) => io,
        Err(failure) => {
            return tracing::debug!(endpoint = %endpoint.addr, %failure, "no connection of its own for a tunnel");
        }
    };
    let Some(ended) = trunk.begin_bypass(stream) else { return };
    let hello = Hello { proof: proof.to_owned(), stream, ended };
    let answer = tokio::time::timeout(outbound.dialer.timeout, ask(&mut io, &hello)).await;
    match answer {
        Ok(Ok(answer @ (GOES_ON | ENDED))) => {
            let (ended, unacknowledged) = (answer == ENDED, outbound.config.unacknowledged_timeout);
            trunk.bypass(stream, Way { io, ended, unacknowledged, place: Some(place) });
        }
        other => {
            tracing::debug!(endpoint = %endpoint.addr, answer = ?other, "a tunnel stays in its shared connection");
            trunk.no_bypass(stream, !matches!(other, Ok(Ok(UNKNOWN))));
        }
    }
}

async fn ask(io: &mut Io, hello: &Hello) -> io::Result<u8> {
    io.write_all(&hello.encode()).await?;
    io.flush().await?;
    io.read_u8().await
}
