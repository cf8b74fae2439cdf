//! WebSocket (RFC 6455) over an HTTP/1.1 upgrade: client and server are somebody else's.

use conduit_testbed::spec::Spec;
use conduit_testbed::wait;
use conduit_testbed::world::World;
use serde_json::{Value, json};

use crate::support::{SOON, idle, python};

#[test]
fn a_websocket_carries_messages_pings_and_close_codes_both_ways() {
    for declared in ["http", ""] {
        let world = World::start();
        world.run(Spec::new("chat", python("websocket_server.py", &["8080"])).port(8080, declared));
        world.run(idle("client"));
        let output = world.exec("client", &python("websocket_client.py", &["ws://chat:8080/room?a=1"]));
        let seen: Value = serde_json::from_str(output.text()).unwrap();
        assert_eq!(
            seen,
            json!({
                "subprotocol": "test.v1",
                "extensions": ["permessage-deflate"],
                "text": "GRÜSSE",
                "fragmented": "FRAGMENTED",
                "large": true,
                "pong": true,
                "ping": "you answered",
                "own close": [4000, "that was all"],
                "their close": [4001, "as you wish"],
            }),
            "declared as `{declared}`"
        );
        let edge = wait::for_some(SOON, || world.edges().into_iter().find(|edge| edge.secured));
        assert_eq!(edge.protocol(), conduit_api::common::v1::Protocol::Http1);
        // Where nothing is declared, the connection that detection opened meanwhile may be one more.
        wait::until(SOON, || world.golden("chat").requests >= 2);
        assert_eq!(world.golden("chat").failures, 0, "declared as `{declared}`: nothing failed");
    }
}
