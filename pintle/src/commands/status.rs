//! `pintle status`: what the running gateway says of itself.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cli::Status;
use crate::output::print;

/// Largest answer that is read.
const MAX_ANSWER: u64 = 16 << 20;
/// Patience with a gateway that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(options: &Status) -> Result<ExitCode, Box<dyn Error>> {
    let places = match &options.admin {
        Some(place) => vec![place.clone()],
        None => configured(&options.config)?,
    };
    let mut failure = "the admin API is switched off: global.pintle.admin".to_owned();
    for place in places {
        match ask(&place) {
            Ok(answer) => {
                let document: Value = serde_json::from_slice(body(&answer)?)?;
                let text = if options.json {
                    format!("{document}\n")
                } else {
                    describe(&document, io::stdout().is_terminal())?
                };
                print(&text)?;
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => failure = format!("no gateway answers on {place}: {error}"),
        }
    }
    Err(failure.into())
}

/// Where the admin API of a configuration's gateway is: the socket first, which no port forwarding reaches.
fn configured(path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let name = path.display().to_string();
    let loaded = pintle_config::load(&bytes, &name, pintle_config::Profile::Pintle);
    let Some(config) = loaded.config else {
        return Err(
            format!("{name} does not load: `pintle config check` says why; --admin names the place").into()
        );
    };
    let admin = config.global.pintle.admin;
    Ok([admin.socket, admin.listen].into_iter().filter(|place| !place.trim().is_empty()).collect())
}

fn ask(place: &str) -> io::Result<Vec<u8>> {
    if let Ok(address) = place.parse::<SocketAddr>() {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        exchange(stream)
    } else {
        let stream = UnixStream::connect(place)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        exchange(stream)
    }
}

fn exchange(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of a complete 200; the admin API sends JSON with its length.
fn body(answer: &[u8]) -> Result<&[u8], Box<dyn Error>> {
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("the answer has no end of head")?;
    let head = std::str::from_utf8(&answer[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("the gateway answers {status}").into());
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or("the answer does not say its length")?;
    answer[end + 4..].get(..length).ok_or_else(|| "the answer is cut short".into())
}

/// With `colour`, what is not as it should be is red.
fn describe(document: &Value, colour: bool) -> Result<String, std::fmt::Error> {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let plane = &document["data_plane"];
    let mut text = String::new();
    writeln!(
        text,
        "pintle {}, process {}, {} for {} s",
        word(&document["version"]),
        word(&document["pid"]),
        word(&document["phase"]),
        word(&document["uptime_seconds"]),
    )?;
    if let Some(why) = document["health"].as_str() {
        writeln!(text, "not healthy: {why}")?;
    }
    if plane.is_null() {
        return Ok(text);
    }
    writeln!(
        text,
        "policy {}, {} workers, {} connections, {} requests in flight",
        word(&plane["policy_digest"]),
        word(&plane["workers"]),
        word(&plane["connections"]),
        word(&plane["in_flight"]),
    )?;
    for feature in ["steering", "guard", "telemetry"] {
        if let Some(status) = plane["kernel"].get(feature) {
            writeln!(text, "{feature}: {} ({})", word(&status["mode"]), word(&status["why"]))?;
        }
    }
    gpus(&plane["classifier"]["gpu"], colour, &mut text)?;
    for model in plane["models"].as_array().into_iter().flatten() {
        let backends = model["backends"].as_array().map_or(0, Vec::len);
        let up = model["backends"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|backend| backend["up"] == true)
            .count();
        writeln!(text, "model {}: {up} of {backends} backends up", word(&model["model"]))?;
    }
    Ok(text)
}

/// A line for each GPU, or one that says why there is none where one was asked for.
fn gpus(report: &Value, colour: bool, text: &mut String) -> std::fmt::Result {
    let alarm = |line: String| if colour { format!("\x1b[31m{line}\x1b[0m") } else { line };
    let why = report["why"].as_str().unwrap_or_default();
    let devices = report["devices"].as_array().map_or(&[][..], Vec::as_slice);
    if devices.is_empty() && report["well"] == false {
        writeln!(text, "{}", alarm(format!("gpu: none is used, the CPU answers: {why}")))?;
    }
    let waits: Vec<_> =
        report["restart"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !waits.is_empty() {
        writeln!(text, "gpu: restart for other values of {}", waits.join(", "))?;
    }
    for device in devices {
        let (number, name) = (&device["device"], device["name"].as_str().unwrap_or_default());
        match device["resting"].as_str().unwrap_or_default() {
            "" => writeln!(
                text,
                "gpu {number}: {name} ({}), {} models, {} of {} MB, {} of {} calls waiting, \
                 {} texts in {} batches, {:.1} a second since it was opened",
                device["isa"].as_str().unwrap_or_default(),
                device["models"],
                device["memory_used"].as_u64().unwrap_or(0) / 1_000_000,
                device["memory_limit"].as_u64().unwrap_or(0) / 1_000_000,
                device["waiting"],
                device["queue"],
                device["texts"],
                device["batches"],
                device["texts_per_second"].as_f64().unwrap_or(0.0),
            )?,
            why => writeln!(text, "{}", alarm(format!("gpu {number}: rests, the CPU answers: {why}")))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;

    #[test]
    fn it_says_who_does_what_and_why() {
        let document = json!({
            "version": "0.1.0", "pid": 7, "phase": "running", "uptime_seconds": 12, "health": null,
            "data_plane": {
                "policy_digest": "abc", "workers": 2, "connections": 3, "in_flight": 1,
                "kernel": {
                    "steering": { "mode": "kernel", "why": "less loaded of two workers" },
                    "guard": { "mode": "off", "why": "not asked for" },
                    "telemetry": { "mode": "userspace", "why": "CAP_BPF is missing" },
                },
                "models": [{ "model": "small", "backends": [{ "up": true }, { "up": false }] }],
            },
        });
        assert_eq!(
            describe(&document, false).unwrap(),
            "pintle 0.1.0, process 7, running for 12 s\n\
             policy abc, 2 workers, 3 connections, 1 requests in flight\n\
             steering: kernel (less loaded of two workers)\n\
             guard: off (not asked for)\n\
             telemetry: userspace (CAP_BPF is missing)\n\
             model small: 1 of 2 backends up\n"
        );
    }

    #[test]
    fn a_gpu_says_what_it_does_or_why_it_rests() {
        let gpu = |report: Value, colour: bool| {
            let mut text = String::new();
            gpus(&report, colour, &mut text).unwrap();
            text
        };
        assert_eq!(gpu(Value::Null, false), "");
        let none =
            json!({ "asked": "hip", "used": false, "well": false, "why": "no libamdhip64", "devices": [] });
        assert_eq!(gpu(none.clone(), false), "gpu: none is used, the CPU answers: no libamdhip64\n");
        assert!(gpu(none, true).starts_with("\x1b[31mgpu: none"));
        let auto =
            json!({ "asked": "auto", "used": false, "well": true, "why": "no libamdhip64", "devices": [] });
        assert_eq!(gpu(auto, true), "");
        let devices = json!({ "restart": ["classifier.hip.batches (now 2)"], "devices": [
            { "device": 0, "name": "MI300X", "isa": "gfx942", "resting": "", "models": 2, "memory_used": 81_000_000,
              "memory_limit": 4_000_000_000u64, "waiting": 1, "queue": 256, "texts": 90, "batches": 30,
              "texts_per_second": 4.5 },
            { "device": 1, "resting": "no device 1: there are 1" },
        ] });
        assert_eq!(
            gpu(devices, false),
            "gpu: restart for other values of classifier.hip.batches (now 2)\n\
             gpu 0: MI300X (gfx942), 2 models, 81 of 4000 MB, 1 of 256 calls waiting, 90 texts in 30 batches, \
             4.5 a second since it was opened\n\
             gpu 1: rests, the CPU answers: no device 1: there are 1\n"
        );
    }

    #[test]
    fn an_answer_is_asked_for_and_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let read = stream.read(&mut head).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        let answer = ask(&place).unwrap();
        assert_eq!(body(&answer).unwrap(), b"{}");
        assert!(server.join().unwrap().starts_with("GET /status HTTP/1.1\r\n"));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (answer, why) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", "the answer is cut short"),
            ("HTTP/1.1 200 OK\r\n\r\n{}", "the answer does not say its length"),
            ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "the gateway answers HTTP/1.1 503 Busy"),
            ("", "the answer has no end of head"),
        ] {
            assert_eq!(body(answer.as_bytes()).unwrap_err().to_string(), why);
        }
    }
}
