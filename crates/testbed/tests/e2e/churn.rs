//! Endpoints come and go under load, and no request fails that another endpoint could have served.

use conduit_testbed::world::World;

use crate::support::{idle, nginx, script};

#[test]
fn endpoints_replaced_again_and_again_fail_no_request() {
    let world = World::start();
    world.run(nginx(&world, "web", "http").replicas(3));
    world.run(idle("client"));
    let load = world.begin("client", &["python3", &script("load.py"), "http://web:8080/", "30", "4"]);
    for replicas in [5, 2, 4, 1, 3, 5, 2, 4] {
        world.scale("web", replicas);
    }
    let result = load.wait();
    let mut figures = result.text().splitn(3, ' ');
    let (count, failed) = (figures.next().unwrap(), figures.next().unwrap());
    assert!(count.parse::<u32>().unwrap() > 200, "{count} requests only");
    assert_eq!(failed, "0", "of {count}: {}", result.stdout);
}
