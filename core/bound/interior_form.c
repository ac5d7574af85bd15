/* The inequality of lmi.h as one matrix in the units of unknown slope and the inputs, for interior.c. With b_k the row of z_k,
 *   S = sum_k v_k E_k - V'V,   E_k = e_k e_k' - m_k (e_k b_k' + b_k e_k') + low_k high_k b_k b_k',   m_k = (low_k + high_k) / 2
 * for a multiplier, E_j = e_j e_j' for the weight of an input, the sum of these where the input has one for all. Units of
 * known slope are put in. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/bound/interior_parts.h"
#include "core/norm/symmetric.h"

typedef lip_elim_block stage;

static size_t padded(size_t n) {
  return (n + LIP_PAD - 1) / LIP_PAD * LIP_PAD;
}

static double *take(lip_interior *t, size_t m, size_t n) {
  size_t all;
  bool fits = lip_mul_fits(m ? m : 1, n ? n : 1, &all);
  void *p = t->failed || !fits || t->n_owned == LIP_INTERIOR_OWNED ? NULL : lip_alloc(all, sizeof(double));
  if (!p)
    t->failed = true;
  else
    t->owned[t->n_owned++] = p;
  if (p) memset(p, 0, all * sizeof(double));
  return p;
}

/* Whether most of the first matrix is 0, as in a convolution, whose singular values come in large groups. */
static bool sparse(const lip_elim *e) {
  const lip_block *b = &e->a->block[0];
  size_t zeros = 0;
  for (size_t i = 0; i < b->M * b->N; i++) zeros += lip_block_weight(b, i) == 0;
  return 2 * zeros > b->M * b->N;
}

/* It was found to end up to 60 % above the optimum where few inputs meet wide layers and where many layers follow each other;
 * within 0.5 % elsewhere, but for convolutions whose patches do not overlap. Of large convolutions patience gains nothing. */
bool lip_interior_needed(const lip_elim *e) {
  enum { DEEP = 5, WIDE = 4 };
  size_t wide = 0;
  for (size_t l = 0; l < e->n; l++) wide = e->stage[l].M > wide ? e->stage[l].M : wide;
  return WIDE * e->a->n_in <= wide || (e->n >= DEEP && !sparse(e));
}

bool lip_interior_pays(const lip_elim *e) {
  enum { MOST = 1024, FEW = 96, MOST_SPARSE = 512 };
  size_t size = e->count + (e->weighted ? e->n_in : e->in);
  if (size > MOST || e->count == 0) return false;
  return size <= FEW || lip_interior_needed(e) || (size <= MOST_SPARSE && sparse(e));
}

/* ---- what does not depend on the target ---- */

/* y of unit p of a level as a row over all unknowns: a unit of its own, or what z says (slopes are in z). */
static void add_unit(const lip_interior *t, const stage *s, const double *z, size_t p, double by,
                     double *row) {
  if (p < s->F)
    row[t->in + s->at + p] += by;
  else
    lip_sym_axpy(row, by, z + p * t->N, t->N);
}

/* z (M, N) of level l from those of the level before. */
static void fill_level(lip_interior *t, size_t l, const double *before, double *z) {
  const lip_elim *e = t->e;
  const stage *s = &e->stage[l];
  memset(z, 0, s->M * t->N * sizeof *z);
  for (size_t p = 0; p < s->M; p++) {
    double *row = z + p * t->N;
    if (s->unit[p] == UINT32_MAX) continue;
    if (l == 0) {
      for (size_t i = 0; i < t->in; i++) row[i] = t->weighted ? e->A[p * e->n_in + i] : s->At[i * s->M + p];
      continue;
    }
    for (size_t i = 0; i < s->N; i++) {
      double a = s->At[i * s->M + p];
      if (a != 0) add_unit(t, s - 1, before, i, a, row);
    }
  }
}

static bool fill_levels(lip_interior *t) {
  const lip_elim *e = t->e;
  size_t wide = 0;
  for (size_t l = 0; l < e->n; l++) wide = e->stage[l].M > wide ? e->stage[l].M : wide;
  double *z = lip_alloc(wide * t->N, sizeof *z), *before = lip_alloc(wide * t->N, sizeof *before);
  bool good = z && before;
  for (size_t l = 0; good && l < e->n; l++) {
    const stage *s = &e->stage[l];
    double *swap = before;
    before = z;
    z = swap;
    fill_level(t, l, z, before); /* `before` is now that of this level */
    memcpy(t->Z0 + s->at * t->N, before, s->F * t->N * sizeof *z);
    if (l + 1 == e->n) memcpy(t->Y0, before + s->F * t->N, (s->M - s->F) * t->N * sizeof *z);
  }
  lip_free(z);
  lip_free(before);
  return good;
}

static void fill_shape(lip_interior *t) {
  const lip_elim *e = t->e;
  for (size_t i = 0; i < t->in; i++) {
    bool unit = e->compress && !t->weighted;
    t->live[i] = unit ? e->stage[0].unit[i] != UINT32_MAX : i < e->a->n_in;
    t->count += t->live[i];
  }
  for (size_t l = 0; l < e->n; l++) {
    const stage *s = &e->stage[l];
    for (size_t p = 0; p < s->F; p++) {
      size_t k = s->at + p;
      t->live[t->in + k] = s->unit[p] != UINT32_MAX;
      t->count += 2 * t->live[t->in + k];
      t->low[k] = s->mid[p] - s->half[p];
      t->high[k] = s->mid[p] + s->half[p];
    }
    t->spread |= s->M > s->F;
    t->from[l] = l == 0 ? 0 : t->in + s[-1].at;
    t->until[l] = t->in + s->at;
  }
  for (size_t l = 1; t->spread && l < e->n; l++) t->from[l] = 0;
}

static void take_all(lip_interior *t) {
  size_t N = t->N, F = t->F, R = t->e->R;
  const stage *last = &t->e->stage[t->e->n - 1];
  t->Z0 = take(t, F, N);
  t->Y0 = take(t, last->M - last->F, N);
  t->low = take(t, F, 1);
  t->high = take(t, F, 1);
  t->Z = take(t, F, N);
  t->Zt = take(t, N, F);
  t->VV = take(t, N, N);
  t->V = take(t, N, R);
  double **vectors[] = {&t->scale, &t->cost, &t->start, &t->v,     &t->w,
                        &t->dv,    &t->dw,   &t->rhs,   &t->trace, &t->bend};
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) *vectors[i] = take(t, N + t->k, 1);
  double **matrices[] = {&t->S, &t->T, &t->X, &t->dS, &t->dX, &t->second, &t->G, &t->Y};
  for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) *matrices[i] = take(t, N, N);
  for (int i = 0; i < 2; i++) {
    t->P[i] = take(t, F, N);
    t->C[i] = take(t, F, F);
  }
  t->B = take(t, t->k, t->k);
}

lip_status lip_interior_new(const lip_elim *e, lip_interior **out, lip_err *err) {
  *out = NULL;
  lip_interior *t = lip_alloc(1, sizeof *t);
  if (t) {
    memset(t, 0, sizeof *t);
    t->e = e;
    t->weighted = e->weighted;
    t->in = t->weighted ? e->n_in : e->in;
    t->F = e->count;
    t->N = t->in + t->F;
    t->m = t->weighted ? e->a->n_in : 1;
    t->k = padded(t->F + t->m);
    t->from = lip_alloc(e->n, sizeof *t->from);
    t->until = lip_alloc(e->n, sizeof *t->until);
    t->live = lip_alloc(t->N, 1);
    t->failed = !t->from || !t->until || !t->live;
    take_all(t);
    if (!t->failed) {
      memset(t->live, 0, t->N);
      fill_shape(t);
      t->failed = !fill_levels(t);
    }
  }
  if (!t || t->failed) {
    lip_interior_free(t);
    return lip_fail(err, LIP_MEMORY, "out of memory for the multipliers of a net");
  }
  *out = t;
  return LIP_OK;
}

void lip_interior_free(lip_interior *t) {
  if (!t) return;
  while (t->n_owned) lip_free(t->owned[--t->n_owned]);
  lip_free(t->from);
  lip_free(t->until);
  lip_free(t->live);
  lip_free(t);
}

/* ---- the target at hand ---- */

/* Rows of the last matrix over all unknowns, scaled, as columns of V. */
static void load_rows(lip_interior *t) {
  const lip_elim *e = t->e;
  const stage *s = &e->stage[e->n - 1];
  double *row = t->Y;
  memset(t->V, 0, t->N * e->R * sizeof *t->V);
  for (size_t r = 0; r < e->rows; r++) {
    memset(row, 0, t->N * sizeof *row);
    for (size_t p = 0; p < s->M; p++) {
      double a = e->V[r * e->last + p];
      if (a == 0) continue;
      if (p < s->F)
        row[t->in + s->at + p] += a;
      else
        lip_sym_axpy(row, a, t->Y0 + (p - s->F) * t->N, t->N);
    }
    for (size_t i = 0; i < t->N; i++) t->V[i * e->R + r] = row[i] * t->scale[i];
  }
  memset(t->VV, 0, t->N * t->N * sizeof *t->VV);
  lip_sym_add_gram(t->VV, t->N, t->V, e->R, e->R);
  lip_sym_mirror(t->VV, t->N);
}

bool lip_interior_load(lip_interior *t, const double *lambda, const double *d, double rho) {
  size_t F = t->F, N = t->N;
  double sum = 0;
  for (size_t j = 0; j < t->m; j++) sum += t->start[F + j] = t->weighted ? rho * d[j] : rho;
  for (size_t i = 0; i < N; i++) {
    double start = i >= t->in ? lambda[i - t->in] : t->start[F + (t->weighted && t->live[i] ? i : 0)];
    if (!t->live[i]) start = 1;
    if (i >= t->in) t->start[i - t->in] = start;
    t->scale[i] = 1 / sqrt(start);
    if (!(t->scale[i] > 0 && t->scale[i] < INFINITY)) return false;
  }
  for (size_t k = 0; k < F + t->m; k++) {
    t->v[k] = 1;
    t->cost[k] = k < F ? 0 : t->start[k] / sum;
  }
  for (size_t k = 0; k < F; k++)
    for (size_t i = 0; i < N; i++) {
      double z = t->Z0[k * N + i] * t->scale[i] / t->scale[t->in + k];
      if (!isfinite(z)) return false;
      t->Z[k * N + i] = t->Zt[i * F + k] = z;
    }
  load_rows(t);
  return true;
}

void lip_interior_assemble(lip_interior *t, const double *v, bool whole, double *S) {
  size_t N = t->N, in = t->in;
  const lip_elim *e = t->e;
  memset(S, 0, N * N * sizeof *S);
  for (size_t l = 0; l < e->n; l++) {
    const stage *s = &e->stage[l];
    if (!s->bent) continue;
    double *A = t->Y; /* (until, F of the level) */
    for (size_t i = 0; i < t->until[l]; i++)
      for (size_t p = 0; p < s->F; p++) {
        size_t k = s->at + p;
        A[i * s->F + p] = v[k] * t->low[k] * t->high[k] * t->Zt[i * t->F + k];
      }
    size_t from = t->from[l];
    /* the square of columns from..until, in place */
    double *G = t->G;
    size_t wide = t->until[l] - from;
    memset(G, 0, wide * wide * sizeof *G);
    lip_sym_add_product(G, wide, A + from * s->F, s->F, t->Zt + from * t->F + s->at, t->F, s->F);
    for (size_t i = 0; i < wide; i++)
      for (size_t j = 0; j <= i; j++) S[(from + i) * N + from + j] += G[i * wide + j];
  }
  for (size_t k = 0; k < t->F; k++) {
    if (!t->live[in + k]) continue;
    double by = -v[k] * (t->low[k] + t->high[k]) / 2, *row = S + (in + k) * N;
    if (by != 0) lip_sym_axpy(row, by, t->Z + k * N, N); /* z depends on unknowns before k alone */
    row[in + k] += v[k];
  }
  for (size_t i = 0; i < in; i++)
    if (t->live[i]) S[i * N + i] += v[t->F + (t->weighted ? i : 0)];
  for (size_t i = 0; whole && i < N; i++) {
    if (!t->live[i]) S[i * N + i] = 1;
    for (size_t j = 0; j <= i; j++) S[i * N + j] -= t->VV[i * N + j];
  }
  lip_sym_mirror(S, N);
}

void lip_interior_rows(const lip_interior *t, const double *M, double *P) {
  for (size_t l = 0; l < t->e->n; l++) {
    const stage *s = &t->e->stage[l];
    size_t from = t->from[l];
    if (s->F == 0) continue;
    lip_sym_multiply(P + s->at * t->N, t->N, t->Z + s->at * t->N + from, t->N, s->F, M + from, t->N, t->N,
                     t->until[l] - from);
  }
}

void lip_interior_square(const lip_interior *t, const double *P, double *C) {
  for (size_t l = 0; l < t->e->n; l++) {
    const stage *s = &t->e->stage[l];
    size_t from = t->from[l];
    if (s->F == 0) continue;
    lip_sym_multiply(C + s->at, t->F, P + from, t->N, t->F, t->Z + s->at * t->N + from, t->N, s->F,
                     t->until[l] - from);
  }
}

/* Rows of level l of D are 0 outside of its own z, itself and the level that follows. */
void lip_interior_times(const lip_interior *t, const double *M, const double *D, double *Y) {
  size_t N = t->N;
  for (size_t l = 0; l <= t->e->n; l++) { /* l = 0: the inputs */
    size_t at = l ? t->in + t->e->stage[l - 1].at : 0, wide = l ? t->e->stage[l - 1].F : t->in;
    size_t from = l ? t->from[l - 1] : 0, until = at + wide;
    if (l < t->e->n) until += t->e->stage[l].F;
    if (t->spread) from = 0, until = N;
    if (wide == 0) continue;
    lip_sym_multiply(Y + at, N, M + from, N, N, D + at * N + from, N, wide, until - from);
  }
}

void lip_interior_traces(const lip_interior *t, const double *M, const double *P, double *out) {
  size_t N = t->N, F = t->F;
  for (size_t k = 0; k < F; k++) {
    size_t i = t->in + k;
    double zz = lip_sym_dot(P + k * N, t->Z + k * N, N);
    out[k] = M[i * N + i] - (t->low[k] + t->high[k]) * P[k * N + i] + t->low[k] * t->high[k] * zz;
    if (!t->live[i]) out[k] = 0;
  }
  for (size_t j = 0; j < t->m; j++) out[F + j] = 0;
  for (size_t i = 0; i < t->in; i++)
    if (t->live[i]) out[F + (t->weighted ? i : 0)] += M[i * N + i];
}
