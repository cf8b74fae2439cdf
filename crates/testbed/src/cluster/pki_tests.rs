use super::*;

#[test]
fn every_node_and_component_has_a_kubeconfig_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(dir.path(), Families::Dual, 2).unwrap();
    for user in ["admin", "controller-manager", "scheduler", "kube-proxy", "node1", "node2"] {
        let mode = fs::metadata(pki.kubeconfig(user)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{user}");
    }
}
