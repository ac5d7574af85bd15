/* What does not depend on a region: the matrices of blocks in double, over sums and differences of pairs. Rows with few
 * numbers (units that pass, moves, sums, pools, convolutions) are kept without their zeros; those that have them in the
 * same columns, as all channels of a convolution at one place, share one list of columns. */
#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/cert/relax_parts.h"

/* Numbers in all; few: at most one in so many; the largest block whose products of rows are taken, which costs about as
 * much as one region. */
enum { MOST = 1 << 25, PART = 4, GRAM = 1024 };

static size_t mate_of(const lip_block *b, size_t k) {
  return b->mate ? b->mate[k] : k;
}

/* ---- which columns a row has numbers in ---- */

enum { SCAN = 16 };

/* Columns i .. i+n-1 in which v or w has a number (NaN is one); none if all are zero, which is seen at once. */
LIP_INLINE size_t scan(const float *v, const float *w, size_t i, size_t n, uint32_t *at) {
  bool any = false;
  size_t found = 0;
  for (size_t j = 0; j < n; j++) any |= (v[i + j] != 0) | (w[i + j] != 0);
  for (size_t j = 0; any && j < n; j++)
    if (v[i + j] != 0 || w[i + j] != 0) at[found++] = (uint32_t)(i + j);
  return found;
}

/* All such columns into `at` (N), or more than `most` of them: then not all. */
LIP_HOT static size_t float_columns(const float *v, const float *w, size_t N, size_t most, uint32_t *at) {
  size_t n = 0, i = 0;
  for (; i + SCAN <= N && n <= most; i += SCAN) n += scan(v, w, i, SCAN, at + n);
  if (n <= most) n += scan(v, w, i, N - i, at + n);
  return n;
}

/* The same of rows k and m of a block. */
static size_t columns_of(const lip_block *b, size_t k, size_t m, size_t most, uint32_t *at) {
  size_t N = b->N, n = 0;
  if (!b->fold) return float_columns(b->W + k * N, b->W + m * N, N, most, at);
  for (size_t i = 0; i < N && n <= most; i++)
    if (b->fold->W[k * N + i] != 0 || b->fold->W[m * N + i] != 0) at[n++] = (uint32_t)i;
  return n;
}

/* ---- lists of columns, each once ---- */

typedef struct lists {
  slab *s;
  size_t room, room_columns; /* of column0 and column */
  uint32_t *slot;            /* (slots) patterns by hash, + 1; 0: free */
  size_t slots;              /* a power of two, more than M */
  uint32_t *at;              /* (N) one list */
} lists;

static bool lists_init(lists *t, slab *s) {
  *t = (lists){.s = s, .room = 1, .room_columns = 1, .slots = 2};
  while (t->slots < 2 * s->M) t->slots *= 2;
  t->slot = lip_alloc(t->slots, sizeof *t->slot);
  t->at = lip_alloc(s->N, sizeof *t->at);
  s->column0 = lip_alloc(1, sizeof *s->column0);
  s->column = lip_alloc(1, sizeof *s->column);
  return t->slot && t->at && s->column0 && s->column;
}

static void lists_free(lists *t) {
  lip_free(t->slot);
  lip_free(t->at);
}

static size_t hash_of(const uint32_t *at, size_t n) {
  uint64_t h = n;
  for (size_t i = 0; i < n; i++) {
    h = (h ^ at[i]) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 29;
  }
  return (size_t)h;
}

/* The block with room for `need` of them, grown by half; NULL: no memory, it stays as it was. */
static void *grown(void *block, size_t *room, size_t need, size_t size) {
  if (need <= *room) return block;
  void *now = lip_realloc(block, need + need / 2, size);
  if (now) *room = need + need / 2;
  return now;
}

/* The pattern of the n columns in t->at, added when it is new. False: no memory. */
static bool pattern_of(lists *t, size_t n, uint32_t *out) {
  slab *s = t->s;
  size_t mask = t->slots - 1, i = hash_of(t->at, n) & mask;
  for (; t->slot[i]; i = (i + 1) & mask) {
    size_t p = t->slot[i] - 1, from = s->column0[p];
    if (s->column0[p + 1] - from != n) continue;
    if (memcmp(s->column + from, t->at, n * sizeof *t->at) == 0) {
      *out = (uint32_t)p;
      return true;
    }
  }
  size_t from = s->column0[s->patterns];
  uint32_t *column = grown(s->column, &t->room_columns, from + n, sizeof *column);
  if (!column) return false;
  s->column = column;
  size_t *column0 = grown(s->column0, &t->room, s->patterns + 2, sizeof *column0);
  if (!column0) return false;
  s->column0 = column0;
  memcpy(column + from, t->at, n * sizeof *t->at);
  s->column0[s->patterns + 1] = from + n;
  *out = (uint32_t)s->patterns++;
  t->slot[i] = *out + 1;
  return true;
}

/* Patterns and places of all rows, both of a pair with the columns of either. *numbers counts on; false: no memory, or
 * more than MOST. */
static bool find_patterns(lists *t, const lip_block *b, size_t *numbers) {
  slab *s = t->s;
  for (size_t k = 0; k < s->M; k++) {
    size_t m = mate_of(b, k), n = s->N;
    if (m < k && s->pattern[m] == LIP_FULL) {
      s->pattern[k] = LIP_FULL;
    } else if (m < k) {
      s->pattern[k] = s->pattern[m];
      n = s->column0[s->pattern[k] + 1] - s->column0[s->pattern[k]];
    } else {
      size_t few = columns_of(b, k, m, s->N / PART, t->at);
      s->pattern[k] = LIP_FULL;
      if (few <= s->N / PART) {
        n = few;
        if (!pattern_of(t, n, &s->pattern[k])) return false;
      }
    }
    s->row[k] = s->numbers;
    s->numbers += n;
    if ((*numbers += n) > MOST) return false;
  }
  return true;
}

/* Units by pattern. */
static bool sort_units(slab *s) {
  s->unit0 = lip_alloc(s->patterns + 1, sizeof *s->unit0);
  s->unit = lip_alloc(s->M, sizeof *s->unit);
  if (!s->unit0 || !s->unit) return false;
  for (size_t k = 0; k < s->M; k++)
    if (s->pattern[k] != LIP_FULL) s->unit0[s->pattern[k]]++;
  for (size_t p = 0; p < s->patterns; p++)
    s->unit0[p + 1] += s->unit0[p]; /* where p ends, the last one twice */
  for (size_t k = s->M; k-- > 0;)
    if (s->pattern[k] != LIP_FULL) s->unit[--s->unit0[s->pattern[k]]] = (uint32_t)k;
  size_t at = s->unit0[s->patterns];
  for (size_t k = 0; k < s->M; k++)
    if (s->pattern[k] == LIP_FULL) s->unit[at++] = (uint32_t)k;
  return true;
}

/* ---- numbers ---- */

/* One row of T W, at its columns: of the unit itself, the sum or the difference. */
static void put_row(slab *s, const lip_block *b, size_t k) {
  size_t m = mate_of(b, k), lower = m < k ? m : k, upper = m < k ? k : m;
  double sign = m == k ? 0 : m < k ? -1 : 1, *v = s->V + s->row[k];
  const lip_fold *f = b->fold;
  lip_row r = lip_slab_row(s, k);
  s->c[k] = f ? f->c[lower] + sign * f->c[upper] : (double)b->b[lower] + sign * (double)b->b[upper];
  for (size_t i = 0; i < r.n; i++) {
    size_t j = r.at ? r.at[i] : i;
    v[i] = lip_block_weight(b, lower * b->N + j) + sign * lip_block_weight(b, upper * b->N + j);
  }
}

/* Terms of the executed sum; a bias alone is exact, and so is a single product by 1 or -1. */
static void count_terms(slab *s, const lip_block *b, size_t k) {
  const float *w = b->W + k * b->N;
  lip_row r = lip_slab_row(s, k);
  double n = b->b[k] != 0, top = 0;
  for (size_t i = 0; i < r.n; i++) {
    double v = (double)w[r.at ? r.at[i] : i];
    n += v != 0;
    top = fmax(top, fabs(v));
  }
  s->terms[k] = n == 0 || (n == 1 && (top == 1 || top == 0)) ? 0 : n;
  s->entry[k] = top;
}

static void put_norms(slab *s, const lip_block *b, size_t k, lip_p dual) {
  lip_row r = lip_slab_row(s, k);
  /* the entries of V are rounded once */
  if (s->norm) s->norm[k] = lip_norm_upper_d(r.v, r.n, dual) * (1 + 0x1p-50);
  if (s->raw_norm)
    s->raw_norm[k] = b->fold ? lip_norm_upper_d(b->fold->W + k * b->N, b->N, dual)
                             : lip_norm_upper(b->W + k * b->N, b->N, dual);
}

static bool reserve(slab *s, bool first, bool pairs) {
  s->c = lip_alloc(s->M, sizeof *s->c);
  s->terms = lip_alloc(s->M, sizeof *s->terms);
  s->entry = lip_alloc(s->M, sizeof *s->entry);
  s->row = lip_alloc(s->M, sizeof *s->row);
  s->pattern = lip_alloc(s->M, sizeof *s->pattern);
  if (first) s->norm = lip_alloc(s->M, sizeof *s->norm);
  if (first && pairs) s->raw_norm = lip_alloc(s->M, sizeof *s->raw_norm);
  return s->c && s->terms && s->entry && s->row && s->pattern && (!first || s->norm) &&
         (!(first && pairs) || s->raw_norm);
}

bool lip_slab_init(slab *s, const lip_block *b, bool first, lip_p p, size_t *numbers, bool *large) {
  *s = (slab){.M = b->M, .N = b->N, .block = b};
  lists t = {0};
  bool ok = reserve(s, first, b->mate) && lists_init(&t, s) && find_patterns(&t, b, numbers);
  lists_free(&t);
  *large = *numbers > MOST;
  if (!ok || !sort_units(s)) return false;
  s->V = lip_alloc(s->numbers, sizeof *s->V);
  if (!s->V) return false;
  for (size_t k = 0; k < s->M; k++) {
    put_row(s, b, k);
    count_terms(s, b, k);
    put_norms(s, b, k, lip_p_dual(p));
  }
  return true;
}

/* Of one row of G the columns up to the diagonal. */
LIP_HOT static void gram_row(const double *restrict V, size_t N, size_t k, double *restrict out) {
  for (size_t l = 0; l <= k; l++) {
    const double *p = V + k * N, *q = V + l * N;
    double s[8] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 8 <= N; i += 8)
      for (size_t j = 0; j < 8; j++) s[j] += p[i + j] * q[i + j];
    for (; i < N; i++) sum += p[i] * q[i];
    for (size_t j = 0; j < 8; j++) sum += s[j];
    out[l] = sum;
  }
}

double *lip_slab_gram(const slab *s, bool *ok) {
  if (s->patterns > 0 || s->M / 2 >= s->N || s->M > GRAM) return NULL;
  double *gram = lip_alloc(s->M * s->M, sizeof *gram);
  *ok = gram != NULL;
  for (size_t k = 0; gram && k < s->M; k++) gram_row(s->V, s->N, k, gram + k * s->M);
  for (size_t k = 0; gram && k < s->M; k++)
    for (size_t l = 0; l < k; l++) gram[l * s->M + k] = gram[k * s->M + l];
  return gram;
}

void lip_slab_free(slab *s) {
  lip_free(s->V);
  lip_free(s->row);
  lip_free(s->pattern);
  lip_free(s->column0);
  lip_free(s->column);
  lip_free(s->unit0);
  lip_free(s->unit);
  lip_free(s->c);
  lip_free(s->terms);
  lip_free(s->entry);
  lip_free(s->norm);
  lip_free(s->raw_norm);
}
