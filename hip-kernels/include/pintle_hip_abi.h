/* What the host must know to launch Pintle's GPU kernels. C11 and C++17; read by the kernels themselves, by the
 * emulator and, mirrored field by field, by the Rust runtime.
 *
 * Launching
 *   - Each kernel takes exactly one argument: the struct named beside it below, by value. kernelParams is therefore
 *     an array of one pointer to that struct.
 *   - blockDim = (PK_WAVES * wave, 1, 1) for every kernel, where wave is the device's wave size: 64 on gfx9, 32 on
 *     gfx11 and gfx12 (and on CUDA). Dynamic shared memory is 0 for every kernel.
 *   - Every pointer is to device memory and 16-byte aligned; matrices are row-major without gaps.
 *   - `rows`, `tile_count` and `sequences` point to one uint32_t in device memory and are read by the kernel. Launch
 *     the grid for the capacity of a bucket; blocks past the count leave at once. A captured graph thus serves every
 *     batch that fits its bucket: only the counts and the data change.
 *   - Nothing outside the first *rows rows of an output is written. Inputs past the count are never read.
 *   - `in` and `out` may be the same buffer only where a struct says so.
 *
 * Element types: suffix _f16 is IEEE binary16, _bf16 is bfloat16, both accumulated in binary32. T below is that type.
 * Scalars, biases, LayerNorm parameters, embeddings, prototypes and probabilities are binary32.
 *
 * Kernels (symbol: struct; grid)
 *   pk_embed_{f16,bf16}        pk_embed_args       (ceil(rows / PK_WAVES), 1, 1)
 *   pk_norm_{f16,bf16}         pk_norm_args        (ceil(rows / PK_WAVES), 1, 1)
 *   pk_gemm_skinny_{f16,bf16}  pk_gemm_args        (ceil(n / 32), ceil(rows / 16), 1)
 *   pk_gemm_mid_{f16,bf16}     pk_gemm_args        (ceil(n / 64), ceil(rows / 64), 1)
 *   pk_gemm_fat_{f16,bf16}     pk_gemm_args        (ceil(n / 128), ceil(rows / 128), 1)
 *   pk_quantize_{f16,bf16}     pk_quantize_args    (ceil(rows / PK_WAVES), 1, 1)
 *   pk_gemm_i8_skinny_{f16,bf16} pk_gemm_i8_args   (ceil(n / 32), ceil(rows / 16), 1)
 *   pk_gemm_i8_mid_{f16,bf16}  pk_gemm_i8_args     (ceil(n / 64), ceil(rows / 64), 1)
 *   pk_attention32_{f16,bf16}  pk_attention_args   (tile capacity, heads, 1)     head dimension 32
 *   pk_attention64_{f16,bf16}  pk_attention_args   (tile capacity, heads, 1)     head dimension 64
 *   pk_pool_{f16,bf16}         pk_pool_args        (sequences, 1, 1)
 *   pk_prototypes              pk_prototypes_args  (banks, sequences, 1)
 *   pk_head_{f16,bf16}         pk_head_args        (rows, 1, 1)
 *   pk_topk                    pk_topk_args        (ceil(rows / PK_WAVES), 1, 1)
 *
 * Which GEMM: the largest tile whose grid has at least as many blocks as the device has compute units, skinny if none.
 */
#ifndef PINTLE_HIP_ABI_H
#define PINTLE_HIP_ABI_H

#if defined(__HIPCC_RTC__) || defined(__CUDACC_RTC__) || defined(PK_NO_STDINT)
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef unsigned long size_t;
typedef int int32_t;
typedef signed char int8_t;
#else
#include <stddef.h>
#include <stdint.h>
#endif

/* Changes whenever a struct, a geometry rule or a meaning below changes. */
#define PK_ABI_VERSION 1u

#define PK_WAVES 4u            /* waves in every block */
#define PK_MAX_HIDDEN 1024u    /* widest row of pk_embed, pk_norm, pk_pool; a multiple of 8 */
#define PK_MAX_CLASSES 256u    /* labels of pk_head */
#define PK_MAX_TOPK 32u        /* k of pk_topk */
#define PK_MAX_TOP_M 8u        /* top_m of a bank */
#define PK_QUERY_TILE 64u      /* queries of one attention tile */
#define PK_GEMM_K 32u          /* k of every GEMM is a multiple of this */
#define PK_GEMM_N 16u          /* n of every GEMM is a multiple of this (of 32 with PK_GEGLU) */

/* Activations of the GEMM epilogue, applied after the bias and before the residual. */
enum {
  PK_NONE = 0,
  PK_GELU = 1, /* exact: x * Phi(x) */
  PK_TANH = 2,
  /* gelu(gate) * up. The rows of w (and entries of bias) are interleaved by the host in groups of 16: rows 32i..32i+15
   * are rows 16i..16i+15 of the gate, rows 32i+16..32i+31 those of the up projection. The output has n / 2 columns. */
  PK_GEGLU = 3
};

enum { PK_POOL_MEAN = 0, PK_POOL_CLS = 1 };
enum { PK_SOFTMAX = 0, PK_SIGMOID = 1, PK_LOGITS = 2 };

#define PK_NO_INDEX 0xffffffffu

/* out[t] = LayerNorm(word[ids[t]] + position[positions[t]] + type[types[t]]). An index past its table is clamped to the
 * last row: a wrong id gives a wrong embedding, never a device fault. */
typedef struct pk_embed_args {
  const uint32_t *rows;      /* tokens */
  const int32_t *ids;        /* [rows] */
  const int32_t *positions;  /* [rows]; may be null where position is null */
  const int32_t *types;      /* [rows], or null: type 0 */
  const void *word;          /* T [vocabulary, hidden] */
  const void *position;      /* T [position_limit, hidden], or null: none are added */
  const void *type;          /* T [type_limit, hidden], or null: none are added */
  const float *gamma;        /* [hidden] */
  const float *beta;         /* [hidden], or null: 0 */
  void *out;                 /* T [rows, hidden] */
  uint32_t hidden;           /* a multiple of 8, at most PK_MAX_HIDDEN */
  uint32_t vocabulary;
  uint32_t position_limit;
  uint32_t type_limit;
  float epsilon;
  uint32_t reserved;
} pk_embed_args;

/* out = LayerNorm(x + residual). */
typedef struct pk_norm_args {
  const uint32_t *rows;
  const void *x;         /* T [rows, hidden] */
  const void *residual;  /* T [rows, hidden], or null */
  const float *gamma;    /* [hidden] */
  const float *beta;     /* [hidden], or null: 0 */
  void *sum;             /* T [rows, hidden] receives x + residual, or null; may be x or residual */
  void *out;             /* T [rows, hidden]; may be x or residual */
  uint32_t hidden;       /* a multiple of 8, at most PK_MAX_HIDDEN */
  float epsilon;
} pk_norm_args;

/* out = activation(a . w^T + bias) + residual. */
typedef struct pk_gemm_args {
  const uint32_t *rows;
  const void *a;         /* T [rows, k] */
  const void *w;         /* T [n, k] */
  const float *bias;     /* [n], or null */
  const void *residual;  /* T [rows, columns], or null; columns = n, or n / 2 with PK_GEGLU */
  void *out;             /* T [rows, columns]; may be residual */
  uint32_t n;            /* a multiple of PK_GEMM_N */
  uint32_t k;            /* a multiple of PK_GEMM_K */
  uint32_t activation;
  uint32_t reserved;
} pk_gemm_args;

/* q[r] = round(x[r] / scale[r]), scale[r] = max|x[r]| / 127 (1 for a row of zeros). */
typedef struct pk_quantize_args {
  const uint32_t *rows;
  const void *x;    /* T [rows, k] */
  int8_t *q;        /* [rows, k] */
  float *scale;     /* [rows] */
  uint32_t k;       /* a multiple of PK_GEMM_K */
  uint32_t reserved;
} pk_quantize_args;

/* out = activation((a . w^T) * a_scale[row] * w_scale[column] + bias) + residual, products summed in int32. */
typedef struct pk_gemm_i8_args {
  const uint32_t *rows;
  const int8_t *a;        /* [rows, k], from pk_quantize */
  const float *a_scale;   /* [rows] */
  const int8_t *w;        /* [n, k], symmetric per row */
  const float *w_scale;   /* [n] */
  const float *bias;      /* [n], or null */
  const void *residual;   /* T [rows, columns], or null */
  void *out;              /* T [rows, columns]; may be residual */
  uint32_t n;
  uint32_t k;             /* at most 131072: the int32 sum cannot overflow */
  uint32_t activation;
  uint32_t reserved;
} pk_gemm_i8_args;

/* PK_QUERY_TILE queries of one sequence. The host lists, for each sequence of length L that begins at token `first`,
 * ceil(L / PK_QUERY_TILE) tiles with query = 0, 64, 128... Order is free; long sequences first balances best. */
typedef struct pk_tile {
  uint32_t first;   /* index of the sequence's first token in the packed batch */
  uint32_t length;  /* tokens of the sequence, at least 1 */
  uint32_t query;   /* first query of the tile, counted from `first` */
  uint32_t reserved;
} pk_tile;

/* Bidirectional softmax attention in packed sequences: token i attends to j of its own sequence where window is 0 or
 * |i - j| <= window. Rotary embedding pairs dimension d with d + D/2 (head dimension 64 only). */
typedef struct pk_attention_args {
  const uint32_t *tile_count;
  const pk_tile *tiles;
  const void *qkv;         /* T [tokens, 3, heads, D] */
  const float *rope;       /* [rope_limit, D]: D/2 cosines, then D/2 sines, of each position; null: none */
  void *out;               /* T [tokens, heads, D] */
  uint32_t heads;
  uint32_t window;         /* half width, ModernBERT's local_attention / 2; 0: all */
  uint32_t rope_limit;     /* positions in the table; later positions use its last row */
  float scale;             /* of the scores, usually D^-1/2 */
} pk_attention_args;

/* embedding[s] = mean (or first) of the rows offsets[s] .. offsets[s + 1], then of unit length if normalize. */
typedef struct pk_pool_args {
  const uint32_t *sequences;
  const uint32_t *offsets;  /* [sequences + 1], increasing; an empty sequence gives zeros */
  const void *x;            /* T [tokens, hidden] */
  float *embedding;         /* [sequences, hidden] */
  void *typed;              /* T [sequences, hidden] receives the same values for a head, or null */
  uint32_t hidden;          /* a multiple of 8, at most PK_MAX_HIDDEN */
  uint32_t mode;            /* PK_POOL_MEAN or PK_POOL_CLS */
  uint32_t normalize;       /* 0 or 1 */
  uint32_t reserved;
} pk_pool_args;

/* Rows of the prototype matrix on the two sides of one rule. A side may be empty (begin == end). */
typedef struct pk_bank {
  uint32_t hard_begin, hard_end;
  uint32_t easy_begin, easy_end;
  uint32_t top_m;      /* 1 .. PK_MAX_TOP_M: prototypes in the mean; fewer if the side is smaller */
  float best_weight;   /* 0 .. 1 */
} pk_bank;

/* score of a side = best_weight * max + (1 - best_weight) * mean of the best top_m cosines; 0 for an empty side. */
typedef struct pk_bank_score {
  float hard, easy;
  float margin;             /* hard - easy: the complexity signal compares it with its threshold */
  float hard_best, easy_best;
  uint32_t hard_index, easy_index;  /* row of the best prototype, the first of equals; PK_NO_INDEX for an empty side */
  uint32_t reserved;
} pk_bank_score;

typedef struct pk_prototypes_args {
  const uint32_t *sequences;
  const float *embedding;   /* [sequences, hidden], of unit length */
  const float *prototypes;  /* [*, hidden], of unit length */
  const pk_bank *banks;     /* [bank_count] */
  pk_bank_score *scores;    /* [sequences, bank_count] */
  uint32_t hidden;          /* a multiple of 4 */
  uint32_t bank_count;
} pk_prototypes_args;

typedef struct pk_label {
  uint32_t index;     /* the first of equals */
  float confidence;   /* probs[index] */
} pk_label;

/* probs = mode(x . w^T + bias): one row per sequence or per token. */
typedef struct pk_head_args {
  const uint32_t *rows;
  const void *x;        /* T [rows, hidden] */
  const void *w;        /* T [classes, hidden] */
  const float *bias;    /* [classes], or null */
  float *probs;         /* [rows, classes] */
  pk_label *best;       /* [rows], or null */
  uint32_t hidden;      /* a multiple of 8 */
  uint32_t classes;     /* 1 .. PK_MAX_CLASSES */
  uint32_t mode;        /* PK_SOFTMAX, PK_SIGMOID or PK_LOGITS */
  uint32_t reserved;
} pk_head_args;

/* The k largest scores of each row in falling order; of equal scores the one with the lower index first. Places past
 * n hold -infinity and PK_NO_INDEX. Scores must not be NaN. */
typedef struct pk_topk_args {
  const uint32_t *rows;
  const float *scores;  /* [rows, n] */
  float *values;        /* [rows, k] */
  uint32_t *indices;    /* [rows, k] */
  uint32_t n;
  uint32_t k;           /* 1 .. PK_MAX_TOPK */
} pk_topk_args;

#ifdef __cplusplus
#define PK_SIZE(type, bytes) static_assert(sizeof(type) == bytes, "layout of " #type)
#else
#define PK_SIZE(type, bytes) _Static_assert(sizeof(type) == bytes, "layout of " #type)
#endif
PK_SIZE(pk_embed_args, 104);
PK_SIZE(pk_norm_args, 64);
PK_SIZE(pk_gemm_args, 64);
PK_SIZE(pk_quantize_args, 40);
PK_SIZE(pk_gemm_i8_args, 80);
PK_SIZE(pk_tile, 16);
PK_SIZE(pk_attention_args, 56);
PK_SIZE(pk_pool_args, 56);
PK_SIZE(pk_bank, 24);
PK_SIZE(pk_bank_score, 32);
PK_SIZE(pk_prototypes_args, 48);
PK_SIZE(pk_label, 8);
PK_SIZE(pk_head_args, 64);
PK_SIZE(pk_topk_args, 40);
#undef PK_SIZE

#endif
