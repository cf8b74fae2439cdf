//! `conduit identity`: what the mesh's identity stands on, and its rotation. The controller takes the steps by itself; this only
//! begins them, and shows how far they have come.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use conduit_api::operator::v1::rotate_request::What;
use conduit_api::operator::v1::{IdentityRequest, IdentityResponse, RotateRequest, TrustAnchor};
use serde::Serialize;

use crate::args::{Connection, Identity, IdentityVerb, Rotated};
use crate::connect::{self, Controller, ask};
use crate::output::{self, Align, Cell, Failure, Format, Paint, Table, Tone};
use crate::units;

/// How often it is looked whether a rotation has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// So much of a digest tells certificates apart for people.
const DIGEST_CHARS: usize = 16;

/// Runs the verb.
///
/// # Errors
/// When the controller does not answer, or a rotation cannot be begun or does not end in time.
pub(crate) async fn run(args: Identity, connection: &Connection) -> Result<(), Failure> {
    let mut controller = connect::open(&connection.mesh().await?).await?;
    let (state, format) = match args.what {
        IdentityVerb::Show { output } => (show(&mut controller).await?, output.format),
        IdentityVerb::Rotate { what, wait, output } => {
            let begun = rotate(&mut controller, what).await?;
            let state = match wait {
                Some(longest) => ended(&mut controller, begun, longest).await?,
                None => begun,
            };
            (state, output.format)
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    output::print(&render(&state, now, format, Paint::stdout(connection.color))?)
}

async fn show(controller: &mut Controller) -> Result<IdentityResponse, Failure> {
    let answer = controller.identity(ask(IdentityRequest {})).await;
    Ok(answer.map_err(|status| connect::refused("read the identity's state", &status))?.into_inner())
}

async fn rotate(controller: &mut Controller, what: Rotated) -> Result<IdentityResponse, Failure> {
    let (what, doing) = match what {
        Rotated::Issuer => (What::Issuer, "rotate the issuer"),
        Rotated::Anchor => (What::TrustAnchor, "rotate the trust anchor"),
    };
    let answer = controller.rotate(ask(RotateRequest { what: what.into() })).await;
    Ok(answer.map_err(|status| connect::refused(doing, &status))?.into_inner())
}

/// Waits until no rotation is under way.
async fn ended(
    controller: &mut Controller,
    mut state: IdentityResponse,
    longest: Duration,
) -> Result<IdentityResponse, Failure> {
    let begun = Instant::now();
    let mut told = String::new();
    while !state.phase.is_empty() {
        if state.phase != told {
            output::remark(explain(&state.phase));
            told.clone_from(&state.phase);
        }
        if begun.elapsed() > longest {
            return Err(Failure::problem(
                format!("the rotation has not ended within {}", units::age(longest.as_secs())),
                "it goes on by itself: see `conduit identity show`",
            ));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        state = show(controller).await?;
    }
    Ok(state)
}

fn explain(phase: &str) -> &'static str {
    match phase {
        "publishing" => "both trust anchors are handed out; certificates are still signed below the old one",
        "signing" => {
            "certificates are signed below the new trust anchor; the old one goes when the last below it has ended"
        }
        _ => "a rotation is under way",
    }
}

#[derive(Serialize)]
struct CertificateJson {
    sha256: String,
    not_before_unix_s: u64,
    not_after_unix_s: u64,
}

#[derive(Serialize)]
struct RotationJson {
    phase: String,
    since_unix_s: u64,
    until_unix_s: u64,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Document {
    trust_domain: String,
    trust_anchors: Vec<CertificateJson>,
    issuer: Option<CertificateJson>,
    certificate_lifetime_s: u64,
    rotates: bool,
    origin: String,
    rotation: Option<RotationJson>,
}

fn certificate(of: &TrustAnchor) -> CertificateJson {
    CertificateJson {
        sha256: of.sha256.clone(),
        not_before_unix_s: of.not_before_unix_s,
        not_after_unix_s: of.not_after_unix_s,
    }
}

fn document(state: &IdentityResponse) -> Document {
    Document {
        trust_domain: state.trust_domain.clone(),
        trust_anchors: state.trust_anchors.iter().map(certificate).collect(),
        issuer: state.issuer.as_ref().map(certificate),
        certificate_lifetime_s: state.certificate_lifetime_s,
        rotates: state.rotates,
        origin: state.origin.clone(),
        rotation: (!state.phase.is_empty()).then(|| RotationJson {
            phase: state.phase.clone(),
            since_unix_s: state.phase_since_unix_s,
            until_unix_s: state.phase_until_unix_s,
        }),
    }
}

fn render(state: &IdentityResponse, now: u64, format: Format, paint: Paint) -> Result<String, Failure> {
    if format == Format::Json {
        return output::json(&document(state));
    }
    let mut table = Table::new(vec![
        ("WHAT", Align::Left),
        ("SHA-256", Align::Left),
        ("AGE", Align::Right),
        ("ENDS IN", Align::Right),
    ]);
    let anchors = state.trust_anchors.iter().map(|anchor| ("trust anchor", anchor));
    for (what, of) in anchors.chain(state.issuer.iter().map(|issuer| ("issuer", issuer))) {
        let digest = if format == Format::Wide {
            of.sha256.clone()
        } else {
            of.sha256.chars().take(DIGEST_CHARS).collect()
        };
        let left = of.not_after_unix_s.saturating_sub(now);
        let ends =
            if left == 0 { Cell::new("ended", Tone::Bad) } else { Cell::new(units::age(left), Tone::Plain) };
        let age = units::age(now.saturating_sub(of.not_before_unix_s));
        table.row(vec![
            Cell::new(what, Tone::Plain),
            Cell::new(digest, Tone::Plain),
            Cell::new(age, Tone::Plain),
            ends,
        ]);
    }
    let lifetime = units::age(state.certificate_lifetime_s);
    let mut text = table.render(paint);
    text.push_str(&format!("\ntrust domain {}, certificates live {lifetime}\n", state.trust_domain));
    if !state.origin.is_empty() {
        text.push_str(&format!("kept in {}\n", state.origin));
    }
    if !state.phase.is_empty() {
        let left = units::age(state.phase_until_unix_s.saturating_sub(now));
        text.push_str(&format!(
            "{}: {}; the next step is due in {left} at the latest\n",
            state.phase,
            explain(&state.phase)
        ));
    } else if !state.rotates {
        text.push_str("the trust anchor's key is not kept by the controller: whoever gave anchor and issuer rotates them\n");
    }
    Ok(text)
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
