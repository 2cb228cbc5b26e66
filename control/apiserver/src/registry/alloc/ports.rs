//! Node ports in use.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use parking_lot::Mutex;
use rand::Rng;

type Held = HashMap<(String, u16), (String, String)>;

/// The node ports of this cluster and who holds them.
pub struct Ports {
    range: RangeInclusive<u16>,
    held: Mutex<Held>,
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PortError {
    /// Somebody has it.
    #[error("provided port is already allocated")]
    Taken,
    /// It is outside of the range.
    #[error("provided port is not in the valid range. The range of valid ports is {first}-{last}")]
    OutOfRange {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// None is left.
    #[error("failed to allocate a nodePort: range is full")]
    Full,
}

impl Ports {
    pub(super) fn new(range: RangeInclusive<u16>) -> Self {
        Self { range, held: Mutex::default() }
    }

    /// Takes `wanted`, or any free port; the owner may take the same port for several protocols.
    pub(super) fn take(
        &self,
        protocol: &str,
        wanted: Option<u16>,
        owner: (&str, &str),
        dry_run: bool,
    ) -> Result<u16, PortError> {
        let mut held = self.held.lock();
        let free = |held: &Held, port: u16| !held.contains_key(&(protocol.to_owned(), port));
        let port = match wanted {
            Some(port) if !self.range.contains(&port) => {
                return Err(PortError::OutOfRange { first: *self.range.start(), last: *self.range.end() });
            }
            Some(port) if free(&held, port) => port,
            Some(_) => return Err(PortError::Taken),
            None => {
                let (first, last) = (*self.range.start(), *self.range.end());
                let size = u32::from(last - first) + 1;
                let start = rand::rng().random_range(0..size);
                let mut candidates =
                    (0..size).map(|i| first + u16::try_from((start + i) % size).unwrap_or_default());
                candidates.find(|port| free(&held, *port)).ok_or(PortError::Full)?
            }
        };
        if !dry_run {
            held.insert((protocol.to_owned(), port), (owner.0.to_owned(), owner.1.to_owned()));
        }
        Ok(port)
    }

    pub(super) fn free(&self, protocol: &str, port: u16) {
        self.held.lock().remove(&(protocol.to_owned(), port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_one_holder_per_protocol() {
        let ports = Ports::new(30000..=30001);
        let owner = ("ns", "a");
        assert_eq!(ports.take("TCP", Some(30000), owner, false), Ok(30000));
        assert_eq!(ports.take("TCP", Some(30000), owner, false), Err(PortError::Taken));
        assert_eq!(ports.take("UDP", Some(30000), owner, false), Ok(30000));
        assert_eq!(ports.take("TCP", None, owner, true), Ok(30001));
        assert_eq!(ports.take("TCP", None, owner, false), Ok(30001));
        assert_eq!(ports.take("TCP", None, owner, false), Err(PortError::Full));
        assert!(matches!(ports.take("TCP", Some(80), owner, false), Err(PortError::OutOfRange { .. })));
        ports.free("TCP", 30000);
        assert_eq!(ports.take("TCP", None, owner, false), Ok(30000));
    }
}
