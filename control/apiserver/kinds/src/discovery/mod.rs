//! The discovery group: EndpointSlices.

pub mod convert;
pub mod endpoint_slice;
