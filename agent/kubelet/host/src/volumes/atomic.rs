//! The atomic writer. Enters: a volume's directory and its files. Leaves: the files behind `..data`, swapped in one
//! rename, so that a container sees all of the old or all of the new (upstream's util.AtomicWriter).
//!
//! `<dir>/..<time>.<random>/` holds the files, `..data` points to it, `<dir>/<name>` points to `..data/<name>`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::VolumeError;
use super::payload::{Payload, check};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Makes `dir` hold exactly `payload`; true if anything was written. `own` sets the owner of the new files before
/// they are seen.
pub(super) fn write(
    dir: &Path,
    payload: &Payload,
    own: impl FnOnce(&Path) -> Result<(), VolumeError>,
) -> Result<bool, VolumeError> {
    check(payload)?;
    let current = fs::read_link(dir.join(DATA)).ok();
    if let Some(current) = &current
        && holds(&dir.join(current), payload)
    {
        link_names(dir, payload)?;
        unlink_stale(dir, payload)?;
        drop_old(dir, current)?;
        return Ok(false);
    }
    let name = fresh_name();
    let next = dir.join(&name);
    fs::create_dir(&next).map_err(VolumeError::io("create", &next))?;
    set_mode(&next, 0o755)?;
    for (path, file) in payload {
        write_file(&next, path, file)?;
    }
    own(&next)?;
    let link = dir.join(DATA_NEXT);
    match fs::remove_file(&link) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(VolumeError::io("remove", &link)(e));
        }
        _ => {}
    }
    symlink(&name, &link).map_err(VolumeError::io("symlink", &link))?;
    fs::rename(&link, dir.join(DATA)).map_err(VolumeError::io("rename", &link))?;
    link_names(dir, payload)?;
    unlink_stale(dir, payload)?;
    drop_old(dir, Path::new(&name))?;
    Ok(true)
}

fn fresh_name() -> String {
    let time = jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S");
    format!("..{time}.{:010}", rand::random::<u32>())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(VolumeError::io("chmod", path))
}

fn write_file(base: &Path, relative: &str, file: &super::payload::File) -> Result<(), VolumeError> {
    let path = base.join(relative);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(VolumeError::io("create", parent))?;
    }
    fs::write(&path, &file.data).map_err(VolumeError::io("write", &path))?;
    set_mode(&path, file.mode)?;
    match file.uid {
        Some(uid) => chown(&path, Some(uid), None).map_err(VolumeError::io("chown", &path)),
        None => Ok(()),
    }
}

/// Every file below `dir`, relative.
fn files_below(dir: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(relative) = todo.pop() {
        for entry in fs::read_dir(dir.join(&relative))? {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                todo.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

fn holds(dir: &Path, payload: &Payload) -> bool {
    let same_names = files_below(dir).is_ok_and(|found| {
        found.len() == payload.len() && payload.keys().all(|path| found.contains(Path::new(path)))
    });
    same_names
        && payload.iter().all(|(path, file)| fs::read(dir.join(path)).is_ok_and(|data| data == file.data))
}

fn top_names(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().filter_map(|path| path.split('/').next()).collect()
}

fn link_names(dir: &Path, payload: &Payload) -> Result<(), VolumeError> {
    for name in top_names(payload) {
        let link = dir.join(name);
        match symlink(Path::new(DATA).join(name), &link) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(VolumeError::io("symlink", link)(e));
            }
            _ => {}
        }
    }
    Ok(())
}

fn each_entry(
    dir: &Path,
    mut act: impl FnMut(&Path, &str) -> Result<(), VolumeError>,
) -> Result<(), VolumeError> {
    for entry in fs::read_dir(dir).map_err(VolumeError::io("read", dir))? {
        let entry = entry.map_err(VolumeError::io("read", dir))?;
        if let Some(name) = entry.file_name().to_str() {
            act(&entry.path(), name)?;
        }
    }
    Ok(())
}

/// Removes links of names that are no longer part of the volume; nothing but our own links into `..data`.
fn unlink_stale(dir: &Path, payload: &Payload) -> Result<(), VolumeError> {
    let names = top_names(payload);
    each_entry(dir, |path, name| {
        let ours = fs::read_link(path).is_ok_and(|target| target == Path::new(DATA).join(name));
        if ours && !names.contains(name) {
            fs::remove_file(path).map_err(VolumeError::io("remove", path))?;
        }
        Ok(())
    })
}

/// Removes earlier (and half-written) directories of the writer.
fn drop_old(dir: &Path, current: &Path) -> Result<(), VolumeError> {
    each_entry(dir, |path, name| {
        let ours = name.starts_with("..") && name.as_bytes().get(2).is_some_and(u8::is_ascii_digit);
        if ours && Path::new(name) != current {
            fs::remove_dir_all(path).map_err(VolumeError::io("remove", path))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::payload::File;
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { data: text.as_bytes().to_vec(), mode: 0o640, uid: None };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn put(dir: &Path, files: &[(&str, &str)]) -> bool {
        write(dir, &payload(files), |_| Ok(())).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut all: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.retain(|name| !name.starts_with("..2"));
        all.sort();
        all
    }

    #[test]
    fn contents_swap_and_stale_names_go() {
        let dir = tempfile::tempdir().unwrap();
        assert!(put(dir.path(), &[("a", "1"), ("d/e", "2")]));
        assert_eq!(fs::read_to_string(dir.path().join("d/e")).unwrap(), "2");
        assert_eq!(names(dir.path()), ["..data", "a", "d"]);
        assert_eq!(fs::read_link(dir.path().join("a")).unwrap(), Path::new("..data/a"));
        let mode = fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o640);
        let first = fs::read_link(dir.path().join("..data")).unwrap();

        assert!(!put(dir.path(), &[("a", "1"), ("d/e", "2")]));
        assert_eq!(fs::read_link(dir.path().join("..data")).unwrap(), first);

        assert!(put(dir.path(), &[("a", "3"), ("f", "4")]));
        assert_eq!(names(dir.path()), ["..data", "a", "f"]);
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "3");
        assert!(!dir.path().join(first).exists());
    }

    #[test]
    fn a_kill_at_any_step_is_made_good() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &[("a", "1")]);
        // Killed while writing the next directory, and after making the next link.
        let half = dir.path().join("..2026_01_01_00_00_00.0000000001");
        fs::create_dir(&half).unwrap();
        fs::write(half.join("b"), "half").unwrap();
        symlink(half.file_name().unwrap(), dir.path().join(DATA_NEXT)).unwrap();
        assert!(put(dir.path(), &[("a", "2"), ("b", "whole")]));
        assert!(!half.exists());
        assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), "whole");
        // Killed after the swap, before the names.
        fs::remove_file(dir.path().join("b")).unwrap();
        assert!(!put(dir.path(), &[("a", "2"), ("b", "whole")]));
        assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), "whole");
    }

    #[test]
    fn owners_are_set_before_anything_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let seen = write(dir.path(), &payload(&[("a", "1")]), |next| {
            assert!(next.join("a").exists() && !dir.path().join("..data").exists());
            Err(VolumeError::Invalid("no".into()))
        });
        assert!(seen.is_err() && !dir.path().join("..data").exists());
    }
}
