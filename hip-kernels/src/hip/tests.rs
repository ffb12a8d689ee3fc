//! Libraries that are not quite HIP 6, made by a C compiler.

use std::process::Command;

use super::*;

/// A library with every function but `without`, most of which do nothing and succeed. It says that it is `version`, that
/// device 0 has waves of 64, and describes it by `isa` with waves of `wave`.
fn library(version: u32, wave: u32, isa: &str, without: &str) -> Option<(tempfile::TempDir, Source)> {
    let own = [
        ("hipRuntimeGetVersion", format!("(int *v) {{ *v = {version}; return 0; }}")),
        ("hipGetDeviceCount", "(int *n) { *n = 1; return 0; }".to_owned()),
        ("hipDeviceGetAttribute", "(int *v, unsigned a, int d) { *v = 64; return 0; }".to_owned()),
        (
            "hipGetDevicePropertiesR0600",
            format!("(char *p, int d) {{ p[308] = {wave}; strcpy(p + 1160, \"{isa}\"); return 0; }}"),
        ),
    ];
    let body =
        |name: &str| own.iter().find(|(of, _)| *of == name).map_or("(void) { return 0; }", |(_, body)| body);
    let names = EntryPoints::NAMES.iter().filter(|name| **name != without);
    let functions: String = names.map(|name| format!("unsigned {name}{}\n", body(name))).collect();
    let source =
        format!("#include <string.h>\n{functions}const char *hipGetErrorName(unsigned c) {{ return 0; }}\n");

    let folder = tempfile::tempdir().unwrap();
    let (c, so) = (folder.path().join("hip.c"), folder.path().join("libamdhip64.so"));
    std::fs::write(&c, source).unwrap();
    match Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&so).arg(&c).output() {
        Ok(compiled) => assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr)),
        Err(error) => {
            println!("SKIP there is no C compiler to make a HIP library with ({error})");
            return None;
        }
    }
    Some((folder, Source::File(so)))
}

const HIP_7_1: u32 = 70_100_000;
const HIP_5_2: u32 = 50_221_153;

#[test]
fn a_library_before_hip_6_is_refused() {
    let Some((_folder, old)) = library(HIP_5_2, 64, "gfx90a", "") else { return };
    let Err(Unavailable::TooOld { why, .. }) = Hip::open(&old) else { panic!("HIP 5 is too old") };
    assert_eq!(why, "its version is 5.2");
}

#[test]
fn a_library_that_lacks_a_function_is_refused_by_its_name() {
    let Some((_folder, less)) = library(HIP_7_1, 64, "gfx90a", "hipGraphLaunch") else { return };
    let Err(Unavailable::TooOld { why, .. }) = Hip::open(&less) else { panic!("a function is missing") };
    assert!(why.contains("hipGraphLaunch"), "{why}");
}

#[test]
fn properties_that_lie_elsewhere_are_noticed() {
    for (wave, isa, fine) in
        [(64, "gfx90a:xnack-", true), (32, "gfx90a", false), (64, "", false), (64, "sm_90", false)]
    {
        let Some((_folder, source)) = library(HIP_7_1, wave, isa, "") else { return };
        let described = Hip::open(&source).unwrap().describe(0);
        match described {
            Ok(info) => assert!(fine && info.architecture() == "gfx90a", "{info:?}"),
            Err(error) => assert!(!fine && matches!(error, Unavailable::Layout(_)), "{error}"),
        }
    }
}

#[test]
fn an_error_without_a_name_is_told_by_its_number() {
    let Some((_folder, source)) = library(HIP_7_1, 64, "gfx90a", "") else { return };
    let hip = Hip::open(&source).unwrap();
    let error = hip.entry.check("hipMalloc", 12_345).unwrap_err();
    assert_eq!(error.to_string(), "hipMalloc: unnamed (12345)");
}
