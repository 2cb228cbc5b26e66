//! Frontends, services, slots. The loader may override the sizes.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use xebec_abi::service::{FeKey4, FeKey6, Meta, Slot4, Slot6};

use super::{F_MMAPABLE, F_NO_PREALLOC};

#[map]
pub static FE4: HashMap<FeKey4, u64> = HashMap::with_max_entries(262_144, F_NO_PREALLOC);
#[map]
pub static FE6: HashMap<FeKey6, u64> = HashMap::with_max_entries(262_144, F_NO_PREALLOC);
#[map]
pub static META: Array<Meta> = Array::with_max_entries(1024, F_MMAPABLE);
#[map]
pub static SLOT4: Array<Slot4> = Array::with_max_entries(1024, F_MMAPABLE);
#[map]
pub static SLOT6: Array<Slot6> = Array::with_max_entries(1024, F_MMAPABLE);
