/* aol: almost orthogonal Lipschitz weights (Prach, Lampert 2022, theorem 1): W = V D, D diagonal,
 *
 *   D_a = t_a^(-1/2),  t_a = sum over b of |V'V|_ab       ||W||_2 <= 1 for every V, and W = V where V's columns are orthonormal
 *
 * Dense layers scale whichever side is the smaller, columns as above or rows by |VV'|: the Gram matrix is that side's.
 * Convolutions scale the taps of an input channel (theorem 2 there): columns of the matrix that the convolution is are the places
 * of its input, and with a stride those of different phases are read by different taps. So t is one number for every input
 * channel c and phase f,
 *
 *   t_cf = sum over channels c' and offsets e of |sum over outputs o and taps k of phase f of v[o, c, k] v[o, c', k + e]|
 *
 * which is made of the entries of V'V, V as (OUT, C taps), along their diagonals. Borders of the image and outputs that a stride
 * leaves out take rows away from a matrix of norm <= 1. Groups by themselves.
 *
 *   dD_a = sum of V_ia dW_ia        dt = -1/2 D^3 dD, of a phase in all
 *   dV   = dW D + V Q,  Q_ab = s_ab dt_a + s_ba dt_b,  s = signs of the sums
 *
 * The scale of V does not matter, so numbers out of the middle of float32's range are brought there first. A column of zeros
 * stays. Work: m n^2 / 2 multiplications for g and m n^2 for the gradient, n the scaled side. */
#include <math.h>
#include <string.h>

#include "core/layer/conv_norm.h"
#include "core/layer/parametrisation.h"
#include "core/tensor/vec.h"

/* What V'V is of. In keep: D by column (n blocks), entries or signs of the sums (n n blocks). In tmp: V in range (m n
 * blocks), dt by column (n), Q (n n). */
typedef struct side {
  bool rows;     /* rows are scaled: V'V stands for VV' */
  size_t n, m;   /* columns of a block, length of each */
  size_t blocks; /* groups */
  size_t ky, kx; /* taps */
  size_t fy, fx; /* taps so far apart are of one phase */
} side;

static side side_of(const lip_weight *w) {
  const lip_conv *c = w->conv;
  if (!c) {
    const bool rows = w->M < w->N;
    return (side){rows, rows ? w->M : w->N, rows ? w->N : w->M, 1, 1, 1, 1, 1};
  }
  const lip_axis y = lip_patches_y(&c->at), x = lip_patches_x(&c->at);
  return (side){false, c->K, c->OUTg, c->groups, y.kernel, x.kernel, lip_axis_lap(&y), lip_axis_lap(&x)};
}

static size_t rounded(size_t n) {
  return (n + 15) / 16 * 16;
}

typedef struct job {
  const lip_weight *w;
  side s;
  const float *V; /* in range */
  float *G, *dV;
  float *dG;
  float *D, *A, *dt, *Q; /* of all blocks; dt and Q of one */
  size_t block;
  float power, accumulate;
} job;

static job make_job(const lip_weight *w) {
  const side s = side_of(w);
  job j = {.w = w, .s = s};
  j.D = w->keep;
  j.A = j.D + rounded(s.n * s.blocks);
  j.dt = w->tmp + rounded(w->M * w->N);
  j.Q = j.dt + rounded(s.n);
  return j;
}

static lip_status plan(lip_weight *w, lip_err *err) {
  if (w->pq.p != LIP_P2 || w->pq.q != LIP_P2)
    return lip_fail(err, LIP_UNSUPPORTED,
                    "scales columns so that the norm 2 of the weight is at most 1; this step is %s",
                    lip_pq_name(w->pq));
  const side s = side_of(w);
  w->kept = rounded(s.n * s.blocks) + s.n * s.n * s.blocks;
  w->work = rounded(w->M * w->N) + rounded(s.n) + s.n * s.n;
  return LIP_OK;
}

/* ---- sums of absolute values ---- */

/* Taps of one input channel: their phases' sums, the signs of the inner sums in place of A's entries. */
static void fold_channel(const job *j, float *A, float *D, size_t c) {
  const side *s = &j->s;
  const size_t taps = s->ky * s->kx, wide = s->kx < s->fx ? s->kx : s->fx,
               high = s->ky < s->fy ? s->ky : s->fy;
  const size_t offsets = 2 * s->kx - 1;
  for (size_t f = 0; f < high * wide; f++) {
    double t = 0;
    for (size_t other = 0; other < s->n; other += taps)
      for (size_t e = 0; e < (2 * s->ky - 1) * offsets; e++) {
        double sum = 0;
        for (int write = 0; write < 2; write++) /* first the sum over taps, then its sign */
          for (size_t y = f / wide; y < s->ky; y += s->fy)
            for (size_t x = f % wide; x < s->kx; x += s->fx) {
              const size_t y2 = y + e / offsets + 1 - s->ky, x2 = x + e % offsets + 1 - s->kx;
              if (y2 >= s->ky || x2 >= s->kx) continue; /* below 0 is very large */
              float *a = &A[(c + y * s->kx + x) * s->n + other + y2 * s->kx + x2];
              if (!write)
                sum += (double)*a;
              else
                *a = (float)((sum > 0) - (sum < 0));
            }
        t += fabs(sum);
      }
    for (size_t y = f / wide; y < s->ky; y += s->fy)
      for (size_t x = f % wide; x < s->kx; x += s->fx)
        D[c + y * s->kx + x] = t == 0 ? 0 : (float)(1 / sqrt(t));
  }
}

static void fold(void *arg, const lip_worker *me) {
  const job *j = arg;
  const size_t n = j->s.n, taps = j->s.ky * j->s.kx;
  float *A = j->A + j->block * n * n, *D = j->D + j->block * n;
  size_t c, end;
  lip_share(me, n / taps, 1, &c, &end);
  for (; c < end; c++) {
    if (taps > 1) {
      fold_channel(j, A, D, c * taps);
      continue;
    }
    const double t = lip_vec_abs_sum(A + c * n, n);
    D[c] = t == 0 ? 0 : (float)(1 / sqrt(t));
  }
}

/* ---- g ---- */

/* out = accumulate out + power D x, for V, G and dG alike */
static void scaled_row(const job *j, size_t i, float *restrict out, const float *restrict x, float power,
                       float accumulate) {
  const size_t N = j->w->N;
  const float *restrict D = j->D + i / j->s.m * j->s.n; /* columns of i's group */
  if (j->s.rows) {
    const float d = j->D[i] * power;
    for (size_t k = 0; k < N; k++) out[k] = accumulate != 0 ? out[k] + d * x[k] : d * x[k];
  } else if (accumulate != 0) {
    for (size_t k = 0; k < N; k++) out[k] += D[k] * power * x[k];
  } else {
    for (size_t k = 0; k < N; k++) out[k] = D[k] * power * x[k];
  }
}

static void scale_rows(void *arg, const lip_worker *me) {
  const job *j = arg;
  const size_t N = j->w->N;
  size_t i, end;
  lip_share(me, j->w->M, 1, &i, &end);
  for (; i < end; i++)
    if (j->dG)
      scaled_row(j, i, j->dV + i * N, j->dG + i * N, j->power, j->accumulate);
    else
      scaled_row(j, i, j->G + i * N, j->V + i * N, 1, 0);
}

/* A row that is scaled needs no other row's sum. */
static void fold_and_scale(void *arg, const lip_worker *me) {
  fold(arg, me);
  scale_rows(arg, me);
}

static void g(const lip_weight *w, const lip_team *team, const float *V, float *G) {
  job j = make_job(w);
  const size_t n = j.s.n;
  j.V = lip_weight_in_range(w, V, w->tmp, &j.power);
  j.G = G;
  for (j.block = 0; j.block < j.s.blocks; j.block++) {
    lip_team_gram(team, j.s.rows ? LIP_N : LIP_T, n, j.s.m, 1, j.V + j.block * n * j.s.m, w->N, 0,
                  j.A + j.block * n * n, n);
    lip_team_run(team, 2 * (double)(n * n), j.s.rows ? fold_and_scale : fold, &j);
  }
  if (!j.s.rows) lip_team_run(team, (double)(w->M * w->N), scale_rows, &j);
}

/* ---- gradient ---- */

/* dD_a for the columns of a share, each over all rows in order. */
static void columns_back(const job *j, size_t a0, size_t a1) {
  const size_t N = j->w->N, m = j->s.m, top = j->block * m;
  if (j->s.rows) {
    for (size_t a = a0; a < a1; a++) j->dt[a] = (float)lip_vec_dot(j->V + a * N, j->dG + a * N, N);
    return;
  }
  memset(j->dt + a0, 0, (a1 - a0) * sizeof *j->dt);
  for (size_t i = top; i < top + m; i++)
    for (size_t a = a0; a < a1; a++) j->dt[a] += j->V[i * N + a] * j->dG[i * N + a];
}

/* From dD to dt: the taps of a phase share one. */
static void phases_back(const job *j, size_t c) {
  const side *s = &j->s;
  const float *D = j->D + j->block * s->n + c;
  float *dt = j->dt + c;
  for (size_t y = 0; y < s->fy && y < s->ky; y++)
    for (size_t x = 0; x < s->fx && x < s->kx; x++) {
      double sum = 0;
      for (size_t v = y; v < s->ky; v += s->fy)
        for (size_t u = x; u < s->kx; u += s->fx) sum += (double)dt[v * s->kx + u];
      const double d = (double)D[y * s->kx + x];
      for (size_t v = y; v < s->ky; v += s->fy)
        for (size_t u = x; u < s->kx; u += s->fx) dt[v * s->kx + u] = (float)(-0.5 * d * d * d * sum);
    }
}

static void sums_back(void *arg, const lip_worker *me) {
  const job *j = arg;
  const size_t taps = j->s.ky * j->s.kx;
  size_t c, end;
  lip_share(me, j->s.n / taps, taps > 16 ? 1 : 16, &c, &end);
  if (c < end) columns_back(j, c * taps, end * taps);
  for (; c < end; c++) phases_back(j, c * taps);
}

/* The first block's comes with dW D of all. */
static void scale_and_sum(void *arg, const lip_worker *me) {
  if (((const job *)arg)->block == 0) scale_rows(arg, me);
  sums_back(arg, me);
}

static float sign_of(float a) {
  return (float)((a > 0) - (a < 0));
}

static void fill_rows(void *arg, const lip_worker *me) {
  const job *j = arg;
  const size_t n = j->s.n;
  const float *A = j->A + j->block * n * n, *restrict dt = j->dt;
  size_t a, end;
  lip_share(me, n, 1, &a, &end);
  for (; a < end; a++) {
    float *restrict Q = j->Q + a * n;
    const float *restrict row = A + a * n, own = dt[a];
    if (j->s.ky * j->s.kx == 1) /* A is symmetric, bit for bit */
      for (size_t b = 0; b < n; b++) Q[b] = sign_of(row[b]) * (own + dt[b]);
    else
      for (size_t b = 0; b < n; b++) Q[b] = sign_of(row[b]) * own + sign_of(A[b * n + a]) * dt[b];
  }
}

static void pull(const lip_weight *w, const lip_team *team, const float *V, const float *G, float *dG,
                 float *dV, float accumulate) {
  job j = make_job(w);
  const size_t n = j.s.n, m = j.s.m;
  (void)G;
  j.V = lip_weight_in_range(w, V, w->tmp, &j.power);
  j.dG = dG;
  j.dV = dV;
  j.accumulate = accumulate;
  for (j.block = 0; j.block < j.s.blocks; j.block++) {
    const size_t at = j.block * n * m;
    lip_team_run(team, (double)(n * m), scale_and_sum, &j);
    lip_team_run(team, (double)(n * n), fill_rows, &j);
    if (j.s.rows)
      lip_team_gemm(team, LIP_N, LIP_N, n, m, n, j.power, j.Q, n, j.V, w->N, 1, dV, w->N);
    else
      lip_team_gemm(team, LIP_N, LIP_N, m, n, n, j.power, j.V + at, w->N, j.Q, n, 1, dV + at, w->N);
  }
}

/* ---- plain ---- */

/* v[o, column a] of block k. */
static double entry(const lip_weight *w, const side *s, const double *V, size_t k, size_t o, size_t a) {
  return s->rows ? V[a * w->N + o] : V[(k * s->m + o) * w->N + a];
}

/* t of the columns that are read in phase with column a of block k. */
static double wide_sum(const lip_weight *w, const side *s, const double *V, size_t k, size_t a) {
  const size_t taps = s->ky * s->kx, fy = a % taps / s->kx % s->fy, fx = a % s->kx % s->fx;
  double t = 0;
  for (size_t other = 0; other < s->n / taps; other++)
    for (ptrdiff_t ey = 1 - (ptrdiff_t)s->ky; ey < (ptrdiff_t)s->ky; ey++)
      for (ptrdiff_t ex = 1 - (ptrdiff_t)s->kx; ex < (ptrdiff_t)s->kx; ex++) {
        double sum = 0;
        for (size_t y = fy; y < s->ky; y += s->fy)
          for (size_t x = fx; x < s->kx; x += s->fx) {
            const ptrdiff_t y2 = (ptrdiff_t)y + ey, x2 = (ptrdiff_t)x + ex;
            if (y2 < 0 || x2 < 0 || y2 >= (ptrdiff_t)s->ky || x2 >= (ptrdiff_t)s->kx) continue;
            for (size_t o = 0; o < s->m; o++)
              sum += entry(w, s, V, k, o, a / taps * taps + y * s->kx + x) *
                     entry(w, s, V, k, o, other * taps + (size_t)y2 * s->kx + (size_t)x2);
          }
        t += fabs(sum);
      }
  return t;
}

static lip_status wide(const lip_weight *w, const double *V, double *G) {
  const side s = side_of(w);
  for (size_t k = 0; k < s.blocks; k++)
    for (size_t a = 0; a < s.n; a++) {
      const double t = wide_sum(w, &s, V, k, a), d = t == 0 ? 0 : 1 / sqrt(t);
      for (size_t o = 0; o < s.m; o++)
        G[s.rows ? a * w->N + o : (k * s.m + o) * w->N + a] = d * entry(w, &s, V, k, o, a);
    }
  return LIP_OK;
}

const lip_parametrisation lip_weight_aol = {
    .desc = {"aol", "almost orthogonal: columns scaled by sums of |V'V| (step 2->2)", NULL, 0},
    .flags = LIP_WEIGHT_BOUNDED,
    .plan = plan,
    .g = g,
    .pull = pull,
    .wide = wide,
};
