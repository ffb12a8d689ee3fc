//! How large the tensors of a run are, known before it.
//!
//! A runtime allocates what a node's output needs, and an allocation that fails ends the process. So the sizes of
//! everything that a graph makes are computed first, for a text of the very length that is to be run: the shape of each
//! tensor by its operator's rule ([`rules`]), and the numbers of those that are shapes themselves. Nothing is estimated:
//! a graph with an operator that has no rule here, or with a size that depends on what it computes from the text's ids,
//! is refused.
//!
//! # What is bounded
//!
//! One tensor by [`MAX_TENSOR`], all that a run makes together by [`MAX_RUN`], though the runtime frees many of them on
//! its way. An element takes four bytes at most: the runtime narrows what is wider. What the graph makes of constants,
//! the runtime makes when it loads it; that is part of the sum.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};

use super::graph::malformed;
use super::proto::{Value as Field, field, numbers};
use crate::model::{LoadError, ONNX_FILE};

mod rules;
#[cfg(test)]
mod tests;

/// Elements of one tensor that a run makes: 256 MiB.
const MAX_TENSOR: u64 = 64 << 20;
/// Elements of all tensors that a run makes: 4 GiB.
const MAX_RUN: u64 = 1 << 30;
/// Dimensions of a tensor.
const MAX_RANK: usize = 16;
/// Numbers of a tensor that may be a shape.
const MAX_NUMBERS: usize = 64;
/// Results of one node.
const MAX_OUTPUTS: usize = 1024;

/// Message fields, as `onnx.proto` numbers them.
const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_INITIALIZER: u64 = 5;
const GRAPH_INPUT: u64 = 11;
const INPUT_NAME: u64 = 1;
const NODE_INPUT: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_TYPE: u64 = 4;
const NODE_ATTRIBUTE: u64 = 5;
const ATTRIBUTE_NAME: u64 = 1;
const ATTRIBUTE_FLOAT: u64 = 2;
const ATTRIBUTE_INT: u64 = 3;
const ATTRIBUTE_STRING: u64 = 4;
const ATTRIBUTE_TENSOR: u64 = 5;
const ATTRIBUTE_FLOATS: u64 = 7;
const ATTRIBUTE_INTS: u64 = 8;
const TENSOR_DIMS: u64 = 1;
const TENSOR_TYPE: u64 = 2;
const TENSOR_INT32: u64 = 5;
const TENSOR_INT64: u64 = 7;
const TENSOR_NAME: u64 = 8;
const TENSOR_RAW: u64 = 9;
const INT32: i64 = 6;
const INT64: i64 = 7;
const BOOL: i64 = 9;

/// A tensor's shape, and its numbers where these are few, whole and known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    dims: Vec<u64>,
    numbers: Option<Vec<i64>>,
}

impl Known {
    fn of(dims: &[u64]) -> Self {
        Self { dims: dims.to_vec(), numbers: None }
    }

    /// With its numbers, if they are few enough and the runtime, which computes with 32 bits, has the same.
    fn with(self, numbers: Option<Vec<i64>>) -> Self {
        let fits = |numbers: &Vec<i64>| {
            numbers.len() <= MAX_NUMBERS
                && numbers.len() as u64 == self.elements()
                && numbers.iter().all(|n| i32::try_from(*n).is_ok())
        };
        Self { numbers: numbers.filter(fits), ..self }
    }

    fn elements(&self) -> u64 {
        self.dims.iter().fold(1, |product, size| product.saturating_mul(*size))
    }
}

/// What an operator's rule looks at besides its inputs.
#[derive(Debug, Clone, Default)]
struct Attributes {
    numbers: HashMap<String, Vec<i64>>,
    words: HashMap<String, String>,
    /// A constant's value.
    value: Option<Known>,
    /// All attributes, of whatever kind.
    count: usize,
}

impl Attributes {
    fn number(&self, name: &str) -> Option<i64> {
        self.numbers.get(name)?.first().copied()
    }

    fn list(&self, name: &str) -> Option<&[i64]> {
        self.numbers.get(name).map(Vec::as_slice)
    }

    fn word(&self, name: &str) -> Option<&str> {
        self.words.get(name).map(String::as_str)
    }
}

#[derive(Debug)]
struct Node {
    operator: String,
    /// Positions among the values; `None` for what is left out.
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
    attributes: Attributes,
}

/// Everything about a graph that decides how large its tensors are.
#[derive(Debug)]
pub(super) struct Sizes {
    nodes: Vec<Node>,
    values: usize,
    constants: Vec<(usize, Known)>,
    /// Where the texts come in: `[1, length]` each.
    inputs: Vec<usize>,
    /// By length: whether it has been computed that such a text may be run.
    admitted: Box<[AtomicU8]>,
}

impl Sizes {
    /// Of a file that [`super::graph::check`] has let through, for texts of up to `longest` tokens.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub(super) fn parse(bytes: &[u8], longest: usize) -> Result<Self, LoadError> {
        let mut graph = Graph::default();
        let (mut model, mut body) = (bytes, &[][..]);
        while !model.is_empty() {
            if let (MODEL_GRAPH, Field::Bytes(content)) = field(&mut model)? {
                if !body.is_empty() {
                    return Err(malformed("two graphs"));
                }
                body = content;
            }
        }
        let (mut nodes, mut inputs) = (Vec::new(), Vec::new());
        while !body.is_empty() {
            match field(&mut body)? {
                (GRAPH_NODE, Field::Bytes(content)) => nodes.push(content),
                (GRAPH_INITIALIZER, Field::Bytes(content)) => {
                    let (name, known) = tensor(content)?;
                    let at = graph.define(name)?;
                    graph.constants.push((at, known));
                }
                (GRAPH_INPUT, Field::Bytes(mut about)) => {
                    while !about.is_empty() {
                        if let (INPUT_NAME, Field::Bytes(name)) = field(&mut about)? {
                            inputs.push(name);
                        }
                    }
                }
                _ => {}
            }
        }
        // What an initializer stands for is no input, though older files name it as one.
        inputs.retain(|name| !graph.names.contains_key(name));
        let inputs = inputs.into_iter().map(|name| graph.define(name)).collect::<Result<_, _>>()?;
        let nodes = nodes.into_iter().map(|content| graph.node(content)).collect::<Result<_, _>>()?;
        Ok(Self {
            nodes,
            values: graph.names.len(),
            constants: graph.constants,
            inputs,
            admitted: (0..=longest).map(|_| AtomicU8::new(0)).collect(),
        })
    }

    /// The greatest length, of those up to the one it was made for, at which a text may be run.
    ///
    /// # Errors
    ///
    /// [`LoadError`] where there is none.
    pub(super) fn longest(&self) -> Result<usize, LoadError> {
        let most = self.admitted.len() - 1;
        if self.admit(most).is_ok() {
            return Ok(most);
        }
        // Some special tokens and one of text.
        let (mut fits, mut beyond) = (most.min(8), most);
        self.admit(fits).map_err(|why| LoadError::unsupported(ONNX_FILE, why))?;
        while beyond - fits > 1 {
            let middle = fits.midpoint(beyond);
            if self.admit(middle).is_ok() { fits = middle } else { beyond = middle }
        }
        Ok(fits)
    }

    /// Whether a text of so many tokens may be run. Computed once for each length.
    ///
    /// # Errors
    ///
    /// Why not, in one sentence.
    pub(super) fn admit(&self, length: usize) -> Result<(), String> {
        let known = self.admitted.get(length).ok_or("a text longer than any that the graph may read")?;
        if known.load(Ordering::Relaxed) == 0 {
            self.elements(length as u64)?;
            known.store(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Elements of all tensors that a run makes.
    fn elements(&self, length: u64) -> Result<u64, String> {
        let mut values: Vec<Option<Known>> = vec![None; self.values];
        for (at, known) in &self.constants {
            values[*at] = Some(known.clone());
        }
        for at in &self.inputs {
            values[*at] = Some(Known::of(&[1, length]));
        }
        let mut total = 0u64;
        for node in &self.nodes {
            let fail = |why: &str| format!("the operator {}: {why}", node.operator);
            let missing = || fail("an input that nothing before it gives");
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                inputs.push(match input {
                    Some(at) => Some(values[*at].as_ref().ok_or_else(missing)?),
                    None => None,
                });
            }
            let made = rules::apply(&node.operator, &inputs, &node.attributes, node.outputs.len())
                .map_err(|why| fail(&why))?;
            total = total.saturating_add(made.besides);
            let mut results = made.outputs.into_iter();
            for output in &node.outputs {
                let result = results.next().ok_or_else(|| fail("more results than it has"))?;
                if result.dims.len() > MAX_RANK {
                    return Err(fail("too many dimensions"));
                }
                let elements = result.elements();
                if elements > MAX_TENSOR {
                    return Err(fail(&format!(
                        "{elements} elements for {length} tokens; {MAX_TENSOR} at most"
                    )));
                }
                total = total.saturating_add(elements);
                if let Some(at) = output {
                    values[*at] = Some(result);
                }
            }
            if total > MAX_RUN {
                return Err(fail(&format!("more than {MAX_RUN} elements in all for {length} tokens")));
            }
        }
        Ok(total)
    }
}

/// A graph that is being read.
#[derive(Default)]
struct Graph<'a> {
    names: HashMap<&'a [u8], usize>,
    /// Of inputs that stood before whatever gives them.
    constants: Vec<(usize, Known)>,
}

impl<'a> Graph<'a> {
    /// A new value. Each has one source: the runtime and this must not take different ones.
    fn define(&mut self, name: &'a [u8]) -> Result<usize, LoadError> {
        let at = self.names.len();
        match self.names.insert(name, at) {
            None => Ok(at),
            Some(_) => Err(malformed(format!("two values called {:?}", String::from_utf8_lossy(name)))),
        }
    }

    fn node(&mut self, mut content: &'a [u8]) -> Result<Node, LoadError> {
        let (mut operator, mut inputs, mut outputs) = (&b""[..], Vec::new(), Vec::new());
        let mut attributes = Attributes::default();
        while !content.is_empty() {
            match field(&mut content)? {
                (NODE_TYPE, Field::Bytes(name)) => operator = name,
                (NODE_INPUT, Field::Bytes(name)) => inputs.push(name),
                (NODE_OUTPUT, Field::Bytes(name)) => outputs.push(name),
                (NODE_ATTRIBUTE, Field::Bytes(attribute)) => attributes.read(attribute)?,
                _ => {}
            }
        }
        let operator = String::from_utf8_lossy(operator).into_owned();
        if outputs.len() > MAX_OUTPUTS {
            return Err(malformed(format!("{operator} with {} results", outputs.len())));
        }
        let from = |name: &&[u8]| match self.names.get(name) {
            _ if name.is_empty() => Ok(None),
            Some(at) => Ok(Some(*at)),
            None => {
                let name = String::from_utf8_lossy(name);
                Err(malformed(format!("{operator} reads {name:?}, which nothing before it gives")))
            }
        };
        let inputs = inputs.iter().map(from).collect::<Result<_, _>>()?;
        let to = |name: &'a [u8]| if name.is_empty() { Ok(None) } else { self.define(name).map(Some) };
        let outputs = outputs.into_iter().map(to).collect::<Result<_, _>>()?;
        Ok(Node { operator, inputs, outputs, attributes })
    }
}

impl Attributes {
    fn read(&mut self, mut content: &[u8]) -> Result<(), LoadError> {
        let (mut name, mut list, mut number) = (String::new(), Vec::new(), None);
        let (mut value, mut floats, mut word) = (None, None, None);
        while !content.is_empty() {
            match field(&mut content)? {
                (ATTRIBUTE_NAME, Field::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
                (ATTRIBUTE_TENSOR, Field::Bytes(bytes)) => {
                    once(&mut value, tensor(bytes)?.1)?;
                }
                (ATTRIBUTE_FLOAT, _) => floats = Some(Known::of(&[])),
                (ATTRIBUTE_FLOATS, packed) => {
                    let more = if let Field::Bytes(packed) = packed { packed.len() as u64 / 4 } else { 1 };
                    let count = floats
                        .map_or(0, |known: Known| if known.dims.is_empty() { 0 } else { known.dims[0] });
                    floats = Some(Known::of(&[count + more]));
                }
                (ATTRIBUTE_INT, Field::Number(n)) => {
                    once(&mut number, n.cast_signed())?;
                }
                (ATTRIBUTE_STRING, Field::Bytes(text)) => {
                    once(&mut word, String::from_utf8_lossy(text).into_owned())?;
                }
                (ATTRIBUTE_INTS, all) => numbers(&all, |n| {
                    if list.len() <= MAX_NUMBERS {
                        list.push(n);
                    }
                })?,
                _ => {}
            }
        }
        self.count += 1;
        let kinds =
            [number.is_some(), !list.is_empty(), value.is_some()].into_iter().filter(|kind| *kind).count();
        if kinds > 1 || list.len() > MAX_NUMBERS {
            return Err(several());
        }
        list.extend(number);
        if let Some(word) = word
            && self.words.insert(name.clone(), word).is_some()
        {
            return Err(several());
        }
        if !list.is_empty() && self.numbers.insert(name, list).is_some() {
            return Err(several());
        }
        if let Some(value) = value.or(floats)
            && self.value.is_none()
        {
            self.value = Some(value);
        }
        Ok(())
    }
}

/// Sets what may be set once: the runtime need not take the same one of several.
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), LoadError> {
    if slot.replace(value).is_some() { Err(several()) } else { Ok(()) }
}

fn several() -> LoadError {
    malformed("an attribute with several values")
}

/// A tensor that is written in the file, and its name.
fn tensor(mut content: &[u8]) -> Result<(&[u8], Known), LoadError> {
    let (mut dims, mut kind, mut name, mut raw) = (Vec::new(), 0, &b""[..], &b""[..]);
    let mut whole = Vec::new();
    while !content.is_empty() {
        match field(&mut content)? {
            (TENSOR_DIMS, sizes) => numbers(&sizes, |size| {
                if dims.len() <= MAX_RANK {
                    dims.push(size.max(0).cast_unsigned());
                }
            })?,
            (TENSOR_TYPE, Field::Number(number)) => kind = number.cast_signed(),
            (TENSOR_NAME, Field::Bytes(text)) => name = text,
            (TENSOR_RAW, Field::Bytes(bytes)) => raw = bytes,
            (TENSOR_INT32 | TENSOR_INT64, written) => numbers(&written, |number| {
                if whole.len() <= MAX_NUMBERS {
                    whole.push(number);
                }
            })?,
            _ => {}
        }
    }
    if dims.len() > MAX_RANK {
        return Err(malformed("a tensor of too many dimensions"));
    }
    match kind {
        _ if raw.len() > 8 * MAX_NUMBERS => whole.clear(),
        INT64 => whole.extend(raw.as_chunks().0.iter().map(|n| i64::from_le_bytes(*n))),
        INT32 => whole.extend(raw.as_chunks().0.iter().map(|n| i64::from(i32::from_le_bytes(*n)))),
        BOOL => whole.extend(raw.iter().map(|n| i64::from(*n))),
        _ => whole.clear(),
    }
    // As the runtime narrows them.
    let narrow = |n: i64| n.clamp(i32::MIN.into(), i32::MAX.into());
    let whole = matches!(kind, INT32 | INT64 | BOOL).then(|| whole.into_iter().map(narrow).collect());
    Ok((name, Known::of(&dims).with(whole)))
}
