//! Which tools have to do with a request (`tool_selection`), by a classifier's vectors: of those that it offers (mode
//! `filter`), or out of a database beside them (mode `add`).
//!
//! Looked at after the decision, for only the decision says whether it matters; waited for no longer than any
//! evidence. Vectors are remembered by the classifier's service, so an agent that offers the same tools turn after
//! turn has them read once.
//!
//! An offered tool that nothing could measure is kept, and so is one that the conversation has called or that the request
//! demands: a model that lost the tool it works with would be worse off than one with tools to spare. A tool of a database that nothing could measure is not added, but
//! one that the conversation has called is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pintle_classifier::service::Priority;
use pintle_classifier::signals::Question;
use pintle_routing::edits::addition::{Candidate, MAX_ADDED, Request};
use pintle_routing::edits::{ToolAddition, ToolSelection};
use pintle_routing::facts::Needs;
use pintle_routing::learned::{Learned, Reading};
use pintle_routing::outcome::Route;
use pintle_routing::units::Micros;

use crate::connection::{Body, Connection, Exchange, gone};
use crate::edit::RelevantTools;
use crate::edit::tools::{Offered, chooses, in_use, offered};
use crate::extract;
use crate::failure::Failure;
use crate::shared::Generation;
use crate::turn;

/// Tools that are measured for one request; of more that it offers, all are kept.
const MOST_TOOLS: usize = 256;

/// The tools that a request on this route keeps and gets; `None` where it is left as it is.
///
/// # Errors
/// When the body is not a request, which the decision said too; when the client has gone.
pub(crate) async fn of(
    connection: &Connection,
    exchange: &mut Exchange,
    body: Body,
    route: &Route,
) -> Result<Option<RelevantTools>, Failure> {
    let generation = exchange.generation.clone();
    let Some(edits) = route.decision.map(|decision| generation.policy.edits(decision)) else {
        return Ok(None);
    };
    let asked = Instant::now();
    let found = match (edits.tool_selection, &edits.tool_addition) {
        (Some(selection), _) => kept(connection, exchange, body, selection).await?,
        (None, Some(addition)) => added(connection, exchange, body, (addition, route)).await?,
        (None, None) => return Ok(None),
    };
    if connection.stream.slot().aborted() {
        return Err(gone("The client left while its tools were being read."));
    }
    if found.is_some() {
        let waited = exchange.flow.timings.classifier_us.map_or(0, |before| before.0);
        exchange.flow.timings.classifier_us = Some(Micros(waited + asked.elapsed().as_micros() as u64));
    }
    Ok(found)
}

/// Of the tools that the request offers, those that it keeps.
async fn kept(
    connection: &Connection,
    exchange: &Exchange,
    body: Body,
    selection: ToolSelection,
) -> Result<Option<RelevantTools>, Failure> {
    let (query, tools) = {
        let mut spans = connection.worker.spans.borrow_mut();
        let text = turn::scan(connection, exchange, body, &mut spans)?;
        let Some(tools) = offered(text, exchange.dialect()) else { return Ok(None) };
        let options = extract::Options { session_header: "", trusted_identity: false, key: &|_, _| 0 };
        let needs = Needs { current_user: true, ..Needs::default() };
        let view = connection.head.view(&connection.input);
        (Question::of(&extract::facts(view, text, &spans, needs, &options)), tools)
    };
    let all = tools.len();
    if all > MOST_TOOLS {
        let remark = format!("tool_selection: {all} tools are more than {MOST_TOOLS}; all kept");
        return Ok(Some(RelevantTools { remark, ..RelevantTools::default() }));
    }
    let mut texts = vec![query];
    texts.extend(tools.iter().map(|tool| described(&tool.text)));
    let vectors = vectors(connection, &exchange.generation, texts).await;
    let Some((query, offered)) = vectors.split_first() else { return Ok(None) };
    let cosine = |tool: &Option<Vec<f32>>| cosine(query.as_deref()?, tool.as_deref()?);
    let similarities: Vec<Option<f64>> = offered.iter().map(cosine).collect();
    Ok(Some(choose(selection, &tools, &similarities)))
}

/// Out of a database, the tools that the request gets beside its own, if what to do with tools is the model's choice.
async fn added(
    connection: &Connection,
    exchange: &Exchange,
    body: Body,
    (addition, route): (&ToolAddition, &Route),
) -> Result<Option<RelevantTools>, Failure> {
    let generation = &exchange.generation;
    let toolbox = generation.reading.as_ref().and_then(|reading| reading.toolboxes.get(&addition.database));
    let Some(toolbox) = toolbox.filter(|toolbox| !toolbox.is_empty()) else { return Ok(None) };
    let (query, in_use) = {
        let mut spans = connection.worker.spans.borrow_mut();
        let text = turn::scan(connection, exchange, body, &mut spans)?;
        if !chooses(text) {
            return Ok(None);
        }
        let options = extract::Options { session_header: "", trusted_identity: false, key: &|_, _| 0 };
        let needs = Needs { current_user: true, ..Needs::default() };
        let view = connection.head.view(&connection.input);
        (Question::of(&extract::facts(view, text, &spans, needs, &options)), in_use(text))
    };
    let tools = toolbox.tools();
    let text = query.current.clone();
    // A toolbox is measured as requests come, so many tools at a time.
    let unknown: Vec<usize> =
        (0..tools.len()).filter(|at| tools[*at].vector().is_none()).take(MOST_TOOLS).collect();
    let mut texts = vec![query];
    texts.extend(unknown.iter().map(|at| described(&tools[*at].tool.description)));
    let mut vectors = vectors(connection, generation, texts).await.into_iter();
    let query = vectors.next().flatten();
    for (at, vector) in unknown.into_iter().zip(vectors) {
        if let Some(vector) = vector {
            tools[at].measured(vector);
        }
    }
    let candidates: Vec<Candidate<'_>> = tools
        .iter()
        .map(|shelved| Candidate {
            name: &shelved.tool.name,
            description: &shelved.tool.description,
            category: &shelved.tool.category,
            tags: &shelved.tool.tags,
            similarity: query.as_deref().and_then(|query| cosine(query, shelved.vector()?)),
        })
        .collect();
    let category = route.category.map_or("", |id| generation.policy.signal_name(id));
    let request = Request { text: &text, category, confidence: route.confidence };
    let mut chosen = addition.choose(&request, &candidates);
    let used = (0..tools.len()).filter(|at| in_use.contains(&tools[*at].tool.name));
    for at in used.collect::<Vec<_>>() {
        if !chosen.contains(&at) && chosen.len() < MAX_ADDED {
            chosen.push(at);
        }
    }
    let unknown = candidates.iter().filter(|candidate| candidate.similarity.is_none()).count();
    let measured = if unknown == 0 { String::new() } else { format!(", {unknown} not measured") };
    let (count, all, from) = (chosen.len(), tools.len(), addition.threshold);
    let remark = format!("tool_selection: {count} of {all} tools of the database from {from} on{measured}");
    let literal = |at: usize| {
        let tool = &tools[at].tool;
        (tool.name.clone(), tool.literal(exchange.dialect()).to_owned())
    };
    let added = chosen.into_iter().map(literal).collect();
    Ok(Some(RelevantTools { kept: None, added, remark }))
}

fn described(text: &str) -> Question {
    Question { current: text.to_owned(), ..Question::default() }
}

/// The vector of each text; `None` for what could not be measured in time.
async fn vectors(
    connection: &Connection,
    generation: &Generation,
    questions: Vec<Question>,
) -> Vec<Option<Vec<f32>>> {
    let nothing = vec![None; questions.len()];
    let Some(reading) = &generation.reading else { return nothing };
    let Some(vectors) = &reading.vectors else { return nothing };
    let deadline = Instant::now() + reading.deadline;
    let waiting = connection.worker.tower.enter();
    let answers: Arc<Mutex<Vec<Option<Learned>>>> = Arc::new(Mutex::new(vec![None; questions.len()]));
    let mut asked = Vec::with_capacity(questions.len());
    for (nth, question) in questions.into_iter().enumerate() {
        let (answers, bell, task) = (answers.clone(), connection.worker.tower.bell().clone(), waiting.task());
        let reply = Box::new(move |learned: Learned| {
            answers.lock().unwrap_or_else(PoisonError::into_inner)[nth] = Some(learned);
            bell.ring(task);
        });
        // One that is not taken is not measured.
        asked
            .push(reading.classifier.ask(vectors.clone(), question, deadline, Priority::Request, reply).ok());
    }
    let wanted = asked.iter().flatten().count();
    let client = connection.stream.slot();
    let _attended = client.client().attend(connection.worker.tower.bell(), waiting.task());
    let all_there = || {
        let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        (answers.iter().flatten().count() >= wanted || client.aborted()).then_some(())
    };
    // What is there by then counts.
    let _ = monoio::time::timeout(reading.deadline, waiting.until(all_there)).await;
    let answers = std::mem::take(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner));
    let vector = |learned: Option<Learned>| match learned {
        Some(Learned { query_embedding: Reading::Given(vector), .. }) => Some(vector),
        _ => None,
    };
    answers.into_iter().map(vector).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    (a.len() == b.len() && cosine.is_finite()).then_some(cosine)
}

/// What is kept: what must be, what is similar enough, what could not be measured, and the most similar of the
/// others up to the number that is wanted.
fn choose(selection: ToolSelection, tools: &[Offered], similarities: &[Option<f64>]) -> RelevantTools {
    let ToolSelection { threshold, preserve, fallback_to_empty } = selection;
    let similar = |at: usize| similarities.get(at).copied().flatten();
    let mut keeps: Vec<bool> = (0..tools.len())
        .map(|at| tools[at].bound || similar(at).is_none_or(|similarity| similarity >= threshold))
        .collect();
    let mut others: Vec<usize> = (0..tools.len()).filter(|at| !keeps[*at]).collect();
    others.sort_by(|a, b| similar(*b).unwrap_or(0.0).total_cmp(&similar(*a).unwrap_or(0.0)).then(a.cmp(b)));
    let missing = preserve.saturating_sub(tools.len() - others.len());
    others.iter().take(missing).for_each(|at| keeps[*at] = true);
    if !fallback_to_empty && !keeps.contains(&true) {
        keeps.fill(true);
    }
    let unknown = (0..tools.len()).filter(|at| similar(*at).is_none()).count();
    let kept: Vec<String> =
        tools.iter().zip(&keeps).filter(|(_, keeps)| **keeps).map(|(tool, _)| tool.name.clone()).collect();
    let measured = match unknown {
        0 => String::new(),
        unknown => format!(", {unknown} not measured"),
    };
    let remark =
        format!("tool_selection: {} of {} tools from {threshold} on{measured}", kept.len(), tools.len());
    RelevantTools { kept: Some(kept), remark, ..RelevantTools::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, bound: bool) -> Offered {
        Offered { name: name.into(), text: name.into(), bound }
    }

    fn kept(threshold: f64, preserve: usize, empty: bool, similarities: &[Option<f64>]) -> Vec<String> {
        let tools = [tool("a", false), tool("b", false), tool("c", true), tool("d", false)];
        let selection = ToolSelection { threshold, preserve, fallback_to_empty: empty };
        choose(selection, &tools, similarities).kept.unwrap()
    }

    #[test]
    fn similar_ones_stay_and_so_does_what_is_bound_or_unknown() {
        let measured = [Some(0.3), Some(0.1), Some(0.0), Some(0.2)];
        assert_eq!(kept(0.25, 0, true, &measured), ["a", "c"]);
        assert_eq!(kept(0.25, 3, true, &measured), ["a", "c", "d"]);
        assert_eq!(kept(0.25, 9, true, &measured), ["a", "b", "c", "d"]);
        assert_eq!(kept(0.9, 0, true, &[None, Some(0.1), Some(0.1), Some(0.1)]), ["a", "c"]);
        assert_eq!(kept(0.9, 0, true, &[None; 4]), ["a", "b", "c", "d"]);
    }

    #[test]
    fn where_none_is_similar_none_or_all_are_kept() {
        let selection = |fallback_to_empty| ToolSelection { threshold: 0.5, preserve: 0, fallback_to_empty };
        let tools = [tool("a", false), tool("b", false)];
        let kept = |empty| choose(selection(empty), &tools, &[Some(0.1), Some(0.2)]).kept.unwrap();
        assert!(kept(true).is_empty());
        assert_eq!(kept(false), ["a", "b"]);
    }

    #[test]
    fn cosines_are_of_vectors_that_can_be_compared() {
        assert_eq!(cosine(&[3.0, 4.0], &[4.0, 3.0]), Some(0.96));
        assert_eq!((cosine(&[1.0], &[1.0, 0.0]), cosine(&[0.0], &[1.0])), (None, None));
    }
}
