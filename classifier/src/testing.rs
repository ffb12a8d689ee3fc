//! A model whose answers can be foretold, for tests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::reader::{Entity, Head, ModelError, TextModel, TextReading, TextSession, Wanted};
use crate::signals::{Shelf, Slot};

/// How the model behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    #[default]
    Well,
    Fails,
    Panics,
    /// Answers nothing before its [`Gate`] is opened.
    Held,
}

/// Holds up who comes, until it is opened.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner));
    }
}

/// Embeds by words, each of which is an axis; knows two subjects, one attack and one kind of name.
pub(crate) struct Words {
    name: &'static str,
    backend: &'static str,
    mood: Mood,
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) texts: Arc<AtomicUsize>,
    pub(crate) gate: Arc<Gate>,
    labels: [Vec<String>; 6],
}

impl Words {
    pub(crate) fn new(name: &'static str, backend: &'static str, mood: Mood) -> Self {
        let owned = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        Self {
            name,
            backend,
            mood,
            calls: Arc::default(),
            texts: Arc::default(),
            gate: Arc::default(),
            labels: [
                owned(&["law", "math", "other"]),
                owned(&["FACT_CHECK_NEEDED", "NO_FACT_CHECK_NEEDED"]),
                owned(&["SAT", "NEED_CLARIFICATION", "WRONG_ANSWER", "WANT_DIFFERENT"]),
                owned(&["benign", "jailbreak"]),
                owned(&["AR", "DIFFUSION", "BOTH"]),
                owned(&["PERSON"]),
            ],
        }
    }
}

impl TextModel for Words {
    fn name(&self) -> &str {
        self.name
    }

    fn backend(&self) -> &'static str {
        self.backend
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..self.name.len()].copy_from_slice(self.name.as_bytes());
        digest
    }

    fn dimensions(&self) -> usize {
        256
    }

    fn labels(&self, head: Head) -> Option<&[String]> {
        Some(&self.labels[head as usize])
    }

    fn session(&self) -> Box<dyn TextSession> {
        Box::new(WordSession {
            mood: self.mood,
            calls: self.calls.clone(),
            texts: self.texts.clone(),
            gate: self.gate.clone(),
        })
    }
}

struct WordSession {
    mood: Mood,
    calls: Arc<AtomicUsize>,
    texts: Arc<AtomicUsize>,
    gate: Arc<Gate>,
}

impl TextSession for WordSession {
    fn read(&mut self, texts: &[&str], wanted: Wanted, out: &mut Vec<TextReading>) -> Result<(), ModelError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.texts.fetch_add(texts.len(), Ordering::SeqCst);
        match self.mood {
            Mood::Well => {}
            Mood::Fails => return Err(ModelError("out of order".into())),
            Mood::Panics => panic!("a defect"),
            Mood::Held => self.gate.pass(),
        }
        out.extend(texts.iter().map(|text| read(text, wanted)));
        Ok(())
    }
}

fn read(text: &str, wanted: Wanted) -> TextReading {
    let mut reading = TextReading { has: wanted, truncated: text.contains("[cut]"), ..Default::default() };
    if wanted.embedding {
        let mut vector = vec![0.0f32; 256];
        for word in text.split_whitespace() {
            let axis = word.bytes().fold(7u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte));
            vector[usize::from(axis)] += 1.0;
        }
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if norm > 0.0 {
            vector.iter_mut().for_each(|x| *x /= norm);
            reading.embedding = vector;
        }
    }
    let has = |word: &str| text.contains(word);
    let mut put = |head: Head, values: &[f32]| {
        if wanted.has(head) {
            reading.probabilities[head as usize] = values.to_vec();
        }
    };
    put(Head::Domain, if has("integral") { &[0.05, 0.9, 0.05] } else { &[0.2, 0.2, 0.6] });
    put(Head::FactCheck, if has("who") { &[0.8, 0.2] } else { &[0.1, 0.9] });
    put(Head::UserFeedback, if has("wrong") { &[0.1, 0.0, 0.9, 0.0] } else { &[0.9, 0.1, 0.0, 0.0] });
    put(Head::Jailbreak, if has("ignore all") { &[0.05, 0.95] } else { &[0.99, 0.01] });
    put(Head::Modality, if has("draw") { &[0.1, 0.9, 0.0] } else { &[0.9, 0.05, 0.05] });
    if wanted.has(Head::Pii)
        && let Some(at) = text.find("Ada")
    {
        let at = at as u32;
        reading.entities.push(Entity { start: at, end: at + 3, label: "PERSON".into(), score: 0.97 });
    }
    reading
}

/// A shelf with one model for everything.
pub(crate) struct OneModel(pub(crate) Vec<Arc<Words>>);

impl Shelf for OneModel {
    fn open(&self, _head: Option<Head>) -> Result<(Slot, String), String> {
        let backends = self.0.iter().map(|model| model.clone() as Arc<dyn TextModel>).collect();
        Ok((Slot { name: self.0[0].name.into(), backends }, String::new()))
    }

    fn manifest(&self, directory: &str, file: &str) -> Result<String, String> {
        if directory != "kb/" || file != "labels.json" {
            return Err(format!("{directory}{file} does not exist"));
        }
        Ok(r#"{"labels": {"cats": {"exemplars": ["cat purr", "kitten purr"]},
                          "dogs": {"exemplars": ["dog bark"]}}}"#
            .into())
    }
}
