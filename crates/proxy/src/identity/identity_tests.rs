use super::*;
use crate::control::fake::{Authority, CONTROLLER, DEADLINE, WEB, config, serve};
use conduit_api::identity::v1::identity_server::{Identity, IdentityServer};
use conduit_api::identity::v1::{CertifyResponse, TrustBundle, WatchTrustRequest};
use conduit_tls::ClientAuth;
use rcgen::{PublicKeyData, SignatureAlgorithm};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

/// The public key of a certificate request: the point of P-256, found by the BIT STRING's header in front of it.
struct Point(Vec<u8>);

impl Point {
    fn of(csr: &[u8]) -> Self {
        let header = [0x03, 0x42, 0x00, 0x04];
        let at = csr.windows(4).position(|bytes| bytes == header).unwrap() + 3;
        Self(csr[at..at + 65].to_vec())
    }
}

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Signs what the test lets it: each call is handed to the test, which sends back how long the certificate lives.
struct Signer {
    authority: Authority,
    calls: mpsc::Sender<(CertifyRequest, tokio::sync::oneshot::Sender<Option<Duration>>)>,
}

#[tonic::async_trait]
impl Identity for Signer {
    type WatchTrustStream = tokio_stream::Pending<Result<TrustBundle, Status>>;

    /// The anchors do not change in these tests.
    async fn watch_trust(
        &self,
        _: Request<WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }

    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let request = request.into_inner();
        let (decide, decision) = tokio::sync::oneshot::channel();
        _ = self.calls.send((request.clone(), decide)).await;
        let Ok(Some(life)) = decision.await else { return Err(Status::unavailable("not now")) };
        let now = SystemTime::now();
        Ok(Response::new(CertifyResponse {
            chain_der: vec![self.authority.sign(&request.identity, &Point::of(&request.csr_der)).to_vec()],
            not_before_unix_s: unix_s(now),
            not_after_unix_s: unix_s(now + life),
            trust_anchors_der: Vec::new(),
        }))
    }
}

#[tokio::test]
async fn a_certificate_is_kept_until_its_successor_is_there_and_each_has_a_key_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let (authority, tasks, readiness, telemetry) =
        (Authority::new(), Tasks::new(), Readiness::new(), Telemetry::new());
    let (controller, credentials) = (authority.credentials(CONTROLLER), authority.trust());
    let (calls, mut called) = mpsc::channel(1);
    let service = IdentityServer::new(Signer { authority, calls });
    let addr = serve(service, &controller, ClientAuth::Optional, &tasks).await;
    start(&config(addr, &token, &[]), &credentials, &tasks, &readiness, &telemetry);

    let mut call = async || tokio::time::timeout(DEADLINE, called.recv()).await.unwrap().unwrap();
    let installed = async |times: u64| {
        crate::control::fake::until("installed", || {
            telemetry.certificate_rotations.load(Ordering::Relaxed) == times
        })
        .await;
    };
    let (first, decide) = call().await;
    assert_eq!((first.token.as_str(), first.identity.as_str()), ("first", WEB));
    assert!(!readiness.is_ready());
    decide.send(Some(Duration::from_secs(3))).unwrap();
    installed(1).await;
    assert!(readiness.is_ready());
    assert_eq!(credentials.identity().unwrap().as_str(), WEB);
    let before = credentials.chain();

    // The renewal comes before the end, reads the token again, and is refused once.
    std::fs::write(&token, "second").unwrap();
    let (second, decide) = call().await;
    assert!(credentials.has_certificate());
    assert_eq!(second.token, "second");
    decide.send(None).unwrap();
    let (third, decide) = call().await;
    assert_eq!(credentials.chain(), before);
    decide.send(Some(Duration::from_secs(3600))).unwrap();
    installed(2).await;
    assert_ne!(credentials.chain(), before);
    assert_ne!(Point::of(&first.csr_der).0, Point::of(&third.csr_der).0);
    tasks.stop();
}

#[test]
fn renewal_leaves_a_third_of_any_life() {
    let now = SystemTime::now();
    for life in [Duration::from_secs(5), Duration::from_secs(24 * 3600)] {
        for _ in 0..100 {
            let wait = renew_in(now, now + life);
            assert!(wait >= life.mul_f64(0.5) && wait <= life.mul_f64(2.0 / 3.0), "{wait:?} of {life:?}");
        }
    }
    assert!(renew_in(now, now - Duration::from_secs(1)) > Duration::ZERO);
}
