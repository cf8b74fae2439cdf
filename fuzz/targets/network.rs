//! Address ranges of tap filters and configuration: what is shown is read back as the same, and holds its own address.
#![no_main]

use conduit_logic::tap::Network;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(network) = text.parse::<Network>() else { return };
    let shown = network.to_string();
    assert_eq!(shown.parse::<Network>(), Ok(network));
    let address =
        shown.split('/').next().and_then(|address| address.parse().ok()).expect("an address is shown first");
    assert!(network.contains(address));
});
