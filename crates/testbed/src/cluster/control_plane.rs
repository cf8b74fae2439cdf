//! The control plane's command lines: etcd, the API server, the controller manager and the scheduler, all in node 1. As in a production
//! cluster: RBAC and Node authorization, node restriction, projected tokens, webhooks and the aggregation layer; only etcd does not wait for
//! the disk. Pure. Deliberately absent: leader election, for there is one of each.

use std::path::Path;

use super::addresses::{Families, list};
use super::parts::Parts;
use super::pki::{API_PORT, Pki};

/// Where etcd listens, in node 1's loopback.
const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";

/// What the API server writes down, and where, in the cluster's folder.
pub(crate) const AUDIT_POLICY: &str = "audit.yaml";
pub(crate) const AUDIT_LOG: &str = "audit.log";
/// What Conduit's control plane did, and not what about: all that a test of its rights asks for.
pub(crate) const AUDITED: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
  "rules": [{"level": "Metadata", "users": ["system:serviceaccount:conduit:conduit-controller"]}, {"level": "None"}]
}"#;

/// Everything that the command lines are made of.
pub(crate) struct Setting<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) pki: &'a Pki,
    pub(crate) families: Families,
    pub(crate) dir: &'a Path,
}

impl Setting<'_> {
    fn command(&self, program: &str, flags: Vec<String>) -> Vec<String> {
        let mut command = vec![self.parts.program(program).to_string_lossy().into_owned()];
        command.extend(flags);
        command
    }

    pub(crate) fn etcd(&self) -> Vec<String> {
        let flags = [
            "--name=only".to_owned(),
            format!("--data-dir={}", self.dir.join("etcd").display()),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            format!("--listen-peer-urls={ETCD_PEER}"),
            format!("--initial-advertise-peer-urls={ETCD_PEER}"),
            format!("--initial-cluster=only={ETCD_PEER}"),
            "--log-level=warn".to_owned(),
        ];
        self.command("etcd", flags.to_vec())
    }

    pub(crate) fn api_server(&self) -> Vec<String> {
        let file = |name: &str| self.pki.file(name);
        let mut flags = vec![
            format!("--etcd-servers={ETCD}"),
            format!("--bind-address={}", self.families.any()),
            format!("--secure-port={API_PORT}"),
            format!("--advertise-address={}", self.families.node(1)[0]),
            format!("--service-cluster-ip-range={}", list(&self.families.services())),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
        ];
        flags.extend([
            format!("--service-account-key-file={}", file("service-account.pub")),
            format!("--service-account-signing-key-file={}", file("service-account.key")),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--profiling=false".to_owned(),
        ]);
        flags.extend([
            format!("--kubelet-client-certificate={}", file("apiserver-kubelet.crt")),
            format!("--kubelet-client-key={}", file("apiserver-kubelet.key")),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]);
        // The aggregation layer. The API server stands in node 1's network and reaches pods at their own addresses.
        flags.extend([
            "--enable-aggregator-routing=true".to_owned(),
            format!("--requestheader-client-ca-file={}", file("ca.crt")),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            format!("--proxy-client-cert-file={}", file("front-proxy.crt")),
            format!("--proxy-client-key-file={}", file("front-proxy.key")),
        ]);
        flags.extend([
            format!("--audit-policy-file={}", self.dir.join(AUDIT_POLICY).display()),
            format!("--audit-log-path={}", self.dir.join(AUDIT_LOG).display()),
        ]);
        // Enough for thousands of simulated pods.
        flags.extend(
            ["--max-requests-inflight=1600", "--max-mutating-requests-inflight=800"].map(str::to_owned),
        );
        self.command("kube-apiserver", flags)
    }

    pub(crate) fn controller_manager(&self) -> Vec<String> {
        let mut flags = self.client_flags("controller-manager");
        flags.extend([
            format!("--service-account-private-key-file={}", self.pki.file("service-account.key")),
            format!("--root-ca-file={}", self.pki.file("ca.crt")),
            "--use-service-account-credentials=true".to_owned(),
            format!("--cluster-signing-cert-file={}", self.pki.file("ca.crt")),
            format!("--cluster-signing-key-file={}", self.pki.file("ca.key")),
            "--concurrent-deployment-syncs=10".to_owned(),
            "--concurrent-replicaset-syncs=20".to_owned(),
            "--concurrent-service-endpoint-syncs=20".to_owned(),
        ]);
        self.command("kube-controller-manager", flags)
    }

    pub(crate) fn scheduler(&self) -> Vec<String> {
        self.command("kube-scheduler", self.client_flags("scheduler"))
    }

    /// How a component reaches the API server, and where it listens itself.
    fn client_flags(&self, user: &str) -> Vec<String> {
        let kubeconfig = self.pki.kubeconfig(user);
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ]
    }

    pub(crate) fn kubelet(&self, number: u8, node_dir: &Path) -> Vec<String> {
        let flags = [
            format!("--config={}", node_dir.join("kubelet.json").display()),
            format!("--kubeconfig={}", self.pki.kubeconfig(&format!("node{number}"))),
            format!("--hostname-override=node{number}"),
            format!("--node-ip={}", list(&self.families.node(number))),
            "--root-dir=/var/lib/kubelet".to_owned(),
            "--v=2".to_owned(),
        ];
        self.command("kubelet", flags.to_vec())
    }

    pub(crate) fn kube_proxy(&self, node_dir: &Path) -> Vec<String> {
        self.command("kube-proxy", vec![format!("--config={}", node_dir.join("kube-proxy.json").display())])
    }
}
