//! The second round of mutating admission. Pure.
//!
//! A change by a policy or webhook asks for one more round: the built-in plug-ins run again, then the policies and
//! webhooks of the first round that were called with `reinvocationPolicy: IfNeeded` before something changed after
//! them. Nothing is called for the first time in the second round, and there is no third.
//! Authority: k8s.io/apiserver/pkg/admission/reinvocation.go and the plug-ins' reinvocationcontext.go.

use std::collections::HashSet;

use serde_json::Value;

/// One plug-in's memory of who was called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    last_output: Option<Value>,
    called: HashSet<String>,
    again: HashSet<String>,
}

impl Calls {
    /// Notes that the object changed: everyone called so far is to see it again.
    pub(crate) fn changed(&mut self) {
        self.again.extend(self.called.drain());
    }

    /// Notes a call of someone who wants to see later changes.
    pub(crate) fn called(&mut self, id: &str) {
        self.called.insert(id.to_owned());
    }

    /// Whether the second round calls them.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.again.contains(id)
    }
}

/// The state of one request's mutating admission over both rounds.
#[derive(Clone, Debug, Default)]
pub struct Reinvocation {
    second: bool,
    needed: bool,
    pub(crate) policies: Calls,
    pub(crate) webhooks: Calls,
}

impl Reinvocation {
    /// Whether the first round asks for a second one.
    #[must_use]
    pub fn needed(&self) -> bool {
        self.needed && !self.second
    }

    /// Begins the second round: the built-in plug-ins run again, then [`crate::Dynamic::mutate`].
    pub fn begin(&mut self) {
        self.second = true;
    }

    pub(crate) fn is_second(&self) -> bool {
        self.second
    }

    pub(crate) fn need(&mut self) {
        self.needed = true;
    }

    /// At the start of a plug-in: what changed since it ran last concerns everyone it called.
    pub(crate) fn start(&mut self, plugin: fn(&mut Self) -> &mut Calls, object: Option<&Value>) {
        let second = self.second;
        let calls = plugin(self);
        if second && calls.last_output.as_ref() != object {
            calls.changed();
        }
    }

    /// At the end of a plug-in: what it left behind. Kept in the first round only, nobody asks after the second.
    pub(crate) fn finish(&mut self, plugin: fn(&mut Self) -> &mut Calls, object: Option<&Value>) {
        if !self.second {
            plugin(self).last_output = object.cloned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn webhooks(state: &mut Reinvocation) -> &mut Calls {
        &mut state.webhooks
    }

    #[test]
    fn only_those_called_before_a_change_run_again() {
        let mut state = Reinvocation::default();
        let object = json!({"a": 1});
        state.start(webhooks, Some(&object));
        state.webhooks.called("first");
        state.webhooks.changed();
        state.need();
        state.webhooks.called("second");
        state.finish(webhooks, Some(&object));
        assert!(state.needed());
        state.begin();
        assert!(!state.needed());
        state.start(webhooks, Some(&object));
        assert!(state.webhooks.wants("first") && !state.webhooks.wants("second"));
    }

    #[test]
    fn a_change_by_others_concerns_all() {
        let mut state = Reinvocation::default();
        state.start(webhooks, Some(&json!({})));
        state.webhooks.called("a");
        state.finish(webhooks, Some(&json!({})));
        state.begin();
        state.start(webhooks, Some(&json!({"changed": true})));
        assert!(state.webhooks.wants("a") && !state.webhooks.wants("b"));
    }
}
