use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{Timestamp, ToSpan as _};
use parking_lot::Mutex;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{Authenticator, AuthenticatorOptions, AuthnError, Impersonation, Peer, StaleTokenError};
use crate::pki::{Authority, Leaf, Usage};
use crate::testing::{MemoryReader, now};
use crate::token::{TokenError, TokenRequestOptions, TokenSigner, token_request};
use crate::{Attributes, User};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

struct World {
    reader: Arc<MemoryReader>,
    signer: TokenSigner,
    now: Arc<Mutex<Timestamp>>,
    authenticator: Authenticator,
}

fn account(uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot", "namespace": "a", "uid": uid}})
}

fn pod(uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a", "uid": uid},
           "spec": {"serviceAccountName": "bot", "nodeName": "n"}})
}

fn world(anonymous: bool) -> World {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "uid": "node-1"}});
    let reader = MemoryReader::with(vec![account("sa-1"), pod("pod-1"), node]);
    let signer =
        TokenSigner::from_pem(KeyPair::generate().unwrap().serialize_pem().as_bytes(), ISSUER).unwrap();
    let now = Arc::new(Mutex::new("2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap()));
    let clock = Arc::clone(&now);
    let options = AuthenticatorOptions::new(anonymous, vec![ISSUER.to_owned()]);
    let shared: Arc<dyn crate::ObjectReader> = Arc::clone(&reader) as _;
    let authenticator =
        Authenticator::with_clock(shared, signer.verifier(), options, Arc::new(move || *clock.lock()));
    World { reader, signer, now, authenticator }
}

impl World {
    fn token(&self, spec: Value) -> String {
        let options = TokenRequestOptions { api_audiences: vec![ISSUER.to_owned()], extend_expiration: true };
        let request = json!({"spec": spec});
        let now = *self.now.lock();
        let answer =
            token_request(self.reader.as_ref(), &self.signer, &options, ("a", "bot"), &request, now).unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    fn authenticate(&self, headers: &HeaderMap, der: Option<&[u8]>) -> Result<User, AuthnError> {
        now(self.authenticator.authenticate(headers, der.map(Peer::client).as_ref(), "/api"))
    }

    fn pod_token(&self) -> String {
        self.token(json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}))
    }

    fn bearer(&self, token: &str) -> Result<User, AuthnError> {
        self.authenticate(&headers(&[("authorization", &format!("Bearer {token}"))]), None)
    }
}

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect()
}

#[test]
fn a_pod_bound_token_is_its_service_account() {
    let world = world(true);
    let user = world.bearer(&world.pod_token()).unwrap();
    assert_eq!(user.name, "system:serviceaccount:a:bot");
    assert_eq!(user.uid, "sa-1");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
    let extra = |key: &str| user.extra[&format!("authentication.kubernetes.io/{key}")][0].as_str();
    assert_eq!((extra("pod-name"), extra("pod-uid")), ("p", "pod-1"));
    assert_eq!((extra("node-name"), extra("node-uid")), ("n", "node-1"));
    assert!(extra("credential-id").starts_with("JTI="));
}

#[test]
fn a_token_dies_with_what_it_is_bound_to() {
    let world = world(true);
    let token = world.pod_token();
    assert!(world.bearer(&token).is_ok());
    world.reader.remove("Pod", "p");
    assert!(matches!(
        world.bearer(&token),
        Err(AuthnError::Stale(StaleTokenError::Gone { kind: "pod", .. }))
    ));
    world.reader.add(pod("pod-2"));
    assert!(matches!(
        world.bearer(&token),
        Err(AuthnError::Stale(StaleTokenError::Replaced { kind: "pod", .. }))
    ));
    let unbound = world.token(json!({}));
    assert!(world.bearer(&unbound).is_ok());
    world.reader.remove("ServiceAccount", "bot");
    assert!(world.bearer(&unbound).is_err());
    world.reader.add(account("sa-2"));
    let error = world.bearer(&unbound).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid bearer token, service account UID (sa-2) does not match claim (sa-1)"
    );
}

#[test]
fn a_pod_being_deleted_keeps_its_token_until_its_time_is_up() {
    let world = world(true);
    let token = world.pod_token();
    let now = *world.now.lock();
    let mut deleted = pod("pod-1");
    deleted["metadata"]["deletionTimestamp"] = json!((now + 30.seconds()).to_string());
    world.reader.remove("Pod", "p");
    world.reader.add(deleted);
    assert!(world.bearer(&token).is_ok());
    *world.now.lock() = now + 91.seconds();
    assert!(matches!(world.bearer(&token), Err(AuthnError::Stale(StaleTokenError::Deleted { .. }))));
}

#[test]
fn expiry_and_audience_are_checked_even_for_tokens_seen_before() {
    let world = world(true);
    let token = world.token(json!({"expirationSeconds": 600}));
    assert!(world.bearer(&token).is_ok());
    let other = ["other".to_owned()];
    let result = now(world.authenticator.authenticate_token(&token, &other));
    assert!(matches!(result, Err(AuthnError::Token(TokenError::Audience { .. }))));
    let later = *world.now.lock() + 700.seconds();
    *world.now.lock() = later;
    assert!(matches!(world.bearer(&token), Err(AuthnError::Token(TokenError::Expired))));
    let vault = world.token(json!({"audiences": ["vault"]}));
    assert!(matches!(world.bearer(&vault), Err(AuthnError::Token(TokenError::Audience { .. }))));
}

#[test]
fn no_credential_is_anonymous_and_a_bad_one_never_is() {
    let open = world(true);
    let none = HeaderMap::new();
    assert_eq!(open.authenticate(&none, None).unwrap(), User::anonymous());
    let basic = headers(&[("authorization", "Basic eDp5")]);
    assert_eq!(open.authenticate(&basic, None).unwrap(), User::anonymous());
    assert!(open.bearer("nonsense").is_err());
    assert!(open.bearer("a.b.c").is_err());
    let closed = world(false);
    assert!(matches!(closed.authenticate(&none, None), Err(AuthnError::AnonymousOff)));
}

#[test]
fn browsers_send_tokens_as_a_subprotocol() {
    use base64::Engine as _;
    let world = world(false);
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(world.pod_token());
    let protocol = format!("v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{encoded}");
    let upgrade = headers(&[("upgrade", "websocket"), ("sec-websocket-protocol", &protocol)]);
    assert_eq!(world.authenticate(&upgrade, None).unwrap().name, "system:serviceaccount:a:bot");
    let plain = headers(&[("sec-websocket-protocol", &protocol)]);
    assert!(world.authenticate(&plain, None).is_err());
}

#[test]
fn a_certificate_names_user_and_group_and_wins_over_a_token() {
    use rustls_pki_types::pem::PemObject as _;
    let world = world(true);
    let now = *world.now.lock();
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::ensure(&dir.path().join("ca"), "kubernetes", now).unwrap();
    let der = |leaf: &Leaf| {
        let issued = ca.issue(leaf, now).unwrap();
        rustls_pki_types::CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap()
    };
    let cert = der(&Leaf::new("system:node:n", Usage::Client).organization("system:nodes"));
    let with_token = headers(&[("authorization", &format!("Bearer {}", world.pod_token()))]);
    let user = world.authenticate(&with_token, Some(&cert)).unwrap();
    assert_eq!((user.name.as_str(), user.node_name()), ("system:node:n", Some("n")));
    assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));

    let none = HeaderMap::new();
    let server = der(&Leaf::new("web", Usage::Server));
    assert!(matches!(
        world.authenticate(&none, Some(&server)),
        Err(AuthnError::Certificate(super::X509Error::Usage))
    ));
    assert!(world.authenticate(&none, Some(b"garbage")).is_err());
    *world.now.lock() = now + (366 * 24).hours();
    assert!(matches!(
        world.authenticate(&none, Some(&cert)),
        Err(AuthnError::Certificate(super::X509Error::Validity))
    ));
}

#[test]
fn token_reviews() {
    let world = world(true);
    let review = |token: &str, audiences: Value| {
        now(world.authenticator.review_token(&json!({"spec": {"token": token, "audiences": audiences}})))
    };
    let token = world.token(json!({"audiences": ["vault", ISSUER]}));
    let status = review(&token, json!([])).unwrap();
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!([ISSUER])));
    assert_eq!(status["user"]["username"], "system:serviceaccount:a:bot");
    assert_eq!(review(&token, json!(["vault", "x"])).unwrap()["audiences"], json!(["vault"]));
    let refused = review(&token, json!(["x"])).unwrap();
    assert_eq!(refused.get("authenticated"), None);
    assert!(refused["error"].as_str().unwrap().starts_with("invalid bearer token"));
    assert_eq!(review("", json!([])), None);
}

#[test]
fn impersonation_needs_each_part_allowed() {
    let caller = User::new("ann", &[]);
    let read = |list: &[(&'static str, &str)]| Impersonation::from_headers(&headers(list));
    assert_eq!(read(&[]), Ok(None));
    assert!(read(&[("impersonate-group", "x")]).is_err());

    let as_user = read(&[
        ("impersonate-user", "bob"),
        ("impersonate-group", "devs"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-acme.com%2fscope", "view"),
    ])
    .unwrap()
    .unwrap();
    assert_eq!(as_user.user.groups, ["devs", "system:authenticated"]);
    assert_eq!(as_user.user.extra["acme.com/scope"], ["view"]);
    let check = |group: &str, resource: &str, namespace: &str, name: &str| {
        Attributes::resource(&caller, "impersonate", group, resource, namespace, name)
    };
    assert_eq!(
        as_user.checks(&caller),
        [
            check("", "users", "", "bob"),
            check("", "groups", "", "devs"),
            check("authentication.k8s.io", "uids", "", "7"),
            check("authentication.k8s.io", "userextras", "", "view").with_subresource("acme.com/scope"),
        ]
    );
    let as_account = read(&[("impersonate-user", "system:serviceaccount:a:bot")]).unwrap().unwrap();
    assert_eq!(
        as_account.user.groups,
        ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
    );
    assert_eq!(as_account.checks(&caller), [check("", "serviceaccounts", "a", "bot")]);
    let as_nobody = read(&[("impersonate-user", "system:anonymous")]).unwrap().unwrap();
    assert_eq!(as_nobody.user.groups, ["system:unauthenticated"]);
}

#[test]
fn constrained_ways_come_before_the_unconstrained_one() {
    let request = Attributes::resource(&User::new("x", &[]), "list", "", "pods", "a", "");
    let wanted =
        |list: &[(&'static str, &str)]| Impersonation::from_headers(&headers(list)).unwrap().unwrap();
    let shown = |caller: &User, wanted: &Impersonation| -> Vec<String> {
        let line = |check: &Attributes| format!("{} {} {}", check.verb, check.resource, check.name);
        let ways = wanted.ways(caller, &request);
        ways.iter().map(|way| way.checks.iter().map(line).collect::<Vec<_>>().join(", ")).collect()
    };
    let ann = User::new("ann", &[]);
    let bob = wanted(&[("impersonate-user", "bob"), ("impersonate-group", "devs")]);
    assert_eq!(
        shown(&ann, &bob),
        [
            "impersonate-on:user-info:list pods , impersonate:user-info users bob, impersonate:user-info groups devs",
            "impersonate users bob, impersonate groups devs",
        ]
    );
    assert_eq!(bob.ways(&ann, &request)[0].constraint, "impersonate:user-info");
    let account = wanted(&[("impersonate-user", "system:serviceaccount:a:bot")]);
    assert_eq!(
        shown(&ann, &account),
        [
            "impersonate-on:serviceaccount:list pods , impersonate:serviceaccount serviceaccounts bot",
            "impersonate serviceaccounts bot",
        ]
    );
    let node = wanted(&[("impersonate-user", "system:node:n")]);
    let arbitrary = "impersonate-on:arbitrary-node:list pods , impersonate:arbitrary-node nodes n";
    assert_eq!(shown(&ann, &node), [arbitrary, "impersonate users system:node:n"]);
    assert_eq!(node.ways(&ann, &request)[0].user.groups, ["system:nodes", "system:authenticated"]);
    let mut agent = User::service_account("kube-system", "agent");
    agent.extra.insert("authentication.kubernetes.io/node-name".to_owned(), vec!["n".to_owned()]);
    assert_eq!(
        shown(&agent, &node),
        [
            "impersonate-on:associated-node:list pods , impersonate:associated-node nodes *",
            arbitrary,
            "impersonate users system:node:n",
        ]
    );
    let seen = &node.ways(&agent, &request)[0].checks[0].user.extra;
    assert_eq!(
        seen["authentication.kubernetes.io/associated-node-keys"],
        ["authentication.kubernetes.io/node-name"]
    );
    let other = wanted(&[("impersonate-user", "system:node:m")]);
    assert_eq!(shown(&agent, &other).len(), 2, "another node than its own");
    let grouped = wanted(&[("impersonate-user", "system:node:n"), ("impersonate-group", "x")]);
    assert_eq!(shown(&agent, &grouped).len(), 1, "a node with groups of choice is only had without limits");
}
