//! One provider with its keys: bytes to bytes, and nothing about resources.
//!
//! Enters: a value and the store's key it stands under. Leaves: the value's other form. Each value has random bytes
//! of its own (nonce or IV). AES-GCM binds a value to its key in the store; secretbox and AES-CBC do not, as upstream.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _};
use aes::{Aes128, Aes192, Aes256};
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::config::Kind;

const GCM_NONCE: usize = 12;
const CBC_IV: usize = 16;
const BOX_NONCE: usize = 24;

/// Why bytes have no other form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// Too short, or not a multiple of the block: not written by this provider.
    #[error("the stored data was shorter than the required size, or is not whole")]
    Length,
    /// The key is not the one it was encrypted with, or the value was changed or moved.
    #[error(
        "message authentication failed: the key is not the one it was encrypted with, or the value was changed"
    )]
    Authentication,
    /// The padding is wrong: most likely another key.
    #[error("invalid padding on input: the key is most likely not the one it was encrypted with")]
    Padding,
    /// The system gives no random bytes, or the value is too long for the cipher.
    #[error("encryption failed")]
    Encryption,
}

enum Cipher {
    Gcm(Box<LessSafeKey>),
    Cbc128([u8; 16]),
    Cbc192([u8; 24]),
    Cbc256([u8; 32]),
    Secretbox(Box<XSalsa20Poly1305>),
}

/// A key ready for use.
pub(crate) struct Key {
    /// `k8s:enc:<provider>:v1:<name>:`.
    pub(crate) prefix: Vec<u8>,
    cipher: Cipher,
    random: SystemRandom,
}

impl Key {
    /// A key of a checked configuration; `None` if its length is none of the provider's.
    pub(crate) fn new(kind: Kind, name: &str, secret: &[u8]) -> Option<Key> {
        let cipher = match kind {
            Kind::AesGcm => {
                let algorithm = if secret.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
                Cipher::Gcm(Box::new(LessSafeKey::new(UnboundKey::new(algorithm, secret).ok()?)))
            }
            Kind::AesCbc => match secret.len() {
                16 => Cipher::Cbc128(secret.try_into().ok()?),
                24 => Cipher::Cbc192(secret.try_into().ok()?),
                _ => Cipher::Cbc256(secret.try_into().ok()?),
            },
            Kind::Secretbox => Cipher::Secretbox(Box::new(XSalsa20Poly1305::new_from_slice(secret).ok()?)),
        };
        let prefix = format!("k8s:enc:{}:v1:{name}:", kind.name()).into_bytes();
        Some(Key { prefix, cipher, random: SystemRandom::new() })
    }

    fn fresh<const N: usize>(&self) -> Result<[u8; N], CipherError> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).map_err(|_| CipherError::Encryption)?;
        Ok(bytes)
    }

    /// The stored form of a plain value, prefix included.
    pub(crate) fn seal(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, CipherError> {
        let mut sealed = self.prefix.clone();
        match &self.cipher {
            Cipher::Gcm(key) => {
                let nonce = self.fresh::<GCM_NONCE>()?;
                let mut body = plain.to_vec();
                let at = Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_append_tag(at, Aad::from(context), &mut body)
                    .map_err(|_| CipherError::Encryption)?;
                sealed.extend_from_slice(&nonce);
                sealed.extend_from_slice(&body);
            }
            Cipher::Secretbox(cipher) => {
                let nonce = self.fresh::<BOX_NONCE>()?;
                let body = cipher.encrypt(&nonce.into(), plain).map_err(|_| CipherError::Encryption)?;
                sealed.extend_from_slice(&nonce);
                sealed.extend_from_slice(&body);
            }
            cbc => {
                let iv = self.fresh::<CBC_IV>()?;
                sealed.extend_from_slice(&iv);
                sealed.extend_from_slice(&cbc_encrypt(cbc, &iv, plain));
            }
        }
        Ok(sealed)
    }

    /// The plain value of what follows the prefix.
    pub(crate) fn open(&self, body: &[u8], context: &[u8]) -> Result<Vec<u8>, CipherError> {
        match &self.cipher {
            Cipher::Gcm(key) => {
                let (nonce, body) = body.split_first_chunk::<GCM_NONCE>().ok_or(CipherError::Length)?;
                let mut plain = body.to_vec();
                let opened =
                    key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context), &mut plain);
                let length = opened.map_err(|_| CipherError::Authentication)?.len();
                plain.truncate(length);
                Ok(plain)
            }
            Cipher::Secretbox(cipher) => {
                let (nonce, body) = body.split_first_chunk::<BOX_NONCE>().ok_or(CipherError::Length)?;
                cipher.decrypt(&(*nonce).into(), body).map_err(|_| CipherError::Authentication)
            }
            cbc => {
                let (iv, body) = body.split_first_chunk::<CBC_IV>().ok_or(CipherError::Length)?;
                if body.is_empty() || !body.len().is_multiple_of(CBC_IV) {
                    return Err(CipherError::Length);
                }
                cbc_decrypt(cbc, iv, body).ok_or(CipherError::Padding)
            }
        }
    }
}

fn cbc_encrypt(cipher: &Cipher, iv: &[u8; CBC_IV], plain: &[u8]) -> Vec<u8> {
    match cipher {
        Cipher::Cbc128(key) => {
            cbc::Encryptor::<Aes128>::new(key.into(), iv.into()).encrypt_padded_vec_mut::<Pkcs7>(plain)
        }
        Cipher::Cbc192(key) => {
            cbc::Encryptor::<Aes192>::new(key.into(), iv.into()).encrypt_padded_vec_mut::<Pkcs7>(plain)
        }
        Cipher::Cbc256(key) => {
            cbc::Encryptor::<Aes256>::new(key.into(), iv.into()).encrypt_padded_vec_mut::<Pkcs7>(plain)
        }
        Cipher::Gcm(_) | Cipher::Secretbox(_) => Vec::new(),
    }
}

fn cbc_decrypt(cipher: &Cipher, iv: &[u8; CBC_IV], body: &[u8]) -> Option<Vec<u8>> {
    match cipher {
        Cipher::Cbc128(key) => {
            cbc::Decryptor::<Aes128>::new(key.into(), iv.into()).decrypt_padded_vec_mut::<Pkcs7>(body).ok()
        }
        Cipher::Cbc192(key) => {
            cbc::Decryptor::<Aes192>::new(key.into(), iv.into()).decrypt_padded_vec_mut::<Pkcs7>(body).ok()
        }
        Cipher::Cbc256(key) => {
            cbc::Decryptor::<Aes256>::new(key.into(), iv.into()).decrypt_padded_vec_mut::<Pkcs7>(body).ok()
        }
        Cipher::Gcm(_) | Cipher::Secretbox(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Key> {
        let key = |kind, length| Key::new(kind, "k", &vec![7; length]).unwrap();
        let kinds = [Kind::AesGcm, Kind::AesCbc, Kind::Secretbox];
        kinds.iter().flat_map(|kind| kind.key_sizes().iter().map(|size| key(*kind, *size))).collect()
    }

    #[test]
    fn what_is_sealed_opens_again_and_never_looks_the_same() {
        for key in all() {
            for plain in [&b""[..], b"x", &[9; 16], &[3; 5000]] {
                let (one, two) = (key.seal(plain, b"/a").unwrap(), key.seal(plain, b"/a").unwrap());
                assert_ne!(one, two);
                let body = one.strip_prefix(key.prefix.as_slice()).unwrap();
                assert_eq!(key.open(body, b"/a").unwrap(), plain);
                if plain.len() > 100 {
                    assert!(!one.windows(plain.len()).any(|part| part == plain));
                }
            }
        }
    }

    #[test]
    fn damage_and_wrong_keys_are_errors_and_never_panics() {
        for key in all() {
            let sealed = key.seal(b"some value of some length", b"/a").unwrap();
            let body = &sealed[key.prefix.len()..];
            for length in 0..body.len() {
                assert!(
                    key.open(&body[..length], b"/a").is_err()
                        || matches!(key.cipher, Cipher::Cbc128(_) | Cipher::Cbc192(_) | Cipher::Cbc256(_))
                );
            }
            if let Cipher::Gcm(_) | Cipher::Secretbox(_) = key.cipher {
                for position in 0..body.len() {
                    let mut changed = body.to_vec();
                    changed[position] ^= 1;
                    assert_eq!(key.open(&changed, b"/a"), Err(CipherError::Authentication));
                }
            }
            if let Cipher::Gcm(_) = key.cipher {
                assert_eq!(key.open(body, b"/b"), Err(CipherError::Authentication), "moved");
            }
        }
    }

    /// The bytes were made with another implementation (OpenSSL): the stored form is everybody's.
    #[test]
    fn a_value_of_another_implementation_opens() {
        let key = Key::new(Kind::AesCbc, "k", b"0123456789abcdef").unwrap();
        let body: Vec<u8> = [&[0u8; 16][..], OPENSSL_CBC].concat();
        assert_eq!(key.open(&body, b"").unwrap(), b"hello");
    }

    const OPENSSL_CBC: &[u8] =
        &[0x67, 0x4c, 0x7e, 0xf3, 0x8e, 0x78, 0xca, 0xbd, 0x9c, 0xec, 0x9c, 0x12, 0x58, 0x23, 0xa6, 0x39];
}
