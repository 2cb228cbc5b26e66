//! A container's last words. Enters: the status of an ended container. Leaves: its termination message.
//!
//! Read from the file the agent mounted at terminationMessagePath (4096 bytes), or from the end of the log when the
//! policy says so and the file is empty (2048 bytes or 80 lines), as upstream.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xebec_cri::messages::ContainerStatus;

use super::labels;

const FILE_LIMIT: u64 = 4096;
const LOG_LIMIT: usize = 2048;
const LOG_LINES: usize = 80;
/// What is read of the log's end: lines carry a time stamp and a tag beyond their text.
const LOG_WINDOW: u64 = 16 * 1024;

/// The message of an ended container: its file, else its log if the policy says so, else the runtime's own words.
pub async fn message(status: &ContainerStatus) -> String {
    let path = status.annotations.get(labels::MESSAGE_PATH);
    let mount = path.and_then(|path| status.mounts.iter().find(|mount| mount.container_path == *path));
    let file = mount.map(|mount| PathBuf::from(&mount.host_path));
    let on_error =
        status.annotations.get(labels::MESSAGE_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
    let log = (on_error && status.exit_code != 0).then(|| PathBuf::from(&status.log_path));
    let runtime = status.message.clone();
    let read = tokio::task::spawn_blocking(move || {
        let written = file.and_then(|file| head(&file)).filter(|text| !text.is_empty());
        written.or_else(|| log.and_then(|log| tail(&log)).filter(|text| !text.is_empty())).unwrap_or(runtime)
    });
    read.await.unwrap_or_default()
}

fn head(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of a log in CRI format, without time stamps.
fn tail(path: &Path) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let from = length.saturating_sub(LOG_WINDOW);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_WINDOW).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // a window that starts inside a line loses that line
    let skip = usize::from(from > 0);
    let lines: Vec<&str> = text.lines().skip(skip).collect();
    let mut out = String::new();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        let mut parts = line.splitn(4, ' ');
        let (Some(_), Some(_), Some(tag)) = (parts.next(), parts.next(), parts.next()) else { continue };
        out.push_str(parts.next().unwrap_or_default());
        if !tag.starts_with('P') {
            out.push('\n');
        }
    }
    let cut = (out.len().saturating_sub(LOG_LIMIT)..=out.len()).find(|&at| out.is_char_boundary(at))?;
    Some(out.split_off(cut))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use xebec_cri::messages::Mount;

    use super::*;

    fn ended(dir: &Path, policy: &str) -> ContainerStatus {
        let mount = Mount {
            container_path: "/dev/termination-log".into(),
            host_path: dir.join("message").to_string_lossy().into_owned(),
            ..Mount::default()
        };
        ContainerStatus {
            exit_code: 1,
            mounts: vec![mount],
            log_path: dir.join("0.log").to_string_lossy().into_owned(),
            annotations: BTreeMap::from([
                (labels::MESSAGE_PATH.to_owned(), "/dev/termination-log".to_owned()),
                (labels::MESSAGE_POLICY.to_owned(), policy.to_owned()),
            ]),
            ..ContainerStatus::default()
        }
    }

    #[tokio::test]
    async fn the_file_comes_first_and_the_log_only_where_asked() {
        let dir = tempfile::tempdir().unwrap();
        let log = "2026-01-01T00:00:00Z stdout F first\n2026-01-01T00:00:01Z stderr P sec\n2026-01-01T00:00:01Z stderr F ond\n";
        std::fs::write(dir.path().join("0.log"), log).unwrap();
        std::fs::write(dir.path().join("message"), "").unwrap();
        assert_eq!(message(&ended(dir.path(), "File")).await, "");
        assert_eq!(message(&ended(dir.path(), "FallbackToLogsOnError")).await, "first\nsecond\n");
        std::fs::write(dir.path().join("message"), "x".repeat(5000)).unwrap();
        assert_eq!(message(&ended(dir.path(), "FallbackToLogsOnError")).await.len(), 4096);
    }

    #[tokio::test]
    async fn a_long_log_is_cut_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let lines: String = (0..500).map(|n| format!("2026-01-01T00:00:00Z stdout F line {n}\n")).collect();
        std::fs::write(dir.path().join("0.log"), lines).unwrap();
        let text = message(&ended(dir.path(), "FallbackToLogsOnError")).await;
        assert!(text.ends_with("line 499\n") && text.starts_with("line 420\n"), "{text}");
    }
}
