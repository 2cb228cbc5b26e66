//! Encryption at rest: values of chosen resources are unreadable without the keys of a file.
//!
//! Enters: an EncryptionConfiguration file (`--encryption-provider-config`) and a store. Leaves: a store
//! ([`EncryptedStore`]) whose users see plain values. [`config`] reads and checks the file, [`cipher`] is one
//! provider with its keys, [`Transformers`] says which providers a key of the store has, [`follow`] takes over a
//! changed file without a restart. Called by `xebec-control`, which puts it between the API server and the engine.
//!
//! The stored form is upstream's: `k8s:enc:<provider>:v1:<key name>:` and the provider's bytes; the store's key is
//! the additional data of AES-GCM, so that values cannot be moved between objects. The first provider (and its first
//! key) encrypts, all of them decrypt.
//!
//! Authority: `k8s.io/apiserver/pkg/{apis/apiserver,server/options/encryptionconfig,storage/value}`. Left out: the
//! `kms` provider, and 24-byte keys of `aesgcm` (ring has no AES-192).

mod cipher;
pub mod config;
mod reload;
mod store;
mod transform;

pub use cipher::CipherError;
pub use config::EncryptionConfiguration;
pub use reload::{LOOK_EVERY, follow, load};
pub use store::EncryptedStore;
pub use transform::Transformers;
