//! Takes the proxies' reports. What a report is about is what the caller's certificate proves, not what the report says.

use std::sync::Arc;
use std::time::Instant;

use conduit_api::metrics::v1::metrics_server::Metrics;
use conduit_api::metrics::v1::{ReportRequest, ReportResponse};
use conduit_process::tasks::Tasks;
use tonic::{Request, Response, Status, Streaming};

use super::series::Aggregate;
use crate::serve::listener::caller;
use crate::store::Store;

/// The service.
pub struct Service {
    /// What there is.
    pub store: Arc<Store>,
    /// Where reports go.
    pub aggregate: Arc<Aggregate>,
    /// Whose end ends the streams: a proxy's never ends by itself.
    pub tasks: Tasks,
}

#[tonic::async_trait]
impl Metrics for Service {
    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let caller = caller(&request)?;
        let mut reports = request.into_inner();
        let stopping = self.tasks.token().clone();
        while let Some(report) = stopping.run_until_cancelled(reports.message()).await.transpose()?.flatten()
        {
            let pod =
                report.pod.clone().ok_or_else(|| Status::invalid_argument("a report must name its pod"))?;
            let name = (pod.namespace, pod.name);
            let known = self
                .store
                .read(|model| model.pod(&name).map(|pod| (model.identity(pod), model.workload_of(pod))));
            match known {
                Some((Some(identity), workload)) if identity == caller => {
                    self.aggregate.report(&name, &workload, &report, Instant::now());
                }
                Some(_) => {
                    return Err(Status::permission_denied(format!(
                        "{caller} is not the identity of this pod"
                    )));
                }
                // The pod is gone already, or not here yet: nothing to count it for.
                None => {}
            }
        }
        Ok(Response::new(ReportResponse {}))
    }
}
