//! Who waits for the turn to open a connection.

use super::*;

fn endpoint() -> Endpoint {
    Endpoint {
        addr: SocketAddr::from(([10, 0, 0, 1], 80)),
        identity: None,
        workload: Default::default(),
        pod: Default::default(),
        zone: String::new(),
        weight: 1,
    }
}

#[tokio::test]
async fn whoever_waited_while_opening_a_connection_failed_fails_with_it_and_whoever_comes_later_tries_again()
{
    let (shared, endpoint) = (Shared::<Tunnels>::default(), endpoint());
    let mut opening = shared.turn(&endpoint).await.unwrap();
    let mut waiting = std::pin::pin!(shared.turn(&endpoint));
    let begun =
        std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
    assert!(begun, "the turn is taken");
    *opening = Some(Instant::now());
    drop(opening);
    let failure = waiting.await.unwrap_err();
    assert!(failure.late && failure.unprocessed, "{failure}");
    assert!(shared.turn(&endpoint).await.is_ok());
}
