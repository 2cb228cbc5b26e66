//! The flags of a service port's META entry. PURE.

use xebec_abi::service::{
    META_AFFINITY, META_DIRECT, META_EXTERNAL_LOCAL, META_INTERNAL_LOCAL, META_SOURCE_RANGES, META_V6,
};

use crate::model::{Family, ServicePort};

/// `META_` bits.
pub(super) fn flags(port: &ServicePort) -> u32 {
    let mut flags = 0;
    if port.internal_local {
        flags |= META_INTERNAL_LOCAL;
    }
    if port.external_local {
        flags |= META_EXTERNAL_LOCAL;
    }
    if port.direct {
        flags |= META_DIRECT;
    }
    if !port.source_ranges.is_empty() {
        flags |= META_SOURCE_RANGES;
    }
    if port.affinity.is_some() {
        flags |= META_AFFINITY;
    }
    if port.primary.family() == Family::V6 {
        flags |= META_V6;
    }
    flags
}
