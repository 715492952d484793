//! Hash tables with a seed that is given: the same run visits the same names in the same order, and whoever chooses names
//! does not know the seed.

use std::hash::{BuildHasher, Hash};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// A hash table.
#[expect(clippy::disallowed_types, reason = "it gets its seed here")]
pub(crate) type Table<K, V> = std::collections::HashMap<K, V, SeedableRandomState>;

/// Makes an empty table.
pub(crate) fn new<K, V>(seed: u64) -> Table<K, V> {
    Table::with_hasher(SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()))
}

/// Gives back the room of a table that is three quarters empty, but for `smallest` entries. It keeps room for twice as many as
/// there are, so that it is seldom made anew.
#[expect(clippy::disallowed_types, reason = "whoever made it chose its seed")]
pub fn give_back_room<K: Eq + Hash, V, S: BuildHasher>(
    table: &mut std::collections::HashMap<K, V, S>,
    smallest: usize,
) {
    if table.len() < table.capacity() / 4 {
        table.shrink_to((2 * table.len()).max(smallest));
    }
}
