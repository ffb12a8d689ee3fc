//! The kernels of an encoder layer, as machine code of each target, against references.

mod support;

use pintle_gfx_interpreter::{Address, Arguments, Machine};
use support::*;

const NONE: u32 = 0;
const GELU: u32 = 1;
const TANH: u32 = 2;
const GEGLU: u32 = 3;

/// Runs a test for every target and element type.
fn everywhere(run: impl Fn(&mut Machine, Type, &str)) {
    for target in TARGETS {
        let Some(mut machine) = machine(target) else { return };
        for t in Type::ALL {
            run(&mut machine, t, &format!("{target} {}", t.suffix()));
        }
    }
}

#[test]
fn embeddings_are_gathered_and_normalized() {
    everywhere(|m, t, what| {
        let (tokens, hidden, words, positions) = (6, 96, 9, 5);
        let mut r = Random(1);
        let (word, position, kind) = (
            r.typed(t, words * hidden, 1.0),
            r.typed(t, positions * hidden, 1.0),
            r.typed(t, 2 * hidden, 1.0),
        );
        let (gamma, beta) = (r.floats(hidden, 0.1, 1.0), r.floats(hidden, 0.1, 0.0));
        // An id and a position that are out of range mean the last row.
        let (ids, at, kinds) = ([3, 8, 0, 1000, 7, 2], [0, 1, 2, 3, 9, 4], [0, 1, 0, 1, 1, 0]);
        let h = &mut m.heap;
        let out = h.reserve(8 * hidden * 2);
        let arguments = Arguments::new()
            .pointer(put_u32(h, &[tokens as u32]))
            .pointer(put_u32(h, &ids))
            .pointer(put_u32(h, &at))
            .pointer(put_u32(h, &kinds))
            .pointer(put_u16(h, &word))
            .pointer(put_u16(h, &position))
            .pointer(put_u16(h, &kind))
            .pointer(put_f32(h, &gamma))
            .pointer(put_f32(h, &beta))
            .pointer(out)
            .u32(hidden as u32)
            .u32(words as u32)
            .u32(positions as u32)
            .u32(2)
            .f32(1e-12)
            .u32(0);
        m.launch(&format!("pk_embed_{}", t.suffix()), [2, 1], WAVES, &arguments).unwrap();
        let mut expected = Vec::new();
        for token in 0..tokens {
            let row = |table: &[u16], index: u32, rows: usize| {
                let first = (index as usize).min(rows - 1) * hidden;
                table[first..first + hidden].iter().map(|v| t.widen(*v)).collect::<Vec<_>>()
            };
            let parts = [
                row(&word, ids[token], words),
                row(&position, at[token], positions),
                row(&kind, kinds[token], 2),
            ];
            let sum: Vec<f64> = (0..hidden).map(|i| parts.iter().map(|p| p[i]).sum()).collect();
            expected.extend(layer_norm(&sum, &gamma, &beta, 1e-12));
        }
        let got = get_u16(&m.heap, out, tokens * hidden).into_iter().map(|v| t.widen(v));
        assert_near(what, got, &expected, t.tolerance());
        assert!(m.heap.untouched(Address(out.0 + (tokens * hidden * 2) as u64), 2 * hidden * 2));
    });
}

#[test]
fn rows_are_normalized_with_their_residual() {
    everywhere(|m, t, what| {
        for (rows, hidden) in [(5, 72), (3, 1024)] {
            let mut r = Random(2);
            let (x, residual) = (r.typed(t, rows * hidden, 1.0), r.typed(t, rows * hidden, 1.0));
            let (gamma, beta) = (r.floats(hidden, 0.1, 1.0), r.floats(hidden, 0.1, 0.0));
            let h = &mut m.heap;
            let (sum, out) = (h.reserve(rows * hidden * 2), h.reserve(rows * hidden * 2));
            let arguments = Arguments::new()
                .pointer(put_u32(h, &[rows as u32]))
                .pointer(put_u16(h, &x))
                .pointer(put_u16(h, &residual))
                .pointer(put_f32(h, &gamma))
                .pointer(put_f32(h, &beta))
                .pointer(sum)
                .pointer(out)
                .u32(hidden as u32)
                .f32(1e-5);
            m.launch(&format!("pk_norm_{}", t.suffix()), [2, 1], WAVES, &arguments).unwrap();
            let added: Vec<f64> = x.iter().zip(&residual).map(|(a, b)| t.widen(*a) + t.widen(*b)).collect();
            let expected: Vec<f64> =
                added.chunks(hidden).flat_map(|row| layer_norm(row, &gamma, &beta, 1e-5)).collect();
            let typed = |at| get_u16(&m.heap, at, rows * hidden).into_iter().map(|v| t.widen(v));
            assert_near(what, typed(sum), &added, t.tolerance());
            assert_near(what, typed(out), &expected, t.tolerance());
        }
    });
}

struct Gemm {
    tile: &'static str,
    block: [usize; 2],
    rows: usize,
    n: usize,
    k: usize,
    activation: u32,
    residual: bool,
}

impl Gemm {
    fn columns(&self) -> usize {
        if self.activation == GEGLU { self.n / 2 } else { self.n }
    }

    /// The output at `out` is what follows from the sums, `sum(row, weight row)`, bias included.
    fn check(
        &self,
        (m, t, what): (&Machine, Type, &str),
        out: Address,
        residual: &[u16],
        sum: impl Fn(usize, usize) -> f64,
    ) {
        let residual: Vec<f64> = residual.iter().map(|v| t.widen(*v)).collect();
        let expected = epilogue(self, &residual, sum);
        let got = get_u16(&m.heap, out, self.rows * self.columns()).into_iter().map(|v| t.widen(v));
        let what = format!("{what} {} {}x{}x{}", self.tile, self.rows, self.n, self.k);
        assert_near(&what, got, &expected, t.tolerance());
    }
}

fn epilogue(c: &Gemm, residual: &[f64], sum: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let columns = c.columns();
    let mut out = Vec::new();
    for row in 0..c.rows {
        for column in 0..columns {
            let v = match c.activation {
                GEGLU => {
                    let gate = column / 16 * 32 + column % 16;
                    gelu(sum(row, gate)) * sum(row, gate + 16)
                }
                GELU => gelu(sum(row, column)),
                TANH => sum(row, column).tanh(),
                _ => sum(row, column),
            };
            out.push(if c.residual { v + residual[row * columns + column] } else { v });
        }
    }
    out
}

fn gemm_cases() -> [Gemm; 7] {
    let case = |tile, block, rows, n, k, activation, residual| Gemm {
        tile,
        block,
        rows,
        n,
        k,
        activation,
        residual,
    };
    [
        case("skinny", [32, 16], 19, 48, 160, NONE, true),
        case("skinny", [32, 16], 5, 64, 32, GEGLU, false),
        case("skinny", [32, 16], 16, 32, 128, GELU, false),
        case("mid", [64, 64], 70, 80, 96, GELU, true),
        case("mid", [64, 64], 9, 96, 64, GEGLU, true),
        case("fat", [128, 128], 131, 144, 64, TANH, true),
        case("fat", [128, 128], 33, 160, 32, GEGLU, false),
    ]
}

fn grid(c: &Gemm) -> [u32; 2] {
    [c.n.div_ceil(c.block[0]) as u32, c.rows.div_ceil(c.block[1]) as u32 + 1]
}

#[test]
fn matrix_products_end_in_their_epilogues() {
    everywhere(|m, t, what| {
        for c in gemm_cases() {
            let mut r = Random(3);
            let columns = c.columns();
            let (a, w) = (r.typed(t, c.rows * c.k, 1.0), r.typed(t, c.n * c.k, 0.1));
            let (bias, addend) = (r.floats(c.n, 1.0, 0.0), r.typed(t, c.rows * columns, 1.0));
            let h = &mut m.heap;
            let out = h.reserve(c.rows * columns * 2);
            let arguments = Arguments::new()
                .pointer(put_u32(h, &[c.rows as u32]))
                .pointer(put_u16(h, &a))
                .pointer(put_u16(h, &w))
                .pointer(put_f32(h, &bias))
                .pointer(if c.residual { put_u16(h, &addend) } else { Address::NULL })
                .pointer(out)
                .u32(c.n as u32)
                .u32(c.k as u32)
                .u32(c.activation)
                .u32(0);
            m.launch(&format!("pk_gemm_{}_{}", c.tile, t.suffix()), grid(&c), WAVES, &arguments).unwrap();
            c.check((m, t, what), out, &addend, |row, n| {
                (0..c.k)
                    .fold(f64::from(bias[n]), |s, k| s + t.widen(a[row * c.k + k]) * t.widen(w[n * c.k + k]))
            });
        }
    });
}

#[test]
fn quantized_products_are_exact_up_to_the_last_rounding() {
    everywhere(|m, t, what| {
        for c in gemm_cases().into_iter().filter(|c| c.tile != "fat") {
            let mut r = Random(4);
            let columns = c.columns();
            let x = r.typed(t, c.rows * c.k, 1.0);
            let w: Vec<u8> = (0..c.n * c.k).map(|_| (r.below(255) as i32 - 127) as u8).collect();
            let (w_scale, bias) = (r.floats(c.n, 0.0002, 0.001), r.floats(c.n, 1.0, 0.0));
            let addend = r.typed(t, c.rows * columns, 1.0);
            let h = &mut m.heap;
            let rows = put_u32(h, &[c.rows as u32]);
            let (q, a_scale, out) =
                (h.reserve(c.rows * c.k), h.reserve(c.rows * 4), h.reserve(c.rows * columns * 2));
            let quantize = Arguments::new()
                .pointer(rows)
                .pointer(put_u16(h, &x))
                .pointer(q)
                .pointer(a_scale)
                .u32(c.k as u32)
                .u32(0);
            let product = Arguments::new()
                .pointer(rows)
                .pointer(q)
                .pointer(a_scale)
                .pointer(h.put(&w))
                .pointer(put_f32(h, &w_scale))
                .pointer(put_f32(h, &bias))
                .pointer(if c.residual { put_u16(h, &addend) } else { Address::NULL })
                .pointer(out)
                .u32(c.n as u32)
                .u32(c.k as u32)
                .u32(c.activation)
                .u32(0);
            let blocks = c.rows.div_ceil(WAVES as usize) as u32;
            m.launch(&format!("pk_quantize_{}", t.suffix()), [blocks, 1], WAVES, &quantize).unwrap();
            m.launch(&format!("pk_gemm_i8_{}_{}", c.tile, t.suffix()), grid(&c), WAVES, &product).unwrap();

            let q: Vec<f64> =
                m.heap.get(q, c.rows * c.k).unwrap().iter().map(|b| f64::from(*b as i8)).collect();
            let a_scale: Vec<f64> = get_f32(&m.heap, a_scale, c.rows).into_iter().map(f64::from).collect();
            for (row, scale) in a_scale.iter().enumerate() {
                for k in 0..c.k {
                    let at = row * c.k + k;
                    assert!(
                        (q[at] - t.widen(x[at]) / scale).abs() < 0.5001,
                        "{what}: {} of row {row}",
                        q[at]
                    );
                }
            }
            c.check((m, t, &format!("{what} i8")), out, &addend, |row, n| {
                let sum: f64 = (0..c.k).map(|k| q[row * c.k + k] * f64::from(w[n * c.k + k] as i8)).sum();
                sum * a_scale[row] * f64::from(w_scale[n]) + f64::from(bias[n])
            });
        }
    });
}

struct Attention {
    d: usize,
    window: usize,
    rope: bool,
    lengths: &'static [usize],
}

#[test]
fn attention_stays_within_its_sequence_and_window() {
    const CASES: [Attention; 4] = [
        Attention { d: 32, window: 0, rope: false, lengths: &[1, 70] },
        Attention { d: 32, window: 5, rope: false, lengths: &[37] },
        Attention { d: 64, window: 0, rope: true, lengths: &[20, 66] },
        Attention { d: 64, window: 8, rope: true, lengths: &[140] },
    ];
    everywhere(|m, t, what| {
        for c in CASES {
            let mut r = Random(5);
            let (heads, d, positions) = (2, c.d, 100);
            let row = heads * d;
            let tokens: usize = c.lengths.iter().sum();
            let qkv = r.typed(t, tokens * 3 * row, 1.0);
            let angle = |p: usize, i: usize| p as f64 * 10000f64.powf(-2.0 * (i % (d / 2)) as f64 / d as f64);
            let table: Vec<f32> = (0..positions)
                .flat_map(|p| {
                    (0..d).map(move |i| if i < d / 2 { angle(p, i).cos() } else { angle(p, i).sin() })
                })
                .map(|v| v as f32)
                .collect();
            let mut tiles = Vec::new();
            let mut firsts = Vec::new();
            for length in c.lengths {
                let first = firsts.last().map_or(0, |(f, l)| f + l);
                firsts.push((first, *length));
                tiles.extend(
                    (0..*length).step_by(64).flat_map(|q| [first as u32, *length as u32, q as u32, 0]),
                );
            }
            let count = tiles.len() as u32 / 4;
            let h = &mut m.heap;
            let out = h.reserve(tokens * row * 2);
            let arguments = Arguments::new()
                .pointer(put_u32(h, &[count]))
                .pointer(put_u32(h, &tiles))
                .pointer(put_u16(h, &qkv))
                .pointer(if c.rope { put_f32(h, &table) } else { Address::NULL })
                .pointer(out)
                .u32(heads as u32)
                .u32(c.window as u32)
                .u32(positions as u32)
                .f32(1.0 / (d as f32).sqrt());
            m.launch(
                &format!("pk_attention{d}_{}", t.suffix()),
                [count + 1, heads as u32],
                WAVES,
                &arguments,
            )
            .unwrap();

            let mut expected = vec![0.0; tokens * row];
            for (first, length) in firsts {
                for head in 0..heads {
                    let vector = |token: usize, which: usize| {
                        let at = ((first + token) * 3 + which) * row + head * d;
                        let v: Vec<f64> = qkv[at..at + d].iter().map(|v| t.widen(*v)).collect();
                        if !c.rope || which == 2 {
                            return v;
                        }
                        let angles = &table[token.min(positions - 1) * d..][..d];
                        let half = d / 2;
                        let turned = |i: usize| {
                            let (cosine, sine) =
                                (f64::from(angles[i % half]), f64::from(angles[half + i % half]));
                            if i < half {
                                v[i] * cosine - v[i + half] * sine
                            } else {
                                v[i] * cosine + v[i - half] * sine
                            }
                        };
                        (0..d).map(turned).collect()
                    };
                    let [queries, keys, values] =
                        [0, 1, 2].map(|which| (0..length).map(|n| vector(n, which)).collect::<Vec<_>>());
                    for (q, query) in queries.iter().enumerate() {
                        let weight = |(k, key): (usize, &Vec<f64>)| {
                            let dot: f64 = query.iter().zip(key).map(|(a, b)| a * b).sum();
                            let seen = c.window == 0 || q.abs_diff(k) <= c.window;
                            if seen { (dot / (d as f64).sqrt()).exp() } else { 0.0 }
                        };
                        let weights: Vec<f64> = keys.iter().enumerate().map(weight).collect();
                        let total: f64 = weights.iter().sum();
                        for i in 0..d {
                            let v: f64 = weights.iter().zip(&values).map(|(p, v)| p / total * v[i]).sum();
                            expected[(first + q) * row + head * d + i] = v;
                        }
                    }
                }
            }
            let got = get_u16(&m.heap, out, tokens * row).into_iter().map(|v| t.widen(v));
            assert_near(&format!("{what} D {d} window {}", c.window), got, &expected, 3.0 * t.tolerance());
        }
    });
}
