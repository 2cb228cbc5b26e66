//! One probe of one container: exec, HTTP, TCP or gRPC. Enters: the target. Leaves: [`Outcome`], with upstream's words.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ExecAction, GRPCAction, Probe, TCPSocketAction};
use tokio::net::TcpStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use xebec_cri::CriError;

use super::Target;
use crate::http;
use crate::pods::Shared;

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Success.
    Healthy,
    /// Failure, with what to tell people.
    Unhealthy(String),
    /// The probe itself could not be carried out; it does not count.
    Unknown(String),
}

/// The greatest output of an exec probe shown in an Event.
const OUTPUT_LIMIT: usize = 10 * 1024;

/// Probes once.
pub async fn once(shared: &Shared, target: &Target, probe: &Probe, limit: Duration) -> Outcome {
    if let Some(action) = &probe.exec {
        return exec(shared, target, action, limit).await;
    }
    if let Some(action) = &probe.http_get {
        let answer = http::get(action, &target.container, &target.ip, "kube-probe/1.36", limit).await;
        return match answer {
            Ok(answer) if (200..400).contains(&answer.status) => Outcome::Healthy,
            Ok(answer) => Outcome::Unhealthy(format!("HTTP probe failed with statuscode: {}", answer.status)),
            Err(error) => Outcome::Unhealthy(error.to_string()),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        return tcp(target, action, limit).await;
    }
    match &probe.grpc {
        Some(action) => grpc(target, action, limit).await,
        None => Outcome::Unknown("missing probe handler".to_owned()),
    }
}

async fn exec(shared: &Shared, target: &Target, action: &ExecAction, limit: Duration) -> Outcome {
    let Ok(_permit) = shared.exec_gate.acquire().await else {
        return Outcome::Unknown("the agent is stopping".to_owned());
    };
    let command = action.command.clone().unwrap_or_default();
    match shared.runtime.exec_sync(&target.id, command.clone(), limit).await {
        Ok(answer) if answer.exit_code == 0 => Outcome::Healthy,
        Ok(answer) => {
            let mut output = [answer.stdout, answer.stderr].concat();
            output.truncate(OUTPUT_LIMIT);
            Outcome::Unhealthy(String::from_utf8_lossy(&output).into_owned())
        }
        Err(CriError::DeadlineExceeded(_)) => Outcome::Unhealthy(format!(
            "command timed out: \"{}\" timed out after {}s",
            command.join(" "),
            limit.as_secs()
        )),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

async fn tcp(target: &Target, action: &TCPSocketAction, limit: Duration) -> Outcome {
    let Some(port) = http::port(&target.container, &action.port) else {
        return Outcome::Unknown(format!("couldn't find port: {:?}", action.port));
    };
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
    let authority = http::authority(host, port);
    match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Healthy,
        Ok(Err(error)) => Outcome::Unhealthy(http::dial_error(&authority, &error)),
        Err(_) => Outcome::Unhealthy(format!("dial tcp {authority}: i/o timeout")),
    }
}

/// grpc.health.v1.HealthCheckRequest.
#[derive(Clone, PartialEq, ::prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// grpc.health.v1.HealthCheckResponse; status 1 is SERVING.
#[derive(Clone, PartialEq, ::prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn grpc(target: &Target, action: &GRPCAction, limit: Duration) -> Outcome {
    let authority = http::authority(&target.ip, u16::try_from(action.port).unwrap_or(0));
    let late = || {
        let text = format!("timeout: failed to connect service \"{authority}\" within {}s", limit.as_secs());
        Outcome::Unhealthy(format!("{text}: context deadline exceeded"))
    };
    let work = async {
        let endpoint = match Endpoint::from_shared(format!("http://{authority}")) {
            Ok(endpoint) => endpoint,
            Err(error) => return Outcome::Unknown(error.to_string()),
        };
        let Ok(channel) = endpoint.connect().await else { return late() };
        let mut client = tonic::client::Grpc::new(channel);
        if client.ready().await.is_err() {
            return late();
        }
        let request = HealthCheckRequest { service: action.service.clone().unwrap_or_default() };
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        match client.unary(tonic::Request::new(request), path, codec).await {
            Ok(answer) if answer.get_ref().status == 1 => Outcome::Healthy,
            Ok(answer) => {
                let name = match answer.get_ref().status {
                    2 => "NOT_SERVING",
                    3 => "SERVICE_UNKNOWN",
                    _ => "UNKNOWN",
                };
                Outcome::Unhealthy(format!("service unhealthy (responded with \"{name}\")"))
            }
            Err(status) => {
                Outcome::Unhealthy(format!("error: health rpc probe failed: {}", status.message()))
            }
        }
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| late())
}
