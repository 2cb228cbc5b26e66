//! The log: one JSON object a line, in a file that is rotated or on standard output.
//!
//! Enters: lines. Leaves: `<path>`, and `<stem>-<time><ext>` for what was rotated. Files have mode 0600. A file is
//! rotated before the line that would make it longer than its limit; old ones are removed by age and number.
//!
//! Authority: `k8s.io/apiserver/plugin/pkg/audit/log`; names and limits of rotated files as lumberjack's.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::Sink;
use crate::event::Event;

/// The size at which a file is rotated unless said otherwise, in bytes (100 MiB).
pub const DEFAULT_MAX_SIZE: u64 = 100 << 20;
/// The time in a rotated file's name, in UTC.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S.%3f";

/// How a log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The file, or `-` for standard output (`--audit-log-path`).
    pub path: PathBuf,
    /// Rotated files older than this many days are removed; 0 keeps them (`--audit-log-maxage`).
    pub max_age_days: u32,
    /// At most this many rotated files are kept; 0 keeps all (`--audit-log-maxbackup`).
    pub max_backups: usize,
    /// The size at which the file is rotated, in bytes; 0 means [`DEFAULT_MAX_SIZE`] (`--audit-log-maxsize`, in MiB).
    pub max_size: u64,
}

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("audit log {path}: {source}")]
pub struct LogError {
    /// The file.
    path: PathBuf,
    /// The cause.
    source: io::Error,
}

/// Something lines are appended to.
pub struct Log {
    options: LogOptions,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    file: Mutex<Option<Open>>,
}

struct Open {
    file: File,
    size: u64,
}

fn open(path: &Path) -> io::Result<Open> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok(Open { file, size })
}

impl Log {
    /// Opens the log; its directory is made if it is missing.
    pub fn open(options: LogOptions) -> Result<Log, LogError> {
        Log::with_clock(options, Arc::new(Timestamp::now))
    }

    /// Opens the log on a given clock.
    pub fn with_clock(
        options: LogOptions,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Result<Log, LogError> {
        let file = if options.path == Path::new("-") {
            None
        } else {
            let failed = |source| LogError { path: options.path.clone(), source };
            Some(open(&options.path).map_err(failed)?)
        };
        Ok(Log { options, clock, file: Mutex::new(file) })
    }

    fn limit(&self) -> u64 {
        if self.options.max_size == 0 { DEFAULT_MAX_SIZE } else { self.options.max_size }
    }

    /// Appends lines, each ending with a line break.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        let mut guard = self.file.lock();
        let Some(current) = guard.as_mut() else {
            let mut out = io::stdout().lock();
            out.write_all(lines)?;
            return out.flush();
        };
        if current.size > 0 && current.size + lines.len() as u64 > self.limit() {
            self.rotate(current)?;
        }
        current.file.write_all(lines)?;
        current.size += lines.len() as u64;
        Ok(())
    }

    fn rotate(&self, current: &mut Open) -> io::Result<()> {
        let (stem, extension) = self.name_parts();
        let now = (self.clock)();
        let mut backup =
            self.options.path.with_file_name(format!("{stem}-{}{extension}", now.strftime(STAMP)));
        // Two rotations within one millisecond must not overwrite each other.
        for further in 1..1000 {
            if !backup.exists() {
                break;
            }
            let later = now.checked_add(SignedDuration::from_millis(further)).unwrap_or(now);
            backup = self.options.path.with_file_name(format!("{stem}-{}{extension}", later.strftime(STAMP)));
        }
        std::fs::rename(&self.options.path, &backup)?;
        *current = open(&self.options.path)?;
        self.remove_old(now);
        Ok(())
    }

    /// The file's name without and with only its extension (`audit`, `.log`).
    fn name_parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = text(self.options.path.extension());
        let extension = if extension.is_empty() { extension } else { format!(".{extension}") };
        (text(self.options.path.file_stem()), extension)
    }

    /// The rotated files and their times, the latest first.
    fn backups(&self) -> Vec<(Timestamp, PathBuf)> {
        let (stem, extension) = self.name_parts();
        let directory = self.options.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let Ok(entries) = std::fs::read_dir(directory.unwrap_or(Path::new("."))) else { return Vec::new() };
        let mut found: Vec<(Timestamp, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let stamp = name.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(&extension)?;
                let time = jiff::civil::DateTime::strptime("%Y-%m-%dT%H-%M-%S%.f", stamp).ok()?;
                Some((time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(), entry.path()))
            })
            .collect();
        found.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        found
    }

    fn remove_old(&self, now: Timestamp) {
        let max_age = SignedDuration::from_hours(24 * i64::from(self.options.max_age_days));
        for (number, (time, path)) in self.backups().into_iter().enumerate() {
            let is_surplus = self.options.max_backups > 0 && number >= self.options.max_backups;
            let is_old = self.options.max_age_days > 0 && now.duration_since(time) > max_age;
            if (is_surplus || is_old)
                && let Err(error) = std::fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "an old audit log could not be removed");
            }
        }
    }
}

/// The event as a line; `None` cannot happen but for lack of memory.
pub(crate) fn line(event: &Event) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(event).ok()?;
    line.push(b'\n');
    Some(line)
}

/// Writes to the log on the request's path (`--audit-log-mode=blocking`, upstream's default for logs).
pub struct Blocking {
    log: Log,
    is_strict: bool,
}

impl Blocking {
    /// A blocking sink; a strict one (`blocking-strict`) makes requests fail whose first event cannot be written.
    pub fn new(log: Log, is_strict: bool) -> Blocking {
        Blocking { log, is_strict }
    }
}

impl Sink for Blocking {
    fn write(&self, event: &Event) -> bool {
        let written = line(event).is_some_and(|line| match self.log.append(&line) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, audit_id = event.audit_id, "an audit event could not be written");
                false
            }
        });
        written || !self.is_strict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(directory: &Path, change: impl FnOnce(&mut LogOptions)) -> Log {
        let mut options = LogOptions {
            path: directory.join("logs/audit.log"),
            max_age_days: 0,
            max_backups: 0,
            max_size: 20,
        };
        change(&mut options);
        let now = Mutex::new("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
        let clock = move || {
            let mut now = now.lock();
            *now = now.checked_add(SignedDuration::from_hours(1)).unwrap();
            *now
        };
        Log::with_clock(options, Arc::new(clock)).unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory.join("logs")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_rotated_and_no_line_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path(), |_| ());
        for number in 0..5 {
            log.append(format!("line {number} x\n").as_bytes()).unwrap();
        }
        let names = names(directory.path());
        assert_eq!(names.len(), 3, "two lines fit into one file: {names:?}");
        assert_eq!(names[0], "audit-2026-01-01T01-00-00.000.log");
        let mut all = String::new();
        for name in &names {
            all += &std::fs::read_to_string(directory.path().join("logs").join(name)).unwrap();
        }
        for number in 0..5 {
            assert!(all.contains(&format!("line {number} x\n")));
        }
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(directory.path().join("logs/audit.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn old_files_go_by_number_and_by_age() {
        let directory = tempfile::tempdir().unwrap();
        let few = log(directory.path(), |options| options.max_backups = 2);
        std::fs::write(directory.path().join("logs/audit-notes.log"), "mine").unwrap();
        for _ in 0..6 {
            few.append(b"fifteen bytes..\n").unwrap();
        }
        let kept = names(directory.path());
        assert_eq!(
            kept,
            [
                "audit-2026-01-01T04-00-00.000.log",
                "audit-2026-01-01T05-00-00.000.log",
                "audit-notes.log",
                "audit.log"
            ]
        );
        let directory = tempfile::tempdir().unwrap();
        let young = log(directory.path(), |options| options.max_age_days = 1);
        for _ in 0..40 {
            young.append(b"fifteen bytes..\n").unwrap();
        }
        assert_eq!(names(directory.path()).len(), 26, "24 hours, the one just rotated, and the current one");
    }

    #[test]
    fn an_existing_file_is_continued() {
        let directory = tempfile::tempdir().unwrap();
        log(directory.path(), |_| ()).append(b"one\n").unwrap();
        log(directory.path(), |_| ()).append(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join("logs/audit.log")).unwrap(), "one\ntwo\n");
    }
}
