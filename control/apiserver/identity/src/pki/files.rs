//! Reading and replacing small files whole, with their mode.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::PkiError;

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File { operation, path, source }
}

/// Makes a directory and its parents (0755).
pub(super) fn make_dir(dir: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed("create directory", dir))
}

/// The file's text, or `None` if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Replaces a file: the new one is complete and has its mode before it gets its name.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    let create = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    create().map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("rename to", path))
}

/// [`write()`], unless the file says that already; true if it was written.
pub(super) fn write_if_changed(path: &Path, text: &str, mode: u32) -> Result<bool, PkiError> {
    if read(path)?.as_deref() == Some(text) {
        return Ok(false);
    }
    write(path, text, mode)?;
    Ok(true)
}
