//! What the program is told: arguments of the agent, and the environment of a call of the container runtime. The only reader of both.

use std::cell::Cell;
use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::node::Node;
use crate::plugin::Call;
use crate::removal::ApiServer;

/// Conduit's network plugin. The container runtime runs it with CNI_COMMAND in the environment; everything else is for the agent.
#[derive(Debug, Parser)]
#[command(name = "conduit-cni", version)]
pub(crate) struct Arguments {
    /// What to run.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keep the plugin installed on this node, and mend pods that wait for their redirect rules
    Agent(Folders),
    /// Whether the plugin is installed on this node
    Check(Folders),
    /// Take the plugin and its entry off this node
    Remove(Folders),
}

/// Where the node's folders are.
#[derive(Debug, Args)]
pub(crate) struct Folders {
    /// Network configurations
    #[arg(long, default_value = "/host/net.d")]
    conf_dir: PathBuf,
    /// Network plugins
    #[arg(long, default_value = "/host/bin")]
    bin_dir: PathBuf,
}

impl Folders {
    /// The node.
    pub(crate) fn node(self) -> Result<Node> {
        let program = env::current_exe().context("finding our own program")?;
        Ok(Node { conf_dir: self.conf_dir, bin_dir: self.bin_dir, program, compared: Cell::default() })
    }
}

/// The container runtime's call; `None` when it is not the container runtime that runs us (CNI 1.1, section 2, parameters).
pub(crate) fn plugin_call() -> Option<Call> {
    let command = env::var("CNI_COMMAND").ok()?;
    Some(Call { command, netns: env::var_os("CNI_NETNS").map(PathBuf::from) })
}

/// The API server as a pod finds it; `None` outside of a pod.
pub(crate) fn api_server() -> Option<ApiServer> {
    let host = env::var("KUBERNETES_SERVICE_HOST").ok()?;
    let port = env::var("KUBERNETES_SERVICE_PORT").ok()?.parse().ok()?;
    let account = PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount");
    Some(ApiServer { host, port, account })
}
