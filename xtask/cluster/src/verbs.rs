//! The verbs of `cargo xtask cluster` and what each does. Depends on the testbed. Deliberately absent: how a cluster is made.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use conduit_testbed::cluster::{Cluster, Component, Families, NODES_MAX, Options, ProxyMode};

/// A Kubernetes cluster on this machine: upstream's programs, with namespaces as nodes. One at a time.
#[derive(Parser)]
#[command(name = "cargo xtask cluster", disable_help_subcommand = true)]
pub(crate) enum Verb {
    /// Starts a cluster and leaves it running
    Up {
        /// How many nodes
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
        nodes: u8,
        /// IP families: v4, v6 or dual
        #[arg(long, default_value = "v4", value_parser = |name: &str| Families::from_name(name).ok_or("v4, v6 or dual"))]
        families: Families,
        /// How kube-proxy makes services: nftables or iptables
        #[arg(long, default_value = "nftables", value_parser = |name: &str| ProxyMode::from_name(name).ok_or("nftables or iptables"))]
        proxy_mode: ProxyMode,
        /// Takes down the cluster that runs, if any, instead of refusing
        #[arg(long)]
        replace: bool,
    },
    /// Takes the cluster down, also a broken one; nothing of it is left
    Down,
    /// Shows the nodes, the components and where things are
    Status,
    /// Runs kubectl as the operator: `cargo xtask cluster kubectl -- get pods -A`
    #[command(trailing_var_arg = true)]
    Kubectl {
        /// Arguments of kubectl
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Runs a command of this machine in the cluster's network, with KUBECONFIG set
    #[command(trailing_var_arg = true)]
    Run {
        /// The command and its arguments
        #[arg(allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Runs a command inside a node, with the node's files, processes and network
    #[command(trailing_var_arg = true)]
    In {
        /// The node's number
        node: u8,
        /// The command and its arguments
        #[arg(allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Imports image archives into every node
    Import {
        /// The archives
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Kills a component, as a crash does: etcd, kube-apiserver, kube-scheduler, kubelet:2 …
    Kill {
        /// The component's program, with `:N` for that of node N
        component: String,
    },
    /// Starts a component that was killed and waits until it is ready
    Start {
        /// As for `kill`
        component: String,
    },
}

/// Does what the verb says.
pub(crate) fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Up { nodes, families, proxy_mode, replace } => {
            if replace && Cluster::remove()? {
                say("took down the cluster that was here");
            }
            let mut cluster = Cluster::up(&Options { nodes, families, proxy_mode, name: None, say })?;
            cluster.keep();
            println!("KUBECONFIG={}", cluster.kubeconfig().display());
            println!("reached from the cluster's network only: cargo xtask cluster kubectl -- get nodes");
            Ok(())
        }
        Verb::Down => {
            say(if Cluster::remove()? { "taken down; nothing is left" } else { "no cluster is here" });
            Ok(())
        }
        Verb::Status => status(),
        Verb::Kubectl { arguments } => become_command(Cluster::running()?.kubectl_command().args(arguments)),
        Verb::Run { command } => become_words(&command, |program| Ok(Cluster::running()?.command(program))),
        Verb::In { node, command } => {
            become_words(&command, |program| Ok(Cluster::running()?.node(node)?.command(program)))
        }
        Verb::Import { archives } => {
            let cluster = Cluster::running()?;
            archives.iter().try_for_each(|archive| cluster.import(archive))
        }
        Verb::Kill { component } => Cluster::running()?.kill(named(&component)?),
        Verb::Start { component } => {
            let (cluster, component) = (Cluster::running()?, named(&component)?);
            cluster.start(component)?;
            cluster.wait_ready(component)
        }
    }
}

fn say(line: &str) {
    eprintln!("cluster: {line}");
}

fn named(name: &str) -> Result<Component> {
    Component::from_name(name)
        .with_context(|| format!("there is no component {name}; for example etcd, kubelet:2"))
}

fn status() -> Result<()> {
    let cluster = Cluster::running()?;
    println!("IP families {}, files in {}", cluster.families().name(), cluster.dir().display());
    println!("KUBECONFIG={}", cluster.kubeconfig().display());
    for node in cluster.nodes() {
        println!("{}: process 1 is {}", node.name(), node.holder());
        let number = node.number();
        let own = [Component::Containerd(number), Component::Kubelet(number), Component::KubeProxy(number)];
        let control_plane =
            [Component::Etcd, Component::ApiServer, Component::ControllerManager, Component::Scheduler];
        let first = control_plane.iter().filter(|_| number == 1);
        for component in first.chain(&own) {
            let processes = node.processes(component.program());
            let what =
                if processes.is_empty() { "does not run".to_owned() } else { format!("{processes:?}") };
            println!("  {component}  {what}  {}", node.log(component.program()).display());
        }
    }
    print!("{}", cluster.kubectl(&["get", "nodes,pods", "-A", "-o", "wide"])?);
    Ok(())
}

/// Becomes the command that `make` makes for the first word, with the others as its arguments.
fn become_words(words: &[OsString], make: impl Fn(&OsString) -> Result<std::process::Command>) -> Result<()> {
    let (program, arguments) = words.split_first().context("no command was given")?;
    become_command(make(program)?.args(arguments))
}

/// Becomes the command; returns only when it cannot.
fn become_command(command: &mut std::process::Command) -> Result<()> {
    let error = command.exec();
    bail!("cannot run {}: {error}", command.get_program().to_string_lossy())
}
