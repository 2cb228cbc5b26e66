//! The discovery group: EndpointSlices.

pub mod endpoint_slice;
