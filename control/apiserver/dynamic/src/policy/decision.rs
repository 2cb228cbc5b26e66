//! What evaluating a policy comes to. Pure.

use xebec_api::status::Reason;

/// The verdict of one validation, or of a failure to evaluate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Whether it speaks against the request.
    pub(crate) denies: bool,
    /// Whether nothing could be evaluated, and the failure policy decided.
    pub(crate) is_error: bool,
    /// Why.
    pub(crate) message: String,
    /// The Status' reason.
    pub(crate) reason: Option<Reason>,
}

/// What comes of one audit annotation's expression that has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Annotation {
    /// It is published.
    Publish { key: String, value: String },
    /// It could not be evaluated, and the policy is to fail.
    Failed(String),
}

/// Everything one evaluation of a policy came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decided {
    /// One per validation, in order; empty when the match conditions exclude the request.
    pub(crate) decisions: Vec<Decision>,
    /// The audit annotations with a value.
    pub(crate) annotations: Vec<Annotation>,
}

impl Decision {
    /// The request passes.
    pub(crate) fn admit() -> Self {
        Self::default()
    }

    /// The request is refused.
    pub(crate) fn deny(message: impl Into<String>) -> Self {
        Self { denies: true, message: message.into(), ..Self::default() }
    }

    /// An evaluation failed; the failure policy decides.
    pub(crate) fn error(message: impl Into<String>, ignored: bool) -> Self {
        Self { denies: !ignored, is_error: true, message: message.into(), reason: None }
    }

    /// The metrics' word for it.
    pub(crate) fn error_type(&self) -> &'static str {
        error_type(&self.message, self.is_error || self.denies)
    }
}

impl Decided {
    /// A whole policy that could not be evaluated.
    pub(crate) fn failed(message: impl Into<String>, ignored: bool) -> Self {
        Self { decisions: vec![Decision::error(message, ignored)], annotations: Vec::new() }
    }
}

/// The metrics' word for an outcome with this message.
pub(crate) fn error_type(message: &str, failed: bool) -> &'static str {
    if !failed {
        "no_error"
    } else if message.starts_with("compilation") {
        "compile_error"
    } else if message.starts_with("validation failed due to running out of cost budget") {
        "out_of_budget"
    } else {
        "invalid_error"
    }
}
