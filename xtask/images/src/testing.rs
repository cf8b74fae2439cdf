//! The images that a test cluster runs, from programs of this machine: pause, CoreDNS, and a shell with the usual tools. Depends on
//! Debian's packages, which `cargo xtask cluster build` installs. Deliberately absent: anything that a user of Conduit gets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::files::Files;
use crate::image::{Image, own_architecture};
use crate::servers;

/// Programs of the image `tools`, beside busybox's.
const TOOLS: [&str; 4] = ["curl", "ip", "nft", "conntrack"];

/// The names under which `iptables` is called, and the program behind each.
const IPTABLES: [(&str, &[&str]); 2] = [
    (
        "xtables-nft-multi",
        &[
            "iptables",
            "iptables-save",
            "iptables-restore",
            "ip6tables",
            "ip6tables-save",
            "ip6tables-restore",
        ],
    ),
    ("xtables-legacy-multi", &["iptables-legacy", "iptables-legacy-save", "ip6tables-legacy"]),
];

/// Builds them all into `folder`: from the cluster's programs in `bin`, the load generators in `tools`, and the machine's own.
pub(crate) fn write_all(bin: &Path, load: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, image) in [
        ("pause", single("pause", &bin.join("pause"))?),
        ("coredns", single("coredns", &bin.join("coredns"))?),
        ("busybox", busybox()?),
        ("tools", tools()?),
        ("load", servers::load(load)?),
        ("nginx", servers::nginx()?),
        ("mariadb", servers::mariadb()?),
    ] {
        let written = image.write(&folder.join(format!("{name}.tar")))?;
        println!(
            "    {}: {:.1} MB, {}",
            image.reference,
            written.compressed_bytes as f64 / 1e6,
            written.digest
        );
    }
    Ok(())
}

/// One static program and nothing else.
fn single(name: &str, program: &Path) -> Result<Image> {
    let mut files = accounts();
    files.add_file(&format!("/{name}"), program)?;
    Ok(Image { entrypoint: vec![format!("/{name}")], ..image(name, files) })
}

/// A shell with what busybox has.
fn busybox() -> Result<Image> {
    let mut files = accounts();
    add_busybox(&mut files)?;
    Ok(Image { command: vec!["/bin/sh".to_owned()], ..image("busybox", files) })
}

/// busybox with curl and everything that writes rules.
fn tools() -> Result<Image> {
    let mut files = accounts();
    add_busybox(&mut files)?;
    for name in TOOLS {
        let program = find(name)?;
        files.add_program(&program)?;
        // Where a shell finds it before its own applet of this name.
        files.add_link(&format!("/usr/local/bin/{name}"), &program.to_string_lossy());
    }
    for (multi, names) in IPTABLES {
        let program = find(multi)?;
        files.add_program(&program)?;
        for name in names {
            files.add_link(&format!("/usr/sbin/{name}"), &program.to_string_lossy());
        }
    }
    files.add_plugins(&plugins()?)?;
    Ok(Image { command: vec!["/bin/sh".to_owned()], ..image("tools", files) })
}

/// busybox under all of its names, but those of tools that come beside it.
pub(crate) fn add_busybox(files: &mut Files) -> Result<()> {
    let program = find("busybox")?;
    files.add_file("/bin/busybox", &program)?;
    let output = Command::new(&program).arg("--list").output().context("cannot run busybox")?;
    for applet in String::from_utf8_lossy(&output.stdout).lines() {
        if !["busybox", "ip", "iptables"].contains(&applet) {
            files.add_link(&format!("/bin/{applet}"), "/bin/busybox");
        }
    }
    Ok(())
}

/// Where iptables finds its matches and targets.
fn plugins() -> Result<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu/xtables", "/usr/lib/aarch64-linux-gnu/xtables"];
    let found = folders.iter().map(PathBuf::from).find(|folder| folder.exists());
    found.context("iptables' plugins are in no folder of a multiarch library path")
}

/// Root, and users that tests run as.
pub(crate) fn accounts() -> Files {
    let mut files = Files::default();
    files.add_text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n");
    files.add_text("/etc/group", "root:x:0:\napp:x:1000:\n");
    files.add_text("/etc/nsswitch.conf", "hosts: files dns\n");
    files.add_shared_folder("/tmp");
    files
}

/// An image of this name with these files.
pub(crate) fn image(name: &str, files: Files) -> Image {
    Image {
        reference: format!("localhost/{name}:1"),
        files,
        architecture: own_architecture().to_owned(),
        // They are packed and unpacked on the same machine.
        compression: 1,
        ..Image::default()
    }
}

/// Where a program of this machine is.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|path| path.exists());
    found
        .with_context(|| {
            format!("{program} is not installed: `cargo xtask cluster build` installs its package")
        })?
        .canonicalize()
        .with_context(|| format!("cannot find {program}"))
}
