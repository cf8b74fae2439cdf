//! Certificate signing requests: any bytes are judged without failing, and what is signed names the proven identity alone.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use conduit_controller::identity::authority::Authority;
use conduit_logic::words::Identity;
use libfuzzer_sys::fuzz_target;

static AUTHORITY: LazyLock<(Authority, Identity)> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("conduit-fuzz-csr-{}", std::process::id()));
    let authority =
        Authority::open(&folder, "cluster.local", Duration::from_secs(60)).expect("a new authority");
    std::fs::remove_dir_all(&folder).expect("the keys are in memory now");
    (authority, Identity::new("cluster.local", "default", "web").expect("an identity"))
});

fuzz_target!(|request: &[u8]| {
    let (authority, proven) = &*AUTHORITY;
    let another = Identity::new("cluster.local", "default", "admin").expect("an identity");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let signed = authority.sign(request, proven, now).is_ok();
    assert!(
        !(signed && authority.sign(request, &another, now).is_ok()),
        "one request is signed for two identities"
    );
});
