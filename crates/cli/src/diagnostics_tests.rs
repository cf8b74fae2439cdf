use conduit_api::common::v1::WorkloadRef;

use super::*;
use crate::args::OutputArg;
use crate::output::Exit;

fn typed(pod: &str) -> Result<PodRef, Failure> {
    let output = OutputArg { format: Format::Table };
    pod_ref(&PodArg { pod: pod.into(), namespace: Some("shop".into()), output }, None)
}

#[test]
fn a_pod_is_a_name_with_or_without_its_kind() {
    let pod = |namespace: &str| PodRef { namespace: namespace.into(), name: "web-1".into() };
    assert_eq!(typed("web-1"), Ok(pod("shop")));
    assert_eq!(typed("po/web-1"), Ok(pod("shop")));
    assert_eq!(typed("bank/po/web-1"), Ok(pod("bank")));
    assert_eq!(typed("deploy/web").unwrap_err().exit(), Exit::Usage);
}

#[test]
fn the_list_of_proxies_shows_what_is_wrong_with_them() {
    let pod = |name: &str| Some(PodRef { namespace: "default".into(), name: name.into() });
    let good = Proxy {
        pod: pod("web-1"),
        workload: Some(WorkloadRef {
            namespace: "default".into(),
            kind: "Deployment".into(),
            name: "web".into(),
        }),
        ip: "10.77.0.3".into(),
        version: "0.1.0".into(),
        connected: true,
        rss_bytes: 9 << 20,
        cpu_seconds: 1.23,
        requests: 420,
        open_connections: 7,
        certificate_not_after_unix_s: 1000 + 86_000,
        last_report_ms_ago: 300,
        uptime_s: 125,
    };
    let bad = Proxy { pod: pod("web-2"), certificate_not_after_unix_s: 999, ..Proxy::default() };
    let response = ProxiesResponse { proxies: vec![good, bad] };
    let expected = "\
NAMESPACE   POD     VERSION   CONNECTED   MEMORY    CPU   REQUESTS   OPEN   CERTIFICATE   UPTIME
default     web-1   0.1.0     yes         9.0MiB   1.2s        420      7        23h53m     2m5s
default     web-2             no              0B   0.0s          0      0       expired       0s
";
    assert_eq!(render(&response, 1000, Format::Table, Paint::NONE), expected);
    let wide = render(&response, 1000, Format::Wide, Paint::NONE);
    assert!(wide.lines().nth(1).unwrap().ends_with("0.3s ago   10.77.0.3   default/deploy/web"), "{wide}");
}

#[test]
fn what_a_proxy_writes_is_passed_on() {
    let shown = |text, kind, format| document(text, kind, format, Paint::NONE).unwrap();
    assert_eq!(shown("a 1\n# EOF\n", Kind::Metrics, Format::Table), "a 1\n# EOF\n");
    assert_eq!(shown("[1]", Kind::Config, Format::Table), "[\n  1\n]\n");
    assert_eq!(shown("{\"workers\":1}", Kind::Config, Format::Table), "SETTING   VALUE\nworkers   1\n");
    assert_eq!(shown("{\"workers\":1}", Kind::Config, Format::Json), "{\n  \"workers\": 1\n}\n");
    assert_eq!(shown("not json", Kind::Config, Format::Json), "not json\n");
}
