//! Answers an AdmissionReview: reads the pod out of it, asks what its namespace wants, and gives the patch. The answer always
//! allows the pod; what was wrong with its settings is a warning.
//!
//! Source: Kubernetes' admission.k8s.io/v1.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use conduit_inject::settings::Problem;
use conduit_inject::{Annotations, Mesh, Outcome};
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::namespaces::Namespaces;
use crate::identity::authority::Authority;

/// Bytes of one warning: the API server cuts off what is longer.
const WARNING_BYTES_MAX: usize = 250;

/// Answers reviews.
pub(super) struct Reviewer {
    pub(super) namespaces: Namespaces,
    pub(super) authority: Arc<Authority>,
    pub(super) mesh: Mesh,
}

#[derive(Deserialize)]
struct Review {
    #[serde(rename = "apiVersion")]
    api_version: String,
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    #[serde(default)]
    namespace: String,
    object: Value,
}

impl Reviewer {
    /// The answer to a review, as JSON.
    ///
    /// # Errors
    /// When the body is no review, or the namespace cannot be found out.
    pub(super) async fn review(&self, body: &[u8]) -> Result<Vec<u8>> {
        let request = read(body)?;
        let annotations = self.namespaces.annotations(&request.namespace).await?;
        let mesh = Mesh { trust_anchors: pem(&self.authority), ..self.mesh.clone() };
        Ok(serde_json::to_vec(&respond(&request, &annotations, &mesh)?)?)
    }
}

fn read(body: &[u8]) -> Result<Request> {
    let review: Review = serde_json::from_slice(body).context("the body is no AdmissionReview")?;
    ensure!(
        review.api_version == "admission.k8s.io/v1",
        "reviews of {} are not understood, only admission.k8s.io/v1",
        review.api_version
    );
    Ok(review.request)
}

fn respond(request: &Request, annotations: &Annotations, mesh: &Mesh) -> Result<Value> {
    let Request { uid, namespace, object } = request;
    let metadata = &object["metadata"];
    let pod = metadata["name"].as_str().or(metadata["generateName"].as_str()).unwrap_or_default();
    let mut response = json!({"uid": uid, "allowed": true});
    let problems = match conduit_inject::inject(object, namespace, annotations, mesh) {
        Outcome::Injected(injected) => {
            tracing::info!(namespace, pod, problems = injected.problems.len(), "the pod gets a proxy");
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(ByteString(serde_json::to_vec(&injected.patch)?));
            response["auditAnnotations"] = json!({"injected": "true"});
            warnings(&injected.problems)
        }
        Outcome::Skipped(skip, problems) => {
            tracing::debug!(namespace, pod, %skip, "the pod is left alone");
            let mut warnings = warnings(&problems);
            if skip.is_surprising() {
                warnings.push(format!("conduit: no proxy: {skip}"));
            }
            warnings
        }
    };
    if !problems.is_empty() {
        response["warnings"] = json!(problems);
    }
    Ok(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
}

fn warnings(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| cut(format!("conduit: {problem}"))).collect()
}

/// Cuts off between characters.
fn cut(mut text: String) -> String {
    if text.len() > WARNING_BYTES_MAX {
        let end = (0..=WARNING_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// The trust anchors as PEM.
pub(super) fn pem(authority: &Authority) -> String {
    let anchors = authority.anchors();
    let blocks: Vec<pem::Pem> =
        anchors.iter().map(|der| pem::Pem::new("CERTIFICATE", der.to_vec())).collect();
    pem::encode_many_config(&blocks, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
