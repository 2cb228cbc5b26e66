//! Finding the last lines. Enters: a file and a count. Leaves: the offset where they begin, by reading 64 KiB blocks
//! from the end. Pieces that go on (tag P) count as one line with what they go on to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 64 * 1024;
/// Enough for the fields before the text.
const HEAD: usize = 96;

/// Whether the line that begins at `offset` ends a line of output; what is not in the format does.
fn ends_line(file: &File, offset: u64) -> io::Result<bool> {
    let mut head = [0u8; HEAD];
    let read = file.read_at(&mut head, offset)?;
    let line = head[..read].split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(super::parse_line(line).is_none_or(|line| line.whole))
}

/// The offset at which the last `lines` lines of the first `size` bytes begin.
///
/// Lines without an end (being written) count as one. Reads no more than is needed.
pub fn tail_start(file: &File, size: u64, lines: u64) -> io::Result<u64> {
    if lines == 0 {
        return Ok(size);
    }
    let mut block = vec![0u8; BLOCK as usize];
    let (mut end, mut found) = (size, 0u64);
    // The start of the line before the one looked at: found while going back.
    let mut starts = None;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        let part = &mut block[..(end - begin) as usize];
        file.read_exact_at(part, begin)?;
        for at in (0..part.len()).rev().filter(|at| part[*at] == b'\n') {
            let start = begin + at as u64 + 1;
            if start == size {
                // The end of the last line; its own start comes next.
                starts = Some(size);
                continue;
            }
            if let Some(result) = step(file, start, &mut starts, &mut found, lines, size)? {
                return Ok(result);
            }
        }
        end = begin;
    }
    Ok(step(file, 0, &mut starts, &mut found, lines, size)?.unwrap_or(0))
}

/// Takes the raw line that begins at `start` into account; the answer, once the wanted lines lie after `starts`.
fn step(
    file: &File,
    start: u64,
    starts: &mut Option<u64>,
    found: &mut u64,
    lines: u64,
    size: u64,
) -> io::Result<Option<u64>> {
    let after = starts.replace(start).unwrap_or(size);
    // The very last raw line ends a line of output even if it is a piece still being written.
    if after == size || ends_line(file, start)? {
        if *found == lines {
            return Ok(Some(after));
        }
        *found += 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(text: &str, lines: u64) -> String {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
        let start = tail_start(&file, text.len() as u64, lines).unwrap();
        text[start as usize..].to_owned()
    }

    fn line(tag: &str, text: &str) -> String {
        format!("2026-10-20T18:39:20.576064430Z stdout {tag} {text}\n")
    }

    #[test]
    fn the_last_lines_are_found() {
        let text: String = (0..5).map(|i| line("F", &i.to_string())).collect();
        for lines in 0..5u64 {
            let want: String = (5 - lines..5).map(|i| line("F", &i.to_string())).collect();
            assert_eq!(tail(&text, lines), want, "{lines}");
        }
        assert_eq!(tail(&text, 5), text);
        assert_eq!(tail(&text, 100), text);
        assert_eq!(tail("", 3), "");
        let open = format!("{}{}", line("F", "a"), line("F", "b").trim_end());
        assert_eq!(tail(&open, 1), line("F", "b").trim_end());
    }

    #[test]
    fn pieces_count_once() {
        let joined = format!("{}{}{}", line("P", "b1"), line("P", "b2"), line("F", "b3"));
        let text = format!("{}{joined}{}", line("F", "a"), line("F", "c"));
        assert_eq!(tail(&text, 1), line("F", "c"));
        assert_eq!(tail(&text, 2), format!("{joined}{}", line("F", "c")));
        let unfinished = format!("{}{}", line("F", "a"), line("P", "b1"));
        assert_eq!(tail(&unfinished, 1), line("P", "b1"));
        assert_eq!(tail(&unfinished, 2), unfinished);
    }

    #[test]
    fn blocks_join_seamlessly() {
        // Lines of odd lengths, over several blocks, against a plain count.
        let all: Vec<String> = (0..4000).map(|i| line("F", &"x".repeat(i % 97))).collect();
        let text = all.concat();
        assert!(text.len() as u64 > 4 * BLOCK);
        for lines in [1, 700, 1300, 2600, 3999, 4000] {
            assert_eq!(tail(&text, lines as u64), all[4000 - lines..].concat(), "{lines}");
        }
    }
}
