//! The entry point for the fuzzer; see `fuzz/Cargo.toml`. Left out of all other builds.

use super::Malformed;
use super::rewriter::Rewriter;

/// Rewrites what a client sends, in pieces of `piece` bytes. Returns what comes of it, and the rule that the client
/// has broken.
pub(super) fn rewrite(sent: &[u8], piece: usize) -> (Vec<u8>, Option<Malformed>) {
    let mut rewriter = Rewriter::new();
    let mut output = Vec::new();
    for mut piece in sent.chunks(piece) {
        while !piece.is_empty() {
            let left = piece.len();
            if let Err(malformed) = rewriter.step(&mut piece, &mut output) {
                return (output, Some(malformed));
            }
            assert!(piece.len() < left, "a step takes something");
        }
    }
    (output, None)
}

/// Reads `bytes` as what a client sends after HTTP/2's preface.
///
/// # Panics
/// Panics where the broker would, and if the result depends on how the bytes are cut.
pub fn frames(bytes: &[u8]) {
    let sent = [super::rewriter::PREFACE, bytes].concat();
    let whole = rewrite(&sent, sent.len());
    for piece in [1, 2, 9, 10, 64] {
        assert_eq!(rewrite(&sent, piece), whole, "in pieces of {piece}");
    }
}
