//! What a file may be, seen before anything reads it by recursion.
//!
//! A graph is a program, whose runtime reads it by recursion and copies what it reads. So the file is walked once, without
//! recursion and without copying, and refused where it is larger than a text encoder can be. What it makes when it runs
//! is bounded by [`super::sizes`].

use super::proto::{Value, field, numbers};
use crate::model::folder::MAX_GRAPH_BYTES;
use crate::model::{LoadError, ONNX_FILE};

/// Graphs within graphs (branches of a condition) that are read.
const MAX_NESTING: usize = 8;
/// Nodes of all graphs; large encoders have some thousands.
const MAX_NODES: usize = 100_000;
/// Tensors that are written in the file.
const MAX_TENSORS: usize = 100_000;

/// Message fields, as `onnx.proto` numbers them.
const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_INITIALIZER: u64 = 5;
const NODE_ATTRIBUTE: u64 = 5;
const ATTRIBUTE_TENSOR: u64 = 5;
const ATTRIBUTE_GRAPHS: [u64; 2] = [6, 11];
const TENSOR_DIMS: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
}

/// What the walk has seen.
#[derive(Default)]
struct Seen {
    nodes: usize,
    tensors: usize,
    /// Of all tensors together.
    elements: u64,
}

/// Refuses a file that asks for more than any encoder of texts.
///
/// # Errors
///
/// [`LoadError::TooLarge`], [`LoadError::Malformed`].
pub(super) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    let length = bytes.len() as u64;
    if length > MAX_GRAPH_BYTES {
        return Err(LoadError::TooLarge {
            file: ONNX_FILE.to_owned(),
            bytes: length,
            limit: MAX_GRAPH_BYTES,
        });
    }
    let mut seen = Seen::default();
    let mut open = vec![(Kind::Model, 0, bytes)];
    while let Some((kind, nesting, rest)) = open.last_mut() {
        if rest.is_empty() {
            open.pop();
            continue;
        }
        let (field, value) = field(rest)?;
        let Value::Bytes(content) = value else { continue };
        let inner = match kind {
            Kind::Model if field == MODEL_GRAPH => Kind::Graph,
            Kind::Graph if field == GRAPH_NODE => {
                seen.node()?;
                Kind::Node
            }
            Kind::Graph if field == GRAPH_INITIALIZER => {
                seen.tensor(content)?;
                continue;
            }
            Kind::Node if field == NODE_ATTRIBUTE => Kind::Attribute,
            Kind::Attribute if field == ATTRIBUTE_TENSOR => {
                seen.tensor(content)?;
                continue;
            }
            Kind::Attribute if ATTRIBUTE_GRAPHS.contains(&field) => Kind::Graph,
            _ => continue,
        };
        let nesting = *nesting + usize::from(inner == Kind::Graph);
        if nesting > MAX_NESTING {
            return Err(malformed("graphs lie too deep within each other"));
        }
        open.push((inner, nesting, content));
    }
    // An element takes a bit at least.
    if seen.elements > length.saturating_mul(8) {
        return Err(malformed(format!("tensors of {} elements in {length} bytes", seen.elements)));
    }
    Ok(())
}

pub(super) fn malformed(reason: impl ToString) -> LoadError {
    LoadError::malformed(ONNX_FILE, reason)
}

impl Seen {
    fn node(&mut self) -> Result<(), LoadError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(malformed(format!("more than {MAX_NODES} nodes")));
        }
        Ok(())
    }

    fn tensor(&mut self, mut content: &[u8]) -> Result<(), LoadError> {
        self.tensors += 1;
        if self.tensors > MAX_TENSORS {
            return Err(malformed(format!("more than {MAX_TENSORS} tensors")));
        }
        let (mut elements, mut negative) = (1u64, false);
        while !content.is_empty() {
            if let (TENSOR_DIMS, sizes) = field(&mut content)? {
                numbers(&sizes, |size| {
                    negative |= size < 0;
                    elements = elements.saturating_mul(size.max(0).cast_unsigned());
                })?;
            }
        }
        if negative {
            return Err(malformed("a tensor of a negative size"));
        }
        self.elements = self.elements.saturating_add(elements);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::build::{message, number};
    use super::*;

    fn nested(graphs: usize) -> Vec<u8> {
        let mut graph = Vec::new();
        for _ in 1..graphs {
            let attribute = message(ATTRIBUTE_GRAPHS[0], &graph);
            graph = message(GRAPH_NODE, &message(NODE_ATTRIBUTE, &attribute));
        }
        message(MODEL_GRAPH, &graph)
    }

    fn refusal(graph: &[Vec<u8>]) -> Option<String> {
        check(&message(MODEL_GRAPH, &graph.concat())).err().map(|error| error.to_string())
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(check(&nested(MAX_NESTING)).is_ok());
        assert!(check(&nested(MAX_NESTING + 1)).is_err());
        assert!(check(&nested(1000)).is_err());
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let whole = nested(3);
        assert!((1..whole.len()).all(|length| check(&whole[..length]).is_err()));
        assert!(check(&[0xff; 32]).is_err());
        assert!(check(&[]).is_ok(), "an empty model has no graph, as the reader will say");
    }

    #[test]
    fn sizes_and_numbers_are_bounded() {
        let sized = |size: u64| message(GRAPH_INITIALIZER, &number(TENSOR_DIMS, size));
        assert!(refusal(&[sized(1 << 40)]).unwrap().contains("elements in"));
        assert!(refusal(&[sized(u64::MAX)]).unwrap().contains("negative"));
        let mut tensors = vec![sized(0); MAX_TENSORS];
        assert_eq!(refusal(&tensors), None);
        tensors.push(sized(0));
        assert!(refusal(&tensors).unwrap().contains("tensors"));
        let mut nodes = vec![message(GRAPH_NODE, b""); MAX_NODES];
        assert_eq!(refusal(&nodes), None);
        nodes.push(message(GRAPH_NODE, b""));
        assert!(refusal(&nodes).unwrap().contains("nodes"));
    }
}
