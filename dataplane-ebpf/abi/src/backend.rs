//! Whether the endpoint a socket or a client was given is still there.

/// State of one backend id: generation (56 bits) and liveness (8 bits), in one word.
///
/// A backend id stands for one endpoint of one service port. When the endpoint leaves the service the generation
/// moves on, and whatever remembers the old one (a socket's sticky entry, an affinity entry) no longer matches.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BackendState(pub u64);

impl BackendState {
    /// Of an endpoint whose state nobody asked for: it is in its service, of no generation that an id ever has.
    pub const UNASKED: Self = Self(1);

    /// The first state of a new life of this id.
    pub const fn revived(self) -> Self {
        Self(((self.0 >> 8) + 1) << 8 | 1)
    }
    /// The state after removal.
    pub const fn retired(self) -> Self {
        Self((self.0 >> 8) << 8)
    }
    /// Whether the endpoint is in its service.
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.0 & 0xff == 1
    }
}

const _: () = assert!(size_of::<BackendState>() == 8);
