//! Asks the API server. Enters: tokens and attributes. Leaves: answers of authentication.k8s.io/v1 and
//! authorization.k8s.io/v1. Used by the agent binary; the node's user needs the rights of `system:node`.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use super::{Access, AccessError, Attributes, User, Verdict};

/// How long the API server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// [`Access`] by reviews of the API server.
#[derive(Clone)]
pub struct KubeAccess {
    client: kube::Client,
}

impl KubeAccess {
    /// Asks through this client, as its user.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Access for KubeAccess {
    async fn authenticate(&self, token: &str) -> Result<Option<User>, AccessError> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = within("review a token", api.create(&PostParams::default(), &review)).await?;
        let status = answer.status.filter(|status| status.authenticated == Some(true));
        Ok(status.and_then(|status| status.user).map(|user| User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        }))
    }

    async fn authorize(&self, user: &User, attributes: &Attributes) -> Result<Verdict, AccessError> {
        let review = SubjectAccessReview { spec: spec(user, attributes), ..SubjectAccessReview::default() };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = within("review access", api.create(&PostParams::default(), &review)).await?;
        let status = answer.status.unwrap_or_default();
        let allowed = status.allowed && !status.denied.unwrap_or(false);
        Ok(Verdict { allowed, reason: status.reason.or(status.evaluation_error).unwrap_or_default() })
    }
}

fn spec(user: &User, attributes: &Attributes) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: Some(user.groups.clone()),
        extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
        resource_attributes: Some(ResourceAttributes {
            verb: Some(attributes.verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(attributes.subresource.to_owned()),
            name: Some(attributes.node.clone()),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

async fn within<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, AccessError> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(AccessError { operation, cause: error.to_string() }),
        Err(_) => Err(AccessError { operation, cause: format!("no answer within {PATIENCE:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Full};
    use kube::client::Body;
    use serde_json::{Value, json};

    /// A client whose API server answers every review by `answer(path, sent object)`.
    fn client(answer: impl Fn(&str, Value) -> Value + Clone + Send + 'static) -> kube::Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = answer.clone();
            async move {
                let path = request.uri().path().to_owned();
                let sent = request.into_body().collect().await.unwrap().to_bytes();
                let body = answer(&path, serde_json::from_slice(&sent).unwrap());
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(body.to_string()))))
            }
        });
        kube::Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_token_is_reviewed_by_the_api_server() {
        let access = KubeAccess::new(client(|path, mut sent| {
            assert_eq!(path, "/apis/authentication.k8s.io/v1/tokenreviews");
            let good = sent["spec"]["token"] == "good";
            sent["status"] = json!({ "authenticated": good, "user": { "username": "ann", "groups": ["g"],
                "extra": { "k": ["v"] } } });
            sent
        }));
        let user = access.authenticate("good").await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("ann", ["g".to_owned()].as_slice()));
        assert_eq!(user.extra["k"], ["v"]);
        assert_eq!(
            access.authenticate("bad").await.unwrap(),
            None,
            "a user without authenticated counts for nothing"
        );
    }

    #[tokio::test]
    async fn access_is_reviewed_with_node_and_subresource() {
        let access = KubeAccess::new(client(|path, mut sent| {
            assert_eq!(path, "/apis/authorization.k8s.io/v1/subjectaccessreviews");
            let asked = &sent["spec"]["resourceAttributes"];
            let allowed = asked["resource"] == "nodes"
                && asked["subresource"] == "stats"
                && asked["name"] == "n1"
                && asked["verb"] == "get"
                && sent["spec"]["groups"] == json!(["g"]);
            sent["status"] = json!({ "allowed": allowed, "denied": sent["spec"]["user"] == "eve" });
            sent
        }));
        let attributes = Attributes { verb: "get", subresource: "stats", node: "n1".to_owned() };
        let mut user = User { name: "ann".to_owned(), groups: vec!["g".to_owned()], ..User::default() };
        assert!(access.authorize(&user, &attributes).await.unwrap().allowed);
        let other = Attributes { subresource: "proxy", ..attributes.clone() };
        assert!(!access.authorize(&user, &other).await.unwrap().allowed);
        user.name = "eve".to_owned();
        assert!(!access.authorize(&user, &attributes).await.unwrap().allowed, "denied wins over allowed");
    }
}
