//! Resources that are served in more versions than they are stored in: the conversions are the kinds' own.

pub use xebec_kinds::convert::{from_storage, to_storage};
