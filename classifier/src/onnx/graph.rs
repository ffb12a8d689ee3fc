//! What a graph may ask for, seen before anything reads it by recursion or runs it.
//!
//! A graph is a program. Its runtime allocates what a node's output needs, and an allocation that fails ends the
//! process; a node that loops runs as long as it likes. So the file is walked once, without recursion and without
//! copying, and refused where it is larger than a text encoder can be, loops, or makes tensors whose size is written
//! in the graph and beyond bounds. Sizes that the graph computes from the text's length are not seen here: they are as
//! long as the texts that the encoder is given, whose length is bounded.

use std::collections::HashMap;

use crate::model::folder::MAX_GRAPH_BYTES;
use crate::model::{LoadError, ONNX_FILE};

/// Graphs within graphs (branches of a condition) that are read.
const MAX_NESTING: usize = 8;
/// Nodes of all graphs; large encoders have some thousands.
const MAX_NODES: usize = 100_000;
/// Tensors that are written in the file.
const MAX_TENSORS: usize = 100_000;
/// Elements that one node may make by a shape that is written in the file: 256 MiB as `f32`.
const MAX_MADE: u64 = 64 << 20;
/// Elements of a tensor that may be a shape.
const MAX_SHAPE: u64 = 64;

/// Repetition without a bound, and what would come out differently each time.
const REFUSED: [&str; 8] = [
    "Loop",
    "Scan",
    "SequenceMap",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
];
/// Whose output is as large as an input says.
const MAKERS: [&str; 8] =
    ["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "OneHot", "Resize", "Upsample"];

/// Message fields, as `onnx.proto` numbers them.
const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_INITIALIZER: u64 = 5;
const NODE_INPUT: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_TYPE: u64 = 4;
const NODE_ATTRIBUTE: u64 = 5;
const ATTRIBUTE_INT: u64 = 3;
const ATTRIBUTE_TENSOR: u64 = 5;
const ATTRIBUTE_INTS: u64 = 8;
const ATTRIBUTE_GRAPHS: [u64; 2] = [6, 11];
const TENSOR_DIMS: u64 = 1;
const TENSOR_TYPE: u64 = 2;
const TENSOR_INT32: u64 = 5;
const TENSOR_INT64: u64 = 7;
const TENSOR_NAME: u64 = 8;
const TENSOR_RAW: u64 = 9;
const INT32: u64 = 6;
const INT64: u64 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
}

/// What the walk has seen.
#[derive(Default)]
struct Seen<'a> {
    nodes: usize,
    tensors: usize,
    /// Of all tensors together.
    elements: u64,
    /// How many elements a shape of these numbers has, by the constant's name.
    shapes: HashMap<&'a [u8], u64>,
    /// Constants that say how much is made, and by which operator.
    makers: Vec<(&'a [u8], &'static str)>,
}

/// Refuses a file that asks for more than any encoder of texts.
///
/// # Errors
///
/// [`LoadError::TooLarge`], [`LoadError::Malformed`], or [`LoadError::Unsupported`] for operators.
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
                seen.node(content)?;
                Kind::Node
            }
            Kind::Graph if field == GRAPH_INITIALIZER => {
                let tensor = seen.tensor(content)?;
                if let Some(shape) = tensor.shape {
                    seen.shapes.insert(tensor.name, shape);
                }
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
    for (constant, operator) in &seen.makers {
        if let Some(made) = seen.shapes.get(constant).filter(|made| **made > MAX_MADE) {
            return Err(malformed(format!(
                "{operator} would make {made} elements or more; at most {MAX_MADE} are made"
            )));
        }
    }
    Ok(())
}

fn malformed(reason: impl ToString) -> LoadError {
    LoadError::malformed(ONNX_FILE, reason)
}

struct Tensor<'a> {
    name: &'a [u8],
    /// How many elements a shape of its numbers has, if it can be one.
    shape: Option<u64>,
}

impl<'a> Seen<'a> {
    fn node(&mut self, content: &'a [u8]) -> Result<(), LoadError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(malformed(format!("more than {MAX_NODES} nodes")));
        }
        let (mut operator, mut inputs, mut output) = (&b""[..], Vec::new(), &b""[..]);
        let mut shape = None;
        let mut rest = content;
        while !rest.is_empty() {
            match field(&mut rest)? {
                (NODE_TYPE, Value::Bytes(name)) => operator = name,
                (NODE_INPUT, Value::Bytes(name)) => inputs.push(name),
                (NODE_OUTPUT, Value::Bytes(name)) => output = name,
                (NODE_ATTRIBUTE, Value::Bytes(attribute)) => shape = shape.or(written_in(attribute)?),
                _ => {}
            }
        }
        let is = |known: &&&'static str| known.as_bytes() == operator;
        if let Some(known) = REFUSED.iter().find(is) {
            return Err(LoadError::unsupported(ONNX_FILE, format!("the operator {known}")));
        }
        if let Some(maker) = MAKERS.iter().find(is) {
            self.makers.extend(inputs.into_iter().map(|input| (input, *maker)));
        }
        if let Some(shape) = shape.filter(|_| operator == b"Constant") {
            self.shapes.insert(output, shape);
        }
        Ok(())
    }

    fn tensor(&mut self, content: &'a [u8]) -> Result<Tensor<'a>, LoadError> {
        self.tensors += 1;
        if self.tensors > MAX_TENSORS {
            return Err(malformed(format!("more than {MAX_TENSORS} tensors")));
        }
        let tensor = tensor(content)?;
        self.elements = self.elements.saturating_add(tensor.1);
        Ok(tensor.0)
    }
}

/// What a constant's attribute says as a shape.
fn written_in(attribute: &[u8]) -> Result<Option<u64>, LoadError> {
    let (mut rest, mut shape) = (attribute, None);
    while !rest.is_empty() {
        match field(&mut rest)? {
            (ATTRIBUTE_TENSOR, Value::Bytes(content)) => shape = tensor(content)?.0.shape,
            (ATTRIBUTE_INT | ATTRIBUTE_INTS, Value::Number(number)) => {
                times(&mut shape, number.cast_signed())
            }
            (ATTRIBUTE_INTS, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    times(&mut shape, varint(&mut packed)?.cast_signed());
                }
            }
            _ => {}
        }
    }
    Ok(shape)
}

/// A tensor, and how many elements it says it has.
fn tensor(content: &[u8]) -> Result<(Tensor<'_>, u64), LoadError> {
    let (mut rest, mut elements, mut kind) = (content, 1u64, 0);
    let mut dimension = |size: u64| {
        let size = i64::try_from(size).map_err(|_| malformed("a tensor of a negative size"))?;
        elements = elements.saturating_mul(size.cast_unsigned());
        Ok::<(), LoadError>(())
    };
    let (mut name, mut raw, mut numbers) = (&b""[..], &b""[..], None);
    while !rest.is_empty() {
        match field(&mut rest)? {
            (TENSOR_DIMS, Value::Number(size)) => dimension(size)?,
            (TENSOR_DIMS, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    dimension(varint(&mut packed)?)?;
                }
            }
            (TENSOR_TYPE, Value::Number(number)) => kind = number,
            (TENSOR_NAME, Value::Bytes(text)) => name = text,
            (TENSOR_RAW, Value::Bytes(bytes)) => raw = bytes,
            (TENSOR_INT32 | TENSOR_INT64, Value::Number(number)) => times(&mut numbers, number.cast_signed()),
            (TENSOR_INT32 | TENSOR_INT64, Value::Bytes(mut packed))
                if packed.len() as u64 <= 10 * MAX_SHAPE =>
            {
                while !packed.is_empty() {
                    times(&mut numbers, varint(&mut packed)?.cast_signed());
                }
            }
            _ => {}
        }
    }
    if elements <= MAX_SHAPE {
        match kind {
            INT64 => raw.as_chunks().0.iter().for_each(|n| times(&mut numbers, i64::from_le_bytes(*n))),
            INT32 => {
                raw.as_chunks().0.iter().for_each(|n| times(&mut numbers, i32::from_le_bytes(*n).into()))
            }
            _ => {}
        }
    }
    let shape = numbers.filter(|_| elements <= MAX_SHAPE && matches!(kind, INT32 | INT64));
    Ok((Tensor { name, shape }, elements))
}

/// A further dimension of a shape. What is below one (as in "whatever is left") counts as one.
fn times(shape: &mut Option<u64>, size: i64) {
    *shape = Some(shape.unwrap_or(1).saturating_mul(size.max(1).cast_unsigned()));
}

/// What a field holds: a number, or bytes; fixed-length numbers do not matter here.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// Takes a field off the front.
fn field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Value<'a>), LoadError> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Value::Number(varint(rest)?),
        1 => {
            take(rest, 8)?;
            Value::Fixed
        }
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| cut_off())?;
            Value::Bytes(take(rest, length)?)
        }
        5 => {
            take(rest, 4)?;
            Value::Fixed
        }
        _ => return Err(cut_off()),
    };
    Ok((key >> 3, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], LoadError> {
    let (head, tail) = rest.split_at_checked(length).ok_or_else(cut_off)?;
    *rest = tail;
    Ok(head)
}

fn varint(rest: &mut &[u8]) -> Result<u64, LoadError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or_else(cut_off)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(cut_off())
}

fn cut_off() -> LoadError {
    malformed("no protocol buffer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(field: u64, value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for mut value in [field << 3, value] {
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        }
        bytes
    }

    fn message(field: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = number(field, content.len() as u64);
        bytes[0] |= 2;
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

    fn node(operator: &str, input: &str, attribute: &[u8]) -> Vec<u8> {
        let parts = [
            message(NODE_INPUT, input.as_bytes()),
            message(NODE_OUTPUT, b"made"),
            message(NODE_TYPE, operator.as_bytes()),
            message(NODE_ATTRIBUTE, attribute),
        ];
        message(GRAPH_NODE, &parts.concat())
    }

    fn shape(sizes: &[i64]) -> Vec<u8> {
        let raw: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        [
            number(TENSOR_DIMS, sizes.len() as u64),
            number(TENSOR_TYPE, INT64),
            message(TENSOR_NAME, b"shape"),
            message(TENSOR_RAW, &raw),
        ]
        .concat()
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
    fn what_repeats_itself_or_differs_each_time_is_refused_by_name() {
        for operator in REFUSED {
            let why = refusal(&[node(operator, "x", b"")]).unwrap();
            assert!(why.contains("not supported") && why.contains(operator), "{why}");
        }
        assert_eq!(refusal(&[node("If", "x", b"")]), None);
    }

    #[test]
    fn what_a_node_makes_by_a_written_shape_is_bounded_wherever_the_shape_stands() {
        let initializer = |sizes: &[i64]| message(GRAPH_INITIALIZER, &shape(sizes));
        let constant = |sizes: &[i64]| {
            let graph = node("Constant", "", &message(ATTRIBUTE_TENSOR, &shape(sizes)));
            [graph, node("Tile", "made", b"")].concat()
        };
        for operator in MAKERS {
            let made = |sizes: &[i64]| refusal(&[initializer(sizes), node(operator, "shape", b"")]);
            assert_eq!(made(&[1, -1, 8192, 8192]), None);
            let why = made(&[2, 8192, 8192]).unwrap();
            assert!(why.contains(operator) && why.contains("134217728"), "{why}");
            assert!(made(&[i64::MAX, i64::MAX]).is_some());
        }
        assert_eq!(
            refusal(&[initializer(&[1 << 40]), node("Reshape", "shape", b"")]),
            None,
            "it makes nothing"
        );
        assert_eq!(refusal(&[constant(&[9, 9])]), None);
        assert!(refusal(&[constant(&[1 << 40])]).is_some());
        let ints = [number(ATTRIBUTE_INTS, 1 << 20), number(ATTRIBUTE_INTS, 1 << 20)].concat();
        assert!(refusal(&[node("Constant", "", &ints), node("Range", "made", b"")]).is_some());
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
