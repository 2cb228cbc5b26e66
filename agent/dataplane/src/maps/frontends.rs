//! FE4 ([`xebec_abi::frontend`]) from the side that writes it. Enters: keys and values. Leaves: words of the map's memory, in an
//! order that no reader can be led astray by, nor an agent that finds the table as a killed one left it.

use xebec_abi::frontend::{Bucket, KEY, PLACES, REACH, home, key, reach, with_reach, word};
use xebec_abi::service::FeKey4;

use super::{MapError, Mapping};

const NAME: &str = "FE4";

/// Words of a bucket, as its memory is mapped.
pub(crate) const WORDS: u32 = (size_of::<Bucket>() / 8) as u32;

/// Elements of the array for so many frontends: of four places three are used at most.
pub(crate) const fn elements(frontends: u32) -> u32 {
    frontends.div_ceil(PLACES - 1).saturating_add(REACH)
}

/// Homes in an array of so many elements.
pub(crate) const fn homes(elements: u32) -> u32 {
    elements.saturating_sub(REACH)
}

/// The memory of the buckets.
pub(crate) trait Memory {
    /// A word of a bucket.
    fn load(&self, bucket: u32, word: u32) -> Result<u64, MapError>;
    /// Stores a word; everything stored before is visible to whoever reads it.
    fn publish(&self, bucket: u32, word: u32, value: u64) -> Result<(), MapError>;
    /// Number of buckets.
    fn len(&self) -> u32;
}

impl Memory for Mapping {
    fn load(&self, bucket: u32, word: u32) -> Result<u64, MapError> {
        Self::load(self, bucket, word)
    }
    fn publish(&self, bucket: u32, word: u32, value: u64) -> Result<(), MapError> {
        Self::publish(self, bucket, word, value)
    }
    fn len(&self) -> u32 {
        Self::len(self)
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Frontends<M> {
    memory: M,
    salt: u32,
}

/// A place: its bucket and which of the bucket's.
type Place = (u32, u32);

impl<M: Memory> Frontends<M> {
    pub(crate) const fn new(memory: M, salt: u32) -> Self {
        Self { memory, salt }
    }

    /// How many frontends it is made for.
    pub(super) fn capacity(&self) -> u32 {
        homes(self.memory.len()).saturating_mul(PLACES - 1)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &FeKey4) -> Result<Option<u64>, MapError> {
        let Some((bucket, place)) = self.find(word(key))? else { return Ok(None) };
        self.memory.load(bucket, PLACES + place).map(Some)
    }

    /// Adds a key or replaces its value.
    pub(crate) fn insert(&self, key: &FeKey4, value: u64) -> Result<(), MapError> {
        let word = word(key);
        if let Some((bucket, place)) = self.find(word)? {
            return self.memory.publish(bucket, PLACES + place, value);
        }
        let home = self.home(word);
        let free = self.search(home, REACH, |word| word == 0)?;
        let (bucket, place) = free.ok_or(MapError::Crowded { map: NAME, len: self.capacity() })?;
        self.memory.publish(bucket, PLACES + place, value)?;
        // Before the key: an agent that finds the key relies on it being in reach.
        if bucket - home > reach(self.memory.load(home, 0)?) {
            self.set_reach(home, bucket - home)?;
        }
        self.put(bucket, place, word)
    }

    /// Removes a key; not an error if it is not there.
    pub(super) fn remove(&self, key: &FeKey4) -> Result<(), MapError> {
        let word = word(key);
        let Some((bucket, place)) = self.find(word)? else { return Ok(()) };
        self.put(bucket, place, 0)?;
        let home = self.home(word);
        if bucket - home == reach(self.memory.load(home, 0)?) && bucket != home {
            self.set_reach(home, self.farthest(home, bucket - home)?)?;
        }
        Ok(())
    }

    /// All keys with their values.
    pub(super) fn entries(&self) -> Result<Vec<(FeKey4, u64)>, MapError> {
        let mut entries = Vec::new();
        for bucket in 0..self.memory.len() {
            for place in 0..PLACES {
                match self.memory.load(bucket, place)? & KEY {
                    0 => {}
                    word => entries.push((key(word), self.memory.load(bucket, PLACES + place)?)),
                }
            }
        }
        Ok(entries)
    }

    fn home(&self, word: u64) -> u32 {
        home(word, self.salt, homes(self.memory.len()))
    }

    fn find(&self, word: u64) -> Result<Option<Place>, MapError> {
        let home = self.home(word);
        self.search(home, reach(self.memory.load(home, 0)?), |found| found == word)
    }

    /// The first place of a bucket or those up to a distance after it whose key is the one wanted.
    fn search(
        &self,
        home: u32,
        distance: u32,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Option<Place>, MapError> {
        for bucket in home..=home + distance {
            for place in 0..PLACES {
                if wanted(self.memory.load(bucket, place)? & KEY) {
                    return Ok(Some((bucket, place)));
                }
            }
        }
        Ok(None)
    }

    /// How far the farthest key of a bucket is, up to a distance.
    fn farthest(&self, home: u32, most: u32) -> Result<u32, MapError> {
        for distance in (1..=most).rev() {
            for place in 0..PLACES {
                let word = self.memory.load(home + distance, place)? & KEY;
                if word != 0 && self.home(word) == home {
                    return Ok(distance);
                }
            }
        }
        Ok(0)
    }

    fn set_reach(&self, bucket: u32, reach: u32) -> Result<(), MapError> {
        self.memory.publish(bucket, 0, with_reach(self.memory.load(bucket, 0)?, reach))
    }

    /// Stores a key, or none, and leaves the bucket's reach.
    fn put(&self, bucket: u32, place: u32, word: u64) -> Result<(), MapError> {
        let kept = self.memory.load(bucket, place)? & !KEY;
        self.memory.publish(bucket, place, kept | word)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use xebec_abi::{Be16, Be32};

    use super::*;

    /// Memory that remembers what it was before every store.
    struct Fake {
        words: RefCell<Vec<u64>>,
        before: RefCell<Vec<Vec<u64>>>,
    }

    impl Fake {
        fn new(words: Vec<u64>) -> Self {
            Self { words: RefCell::new(words), before: RefCell::default() }
        }

        fn empty(homes: u32) -> Self {
            Self::new(vec![0; ((homes + REACH) * WORDS) as usize])
        }
    }

    impl Memory for &Fake {
        fn load(&self, bucket: u32, word: u32) -> Result<u64, MapError> {
            let outside = MapError::Outside { map: NAME, index: bucket, len: self.len() };
            self.words.borrow().get((bucket * WORDS + word) as usize).copied().ok_or(outside)
        }
        fn publish(&self, bucket: u32, word: u32, value: u64) -> Result<(), MapError> {
            let mut words = self.words.borrow_mut();
            self.before.borrow_mut().push(words.clone());
            words[(bucket * WORDS + word) as usize] = value;
            Ok(())
        }
        fn len(&self) -> u32 {
            self.words.borrow().len() as u32 / WORDS
        }
    }

    fn key_of(n: u16) -> FeKey4 {
        FeKey4 { addr: Be32::new(u32::from(n) / 4), port: Be16::new(n % 4 + 1), proto: 6, scope: 0 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Between any two stores, which is where a reader or an agent's death may be, every other key has its value, the
        /// key at hand its old or its new one, and what an agent finds there is what readers find.
        #[test]
        fn it_is_a_map_after_every_store(
            steps in prop::collection::vec((0_u16..150, any::<bool>(), 1_u64..9), 1..300),
            salt in any::<u32>(),
        ) {
            // 24 homes of four places for up to 150 keys: full buckets are many.
            let fake = Fake::empty(24);
            let table = Frontends::new(&fake, salt);
            let mut model: BTreeMap<FeKey4, u64> = BTreeMap::new();
            for (n, add, value) in steps {
                let (key, old) = (key_of(n), model.get(&key_of(n)).copied());
                if add {
                    table.insert(&key, value).unwrap();
                    model.insert(key, value);
                } else {
                    table.remove(&key).unwrap();
                    model.remove(&key);
                }
                for image in fake.before.take() {
                    let fake = Fake::new(image);
                    let then = Frontends::new(&fake, salt);
                    let found = then.get(&key).unwrap();
                    prop_assert!(found == old || found == model.get(&key).copied());
                    let mut wanted = model.clone();
                    wanted.remove(&key);
                    wanted.extend(found.map(|value| (key, value)));
                    prop_assert_eq!(then.entries().unwrap().into_iter().collect::<BTreeMap<_, _>>(), wanted.clone());
                    for (key, value) in wanted {
                        prop_assert_eq!(then.get(&key).unwrap(), Some(value));
                    }
                }
                prop_assert_eq!(table.entries().unwrap().into_iter().collect::<BTreeMap<_, _>>(), model.clone());
            }
            // Nobody looks far for what is no longer there.
            for key in model.keys() {
                table.remove(key).unwrap();
            }
            prop_assert!(fake.words.borrow().chunks(WORDS as usize).all(|bucket| bucket[..4] == [0; 4]));
        }
    }

    #[test]
    fn what_has_no_place_is_told_and_changes_nothing() {
        let fake = Fake::empty(1);
        let table = Frontends::new(&fake, 1);
        let places = ((1 + REACH) * PLACES) as u16;
        (0..places).for_each(|n| table.insert(&key_of(n), u64::from(n) + 1).unwrap());
        fake.before.take();
        let error = table.insert(&key_of(places), 1).unwrap_err();
        assert_eq!(error.to_string(), "map FE4: no place near a key's home; it is made for 3 entries");
        assert!(fake.before.take().is_empty());
        table.insert(&key_of(0), 77).unwrap();
        table.remove(&key_of(5)).unwrap();
        table.insert(&key_of(places), 1).unwrap();
        assert_eq!(
            (table.get(&key_of(0)).unwrap(), table.get(&key_of(places)).unwrap()),
            (Some(77), Some(1))
        );
    }

    #[test]
    fn full_as_promised_everything_has_its_place() {
        let frontends = 30_000;
        let fake = Fake::empty(homes(elements(frontends)));
        assert!(Frontends::new(&fake, 0).capacity() >= frontends);
        for salt in [1, 77, u32::MAX] {
            fake.words.borrow_mut().fill(0);
            let table = Frontends::new(&fake, salt);
            for n in 0..frontends {
                // Without remembering: that would be gigabytes.
                let key = FeKey4 {
                    addr: Be32::new(0x0a60_0000 + n / 3),
                    port: Be16::new(n as u16 % 3 + 80),
                    proto: 6,
                    scope: 0,
                };
                table.insert(&key, 1).unwrap();
                fake.before.borrow_mut().clear();
            }
            assert_eq!(table.entries().unwrap().len(), frontends as usize);
        }
    }
}
