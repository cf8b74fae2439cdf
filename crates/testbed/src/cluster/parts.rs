//! Where the cluster's programs and images are: built by `cargo xtask cluster build` into a cache, and only looked up here. It may read the
//! environment. Deliberately absent: building them (`xtask`), so that a test never starts a build of minutes by itself.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

/// Debian's programs that a node needs, with what each is for.
const PROGRAMS: [(&str, &str); 10] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("sysctl", "procps"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];

/// Where Debian's package `containernetworking-plugins` puts them.
pub(crate) const NETWORK_PLUGINS: &str = "/usr/lib/cni";

/// The cluster's programs and images.
#[derive(Debug, Clone)]
pub struct Parts {
    dir: PathBuf,
}

impl Parts {
    /// The parts that `CONDUIT_CLUSTER_PARTS` names, or those built last.
    ///
    /// # Errors
    /// When there are none, or what Debian provides is missing; says which command mends it.
    pub fn find() -> Result<Self> {
        let dir = match std::env::var_os("CONDUIT_CLUSTER_PARTS") {
            Some(dir) => PathBuf::from(dir),
            None => cache().join("current"),
        };
        Self::at(&dir)
    }

    /// The parts in a folder.
    ///
    /// # Errors
    /// As [`Parts::find`].
    pub fn at(dir: &Path) -> Result<Self> {
        const MEND: &str = "run `cargo xtask cluster build`";
        ensure!(
            dir.join("bin/kube-apiserver").exists() && dir.join("images/coredns.tar").exists(),
            "the cluster's parts are not in {}: {MEND} (about six minutes on 2 cores, once)",
            dir.display()
        );
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(system_folders()).collect();
        let lacks = |name: &str| !folders.iter().any(|folder| folder.join(name).exists());
        if let Some((name, package)) = PROGRAMS.into_iter().find(|(name, _)| lacks(name)) {
            bail!("`{name}` of the package {package} is not installed: {MEND} as root");
        }
        ensure!(
            Path::new(NETWORK_PLUGINS).join("bridge").exists(),
            "the network plugins are not in {NETWORK_PLUGINS}: {MEND} as root"
        );
        Ok(Self { dir: dir.canonicalize()? })
    }

    /// One of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The archives of all images that each node gets at its start.
    pub(crate) fn images(&self) -> Result<Vec<PathBuf>> {
        let mut images = Vec::new();
        for entry in std::fs::read_dir(self.dir.join("images"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tar") {
                images.push(path);
            }
        }
        images.sort();
        Ok(images)
    }
}

fn system_folders() -> impl Iterator<Item = PathBuf> {
    ["/usr/local/sbin", "/usr/sbin", "/sbin"].into_iter().map(PathBuf::from)
}

/// The folder with cert-manager's controller and `crds.yaml`, which only one test needs and which is built apart: the one that
/// `CONDUIT_CERT_MANAGER` names, or the one built last.
///
/// # Errors
/// When there is none; says which command mends it.
pub fn cert_manager() -> Result<PathBuf> {
    let dir = std::env::var_os("CONDUIT_CERT_MANAGER");
    let dir = dir.map_or_else(|| cache().join("current-cert-manager"), PathBuf::from);
    ensure!(
        dir.join("cert-manager").exists() && dir.join("crds.yaml").exists(),
        "cert-manager is not in {}: run `cargo xtask cluster build --cert-manager`",
        dir.display()
    );
    Ok(dir)
}

/// Where what belongs to clusters is kept: `CONDUIT_CLUSTER_DIR`, or `conduit/cluster` in the user's cache.
pub(crate) fn cache() -> PathBuf {
    if let Some(dir) = std::env::var_os("CONDUIT_CLUSTER_DIR") {
        return PathBuf::from(dir);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cache"))
    });
    cache.unwrap_or_else(std::env::temp_dir).join("conduit/cluster")
}
