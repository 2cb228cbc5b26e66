//! The keys behind tokens: ECDSA P-256 (ours) and RSA (kubeadm's).
//!
//! Key ids are upstream's: base64url of the SHA-256 of the public key's SubjectPublicKeyInfo.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::TokenError;

/// DER of a P-256 SubjectPublicKeyInfo up to the uncompressed point (RFC 5480).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// DER of the algorithm rsaEncryption (RFC 3279).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

enum Private {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// Signs tokens of one issuer with `sa.key`.
pub struct TokenSigner {
    key: Private,
    public: Public,
    issuer: String,
    random: SystemRandom,
}

/// Proves tokens against the public keys of one or more issuers.
pub struct TokenVerifier {
    keys: Vec<Public>,
    pub(super) issuers: Vec<String>,
}

#[derive(Clone)]
struct Public {
    algorithm: &'static str,
    /// What ring verifies with: the point, or the PKCS#1 RSAPublicKey.
    raw: Vec<u8>,
    id: String,
    jwk: Value,
}

impl Public {
    fn from_spki(spki: &[u8]) -> Result<Public, TokenError> {
        let bad = |what: &str| TokenError::Key(format!("public key: {what}"));
        let (_, parsed) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| bad("no SubjectPublicKeyInfo"))?;
        let raw = parsed.subject_public_key.data.to_vec();
        let id = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, spki));
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (algorithm, mut jwk) = match parsed.parsed().map_err(|_| bad("unreadable"))? {
            PublicKey::EC(_) if spki.starts_with(&P256_SPKI_PREFIX) && raw.len() == 65 => {
                let (x, y) = raw[1..].split_at(32);
                ("ES256", json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)}))
            }
            PublicKey::RSA(rsa) => {
                let strip = |n: &[u8]| encode(&n[n.iter().take_while(|b| **b == 0).count()..]);
                ("RS256", json!({"kty": "RSA", "n": strip(rsa.modulus), "e": strip(rsa.exponent)}))
            }
            _ => return Err(bad("neither P-256 nor RSA")),
        };
        jwk["use"] = json!("sig");
        jwk["kid"] = json!(id);
        jwk["alg"] = json!(algorithm);
        Ok(Public { algorithm, raw, id, jwk })
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.algorithm {
            "ES256" => &signature::ECDSA_P256_SHA256_FIXED,
            _ => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.raw).verify(message, signature).is_ok()
    }
}

/// A DER element: tag, length, content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut element = vec![tag];
    match length {
        0..=0x7f => element.push(length as u8),
        0x80..=0xff => element.extend([0x81, length as u8]),
        _ => element.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    element.extend_from_slice(content);
    element
}

fn rsa_spki(public: &[u8]) -> Vec<u8> {
    let bits = der(0x03, &[&[0], public].concat());
    der(0x30, &[&RSA_ALGORITHM[..], &bits].concat())
}

fn read(path: &Path) -> Result<Vec<u8>, TokenError> {
    std::fs::read(path).map_err(|source| TokenError::KeyFile { path: path.display().to_string(), source })
}

impl TokenSigner {
    /// A signer from a PEM private key (PKCS#8, or PKCS#1 for RSA) for tokens of `issuer`.
    pub fn from_pem(pem: &[u8], issuer: &str) -> Result<TokenSigner, TokenError> {
        let random = SystemRandom::new();
        let rejected = |e: ring::error::KeyRejected| TokenError::Key(e.to_string());
        let parsed = PrivateKeyDer::from_pem_slice(pem).map_err(|e| TokenError::Key(e.to_string()))?;
        let ecdsa = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = match &parsed {
            PrivateKeyDer::Pkcs8(key) => {
                match EcdsaKeyPair::from_pkcs8(ecdsa, key.secret_pkcs8_der(), &random) {
                    Ok(key) => Private::Ecdsa(key),
                    Err(_) => Private::Rsa(RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(rejected)?),
                }
            }
            PrivateKeyDer::Pkcs1(key) => {
                Private::Rsa(RsaKeyPair::from_der(key.secret_pkcs1_der()).map_err(rejected)?)
            }
            _ => return Err(TokenError::Key("an EC key must be PKCS#8 (BEGIN PRIVATE KEY)".to_owned())),
        };
        let spki = match &key {
            Private::Ecdsa(key) => [&P256_SPKI_PREFIX[..], key.public_key().as_ref()].concat(),
            Private::Rsa(key) => rsa_spki(key.public().as_ref()),
        };
        Ok(TokenSigner { key, public: Public::from_spki(&spki)?, issuer: issuer.to_owned(), random })
    }

    /// A signer from the file `sa.key`.
    pub fn load(path: &Path, issuer: &str) -> Result<TokenSigner, TokenError> {
        TokenSigner::from_pem(&read(path)?, issuer)
    }

    /// The issuer written into tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A verifier that accepts this signer's tokens only.
    pub fn verifier(&self) -> TokenVerifier {
        TokenVerifier { keys: vec![self.public.clone()], issuers: vec![self.issuer.clone()] }
    }

    pub(super) fn algorithm(&self) -> &'static str {
        self.public.algorithm
    }

    pub(super) fn key_id(&self) -> &str {
        &self.public.id
    }

    pub(super) fn raw_signature(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let failed = |_| TokenError::Key("signing failed".to_owned());
        match &self.key {
            Private::Ecdsa(key) => Ok(key.sign(&self.random, message).map_err(failed)?.as_ref().to_vec()),
            Private::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &self.random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

impl TokenVerifier {
    /// A verifier from PEM public keys (`sa.pub`, several blocks allowed) and the issuers accepted.
    pub fn from_pem(pem: &[u8], issuers: &[String]) -> Result<TokenVerifier, TokenError> {
        let mut keys = Vec::new();
        for spki in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            keys.push(Public::from_spki(&spki.map_err(|e| TokenError::Key(e.to_string()))?)?);
        }
        if keys.is_empty() {
            return Err(TokenError::Key("no PUBLIC KEY block".to_owned()));
        }
        Ok(TokenVerifier { keys, issuers: issuers.to_vec() })
    }

    /// A verifier from the file `sa.pub`.
    pub fn load(path: &Path, issuers: &[String]) -> Result<TokenVerifier, TokenError> {
        TokenVerifier::from_pem(&read(path)?, issuers)
    }

    pub(super) fn check_signature(
        &self,
        algorithm: &str,
        id: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenError> {
        if !matches!(algorithm, "ES256" | "RS256") {
            return Err(TokenError::Algorithm(algorithm.to_owned()));
        }
        // The algorithm is the key's, never the token's choice.
        let mut candidates =
            self.keys.iter().filter(|key| key.algorithm == algorithm && (id.is_empty() || key.id == id));
        if candidates.any(|key| key.verifies(message, signature)) {
            Ok(())
        } else {
            Err(TokenError::Signature)
        }
    }

    /// The issuers whose tokens are accepted.
    pub fn issuers(&self) -> &[String] {
        &self.issuers
    }

    pub(super) fn public_jwks(&self) -> Vec<Value> {
        self.keys.iter().map(|key| key.jwk.clone()).collect()
    }

    pub(super) fn algorithms(&self) -> Vec<&'static str> {
        let mut algorithms: Vec<_> = self.keys.iter().map(|key| key.algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        algorithms
    }
}
