//! What each operator makes of its inputs' shapes, as the ONNX specification and, for those of `com.microsoft`, ONNX
//! Runtime's documentation of contributed operators have it.

use super::{Attributes, Known, MAX_NUMBERS};

mod layers;
mod layout;

/// What a node makes.
pub(super) struct Made {
    pub(super) outputs: Vec<Known>,
    /// Elements that it needs besides while it runs.
    pub(super) besides: u64,
}

type Told<T> = Result<T, String>;

/// As many results as its first input is large.
const LIKE_FIRST: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BatchNormalization",
    "BiasGelu",
    "Cast",
    "CastLike",
    "Ceil",
    "Clip",
    "Cos",
    "Cosh",
    "CumSum",
    "DequantizeLinear",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "EyeLike",
    "FastGelu",
    "Floor",
    "Gelu",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "Mish",
    "Neg",
    "Not",
    "PRelu",
    "QuantizeLinear",
    "QuickGelu",
    "RMSNormalization",
    "Reciprocal",
    "Relu",
    "ReverseSequence",
    "RotaryEmbedding",
    "Round",
    "Scatter",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "SimplifiedLayerNormalization",
    "Sin",
    "Sinh",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Trilu",
    "BitwiseNot",
    "Celu",
    "Hardtanh",
    "Silu",
];
/// Whose inputs are stretched over each other.
const STRETCHED: [&str; 23] = [
    "Add",
    "And",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
    "BitShift",
];
const REDUCED: [&str; 10] = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
];
/// Types of `Cast` that keep whole numbers: signed of 32 and 64 bits, and truth.
const WHOLE: [i64; 2] = [6, 7];
const TRUTH: i64 = 9;

/// The results of `operator`.
///
/// # Errors
///
/// Why they are not known, in a few words.
pub(super) fn apply(
    operator: &str,
    inputs: &[Option<&Known>],
    attributes: &Attributes,
    outputs: usize,
) -> Told<Made> {
    let call = Call { inputs, attributes };
    let one = |known: Known| Ok(Made { outputs: vec![known], besides: 0 });
    match operator {
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => {
            let known = Known::of(&call.first()?.dims);
            let mut row = known.clone();
            row.dims.pop();
            row.dims.push(1);
            Ok(Made { outputs: vec![known.clone(), row.clone(), row, known], besides: 0 })
        }
        "Dropout" => {
            let known = Known::of(&call.first()?.dims);
            Ok(Made { outputs: vec![known.clone(), known], besides: 0 })
        }
        "DynamicQuantizeLinear" => {
            let known = Known::of(&call.first()?.dims);
            Ok(Made { outputs: vec![known, Known::of(&[]), Known::of(&[])], besides: 0 })
        }
        _ if LIKE_FIRST.contains(&operator) => one(call.like_first(operator)?),
        _ if STRETCHED.contains(&operator) => one(call.stretched(operator)?),
        _ if REDUCED.contains(&operator) => one(call.reduced()?),
        "ArgMax" | "ArgMin" => one(call.chosen()?),
        "MatMul" | "MatMulInteger" | "MatMulIntegerToFloat" => one(call.product()?),
        "Gemm" => one(call.gemm()?),
        "MatMulNBits" => call.product_of_bits(),
        "Einsum" => call.einsum(),
        "Conv" => call.convolution(),
        "LSTM" => call.recurrent(4),
        "GRU" => call.recurrent(3),
        "Constant" => one(call.constant()?),
        "ConstantOfShape" => one(Known::of(&sizes(call.numbers(0)?)?).with(call.repeated())),
        "Shape" => one(call.shape()?),
        "Size" => {
            one(Known::of(&[]).with(Some(vec![i64::try_from(call.first()?.elements()).unwrap_or(i64::MAX)])))
        }
        "Reshape" => one(call.reshape()?),
        "Flatten" => one(call.flatten()?),
        "Squeeze" => one(call.squeeze()?),
        "Unsqueeze" => one(call.unsqueeze()?),
        "Transpose" => one(call.transpose()?),
        "Expand" => one(Known::of(&stretch(&call.first()?.dims, &sizes(call.numbers(1)?)?)?)),
        "Tile" => one(call.tile()?),
        "Pad" => one(call.pad()?),
        "Range" => one(call.range()?),
        "Concat" => one(call.concat()?),
        "Slice" => one(call.slice()?),
        "Split" => Ok(Made { outputs: call.split(outputs)?, besides: 0 }),
        "Gather" => one(call.gather()?),
        "GatherElements" => one(Known::of(&call.input(1)?.dims)),
        "GatherND" => one(call.gather_nd()?),
        "OneHot" => one(call.one_hot()?),
        "TopK" => {
            let known = call.top_k()?;
            Ok(Made { outputs: vec![known.clone(), known], besides: 0 })
        }
        _ => Err("how large its results are is not known".to_owned()),
    }
}

/// A position that may be counted from the end.
fn axis(number: i64, rank: usize) -> Told<usize> {
    let at = if number < 0 { number.checked_add_unsigned(rank as u64) } else { Some(number) };
    at.and_then(|at| usize::try_from(at).ok())
        .filter(|at| *at < rank)
        .ok_or_else(|| format!("axis {number} of {rank}"))
}

fn sizes(numbers: &[i64]) -> Told<Vec<u64>> {
    numbers.iter().map(|n| u64::try_from(*n).map_err(|_| format!("a size of {n}"))).collect()
}

/// Shapes over each other: equal, or one of them 1.
fn stretch(a: &[u64], b: &[u64]) -> Told<Vec<u64>> {
    let rank = a.len().max(b.len());
    let size = |dims: &[u64], at: usize| {
        let missing = rank - dims.len();
        if at < missing { 1 } else { dims[at - missing] }
    };
    let both = |at| match (size(a, at), size(b, at)) {
        (1, size) | (size, 1) => Ok(size),
        (one, other) if one == other => Ok(one),
        (one, other) => Err(format!("{one} and {other} do not go together")),
    };
    (0..rank).map(both).collect()
}

struct Call<'a> {
    inputs: &'a [Option<&'a Known>],
    attributes: &'a Attributes,
}

impl<'a> Call<'a> {
    fn input(&self, at: usize) -> Told<&'a Known> {
        self.inputs.get(at).copied().flatten().ok_or_else(|| format!("no input {at}"))
    }

    fn first(&self) -> Told<&'a Known> {
        self.input(0)
    }

    /// An input's numbers.
    fn numbers(&self, at: usize) -> Told<&'a [i64]> {
        let known = self.input(at)?.numbers.as_deref();
        known.ok_or_else(|| "it makes a size of what it computes from the text".to_owned())
    }

    fn number(&self, at: usize) -> Told<i64> {
        self.numbers(at)?.first().copied().ok_or_else(|| format!("nothing in input {at}"))
    }

    /// What older versions have as an attribute, and newer ones as an input that may be left out.
    fn either(&self, name: &str, at: usize) -> Told<Option<&'a [i64]>> {
        match (self.attributes.list(name), self.inputs.get(at).copied().flatten()) {
            (Some(list), _) => Ok(Some(list)),
            (None, Some(_)) => self.numbers(at).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn like_first(&self, operator: &str) -> Told<Known> {
        let first = self.first()?;
        let numbers = first.numbers.clone();
        let numbers = match (operator, self.attributes.number("to")) {
            ("Identity", _) => numbers,
            ("Cast", Some(to)) if WHOLE.contains(&to) => numbers,
            ("Cast", Some(TRUTH)) => numbers.map(|all| all.into_iter().map(|n| i64::from(n != 0)).collect()),
            ("Neg", _) => numbers.map(|all| all.into_iter().map(|n| -n).collect()),
            _ => None,
        };
        Ok(Known::of(&first.dims).with(numbers))
    }

    fn stretched(&self, operator: &str) -> Told<Known> {
        let mut dims = self.first()?.dims.clone();
        for at in 1..self.inputs.len() {
            dims = stretch(&dims, &self.input(at)?.dims)?;
        }
        let known = Known::of(&dims);
        let count = usize::try_from(known.elements()).unwrap_or(usize::MAX);
        let given =
            |at: usize| self.inputs.get(at).copied().flatten().and_then(|known| known.numbers.as_deref());
        let (Some(a), Some(b)) = (given(0), given(1)) else { return Ok(known) };
        // Numbers of vectors only, of which none is stretched but those of one.
        if dims.len() > 1 || count > MAX_NUMBERS {
            return Ok(known);
        }
        let of = |numbers: &[i64], at: usize| numbers.get(if numbers.len() == 1 { 0 } else { at }).copied();
        let compute = |at: usize| -> Option<i64> {
            let (a, b) = (of(a, at)?, of(b, at)?);
            match operator {
                "Add" => a.checked_add(b),
                "Sub" => a.checked_sub(b),
                "Mul" => a.checked_mul(b),
                // Towards zero, as the runtime divides; where signs differ exporters do not agree on what they mean.
                "Div" if a >= 0 && b > 0 => Some(a / b),
                "Mod" if a >= 0 && b > 0 => Some(a % b),
                "Max" if self.inputs.len() == 2 => Some(a.max(b)),
                "Min" if self.inputs.len() == 2 => Some(a.min(b)),
                "Equal" => Some(i64::from(a == b)),
                "Greater" => Some(i64::from(a > b)),
                "GreaterOrEqual" => Some(i64::from(a >= b)),
                "Less" => Some(i64::from(a < b)),
                "LessOrEqual" => Some(i64::from(a <= b)),
                "And" => Some(i64::from(a != 0 && b != 0)),
                "Or" => Some(i64::from(a != 0 || b != 0)),
                "Where" => of(if a != 0 { given(1)? } else { given(2)? }, at),
                _ => None,
            }
        };
        let numbers = (0..count).map(compute).collect();
        Ok(known.with(numbers))
    }

    fn reduced(&self) -> Told<Known> {
        let dims = &self.first()?.dims;
        let axes = self.either("axes", 1)?.unwrap_or_default();
        let all = axes.is_empty() && self.attributes.number("noop_with_empty_axes").unwrap_or(0) == 0;
        let keep = self.attributes.number("keepdims").unwrap_or(1) != 0;
        let mut gone = vec![all; dims.len()];
        for at in axes {
            gone[axis(*at, dims.len())?] = true;
        }
        Ok(Known::of(&without(dims, &gone, keep)))
    }

    fn chosen(&self) -> Told<Known> {
        let dims = &self.first()?.dims;
        let keep = self.attributes.number("keepdims").unwrap_or(1) != 0;
        let mut gone = vec![false; dims.len()];
        gone[axis(self.attributes.number("axis").unwrap_or(0), dims.len())?] = true;
        Ok(Known::of(&without(dims, &gone, keep)))
    }

    fn product(&self) -> Told<Known> {
        let (a, b) = (&self.first()?.dims, &self.input(1)?.dims);
        let unlike = || format!("{a:?} times {b:?}");
        let (a_rows, a_inner, a_outer) = match a.as_slice() {
            [] => return Err(unlike()),
            [inner] => (None, *inner, &[][..]),
            [outer @ .., rows, inner] => (Some(*rows), *inner, outer),
        };
        let (b_columns, b_inner, b_outer) = match b.as_slice() {
            [] => return Err(unlike()),
            [inner] => (None, *inner, &[][..]),
            [outer @ .., inner, columns] => (Some(*columns), *inner, outer),
        };
        if a_inner != b_inner {
            return Err(unlike());
        }
        let mut dims = stretch(a_outer, b_outer)?;
        dims.extend(a_rows.into_iter().chain(b_columns));
        Ok(Known::of(&dims))
    }

    fn gemm(&self) -> Told<Known> {
        let ([a0, a1], [b0, b1]) = (pair(self.first()?)?, pair(self.input(1)?)?);
        let turned = |name| self.attributes.number(name).unwrap_or(0) != 0;
        let rows = if turned("transA") { a1 } else { a0 };
        let columns = if turned("transB") { b0 } else { b1 };
        Ok(Known::of(&[rows, columns]))
    }

    fn product_of_bits(&self) -> Told<Made> {
        let attribute = |name: &str| self.attributes.number(name).ok_or_else(|| format!("no {name}"));
        let [inner, columns] = [sizes(&[attribute("K")?])?[0], sizes(&[attribute("N")?])?[0]];
        let mut dims = self.first()?.dims.clone();
        let last = dims.last_mut().ok_or("a product of a number")?;
        *last = columns;
        // The weights as floats.
        Ok(Made { outputs: vec![Known::of(&dims)], besides: inner.saturating_mul(columns) })
    }

    fn constant(&self) -> Told<Known> {
        if self.attributes.count != 1 {
            return Err("a constant of several values".to_owned());
        }
        if let Some(value) = &self.attributes.value {
            return Ok(value.clone());
        }
        if let Some(number) = self.attributes.number("value_int") {
            return Ok(Known::of(&[]).with(Some(vec![number])));
        }
        let list = self.attributes.list("value_ints").filter(|list| list.len() <= MAX_NUMBERS);
        let list = list.ok_or("a constant of an unknown kind")?;
        Ok(Known::of(&[list.len() as u64]).with(Some(list.to_vec())))
    }

    /// The numbers of a constant of a shape, if they are whole and few.
    fn repeated(&self) -> Option<Vec<i64>> {
        let number = *self.attributes.value.as_ref()?.numbers.as_ref()?.first()?;
        let count = sizes(self.numbers(0).ok()?).ok().map(|dims| Known::of(&dims).elements())?;
        (count <= MAX_NUMBERS as u64).then(|| vec![number; count as usize])
    }

    fn one_hot(&self) -> Told<Known> {
        let mut dims = self.first()?.dims.clone();
        let depth = sizes(&[self.number(1)?])?[0];
        let at = axis(self.attributes.number("axis").unwrap_or(-1), dims.len() + 1)?;
        dims.insert(at, depth);
        Ok(Known::of(&dims))
    }

    fn top_k(&self) -> Told<Known> {
        let mut dims = self.first()?.dims.clone();
        let at = axis(self.attributes.number("axis").unwrap_or(-1), dims.len())?;
        dims[at] = sizes(&[self.number(1)?])?[0].min(dims[at]);
        Ok(Known::of(&dims))
    }
}

/// The sizes that are not gone; gone ones are 1 where they are kept.
fn without(dims: &[u64], gone: &[bool], keep: bool) -> Vec<u64> {
    let size = |(size, gone): (&u64, &bool)| match (gone, keep) {
        (false, _) => Some(*size),
        (true, true) => Some(1),
        (true, false) => None,
    };
    dims.iter().zip(gone).filter_map(size).collect()
}

fn pair(known: &Known) -> Told<[u64; 2]> {
    known.dims.as_slice().try_into().map_err(|_| format!("{:?} is no matrix", known.dims))
}
