use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{Timestamp, ToSpan as _};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{TokenError, TokenRequestError, TokenRequestOptions, TokenSigner, TokenVerifier, token_request};
use crate::testing::MemoryReader;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn signer() -> TokenSigner {
    TokenSigner::from_pem(KeyPair::generate().unwrap().serialize_pem().as_bytes(), ISSUER).unwrap()
}

fn options() -> TokenRequestOptions {
    TokenRequestOptions { api_audiences: vec![ISSUER.to_owned()], extend_expiration: true }
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05.678Z".parse().unwrap()
}

fn world() -> std::sync::Arc<MemoryReader> {
    MemoryReader::with(vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
               "metadata": {"name": "bot", "namespace": "a", "uid": "sa-1"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a", "uid": "pod-1"},
               "spec": {"serviceAccountName": "bot", "nodeName": "n"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "namespace": "a", "uid": "pod-2"},
               "spec": {"serviceAccountName": "default"}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "uid": "node-1"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "a", "uid": "secret-1"}}),
    ])
}

fn ask(signer: &TokenSigner, spec: Value) -> Result<Value, TokenRequestError> {
    let request = json!({"spec": spec});
    token_request(world().as_ref(), signer, &options(), ("a", "bot"), &request, now())
}

fn claims_of(answer: &Value) -> Value {
    let token = answer["status"]["token"].as_str().unwrap();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn a_pod_bound_token_has_upstreams_claims() {
    let answer = ask(
        &signer(),
        json!({"audiences": ["vault"], "expirationSeconds": 7200,
               "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "pod-1"}}),
    )
    .unwrap();
    let mut claims = claims_of(&answer);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 36);
    claims["jti"] = json!("id");
    let issued = now().as_second();
    assert_eq!(
        claims,
        json!({
            "aud": ["vault"], "exp": issued + 7200, "iat": issued, "nbf": issued, "iss": ISSUER, "jti": "id",
            "sub": "system:serviceaccount:a:bot",
            "kubernetes.io": {
                "namespace": "a",
                "serviceaccount": {"name": "bot", "uid": "sa-1"},
                "pod": {"name": "p", "uid": "pod-1"},
                "node": {"name": "n", "uid": "node-1"},
            },
        })
    );
    assert_eq!(answer["status"]["expirationTimestamp"], "2026-01-02T05:04:05Z");
    assert_eq!(answer["kind"], "TokenRequest");
}

#[test]
fn defaults_and_extension() {
    let plain = ask(&signer(), json!({})).unwrap();
    assert_eq!(plain["spec"]["expirationSeconds"], 3600);
    assert_eq!(plain["spec"]["audiences"], json!([ISSUER]));
    assert_eq!(claims_of(&plain)["kubernetes.io"].get("warnafter"), None);
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p"});
    let extended = ask(&signer(), json!({"expirationSeconds": 3607, "boundObjectRef": bound})).unwrap();
    let claims = claims_of(&extended);
    let issued = now().as_second();
    assert_eq!(claims["exp"], issued + 365 * 24 * 3600);
    assert_eq!(claims["kubernetes.io"]["warnafter"], issued + 3607);
    assert_eq!(extended["status"]["expirationTimestamp"], "2026-01-02T04:04:12Z");
    // Another audience is never extended, nor an unbound token.
    for spec in [
        json!({"expirationSeconds": 3607, "boundObjectRef": bound, "audiences": ["vault"]}),
        json!({"expirationSeconds": 3607}),
    ] {
        assert_eq!(claims_of(&ask(&signer(), spec).unwrap())["exp"], issued + 3607);
    }
}

#[test]
fn wrong_requests_are_refused_with_upstreams_words() {
    let bound = |kind: &str, name: &str, uid: &str| json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name, "uid": uid}});
    let table = [
        (
            json!({"expirationSeconds": 599}),
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
        ),
        (
            json!({"expirationSeconds": (1_i64 << 32) + 1}),
            "spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
        ),
        (bound("Pod", "absent", ""), "pods \"absent\" not found"),
        (
            bound("Pod", "p", "pod-0"),
            "the UID in the bound object reference (pod-0) does not match the UID in record. The object might have been deleted and then recreated",
        ),
        (
            bound("Pod", "q", ""),
            "cannot bind token for serviceaccount \"bot\" to pod running with different serviceaccount name.",
        ),
        (bound("ConfigMap", "c", ""), "cannot bind token to object of type /v1, Kind=ConfigMap"),
    ];
    for (spec, message) in table {
        assert_eq!(ask(&signer(), spec.clone()).unwrap_err().to_string(), message, "{spec}");
    }
    for seconds in [600, 1_i64 << 32] {
        assert!(ask(&signer(), json!({"expirationSeconds": seconds})).is_ok());
    }
    for (kind, name) in [("Secret", "s"), ("Node", "n")] {
        assert!(ask(&signer(), bound(kind, name, "")).is_ok(), "{kind}");
    }
    let request = json!({"spec": {}});
    let absent = token_request(world().as_ref(), &signer(), &options(), ("a", "absent"), &request, now());
    assert_eq!(absent.unwrap_err().to_string(), "serviceaccounts \"absent\" not found");
}

#[test]
fn only_untouched_tokens_of_known_keys_and_issuers_verify() {
    let (own, other) = (signer(), signer());
    let answer = ask(&own, json!({})).unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    let verifier = own.verifier();
    assert!(verifier.recognizes(token));
    assert!(verifier.verify_signature(token).is_ok());
    assert!(matches!(other.verifier().verify_signature(token), Err(TokenError::Signature)));

    let parts: Vec<&str> = token.split('.').collect();
    let mut claims = claims_of(&answer);
    claims["sub"] = json!("system:serviceaccount:kube-system:admin");
    let forged = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap());
    let tampered = format!("{}.{forged}.{}", parts[0], parts[2]);
    assert!(matches!(verifier.verify_signature(&tampered), Err(TokenError::Signature)));
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let unsigned = format!("{none}.{forged}.");
    assert!(matches!(verifier.verify_signature(&unsigned), Err(TokenError::Algorithm(alg)) if alg == "none"));
    // The public key as an HMAC secret must be no way in.
    let hmac = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    assert!(matches!(
        verifier.verify_signature(&format!("{hmac}.{forged}.{}", parts[2])),
        Err(TokenError::Algorithm(_))
    ));
    for malformed in ["", "a", "a.b", "a.b.c.d", "!.!.!", &format!("{}.{}", parts[0], parts[1])] {
        assert!(verifier.verify_signature(malformed).is_err(), "{malformed:?}");
    }
    let key = KeyPair::generate().unwrap();
    let elsewhere = TokenSigner::from_pem(key.serialize_pem().as_bytes(), "https://elsewhere").unwrap();
    let strict = TokenVerifier::from_pem(key.public_key_pem().as_bytes(), &[ISSUER.to_owned()]).unwrap();
    let answer = ask(&elsewhere, json!({})).unwrap();
    let foreign = answer["status"]["token"].as_str().unwrap();
    assert!(!strict.recognizes(foreign));
    assert!(matches!(strict.verify_signature(foreign), Err(TokenError::Issuer(_))));
}

#[test]
fn time_and_audience_are_checked() {
    let own = signer();
    let answer = ask(&own, json!({"audiences": ["vault", ISSUER], "expirationSeconds": 600})).unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    let verify = |audience: &str, at: Timestamp| own.verifier().verify(token, &[audience.to_owned()], at);
    assert_eq!(verify("vault", now()).unwrap().1, ["vault"]);
    assert!(matches!(verify("other", now()), Err(TokenError::Audience { .. })));
    assert!(verify("vault", now() + 659.seconds()).is_ok());
    assert!(matches!(verify("vault", now() + 661.seconds()), Err(TokenError::Expired)));
    assert!(matches!(verify("vault", now() - 62.seconds()), Err(TokenError::NotYetValid)));
}

#[test]
fn published_keys_verify_what_was_signed() {
    let key = KeyPair::generate().unwrap();
    let own = TokenSigner::from_pem(key.serialize_pem().as_bytes(), ISSUER).unwrap();
    // sa.pub may hold an older key as well.
    let older = KeyPair::generate().unwrap();
    let pem = format!("{}{}", older.public_key_pem(), key.public_key_pem());
    let verifier = TokenVerifier::from_pem(pem.as_bytes(), &[ISSUER.to_owned()]).unwrap();
    let answer = ask(&own, json!({})).unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    assert!(verifier.verify_signature(token).is_ok());

    let jwks = verifier.jwks();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    let published = keys.iter().find(|key| key["kid"] == header["kid"]).unwrap();
    assert_eq!(
        (&published["kty"], &published["crv"], &published["alg"]),
        (&json!("EC"), &json!("P-256"), &json!("ES256"))
    );
    // Verify as a stranger would, from x and y alone.
    let part = |name: &str| URL_SAFE_NO_PAD.decode(published[name].as_str().unwrap()).unwrap();
    let point = [vec![4], part("x"), part("y")].concat();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
    let config = verifier.openid_configuration("https://x/openid/v1/jwks");
    assert_eq!(config["issuer"], ISSUER);
    assert_eq!(config["id_token_signing_alg_values_supported"], json!(["ES256"]));
}

/// kubeadm's `sa.key` is RSA. ring cannot make one, so the openssl program does.
#[test]
fn an_rsa_key_as_kubeadm_makes_it_works() {
    let dir = tempfile::tempdir().unwrap();
    let (key, public) = (dir.path().join("sa.key"), dir.path().join("sa.pub"));
    let openssl = |arguments: &[&str]| std::process::Command::new("openssl").args(arguments).output();
    let key_path = key.to_str().unwrap();
    match openssl(&["genrsa", "-traditional", "-out", key_path, "2048"]) {
        Ok(made) if made.status.success() => {}
        other => {
            println!("skipped: no openssl to make an RSA key with ({other:?})");
            return;
        }
    }
    let made = openssl(&["rsa", "-in", key_path, "-pubout", "-out", public.to_str().unwrap()]).unwrap();
    assert!(made.status.success());
    let own = TokenSigner::load(&key, ISSUER).unwrap();
    let verifier = TokenVerifier::load(&public, &[ISSUER.to_owned()]).unwrap();
    let answer = ask(&own, json!({})).unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    assert!(verifier.verify_signature(token).is_ok());
    assert_eq!(verifier.jwks(), own.verifier().jwks());
    assert_eq!(verifier.jwks()["keys"][0]["alg"], "RS256");
    assert_eq!(verifier.jwks()["keys"][0]["e"], "AQAB");
}
