use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use serde_json::{Value, json};
use xebec_api::field::Path;

use super::{Fetch, JwtAuthenticator, JwtError, KeyError, REFRESH_EVERY};
use crate::User;
use crate::authn::config::{AuthenticationConfiguration, JwtConfig};
use crate::remote::RemoteError;

const ISSUER: &str = "https://issuer.example.com";

enum Key {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    fn make(algorithm: &str) -> Key {
        let random = SystemRandom::new();
        let ecdsa = |how| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(how, pkcs8.as_ref(), &random).unwrap()
        };
        match algorithm {
            "ES256" => Key::P256(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            "ES384" => Key::P384(ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
            _ => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                Key::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
            }
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Key::P256(_) => "ES256",
            Key::P384(_) => "ES384",
            Key::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Key::P256(key) | Key::P384(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                let curve = if matches!(self, Key::P256(_)) { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "kid": id, "use": "sig", "x": encode(x), "y": encode(y)})
            }
            Key::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(key.public_key().as_ref())})
            }
        }
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": id});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Key::P256(key) | Key::P384(key) => {
                key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec()
            }
            Key::Ed(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// An issuer without a network.
struct Provider {
    keys: Mutex<Vec<Value>>,
    issuer: Mutex<String>,
    fetches: AtomicUsize,
    down: AtomicBool,
}

#[async_trait]
impl Fetch for Provider {
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, RemoteError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(RemoteError::Address { url: url.to_owned(), reason: "down".to_owned() });
        }
        let keys_url = format!("{ISSUER}/keys");
        let document = match url.strip_prefix(ISSUER) {
            Some("/.well-known/openid-configuration") => {
                json!({"issuer": self.issuer.lock().clone(), "jwks_uri": keys_url})
            }
            Some("/keys") => json!({"keys": self.keys.lock().clone()}),
            other => panic!("nobody asked for {other:?}"),
        };
        Ok(document.to_string().into_bytes())
    }
}

fn provider(keys: Vec<Value>) -> Arc<Provider> {
    Arc::new(Provider {
        keys: Mutex::new(keys),
        issuer: Mutex::new(ISSUER.to_owned()),
        fetches: AtomicUsize::new(0),
        down: AtomicBool::new(false),
    })
}

/// One issuer with these mappings and rules (YAML below `jwt[0]`).
fn config(rest: &str) -> JwtConfig {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {{url: {ISSUER}, audiences: [api, other], audienceMatchPolicy: MatchAny}}\n{rest}"
    );
    AuthenticationConfiguration::parse(&text).unwrap().jwt.remove(0)
}

const SUBJECT: &str = "  claimMappings: {username: {claim: sub, prefix: \"oidc:\"}, groups: {claim: roles, prefix: \"oidc:\"}, uid: {claim: sub}}";

fn authenticator(rest: &str, provider: &Arc<Provider>) -> JwtAuthenticator {
    let fetch: Arc<dyn Fetch> = Arc::clone(provider) as _;
    JwtAuthenticator::with_fetch(&config(rest), &Path::new("jwt").index(0), fetch).unwrap()
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn claims(change: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": "api", "sub": "ann", "exp": now().as_second() + 60});
    for (key, value) in change.as_object().unwrap() {
        claims[key] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(key);
        }
    }
    claims
}

async fn ask(rest: &str, change: Value) -> Result<User, String> {
    let key = Key::make("ES256");
    let authenticator = authenticator(rest, &provider(vec![key.jwk("1")]));
    let found = authenticator.authenticate(&key.token("1", &claims(change)), now()).await;
    found.expect("its own issuer").map_err(|error| error.to_string())
}

#[tokio::test]
async fn each_algorithm_is_proven() {
    for algorithm in ["ES256", "ES384", "EdDSA"] {
        let key = Key::make(algorithm);
        let authenticator = authenticator(SUBJECT, &provider(vec![key.jwk("k")]));
        let token = key.token("k", &claims(json!({"aud": ["x", "other"], "roles": ["a", "b"]})));
        let user = authenticator.authenticate(&token, now()).await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("oidc:ann", "ann"));
        assert_eq!(user.groups, ["oidc:a", "oidc:b"]);
        let forged = Key::make(algorithm).token("k", &claims(json!({})));
        let refused = authenticator.authenticate(&forged, now()).await.unwrap();
        assert!(matches!(refused, Err(JwtError::Signature(KeyError::Signature))), "{algorithm}");
    }
}

#[tokio::test]
async fn rsa_tokens_are_proven() {
    // RFC 7515 appendix A.2: an RS256 signature with its public key.
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let jwk = json!({"kty": "RSA", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ", "e": "AQAB"});
    let keys = super::verify::parse_set(&json!({"keys": [jwk]})).unwrap();
    let (signed, signature) = TOKEN.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(keys[0].verifies("RS256", signed.as_bytes(), &signature));
    assert!(!keys[0].verifies("RS384", signed.as_bytes(), &signature));
    assert!(!keys[0].verifies("ES256", signed.as_bytes(), &signature));
    assert!(!keys[0].verifies("RS256", b"other", &signature));
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_said() {
    let late = now().as_second();
    let cases = [
        (json!({"aud": "web"}), "expected audience in"),
        (json!({"aud": null}), "expected audience in"),
        (json!({"exp": late - 1}), "token is expired (Token Expiry: 2025-12-31T23:59:59Z)"),
        (json!({"exp": null}), "token is expired"),
        (json!({"nbf": late + 301}), "before the nbf"),
        (json!({"sub": null}), "parse username claims \"sub\": claim not present"),
        (json!({"sub": 7}), "parse username claims \"sub\": not a string"),
        (json!({"roles": {"a": 1}}), "parse groups claim \"roles\""),
    ];
    for (change, wanted) in cases {
        let error = ask(SUBJECT, change.clone()).await.unwrap_err();
        assert!(error.contains(wanted), "{change}: {error}");
    }
    assert!(ask(SUBJECT, json!({"nbf": late + 300, "roles": "one"})).await.unwrap().groups == ["oidc:one"]);
}

#[tokio::test]
async fn rules_on_claims_and_verified_addresses() {
    let email = "  claimMappings: {username: {claim: email, prefix: \"\"}}\n  claimValidationRules: [{claim: hd, requiredValue: acme}]";
    let ask = |change: Value| ask(email, change);
    let good = json!({"email": "a@acme", "email_verified": true, "hd": "acme"});
    assert_eq!(ask(good).await.unwrap().name, "a@acme");
    let unsaid = ask(json!({"email": "a@acme", "hd": "acme"})).await;
    assert_eq!(unsaid.unwrap().name, "a@acme", "a token without the claim is taken, as upstream");
    for (change, wanted) in [
        (json!({"email": "a@acme", "email_verified": false, "hd": "acme"}), "oidc: email not verified"),
        (json!({"email": "a@acme", "email_verified": "yes", "hd": "acme"}), "parse 'email_verified' claim"),
        (json!({"email": "a@acme"}), "oidc: required claim hd not present in ID token"),
        (
            json!({"email": "a@acme", "hd": "other"}),
            "oidc: required claim hd value does not match. Got = other, want = acme",
        ),
        (json!({"email": "a@acme", "hd": 7}), "oidc: parse claim hd: not a string"),
    ] {
        let error = ask(change).await.unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn tokens_of_others_are_not_looked_at() {
    let key = Key::make("ES256");
    let provider = provider(vec![key.jwk("1")]);
    let authenticator = authenticator(SUBJECT, &provider);
    let foreign = key.token("1", &claims(json!({"iss": "https://other.example.com"})));
    for token in [foreign.as_str(), "opaque", "a.b.c", "a.b.c.d", &"x".repeat(1 << 20)] {
        assert!(authenticator.authenticate(token, now()).await.is_none());
    }
    assert_eq!(provider.fetches.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn algorithms_are_the_configurations_choice() {
    let key = Key::make("ES256");
    let mut config = config(SUBJECT);
    config.signing_algorithms = vec!["RS256".to_owned()];
    let fetch: Arc<dyn Fetch> = provider(vec![key.jwk("1")]) as _;
    let authenticator = JwtAuthenticator::with_fetch(&config, &Path::new("jwt"), fetch).unwrap();
    let refused = authenticator.authenticate(&key.token("1", &claims(json!({}))), now()).await.unwrap();
    assert!(matches!(refused, Err(JwtError::Algorithm { .. })));
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_when_unknown_and_not_too_often() {
    let (old, new) = (Key::make("ES256"), Key::make("ES256"));
    let provider = provider(vec![old.jwk("old")]);
    let authenticator = authenticator(SUBJECT, &provider);
    let ask = async |key: &Key, id: &str| {
        authenticator.authenticate(&key.token(id, &claims(json!({}))), now()).await.unwrap()
    };
    let fetches = || provider.fetches.load(Ordering::SeqCst);
    assert!(ask(&old, "old").await.is_ok());
    assert!(ask(&old, "old").await.is_ok());
    assert_eq!(fetches(), 2, "discovery and keys, once");
    provider.keys.lock().push(new.jwk("new"));
    assert!(ask(&new, "new").await.is_err(), "not again so soon");
    assert_eq!(fetches(), 2);
    tokio::time::advance(REFRESH_EVERY).await;
    assert!(ask(&new, "new").await.is_ok());
    assert_eq!(fetches(), 4);
    // The issuer is down: known keys serve on, unknown ones are refused.
    provider.down.store(true, Ordering::SeqCst);
    tokio::time::advance(REFRESH_EVERY).await;
    assert!(ask(&Key::make("ES256"), "stranger").await.is_err());
    assert!(ask(&old, "old").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_first_is_asked_again_later() {
    let key = Key::make("ES256");
    let provider = provider(vec![key.jwk("1")]);
    provider.down.store(true, Ordering::SeqCst);
    let authenticator = authenticator(SUBJECT, &provider);
    let token = key.token("1", &claims(json!({})));
    let error = authenticator.authenticate(&token, now()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("fetching keys"), "{error}");
    provider.down.store(false, Ordering::SeqCst);
    assert!(authenticator.authenticate(&token, now()).await.unwrap().is_err());
    tokio::time::advance(REFRESH_EVERY).await;
    assert!(authenticator.authenticate(&token, now()).await.unwrap().is_ok());
    // A provider that speaks for somebody else gives no keys.
    *provider.issuer.lock() = "https://other.example.com".to_owned();
    tokio::time::advance(REFRESH_EVERY).await;
    let stranger = Key::make("ES256").token("2", &claims(json!({})));
    assert!(authenticator.authenticate(&stranger, now()).await.unwrap().is_err());
}

#[tokio::test]
async fn expressions_map_and_check() {
    let rules = "  claimMappings:
    username: {expression: \"'oidc:' + claims.sub\"}
    groups: {expression: \"claims.roles.split(',')\"}
    uid: {expression: claims.id}
    extra: [{key: acme.io/team, valueExpression: \"has(claims.team) ? claims.team : ''\"}]
  claimValidationRules: [{expression: \"claims.exp - claims.iat <= 600\", message: too long}]
  userValidationRules: [{expression: \"!user.groups.exists(g, g.startsWith('system:'))\", message: reserved}]";
    let iat = now().as_second();
    let good = json!({"roles": "a,b", "id": "7", "iat": iat, "team": ["x", "y"]});
    let user = ask(rules, good).await.unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("oidc:ann", "7"));
    assert_eq!(user.groups, ["a", "b"]);
    assert_eq!(user.extra["acme.io/team"], ["x", "y"]);
    let plain = ask(rules, json!({"roles": "a", "id": "7", "iat": iat})).await.unwrap();
    assert!(plain.extra.is_empty(), "an empty value adds nothing");
    for (change, wanted) in [
        (json!({"roles": "a", "id": "7", "iat": iat - 600}), "failed: too long"),
        (json!({"roles": "system:masters", "id": "7", "iat": iat}), "failed: reserved"),
        (json!({"roles": "a", "id": 7, "iat": iat}), "expression must return a string"),
        (json!({"roles": "a", "iat": iat}), "error evaluating uid claim expression"),
    ] {
        let error = ask(rules, change).await.unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
}
