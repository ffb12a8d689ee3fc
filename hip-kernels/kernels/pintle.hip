// The entry points. include/pintle_hip_abi.h says what each takes and how it is launched.
#include "attention.h"
#include "gemm.h"
#include "heads.h"
#include "rows.h"

#define PK_ENTRY(name, args, ...) \
  PK_KERNEL name(const args a) { __VA_ARGS__(a); } \
  PK_REGISTER(name)
#define PK_ENTRY_TYPES(name, args, body) \
  PK_ENTRY(name##_f16, args, body<pk_f16>) \
  PK_ENTRY(name##_bf16, args, body<pk_bf16>)

template <class T> PK_DEVICE void pk_gemm_mid(const pk_gemm_args &a) { pk_gemm_square<T, 64>(a); }
template <class T> PK_DEVICE void pk_gemm_fat(const pk_gemm_args &a) { pk_gemm_square<T, 128>(a); }
template <class T> PK_DEVICE void pk_attention32(const pk_attention_args &a) { pk_attention<T, 32>(a); }
template <class T> PK_DEVICE void pk_attention64(const pk_attention_args &a) { pk_attention<T, 64>(a); }

PK_ENTRY_TYPES(pk_embed, pk_embed_args, pk_embed)
PK_ENTRY_TYPES(pk_norm, pk_norm_args, pk_norm)
PK_ENTRY_TYPES(pk_quantize, pk_quantize_args, pk_quantize)
PK_ENTRY_TYPES(pk_gemm_skinny, pk_gemm_args, pk_gemm_skinny)
PK_ENTRY_TYPES(pk_gemm_mid, pk_gemm_args, pk_gemm_mid)
PK_ENTRY_TYPES(pk_gemm_fat, pk_gemm_args, pk_gemm_fat)
PK_ENTRY_TYPES(pk_gemm_i8_skinny, pk_gemm_i8_args, pk_gemm_i8_skinny)
PK_ENTRY_TYPES(pk_gemm_i8_mid, pk_gemm_i8_args, pk_gemm_i8_mid)
PK_ENTRY_TYPES(pk_attention32, pk_attention_args, pk_attention32)
PK_ENTRY_TYPES(pk_attention64, pk_attention_args, pk_attention64)
PK_ENTRY_TYPES(pk_pool, pk_pool_args, pk_pool)
PK_ENTRY_TYPES(pk_head, pk_head_args, pk_head)
PK_ENTRY(pk_prototypes, pk_prototypes_args, pk_prototypes_block)
PK_ENTRY(pk_topk, pk_topk_args, pk_topk_row)
