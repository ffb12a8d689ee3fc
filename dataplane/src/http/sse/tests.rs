use proptest::prelude::*;

use super::Splitter;

/// All events of `stream`, cut at `cuts`, then what the end of the stream brings out, and the count passed over.
fn split(stream: &[u8], cuts: &[usize], limit: usize) -> (Vec<Vec<u8>>, u64) {
    let mut splitter = Splitter::new(limit);
    let mut events = Vec::new();
    let mut from = 0;
    for &cut in cuts.iter().chain([&stream.len()]) {
        let cut = cut.clamp(from, stream.len());
        splitter.feed(&stream[from..cut], |data| events.push(data.to_vec()));
        from = cut;
    }
    splitter.finish(|data| events.push(data.to_vec()));
    (events, splitter.passed_over())
}

fn events(stream: &str) -> Vec<String> {
    split(stream.as_bytes(), &[], 100).0.into_iter().map(|data| String::from_utf8(data).unwrap()).collect()
}

#[test]
fn reads_what_the_standard_allows() {
    assert_eq!(events("data: one\n\ndata:two\r\n\r\ndata:  three\r\r"), ["one", "two", " three"]);
    assert_eq!(events("\u{feff}data: x\n\n"), ["x"]);
    assert_eq!(events(": comment\nevent: e\nid: 1\nretry: 5\ndata: x\n\n"), ["x"]);
    assert_eq!(events("data: a\ndata: b\ndata\ndata:\n\n"), ["a\nb\n\n"]);
    assert_eq!(events("data\n\n"), [""]);
    assert_eq!(events("event: ping\n\n\n\n"), Vec::<String>::new());
    assert_eq!(events("database: x\nDATA: y\n data: z\n\n"), Vec::<String>::new());
    assert_eq!(events("data: unfinished"), ["unfinished"]);
    assert_eq!(events("data: unfinished\n"), ["unfinished"]);
}

#[test]
fn passes_over_what_is_too_large_and_goes_on() {
    let long = "x".repeat(11);
    for stream in [
        format!("data: {long}\n\ndata: ok\n\n"),
        format!("data: {}\ndata: {}\ndata: z\n\ndata: ok\n\n", &long[..5], &long[..5]),
        format!(": {}\ndata: x\n\ndata: ok\n\n", long.repeat(9)),
    ] {
        for cut in 0..stream.len() {
            let (events, passed_over) = split(stream.as_bytes(), &[cut], 10);
            assert_eq!((events, passed_over), (vec![b"ok".to_vec()], 1), "{stream} cut at {cut}");
        }
    }
    assert_eq!(split(format!("data: {}\n\n", &long[..10]).as_bytes(), &[], 10).0.len(), 1);
}

#[test]
fn one_whole_event_is_not_copied() {
    let stream = b"data: {\"a\":1}\n\ndata: [DONE]\n\n";
    let mut splitter = Splitter::new(100);
    let mut offsets = Vec::new();
    splitter.feed(stream, |data| offsets.push(data.as_ptr() as usize - stream.as_ptr() as usize));
    assert_eq!(offsets, [6, 21]);
    assert_eq!(splitter.data.capacity() + splitter.line.capacity(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_split_gives_the_same_events(
        pieces in prop::collection::vec(prop_oneof![
            Just("data: "), Just("data:"), Just("data"), Just("abc"), Just("{\"x\": 1}"), Just("\n"), Just("\n\n"),
            Just("\r"), Just("\r\n"), Just("event: e\n"), Just(":"), Just("\u{feff}"), Just("0123456789")
        ], 0..24),
        mut cuts in prop::collection::vec(0usize..120, 0..8),
    ) {
        cuts.sort_unstable();
        let stream = pieces.concat();
        prop_assert_eq!(split(stream.as_bytes(), &cuts, 12), split(stream.as_bytes(), &[], 12));
    }
}
