//! The client of the API server: from the environment of a pod, or from a kubeconfig where the controller runs outside.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::{Client, Config};

/// A connection that is not there within this is tried anew.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond the silence after which a watch is opened anew, a connection is given up.
const READ_MARGIN: Duration = Duration::from_secs(15);

/// Makes a client. `silence`: how long a watch may be silent.
///
/// # Errors
/// When there is neither a service account nor a kubeconfig, or what is there cannot be used.
pub async fn connect(silence: Duration) -> Result<Client> {
    let mut config = Config::infer().await.context(
        "no way to the API server is known: run in a pod with a service account, or set KUBECONFIG",
    )?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(silence + READ_MARGIN);
    config.write_timeout = Some(CONNECT_TIMEOUT);
    let server = config.cluster_url.clone();
    Client::try_from(config).with_context(|| format!("making a client for the API server at {server}"))
}
