//! TokenReview: whose token is this?
//!
//! Authority: `pkg/registry/authentication/tokenreview/storage.go`.

use serde_json::{Value, json};

use super::Authenticator;
use crate::{strings, text};

impl Authenticator {
    /// The `status` of a TokenReview; `None` if its `spec.token` is empty (400: token is required for TokenReview in
    /// authentication).
    pub async fn review_token(&self, review: &Value) -> Option<Value> {
        let token = text(review, "/spec/token");
        if token.is_empty() {
            return None;
        }
        let mut audiences = strings(review, "/spec/audiences");
        if audiences.is_empty() {
            audiences = self.api_audiences().to_vec();
        }
        Some(match self.authenticate_token(token, &audiences).await {
            Ok(found) => json!({
                "authenticated": true,
                "user": found.user.to_user_info(),
                "audiences": found.audiences,
            }),
            Err(error) => json!({"user": {}, "error": error.to_string()}),
        })
    }
}
