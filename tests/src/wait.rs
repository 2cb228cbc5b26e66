//! Waiting for a condition with a deadline. Enters: a probe. Leaves: its value, or why it never came.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Polls until the probe gives a value; an error of the probe counts as "not yet" and is told at the deadline.
///
/// # Errors
/// The deadline passed: names what was waited for and the probe's last error.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = probe();
        if let Ok(Some(value)) = last {
            return Ok(value);
        }
        if start.elapsed() > limit {
            match last {
                Err(error) => bail!("{what}: not within {} s: {error:#}", limit.as_secs()),
                Ok(_) => bail!("{what}: not within {} s", limit.as_secs()),
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_the_wait_and_the_last_error_is_told() {
        let mut count = 0;
        let value = until("three", Duration::from_secs(5), || {
            count += 1;
            Ok((count == 3).then_some(count))
        });
        assert_eq!(value.unwrap(), 3);
        let error = until::<()>("never", Duration::ZERO, || bail!("the reason")).unwrap_err();
        assert_eq!(error.to_string(), "never: not within 0 s: the reason");
    }
}
