use super::*;

#[test]
fn only_a_process_that_waits_for_rules_is_taken_for_one() {
    assert_eq!(settings(b"/conduit-proxy\0validate\0"), Some(vec![]));
    let with = settings(b"/conduit-proxy\0validate\0--skip-inbound-ports\x0022\0");
    assert_eq!(with, Some(vec!["--skip-inbound-ports", "22"]));
    for other in
        [&b"/conduit-proxy\0run\0"[..], b"sh\0-c\0/conduit-proxy validate\0", b"", b"\xff\0validate\0"]
    {
        assert_eq!(settings(other), None);
    }
}

#[test]
fn a_pod_is_called_by_its_uid_in_every_form_of_cgroup() {
    let uid = "0f4c6f0e-6f0a-4a53-9a3e-0123456789ab";
    let named = format!("the pod with the UID {uid}");
    assert_eq!(pod(&format!("0::/kubepods/burstable/pod{uid}/8f")), named);
    let systemd =
        format!("0::/kubepods.slice/kubepods-pod{}.slice/cri-containerd-8f.scope", uid.replace('-', "_"));
    assert_eq!(pod(&systemd), named);
    assert_eq!(pod("0::/user.slice/podman"), "a pod");
}

#[test]
fn the_nodes_own_network_is_never_touched() {
    let own = Path::new("/proc/self/ns/net");
    let node = fs::metadata(own).unwrap().ino();
    assert!(!mend(own, node, Vec::new()).unwrap());
}
