//! How much may be sent: the peer's windows, per stream and for the session. Pure.
//!
//! Every peer of Kubernetes (moby/spdystream) ignores windows: it sends no WINDOW_UPDATE and waits for none, so
//! waiting for one would stop every transfer after 64 KiB. Windows therefore count from the first byte, but bind only
//! once the peer has shown that it keeps them (WINDOW_UPDATE or SETTINGS_INITIAL_WINDOW_SIZE). Until then TCP alone
//! slows this end down, and the peer gets no updates either: unread when it closes, they would make TCP reset the
//! connection and lose the end of a process' output.

use std::collections::HashMap;

/// Every window's first size (SPDY/3.1).
pub(crate) const INITIAL: i64 = 64 * 1024;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub(crate) const SETTING: u32 = 7;

/// The peer's windows.
pub(crate) struct Windows {
    kept: bool,
    initial: i64,
    session: i64,
    streams: HashMap<u32, i64>,
}

impl Default for Windows {
    fn default() -> Self {
        Self { kept: false, initial: INITIAL, session: INITIAL, streams: HashMap::new() }
    }
}

impl Windows {
    /// Whether the peer has shown that it keeps windows.
    pub(crate) fn kept(&self) -> bool {
        self.kept
    }

    pub(crate) fn opened(&mut self, stream: u32) {
        self.streams.insert(stream, self.initial);
    }

    pub(crate) fn closed(&mut self, stream: u32) {
        self.streams.remove(&stream);
    }

    /// Takes up to `wanted` bytes of both windows; 0 means to wait for an update.
    pub(crate) fn take(&mut self, stream: u32, wanted: usize) -> usize {
        let Some(own) = self.streams.get_mut(&stream) else { return wanted };
        let room = usize::try_from((*own).min(self.session)).unwrap_or(0);
        let granted = if self.kept { wanted.min(room) } else { wanted };
        let bytes = i64::try_from(granted).unwrap_or(i64::MAX);
        *own -= bytes;
        self.session -= bytes;
        granted
    }

    pub(crate) fn update(&mut self, stream: u32, delta: u32) {
        self.kept = true;
        match stream {
            0 => self.session += i64::from(delta),
            stream => {
                if let Some(own) = self.streams.get_mut(&stream) {
                    *own += i64::from(delta);
                }
            }
        }
    }

    pub(crate) fn settings(&mut self, entries: &[(u32, u32)]) {
        let Some((_, size)) = entries.iter().find(|(id, _)| *id == SETTING) else { return };
        self.kept = true;
        let change = i64::from(*size) - self.initial;
        self.initial += change;
        self.streams.values_mut().for_each(|own| *own += change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_keeps_no_windows_is_never_waited_for() {
        let mut windows = Windows::default();
        windows.opened(1);
        assert_eq!(windows.take(1, 10 << 20), 10 << 20);
        // Its first update shows that it does, and what was sent before counts.
        windows.update(1, 100);
        assert_eq!(windows.take(1, 1), 0);
    }

    #[test]
    fn the_smaller_window_binds() {
        let mut windows = Windows::default();
        windows.opened(1);
        windows.settings(&[(4, 9), (SETTING, 1000)]);
        assert_eq!(windows.take(1, 5000), 1000);
        assert_eq!(windows.take(1, 5000), 0);
        windows.update(1, 1 << 20);
        assert_eq!(windows.take(1, 1 << 20), 64 * 1024 - 1000);
        assert_eq!(windows.take(1, 1), 0);
        windows.update(0, 10);
        assert_eq!(windows.take(1, 100), 10);
        windows.closed(1);
        windows.update(1, 5);
        windows.opened(3);
        windows.update(0, 4000);
        assert_eq!(windows.take(3, 5000), 1000);
    }
}
