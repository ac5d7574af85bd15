#include "core/layer/run.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/tensor/vec.h"

bool lip_run_alias(const lip_layer *l) {
  return (l->kind->flags & LIP_LAYER_ALIAS) != 0 || l->merged_back;
}

/* ---- orders ---- */

static void set_order(lip_layer *l, bool x, bool y, lip_order order) {
  if (x) l->x_order = order;
  if (y) l->y_order = order;
  l->x_row = lip_shape_row(&l->in, l->x_order);
  l->y_row = lip_shape_row(&l->out, l->y_order);
}

/* Everything between children a and b, which both take pixels, stands in pixels with the widest border that one of them
 * needs, unless that would be most of it, or planes are as good for both. */
static void agree(lip_layer *l, size_t a, size_t b) {
  lip_layer *from = l->child[a], *to = l->child[b];
  lip_order order = {true, 0};
  size_t in, out, other;
  if (from->does_planes && to->does_planes) return;
  from->kind->borders(from, &other, &out);
  to->kind->borders(to, &in, &other);
  order.border = in > out ? in : out;
  for (size_t i = a; i < b; i++) {
    const size_t row = lip_shape_row(&l->child[i]->out, order);
    if (row > 5 * l->child[i]->n_out / 2 || row > UINT32_MAX) return;
  }
  for (size_t i = a; i <= b; i++) set_order(l->child[i], i > a, i < b, order);
}

static bool minds_planes(const lip_layer *l) {
  return l->does_planes && !l->x_order.pixels && !l->y_order.pixels;
}

/* A rectifier behind a layer that minds it is that one's work, and backwards that of the layer behind it. */
static void merge(lip_layer *from, lip_layer *middle, lip_layer *to) {
  const bool pixels = middle->x_order.pixels;
  const bool before = from->kind->borders && (pixels || minds_planes(from));
  const bool behind = to->kind->borders && (pixels || minds_planes(to));
  if (!(middle->kind->flags & LIP_LAYER_RECTIFIER) || !before || !(behind || pixels)) return;
  from->rectify_y = middle->merged = true;
  to->rectify_dx = middle->merged_back = behind;
}

/* Between two children that take pixels nothing needs planes, if there are only such that mind either order. */
static void agree_on_orders(lip_layer *l) {
  const size_t none = l->n_child;
  size_t last = none, in, out;
  for (size_t i = 0; i < l->n_child; i++) {
    const lip_layer *c = l->child[i];
    if (c->kind->flags & LIP_LAYER_EITHER_ORDER) continue;
    const bool takes = c->kind->borders && c->kind->borders(c, &in, &out);
    if (takes && last != none) agree(l, last, i);
    last = takes ? i : none;
  }
  for (size_t i = 1; i + 1 < l->n_child; i++) merge(l->child[i - 1], l->child[i], l->child[i + 1]);
  for (size_t i = 0; i < l->n_child; i++)
    if (l->child[i]->kind->ordered) l->child[i]->kind->ordered(l->child[i]);
}

/* ---- what a run needs ---- */

static bool of_images(const lip_layer *c) {
  return c->kind->borders || c->kind->flags & LIP_LAYER_EITHER_ORDER;
}

/* The child behind the run that begins at i. Weights that meet planes have gradients of another kind than those that meet
 * pixels (set_passing), and are not in a run with them. */
static size_t run_end(const lip_layer *l, size_t i) {
  for (bool pixels = false; i + 1 < l->n_child; i++) {
    const lip_layer *c = l->child[i], *next = l->child[i + 1];
    pixels = pixels || c->y_order.pixels;
    if (c->y_order.pixels) continue;
    if (!of_images(c) || !of_images(next) || (next->units > 0 && (pixels || next->y_order.pixels))) break;
  }
  return i + 1;
}

/* Rows at a time; parts are multiples of it. */
static size_t rows_at_a_time(const lip_layer *l, size_t a, size_t b) {
  enum { FLOATS = 1 << 17, LEAST = 4 };
  size_t most = 1, rows = LEAST;
  for (size_t i = a; i < b; i++) {
    const size_t n = l->child[i]->x_row + l->child[i]->y_row;
    if (n > most) most = n;
  }
  while (2 * rows <= LIP_PART && 2 * rows * most <= FLOATS) rows *= 2;
  return rows;
}

static size_t scratch_of(const lip_layer *c) {
  return (c->scratch + LIP_ALIGN - 1) / LIP_ALIGN * LIP_ALIGN;
}

static size_t scratch_of_all(const lip_layer *l, size_t a, size_t b) {
  size_t sum = 0;
  for (size_t i = a; i < b; i++) sum += scratch_of(l->child[i]);
  return sum;
}

/* Whether children take turns after a few rows. Then each has scratch of its own, so that it need not prepare its weights
 * again; if that were much, they are large enough to fill a cache by themselves. */
static bool takes_turns(const lip_layer *l, size_t a, size_t b) {
  enum { MUCH = 1 << 23 };
  return b - a > 1 && scratch_of_all(l, a, b) <= MUCH;
}

/* Where all gradients are summed part by part, those of the values between the children are needed only meanwhile. */
static void set_passing(lip_layer *l, size_t a, size_t b) {
  bool all = takes_turns(l, a, b);
  for (size_t i = a; i < b; i++) all = all && (l->child[i]->units == 0 || l->child[i]->grad_by_parts);
  for (size_t i = a; i + 1 < b; i++) l->child[i]->dy_passes = all;
}

/* Floats of the gradient that child i hands down, for `rows` rows; 0: it stands in dx. */
static size_t passing(const lip_layer *l, size_t a, size_t i, size_t rows) {
  const lip_layer *c = l->child[i];
  if (i == a || lip_run_alias(c) || !l->child[i - 1]->dy_passes) return 0;
  return (rows * c->x_row + 15) / 16 * 16;
}

static size_t passing_of_all(const lip_layer *l, size_t a, size_t b) {
  const size_t rows = rows_at_a_time(l, a, b);
  size_t sum = 0;
  for (size_t i = a; i < b; i++) sum += passing(l, a, i, rows);
  return sum * sizeof(float);
}

void lip_run_agree(lip_layer *l) {
  agree_on_orders(l);
  for (size_t i = 0, end; i < l->n_child; i = end) {
    end = run_end(l, i);
    set_passing(l, i, end);
    size_t bytes = takes_turns(l, i, end) ? scratch_of_all(l, i, end) + passing_of_all(l, i, end) : 0;
    for (size_t k = i; k < end; k++)
      if (l->child[k]->scratch > bytes) bytes = l->child[k]->scratch;
    if (bytes > l->scratch) l->scratch = bytes;
  }
}

/* ---- passes ---- */

/* Rows r0..r1 of the children a..b-1, forwards; in turns with other rows or not. */
static void forward_rows(const lip_layer *l, size_t a, size_t b, lip_pass part, bool turns) {
  for (size_t i = a; i < b; i++) {
    const lip_layer *c = l->child[i];
    if (!lip_run_alias(c) && !c->merged) c->kind->forward(c, &part);
    if (turns) part.scratch = (unsigned char *)part.scratch + scratch_of(c);
  }
}

static void check_gradient(const lip_layer *l, const lip_pass *pass) {
  if (!pass->overflow || l->units == 0) return;
  if (!lip_gradient_fits(pass->dy, (pass->r1 - pass->r0) * l->y_row)) *pass->overflow = true;
}

/* And back. `at`: where the gradients that pass stand; NULL: not in turns, and there are none. */
static void backward_rows(const lip_layer *l, size_t a, size_t b, lip_pass part, float *at) {
  const size_t rows = rows_at_a_time(l, a, b);
  part.dy = part.dx = NULL;
  for (size_t i = b; i-- > a;) {
    const lip_layer *c = l->child[i];
    const size_t n = passing(l, a, i, rows);
    part.dx = n > 0 ? at : NULL;
    if (!lip_run_alias(c)) {
      if (part.dy) check_gradient(c, &part);
      if (part.dx || c->dx || c->grad_by_parts || c->n_child > 0)
        c->kind->backward(c, &part);
      part.dy = part.dx;
    }
    if (!at) continue;
    at += n;
    part.scratch = (unsigned char *)part.scratch + scratch_of(c);
  }
}

static void run(const lip_layer *l, size_t a, size_t b, const lip_pass *pass, bool back) {
  lip_pass part = *pass;
  const bool turns = takes_turns(l, a, b);
  const size_t rows = turns ? rows_at_a_time(l, a, b) : pass->r1 - pass->r0;
  float *at = turns ? (float *)pass->scratch + scratch_of_all(l, a, b) / sizeof(float) : NULL;
  if (back && turns) memset(at, 0, passing_of_all(l, a, b)); /* for the borders */
  for (size_t r = pass->r0; r < pass->r1; r += rows) {
    part.r0 = r;
    part.r1 = pass->r1 - r < rows ? pass->r1 : r + rows;
    part.again = r > pass->r0;
    if (back)
      backward_rows(l, a, b, part, at);
    else
      forward_rows(l, a, b, part, turns);
  }
}

void lip_run_forward(const lip_layer *l, const lip_pass *pass) {
  for (size_t i = 0, end; i < l->n_child; i = end) run(l, i, end = run_end(l, i), pass, false);
}

void lip_run_backward(const lip_layer *l, const lip_pass *pass) {
  for (size_t end = l->n_child, i; end > 0; end = i) {
    for (i = 0; run_end(l, i) < end;) i = run_end(l, i);
    run(l, i, end, pass, true);
  }
}
