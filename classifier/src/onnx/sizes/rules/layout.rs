//! Operators that arrange what there is: the numbers of a shape come through.

use super::super::{Known, MAX_NUMBERS, MAX_OUTPUTS};
use super::{Call, Told, axis, sizes, without};

impl Call<'_> {
    pub(super) fn shape(&self) -> Told<Known> {
        let dims = &self.first()?.dims;
        let rank = dims.len() as i64;
        let place = |name: &str, unless: i64| {
            let at = self.attributes.number(name).unwrap_or(unless);
            (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize
        };
        let (start, end) = (place("start", 0), place("end", rank));
        let dims = &dims[start.min(end)..end];
        let numbers = dims.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        Ok(Known::of(&[dims.len() as u64]).with(Some(numbers)))
    }

    pub(super) fn reshape(&self) -> Told<Known> {
        let (from, wanted) = (self.first()?, self.either("shape", 1)?.ok_or("no shape")?);
        let zero_is_zero = self.attributes.number("allowzero").unwrap_or(0) != 0;
        let mut dims = Vec::with_capacity(wanted.len());
        let mut open = None;
        for (at, size) in wanted.iter().enumerate() {
            dims.push(match size {
                0 if !zero_is_zero => *from.dims.get(at).ok_or("a size of nothing")?,
                -1 if open.is_none() => {
                    open = Some(at);
                    1
                }
                size => sizes(&[*size])?[0],
            });
        }
        let elements = from.elements();
        if let Some(at) = open {
            let others = Known::of(&dims).elements();
            dims[at] = elements.checked_div(others).unwrap_or(0);
        }
        let known = Known::of(&dims);
        if known.elements() != elements {
            return Err(format!("{elements} elements as {dims:?}"));
        }
        Ok(known.with(from.numbers.clone()))
    }

    pub(super) fn flatten(&self) -> Told<Known> {
        let dims = &self.first()?.dims;
        let at = self.attributes.number("axis").unwrap_or(1);
        let at = if at == dims.len() as i64 { dims.len() } else { axis(at, dims.len())? };
        let product = |dims: &[u64]| Known::of(dims).elements();
        Ok(Known::of(&[product(&dims[..at]), product(&dims[at..])]))
    }

    pub(super) fn squeeze(&self) -> Told<Known> {
        let first = self.first()?;
        let mut gone = vec![false; first.dims.len()];
        match self.either("axes", 1)? {
            None => gone = first.dims.iter().map(|size| *size == 1).collect(),
            Some(axes) => {
                for at in axes {
                    let at = axis(*at, first.dims.len())?;
                    gone[at] = true;
                    if first.dims[at] != 1 {
                        return Err(format!("a size of {} is left out", first.dims[at]));
                    }
                }
            }
        }
        Ok(Known::of(&without(&first.dims, &gone, false)).with(first.numbers.clone()))
    }

    pub(super) fn unsqueeze(&self) -> Told<Known> {
        let first = self.first()?;
        let axes = self.either("axes", 1)?.ok_or("no axes")?;
        let rank = first.dims.len() + axes.len();
        let mut added = vec![false; rank];
        for at in axes {
            let at = axis(*at, rank)?;
            if std::mem::replace(&mut added[at], true) {
                return Err(format!("axis {at} twice"));
            }
        }
        let mut sizes = first.dims.iter();
        let dims: Vec<u64> =
            added.iter().map(|added| if *added { 1 } else { sizes.next().copied().unwrap_or(1) }).collect();
        Ok(Known::of(&dims).with(first.numbers.clone()))
    }

    pub(super) fn transpose(&self) -> Told<Known> {
        let dims = &self.first()?.dims;
        let Some(order) = self.attributes.list("perm") else {
            return Ok(Known::of(&dims.iter().rev().copied().collect::<Vec<_>>()));
        };
        let mut taken = vec![false; dims.len()];
        let mut turned = Vec::with_capacity(dims.len());
        for at in order {
            let at = axis(*at, dims.len())?;
            taken[at] = true;
            turned.push(dims[at]);
        }
        if turned.len() != dims.len() || taken.contains(&false) {
            return Err(format!("{order:?} is no order of {} axes", dims.len()));
        }
        Ok(Known::of(&turned))
    }

    pub(super) fn tile(&self) -> Told<Known> {
        let (dims, times) = (&self.first()?.dims, sizes(self.numbers(1)?)?);
        if dims.len() != times.len() {
            return Err(format!("{dims:?} {times:?} times"));
        }
        Ok(Known::of(
            &dims.iter().zip(&times).map(|(size, times)| size.saturating_mul(*times)).collect::<Vec<_>>(),
        ))
    }

    pub(super) fn pad(&self) -> Told<Known> {
        let mut dims = self.first()?.dims.clone();
        let pads = self.either("pads", 1)?.ok_or("no padding")?;
        let axes = match self.inputs.get(3).copied().flatten() {
            Some(_) => self.numbers(3)?.iter().map(|at| axis(*at, dims.len())).collect::<Told<Vec<_>>>()?,
            None => (0..dims.len()).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return Err(format!("{pads:?} for {} axes", axes.len()));
        }
        for (nth, at) in axes.iter().enumerate() {
            let size = dims[*at].checked_add_signed(pads[nth]);
            let size = size.and_then(|size| size.checked_add_signed(pads[nth + axes.len()]));
            dims[*at] = size.ok_or("a size below zero")?;
        }
        Ok(Known::of(&dims))
    }

    pub(super) fn range(&self) -> Told<Known> {
        let (start, limit, step) = (self.number(0)?, self.number(1)?, self.number(2)?);
        if step == 0 {
            return Err("steps of 0".to_owned());
        }
        // Numbers of 32 bits: no difference overflows.
        let (length, step_length) = if step > 0 { (limit - start, step) } else { (start - limit, -step) };
        let count = sizes(&[length.max(0)])?[0].div_ceil(step_length.unsigned_abs());
        let numbers =
            (count <= MAX_NUMBERS as u64).then(|| (0..count as i64).map(|n| start + n * step).collect());
        Ok(Known::of(&[count]).with(numbers))
    }

    pub(super) fn concat(&self) -> Told<Known> {
        let mut dims = self.first()?.dims.clone();
        let at = axis(self.attributes.number("axis").ok_or("no axis")?, dims.len())?;
        let mut numbers = self.first()?.numbers.clone().filter(|_| dims.len() == 1);
        for other in 1..self.inputs.len() {
            let other = self.input(other)?;
            let alike = other.dims.len() == dims.len()
                && (0..dims.len()).all(|nth| nth == at || other.dims[nth] == dims[nth]);
            if !alike {
                return Err(format!("{dims:?} and {:?} side by side", other.dims));
            }
            dims[at] = dims[at].saturating_add(other.dims[at]);
            numbers = numbers.zip(other.numbers.as_ref()).map(|(mut all, more)| {
                all.extend(more);
                all
            });
        }
        Ok(Known::of(&dims).with(numbers))
    }

    pub(super) fn slice(&self) -> Told<Known> {
        let first = self.first()?;
        let starts = self.either("starts", 1)?.ok_or("no starts")?;
        let ends = self.either("ends", 2)?.ok_or("no ends")?;
        let axes = self.either("axes", 3)?;
        let steps =
            if self.inputs.get(4).copied().flatten().is_some() { Some(self.numbers(4)?) } else { None };
        let mut dims = first.dims.clone();
        let fits = |list: Option<&[i64]>| list.is_none_or(|list| list.len() == starts.len());
        if !(fits(Some(ends)) && fits(axes) && fits(steps)) {
            return Err("lists of unlike lengths".to_owned());
        }
        let mut kept = None;
        for nth in 0..starts.len() {
            let at = axis(axes.map_or(nth as i64, |axes| axes[nth]), dims.len())?;
            let (size, step) = (dims[at] as i64, steps.map_or(1, |steps| steps[nth]));
            let place = |n: i64| if n < 0 { n.saturating_add(size) } else { n };
            let (start, end) = (place(starts[nth]), place(ends[nth]));
            let count = match step {
                0 => return Err("steps of 0".to_owned()),
                1.. => end.clamp(0, size).saturating_sub(start.clamp(0, size)),
                _ => start.clamp(-1, size - 1).saturating_sub(end.clamp(-1, size - 1)),
            };
            dims[at] = count.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
            kept = (step == 1 && first.dims.len() == 1 && starts.len() == 1)
                .then(|| start.clamp(0, size) as usize);
        }
        let numbers = first.numbers.as_ref().zip(kept).and_then(|(all, start)| {
            let end = start.checked_add(dims[0] as usize)?;
            all.get(start..end).map(<[i64]>::to_vec)
        });
        Ok(Known::of(&dims).with(numbers))
    }

    pub(super) fn split(&self, outputs: usize) -> Told<Vec<Known>> {
        let first = self.first()?;
        let at = axis(self.attributes.number("axis").unwrap_or(0), first.dims.len())?;
        let parts = match self.either("split", 1)? {
            Some(parts) => sizes(parts)?,
            None => {
                let count =
                    self.attributes.number("num_outputs").map_or(outputs as u64, |n| n.max(1).unsigned_abs());
                let size = first.dims[at].div_ceil(count.max(1));
                let part = |nth: u64| size.min(first.dims[at].saturating_sub(nth.saturating_mul(size)));
                (0..count.min(MAX_OUTPUTS as u64)).map(part).collect()
            }
        };
        if parts.iter().fold(0u64, |sum, part| sum.saturating_add(*part)) != first.dims[at] {
            return Err(format!("{parts:?} of {}", first.dims[at]));
        }
        let mut begin = 0usize;
        let part = |size: &u64| {
            let mut dims = first.dims.clone();
            dims[at] = *size;
            let end = begin.saturating_add(*size as usize);
            let all = first.numbers.as_ref().filter(|_| dims.len() == 1);
            let numbers = all.and_then(|all| all.get(begin..end)).map(<[i64]>::to_vec);
            begin = end;
            Known::of(&dims).with(numbers)
        };
        Ok(parts.iter().map(part).collect())
    }

    pub(super) fn gather(&self) -> Told<Known> {
        let (from, which) = (self.first()?, self.input(1)?);
        let at = axis(self.attributes.number("axis").unwrap_or(0), from.dims.len())?;
        let dims = [&from.dims[..at], &which.dims, &from.dims[at + 1..]].concat();
        let numbers = match (&from.numbers, &which.numbers) {
            (Some(all), Some(which)) if from.dims.len() == 1 => {
                let size = all.len();
                which.iter().map(|at| axis(*at, size).ok().map(|at| all[at])).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        Ok(Known::of(&dims).with(numbers))
    }

    pub(super) fn gather_nd(&self) -> Told<Known> {
        let (from, which) = (&self.first()?.dims, &self.input(1)?.dims);
        let alike = usize::try_from(self.attributes.number("batch_dims").unwrap_or(0)).unwrap_or(usize::MAX);
        let (last, outer) = which.split_last().ok_or("indexes without an axis")?;
        let begin = usize::try_from(*last).ok().and_then(|last| last.checked_add(alike));
        let rest = begin.and_then(|begin| from.get(begin..)).ok_or("more indexes than axes")?;
        Ok(Known::of(&[outer, rest].concat()))
    }
}
