//! A snapshot of a store as one file: the live entries of one revision, with a checksum. Independent of the engine.
//!
//! Enters: a header and entries, or bytes. Leaves: bytes, or entries that are known to be whole. Layout, integers little
//! endian: `XEBECSNP`, format u32, 0 u32, revision u64, seconds since 1970 u64, number of entries u64; for each entry key
//! length u32, value length u32, create revision u64, mod revision u64, key, value; SHA-256 of everything before it.

use crate::{Entry, MAX_VALUE_BYTES, Revision, StoreError};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};

const MAGIC: &[u8; 8] = b"XEBECSNP";
const FORMAT: u32 = 1;
/// The longest key a snapshot may have, in bytes; what is longer is damage.
const MAX_KEY_BYTES: usize = 1 << 20;

/// What a snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Header {
    /// The store's head when it was taken.
    pub revision: Revision,
    /// When it was taken, in seconds since 1970 by the clock of the machine that took it.
    pub created: u64,
    /// How many entries it has.
    pub entries: u64,
}

/// Writes a snapshot; nothing is one before [`Writer::finish`].
pub struct Writer<W: Write> {
    sink: Hashed<W>,
    left: u64,
    header: Header,
}

/// Reads a snapshot and checks it on the way.
pub struct Reader<R: Read> {
    source: Hashed<R>,
    left: u64,
    header: Header,
    last: String,
}

/// A stream whose bytes are hashed as they pass.
struct Hashed<S> {
    stream: S,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.stream.write_all(bytes).map_err(|error| unwritable(&error))
    }
}

impl<R: Read> Hashed<R> {
    fn take(&mut self, length: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).map_err(|error| unreadable(&error, self.bytes))?;
        self.hash.update(&bytes);
        self.bytes += length as u64;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| damaged("a number is cut off"))
    }
}

fn unwritable(error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("the snapshot cannot be written: {error}"))
}

fn unreadable(error: &io::Error, at: u64) -> StoreError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return damaged(&format!("it ends in the middle, after byte {at}"));
    }
    StoreError::Unavailable(format!("the snapshot cannot be read: {error}"))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("this is not a whole snapshot: {what}"))
}

impl<W: Write> Writer<W> {
    /// Begins a snapshot of `header.entries` entries.
    pub fn new(sink: W, header: Header) -> Result<Self, StoreError> {
        let mut sink = Hashed { stream: sink, hash: Sha256::new(), bytes: 0 };
        sink.put(MAGIC)?;
        sink.put(&FORMAT.to_le_bytes())?;
        sink.put(&0_u32.to_le_bytes())?;
        for number in [header.revision, header.created, header.entries] {
            sink.put(&number.to_le_bytes())?;
        }
        Ok(Self { sink, left: header.entries, header })
    }

    /// Adds the next entry, in key order.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let too_long = |_| StoreError::TooLarge { key: entry.key.clone(), size: entry.value.len() };
        self.left = self.left.checked_sub(1).ok_or_else(|| damaged("more entries than announced"))?;
        self.sink.put(&u32::try_from(entry.key.len()).map_err(too_long)?.to_le_bytes())?;
        self.sink.put(&u32::try_from(entry.value.len()).map_err(too_long)?.to_le_bytes())?;
        self.sink.put(&entry.create_revision.to_le_bytes())?;
        self.sink.put(&entry.mod_revision.to_le_bytes())?;
        self.sink.put(entry.key.as_bytes())?;
        self.sink.put(&entry.value)
    }

    /// Adds the checksum and gives the sink back.
    pub fn finish(self) -> Result<(Header, W), StoreError> {
        if self.left > 0 {
            return Err(damaged(&format!("{} entries are missing", self.left)));
        }
        let Hashed { mut stream, hash, .. } = self.sink;
        stream.write_all(&hash.finalize()).map_err(|error| unwritable(&error))?;
        stream.flush().map_err(|error| unwritable(&error))?;
        Ok((self.header, stream))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header. [`StoreError::Corrupt`] if this is no snapshot, or one of a later format.
    pub fn new(source: R) -> Result<Self, StoreError> {
        let mut source = Hashed { stream: source, hash: Sha256::new(), bytes: 0 };
        if source.take(MAGIC.len())? != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let format = u32::from_le_bytes(source.number()?);
        if format != FORMAT {
            return Err(damaged(&format!("its format is {format}, this build reads {FORMAT}")));
        }
        source.number::<4>()?;
        let mut number = || source.number().map(u64::from_le_bytes);
        let header = Header { revision: number()?, created: number()?, entries: number()? };
        Ok(Self { source, left: header.entries, header, last: String::new() })
    }

    /// What it is of.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The next entry; none at the end, and only if the checksum is right. Until then nothing read may be trusted.
    pub fn entry(&mut self) -> Result<Option<Entry>, StoreError> {
        if self.left == 0 {
            return self.check().map(|()| None);
        }
        let key_length = u32::from_le_bytes(self.source.number()?) as usize;
        let value_length = u32::from_le_bytes(self.source.number()?) as usize;
        if key_length > MAX_KEY_BYTES || value_length > MAX_VALUE_BYTES {
            return Err(damaged(&format!("an entry of {key_length} and {value_length} bytes")));
        }
        let create_revision = u64::from_le_bytes(self.source.number()?);
        let mod_revision = u64::from_le_bytes(self.source.number()?);
        let key =
            String::from_utf8(self.source.take(key_length)?).map_err(|_| damaged("a key is not text"))?;
        let value = Bytes::from(self.source.take(value_length)?);
        if key <= self.last || mod_revision > self.header.revision || create_revision > mod_revision {
            return Err(damaged(&format!("the entry {key:?} is out of order")));
        }
        self.last.clone_from(&key);
        self.left -= 1;
        Ok(Some(Entry { key, value, create_revision, mod_revision }))
    }

    fn check(&mut self) -> Result<(), StoreError> {
        let expected = self.source.hash.clone().finalize();
        let mut found = [0; 32];
        let read = self.source.stream.read_exact(&mut found);
        read.map_err(|error| unreadable(&error, self.source.bytes))?;
        if found[..] != expected[..] {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(())
    }
}

/// Reads a snapshot to its end; what it is of, if it is whole.
pub fn verify(source: impl Read) -> Result<Header, StoreError> {
    let mut reader = Reader::new(source)?;
    while reader.entry()?.is_some() {}
    Ok(reader.header())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let header = Header { revision: 9, created: 1, entries: 2 };
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        for (key, revision) in [("/a", 3), ("/b", 9)] {
            let value = Bytes::from_static(b"value");
            let entry = Entry { key: key.to_owned(), value, create_revision: 3, mod_revision: revision };
            writer.entry(&entry).unwrap();
        }
        writer.finish().unwrap().1
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let bytes = sample();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.header().revision, 9);
        let first = reader.entry().unwrap().unwrap();
        assert_eq!((first.key.as_str(), &first.value[..], first.mod_revision), ("/a", &b"value"[..], 3));
        assert_eq!(reader.entry().unwrap().unwrap().mod_revision, 9);
        assert_eq!(reader.entry().unwrap(), None);
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let bytes = sample();
        for index in 0..bytes.len() {
            assert!(verify(&bytes[..index]).is_err(), "cut at {index}");
            // The reserved number and the time are covered by the checksum alone, the rest also by sense.
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << (index % 8);
            let error = verify(&flipped[..]).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt(_)), "byte {index}: {error}");
        }
        assert_eq!(verify(&bytes[..]).unwrap().entries, 2);
    }

    #[test]
    fn a_writer_that_lied_fails() {
        let header = Header { revision: 9, created: 1, entries: 1 };
        assert!(Writer::new(Vec::new(), header).unwrap().finish().is_err());
    }
}
