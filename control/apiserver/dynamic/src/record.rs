//! What admission says besides yes and no.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tracing::warn;

/// Takes the warnings for the client and the annotations for the audit event of one request.
pub trait Record: Send + Sync {
    /// A text for the response's Warning headers.
    fn warn(&self, text: &str);

    /// An annotation of the audit event; the first value of a key stays.
    fn annotate(&self, key: &str, value: &str);

    /// An annotation that is logged at audit level Request and above only: it shows parts of the object.
    fn annotate_request(&self, key: &str, value: &str) {
        let _ = (key, value);
    }
}

/// Keeps everything in memory, for servers without an audit log of their own and for tests.
#[derive(Debug, Default)]
pub struct Recorded {
    warnings: Mutex<Vec<String>>,
    annotations: Mutex<BTreeMap<String, String>>,
}

impl Recorded {
    /// The warnings so far, in order.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }

    /// The annotations so far.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.lock().clone()
    }
}

impl Record for Recorded {
    fn warn(&self, text: &str) {
        self.warnings.lock().push(text.to_owned());
    }

    fn annotate(&self, key: &str, value: &str) {
        let mut annotations = self.annotations.lock();
        if let Some(present) = annotations.get(key) {
            if present != value {
                warn!(key, "an audit annotation is set already");
            }
            return;
        }
        annotations.insert(key.to_owned(), value.to_owned());
    }

    fn annotate_request(&self, key: &str, value: &str) {
        self.annotate(key, value);
    }
}
