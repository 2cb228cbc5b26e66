//! How a process ended: read from the kubelet's error stream, told on the client's error channel.
//!
//! Authority: k8s.io/client-go/tools/remotecommand/v4.go, k8s.io/apiserver/pkg/util/proxy/streamtranslator.go.

use serde_json::{Value, json};
use xebec_api::status::{ApiError, Cause, Details, Reason};
use xebec_spdy::{End, Receiver};

use super::remote::Version;

/// Longest message of an error stream.
const LIMIT: usize = 1024 * 1024;
/// The cause of a Status whose message is the exit code.
const EXIT_CODE: &str = "ExitCode";

/// Reads the error stream to its end.
pub async fn read(mut stream: Receiver, version: Version) -> Result<(), ApiError> {
    let mut message = Vec::new();
    while let Some(piece) = stream.next().await {
        let room = LIMIT - message.len();
        message.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    if message.is_empty() {
        return match stream.end() {
            // Upstream takes a lost connection for success; whoever runs a script is better told.
            End::Lost => {
                Err(ApiError::internal("error reading from error stream: the kubelet's connection ended"))
            }
            End::Finished | End::Reset => Ok(()),
        };
    }
    match version {
        Version::Text => {
            let text = String::from_utf8_lossy(&message);
            Err(ApiError::internal(format!("error executing remote command: {text}")))
        }
        Version::Status => judge(&message),
    }
}

/// What a Status of the kubelet means.
fn judge(message: &[u8]) -> Result<(), ApiError> {
    let broken = |why: String| Err(ApiError::internal(format!("error stream protocol error: {why}")));
    let status: Value = match serde_json::from_slice(message) {
        Ok(status) => status,
        Err(error) => return broken(format!("{error} in {:?}", String::from_utf8_lossy(message))),
    };
    match status["status"].as_str() {
        Some("Success") => return Ok(()),
        Some("Failure") => {}
        _ => return broken("unknown error".to_owned()),
    }
    if status["reason"] != "NonZeroExitCode" {
        return Err(ApiError::internal(status["message"].as_str().unwrap_or_default()));
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes.into_iter().flatten().find(|cause| cause["reason"] == EXIT_CODE);
    let Some(code) = code.and_then(|cause| cause["message"].as_str()) else {
        return broken(format!("no {EXIT_CODE} cause given"));
    };
    match code.parse::<u8>() {
        Ok(code) => Err(exited(code)),
        Err(_) => broken(format!("invalid exit code value {code:?}")),
    }
}

/// An exit code other than zero: no code of HTTP, which [`of`] leaves out.
fn exited(code: u8) -> ApiError {
    let message =
        format!("command terminated with non-zero exit code: command terminated with exit code {code}");
    let cause = Cause { reason: EXIT_CODE.to_owned(), message: code.to_string(), field: String::new() };
    let mut error = ApiError::new(0, Reason::Unknown, message);
    error.details = Some(Details { causes: vec![cause], ..Details::default() });
    error
}

/// The Status the client gets.
pub fn of(outcome: Result<(), ApiError>) -> Value {
    match outcome {
        Ok(()) => json!({"metadata": {}, "status": "Success"}),
        Err(error) if error.code == 0 => {
            let mut value = error.to_value();
            value["reason"] = json!("NonZeroExitCode");
            if let Some(object) = value.as_object_mut() {
                object.remove("code");
            }
            value
        }
        Err(error) => error.to_value(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &str) -> Value {
        of(judge(message.as_bytes()))
    }

    #[test]
    fn exit_codes_reach_the_client() {
        let status = told(
            r#"{"status": "Failure", "reason": "NonZeroExitCode", "message": "whatever",
                "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}"#,
        );
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
        assert_eq!(
            status["message"],
            "command terminated with non-zero exit code: command terminated with exit code 3"
        );
        assert!(status["code"].is_null());
        assert_eq!(told(r#"{"status": "Success"}"#), json!({"metadata": {}, "status": "Success"}));
    }

    #[test]
    fn other_ends_are_internal_errors() {
        let message = |text: &str| told(text)["message"].as_str().unwrap().to_owned();
        assert_eq!(
            message(
                r#"{"status": "Failure", "reason": "InternalError", "message": "OCI runtime exec failed"}"#
            ),
            "Internal error occurred: OCI runtime exec failed"
        );
        assert!(message("{}").ends_with("error stream protocol error: unknown error"));
        assert!(message("x").contains("in \"x\""));
        let code = |code: &str| {
            message(&format!(
                r#"{{"status": "Failure", "reason": "NonZeroExitCode", "details": {{"causes": [{{"reason": "ExitCode",
                "message": "{code}"}}]}}}}"#
            ))
        };
        assert!(code("256").ends_with("invalid exit code value \"256\""));
        assert!(
            message(r#"{"status": "Failure", "reason": "NonZeroExitCode"}"#)
                .ends_with("no ExitCode cause given")
        );
    }
}
