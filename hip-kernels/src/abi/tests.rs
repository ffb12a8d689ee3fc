//! The header and its mirror, compared by a C compiler.

use std::fmt::Write as _;
use std::process::Command;

use super::*;

/// A struct's namesake, size and fields.
struct Layout {
    c_name: &'static str,
    size: usize,
    fields: &'static [(&'static str, usize, usize)],
}

fn layout<T: Mirror>() -> Layout {
    Layout { c_name: T::C_NAME, size: size_of::<T>(), fields: T::FIELDS }
}

fn layouts() -> Vec<Layout> {
    vec![
        layout::<EmbedArgs>(),
        layout::<NormArgs>(),
        layout::<GemmArgs>(),
        layout::<QuantizeArgs>(),
        layout::<GemmI8Args>(),
        layout::<Tile>(),
        layout::<AttentionArgs>(),
        layout::<PoolArgs>(),
        layout::<Bank>(),
        layout::<BankScore>(),
        layout::<PrototypesArgs>(),
        layout::<Label>(),
        layout::<HeadArgs>(),
        layout::<TopkArgs>(),
    ]
}

const CONSTANTS: [(&str, u32); 19] = [
    ("PK_ABI_VERSION", ABI_VERSION),
    ("PK_WAVES", WAVES),
    ("PK_MAX_HIDDEN", MAX_HIDDEN),
    ("PK_MAX_CLASSES", MAX_CLASSES),
    ("PK_MAX_TOPK", MAX_TOPK),
    ("PK_MAX_TOP_M", MAX_TOP_M),
    ("PK_QUERY_TILE", QUERY_TILE),
    ("PK_GEMM_K", GEMM_K),
    ("PK_GEMM_N", GEMM_N),
    ("PK_NONE", NONE),
    ("PK_GELU", GELU),
    ("PK_TANH", TANH),
    ("PK_GEGLU", GEGLU),
    ("PK_POOL_MEAN", POOL_MEAN),
    ("PK_POOL_CLS", POOL_CLS),
    ("PK_SOFTMAX", SOFTMAX),
    ("PK_SIGMOID", SIGMOID),
    ("PK_LOGITS", LOGITS),
    ("PK_NO_INDEX", NO_INDEX),
];

const HEADER: &str = include_str!("../../include/pintle_hip_abi.h");

/// Every number that the two must share, one per line.
fn ours() -> String {
    let mut text = String::new();
    for (name, value) in CONSTANTS {
        let _ = writeln!(text, "{name} {value}");
    }
    for layout in layouts() {
        let _ = writeln!(text, "{} {}", layout.c_name, layout.size);
        for (field, offset, size) in layout.fields {
            let _ = writeln!(text, "{}.{field} {offset} {size}", layout.c_name);
        }
    }
    text.replace("r#", "")
}

/// A program that prints what [`ours`] says, out of the header.
fn program() -> String {
    let mut body = String::new();
    for (name, _) in CONSTANTS {
        let _ = writeln!(body, "printf(\"%s %u\\n\", \"{name}\", (unsigned)({name}));");
    }
    for layout in layouts() {
        let c = layout.c_name;
        let _ = writeln!(body, "printf(\"{c} %zu\\n\", sizeof({c}));");
        for (field, ..) in layout.fields {
            let field = field.trim_start_matches("r#");
            let _ = writeln!(
                body,
                "printf(\"{c}.{field} %zu %zu\\n\", offsetof({c}, {field}), sizeof((({c} *)0)->{field}));"
            );
        }
    }
    format!("#include \"pintle_hip_abi.h\"\n#include <stdio.h>\nint main(void) {{\n{body}return 0;\n}}\n")
}

#[test]
fn every_size_offset_and_limit_is_the_headers() {
    let folder = tempfile::tempdir().unwrap();
    let (source, binary) = (folder.path().join("abi.c"), folder.path().join("abi"));
    std::fs::write(&source, program()).unwrap();
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
    let compiler =
        Command::new("cc").args(["-std=c11", "-I", include, "-o"]).arg(&binary).arg(&source).output();
    let compiled = match compiler {
        Ok(compiled) => compiled,
        Err(error) => {
            println!("SKIP there is no C compiler to read the kernels' header with ({error})");
            return;
        }
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let theirs = Command::new(&binary).output().unwrap();
    assert_eq!(String::from_utf8(theirs.stdout).unwrap(), ours());
}

/// Sizes tell when a field is added; this tells when a struct or a limit is.
#[test]
fn nothing_of_the_header_is_left_out() {
    let structs = HEADER.lines().filter_map(|line| line.strip_prefix("typedef struct pk_"));
    let structs: Vec<String> = structs.map(|rest| format!("pk_{}", rest.trim_end_matches(" {"))).collect();
    let mirrored: Vec<&str> = layouts().iter().map(|layout| layout.c_name).collect();
    assert_eq!(structs, mirrored);

    let limits = HEADER.lines().filter_map(|line| line.strip_prefix("#define PK_"));
    for limit in limits.filter(|rest| !rest.starts_with("SIZE(")) {
        let name = format!("PK_{}", limit.split_whitespace().next().unwrap_or_default());
        assert!(CONSTANTS.iter().any(|(known, _)| *known == name), "{name} has no mirror");
    }
}
