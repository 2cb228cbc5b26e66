//! Why a program ends early: one line, with all causes.

use std::error::Error;

/// The reason, printed before exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An option or a configuration file has a value that cannot be used.
    #[error("{0}")]
    Option(String),
    /// A part did not start or ended by itself.
    #[error("{part}: {reason}")]
    Part {
        /// Which one.
        part: &'static str,
        /// Why, with all causes.
        reason: String,
    },
}

impl Failure {
    /// A part's error with its causes, in one line.
    pub fn part(part: &'static str) -> impl Fn(&dyn Error) -> Self {
        move |error| Self::Part { part, reason: chain(error) }
    }
}

/// An error with all its causes in one line; what a cause repeats of the words before it is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    // Parsers draw the place of an error over several lines; the first one says what and where.
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let mut line = first(error.to_string());
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = first(inner.to_string());
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = inner.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Step {
        text: &'static str,
        source: Option<Box<Step>>,
    }

    #[test]
    fn causes_stand_in_one_line_once() {
        let step = |text, source: Option<Step>| Step { text, source: source.map(Box::new) };
        let error = step("no store: denied", Some(step("denied", Some(step("line 3\n  | ^ here", None)))));
        assert_eq!(chain(&error), "no store: denied: line 3");
        assert_eq!(Failure::part("store")(&error).to_string(), "store: no store: denied: line 3");
    }
}
