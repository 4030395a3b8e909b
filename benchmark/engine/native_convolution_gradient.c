/* The gradient of a convolution, from the outputs whose gradient is not zero.
 *
 * Behind a ReLU and max-pooling that is one output in five or so; skipping the others is exact.
 */

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
KERNEL first_backward(const Layer *l, const REAL *in, const REAL *gradient, REAL *dw, int n) {
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

/* One output's non-zero gradients within a strip of rows, and which windows they belong to. */
typedef struct { I32 count; struct { I32 at; REAL value; } entry[]; } List;

/* rows of nv vectors, from one window of the weights' gradient, over all entries. */
INLINE void list_weights(const List *list, const REAL *x, int pitch, REAL *dw, int run,
                         const int rows, const int nv) {
    V sum[3][6];
    UNROLL for (int k = 0; k < rows; k++)
        UNROLL for (int v = 0; v < nv; v++) sum[k][v] = LOAD(dw + k * run + v * LANES);
    for (int e = 0; e < list->count; e++) {
        const REAL *at = x + list->entry[e].at;
        const V g = list->entry[e].value - (V){0};
        UNROLL for (int k = 0; k < rows; k++, at += pitch) {
            IN_REGISTER(at);
            UNROLL for (int v = 0; v < nv; v++) sum[k][v] += g * LOAD(at + v * LANES);
        }
    }
    UNROLL for (int k = 0; k < rows; k++)
        UNROLL for (int v = 0; v < nv; v++) STORE(dw + k * run + v * LANES) = sum[k][v];
}

/* The same of the inputs' gradient. */
INLINE void list_inputs(const List *list, REAL *gx, int pitch, const REAL *w, int run,
                        const int rows, const int nv) {
    V wv[3][6];
    UNROLL for (int k = 0; k < rows; k++)
        UNROLL for (int v = 0; v < nv; v++) wv[k][v] = LOAD(w + k * run + v * LANES);
    for (int e = 0; e < list->count; e++) {
        REAL *at = gx + list->entry[e].at;
        const V g = list->entry[e].value - (V){0};
        UNROLL for (int k = 0; k < rows; k++, at += pitch) {
            IN_REGISTER(at);
            UNROLL for (int v = 0; v < nv; v++)
                STORE(at + v * LANES) = LOAD(at + v * LANES) + g * wv[k][v];
        }
    }
}

/* PART(rows, nv) over a window: `at` in the window itself, `from` in the inputs. */
#define LIST(ROWS, NV) case ROWS * 8 + NV: PART(ROWS, NV); break;
#define LISTS(ROWS) LIST(ROWS, 1) LIST(ROWS, 2) LIST(ROWS, 3) LIST(ROWS, 6)
#define PARTS \
    for (int ky = 0, rows; ky < l->kh; ky += rows) { \
        rows = l->kh - ky < 3 ? l->kh - ky : 3; \
        for (int r = 0, nv; r < run; r += nv * LANES) { \
            const int left = (run - r) / LANES, at = ky * run + r, from = ky * pitch + r; \
            nv = left >= 6 && MOST > 2 ? 6 : left >= 3 ? 3 : left; \
            switch (rows * 8 + nv) { LISTS(1) LISTS(2) LISTS(3) } \
        } \
    }

/* Add the non-zero gradients of `count` positions in a row to the lists of their outputs. */
static void collect(const Layer *l, const REAL *gradient, int at, int count, char *lists,
                    int64_t length) {
    for (int p = 0; p < count; p++, at += l->sw * l->cs, gradient += l->os)
        for (int o = 0; o < l->os; o += 64) {
            uint64_t bits = 0;
            for (int j = o; j < l->os && j < o + 64; j += LANES)
                bits |= (uint64_t)nonzero(gradient + j) << (j - o);
            for (; bits; bits &= bits - 1) {
                const int j = o + __builtin_ctzll(bits);
                List *list = (List *)(lists + j * length);
                list->entry[list->count].at = at;
                list->entry[list->count++].value = gradient[j];
            }
        }
}

/* The step is taken on `stepped`, packed or not.
 * scratch: weights as (outputs, inputs), their gradient likewise, the bias gradient, the lists. */
KERNEL conv_backward(const Layer *l, const REAL *packed, REAL *stepped, const REAL *in,
                     REAL *gradient, const REAL *out, REAL *in_gradient, REAL *scratch, int n,
                     REAL lr) {
    const int run = l->kw * l->cs, pitch = l->w * l->cs, size = l->kh * run;
    const int taps = l->kh * l->kw, plane = l->oh * l->ow * l->os;
    REAL *turned = scratch, *dw = turned + l->os * size, *db = dw + l->os * size;
    char *lists = (char *)(db + l->os);
    const int64_t length = sizeof(List) + l->strip * l->ow * sizeof(((List *)0)->entry[0]);
    const REAL *weight = packed + l->weight;
    memset(dw, 0, sizeof(REAL) * (l->os * size + l->os));
    for (int t = 0; t < taps && !l->first; t++)
        for (int i = 0; i < l->cs; i++)
            for (int o = 0; o < l->os; o++)
                turned[o * size + t * l->cs + i] =
                    i < l->c ? weight[(t * l->c + i) * l->os + o] : 0;
    for (int s = 0; s < n; s++, gradient += plane, out += plane) {
        if (l->relu) gate(gradient, out, plane);
        for (int p = 0; p < plane; p += l->os) axpy(db, gradient + p, 1, l->os);
        if (l->first) continue;
        const REAL *x = in + (int64_t)s * l->h * pitch;
        REAL *gx = in_gradient + (int64_t)s * l->h * pitch;
        memset(gx, 0, sizeof(REAL) * l->h * pitch);
        for (int oy = 0, next = l->strip * l->sh * pitch; oy < l->oh;
             oy += l->strip, x += next, gx += next) {
            for (int o = 0; o < l->os; o++) ((List *)(lists + o * length))->count = 0;
            for (int y = 0; y < l->strip && oy + y < l->oh; y++)
                collect(l, gradient + (oy + y) * l->ow * l->os, y * l->sh * pitch, l->ow, lists,
                        length);
            /* One after the other: inputs or their gradient fit the first cache, both do not. */
            for (int o = 0; o < l->oc; o++) {
                const List *list = (List *)(lists + o * length);
                REAL *d = dw + o * size;
#define PART(ROWS, NV) list_weights(list, x + from, pitch, d + at, run, ROWS, NV)
                PARTS
#undef PART
            }
            for (int o = 0; o < l->oc; o++) {
                const List *list = (List *)(lists + o * length);
                const REAL *w = turned + o * size;
#define PART(ROWS, NV) list_inputs(list, gx + from, pitch, w + at, run, ROWS, NV)
                PARTS
#undef PART
            }
        }
    }
    if (l->first) first_backward(l, in, gradient - (int64_t)n * plane, dw, n);
    for (int t = 0; t < taps; t++)
        for (int i = 0; i < l->c; i++)
            for (int o = 0; o < l->os; o++)
                stepped[l->weight + (t * l->c + i) * l->os + o] -=
                    lr * (l->first ? dw[(t * l->c + i) * l->os + o]
                                   : dw[o * size + t * l->cs + i]);
    axpy(stepped + l->bias, db, -lr, l->os);
}
