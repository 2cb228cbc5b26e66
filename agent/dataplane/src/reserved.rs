//! The blocks of translated sources' ports in `net.ipv4.ip_local_reserved_ports`, from which the kernel gives none to
//! sockets that ask for any port. Enters: the list as it is. Leaves: the list with our blocks, or without. Called by run and
//! by [`crate::detach`].
//!
//! A list does not say who wrote what, so a folder beside the pins remembers that the blocks are ours, and by its name which
//! of their ports others had reserved before. As the list, it does not outlive the machine's restart.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xebec_abi::flow::RESERVED_PORTS;

const FILE: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// How the folder's name begins; then come ports of others as in the list.
const RECORD: &str = "reserved_ports";
/// What a name may have.
const NAME_MAX: usize = 255;

/// Keeps the kernel from giving the blocks of translated sources to sockets that ask for any port.
///
/// # Errors
/// Those of the list, which then is as it was; those of the folder, without which [`crate::detach`] leaves the blocks.
pub fn reserve_ports(pin_dir: &Path) -> io::Result<()> {
    reserve(Path::new(FILE), pin_dir)
}

/// Takes the blocks out again if [`reserve_ports`] put it in.
pub(crate) fn release_ports(pin_dir: &Path) -> io::Result<()> {
    release(Path::new(FILE), pin_dir)
}

fn reserve(list: &Path, pin_dir: &Path) -> io::Result<()> {
    let present = read(list)?;
    let Some(wanted) = with_blocks(&present) else { return Ok(()) };
    let recorded = remember(pin_dir, &in_blocks(&present));
    std::fs::write(list, wanted)?;
    recorded
}

fn release(list: &Path, pin_dir: &Path) -> io::Result<()> {
    let Some((record, theirs)) = record(pin_dir)? else { return Ok(()) };
    if let Some(wanted) = without_blocks(&read(list)?, &theirs) {
        // A line, since nothing at all would not be written.
        std::fs::write(list, format!("{wanted}\n"))?;
    }
    std::fs::remove_dir(record)
}

/// Makes the folder, in place of one of an earlier time.
fn remember(pin_dir: &Path, theirs: &str) -> io::Result<()> {
    if let Some((old, _)) = record(pin_dir)? {
        std::fs::remove_dir(old)?;
    }
    let name = format!("{RECORD}{theirs}");
    if name.len() > NAME_MAX {
        return Err(io::Error::other("others reserved too many ports of the blocks to remember them"));
    }
    std::fs::create_dir(pin_dir.join(name))
}

/// The folder, and what it says that others had.
fn record(pin_dir: &Path) -> io::Result<Option<(PathBuf, String)>> {
    let entries = match std::fs::read_dir(pin_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if let Some(theirs) = entry.file_name().to_str().and_then(|name| name.strip_prefix(RECORD)) {
            return Ok(Some((entry.path(), theirs.to_owned())));
        }
    }
    Ok(None)
}

/// The list, by one read: the kernel shows it to the first alone, cut at that one's length.
pub(crate) fn read(list: &Path) -> io::Result<String> {
    let mut text = vec![0; 1 << 18];
    let length = File::open(list)?.read(&mut text)?;
    if length == text.len() {
        return Err(io::Error::other("the list of reserved ports is too long"));
    }
    text.truncate(length);
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    Ok(text.trim().to_owned())
}

/// The list of this network namespace.
pub(crate) fn present() -> io::Result<String> {
    read(Path::new(FILE))
}

/// Whether a list of reserved ports has our blocks. PURE.
pub(crate) fn has_blocks(present: &str) -> bool {
    with_blocks(present).is_none()
}

/// Our blocks, as in a list. PURE.
pub(crate) fn blocks() -> String {
    join(RESERVED_PORTS)
}

/// The list with our blocks added; `None` if they are there. PURE.
fn with_blocks(present: &str) -> Option<String> {
    let is_there = |(low, high): &(u16, u16)| {
        let within = clipped(present, *low, *high).map(|(low, high)| u32::from(high - low) + 1);
        within.sum::<u32>() == u32::from(high - low) + 1
    };
    if RESERVED_PORTS.iter().all(is_there) {
        return None;
    }
    let blocks = blocks();
    Some(if present.is_empty() { blocks } else { format!("{present},{blocks}") })
}

/// What a list has of our blocks. PURE.
fn in_blocks(present: &str) -> String {
    join(RESERVED_PORTS.into_iter().flat_map(|(low, high)| clipped(present, low, high)))
}

/// The list without our blocks, but with what others had of them; `None` if the blocks are not there. PURE.
fn without_blocks(present: &str, theirs: &str) -> Option<String> {
    let [(low, high), (second, last)] = RESERVED_PORTS;
    let around =
        [(0, low - 1), (high + 1, second - 1)].into_iter().chain(last.checked_add(1).map(|p| (p, u16::MAX)));
    let around = around.flat_map(|(low, high)| clipped(present, low, high));
    has_blocks(present).then(|| join(around.chain(ranges(theirs))))
}

/// The parts of a list's ranges that lie in `low..=high`. A list that the kernel shows has no port twice.
fn clipped(list: &str, low: u16, high: u16) -> impl Iterator<Item = (u16, u16)> {
    ranges(list).map(move |range| (range.0.max(low), range.1.min(high))).filter(|(low, high)| low <= high)
}

/// The ranges of a list; what is none is left out.
fn ranges(list: &str) -> impl Iterator<Item = (u16, u16)> {
    list.split(',').filter_map(|range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        Some((low.trim().parse().ok()?, high.trim().parse().ok()?))
    })
}

fn join(ranges: impl IntoIterator<Item = (u16, u16)>) -> String {
    let text = |(low, high)| if low == high { format!("{low}") } else { format!("{low}-{high}") };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: &str = "1024-29999,61000-65535";

    #[test]
    fn the_blocks_are_added_once() {
        assert_eq!(with_blocks("").as_deref(), Some(BLOCKS));
        assert_eq!(with_blocks("8080,9000-9100").unwrap(), format!("8080,9000-9100,{BLOCKS}"));
        assert_eq!(with_blocks("61000-65535").unwrap(), format!("61000-65535,{BLOCKS}"), "of an older agent");
        for there in [BLOCKS, "22,1024-29999,61000-65535", "1024-65535", "1024-5000,5001-40000,60000-65535"] {
            assert_eq!(with_blocks(there), None, "{there}");
        }
    }

    #[test]
    fn the_blocks_are_taken_out_and_nothing_else() {
        // As the kernel shows what was written: in order, neighbours as one.
        for (before, shown) in [
            ("", BLOCKS),
            ("80,30000-32767", "80,1024-32767,61000-65535"),
            ("8080,9000-9100", BLOCKS),
            ("1000-1100,60990-60999", "1000-29999,60990-65535"),
            ("1024-65535", "1024-65535"),
            ("29999-61001,62000,65535", "1024-65535"),
        ] {
            let after = without_blocks(shown, &in_blocks(before)).unwrap();
            let ports = |list: &str| {
                let mut ports: Vec<_> = ranges(list).flat_map(|(low, high)| low..=high).collect();
                ports.sort_unstable();
                ports
            };
            assert_eq!(ports(&after), ports(before), "{before:?} became {after:?}");
        }
        assert_eq!(without_blocks("8080,61000-65535", "61000"), None, "somebody took one out already");
    }

    #[test]
    fn only_what_was_added_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let (list, pins) = (dir.path().join("list"), dir.path().join("pins"));
        release(&list, &pins).unwrap();
        std::fs::create_dir(&pins).unwrap();
        let is = |text: &str| assert_eq!(std::fs::read_to_string(&list).unwrap(), text);
        // Reserved by somebody else already: they stay so.
        std::fs::write(&list, format!("80,{BLOCKS}")).unwrap();
        reserve(&list, &pins).unwrap();
        release(&list, &pins).unwrap();
        is(&format!("80,{BLOCKS}"));
        // Ours; with a record left by an earlier time.
        std::fs::create_dir(pins.join("reserved_ports61000")).unwrap();
        std::fs::write(&list, "80,65000\n").unwrap();
        reserve(&list, &pins).unwrap();
        is(&format!("80,65000,{BLOCKS}"));
        assert!(pins.join("reserved_ports65000").exists());
        // A second proxy finds them there, as the kernel shows them.
        std::fs::write(&list, format!("80,{BLOCKS}")).unwrap();
        reserve(&list, &pins).unwrap();
        release(&list, &pins).unwrap();
        is("80,65000\n");
        assert_eq!(std::fs::read_dir(&pins).unwrap().count(), 0);
    }
}
