//! Hash tables with a seed that is given: the same run visits the same names in the same order, and whoever chooses names
//! does not know the seed.

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// A hash table.
#[expect(clippy::disallowed_types, reason = "it gets its seed here")]
pub(crate) type Table<K, V> = std::collections::HashMap<K, V, SeedableRandomState>;

/// Makes an empty table.
pub(crate) fn new<K, V>(seed: u64) -> Table<K, V> {
    Table::with_hasher(SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()))
}
