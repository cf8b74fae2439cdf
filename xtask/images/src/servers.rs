//! Images of the servers and load generators that tests run in pods: nginx, MariaDB, fortio, ghz and grpcurl. Depends on Debian's packages and
//! on Go's, which `cargo xtask cluster build` installs. Deliberately absent: their usual configuration; each listens on one port and keeps
//! nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::files::Files;
use crate::image::Image;
use crate::testing::{accounts, add_busybox, find, image};

/// The load generators' programs.
const LOAD: [&str; 3] = ["fortio", "ghz", "grpcurl"];

/// Answers with the pod's name on port 8080, as any user.
const NGINX: &str = r#"daemon off;
worker_processes 1;
error_log /dev/stderr;
pid /tmp/nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server {
    listen 8080; listen [::]:8080;
    location / { return 200 "$hostname\n"; }
    location /fail { return 503; }
  }
}
"#;

/// The options that MariaDB runs with: no accounts, on port 3306 of every address.
const MARIADB: [&str; 8] = [
    "--no-defaults",
    "--user=root",
    "--datadir=/data",
    "--socket=/tmp/socket",
    "--pid-file=/tmp/pid",
    "--bind-address=*",
    "--skip-grant-tables",
    "--skip-networking=0",
];

/// fortio, ghz and grpcurl, with a shell.
pub(crate) fn load(folder: &Path) -> Result<Image> {
    let mut files = accounts();
    add_busybox(&mut files)?;
    for name in LOAD {
        let program = folder.join(name);
        files.add_file(&format!("/usr/bin/{name}"), &program)?;
        files.add_libraries(&program)?;
    }
    Ok(Image { command: vec!["/bin/sh".to_owned()], ..image("load", files) })
}

/// nginx, whose configuration a test may replace at /etc/nginx/nginx.conf.
pub(crate) fn nginx() -> Result<Image> {
    let mut files = accounts();
    add_busybox(&mut files)?;
    let program = find("nginx")?;
    files.add_program(&program)?;
    files.add_text("/etc/nginx/nginx.conf", NGINX);
    // It opens the log that it was built with before it reads which one is wanted.
    files.add_shared_folder("/var/log/nginx");
    let entrypoint = [&*program.to_string_lossy(), "-c", "/etc/nginx/nginx.conf"].map(str::to_owned).to_vec();
    Ok(Image { entrypoint, user: "1000:1000".to_owned(), ..image("nginx", files) })
}

/// MariaDB with an empty database, and its client; the server speaks first.
pub(crate) fn mariadb() -> Result<Image> {
    let mut files = accounts();
    add_busybox(&mut files)?;
    let program = find("mariadbd")?;
    for name in ["mariadbd", "mariadb"] {
        files.add_program(&find(name)?)?;
    }
    let shared = Path::new("/usr/share/mysql");
    for folder in ["english", "charsets"] {
        files.add_folder(&format!("/usr/share/mysql/{folder}"), &shared.join(folder))?;
    }
    add_database(&mut files)?;
    let mut entrypoint = vec![program.to_string_lossy().into_owned()];
    entrypoint.extend(MARIADB.map(str::to_owned));
    Ok(Image { entrypoint, ..image("mariadb", files) })
}

/// An empty database's files, made here so that a pod need not.
fn add_database(files: &mut Files) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("conduit-mariadb-{}", std::process::id()));
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--user=root", "--skip-test-db", "--innodb-log-file-size=4M"]);
    let output = install.arg(format!("--datadir={}", folder.display())).output();
    let output = output.context("cannot run mariadb-install-db")?;
    let added = match output.status.success() {
        true => files.add_folder("/data", &folder),
        false => bail!("mariadb-install-db failed: {}", String::from_utf8_lossy(&output.stdout).trim()),
    };
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    added
}
