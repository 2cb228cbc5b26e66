//! The Prometheus text format (version 0.0.4). PURE. Enters: families and samples. Leaves: text.

use std::fmt::Write as _;

/// Counts of observations at most as large as each bound.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: Vec<f64>,
    /// One more than bounds: the last counts what is larger than all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Without observations; `bounds` ascend.
    pub fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let bounds: Vec<f64> = bounds.into_iter().collect();
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, counts, sum: 0.0 }
    }

    /// Adds an observation.
    pub fn observe(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.sum += value;
    }
}

/// Names and values of labels.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A text that grows by families.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a family of samples; `kind` is `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds a sample.
    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.0.push_str(name);
        for (at, (key, value)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{key}=\"{}\"", escaped(value));
        }
        self.0.push_str(if labels.is_empty() { " " } else { "} " });
        self.0.push_str(&number(value));
        self.0.push('\n');
    }

    /// Adds a histogram's samples.
    pub fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let mut total = 0;
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(&histogram.counts) {
            total += count;
            let bound = number(bound);
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            self.sample(&format!("{name}_bucket"), &labels, total as f64);
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum);
        self.sample(&format!("{name}_count"), labels, total as f64);
    }

    /// Adds a family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}

fn number(value: f64) -> String {
    if value.is_infinite() { if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned() } else { value.to_string() }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut text = Text::default();
        text.single("a_total", "counter", "As.", 3.0);
        text.family("b", "gauge", "Bs.");
        text.sample("b", &[("x", "q\"\\\n"), ("y", "")], 1.5);
        text.sample("b", &[], f64::INFINITY);
        let wanted = "# HELP a_total As.\n# TYPE a_total counter\na_total 3\n# HELP b Bs.\n# TYPE b gauge\n\
                      b{x=\"q\\\"\\\\\\n\",y=\"\"} 1.5\nb +Inf\n";
        assert_eq!(text.finish(), wanted);
    }

    #[test]
    fn buckets_add_up() {
        let mut histogram = Histogram::new([0.5, 1.0]);
        [0.25, 0.5, 0.75, 2.0].into_iter().for_each(|value| histogram.observe(value));
        let mut text = Text::default();
        text.histogram("h", &[("f", "g")], &histogram);
        let wanted = "h_bucket{f=\"g\",le=\"0.5\"} 2\nh_bucket{f=\"g\",le=\"1\"} 3\n\
                      h_bucket{f=\"g\",le=\"+Inf\"} 4\nh_sum{f=\"g\"} 3.5\nh_count{f=\"g\"} 4\n";
        assert_eq!(text.finish(), wanted);
    }
}
