/* nonnegative: W = |V|, and what the norm limits scaled into its unit ball: for p->inf every row r by 1 / max(1, ||r||_p*),
 * p* the dual of p, else (1->q) every column by its norm in q. So y never falls when an input rises.
 *
 * Of the ways into the ball this is the one that leaves no number without a gradient (the nearest point would make the smaller
 * half of a row 0, and what is 0 stays so); it is that of Kitouni et al. 2023.
 *
 *   r = |v|, n = ||r||, w = r / n where n > 1:   dr = (dw - (dn/dr) <w, dw>) / n,   dv = sign(v) dr
 *   dn/dr: 1 (norm 1), r / n (norm 2), 1 at the first largest entry (norm inf)
 *
 * The step 2->2 has no such form: refused. */
#include <math.h>

#include "core/layer/parametrisation.h"

typedef struct job {
  const lip_weight *w;
  const float *V, *G, *dG;
  float *out; /* G or dV */
  float accumulate;
} job;

/* What is limited: pieces of so many entries so far apart. */
typedef struct pieces {
  size_t n, length, step, next;
  lip_p norm;
} pieces;

static pieces pieces_of(const lip_weight *w) {
  if (w->pq.q == LIP_PINF) return (pieces){w->M, w->N, 1, w->N, lip_p_dual(w->pq.p)};
  return (pieces){w->N, w->M, w->N, 1, w->pq.q};
}

static lip_status plan(lip_weight *w, lip_err *err) {
  if (w->pq.q == LIP_PINF || w->pq.p == LIP_P1) return LIP_OK;
  return lip_fail(err, LIP_UNSUPPORTED,
                  "scales rows or columns, which the steps p->inf and 1->q limit; this step is %s",
                  lip_pq_name(w->pq));
}

/* max(1, norm), and in *at where the first largest entry is. */
static double length_of(const pieces *p, const float *v, size_t *at) {
  double sum = 0, most = 0;
  *at = 0;
  for (size_t i = 0; i < p->length; i++) {
    const double a = fabs((double)v[i * p->step]);
    if (a > most) *at = i, most = a;
    sum += p->norm == LIP_P2 ? a * a : a;
  }
  if (isnan(sum)) return NAN;
  const double norm = p->norm == LIP_PINF ? most : p->norm == LIP_P2 ? sqrt(sum) : sum;
  return norm > 1 ? norm : 1;
}

static void pieces_of_g(void *arg, const lip_worker *me) {
  const job *j = arg;
  const pieces p = pieces_of(j->w);
  size_t k, end, at;
  lip_share(me, p.n, 16, &k, &end);
  for (; k < end; k++) {
    const float *v = j->V + k * p.next;
    const double a = 1 / length_of(&p, v, &at);
    for (size_t i = 0; i < p.length; i++)
      j->out[k * p.next + i * p.step] = (float)(a * fabs((double)v[i * p.step]));
  }
}

static void g(const lip_weight *w, const lip_team *team, const float *V, float *G) {
  job j = {.w = w, .V = V, .out = G};
  lip_team_run(team, 4 * (double)(w->M * w->N), pieces_of_g, &j);
}

/* dn/dr of entry i, r / n given. */
static double slope(const pieces *p, size_t i, size_t at, double r) {
  return p->norm == LIP_P1 ? 1 : p->norm == LIP_P2 ? r : i == at;
}

static void pieces_of_pull(void *arg, const lip_worker *me) {
  const job *j = arg;
  const pieces p = pieces_of(j->w);
  size_t k, end, at;
  lip_share(me, p.n, 16, &k, &end);
  for (; k < end; k++) {
    const size_t first = k * p.next;
    const double n = length_of(&p, j->V + first, &at);
    double along = 0;
    for (size_t i = first; n != 1 && i < first + p.length * p.step; i += p.step)
      along += (double)j->G[i] * (double)j->dG[i];
    for (size_t i = 0; i < p.length; i++) {
      const size_t e = first + i * p.step;
      double d = ((double)j->dG[e] - slope(&p, i, at, (double)j->G[e]) * along) / n;
      if (j->V[e] < 0) d = -d;
      j->out[e] = (float)(j->accumulate != 0 ? (double)j->out[e] + d : d);
    }
  }
}

static void pull(const lip_weight *w, const lip_team *team, const float *V, const float *G, float *dG,
                 float *dV, float accumulate) {
  job j = {w, V, G, dG, dV, accumulate};
  lip_team_run(team, 6 * (double)(w->M * w->N), pieces_of_pull, &j);
}

static lip_status wide(const lip_weight *w, const double *V, double *G) {
  const pieces p = pieces_of(w);
  for (size_t k = 0; k < p.n; k++) {
    double sum = 0, square = 0, most = 0;
    for (size_t i = 0; i < p.length; i++) {
      const double a = fabs(V[k * p.next + i * p.step]);
      sum += a;
      square += a * a;
      most = fmax(most, a);
    }
    const double norm = p.norm == LIP_P1 ? sum : p.norm == LIP_P2 ? sqrt(square) : most;
    for (size_t i = 0; i < p.length; i++)
      G[k * p.next + i * p.step] = fabs(V[k * p.next + i * p.step]) / fmax(norm, 1);
  }
  return LIP_OK;
}

const lip_parametrisation lip_weight_nonnegative = {
    .desc = {"nonnegative", "|V|, rows or columns scaled into their ball (steps p->inf, 1->q)", NULL, 0},
    .flags = LIP_WEIGHT_BOUNDED | LIP_WEIGHT_IDEMPOTENT,
    .plan = plan,
    .g = g,
    .pull = pull,
    .wide = wide,
};
