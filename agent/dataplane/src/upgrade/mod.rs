//! From another layout of the maps to this one while connections go on (design: "build v+1, fill, swap the links, drop v").
//! Enters: a pin directory in which an agent of another version left its maps and links. Leaves: ours, and nothing of the other.
//! Called by the loader (maps), and by whatever puts a part's programs on hooks (links, the rest).
//!
//! Of a layout that is known, [`OLDEST`] and later, maps that did not change are the same objects in both: they get a second
//! pin, so that Services' places, flows, ports of translated sources, sockets and policies are what they were, and both
//! generations of programs work on the same tables while links are swapped. A map that changed is filled from the old one
//! under another name first (`maps`, `fill`). Then each link's pin is moved to our directory and the link given our program
//! (`links`); in the end what is left of the other layout is removed (`clear`). An agent killed between any two of these steps is
//! no matter: a map has its name only when it is full, a link is in our directory only after all maps are, and the other layout's
//! pins stay until its last link is ours; whoever starts next does what is left.
//!
//! Of any other layout, a newer one or one too old, nothing can be read. Our maps are new; the other's links go on with what
//! they know until ours say all that the API says, and are swapped then. Flows from outside that were known to those tables only
//! are lost, and a socket's datagrams show their endpoint's address until it sends again. No new connection is refused.
//!
//! Each part ([`Part`](crate::load::Part)) carries over its own; a directory goes when the last has.

pub(crate) mod clear;
pub(crate) mod fill;
pub(crate) mod links;
pub(crate) mod maps;
mod versions;

pub(crate) use versions::{Layout, others, own_maps, version};

/// The oldest layout whose maps are taken over: from there on each of ours is the same, or can be filled, or is new.
pub(crate) const OLDEST: u32 = 1;
