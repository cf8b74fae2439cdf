//! How names are found in a local world: one hosts file, bound over /etc/hosts for all pods, to which lines are only added, so that a
//! program that reads it never sees half of it. Depends on `namespaces` for the bind mounts. Deliberately absent: DNS.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::namespaces::bind_over;

/// The hosts file of a world.
#[derive(Debug)]
pub(crate) struct Names {
    hosts: File,
}

impl Names {
    /// Makes the hosts file in `dir` and binds it, and resolver files by which an unknown name fails at once, over /etc.
    /// What /etc does not have cannot be covered; this is said in the log.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let files = [
            ("hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"),
            (
                "resolv.conf",
                "# The local world has no DNS server: names are in /etc/hosts.\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
            ),
            (
                "nsswitch.conf",
                "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n",
            ),
        ];
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            if let Err(error) = bind_over(&path, &format!("/etc/{name}")) {
                tracing::warn!(%error, "/etc/{name} is not there to be covered: names may not be found in pods");
            }
        }
        let hosts =
            OpenOptions::new().append(true).open(dir.join("hosts")).context("cannot open the hosts file")?;
        Ok(Self { hosts })
    }

    /// Adds the names of a service.
    pub(crate) fn add_service(&mut self, ip: IpAddr, name: &str) -> Result<()> {
        self.add(&format!("{ip} {name} {name}.default {name}.default.svc {name}.default.svc.cluster.local\n"))
    }

    /// Adds the name of a pod, by which it is found as its own host name.
    pub(crate) fn add_pod(&mut self, ip: IpAddr, name: &str) -> Result<()> {
        self.add(&format!("{ip} {name}\n"))
    }

    fn add(&mut self, line: &str) -> Result<()> {
        self.hosts.write_all(line.as_bytes()).context("cannot add to the hosts file")
    }
}
