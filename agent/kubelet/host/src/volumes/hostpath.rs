//! hostPath volumes. Enters: a path and its demanded type. Leaves: the path exists as demanded, or upstream's error.

use std::fs;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::VolumeError;

/// Checks (and for the `OrCreate` types makes) a hostPath. An empty type checks nothing.
pub(super) fn check(path: &Path, kind: &str) -> Result<(), VolumeError> {
    let fail = |what: &str| Err(VolumeError::HostPath(format!("{} is not a {what}", path.display())));
    match kind {
        "DirectoryOrCreate" if !path.exists() => {
            fs::create_dir_all(path).map_err(VolumeError::io("create", path))?;
            return fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                .map_err(VolumeError::io("chmod", path));
        }
        "FileOrCreate" if !path.exists() => {
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
            return made.map(drop).map_err(VolumeError::io("create", path));
        }
        _ => {}
    }
    // Types are those of what a link leads to, as a bind mount would take it.
    let meta = fs::metadata(path);
    let is = |test: fn(&fs::FileType) -> bool| meta.as_ref().is_ok_and(|m| test(&m.file_type()));
    match kind {
        "" => Ok(()),
        "Directory" | "DirectoryOrCreate" if is(fs::FileType::is_dir) => Ok(()),
        "Directory" | "DirectoryOrCreate" => fail("directory"),
        "File" | "FileOrCreate" if is(fs::FileType::is_file) => Ok(()),
        "File" | "FileOrCreate" => fail("file"),
        "Socket" if is(FileTypeExt::is_socket) => Ok(()),
        "Socket" => fail("socket file"),
        "CharDevice" if is(FileTypeExt::is_char_device) => Ok(()),
        "CharDevice" => fail("character device"),
        "BlockDevice" if is(FileTypeExt::is_block_device) => Ok(()),
        "BlockDevice" => fail("block device"),
        other => Err(VolumeError::Invalid(format!("{other} is an invalid volume type"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let (file, socket) = (dir.path().join("f"), dir.path().join("s"));
        fs::write(&file, "").unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let good: [(&Path, &str); 7] = [
            (dir.path(), "Directory"),
            (&file, "File"),
            (&socket, "Socket"),
            (Path::new("/dev/null"), "CharDevice"),
            (&dir.path().join("x/y"), "DirectoryOrCreate"),
            (&dir.path().join("g"), "FileOrCreate"),
            (Path::new("/none"), ""),
        ];
        for (path, kind) in good {
            check(path, kind).unwrap();
        }
        assert!(dir.path().join("x/y").is_dir() && dir.path().join("g").is_file());
        for (path, kind) in [
            (file.as_path(), "Directory"),
            (dir.path(), "File"),
            (&file, "DirectoryOrCreate"),
            (dir.path(), "FileOrCreate"),
            (&file, "Socket"),
            (&file, "CharDevice"),
            (Path::new("/dev/null"), "BlockDevice"),
            (Path::new("/none"), "File"),
            (&file, "Wrong"),
        ] {
            assert!(check(path, kind).is_err(), "{} {kind}", path.display());
        }
        let text = check(&file, "Directory").unwrap_err().to_string();
        assert_eq!(text, format!("hostPath type check failed: {} is not a directory", file.display()));
    }
}
