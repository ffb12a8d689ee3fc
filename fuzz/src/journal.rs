//! What must hold for any segment of the flow journal: a module to the fuzz target and to the replay test.

#![allow(unreachable_pub)]

use std::ops::ControlFlow;

use pintle_control::journal::{Entry, for_each_in};
use xxhash_rust::xxh3::xxh3_64;

const MARK: &[u8] = &[0xf1, 0x0a];
const HEADER: usize = 10;

/// A segment, as it is and with its checksums made right: whatever it says, every entry is a document, a notice or
/// damage, and documents can be written.
pub fn journal(data: &[u8]) {
    read(data);
    read(&sealed(data.to_vec()));
}

fn read(content: &[u8]) {
    let mut entries = 0;
    let all = for_each_in(content, None, |entry| {
        entries += 1;
        if let Entry::Flow(document) = entry {
            let text = serde_json::to_vec(&document).expect("a document is JSON");
            assert_eq!(text.first(), Some(&b'{'));
        }
        ControlFlow::Continue(())
    });
    assert!(all.is_continue());
    // A frame has a header, and what lies before it may be damaged.
    assert!(entries <= content.len() / HEADER * 2);
}

/// Gives every frame whose length fits the checksum of its content.
fn sealed(mut data: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while at + HEADER <= data.len() {
        let header = &data[at..at + HEADER];
        let length = u32::from_le_bytes([header[2], header[3], header[4], header[5]]) as usize;
        if !header.starts_with(MARK) || at + HEADER + length > data.len() {
            at += 1;
            continue;
        }
        let check = xxh3_64(&data[at + HEADER..at + HEADER + length]) as u32;
        data[at + 6..at + HEADER].copy_from_slice(&check.to_le_bytes());
        at += HEADER + length;
    }
    data
}
