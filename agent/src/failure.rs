//! Why the agent ends early: one line, with all causes.

/// The reason, printed before exit code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An option has a value that cannot be used.
    #[error("{0}")]
    Option(String),
    /// A part did not start or ended by itself.
    #[error("{part}: {reason}")]
    Part {
        /// Which one.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// A part's error with its causes.
    pub(crate) fn part(part: &'static str) -> impl Fn(&dyn std::error::Error) -> Self {
        move |error| Self::Part { part, reason: xebec_dataplane::chain(error) }
    }
}
