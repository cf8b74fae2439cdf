//! Real rules in real network namespaces: a node that routes between two pods, as the testbed has it. Depends on a
//! kernel that lets us make namespaces and fails where it does not; deliberately no nft, ip or other program.

mod cluster_ips;
mod faults;
mod netlink;
mod redirection;
mod world;
