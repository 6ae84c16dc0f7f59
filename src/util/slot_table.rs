//! A fixed number of slots, found by a hash.

/// One row for each value of a byte, and as many columns: the two indexes cannot be out of range.
type Row<T> = [T; 16];
type Rows<T> = [Row<T>; 256];

/// 4,096 slots for any number of things, each found by its hash. Two things with the same hash, and
/// a few with different ones, share a slot.
#[derive(Debug)]
pub struct SlotTable<T>(Box<Rows<T>>);

impl<T: Default> Default for SlotTable<T> {
    #[expect(clippy::expect_used, reason = "256 rows are collected")]
    fn default() -> Self {
        // By way of a vector: an array of this size is too large for the stack.
        let rows: Vec<Row<T>> = (0..256)
            .map(|_| std::array::from_fn(|_| T::default()))
            .collect();
        let rows: Result<Box<Rows<T>>, _> = rows.into_boxed_slice().try_into();
        Self(rows.ok().expect("256 rows"))
    }
}

impl<T> SlotTable<T> {
    /// The slot of this hash. All bits of the hash count.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "a byte is below 256 and a byte's lower half below 16"
    )]
    pub fn slot(&self, hash: u64) -> &T {
        let half = hash ^ (hash >> 32);
        let [row, column, ..] = (half ^ (half >> 16)).to_le_bytes();
        let column = (column ^ (column >> 4)) & 0x0f;
        &self.0[usize::from(row)][usize::from(column)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::atomic::AtomicU64;

    type Table = SlotTable<AtomicU64>;

    fn slots(hashes: impl IntoIterator<Item = u64>) -> usize {
        let table = Table::default();
        let slots = hashes
            .into_iter()
            .map(|hash| std::ptr::from_ref(table.slot(hash)));
        slots.collect::<HashSet<_>>().len()
    }

    #[test]
    fn a_hash_has_one_slot() {
        assert_eq!(slots([7, 7, 7]), 1);
    }

    #[test]
    fn every_slot_has_a_hash() {
        assert_eq!(slots(0..4096), 4096);
    }

    #[test]
    fn hashes_that_differ_in_one_bit_have_different_slots() {
        for bit in 0..64 {
            assert_eq!(slots([0, 1 << bit]), 2, "{bit}");
        }
    }
}
