//! Reading a log as a stream of bytes. Enters: the file and what is wanted. Leaves: chunks on a bounded channel;
//! dropping its receiver ends the work.
//!
//! Following: every round asks first whether the container runs and whether the file was rotated, then reads to the
//! end. What was written before the question is therefore never lost.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::tail::tail_start;
use super::watch::DirWatch;
use super::{LogOptions, StreamFilter, parse_line};

const BLOCK: usize = 64 * 1024;
/// Chunks a slow reader may leave waiting.
const QUEUE: usize = 8;
/// A line longer than this is no log line of a runtime (they cut at 16 KiB): it is dropped.
const LONGEST_LINE: usize = 4 << 20;

/// Tells whether a log can still grow.
#[async_trait]
pub trait Liveness: Send + Sync + 'static {
    /// False once the container has ended.
    async fn running(&self) -> bool;
}

/// Turns lines of the file into what the client sees.
struct Writer {
    options: LogOptions,
    left: Option<u64>,
    at_line_start: bool,
}

impl Writer {
    fn new(options: LogOptions) -> Self {
        Self { left: options.limit_bytes, options, at_line_start: true }
    }

    fn done(&self) -> bool {
        self.left == Some(0)
    }

    fn put(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        let room = self.left.map_or(bytes.len(), |left| usize::try_from(left).unwrap_or(usize::MAX));
        let bytes = &bytes[..bytes.len().min(room)];
        out.extend_from_slice(bytes);
        if let Some(left) = &mut self.left {
            *left -= bytes.len() as u64;
        }
    }

    fn line(&mut self, out: &mut Vec<u8>, raw: &[u8]) {
        let Some(line) = parse_line(raw) else { return };
        if matches!(self.options.stream, StreamFilter::Only(wanted) if wanted != line.stream) {
            return;
        }
        if let Some(since) = self.options.since
            && line.timestamp().is_none_or(|time| time < since)
        {
            return;
        }
        if self.options.timestamps && self.at_line_start {
            self.put(out, line.time.as_bytes());
            self.put(out, b" ");
        }
        self.put(out, line.text);
        if line.whole {
            self.put(out, b"\n");
        }
        self.at_line_start = line.whole;
    }
}

/// An open log file and how far it was read.
struct Source {
    file: Arc<File>,
    offset: u64,
    /// A line whose end was not read yet.
    open_line: Vec<u8>,
}

impl Source {
    fn same_file(&self, meta: &Metadata) -> bool {
        self.file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (meta.dev(), meta.ino()))
    }

    /// The next chunk for the client; `None` at the end of the file.
    async fn next(&mut self, writer: &mut Writer) -> io::Result<Option<Vec<u8>>> {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let read = blocking(move || {
            let mut block = vec![0u8; BLOCK];
            let mut length = file.read_at(&mut block, offset)?;
            if length == 0 && file.metadata()?.len() < offset {
                // Cut short in place: start over.
                length = file.read_at(&mut block, 0)?;
                block.truncate(length);
                return Ok((block, true));
            }
            block.truncate(length);
            Ok((block, false))
        });
        let (block, restarted) = read.await?;
        if restarted {
            (self.offset, self.open_line) = (0, Vec::new());
        }
        if block.is_empty() {
            return Ok(None);
        }
        self.offset += block.len() as u64;
        let mut out = Vec::with_capacity(block.len());
        let mut rest = block.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.open_line.is_empty() {
                writer.line(&mut out, &rest[..end]);
            } else {
                self.open_line.extend_from_slice(&rest[..end]);
                writer.line(&mut out, &self.open_line);
                self.open_line.clear();
            }
            rest = &rest[end + 1..];
        }
        if self.open_line.len() + rest.len() <= LONGEST_LINE {
            self.open_line.extend_from_slice(rest);
        }
        Ok(Some(out))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The offset of the first line at or after `since`, by bisection: times in a log only grow.
fn since_start(file: &File, size: u64, since: jiff::Timestamp) -> io::Result<u64> {
    // Invariant: the line that begins at or after `low` may be too old; the one at or after `high` is not.
    let (mut low, mut high) = (0, size);
    while high - low > BLOCK as u64 {
        let middle = low + (high - low) / 2;
        let mut block = vec![0u8; BLOCK.min((high - middle) as usize)];
        file.read_exact_at(&mut block, middle)?;
        let mut lines = block.split(|byte| *byte == b'\n').skip(1);
        let time = lines.find_map(|line| parse_line(line)?.timestamp());
        match time {
            Some(time) if time < since => low = middle,
            Some(_) => high = middle,
            // No line begins here: leave the rest to the line by line filter.
            None => break,
        }
    }
    // Back to the start of a line: `low` lies inside one that is too old.
    let mut block = vec![0u8; BLOCK.min((size - low) as usize)];
    file.read_exact_at(&mut block, low)?;
    let next = block.iter().position(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
    Ok(if low == 0 { 0 } else { low + next })
}

fn open_at(path: &Path, options: &LogOptions) -> io::Result<Source> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut offset = 0;
    if let Some(lines) = options.tail_lines {
        offset = tail_start(&file, size, lines)?;
    }
    if let Some(since) = options.since {
        offset = offset.max(since_start(&file, size, since)?);
    }
    Ok(Source { file: Arc::new(file), offset, open_line: Vec::new() })
}

/// The rotated files of a log, oldest first.
fn rotated(dir: &Path, name: &str) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("{name}.");
    let names = std::fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(&prefix)).collect();
    names.sort_unstable();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// The file written after ours, opened: the next rotated one, else the log itself. `None` while there is nothing newer.
fn successor(path: &Path, source: &Source) -> io::Result<Option<File>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(None);
    };
    let present = |opened: io::Result<File>| match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    };
    let Some(current) = present(File::open(path))? else { return Ok(None) };
    if source.same_file(&current.metadata()?) {
        return Ok(None);
    }
    // Listed after the log was opened: a file that came between ours and that one was renamed by then.
    let rotated = rotated(dir, name)?;
    let ours = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|meta| source.same_file(&meta));
    let after = rotated.iter().position(ours).map_or(0, |at| at + 1);
    match rotated.get(after) {
        Some(next) => present(File::open(next)),
        None => Ok(Some(current)),
    }
}

struct Reader {
    path: PathBuf,
    source: Source,
    writer: Writer,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

/// The reader went away, or everything was sent.
struct Ended;

impl Reader {
    async fn send(&self, chunk: Vec<u8>) -> Result<(), Ended> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.sender.send(Ok(Bytes::from(chunk))).await.map_err(|_| Ended)
    }

    async fn drain(&mut self) -> io::Result<Result<(), Ended>> {
        while let Some(chunk) = self.source.next(&mut self.writer).await? {
            if self.send(chunk).await.is_err() || self.writer.done() {
                return Ok(Err(Ended));
            }
        }
        Ok(Ok(()))
    }

    async fn run(&mut self, liveness: &dyn Liveness) -> io::Result<()> {
        if !self.writer.options.follow {
            if self.drain().await?.is_ok() {
                let mut last = Vec::new();
                self.writer.line(&mut last, &self.source.open_line);
                let _ = self.send(last).await;
            }
            return Ok(());
        }
        let watch = DirWatch::new(self.path.parent().unwrap_or(Path::new("/")));
        loop {
            let running = liveness.running().await;
            let next = successor(&self.path, &self.source)?;
            if self.drain().await?.is_err() {
                return Ok(());
            }
            if let Some(file) = next {
                self.source = Source { file: Arc::new(file), offset: 0, open_line: Vec::new() };
                continue;
            }
            if !running {
                return Ok(());
            }
            tokio::select! {
                () = watch.changed() => {}
                () = self.sender.closed() => return Ok(()),
            }
        }
    }
}

/// Opens a log and streams it in chunks of up to about 64 KiB.
///
/// `path` may be a symlink to the file; for a follow across rotations it must be the path the runtime writes to.
/// Errors to open come at once, later ones as the last item. The work ends when the receiver is dropped.
pub async fn read_log(
    path: PathBuf,
    options: LogOptions,
    liveness: Arc<dyn Liveness>,
) -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let (path, source) = blocking(move || {
        let path = std::fs::canonicalize(path)?;
        let source = open_at(&path, &options)?;
        Ok((path, source))
    })
    .await?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut reader = Reader { path, source, writer: Writer::new(options), sender };
    tokio::spawn(async move {
        if let Err(error) = reader.run(&*liveness).await {
            tracing::warn!(path = %reader.path.display(), %error, "log stream broke off");
            // Nobody is left to tell if this fails.
            let _ = reader.sender.send(Err(error)).await;
        }
    });
    Ok(receiver)
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
