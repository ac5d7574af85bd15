/* Layers that move values and compute nothing: y_i = x_j for pairs (i, j), each i and each j in one pair at most, other
 * y being 0 and other x unseen.
 *
 *   space_to_depth  {C, H, W} -> {C b^2, H/b, W/b}: y[c b^2 + dy b + dx, i, j] = x[c, i b + dy, j b + dx], the order of
 *                   PyTorch's pixel_unshuffle: the pixels of a block become neighbouring channels
 *   depth_to_space  its inverse, pixel_shuffle
 *   shift           the first floor(share C) channels move left by a pixel, as many right, up and down; the rest stay. What
 *                   leaves the image comes in on the other side (cyclic), so nothing is lost
 *   pad             zero channels appended
 *   select          the first channels
 *
 *   dx_j = dy_i for pairs, 0 elsewhere
 *   constant  1 for every p -> q with q >= p, exact: ||y||_q <= ||x||_q <= ||x||_p, and one value alone keeps its size
 *   float32   exact
 * The pairs are kept as runs with steps, so that whole rows and planes are copied at once. */
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/form.h"
#include "core/layer/same_shape.h"

/* y[to + k step_to] = x[from + k step_from], k < n. */
typedef struct run {
  size_t to, from, n, step_to, step_from;
} run;

typedef struct moves {
  size_t n, cap;
  bool covers_in, covers_out; /* all values are in a pair */
  run run[];
} moves;

static lip_status start(lip_layer *l, size_t cap, lip_err *err) {
  size_t size;
  moves *m = lip_mul_fits(cap, sizeof(run), &size) ? lip_alloc(sizeof *m + size, 1) : NULL;
  if (!m) return lip_fail(err, LIP_MEMORY, "%s: no memory for %zu runs", l->kind->desc.name, cap);
  m->n = 0;
  m->cap = cap;
  m->covers_in = m->covers_out = true;
  l->state = m; /* released by layer.c from here on */
  return LIP_OK;
}

static void add(lip_layer *l, size_t to, size_t from, size_t n, size_t step_to, size_t step_from) {
  moves *m = l->state;
  if (n > 0 && m->n < m->cap) m->run[m->n++] = (run){to, from, n, step_to, step_from};
}

static void release(lip_layer *l) {
  lip_free(l->state);
}

/* ---- shared by all kinds ---- */

LIP_HOT static void copy(float *restrict to, const float *restrict from, size_t n, size_t step_to,
                         size_t step_from) {
  if (step_to == 1 && step_from == 1)
    memcpy(to, from, n * sizeof *to);
  else if (step_to == 1 && step_from == 2)
    for (size_t k = 0; k < n; k++) to[k] = from[2 * k];
  else if (step_to == 2 && step_from == 1)
    for (size_t k = 0; k < n; k++) to[2 * k] = from[k];
  else
    for (size_t k = 0; k < n; k++) to[k * step_to] = from[k * step_from];
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const moves *m = l->state;
  for (size_t r = pass->r0; r < pass->r1; r++) {
    float *y = l->y + r * l->n_out;
    const float *x = l->x + r * l->n_in;
    if (!m->covers_out) memset(y, 0, l->n_out * sizeof *y);
    for (const run *k = m->run; k < m->run + m->n; k++)
      copy(y + k->to, x + k->from, k->n, k->step_to, k->step_from);
  }
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  const moves *m = l->state;
  for (size_t r = pass->r0; r < pass->r1; r++) {
    float *dx = l->dx + r * l->n_in;
    const float *dy = l->dy + r * l->n_out;
    if (!m->covers_in) memset(dx, 0, l->n_in * sizeof *dx);
    for (const run *k = m->run; k < m->run + m->n; k++)
      copy(dx + k->from, dy + k->to, k->n, k->step_from, k->step_to);
  }
}

static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  const moves *m = l->state;
  memset(y, 0, B * l->n_out * sizeof *y);
  for (size_t r = 0; r < B; r++, x += l->n_in, y += l->n_out)
    for (const run *k = m->run; k < m->run + m->n; k++)
      for (size_t i = 0; i < k->n; i++) y[k->to + i * k->step_to] = x[k->from + i * k->step_from];
}

static void matrix(const lip_layer *l, float *W, float *b) {
  const moves *m = l->state;
  memset(W, 0, l->n_out * l->n_in * sizeof *W);
  memset(b, 0, l->n_out * sizeof *b);
  for (const run *k = m->run; k < m->run + m->n; k++)
    for (size_t i = 0; i < k->n; i++) W[(k->to + i * k->step_to) * l->n_in + k->from + i * k->step_from] = 1;
}

/* from (n_out): where each value comes from, UINT32_MAX where it is 0. */
static void origins(const lip_layer *l, uint32_t *from) {
  const moves *m = l->state;
  memset(from, 0xff, l->n_out * sizeof *from);
  for (const run *k = m->run; k < m->run + m->n; k++)
    for (size_t i = 0; i < k->n; i++) from[k->to + i * k->step_to] = (uint32_t)(k->from + i * k->step_from);
}

static bool form(const lip_layer *l, lip_form *f) {
  uint32_t *from = lip_alloc(l->n_out, sizeof *from);
  if (!from) return f->no_memory(f);
  origins(l, from);
  bool known = f->gather(f, from, l->n_out);
  lip_free(from);
  return known;
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  uint32_t *from = lip_emit_take(e, l->n_out, sizeof *from);
  if (!from) return 0;
  origins(l, from);
  return lip_emit_add(e, &(lip_emit_step){.op = LIP_EMIT_MOVE, .out = l->out, .u.move = {.from = from}}, &x,
                      1);
}

_Static_assert(LIP_EMIT_ZERO == UINT32_MAX && LIP_FORM_ZERO == UINT32_MAX, "origins fills with these");

#define MOVES                                                                                                \
  .release = release, .forward = forward, .backward = backward, .wide = wide, .bound = lip_unit_bound,       \
  .matrix = matrix, .form = form, .emit = emit, .deviate = lip_exact_deviate

static lip_status want_image(const lip_layer *l, lip_err *err) {
  char shape[64];
  if (l->in.ndim == 3) return LIP_OK;
  return lip_fail(err, LIP_SHAPE, "%s: expects an input of channels x height x width, got %s",
                  l->kind->desc.name, lip_shape_describe(&l->in, shape, sizeof shape));
}

/* ---- space_to_depth, depth_to_space ---- */

typedef struct block_conf {
  size_t block;
} block_conf;

static const lip_opt block_options[] = {{.name = "block",
                                         .type = LIP_OPT_SIZE,
                                         .offset = offsetof(block_conf, block),
                                         .required = true,
                                         .low = 1,
                                         .high = 1024,
                                         .help = "height and width of the blocks of pixels"},
                                        {0}};

/* Runs for blocks b of the image {C, H, W}; `back`: the image is the output. */
static lip_status add_blocks(lip_layer *l, const lip_shape *image, size_t b, bool back, lip_err *err) {
  const size_t C = image->dim[0], H = image->dim[1], W = image->dim[2], rows = C * H * b;
  lip_status status = start(l, rows, err);
  if (status) return status;
  for (size_t k = 0; k < rows; k++) { /* channel c, row y, pixel x of every block */
    size_t c = k / (H * b), y = k / b % H, x = k % b;
    size_t deep = ((c * b * b + y % b * b + x) * (H / b) + y / b) * (W / b), plane = (c * H + y) * W + x;
    if (back)
      add(l, plane, deep, W / b, b, 1);
    else
      add(l, deep, plane, W / b, 1, b);
  }
  return LIP_OK;
}

static lip_status to_depth_plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  const size_t b = ((const block_conf *)spec->conf)->block;
  char shape[64];
  lip_status status = want_image(l, err);
  if (status) return status;
  if (l->in.dim[1] % b || l->in.dim[2] % b)
    return lip_fail(err, LIP_SHAPE, "space_to_depth: blocks %zux%zu do not divide the input %s", b, b,
                    lip_shape_describe(&l->in, shape, sizeof shape));
  l->out = (lip_shape){3, {l->in.dim[0] * b * b, l->in.dim[1] / b, l->in.dim[2] / b}};
  return add_blocks(l, &l->in, b, false, err);
}

static lip_status to_space_plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  const size_t b = ((const block_conf *)spec->conf)->block;
  char shape[64];
  lip_status status = want_image(l, err);
  if (status) return status;
  if (l->in.dim[0] % (b * b))
    return lip_fail(err, LIP_SHAPE,
                    "depth_to_space: blocks %zux%zu take %zu channels each, which do not divide the input %s",
                    b, b, b * b, lip_shape_describe(&l->in, shape, sizeof shape));
  l->out = (lip_shape){3, {l->in.dim[0] / (b * b), l->in.dim[1] * b, l->in.dim[2] * b}};
  return add_blocks(l, &l->out, b, true, err);
}

/* ---- shift ---- */

typedef struct shift_conf {
  double share;
} shift_conf;

static const lip_opt shift_options[] = {
    {.name = "share",
     .type = LIP_OPT_REAL,
     .offset = offsetof(shift_conf, share),
     .def = 0.25,
     .low = 0,
     .high = 0.25,
     .help = "part of the channels that moves in each of the four directions"},
    {0}};

/* Channel at `base` with its rows (or pixels of a row) one on or back: two runs of a list of n pieces. */
static void turn(lip_layer *l, size_t base, size_t n, size_t piece, bool back) {
  if (back) {
    add(l, base, base + piece, (n - 1) * piece, 1, 1);
    add(l, base + (n - 1) * piece, base, piece, 1, 1);
  } else {
    add(l, base + piece, base, (n - 1) * piece, 1, 1);
    add(l, base, base + (n - 1) * piece, piece, 1, 1);
  }
}

static lip_status shift_plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  char shape[64];
  lip_status status = want_image(l, err);
  if (status) return status;
  const double share = ((const shift_conf *)spec->conf)->share;
  const size_t C = l->in.dim[0], H = l->in.dim[1], W = l->in.dim[2], each = (size_t)(share * (double)C);
  if (each == 0)
    return lip_fail(err, LIP_SHAPE, "shift: a share of %g of the input %s is no channel at all", share,
                    lip_shape_describe(&l->in, shape, sizeof shape));
  status = start(l, each * (4 * H + 4) + 1, err);
  if (status) return status;
  for (size_t c = 0; c < 4 * each; c++) {
    size_t way = c / each; /* left, right, up, down */
    if (way >= 2) turn(l, c * H * W, H, W, way == 2);
    for (size_t r = 0; way < 2 && r < H; r++) turn(l, (c * H + r) * W, W, 1, way == 0);
  }
  add(l, 4 * each * H * W, 4 * each * H * W, (C - 4 * each) * H * W, 1, 1);
  return LIP_OK;
}

/* ---- pad, select ---- */

typedef struct channel_conf {
  size_t channels;
} channel_conf;

#define CHANNELS(text)                                                                                       \
  {                                                                                                          \
    {.name = "channels",                                                                                     \
     .type = LIP_OPT_SIZE,                                                                                   \
     .offset = offsetof(channel_conf, channels),                                                             \
     .required = true,                                                                                       \
     .low = 1,                                                                                               \
     .high = 1 << 20,                                                                                        \
     .help = text},                                                                                          \
    {                                                                                                        \
      0                                                                                                      \
    }                                                                                                        \
  }

static const lip_opt pad_options[] = CHANNELS("number of zero channels (or features) put behind the others");
static const lip_opt select_options[] =
    CHANNELS("number of channels (or features) that are kept, from the first");

/* One run over what input and output have both. */
static lip_status keep_channels(lip_layer *l, size_t out, lip_err *err) {
  lip_status status = start(l, 1, err);
  if (status) return status;
  moves *m = l->state;
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  l->out = l->in;
  l->out.dim[0] = out;
  m->covers_out = out <= C;
  m->covers_in = C <= out;
  add(l, 0, 0, (out < C ? out : C) * S, 1, 1);
  return LIP_OK;
}

static lip_status pad_plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  return keep_channels(l, l->in.dim[0] + ((const channel_conf *)spec->conf)->channels, err);
}

static lip_status select_plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  const size_t want = ((const channel_conf *)spec->conf)->channels;
  char shape[64];
  if (want > l->in.dim[0])
    return lip_fail(err, LIP_SHAPE, "select: %zu channels are asked of the input %s, which has %zu", want,
                    lip_shape_describe(&l->in, shape, sizeof shape), l->in.dim[0]);
  return keep_channels(l, want, err);
}

const lip_layer_kind lip_layer_space_to_depth = {
    .desc = {"space_to_depth", "blocks of pixels become channels", block_options, sizeof(block_conf)},
    .plan = to_depth_plan,
    MOVES,
};

const lip_layer_kind lip_layer_depth_to_space = {
    .desc = {"depth_to_space", "channels become blocks of pixels", block_options, sizeof(block_conf)},
    .plan = to_space_plan,
    MOVES,
};

const lip_layer_kind lip_layer_shift = {
    .desc = {"shift", "channels moved by one pixel left, right, up, down, cyclically", shift_options,
             sizeof(shift_conf)},
    .plan = shift_plan,
    MOVES,
};

const lip_layer_kind lip_layer_pad = {
    .desc = {"pad", "zero channels appended", pad_options, sizeof(channel_conf)},
    .plan = pad_plan,
    MOVES,
};

const lip_layer_kind lip_layer_select = {
    .desc = {"select", "the first channels", select_options, sizeof(channel_conf)},
    .plan = select_plan,
    MOVES,
};
