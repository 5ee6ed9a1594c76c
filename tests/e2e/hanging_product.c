/* An executor that hangs while its process lives, put before oneDNN with LD_PRELOAD: while the file HANGING_PRODUCT/<process> is
 * there, a matrix product of that process does not come back. */
#include <dlfcn.h>
#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef dnnl_status_t sgemm_fn(char, char, dnnl_dim_t, dnnl_dim_t, dnnl_dim_t, float, const float *, dnnl_dim_t,
                               const float *, dnnl_dim_t, float, float *, dnnl_dim_t);

dnnl_status_t dnnl_sgemm(char transa, char transb, dnnl_dim_t M, dnnl_dim_t N, dnnl_dim_t K, float alpha,
                         const float *A, dnnl_dim_t lda, const float *B, dnnl_dim_t ldb, float beta, float *C,
                         dnnl_dim_t ldc)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", getenv("HANGING_PRODUCT"), (int)getpid());
    while (access(path, F_OK) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    sgemm_fn *real = (sgemm_fn *)dlsym(RTLD_NEXT, "dnnl_sgemm");
    return real(transa, transb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}
