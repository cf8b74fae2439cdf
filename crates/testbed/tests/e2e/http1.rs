//! HTTP/1 through both proxies is what it would be without them.

use conduit_testbed::spec::Spec;
use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, curl, idle, nginx, python_server, raw, raw_server};

fn world() -> World {
    let world = World::start();
    world.run(raw_server("raw", "http"));
    world.run(idle("client"));
    world
}

#[test]
fn a_request_crosses_in_mutual_tls_between_the_two_identities() {
    let world = World::start();
    world.run(nginx(&world, "web", "http"));
    world.run(idle("client"));
    assert_eq!(curl(&world, "client", &["http://web:8080/"]).text(), "web-1");
    let edge = wait::for_some(SOON, || world.edges().into_iter().find(|edge| edge.secured));
    assert_eq!((edge.tls_version.as_str(), edge.key_exchange.as_str()), ("TLSv1.3", "X25519MLKEM768"));
    assert_eq!(edge.source_identity, "spiffe://cluster.local/ns/default/sa/client");
    assert_eq!(edge.destination_identity, "spiffe://cluster.local/ns/default/sa/web");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = world();
    let answers = raw(
        &world,
        "client",
        "raw",
        &[
            r"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    );
    let at = |text: &str| answers.find(text).unwrap_or_else(|| panic!("no {text} in {answers}"));
    assert!(at("slow") < at("/first") && at("/first") < at("/second"), "{answers}");
    assert!(answers.ends_with("<open>"), "the connection is kept: {answers}");
}

#[test]
fn headers_keep_their_case_and_order_and_trailers_arrive() {
    let world = world();
    let answer =
        raw(&world, "client", "raw", &[r"GET /echo HTTP/1.1\r\nhOST: raw\r\nX-Zed: 1\r\nx-alpha: 2\r\n\r\n"]);
    assert!(answer.contains("GET /echo HTTP/1.1\r\nhOST: raw\r\nX-Zed: 1\r\nx-alpha: 2\r\n\r\n"), "{answer}");
    let answer = raw(&world, "client", "raw", &[r"GET /trailers HTTP/1.1\r\nHost: a\r\n\r\n"]);
    assert!(answer.contains("5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"), "{answer}");
}

#[test]
fn interim_responses_arrive_and_expectations_are_the_servers_to_meet() {
    let world = world();
    let hints = raw(&world, "client", "raw", &[r"GET /hints HTTP/1.1\r\nHost: a\r\n\r\n"]);
    assert!(
        hints.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK"),
        "{hints}"
    );
    let met = raw(
        &world,
        "client",
        "raw",
        &[
            r"POST /expect HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
            "until:100 Continue",
            "abc",
        ],
    );
    assert!(met.contains("HTTP/1.1 200 OK"), "{met}");
    let refused = raw(
        &world,
        "client",
        "raw",
        &[r"POST /refuse-expect HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"],
    );
    assert!(refused.starts_with("HTTP/1.1 417") && !refused.contains("100 Continue"), "{refused}");
}

#[test]
fn upgraded_and_connected_streams_carry_bytes_both_ways() {
    let world = world();
    let upgraded = raw(
        &world,
        "client",
        "raw",
        &[
            r"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
            "until:\r\n\r\n",
            "hello",
            "until:HELLO",
            "half-close",
        ],
    );
    assert!(upgraded.starts_with("HTTP/1.1 101") && upgraded.ends_with("HELLO<end>"), "{upgraded}");
    let connected = raw(
        &world,
        "client",
        "raw",
        &[
            r"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n",
            "until:\r\n\r\n",
            "hello",
            "until:HELLO",
            "half-close",
        ],
    );
    assert!(connected.starts_with("HTTP/1.1 200") && connected.ends_with("HELLO<end>"), "{connected}");
}

#[test]
fn bodies_of_every_framing_arrive_whole() {
    let world = world();
    let head = raw(
        &world,
        "client",
        "raw",
        &[r"HEAD /head HTTP/1.1\r\nHost: a\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n"],
    );
    assert!(head.contains("content-length: 1234\r\n\r\nHTTP/1.1 200 OK"), "{head}");
    let open = raw(&world, "client", "raw", &[r"GET /until-close HTTP/1.1\r\nHost: a\r\n\r\n"]);
    assert!(open.contains("Connection: close") && open.ends_with("all of it<end>"), "{open}");
    let old = raw(&world, "client", "raw", &[r"GET /old HTTP/1.0\r\n\r\n"]);
    assert!(old.contains("GET /old HTTP/1.0"), "{old}");
    let cut = raw(&world, "client", "raw", &[r"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n"]);
    assert!(
        cut.contains("only this") && cut.ends_with("<reset>"),
        "a body that is cut off does not look whole: {cut}"
    );
    let upload = world.files().join("upload");
    std::fs::write(&upload, vec![b'u'; 3_000_000]).unwrap();
    let data = format!("@{}", upload.display());
    assert_eq!(curl(&world, "client", &["--data-binary", &data, "http://raw:8080/body"]).text(), "3000000");
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let world = world();
    let both = r"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n";
    let answer = raw(&world, "client", "raw", &[both]);
    assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("smuggled"), "{answer}");
    let huge = format!(r"GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    let answer = raw(&world, "client", "raw", &[&huge]);
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let pretended = raw(&world, "client", "raw", &[r"GET /pretend HTTP/1.1\r\nHost: a\r\n\r\n"]);
    assert!(!pretended.to_lowercase().contains("conduit-proxy-error"), "only a proxy says so: {pretended}");
}

#[test]
fn a_slow_first_byte_is_not_taken_for_tcp_where_http_is_declared() {
    let world = world();
    let answer =
        raw(&world, "client", "raw", &["wait:1", "G", "wait:0.5", r"ET /late HTTP/1.1\r\nHost: a\r\n\r\n"]);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    wait::until(SOON, || world.golden("raw").requests > 0);
    assert_eq!(world.golden("raw").connections, 0, "it was seen as a request, not as bytes");
}

#[test]
fn a_service_without_an_endpoint_is_answered_with_503_and_the_reason() {
    let world = world();
    world.scale("raw", 0);
    wait::until(SOON, || {
        let answer = curl(&world, "client", &["-i", "http://raw:8080/"]);
        answer.stdout.starts_with("HTTP/1.1 503")
            && answer.stdout.contains("conduit-proxy-error: no_endpoint")
    });
}

#[test]
fn requests_of_one_connection_go_to_every_endpoint() {
    let world = World::start();
    world.run(nginx(&world, "web", "http").replicas(3));
    world.run(idle("client"));
    let urls = vec!["http://web:8080/?[1-60]"];
    let answers = curl(&world, "client", &urls).text().to_owned();
    for pod in ["web-1", "web-2", "web-3"] {
        assert!(answers.contains(pod), "{pod} got none of 60 requests: {answers}");
    }
}

/// Asks for much on many connections and reads a byte of it; then for seconds asks for little, on new connections and on one that is kept.
const UNREAD: &str = "
import http.client, re, socket, sys, time, urllib.request
path = sys.argv[1]
unread = []
for _ in range(60):
    s = socket.create_connection(('web', 8080), timeout=20)
    s.sendall(b'GET /' + path.encode() + b' HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n')
    s.recv(1)
    unread.append(s)
worst = 0
kept = http.client.HTTPConnection('web', 8080, timeout=20)
until = time.time() + 3
while time.time() < until:
    for connection in (kept, http.client.HTTPConnection('web', 8080, timeout=20)):
        began = time.time()
        connection.request('GET', '/small')
        assert connection.getresponse().read() == b'small'
        worst = max(worst, time.time() - began)
metrics = urllib.request.urlopen('http://127.0.0.1:4191/metrics').read().decode()
resident = float(re.search(r'^process_resident_memory_bytes (\\S+)', metrics, re.M)[1])
print(f'{worst:.1f} {resident / 2**20:.1f}')";

#[test]
fn responses_that_nobody_reads_stop_no_other_request() {
    let world = World::start();
    let files = world.files().join("unread");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("small"), "small").unwrap();
    std::fs::File::create(files.join("large")).unwrap().set_len(64 << 20).unwrap();
    let server = ["python3", "-m", "http.server", "-p", "HTTP/1.1", "-d", files.to_str().unwrap(), "8080"];
    world.run(Spec::new("web", server).port(8080, "http"));
    world.run(idle("client"));
    let asked = world.exec("client", &["python3", "-c", UNREAD, "large"]);
    let found: Vec<f64> = asked.text().split(' ').map_while(|number| number.parse().ok()).collect();
    let [worst_s, resident_mib] = found[..] else { panic!("{} {}", asked.stdout, asked.stderr) };
    assert!(worst_s < 3.0, "a request took {worst_s} s");
    // At rest 5, and at most eight shared connections with a window of 1 MiB each.
    assert!(resident_mib < 16.0, "the client's proxy holds {resident_mib} MiB");
}

#[test]
fn a_client_that_gives_up_ends_its_request_at_the_server_too() {
    let world = World::start();
    let seen = world.files().join("seen");
    let waits = format!(
        "request = client.recv(65536)
try:
    while client.recv(65536):
        pass
except ConnectionResetError:
    pass
if request:
    open('{}', 'a').write('gone')",
        seen.display()
    );
    world.run(python_server("web", 8080, "http", &waits));
    world.run(idle("client"));
    let given_up = curl(&world, "client", &["-m", "1", "http://web:8080/"]);
    assert_eq!(given_up.code, 28, "{given_up:?}");
    wait::until(SOON, || std::fs::read_to_string(&seen).is_ok_and(|seen| seen == "gone"));
}
