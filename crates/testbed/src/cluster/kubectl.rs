//! The operator's `kubectl` against the cluster. Depends on the cluster's network and its kubeconfig. Deliberately absent: a Kubernetes client
//! library; tests do what an operator does.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Cluster, node};

impl Cluster {
    /// `kubectl` as a command that is yet to be run.
    pub fn kubectl_command(&self) -> Command {
        self.command(self.program("kubectl"))
    }

    /// Runs `kubectl` with these arguments; its standard output.
    ///
    /// # Errors
    /// When it fails; with what it wrote to standard error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        node::run(self.kubectl_command().args(arguments))
    }

    /// `kubectl apply` of manifests as text.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.kubectl_with_input(&["apply", "-f", "-"], manifests)
    }

    /// Runs `kubectl` with these arguments and this standard input; its standard output.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
        let text = input.to_owned();
        // Ends with kubectl, which reads all of its input or closes it.
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = child.wait_with_output().context("cannot wait for kubectl")?;
        writer.join().ok();
        ensure!(
            output.status.success(),
            "kubectl {} failed ({}): {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
