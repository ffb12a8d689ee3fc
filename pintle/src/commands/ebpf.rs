//! `pintle ebpf`: Pintle's programs in the kernel, whichever process they belong to.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use pintle_ebpf::loaded::{self, Loaded};

use crate::cli::EbpfCommand;
use crate::output::print;

pub(super) fn run(command: EbpfCommand) -> Result<ExitCode, Box<dyn Error>> {
    let programs = loaded::loaded()?;
    match command {
        EbpfCommand::Ls { json: true } => print(&format!("{}\n", serde_json::to_string(&programs)?))?,
        EbpfCommand::Ls { json: false } => print(&table(&programs)?)?,
        EbpfCommand::Detach { link } => return detach(&programs, &link),
    }
    Ok(ExitCode::SUCCESS)
}

fn table(programs: &[Loaded]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    if programs.is_empty() {
        writeln!(text, "no program of Pintle's is loaded")?;
        return Ok(text);
    }
    writeln!(text, "{:>8} {:<16} {:<10} {:>12} {:>12}  ATTACHED", "PROGRAM", "NAME", "FOR", "RUNS", "MEAN")?;
    for program in programs {
        let mean = match program.runs {
            0 => "-".to_owned(),
            runs => format!("{} ns", program.run_time.as_nanos() / u128::from(runs)),
        };
        let attached = match (&program.links[..], program.feature) {
            ([], "steering") => "by its listeners".to_owned(),
            ([], _) => "no more".to_owned(),
            (links, _) => {
                format!("link {}", links.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))
            }
        };
        writeln!(
            text,
            "{:>8} {:<16} {:<10} {:>12} {mean:>12}  {attached}",
            program.id, program.name, program.feature, program.runs
        )?;
    }
    Ok(text)
}

fn detach(programs: &[Loaded], only: &[u32]) -> Result<ExitCode, Box<dyn Error>> {
    let (mut done, mut left) = (0, 0);
    for program in programs {
        for link in program.links.iter().filter(|link| only.is_empty() || only.contains(link)) {
            match loaded::detach(*link) {
                Ok(()) => {
                    done += 1;
                    println!("detached link {link} of {}", program.name);
                }
                // Gone by itself in the meantime.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    left += 1;
                    eprintln!("pintle: link {link} of {} stays: {error}", program.name);
                }
            }
        }
    }
    if programs.iter().any(|program| program.feature == "steering") {
        println!("steering belongs to listening sockets, and goes when they are closed");
    }
    println!("{done} detached, {left} left");
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn programs_are_listed_with_their_cost() {
        let program = |name: &str, feature, links: &[u32], runs| Loaded {
            id: 41,
            name: name.to_owned(),
            feature,
            links: links.to_vec(),
            runs,
            run_time: Duration::from_micros(3),
        };
        let text = table(&[
            program("pintle_guard_xd", "guard", &[7, 8], 10),
            program("pintle_steer_0", "steering", &[], 0),
        ])
        .unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["41", "pintle_guard_xd", "guard", "10", "300", "ns", "link", "7,", "8"]);
        assert_eq!(lines[2], ["41", "pintle_steer_0", "steering", "0", "-", "by", "its", "listeners"]);
        assert_eq!(table(&[]).unwrap(), "no program of Pintle's is loaded\n");
    }
}
