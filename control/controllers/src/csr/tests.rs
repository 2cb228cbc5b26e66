use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{CertificateParams, DnType, IsCa, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::plan::{self, CLIENT, Grant, KUBELET_CLIENT, KUBELET_SERVING, LEGACY, Next, Signing};
use super::request::{Parsed, RequestError};
use super::sign::SigningAuthority;

fn now() -> Timestamp {
    Timestamp::now()
}

fn request(signer: &str, usages: &[&str], status: Value) -> CertificateSigningRequest {
    let value = json!({"metadata": {"name": "r", "creationTimestamp": now().to_string()},
        "spec": {"request": "", "signerName": signer, "usages": usages, "username": "system:node:n"}, "status": status});
    serde_json::from_value(value).unwrap()
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "lastUpdateTime": now().to_string()})
}

fn node() -> Parsed {
    Parsed {
        common_name: "system:node:n".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        ..Parsed::default()
    }
}

#[test]
fn the_next_step_follows_the_conditions() {
    for (signer, status, wanted) in [
        (KUBELET_CLIENT, json!({}), Next::Approve),
        (CLIENT, json!({}), Next::Nothing),
        (CLIENT, json!({"conditions": [condition("Approved")]}), Next::Sign),
        (LEGACY, json!({"conditions": [condition("Approved")]}), Next::Sign),
        ("acme.com/x", json!({"conditions": [condition("Approved")]}), Next::Nothing),
        (KUBELET_CLIENT, json!({"conditions": [condition("Denied")]}), Next::Nothing),
        (CLIENT, json!({"conditions": [condition("Approved"), condition("Failed")]}), Next::Nothing),
        (CLIENT, json!({"conditions": [condition("Approved")], "certificate": "eA=="}), Next::Nothing),
    ] {
        assert_eq!(plan::next(&request(signer, &[], status.clone())), wanted, "{signer} {status}");
    }
}

/// Signer, usages, a change of the request, and why it is refused; empty if it is not.
#[test]
fn signers_grant_what_upstreams_do() {
    type Change = fn(&mut Parsed);
    let same: Change = |_| {};
    let dns: Change = |parsed| parsed.dns_names.push("n".to_owned());
    let client = ["digital signature", "key encipherment", "client auth"];
    let server = ["digital signature", "server auth"];
    let cases: &[(&str, &[&str], Change, &str)] = &[
        (KUBELET_CLIENT, &client, same, ""),
        (KUBELET_CLIENT, &["digital signature", "client auth"], same, ""),
        (KUBELET_CLIENT, &["client auth"], same, "usages did not match"),
        (KUBELET_CLIENT, &server, same, "usages did not match"),
        (KUBELET_CLIENT, &client, dns, "DNS subjectAltNames are not allowed"),
        (KUBELET_CLIENT, &client, |p| p.ip_addresses.push(IpAddr::from([1, 2, 3, 4])), "IP subjectAltNames"),
        (KUBELET_CLIENT, &client, |p| p.uris.push("spiffe://x".to_owned()), "URI subjectAltNames"),
        (KUBELET_CLIENT, &client, |p| p.emails.push("a@b".to_owned()), "email subjectAltNames"),
        (
            KUBELET_CLIENT,
            &client,
            |p| p.common_name = "bob".to_owned(),
            "common name does not begin with system:node:",
        ),
        (
            KUBELET_CLIENT,
            &client,
            |p| p.organizations.push("system:masters".to_owned()),
            "organization is not system:nodes",
        ),
        (KUBELET_CLIENT, &client, |p| p.organizations.clear(), "organization is not system:nodes"),
        (KUBELET_SERVING, &server, dns, ""),
        (KUBELET_SERVING, &["digital signature", "key encipherment", "server auth"], dns, ""),
        (KUBELET_SERVING, &server, same, "DNS or IP subjectAltName is required"),
        (KUBELET_SERVING, &client, dns, "usages did not match"),
        (CLIENT, &client, dns, ""),
        (CLIENT, &["client auth"], |p| p.common_name = "bob".to_owned(), ""),
        (CLIENT, &["digital signature"], same, "incompatible with kubernetes.io/kube-apiserver-client"),
        (CLIENT, &["client auth", "server auth"], same, "incompatible with"),
        (LEGACY, &["server auth", "cert sign"], dns, ""),
        (LEGACY, &["telepathy"], same, "unrecognized usage values"),
    ];
    for (signer, usages, change, wanted) in cases {
        let mut parsed = node();
        change(&mut parsed);
        match plan::check(&request(signer, usages, json!({})).spec, &parsed) {
            Signing::Granted(_) => assert_eq!(*wanted, "", "{signer} {usages:?}"),
            Signing::Refused(reason) => {
                assert!(!wanted.is_empty() && reason.contains(wanted), "{signer} {usages:?}: {reason}");
            }
        }
    }
}

#[test]
fn nodes_are_approved_for_themselves_and_by_others_who_may() {
    let usages = ["digital signature", "client auth"];
    let subresources = |request: &CertificateSigningRequest, parsed: &Parsed| -> Vec<&str> {
        plan::approvals(&request.spec, parsed).iter().map(|approval| approval.subresource).collect()
    };
    let own = request(KUBELET_CLIENT, &usages, json!({}));
    assert_eq!(subresources(&own, &node()), ["selfnodeclient", "nodeclient"]);
    let mut other = own.clone();
    other.spec.username = Some("system:bootstrap:abc123".to_owned());
    assert_eq!(subresources(&other, &node()), ["nodeclient"]);
    assert!(subresources(&request(KUBELET_SERVING, &usages, json!({})), &node()).is_empty());
    assert!(subresources(&request(KUBELET_CLIENT, &["server auth"], json!({})), &node()).is_empty());
}

#[test]
fn old_requests_are_over() {
    let later = |hours: i64| now() + SignedDuration::from_hours(hours) + SignedDuration::from_secs(5);
    let with = |status: Value| request(CLIENT, &[], status);
    let pending = with(json!({}));
    assert_eq!(
        (plan::is_over(&pending, later(23)), plan::is_over(&pending, later(24)).is_some()),
        (None, true)
    );
    for kind in ["Denied", "Failed"] {
        let request = with(json!({"conditions": [condition(kind)]}));
        assert_eq!(
            (plan::is_over(&request, now()), plan::is_over(&request, later(1)).is_some()),
            (None, true),
            "{kind}"
        );
    }
    let unissued = with(json!({"conditions": [condition("Approved")]}));
    assert_eq!(
        (plan::is_over(&unissued, later(23)), plan::is_over(&unissued, later(24)).is_some()),
        (None, true)
    );
    let issued = with(json!({"conditions": [condition("Approved")], "certificate": "eA=="}));
    assert_eq!((plan::is_over(&issued, now()), plan::is_over(&issued, later(1)).is_some()), (None, true));
}

fn authority(longest: Duration) -> (SigningAuthority, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "kubernetes");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (
        SigningAuthority::from_pem(&certificate.pem(), &key.serialize_pem(), longest).unwrap(),
        certificate.pem(),
    )
}

#[test]
fn a_certificate_says_what_was_granted() {
    let (authority, ca) = authority(Duration::from_secs(365 * 24 * 3600));
    // A P-384 key: the certificate carries the request's own, whatever the CA's is.
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = CertificateParams::new(vec!["n.example.com".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "bob");
    params.distinguished_name.push(DnType::OrganizationName, "devs");
    params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let mut parsed = Parsed::read(pem.as_bytes()).unwrap();
    assert_eq!(
        (parsed.common_name.as_str(), parsed.organizations.as_slice()),
        ("bob", &["devs".to_owned()][..])
    );
    assert_eq!((parsed.dns_names.len(), parsed.ip_addresses.len()), (1, 1));
    // Two groups, which rcgen itself cannot write.
    let organization = |name: &str| {
        let value = [&[0x0c, name.len() as u8], name.as_bytes()].concat();
        let pair = [&[0x06, 3, 0x55, 0x04, 0x0a][..], &value].concat();
        let sequence = [&[0x30, pair.len() as u8], pair.as_slice()].concat();
        [&[0x31, sequence.len() as u8], sequence.as_slice()].concat()
    };
    let two = [organization("devs"), organization("ops")].concat();
    parsed.subject = [&[0x30, two.len() as u8], two.as_slice()].concat();
    let usages = ["digital signature", "client auth"].map(str::to_owned).to_vec();
    let grant = Grant { usages, lifetime: Some(Duration::from_secs(3600)) };
    let at = now();
    let signed = authority.sign(&parsed, &grant, at).unwrap();
    let (der, ca_der) = (
        CertificateDer::from_pem_slice(signed.as_bytes()).unwrap(),
        CertificateDer::from_pem_slice(ca.as_bytes()).unwrap(),
    );
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let (_, issuer) = X509Certificate::from_der(&ca_der).unwrap();
    certificate.verify_signature(Some(issuer.public_key())).unwrap();
    let groups: Vec<_> = certificate.subject().iter_organization().map(|o| o.as_str().unwrap()).collect();
    assert_eq!(groups, ["devs", "ops"]);
    assert_eq!(certificate.tbs_certificate.subject_pki.raw, parsed.key.as_slice());
    let validity = certificate.validity();
    assert_eq!(validity.not_before.timestamp(), at.as_second() - 300);
    assert_eq!(validity.not_after.timestamp(), at.as_second() + 3600);
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert!(!certificate.is_ca());
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, 2);
    assert_eq!(Parsed::read(b"nonsense"), Err(RequestError::Pem));
    let serials: BTreeSet<Vec<u8>> = (0..3)
        .map(|_| {
            let pem = authority.sign(&parsed, &grant, at).unwrap();
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            X509Certificate::from_der(&der).unwrap().1.raw_serial().to_vec()
        })
        .collect();
    assert_eq!(serials.len(), 3);
}

#[test]
fn lifetimes_are_bounded_by_the_operator_and_the_authority() {
    let (authority, _) = authority(Duration::from_secs(24 * 3600));
    let key = KeyPair::generate().unwrap();
    let pem = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let parsed = Parsed::read(pem.as_bytes()).unwrap();
    let at = now();
    let seconds = |wanted: Option<u64>| {
        let lifetime = wanted.map(Duration::from_secs);
        let signed = authority.sign(&parsed, &Grant { usages: Vec::new(), lifetime }, at).unwrap();
        let der = CertificateDer::from_pem_slice(signed.as_bytes()).unwrap();
        let end = X509Certificate::from_der(&der).unwrap().1.validity().not_after.timestamp();
        end - at.as_second()
    };
    assert_eq!(seconds(None), 24 * 3600 - 300, "a day from the start, which lies five minutes back");
    assert_eq!(seconds(Some(10 * 24 * 3600)), 24 * 3600 - 300);
    assert_eq!(seconds(Some(1)), 600, "ten minutes at least");
    assert_eq!(seconds(Some(3600)), 3600);
}
