//! Configuration files of upstream's form: YAML or JSON of one `apiVersion` and `kind`, unknown fields refused.
//!
//! Enters: a file's text. Leaves: the configuration, or a [`ConfigError`] that names what is wrong. Called by everything
//! an operator configures by such a file: authentication, authorization, encryption, audit; each reads its own file.
//! [`decode`] alone reads the files of other forms: the server's own options and those of admission.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::field::FieldError;

/// Why a configuration file is refused; an operator must correct it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The text is no configuration of the kind wanted.
    #[error("{0}")]
    Form(String),
    /// Fields are wrong; all of them are named.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<FieldError>),
}

impl ConfigError {
    /// The error of a file that cannot be read.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> ConfigError {
        let path = path.display().to_string();
        |source| ConfigError::File { path, source }
    }

    /// `Ok` when nothing is wrong.
    ///
    /// # Errors
    /// [`ConfigError::Fields`] with all of `errors`.
    pub fn unless_empty(errors: Vec<FieldError>) -> Result<(), ConfigError> {
        if errors.is_empty() { Ok(()) } else { Err(ConfigError::Fields(errors)) }
    }
}

/// Reads YAML or JSON; which fields there may be is `T`'s affair.
///
/// # Errors
/// [`ConfigError::Form`]: no such text, and where that shows.
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        // The parser draws the place over several lines; its first one says what and where.
        ConfigError::Form(error.to_string().lines().next().unwrap_or_default().to_owned())
    })
}

/// Reads a configuration of one of `versions` and of `kind`; `type_of` says which `apiVersion` and `kind` were given.
/// `T` must refuse unknown fields itself (`deny_unknown_fields`).
///
/// # Errors
/// [`ConfigError::Form`]: no such configuration.
pub fn parse<T: DeserializeOwned>(
    text: &str,
    versions: &[&str],
    kind: &str,
    type_of: fn(&T) -> (&str, &str),
) -> Result<T, ConfigError> {
    let config: T = decode(text)?;
    let (given_version, given_kind) = type_of(&config);
    if !versions.contains(&given_version) {
        let wanted = versions.join(" or ");
        return Err(ConfigError::Form(format!("apiVersion: {given_version:?}: must be {wanted}")));
    }
    if given_kind != kind {
        return Err(ConfigError::Form(format!("kind: {given_kind:?}: must be {kind}")));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Sample {
        api_version: String,
        kind: String,
        number: u8,
    }

    fn read(text: &str) -> Result<Sample, String> {
        parse(text, &["g/v1", "g/v2"], "Sample", |sample: &Sample| (&sample.api_version, &sample.kind))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(read("{apiVersion: g/v2, kind: Sample, number: 3}").unwrap().number, 3);
        for (text, wanted) in [
            ("{apiVersion: g/v3, kind: Sample}", r#"apiVersion: "g/v3": must be g/v1 or g/v2"#),
            ("{apiVersion: g/v1}", r#"kind: "": must be Sample"#),
            ("{apiVersion: g/v1, kind: Sample, nummer: 3}", "nummer"),
            ("{apiVersion: g/v1, kind: Sample, number: 300}", "invalid u8"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(wanted) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn errors_name_the_file_and_every_field() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!(ConfigError::file(Path::new("/a"))(missing).to_string(), "/a: entity not found");
        let at = crate::field::Path::new("a");
        let errors = vec![FieldError::required(&at, ""), FieldError::required(&at.child("b"), "")];
        let error = ConfigError::unless_empty(errors).unwrap_err().to_string();
        assert_eq!(error, "a: Required value; a.b: Required value");
        assert!(ConfigError::unless_empty(Vec::new()).is_ok());
    }
}
