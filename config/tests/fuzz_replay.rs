//! Runs the checks of the fuzz target for configurations on the stable toolchain.

#[path = "../../fuzz/src/config.rs"]
mod checks;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

/// Tokens that YAML and the contract treat specially.
const TOKENS: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"  ",
    b"\t",
    b"- ",
    b": ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"#",
    b" # c\n",
    b"\"",
    b"'",
    b"\\",
    b"|\n",
    b">-\n",
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"!!int ",
    b"---\n",
    b"null",
    b"\xff",
    b"global:\n",
    b"routing:\n",
];

#[test]
fn config_load() {
    replay::replay("config_load", TOKENS, checks::config_load);
}
