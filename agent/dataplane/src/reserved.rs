//! The block of translated sources' ports in `net.ipv4.ip_local_reserved_ports`, from which the kernel gives none to
//! sockets that ask for any port. Enters: the list as it is. Leaves: the list with our block, or without. Called by run and
//! by [`crate::detach`].
//!
//! A list does not say who wrote what, so a folder beside the pins remembers that the block is ours, and by its name which
//! of its ports others had reserved before. As the list, it does not outlive the machine's restart.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xebec_abi::flow::{REJECT_PORT, SNAT_HIGH};

const FILE: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// How the folder's name begins; then come ports of others as in the list.
const RECORD: &str = "reserved_ports";
/// What a name may have.
const NAME_MAX: usize = 255;

/// Keeps the kernel from giving the block of translated sources to sockets that ask for any port.
///
/// # Errors
/// Those of the list, which then is as it was; those of the folder, without which [`crate::detach`] leaves the block.
pub fn reserve_ports(pin_dir: &Path) -> io::Result<()> {
    reserve(Path::new(FILE), pin_dir)
}

/// Takes the block out again if [`reserve_ports`] put it in.
pub(crate) fn release_ports(pin_dir: &Path) -> io::Result<()> {
    release(Path::new(FILE), pin_dir)
}

/// Whether a path among the pins is the folder.
pub(crate) fn is_record(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(RECORD))
}

fn reserve(list: &Path, pin_dir: &Path) -> io::Result<()> {
    let present = read(list)?;
    let Some(wanted) = with_block(&present) else { return Ok(()) };
    let recorded = remember(pin_dir, &in_block(&present));
    std::fs::write(list, wanted)?;
    recorded
}

fn release(list: &Path, pin_dir: &Path) -> io::Result<()> {
    let Some((record, theirs)) = record(pin_dir)? else { return Ok(()) };
    if let Some(wanted) = without_block(&read(list)?, &theirs) {
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
        return Err(io::Error::other("others reserved too many ports of the block to remember them"));
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

/// Whether a list of reserved ports has our block. PURE.
pub(crate) fn has_block(present: &str) -> bool {
    with_block(present).is_none()
}

/// The list with our block added; `None` if it is there. PURE.
fn with_block(present: &str) -> Option<String> {
    if ranges(present).any(|(low, high)| low <= REJECT_PORT && high == SNAT_HIGH) {
        return None;
    }
    let block = format!("{REJECT_PORT}-{SNAT_HIGH}");
    Some(if present.is_empty() { block } else { format!("{present},{block}") })
}

/// What a list has of our block. PURE.
fn in_block(present: &str) -> String {
    let within = ranges(present).filter(|(_, high)| *high >= REJECT_PORT);
    join(within.map(|(low, high)| (low.max(REJECT_PORT), high)))
}

/// The list without our block, but with what others had of it; `None` if the block is not there. PURE.
fn without_block(present: &str, theirs: &str) -> Option<String> {
    let below = ranges(present).filter(|(low, _)| *low < REJECT_PORT);
    let below = below.map(|(low, high)| (low, high.min(REJECT_PORT - 1)));
    has_block(present).then(|| join(below.chain(ranges(theirs))))
}

/// The ranges of a list; what is none is left out.
fn ranges(list: &str) -> impl Iterator<Item = (u16, u16)> {
    list.split(',').filter_map(|range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        Some((low.trim().parse().ok()?, high.trim().parse().ok()?))
    })
}

fn join(ranges: impl Iterator<Item = (u16, u16)>) -> String {
    let text = |(low, high)| if low == high { format!("{low}") } else { format!("{low}-{high}") };
    ranges.map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_added_once() {
        assert_eq!(with_block("").as_deref(), Some("61000-65535"));
        assert_eq!(with_block("8080,9000-9100").as_deref(), Some("8080,9000-9100,61000-65535"));
        assert_eq!(with_block("8080,61000-65535"), None);
        assert_eq!(with_block("1024-65535"), None);
        assert_eq!(with_block("61000-61001").as_deref(), Some("61000-61001,61000-65535"));
    }

    #[test]
    fn the_block_is_taken_out_and_nothing_else() {
        // As the kernel shows what was written: in order, neighbours as one.
        for (before, shown) in [
            ("", "61000-65535"),
            ("8080,9000-9100", "8080,9000-9100,61000-65535"),
            ("60990-60999", "60990-65535"),
            ("60990-61001,62000,65535", "60990-65535"),
            ("61000-61001", "61000-65535"),
        ] {
            let after = without_block(shown, &in_block(before)).unwrap();
            let ports = |list: &str| ranges(list).flat_map(|(low, high)| low..=high).collect::<Vec<_>>();
            assert_eq!(ports(&after), ports(before), "{before:?} became {after:?}");
        }
        assert_eq!(without_block("8080", "61000"), None, "somebody took it out already");
    }

    #[test]
    fn only_what_was_added_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let (list, pins) = (dir.path().join("list"), dir.path().join("pins"));
        release(&list, &pins).unwrap();
        std::fs::create_dir(&pins).unwrap();
        let is = |text: &str| assert_eq!(std::fs::read_to_string(&list).unwrap(), text);
        // Reserved by somebody else already: it stays so.
        std::fs::write(&list, "8080,61000-65535").unwrap();
        reserve(&list, &pins).unwrap();
        release(&list, &pins).unwrap();
        is("8080,61000-65535");
        // Ours; with a record left by an earlier time.
        std::fs::create_dir(pins.join("reserved_ports61000")).unwrap();
        std::fs::write(&list, "8080,65000\n").unwrap();
        reserve(&list, &pins).unwrap();
        is("8080,65000,61000-65535");
        assert!(is_record(&pins.join("reserved_ports65000")) && pins.join("reserved_ports65000").exists());
        // A second proxy finds it there.
        reserve(&list, &pins).unwrap();
        release(&list, &pins).unwrap();
        is("8080,65000\n");
        assert_eq!(std::fs::read_dir(&pins).unwrap().count(), 0);
    }
}
