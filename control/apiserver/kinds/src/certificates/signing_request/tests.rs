//! Certificate requests, case by case; the fixtures are openssl's.

use super::*;
use crate::testing::{Table, messages, now, patched};

const REQUEST: &[u8] = include_bytes!("../testdata/request.pem");
const CERTIFICATE: &[u8] = include_bytes!("../testdata/certificate.pem");

fn base() -> Value {
    json!({"metadata": {"name": "node:N_1"}, "spec": {
        "request": STANDARD.encode(REQUEST),
        "signerName": "kubernetes.io/kubelet-serving",
        "usages": ["server auth"]
    }})
}

#[test]
fn table_and_selectors() {
    let table = Table::of(&CertificateSigningRequest, base());
    table.defaults(&[(
        json!({"spec.username": "someone", "status": {"conditions": [{"type": "Approved"}]}}),
        json!({"spec.username": "me", "status": {}}),
    )]);
    table.columns(&["Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"]);
    let row = |duration: &str, condition: &str| {
        json!(["node:N_1", "60m", "kubernetes.io/kubelet-serving", "me", duration, condition])
    };
    table.rows(&[
        (json!({}), row("<none>", "Pending")),
        (json!({"spec.expirationSeconds": 3600, "status": {"conditions": [{"type": "Approved"}], "certificate": "x"}}), row("60m", "Approved,Issued")),
        (json!({"status.conditions": [{"type": "Denied"}, {"type": "Failed"}]}), row("<none>", "Denied,Failed")),
    ]);
    table.selectable(&[("spec.signerName", "kubernetes.io/kubelet-serving")]);
}

#[test]
fn requests_are_checked() {
    let table = Table::of(&CertificateSigningRequest, base());
    let mut forged = pem::blocks(REQUEST).remove(0).bytes;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let wrap = |label: &str, der: &[u8]| {
        STANDARD.encode(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)))
    };
    let forged = wrap("CERTIFICATE REQUEST", &forged);
    let (certificate, junk) = (STANDARD.encode(CERTIFICATE), wrap("CERTIFICATE REQUEST", b"junk"));
    let request = |text: &str| json!({"spec.request": text});
    let wrong = |text: &str, problem: &str| format!("spec.request: Invalid value: \"{text}\": {problem}");
    table.invalid(&[
        ("nothing", request(""), &[&wrong("", "PEM block type must be CERTIFICATE REQUEST")]),
        ("a certificate", request(&certificate), &[&wrong(&certificate, "PEM block type must be CERTIFICATE REQUEST")]),
        ("junk", request(&junk), &[&wrong(&junk, "x509: malformed certificate request")]),
        ("another's signature", request(&forged), &[&wrong(&forged, "x509: signature verification failed")]),
        ("no usages", json!({"spec.usages": []}), &["spec.usages: Required value"]),
        ("a usage twice", json!({"spec.usages": ["any", "any"]}), &["spec.usages[1]: Duplicate value: \"any\""]),
        (
            "a short time",
            json!({"spec.expirationSeconds": 599}),
            &["spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"],
        ),
    ]);
    let errors = crate::testing::create(
        &CertificateSigningRequest,
        patched(&base(), &json!({"spec.usages": ["fun"]})),
    )
    .1;
    assert!(errors[0].starts_with("spec.usages[0]: Unsupported value: \"fun\": supported values: \"any\", "));
}

#[test]
fn signers_are_checked() {
    let table = Table::of(&CertificateSigningRequest, base());
    let signer = |text: &str| json!({"spec.signerName": text});
    table.invalid(&[
        ("none", signer(""), &["spec.signerName: Required value"]),
        (
            "no path",
            signer("a.b"),
            &["spec.signerName: Invalid value: \"a.b\": must be a fully qualified domain and path of the form 'example.com/signer-name'"],
        ),
        (
            "no domain",
            signer("a/b"),
            &["spec.signerName: Invalid value: \"a\": should be a domain with at least two segments separated by dots"],
        ),
        (
            "the legacy one",
            signer("kubernetes.io/legacy-unknown"),
            &["spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version"],
        ),
        (
            "a bad label",
            signer("A.b/c"),
            &["spec.signerName: Invalid value: \"A.b\": validating label \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"],
        ),
    ]);
}

#[test]
fn a_write_of_the_object_changes_neither_spec_nor_status() {
    let table = Table::of(&CertificateSigningRequest, base());
    table.updates(&[(
        "all ignored",
        json!({"spec.usages": [], "status.conditions": [{}], "metadata.labels": {"a": "b"}}),
        &[],
    )]);
}

#[test]
fn the_status_issues_and_fails() {
    let table = Table::of(&CertificateSigningRequest, base());
    let issued = json!({"status.certificate": STANDARD.encode(CERTIFICATE)});
    let certificate = |text: &str| json!({"status.certificate": STANDARD.encode(text)});
    table.status(&[
        ("issued", issued.clone(), &[]),
        ("failed", json!({"status.conditions": [{"type": "Failed", "status": "True"}]}), &[]),
        (
            "approved here",
            json!({"status.conditions": [{"type": "Approved", "status": "True"}]}),
            &["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""],
        ),
        (
            "conditions",
            json!({"status.conditions": [{"status": "True"}, {"type": "Failed", "status": "False"}, {"type": "X"}, {"type": "X", "status": "Maybe"}]}),
            &[
                "status.conditions[0].type: Required value",
                "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"",
                "status.conditions[2].status: Required value",
                "status.conditions[3].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
                "status.conditions[3].type: Duplicate value: \"X\"",
            ],
        ),
        (
            "no certificate",
            certificate("x"),
            &["status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"],
        ),
        (
            "a request",
            json!({"status.certificate": STANDARD.encode(REQUEST)}),
            &["status.certificate: Invalid value: \"<certificate data>\": only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\""],
        ),
        (
            "headers",
            certificate("-----BEGIN CERTIFICATE-----\nA: b\n\nYWJj\n-----END CERTIFICATE-----\n"),
            &["status.certificate: Invalid value: \"<certificate data>\": no PEM block headers are permitted"],
        ),
    ]);
    table.status_of(
        &issued,
        &[(
            "issued again",
            json!({"status.certificate": STANDARD.encode([CERTIFICATE, CERTIFICATE].concat())}),
            &["status.certificate: Forbidden: updates may not modify existing certificate content"],
        )],
    );
    let failed = json!({"status.conditions": [{"type": "Failed", "status": "True"}]});
    table.status_of(
        &failed,
        &[(
            "not failed after all",
            json!({"status.conditions": []}),
            &["status.conditions: Forbidden: updates may not remove a condition of type \"Failed\""],
        )],
    );
}

#[test]
fn approval_changes_conditions_alone() {
    let table = Table::of(&CertificateSigningRequest, base());
    let approve = |old: &Value, patch: Value| {
        let mut new = patched(old, &patch);
        let ctx = Context::new("admin", "", now());
        CertificateSigningRequest.prepare_for_subresource_update("approval", &ctx, &mut new, old);
        let errors = CertificateSigningRequest.validate_subresource_update("approval", &new, old);
        (new, messages(&errors))
    };
    let approval = json!({"status.conditions": [{"type": "Approved", "status": "True"}], "status.certificate": "x", "spec.usages": []});
    let (approved, errors) = approve(table.stored(), approval);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(approved["spec"], table.stored()["spec"]);
    assert_eq!(
        approved["status"],
        json!({"conditions": [{
            "type": "Approved", "status": "True",
            "lastUpdateTime": "2026-01-01T01:00:00Z", "lastTransitionTime": "2026-01-01T01:00:00Z"
        }]})
    );
    let (_, errors) =
        approve(&approved, json!({"status.conditions[1]": {"type": "Denied", "status": "True"}}));
    assert_eq!(
        errors,
        [
            "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"
        ]
    );
    let (_, errors) = approve(&approved, json!({"status.conditions": []}));
    assert_eq!(
        errors,
        ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]
    );
    // A status write with a changed Approved condition gets the stored one back.
    let mut new = patched(&approved, &json!({"status.conditions[0].message": "changed"}));
    let ctx = Context::new("signer", "", now());
    CertificateSigningRequest.prepare_for_status_update(&ctx, &mut new, &approved);
    assert_eq!(new, approved);
}
