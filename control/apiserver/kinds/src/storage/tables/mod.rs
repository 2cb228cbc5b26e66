//! Tables of claims and volumes.

mod claims;
mod volumes;
