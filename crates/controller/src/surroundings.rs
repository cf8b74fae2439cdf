//! What the controller stands on: files, or a cluster. Here, and nowhere after it, is decided where objects come from, who judges
//! tokens, where trust anchor and issuer are kept, and whether there are other replicas.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use conduit_process::ready::Gate;
use conduit_process::tasks::Tasks;
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{RunArguments, Source};
use crate::identity::directory::Directory;
use crate::identity::given::Given;
use crate::identity::material::Material;
use crate::identity::rotation::Vault;
use crate::identity::service::Reviewer;
use crate::identity::{review, secret, tokens};
use crate::kubernetes::client;
use crate::kubernetes::lease::Candidate;
use crate::source::kubernetes::{self, Watches};
use crate::source::{Event, Problem, files};
use crate::store::Store;

/// Batches of changes on their way from the source to the model.
const BATCHES_MAX: usize = 8;
/// The pause before the API server is asked again for trust anchor and issuer on the start.
const START_PAUSE: Duration = Duration::from_secs(1);

/// What was found, or begun.
pub struct Surroundings {
    /// Trust anchor and issuer.
    pub material: Material,
    /// Where they are kept.
    pub vault: Vault,
    /// Who judges tokens.
    pub reviewer: Reviewer,
    /// Whether this replica writes.
    pub leads: watch::Receiver<bool>,
    /// What is counted of watches; nothing where the source has none.
    pub watches: Arc<Watches>,
    /// The source, for people.
    pub source: String,
    /// Says when the model is complete.
    pub complete: oneshot::Receiver<()>,
}

impl Surroundings {
    /// Begins to read the source, as tasks of `tasks`. `gate` opens when the model is complete.
    ///
    /// # Errors
    /// When what is configured cannot be used. An API server that does not answer is waited for.
    pub async fn find(config: &RunArguments, store: &Arc<Store>, gate: Gate, tasks: &Tasks) -> Result<Self> {
        let (changes, batches) = mpsc::channel(BATCHES_MAX);
        let complete = apply(store, batches, gate, tasks);
        match config.source {
            Source::Files => Box::pin(Self::files(config, changes, complete, tasks)).await,
            Source::Kubernetes => Box::pin(Self::cluster(config, store, changes, complete, tasks)).await,
        }
    }

    async fn files(
        config: &RunArguments,
        changes: mpsc::Sender<(Vec<Event>, Vec<Problem>)>,
        complete: oneshot::Receiver<()>,
        tasks: &Tasks,
    ) -> Result<Self> {
        let paths = config.files()?;
        let (manifests, trust_domain) = (paths.manifests.clone(), config.trust_domain.clone());
        tasks.spawn_until_stopped("manifests", async move {
            if let Err(error) = files::follow(manifests, changes).await {
                tracing::error!(%error, "the manifests can no longer be watched");
            }
        });
        let vault = Vault::Directory(Directory::new(&paths.identity_dir));
        Ok(Self {
            material: vault.open(&trust_domain).await?,
            vault,
            reviewer: Reviewer::Keys(tokens::Reviewer { keys: paths.token_keys, trust_domain }),
            // There is no other.
            leads: watch::channel(true).1,
            watches: Arc::default(),
            source: format!("files: {}", paths.manifests.display()),
            complete,
        })
    }

    async fn cluster(
        config: &RunArguments,
        store: &Arc<Store>,
        changes: mpsc::Sender<(Vec<Event>, Vec<Problem>)>,
        complete: oneshot::Receiver<()>,
        tasks: &Tasks,
    ) -> Result<Self> {
        let client = client::connect(config.watch_timeout).await?;
        let watches = Watches::new();
        let follow = kubernetes::follow(client.clone(), config.watch_timeout, watches.clone(), changes);
        tasks.spawn_until_stopped("watches", Box::pin(follow));
        let leads = elect(&client, config, tasks);
        let vault = match &config.issuer_secret {
            Some(secret) => {
                let bundle = config.trust_bundle.as_deref();
                Vault::Given(Given::new(&client, &config.namespace, secret, bundle))
            }
            None => Vault::Secret(secret::Store::new(&client, &config.namespace)),
        };
        let mut told = String::new();
        let material = loop {
            match vault.open(&config.trust_domain).await {
                Ok(material) => break material,
                Err(error) => {
                    let error = format!("{error:#}");
                    if error != told {
                        tracing::warn!(
                            error,
                            "trust anchor and issuer cannot be read or made yet; trying again"
                        );
                    }
                    told = error;
                    tokio::time::sleep(START_PAUSE).await;
                }
            }
        };
        let timeout = config.token_review_timeout;
        let reviewer = review::Reviewer::new(&client, &config.trust_domain, store.clone(), timeout);
        let source = "kubernetes".to_owned();
        let reviewer = Reviewer::Api(Box::new(reviewer));
        Ok(Self { material, vault, reviewer, leads, watches, source, complete })
    }
}

/// Takes part in the election. A pod's name may come again (a StatefulSet's does): the part that is made up does not.
fn elect(client: &Client, config: &RunArguments, tasks: &Tasks) -> watch::Receiver<bool> {
    let name = config.pod_name.as_deref().unwrap_or("conduit-controller");
    let me = format!("{name}_{:016x}", fastrand::u64(..));
    let (candidate, leads) = Candidate::new(client, &config.namespace, me);
    tasks.spawn("election", Box::pin(candidate.run(tasks.token().clone())));
    leads
}

/// Feeds the model. What is returned says when it is complete.
fn apply(
    store: &Arc<Store>,
    mut batches: mpsc::Receiver<(Vec<Event>, Vec<Problem>)>,
    gate: Gate,
    tasks: &Tasks,
) -> oneshot::Receiver<()> {
    let store = store.clone();
    let (said, complete) = oneshot::channel();
    tasks.spawn_until_stopped("model", async move {
        let mut said = Some(said);
        while let Some((events, problems)) = batches.recv().await {
            store.apply(events, problems);
            gate.open();
            // Nobody listens when we are about to stop.
            said.take().map(|said| said.send(()).ok());
        }
    });
    complete
}
