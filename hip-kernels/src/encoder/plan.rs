//! The launches of a pass.

use super::arena::{Arena, At};
use super::banks::BankPlace;
use super::pack::{Head, Layer, Matrix, Packed, Scale};
use super::spec::{Activation, Pooling};
use crate::abi::{
    self, Address, AttentionArgs, EmbedArgs, GemmArgs, HeadArgs, NormArgs, PoolArgs, PrototypesArgs,
};

/// What a pass has room for. Launches cover all of it; kernels leave at once what a batch does not fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket {
    /// Tokens of all texts.
    pub tokens: u32,
    /// Texts.
    pub texts: u32,
}

impl Bucket {
    /// Most tiles of attention that texts within the bucket can have.
    #[must_use]
    pub fn tiles(self) -> u32 {
        self.tokens.min(self.tokens / abi::QUERY_TILE + self.texts)
    }
}

/// What a pass computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wants {
    /// Blocks that it goes through, at least one.
    pub layers: u32,
    /// A vector of length one for each text.
    pub embedding: bool,
    /// The head's logits; needs all blocks.
    pub logits: bool,
}

impl Wants {
    /// What either asks for. Both go through as many blocks.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        debug_assert_eq!(self.layers, other.layers);
        Self {
            layers: self.layers,
            embedding: self.embedding || other.embedding,
            logits: self.logits || other.logits,
        }
    }

    /// Whether a network can give it.
    #[must_use]
    pub fn agrees(self, packed: &Packed) -> bool {
        let layers = self.layers as usize;
        let whole = layers == packed.layers() && packed.classify.is_some();
        (1..=packed.layers()).contains(&layers) && (!self.logits || whole)
    }
}

/// Addresses of a pass's memory, each at a multiple of 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Regions {
    /// What [`super::pack`] gave.
    pub weights: Address,
    /// [`Packed::input_bytes`], as [`Packed::write_input`] writes them.
    pub input: Address,
    /// [`Packed::work_bytes`] without meaning before and after.
    pub work: Address,
    /// [`Packed::output_bytes`].
    pub output: Address,
}

/// A kernel with its grid and its argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The entry point's name.
    pub kernel: String,
    /// Blocks.
    pub grid: [u32; 2],
    /// What it takes.
    pub argument: Argument,
}

/// The argument of a launch.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "named after their kernels")]
pub enum Argument {
    Embed(EmbedArgs),
    Norm(NormArgs),
    Gemm(GemmArgs),
    Attention(AttentionArgs),
    Pool(PoolArgs),
    Head(HeadArgs),
    Prototypes(PrototypesArgs),
}

/// Places in the input.
pub(super) struct Input {
    pub(super) tokens: At,
    pub(super) texts: At,
    pub(super) tiles: At,
    pub(super) ids: At,
    /// Where positions have vectors.
    pub(super) positions: Option<At>,
    pub(super) offsets: At,
    pub(super) tile: At,
    pub(super) bytes: u64,
}

/// Places in the working memory.
struct Work {
    x: At,
    normed: At,
    /// Queries, keys and values; then the perceptron.
    wide: At,
    mixed: At,
    /// A text's vector as the head takes it, before and after its product.
    exact: At,
    typed: At,
    dense: At,
    bytes: u64,
}

/// Places in the output.
pub(super) struct Output {
    pub(super) embedding: Option<At>,
    pub(super) logits: Option<At>,
    pub(super) bytes: u64,
}

/// The kernel of prototypes, which knows binary32 only.
const COMPARE: &str = "pk_prototypes";

/// Edge of a square product's blocks, and the name of its kernel; the largest first.
const SQUARE_TILES: [(u32, &str); 2] = [(128, "fat"), (64, "mid")];
/// Columns and rows of a skinny product's blocks.
const SKINNY_TILE: [u32; 2] = [32, 16];

/// The kernel of a product and its grid: the largest blocks of which there are enough for every compute unit.
fn gemm_tile(rows: u32, columns: u32, units: u32) -> (&'static str, [u32; 2]) {
    for (edge, name) in SQUARE_TILES {
        let grid = [columns.div_ceil(edge), rows.div_ceil(edge)];
        if u64::from(grid[0]) * u64::from(grid[1]) >= u64::from(units) {
            return (name, grid);
        }
    }
    ("skinny", [columns.div_ceil(SKINNY_TILE[0]), rows.div_ceil(SKINNY_TILE[1])])
}

impl Packed {
    /// Bytes of a bucket's input.
    #[must_use]
    pub fn input_bytes(&self, bucket: Bucket) -> u64 {
        self.input(bucket).bytes
    }

    /// Bytes of working memory.
    #[must_use]
    pub fn work_bytes(&self, bucket: Bucket) -> u64 {
        self.work(bucket).bytes
    }

    /// Bytes of a bucket's output.
    #[must_use]
    pub fn output_bytes(&self, bucket: Bucket, wants: Wants) -> u64 {
        self.output(bucket, wants).bytes
    }

    /// The kernels of its plans.
    pub fn kernels(&self) -> impl Iterator<Item = String> {
        let attention = format!("attention{}", self.head);
        let products = SQUARE_TILES.map(|(_, name)| name).into_iter().chain(["skinny"]);
        let products = products.map(|tile| format!("gemm_{tile}"));
        let others = ["embed", "norm", "pool", "head"].map(str::to_owned);
        let kernels = others.into_iter().chain([attention]).chain(products);
        kernels.map(|kernel| format!("pk_{kernel}_{}", self.number)).chain([COMPARE.to_owned()])
    }

    /// The launches of a pass, in order, on a device of `units` compute units.
    #[must_use]
    pub fn plan(&self, bucket: Bucket, wants: Wants, regions: &Regions, units: u32) -> Vec<Launch> {
        let mut plan = Plan {
            packed: self,
            bucket,
            units,
            weights: regions.weights,
            input: Addresses::new(&self.input(bucket), regions.input),
            launches: Vec::new(),
        };
        let (work, output) = (self.work(bucket), self.output(bucket, wants));
        plan.pass(wants, &work, regions.work, &output, regions.output);
        plan.launches
    }

    /// The launch behind a pass that compares its embeddings with prototypes, and leaves `scores`, a row for each text.
    /// `None` if the pass gives no embeddings.
    pub(super) fn compare(
        &self,
        (bucket, wants): (Bucket, Wants),
        regions: &Regions,
        place: BankPlace,
        scores: Address,
    ) -> Option<Launch> {
        let embedding = self.output(bucket, wants).embedding?;
        let argument = Argument::Prototypes(PrototypesArgs {
            sequences: regions.input.offset(self.input(bucket).texts.0),
            embedding: regions.output.offset(embedding.0),
            prototypes: place.prototypes,
            banks: place.banks,
            scores,
            hidden: self.hidden,
            bank_count: place.count,
        });
        Some(Launch { kernel: COMPARE.to_owned(), grid: [place.count, bucket.texts], argument })
    }

    pub(super) fn input(&self, bucket: Bucket) -> Input {
        let mut arena = Arena::counting();
        let (tokens, texts) = (u64::from(bucket.tokens), u64::from(bucket.texts));
        Input {
            tokens: arena.reserve(4),
            texts: arena.reserve(4),
            tiles: arena.reserve(4),
            ids: arena.reserve(4 * tokens),
            positions: self.places.map(|_| arena.reserve(4 * tokens)),
            offsets: arena.reserve(4 * (texts + 1)),
            tile: arena.reserve(u64::from(bucket.tiles()) * size_of::<abi::Tile>() as u64),
            bytes: arena.len(),
        }
    }

    fn work(&self, bucket: Bucket) -> Work {
        let mut arena = Arena::counting();
        let hidden = u64::from(self.hidden);
        let mut rows = |count: u32, width: u64, bytes: u64| arena.reserve(u64::from(count) * width * bytes);
        let layer = &self.layers[0];
        let heads = u64::from(self.heads) * u64::from(self.head);
        let wide = (3 * heads).max(u64::from(layer.down.k));
        Work {
            x: rows(bucket.tokens, hidden, 2),
            normed: rows(bucket.tokens, hidden, 2),
            wide: rows(bucket.tokens, wide, 2),
            mixed: rows(bucket.tokens, heads, 2),
            exact: rows(bucket.texts, hidden, 4),
            typed: rows(bucket.texts, hidden, 2),
            dense: rows(bucket.texts, hidden, 2),
            bytes: arena.len(),
        }
    }

    pub(super) fn output(&self, bucket: Bucket, wants: Wants) -> Output {
        let mut arena = Arena::counting();
        let mut rows = |count: u32, width: u32| arena.reserve(u64::from(count) * u64::from(width) * 4);
        let embedding = wants.embedding.then(|| rows(bucket.texts, self.hidden));
        let logits = self
            .classify
            .filter(|_| wants.logits)
            .map(|head| rows(if head.per_token { bucket.tokens } else { bucket.texts }, head.classifier.n));
        Output { embedding, logits, bytes: arena.len() }
    }
}

/// Device addresses of an input.
struct Addresses {
    tokens: Address,
    texts: Address,
    tiles: Address,
    ids: Address,
    positions: Address,
    offsets: Address,
    tile: Address,
}

impl Addresses {
    fn new(input: &Input, base: Address) -> Self {
        let at = |place: At| base.offset(place.0);
        Self {
            tokens: at(input.tokens),
            texts: at(input.texts),
            tiles: at(input.tiles),
            ids: at(input.ids),
            positions: input.positions.map_or(Address::NULL, at),
            offsets: at(input.offsets),
            tile: at(input.tile),
        }
    }
}

struct Plan<'a> {
    packed: &'a Packed,
    bucket: Bucket,
    units: u32,
    weights: Address,
    input: Addresses,
    launches: Vec<Launch>,
}

impl Plan<'_> {
    fn pass(&mut self, wants: Wants, work: &Work, memory: Address, output: &Output, results: Address) {
        let at = |place: At| memory.offset(place.0);
        let (x, normed) = (at(work.x), at(work.normed));
        self.embed(x);
        for layer in &self.packed.layers[..wants.layers as usize] {
            self.layer(layer, x, normed, at(work.wide), at(work.mixed));
        }
        if let Some(norm) = self.packed.final_norm {
            self.norm(&norm, self.tokens(), x, x);
        }
        if let Some(to) = output.embedding {
            self.pool(x, self.packed.pooling, true, results.offset(to.0), Address::NULL);
        }
        let (Some(head), Some(to)) = (self.packed.classify, output.logits) else { return };
        if head.per_token {
            let dense = head.dense.map_or(x, |_| normed);
            self.classify(&head, self.tokens(), x, dense, results.offset(to.0));
        } else {
            let typed = at(work.typed);
            self.pool(x, head.pooling, false, at(work.exact), typed);
            let dense = head.dense.map_or(typed, |_| at(work.dense));
            self.classify(&head, self.texts(), typed, dense, results.offset(to.0));
        }
    }

    fn layer(&mut self, layer: &Layer, x: Address, normed: Address, wide: Address, mixed: Address) {
        let tokens = self.tokens();
        let from = match layer.attention_norm {
            Some(norm) if self.packed.pre_norm => {
                self.norm(&norm, tokens, x, normed);
                normed
            }
            _ => x,
        };
        self.gemm(&layer.qkv, tokens, from, wide, abi::NONE, Address::NULL);
        self.attention(layer, wide, mixed);
        self.gemm(&layer.output, tokens, mixed, x, abi::NONE, x);
        let from = if self.packed.pre_norm {
            self.norm(&layer.mlp_norm, tokens, x, normed);
            normed
        } else {
            layer.attention_norm.iter().for_each(|norm| self.norm(norm, tokens, x, x));
            x
        };
        let activation = if self.packed.gated { abi::GEGLU } else { abi::GELU };
        self.gemm(&layer.up, tokens, from, wide, activation, Address::NULL);
        self.gemm(&layer.down, tokens, wide, x, abi::NONE, x);
        if !self.packed.pre_norm {
            self.norm(&layer.mlp_norm, tokens, x, x);
        }
    }

    /// Leaves in `to` what `from`'s rows are classified as; `dense` has room for as many.
    fn classify(&mut self, head: &Head, rows: Rows, from: Address, dense: Address, to: Address) {
        if let Some((matrix, activation)) = &head.dense {
            let activation = match activation {
                Activation::Gelu => abi::GELU,
                Activation::Tanh => abi::TANH,
            };
            self.gemm(matrix, rows, from, dense, activation, Address::NULL);
        }
        if let Some(norm) = &head.norm {
            self.norm(norm, rows, dense, dense);
        }
        let matrix = head.classifier;
        let args = HeadArgs {
            rows: rows.count,
            x: dense,
            w: self.weight(matrix.weight),
            bias: self.optional(matrix.bias),
            probs: to,
            best: Address::NULL,
            hidden: matrix.k,
            classes: matrix.n,
            mode: abi::LOGITS,
            reserved: 0,
        };
        self.push("head", [rows.capacity, 1], Argument::Head(args));
    }

    fn embed(&mut self, out: Address) {
        let packed = self.packed;
        let norm = packed.embedding_norm;
        let args = EmbedArgs {
            rows: self.input.tokens,
            ids: self.input.ids,
            positions: self.input.positions,
            types: Address::NULL,
            word: self.weight(packed.words),
            position: self.optional(packed.places),
            r#type: Address::NULL,
            gamma: self.weight(norm.gain),
            beta: self.optional(norm.bias),
            out,
            hidden: packed.hidden,
            vocabulary: packed.vocabulary,
            position_limit: packed.positions,
            type_limit: 0,
            epsilon: norm.epsilon,
            reserved: 0,
        };
        self.push("embed", [self.bucket.tokens.div_ceil(abi::WAVES), 1], Argument::Embed(args));
    }

    fn norm(&mut self, norm: &Scale, rows: Rows, x: Address, out: Address) {
        let args = NormArgs {
            rows: rows.count,
            x,
            residual: Address::NULL,
            gamma: self.weight(norm.gain),
            beta: self.optional(norm.bias),
            sum: Address::NULL,
            out,
            hidden: self.packed.hidden,
            epsilon: norm.epsilon,
        };
        self.push("norm", [rows.capacity.div_ceil(abi::WAVES), 1], Argument::Norm(args));
    }

    fn gemm(
        &mut self,
        matrix: &Matrix,
        rows: Rows,
        a: Address,
        out: Address,
        activation: u32,
        residual: Address,
    ) {
        let (tile, grid) = gemm_tile(rows.capacity, matrix.n, self.units);
        let args = GemmArgs {
            rows: rows.count,
            a,
            w: self.weight(matrix.weight),
            bias: self.optional(matrix.bias),
            residual,
            out,
            n: matrix.n,
            k: matrix.k,
            activation,
            reserved: 0,
        };
        self.push(&format!("gemm_{tile}"), grid, Argument::Gemm(args));
    }

    fn attention(&mut self, layer: &Layer, qkv: Address, out: Address) {
        let packed = self.packed;
        let args = AttentionArgs {
            tile_count: self.input.tiles,
            tiles: self.input.tile,
            qkv,
            rope: self.optional(layer.rope),
            out,
            heads: packed.heads,
            window: layer.window,
            rope_limit: packed.positions,
            scale: packed.scale,
        };
        let kernel = format!("attention{}", packed.head);
        self.push(&kernel, [self.bucket.tiles(), packed.heads], Argument::Attention(args));
    }

    fn pool(&mut self, x: Address, pooling: Pooling, normalize: bool, embedding: Address, typed: Address) {
        let args = PoolArgs {
            sequences: self.input.texts,
            offsets: self.input.offsets,
            x,
            embedding,
            typed,
            hidden: self.packed.hidden,
            mode: match pooling {
                Pooling::Mean => abi::POOL_MEAN,
                Pooling::First => abi::POOL_CLS,
            },
            normalize: u32::from(normalize),
            reserved: 0,
        };
        self.push("pool", [self.bucket.texts, 1], Argument::Pool(args));
    }

    fn push(&mut self, kernel: &str, grid: [u32; 2], argument: Argument) {
        let kernel = format!("pk_{kernel}_{}", self.packed.number);
        self.launches.push(Launch { kernel, grid, argument });
    }

    fn weight(&self, at: At) -> Address {
        self.weights.offset(at.0)
    }

    fn optional(&self, at: Option<At>) -> Address {
        at.map_or(Address::NULL, |at| self.weight(at))
    }

    fn tokens(&self) -> Rows {
        Rows { count: self.input.tokens, capacity: self.bucket.tokens }
    }

    fn texts(&self) -> Rows {
        Rows { count: self.input.texts, capacity: self.bucket.texts }
    }
}

/// Rows of a launch: where their number is, and how many there can be.
#[derive(Debug, Clone, Copy)]
struct Rows {
    count: Address,
    capacity: u32,
}
