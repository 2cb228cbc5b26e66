use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::{RotationPolicy, Stream, rotate_file};
use super::*;

struct Runs(AtomicBool);

#[async_trait]
impl Liveness for Runs {
    async fn running(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

fn runs(running: bool) -> Arc<Runs> {
    Arc::new(Runs(AtomicBool::new(running)))
}

fn line(second: u32, stream: &str, tag: &str, text: &str) -> String {
    format!("2026-10-20T18:{:02}:{:02}.000000001Z {stream} {tag} {text}\n", second / 60, second % 60)
}

async fn collect(text: &str, options: LogOptions) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    std::fs::write(&path, text).unwrap();
    let mut receiver = read_log(path, options, runs(false)).await.unwrap();
    let mut out = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        out.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn pieces_are_joined_and_options_obeyed() {
    let text = [
        line(1, "stdout", "F", "one"),
        line(2, "stderr", "F", "err"),
        line(3, "stdout", "P", "two, "),
        line(3, "stdout", "F", "joined"),
        "not a log line\n".to_owned(),
        line(4, "stdout", "F", ""),
    ]
    .concat();
    let all = LogOptions::default();
    assert_eq!(collect(&text, all).await, "one\nerr\ntwo, joined\n\n");
    let only = LogOptions { stream: StreamFilter::Only(Stream::Stderr), ..all };
    assert_eq!(collect(&text, only).await, "err\n");
    let limit = LogOptions { limit_bytes: Some(5), ..all };
    assert_eq!(collect(&text, limit).await, "one\ne");
    let tail = LogOptions { tail_lines: Some(3), ..all };
    assert_eq!(collect(&text, tail).await, "two, joined\n\n");
    let since = LogOptions { since: Some("2026-10-20T18:00:02Z".parse().unwrap()), ..all };
    assert_eq!(collect(&text, since).await, "err\ntwo, joined\n\n");
    let stamped = collect(&text, LogOptions { timestamps: true, tail_lines: Some(3), ..all }).await;
    assert_eq!(stamped, "2026-10-20T18:00:03.000000001Z two, joined\n2026-10-20T18:00:04.000000001Z \n");
    assert_eq!(collect(text.trim_end(), LogOptions { tail_lines: Some(1), ..all }).await, "\n");
}

#[tokio::test]
async fn a_large_log_is_bisected_by_time() {
    let lines: Vec<_> =
        (0..3600).map(|second| line(second, "stdout", "F", &format!("{second:0200}"))).collect();
    for first in [0u32, 1, 1800, 3599] {
        let at = format!("2026-10-20T18:{:02}:{:02}Z", first / 60, first % 60);
        let options = LogOptions { since: Some(at.parse().unwrap()), ..LogOptions::default() };
        let got = collect(&lines.concat(), options).await;
        assert_eq!(got.lines().count(), 3600 - first as usize);
        assert!(got.starts_with(&format!("{first:0200}\n")));
    }
    let late = LogOptions { since: Some("2026-10-20T20:00:00Z".parse().unwrap()), ..LogOptions::default() };
    assert_eq!(collect(&lines.concat(), late).await, "");
}

#[tokio::test]
async fn a_follow_sees_every_number_once_across_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    std::fs::write(&path, line(0, "stdout", "F", "0")).unwrap();
    let running = runs(true);
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut receiver = read_log(path.clone(), options, running.clone()).await.unwrap();
    let writer = tokio::task::spawn_blocking(move || {
        let policy = RotationPolicy { max_size: 1, max_files: 50 };
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        for number in 1..3000u32 {
            if number % 100 == 0 {
                let now = jiff::Timestamp::from_second(i64::from(number)).unwrap();
                rotate_file(&path, now, &policy).unwrap();
                // As a runtime does: what is written before the reopen still goes to the old file.
                file.write_all(line(1, "stdout", "F", "old").as_bytes()).unwrap();
                file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
                std::thread::sleep(Duration::from_millis(3));
            }
            let text = line(1, "stdout", "F", &number.to_string());
            let (head, rest) = text.as_bytes().split_at(20);
            file.write_all(head).unwrap();
            file.write_all(rest).unwrap();
        }
        running.0.store(false, Ordering::Release);
    });
    let mut out = Vec::new();
    let all = async {
        while let Some(chunk) = receiver.recv().await {
            out.extend_from_slice(&chunk.unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("the follow ends with the container");
    writer.await.unwrap();
    let text = String::from_utf8(out).unwrap();
    let numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
    assert_eq!(text.lines().filter(|line| *line == "old").count(), 29);
}

#[tokio::test]
async fn a_follow_wakes_up_and_ends_with_its_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    std::fs::write(&path, "").unwrap();
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut receiver = read_log(path.clone(), options, runs(true)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = std::time::Instant::now();
    std::fs::write(&path, line(1, "stdout", "F", "hello")).unwrap();
    assert_eq!(receiver.recv().await.unwrap().unwrap(), "hello\n");
    assert!(before.elapsed() < Duration::from_millis(700), "inotify wakes it, not the poll");
    let missing = read_log(dir.path().join("1.log"), options, runs(true)).await;
    assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
}
