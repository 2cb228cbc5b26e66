//! One public key of an issuer (a JWK) and checking a signature with it.
//!
//! Enters: the key set's JSON. Leaves: keys that verify. Keys of kinds that are not known, or for encryption, are
//! left out. Authority: RFC 7517, RFC 7518, RFC 8037.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

/// The most keys of a set that are kept.
const MAX_KEYS: usize = 256;

enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The curve's name, and the uncompressed point or the Ed25519 key.
    Curve(&'static str, Vec<u8>),
}

/// A public key.
pub(super) struct Jwk {
    pub(super) id: String,
    /// The only algorithm it may be used with, or empty.
    algorithm: String,
    material: Material,
}

fn bytes(jwk: &Value, field: &str) -> Option<Vec<u8>> {
    let text = jwk[field].as_str()?;
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    // Leading zeros are not allowed to ring, and mean nothing.
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    (bytes.len() > zeros).then(|| bytes[zeros..].to_vec())
}

/// An elliptic curve's coordinate at its full width.
fn coordinate(jwk: &Value, field: &str, width: usize) -> Option<Vec<u8>> {
    let short = bytes(jwk, field)?;
    let padding = width.checked_sub(short.len())?;
    Some([vec![0; padding], short].concat())
}

fn material(jwk: &Value) -> Option<Material> {
    match (jwk["kty"].as_str()?, jwk["crv"].as_str()) {
        ("RSA", _) => Some(Material::Rsa { n: bytes(jwk, "n")?, e: bytes(jwk, "e")? }),
        ("EC", Some(curve)) => {
            let (curve, width) = match curve {
                "P-256" => ("P-256", 32),
                "P-384" => ("P-384", 48),
                _ => return None,
            };
            let (x, y) = (coordinate(jwk, "x", width)?, coordinate(jwk, "y", width)?);
            Some(Material::Curve(curve, [vec![4], x, y].concat()))
        }
        ("OKP", Some("Ed25519")) => {
            let key = URL_SAFE_NO_PAD.decode(jwk["x"].as_str()?.trim_end_matches('=')).ok()?;
            Some(Material::Curve("Ed25519", key))
        }
        _ => None,
    }
}

/// The keys of a set that can be used here.
pub(super) fn parse_set(document: &Value) -> Option<Vec<Jwk>> {
    let keys =
        document["keys"].as_array()?.iter().filter(|jwk| matches!(jwk["use"].as_str(), None | Some("sig")));
    let text = |jwk: &Value, field: &str| jwk[field].as_str().unwrap_or_default().to_owned();
    let usable = keys.filter_map(|jwk| {
        Some(Jwk { id: text(jwk, "kid"), algorithm: text(jwk, "alg"), material: material(jwk)? })
    });
    Some(usable.take(MAX_KEYS).collect())
}

fn rsa_parameters(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn curve_algorithm(algorithm: &str, curve: &str) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (algorithm, curve) {
        ("ES256", "P-256") => &signature::ECDSA_P256_SHA256_FIXED,
        ("ES384", "P-384") => &signature::ECDSA_P384_SHA384_FIXED,
        ("EdDSA", "Ed25519") => &signature::ED25519,
        _ => return None,
    })
}

impl Jwk {
    /// Whether a signature made with `algorithm` is this key's; a key of another kind verifies nothing.
    pub(super) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        if !self.algorithm.is_empty() && self.algorithm != algorithm {
            return false;
        }
        match &self.material {
            Material::Rsa { n, e } => rsa_parameters(algorithm)
                .is_some_and(|rsa| RsaPublicKeyComponents { n, e }.verify(rsa, message, signature).is_ok()),
            Material::Curve(curve, key) => curve_algorithm(algorithm, curve)
                .is_some_and(|how| UnparsedPublicKey::new(how, key).verify(message, signature).is_ok()),
        }
    }
}
