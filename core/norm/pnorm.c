#include "core/norm/pnorm.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/norm/round.h"
#include "core/norm/rows.h"

static const char *const names[] = {"1", "2", "inf"};

const char *lip_p_name(lip_p p) {
  return names[p];
}

/* Compares n characters of `text` with `word`, whatever the case. */
static bool same(const char *text, size_t n, const char *word) {
  if (strlen(word) != n) return false;
  for (size_t i = 0; i < n; i++)
    if (tolower((unsigned char)text[i]) != word[i]) return false;
  return true;
}

static bool parse_p(const char *text, size_t n, lip_p *p) {
  while (n > 0 && isspace((unsigned char)*text)) text++, n--;
  while (n > 0 && isspace((unsigned char)text[n - 1])) n--;
  if (n > 1 && (*text == 'l' || *text == 'L')) text++, n--;
  if (same(text, n, "1")) return *p = LIP_P1, true;
  if (same(text, n, "2")) return *p = LIP_P2, true;
  if (same(text, n, "inf") || same(text, n, "infinity")) return *p = LIP_PINF, true;
  return false;
}

lip_status lip_p_parse(const char *text, lip_p *p, lip_err *err) {
  if (parse_p(text, strlen(text), p)) return LIP_OK;
  return lip_fail(err, LIP_OPTION, "a norm is 1, 2 or inf, got '%.40s'", text);
}

lip_p lip_p_dual(lip_p p) {
  return p == LIP_P1 ? LIP_PINF : p == LIP_P2 ? LIP_P2 : LIP_P1;
}

const char *lip_pq_name(lip_pq pq) {
  static const char *const table[3][3] = {
      {"1->1", "1->2", "1->inf"}, {"2->1", "2->2", "2->inf"}, {"inf->1", "inf->2", "inf->inf"}};
  return table[pq.p][pq.q];
}

bool lip_pq_tractable(lip_pq pq) {
  return pq.q >= pq.p;
}

lip_status lip_pq_check(lip_pq pq, lip_err *err) {
  if (lip_pq_tractable(pq)) return LIP_OK;
  return lip_fail(
      err, LIP_UNSUPPORTED,
      "the operator norm %s is NP-hard to compute (Rohn 2000; Steinberg 2005): along a path of norms "
      "each one must be at least the one before it (1, then 2, then inf)",
      lip_pq_name(pq));
}

lip_status lip_path_parse(const char *text, lip_path *path, lip_err *err) {
  lip_path out = {.n = 0};
  for (const char *at = text;;) {
    const char *arrow = strstr(at, "->");
    size_t n = arrow ? (size_t)(arrow - at) : strlen(at);
    if (out.n == LIP_MAX_PATH)
      return lip_fail(err, LIP_OPTION, "a path of norms has at most %d places", LIP_MAX_PATH);
    if (!parse_p(at, n, &out.p[out.n]))
      return lip_fail(err, LIP_OPTION,
                      "norms are 1, 2 and inf, a path of them is like \"1->inf\", got '%.80s'", text);
    out.n++;
    if (out.n > 1) {
      lip_status st = lip_pq_check((lip_pq){out.p[out.n - 2], out.p[out.n - 1]}, err);
      if (st != LIP_OK) return st;
    }
    if (!arrow) break;
    at = arrow + 2;
  }
  *path = out;
  return LIP_OK;
}

lip_p lip_path_at(const lip_path *path, size_t i) {
  return path->p[i < path->n ? i : path->n - 1];
}

lip_pq lip_path_step(const lip_path *path, size_t i) {
  return (lip_pq){lip_path_at(path, i), lip_path_at(path, i + 1)};
}

const char *lip_path_text(const lip_path *path, char *buf, size_t size) {
  size_t len = 0;
  if (size == 0) return buf;
  buf[0] = 0;
  for (size_t i = 0; i < path->n && len < size; i++) {
    int n = snprintf(buf + len, size - len, "%s%s", i ? "->" : "", lip_p_name(path->p[i]));
    if (n < 0) break;
    len += (size_t)n;
  }
  return buf;
}

double lip_norm_upper(const float *x, size_t n, lip_p p) {
  lip_interval v = lip_row_norm(x, n, p);
  return v.high;
}

/* Doubles: terms of the 2-norm are scaled by a power of two near the largest, so that no square overflows and what
 * underflows is far below the rounding allowed for. */
double lip_norm_upper_d(const double *x, size_t n, lip_p p) {
  double top = 0, sum = 0;
  int e = 0;
  for (size_t i = 0; i < n; i++) {
    double a = fabs(x[i]);
    if (!isfinite(a)) return INFINITY;
    if (a > top) top = a;
  }
  if (p == LIP_PINF || top == 0 || n == 1) return top;
  (void)frexp(top, &e);
  /* scaled terms are < 1 and one of them is >= 1/2; the sum of n of them is below 2^64 */
  for (size_t i = 0; i < n; i++) {
    double a = ldexp(fabs(x[i]), -e);
    sum += p == LIP_P1 ? a : a * a;
  }
  /* at most n roundings and, per term, an underflow of 2^-1074 */
  sum = lip_up(lip_up(sum * (1 + 2 * lip_gamma(n + 1))) + (double)n * 0x1p-1000);
  if (p == LIP_P2) sum = lip_sqrt_up(sum);
  double out = ldexp(sum, e);
  /* a denormal result may have been rounded to nearest */
  return out < 0x1p-1000 ? lip_up(out) : out;
}

double lip_norm(const float *x, size_t n, lip_p p) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    double a = fabs((double)x[i]);
    if (isnan(a)) return NAN;
    if (p == LIP_PINF)
      sum = a > sum ? a : sum;
    else
      sum += p == LIP_P1 ? a : a * a;
  }
  return p == LIP_P2 ? sqrt(sum) : sum;
}
