/* Every value that is alive is a reference: to one of the N values behind the last finished block, to an open row (a row
 * of a matrix over these N values, with its bias, that no block holds yet), or to zero. Moving values about moves
 * references. A block is finished when something needs its units as they are: slopes, pairs, or a further matrix; then
 * every open row and every value still in use becomes a unit, those that just pass as rows with one 1. So y = x + f(x) is
 * not seen until its f is applied: x waits as units of slope 1.
 *
 * Sums. a x + b f with f an open row (w, beta) over other values than x is the row (a at x, b w) with bias b beta, when
 * all of its numbers are float32 and b is a power of two: the same sum is executed, one term more, in one of its orders,
 * since a product by a power of two commutes with rounding. b >= 1/2, once, so that f cannot have left float32 while b f
 * looks small. Otherwise f becomes a unit first. */
#include "core/affine/build.h"

#include <math.h>
#include <string.h>

#include "core/affine/bend.h"
#include "core/base/mem.h"
#include "core/layer/same_shape.h"

enum { SEGMENTS = 1024, MOST_IN_ALL = 1 << 28 };
#define ZERO LIP_FORM_ZERO
#define UNSET UINT32_MAX

typedef struct segment {
  size_t n;
  uint32_t *ref; /* (n) below N: a value behind the last block; N + r: open row r; or ZERO */
} segment;

/* Open rows. */
typedef struct piece {
  size_t M;
  float *W, *b; /* (M, N), (M) */
  bool summed;  /* from `sum` */
} piece;

struct lip_build {
  lip_form form; /* first: what layers see */
  lip_affine *a;
  size_t at;      /* place of the layer that is being added */
  size_t N, rows; /* values behind the last block; open rows */
  size_t entries; /* of the matrices of all blocks */
  size_t n_segment, n_piece;
  segment segment[SEGMENTS]; /* the last one is the top */
  piece piece[SEGMENTS];
  bool constants; /* there are values that do not depend on the input */
  bool *fixed;    /* (N) which of them, or NULL: none */
  bool no_memory, too_large;
  const char *unknown;
};

static lip_build *of(lip_form *f) {
  return (lip_build *)(void *)f;
}

static bool no_memory(lip_build *f) {
  f->no_memory = true;
  return false;
}

static bool too_large(lip_build *f) {
  f->too_large = true;
  return false;
}

static bool fits(size_t M, size_t N) {
  return N == 0 || M <= LIP_FORM_MOST / N;
}

/* Whether a matrix (M, N) is small enough, beside those there are. */
static bool has_room(const lip_build *f, size_t M) {
  return fits(M, f->N) && f->entries + M * f->N <= MOST_IN_ALL;
}

static segment *top(lip_build *f, size_t depth) {
  return &f->segment[f->n_segment - 1 - depth];
}

static bool push(lip_build *f, size_t n) {
  if (f->n_segment == SEGMENTS || n > LIP_FORM_MOST) return too_large(f);
  uint32_t *ref = lip_alloc(n, sizeof *ref);
  if (!ref) return no_memory(f);
  f->segment[f->n_segment++] = (segment){n, ref};
  return true;
}

static void pop(lip_build *f) {
  lip_free(f->segment[--f->n_segment].ref);
}

/* ---- blocks ---- */

/* A new last block whose units pass everything on; W and b are to be filled, or NULL: to be set. */
static lip_block *add_block(lip_build *f, size_t M, bool matrix) {
  lip_affine *a = f->a;
  lip_block *grown = lip_realloc(a->block, a->n + 1, sizeof *grown);
  if (!grown) return NULL;
  a->block = grown;
  lip_block *k = &a->block[a->n++];
  *k = (lip_block){.M = M, .N = f->N};
  k->W = matrix ? lip_alloc(M * f->N, sizeof *k->W) : NULL;
  k->b = matrix ? lip_alloc(M, sizeof *k->b) : NULL;
  k->low = lip_alloc(M, sizeof *k->low);
  k->high = lip_alloc(M, sizeof *k->high);
  if ((matrix && (!k->W || !k->b)) || !k->low || !k->high) return NULL;
  for (size_t i = 0; i < M; i++) k->low[i] = k->high[i] = 1;
  return k;
}

static void free_pieces(lip_build *f) {
  while (f->n_piece > 0) {
    piece *p = &f->piece[--f->n_piece];
    lip_free(p->W);
    lip_free(p->b);
  }
  f->rows = 0;
}

/* M open rows of zeros at the end. */
static piece *add_piece(lip_build *f, size_t M) {
  if (f->n_piece == SEGMENTS || !has_room(f, M + f->rows)) {
    too_large(f);
    return NULL;
  }
  piece *p = &f->piece[f->n_piece++];
  *p = (piece){M, lip_alloc(M * f->N, sizeof *p->W), lip_alloc(M, sizeof *p->b), false};
  if (!p->W || !p->b) {
    no_memory(f);
    return NULL;
  }
  f->rows += M;
  return p;
}

/* Where an open row stands: its piece, and *r in it. NULL: the reference is to something else. */
static const piece *open_row(const lip_build *f, uint32_t ref, size_t *r) {
  if (ref < f->N || ref == ZERO) return NULL;
  const piece *p = f->piece;
  for (*r = ref - f->N; *r >= p->M; p++) *r -= p->M;
  return p;
}

static void write_row(const lip_build *f, uint32_t ref, float *W, float *b) {
  size_t r;
  const piece *p = open_row(f, ref, &r);
  if (p) {
    memcpy(W, p->W + r * f->N, f->N * sizeof *W);
    *b = p->b[r];
  } else if (ref != ZERO) {
    W[ref] = 1;
  }
}

/* Whether the units are just the rows of the only piece, in order. */
static bool is_piece(const lip_build *f, const uint32_t *source, size_t M) {
  if (f->n_piece != 1 || f->rows != M) return false;
  for (size_t i = 0; i < M; i++)
    if (source[i] != f->N + i) return false;
  return true;
}

static lip_block *block_of(lip_build *f, const uint32_t *source, size_t M) {
  bool whole = is_piece(f, source, M);
  lip_block *k = add_block(f, M, !whole);
  if (!k) {
    no_memory(f);
    return NULL;
  }
  if (whole) {
    k->W = f->piece[0].W;
    k->b = f->piece[0].b;
    f->piece[0] = (piece){0};
  }
  for (size_t i = 0; !whole && i < M; i++) write_row(f, source[i], k->W + i * k->N, &k->b[i]);
  free_pieces(f);
  f->entries += M * f->N;
  f->N = M;
  return k;
}

/* Which units do not depend on the input, from the rows of their block. False: no memory. */
static bool find_fixed(lip_build *f, const lip_block *k) {
  bool *fixed = f->constants ? lip_alloc(k->M, sizeof *fixed) : NULL;
  if (f->constants && !fixed) return no_memory(f);
  for (size_t i = 0; fixed && i < k->M; i++) {
    fixed[i] = true;
    for (size_t j = 0; j < k->N && fixed[i]; j++)
      fixed[i] = k->W[i * k->N + j] == 0 || (f->fixed && f->fixed[j]);
  }
  lip_free(f->fixed);
  f->fixed = fixed;
  return true;
}

/* Between two inputs such a unit does not move, so every slope is true of it, and a known one leaves nothing to look for.
 * Its values are those of phi all the same. */
static void settle_fixed(lip_build *f, lip_block *k, size_t n) {
  for (size_t i = 0; f->fixed && i < n; i++)
    if (f->fixed[i]) k->low[i] = k->high[i] = 0;
}

/* Units for all that is alive, into source (what each is made of); references become units. The `own` segments on top
 * come first, unit by unit, the top before the others; of the rest every value gets one. `unit` (N + rows + 1) is
 * working memory. Returns how many. */
static size_t number_units(lip_build *f, size_t own, uint32_t *source, uint32_t *unit) {
  size_t M = 0, zero = f->N + f->rows;
  for (size_t i = 0; i <= zero; i++) unit[i] = UNSET;
  for (size_t d = 0; d < f->n_segment; d++) {
    segment *s = top(f, d);
    for (size_t i = 0; i < s->n; i++) {
      size_t at = s->ref[i] == ZERO ? zero : s->ref[i];
      if (d < own || unit[at] == UNSET) {
        source[M] = s->ref[i];
        if (d >= own) unit[at] = (uint32_t)M;
        s->ref[i] = (uint32_t)M++;
      } else {
        s->ref[i] = unit[at];
      }
    }
  }
  return M;
}

/* Finishes a block. NULL: it cannot be had. */
static lip_block *finish(lip_build *f, size_t own) {
  size_t most = 0;
  for (size_t d = 0; d < f->n_segment; d++) most += top(f, d)->n;
  if (!fits(most, 1)) {
    too_large(f);
    return NULL;
  }
  uint32_t *source = lip_alloc(most, sizeof *source);
  uint32_t *unit = lip_alloc(f->N + f->rows + 1, sizeof *unit);
  lip_block *k = NULL;
  if (!source || !unit) {
    no_memory(f);
  } else {
    size_t M = number_units(f, own, source, unit);
    if (!has_room(f, M))
      too_large(f);
    else
      k = block_of(f, source, M);
    if (k) {
      k->layer = f->at;
      k->own = own > 0 ? top(f, 0)->n : M;
    }
    if (k && !find_fixed(f, k)) k = NULL;
  }
  lip_free(source);
  lip_free(unit);
  return k;
}

/* ---- one layer ---- */

static bool is_closed(const lip_build *f, const segment *s) {
  for (size_t i = 0; i < s->n; i++)
    if (s->ref[i] >= f->N) return false;
  return true;
}

/* *twice: two values of the segment are the same one. */
static bool find_twice(lip_build *f, const segment *s, bool *twice) {
  bool *seen = lip_alloc(f->N + f->rows + 1, sizeof *seen);
  if (!seen) return no_memory(f);
  *twice = false;
  for (size_t i = 0; i < s->n && !*twice; i++) {
    size_t at = s->ref[i] == ZERO ? f->N + f->rows : s->ref[i];
    *twice = seen[at];
    seen[at] = true;
  }
  lip_free(seen);
  return true;
}

static bool in_order(const lip_build *f, const segment *s) {
  if (s->n != f->N) return false;
  for (size_t i = 0; i < s->n; i++)
    if (s->ref[i] != i) return false;
  return true;
}

/* The top segment now stands for the last n open rows. */
static void name_rows(lip_build *f, size_t n) {
  for (size_t i = 0; i < n; i++) top(f, 0)->ref[i] = (uint32_t)(f->N + f->rows - n + i);
}

static bool take_rows(lip_build *f, size_t n) {
  pop(f);
  if (!push(f, n)) return false;
  name_rows(f, n);
  return true;
}

/* Columns of a matrix over the top segment, put where its values are. */
static bool spread_matrix(lip_build *f, const lip_layer *l, piece *p) {
  const segment *s = top(f, 0);
  if (!fits(l->n_out, l->n_in)) return too_large(f);
  float *W = lip_alloc(l->n_out * l->n_in, sizeof *W);
  if (!W) return no_memory(f);
  l->kind->matrix(l, W, p->b);
  for (size_t i = 0; i < l->n_out; i++)
    for (size_t j = 0; j < l->n_in; j++) p->W[i * f->N + s->ref[j]] = W[i * l->n_in + j];
  lip_free(W);
  return true;
}

static bool add_matrix(lip_build *f, const lip_layer *l) {
  bool twice;
  if (!find_twice(f, top(f, 0), &twice)) return false;
  if ((twice || !is_closed(f, top(f, 0))) && !finish(f, twice)) return false;
  piece *p = add_piece(f, l->n_out);
  if (!p) return false;
  if (in_order(f, top(f, 0)))
    l->kind->matrix(l, p->W, p->b);
  else if (!spread_matrix(f, l, p))
    return false;
  return take_rows(f, l->n_out);
}

static bool add_slopes(lip_build *f, const lip_layer *l) {
  if (l->kind->slopes == lip_identity_slopes) return true; /* passes everything on */
  lip_block *k = finish(f, 1);
  if (!k) return false;
  l->kind->slopes(l, k->low, k->high);
  k->phi = l;
  k->n_phi = l->n_in;
  settle_fixed(f, k, k->n_phi);
  return true;
}

static bool add_exchanges(lip_build *f, const lip_layer *l) {
  uint32_t *mate = lip_alloc(l->n_in, sizeof *mate);
  if (!mate) return no_memory(f);
  bool descending = (l->kind->flags & LIP_LAYER_DESCENDING) != 0, known = false;
  for (size_t round = 0; l->kind->exchange(l, round, mate); round++) {
    known = f->form.exchange(&f->form, mate, descending);
    if (!known) break;
  }
  lip_free(mate);
  return known;
}

static bool apply(lip_build *f, const lip_layer *l) {
  if (l->kind->flags & LIP_LAYER_ALIAS) return true;
  if (l->kind->form) return l->kind->form(l, &f->form);
  if (l->kind->matrix) return add_matrix(f, l);
  if (l->kind->slopes) return add_slopes(f, l);
  return l->kind->exchange && add_exchanges(f, l);
}

/* ---- what layers may ask for ---- */

static bool through(lip_form *form, const lip_layer *l) {
  lip_build *f = of(form);
  if (apply(f, l)) return true;
  if (!f->unknown) f->unknown = l->kind->desc.name; /* the innermost */
  return false;
}

static bool copy(lip_form *form, size_t depth) {
  lip_build *f = of(form);
  const segment s = *top(f, depth);
  if (!push(f, s.n)) return false;
  memcpy(top(f, 0)->ref, s.ref, s.n * sizeof *s.ref);
  return true;
}

static bool lift(lip_form *form, size_t depth) {
  lip_build *f = of(form);
  const segment s = *top(f, depth);
  memmove(top(f, depth), top(f, depth) + 1, depth * sizeof s);
  *top(f, 0) = s;
  return true;
}

static bool gather(lip_form *form, const uint32_t *from, size_t n) {
  lip_build *f = of(form);
  if (!push(f, n)) return false;
  segment *y = top(f, 0), *x = top(f, 1), old = *x;
  for (size_t i = 0; i < n; i++) y->ref[i] = from[i] == ZERO ? ZERO : x->ref[from[i]];
  *x = *y;
  *y = old;
  pop(f);
  return true;
}

static bool exchange(lip_form *form, const uint32_t *mate, bool descending) {
  lip_build *f = of(form);
  size_t n = top(f, 0)->n;
  lip_block *k = finish(f, 1);
  if (!k) return false;
  k->mate = lip_alloc(k->M, sizeof *k->mate);
  if (!k->mate) return no_memory(f);
  k->descending = descending;
  for (size_t i = 0; i < k->M; i++) {
    k->mate[i] = i < n ? mate[i] : (uint32_t)i;
    if (k->mate[i] < i) k->low[i] = -1;
  }
  for (size_t i = 0; f->fixed && i < n; i++) /* both of a pair, or none */
    if (mate[i] < i) f->fixed[i] = f->fixed[mate[i]] = f->fixed[i] && f->fixed[mate[i]];
  settle_fixed(f, k, n);
  return true;
}

static bool bend(lip_form *form, const lip_bend *given) {
  lip_build *f = of(form);
  size_t n = top(f, 0)->n;
  lip_block *k = finish(f, 1);
  if (!k) return false;
  k->bend = lip_alloc(n, sizeof *k->bend);
  if (!k->bend) return no_memory(f);
  memcpy(k->bend, given, n * sizeof *given);
  k->n_phi = n;
  for (size_t i = 0; i < n; i++) {
    lip_range r;
    lip_block_range(k, i, -1, 1, &r);
    k->low[i] = r.low;
    k->high[i] = r.high;
  }
  settle_fixed(f, k, n);
  return true;
}

static bool constant(lip_form *form, const float *value, size_t n) {
  lip_build *f = of(form);
  piece *p = add_piece(f, n);
  if (!p || !push(f, n)) return false;
  memcpy(p->b, value, n * sizeof *p->b);
  name_rows(f, n);
  f->constants = true;
  return true;
}

static bool join(lip_form *form, size_t n) {
  lip_build *f = of(form);
  size_t all = 0, at = 0;
  for (size_t d = 0; d < n; d++) all += top(f, d)->n;
  if (!push(f, all)) return false;
  for (size_t d = n; d > 0; at += top(f, d)->n, d--)
    memcpy(top(f, 0)->ref + at, top(f, d)->ref, top(f, d)->n * sizeof *top(f, d)->ref);
  for (size_t d = 0; d < n; d++) {
    (void)lift(form, 1);
    pop(f);
  }
  return true;
}

/* ---- sums ---- */

static bool is_power_of_two(float w) {
  int e;
  return isfinite(w) && fabsf(frexpf(w, &e)) == 0.5f;
}

/* *to += scale v where that is a float32 number and the same sum is executed. */
static bool put(float *to, float scale, float v) {
  float now = scale * v;
  if (v == 0) return true;
  if (*to != 0 || (double)now != (double)scale * (double)v) return false;
  *to = now;
  return true;
}

/* One more term of a row. False: not exactly so. */
static bool add_term(const lip_build *f, uint32_t ref, float weight, float *W, float *b) {
  size_t r;
  const piece *p = open_row(f, ref, &r);
  if (ref == ZERO) return true;
  if (!p) return put(&W[ref], weight, 1);
  if (!is_power_of_two(weight) || fabsf(weight) < (p->summed ? 1 : 0.5f)) return false;
  if (!put(b, weight, p->b[r])) return false;
  for (size_t j = 0; j < f->N; j++)
    if (!put(&W[j], weight, p->W[r * f->N + j])) return false;
  return true;
}

/* Rows of the sum of the n segments on top. *exact tells whether that can be said in one matrix; else nothing is left. */
static bool sum_rows(lip_build *f, const float *weight, size_t n, bool *exact) {
  size_t M = top(f, 0)->n;
  piece *p = add_piece(f, M);
  if (!p) return false;
  p->summed = *exact = true;
  for (size_t i = 0; *exact && i < M; i++)
    for (size_t k = 0; *exact && k < n; k++)
      *exact = add_term(f, top(f, n - 1 - k)->ref[i], weight ? weight[k] : 1, p->W + i * f->N, &p->b[i]);
  if (*exact) return true;
  lip_free(p->W);
  lip_free(p->b);
  f->n_piece--;
  f->rows -= M;
  return true;
}

static bool sum(lip_form *form, const float *weight, size_t n) {
  lip_build *f = of(form);
  size_t M = top(f, 0)->n;
  bool exact = false;
  if (!sum_rows(f, weight, n, &exact)) return false;
  if (!exact && (!finish(f, n) || !sum_rows(f, weight, n, &exact))) return false;
  if (!exact) return false; /* units of their own: only a weight that is not a number gets here */
  for (size_t k = 1; k < n; k++) pop(f);
  return take_rows(f, M);
}

static bool out_of_memory(lip_form *form) {
  return no_memory(of(form));
}

static bool out_of_size(lip_form *form) {
  return too_large(of(form));
}

/* ---- the whole ---- */

lip_status lip_build_new(lip_affine *a, size_t n_in, lip_build **out, lip_err *err) {
  *out = NULL;
  *a = (lip_affine){.n_in = n_in};
  lip_build *f = lip_alloc(1, sizeof *f);
  if (!f) return lip_fail(err, LIP_MEMORY, "out of memory for the matrices of a net");
  f->form = (lip_form){through,  copy, lift, gather,        exchange,   bend,
                       constant, join, sum,  out_of_memory, out_of_size};
  f->a = a;
  f->N = n_in;
  *out = f;
  return LIP_OK;
}

void lip_build_free(lip_build *f) {
  if (!f) return;
  while (f->n_segment > 0) pop(f);
  free_pieces(f);
  lip_free(f->fixed);
  lip_free(f);
}

/* The input, when the first layer asks for it. */
static bool begin(lip_build *f) {
  if (f->n_segment > 0) return true;
  if (!fits(f->N, 1)) return too_large(f);
  if (!push(f, f->N)) return false;
  for (size_t i = 0; i < f->N; i++) top(f, 0)->ref[i] = (uint32_t)i;
  return true;
}

bool lip_build_layer(lip_build *f, const lip_layer *l) {
  bool known = begin(f) && through(&f->form, l);
  f->at++;
  return known;
}

bool lip_build_end(lip_build *f) {
  return begin(f) && finish(f, 1);
}

lip_status lip_build_status(const lip_build *f, lip_err *err) {
  return f->no_memory ? lip_fail(err, LIP_MEMORY, "out of memory for the matrices of a net") : LIP_OK;
}

const char *lip_build_unknown(const lip_build *f, bool *large) {
  *large = f->too_large;
  return f->unknown;
}
