//! What the checks look at, gathered in one go: the controller's own account, its list of proxies and, where asked for, each
//! proxy's answer. No judgement here.

use std::time::{SystemTime, UNIX_EPOCH};

use conduit_api::common::v1::PodRef;
use conduit_api::operator::v1::{InfoRequest, InfoResponse, Proxy, Resource};
use conduit_api::tap::v1::inspect_request::Kind;
use conduit_process::build::VERSION;

use crate::connect::{self, Controller, Mesh, ask};
use crate::diagnostics;
use crate::output::{Exit, Failure};

/// What is known at one moment.
pub(crate) struct Facts {
    /// Unix time in seconds.
    pub now_s: u64,
    /// This command's version.
    pub client_version: String,
    /// Where the controller is.
    pub controller: String,
    /// Whether it could be reached; one that refuses was.
    pub reached: bool,
    /// The controller's account of itself, or why there is none.
    pub info: Result<InfoResponse, String>,
    /// Every proxy that the controller knows.
    pub proxies: Vec<Proxy>,
    /// What each proxy answered when asked itself; `None` when none was asked.
    pub answers: Option<Vec<(String, Result<(), String>)>>,
}

impl Facts {
    /// Asks.
    pub(crate) async fn gather(mesh: &Mesh, ask_proxies: bool) -> Self {
        let mut facts = Self {
            now_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            client_version: VERSION.to_owned(),
            controller: mesh.to_string(),
            reached: true,
            info: Err(String::new()),
            proxies: Vec::new(),
            answers: None,
        };
        if let Err(failure) = facts.ask_all(mesh, ask_proxies).await {
            facts.reached = failure.exit() != Exit::Unreachable;
            facts.info = Err(match &failure {
                Failure::Told { what, hint, .. } if matches!(mesh, Mesh::Cluster(_)) => {
                    format!("{what}\n{hint}")
                }
                failure => failure.what(),
            });
        }
        facts
    }

    async fn ask_all(&mut self, mesh: &Mesh, ask_proxies: bool) -> Result<(), Failure> {
        let mut controller = connect::open(mesh).await?;
        let info = controller.info(ask(InfoRequest {})).await;
        let info = info.map_err(|status| connect::refused("ask the controller", &status))?.into_inner();
        self.proxies = diagnostics::proxies(&mut controller, Resource::default()).await?.proxies;
        self.info = Ok(info);
        if ask_proxies {
            self.answers = Some(answers(&mut controller, &self.proxies).await);
        }
        Ok(())
    }
}

/// Asks each proxy for its certificate, one after the other: a check must not be a load.
async fn answers(controller: &mut Controller, proxies: &[Proxy]) -> Vec<(String, Result<(), String>)> {
    let mut answers = Vec::with_capacity(proxies.len());
    for pod in proxies.iter().filter_map(|proxy| proxy.pod.clone()) {
        let name = name(&pod);
        let answer = diagnostics::inspect(controller, pod, Kind::Certificate).await;
        answers.push((name, answer.map(drop).map_err(|failure| failure.what())));
    }
    answers
}

/// `shop/web-1`.
pub(crate) fn name(pod: &PodRef) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
