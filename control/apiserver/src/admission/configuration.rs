//! Which plug-ins run and how they are configured. Enters: the server's configuration. Leaves: plug-ins and settings.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use xebec_admission::{ConfigError, Plugin, SelectionError, select};
use xebec_api::config_file;

use crate::Config;

/// Why admission cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// A plug-in's name is wrong.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The file cannot be read.
    #[error("--admission-control-config-file: {0}")]
    File(String),
    /// The file says something wrong.
    #[error("--admission-control-config-file: {0}")]
    Contents(#[from] ConfigError),
}

fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    config_file::decode(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The plug-ins that run, and their settings. A plug-in's own file is found beside the one that names it.
pub fn configuration(
    config: &Config,
) -> Result<(BTreeSet<Plugin>, xebec_admission::Config), ConfigurationError> {
    let plugins = select(&config.enable_admission_plugins, &config.disable_admission_plugins)?;
    let mut settings = match &config.admission_control_config_file {
        None => xebec_admission::Config::default(),
        Some(file) => {
            let value = read(file).map_err(ConfigurationError::File)?;
            let folder = file.parent().unwrap_or(Path::new(""));
            xebec_admission::Config::from_value(&value, &|path| read(&folder.join(path)))?
        }
    };
    settings.not_ready_seconds = config.default_not_ready_toleration_seconds;
    settings.unreachable_seconds = config.default_unreachable_toleration_seconds;
    Ok((plugins, settings))
}
