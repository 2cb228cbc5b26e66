//! The identity of this server among those of a cluster. Enters: the host's name. Leaves: `apiserver-` and 26 letters.
//!
//! Authority: KEP-1965; `k8s.io/apiserver/pkg/server.NewConfig`.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

/// This host's name.
pub fn this_host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The identity of a server on this host.
pub fn of_this_host() -> String {
    of_host(&this_host())
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
    format!("apiserver-{}", BASE32_NOPAD.encode(&hash.finalize()[..16]).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_identities_of_their_own() {
        let one = of_host("one");
        assert!(one.starts_with("apiserver-") && one.len() == 36, "{one}");
        assert_eq!(one, "apiserver-lonn3mgjh4otei2c3b7rmvvvfq", "by Python's hashlib and base64");
        assert_ne!(one, of_host("two"));
    }
}
