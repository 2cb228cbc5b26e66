//! Which of the runtime's handlers a pod is to be run by. Enters: the name of its RuntimeClass. Leaves: the handler that the
//! class names. Called by start, before a sandbox is made.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::api::{ApiFailure, PodApi};

/// Handlers by RuntimeClass, as last read: a pod's sandbox can be made anew while the API server does not answer.
#[derive(Debug, Default)]
pub struct Handlers(Mutex<HashMap<String, String>>);

impl Handlers {
    /// The handler of a class; empty, the runtime's default, without one (upstream's `LookupRuntimeHandler`).
    ///
    /// # Errors
    /// There is no such class, or the server does not answer and the class was never read; try again.
    pub async fn of(&self, class: Option<&str>, api: &dyn PodApi) -> Result<String, String> {
        let Some(name) = class.filter(|name| !name.is_empty()) else { return Ok(String::new()) };
        match api.runtime_class(name).await {
            Ok(class) => {
                self.0.lock().insert(name.to_owned(), class.handler.clone());
                Ok(class.handler)
            }
            Err(error @ ApiFailure::Unavailable(_)) => match self.0.lock().get(name) {
                Some(known) => Ok(known.clone()),
                None => Err(format!("failed to lookup RuntimeClass {name}: {error}")),
            },
            Err(ApiFailure::Gone(why)) => Err(why),
            Err(error) => Err(format!("failed to lookup RuntimeClass {name}: {error}")),
        }
    }
}
