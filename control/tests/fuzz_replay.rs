//! Runs the checks of the fuzz target for journal segments on the stable toolchain.

#[path = "../../fuzz/src/journal.rs"]
mod checks;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

/// Bytes that have a meaning of their own: a frame's mark and lengths, kinds of frames and of values.
const TOKENS: &[&[u8]] = &[
    &[0xf1, 0x0a],
    &[0xf1, 0x0a, 8, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff],
    &[0],
    &[1],
    &[2],
    &[3],
    &[4],
    &[5],
    &[9],
    &[10],
    &[11],
    &[12],
    &[15],
    &[0x40],
    &[0x7f],
    &[0x80],
    &[0xbf],
];

#[test]
fn journal() {
    replay::replay("journal", TOKENS, checks::journal);
}
