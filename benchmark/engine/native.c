/* Local SGD steps and predictions of a chain of layers, on one thread, called by native.py.
 *
 * Activations are channels-last with channels padded to whole vectors; padding holds zeros.
 * Weights are packed as (inputs, outputs), outputs padded, so that one input times one row of
 * weights is a run of vector operations. Nothing is allocated, nothing is shared between calls.
 */
#include "native_vectors.c"

#include "native_convolution.c"
#include "native_convolution_gradient.c"
#include "native_dense.c"

KERNEL pool_forward(const Layer *l, const REAL *restrict in, REAL *restrict out,
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

KERNEL pool_backward(const Layer *l, const REAL *gradient, REAL *in_gradient,
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
KERNEL dropout_forward(const Layer *l, const REAL *restrict in, REAL *restrict out,
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

KERNEL dropout_backward(const Layer *l, const REAL *restrict gradient,
                        REAL *restrict in_gradient, const I32 *restrict kept, int64_t count) {
    const REAL keep = (REAL)l->keep;
    for (int64_t j = 0; j < count; j++) in_gradient[j] = kept[j] ? gradient[j] / keep : 0;
}

/* Cross-entropy of n examples out of `all` in their mean; the gradient of that with respect to the
 * logits, padding included. */
static double cross_entropy(const Layer *l, const REAL *logits, const int64_t *labels,
                            REAL *gradient, int n, int64_t all) {
    double loss = 0;
    for (int s = 0; s < n; s++, logits += l->os, gradient += l->os) {
        REAL top = logits[0], total = 0;
        for (int o = 1; o < l->oc; o++) top = logits[o] > top ? logits[o] : top;
        for (int o = 0; o < l->oc; o++) total += gradient[o] = (REAL)exp(logits[o] - top);
        loss += log(total) + top - logits[labels[s]];
        for (int o = 0; o < l->oc; o++) gradient[o] /= total * all;
        for (int o = l->oc; o < l->os; o++) gradient[o] = 0;
        gradient[labels[s]] -= (REAL)1 / all;
    }
    return loss / all;
}

/* From the inputs of layers[0] to the logits; without keys as in evaluation, nothing dropped. */
static void forward(const Layer *layers, int depth, const REAL *packed, REAL *work, int n,
                    const uint32_t *keys) {
    for (const Layer *l = layers; l < layers + depth; l++) {
        const REAL *in = work + l->in;
        REAL *out = work + l->out;
        REAL *extra = work + l->extra;
        const int64_t count = (int64_t)n * l->oh * l->ow * l->os;
        switch (l->kind) {
        case CONVOLUTION: conv_forward(l, packed, in, out, extra, n); break;
        case DENSE: dense_forward(l, packed, in, out, n); break;
        case POOLING: pool_forward(l, in, out, (I32 *)extra, n); break;
        case DROPOUT:
            if (keys) dropout_forward(l, in, out, (I32 *)extra, n, keys[l->slot]);
            else memcpy(out, in, sizeof(REAL) * count);
            break;
        case RECTIFIER: rectify(out, in, count);
        }
    }
}

/* From the gradient of the logits back, each layer stepping its own parameters, in packed or in
 * another such vector; keys as in `forward`. */
static void backward(const Layer *layers, int depth, const REAL *packed, REAL *stepped, REAL *work,
                     int n, const uint32_t *keys, REAL lr) {
    for (const Layer *l = layers + depth - 1; l >= layers; l--) {
        const int64_t count = (int64_t)n * l->oh * l->ow * l->os;
        REAL *in = work + l->in, *g = work + l->gradient, *gx = work + l->in_gradient;
        REAL *extra = work + l->extra;
        switch (l->kind) {
        case CONVOLUTION:
            conv_backward(l, packed, stepped, in, g, work + l->out, gx, extra, n, lr);
            break;
        case DENSE:
            if (l->relu) gate(g, work + l->out, count);
            dense_backward(l, packed, stepped, in, g, gx, extra, n, lr);
            break;
        case POOLING: pool_backward(l, g, gx, (I32 *)extra, n); break;
        case DROPOUT:
            if (keys) dropout_backward(l, g, gx, (I32 *)extra, count);
            else memcpy(gx, g, sizeof(REAL) * count);
            break;
        case RECTIFIER:
            memcpy(gx, g, sizeof(REAL) * count);
            gate(gx, work + l->out, count);
        }
    }
}

/* Bytes in a vector. */
int NAME(width)(void) { return WIDTH; }

/* An image, channel after channel, to numbers with channels innermost: shifted and mirrored as its
 * view says, black beyond its border; then less the mean, over the deviation, of its channel. */
static void show(const Layer *l, const uint8_t *image, const int8_t *view, const REAL *moments,
                 REAL *x) {
    for (int c = 0; c < l->c; c++)
        for (int row = 0; row < l->h; row++)
            for (int column = 0; column < l->w; column++) {
                const int y = row + (view ? view[0] : 0);
                const int at = (view && view[2] ? l->w - 1 - column : column) + (view ? view[1] : 0);
                const int inside = y >= 0 && y < l->h && at >= 0 && at < l->w;
                const REAL v = inside ? image[(c * l->h + y) * l->w + at] / (REAL)255 : 0;
                x[(row * l->w + column) * l->c + c] =
                    moments ? (v - moments[2 * c]) / moments[2 * c + 1] : v;
            }
}

/* Run `steps` local steps on packed parameters; returns the sum of their losses.
 * moments: mean and deviation of each channel, or NULL; views: of each example, or NULL. */
double NAME(train)(const Layer *layers, int depth, REAL *packed, REAL *work, const REAL *moments,
                   const uint8_t *images, const int64_t *indices, const int64_t *labels,
                   const I32 *sizes, const uint32_t *keys, const int8_t *views, int dropouts,
                   int steps, int width, double rate) {
    const Layer *last = layers + depth - 1;
    const int64_t pixels = (int64_t)layers->h * layers->w * layers->c;
    const int plain = layers->c == 1 && !moments && !views;
    double loss = 0;
    for (int step = 0; step < steps; step++, indices += width, labels += width, keys += dropouts) {
        const int n = sizes[step];
        REAL *x = work + layers->in;
        for (int s = 0; s < n; s++) {
            const uint8_t *image = images + indices[s] * pixels;
            if (plain)
                for (int64_t j = 0; j < pixels; j++) x[s * pixels + j] = image[j] / (REAL)255;
            else
                show(layers, image, views ? views + 3 * s : NULL, moments, x + s * pixels);
        }
        if (views) views += 3 * width;
        forward(layers, depth, packed, work, n, keys);
        loss += cross_entropy(last, work + last->out, labels, work + last->gradient, n, n);
        backward(layers, depth, packed, packed, work, n, keys, (REAL)rate);
    }
    return loss;
}

/* Images (n, channels, rows, columns) to where layers[0] reads them. */
static void take(const Layer *l, const REAL *images, const REAL *moments, REAL *x, int n) {
    const int plane = l->h * l->w, channels = l->c;
    if (channels == 1 && !moments) {
        memcpy(x, images, sizeof(REAL) * n * plane);
        return;
    }
    for (int s = 0; s < n; s++, x += plane * channels)
        for (int c = 0; c < channels; c++, images += plane)
            for (int p = 0; p < plane; p++)
                x[p * channels + c] =
                    moments ? (images[p] - moments[2 * c]) / moments[2 * c + 1] : images[p];
}

/* Logits (count, classes) of images (count, channels, rows, columns), `batch` at a time. */
void NAME(predict)(const Layer *layers, int depth, const REAL *packed, REAL *work,
                   const REAL *moments, const REAL *images, REAL *logits, int64_t count,
                   int batch) {
    const Layer *last = layers + depth - 1;
    const int64_t pixels = (int64_t)layers->h * layers->w * layers->c;
    for (int n; count; count -= n, images += n * pixels) {
        n = count < batch ? count : batch;
        take(layers, images, moments, work + layers->in, n);
        forward(layers, depth, packed, work, n, NULL);
        for (int s = 0; s < n; s++, logits += last->oc)
            memcpy(logits, work + last->out + s * last->os, sizeof(REAL) * last->oc);
    }
}

/* Mean cross-entropy of images as in evaluation; to `gradient`, which holds zeros, its gradient. */
double NAME(gradient)(const Layer *layers, int depth, const REAL *packed, REAL *work,
                      const REAL *moments, const REAL *images, const int64_t *labels,
                      REAL *gradient, int64_t count, int batch) {
    const Layer *last = layers + depth - 1;
    const int64_t pixels = (int64_t)layers->h * layers->w * layers->c;
    double loss = 0;
    for (int64_t n, done = 0; done < count; done += n, images += n * pixels, labels += n) {
        n = count - done < batch ? count - done : batch;
        take(layers, images, moments, work + layers->in, n);
        forward(layers, depth, packed, work, n, NULL);
        loss += cross_entropy(last, work + last->out, labels, work + last->gradient, n, count);
        backward(layers, depth, packed, gradient, work, n, NULL, -1);
    }
    return loss;
}
