//! Links, addresses and routes of a local world, over rtnetlink: the node's own, and a veth pair for each pod. Depends on
//! rtnetlink and `namespaces`. Deliberately absent: redirect rules and cluster IPs (the redirect crate), and deleting: a pod's link
//! and routes go with its namespace.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::namespaces::{self, PodNamespaces};

/// The node's address, from which it reaches pods.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// How long a new address may take to become usable.
const ADDRESS_TIME: Duration = Duration::from_secs(3);
/// How often that is tried.
const ADDRESS_POLL: Duration = Duration::from_millis(10);
const NODE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// What every pod takes for its router: on the node's end of each link.
const ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const POD_LINK: &str = "eth0";

/// How many addresses there are for pods: 10.77.0.2 to 10.77.255.254.
pub(crate) const POD_NUMBERS: u16 = u16::MAX - 2;

/// The addresses of the pod with this number (from 0).
pub(crate) fn pod_ips(number: u16, ipv6: bool) -> Vec<IpAddr> {
    let n = number % POD_NUMBERS + 2;
    let [high, low] = n.to_be_bytes();
    let mut ips = vec![IpAddr::from([10, 77, high, low])];
    if ipv6 {
        ips.push(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, n).into());
    }
    ips
}

/// The cluster IPs of the service with this number (from 0).
pub(crate) fn cluster_ips(number: u16, ipv6: bool) -> Vec<IpAddr> {
    let n = number.saturating_add(1);
    let [high, low] = n.to_be_bytes();
    let mut ips = vec![IpAddr::from([10, 96, high, low])];
    if ipv6 {
        ips.push(Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, n).into());
    }
    ips
}

/// Whether this kernel has IPv6.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

fn sysctl(name: &str, value: &str) -> Result<()> {
    std::fs::write(format!("/proc/sys/net/{name}"), value)
        .with_context(|| format!("cannot set the sysctl net/{name}"))
}

/// Makes the calling thread's network namespace the node: it forwards between pods.
pub(crate) fn make_node(ipv6: bool) -> Result<()> {
    sysctl("ipv4/ip_forward", "1")?;
    if ipv6 {
        quick_ipv6()?;
        sysctl("ipv6/conf/all/forwarding", "1")?;
    }
    with_netlink(async |netlink| {
        let lo = up(&netlink, "lo").await?;
        address(&netlink, lo, NODE.into(), 32).await?;
        if ipv6 {
            address(&netlink, lo, NODE_V6.into(), 128).await?;
        }
        Ok(())
    })
}

/// New IPv6 addresses are usable at once, and nobody waits for router advertisements.
fn quick_ipv6() -> Result<()> {
    for scope in ["all", "default"] {
        sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
        sysctl(&format!("ipv6/conf/{scope}/accept_ra"), "0")?;
        sysctl(&format!("ipv6/conf/{scope}/router_solicitations"), "0")?;
    }
    Ok(())
}

/// Makes a pod's namespaces and links them to the node, on a thread of its own.
pub(crate) async fn make_pod(
    name: String,
    number: u16,
    ips: Vec<IpAddr>,
    node: Arc<OwnedFd>,
) -> Result<Arc<PodNamespaces>> {
    let (done, result) = tokio::sync::oneshot::channel();
    let build = move || {
        // The receiver is gone only when the world is going down.
        let _ = done.send(build_pod(&name, number, &ips, &node));
    };
    std::thread::Builder::new().name("pod".to_owned()).spawn(build).context("cannot start a thread")?;
    result.await.map_err(|_| anyhow!("the thread that makes the pod's network ended early"))?
}

fn build_pod(name: &str, number: u16, ips: &[IpAddr], node: &OwnedFd) -> Result<Arc<PodNamespaces>> {
    let namespaces = namespaces::new_pod(name).context("cannot make the pod's namespaces")?;
    let ipv6 = ips.iter().any(IpAddr::is_ipv6);
    if ipv6 {
        quick_ipv6()?;
    }
    sysctl("ipv4/ip_unprivileged_port_start", "0")?;
    let node_link = format!("pod{number}");
    with_netlink(async |netlink| {
        up(&netlink, "lo").await?;
        netlink.link().add(veth(&node_link, node)).execute().await.context("cannot make the pod's link")?;
        let link = up(&netlink, POD_LINK).await?;
        for ip in ips {
            address(&netlink, link, *ip, host_prefix(*ip)).await?;
        }
        let to_router =
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(ROUTER, 32).output_interface(link);
        let to_router = to_router.scope(RouteScope::Link).build();
        netlink.route().add(to_router).execute().await.context("cannot route to the router")?;
        let default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(ROUTER).output_interface(link).build();
        netlink.route().add(default).execute().await.context("cannot set the default route")?;
        if ipv6 {
            let default =
                RouteMessageBuilder::<Ipv6Addr>::new().gateway(ROUTER_V6).output_interface(link).build();
            netlink.route().add(default).execute().await.context("cannot set the IPv6 default route")?;
        }
        Ok(())
    })?;
    namespaces::enter_network(node).context("cannot go back to the node's network")?;
    with_netlink(async |netlink| {
        let link = up(&netlink, &node_link).await?;
        address(&netlink, link, ROUTER.into(), 32).await?;
        if ipv6 {
            address(&netlink, link, ROUTER_V6.into(), 64).await?;
        }
        for ip in ips {
            let route = match ip {
                IpAddr::V4(ip) => RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(*ip, 32)
                    .pref_source(NODE)
                    .scope(RouteScope::Link)
                    .output_interface(link)
                    .build(),
                IpAddr::V6(ip) => RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(*ip, 128)
                    .pref_source(NODE_V6)
                    .output_interface(link)
                    .build(),
            };
            // The kernel makes a new IPv6 address usable in the background, and refuses it as a source until it has.
            let deadline = Instant::now() + ADDRESS_TIME;
            while let Err(error) = netlink.route().add(route.clone()).execute().await {
                if Instant::now() > deadline {
                    return Err(error).with_context(|| format!("cannot route to {ip}"));
                }
                tokio::time::sleep(ADDRESS_POLL).await;
            }
        }
        Ok(())
    })?;
    Ok(Arc::new(namespaces))
}

const fn host_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// A pair, of which one end is made here and the other in the node's namespace.
fn veth(node_link: &str, node: &OwnedFd) -> LinkMessage {
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name(node_link).setns_by_fd(node.as_raw_fd()).build();
    LinkVeth::new(POD_LINK, node_link).set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).build()
}

async fn up(netlink: &Handle, name: &str) -> Result<u32> {
    let mut found = netlink.link().get().match_name(name.to_owned()).execute();
    let link = found.try_next().await.with_context(|| format!("cannot find the link {name}"))?;
    let index = link.with_context(|| format!("there is no link {name}"))?.header.index;
    let set = netlink.link().set(LinkUnspec::new_with_index(index).up().build());
    set.execute().await.with_context(|| format!("cannot bring the link {name} up"))?;
    Ok(index)
}

async fn address(netlink: &Handle, link: u32, ip: IpAddr, prefix: u8) -> Result<()> {
    netlink
        .address()
        .add(link, ip, prefix)
        .execute()
        .await
        .with_context(|| format!("cannot add the address {ip}"))
}

/// Runs `work` with a netlink socket of the calling thread's network namespace. Only for a thread without a runtime.
fn with_netlink<F>(work: impl FnOnce(Handle) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let (connection, handle, _messages) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        tokio::select! {
            done = work(handle) => done,
            () = connection => Err(io::Error::from(io::ErrorKind::ConnectionAborted)).context("netlink ended early"),
        }
    })
}
