//! How deep a graph's parts lie within each other, before anything reads it by recursion.

use crate::model::{LoadError, ONNX_FILE};

/// Graphs within graphs (branches of a condition, bodies of loops) that are read.
const MAX_NESTING: usize = 8;

/// Message fields, as `onnx.proto` numbers them, that lead from a model to its graph, from a graph to its nodes, from
/// a node to its attributes, and from an attribute to graphs again.
const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const NODE_ATTRIBUTE: u64 = 5;
const ATTRIBUTE_GRAPHS: [u64; 2] = [6, 11];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
}

/// Refuses a file whose graphs lie too deep within each other: a recursive reader would exhaust its stack.
pub(super) fn check_nesting(bytes: &[u8]) -> Result<(), LoadError> {
    let mut open = vec![(Kind::Model, 0, bytes)];
    while let Some((kind, nesting, rest)) = open.last_mut() {
        if rest.is_empty() {
            open.pop();
            continue;
        }
        let Some((field, content)) = field(rest) else {
            return Err(LoadError::malformed(ONNX_FILE, "no protocol buffer"));
        };
        let Some(content) = content else { continue };
        let inner = match kind {
            Kind::Model if field == MODEL_GRAPH => Kind::Graph,
            Kind::Graph if field == GRAPH_NODE => Kind::Node,
            Kind::Node if field == NODE_ATTRIBUTE => Kind::Attribute,
            Kind::Attribute if ATTRIBUTE_GRAPHS.contains(&field) => Kind::Graph,
            _ => continue,
        };
        let nesting = *nesting + usize::from(inner == Kind::Graph);
        if nesting > MAX_NESTING {
            return Err(LoadError::malformed(ONNX_FILE, "graphs lie too deep within each other"));
        }
        open.push((inner, nesting, content));
    }
    Ok(())
}

/// Takes a field off the front: its number, and its bytes if it has a length.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = varint(rest)?;
    let content = match key & 7 {
        0 => {
            varint(rest)?;
            None
        }
        1 => {
            take(rest, 8)?;
            None
        }
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Some(take(rest, length)?)
        }
        5 => {
            take(rest, 4)?;
            None
        }
        _ => return None,
    };
    Some((key >> 3, content))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(field: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for mut value in [field << 3 | 2, content.len() as u64] {
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        }
        bytes.extend_from_slice(content);
        bytes
    }

    fn nested(graphs: usize) -> Vec<u8> {
        let mut graph = Vec::new();
        for _ in 1..graphs {
            let attribute = message(ATTRIBUTE_GRAPHS[0], &graph);
            graph = message(GRAPH_NODE, &message(NODE_ATTRIBUTE, &attribute));
        }
        message(MODEL_GRAPH, &graph)
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(check_nesting(&nested(MAX_NESTING)).is_ok());
        assert!(check_nesting(&nested(MAX_NESTING + 1)).is_err());
        assert!(check_nesting(&nested(1000)).is_err());
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let whole = nested(3);
        assert!((1..whole.len()).all(|length| check_nesting(&whole[..length]).is_err()));
        assert!(check_nesting(&[0xff; 32]).is_err());
        assert!(check_nesting(&[]).is_ok(), "an empty model has no graph, as the reader will say");
    }
}
