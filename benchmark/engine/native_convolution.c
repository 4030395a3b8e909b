/* Convolutions: sums over windows, directly or by Winograd's algorithm. */
enum { BLOCK = 6 }; /* positions at a time: times MOST vectors of outputs, they fill registers */

/* To sum[q][v]: inputs x[q * step + i] times row i of the weights, np positions, nv vectors. */
INLINE void multiply(V sum[BLOCK][4], const REAL *x, int step, int count, const REAL *weight,
                     int os, const int np, const int nv) {
    for (int i = 0; i < count; i++, weight += os) {
        V wv[4];
        UNROLL for (int v = 0; v < nv; v++) wv[v] = LOAD(weight + v * LANES);
        UNROLL for (int q = 0; q < np; q++) {
            const V xv = x[q * step + i] - (V){0};
            UNROLL for (int v = 0; v < nv; v++) sum[q][v] += xv * wv[v];
        }
    }
}

/* Sums over a window of kh rows of kw taps of c inputs each, at np positions. */
INLINE void window_block(const REAL *x, int kh, int pitch, int kw, int cs, int step, int c,
                         const REAL *weight, const REAL *bias, REAL *y, int os, const int np,
                         const int nv) {
    V sum[BLOCK][4];
    UNROLL for (int v = 0; v < nv; v++)
        UNROLL for (int q = 0; q < np; q++) sum[q][v] = bias ? LOAD(bias + v * LANES) : (V){0};
    for (int ky = 0; ky < kh; ky++)
        for (int k = 0; k < kw; k++, weight += c * os)
            multiply(sum, x + ky * pitch + k * cs, step, c, weight, os, np, nv);
    UNROLL for (int q = 0; q < np; q++)
        UNROLL for (int v = 0; v < nv; v++) STORE(y + q * os + v * LANES) = sum[q][v];
}

#define WINDOW(NP, NV) \
    case NP * 8 + NV: \
        window_block(x, kh, pitch, kw, cs, step, c, weight + o, bias ? bias + o : 0, y + o, os, \
                     NP, NV); \
        break;
#define WINDOWS(NV) \
    WINDOW(1, NV) WINDOW(2, NV) WINDOW(3, NV) WINDOW(4, NV) WINDOW(5, NV) WINDOW(6, NV)

/* The same for all outputs of np <= BLOCK positions. */
static void window(const REAL *x, int kh, int pitch, int kw, int cs, int step, int c,
                   const REAL *weight, const REAL *bias, REAL *y, int os, int np) {
    for (int o = 0, nv; o < os; o += nv * LANES) {
        const int left = (os - o) / LANES;
        nv = left >= MOST ? MOST : left >= 2 ? 2 : 1;
        switch (np * 8 + nv) { WINDOWS(1) WINDOWS(2) WINDOWS(4) }
    }
}

/* Winograd's F(2 x 2, 3 x 3), Lavin and Gray 2016: tiles of 2 x 2 outputs from 4 x 4 inputs with
 * 16 multiplications in place of 36, in a basis where both are sums and differences. */
enum { SPARE = LANES }; /* planes apart by no power of two, for the caches' sake */

/* turned: (16, inputs, outputs). */
static void winograd_weights(const Layer *l, const REAL *weight, REAL *turned) {
    const int64_t size = (int64_t)l->c * l->os;
    for (int64_t j = 0; j < size; j += LANES) {
        V t[4][3];
        UNROLL for (int k = 0; k < 3; k++) {
            const V a = LOAD(weight + k * size + j), b = LOAD(weight + (3 + k) * size + j),
                    c = LOAD(weight + (6 + k) * size + j);
            t[0][k] = a, t[1][k] = (a + b + c) / 2, t[2][k] = (a - b + c) / 2, t[3][k] = c;
        }
        UNROLL for (int r = 0; r < 4; r++) {
            const V a = t[r][0], b = t[r][1], c = t[r][2];
            REAL *u = turned + 4 * r * size + j;
            STORE(u) = a, STORE(u + size) = (a + b + c) / 2;
            STORE(u + 2 * size) = (a - b + c) / 2, STORE(u + 3 * size) = c;
        }
    }
}

/* turned: (16, tiles, inputs). */
INLINE void winograd_input(const Layer *l, const REAL *x, REAL *turned) {
    const int pitch = l->w * l->cs, plane = l->tiles * l->cs + SPARE;
    for (int i = 0; i < l->cs; i += LANES) {
        V t[4][4];
        UNROLL for (int k = 0; k < 4; k++) {
            const REAL *at = x + k * l->cs + i;
            const V a = LOAD(at), b = LOAD(at + pitch), c = LOAD(at + 2 * pitch),
                    d = LOAD(at + 3 * pitch);
            t[0][k] = a - c, t[1][k] = b + c, t[2][k] = c - b, t[3][k] = b - d;
        }
        UNROLL for (int r = 0; r < 4; r++) {
            REAL *u = turned + 4 * r * plane + i;
            STORE(u) = t[r][0] - t[r][2], STORE(u + plane) = t[r][1] + t[r][2];
            STORE(u + 2 * plane) = t[r][2] - t[r][1], STORE(u + 3 * plane) = t[r][1] - t[r][3];
        }
    }
}

/* products: (16, tiles, outputs). */
INLINE void winograd_output(const Layer *l, const REAL *products, const REAL *bias, REAL *y) {
    const int plane = l->tiles * l->os + SPARE;
    for (int o = 0; o < l->os; o += LANES) {
        V t[2][4];
        UNROLL for (int k = 0; k < 4; k++) {
            const REAL *m = products + k * plane + o;
            const V a = LOAD(m), b = LOAD(m + 4 * plane), c = LOAD(m + 8 * plane),
                    d = LOAD(m + 12 * plane);
            t[0][k] = a + b + c, t[1][k] = b - c - d;
        }
        UNROLL for (int r = 0; r < 2; r++) {
            REAL *out = y + r * l->ow * l->os + o;
            const V left = t[r][0] + t[r][1] + t[r][2] + LOAD(bias + o);
            const V right = t[r][1] - t[r][2] - t[r][3] + LOAD(bias + o);
            STORE(out) = l->relu ? rectified(left) : left;
            STORE(out + l->os) = l->relu ? rectified(right) : right;
        }
    }
}

KERNEL winograd_forward(const Layer *l, const REAL *packed, const REAL *in, REAL *out,
                        REAL *scratch, int n) {
    const int across = (l->ow + 1) / 2, total = (l->oh + 1) / 2 * across;
    REAL *weight = scratch, *inputs = weight + 16 * l->c * l->os;
    const int64_t in_plane = l->tiles * l->cs + SPARE, plane = l->tiles * l->os + SPARE;
    REAL *products = inputs + 16 * in_plane;
    winograd_weights(l, packed + l->weight, weight);
    for (int s = 0; s < n; s++)
        for (int first = 0; first < total; first += l->tiles) {
            const int count = total - first < l->tiles ? total - first : l->tiles;
            int at[l->tiles][2]; /* the last row and column of an odd output are computed twice */
            for (int q = 0; q < count; q++) {
                const int y = (first + q) / across * 2, x = (first + q) % across * 2;
                at[q][0] = y < l->oh - 2 ? y : l->oh - 2, at[q][1] = x < l->ow - 2 ? x : l->ow - 2;
                const int64_t from = ((int64_t)s * l->h + at[q][0]) * l->w + at[q][1];
                winograd_input(l, in + from * l->cs, inputs + q * l->cs);
            }
            for (int p = 0; p < 16; p++)
                for (int q = 0; q < count; q += BLOCK)
                    window(inputs + p * in_plane + q * l->cs, 1, 0, 1, 0, l->cs, l->c,
                           weight + p * l->c * l->os, 0, products + p * plane + q * l->os, l->os,
                           count - q < BLOCK ? count - q : BLOCK);
            for (int q = 0; q < count; q++)
                winograd_output(l, products + q * l->os, packed + l->bias,
                                out + (((int64_t)s * l->oh + at[q][0]) * l->ow + at[q][1]) * l->os);
        }
}

KERNEL conv_forward(const Layer *l, const REAL *packed, const REAL *in, REAL *out,
                    REAL *scratch, int n) {
    if (l->tiles) return winograd_forward(l, packed, in, out, scratch, n);
    const int whole = l->cs == l->c; /* without padding, the taps of a row are one run */
    const int taps = whole ? 1 : l->kw, run = whole ? l->kw * l->c : l->c;
    for (int64_t row = 0; row < (int64_t)n * l->oh; row++, out += l->ow * l->os) {
        const REAL *x = in + (row / l->oh * l->h + row % l->oh * l->sh) * l->w * l->cs;
        for (int ox = 0; ox < l->ow; ox += BLOCK)
            window(x + ox * l->sw * l->cs, l->kh, l->w * l->cs, taps, l->cs, l->sw * l->cs, run,
                   packed + l->weight, packed + l->bias, out + ox * l->os, l->os,
                   l->ow - ox < BLOCK ? l->ow - ox : BLOCK);
        if (l->relu) rectify(out, out, l->ow * l->os);
    }
}
