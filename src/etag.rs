//! Names what a lock is now, a grant or a linger, for those who may not know its id.

use ring::digest::{Context, SHA256};

use crate::lock::Etag;
use crate::store::ItemState;

/// Returns the etag of an item: the first 16 hexadecimal digits of SHA-256 over `lockbroker etag` and the item's number. It
/// stays through renewals, and changes with every grant, reattach and linger. The number is a capability, so nobody must be
/// able to work it out of what others are shown.
pub(crate) fn etag(state: ItemState) -> Etag {
    let mut context = Context::new(&SHA256);
    context.update(b"lockbroker etag");
    context.update(&state.number().to_be_bytes());
    Etag::of_digest(first_of(context))
}

/// Returns the first 64 bits of what was digested.
pub(crate) fn first_of(context: Context) -> u64 {
    let digest = context.finish();
    let first = digest.as_ref().first_chunk().expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{grant_id, linger_id};

    #[test]
    fn an_etag_names_an_item_and_does_not_show_its_number() {
        // Brokers of one deployment have to agree, so it never changes.
        let known = ItemState::of_number(12_345_678_901_234_567_890).unwrap();
        assert_eq!(etag(known).shown(), "5adf1a07088eeea6");
        assert_eq!("5adf1a07088eeea6".parse(), Ok(etag(known)));
        for state in [ItemState::Held(grant_id()), ItemState::Lingering(linger_id())] {
            let (etag, number) = (etag(state).shown(), state.number());
            assert_eq!(etag.len(), 16);
            assert!(etag.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)), "{etag}");
            for shown in [number.to_string(), format!("{number:x}"), format!("{number:016x}")] {
                assert!(!etag.contains(&shown), "{etag} shows {shown}");
            }
            assert_eq!(etag, super::etag(state).shown());
            assert_ne!(etag, super::etag(ItemState::Held(grant_id())).shown());
        }
    }
}
