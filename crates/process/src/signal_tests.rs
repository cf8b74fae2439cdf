//! Tests of the ending signals. A signal concerns a whole process, so the test runs this test binary again as its victim.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Set in the victim's environment only.
const VICTIM: &str = "CONDUIT_TEST_SIGNAL_VICTIM";

#[tokio::test]
async fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let ended = super::terminated();
    tokio::pin!(ended);
    // One poll installs the handlers; only then may the parent send its signal.
    assert!(futures_pending(&mut ended).await);
    say("\nready");
    say(&format!("\ngot {}", ended.await));
    std::future::pending::<()>().await;
}

#[test]
fn the_first_signal_is_reported_and_the_second_ends_the_process() {
    for (kind, status) in [("TERM", 143), ("INT", 130)] {
        let mut child = Command::new(std::env::current_exe().expect("the test's own path"))
            .args(["--exact", "signal::tests::victim", "--nocapture"])
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "ready")));
        kill(&child, kind);
        assert!(lines.any(|line| line.is_ok_and(|line| line == format!("got SIG{kind}"))));
        kill(&child, kind);
        assert_eq!(child.wait().expect("it ends").code(), Some(status));
    }
}

fn kill(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent reads");
}

async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| {
        let pending = std::pin::Pin::new(&mut *future).poll(context).is_pending();
        std::task::Poll::Ready(pending)
    })
    .await
}
