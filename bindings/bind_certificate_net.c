/* Layers of a net in the checker's terms: its own reading of what every kind computes, from options, shapes and weights
 * alone, not from what bounds are made of. */
#include "bindings/bind_certificate.h"

#include <math.h>
#include <string.h>

/* Kinds that a certificate file cannot speak of; all others it can. */
static const char *const beyond[] = {"householder", "linf_dist", "sort_neuron", "l2_pool2d", "anchor", NULL};

enum { SIDES = 2 };

/* ---- memory and parts ---- */

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "out of memory for a certificate");
}

/* n elements that live as long as the model; NULL: no memory. */
static void *take(lipL_model *m, size_t n, size_t size) {
  if (m->blocks == m->room) {
    size_t room = 2 * m->room + 16;
    void **more = lip_alloc(room, sizeof *more);
    if (!more) return NULL;
    if (m->blocks > 0) memcpy(more, m->block, m->blocks * sizeof *more);
    lip_free(m->block);
    m->block = more;
    m->room = room;
  }
  void *p = lip_alloc(n > 0 ? n : 1, size);
  if (p) m->block[m->blocks++] = p;
  return p;
}

static lip_status add(lipL_model *m, const lip_check_layer *layer, lip_err *err) {
  if (m->net.n == m->layers) {
    size_t room = 2 * m->layers + 16;
    lip_check_layer *more = lip_alloc(room, sizeof *more);
    if (!more) return no_memory(err);
    if (m->net.n > 0) memcpy(more, m->layer, m->net.n * sizeof *more);
    lip_free(m->layer);
    m->net.layer = m->layer = more;
    m->layers = room;
  }
  m->layer[m->net.n++] = *layer;
  return LIP_OK;
}

void lipL_model_free(lipL_model *m) {
  for (size_t i = 0; i < m->blocks; i++) lip_free(m->block[i]);
  lip_free(m->block);
  lip_free(m->layer);
  lip_str_free(&m->text);
  *m = (lipL_model){0};
}

static lip_status claim(lipL_model *m, const lip_layer *l, bool weighted, lip_err *err) {
  lipL_claimed *of = take(m, m->dense + 1, sizeof *of);
  if (!of) return no_memory(err);
  if (m->dense > 0) memcpy(of, m->of, m->dense * sizeof *of);
  of[m->dense++] = (lipL_claimed){l, m->weighted, m->weighted + (weighted && m->depth == 0)};
  m->of = of;
  return LIP_OK;
}

static void hash(lipL_model *m, const void *data, size_t n, size_t size) {
  lip_sha256_add(&m->hash, data, n * size);
}

/* The member of the options that has this name. */
static const void *option(const lip_layer *l, const char *name) {
  const lip_opt *o = l->kind->desc.opts;
  while (o && o->name && strcmp(o->name, name) != 0) o++;
  return o && o->name ? (const char *)l->conf + o->offset : NULL;
}

static size_t size_option(const lip_layer *l, const char *name, size_t absent) {
  const size_t *v = option(l, name);
  return v ? *v : absent;
}

/* ---- matrices, row by row ---- */

typedef struct rows {
  size_t *start, *column, n; /* entries so far */
  double *value;
} rows;

static bool rows_new(lipL_model *m, rows *r, size_t M, size_t entries) {
  *r = (rows){take(m, M + 1, sizeof(size_t)), take(m, entries, sizeof(size_t)), 0,
              take(m, entries, sizeof(double))};
  return r->start && r->column && r->value;
}

static void put(rows *r, size_t k, double v) {
  r->column[r->n] = k;
  r->value[r->n++] = v;
}

static lip_status add_rows(lipL_model *m, const rows *r, size_t M, size_t N, lip_check_layer more,
                           lip_err *err) {
  more.kind = LIP_CHECK_SPARSE;
  more.M = M;
  more.N = N;
  more.start = r->start;
  more.column = r->column;
  more.value = r->value;
  return add(m, &more, err);
}

/* y_i = x[from[i]], or 0 where that is SIZE_MAX. */
static lip_status add_gather(lipL_model *m, const size_t *from, size_t M, size_t N, lip_err *err) {
  rows r;
  if (!rows_new(m, &r, M, M)) return no_memory(err);
  for (size_t i = 0; i < M; i++) {
    if (from[i] != SIZE_MAX) put(&r, from[i], 1);
    r.start[i + 1] = r.n;
  }
  return add_rows(m, &r, M, N, (lip_check_layer){0}, err);
}

static lip_status add_dense(lipL_model *m, const lip_layer *l, lip_err *err) {
  size_t cells;
  if (!lip_mul_fits(l->n_out, l->n_in, &cells)) return no_memory(err);
  float *W = take(m, cells, sizeof *W), *b = take(m, l->n_out, sizeof *b);
  if (!W || !b) return no_memory(err);
  l->kind->matrix(l, W, b);
  lip_str_printf(&m->text, ";dense %zu", l->n_out);
  hash(m, W, cells, sizeof *W);
  hash(m, b, l->n_out, sizeof *b);
  lip_status status = claim(m, l, true, err);
  return status
             ? status
             : add(m,
                   &(lip_check_layer){.kind = LIP_CHECK_DENSE, .M = l->n_out, .N = l->n_in, .W = W, .b = b},
                   err);
}

/* y_c = a_c (x - m_c) + b_c by channel, one of m and b being 0. */
static lip_status add_diagonal(lipL_model *m, const lip_layer *l, const float *a, const float *mean,
                               const float *b, lip_err *err) {
  const size_t C = l->in.dim[0], S = l->n_in / C;
  rows r;
  double *bias = take(m, l->n_in, sizeof *bias);
  if (!bias || !rows_new(m, &r, l->n_in, l->n_in)) return no_memory(err);
  for (size_t i = 0; i < l->n_in; i++) {
    put(&r, i, (double)a[i / S]);
    r.start[i + 1] = r.n;
    bias[i] = b ? (double)b[i / S] : -(double)a[i / S] * (double)mean[i / S]; /* exact: 24 and 24 bits */
  }
  hash(m, a, C, sizeof *a);
  hash(m, b ? b : mean, C, sizeof *a);
  lip_str_printf(&m->text, ";%s", l->kind->desc.name);
  return add_rows(m, &r, l->n_in, l->n_in, (lip_check_layer){.bias = bias, .more = b ? 0 : 1}, err);
}

static double entry(const lip_reals *list, size_t c, double absent) {
  return list->n == 0 ? absent : list->v[list->n == 1 ? 0 : c];
}

static lip_status add_scale(lipL_model *m, const lip_layer *l, lip_err *err) {
  const lip_reals *mean = option(l, "mean"), *std = option(l, "std");
  const double factor = *(const double *)option(l, "factor");
  const size_t C = l->in.dim[0];
  float *a = take(m, C, sizeof *a), *mid = take(m, C, sizeof *mid);
  if (!a || !mid) return no_memory(err);
  for (size_t c = 0; c < C; c++) {
    a[c] = (float)(factor / entry(std, c, 1));
    mid[c] = (float)entry(mean, c, 0);
  }
  return add_diagonal(m, l, a, mid, NULL, err);
}

/* centre, batch_norm: float32 slopes and offsets, which it has at 0. */
static lip_status add_running(lipL_model *m, const lip_layer *l, lip_err *err) {
  const size_t C = l->in.dim[0], S = l->n_in / C;
  float *a = take(m, C, sizeof *a), *b = take(m, C, sizeof *b);
  double *low = take(m, l->n_in, sizeof *low), *high = take(m, l->n_in, sizeof *high);
  if (!a || !b || !low || !high) return no_memory(err);
  l->kind->slopes(l, low, high);
  for (size_t c = 0; c < C; c++) a[c] = (float)low[c * S];
  for (size_t i = 0; i < l->n_in; i++) low[i] = 0;
  l->kind->wide(l, 1, low, high);
  for (size_t c = 0; c < C; c++) b[c] = (float)high[c * S];
  return add_diagonal(m, l, a, NULL, b, err);
}

/* ---- windows ---- */

/* Windows over {C, H, W} on the two sides of an image. */
typedef struct window {
  size_t C, size[SIDES], OUT, out[SIDES], groups, kernel[SIDES], stride[SIDES], padding[SIDES],
      dilation[SIDES];
} window;

static window window_of(const lip_layer *l) {
  const bool flat = strcmp(l->kind->desc.name, "conv1d") == 0, image = l->in.ndim == 3;
  window g = {.C = l->in.dim[0], .OUT = l->out.dim[0], .groups = size_option(l, "groups", l->in.dim[0])};
  for (int i = 0; i < SIDES; i++) {
    const bool still = i == 0 && flat; /* conv1d goes along rows only */
    g.size[i] = i == 0 && !image ? 1 : l->in.dim[image ? i + 1 : 1];
    g.out[i] = i == 0 && !image ? 1 : l->out.dim[image ? i + 1 : 1];
    g.kernel[i] = still ? 1 : size_option(l, "kernel", g.size[i]); /* the whole image: global_avg_pool */
    g.stride[i] = still ? 1 : size_option(l, "stride", 1);
    if (g.stride[i] == 0) g.stride[i] = g.kernel[i];
    g.padding[i] = still ? 0 : size_option(l, "padding", 0);
    g.dilation[i] = still ? 1 : size_option(l, "dilation", 1);
  }
  if (l->out.ndim != l->in.ndim) g.out[0] = g.out[1] = 1;
  return g;
}

/* The input that tap t of place `at` sees, or SIZE_MAX outside of the image. */
static size_t seen(const window *g, size_t at, size_t t) {
  const size_t ox = at % g->out[1], oy = at / g->out[1] % g->out[0], o = at / g->out[1] / g->out[0];
  const size_t kx = t % g->kernel[1], ky = t / g->kernel[1] % g->kernel[0],
               c = t / g->kernel[1] / g->kernel[0];
  const size_t y = oy * g->stride[0] + ky * g->dilation[0] - g->padding[0]; /* below 0 it is huge */
  const size_t x = ox * g->stride[1] + kx * g->dilation[1] - g->padding[1];
  const size_t channel = o / (g->OUT / g->groups) * (g->C / g->groups) + c;
  return y < g->size[0] && x < g->size[1] ? (channel * g->size[0] + y) * g->size[1] + x : SIZE_MAX;
}

static size_t taps(const window *g) {
  return g->C / g->groups * g->kernel[0] * g->kernel[1];
}

static size_t sights(const window *g) {
  size_t n = 0;
  for (size_t i = 0; i < g->OUT * g->out[0] * g->out[1]; i++)
    for (size_t t = 0; t < taps(g); t++) n += seen(g, i, t) != SIZE_MAX;
  return n;
}

static void say_window(lipL_model *m, const lip_layer *l, const window *g) {
  lip_str_printf(&m->text,
                 ";%s %zux%zux%zu to %zu, kernel %zux%zu, stride %zu, padding %zu, dilation %zu, groups %zu",
                 l->kind->desc.name, g->C, g->size[0], g->size[1], g->OUT, g->kernel[0], g->kernel[1],
                 g->stride[1], g->padding[1], g->dilation[1], g->groups);
}

/* y = sum over taps of w x, w (OUT, taps) or NULL: `each` everywhere. */
static lip_status add_window(lipL_model *m, const window *g, const float *w, double each,
                             lip_check_layer more, lip_err *err) {
  const size_t M = g->OUT * g->out[0] * g->out[1], n = taps(g);
  rows r;
  if (!rows_new(m, &r, M, sights(g))) return no_memory(err);
  for (size_t i = 0; i < M; i++) {
    const size_t o = i / (g->out[0] * g->out[1]);
    for (size_t t = 0; t < n; t++) {
      const size_t k = seen(g, i, t);
      if (k != SIZE_MAX) put(&r, k, w ? (double)w[o * n + t] : each);
    }
    r.start[i + 1] = r.n;
  }
  return add_rows(m, &r, M, g->C * g->size[0] * g->size[1], more, err);
}

static lip_status add_conv(lipL_model *m, const lip_layer *l, lip_err *err) {
  const window g = window_of(l);
  const size_t M = l->n_out, places = g.out[0] * g.out[1];
  const lip_param *offset = lip_layer_param(l, "bias");
  const float *b = offset ? offset->value : NULL, zero = 0;
  double *bias = take(m, M, sizeof *bias);
  if (!bias) return no_memory(err);
  for (size_t i = 0; i < M; i++) bias[i] = b ? (double)b[i / places] : 0;
  say_window(m, l, &g);
  hash(m, l->param[0].value, lip_param_size(&l->param[0]), sizeof(float));
  for (size_t o = 0; o < g.OUT; o++) hash(m, b ? &b[o] : &zero, 1, sizeof(float));
  lip_status status = claim(m, l, true, err);
  return status
             ? status
             : add_window(m, &g, l->param[0].value, 0, (lip_check_layer){.bias = bias, .claimed = true}, err);
}

/* The largest float32 number that is at most 1 / n. */
static lip_status add_average(lipL_model *m, const lip_layer *l, lip_err *err) {
  const window g = window_of(l);
  const double n = (double)(g.kernel[0] * g.kernel[1]);
  float w = (float)(1 / n);
  if ((double)w * n > 1) w = nextafterf(w, 0);
  say_window(m, l, &g);
  lip_status status = claim(m, l, false, err); /* windows that overlap have a norm of their own */
  return status ? status : add_window(m, &g, NULL, (double)w, (lip_check_layer){.claimed = true}, err);
}

/* ---- pairs ---- */

static lip_status add_pairs(lipL_model *m, const size_t *mate, bool descending, lip_err *err) {
  return add(m, &(lip_check_layer){.kind = descending ? LIP_CHECK_MAXMIN : LIP_CHECK_MINMAX, .mate = mate},
             err);
}

/* One round of merge exchange (Batcher 1968; Knuth 1998, 5.2.2, algorithm M): of every group i with i & p = r meets i + d. */
static lip_status add_round(lipL_model *m, const lip_layer *l, size_t size, size_t p, size_t r, size_t d,
                            lip_err *err) {
  const size_t S = l->n_in / l->in.dim[0];
  size_t *mate = take(m, l->n_in, sizeof *mate);
  if (!mate) return no_memory(err);
  for (size_t i = 0; i < l->n_in; i++) mate[i] = i;
  for (size_t i = 0; i < l->n_in; i++) {
    const size_t at = i / S % size;
    if ((at & p) != r || at + d >= size) continue;
    mate[i] = i + d * S;
    mate[i + d * S] = i;
  }
  return add_pairs(m, mate, (l->kind->flags & LIP_LAYER_DESCENDING) != 0, err);
}

static lip_status add_sort(lipL_model *m, const lip_layer *l, lip_err *err) {
  const bool pairs = strcmp(l->kind->desc.name, "maxmin") == 0;
  const size_t size = pairs ? 2 : size_option(l, "size", l->in.dim[0]);
  size_t most = 1;
  lip_status status = LIP_OK;
  lip_str_printf(&m->text, pairs && l->in.ndim == 1 ? ";maxmin" : ";%s %zu of %zu", l->kind->desc.name, size,
                 l->in.dim[0]);
  while (2 * most < size) most *= 2;
  for (size_t p = size > 1 ? most : 0; p > 0; p /= 2)
    for (size_t q = 2 * most, r = 0, d = p; !status && q > p; q /= 2, d = q - p, r = p)
      status = add_round(m, l, size, p, r, d, err);
  return status;
}

/* The pixels of every window side by side; then, until one is left, neighbours meet and the larger one goes on. */
static lip_status add_max(lipL_model *m, const lip_layer *l, lip_err *err) {
  const window g = window_of(l);
  size_t n = sights(&g), N = l->n_in, most = 0, *left = take(m, l->n_out, sizeof *left),
         *from = take(m, n, sizeof *from);
  if (!left || !from) return no_memory(err);
  n = 0;
  for (size_t i = 0; i < l->n_out; i++) {
    for (size_t t = 0; t < taps(&g); t++)
      if (seen(&g, i, t) != SIZE_MAX) from[n++] = seen(&g, i, t), left[i]++;
    most = left[i] > most ? left[i] : most;
  }
  say_window(m, l, &g);
  for (;; most = (most + 1) / 2) {
    lip_status status = add_gather(m, from, n, N, err);
    size_t *mate = take(m, n, sizeof *mate), at = 0;
    if (status || most <= 1) return status;
    if (!mate) return no_memory(err);
    N = n;
    n = 0;
    for (size_t i = 0; i < l->n_out; i++, at += left[i - 1], left[i - 1] = (left[i - 1] + 1) / 2)
      for (size_t k = 0; k < left[i]; k++) {
        mate[at + k] = at + (k % 2 ? k - 1 : k + 1 < left[i] ? k + 1 : k);
        if (k % 2 == 0) from[n++] = at + k;
      }
    status = add_pairs(m, mate, true, err);
    if (status) return status;
  }
}

/* ---- moves ---- */

/* Where value i of the output comes from; SIZE_MAX: 0. */
static size_t source(const lip_layer *l, const char *kind, size_t i) {
  const size_t b = size_option(l, "block", 1), H = l->out.dim[1], W = l->out.dim[2];
  if (strcmp(kind, "pad") == 0 || strcmp(kind, "select") == 0) return i < l->n_in ? i : SIZE_MAX;
  const size_t c = i / (H * W), y = i / W % H, x = i % W;
  if (strcmp(kind, "space_to_depth") == 0)
    return (c / (b * b) * H * b + y * b + c / b % b) * W * b + x * b + c % b;
  if (strcmp(kind, "depth_to_space") == 0)
    return ((c * b * b + y % b * b + x % b) * (H / b) + y / b) * (W / b) + x / b;
  const size_t each = (size_t)(*(const double *)option(l, "share") * (double)l->in.dim[0]);
  const size_t way = c / each; /* from the right, left, below, above */
  return (c * H + (y + (way == 2) + (way == 3 ? H - 1 : 0)) % H) * W +
         (x + (way == 0) + (way == 1 ? W - 1 : 0)) % W;
}

static lip_status add_move(lipL_model *m, const lip_layer *l, lip_err *err) {
  const char *kind = l->kind->desc.name;
  size_t *from = take(m, l->n_out, sizeof *from);
  if (!from) return no_memory(err);
  for (size_t i = 0; i < l->n_out; i++) from[i] = source(l, kind, i);
  lip_str_printf(&m->text, ";%s %zu to %zu", kind, l->n_in, l->n_out);
  for (size_t i = 0; i < l->n_out; i++) hash(m, &(uint64_t){from[i]}, 1, sizeof(uint64_t));
  return add_gather(m, from, l->n_out, l->n_in, err);
}

/* ---- single values ---- */

/* Slope below zero of relu, leaky_relu and abs. */
static lip_status add_leaky(lipL_model *m, const lip_layer *l, lip_err *err) {
  double *low = take(m, l->n_in, sizeof *low), *high = take(m, l->n_in, sizeof *high);
  if (!low || !high) return no_memory(err);
  l->kind->slopes(l, low, high);
  double slope = low[0] == 1 ? high[0] : low[0]; /* the other one is that above zero */
  lip_str_printf(&m->text, ";%s %.9g", l->kind->desc.name, slope);
  return add(m, &(lip_check_layer){.kind = LIP_CHECK_LEAKY, .slope = slope}, err);
}

static lip_status add_smooth(lipL_model *m, const lip_layer *l, lip_check_kind kind, lip_err *err) {
  const double *beta = option(l, "beta");
  double slope = beta ? (double)(float)*beta : 1;
  m->smooth = true;
  lip_str_printf(&m->text, ";%s %.9g", l->kind->desc.name, slope);
  return add(m, &(lip_check_layer){.kind = kind, .slope = slope}, err);
}

/* ---- containers ---- */

static lip_status add_layer(lipL_model *m, const lip_layer *l, lip_err *err);

static lip_status add_children(lipL_model *m, const lip_layer *l, lip_err *err) {
  for (size_t i = 0; i < l->n_child; i++) {
    lip_status status = add_layer(m, l->child[i], err);
    if (status) return status;
  }
  return LIP_OK;
}

/* Weights of the k segments that are summed up: of the input and the layers of a residual, of the branches of a sum. */
static lip_status add_sum(lipL_model *m, const lip_layer *l, size_t k, lip_err *err) {
  float *w = take(m, k, sizeof *w);
  if (!w) return no_memory(err);
  const lip_reals *given = option(l, "weights");
  const double *alpha = option(l, "alpha");
  for (size_t i = 0; i < k; i++) w[i] = given ? (float)entry(given, i, 1) : 1;
  if (alpha && *(const int *)option(l, "mode") == 0) w[0] = (float)*alpha, w[1] = 1 - w[0]; /* "mix" */
  hash(m, w, k, sizeof *w);
  return add(m, &(lip_check_layer){.kind = LIP_CHECK_SUM, .M = k, .W = w}, err);
}

static lip_status add_container(lipL_model *m, const lip_layer *l, lip_err *err) {
  const char *kind = l->kind->desc.name;
  const bool residual = strcmp(kind, "residual") == 0;
  const bool chain = !residual && strcmp(kind, "concat") != 0 && strcmp(kind, "sum") != 0;
  lip_status status = LIP_OK;
  lip_str_printf(&m->text, ";%s(", kind);
  m->depth++;
  if (residual) status = add(m, &(lip_check_layer){.kind = LIP_CHECK_COPY}, err);
  if (!status && (residual || chain)) status = add_children(m, l, err);
  for (size_t i = 0; !status && !residual && !chain && i < l->n_child; i++) {
    lip_str_puts(&m->text, i > 0 ? ";and" : "");
    status =
        add(m, &(lip_check_layer){.kind = LIP_CHECK_COPY, .M = i}, err); /* x, below the branches so far */
    if (!status) status = add_layer(m, l->child[i], err);
  }
  if (!status && (residual || strcmp(kind, "sum") == 0))
    status = add_sum(m, l, residual ? 2 : l->n_child, err);
  if (!status && strcmp(kind, "concat") == 0)
    status = add(m, &(lip_check_layer){.kind = LIP_CHECK_JOIN, .M = l->n_child}, err);
  if (!status && !residual && !chain) status = add(m, &(lip_check_layer){.kind = LIP_CHECK_DROP}, err);
  m->depth--;
  lip_str_puts(&m->text, ")");
  return status;
}

/* ---- all ---- */

typedef lip_status adder(lipL_model *, const lip_layer *, lip_err *);

static const struct {
  const char *name;
  adder *add;
} known[] = {
    {"dense", add_dense},
    {"conv2d", add_conv},
    {"conv1d", add_conv},
    {"relu", add_leaky},
    {"leaky_relu", add_leaky},
    {"abs", add_leaky},
    {"maxmin", add_sort},
    {"groupsort", add_sort},
    {"fullsort", add_sort},
    {"scale", add_scale},
    {"standardise", add_scale},
    {"centre", add_running},
    {"batch_norm", add_running},
    {"avg_pool2d", add_average},
    {"global_avg_pool", add_average},
    {"max_pool2d", add_max},
    {"space_to_depth", add_move},
    {"depth_to_space", add_move},
    {"shift", add_move},
    {"pad", add_move},
    {"select", add_move},
    {"residual", add_container},
    {"concat", add_container},
    {"sum", add_container},
    {"chain", add_container},
    {"sll", add_container},
    {"cpl", add_container},
    {"sandwich", add_container},
};

static lip_status add_layer(lipL_model *m, const lip_layer *l, lip_err *err) {
  const char *kind = l->kind->desc.name;
  if ((l->kind->flags & LIP_LAYER_ALIAS) || strcmp(kind, "dropout") == 0) return LIP_OK;
  if (strcmp(kind, "tanh") == 0) return add_smooth(m, l, LIP_CHECK_TANH, err);
  if (strcmp(kind, "sigmoid") == 0) return add_smooth(m, l, LIP_CHECK_SIGMOID, err);
  if (strcmp(kind, "softplus") == 0) return add_smooth(m, l, LIP_CHECK_SOFTPLUS, err);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(kind, known[i].name) == 0) return known[i].add(m, l, err);
  char list[128] = "";
  for (size_t i = 0; beyond[i]; i++)
    snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i == 0 ? "" : ", ", beyond[i]);
  return lip_fail(
      err, LIP_UNSUPPORTED,
      "a certificate file cannot speak of a layer %s (nor of others among %s); net:certify needs no file",
      kind, list);
}

const char *lipL_model_rounding(const lipL_model *m) {
  return m->smooth ? LIP_CERTIFICATE_ROUNDING LIP_CERTIFICATE_SMOOTH : LIP_CERTIFICATE_ROUNDING;
}

/* One output f answers by its sign: as the logits 0 and f. */
static lip_status add_sign(lipL_model *m, lip_err *err) {
  lip_str_puts(&m->text, ";sign");
  return add_gather(m, (size_t[]){SIZE_MAX, 0}, 2, 1, err);
}

lip_status lipL_model_init(lipL_model *m, const lip_net *net, lip_err *err) {
  const lip_layer *chain = net->root;
  uint8_t digest[LIP_SHA256_BYTES];
  lip_sha256_init(&m->hash);
  m->net = (lip_check_net){chain->n_in, lip_net_classes(net), 0, NULL};
  lip_str_printf(&m->text, "%zu", chain->n_in);
  for (size_t i = 0; i < chain->n_child; i++) {
    lip_status status = add_layer(m, chain->child[i], err);
    if (status) return status;
    m->weighted += lip_layer_weighted(chain->child[i]);
  }
  lip_status status = chain->n_out == 1 ? add_sign(m, err) : LIP_OK;
  if (status) return status;
  if (m->text.failed) return no_memory(err);
  lip_sha256_end(&m->hash, digest);
  lip_sha256_hex(digest, m->sha256);
  return LIP_OK;
}
