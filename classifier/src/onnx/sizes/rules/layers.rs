//! Operators that are whole layers, and need room besides while they run.

use super::super::Known;
use super::{Call, Made, Told, sizes};

/// Bytes of an equation: two terms and a result of 16 letters each, and blanks.
const MAX_EQUATION: usize = 256;

impl Call<'_> {
    /// A product over the letters that the result lacks. One or two inputs: of more, the order decides how large what
    /// lies in between is.
    pub(super) fn einsum(&self) -> Told<Made> {
        let equation = self.attributes.word("equation").ok_or("no equation")?;
        if equation.len() > MAX_EQUATION {
            return Err(format!("an equation of {} bytes", equation.len()));
        }
        let letters = |term: &str| -> Told<Vec<char>> {
            let letters: Vec<char> = term.chars().filter(|c| !c.is_whitespace()).collect();
            match letters.iter().find(|c| !c.is_ascii_alphabetic()) {
                Some(_) => Err(format!("the equation {equation:?}")),
                None => Ok(letters),
            }
        };
        let (terms, result) = match equation.split_once("->") {
            Some((terms, result)) => (terms, Some(letters(result)?)),
            None => (equation, None),
        };
        let terms: Vec<Vec<char>> = terms.split(',').map(letters).collect::<Told<_>>()?;
        if terms.len() != self.inputs.len() || !(1..=2).contains(&terms.len()) {
            return Err(format!("the equation {equation:?} for {} inputs", self.inputs.len()));
        }
        let mut known: Vec<(char, u64)> = Vec::new();
        let mut besides = 0u64;
        for (at, term) in terms.iter().enumerate() {
            let input = self.input(at)?;
            if input.dims.len() != term.len() {
                return Err(format!("the equation {equation:?} for {:?}", input.dims));
            }
            // A copy in the order of the product.
            besides = besides.saturating_add(input.elements());
            for (letter, size) in term.iter().zip(&input.dims) {
                match known.iter_mut().find(|(before, _)| before == letter) {
                    None => known.push((*letter, *size)),
                    Some((_, before)) if *before == *size || *size == 1 => {}
                    Some((_, before)) if *before == 1 => *before = *size,
                    Some((_, before)) => return Err(format!("{before} and {size} do not go together")),
                }
            }
        }
        let result = result.unwrap_or_else(|| {
            let count = |letter: char| terms.iter().flatten().filter(|other| **other == letter).count();
            let mut once: Vec<char> =
                known.iter().map(|(letter, _)| *letter).filter(|letter| count(*letter) == 1).collect();
            once.sort_unstable();
            once
        });
        let size = |letter: &char| known.iter().find(|(known, _)| known == letter).map(|(_, size)| *size);
        let dims: Option<Vec<u64>> = result.iter().map(size).collect();
        let made = Known::of(&dims.ok_or_else(|| format!("the equation {equation:?}"))?);
        // And the product before it is put in the order of the result.
        let besides = besides.saturating_add(made.elements());
        Ok(Made { outputs: vec![made], besides })
    }

    /// A convolution over any number of dimensions, with the columns that it is a product of.
    pub(super) fn convolution(&self) -> Told<Made> {
        let (input, kernel) = (&self.first()?.dims, self.input(1)?);
        let unlike = || format!("{:?} over {input:?}", kernel.dims);
        let ([batch, _, spread @ ..], [channels, _, size @ ..]) = (input.as_slice(), kernel.dims.as_slice())
        else {
            return Err(unlike());
        };
        if spread.len() != size.len() {
            return Err(unlike());
        }
        let same = match self.attributes.word("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => None,
            "VALID" => Some(false),
            "SAME_UPPER" | "SAME_LOWER" => Some(true),
            other => return Err(format!("an auto_pad of {other}")),
        };
        let given = |name: &str, count: usize, unless: u64| match self.attributes.list(name) {
            Some(list) if list.len() == count => sizes(list),
            Some(list) => Err(format!("{name} of {}", list.len())),
            None => Ok(vec![unless; count]),
        };
        let strides = given("strides", size.len(), 1)?;
        let dilations = given("dilations", size.len(), 1)?;
        let pads = if same.is_none() { given("pads", 2 * size.len(), 0)? } else { vec![0; 2 * size.len()] };
        let mut dims = vec![*batch, *channels];
        for at in 0..size.len() {
            let stride = strides[at];
            if stride == 0 || size[at] == 0 {
                return Err(unlike());
            }
            dims.push(if same == Some(true) {
                spread[at].div_ceil(stride)
            } else {
                let padded = spread[at].saturating_add(pads[at]).saturating_add(pads[at + size.len()]);
                let reach = dilations[at].saturating_mul(size[at] - 1).saturating_add(1);
                padded.checked_sub(reach).map_or(0, |left| left / stride + 1)
            });
        }
        let places = dims[2..].iter().fold(1u64, |all, size| all.saturating_mul(*size));
        let column = kernel.elements().checked_div(*channels).unwrap_or(0);
        Ok(Made { outputs: vec![Known::of(&dims)], besides: column.saturating_mul(places) })
    }

    /// A recurrent layer of so many gates: all states, the last ones, and for four gates the last cells.
    pub(super) fn recurrent(&self, gates: u64) -> Told<Made> {
        let (input, weights) = (&self.first()?.dims, &self.input(1)?.dims);
        let (&[length, batch, _], &[directions, rows, _]) = (input.as_slice(), weights.as_slice()) else {
            return Err(format!("{weights:?} over {input:?}"));
        };
        if self.attributes.number("layout").unwrap_or(0) != 0 {
            return Err("texts before tokens".to_owned());
        }
        let hidden = rows / gates;
        let last = Known::of(&[directions, batch, hidden]);
        let mut outputs = vec![Known::of(&[length, directions, batch, hidden]), last.clone()];
        if gates == 4 {
            outputs.push(last);
        }
        // What every gate is before it is one.
        let besides =
            [length, batch, directions, rows].iter().fold(1u64, |all, size| all.saturating_mul(*size));
        Ok(Made { outputs, besides })
    }
}
