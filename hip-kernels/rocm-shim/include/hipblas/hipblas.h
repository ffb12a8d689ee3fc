/* The names of hipBLAS that hip-rs mentions; nothing here calls them. */
#pragma once
#include <hip/hip_runtime.h>

typedef void *hipblasHandle_t;
typedef uint16_t hipblasHalf;
typedef struct hipblasComplex {
  float x, y;
} hipblasComplex;
typedef struct hipblasDoubleComplex {
  double x, y;
} hipblasDoubleComplex;
typedef enum { HIPBLAS_STATUS_SUCCESS = 0, HIPBLAS_STATUS_NOT_INITIALIZED = 1, HIPBLAS_STATUS_NOT_SUPPORTED = 7 } hipblasStatus_t;
typedef enum { HIPBLAS_OP_N = 111, HIPBLAS_OP_T = 112, HIPBLAS_OP_C = 113 } hipblasOperation_t;

#ifdef __cplusplus
extern "C" {
#endif
hipblasStatus_t hipblasCreate(hipblasHandle_t *handle);
hipblasStatus_t hipblasDestroy(hipblasHandle_t handle);
#define PK_GEMM(letter, element)                                                                                     \
  hipblasStatus_t hipblas##letter##gemm(hipblasHandle_t handle, hipblasOperation_t a_op, hipblasOperation_t b_op,    \
                                        int m, int n, int k, const element *alpha, const element *a, int lda,        \
                                        const element *b, int ldb, const element *beta, element *c, int ldc);
PK_GEMM(H, hipblasHalf)
PK_GEMM(S, float)
PK_GEMM(D, double)
PK_GEMM(C, hipblasComplex)
PK_GEMM(Z, hipblasDoubleComplex)
#undef PK_GEMM
#ifdef __cplusplus
}
#endif
