//! The contract with the kernels, field by field as in `include/pintle_hip_abi.h`, which says what each field means.
//!
//! A test compiles that header and compares every size, offset and constant with these.
#![allow(unsafe_code, reason = "marker traits: what may be copied byte by byte")]

/// Version of the contract that these structs mirror.
pub const ABI_VERSION: u32 = 1;
/// Waves in every block.
pub const WAVES: u32 = 4;
/// Widest row of `pk_embed`, `pk_norm` and `pk_pool`; a multiple of 8.
pub const MAX_HIDDEN: u32 = 1024;
/// Most labels of `pk_head`.
pub const MAX_CLASSES: u32 = 256;
/// Largest `k` of `pk_topk`.
pub const MAX_TOPK: u32 = 32;
/// Largest `top_m` of a [`Bank`].
pub const MAX_TOP_M: u32 = 8;
/// Queries of one attention tile.
pub const QUERY_TILE: u32 = 64;
/// `k` of every product is a multiple of this.
pub const GEMM_K: u32 = 32;
/// `n` of every product is a multiple of this, of twice this with [`GEGLU`].
pub const GEMM_N: u32 = 16;

/// Epilogue: none.
pub const NONE: u32 = 0;
/// Epilogue: x Φ(x).
pub const GELU: u32 = 1;
/// Epilogue: tanh.
pub const TANH: u32 = 2;
/// Epilogue: gelu(gate) * up, their rows interleaved in groups of 16.
pub const GEGLU: u32 = 3;
/// Pooling: mean of a sequence's rows.
pub const POOL_MEAN: u32 = 0;
/// Pooling: a sequence's first row.
pub const POOL_CLS: u32 = 1;
/// Head: probabilities that add up to one.
pub const SOFTMAX: u32 = 0;
/// Head: a probability for each label.
pub const SIGMOID: u32 = 1;
/// Head: as they come.
pub const LOGITS: u32 = 2;
/// No row, in [`BankScore`] and in what `pk_topk` finds.
pub const NO_INDEX: u32 = 0xffff_ffff;

/// An address in device memory, 0 for none. A number: it neither owns nor borrows what lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// No address.
    pub const NULL: Self = Self(0);

    /// The address so many bytes further.
    #[must_use]
    pub const fn offset(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// A struct that lies in memory as its namesake in the header.
///
/// # Safety
///
/// `#[repr(C)]`, without padding between or after its fields, every bit pattern valid.
pub unsafe trait Mirror: Copy + 'static {
    /// The namesake.
    const C_NAME: &'static str;
    /// Name, offset and size of every field, in bytes.
    const FIELDS: &'static [(&'static str, usize, usize)];
}

/// The one argument of a kernel.
pub trait Arguments: Mirror {}

macro_rules! mirror {
    ($($(#[$doc:meta])* $rust:ident = $c:literal { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        #[repr(C)]
        #[allow(missing_docs, reason = "the header explains each field")]
        pub struct $rust { $(pub $field: $kind,)* }

        // The sum of the fields' sizes is the struct's: nothing lies between them.
        const _: () = assert!(size_of::<$rust>() == 0 $(+ size_of::<$kind>())*);

        // SAFETY: repr(C); no padding, by the assertion above; integers, floats and addresses only.
        unsafe impl Mirror for $rust {
            const C_NAME: &'static str = $c;
            const FIELDS: &'static [(&'static str, usize, usize)] =
                &[$((stringify!($field), core::mem::offset_of!($rust, $field), size_of::<$kind>()),)*];
        }
    )*};
}

mirror! {
    /// Of `pk_embed_*`.
    EmbedArgs = "pk_embed_args" {
        rows: Address,
        ids: Address,
        positions: Address,
        types: Address,
        word: Address,
        position: Address,
        r#type: Address,
        gamma: Address,
        beta: Address,
        out: Address,
        hidden: u32,
        vocabulary: u32,
        position_limit: u32,
        type_limit: u32,
        epsilon: f32,
        reserved: u32,
    }
    /// Of `pk_norm_*`.
    NormArgs = "pk_norm_args" {
        rows: Address,
        x: Address,
        residual: Address,
        gamma: Address,
        beta: Address,
        sum: Address,
        out: Address,
        hidden: u32,
        epsilon: f32,
    }
    /// Of `pk_gemm_skinny_*`, `pk_gemm_mid_*` and `pk_gemm_fat_*`.
    GemmArgs = "pk_gemm_args" {
        rows: Address,
        a: Address,
        w: Address,
        bias: Address,
        residual: Address,
        out: Address,
        n: u32,
        k: u32,
        activation: u32,
        reserved: u32,
    }
    /// Of `pk_quantize_*`.
    QuantizeArgs = "pk_quantize_args" {
        rows: Address,
        x: Address,
        q: Address,
        scale: Address,
        k: u32,
        reserved: u32,
    }
    /// Of `pk_gemm_i8_skinny_*` and `pk_gemm_i8_mid_*`.
    GemmI8Args = "pk_gemm_i8_args" {
        rows: Address,
        a: Address,
        a_scale: Address,
        w: Address,
        w_scale: Address,
        bias: Address,
        residual: Address,
        out: Address,
        n: u32,
        k: u32,
        activation: u32,
        reserved: u32,
    }
    /// Queries of one sequence that one block of `pk_attention*` answers.
    Tile = "pk_tile" {
        first: u32,
        length: u32,
        query: u32,
        reserved: u32,
    }
    /// Of `pk_attention32_*` and `pk_attention64_*`.
    AttentionArgs = "pk_attention_args" {
        tile_count: Address,
        tiles: Address,
        qkv: Address,
        rope: Address,
        out: Address,
        heads: u32,
        window: u32,
        rope_limit: u32,
        scale: f32,
    }
    /// Of `pk_pool_*`.
    PoolArgs = "pk_pool_args" {
        sequences: Address,
        offsets: Address,
        x: Address,
        embedding: Address,
        typed: Address,
        hidden: u32,
        mode: u32,
        normalize: u32,
        reserved: u32,
    }
    /// The two sides of one rule in the matrix of prototypes.
    Bank = "pk_bank" {
        hard_begin: u32,
        hard_end: u32,
        easy_begin: u32,
        easy_end: u32,
        top_m: u32,
        best_weight: f32,
    }
    /// What `pk_prototypes` says of one sequence and one [`Bank`].
    BankScore = "pk_bank_score" {
        hard: f32,
        easy: f32,
        margin: f32,
        hard_best: f32,
        easy_best: f32,
        hard_index: u32,
        easy_index: u32,
        reserved: u32,
    }
    /// Of `pk_prototypes`.
    PrototypesArgs = "pk_prototypes_args" {
        sequences: Address,
        embedding: Address,
        prototypes: Address,
        banks: Address,
        scores: Address,
        hidden: u32,
        bank_count: u32,
    }
    /// The best label of a row.
    Label = "pk_label" {
        index: u32,
        confidence: f32,
    }
    /// Of `pk_head_*`.
    HeadArgs = "pk_head_args" {
        rows: Address,
        x: Address,
        w: Address,
        bias: Address,
        probs: Address,
        best: Address,
        hidden: u32,
        classes: u32,
        mode: u32,
        reserved: u32,
    }
    /// Of `pk_topk`.
    TopkArgs = "pk_topk_args" {
        rows: Address,
        scores: Address,
        values: Address,
        indices: Address,
        n: u32,
        k: u32,
    }
}

impl Arguments for EmbedArgs {}
impl Arguments for NormArgs {}
impl Arguments for GemmArgs {}
impl Arguments for QuantizeArgs {}
impl Arguments for GemmI8Args {}
impl Arguments for AttentionArgs {}
impl Arguments for PoolArgs {}
impl Arguments for PrototypesArgs {}
impl Arguments for HeadArgs {}
impl Arguments for TopkArgs {}

/// What may be copied between host and device byte by byte.
///
/// # Safety
///
/// No padding, every bit pattern valid, no pointers into host memory.
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($kind:ty),*) => {
        // SAFETY: numbers, or a `Mirror`, which promises the same.
        $(unsafe impl Plain for $kind {})*
    };
}
plain!(u8, i8, u16, i32, u32, f32, Tile, Bank, BankScore, Label);

#[cfg(test)]
mod tests;
