//! `pintle config check` and `pintle config explain`.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use pintle_config::{CheckOptions, Format, Profile};
use pintle_routing::limits::Limits;

use crate::cli::{Check, FormatArg, ProfileArg};
use crate::output::print;

pub(super) fn check(options: &Check) -> Result<ExitCode, Box<dyn Error>> {
    let (bytes, name) = read(&options.file)?;
    let profile = match options.profile {
        ProfileArg::Pintle => Profile::Pintle,
        ProfileArg::Compat => Profile::Compat,
    };
    let report = pintle_config::check(&bytes, &name, CheckOptions { profile, strict: options.strict });
    let format = match options.format {
        FormatArg::Human => Format::Human,
        FormatArg::Json => Format::Json,
        FormatArg::Sarif => Format::Sarif,
    };
    let mut text = pintle_config::render(&report, format, &bytes);
    let mut failed = report.has_errors();
    if matches!(options.format, FormatArg::Human) {
        // What only shows when the parts are put together: a rule's regular expression, for example.
        if !failed && let Some(config) = pintle_config::load(&bytes, &name, profile).config {
            match crate::pretrained::policy(&config, profile) {
                Ok(policy) => {
                    let limits = Limits::compile(&config);
                    let loopers = crate::loopers::notes(&policy);
                    text.extend(loopers.iter().map(|line| format!("note: {line}\n")));
                    text.extend(
                        policy.notes().iter().chain(limits.notes()).map(|note| format!("note: {note}\n")),
                    );
                }
                Err(errors) => {
                    text.extend(errors.iter().map(|error| format!("error: {error}\n")));
                    failed = profile == Profile::Pintle;
                }
            }
        }
    }
    print(&text)?;
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

pub(super) fn read(path: &Path) -> io::Result<(Vec<u8>, String)> {
    // One byte more than is allowed, so that the parser sees that it is too large and says so.
    let most = pintle_config::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().take(most).read_to_end(&mut bytes)?;
        return Ok((bytes, "standard input".to_owned()));
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, name))
}

pub(super) fn explain(code: Option<&str>) -> Result<ExitCode, Box<dyn Error>> {
    let Some(code) = code else {
        let lines = pintle_config::explanations().iter();
        print(&lines.map(|known| format!("{}  {}\n", known.code, known.title)).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    };
    match pintle_config::explain(code) {
        Some(known) => {
            print(&format!("{}: {}\n\n{}\n\n{}\n", known.code, known.title, known.why, known.fix))?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            eprintln!("pintle: there is no code {code}; `pintle config explain` lists all");
            Ok(ExitCode::from(1))
        }
    }
}
