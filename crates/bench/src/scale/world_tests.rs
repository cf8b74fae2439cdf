use super::*;

#[test]
fn all_endpoints_are_spread_over_all_services_and_every_pod_knows_its_own() {
    for (services, endpoints, proxies) in [(10_000, 50_000, 5_000), (50, 250, 20)] {
        let world = World::new(services, endpoints, proxies);
        assert_eq!((world.services(), world.endpoints(), world.proxies()), (services, endpoints, proxies));
        let sizes: Vec<usize> = (0..services).map(|service| world.pods_of(service).count()).collect();
        assert!(sizes.iter().all(|size| (1..=100).contains(size)), "{sizes:?}");
        for number in 0..endpoints {
            let pod = world.pod(number);
            assert!(world.pods_of(pod.service).any(|other| other.number == number));
        }
    }
}

#[test]
fn every_proxy_follows_what_all_follow_and_some_of_its_own_each_once() {
    let world = World::new(10_000, 50_000, 5_000);
    for proxy in [0, 1, 4_999] {
        let mut followed = world.followed(proxy);
        assert_eq!(followed.len(), 30);
        assert_eq!(followed[..3].iter().copied().max(), Some(2), "{followed:?}");
        followed.sort_unstable();
        followed.dedup();
        assert_eq!(followed.len(), 30);
        assert_eq!(followed, {
            let mut again = world.followed(proxy);
            again.sort_unstable();
            again
        });
    }
    assert_ne!(world.followed(1), world.followed(2));
}
