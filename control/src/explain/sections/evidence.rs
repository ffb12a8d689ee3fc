//! Signals, and what projections made of them.

use pintle_routing::evidence::Truth;
use pintle_routing::flow::{FlowDocument, MappingRecord, PartitionRecord, ScoreRecord, SignalRecord};

use super::super::format::{clean, list, quantity};
use super::super::page::Page;
use super::why;

pub(in super::super) fn write(page: &mut Page, document: &FlowDocument) {
    write_signals(page, &document.evidence);
    let projections = &document.projections;
    if projections.partitions.is_empty() && projections.scores.is_empty() && projections.mappings.is_empty() {
        return;
    }
    page.section("Projections");
    for partition in &projections.partitions {
        write_partition(page, partition);
    }
    for score in &projections.scores {
        write_score(page, score);
    }
    for mapping in &projections.mappings {
        write_mapping(page, mapping);
    }
}

/// True ones first, then unknown ones with their reasons; false ones share a line.
fn write_signals(page: &mut Page, signals: &[SignalRecord]) {
    if signals.is_empty() {
        return;
    }
    page.section("Signals");
    for signal in signals.iter().filter(|signal| signal.truth.is_true()) {
        let mark = page.mark(signal.truth);
        page.item(0, &mark, &format!("{}{}", clean(&signal.signal), numbers(signal)));
    }
    for signal in signals.iter().filter(|signal| signal.truth.is_unknown()) {
        let mark = page.mark(signal.truth);
        page.item(0, &mark, &format!("{}{}", clean(&signal.signal), why(signal.truth)));
    }
    let absent = signals.iter().filter(|signal| signal.truth == Truth::False);
    let absent: Vec<String> =
        absent.map(|signal| format!("{}{}", clean(&signal.signal), numbers(signal))).collect();
    if !absent.is_empty() {
        let mark = page.mark(Truth::False);
        page.item(0, &mark, &list(&absent));
    }
}

fn numbers(signal: &SignalRecord) -> String {
    let confidence = signal.confidence.map_or(String::new(), |sure| format!("confidence {sure:.2}"));
    let value = signal.value.map_or(String::new(), |value| format!("value {}", quantity(value)));
    match list(&[confidence, value]) {
        numbers if numbers.is_empty() => numbers,
        numbers => format!(" ({numbers})"),
    }
}

fn write_partition(page: &mut Page, partition: &PartitionRecord) {
    let contenders: Vec<String> =
        partition.contenders.iter().map(|(name, score)| format!("{} {score:.3}", clean(name))).collect();
    let winner = match &partition.winner {
        Some(winner) if partition.default_used => format!("{} by default", clean(winner)),
        Some(winner) => format!("{} wins", clean(winner)),
        None => "nobody wins".to_owned(),
    };
    let margin = partition.margin.map_or(String::new(), |margin| format!(" by {margin:.3}"));
    let among = match list(&contenders) {
        contenders if contenders.is_empty() => contenders,
        contenders => format!(" among {contenders}"),
    };
    page.item(0, "·", &format!("partition {}: {winner}{margin}{among}", clean(&partition.name)));
}

fn write_score(page: &mut Page, score: &ScoreRecord) {
    let total = score.total.map_or("unknown".to_owned(), |total| format!("{total:.3}"));
    let inputs: Vec<String> = score
        .inputs
        .iter()
        .map(|input| match input.value {
            Some(value) => {
                format!(
                    "{} {value:.3} × {:.3} = {:.3}",
                    clean(&input.input),
                    input.weight,
                    input.contribution
                )
            }
            None => format!("{} unknown", clean(&input.input)),
        })
        .collect();
    page.item(0, "·", &format!("score {} = {total}: {}", clean(&score.name), list(&inputs)));
}

fn write_mapping(page: &mut Page, mapping: &MappingRecord) {
    let emitted = mapping.outputs.iter().filter(|output| output.truth.is_true());
    let emitted: Vec<String> = emitted
        .map(|output| {
            let sure = output.confidence.map_or(String::new(), |sure| format!(" (confidence {sure:.2})"));
            format!("{}{sure}", clean(&output.name))
        })
        .collect();
    let emitted = if emitted.is_empty() { "nothing".to_owned() } else { list(&emitted) };
    let value = mapping.value.map_or("unknown".to_owned(), |value| format!("{value:.3}"));
    let (name, source) = (clean(&mapping.name), clean(&mapping.source));
    page.item(0, "·", &format!("mapping {name} of {source} = {value} gives {emitted}"));
}
