/* What all layers share: where their values lie, and operations on vectors of them. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

/* What a register holds in bytes, and how many vectors of outputs fit 32 of them, or 16. */
#if defined(__AVX512F__)
enum { WIDTH = 64, MOST = 4 };
#elif defined(__AVX__)
enum { WIDTH = 32, MOST = 2 };
#elif defined(__aarch64__)
enum { WIDTH = 16, MOST = 4 };
#else
enum { WIDTH = 16, MOST = 2 };
#endif

typedef REAL V __attribute__((vector_size(WIDTH), aligned(4)));
typedef int32_t I32;
enum { LANES = WIDTH / sizeof(REAL) };

#define JOIN(name, real) name##_##real
#define EXPAND(name, real) JOIN(name, real)
#define NAME(name) EXPAND(name, REAL) /* train_float, train_double */

#define LOAD(p) (*(const V *)(p))
#define STORE(p) (*(V *)(p))
#define UNROLL _Pragma("GCC unroll 8")
/* Else GCC keeps an offset in a register for each of the vectors that are read from p on. */
#define IN_REGISTER(p) __asm__("" : "+r"(p))
#define INLINE static inline __attribute__((always_inline))
#define KERNEL static __attribute__((noinline)) void /* seen by its name in a profile */

enum { CONVOLUTION, DENSE, POOLING, DROPOUT, RECTIFIER };

typedef struct {
    I32 kind, relu, first;
    I32 h, w, c, cs;                       /* input rows, columns, channels, padded channels */
    I32 oh, ow, oc, os;                    /* the same of the output */
    I32 kh, kw, sh, sw;                    /* window and stride */
    I32 strip;                             /* rows of outputs whose inputs fit the first cache */
    I32 tiles;                             /* that Winograd's algorithm takes at a time, or 0 */
    I32 threshold, slot;                   /* dropout: p * 2^24, and which key is its own */
    int64_t weight, bias;                  /* offsets into the packed parameters */
    int64_t in, out, in_gradient, gradient; /* offsets into the workspace */
    int64_t extra;                         /* scratch: masks, argmax, transposed weights */
    double keep;                           /* dropout: 1 - p */
} Layer;

/* n is a multiple of LANES. */
INLINE void axpy(REAL *y, const REAL *x, REAL a, int n) {
    const V va = a - (V){0};
    for (int j = 0; j < n; j += LANES) STORE(y + j) = LOAD(y + j) + va * LOAD(x + j);
}

/* max(x, 0); what is not a number stays so. */
INLINE V rectified(V x) { return (V)((__typeof__(x < 0))x & ~(x < 0)); }

INLINE void rectify(REAL *y, const REAL *x, int64_t count) {
    for (int64_t j = 0; j < count; j++) y[j] = x[j] < 0 ? 0 : x[j];
}

/* Through a ReLU that gave y. */
static void gate(REAL *restrict gradient, const REAL *restrict y, int64_t count) {
    for (int64_t j = 0; j < count; j++) gradient[j] = y[j] > 0 ? gradient[j] : 0;
}

/* Which of LANES values are not zero, as bits; NaN counts. */
INLINE uint32_t nonzero(const REAL *g) {
#ifdef __AVX512F__
    if (sizeof(REAL) == 4)
        return _mm512_cmp_ps_mask(_mm512_loadu_ps(g), _mm512_setzero_ps(), _CMP_NEQ_UQ);
    return _mm512_cmp_pd_mask(_mm512_loadu_pd(g), _mm512_setzero_pd(), _CMP_NEQ_UQ);
#else
    uint32_t bits = 0;
    for (int j = 0; j < LANES; j++) bits |= (uint32_t)(g[j] != 0) << j;
    return bits;
#endif
}
