//! The slices of one Service and family between the plan of their endpoints and that of their hints. Pure.

use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// What is to become of each slice.
#[derive(Debug, Default)]
pub struct Slices {
    /// Slices to create.
    pub create: Vec<EndpointSlice>,
    /// Slices to update: as they are and as they should be.
    pub update: Vec<(Arc<EndpointSlice>, EndpointSlice)>,
    /// Slices that are as they should be.
    pub unchanged: Vec<Arc<EndpointSlice>>,
    /// Slices to delete.
    pub delete: Vec<Arc<EndpointSlice>>,
}

impl Slices {
    /// Has unchanged slices updated, those that are `stale`; asked once each, in order.
    pub fn revise(&mut self, mut stale: impl FnMut(&EndpointSlice) -> bool) {
        for slice in std::mem::take(&mut self.unchanged) {
            if stale(&slice) {
                let after = (*slice).clone();
                self.update.push((slice, after));
            } else {
                self.unchanged.push(slice);
            }
        }
    }

    /// The endpoints of the slices that are written.
    pub fn written(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        let updated = self.update.iter_mut().map(|(_, after)| after);
        self.create.iter_mut().chain(updated).flat_map(|slice| slice.endpoints.iter_mut().flatten())
    }

    /// The endpoints of all slices that will be there.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let updated = self.update.iter().map(|(_, after)| after);
        let kept = self.unchanged.iter().map(|slice| &**slice);
        self.create.iter().chain(updated).chain(kept).flat_map(|slice| slice.endpoints.iter().flatten())
    }
}
