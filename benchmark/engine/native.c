/* Local SGD steps and predictions of a chain of layers, on one thread, called by native.py.
 *
 * Activations are channels-last with channels padded to whole vectors; padding holds zeros.
 * Weights are packed as (inputs, outputs), outputs padded, so that one input times one row of
 * weights is a run of vector operations. Zeros are skipped where they are common and exact: a
 * ReLU leaves half of what a dense layer reads at zero, and max-pooling three quarters of the
 * gradient that a convolution gets. Nothing is allocated, nothing is shared between calls.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

typedef REAL V __attribute__((vector_size(64), aligned(4)));
typedef int32_t I32;
enum { LANES = 64 / sizeof(REAL), BLOCK = 6 };
#define JOIN(name, real) name##_##real
#define EXPAND(name, real) JOIN(name, real)
#define NAME(name) EXPAND(name, REAL) /* train_float, train_double */
#define LOAD(p) (*(const V *)(p))
#define STORE(p) (*(V *)(p))
#define UNROLL _Pragma("GCC unroll 8")
#define INLINE static inline __attribute__((always_inline))

enum { CONVOLUTION, DENSE, POOLING, DROPOUT, RECTIFIER };

typedef struct {
    I32 kind, relu, first, gated;          /* gated: where the input is 0 its gradient is not needed */
    I32 h, w, c, cs;                       /* input rows, columns, channels, padded channels */
    I32 oh, ow, oc, os;                    /* the same of the output */
    I32 kh, kw, sh, sw;                    /* window and stride */
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
INLINE void rectify(REAL *y, const REAL *x, int64_t count) {
    for (int64_t j = 0; j < count; j++) y[j] = x[j] < 0 ? 0 : x[j];
}

/* Output positions x0 .. x0 + np - 1 of one row, nv vectors of output channels. */
INLINE void conv_block(const Layer *l, const REAL *x, const REAL *weight, const REAL *bias,
                       REAL *y, const int np, const int nv) {
    V sum[BLOCK][4];
    UNROLL for (int v = 0; v < nv; v++)
        UNROLL for (int q = 0; q < np; q++) sum[q][v] = LOAD(bias + v * LANES);
    const int step = l->sw * l->cs;
    for (int ky = 0; ky < l->kh; ky++) {
        const REAL *row = x + (int64_t)ky * l->w * l->cs;
        for (int k = 0; k < l->kw; k++) {
            for (int i = 0; i < l->c; i++, weight += l->os) {
                V wv[4];
                UNROLL for (int v = 0; v < nv; v++) wv[v] = LOAD(weight + v * LANES);
                UNROLL for (int q = 0; q < np; q++) {
                    V xv = row[q * step + i] - (V){0};
                    UNROLL for (int v = 0; v < nv; v++) sum[q][v] += xv * wv[v];
                }
            }
            row += l->cs;
        }
    }
    UNROLL for (int q = 0; q < np; q++)
        UNROLL for (int v = 0; v < nv; v++) STORE(y + q * l->os + v * LANES) = sum[q][v];
}

#define CASE(NP, NV) case NP * 8 + NV: conv_block(l, x, w, b, y, NP, NV); break;
#define CASES(NV) CASE(1, NV) CASE(2, NV) CASE(3, NV) CASE(4, NV) CASE(5, NV) CASE(6, NV)

static __attribute__((noinline)) void conv_forward(const Layer *l, const REAL *packed, const REAL *in, REAL *out, int n) {
    for (int s = 0; s < n; s++)
        for (int oy = 0; oy < l->oh; oy++)
            for (int ox = 0; ox < l->ow; ox += BLOCK) {
                const int np = l->ow - ox < BLOCK ? l->ow - ox : BLOCK;
                const REAL *x =
                    in + (((int64_t)s * l->h + oy * l->sh) * l->w + ox * l->sw) * l->cs;
                for (int o = 0; o < l->os;) {
                    const int left = (l->os - o) / LANES, nv = left >= 4 ? 4 : left >= 2 ? 2 : 1;
                    const REAL *w = packed + l->weight + o, *b = packed + l->bias + o;
                    REAL *y = out + (((int64_t)s * l->oh + oy) * l->ow + ox) * l->os + o;
                    switch (np * 8 + nv) { CASES(1) CASES(2) CASES(4) }
                    o += nv * LANES;
                }
                if (l->relu) {
                    REAL *y = out + (((int64_t)s * l->oh + oy) * l->ow + ox) * l->os;
                    rectify(y, y, (int64_t)np * l->os);
                }
            }
}

/* Which of LANES values are not zero, as bits; NaN counts. */
INLINE uint32_t nonzero(const REAL *g) {
#ifdef __AVX512F__
    if (sizeof(REAL) == 4) return _mm512_cmp_ps_mask(_mm512_loadu_ps(g), _mm512_setzero_ps(), _CMP_NEQ_UQ);
    return _mm512_cmp_pd_mask(_mm512_loadu_pd(g), _mm512_setzero_pd(), _CMP_NEQ_UQ);
#else
    uint32_t bits = 0;
    for (int j = 0; j < LANES; j++) bits |= (uint32_t)(g[j] != 0) << j;
    return bits;
#endif
}

/* Gradient of nt inputs of the windows' rows ky, from input t on, for one vector of outputs. */
INLINE void first_block(const Layer *l, const REAL *in, const REAL *gradient, REAL *dw, int ky,
                        int t, int n, const int nt) {
    V sum[8];
    UNROLL for (int q = 0; q < nt; q++) sum[q] = (V){0};
    for (int s = 0; s < n; s++)
        for (int oy = 0; oy < l->oh; oy++) {
            const REAL *x = in + (((int64_t)s * l->h + oy * l->sh + ky) * l->w) * l->cs + t;
            const REAL *g = gradient + ((int64_t)s * l->oh + oy) * l->ow * l->os;
            for (int ox = 0; ox < l->ow; ox++, x += l->sw * l->cs, g += l->os) {
                const V gv = LOAD(g);
                UNROLL for (int q = 0; q < nt; q++) sum[q] += (x[q] - (V){0}) * gv;
            }
        }
    UNROLL for (int q = 0; q < nt; q++) STORE(dw + (ky * l->kw * l->c + t + q) * l->os) = sum[q];
}

/* The first layer needs no gradient of its input, and its windows are small. */
static __attribute__((noinline)) void first_backward(const Layer *l, const REAL *in, const REAL *gradient, REAL *dw,
                           REAL *db, int n) {
    for (int64_t p = 0; p < (int64_t)n * l->oh * l->ow; p++) axpy(db, gradient + p * l->os, 1, l->os);
    for (int o = 0; o < l->os; o += LANES)
        for (int ky = 0; ky < l->kh; ky++)
            for (int t = 0; t < l->kw * l->c; t += 8) {
#define FIRST(NT) case NT: first_block(l, in, gradient + o, dw + o, ky, t, n, NT); break;
                const int left = l->kw * l->c - t;
                switch (left < 8 ? left : 8) {
                    FIRST(1) FIRST(2) FIRST(3) FIRST(4) FIRST(5) FIRST(6) FIRST(7) FIRST(8)
                }
            }
}

/* scratch: weights as (outputs, inputs), then their gradient likewise, then the bias gradient. */
static __attribute__((noinline)) void conv_backward(const Layer *l, REAL *packed, const REAL *in, const REAL *gradient,
                          REAL *in_gradient, REAL *scratch, int n, REAL lr) {
    const int run = l->kw * l->cs, pitch = l->w * l->cs, size = l->kh * run;
    const int taps = l->kh * l->kw;
    REAL *turned = scratch, *dw = scratch + (int64_t)l->os * size, *db = dw + (int64_t)l->os * size;
    REAL *weight = packed + l->weight;
    memset(dw, 0, sizeof(REAL) * ((int64_t)l->os * size + l->os));
    if (!l->first) {
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < l->cs; i++)
                for (int o = 0; o < l->os; o++)
                    turned[o * size + t * l->cs + i] =
                        i < l->c ? weight[(t * l->c + i) * l->os + o] : 0;
        memset(in_gradient, 0, sizeof(REAL) * (int64_t)n * l->h * l->w * l->cs);
    }
    if (l->first) first_backward(l, in, gradient, dw, db, n);
    for (int s = 0; s < n && !l->first; s++)
        for (int o = 0; o < l->os; o += LANES) /* their rows of dw and turned stay in cache */
            for (int oy = 0; oy < l->oh; oy++)
                for (int ox = 0; ox < l->ow; ox++) {
                    const REAL *g =
                        gradient + (((int64_t)s * l->oh + oy) * l->ow + ox) * l->os + o;
                    const int64_t at =
                        (((int64_t)s * l->h + oy * l->sh) * l->w + ox * l->sw) * l->cs;
                    for (uint32_t bits = nonzero(g); bits; bits &= bits - 1) {
                        const int j = __builtin_ctz(bits);
                        const V a = g[j] - (V){0};
                        const REAL *w = turned + (int64_t)(o + j) * size, *x = in + at;
                        REAL *d = dw + (int64_t)(o + j) * size, *gx = in_gradient + at;
                        db[o + j] += g[j];
                        for (int ky = 0; ky < l->kh; ky++, x += pitch, gx += pitch)
                            for (int r = 0; r < run; r += LANES, d += LANES, w += LANES) {
                                STORE(d) = LOAD(d) + a * LOAD(x + r);
                                STORE(gx + r) = LOAD(gx + r) + a * LOAD(w);
                            }
                    }
                }
    for (int t = 0; t < taps; t++)
        for (int i = 0; i < l->c; i++)
            for (int o = 0; o < l->os; o++)
                weight[(t * l->c + i) * l->os + o] -=
                    lr * (l->first ? dw[(t * l->c + i) * l->os + o]
                                   : dw[o * size + t * l->cs + i]);
    axpy(packed + l->bias, db, -lr, l->os);
}

/* For each input: its row of weights in registers, nv vectors of outputs at a time. */
INLINE void dense_forward_block(const Layer *l, const REAL *weight, const REAL *in, REAL *out,
                                int n, const int nv) {
    for (int i = 0; i < l->cs; i++, weight += l->os) {
        V wv[8];
        UNROLL for (int v = 0; v < nv; v++) wv[v] = LOAD(weight + v * LANES);
        for (int s = 0; s < n; s++) {
            const REAL x = in[(int64_t)s * l->cs + i];
            if (x == 0) continue;
            const V xv = x - (V){0};
            REAL *y = out + s * l->os;
            UNROLL for (int v = 0; v < nv; v++)
                STORE(y + v * LANES) = LOAD(y + v * LANES) + xv * wv[v];
        }
    }
}

/* The same row: gradient of the input (added up over blocks), then the step on the weights. */
INLINE void dense_backward_block(const Layer *l, REAL *weight, const REAL *in,
                                 const REAL *gradient, REAL *in_gradient, int n, REAL lr,
                                 const int nv) {
    for (int i = 0; i < l->cs; i++, weight += l->os) {
        V wv[8], sum[8];
        UNROLL for (int v = 0; v < nv; v++) wv[v] = LOAD(weight + v * LANES), sum[v] = (V){0};
        for (int s = 0; s < n; s++) {
            const int64_t at = (int64_t)s * l->cs + i;
            const REAL x = in[at], *g = gradient + s * l->os;
            if (x == 0 && (l->gated || l->first)) continue;
            const V xv = x - (V){0};
            V dot = {0};
            UNROLL for (int v = 0; v < nv; v++) {
                const V gv = LOAD(g + v * LANES);
                sum[v] += xv * gv;
                dot += wv[v] * gv;
            }
            if (l->first) continue;
            for (int half = LANES / 2; half; half /= 2)
                for (int j = 0; j < half; j++) dot[j] += dot[j + half];
            in_gradient[at] += dot[0];
        }
        UNROLL for (int v = 0; v < nv; v++) STORE(weight + v * LANES) = wv[v] - sum[v] * lr;
    }
}

#define BLOCKS(CALL) \
    for (int o = 0; o < l->os;) { \
        const int left = (l->os - o) / LANES, nv = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1; \
        switch (nv) { \
        case 8: CALL(8); break; \
        case 4: CALL(4); break; \
        case 2: CALL(2); break; \
        default: CALL(1); \
        } \
        o += nv * LANES; \
    }

static __attribute__((noinline)) void dense_forward(const Layer *l, const REAL *packed, const REAL *in, REAL *out, int n) {
    for (int s = 0; s < n; s++) memcpy(out + s * l->os, packed + l->bias, sizeof(REAL) * l->os);
#define FORWARD(NV) dense_forward_block(l, packed + l->weight + o, in, out + o, n, NV)
    BLOCKS(FORWARD)
    if (l->relu) rectify(out, out, (int64_t)n * l->os);
}

static __attribute__((noinline)) void dense_backward(const Layer *l, REAL *packed, const REAL *in, const REAL *gradient,
                           REAL *in_gradient, int n, REAL lr) {
    if (!l->first) memset(in_gradient, 0, sizeof(REAL) * (int64_t)n * l->cs);
#define BACKWARD(NV) \
    dense_backward_block(l, packed + l->weight + o, in, gradient + o, in_gradient, n, lr, NV)
    BLOCKS(BACKWARD)
    for (int s = 0; s < n; s++) axpy(packed + l->bias, gradient + s * l->os, -lr, l->os);
}

static __attribute__((noinline)) void pool_forward(const Layer *l, const REAL *restrict in, REAL *restrict out,
                         I32 *restrict chosen, int n) {
    for (int s = 0; s < n; s++)
        for (int oy = 0; oy < l->oh; oy++)
            for (int ox = 0; ox < l->ow; ox++, out += l->os, chosen += l->os) {
                const int64_t at = (((int64_t)s * l->h + oy * l->kh) * l->w + ox * l->kw) * l->cs;
                for (int o = 0; o < l->os; o++) out[o] = in[at + o], chosen[o] = 0;
                for (int ky = 0; ky < l->kh; ky++)
                    for (int k = 0; k < l->kw; k++) {
                        const I32 offset = (ky * l->w + k) * l->cs;
                        for (int o = 0; o < l->os; o++) {
                            const REAL x = in[at + offset + o];
                            const int more = x > out[o];
                            out[o] = more ? x : out[o];
                            chosen[o] = more ? offset : chosen[o];
                        }
                    }
            }
}

static __attribute__((noinline)) void pool_backward(const Layer *l, const REAL *gradient, REAL *in_gradient,
                          const I32 *chosen, int n) {
    memset(in_gradient, 0, sizeof(REAL) * (int64_t)n * l->h * l->w * l->cs);
    for (int s = 0; s < n; s++)
        for (int oy = 0; oy < l->oh; oy++)
            for (int ox = 0; ox < l->ow; ox++, gradient += l->os, chosen += l->os) {
                REAL *at =
                    in_gradient + (((int64_t)s * l->h + oy * l->kh) * l->w + ox * l->kw) * l->cs;
                for (int o = 0; o < l->os; o++) at[chosen[o] + o] = gradient[o];
            }
}

/* models/dropout.py: the mask of a value depends on its index channels, rows, columns alone. */
static __attribute__((noinline)) void dropout_forward(const Layer *l, const REAL *restrict in, REAL *restrict out,
                            I32 *restrict kept, int n, uint32_t key) {
    const uint32_t plane = l->h * l->w;
    const REAL keep = (REAL)l->keep;
    for (int s = 0; s < n; s++)
        for (uint32_t p = 0; p < plane; p++, in += l->cs, out += l->cs, kept += l->cs)
            for (int c = 0; c < l->cs; c++) {
                uint32_t bits = (((uint32_t)s * l->c + c) * plane + p) ^ key;
                bits = (bits ^ bits >> 16) * 0x7FEB352Du;
                bits = (bits ^ bits >> 15) * 0x846CA68Bu;
                bits = (bits ^ bits >> 16) >> 8;
                kept[c] = (I32)bits >= l->threshold;
                out[c] = kept[c] ? in[c] / keep : 0;
            }
}

static __attribute__((noinline)) void gate(REAL *gradient, const REAL *y, int64_t count) {
    for (int64_t j = 0; j < count; j++) gradient[j] = y[j] > 0 ? gradient[j] : 0;
}

/* Mean cross-entropy; the gradient with respect to the logits, padding included. */
static double cross_entropy(const Layer *l, const REAL *logits, const int64_t *labels,
                            REAL *gradient, int n) {
    double loss = 0;
    for (int s = 0; s < n; s++, logits += l->os, gradient += l->os) {
        REAL top = logits[0], total = 0;
        for (int o = 1; o < l->oc; o++) top = logits[o] > top ? logits[o] : top;
        for (int o = 0; o < l->oc; o++) total += gradient[o] = (REAL)exp(logits[o] - top);
        loss += log(total) + top - logits[labels[s]];
        for (int o = 0; o < l->oc; o++) gradient[o] /= total * n;
        for (int o = l->oc; o < l->os; o++) gradient[o] = 0;
        gradient[labels[s]] -= (REAL)1 / n;
    }
    return loss / n;
}

/* From the inputs of layers[0] to the logits; without keys as in evaluation, nothing dropped. */
static void forward(const Layer *layers, int depth, const REAL *packed, REAL *work, int n,
                    const uint32_t *keys) {
    for (const Layer *l = layers; l < layers + depth; l++) {
        const REAL *in = work + l->in;
        REAL *out = work + l->out;
        I32 *extra = (I32 *)(work + l->extra);
        const int64_t count = (int64_t)n * l->oh * l->ow * l->os;
        switch (l->kind) {
        case CONVOLUTION: conv_forward(l, packed, in, out, n); break;
        case DENSE: dense_forward(l, packed, in, out, n); break;
        case POOLING: pool_forward(l, in, out, extra, n); break;
        case DROPOUT:
            if (keys) dropout_forward(l, in, out, extra, n, keys[l->slot]);
            else memcpy(out, in, sizeof(REAL) * count);
            break;
        case RECTIFIER: rectify(out, in, count);
        }
    }
}

/* From the gradient of the logits back, each layer stepping its own parameters. */
static void backward(const Layer *layers, int depth, REAL *packed, REAL *work, int n, REAL lr) {
    for (const Layer *l = layers + depth - 1; l >= layers; l--) {
        const int64_t count = (int64_t)n * l->oh * l->ow * l->os;
        REAL *in = work + l->in, *g = work + l->gradient, *gx = work + l->in_gradient;
        REAL *extra = work + l->extra;
        if (l->relu) gate(g, work + l->out, count);
        switch (l->kind) {
        case CONVOLUTION: conv_backward(l, packed, in, g, gx, extra, n, lr); break;
        case DENSE: dense_backward(l, packed, in, g, gx, n, lr); break;
        case POOLING: pool_backward(l, g, gx, (I32 *)extra, n); break;
        case DROPOUT:
            for (int64_t j = 0; j < count; j++)
                gx[j] = ((I32 *)extra)[j] ? g[j] / (REAL)l->keep : 0;
            break;
        case RECTIFIER:
            memcpy(gx, g, sizeof(REAL) * count);
            gate(gx, work + l->out, count);
        }
    }
}

/* Run `steps` local steps on packed parameters; returns the sum of their losses. */
double NAME(train)(const Layer *layers, int depth, REAL *packed, REAL *work,
                   const uint8_t *images, int64_t pixels, const int64_t *indices,
                   const int64_t *labels, const I32 *sizes, const uint32_t *keys, int dropouts,
                   int steps, int width, double rate) {
    const Layer *last = layers + depth - 1;
    double loss = 0;
    for (int step = 0; step < steps; step++, indices += width, labels += width, keys += dropouts) {
        const int n = sizes[step];
        REAL *x = work + layers->in;
        for (int s = 0; s < n; s++)
            for (int64_t j = 0; j < pixels; j++)
                x[s * pixels + j] = images[indices[s] * pixels + j] / (REAL)255;
        forward(layers, depth, packed, work, n, keys);
        loss += cross_entropy(last, work + last->out, labels, work + last->gradient, n);
        backward(layers, depth, packed, work, n, (REAL)rate);
    }
    return loss;
}

/* Logits (count, classes) of images (count, pixels), `batch` at a time. */
void NAME(predict)(const Layer *layers, int depth, const REAL *packed, REAL *work,
                   const REAL *images, int64_t pixels, REAL *logits, int64_t count, int batch) {
    const Layer *last = layers + depth - 1;
    for (int n; count; count -= n, images += n * pixels) {
        n = count < batch ? count : batch;
        memcpy(work + layers->in, images, sizeof(REAL) * n * pixels);
        forward(layers, depth, packed, work, n, NULL);
        for (int s = 0; s < n; s++, logits += last->oc)
            memcpy(logits, work + last->out + s * last->os, sizeof(REAL) * last->oc);
    }
}
