//! NetworkPolicy's tables and flows.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray},
};
use xebec_abi::policy::{ClassKey, POLICY_STATS, PodPolicy, PolicyFlow, PolicyFlowKey, RuleKey};

use super::F_NO_PREALLOC;

/// By interface index; a pod that no policy selects has none.
#[map]
pub static POLICY_PODS: HashMap<u32, PodPolicy> = HashMap::with_max_entries(4_096, F_NO_PREALLOC);
/// The class of each address.
#[map]
pub static POLICY_CLASSES: LpmTrie<ClassKey, u32> = LpmTrie::with_max_entries(262_144, F_NO_PREALLOC);
/// What is allowed; the value says nothing.
#[map]
pub static POLICY_RULES: LpmTrie<RuleKey, u32> = LpmTrie::with_max_entries(262_144, F_NO_PREALLOC);
/// What was allowed. A flow that is pushed out is judged again.
#[map]
pub static POLICY_FLOWS: LruHashMap<PolicyFlowKey, PolicyFlow> = LruHashMap::with_max_entries(32_768, 0);
/// The one entry counts the changes of any policy.
#[map]
static POLICY_STATE: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static POLICY_COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(POLICY_STATS, 0);

/// The generation of policies. Read before any rule is, so that what was allowed meanwhile is of the older one.
#[inline(always)]
pub fn generation() -> u64 {
    // SAFETY: the map's own memory; user space replaces the word by one aligned store.
    POLICY_STATE.get_ptr(0).map_or(0, |p| unsafe { core::ptr::read_volatile(p) })
}

/// Adds one to a counter (of [`xebec_abi::policy::PolicyStat`]).
#[inline(always)]
pub fn count(stat: u32) {
    if let Some(value) = POLICY_COUNTS.get_ptr_mut(stat) {
        // SAFETY: this CPU's own copy, as in `state::count`.
        unsafe { *value += 1 };
    }
}
