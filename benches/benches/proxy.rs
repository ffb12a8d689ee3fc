//! Pintle beside nginx: CPU time per request, same origin, same load tool, proxy pinned to one core.
//!
//! nginx forwards blindly; Pintle parses the body, recognises the session, evaluates signals and decisions,
//! patches the model, watches the answer, commits the session and writes a flow document. Both run in the
//! same rounds, alternately, on core 1; the load generator (wrk) and the origin (another nginx with a
//! fixed answer) share core 0. CPU time is that of all threads of the proxy's processes, from
//! `/proc/PID/task/*/schedstat`, divided by the requests that wrk counted.
//!
//! Then the same with an origin that speaks TLS 1.3, whose certificate both check.
//!
//! Not measured: latency under a given rate, several cores. See docs/performance.md.

use std::error::Error;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 5;
const SECONDS: u32 = 2;
const CONNECTIONS: u32 = 64;
/// A name of the origin in its certificate: nginx does not look for addresses there.
const ORIGIN: &str = "origin.test";
const SIZES: [(&str, usize); 2] = [("POST 1 KiB", 1 << 10), ("POST 16 KiB", 16 << 10)];

fn main() {
    // `cargo test --benches` calls this too; there is nothing to measure then.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    for tool in ["nginx", "wrk", "taskset"] {
        if Command::new("which")
            .arg(tool)
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| !status.success())
        {
            println!("SKIP proxy: {tool} is not installed; `make bench` installs it");
            return;
        }
    }
    if let Err(error) = run() {
        eprintln!("proxy: {error}");
        std::process::exit(1);
    }
}

/// What the origin speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Http,
    Https,
}

impl Origin {
    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

fn run() -> Outcome<()> {
    println!(
        "{ROUNDS} rounds of {SECONDS} s each, {CONNECTIONS} connections, alternating; medians [min..max]"
    );
    for origin in [Origin::Http, Origin::Https] {
        println!("\norigin over {}", origin.scheme());
        compare(origin)?;
    }
    Ok(())
}

fn compare(speaks: Origin) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let pintle_binary = pintle_binary()?;
    certify(dir.path())?;
    let origin = free_port()?;
    let _origin = nginx(dir.path(), "origin", &origin_configuration(origin, speaks), 0)?;
    wait_for(origin)?;
    let nginx_port = free_port()?;
    let nginx = nginx(dir.path(), "proxy", &proxy_configuration(nginx_port, origin, speaks), 1)?;
    wait_for(nginx_port)?;
    let pintle_port = free_port()?;
    let pintle = pintle(&pintle_binary, dir.path(), pintle_port, origin, speaks)?;
    wait_for(pintle_port)?;

    let peers = [("nginx", nginx_port, &nginx), ("pintle", pintle_port, &pintle)];
    for (title, size) in SIZES {
        let script = dir.path().join("post.lua");
        fs::write(&script, lua(size))?;
        let mut workers = Vec::new();
        let mut cpu = [Vec::new(), Vec::new()];
        let mut rate = [Vec::new(), Vec::new()];
        let mut ratios = Vec::new();
        for round in 0..=ROUNDS {
            let mut of_round = [0.0; 2];
            for (at, (name, port, process)) in peers.iter().enumerate() {
                let before = cpu_ns(process.0.id())?;
                let load = wrk(*port, &script)?;
                let after = cpu_ns(process.0.id())?;
                let used = after.all - before.all;
                if load.errors > 0 {
                    return Err(format!("{name}: {} requests failed", load.errors).into());
                }
                let per_request = |ns: u64| ns as f64 / 1e3 / load.requests as f64;
                of_round[at] = per_request(used);
                if round > 0 && *name == "pintle" {
                    workers.push(per_request(after.workers - before.workers));
                }
                // The first round warms connections, caches and the branch predictor.
                if round > 0 {
                    cpu[at].push(of_round[at]);
                    rate[at].push(load.requests as f64 / f64::from(SECONDS));
                }
            }
            if round > 0 {
                ratios.push(of_round[1] / of_round[0]);
            }
        }
        println!("\n{title}");
        for (at, (name, ..)) in peers.iter().enumerate() {
            println!(
                "  {name:<8} CPU us/request {}   requests/s {}",
                spread(&mut cpu[at], 1),
                spread(&mut rate[at], 0)
            );
        }
        println!("  pintle / nginx, CPU per request: {}", spread(&mut ratios, 2));
        println!("  pintle's worker alone, CPU us/request: {}", spread(&mut workers, 1));
    }
    println!("  peak memory: nginx {} KiB, pintle {} KiB", peak_kib(nginx.0.id())?, peak_kib(pintle.0.id())?);
    Ok(())
}

fn spread(samples: &mut [f64], digits: usize) -> String {
    samples.sort_by(f64::total_cmp);
    let median = samples[samples.len() / 2];
    format!("{median:.digits$} [{:.digits$}..{:.digits$}]", samples[0], samples[samples.len() - 1])
}

/// A child that is stopped when it goes out of scope.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM lets nginx's master take its worker along.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn nginx(dir: &Path, name: &str, configuration: &str, core: usize) -> Outcome<Process> {
    let file = dir.join(format!("{name}.conf"));
    let configuration = configuration.replace("@DIR@", &dir.join(name).display().to_string());
    let configuration = configuration.replace("@CERTIFICATES@", &dir.display().to_string());
    fs::write(&file, configuration.replace("@ORIGIN@", ORIGIN))?;
    fs::create_dir_all(dir.join(name))?;
    let child = Command::new("taskset")
        .args(["-c", &core.to_string(), "nginx", "-p"])
        .arg(dir.join(name))
        .arg("-c")
        .arg(&file)
        .args(["-g", "daemon off;"])
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Process(child))
}

const NGINX_COMMON: &str = "worker_processes 1; pid @DIR@/pid; error_log /dev/null; events { worker_connections 4096; }\n\
http { access_log off; client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy; \
fastcgi_temp_path @DIR@/fastcgi; uwsgi_temp_path @DIR@/uwsgi; scgi_temp_path @DIR@/scgi; \
keepalive_requests 100000000; client_max_body_size 32m; client_body_buffer_size 64k;\n";

/// An authority and the origin's certificate, in files of `dir`.
fn certify(dir: &Path) -> Outcome<()> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // With one name for both, OpenSSL takes the origin's certificate for one that signs itself.
    authority.distinguished_name.push(DnType::CommonName, "the benchmark's authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let origin = CertificateParams::new(vec!["127.0.0.1".to_owned(), ORIGIN.to_owned()])?
        .signed_by(&key, &authority)?;
    fs::write(dir.join("ca.pem"), authority.pem())?;
    fs::write(dir.join("origin.pem"), origin.pem())?;
    fs::write(dir.join("origin.key"), key.serialize_pem())?;
    Ok(())
}

fn origin_configuration(port: u16, speaks: Origin) -> String {
    let answer = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":2,"total_tokens":22}}"#;
    let tls = match speaks {
        Origin::Http => "",
        Origin::Https => {
            "ssl; ssl_protocols TLSv1.3; ssl_certificate @CERTIFICATES@/origin.pem; \
             ssl_certificate_key @CERTIFICATES@/origin.key"
        }
    };
    format!(
        "{NGINX_COMMON} server {{ listen 127.0.0.1:{port} {tls}; location / {{ default_type application/json; return 200 '{answer}'; }} }} }}"
    )
}

fn proxy_configuration(port: u16, origin: u16, speaks: Origin) -> String {
    let scheme = speaks.scheme();
    let tls = match speaks {
        Origin::Http => "",
        Origin::Https => {
            "proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_name @ORIGIN@; \
             proxy_ssl_trusted_certificate @CERTIFICATES@/ca.pem;"
        }
    };
    format!(
        "{NGINX_COMMON} upstream o {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 100000000; }} \
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {scheme}://o; {tls} proxy_http_version 1.1; \
         proxy_set_header Connection ''; proxy_buffering off; }} }} }}"
    )
}

fn pintle(binary: &Path, dir: &Path, port: u16, origin: u16, speaks: Origin) -> Outcome<Process> {
    let file = dir.join("pintle.yaml");
    let mut configuration =
        pintle_configuration(port, &format!("{}://127.0.0.1:{origin}", speaks.scheme()), free_port()?);
    if speaks == Origin::Https {
        let ca = dir.join("ca.pem");
        configuration.push_str(&format!("    tls: {{system_roots: false, ca_file: {}}}\n", ca.display()));
    }
    fs::write(&file, configuration)?;
    let child = Command::new("taskset")
        .args(["-c", "1"])
        .arg(binary)
        .args(["serve", "--workers", "1", "--config"])
        .arg(&file)
        .arg("--state-dir")
        .arg(dir.join("state"))
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Process(child))
}

/// Three priced models at one origin, four kinds of signals, three decisions with session policy.
fn pintle_configuration(port: u16, origin: &str, admin: u16) -> String {
    let model = |name: &str, prices: [f64; 3]| {
        format!(
            "    - name: {name}\n      backend_refs: [{{name: origin, endpoint: \"{origin}\"}}]\n      \
             pricing: {{prompt_per_1m: {}, completion_per_1m: {}, cached_input_per_1m: {}}}\n",
            prices[0], prices[1], prices[2]
        )
    };
    format!(
        "version: v0.3\nlisteners:\n  - {{name: bench, address: 127.0.0.1, port: {port}}}\nproviders:\n  \
         defaults: {{default_model: small}}\n  models:\n{}{}{}routing:\n  modelCards:\n    \
         - {{name: small, quality_score: 0.64, context_window_size: 32768}}\n    \
         - {{name: large, quality_score: 0.78, context_window_size: 131072}}\n    \
         - {{name: frontier, quality_score: 0.94, context_window_size: 200000}}\n  signals:\n    keywords:\n      \
         - {{name: hard, operator: OR, keywords: [prove, \"race condition\", architecture, deadlock]}}\n      \
         - {{name: fix, operator: OR, keywords: [fix it, typo, rename]}}\n    context:\n      \
         - {{name: long, min_tokens: \"16K\", max_tokens: \"1M\"}}\n    conversation:\n      \
         - {{name: tools, feature: {{type: exists, source: {{type: tool_definition}}}}}}\n    structure:\n      \
         - {{name: questions, feature: {{type: count, source: {{type: regex, pattern: \"[?]\"}}}}, predicate: {{gte: 3}}}}\n  \
         decisions:\n    - name: hard\n      priority: 30\n      rules: {{operator: OR, conditions: [{{type: keyword, name: hard}}, {{type: structure, name: questions}}]}}\n      \
         modelRefs: [{{model: frontier}}, {{model: large}}]\n      algorithm: {{type: session_aware, session_aware: {{base_method: static}}}}\n    \
         - name: agent\n      priority: 20\n      rules: {{operator: AND, conditions: [{{type: conversation, name: tools}}, {{operator: NOT, conditions: [{{type: context, name: long}}]}}]}}\n      \
         modelRefs: [{{model: large}}, {{model: small}}]\n      algorithm: {{type: session_aware, session_aware: {{base_method: static}}}}\n    \
         - name: rest\n      priority: 1\n      rules: {{operator: AND, conditions: []}}\n      \
         modelRefs: [{{model: small}}, {{model: large}}]\n      algorithm: {{type: session_aware, session_aware: {{base_method: static}}}}\n\
         global:\n  pintle:\n    admin: {{listen: \"127.0.0.1:{admin}\"}}\n",
        model("small", [0.05, 0.10, 0.01]),
        model("large", [0.30, 0.60, 0.06]),
        model("frontier", [8.0, 24.0, 1.2]),
    )
}

/// A wrk script: a chat body of about `size` bytes, ten thousand sessions in turn.
fn lua(size: usize) -> String {
    let prose = "The parser drops the last token when the file has no newline; see the failing test below. ";
    let text = prose.repeat(size / prose.len() + 1);
    let body = format!(
        "{{\"model\":\"auto\",\"messages\":[{{\"role\":\"system\",\"content\":\"You are a careful engineer.\"}},{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        &text[..size.saturating_sub(130)]
    );
    format!(
        "local body = '{body}'\nlocal n = 0\nrequest = function()\n  n = n + 1\n  return wrk.format('POST', \
         '/v1/chat/completions', {{['Content-Type'] = 'application/json', ['x-session-id'] = 's' .. (n % 10000)}}, body)\nend\n\
         done = function(summary)\n  io.write(string.format('RESULT %d %d\\n', summary.requests, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout))\nend\n"
    )
}

struct Load {
    requests: u64,
    errors: u64,
}

fn wrk(port: u16, script: &Path) -> Outcome<Load> {
    let output = Command::new("taskset")
        .args(["-c", "0", "wrk", "-t1"])
        .arg(format!("-c{CONNECTIONS}"))
        .arg(format!("-d{SECONDS}s"))
        .arg("-s")
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT ")).ok_or("wrk printed no result")?;
    let (requests, errors) = line.split_once(' ').ok_or("wrk printed half a result")?;
    Ok(Load { requests: requests.parse()?, errors: errors.parse()? })
}

/// CPU time in nanoseconds.
#[derive(Default)]
struct Cpu {
    /// Of a process and its children.
    all: u64,
    /// Of threads that move bytes; the others write flow documents and answer operators.
    workers: u64,
}

fn cpu_ns(pid: u32) -> Outcome<Cpu> {
    let mut sum = Cpu::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        let text = fs::read_to_string(task.join("schedstat"))?;
        let ns = text.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
        sum.all += ns;
        if fs::read_to_string(task.join("comm"))?.starts_with("pintle-worker") {
            sum.workers += ns;
        }
    }
    for child in children(pid)? {
        sum.all += cpu_ns(child)?.all;
    }
    Ok(sum)
}

fn children(pid: u32) -> Outcome<Vec<u32>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        all.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(all)
}

fn peak_kib(pid: u32) -> Outcome<u64> {
    let of = |pid: u32| -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        // Private memory only: session memory is a mapped file of fixed size.
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0");
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    };
    children(pid)?.into_iter().try_fold(of(pid)?, |sum, child| Ok(sum + of(child)?))
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            return Err(format!("nothing listens on port {port}").into());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

/// The release binary beside this benchmark, or the one that `PINTLE_BIN` names.
#[expect(clippy::disallowed_methods, reason = "a benchmark's own command line")]
fn pintle_binary() -> Outcome<PathBuf> {
    if let Some(given) = std::env::var_os("PINTLE_BIN") {
        return Ok(given.into());
    }
    let me = std::env::current_exe()?;
    let beside = me.ancestors().nth(2).ok_or("no target directory")?.join("pintle");
    if beside.exists() {
        Ok(beside)
    } else {
        Err(format!("{} is missing: cargo build --release -p pintle", beside.display()).into())
    }
}
