//! What the interpreter must not let pass.

mod support;

use pintle_gfx_interpreter::{Address, Arguments, Fault, Machine};
use support::*;

const HIDDEN: usize = 96;
const ROWS: usize = 4;

fn norm(m: &mut Machine, x: Address, out: Address) -> Result<(), Fault> {
    let ones = vec![1.0; HIDDEN];
    let h = &mut m.heap;
    let arguments = Arguments::new()
        .pointer(put_u32(h, &[ROWS as u32]))
        .pointer(x)
        .pointer(Address::NULL)
        .pointer(put_f32(h, &ones))
        .pointer(Address::NULL)
        .pointer(Address::NULL)
        .pointer(out)
        .u32(HIDDEN as u32)
        .f32(1e-5);
    m.launch("pk_norm_f16", [1, 1], WAVES, &arguments)
}

fn broken(result: Result<(), Fault>, part: &str) {
    match result {
        Err(Fault::Broken { what, .. }) => assert!(what.contains(part), "{what}"),
        other => panic!("{other:?}, expected {part}"),
    }
}

#[test]
fn accesses_outside_of_what_was_given_are_seen() {
    for target in TARGETS {
        let Some(mut m) = machine(target) else { return };
        let bytes = ROWS * HIDDEN * 2;
        let x = put_u16(&mut m.heap, &Random(1).typed(Type::F16, ROWS * HIDDEN, 1.0));
        let out = m.heap.reserve(bytes);
        norm(&mut m, x, out).unwrap();
        let short = m.heap.put(&vec![0; bytes - 2]);
        broken(norm(&mut m, short, out), "outside of every allocation");
        let short = m.heap.reserve(bytes - 2);
        broken(norm(&mut m, x, short), "outside of every allocation");
        let unwritten = m.heap.reserve(bytes);
        broken(norm(&mut m, unwritten, out), "nobody has written");
        broken(norm(&mut m, Address::NULL, out), "not device memory");
        let refused = m.launch("pk_norm_f16", [1, 1], WAVES, &Arguments::new().u32(0));
        assert!(matches!(refused, Err(Fault::Launch { .. })), "{refused:?}");
    }
}

/// Launches a kernel with every barrier in place or one taken out; small inputs, of which only the course matters.
fn launch(m: &mut Machine, kernel: &str) -> Result<(), Fault> {
    let mut r = Random(2);
    let t = if kernel.ends_with("_bf16") { Type::Bf16 } else { Type::F16 };
    let h = &mut m.heap;
    let rows = 20;
    let count = put_u32(h, &[rows as u32]);
    if kernel.starts_with("pk_gemm_i8") {
        let (n, k) = (64, 128);
        let out = h.reserve(rows * n * 2);
        let (a, w) = (h.put(&vec![3; rows * k]), h.put(&vec![5; n * k]));
        let (a_scale, w_scale) = (put_f32(h, &vec![0.1; rows]), put_f32(h, &vec![0.1; n]));
        let arguments =
            Arguments::new().pointer(count).pointer(a).pointer(a_scale).pointer(w).pointer(w_scale);
        let arguments = arguments.pointer(Address::NULL).pointer(Address::NULL).pointer(out);
        return m.launch(kernel, [2, 2], WAVES, &arguments.u32(n as u32).u32(k as u32).u32(0).u32(0));
    }
    if kernel.starts_with("pk_gemm") {
        let (n, k) = (64, 128);
        let out = h.reserve(rows * n * 2);
        let (a, w) = (put_u16(h, &r.typed(t, rows * k, 1.0)), put_u16(h, &r.typed(t, n * k, 1.0)));
        let arguments = Arguments::new().pointer(count).pointer(a).pointer(w).pointer(Address::NULL);
        let arguments =
            arguments.pointer(Address::NULL).pointer(out).u32(n as u32).u32(k as u32).u32(0).u32(0);
        return m.launch(kernel, [2, 2], WAVES, &arguments);
    }
    if kernel.starts_with("pk_attention") {
        let (heads, length) = (1, 130);
        let d = if kernel.contains("64") { 64 } else { 32 };
        let out = h.reserve(length * d * 2);
        let tiles = put_u32(h, &[0, length as u32, 64, 0]);
        let arguments = Arguments::new()
            .pointer(put_u32(h, &[1]))
            .pointer(tiles)
            .pointer(put_u16(h, &r.typed(t, length * 3 * d, 1.0)))
            .pointer(Address::NULL)
            .pointer(out)
            .u32(heads)
            .u32(0)
            .u32(1)
            .f32(0.1);
        return m.launch(kernel, [1, heads], WAVES, &arguments);
    }
    let embedding = h.reserve(HIDDEN * 4);
    let x = put_u16(h, &r.typed(t, 9 * HIDDEN, 1.0));
    let one = put_u32(h, &[1]);
    match kernel.trim_end_matches("_bf16").trim_end_matches("_f16") {
        "pk_pool" => {
            let offsets = put_u32(h, &[0, 9]);
            let arguments = Arguments::new().pointer(one).pointer(offsets).pointer(x).pointer(embedding);
            m.launch(
                kernel,
                [1, 1],
                WAVES,
                &arguments.pointer(Address::NULL).u32(HIDDEN as u32).u32(0).u32(1).u32(0),
            )
        }
        "pk_head" => {
            let arguments =
                Arguments::new().pointer(one).pointer(x).pointer(x).pointer(Address::NULL).pointer(embedding);
            m.launch(
                kernel,
                [1, 1],
                WAVES,
                &arguments.pointer(Address::NULL).u32(HIDDEN as u32).u32(9).u32(0).u32(0),
            )
        }
        "pk_prototypes" => {
            let banks = put_u32(h, &[0, 4, 4, 9, 2, 0.5f32.to_bits()]);
            let (e, p) = (put_f32(h, &r.unit_rows(1, HIDDEN)), put_f32(h, &r.unit_rows(9, HIDDEN)));
            let arguments =
                Arguments::new().pointer(one).pointer(e).pointer(p).pointer(banks).pointer(embedding);
            m.launch(kernel, [1, 1], WAVES, &arguments.u32(HIDDEN as u32).u32(1))
        }
        other => panic!("{other} has no barrier that is known here"),
    }
}

#[test]
fn every_barrier_of_the_machine_code_is_missed() {
    for target in TARGETS {
        let Some(mut m) = machine(target) else { return };
        let kernels: Vec<String> = m.code.kernels().map(str::to_owned).collect();
        let mut taken = 0;
        for kernel in kernels {
            let barriers = m.code.barriers(&kernel);
            if !barriers.is_empty() {
                launch(&mut m, &kernel).unwrap();
            }
            for at in barriers {
                m.code.toggle_barrier(at);
                broken(launch(&mut m, &kernel), "shared byte");
                m.code.toggle_barrier(at);
                taken += 1;
            }
        }
        assert!(taken >= 20, "{target}: {taken} barriers");
    }
}
