#include "core/net/pairs.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/net/signal.h"
#include "core/tensor/vec.h"

/* Power iterations. A matrix has few large singular values to begin with and then many of one size, as all are pushed
 * down: one iteration in a step loses sight of the largest (orthogonal start, rate 0.1: after 50 steps the norms were
 * underestimated by a factor of 2; with 5 iterations by a fifth). Each pair has a direction of its own: one will do. */
enum { COLD_ROUNDS = 30, COLD_TURNS = 40, NORM_ROUNDS = 5, SIGNAL_ROUNDS = 1 };
#define DESCENT                                                                                              \
  0.03 /* of log theta, about, each time a pair is looked at; to begin with COLD_TURNS times, faster */
#define COLD_DESCENT 0.1
#define LARGEST 0x1p60f

/* A matrix of the chain and what lies between it and the next. */
typedef struct block {
  const lip_layer *layer;
  size_t M, N, at;    /* at: its first unit among the hidden ones */
  double constant;    /* of what follows, up to the next matrix */
  double *low, *high; /* slopes of its units; mate: see net/signal.h */
  size_t *mate;
  bool mixed; /* more follows than slopes or one exchange */
  double norm;
  float *v;      /* (N) in the state: follows the leading right singular vector */
  double *sizes; /* (N) norms of columns */
  size_t rank;   /* gradient A'B: A (rank, M), B (rank, N) */
  float *A, *B;
} block;

struct lip_pairs {
  lip_pair_conf conf;
  size_t C, n, units, count; /* classes, blocks, hidden units, pairs */
  block *block;
  lip_pair_terms terms;
  size_t capacity; /* rows of dK */
  float *K, *difference;
  double *G;
  double before;            /* constant of the layers before the first matrix */
  uint32_t *first, *second; /* (count) classes of a pair */
  lip_signals *signals;     /* quadratic bounds only */
  float *state;             /* every v, then the signal of every pair */
  size_t n_state, signal_at, signal_size;
  double *value; /* (1 + count) whether the state has been started; rho of every pair */
};

static const float *weight_of(const block *b) {
  return b->layer->param[0].value;
}

/* ---- planning ---- */

static lip_status unsupported(const lip_layer *l, lip_err *err) {
  return lip_fail(err, LIP_UNSUPPORTED, "a loss that takes bounds of the net cannot be learned through '%s'",
                  l->kind->desc.name);
}

static size_t count_blocks(const lip_layer *root) {
  size_t n = 0;
  for (size_t i = 0; i < root->n_child; i++) n += root->child[i]->kind->matrix_grad != NULL;
  return n;
}

static bool is_one(const double *low, const double *high, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (low[i] != 1 || high[i] != 1) return false;
  return true;
}

static lip_status add_matrix(lip_pairs *p, const lip_layer *l, lip_err *err) {
  block *b = &p->block[p->n++];
  *b = (block){.layer = l, .M = l->n_out, .N = l->n_in, .constant = 1};
  b->low = lip_alloc(b->M, sizeof *b->low);
  b->high = lip_alloc(b->M, sizeof *b->high);
  b->sizes = lip_alloc(b->N, sizeof *b->sizes);
  if (!b->low || !b->high || !b->sizes) return lip_fail(err, LIP_MEMORY, "out of memory for bounds");
  for (size_t i = 0; i < b->M; i++) b->low[i] = b->high[i] = 1;
  return LIP_OK;
}

static lip_status add_exchange(block *b, const lip_layer *l, lip_err *err) {
  uint32_t *mate = lip_alloc(b->M, sizeof *mate);
  b->mate = lip_alloc(b->M, sizeof *b->mate);
  bool complete = mate && b->mate;
  if (complete && l->kind->exchange(l, 0, mate))
    for (size_t i = 0; i < b->M; i++) {
      b->mate[i] = mate[i];
      if (mate[i] < i) b->low[i] = -1;
    }
  b->mixed = !complete || l->kind->exchange(l, 1, mate);
  lip_free(mate);
  return complete ? LIP_OK : lip_fail(err, LIP_MEMORY, "out of memory for bounds");
}

/* A layer between matrices. */
static lip_status add_between(lip_pairs *p, const lip_layer *l, lip_err *err) {
  if (l->kind->flags & LIP_LAYER_ALIAS) return LIP_OK;
  double constant = lip_layer_estimate(l, l->pq);
  if (l->n_param > 0 || l->n_child > 0 || !isfinite(constant)) return unsupported(l, err);
  if (p->n == 0) {
    p->before *= constant;
    return LIP_OK;
  }
  block *b = &p->block[p->n - 1];
  b->constant *= constant;
  bool open = !b->mixed && !b->mate && is_one(b->low, b->high, b->M);
  if (l->kind->slopes && open) {
    l->kind->slopes(l, b->low, b->high);
    return LIP_OK;
  }
  if (l->kind->exchange && open) return add_exchange(b, l, err);
  if (!(l->kind->flags & LIP_LAYER_RANDOM)) b->mixed = true; /* dropout passes everything on, in the end */
  return LIP_OK;
}

static lip_status read_chain(lip_pairs *p, const lip_layer *root, lip_err *err) {
  for (size_t i = 0; i < root->n_child; i++) {
    const lip_layer *l = root->child[i];
    lip_status status = l->kind->matrix_grad ? add_matrix(p, l, err) : add_between(p, l, err);
    if (status) return status;
  }
  const block *last = p->n ? &p->block[p->n - 1] : NULL;
  if (last && (last->mixed || last->mate || last->constant != 1 || !is_one(last->low, last->high, last->M)))
    last = NULL;
  if (!last)
    return lip_fail(err, LIP_UNSUPPORTED,
                    "a loss that takes bounds of the net needs a dense layer at its end");
  return LIP_OK;
}

static lip_status check_quadratic(const lip_pairs *p, const lip_layer *root, lip_err *err) {
  const char *name = lip_pair_method_names[p->conf.method];
  if (root->pq.p != LIP_P2)
    return lip_fail(err, LIP_UNSUPPORTED, "method '%s' bounds changes of the input in norm 2 only", name);
  bool known = p->before == 1;
  for (size_t i = 0; i + 1 < p->n; i++) known = known && !p->block[i].mixed;
  if (known) return LIP_OK;
  return lip_fail(
      err, LIP_UNSUPPORTED,
      "method '%s' wants one activation at most between dense layers: units of known slopes, or maxmin",
      name);
}

/* ---- making and freeing ---- */

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "out of memory for the bounds of pairs of logits");
}

static bool is_quadratic(const lip_pairs *p) {
  return p->conf.method != LIP_PAIR_PRODUCT && p->n > 1;
}

static bool lay_out(lip_pairs *p) {
  const size_t C = p->C;
  p->count = C * (C - 1) / 2;
  for (size_t i = 0; i + 1 < p->n; i++) {
    p->block[i].at = p->units;
    p->units += p->block[i].M;
    p->n_state += p->block[i].N;
  }
  p->signal_at = p->n_state;
  if (is_quadratic(p))
    p->signal_size = p->block[0].N + (2 * (p->n - 1) + 4) * p->units + p->block[p->n - 1].N;
  p->n_state += p->count * p->signal_size;
  p->K = lip_alloc(C * C, sizeof *p->K);
  p->G = lip_alloc(C * C, sizeof *p->G);
  p->difference = lip_alloc(p->block[p->n - 1].N, sizeof *p->difference);
  p->first = lip_alloc(p->count, sizeof *p->first);
  p->second = lip_alloc(p->count, sizeof *p->second);
  p->state = lip_alloc(p->n_state, sizeof *p->state);
  p->value = lip_alloc(1 + p->count, sizeof *p->value);
  if (!p->K || !p->G || !p->difference || !p->first || !p->second || !p->state || !p->value) return false;
  p->terms.K = p->K;
  for (size_t i = 0, at = 0; i < C; i++)
    for (size_t j = i + 1; j < C; j++) {
      p->first[at] = (uint32_t)i;
      p->second[at++] = (uint32_t)j;
    }
  float *v = p->state;
  for (size_t i = 0; i < p->n; i++) {
    block *b = &p->block[i];
    b->rank = i + 1 < p->n ? 1 : C;
    if (is_quadratic(p)) b->rank = p->count * (i + 1 < p->n ? i + 1 : 1);
    b->A = lip_alloc(b->rank * b->M, sizeof *b->A);
    b->B = lip_alloc(b->rank * b->N, sizeof *b->B);
    if (!b->A || !b->B) return false;
    if (i + 1 < p->n) b->v = v;
    v += b->N;
  }
  return true;
}

static bool new_signals(lip_pairs *p, size_t threads) {
  lip_signal_stage *stage = lip_alloc(p->n, sizeof *stage);
  for (size_t i = 0; stage && i + 1 < p->n; i++) {
    const block *b = &p->block[i];
    stage[i] = (lip_signal_stage){b->M, b->N, weight_of(b), b->low, b->high, b->mate};
  }
  if (stage) p->signals = lip_signals_new(stage, p->n - 1, threads);
  lip_free(stage);
  return p->signals != NULL;
}

lip_status lip_pairs_new(const lip_layer *root, const lip_pair_conf *conf, size_t threads, lip_pairs **out,
                         lip_err *err) {
  *out = NULL;
  lip_pairs *p = lip_alloc(1, sizeof *p);
  if (!p) return no_memory(err);
  *p = (lip_pairs){.conf = *conf, .C = root->n_out, .before = 1};
  p->block = lip_alloc(count_blocks(root), sizeof *p->block);
  lip_status status = p->block ? read_chain(p, root, err) : no_memory(err);
  if (!status && is_quadratic(p)) status = check_quadratic(p, root, err);
  if (!status && !lay_out(p)) status = no_memory(err);
  if (!status && is_quadratic(p) && !new_signals(p, threads)) status = no_memory(err);
  if (status)
    lip_pairs_free(p);
  else
    *out = p;
  return status;
}

void lip_pairs_free(lip_pairs *p) {
  if (!p) return;
  for (size_t i = 0; p->block && i < p->n; i++) {
    block *b = &p->block[i];
    lip_free(b->low);
    lip_free(b->high);
    lip_free(b->mate);
    lip_free(b->sizes);
    lip_free(b->A);
    lip_free(b->B);
  }
  lip_free(p->block);
  lip_free(p->terms.from);
  lip_free(p->terms.dK);
  lip_free(p->K);
  lip_free(p->G);
  lip_free(p->difference);
  lip_free(p->first);
  lip_free(p->second);
  lip_free(p->state);
  lip_free(p->value);
  lip_signals_free(p->signals);
  lip_free(p);
}

const lip_pair_conf *lip_pairs_conf(const lip_pairs *p) {
  return &p->conf;
}

lip_status lip_pairs_reserve(lip_pairs *p, size_t B, lip_err *err) {
  if (B <= p->capacity) return LIP_OK;
  uint32_t *from = lip_alloc(B, sizeof *from);
  float *dK = from && B <= SIZE_MAX / p->C ? lip_alloc(B * p->C, sizeof *dK) : NULL;
  if (!dK) {
    lip_free(from);
    return no_memory(err);
  }
  lip_free(p->terms.from);
  lip_free(p->terms.dK);
  p->terms.from = from;
  p->terms.dK = dK;
  p->capacity = B;
  return LIP_OK;
}

const lip_pair_terms *lip_pairs_terms(const lip_pairs *p) {
  return &p->terms;
}

/* ---- norms and the directions in which they grow ---- */

/* Norm of w (n) as a functional on vectors measured in p, and its gradient (may be NULL, or w itself). */
static double dual(const float *w, size_t n, lip_p p, float *gradient) {
  double norm = 0;
  size_t at = 0;
  if (p == LIP_P2) norm = sqrt(lip_vec_square_sum(w, n));
  if (p == LIP_PINF) norm = lip_vec_abs_sum(w, n);
  for (size_t i = 0; p == LIP_P1 && i < n; i++)
    if (!(fabs((double)w[i]) <= norm)) norm = fabs((double)w[i]), at = i;
  for (size_t i = 0; gradient && i < n; i++) {
    float sign = (float)((w[i] > 0) - (w[i] < 0));
    if (p == LIP_P2)
      gradient[i] = norm > 0 ? (float)((double)w[i] / norm) : 0;
    else
      gradient[i] = p == LIP_PINF || i == at ? sign : 0;
  }
  return norm;
}

/* One power iteration: the gradient of |W v| is u v'. */
static void singular(block *b) {
  double length = sqrt(lip_vec_square_sum(b->v, b->N)), sum = 0;
  for (size_t j = 0; length > 0 && j < b->N; j++) b->v[j] = (float)((double)b->v[j] / length);
  memcpy(b->B, b->v, b->N * sizeof *b->B);
  for (size_t i = 0; i < b->M; i++) {
    double y = lip_vec_dot(weight_of(b) + i * b->N, b->v, b->N);
    b->A[i] = (float)y;
    sum += y * y;
  }
  b->norm = sqrt(sum);
  for (size_t i = 0; b->norm > 0 && i < b->M; i++) b->A[i] = (float)((double)b->A[i] / b->norm);
  if (!(b->norm > 0) || !isfinite(b->norm)) return; /* keeps its direction for better weights */
  memset(b->v, 0, b->N * sizeof *b->v);
  for (size_t i = 0; i < b->M; i++) lip_vec_axpy(b->v, b->A[i], weight_of(b) + i * b->N, b->N);
}

static void largest_row(block *b) {
  size_t best = 0;
  b->norm = -1;
  for (size_t i = 0; i < b->M; i++) {
    double norm = dual(weight_of(b) + i * b->N, b->N, b->layer->pq.p, NULL);
    if (!(norm <= b->norm)) b->norm = norm, best = i;
  }
  memset(b->A, 0, b->M * sizeof *b->A);
  b->A[best] = 1;
  dual(weight_of(b) + best * b->N, b->N, b->layer->pq.p, b->B);
}

/* From l_1 to l_1 or l_2. */
static void largest_column(block *b) {
  const bool squares = b->layer->pq.q == LIP_P2;
  size_t best = 0;
  memset(b->sizes, 0, b->N * sizeof *b->sizes);
  for (size_t i = 0; i < b->M; i++)
    for (size_t j = 0; j < b->N; j++) {
      double w = (double)weight_of(b)[i * b->N + j];
      b->sizes[j] += squares ? w * w : fabs(w);
    }
  for (size_t j = 1; j < b->N; j++)
    if (!(b->sizes[j] <= b->sizes[best])) best = j;
  b->norm = squares ? sqrt(b->sizes[best]) : b->sizes[best];
  memset(b->B, 0, b->N * sizeof *b->B);
  b->B[best] = 1;
  for (size_t i = 0; i < b->M; i++) {
    float w = weight_of(b)[i * b->N + best];
    b->A[i] = squares ? (b->norm > 0 ? (float)((double)w / b->norm) : 0) : (float)((w > 0) - (w < 0));
  }
}

static void measure(block *b) {
  if (b->layer->pq.q == LIP_PINF)
    largest_row(b);
  else if (b->layer->pq.p == LIP_P1)
    largest_column(b);
  else
    singular(b);
}

/* ---- the product ---- */

typedef struct job {
  lip_pairs *p;
  bool cold;
  uint64_t step;
  size_t looked_at; /* pairs */
} job;

static void run_norms(void *arg, const lip_worker *me) {
  const job *j = arg;
  size_t i0, i1;
  lip_share(me, j->p->n - 1, 1, &i0, &i1);
  for (size_t i = i0; i < i1; i++)
    for (size_t turn = 0; turn < (j->cold ? COLD_ROUNDS : NORM_ROUNDS); turn++) measure(&j->p->block[i]);
}

/* Of everything before the last matrix. */
static double before_last(const lip_pairs *p) {
  double product = p->before;
  for (size_t i = 0; i + 1 < p->n; i++) product *= p->block[i].norm * p->block[i].constant;
  return product;
}

/* w_i - w_j of the last matrix. */
static const float *difference_of(lip_pairs *p, size_t pair) {
  const block *b = &p->block[p->n - 1];
  memcpy(p->difference, weight_of(b) + p->first[pair] * b->N, b->N * sizeof *p->difference);
  lip_vec_axpy(p->difference, -1, weight_of(b) + p->second[pair] * b->N, b->N);
  return p->difference;
}

static void set_pair(lip_pairs *p, size_t pair, double K) {
  p->K[p->first[pair] * p->C + p->second[pair]] = p->K[p->second[pair] * p->C + p->first[pair]] = (float)K;
}

static void update_product(lip_pairs *p, job *j, lip_pool *pool) {
  const block *last = &p->block[p->n - 1];
  if (p->n > 1) lip_pool_run(pool, true, run_norms, j);
  const double product = before_last(p);
  for (size_t i = 0; i < p->count; i++)
    set_pair(p, i, product * dual(difference_of(p, i), last->N, last->layer->pq.p, NULL));
}

/* g: d loss / d K of a pair, both orders together. */
static double pair_gradient(const lip_pairs *p, size_t pair) {
  return p->G[p->first[pair] * p->C + p->second[pair]] + p->G[p->second[pair] * p->C + p->first[pair]];
}

static void gather_product(lip_pairs *p) {
  block *last = &p->block[p->n - 1];
  const double product = before_last(p);
  double total = 0; /* sum of g K: the gradient in the logarithm of any norm before the last matrix */
  memset(last->A, 0, p->C * p->C * sizeof *last->A);
  memset(last->B, 0, p->C * last->N * sizeof *last->B);
  for (size_t c = 0; c < p->C; c++) last->A[c * p->C + c] = 1;
  for (size_t i = 0; i < p->count; i++) {
    double g = pair_gradient(p, i);
    if (g == 0) continue;
    difference_of(p, i);
    total += g * product * dual(p->difference, last->N, last->layer->pq.p, p->difference);
    lip_vec_axpy(last->B + p->first[i] * last->N, (float)(g * product), p->difference, last->N);
    lip_vec_axpy(last->B + p->second[i] * last->N, (float)(-g * product), p->difference, last->N);
  }
  for (size_t i = 0; i + 1 < p->n; i++) {
    block *b = &p->block[i];
    lip_vec_scale(b->A, b->norm > 0 ? (float)(total / b->norm) : 0, b->M);
  }
}

/* ---- quadratic bounds ---- */

static lip_signal signal_of(const lip_pairs *p, size_t pair) {
  const size_t n = p->units, all = (p->n - 1) * n;
  float *x = p->state + p->signal_at + pair * p->signal_size, *at = x + p->block[0].N;
  return (lip_signal){.x = x,
                      .y = at,
                      .delta = at + all,
                      .theta = at + 2 * all,
                      .top = at + 2 * all + n,
                      .mean = at + 2 * all + 2 * n,
                      .square = at + 2 * all + 3 * n,
                      .dv = at + 2 * all + 4 * n,
                      .shared = p->conf.method == LIP_PAIR_RECURSION};
}

static void look_at(lip_pairs *p, size_t pair, bool cold, size_t share) {
  const block *last = &p->block[p->n - 1];
  const float *first = weight_of(last) + p->first[pair] * last->N;
  const float *second = weight_of(last) + p->second[pair] * last->N;
  lip_signal s = signal_of(p, pair);
  if (cold) lip_signals_run(p->signals, share, first, second, COLD_ROUNDS, 0, &s);
  for (int turn = 0; cold && turn < COLD_TURNS; turn++)
    lip_signals_run(p->signals, share, first, second, SIGNAL_ROUNDS, COLD_DESCENT / (1 + 0.05 * turn), &s);
  lip_signals_run(p->signals, share, first, second, SIGNAL_ROUNDS, DESCENT, &s);
  p->value[1 + pair] = s.rho;
}

static void run_signals(void *arg, const lip_worker *me) {
  const job *j = arg;
  size_t i0, i1;
  lip_share(me, j->looked_at, 1, &i0, &i1);
  for (size_t i = i0; i < i1; i++)
    look_at(j->p, (size_t)((j->step * j->looked_at + i) % j->p->count), j->cold, me->id);
}

static void update_signals(lip_pairs *p, job *j, lip_pool *pool) {
  const size_t asked = p->conf.refresh;
  j->looked_at = j->cold || asked == 0 || asked > p->count ? p->count : asked;
  lip_signals_load(p->signals);
  lip_pool_run(pool, true, run_signals, j);
  for (size_t i = 0; i < p->count; i++) {
    double rho = p->value[1 + i];
    set_pair(p, i, rho > 0 ? sqrt(rho) : rho);
  }
}

static void scaled(float *to, const float *from, double by, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = (float)(by * (double)from[i]);
}

/* d K = d rho / (2 K); see net/signal.h for d rho. */
static void gather_signals(lip_pairs *p) {
  for (size_t i = 0; i < p->count; i++) {
    lip_signal s = signal_of(p, i);
    double rho = p->value[1 + i], g = rho > 0 ? pair_gradient(p, i) / (2 * sqrt(rho)) : 0;
    for (size_t k = 0; k + 1 < p->n; k++) {
      block *b = &p->block[k];
      for (size_t source = 0; source <= k; source++) {
        const size_t row = i * (k + 1) + source, at = source * p->units;
        memcpy(b->B + row * b->N, k == 0 ? s.x : s.y + at + p->block[k - 1].at, b->N * sizeof *b->B);
        scaled(b->A + row * b->M, s.delta + at + b->at, g, b->M);
      }
    }
    block *last = &p->block[p->n - 1];
    float *A = last->A + i * p->C;
    memset(A, 0, p->C * sizeof *A);
    A[p->first[i]] = (float)g;
    A[p->second[i]] = (float)-g;
    memcpy(last->B + i * last->N, s.dv, last->N * sizeof *last->B);
  }
}

/* ---- a step ---- */

static void start(lip_pairs *p) {
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 0);
  for (size_t i = 0; i + 1 < p->n; i++) lip_rng_fill_normal(&rng, p->block[i].v, p->block[i].N, 0, 1);
  for (size_t i = 0; p->signals && i < p->count; i++) {
    lip_signal s = signal_of(p, i);
    lip_rng_fill_normal(&rng, s.x, p->block[0].N, 0, (float)(1 / sqrt((double)p->block[0].N)));
  }
}

void lip_pairs_update(lip_pairs *p, uint64_t step, lip_pool *pool) {
  job j = {.p = p, .cold = p->value[0] == 0, .step = step};
  if (j.cold) start(p);
  p->value[0] = 1;
  if (p->signals)
    update_signals(p, &j, pool);
  else
    update_product(p, &j, pool);
}

bool lip_pairs_gather(lip_pairs *p, size_t B) {
  memset(p->G, 0, p->C * p->C * sizeof *p->G);
  for (size_t r = 0; r < B; r++) {
    double *row = p->G + p->terms.from[r] * p->C;
    for (size_t j = 0; j < p->C; j++) row[j] += (double)p->terms.dK[r * p->C + j];
  }
  if (p->signals)
    gather_signals(p);
  else
    gather_product(p);
  for (size_t i = 0; i < p->n; i++) {
    const block *b = &p->block[i];
    if (!(lip_vec_abs_max(b->A, b->rank * b->M) < LARGEST)) return false;
    if (!(lip_vec_abs_max(b->B, b->rank * b->N) < LARGEST)) return false;
  }
  return true;
}

void lip_pairs_add(const lip_pairs *p, const lip_layer *l, size_t a, size_t b, void *scratch) {
  for (size_t i = 0; i < p->n; i++)
    if (p->block[i].layer == l)
      l->kind->matrix_grad(l, p->block[i].rank, p->block[i].A, p->block[i].B, a, b, scratch);
}

bool lip_pairs_warm(lip_pairs *p, size_t i, lip_warm *out) {
  if (i == 0) *out = (lip_warm){p->value, true, 1 + p->count};
  if (i == 1) *out = (lip_warm){p->state, false, p->n_state};
  return i < 2;
}
