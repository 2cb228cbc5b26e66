//! Writing off the request's path: a bounded queue and a thread that writes what has gathered in one go.
//!
//! Enters: events. Leaves: the same lines, in order, in the log. When the queue is full (so many events, or so many
//! bytes) an event is dropped, counted and, at most once a second, logged.
//!
//! Authority: `k8s.io/apiserver/plugin/pkg/audit/buffered`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Sink;
use super::log::{Log, line};
use crate::event::Event;

/// Events the queue holds at most unless said otherwise (`--audit-log-batch-buffer-size`).
pub const DEFAULT_EVENTS: usize = 10_000;
/// Bytes the queue holds at most.
pub const DEFAULT_BYTES: usize = 64 << 20;

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    events: usize,
    is_closed: bool,
    complained: Option<Instant>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    dropped: AtomicU64,
    max_events: usize,
    max_bytes: usize,
}

/// A log that is written by a thread of its own (`--audit-log-mode=batch`).
pub struct Batch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Batch {
    /// Starts the thread; it ends, after writing what is queued, when the sink is dropped.
    pub fn start(log: Log, max_events: usize, max_bytes: usize) -> std::io::Result<Batch> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            dropped: AtomicU64::new(0),
            max_events,
            max_bytes,
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("audit-log".to_owned()).spawn(move || own.run(&log))?;
        Ok(Batch { shared, thread: Some(thread) })
    }

    /// How many events were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn run(&self, log: &Log) {
        loop {
            let lines = {
                let mut queue = self.queue.lock();
                while queue.events == 0 {
                    if queue.is_closed {
                        return;
                    }
                    self.wake.wait(&mut queue);
                }
                queue.events = 0;
                std::mem::take(&mut queue.lines)
            };
            if let Err(error) = log.append(&lines) {
                let lost = lines.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
                tracing::error!(%error, lost, "audit events could not be written");
            }
        }
    }
}

impl Sink for Batch {
    fn write(&self, event: &Event) -> bool {
        let Some(line) = line(event) else { return true };
        let mut queue = self.shared.queue.lock();
        if queue.events >= self.shared.max_events || queue.lines.len() + line.len() > self.shared.max_bytes {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            let is_due = queue.complained.is_none_or(|at| at.elapsed() > Duration::from_secs(1));
            if is_due {
                queue.complained = Some(Instant::now());
                let dropped = self.dropped();
                tracing::error!(dropped, "the audit queue is full, events are dropped");
            }
            return true;
        }
        queue.lines.extend_from_slice(&line);
        queue.events += 1;
        self.shared.wake.notify_one();
        true
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.shared.queue.lock().is_closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the audit log's thread panicked");
        }
    }
}
