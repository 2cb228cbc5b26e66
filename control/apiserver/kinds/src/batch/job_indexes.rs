//! Lists of completion indexes such as `0,2-5,9`.
//!
//! Authority: pkg/apis/batch/validation (validateIndexesFormat, parseIndexInterval).

/// The number of indexes in a list, or why it is none: each below `completions`, in increasing order.
pub fn count(indexes: &str, completions: i64) -> Result<i64, String> {
    let mut total = 0;
    let mut previous = None;
    for part in indexes.split(',').filter(|_| !indexes.is_empty()) {
        let (first, last) = interval(part, completions)?;
        if let Some(previous) = previous
            && previous >= first
        {
            return Err(not_increasing(previous, first));
        }
        total += last - first + 1;
        previous = Some(last);
    }
    Ok(total)
}

/// The first index that two lists share; parts that cannot be read are passed over.
pub fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let read = |list: &str| -> Vec<(i64, i64)> {
        list.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let other = read(other);
    let shared = |(first, last): &(i64, i64)| {
        other.iter().filter(|(from, to)| first <= to && from <= last).map(|(from, _)| *from.max(first)).min()
    };
    read(one).iter().filter_map(shared).min()
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<&str> = part.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            xebec_api::gotext::quote(part)
        ));
    }
    let first = index(limits[0], completions)?;
    let Some(last) = limits.get(1) else { return Ok((first, first)) };
    let last = index(last, completions)?;
    if first >= last { Err(not_increasing(first, last)) } else { Ok((first, last)) }
}

fn index(text: &str, completions: i64) -> Result<i64, String> {
    let quoted = || xebec_api::gotext::quote(text);
    let number: i64 =
        text.parse().map_err(|_| format!("cannot convert string to integer for index: {}", quoted()))?;
    if number >= completions { Err(format!("too large index: {}", quoted())) } else { Ok(number) }
}

fn not_increasing(previous: i64, current: i64) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted() {
        assert_eq!(count("", 3), Ok(0));
        assert_eq!(count("0,2-4,9", 10), Ok(5));
        let cases = [
            (
                "1-2-3",
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
            ),
            ("x", "cannot convert string to integer for index: \"x\""),
            ("1,", "cannot convert string to integer for index: \"\""),
            ("1-10", "too large index: \"10\""),
            ("3-3", "non-increasing order, previous: 3, current: 3"),
            ("1-4,2", "non-increasing order, previous: 4, current: 2"),
        ];
        for (list, want) in cases {
            assert_eq!(count(list, 10), Err(want.to_owned()), "{list}");
        }
    }

    #[test]
    fn the_first_shared_index_is_found() {
        assert_eq!(overlap("0-2,5", "3,4", 10), None);
        assert_eq!(overlap("0-2,5-8", "3,6-7", 10), Some(6));
        assert_eq!(overlap("", "3", 10), None);
    }
}
