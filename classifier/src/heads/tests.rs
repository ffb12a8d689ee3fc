use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView, serialize};

use super::*;
use crate::encoder::Family;
use crate::reader::{EncoderModel, TextModel, Wanted, WindowPolicy};

/// A file of F32 tensors.
fn file(tensors: &[(&str, &[usize], &[f32])], labels: &[(&str, &str)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    let about: HashMap<String, String> =
        labels.iter().map(|(head, labels)| ((*head).to_owned(), (*labels).to_owned())).collect();
    serialize(views, Some(about)).unwrap()
}

/// One layer for attacks, two for subjects.
fn heads() -> Arc<Heads> {
    let bytes = file(
        &[
            ("jailbreak.0.weight", &[2, 2], &[1.0, 0.0, 0.0, 2.0]),
            ("jailbreak.0.bias", &[2], &[0.5, -1.0]),
            ("domain.0.weight", &[1, 2], &[1.0, -1.0]),
            ("domain.0.bias", &[1], &[0.0]),
            ("domain.1.weight", &[3, 1], &[1.0, 2.0, 3.0]),
            ("domain.1.bias", &[3], &[0.0, 0.0, 1.0]),
        ],
        &[("jailbreak", r#"["benign","jailbreak"]"#), ("domain", r#"["a","b","c"]"#), ("author", "us")],
    );
    Arc::new(Heads::parse(&bytes).unwrap())
}

/// Its embedding of a text is (3, 4) / 5 if the text's first token is 1, and (4, 3) / 5 else.
struct Two(EncoderInfo);

impl Two {
    fn shared() -> Arc<dyn Encoder> {
        Arc::new(Self(EncoderInfo {
            name: "two".to_owned(),
            digest: [7; 32],
            family: Family::Static,
            hidden: 2,
            layers: 3,
            max_tokens: 8,
            outputs: vec![OutputInfo {
                name: "embedding".to_owned(),
                kind: OutputKind::Embedding { dimensions: 2 },
            }],
        }))
    }
}

impl Encoder for Two {
    fn info(&self) -> &EncoderInfo {
        &self.0
    }

    fn tokenize(&self, text: &str, max_tokens: usize, out: &mut Tokens) -> Result<(), TokenizeError> {
        out.clear();
        if text.starts_with('!') {
            return Err(TokenizeError::Tokenizer("it fails".to_owned()));
        }
        for (at, byte) in text.bytes().enumerate().take(max_tokens) {
            out.ids.push(u32::from(byte == b'a'));
            out.offsets.push((at as u32, at as u32 + 1));
        }
        out.complete = text.len() <= max_tokens;
        Ok(())
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(TwoSession)
    }
}

struct TwoSession;

impl Session for TwoSession {
    fn encode(&mut self, batch: &Batch, want: Want, out: &mut Encoded) -> Result<(), EncodeError> {
        assert!(want.embedding && !want.sequence && want.dimensions == 0, "what heads need: {want:?}");
        out.clear();
        for range in batch.ranges() {
            let first = batch.ids()[range.start];
            out.pooled.extend(if first == 1 { [0.6, 0.8] } else { [0.8, 0.6] });
        }
        Ok(())
    }
}

fn near(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{got:?}");
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} is not {expected:?}");
}

#[test]
fn logits_of_every_head_stand_in_one_row_per_text() {
    let encoder = HeadedEncoder::new(Two::shared(), heads()).unwrap();
    let labels: Vec<usize> = encoder
        .info()
        .outputs
        .iter()
        .map(|output| match &output.kind {
            OutputKind::Sequence { labels } => labels.len(),
            _ => 0,
        })
        .collect();
    assert_eq!(labels, [0, 3, 2]);
    let mut batch = Batch::default();
    batch.push(&[1]).unwrap();
    batch.push(&[0, 1]).unwrap();
    let mut out = Encoded::default();
    let mut session = encoder.session();
    session.encode(&batch, Want::SEQUENCE, &mut out).unwrap();
    // The first layer of `domain` is cut at 0 for the first text and gives 0.2 for the second.
    near(&out.logits, &[0.0, 0.0, 1.0, 1.1, 0.6, 0.2, 0.4, 1.6, 1.3, 0.2]);
    assert!(out.pooled.is_empty(), "nobody asked for it");
    session
        .encode(
            &batch,
            Want { dimensions: 1, ..Want::SEQUENCE.union(Want { dimensions: 0, ..Want::EMBEDDING }) },
            &mut out,
        )
        .unwrap();
    near(&out.pooled, &[1.0, 1.0]);
    assert_eq!(out.logits.len(), 10);
    let early = session.encode(&batch, Want { layers: 1, ..Want::SEQUENCE }, &mut out);
    assert!(matches!(early, Err(EncodeError::Want(_))), "heads are trained on the last block");
}

#[test]
fn one_pass_serves_the_embedding_and_every_head() {
    let encoder: Arc<dyn Encoder> = Arc::new(HeadedEncoder::new(Two::shared(), heads()).unwrap());
    let model =
        |head| EncoderModel::new(encoder.clone(), "cpu", head, WindowPolicy::default(), 0, 0).unwrap();
    let (plain, domain) = (model(None), model(Some(Head::Domain)));
    assert_eq!(plain.digest(), domain.digest(), "one model, which is asked once");
    assert_eq!(domain.labels(Head::Jailbreak).unwrap(), ["benign", "jailbreak"]);
    assert!(
        EncoderModel::new(encoder.clone(), "cpu", Some(Head::Modality), WindowPolicy::default(), 0, 0)
            .is_err()
    );
    let wanted = Wanted::EMBEDDING.and(Wanted::head(Head::Domain));
    let mut out = Vec::new();
    plain.session().read(&["ab"], wanted, &mut out).unwrap();
    near(&out[0].embedding, &[0.6, 0.8]);
    assert_eq!(out[0].probabilities[Head::Domain as usize].len(), 3);
    assert!(out[0].probabilities[Head::Jailbreak as usize].is_empty(), "it was not asked");
}

#[test]
fn windows_of_a_long_text_are_averaged_except_for_attacks() {
    let encoder: Arc<dyn Encoder> = Arc::new(HeadedEncoder::new(Two::shared(), heads()).unwrap());
    let policy = WindowPolicy { tokens: 4, overlap: 1, ..WindowPolicy::default() };
    let model = EncoderModel::new(encoder, "cpu", None, policy, 0, 0).unwrap();
    let wanted = Wanted::head(Head::Domain).and(Wanted::head(Head::Jailbreak));
    let mut out = Vec::new();
    // The second text's windows are those of the first and of the third.
    model.session().read(&["aaaa", "aaabbbb", "bbbb"], wanted, &mut out).unwrap();
    let of = |at: usize, head: Head| out[at].probabilities[head as usize].clone();
    let mean: Vec<f32> =
        of(0, Head::Domain).iter().zip(of(2, Head::Domain)).map(|(a, b)| (a + b) / 2.0).collect();
    near(&of(1, Head::Domain), &mean);
    let suspicion = |at| of(at, Head::Jailbreak)[1];
    assert!(suspicion(0) > suspicion(2) && suspicion(1) == suspicion(0));
}

#[test]
fn numbers_that_are_none_are_a_failure_and_no_answer() {
    // Every weight is a number, and their sum is none.
    let huge = f32::MAX;
    let bytes = file(
        &[
            ("jailbreak.0.weight", &[2, 2], &[huge, huge, -huge, -huge]),
            ("jailbreak.0.bias", &[2], &[huge, -huge]),
        ],
        &[("jailbreak", r#"["benign","jailbreak"]"#)],
    );
    let heads = Arc::new(Heads::parse(&bytes).unwrap());
    let encoder: Arc<dyn Encoder> = Arc::new(HeadedEncoder::new(Two::shared(), heads).unwrap());
    let model = EncoderModel::new(encoder, "cpu", None, WindowPolicy::default(), 0, 0).unwrap();
    let (mut session, mut out) = (model.session(), Vec::new());
    let failed = session.read(&["ab"], Wanted::head(Head::Jailbreak), &mut out).unwrap_err();
    assert!(failed.to_string().contains("no numbers"), "{failed}");
    assert!(out.is_empty());
    session.read(&["ab"], Wanted::EMBEDDING, &mut out).unwrap();
    near(&out[0].embedding, &[0.6, 0.8]);
}

#[test]
fn nothing_of_a_call_that_failed_is_in_the_next_one() {
    let model = EncoderModel::new(Two::shared(), "cpu", None, WindowPolicy::default(), 0, 0).unwrap();
    let (mut session, mut out) = (model.session(), Vec::new());
    assert!(session.read(&["bb", "!"], Wanted::EMBEDDING, &mut out).is_err());
    assert!(out.is_empty());
    session.read(&["ab"], Wanted::EMBEDDING, &mut out).unwrap();
    near(&out[0].embedding, &[0.6, 0.8]);
}

#[test]
fn a_file_of_heads_has_one_limit_wherever_it_comes_from() {
    let bytes = vec![0; usize::try_from(MAX_HEADS_BYTES).unwrap() + 1];
    assert!(matches!(Heads::parse(&bytes), Err(LoadError::TooLarge { .. })));
}

#[test]
fn what_is_no_head_is_refused_with_a_reason() {
    let two: &[(&str, &[usize], &[f32])] =
        &[("jailbreak.0.weight", &[2, 1], &[1.0, 1.0]), ("jailbreak.0.bias", &[2], &[0.0, 0.0])];
    let labels = [("jailbreak", r#"["no","yes"]"#)];
    let refused = |tensors: &[(&str, &[usize], &[f32])], labels: &[(&str, &str)], why: &str| {
        let error = Heads::parse(&file(tensors, labels)).unwrap_err().to_string();
        assert!(error.contains(HEADS_FILE) && error.contains(why), "{error}");
    };
    assert!(Heads::parse(&file(two, &labels)).is_ok());
    refused(two, &[], "no head that is known");
    refused(two, &[("jailbreak", r#"["no"]"#)], "2 logits for 1 labels");
    refused(two, &[("jailbreak", "no, yes")], "labels of jailbreak");
    refused(two, &[("domain", r#"["a", "b"]"#)], "0 logits for 2 labels");
    refused(&two[..1], &labels, "jailbreak.0.bias");
    refused(&[two[0], ("jailbreak.0.bias", &[1], &[0.0])], &labels, "a bias of [1]");
    refused(&[two[0], ("jailbreak.0.bias", &[2], &[0.0, f32::NAN])], &labels, "not finite");
    refused(&[two[0], two[1], ("jailbreak.1.weight", &[2, 3], &[0.0; 6])], &labels, "layer 1 of 2 x 3");
    let narrow = Arc::new(Heads::parse(&file(two, &labels)).unwrap());
    let why = HeadedEncoder::new(Two::shared(), narrow).err().unwrap().to_string();
    assert!(why.contains("1 dimensions, the embedding has 2"), "{why}");
    let classifier: Arc<dyn Encoder> = Arc::new(HeadedEncoder::new(Two::shared(), heads()).unwrap());
    assert!(HeadedEncoder::new(classifier, heads()).is_err(), "heads upon heads");
}

#[test]
fn cut_files_are_errors() {
    let bytes = file(
        &[("domain.0.weight", &[2, 1], &[1.0, 1.0]), ("domain.0.bias", &[2], &[0.0, 0.0])],
        &[("domain", r#"["a","b"]"#)],
    );
    assert!((0..bytes.len()).all(|end| Heads::parse(&bytes[..end]).is_err()));
}
