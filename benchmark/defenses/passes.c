/* Passes over a block of columns of updates (n, P), on one thread, called by passes.py.
 *
 * Rows are in the precision of REAL, sums of products in double. All functions take the first
 * row, the step to the next, how many rows and columns there are, and three further arrays.
 */
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
enum { LANES = 8, TILE = 4 };
#elif defined(__AVX__)
enum { LANES = 4, TILE = 2 };
#elif defined(__aarch64__)
enum { LANES = 2, TILE = 4 };
#else
enum { LANES = 2, TILE = 2 };
#endif
enum { COLUMNS = 1024, STRIP = 64, AHEAD = 2048 };

typedef double D __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t I __attribute__((vector_size(LANES * sizeof(int64_t))));
typedef D U __attribute__((aligned(sizeof(double))));
typedef REAL R
    __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

#define JOIN(name, real) name##_##real
#define EXPAND(name, real) JOIN(name, real)
#define NAME(name) EXPAND(name, REAL) /* mean_float, mean_double */
#define UNROLL _Pragma("GCC unroll 8")
#define INLINE static inline __attribute__((always_inline))

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE D wide(const REAL *x) {
#ifdef __AVX512F__
    /* GCC 12 converts halves. */
    if (sizeof(REAL) == 4) return (D)_mm512_cvtps_pd(_mm256_loadu_ps((const float *)x));
#endif
    return __builtin_convertvector(*(const R *)x, D);
}

INLINE double over_lanes(D v) {
    double total = 0;
    UNROLL for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

/* Sum of xy, or of squares of x - c where y is NULL; c may be NULL too. */
INLINE double product(const REAL *x, const double *y, const double *c, int64_t count) {
    D sums[4] = {{0}};
    double rest = 0;
    int64_t p = 0;
    for (; p + 4 * LANES <= count; p += 4 * LANES) {
        /* Processors look no further than a page of memory. */
        __builtin_prefetch(x + p + AHEAD), __builtin_prefetch(x + p + AHEAD + 16);
        UNROLL for (int i = 0; i < 4; i++) {
            const int64_t at = p + i * LANES;
            const D a = c ? wide(x + at) - *(const U *)(c + at) : wide(x + at);
            sums[i] += a * (y ? *(const U *)(y + at) : a);
        }
    }
    for (; p < count; p++) {
        const double a = x[p] - (c ? c[p] : 0);
        rest += a * (y ? y[p] : a);
    }
    return over_lanes((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

/* total (n): inner products of the rows with other, or squares of the rows less center where that
 * is NULL; center may be NULL too. */
void NAME(products)(const REAL *rows, int64_t step, int64_t n, int64_t count, const double *other,
                    const double *center, double *total) {
    for (int64_t start = 0; start < count; start += 2 * COLUMNS)
        for (int64_t k = 0; k < n; k++) {
            const REAL *x = rows + k * step + start;
            const int64_t width = least(count - start, 2 * COLUMNS);
            total[k] += other    ? product(x, other + start, 0, width)
                        : center ? product(x, 0, center + start, width)
                                 : product(x, 0, 0, width);
        }
}

INLINE D magnitude(D x) { return (D)((I)x & INT64_MAX); }

INLINE void tile(const double *a, const double *b, int64_t count, double *total, int64_t n,
                 int apart) {
    D sums[TILE][TILE] = {{{0}}};
    for (int64_t p = 0; p < count; p += LANES) {
        D left[TILE];
        UNROLL for (int i = 0; i < TILE; i++) left[i] = *(const D *)(a + i * COLUMNS + p);
        UNROLL for (int j = 0; j < TILE; j++) {
            const D right = *(const D *)(b + j * COLUMNS + p);
            UNROLL for (int i = 0; i < TILE; i++)
                sums[i][j] += apart ? magnitude(left[i] - right) : left[i] * right;
        }
    }
    UNROLL for (int i = 0; i < TILE; i++)
        UNROLL for (int j = 0; j < TILE; j++) total[i * n + j] += over_lanes(sums[i][j]);
}

INLINE void pairs(const REAL *rows, int64_t step, int64_t n, int64_t count, const double *center,
                  double *work, double *total, int apart) {
    const int64_t m = (n + 3) / 4 * 4;
    memset(work, 0, m * COLUMNS * sizeof(double));
    for (int64_t start = 0; start < count; start += COLUMNS) {
        const int64_t width = least(count - start, COLUMNS);
        const int64_t whole = (width + LANES - 1) / LANES * LANES;
        for (int64_t k = 0; k < n; k++) {
            const REAL *x = rows + k * step + start;
            const double *c = center ? center + start : 0;
            double *to = work + k * COLUMNS;
            int64_t p = 0;
            for (; p + LANES <= width; p += LANES)
                *(D *)(to + p) = c ? wide(x + p) - *(const U *)(c + p) : wide(x + p);
            for (; p < whole; p++) to[p] = p < width ? x[p] - (c ? c[p] : 0) : 0;
        }
        for (int64_t i = 0; i < m; i += TILE)
            for (int64_t j = i; j < m; j += TILE)
                tile(work + i * COLUMNS, work + j * COLUMNS, whole, total + i * m + j, m, apart);
    }
}

/* total (m, m), where m is n up to a multiple of 4: above the diagonal, inner products of the rows
 * less center, which may be NULL. work (m, COLUMNS) begins at a multiple of 64 bytes. */
void NAME(gram)(const REAL *rows, int64_t step, int64_t n, int64_t count, const double *center,
                double *work, double *total) {
    pairs(rows, step, n, count, center, work, total, 0);
}

/* The same of sums of |x - y|. */
void NAME(manhattan)(const REAL *rows, int64_t step, int64_t n, int64_t count,
                     const double *nothing, double *work, double *total) {
    pairs(rows, step, n, count, nothing, work, total, 1);
}

/* out (count): the sum of weights (n) times rows, times scales (n) before that unless NULL. */
void NAME(mean)(const REAL *rows, int64_t step, int64_t n, int64_t count, const REAL *weights,
                const REAL *scales, REAL *out) {
    for (int64_t start = 0; start < count; start += 2 * COLUMNS) {
        const int64_t width = least(count - start, 2 * COLUMNS);
        REAL *restrict to = out + start;
        memset(to, 0, width * sizeof(REAL));
        for (int64_t k = 0; k < n; k++) {
            const REAL *restrict x = rows + k * step + start, w = weights[k];
            if (w == 0) continue;
            if (scales)
                for (int64_t p = 0; p < width; p++) to[p] += x[p] * scales[k] * w;
            else
                for (int64_t p = 0; p < width; p++) to[p] += x[p] * w;
        }
    }
}

/* out (n, 3): of what is larger in magnitude than the row's cut, the sum of squares, and how many
 * are positive and negative, signs (count) being multiplied first unless NULL. */
void NAME(beyond)(const REAL *rows, int64_t step, int64_t n, int64_t count, const REAL *cuts,
                  const REAL *signs, double *out) {
    for (int64_t k = 0; k < n; k++, out += 3)
        for (int64_t start = 0; start < count; start += COLUMNS) {
            const REAL *x = rows + k * step + start, *s = signs ? signs + start : 0, cut = cuts[k];
            const int width = least(count - start, COLUMNS);
            REAL kept[COLUMNS];
            int up = 0, down = 0;
            for (int p = 0; p < width; p++) {
                const REAL value = s ? x[p] * s[p] : x[p];
                up += value > cut, down += value < -cut;
                kept[p] = value > cut || value < -cut ? value : 0;
            }
            out[0] += product(kept, 0, 0, width), out[1] += up, out[2] += down;
        }
}

/* With these the least of two is one instruction; what is sorted is finite. */
#pragma GCC push_options
#pragma GCC optimize("finite-math-only", "no-signed-zeros")
/* Batcher's merge exchange of n values, of STRIP columns at the same time: Knuth, 5.2.2, M. */
static void sort(REAL *values, int64_t n) {
    int64_t top = 1;
    while (2 * top < n) top *= 2;
    for (int64_t p = top; p > 0; p /= 2)
        for (int64_t q = top, r = 0, d = p;; d = q - p, q /= 2, r = p) {
            for (int64_t i = 0; i + d < n; i++) {
                if ((i & p) != r) continue;
                REAL *restrict a = values + i * STRIP, *restrict b = values + (i + d) * STRIP;
                for (int j = 0; j < STRIP; j++) {
                    const REAL x = a[j], y = b[j];
                    a[j] = x < y ? x : y;
                    b[j] = x < y ? y : x;
                }
            }
            if (q == p) break;
        }
}
#pragma GCC pop_options

/* out (n, count): the columns, sorted. work (n, STRIP). */
void NAME(ordered)(const REAL *rows, int64_t step, int64_t n, int64_t count, REAL *work,
                   const void *nothing, REAL *out) {
    (void)nothing;
    memset(work, 0, n * STRIP * sizeof(REAL));
    for (int64_t start = 0; start < count; start += STRIP) {
        const size_t bytes = least(count - start, STRIP) * sizeof(REAL);
        for (int64_t k = 0; k < n; k++)
            memcpy(work + k * STRIP, rows + k * step + start, bytes);
        sort(work, n);
        for (int64_t k = 0; k < n; k++)
            memcpy(out + k * count + start, work + k * STRIP, bytes);
    }
}
