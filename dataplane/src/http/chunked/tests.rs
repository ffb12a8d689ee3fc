use proptest::prelude::*;

use super::{ChunkError, Decoder, MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES, Tracker};

/// Decodes `wire`, cut at `cuts`; the payload, how much of the wire was the message, and whether it ended.
fn decode(wire: &[u8], cuts: &[usize], limit: usize) -> Result<(Vec<u8>, usize, bool), ChunkError> {
    let mut decoder = Decoder::new(limit);
    let (mut body, mut used, mut from) = (Vec::new(), 0, 0);
    for &cut in cuts.iter().chain([&wire.len()]) {
        let cut = cut.clamp(from, wire.len());
        used += decoder.feed(&wire[from..cut], &mut body)?;
        from = cut;
    }
    Ok((body, used, decoder.is_done()))
}

fn encode(chunks: &[Vec<u8>], tail: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        wire.extend_from_slice(format!("{:X};note=\"x y\"\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nx-checksum: 1\r\n\r\n");
    wire.extend_from_slice(tail);
    wire
}

#[test]
fn reads_chunks_extensions_and_trailers_and_stops_at_the_end() {
    let wire = b"4;a=b\r\nWiki\r\n0005\r\npedia\r\n0\r\nExpires: never\r\n\r\nGET / HTTP/1.1\r\n";
    let (body, used, done) = decode(wire, &[], 100).unwrap();
    assert_eq!((body.as_slice(), used, done), (&b"Wikipedia"[..], wire.len() - 16, true));
}

#[test]
fn refuses_what_two_parsers_could_read_differently() {
    for (wire, error) in [
        (&b"\r\n"[..], ChunkError::Size),
        (b";x\r\n", ChunkError::Size),
        (b"0x4\r\n", ChunkError::Size),
        (b"+4\r\n", ChunkError::Size),
        (b" 4\r\n", ChunkError::Size),
        (b"4 \r\n", ChunkError::Size),
        (b"4\n", ChunkError::Size),
        (b"00000000000000001\r\n", ChunkError::Size),
        (b"4\r\r", ChunkError::LineEnd),
        (b"4;a\nWiki\r\n", ChunkError::Extension),
        (b"4\r\nWiki\n", ChunkError::LineEnd),
        (b"4\r\nWikia\r\n", ChunkError::LineEnd),
        (b"4\r\nWiki\r0", ChunkError::LineEnd),
        (b"0\r\n\n", ChunkError::Trailer),
        (b"0\r\na: b\n\r\n", ChunkError::Trailer),
        (b"0\r\n\rX", ChunkError::LineEnd),
    ] {
        assert_eq!(decode(wire, &[], 100), Err(error), "{}", wire.escape_ascii());
    }
}

#[test]
fn bounds_what_it_skips() {
    let mut wire = b"1;".to_vec();
    wire.resize(2 + MAX_EXTENSION_BYTES, b'x');
    assert!(decode(&wire, &[], 10).is_ok());
    wire.push(b'x');
    assert_eq!(decode(&wire, &[], 10), Err(ChunkError::Extension));

    let mut wire = b"0\r\n".to_vec();
    wire.resize(3 + MAX_TRAILER_BYTES, b'x');
    assert!(decode(&wire, &[], 10).is_ok());
    wire.push(b'x');
    assert_eq!(decode(&wire, &[], 10), Err(ChunkError::Trailer));
}

#[test]
fn refuses_an_oversized_chunk_before_its_bytes_have_come() {
    assert_eq!(decode(b"b\r\nx", &[], 10), Err(ChunkError::TooLarge { limit: 10 }));
    assert!(decode(b"a\r\nx", &[], 10).is_ok());
    assert_eq!(decode(b"FFFFFFFFFFFFFFFF\r\nx", &[], 10), Err(ChunkError::TooLarge { limit: 10 }));
    assert_eq!(decode(b"6\r\nabcdef\r\n5\r\ng", &[], 10), Err(ChunkError::TooLarge { limit: 10 }));
}

proptest! {
    #[test]
    fn any_split_of_a_valid_body_gives_the_same_payload(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..20),
        mut cuts in prop::collection::vec(0usize..900, 0..12),
    ) {
        cuts.sort_unstable();
        let wire = encode(&chunks, &tail);
        let (body, used, done) = decode(&wire, &cuts, 1 << 20).unwrap();
        prop_assert!(done);
        prop_assert_eq!(used, wire.len() - tail.len());
        prop_assert_eq!(body, chunks.concat());
    }

    #[test]
    fn any_split_of_any_bytes_gives_the_same_verdict(
        wire in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), Just(b';'), any::<u8>()], 0..60),
        mut cuts in prop::collection::vec(0usize..60, 0..6),
    ) {
        cuts.sort_unstable();
        prop_assert_eq!(decode(&wire, &cuts, 40), decode(&wire, &[], 40));
    }

    #[test]
    fn the_tracker_reports_exactly_the_payload(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8),
        step in 1usize..40,
    ) {
        let wire = encode(&chunks, b"");
        let mut tracker = Tracker::new();
        let mut payload = Vec::new();
        for slice in wire.chunks(step) {
            let mut at = 0;
            while let Some(run) = tracker.next_payload(slice, &mut at).unwrap() {
                prop_assert!(!run.is_empty());
                payload.extend_from_slice(&slice[run]);
            }
            prop_assert_eq!(at, slice.len());
        }
        prop_assert!(tracker.is_done());
        prop_assert_eq!(payload, chunks.concat());
    }
}
