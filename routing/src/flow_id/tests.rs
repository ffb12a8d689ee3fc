use super::*;

const NOON: UnixMillis = UnixMillis(1_795_262_400_000);

#[test]
fn written_form_matches_the_published_ulid_example() {
    // The ULID specification's example: time 1469918176385 is written 01ARYZ6S41.
    let id = FlowIds::new(0, 0).next(UnixMillis(1_469_918_176_385));
    assert_eq!(&id.to_string()[..FlowId::TIME_LEN], "01ARYZ6S41");
    assert_eq!(id.at(), UnixMillis(1_469_918_176_385));
}

#[test]
fn text_round_trips_in_either_case() {
    let mut ids = FlowIds::new(513, 0xDEAD_BEEF_CAFE_F00D);
    for step in 0..2000 {
        let id = ids.next(UnixMillis(NOON.0 + step * 7919));
        let text = id.to_string();
        assert_eq!(text.len(), FlowId::LEN);
        assert_eq!(text.parse::<FlowId>(), Ok(id));
        assert_eq!(text.to_ascii_lowercase().parse::<FlowId>(), Ok(id));
        assert_eq!(id.worker(), 513);
        assert_eq!(id.bits() as u64 & RANDOM_MASK, 0xBEEF_CAFE_F00D);
    }
}

#[test]
fn extremes_round_trip() {
    for bits in [0, 1, u128::MAX, u128::MAX >> 1, 1 << 127] {
        let id = FlowId::from_bits(bits);
        assert_eq!(id.to_string().parse::<FlowId>(), Ok(id));
    }
    assert_eq!(FlowId::from_bits(u128::MAX).to_string(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
}

#[test]
fn ids_rise_strictly_when_the_clock_stalls_or_steps_back() {
    let mut ids = FlowIds::new(3, 9);
    let mut last = ids.next(NOON);
    let clock = [0i64, 0, 0, -5000, -5000, 1, 1, -1, 2];
    for offset in clock {
        let id = ids.next(UnixMillis(NOON.0.saturating_add_signed(offset)));
        assert!(id > last, "{id} after {last}");
        assert!(id.to_string() > last.to_string());
        last = id;
    }
}

#[test]
fn a_used_up_sequence_borrows_the_next_millisecond() {
    let mut ids = FlowIds::new(0, 0);
    let first = ids.next(NOON);
    let mut last = first;
    for _ in 0..70_000 {
        let id = ids.next(NOON);
        assert!(id > last);
        last = id;
    }
    assert_eq!(last.at().since(first.at()), 1);
}

#[test]
fn workers_and_processes_never_share_an_id() {
    let a = FlowIds::new(1, 7).next(NOON);
    assert_ne!(a, FlowIds::new(2, 7).next(NOON));
    assert_ne!(a, FlowIds::new(1, 8).next(NOON));
}

#[test]
fn wrong_texts_are_refused_with_the_reason() {
    assert_eq!("".parse::<FlowId>(), Err(ParseFlowIdError::Length(0)));
    assert_eq!("0".repeat(27).parse::<FlowId>(), Err(ParseFlowIdError::Length(27)));
    assert_eq!("80000000000000000000000000".parse::<FlowId>(), Err(ParseFlowIdError::Range));
    for bad in ['I', 'L', 'O', 'U', '-', '"', '/'] {
        let text = format!("0000{bad}000000000000000000000");
        assert_eq!(text.parse::<FlowId>(), Err(ParseFlowIdError::Digit(4)), "{text}");
    }
    assert_eq!("0000é00000000000000000000".parse::<FlowId>(), Err(ParseFlowIdError::Digit(4)));
}
