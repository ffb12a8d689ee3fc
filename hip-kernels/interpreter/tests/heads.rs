//! Pooling, prototype banks, labels and top-k, as machine code of each target, against references.

mod support;

use pintle_gfx_interpreter::{Address, Arguments};
use support::*;

const NO_INDEX: u32 = u32::MAX;

#[test]
fn sequences_are_pooled_to_unit_length() {
    for target in TARGETS {
        let Some(mut m) = machine(target) else { return };
        for (t, hidden, cls) in
            [(Type::F16, 96, false), (Type::Bf16, 1024, false), (Type::F16, 40, true), (Type::Bf16, 40, true)]
        {
            let offsets = [0, 4, 5, 5, 12];
            let mut r = Random(6);
            let x = r.typed(t, 12 * hidden, 1.0);
            let h = &mut m.heap;
            let (embedding, typed) = (h.reserve(4 * hidden * 4), h.reserve(4 * hidden * 2));
            let arguments = Arguments::new()
                .pointer(put_u32(h, &[4]))
                .pointer(put_u32(h, &offsets))
                .pointer(put_u16(h, &x))
                .pointer(embedding)
                .pointer(typed)
                .u32(hidden as u32)
                .u32(u32::from(cls))
                .u32(1)
                .u32(0);
            m.launch(&format!("pk_pool_{}", t.suffix()), [5, 1], WAVES, &arguments).unwrap();
            let mut expected = Vec::new();
            for s in 0..4 {
                let (first, end) = (offsets[s] as usize, offsets[s + 1] as usize);
                let end = if cls { end.min(first + 1) } else { end };
                let sum = |i: usize| (first..end).map(|token| t.widen(x[token * hidden + i])).sum::<f64>();
                let mean: Vec<f64> = (0..hidden)
                    .map(|i| if end > first { sum(i) / (end - first) as f64 } else { 0.0 })
                    .collect();
                let length = mean.iter().map(|v| v * v).sum::<f64>().sqrt();
                expected.extend(mean.iter().map(|v| if length > 0.0 { v / length } else { 0.0 }));
            }
            let got = get_f32(&m.heap, embedding, 4 * hidden);
            assert_near(target, got.iter().map(|v| f64::from(*v)), &expected, 1e-5);
            let narrowed: Vec<u16> = got.iter().map(|v| t.narrow(*v)).collect();
            assert_eq!(get_u16(&m.heap, typed, 4 * hidden), narrowed, "{target}");
        }
    }
}

#[test]
fn banks_of_prototypes_give_margins() {
    const BANKS: [([u32; 4], u32, f32); 4] = [
        ([0, 14, 14, 30], 2, 0.75),
        ([5, 6, 7, 15], 8, 0.0),
        ([3, 3, 20, 23], 3, 0.5),
        ([2, 3, 6, 7], 4, 0.25),
    ];
    for target in TARGETS {
        let Some(mut m) = machine(target) else { return };
        let (sequences, hidden, rows) = (2, 96, 30);
        let mut r = Random(7);
        let embedding = r.unit_rows(sequences, hidden);
        let mut prototypes = r.unit_rows(rows, hidden);
        // Of equal prototypes the first counts.
        prototypes.copy_within(2 * hidden..3 * hidden, 9 * hidden);
        let mut banks = Vec::new();
        for (range, top, weight) in BANKS {
            banks.extend(range);
            banks.extend([top, weight.to_bits()]);
        }
        let h = &mut m.heap;
        let scores = h.reserve(sequences * BANKS.len() * 32);
        let arguments = Arguments::new()
            .pointer(put_u32(h, &[sequences as u32]))
            .pointer(put_f32(h, &embedding))
            .pointer(put_f32(h, &prototypes))
            .pointer(put_u32(h, &banks))
            .pointer(scores)
            .u32(hidden as u32)
            .u32(BANKS.len() as u32);
        m.launch("pk_prototypes", [BANKS.len() as u32, sequences as u32 + 1], WAVES, &arguments).unwrap();
        let got = get_u32(&m.heap, scores, sequences * BANKS.len() * 8);
        for (s, of_sequence) in got.chunks(BANKS.len() * 8).enumerate() {
            for ((range, top, weight), score) in BANKS.iter().zip(of_sequence.chunks(8)) {
                let side = |begin: u32, end: u32| {
                    let dot = |p: u32| {
                        let row = &prototypes[p as usize * hidden..][..hidden];
                        row.iter()
                            .zip(&embedding[s * hidden..])
                            .map(|(a, b)| f64::from(*a) * f64::from(*b))
                            .sum::<f64>()
                    };
                    let mut found: Vec<(f64, u32)> = (begin..end).map(|p| (dot(p), p)).collect();
                    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                    let counted = (*top as usize).min(found.len());
                    let Some(best) = found.first() else { return (0.0, 0.0, NO_INDEX) };
                    let mean = found[..counted].iter().map(|f| f.0).sum::<f64>() / counted as f64;
                    let weight = f64::from(*weight);
                    (weight * best.0 + (1.0 - weight) * mean, best.0, best.1)
                };
                let (hard, easy) = (side(range[0], range[1]), side(range[2], range[3]));
                let floats = score[..5].iter().map(|v| f64::from(f32::from_bits(*v)));
                assert_near(target, floats, &[hard.0, easy.0, hard.0 - easy.0, hard.1, easy.1], 1e-5);
                assert_eq!(score[5..7], [hard.2, easy.2], "{target}");
            }
        }
    }
}

#[test]
fn heads_give_probabilities_and_the_best_label() {
    for target in TARGETS {
        let Some(mut m) = machine(target) else { return };
        for (t, classes, mode) in [
            (Type::F16, 14, 0),
            (Type::Bf16, 256, 0),
            (Type::F16, 35, 1),
            (Type::Bf16, 70, 2),
            (Type::Bf16, 1, 1),
        ] {
            let (rows, hidden) = (3, 72);
            let mut r = Random(8);
            let (x, w, bias) = (
                r.typed(t, rows * hidden, 1.0),
                r.typed(t, classes * hidden, 0.3),
                r.floats(classes, 1.0, 0.0),
            );
            let h = &mut m.heap;
            let (probs, best) = (h.reserve(rows * classes * 4), h.reserve(rows * 8));
            let arguments = Arguments::new()
                .pointer(put_u32(h, &[rows as u32]))
                .pointer(put_u16(h, &x))
                .pointer(put_u16(h, &w))
                .pointer(put_f32(h, &bias))
                .pointer(probs)
                .pointer(best)
                .u32(hidden as u32)
                .u32(classes as u32)
                .u32(mode)
                .u32(0);
            m.launch(&format!("pk_head_{}", t.suffix()), [rows as u32 + 1, 1], WAVES, &arguments).unwrap();
            let got = get_f32(&m.heap, probs, rows * classes);
            let labels = get_u32(&m.heap, best, rows * 2);
            let mut expected = Vec::new();
            for (row, label) in x.chunks(hidden).zip(labels.chunks(2)) {
                let logit = |c: usize| {
                    let products = row.iter().zip(&w[c * hidden..]).map(|(a, b)| t.widen(*a) * t.widen(*b));
                    products.sum::<f64>() + f64::from(bias[c])
                };
                let logits: Vec<f64> = (0..classes).map(logit).collect();
                let top = (0..classes).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
                let total: f64 = logits.iter().map(|l| (l - logits[top]).exp()).sum();
                let of_row: Vec<f64> = logits
                    .iter()
                    .map(|l| match mode {
                        0 => (l - logits[top]).exp() / total,
                        1 => 1.0 / (1.0 + (-l).exp()),
                        _ => *l,
                    })
                    .collect();
                assert_eq!(label[0], top as u32, "{target}");
                assert_near(target, [f64::from(f32::from_bits(label[1]))], &[of_row[top]], 2e-5);
                expected.extend(of_row);
            }
            assert_near(target, got.into_iter().map(f64::from), &expected, 2e-5);
        }
    }
}

#[test]
fn the_largest_scores_come_first() {
    for target in TARGETS {
        let Some(mut m) = machine(target) else { return };
        for (n, k) in [(200, 5), (3, 6)] {
            let rows = 5;
            let mut r = Random(9);
            let scores: Vec<f32> = (0..rows * n).map(|_| r.below(11) as f32 - 5.0).collect();
            let h = &mut m.heap;
            let (values, indices) = (h.reserve((rows + 1) * k * 4), h.reserve((rows + 1) * k * 4));
            let arguments = Arguments::new()
                .pointer(put_u32(h, &[rows as u32]))
                .pointer(put_f32(h, &scores))
                .pointer(values)
                .pointer(indices)
                .u32(n as u32)
                .u32(k as u32);
            m.launch("pk_topk", [2, 1], WAVES, &arguments).unwrap();
            let (values_got, indices_got) =
                (get_f32(&m.heap, values, rows * k), get_u32(&m.heap, indices, rows * k));
            for (row, (v, i)) in scores.chunks(n).zip(values_got.chunks(k).zip(indices_got.chunks(k))) {
                let mut sorted: Vec<usize> = (0..n).collect();
                sorted.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
                for at in 0..k {
                    let expected =
                        sorted.get(at).map_or((f32::NEG_INFINITY, NO_INDEX), |i| (row[*i], *i as u32));
                    assert_eq!((v[at], i[at]), expected, "{target}");
                }
            }
            assert!(m.heap.untouched(Address(values.0 + (rows * k * 4) as u64), k * 4), "{target}");
        }
    }
}
