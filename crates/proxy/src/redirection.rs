//! The pod's init step: writes the redirect rules into the network namespace that it runs in, or takes them away. It stands
//! beside the traffic and shares nothing with it but the ports.

use anyhow::{Context, Result};
use conduit_logic::ports;
use conduit_redirect::{Exempt, Rules};

use crate::config::InitArguments;

/// Writes or removes the rules.
///
/// # Errors
/// When the kernel refuses: the right (CAP_NET_ADMIN) or a module (`nf_tables`) is missing, most often.
pub fn run(arguments: &InitArguments) -> Result<()> {
    if arguments.remove {
        return conduit_redirect::remove().context("removing the redirect rules");
    }
    let exempt = arguments.proxy_mark.map_or(Exempt::Uid(arguments.proxy_uid), Exempt::Mark);
    let rules = Rules {
        inbound_port: ports::PROXY_INBOUND,
        outbound_port: ports::PROXY_OUTBOUND,
        exempt,
        skip_inbound: arguments.skip_inbound_ports.clone(),
        skip_outbound: arguments.skip_outbound_ports.clone(),
    };
    conduit_redirect::install(&rules).context("writing the redirect rules")
}
