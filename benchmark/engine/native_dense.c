/* Dense layers, in blocks of examples and rows of weights that registers hold.
 *
 * No zero is skipped: a branch on each value costs more than the half of the work that it saves.
 */
enum { ROWS = 8, CHUNK = 32 }; /* rows of weights that share a gradient, and a stay in the cache */

/* Outputs of ns examples, nv vectors of them, from `rows` inputs, added to what is there. */
INLINE void dense_block(const Layer *l, const REAL *weight, const REAL *in, REAL *out, int rows,
                        const char *next, const int ns, const int nv) {
    V sum[4][4];
    UNROLL for (int q = 0; q < ns; q++)
        UNROLL for (int v = 0; v < nv; v++) sum[q][v] = LOAD(out + q * l->os + v * LANES);
    for (int i = 0; i < rows; i++, weight += l->os) {
        __builtin_prefetch(next + 64 * i);
        UNROLL for (int v = 0; v < nv; v++) {
            const V wv = LOAD(weight + v * LANES);
            UNROLL for (int q = 0; q < ns; q++)
                sum[q][v] += (in[(int64_t)q * l->cs + i] - (V){0}) * wv;
        }
    }
    UNROLL for (int q = 0; q < ns; q++)
        UNROLL for (int v = 0; v < nv; v++) STORE(out + q * l->os + v * LANES) = sum[q][v];
}

/* SGD on ROWS rows of weights: their gradient over all examples, nv vectors of outputs. */
INLINE void dense_step(const Layer *l, REAL *weight, const REAL *in, const REAL *gradient, int n,
                       REAL lr, const int rows, const int nv) {
    V sum[4][4];
    UNROLL for (int q = 0; q < rows; q++)
        UNROLL for (int v = 0; v < nv; v++) sum[q][v] = (V){0};
    for (int s = 0; s < n; s++, in += l->cs, gradient += l->os)
        UNROLL for (int v = 0; v < nv; v++) {
            const V gv = LOAD(gradient + v * LANES);
            UNROLL for (int q = 0; q < rows; q++) sum[q][v] += (in[q] - (V){0}) * gv;
        }
    UNROLL for (int q = 0; q < rows; q++)
        UNROLL for (int v = 0; v < nv; v++) {
            REAL *w = weight + q * l->os + v * LANES;
            STORE(w) = LOAD(w) - sum[q][v] * lr;
        }
}

/* Gradient of `rows` inputs for nv vectors of examples; turned: (outputs, examples). */
INLINE void dense_gradient(const Layer *l, const REAL *weight, const REAL *turned, int pitch,
                           REAL *in_gradient, int n, const int rows, const int nv) {
    V sum[ROWS][2];
    UNROLL for (int q = 0; q < rows; q++)
        UNROLL for (int v = 0; v < nv; v++) sum[q][v] = (V){0};
    for (int o = 0; o < l->oc; o++, turned += pitch) {
        __builtin_prefetch(weight + rows * (l->os + o), 1); /* a part of the rows to come */
        UNROLL for (int q = 0; q < rows; q++) {
            const V wv = weight[q * l->os + o] - (V){0};
            UNROLL for (int v = 0; v < nv; v++) sum[q][v] += wv * LOAD(turned + v * LANES);
        }
    }
    for (int s = 0; s < n && s < nv * LANES; s++)
        UNROLL for (int q = 0; q < rows; q++)
            in_gradient[(int64_t)s * l->cs + q] = ((REAL *)sum)[q * 2 * LANES + s];
}

#define CALL(N, NV) case N * 8 + NV: BLOCK_OF(N, NV); break;
#define CALLS(N) CALL(N, 1) CALL(N, 2) CALL(N, 4)
#define OUTPUTS(N) \
    for (int o = 0, nv; o < l->os; o += nv * LANES) { \
        const int left = (l->os - o) / LANES; \
        nv = left >= MOST ? MOST : left >= 2 ? 2 : 1; \
        switch ((N) * 8 + nv) { CALLS(1) CALLS(2) CALLS(3) CALLS(4) } \
    }

KERNEL dense_forward(const Layer *l, const REAL *packed, const REAL *in, REAL *out, int n) {
    for (int s = 0; s < n; s++) memcpy(out + s * l->os, packed + l->bias, sizeof(REAL) * l->os);
    for (int i = 0; i < l->cs; i += CHUNK) { /* a chunk of weights serves all examples */
        const int rows = l->cs - i < CHUNK ? l->cs - i : CHUNK;
        const char *next = (const char *)(packed + l->weight + (i + rows) * l->os);
        for (int s = 0; s < n; s += 4) {
            const REAL *w = packed + l->weight + i * l->os, *x = in + (int64_t)s * l->cs + i;
            REAL *y = out + s * l->os;
#define BLOCK_OF(NS, NV) dense_block(l, w + o, x, y + o, rows, next, NS, NV), next += 64 * rows
            OUTPUTS(n - s < 4 ? n - s : 4)
#undef BLOCK_OF
        }
    }
    if (l->relu) rectify(out, out, (int64_t)n * l->os);
}

/* The step is taken on `stepped`, packed or not; turned: scratch, (outputs, examples). */
KERNEL dense_backward(const Layer *l, const REAL *packed, REAL *stepped, const REAL *in,
                      const REAL *gradient, REAL *in_gradient, REAL *turned, int n, REAL lr) {
    const int pitch = (n + LANES - 1) / LANES * LANES;
    for (int o = 0; o < l->os && !l->first; o++)
        for (int s = 0; s < pitch; s++)
            turned[o * pitch + s] = s < n ? gradient[s * l->os + o] : 0;
    const REAL *weight = packed + l->weight;
    REAL *to = stepped + l->weight;
    for (int i = 0, rows; i < l->cs;
         i += rows, weight += rows * l->os, to += rows * l->os, in += rows) {
        rows = l->cs - i < ROWS ? 1 : ROWS;
        for (int s = 0, nv; s < pitch && !l->first; s += nv * LANES) {
            nv = pitch - s > LANES && MOST > 2 ? 2 : 1;
            REAL *gx = in_gradient + (int64_t)s * l->cs + i;
            const REAL *t = turned + s;
            if (rows == ROWS && nv == 2)
                dense_gradient(l, weight, t, pitch, gx, n - s, ROWS, 2);
            else if (rows == ROWS) dense_gradient(l, weight, t, pitch, gx, n - s, ROWS, 1);
            else if (nv == 2) dense_gradient(l, weight, t, pitch, gx, n - s, 1, 2);
            else dense_gradient(l, weight, t, pitch, gx, n - s, 1, 1);
        }
        for (int q = 0; q < rows; q += 4) {
            REAL *w = to + q * l->os;
#define BLOCK_OF(NR, NV) dense_step(l, w + o, in + q, gradient + o, n, lr, NR, NV)
            OUTPUTS(rows < 4 ? rows : 4)
#undef BLOCK_OF
        }
    }
    for (int s = 0; s < n; s++) axpy(stepped + l->bias, gradient + s * l->os, -lr, l->os);
}
