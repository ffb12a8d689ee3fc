//! Models as ONNX graphs, run by the `rten` crate: whatever the CPU's own forward pass has no network for.
//!
//! One text is one run. Graphs that quantise their activations as they go measure a whole batch at once, so that a text
//! would have another result in company; and padding would be paid for.
//!
//! What a graph may ask for is bounded before it is loaded ([`graph`]), what it makes before it runs ([`sizes`]), and how
//! long anybody waits for a run by a thread that can be left ([`runner`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use serde::Deserialize;

use crate::encoder::{
    Batch, EncodeError, Encoded, Encoder, EncoderInfo, Family, OutputInfo, OutputKind, Session,
    TokenizeError, Tokens, Want, normalise,
};
use crate::model::config::{self, MAX_POSITIONS, Pooling, Task};
use crate::model::folder::{self, Files, Options};
use crate::model::tokenizer::Tokenizer;
use crate::model::{LoadError, ONNX_FILE};

mod graph;
mod proto;
mod runner;
mod sizes;

use runner::{Left, Runner};
use sizes::Sizes;

/// Longest text in tokens of a model that does not say.
const DEFAULT_POSITIONS: usize = 512;
/// Most components of an embedding.
const MAX_WIDTH: usize = 65_536;
/// Time that the first run may take, on a short text and with everything cold.
const FIRST_RUN: Duration = Duration::from_secs(60);

/// A graph with its tokenizer.
pub struct OnnxEncoder {
    network: Arc<Graph>,
    tokenizer: Tokenizer,
}

/// What sessions share.
struct Graph {
    program: Arc<Program>,
    info: EncoderInfo,
    vocabulary: usize,
    sizes: Sizes,
    form: Form,
    /// Its runs that have taken too long.
    left: Left,
}

/// What a run needs.
struct Program {
    model: Model,
    /// Each input with what goes into it.
    inputs: Vec<(NodeId, Feed)>,
    output: NodeId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feed {
    Ids,
    Ones,
    Zeros,
    Positions,
}

/// What the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One vector per token, to be pooled.
    States(usize, Pooling),
    /// One vector per text.
    Pooled(usize),
    /// One row of logits per text.
    Sequence(usize),
    /// One row of logits per token.
    Token(usize),
}

/// What is read of `config.json`.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    max_position_embeddings: Option<usize>,
    vocab_size: Option<usize>,
    id2label: Option<std::collections::BTreeMap<String, String>>,
}

impl OnnxEncoder {
    /// Reads a graph that is in memory already (`files.weights`), and runs it once.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub fn parse(files: Files<'_>, options: Options) -> Result<Self, LoadError> {
        let raw: Raw = serde_json::from_slice(files.config)
            .map_err(|error| LoadError::malformed(folder::CONFIG_FILE, error))?;
        let task = config::task(raw.architectures.as_deref().unwrap_or_default());
        let labels = match options.labels {
            Some(labels) => labels,
            None => config::labels(raw.id2label.as_ref())?,
        };
        folder::refuse_other_modules(files.modules)?;
        let pooling = folder::pooling(options.pooling, files.pooling)?;
        let tokenizer = Tokenizer::parse(files.tokenizer)?;
        let vocabulary = raw.vocab_size.unwrap_or_else(|| tokenizer.vocabulary());
        folder::check_vocabulary(&tokenizer, vocabulary)?;
        let positions = raw.max_position_embeddings.unwrap_or(DEFAULT_POSITIONS);
        // RoBERTa's count begins behind the padding token's number.
        let positions =
            if raw.model_type.contains("roberta") { positions.saturating_sub(2) } else { positions };
        if !(1..=MAX_POSITIONS).contains(&positions) {
            return Err(LoadError::malformed(
                folder::CONFIG_FILE,
                format!("max_position_embeddings is {positions}"),
            ));
        }
        graph::check(files.weights)?;
        let sizes = Sizes::parse(files.weights, positions)?;
        let positions = sizes.longest()?;
        let model = load(files.weights)?;
        let inputs = inputs(&model)?;
        let output = output(&model, task)?;
        let info = EncoderInfo {
            name: options.name,
            digest: folder::digest(&files, pooling),
            family: Family::Onnx,
            hidden: 0,
            // A graph is one block: it cannot be left early.
            layers: 1,
            max_tokens: positions,
            outputs: Vec::new(),
        };
        let program = Arc::new(Program { model, inputs, output });
        let mut graph =
            Graph { program, info, vocabulary, sizes, form: Form::Pooled(0), left: Left::default() };
        graph.learn_form(&tokenizer, task, &labels, pooling)?;
        Ok(Self { network: Arc::new(graph), tokenizer })
    }
}

fn load(bytes: &[u8]) -> Result<Model, LoadError> {
    let mut options = ModelOptions::with_all_ops();
    options.prepack_weights(true);
    // Graphs may say anything, and operators assert what they believe.
    catch_unwind(AssertUnwindSafe(|| options.load(bytes.to_vec())))
        .map_err(|_| LoadError::malformed(ONNX_FILE, "inconsistent"))?
        .map_err(|error| LoadError::malformed(ONNX_FILE, error))
}

fn inputs(model: &Model) -> Result<Vec<(NodeId, Feed)>, LoadError> {
    let feed = |id: &NodeId| {
        let name = model.node_info(*id).and_then(|node| node.name().map(str::to_owned)).unwrap_or_default();
        let feed = match name.as_str() {
            "input_ids" => Feed::Ids,
            "attention_mask" => Feed::Ones,
            "token_type_ids" => Feed::Zeros,
            "position_ids" => Feed::Positions,
            _ => return Err(LoadError::unsupported(ONNX_FILE, format!("an input called {name:?}"))),
        };
        Ok((*id, feed))
    };
    let inputs: Vec<_> = model.input_ids().iter().map(feed).collect::<Result<_, _>>()?;
    if !inputs.iter().any(|(_, feed)| *feed == Feed::Ids) {
        return Err(LoadError::unsupported(ONNX_FILE, "a graph without input_ids"));
    }
    Ok(inputs)
}

/// The output that the task is about: by its usual name, or the first.
fn output(model: &Model, task: Task) -> Result<NodeId, LoadError> {
    let names: &[&str] = match task {
        Task::Embedding => &["sentence_embedding", "last_hidden_state", "token_embeddings"],
        Task::Sequence | Task::Token => &["logits"],
    };
    let called = |id: &NodeId, wanted: &str| {
        model.node_info(*id).and_then(|node| node.name().map(|name| name == wanted)) == Some(true)
    };
    let ids = model.output_ids();
    let known = names.iter().find_map(|name| ids.iter().find(|id| called(id, name)));
    let output = known.or(ids.first()).copied();
    output.ok_or_else(|| LoadError::malformed(ONNX_FILE, "no output"))
}

impl Graph {
    /// Runs a short text and sees what comes out.
    fn learn_form(
        &mut self,
        tokenizer: &Tokenizer,
        task: Task,
        labels: &[String],
        pooling: Pooling,
    ) -> Result<(), LoadError> {
        let fail = |reason: String| LoadError::malformed(ONNX_FILE, reason);
        let mut tokens = Tokens::default();
        tokenizer
            .tokenize("a", self.info.max_tokens, &mut tokens)
            .map_err(|error| LoadError::malformed(folder::TOKENIZER_FILE, error))?;
        self.sizes.admit(tokens.len()).map_err(fail)?;
        let value = self.runner().run(tokens.ids.clone(), FIRST_RUN);
        let value = value.map_err(|error| fail(format!("on a short text: {error}")))?;
        let (shape, rank) = match value.clone().into_shape_vec::<f32, 3>() {
            Ok((shape, _)) => (shape, 3),
            Err(_) => match value.into_shape_vec::<f32, 2>() {
                Ok(([texts, width], _)) => ([texts, tokens.len(), width], 2),
                Err(error) => return Err(fail(error.to_string())),
            },
        };
        let [texts, length, width] = shape;
        if texts != 1 || length != tokens.len() || !(1..=MAX_WIDTH).contains(&width) {
            return Err(fail(format!("an output of {shape:?} for one text of {} tokens", tokens.len())));
        }
        let labels = if labels.is_empty() {
            (0..width).map(|at| format!("LABEL_{at}")).collect()
        } else {
            labels.to_vec()
        };
        if task != Task::Embedding && labels.len() != width {
            return Err(fail(format!("{width} logits for {} labels", labels.len())));
        }
        let (form, name, kind) = match (task, rank) {
            (Task::Embedding, 3) => {
                (Form::States(width, pooling), "embedding", OutputKind::Embedding { dimensions: width })
            }
            (Task::Embedding, _) => {
                (Form::Pooled(width), "embedding", OutputKind::Embedding { dimensions: width })
            }
            (Task::Sequence, 2) => (Form::Sequence(width), "labels", OutputKind::Sequence { labels }),
            (Task::Token, 3) => (Form::Token(width), "labels", OutputKind::Token { labels }),
            _ => {
                return Err(fail(format!(
                    "an output of rank {rank} is no classification of what config.json says"
                )));
            }
        };
        if form == Form::Sequence(1) {
            return Err(LoadError::unsupported(ONNX_FILE, "a classifier with a single logit"));
        }
        self.form = form;
        self.info.hidden = width;
        self.info.outputs = vec![OutputInfo { name: name.to_owned(), kind }];
        Ok(())
    }

    fn runner(&self) -> Runner<Vec<u32>, Value> {
        let program = self.program.clone();
        let mut pool = None;
        Runner::new(&self.left, move |ids: Vec<u32>| {
            // The one thread on which the graph runs, while the runner's own waits.
            let pool = pool.get_or_insert_with(|| Arc::new(ThreadPool::with_num_threads(1)));
            program.run(&ids, RunOptions::default().with_thread_pool(Some(pool.clone())))
        })
    }
}

impl Program {
    fn run(&self, ids: &[u32], options: RunOptions) -> Result<Value, String> {
        let length = ids.len();
        let feed = |feed: Feed| -> Vec<i32> {
            match feed {
                Feed::Ids => ids.iter().map(|id| *id as i32).collect(),
                Feed::Ones => vec![1; length],
                Feed::Zeros => vec![0; length],
                Feed::Positions => (0..length as i32).collect(),
            }
        };
        let inputs = self
            .inputs
            .iter()
            .map(|(id, what)| {
                let value = Value::from_shape([1, length], feed(*what)).map_err(|error| error.to_string())?;
                Ok((*id, ValueOrView::from(value)))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let mut outputs =
            self.model.run(inputs, &[self.output], Some(options)).map_err(|error| error.to_string())?;
        outputs.pop().ok_or_else(|| "no output".to_owned())
    }
}

impl Encoder for OnnxEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.network.info
    }

    fn tokenize(&self, text: &str, max_tokens: usize, out: &mut Tokens) -> Result<(), TokenizeError> {
        self.tokenizer.tokenize(text, max_tokens.min(self.network.info.max_tokens), out)
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(OnnxSession { graph: self.network.clone(), runner: self.network.runner() })
    }
}

struct OnnxSession {
    graph: Arc<Graph>,
    runner: Runner<Vec<u32>, Value>,
}

impl Session for OnnxSession {
    fn encode(&mut self, batch: &Batch, want: Want, out: &mut Encoded) -> Result<(), EncodeError> {
        let graph = &*self.graph;
        want.check(&graph.info)?;
        batch.check(&graph.info, graph.vocabulary)?;
        out.clear();
        for range in batch.ranges() {
            let ids = &batch.ids()[range];
            graph.sizes.admit(ids.len()).map_err(EncodeError::Device)?;
            let value =
                self.runner.run(ids.to_vec(), runner::limit(ids.len())).map_err(EncodeError::Device)?;
            let wrong =
                |what: &dyn std::fmt::Display| EncodeError::Device(format!("the output changed: {what}"));
            let (width, rows) = match graph.form {
                Form::States(width, _) | Form::Token(width) => {
                    let ([_, length, found], rows) =
                        value.into_shape_vec::<f32, 3>().map_err(|error| wrong(&error))?;
                    (if length == ids.len() && found == width { width } else { 0 }, rows)
                }
                Form::Pooled(width) | Form::Sequence(width) => {
                    let ([_, found], rows) =
                        value.into_shape_vec::<f32, 2>().map_err(|error| wrong(&error))?;
                    (if found == width { width } else { 0 }, rows)
                }
            };
            if width == 0 || rows.iter().any(|x| !x.is_finite()) {
                return Err(wrong(&"another shape, or numbers that are not finite"));
            }
            match graph.form {
                Form::Sequence(_) => out.logits.extend_from_slice(&rows),
                Form::Token(_) => out.token_logits.extend_from_slice(&rows),
                Form::Pooled(_) => push_embedding(rows, want.dimensions, &mut out.pooled),
                Form::States(_, pooling) => {
                    push_embedding(pool(&rows, width, pooling), want.dimensions, &mut out.pooled);
                }
            }
        }
        Ok(())
    }
}

fn pool(rows: &[f32], width: usize, pooling: Pooling) -> Vec<f32> {
    let mut vector = rows[..width].to_vec();
    if pooling == Pooling::Mean {
        // The sum points where the mean does, and length one comes later.
        for row in rows[width..].chunks(width) {
            vector.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    }
    vector
}

/// Appends the leading components, of length one together.
fn push_embedding(mut vector: Vec<f32>, dimensions: usize, out: &mut Vec<f32>) {
    if dimensions > 0 {
        vector.truncate(dimensions);
    }
    normalise(&mut vector);
    out.extend(vector);
}
