//! The flags of the verbs that write manifests: install, upgrade, uninstall, inject, uninject.

use std::path::PathBuf;

use clap::Args;

/// What `conduit upgrade` is for; its flags are those of `install`.
pub(super) const UPGRADE: &str = "The manifests of this version to apply over another, on stdout";
/// The same, whole.
pub(super) const UPGRADE_LONG: &str = "\
The manifests of this version to apply over another, on stdout

Give the flags that the mesh was installed with: what is not given has its default again. How to apply the output, so that what this \
version has no more is deleted, is said on stderr. Identities and certificates stay; running proxies go on, and pods get proxies of \
this version as they restart.";
/// The same, by example.
pub(super) const UPGRADE_EXAMPLES: &str = "\
Examples:
  conduit upgrade --ha > conduit.yaml           look at it, or kubectl diff -f it, before it is applied
  conduit upgrade --ha | kubectl apply -f -     what this version has no more stays then
  conduit uninject web.yaml | conduit inject --manual --trust-anchors anchors.pem - | kubectl apply -f -
                                                for proxies that are written into manifests";

/// The control plane's manifests, on stdout
///
/// The output holds no secret and is the same each time; the controller makes its trust anchor itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit install | kubectl apply -f -
  conduit install --ha --registry registry.example/conduit > conduit.yaml
  conduit install --cni | kubectl apply -f -
  conduit install --issuer-secret mesh-issuer --trust-bundle mesh-bundle | kubectl apply -f -")]
pub(crate) struct Install {
    /// Three replicas, spread over zones and nodes, with a disruption budget
    #[arg(long)]
    pub ha: bool,
    /// Registry of both images [default: localhost, images that are on the node]
    #[arg(long, value_name = "REGISTRY")]
    pub registry: Option<String>,
    /// Tag of both images [default: this command's version]
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// The controller's image, whole
    #[arg(long, value_name = "IMAGE")]
    pub controller_image: Option<String>,
    /// The proxy's image, whole
    #[arg(long, value_name = "IMAGE")]
    pub proxy_image: Option<String>,
    /// When images are pulled [default: IfNotPresent]
    #[arg(long, value_name = "Always|IfNotPresent|Never")]
    pub image_pull_policy: Option<String>,
    /// The trust domain of every identity; it cannot be changed later [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub trust_domain: Option<String>,
    /// The controller's log filter [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// The controller's memory limit; a mesh of more than a few thousand proxies needs more [default: 1Gi]
    #[arg(long, value_name = "SIZE")]
    pub controller_memory: Option<String>,
    /// How proxies run: native, or classic before Kubernetes 1.29 [default: native]
    #[arg(long, value_name = "native|classic")]
    pub sidecar: Option<String>,
    /// A CNI plugin on every node writes pods' redirect rules, so that no pod needs NET_ADMIN
    #[arg(long)]
    pub cni: bool,
    /// With --cni: the nodes' folder of network configurations [default: /etc/cni/net.d]
    #[arg(long, value_name = "FOLDER", requires = "cni")]
    pub cni_conf_dir: Option<String>,
    /// With --cni: the nodes' folder of network plugins [default: /opt/cni/bin]
    #[arg(long, value_name = "FOLDER", requires = "cni")]
    pub cni_bin_dir: Option<String>,
    /// The networks of pods and services, where they are not private ranges
    #[arg(long, value_name = "NETWORK,…")]
    pub cluster_networks: Option<String>,
    /// Secret (namespace conduit, type kubernetes.io/tls) of an issuer that cert-manager or somebody else keeps [default: the
    /// controller keeps its own]
    #[arg(long, value_name = "SECRET")]
    pub issuer_secret: Option<String>,
    /// With --issuer-secret: ConfigMap (namespace conduit) with all trust anchors in force, in ca.crt or ca-bundle.crt [default: ca.crt
    /// of the Secret]
    #[arg(long, value_name = "CONFIGMAP", requires = "issuer_secret")]
    pub trust_bundle: Option<String>,
}

/// What to delete so that nothing of the control plane is left, on stdout
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conduit uninstall | kubectl delete -f -")]
pub(crate) struct Uninstall {}

/// Asks for a proxy in the workloads of manifests, by an annotation on their pods
///
/// Comments, order and layout stay as they are, and `conduit uninject` gives back what there was, byte for byte. The webhook adds
/// the proxy when the pods are made. With --manual the containers are written into the manifests, for clusters without the webhook, and taken out by the
/// same command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubectl get deploy -o yaml | conduit inject - | kubectl apply -f -
  conduit inject web.yaml > web-meshed.yaml
  conduit inject --manual --trust-anchors anchors.pem web.yaml | kubectl apply -f -")]
pub(crate) struct Inject {
    /// A file of YAML or JSON documents; - is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Write the containers themselves
    #[arg(long, requires = "trust_anchors")]
    pub manual: bool,
    /// With --manual: PEM file with the mesh's trust anchors
    #[arg(long, value_name = "FILE", requires = "manual")]
    pub trust_anchors: Option<PathBuf>,
    /// With --manual: the proxy's image [default: localhost, this command's version]
    #[arg(long, value_name = "IMAGE", requires = "manual")]
    pub proxy_image: Option<String>,
    /// With --manual: where proxies find the controller
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "manual",
        default_value = "conduit-controller.conduit.svc:8086"
    )]
    pub controller_addr: String,
    /// With --manual: the CNI plugin writes the redirect rules
    #[arg(long, requires = "manual")]
    pub cni: bool,
    /// With --manual: the trust domain
    #[arg(long, value_name = "DOMAIN", requires = "manual", default_value = conduit_logic::ports::TRUST_DOMAIN)]
    pub trust_domain: String,
}

/// Takes back what `conduit inject` asked for
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubectl get deploy -o yaml | conduit uninject - | kubectl apply -f -")]
pub(crate) struct Uninject {
    /// A file of YAML or JSON documents; - is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}
