//! Projected volumes: several sources in one directory.
//!
//! Authority: upstream's validateProjectionSources.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::volumes::{local_path, validate_downward_item, validate_item};
use crate::certificates::signing_request::validate_signer;
use crate::shared::access::{at, has, int, list, text};
use crate::shared::formats::domain_prefixed_key;
use crate::shared::labels::validate_selector;
use crate::shared::meta::validate_annotations;
use crate::shared::rules::required;

const KINDS: [&str; 6] =
    ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
/// The longest life of a certificate, in seconds: 91 days, of Kubernetes' own signers one day.
const EXPIRATION_MAX: i64 = 91 * 86400;
const EXPIRATION_MAX_OURS: i64 = 86400;
const CONFLICT: &str = "conflicting duplicate paths";

/// Every error of the sources, none of which may write where another does.
pub fn validate(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (index, projection) in list(source, &["sources"]).iter().enumerate() {
        let source_path = path.child("sources").index(index);
        let mut count = 0;
        for key in KINDS {
            let found = at(projection, &[key]);
            if found.is_null() {
                continue;
            }
            count += 1;
            let own = source_path.child(key);
            match key {
                "secret" | "configMap" => {
                    errors.extend(required(found, "name", &own));
                    let name = text(found, &["name"]);
                    for (position, item) in list(found, &["items"]).iter().enumerate() {
                        errors.extend(validate_item(item, &own.child("items").index(position)));
                        errors.extend(taken_twice(item, name, &mut taken, path));
                    }
                }
                "downwardAPI" => {
                    for item in list(found, &["items"]) {
                        errors.extend(validate_downward_item(item, &own));
                        errors.extend(taken_twice(item, text(item, &["path"]), &mut taken, path));
                    }
                }
                "serviceAccountToken" => errors.extend(validate_token(found, &own, path)),
                "podCertificate" => errors.extend(validate_certificate(found, &mut taken, &own, path)),
                _ => {
                    errors.extend(validate_bundle(found, &own));
                    let file = text(found, &["path"]);
                    if !taken.insert(file) {
                        errors.push(FieldError::invalid(path, file, CONFLICT));
                    }
                }
            }
        }
        if count > 1 {
            let detail = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(&source_path, detail));
        }
    }
    errors
}

fn taken_twice<'a>(
    item: &'a Value,
    shown: &str,
    taken: &mut BTreeSet<&'a str>,
    path: &Path,
) -> Option<FieldError> {
    let file = text(item, &["path"]);
    (!file.is_empty() && !taken.insert(file)).then(|| FieldError::invalid(path, shown, CONFLICT))
}

/// Upstream files a token's path under the volume, not under the token.
fn validate_token(token: &Value, path: &Path, volume: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let seconds = int(token, &["expirationSeconds"]).unwrap_or(0);
    let expiration = path.child("expirationSeconds");
    if seconds < 600 {
        let detail = "may not specify a duration less than 10 minutes";
        errors.push(FieldError::invalid(&expiration, seconds, detail));
    }
    if seconds > 1 << 32 {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.push(FieldError::invalid(&expiration, seconds, detail));
    }
    match text(token, &["path"]) {
        "" => errors.push(FieldError::required(&volume.child("path"), "")),
        file => errors.extend(local_path(file, &volume.child("path"))),
    }
    errors
}

/// A certificate of the pod's own and its key (KEP-4317).
fn validate_certificate<'a>(
    certificate: &'a Value,
    taken: &mut BTreeSet<&'a str>,
    path: &Path,
    volume: &Path,
) -> Vec<FieldError> {
    let signer = text(certificate, &["signerName"]);
    let mut errors = validate_signer(signer, &path.child("signerName"));
    let key_type = text(certificate, &["keyType"]);
    if !KEY_TYPES.contains(&key_type) {
        errors.push(FieldError::not_supported(&path.child("keyType"), key_type, KEY_TYPES));
    }
    if let Some(seconds) = int(certificate, &["maxExpirationSeconds"]) {
        let path = path.child("maxExpirationSeconds");
        if seconds < 3600 {
            let detail = "if provided, maxExpirationSeconds must be >= 3600";
            errors.push(FieldError::invalid(&path, seconds, detail));
        }
        let host = signer.split('/').next().unwrap_or_default();
        let ours = host == "kubernetes.io" || host.ends_with(".kubernetes.io");
        let most = if ours { EXPIRATION_MAX_OURS } else { EXPIRATION_MAX };
        if seconds > most {
            let detail = format!("if provided, maxExpirationSeconds must be <= {most}");
            errors.push(FieldError::invalid(&path, seconds, detail));
        }
    }
    let mut files = 0;
    for key in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = text(certificate, &[key]);
        if !file.is_empty() {
            files += 1;
            errors.extend(local_path(file, &path.child(key)));
            if !taken.insert(file) {
                errors.push(FieldError::invalid(volume, file, CONFLICT));
            }
        }
    }
    let annotations = at(certificate, &["userAnnotations"]);
    let notes = path.child("userAnnotations");
    errors.extend(validate_annotations(annotations, &notes));
    for (key, _) in annotations.as_object().into_iter().flatten() {
        errors.extend(domain_prefixed_key(key, &notes));
    }
    if files == 0 {
        let detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(path, detail));
    }
    errors
}

fn validate_bundle(bundle: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match (has(bundle, &["name"]), has(bundle, &["signerName"])) {
        (true, true) => {
            let detail = "only one of name and signerName may be used";
            errors.push(FieldError::invalid(path, bundle, detail));
        }
        (true, false) => {
            if text(bundle, &["name"]).is_empty() {
                errors.push(FieldError::required(&path.child("name"), "must be a valid object name"));
            }
            if has(bundle, &["labelSelector"]) {
                let detail = "labelSelector must be unset if name is specified";
                let selector = at(bundle, &["labelSelector"]);
                errors.push(FieldError::invalid(&path.child("labelSelector"), selector, detail));
            }
        }
        (false, true) => {
            if text(bundle, &["signerName"]).is_empty() {
                errors.push(FieldError::required(&path.child("signerName"), "must be a valid signer name"));
            }
            errors.extend(validate_signer(text(bundle, &["signerName"]), &path.child("signerName")));
            let selector = at(bundle, &["labelSelector"]);
            errors.extend(validate_selector(selector, &path.child("labelSelector")));
        }
        (false, false) => {
            errors.push(FieldError::required(path, "either name or signerName must be specified"));
        }
    }
    errors.extend(required(bundle, "path", path));
    errors.extend(local_path(text(bundle, &["path"]), &path.child("path")));
    errors
}

/// The errors of tokens in a pod that names no service account to make them for.
pub fn tokens_without_account(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !text(spec, &["serviceAccountName"]).is_empty() {
        return errors;
    }
    for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
        for (position, source) in list(volume, &["projected", "sources"]).iter().enumerate() {
            if has(source, &["serviceAccountToken"]) {
                let path = path.child("volumes").index(index).child("projected");
                let path = path.child("sources").index(position).child("serviceAccountToken");
                let detail = "must not be specified when serviceAccountName is not set";
                errors.push(FieldError::forbidden(&path, detail));
            }
        }
    }
    errors
}
