/* Multipliers in closed form from the input forwards (ECLipsE-Fast, Xu, Sivaranjani 2024, for slopes of any sign), beside those
 * from the output backwards of eliminate.c: of the two now the one and now the other has the smaller rho, by a tenth or so.
 *
 * If |x|^2 >= y'X y for the outputs y of a block, then |x|^2 >= z'S^-1 z for z = A y, S = A X^-1 A'. With multipliers lambda,
 * slopes in [m - h, m + h], D = diag(lambda (m^2 - h^2)) and N = (S^-1 + D)^-1,
 *   min_z z'S^-1 z - sum_k lambda_k (y_k - (m_k - h_k) z_k) ((m_k + h_k) z_k - y_k)
 *     = min_z z'(S^-1 + D) z - 2 y' diag(lambda m) z + y' diag(lambda) y = y'X+ y,
 *   X+ = diag(lambda) - diag(lambda m) N diag(lambda m),
 * where S^-1 + D is positive definite. With s = ||S||, lambda_k = (1 + |m_k| / h_k) / (s (|m_k| + h_k)^2) leaves every unit by itself
 * 1 / (s (|m_k| + h_k)^2): t - m^2 t^2 / (1 + (m^2 - h^2) t) for t = s lambda has its maximum there; for slopes in [0, 1] it is
 * lambda = 2 / s. At the end |Vy|^2 <= rho |x|^2 with rho = ||V X^-1 V'||, and in the form of lmi.h, where |Vy|^2 has the factor
 * 1, all multipliers are rho times these. N without inverses, diagonal by diagonal of one sign: with W = |D|^1/2 and the sign g
 * of D, N = S - S W (g + W S W)^-1 W S. None of this but rho depends on the target. */
#include <math.h>
#include <string.h>

#include "core/bound/eliminate_parts.h"
#include "core/norm/symmetric.h"

typedef lip_elim_block stage;

/* Multipliers stay by so much of themselves away from a singular S^-1 + D. */
static const double ROOM = LIP_ELIM_ROOM;

/* G = S of a block, mirrored, from the factor of X before it (NULL: of the input, X = 1). */
static void make_S(stage *s, const double *X, double *G) {
  for (size_t p = 0; p < s->M; p++)
    for (size_t i = 0; i < s->N; i++) s->H[p * s->N + i] = s->At[i * s->M + p];
  if (X) lip_sym_solve_rows(s->H, s->N, s->M, X, s->N);
  memset(G, 0, s->M * s->M * sizeof *G);
  lip_sym_add_gram(G, s->M, s->H, s->N, s->N);
  lip_sym_mirror(G, s->M);
}

/* G = S becomes N; T (M, M) is working memory. False: S^-1 + D is not definite, or D has both signs. */
static bool bend(const stage *s, const double *lambda, double *G, double *T, double *w) {
  size_t M = s->M;
  double sign = 0;
  for (size_t k = 0; k < M; k++) {
    double d = lambda[k] * (s->mid[k] * s->mid[k] - s->half[k] * s->half[k]);
    if (d * sign < 0) return false;
    if (d != 0) sign = d;
    w[k] = sqrt(fabs(d));
  }
  if (sign == 0) return true;
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < M; j++) T[i * M + j] = (i == j) + (sign > 0 ? 1 : -1) * w[i] * G[i * M + j] * w[j];
  if (!lip_sym_cholesky(T, M)) return false;
  double *H = s->Q; /* S W (factor)^-T, whose square is what N lacks, times the sign */
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < M; j++) H[i * M + j] = G[i * M + j] * w[j];
  lip_sym_solve_rows(H, M, M, T, M);
  memset(T, 0, M * M * sizeof *T);
  lip_sym_add_gram(T, M, H, M, M);
  lip_sym_mirror(T, M);
  for (size_t i = 0; i < M * M; i++) G[i] -= sign > 0 ? T[i] : -T[i];
  return true;
}

/* Multipliers of a block for its S, into lambda; padding gets 1. False: S is 0 or not finite. */
static bool choose(lip_elim *e, const stage *s, const double *S, double *lambda) {
  double top;
  memset(s->z, 0, s->M * sizeof *s->z);
  lip_leading(S, s->M, 1, &top, s->z, 1e-10, e->work);
  if (!(top > 0 && top < INFINITY)) return false;
  for (size_t k = 0; k < s->M; k++) {
    double m = fabs(s->mid[k]), h = s->half[k];
    lambda[k] = h > 0 ? (1 - ROOM) * (1 + m / h) / (top * (m + h) * (m + h)) : 1;
  }
  return true;
}

/* All blocks, whose multipliers for rho = 1 go to e->forward; the factor of the last X stays in e->X[0]. */
static bool go_forward(lip_elim *e) {
  const double *X = NULL;
  for (size_t l = 0; l < e->n; l++) {
    stage *s = &e->stage[l];
    double *lambda = e->forward + s->at, *G = e->X[1];
    size_t M = s->M;
    if (lip_cancel_raised(e->cancel)) return false;
    make_S(s, X, G);
    if (!choose(e, s, G, lambda) || !bend(s, lambda, G, s->P, s->y)) return false;
    for (size_t i = 0; i < M; i++)
      for (size_t j = 0; j <= i; j++)
        e->X[0][i * M + j] =
            (i == j ? lambda[i] : 0) - lambda[i] * s->mid[i] * G[i * M + j] * s->mid[j] * lambda[j];
    if (!lip_sym_cholesky(e->X[0], M)) return false;
    X = e->X[0];
  }
  return true;
}

double lip_elim_forward(lip_elim *e, double *lambda) {
  if (!e->forward) return INFINITY;
  if (e->forward_is == LIP_FORWARD_UNKNOWN)
    e->forward_is = go_forward(e) ? LIP_FORWARD_MADE : LIP_FORWARD_NONE;
  if (e->forward_is == LIP_FORWARD_NONE) return INFINITY;
  const stage *s = &e->stage[e->n - 1];
  double rho;
  memcpy(e->W, e->V, e->rows * e->last * sizeof *e->W);
  lip_sym_solve_rows(e->W, e->last, e->rows, e->X[0], s->M);
  memset(e->S, 0, e->rows * e->rows * sizeof *e->S);
  lip_sym_add_gram(e->S, e->rows, e->W, e->last, e->last);
  lip_sym_mirror(e->S, e->rows);
  memset(e->s, 0, e->R * sizeof *e->s);
  lip_leading(e->S, e->rows, 1, &rho, e->s, 1e-12, e->work);
  if (!(rho > 0 && rho < INFINITY)) return INFINITY;
  for (size_t k = 0; k < e->count; k++) lambda[k] = rho * (1 + ROOM) * e->forward[k];
  for (size_t l = 0; l < e->n; l++)
    for (size_t p = 0; p < e->stage[l].F; p++)
      if (!(e->stage[l].half[p] > 0)) lambda[e->stage[l].at + p] = 1;
  return rho;
}
