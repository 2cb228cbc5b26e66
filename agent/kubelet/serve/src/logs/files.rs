//! [`LogSource`] over the files on this machine. Enters: a path and options. Leaves: the reader of xebec-host.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use tokio::sync::watch;
use xebec_host::logs::{self as host, Liveness, StreamFilter};

use super::{LogOptions, LogSource, LogStream, LogStreams};

/// Reads the files the runtime writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileLogs;

struct Running(watch::Receiver<bool>);

#[async_trait]
impl Liveness for Running {
    async fn running(&self) -> bool {
        // a sender that is gone says nothing more: taken as the end
        self.0.has_changed().is_ok() && *self.0.borrow()
    }
}

#[async_trait]
impl LogSource for FileLogs {
    async fn open(
        &self,
        path: &Path,
        options: LogOptions,
        running: watch::Receiver<bool>,
    ) -> io::Result<LogStream> {
        let options = host::LogOptions {
            tail_lines: options.tail_lines,
            since: options.since,
            limit_bytes: options.limit_bytes,
            timestamps: options.timestamps,
            follow: options.follow,
            stream: match options.streams {
                LogStreams::All => StreamFilter::All,
                LogStreams::Stdout => StreamFilter::Only(host::Stream::Stdout),
                LogStreams::Stderr => StreamFilter::Only(host::Stream::Stderr),
            },
        };
        let chunks = host::read_log(path.to_owned(), options, Arc::new(Running(running))).await?;
        let next = |mut chunks: tokio::sync::mpsc::Receiver<_>| async move {
            chunks.recv().await.map(|chunk| (chunk, chunks))
        };
        Ok(stream::unfold(chunks, next).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    async fn rest(mut log: LogStream) -> String {
        let mut out = Vec::new();
        while let Some(chunk) = log.next().await {
            out.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn a_followed_file_ends_with_its_container() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut file = std::fs::File::create(&path).unwrap();
        writeln!(file, "2026-01-02T03:04:05.000000001Z stdout F one").unwrap();
        writeln!(file, "2026-01-02T03:04:06.000000001Z stderr F two").unwrap();
        let (alive, running) = watch::channel(true);
        let errors = LogOptions { streams: LogStreams::Stderr, ..LogOptions::default() };
        assert_eq!(rest(FileLogs.open(&path, errors, running.clone()).await.unwrap()).await, "two\n");
        let follow = LogOptions { follow: true, tail_lines: Some(1), ..LogOptions::default() };
        let mut log = FileLogs.open(&path, follow, running).await.unwrap();
        assert_eq!(log.next().await.unwrap().unwrap(), "two\n");
        writeln!(file, "2026-01-02T03:04:07.000000001Z stdout F three").unwrap();
        drop(alive);
        let end = tokio::time::timeout(std::time::Duration::from_secs(10), rest(log)).await;
        assert_eq!(end.expect("a container without a sender has ended"), "three\n");
    }

    #[tokio::test]
    async fn a_missing_file_is_an_error_at_once() {
        let running = watch::channel(true).1;
        let Err(error) = FileLogs.open(Path::new("/nonexistent/0.log"), LogOptions::default(), running).await
        else {
            panic!("opened nothing")
        };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
