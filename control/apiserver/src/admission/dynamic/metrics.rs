//! Counters of webhooks and policies, for `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;
use xebec_dynamic_admission::{Enforcement, Metrics, Operation, Rejection};

/// Most label combinations counted; names come from users' objects, what comes later is not counted.
const MAX_SERIES: usize = 10_000;

type Series = BTreeMap<(&'static str, String), u64>;

/// Counts by family and labels.
#[derive(Default)]
pub(crate) struct Counters(Mutex<Series>);

impl Counters {
    fn add(&self, family: &'static str, labels: String) {
        let mut series = self.0.lock();
        let room = series.len() < MAX_SERIES;
        let key = (family, labels);
        if !room && !series.contains_key(&key) {
            return;
        }
        *series.entry(key).or_default() += 1;
    }

    /// The counters in the Prometheus text format.
    pub(crate) fn describe(&self, text: &mut String) {
        let mut last = "";
        for ((family, labels), count) in self.0.lock().iter() {
            if *family != last {
                let _ = writeln!(text, "# TYPE {family} counter");
                last = family;
            }
            let _ = writeln!(text, "{family}{{{labels}}} {count}");
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let shown: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    shown.join(",")
}

impl Metrics for Counters {
    fn webhook(&self, name: &str, kind: &str, operation: Operation, code: u16, rejected: bool, _: Duration) {
        let code = code.to_string();
        let pairs = [
            ("code", code.as_str()),
            ("name", name),
            ("operation", operation.as_str()),
            ("rejected", if rejected { "true" } else { "false" }),
            ("type", kind),
        ];
        self.add("apiserver_admission_webhook_request_total", labels(&pairs));
    }

    fn webhook_rejection(&self, name: &str, kind: &str, operation: Operation, why: Rejection, code: u16) {
        let code = code.to_string();
        let pairs = [
            ("error_type", why.as_str()),
            ("name", name),
            ("operation", operation.as_str()),
            ("rejection_code", code.as_str()),
            ("type", kind),
        ];
        self.add("apiserver_admission_webhook_rejection_count", labels(&pairs));
    }

    fn webhook_fail_open(&self, name: &str, kind: &str) {
        let pairs = [("name", name), ("type", kind)];
        self.add("apiserver_admission_webhook_fail_open_count", labels(&pairs));
    }

    fn match_condition_exclusion(&self, name: &str, matcher: &str, kind: &str, operation: Operation) {
        let pairs = [("kind", matcher), ("name", name), ("operation", operation.as_str()), ("type", kind)];
        self.add("apiserver_admission_match_condition_exclusions_total", labels(&pairs));
    }

    fn match_condition_error(&self, name: &str, matcher: &str, kind: &str, operation: Operation) {
        let pairs = [("kind", matcher), ("name", name), ("operation", operation.as_str()), ("type", kind)];
        self.add("apiserver_admission_match_condition_evaluation_errors_total", labels(&pairs));
    }

    fn policy(&self, policy: &str, binding: &str, outcome: Enforcement, error: &str, _: Duration) {
        let labels = policy_labels(policy, binding, outcome, error);
        self.add("apiserver_validating_admission_policy_check_total", labels);
    }

    fn mutating_policy(&self, policy: &str, binding: &str, outcome: Enforcement, error: &str, _: Duration) {
        let labels = policy_labels(policy, binding, outcome, error);
        self.add("apiserver_mutating_admission_policy_check_total", labels);
    }
}

fn policy_labels(policy: &str, binding: &str, outcome: Enforcement, error: &str) -> String {
    let action = match outcome {
        Enforcement::Allow => "allow",
        Enforcement::Deny => "deny",
        Enforcement::Audit => "audit",
        Enforcement::Warn => "warn",
    };
    labels(&[
        ("enforcement_action", action),
        ("error_type", error),
        ("policy", policy),
        ("policy_binding", binding),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_families_declared_once() {
        let counters = Counters::default();
        counters.webhook_fail_open("a\"b", "admit");
        counters.webhook_fail_open("a\"b", "admit");
        counters.webhook_fail_open("c", "validating");
        let mut text = String::new();
        counters.describe(&mut text);
        assert_eq!(
            text,
            "# TYPE apiserver_admission_webhook_fail_open_count counter\n\
             apiserver_admission_webhook_fail_open_count{name=\"a\\\"b\",type=\"admit\"} 2\n\
             apiserver_admission_webhook_fail_open_count{name=\"c\",type=\"validating\"} 1\n"
        );
    }
}
