//! Any other TCP: real servers of databases, mail and shells, most of which speak first.

use std::time::{Duration, Instant};

use conduit_testbed::spec::Spec;
use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, curl, idle, python_server, raw, script};

/// A stall of detection would be 100 ms at the least; a busy machine alone can cost some tens.
const NO_STALL: Duration = Duration::from_secs(2);

fn took(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

#[test]
fn a_mariadb_is_reached_without_a_stall() {
    let world = World::start();
    let data = world.files().join("mariadb");
    let start = format!(
        "mkdir -p {0} && chown mysql {0} && mariadb-install-db --user=mysql --datadir={0} --skip-test-db >/dev/null 2>&1
         exec mariadbd --no-defaults --user=mysql --datadir={0} --socket={0}/s --pid-file={0}/p --bind-address=0.0.0.0 --skip-grant-tables --skip-networking=0",
        data.display()
    );
    let mut spec = Spec::new("db", ["sh", "-c", &start]).port(3306, "");
    spec.grace_ms = 2000;
    world.run(spec);
    world.run(idle("client"));
    let ask = || world.exec("client", &["mariadb", "-h", "db", "--skip-ssl", "-N", "-e", "select 6*7"]);
    // The first handshakes of a world may be slow on a busy machine; what is asked here is how long the next takes.
    wait::until(SOON, || ask().code == 0);
    assert!(took(|| assert_eq!(ask().text(), "42")) < NO_STALL);
    let edge = wait::for_some(SOON, || world.edges().into_iter().find(|edge| edge.secured));
    assert_eq!(edge.destination_identity, "spiffe://cluster.local/ns/default/sa/db");
}

#[test]
fn a_redis_and_a_postgresql_are_reached() {
    let world = World::start();
    world.run(Spec::new("redis", ["redis-server", "--protected-mode", "no", "--save", ""]).port(6379, ""));
    let data = world.files().join("pg");
    let start = format!(
        "bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1); mkdir -p {0} && chown postgres {0} && cd {0}
         su postgres -c \"$bin/initdb -D {0}/d -A trust >/dev/null && echo 'host all all all trust' >> {0}/d/pg_hba.conf\"
         exec su postgres -c \"exec $bin/postgres -D {0}/d -h '*' -k {0}\"",
        data.display()
    );
    world.run(Spec::new("pg", ["sh", "-c", &start]).port(5432, ""));
    world.run(idle("client"));
    assert_eq!(world.exec("client", &["redis-cli", "-h", "redis", "set", "a", "b"]).text(), "OK");
    assert_eq!(world.exec("client", &["redis-cli", "-h", "redis", "get", "a"]).text(), "b");
    let ask = ["psql", "-h", "pg", "-U", "postgres", "-tAc", "select 6*7"];
    assert_eq!(world.exec("client", &ask).text(), "42");
}

#[test]
fn an_ssh_server_greets_without_a_stall() {
    let world = World::start();
    let files = world.files().join("ssh");
    let start = format!(
        "mkdir -p {0} /run/sshd && ssh-keygen -q -t ed25519 -N '' -f {0}/key && exec /usr/sbin/sshd -D -e -p 2222 -h {0}/key -o PidFile=none",
        files.display()
    );
    world.run(Spec::new("shell", ["sh", "-c", &start]).port(2222, ""));
    world.run(idle("client"));
    let scan = || world.exec("client", &["ssh-keyscan", "-T", "5", "-p", "2222", "shell"]);
    assert!(scan().stdout.contains("ssh-ed25519"));
    assert!(took(|| assert!(scan().stdout.contains("ssh-ed25519"))) < NO_STALL);
}

#[test]
fn half_closed_connections_go_on_in_the_other_direction() {
    let world = World::start();
    let server = "import socket
s = socket.create_server(('::', 8080), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    c, _ = s.accept()
    data = b''
    while more := c.recv(4096):
        data += more
    c.sendall(b'got ' + data)
    c.close()";
    world.run(Spec::new("sink", ["python3", "-c", server]).port(8080, "tcp"));
    world.run(idle("client"));
    assert_eq!(raw(&world, "client", "sink", &["hello", "half-close"]), "got hello<end>");
}

#[test]
fn the_applications_own_tls_passes_untouched_and_its_server_name_is_known() {
    let world = World::start();
    let files = world.files().join("tls");
    let start = format!(
        "mkdir -p {0} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {0}/k -out {0}/c -days 2 -subj /CN=web -addext subjectAltName=DNS:web >/dev/null 2>&1
         exec openssl s_server -quiet -accept 8443 -cert {0}/c -key {0}/k -www",
        files.display()
    );
    world.run(Spec::new("web", ["sh", "-c", &start]).port(8443, ""));
    world.run(idle("client"));
    let ca = files.join("c").display().to_string();
    let page = curl(&world, "client", &["--cacert", &ca, "https://web:8443/"]);
    assert!(page.text().contains("TLSv1.3"), "{page:?}");
    let edge = wait::for_some(SOON, || world.edges().into_iter().find(|edge| edge.secured));
    assert_eq!(edge.protocol(), conduit_api::common::v1::Protocol::Tls);
}

#[test]
fn what_is_outside_the_mesh_is_reached_as_without_it() {
    let world = World::start();
    let server = ["python3", &script("raw_server.py"), "8080"];
    world.run(Spec::new("old", server).port(8080, "").unmeshed());
    world.run(idle("client"));
    world.run(idle("stranger").unmeshed());
    let server = ["python3", &script("raw_server.py"), "8080"];
    world.run(Spec::new("new", server).port(8080, ""));
    let get = |from: &str, url: &str| {
        curl(&world, from, &["-o", "/dev/null", "-w", "%{http_code}", url]).text().to_owned()
    };
    assert_eq!(get("client", "http://old:8080/"), "200", "meshed to unmeshed");
    assert_eq!(get("stranger", "http://new:8080/"), "200", "unmeshed to meshed");
    let clear = wait::for_some(SOON, || {
        let edges = world.edges();
        edges
            .iter()
            .any(|e| !e.secured && e.source.as_ref().is_none_or(|s| s.name.is_empty()))
            .then_some(edges)
    });
    assert!(clear.iter().all(|edge| !edge.secured), "{clear:?}");
}

#[test]
fn a_reader_that_rests_for_longer_than_a_lost_peer_would_be_waited_for_gets_every_byte() {
    let world = World::start();
    let rests = "select.select([], [], [], 8)
count = 0
while data := client.recv(65536):
    count += len(data)
client.sendall(b'%d' % count)
client.close()";
    let sends = "import socket
server = socket.create_connection(('rests', 9000))
server.sendall(bytes(50_000_000))
server.shutdown(socket.SHUT_WR)
print(server.recv(100).decode(), end='')";
    world.run(python_server("rests", 9000, "tcp", rests));
    world.run(idle("client"));
    assert_eq!(world.exec("client", &["python3", "-c", sends]).text(), "50000000");
}

#[test]
fn what_a_server_says_before_it_resets_its_connection_reaches_the_client() {
    let world = World::start();
    let refuses = "client.recv(1)
client.sendall(b'too many clients')
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
client.close()";
    let sends = "import socket
for _ in range(20):
    client = socket.create_connection(('full', 9000))
    said, broke = b'', False
    try:
        client.sendall(bytes(200_000))
    except OSError:
        broke = True
    try:
        while data := client.recv(100):
            said += data
    except OSError:
        broke = True
    assert said == b'too many clients' and broke, said";
    world.run(python_server("full", 9000, "tcp", refuses));
    world.run(idle("client"));
    let said = world.exec("client", &["python3", "-c", sends]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_stream_that_moves_a_lot_goes_on_in_a_connection_of_its_own_and_every_byte_arrives() {
    let world = World::start();
    let hashes = "import hashlib
digest = hashlib.sha256()
while data := client.recv(1 << 16):
    digest.update(data)
client.sendall(digest.digest() + bytes(range(256)) * 100_000)
client.close()";
    // Sends until the proxy has a second connection to the server's (port 15008 is 3AA0), and as much again.
    let sends = "import hashlib, os, socket
def connections():
    lines = [line.split() for table in ('tcp', 'tcp6') for line in open('/proc/net/' + table)]
    return sum(line[2].endswith(':3AA0') and line[3] == '01' for line in lines)
server = socket.create_connection(('sink', 9000))
digest, sent, end = hashlib.sha256(), 0, None
while end is None or sent < end:
    data = os.urandom(1 << 20)
    server.sendall(data)
    digest.update(data)
    sent += len(data)
    if end is None and connections() > 1:
        end = 2 * sent
    assert sent < 4 << 30, connections()
assert connections() > 1, 'it went back'
server.shutdown(socket.SHUT_WR)
came = b''.join(iter(lambda: server.recv(1 << 16), b''))
assert came[:32] == digest.digest(), 'sent'
assert came[32:] == bytes(range(256)) * 100_000, len(came)
again = socket.create_connection(('sink', 9000))
again.sendall(b'x')
again.shutdown(socket.SHUT_WR)
came = b''.join(iter(lambda: again.recv(1 << 16), b''))
assert len(came) == 32 + 25_600_000, len(came)
print('whole', end='')";
    world.run(python_server("sink", 9000, "tcp", hashes));
    world.run(idle("client"));
    let said = world.exec("client", &["python3", "-c", sends]);
    assert_eq!(said.text(), "whole", "{said:?}");
}

#[test]
fn a_mail_server_greets_without_a_stall_and_takes_a_message() {
    let world = World::start();
    world.run(Spec::new("mail", ["/usr/bin/aiosmtpd", "-n", "-u", "-l", "0.0.0.0:8025"]).port(8025, ""));
    world.run(idle("client"));
    let message = world.files().join("message");
    std::fs::write(&message, "Subject: hello\r\n\r\nthrough the mesh\r\n").unwrap();
    let file = message.display().to_string();
    let send = || {
        curl(
            &world,
            "client",
            &[
                "smtp://mail:8025",
                "--mail-from",
                "a@example.org",
                "--mail-rcpt",
                "b@example.org",
                "-T",
                &file,
            ],
        )
    };
    let _ = send().text();
    assert!(took(|| assert_eq!(send().code, 0)) < NO_STALL);
    wait::until(SOON, || world.log("mail-1").contains("through the mesh"));
}
