//! Waking up when a log file changes. Enters: its directory. Leaves: a wake-up per change, from inotify(7), with a
//! poll each second in case the kernel's limits on watches are used up.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

const POLL: Duration = Duration::from_secs(1);

/// A watched directory.
pub(super) struct DirWatch {
    fd: Option<AsyncFd<OwnedFd>>,
}

#[expect(
    deprecated,
    reason = "an OwnedFd never changes its descriptor while registered; the successor is unsafe"
)]
fn open(dir: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    let flags = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::MOVED_FROM;
    inotify::add_watch(&fd, dir, flags)?;
    AsyncFd::new(fd)
}

impl DirWatch {
    /// Watches a directory; where that is impossible only the poll is left.
    pub fn new(dir: &Path) -> Self {
        match open(dir) {
            Ok(fd) => Self { fd: Some(fd) },
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "log directory is polled, not watched");
                Self { fd: None }
            }
        }
    }

    /// Returns after a change, or after a second.
    pub async fn changed(&self) {
        let Some(fd) = &self.fd else { return tokio::time::sleep(POLL).await };
        if let Ok(Ok(mut ready)) = tokio::time::timeout(POLL, fd.readable()).await {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            while rustix::io::read(fd.get_ref(), &mut buffer).is_ok_and(|(read, _)| !read.is_empty()) {}
            ready.clear_ready();
        }
    }
}
