//! Prints the session-routing benchmark: the published workload, then every other family.
//!
//! `cargo run --release -p pintle-benches --example saar [DRAWING.svg]`

use std::error::Error;

use pintle_benches::saar::{Options, overview, run_families, run_published, svg};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::default();
    let published = run_published(&options);
    println!("{published}");
    if let Some(path) = std::env::args_os().nth(1) {
        std::fs::write(path, svg::draw(&published))?;
    }
    let families = run_families(&options);
    for report in &families {
        println!("{report}");
    }
    print!("{}", overview(&families));
    Ok(())
}
