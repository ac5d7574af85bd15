/* Neurons that measure distances, w_j (IN) for output j:
 *
 *   linf_dist    y_j = ||x - w_j||_p + c_j, p = 2^k or infinite (Zhang, Cai, Lu, He, Wang 2021, "Towards certifying l-infinity
 *                robustness using neural networks with l-inf-dist neurons"; 2022, "Boosting the certified robustness of
 *                l-infinity distance nets")
 *   sort_neuron  y_j = sum over k of q_k |x - w_j|_(k) + c_j, the k-th largest of all differences, q_k = q (1 - q)^(k - 1) for k up
 *                to `terms`, divided by their sum (Zhang, Jiang, He, Wang 2022, "Rethinking Lipschitz neural networks", eq. 9)
 *
 * p is no option of the net but part of its weights, "log2_p" (0: infinite), so that training can raise it (net:power) and
 * a checkpoint keeps it. c_j = b_j - m_j, rounded to float32, each of the two optional: b is trained, m is a running mean of
 * what the neuron has measured: (1 - momentum) old + momentum that of the batch, moved with the gradient of a step, set by the
 * first one; stored with the net but not trained. In training it is the same m that is subtracted, not the mean of the batch:
 * rows stay independent of each other.
 *
 *   dx_i = sum_j dy_j s_ji (|x_i - w_ji| / y_j)^(p - 1),  dw_ji = -dy_j (same),  s_ji = sign(x_i - w_ji), y_j without c_j
 *   p infinite: at the lowest i where |x_i - w_ji| is largest; sort_neuron: q_k s_ji at the place of the k-th largest, the
 *   lowest index first among equals. Where all differences are 0: 0
 *   constant  of one output, from norm inf: 1 for p infinite and for sort_neuron (sum of the float32 q_k, rounded up),
 *             IN^(1/p) for finite p; from norms 1 and 2: 1, since ||.||_p <= ||.||_2 for p >= 2 and all norms are above norm
 *             inf. To norm inf it is that of one output; to q = 1, 2 times OUT^(1/q), as all outputs may move together
 *   float32   one rounding of each difference u |x - w|, then exact for p infinite; else as stated in tensor/dist.h; for
 *             sort_neuron `terms` products and sums more, of terms that are not negative; then that of + c_j
 *   interval  every y_j as executed is monotone in every |x_i - w_ji| up to these errors: distances of w_ji to the
 *             nearest and to the farthest point of the interval of x_i */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/diagonal.h"
#include "core/layer/same_shape.h"
#include "core/tensor/dist.h"
#include "core/tensor/vec.h"

typedef struct conf {
  size_t out;
  double std; /* of the weights at the start */
  double p;   /* of linf_dist, when training begins */
  double q;   /* of sort_neuron */
  size_t terms;
  bool bias, shift;
  double momentum;
} conf;

#define COMMON_OPTIONS                                                                                       \
  {.name = "out",                                                                                            \
   .type = LIP_OPT_SIZE,                                                                                     \
   .offset = offsetof(conf, out),                                                                            \
   .required = true,                                                                                         \
   .low = 1,                                                                                                 \
   .high = 1 << 24,                                                                                          \
   .help = "number of output features"},                                                                     \
  {                                                                                                          \
    .name = "std", .type = LIP_OPT_REAL, .offset = offsetof(conf, std), .def = 0.3, .low = 0, .high = 1e6,   \
    .help = "standard deviation of the points at the start: about that of the inputs"                        \
  }
#define OFFSET_OPTIONS                                                                                       \
  {.name = "bias",                                                                                           \
   .type = LIP_OPT_BOOL,                                                                                     \
   .offset = offsetof(conf, bias),                                                                           \
   .def = 1,                                                                                                 \
   .help = "add a trained offset to every output"},                                                          \
      {.name = "shift",                                                                                      \
       .type = LIP_OPT_BOOL,                                                                                 \
       .offset = offsetof(conf, shift),                                                                      \
       .help = "subtract a running mean from every output"},                                                 \
  {                                                                                                          \
    .name = "momentum", .type = LIP_OPT_REAL, .offset = offsetof(conf, momentum), .def = 0.1, .low = 1e-6,   \
    .high = 1, .help = "weight of a batch in the running mean"                                               \
  }

static const lip_opt dist_options[] = {
    COMMON_OPTIONS,
    {.name = "p",
     .type = LIP_OPT_REAL,
     .offset = offsetof(conf, p),
     .def = INFINITY,
     .low = 2,
     .high = INFINITY,
     .help = "exponent to begin with: a power of two up to 4096, or infinity (net:power changes it)"},
    OFFSET_OPTIONS,
    {.name = NULL},
};

static const lip_opt sort_options[] = {
    COMMON_OPTIONS,
    {.name = "q",
     .type = LIP_OPT_REAL,
     .offset = offsetof(conf, q),
     .def = 0.5,
     .low = 0x1p-10,
     .high = 1,
     .help = "weight of the largest difference; the next ones have q (1 - q), q (1 - q)^2, ..."},
    {.name = "terms",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(conf, terms),
     .def = 10,
     .low = 1,
     .high = LIP_DIST_TERMS,
     .help = "how many of the largest differences count"},
    OFFSET_OPTIONS,
    {.name = NULL},
};

enum { OUTER = 16, BLOCK = OUTER * LIP_DIST_ITEMS };

typedef struct state {
  int bias, mean, power; /* which parameter; -1: there is none */
  float log2_p;          /* as it was set last: while there are no values */
  size_t terms;          /* sort_neuron: K and q_k; else 0 */
  float q[LIP_DIST_TERMS];
  float *size; /* (OUT) max |w_j| as `prepare` has left it */
} state;

static const state *state_of(const lip_layer *l) {
  return l->state;
}

/* k of p = 2^k; 0: p infinite. Any other number than those is infinite as well; NaN is -1, of which nothing is known. */
static int power_of(const lip_layer *l) {
  const state *s = l->state;
  if (s->power < 0) return 0;
  const float v = l->param[s->power].value ? l->param[s->power].value[0] : s->log2_p;
  if (isnan(v)) return -1;
  return v >= 0.5f && v < (float)LIP_DIST_MOST + 0.5f ? (int)lrintf(v) : 0;
}

/* ---- plan ---- */

static int add_param(lip_layer *l, const char *name, size_t n, bool frozen) {
  lip_layer_add_param(l, name, 1, &n, false);
  l->param[l->n_param - 1].frozen = frozen;
  return (int)l->n_param - 1;
}

static lip_status plan(lip_layer *l, const conf *c, const char *name, size_t terms, lip_err *err) {
  if (l->in.ndim != 1) {
    char shape[64];
    return lip_fail(err, LIP_SHAPE, "%s: expects a flat input, got %s: put a flatten layer before it", name,
                    lip_shape_describe(&l->in, shape, sizeof shape));
  }
  state *s = l->state = lip_alloc(1, sizeof *s);
  if (s) *s = (state){-1, -1, -1, 0, terms, {0}, lip_alloc(c->out, sizeof *s->size)};
  if (!s || !s->size) return lip_fail(err, LIP_MEMORY, "%s: no memory for %zu outputs", name, c->out);
  l->out = (lip_shape){1, {c->out, 0, 0}};
  lip_layer_add_param(l, "weight", 2, (size_t[]){c->out, l->in.dim[0]}, false);
  if (c->bias) s->bias = add_param(l, "bias", c->out, false);
  if (c->shift) s->mean = add_param(l, "running_mean", c->out, true);
  l->units = c->out;
  l->scratch = (c->out > 3 * BLOCK ? c->out : 3 * BLOCK) * sizeof(float);
  l->cache = c->out * (1 + (terms ? terms : 1)); /* distances, then places */
  return LIP_OK;
}

/* log2 of an exponent that `power` takes, 0 for infinity; false for others. */
static bool log2_of(double p, float *log2_p) {
  int k;
  *log2_p = 0;
  if (isinf(p)) return p > 0;
  if (!(p >= 2) || p > ldexp(1, LIP_DIST_MOST) || frexp(p, &k) != 0.5) return false;
  *log2_p = (float)(k - 1);
  return true;
}

static lip_status dist_plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  const conf *c = spec->conf;
  float log2_p;
  if (!log2_of(c->p, &log2_p))
    return lip_fail(err, LIP_OPTION, "linf_dist: option 'p' expects 2, 4, 8, ... 4096 or infinity, got %g",
                    c->p);
  lip_status status = plan(l, c, "linf_dist", 0, err);
  if (status) return status;
  state *s = l->state;
  s->power = add_param(l, "log2_p", 1, true);
  s->log2_p = log2_p;
  return LIP_OK;
}

static lip_status sort_plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  const conf *c = spec->conf;
  const size_t K = c->terms < l->n_in ? c->terms : l->n_in;
  lip_status status = plan(l, c, "sort_neuron", K, err);
  if (status) return status;
  double each = c->q, sum = 0;
  for (size_t k = 0; k < K; k++, each *= 1 - c->q) sum += each;
  each = c->q / sum;
  for (size_t k = 0; k < K; k++, each *= 1 - c->q) ((state *)l->state)->q[k] = (float)each;
  return LIP_OK;
}

static void release(lip_layer *l) {
  state *s = l->state;
  if (s) lip_free(s->size);
  lip_free(s);
}

static lip_status set_p(lip_layer *l, double p, lip_err *err) {
  float log2_p;
  if (!log2_of(p, &log2_p))
    return lip_fail(err, LIP_OPTION, "expected 2, 4, 8, ... 4096 or infinity, got %g", p);
  state *s = l->state;
  s->log2_p = l->param[s->power].value[0] = log2_p;
  return LIP_OK;
}

static lip_status reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  const conf *c = l->conf;
  lip_rng_fill_normal(rng, l->param[0].value, l->n_out * l->n_in, 0, (float)c->std);
  return state_of(l)->power >= 0 ? set_p(l, c->p, err) : LIP_OK;
}

static void prepare(lip_layer *l, size_t u0, size_t u1) {
  const state *s = l->state;
  for (size_t j = u0; j < u1; j++) s->size[j] = lip_vec_abs_max(l->param[0].value + j * l->n_in, l->n_in);
}

static double p_of(const lip_layer *l) {
  const int k = power_of(l);
  return k > 0 ? ldexp(1, k) : k == 0 ? (double)INFINITY : (double)NAN;
}

/* ---- passes ---- */

static float offset(const lip_layer *l, size_t j) {
  const state *s = l->state;
  const double b = s->bias < 0 ? 0 : (double)l->param[s->bias].value[j],
               m = s->mean < 0 ? 0 : (double)l->param[s->mean].value[j];
  return (float)(b - m);
}

static float *distances(const lip_layer *l, size_t r) {
  return l->kept + r * l->n_out;
}

/* Of row r: terms (1 for linf_dist) numbers for each output. */
static uint32_t *places(const lip_layer *l, size_t r) {
  const size_t K = state_of(l)->terms;
  return (uint32_t *)(void *)(l->kept + l->capacity * l->n_out) + r * l->n_out * (K ? K : 1);
}

static lip_dist rows_of(const lip_layer *l, size_t r0, size_t r1) {
  return (lip_dist){r1 - r0, l->n_out, l->n_in, l->x + r0 * l->n_in, l->param[0].value};
}

static void find_places(const lip_layer *l, size_t r0, size_t r1) {
  const lip_dist d = rows_of(l, r0, r1);
  lip_dist_places(&d, distances(l, r0), places(l, r0));
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const size_t r0 = pass->r0, r1 = pass->r1, M = l->n_out;
  const state *s = l->state;
  const lip_dist d = rows_of(l, r0, r1);
  const int k = power_of(l);
  float *kept = distances(l, r0);
  lip_dist_largest(&d, kept);
  if (s->terms)
    lip_dist_sorted(&d, s->terms, s->q, kept, places(l, r0));
  else if (k > 0)
    lip_dist_norm(&d, k, kept);
  else if (pass->training)
    find_places(l, r0, r1);
  float *c = pass->scratch;
  for (size_t j = 0; j < M; j++) c[j] = k < 0 ? NAN : offset(l, j);
  memcpy(l->y + r0 * M, kept, (r1 - r0) * M * sizeof *kept);
  lip_vec_add_rows(l->y + r0 * M, c, r1 - r0, M);
}

/* One direction of the way back: outer i < n_outer has its own row of `a` and of `acc`, item j a row of b and the number
 * i * outer + j * item in dy, the distances and the places. */
typedef struct back {
  size_t n_outer, n_items, outer, item;
  const float *a, *b, *dy, *dist;
  const uint32_t *place;
  float *acc;
} back;

/* At the places of the largest differences, K of them with weights q. */
static void scatter(const back *b, size_t n, size_t K, const float *q) {
  for (size_t i = 0; i < b->n_outer; i++)
    for (size_t j = 0; j < b->n_items; j++) {
      const size_t at = i * b->outer + j * b->item;
      for (size_t k = 0; k < K; k++) {
        const size_t c = b->place[at * K + k];
        const float difference = b->a[i * n + c] - b->b[j * n + c], v = q[k] * b->dy[at];
        if (!(difference == 0)) b->acc[i * n + c] += difference < 0 ? -v : v;
      }
    }
}

/* OUTER rows of a and LIP_DIST_ITEMS of b at most. */
static void spread_block(const back *b, int k, size_t n, float *scratch) {
  const size_t m = b->n_items;
  float *coef = scratch, *dist = scratch + BLOCK, *inv = scratch + 2 * BLOCK;
  for (size_t i = 0; i < b->n_outer; i++)
    for (size_t j = 0; j < m; j++) {
      const size_t at = i * b->outer + j * b->item;
      coef[i * m + j] = b->dy[at];
      dist[i * m + j] = b->dist[at];
      inv[i * m + j] = 1 / (b->dist[at] < FLT_MIN ? FLT_MIN : b->dist[at]);
    }
  for (size_t c = 0; c < n; c += LIP_DIST_COLUMNS)
    for (size_t i = 0; i < b->n_outer; i++) {
      const lip_dist_terms t = {m, n, b->b + c, coef + i * m, dist + i * m, inv + i * m};
      lip_dist_spread(&t, k, n - c < LIP_DIST_COLUMNS ? n - c : LIP_DIST_COLUMNS, b->a + i * n + c,
                      b->acc + i * n + c);
    }
}

static void spread(const back *b, int k, size_t n, float *scratch) {
  for (size_t j = 0; j < b->n_items; j += LIP_DIST_ITEMS)
    for (size_t i = 0; i < b->n_outer; i += OUTER) {
      const size_t at = i * b->outer + j * b->item;
      back part = *b;
      part.n_outer = b->n_outer - i < OUTER ? b->n_outer - i : OUTER;
      part.n_items = b->n_items - j < LIP_DIST_ITEMS ? b->n_items - j : LIP_DIST_ITEMS;
      part.a += i * n;
      part.acc += i * n;
      part.b += j * n;
      part.dy += at;
      part.dist += at;
      spread_block(&part, k, n, scratch);
    }
}

static void carry_back(const lip_layer *l, const back *b, float *scratch) {
  static const float one = 1;
  const state *s = l->state;
  const int k = power_of(l);
  if (s->terms)
    scatter(b, l->n_in, s->terms, s->q);
  else if (k > 0)
    spread(b, k, l->n_in, scratch);
  else
    scatter(b, l->n_in, 1, &one);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  const size_t r0 = pass->r0, r1 = pass->r1;
  float *dx = l->dx + r0 * l->n_in;
  const back b = {r1 - r0,
                  l->n_out,
                  l->n_out,
                  1,
                  l->x + r0 * l->n_in,
                  l->param[0].value,
                  l->dy + r0 * l->n_out,
                  distances(l, r0),
                  places(l, r0),
                  dx};
  memset(dx, 0, (r1 - r0) * l->n_in * sizeof *dx);
  if (!pass->training && !state_of(l)->terms && power_of(l) <= 0) find_places(l, r0, r1);
  carry_back(l, &b, pass->scratch);
}

static void move_mean(const lip_layer *l, const lip_param *m, size_t rows, size_t j) {
  double sum = 0;
  for (size_t r = 0; r < rows; r++) sum += (double)distances(l, r)[j];
  const double now = sum / (double)rows;
  m->value[j] = lip_running(m->value[j], now, m->value[j] == 0 ? 1 : ((const conf *)l->conf)->momentum);
}

static void grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  const state *s = l->state;
  const size_t n = l->n_in, K = s->terms ? s->terms : 1;
  float *dw = l->param[0].grad + u0 * n;
  if (pass->accumulate == 0) memset(dw, 0, (u1 - u0) * n * sizeof *dw);
  const back b = {u1 - u0,
                  pass->rows,
                  1,
                  l->n_out,
                  l->param[0].value + u0 * n,
                  l->x,
                  l->dy + u0,
                  distances(l, 0) + u0,
                  places(l, 0) + u0 * K,
                  dw};
  carry_back(l, &b, pass->scratch);
  if (s->bias >= 0)
    lip_vec_sum_rows(l->param[s->bias].grad + u0, l->dy + u0, l->n_out, pass->rows, u1 - u0,
                     pass->accumulate);
  for (size_t j = u0; s->mean >= 0 && j < u1; j++) {
    if (pass->accumulate == 0) l->param[s->mean].grad[j] = 0;
    move_mean(l, &l->param[s->mean], pass->rows, j);
  }
  if (s->power >= 0 && u0 == 0 && pass->accumulate == 0) l->param[s->power].grad[0] = 0;
  if (pass->done) pass->done(pass->done_arg, u0, u1);
}

/* ---- between two points of each input, in double ---- */

/* From w to the nearest or the farthest point of [low, high]. */
LIP_INLINE double difference(double w, double low, double high, bool far) {
  const double below = low - w, above = w - high;
  if (far) return -below > -above ? (-below > above ? -below : above) : (-above > below ? -above : below);
  return below > above ? (below > 0 ? below : 0) : above > 0 ? above : below != below ? below : 0;
}

enum { LANES = 8 };

/* The largest of n differences; NaN if one is NaN. */
LIP_INLINE double largest_difference(const float *w, const double *low, const double *high, size_t n,
                                     bool far) {
  double top[LANES] = {0}, sum[LANES] = {0}, most = 0, all = 0;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (size_t k = 0; k < LANES; k++) {
      const double v = difference((double)w[i + k], low[i + k], high[i + k], far);
      top[k] = v > top[k] ? v : top[k];
      sum[k] += v;
    }
  for (; i < n; i++) {
    const double v = difference((double)w[i], low[i], high[i], far);
    most = v > most ? v : most;
    all += v;
  }
  for (size_t k = 0; k < LANES; k++) {
    most = top[k] > most ? top[k] : most;
    all += sum[k];
  }
  return isnan(all) ? all : most;
}

LIP_HOT static double nearest(const float *w, const double *low, const double *high, size_t n) {
  return largest_difference(w, low, high, n, false);
}

LIP_HOT static double farthest(const float *w, const double *low, const double *high, size_t n) {
  return largest_difference(w, low, high, n, true);
}

/* v into the K largest so far, falling. */
static void insert(double *top, size_t K, size_t *filled, double v) {
  if (*filled == K && v <= top[K - 1]) return;
  size_t at = *filled < K ? (*filled)++ : K - 1;
  for (; at > 0 && top[at - 1] < v; at--) top[at] = top[at - 1];
  top[at] = v;
}

/* What output j measures without its offset, of the nearest or the farthest points. */
static double measure(const lip_layer *l, size_t j, const double *low, const double *high, bool far) {
  const state *s = l->state;
  const float *w = l->param[0].value + j * l->n_in;
  const int k = power_of(l);
  const double most = far ? farthest(w, low, high, l->n_in) : nearest(w, low, high, l->n_in);
  double sum = 0, top[LIP_DIST_TERMS];
  size_t filled = 0;
  if (k < 0) return NAN;
  if (!(most > 0) || isinf(most) || (k == 0 && !s->terms)) return most;
  for (size_t i = 0; i < l->n_in; i++) {
    double t = difference((double)w[i], low[i], high[i], far);
    if (s->terms) {
      insert(top, s->terms, &filled, t);
      continue;
    }
    t /= most;
    for (int e = 0; e < k; e++) t *= t;
    sum += t;
  }
  for (size_t i = 0; i < s->terms; i++) sum += (double)s->q[i] * top[i];
  if (s->terms) return sum;
  for (int e = 0; e < k; e++) sum = sqrt(sum);
  return most * sum;
}

static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  for (size_t r = 0; r < B; r++, x += l->n_in, y += l->n_out)
    for (size_t j = 0; j < l->n_out; j++) y[j] = measure(l, j, x, x, true) + (double)offset(l, j);
}

/* ---- constants ---- */

/* Relative error of a distance as executed in float32, underflow apart; INFINITY: none is proved. In double it is at most
 * 2^-29 of this. See dist.h, here to all orders: n <= 2^20, so that 1 / (1 - n 2^-26) <= exp(1.1 n 2^-26). */
static double relative_error(const lip_layer *l) {
  const double u = 0x1p-24, n = (double)l->n_in;
  const size_t K = state_of(l)->terms;
  const int k = power_of(l);
  if (K) return u * (double)(K + 2);
  if (k == 0) return u * (1 + 0x1p-20);
  if (k < 0 || n > 0x1p20) return INFINITY;
  const double p = ldexp(1, k);
  return expm1(((4 * p + 1.5 * n + 4) / p + 6) * u) * (1 + 0x1p-40);
}

/* Of one output, from norm inf. */
static double from_inf(const lip_layer *l) {
  const state *s = l->state;
  const int k = power_of(l);
  double sum = 0, root = (double)l->n_in;
  for (size_t i = 0; i < s->terms; i++)
    sum += (double)s->q[i]; /* exact: 24 bits each, within 2^29 of each other */
  if (s->terms) return lip_round_up(sum);
  for (int e = 0; e < k && root > 1; e++) root = nextafter(sqrt(root), INFINITY);
  return k > 0 ? root : k == 0 ? 1 : INFINITY;
}

static double from(const lip_layer *l, lip_p p) {
  const double K = from_inf(l);
  return p == LIP_PINF || state_of(l)->terms || isinf(K) ? K : 1;
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  const float *w = l->param[0].value;
  const bool finite = !w || lip_vec_all_finite(w, l->n_out * l->n_in);
  const double ones = lip_ones_norm(l->n_out, pq.q), K = finite ? from(l, pq.p) : (double)INFINITY;
  return lip_constant_bound(pq, ones == 1 ? K : lip_round_up(K * ones), upper);
}

static double largest_weight(const lip_layer *l) {
  const state *s = l->state;
  double most = 0;
  if (!l->prepared) return (double)lip_vec_abs_max(l->param[0].value, l->n_out * l->n_in);
  for (size_t j = 0; j < l->n_out; j++) most = (double)s->size[j] <= most ? most : (double)s->size[j];
  return most;
}

static double largest_offset(const lip_layer *l) {
  double most = 0;
  for (size_t j = 0; j < l->n_out; j++) {
    const double c = fabs((double)offset(l, j));
    if (!(c <= most)) most = c;
    if (isnan(c)) return INFINITY;
  }
  return most;
}

enum { FAR = 120 }; /* distances below 2^FAR have a reciprocal that is no denormal number */

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const double u = 0x1p-24, K = from_inf(l), error = relative_error(l), ones = lip_ones_norm(l->n_out, pq.q);
  const double w = largest_weight(l), c = largest_offset(l), reach = d->size + d->off + w;
  const double tiny = (8 + 4 * K) * (double)FLT_MIN, far = K * reach;
  double off = from(l, pq.p) * d->off + error * far + u * (far * (1 + error) + c) + tiny;
  if (!(reach < ldexp(1, FAR)) || isnan(off)) off = INFINITY;
  d->off = lip_round_up(off * ones);
  d->size = lip_round_up((K * (d->size + w) + c) * ones);
  lip_check_overflow(d);
}

/* One number as executed: to the relative error of distances, then with the offset added. */
static double executed(double v, double error, double c, bool up) {
  const double u = 0x1p-24, sign = up ? 1 : -1;
  v += sign * (v * error * (1 + 0x1p-20) + 4 * (double)FLT_MIN);
  v += c;
  return v + sign * (fabs(v) * u * (1 + 0x1p-20) + 4 * (double)FLT_MIN);
}

static void interval(const lip_layer *l, const double *low, const double *high, double *out_low,
                     double *out_high) {
  const double error = relative_error(l);
  const double more = from_inf(l) * 8 * (double)FLT_MIN; /* what underflow takes from powers, roots and all */
  for (size_t j = 0; j < l->n_out; j++) {
    const double c = (double)offset(l, j), near = measure(l, j, low, high, false),
                 far = measure(l, j, low, high, true);
    const bool known = far < ldexp(1, FAR) && fabs(c) < ldexp(1, FAR) && error < 0.5;
    out_low[j] = known ? executed(near, error, c, false) - more : -(double)INFINITY;
    out_high[j] = known ? executed(far, error, c, true) + more : (double)INFINITY;
  }
}

#define KIND                                                                                                 \
  .release = release, .reset = reset, .forward = forward, .wide = wide, .backward = backward, .grad = grad,  \
  .prepare = prepare, .bound = bound, .interval = interval, .deviate = deviate

const lip_layer_kind lip_layer_linf_dist = {
    .desc = {"linf_dist", "distances to trained points in norm p, which training raises to infinity",
             dist_options, sizeof(conf)},
    .plan = dist_plan,
    KIND,
    .p = p_of,
    .set_p = set_p,
};

const lip_layer_kind lip_layer_sort_neuron = {
    .desc = {"sort_neuron", "weighted sums of the largest differences to trained points", sort_options,
             sizeof(conf)},
    .plan = sort_plan,
    KIND,
};
