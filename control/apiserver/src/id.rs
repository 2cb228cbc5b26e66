//! The identity of this server among those of a cluster. Enters: the host's name. Leaves: `apiserver-` and 26 letters.
//!
//! Authority: KEP-1965; `k8s.io/apiserver/pkg/server.NewConfig`.

use sha2::{Digest, Sha256};

/// Digits of base 32 (RFC 4648), in lower case.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The identity of a server on this host.
pub fn of_this_host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    of_host(name.trim())
}

/// The identity of a server on the host of this name: the first 16 bytes of a hash over the host's name and the
/// server's kind, each behind its length.
fn of_host(name: &str) -> String {
    let mut hash = Sha256::new();
    for part in [name, "kube-apiserver"] {
        // A host's name has 64 bytes at most.
        hash.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("apiserver-{}", base32(&hash.finalize()[..16]))
}

/// Base 32 without padding.
fn base32(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0_u16, 0_u32);
    for byte in bytes {
        held = (held << 8) | u16::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(DIGITS[usize::from((held >> bits) & 31)]));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(DIGITS[usize::from((held << (5 - bits)) & 31)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_32_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text, "{bytes}");
        }
    }

    #[test]
    fn hosts_have_identities_of_their_own() {
        let one = of_host("one");
        assert!(one.starts_with("apiserver-") && one.len() == 36, "{one}");
        assert_eq!(one, "apiserver-lonn3mgjh4otei2c3b7rmvvvfq", "by Python's hashlib and base64");
        assert_ne!(one, of_host("two"));
    }
}
