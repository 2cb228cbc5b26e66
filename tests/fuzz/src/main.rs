//! Coverage-guided fuzzing of every decoder that takes a client's bytes.
//!
//! Enters: bytes from libFuzzer; which decoder, by the environment variable `XEBEC_FUZZ`. Leaves: a crash when a decoder
//! panics, overflows, recurses without bound or breaks one of the laws written here. `cargo xtask test --only fuzz` runs
//! each for a bounded time from the seeds beside this file.

#![no_main]

mod laws;

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};

type Law = fn(&[u8]) -> bool;

static LAW: LazyLock<Law> = LazyLock::new(|| {
    let wanted = std::env::var("XEBEC_FUZZ").unwrap_or_default();
    match laws::ALL.iter().find(|(name, _)| *name == wanted) {
        Some((_, law)) => *law,
        None => {
            let known: Vec<&str> = laws::ALL.iter().map(|(name, _)| *name).collect();
            panic!("XEBEC_FUZZ={wanted:?}: must be one of {}", known.join(", "));
        }
    }
});

fuzz_target!(|data: &[u8]| -> Corpus { if (LAW)(data) { Corpus::Keep } else { Corpus::Reject } });
