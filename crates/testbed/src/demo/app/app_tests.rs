//! The demo's roles as tasks of one process, on loopback: what each path answers, and which failures bear the mark.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;

use super::*;

/// All roles with a port, each on a loopback port of its own; returns the address of the front.
async fn application(tasks: &Tasks, without: &str) -> String {
    let mut settings = Settings::default();
    for role in ROLES.iter().filter(|role| role.port.is_some()) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        settings.peers.insert(role.name.to_owned(), addr);
        if role.name != without {
            start(role.name, listener, &settings, tasks).unwrap();
        }
    }
    settings.peer("web")
}

async fn get(client: &http1::HttpClient, web: &str, path: &str) -> (StatusCode, Option<String>, String) {
    let request =
        Request::post(format!("http://{web}{path}")).body(Full::from(Bytes::from("seven"))).unwrap();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (head.status, head.headers.get(OWN_FAILURE).map(|by| by.to_str().unwrap().to_owned()), text)
}

#[tokio::test]
async fn each_path_of_the_front_is_answered_by_the_workload_behind_it() {
    let tasks = Tasks::new();
    let web = application(&tasks, "").await;
    let client = http1::client();
    for (path, expected) in [
        ("/", "item 5: 535 cents\n"),
        ("/prices", "535 cents\n536 cents\n537 cents\n538 cents\n539 cents\n"),
        ("/vote", "1 votes\n"),
        ("/recommend", "people also bought item 0\n"),
        ("/order", "OK 1\nOK 2\nOK 3\n"),
    ] {
        assert_eq!(get(&client, &web, path).await, (StatusCode::OK, None, expected.to_owned()), "{path}");
    }
    assert_eq!(get(&client, &web, "/nothing").await.0, StatusCode::NOT_FOUND);
    drop(client);
    tasks.stop();
    assert_eq!(tasks.wait(DRAIN_TIMEOUT).await, 0);
}

#[tokio::test]
async fn one_vote_in_twelve_fails_and_bears_the_mark() {
    let tasks = Tasks::new();
    let web = application(&tasks, "").await;
    let client = http1::client();
    let mut marked = Vec::new();
    for n in 1..=24 {
        let (status, mark, _) = get(&client, &web, "/vote").await;
        if mark.as_deref() == Some("voting") && status == StatusCode::INTERNAL_SERVER_ERROR {
            marked.push(n);
        }
    }
    assert_eq!(marked, [12, 24]);
}

#[tokio::test]
async fn a_workload_that_cannot_be_reached_is_a_failure_without_the_mark() {
    let tasks = Tasks::new();
    let web = application(&tasks, "recommend").await;
    let client = http1::client();
    let (status, mark, _) = get(&client, &web, "/recommend").await;
    assert_eq!((status, mark), (StatusCode::BAD_GATEWAY, None));
}

#[test]
fn the_last_line_with_counts_is_what_a_load_generator_says() {
    let output = "{\"sent\":1,\"succeeded\":1,\"own_failures\":0,\"other_failures\":0,\"skipped\":0,\"seconds\":0,\"ended\":false}\nload: a word\n";
    assert_eq!(Counts::last_of(output), Some(Counts { sent: 1, succeeded: 1, ..Counts::default() }));
    assert_eq!(Counts::last_of("nothing\n"), None);
}

#[test]
fn arguments_name_peers_rate_and_the_listening_address() {
    let args = ["--peer", "web=127.0.0.1:1", "--rate", "5", "--listen", "127.0.0.1:2"].map(str::to_owned);
    let settings = Settings::parse(&args).unwrap();
    assert_eq!(settings.peer("web"), "127.0.0.1:1");
    assert_eq!(settings.peer("ledger"), "ledger:7000");
    assert_eq!((settings.rate, settings.listen), (Some(5), "127.0.0.1:2".parse().ok()));
    assert!(Settings::parse(&["--rate".to_owned()]).is_err());
    assert!(Settings::parse(&["--speed".to_owned(), "9".to_owned()]).is_err());
}
