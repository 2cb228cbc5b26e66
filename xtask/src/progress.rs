//! Numbered steps with their durations. Enters: a title and work. Leaves: one line when it starts, one when it ends,
//! and the list of durations for the closing table.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

/// The steps of one command, in order.
pub(crate) struct Steps {
    total: usize,
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// A run of `total` steps.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, done: Vec::new() }
    }

    /// Runs one step; what it prints itself appears between its two lines.
    pub(crate) fn step<T>(&mut self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = self.done.len() + 1;
        let bold = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        println!("{}[{number}/{}] {title}{}", bold.0, self.total, bold.1);
        std::io::stdout().flush()?;
        let start = Instant::now();
        let outcome = work();
        let took = start.elapsed();
        match &outcome {
            Ok(_) => println!("      done in {}", human(took)),
            Err(_) => println!("      FAILED after {}", human(took)),
        }
        self.done.push((title.to_owned(), took));
        outcome
    }

    /// The closing table: every step and how long it took.
    pub(crate) fn print_table(&self) {
        for (title, took) in &self.done {
            println!("  {:<52} {:>9}", title, human(*took));
        }
    }
}

/// `340 ms`, `12.4 s`, `3 min 05 s`.
pub(crate) fn human(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..=999 => format!("{millis} ms"),
        millis @ 1000..=119_999 => format!("{:.1} s", millis as f64 / 1000.0),
        millis => format!("{} min {:02} s", millis / 60_000, millis / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(human(Duration::from_millis(7)), "7 ms");
        assert_eq!(human(Duration::from_millis(12_430)), "12.4 s");
        assert_eq!(human(Duration::from_secs(185)), "3 min 05 s");
    }
}
