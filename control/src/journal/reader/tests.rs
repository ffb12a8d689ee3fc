//! Segments that earlier versions wrote, alone and beside those of this one.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use pintle_routing::flow::FlowDocument;
use pintle_routing::flow_id::{FlowId, FlowIds};
use pintle_routing::units::UnixMillis;
use tempfile::TempDir;

use super::*;
use crate::journal::MAX_DOCUMENT_BYTES;
use crate::journal::packed::Packer;
use crate::testing::{policy, record};

const NOON: u64 = 1_795_262_400_000;

fn ids(count: u64) -> Vec<FlowId> {
    let mut maker = FlowIds::new(2, 77);
    (0..count).map(|step| maker.next(UnixMillis(NOON + step))).collect()
}

fn document(id: FlowId) -> FlowDocument {
    FlowDocument { id: id.to_string(), at: id.at(), ..FlowDocument::default() }
}

fn line(id: FlowId) -> String {
    serde_json::to_string(&document(id)).expect("JSON") + "\n"
}

/// Writes a segment of lines.
fn write_lines(dir: &Path, number: u64, opened_at: u64, content: &str) {
    let path = Segment::new(dir, number, UnixMillis(opened_at)).path.with_extension("jsonl");
    fs::write(path, content).expect("written");
}

/// What a journal holds: ids, and how much was lost or is damaged.
fn read_all(dir: &Path, since: Option<FlowId>, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    let each = |entry| {
        found.push(match entry {
            Entry::Flow(document) => document.id,
            Entry::Lost(count) => format!("{count} lost"),
            Entry::Damaged => "damaged".to_owned(),
        });
        if found.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    for_each(dir, since, each).expect("readable");
    found
}

#[test]
fn a_flow_that_ended_long_after_it_began_is_found_in_a_later_segment() {
    let dir = TempDir::new().expect("temporary directory");
    let ids = ids(1);
    let first = FlowId::from_bits(1);
    write_lines(dir.path(), 1, NOON - 60_000, &line(first));
    write_lines(dir.path(), 2, NOON + 60_000, &line(ids[0]));
    assert_eq!(find(dir.path(), ids[0]).expect("readable"), Some(document(ids[0])));
    assert!(find(dir.path(), first).expect("readable").is_some(), "earlier ones are searched too");
}

#[test]
fn an_id_quoted_inside_another_document_is_not_mistaken_for_it() {
    let dir = TempDir::new().expect("temporary directory");
    let ids = ids(2);
    let mut quoting = document(ids[0]);
    quoting.verdict.reason = format!("\"id\":\"{}\"", ids[1]);
    let mut raw = serde_json::to_string(&quoting).expect("serialises");
    raw = raw.replacen("\"request\":{", &format!("\"request\":{{\"id\":\"{}\",", ids[1]), 1);
    write_lines(dir.path(), 1, NOON, &(raw + "\n"));
    assert_eq!(find(dir.path(), ids[1]).expect("readable"), None);
    assert!(find(dir.path(), ids[0]).expect("readable").is_some());
}

#[test]
fn all_lines_are_read_in_order_and_damaged_ones_do_not_hide_the_next() {
    let dir = TempDir::new().expect("temporary directory");
    let ids = ids(5);
    let line = |at: usize| line(ids[at]);
    let overlong = "x".repeat(MAX_DOCUMENT_BYTES + 5) + "\n";
    let notice = "{\"notice\":\"dropped\",\"at\":1,\"count\":7}\n";
    write_lines(dir.path(), 1, NOON, &(line(0) + &overlong + &line(1) + notice));
    write_lines(dir.path(), 2, NOON, &(line(2) + "\n" + &line(3) + &line(4)[..40]));
    let id = |at: usize| ids[at].to_string();
    let lost = || "7 lost".to_owned();
    let damaged = || "damaged".to_owned();
    let read = |since, most| read_all(dir.path(), since, most);
    assert_eq!(read(None, usize::MAX), [id(0), damaged(), id(1), lost(), id(2), id(3)]);
    assert_eq!(read(Some(ids[2]), usize::MAX), [damaged(), lost(), id(2), id(3)]);
    assert_eq!(read(None, 3), [id(0), damaged(), id(1)]);
    assert!(read_all(&dir.path().join("none"), None, 1).is_empty());
}

#[test]
fn segments_of_both_kinds_are_one_journal() {
    let dir = TempDir::new().expect("temporary directory");
    let ids = ids(3);
    write_lines(dir.path(), 1, NOON, &line(ids[0]));
    let (mut packer, mut frames) = (Packer::new(), Vec::new());
    for id in &ids[1..] {
        let record = record(*id, "Prove it.");
        packer.flow(&record, policy().legend(), MAX_DOCUMENT_BYTES, &mut frames).expect("packs");
    }
    fs::write(Segment::new(dir.path(), 2, UnixMillis(NOON)).path, &frames).expect("written");
    assert_eq!(read_all(dir.path(), None, 9), ids.iter().map(FlowId::to_string).collect::<Vec<_>>());
    let listed = list(dir.path(), &Filter { limit: 9, ..Filter::default() }).expect("readable");
    assert!(
        listed.iter().map(|flow| &flow.id).eq(ids
            .iter()
            .rev()
            .map(FlowId::to_string)
            .collect::<Vec<_>>()
            .iter())
    );
    for id in &ids {
        assert_eq!(find(dir.path(), *id).expect("readable").expect("found").id, id.to_string());
    }
}
