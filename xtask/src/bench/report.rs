//! The numbers of a run. Enters: every measurement. Leaves: a Markdown table with medians, spread and ratios, and JSON.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::api::{Files, machine};
use super::chart::Compared;
use super::plan::{Aim, Metric};

/// Every measurement, in the order of the run.
#[derive(Default)]
pub(crate) struct Measured {
    rows: Vec<Row>,
}

struct Row {
    title: String,
    metric: Metric,
    samples: Vec<(String, Vec<f64>)>,
}

/// The middle and the extremes of a row's samples on one target.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary {
    median: f64,
    low: f64,
    high: f64,
}

impl Measured {
    /// Adds one answer of `target`.
    pub(crate) fn add(&mut self, title: &str, target: &str, metrics: &[Metric], answer: &Value) {
        for metric in metrics {
            let Some(number) = answer[metric.field].as_f64() else { continue };
            let found =
                self.rows.iter_mut().find(|row| row.title == title && row.metric.field == metric.field);
            let samples = match found {
                Some(row) => &mut row.samples,
                None => {
                    let (title, metric) = (title.to_owned(), metric.clone());
                    self.rows.push(Row { title, metric, samples: Vec::new() });
                    &mut self.rows.last_mut().expect("just pushed").samples
                }
            };
            match samples.iter_mut().find(|(name, _)| name == target) {
                Some((_, numbers)) => numbers.push(number),
                None => samples.push((target.to_owned(), vec![number])),
            }
        }
    }
}

impl Measured {
    /// Rows of `field` as ratios to the second target.
    pub(crate) fn compared(&self, targets: &[String], field: &str) -> Vec<Compared> {
        let rows = self.rows.iter().filter(|row| row.metric.field == field);
        let compared = rows.filter_map(|row| {
            let base = row.of(targets.get(1)?)?;
            let ratio = |target: &String| Some((target.clone(), row.ratio(row.of(target)?, base)?));
            Some(Compared { title: row.title.clone(), ratios: targets.iter().filter_map(ratio).collect() })
        });
        compared.collect()
    }
}

fn summary(numbers: &[f64]) -> Summary {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Summary { median, low: sorted[0], high: sorted[sorted.len() - 1] }
}

impl Row {
    fn of(&self, target: &str) -> Option<Summary> {
        self.samples.iter().find(|(name, _)| name == target).map(|(_, numbers)| summary(numbers))
    }

    /// How many times better `first` is than `other`; below 1 it is worse.
    fn ratio(&self, first: Summary, other: Summary) -> Option<f64> {
        let (above, below) = if self.metric.more_is_better { (first, other) } else { (other, first) };
        (below.median > 0.0).then(|| above.median / below.median)
    }

    /// The aim in words, and whether `first` meets it beside `second`; none if there is nothing to compare.
    fn verdict(&self, first: Summary, second: Option<Summary>) -> Option<String> {
        let (text, met) = match self.metric.aim? {
            Aim::Value(aim) if self.metric.more_is_better => (format!(">= {aim}"), first.median >= aim),
            Aim::Value(aim) => (format!("<= {aim}"), first.median <= aim),
            Aim::Ratio(aim) => (format!(">= {aim} times"), self.ratio(first, second?)? >= aim),
        };
        Some(format!("{text}: {}", if met { "met" } else { "NOT met" }))
    }
}

/// What a report is called.
pub(crate) struct Name {
    /// Its files, without the ending.
    pub(crate) file: &'static str,
    /// Its heading.
    pub(crate) heading: &'static str,
    /// What shares the machine.
    pub(crate) setting: &'static str,
}

/// Writes a Markdown and a JSON file into `folder`.
pub(crate) fn write(folder: &Path, name: &Name, measured: &Measured, targets: &[String]) -> Result<Files> {
    fs::create_dir_all(folder)?;
    let file = |ending: &str| folder.join(format!("{}.{ending}", name.file));
    let files = (file("md"), file("json"));
    let machine = machine();
    fs::write(&files.0, markdown(name, measured, targets, &machine))?;
    fs::write(&files.1, serde_json::to_string_pretty(&values(measured, targets, &machine))?)?;
    Ok(files)
}

/// Three significant digits, or whole numbers.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0..1.0 => 2,
        1.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

fn markdown(name: &Name, measured: &Measured, targets: &[String], machine: &Value) -> String {
    let mut text = format!("# {}\n\n", name.heading);
    let shown =
        |field: &str| machine[field].as_str().map_or_else(|| machine[field].to_string(), str::to_owned);
    let _ = writeln!(
        text,
        "{} x {}, Linux {}, commit {}, {}. {}\n\n\
         Median (lowest to highest). \"times better\" is the first target against the other; aims are for the first.\n",
        shown("cores"),
        shown("cpu"),
        shown("kernel"),
        shown("commit"),
        shown("etcd"),
        name.setting,
    );
    let others = targets.get(1..).unwrap_or_default();
    let _ = write!(text, "| measurement | |");
    for target in targets {
        let _ = write!(text, " {target} |");
    }
    for other in others {
        let _ = write!(text, " times better than {other} |");
    }
    let _ = writeln!(text, " aim |\n|---|---|{}---|", "---|".repeat(targets.len() + others.len()));
    for row in &measured.rows {
        let _ = write!(text, "| {} | {} |", row.title, row.metric.label);
        for target in targets {
            match row.of(target) {
                Some(Summary { median, low, high }) if low < high => {
                    let _ = write!(text, " {} ({} to {}) |", number(median), number(low), number(high));
                }
                Some(Summary { median, .. }) => {
                    let _ = write!(text, " {} |", number(median));
                }
                None => text.push_str(" |"),
            }
        }
        let first = targets.first().and_then(|target| row.of(target));
        for other in others {
            match first.zip(row.of(other)).and_then(|(first, other)| row.ratio(first, other)) {
                Some(ratio) => {
                    let _ = write!(text, " {ratio:.2} |");
                }
                None => text.push_str(" |"),
            }
        }
        let second = targets.get(1).and_then(|target| row.of(target));
        let verdict = first.and_then(|first| row.verdict(first, second)).unwrap_or_default();
        let _ = writeln!(text, " {verdict} |");
    }
    text
}

fn values(measured: &Measured, targets: &[String], machine: &Value) -> Value {
    let rows: Vec<Value> = measured
        .rows
        .iter()
        .map(|row| {
            let samples: serde_json::Map<String, Value> =
                row.samples.iter().map(|(name, numbers)| (name.clone(), json!(numbers))).collect();
            json!({"measurement": row.title, "metric": row.metric.label, "field": row.metric.field,
                "more_is_better": row.metric.more_is_better, "aim": row.metric.aim.map(|aim| match aim {
                    Aim::Value(value) => json!({"value": value}),
                    Aim::Ratio(ratio) => json!({"ratio": ratio}),
                }), "samples": samples})
        })
        .collect();
    json!({"machine": machine, "targets": targets, "rows": rows})
}

#[cfg(test)]
mod tests {
    use super::super::plan::{less, more};
    use super::*;

    #[test]
    fn medians_ratios_and_aims() {
        let mut measured = Measured::default();
        let metrics = [more("per_second", "operations/s", Some(10.0)), less("p99_ms", "p99, ms", Some(2.0))];
        for (target, rate, p99) in [("a", 20.0, 4.0), ("b", 5.0, 8.0), ("a", 10.0, 2.0), ("b", 5.0, 8.0)] {
            measured.add("create", target, &metrics, &json!({"per_second": rate, "p99_ms": p99}));
        }
        let targets = ["a".to_owned(), "b".to_owned()];
        let name = Name { file: "x", heading: "X", setting: "Alone." };
        let text = markdown(&name, &measured, &targets, &json!({"cores": 2}));
        assert!(
            text.contains("| create | operations/s | 15.0 (10.0 to 20.0) | 5.00 | 3.00 | >= 10: met |"),
            "{text}"
        );
        assert!(
            text.contains("| create | p99, ms | 3.00 (2.00 to 4.00) | 8.00 | 2.67 | <= 2: NOT met |"),
            "{text}"
        );
        assert_eq!(values(&measured, &targets, &json!({}))["rows"][0]["samples"]["a"], json!([20.0, 10.0]));
    }
}
