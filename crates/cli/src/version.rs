//! `conduit version`: this command's version and the controller's. Depends on the connection only.

use conduit_api::operator::v1::InfoRequest;
use conduit_process::build::VERSION;
use serde::Serialize;

use crate::args::{Connection, Version};
use crate::connect::{self, ask};
use crate::output::{self, Failure, Format};

#[derive(Serialize)]
struct Versions {
    client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<String>,
}

fn render(versions: &Versions, format: Format) -> Result<String, Failure> {
    if format == Format::Json {
        return output::json(versions);
    }
    let controller = versions.controller.as_ref().map(|version| format!("controller  {version}\n"));
    Ok(format!("client      {}\n{}", versions.client, controller.unwrap_or_default()))
}

/// Runs the verb. What is known is printed even when the controller does not answer.
///
/// # Errors
/// Unless `--client` is given, when the controller does not answer.
pub(crate) async fn run(args: Version, connection: &Connection) -> Result<(), Failure> {
    let controller = if args.client { Ok(None) } else { controller(connection).await.map(Some) };
    let (controller, failure) = match controller {
        Ok(version) => (version, None),
        Err(failure) => (None, Some(failure)),
    };
    let versions = Versions { client: VERSION.to_owned(), controller };
    output::print(&render(&versions, args.output.format)?)?;
    failure.map_or(Ok(()), Err)
}

async fn controller(connection: &Connection) -> Result<String, Failure> {
    let mut controller = connect::open(&connection.mesh().await?).await?;
    let info = controller.info(ask(InfoRequest {})).await;
    Ok(info
        .map_err(|status| connect::refused("read the controller's version", &status))?
        .into_inner()
        .version)
}
