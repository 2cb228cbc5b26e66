//! What goes wrong between the server and a webhook, and what the client sees of it. Pure.

use serde_json::Value;
use xebec_api::gotext::quote;
use xebec_api::status::ApiError;

/// The end of one call of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HookError {
    /// It could not be asked, or answered nonsense: its failure policy decides. `code` goes into the metrics.
    Calling { reason: String, code: u16 },
    /// It said no.
    Rejected(ApiError),
    /// The server cannot go on whatever the failure policy says.
    Fatal(ApiError),
}

impl HookError {
    /// 500 `Internal error occurred: failed calling webhook "x": reason`.
    pub(super) fn calling(name: &str, reason: &str) -> ApiError {
        ApiError::internal(calling_text(name, reason))
    }
}

/// `failed calling webhook "x": reason`.
pub(super) fn calling_text(name: &str, reason: &str) -> String {
    format!("failed calling webhook {}: {reason}", quote(name))
}

/// 400 for a webhook with side effects in a request that stores nothing.
pub(super) fn dry_run_unsupported(name: &str) -> ApiError {
    ApiError::bad_request(format!("admission webhook {} does not support dry run", quote(name)))
}

/// The refusal a webhook's Status stands for; never a success, and always with the webhook's name in its message.
pub(super) fn rejection(name: &str, result: &Value) -> ApiError {
    let mut status = if result.is_object() { result.clone() } else { Value::Object(Default::default()) };
    status["kind"] = "Status".into();
    status["status"] = "Failure".into();
    let denied = format!("admission webhook {} denied the request", quote(name));
    let text = |field: &str| status[field].as_str().filter(|text| !text.is_empty());
    let message = match (text("message"), text("reason")) {
        (Some(message), _) => format!("{denied}: {message}"),
        (None, Some(reason)) => format!("{denied}: {reason}"),
        (None, None) => format!("{denied} without explanation"),
    };
    let code = result["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
    status["code"] = if (400..600).contains(&code) { code } else { 400 }.into();
    status["message"] = message.clone().into();
    ApiError::from_value(&status).unwrap_or_else(|| ApiError::bad_request(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use xebec_api::status::Reason;

    #[test]
    fn refusals() {
        let cases = [
            (
                Value::Null,
                400,
                "admission webhook \"w\" denied the request without explanation",
                Reason::Unknown,
            ),
            (
                json!({"message": "no"}),
                400,
                "admission webhook \"w\" denied the request: no",
                Reason::Unknown,
            ),
            (
                json!({"reason": "Forbidden"}),
                400,
                "admission webhook \"w\" denied the request: Forbidden",
                Reason::Forbidden,
            ),
            (
                json!({"code": 403, "message": "m", "reason": "Forbidden"}),
                403,
                "admission webhook \"w\" denied the request: m",
                Reason::Forbidden,
            ),
            (
                json!({"code": 200, "status": "Success", "message": "m"}),
                400,
                "admission webhook \"w\" denied the request: m",
                Reason::Unknown,
            ),
        ];
        for (result, code, message, reason) in cases {
            let error = rejection("w", &result);
            assert_eq!((error.code, error.message.as_str(), error.reason), (code, message, reason));
        }
    }

    #[test]
    fn details_are_passed_on() {
        let error = rejection(
            "w",
            &json!({"details": {"causes": [{"message": "m", "field": "spec.x"}], "retryAfterSeconds": 3}}),
        );
        assert_eq!(error.details.unwrap().causes[0].field, "spec.x");
        assert_eq!(error.retry_after_seconds, Some(3));
    }
}
