//! Applications that several tests run in pods, and the raw client and server for what libraries would not let a test do.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conduit_testbed::spec::{self, Spec};
use conduit_testbed::world::{Output, World};
use serde_json::Value;

/// Long enough for anything that is to come soon on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A pod that does nothing by itself.
pub(crate) fn idle(name: &str) -> Spec {
    Spec::new(name, ["sleep", "100000"])
}

/// The path of a script of these tests.
pub(crate) fn script(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "e2e", name].iter().collect();
    path.to_string_lossy().into_owned()
}

/// The raw server on port 8080, declared as `protocol`.
pub(crate) fn raw_server(name: &str, protocol: &str) -> Spec {
    Spec::new(name, ["python3", &script("raw_server.py"), "8080"]).port(8080, protocol)
}

/// The command that runs one of these scripts with Debian's Python, which has the libraries that they import.
pub(crate) fn python(name: &str, arguments: &[&str]) -> Vec<String> {
    let words = ["/usr/bin/python3".to_owned(), script(name)];
    words.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
}

/// The gRPC server by grpcio on port 8080.
pub(crate) fn grpc_server(name: &str) -> Spec {
    Spec::new(name, python("grpc_server.py", &["8080"])).port(8080, "grpc")
}

/// What came of a call, or several, of the gRPC client's to `name:8080`.
pub(crate) fn grpc_call(world: &World, from: &str, name: &str, call: &str) -> Value {
    let output = world.exec(from, &python("grpc_client.py", &[&format!("{name}:8080"), call]));
    serde_json::from_str(output.text()).unwrap()
}

/// The value of the metric that begins so, of the proxy of a pod.
pub(crate) fn metric(world: &World, pod: &str, begins: &str) -> f64 {
    let text = world.exec(pod, &["curl", "-s", "http://127.0.0.1:4191/metrics"]).stdout;
    let line = text.lines().find_map(|line| line.strip_prefix(begins)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {begins} in {text}")).parse().unwrap()
}

/// Runs the command line against a world; gives its exit code, standard output and standard error.
pub(crate) fn conduit(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(spec::executable("conduit"))
        .env("CONDUIT_LOCAL_DIR", world.dir().path())
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Sends parts to `name:8080` from pod `from`; gives what came back.
pub(crate) fn raw(world: &World, from: &str, name: &str, parts: &[&str]) -> String {
    let script = script("raw_client.py");
    let mut command = vec!["python3", &script, name, "8080", "1.0"];
    command.extend(parts);
    world.exec(from, &command).text().to_owned()
}

/// Runs curl in a pod, quietly and with a limit of time.
pub(crate) fn curl(world: &World, from: &str, arguments: &[&str]) -> Output {
    let mut command = vec!["curl", "-sS", "-m", "10"];
    command.extend(arguments);
    world.exec(from, &command)
}

/// nginx on port 8080, which answers with its pod's name, and serves /big (1 MiB).
pub(crate) fn nginx(world: &World, name: &str, protocol: &str) -> Spec {
    let files = world.files().join(name);
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("big"), vec![b'b'; 1024 * 1024]).unwrap();
    let config = format!(
        "daemon off; worker_processes 1; error_log stderr; pid {root}/nginx-$HOSTNAME.pid;
         events {{ worker_connections 1024; }}
         http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/f;
           uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; client_max_body_size 100m;
           server {{ listen 8080; listen [::]:8080; root {root}; location = / {{ return 200 $hostname; }}
             location = /fail {{ return 503; }} }} }}",
        root = files.display()
    );
    let path = files.join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    let start = format!(
        "sed \"s/\\$HOSTNAME/$(hostname)/\" {0} > {0}.$(hostname); exec nginx -c {0}.$(hostname)",
        path.display()
    );
    Spec::new(name, ["sh", "-c", &start]).port(8080, protocol)
}

/// The lines that a process writes, as they come.
pub(crate) fn lines(from: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = lines.clone();
    // Ends when the process does.
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            seen.lock().unwrap().push(line);
        }
    });
    lines
}

/// A server of TCP in a few lines of Python, which are what it does with each `client`.
pub(crate) fn python_server(name: &str, port: u16, protocol: &str, each: &str) -> Spec {
    let each: String = each.lines().map(|line| format!("    {line}\n")).collect();
    let program = format!(
        "import select, socket, struct\n\
         server = socket.create_server(('', {port}))\n\
         while True:\n    client, _ = server.accept()\n{each}"
    );
    Spec::new(name, ["python3", "-c", &program]).port(port, protocol)
}
