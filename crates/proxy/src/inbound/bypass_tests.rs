use conduit_logic::http2::connection::Limits;

use super::*;

#[test]
fn a_connection_is_found_by_its_own_peer_alone_and_while_it_is_there() {
    let limits =
        Limits { streams_max: 8, header_bytes_max: 8192, stream_window: 65_535, connection_window: 65_535 };
    let [web, db] = ["web", "db"].map(|name| Identity::new("cluster.local", "shop", name).unwrap());
    let (trunks, trunk) = (Arc::new(Trunks::default()), Trunk::server(limits, Box::new(|_, _| {})));
    let entered = trunks.enter("proof".to_owned(), &trunk, &web);
    assert!(trunks.find("proof", &web).is_some());
    assert!(trunks.find("proof", &db).is_none(), "another's");
    assert!(trunks.find("other", &web).is_none());
    drop(entered);
    assert!(trunks.find("proof", &web).is_none());
}
