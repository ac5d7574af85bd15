/* conv2d: y[o, oy, ox] = b[o] + sum over c, ky, kx of w[o, c, ky, kx] x[c, oy s + ky d - pad, ox s + kx d - pad],
 * the cross-correlation that deep learning calls convolution; groups split input and output channels into blocks.
 * As a matrix product of each sample's patches: y = W col(x), W (OUT, IN/groups * kernel^2). That is what plain loops
 * do, and what is done where direct kernels (tensor/conv.h) would need too much memory.
 *
 * conv1d: the same with a kernel of one row and inputs channels x length, y[o, i] = b[o] + sum over c, k of w[o, c, k]
 * x[c, i s + k d - pad]; always by patches. Along an image {C, H, W} it slides along each row by itself.
 *
 *   dx = col^T(W' dy)      dW = sum over samples of dy col(x)'      db = sum over samples and places of dy
 *   constant  exact for 1->q and p->inf, with stride and borders; 2->2 rigorous, not tight (conv_norm.c)
 *   float32   as for dense with K = IN/groups * kernel^2 terms: |error| <= (K + 2) u (|W||x| + |b|) */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/conv_map.h"
#include "core/layer/conv_norm.h"
#include "core/layer/emit.h"
#include "core/layer/parametrisation.h"
#include "core/layer/same_shape.h"
#include "core/tensor/conv.h"
#include "core/tensor/gemm.h"

/* Output channels a thread takes at least for their gradient: each has many products to sum. */
enum { UNIT_GRAIN = 16 };

typedef struct conf {
  size_t channels, kernel, stride, padding, dilation, groups;
  bool bias;
  lip_weight_conf weight;
  lip_own_conf own;
} conf;

/* A convolution, for whoever sees the layer's state, and how its weight is made. */
typedef struct state {
  lip_conv conv;
  lip_weight weight;
} state;

#define OPTION(member, ...)                                                                                  \
  { .name = #member, .type = LIP_OPT_SIZE, .offset = offsetof(conf, member), __VA_ARGS__ }
/* The options of both kinds; only the words differ. */
#define OPTIONS(sides, around)                                                                               \
  {                                                                                                          \
    OPTION(channels, .required = true, .low = 1, .high = 1 << 20, .help = "number of output channels"),      \
        OPTION(kernel, .def = 3, .low = 1, .high = LIP_CONV_MAX_KERNEL, .help = sides " of the kernel"),     \
        OPTION(stride, .def = 1, .low = 1, .high = 1024, .help = "step from one output place to the next"),  \
        OPTION(padding, .low = 0, .high = 1024, .help = "zeros " around),                                    \
        OPTION(dilation, .def = 1, .low = 1, .high = 1024,                                                   \
               .help = "places from one tap of the kernel to the next; it spans (kernel - 1) dilation + 1"), \
        OPTION(groups, .def = 1, .low = 1, .high = 1 << 20,                                                  \
               .help = "blocks of channels that do not see each other"),                                     \
        {.name = "bias",                                                                                     \
         .type = LIP_OPT_BOOL,                                                                               \
         .offset = offsetof(conf, bias),                                                                     \
         .def = 1,                                                                                           \
         .help = "add a trained offset to every output channel"},                                            \
        LIP_WEIGHT_OPTIONS(offsetof(conf, weight), lip_weight_conv_names),                                   \
        LIP_OWN_OPTIONS(offsetof(conf, own)), {.name = NULL},                                                \
  }

static const lip_opt options[] = OPTIONS("height and width", "around the image");
static const lip_opt flat_options[] = OPTIONS("length", "before and behind");

static size_t places(const lip_conv *c) {
  return c->at.OH * c->at.OW;
}

static lip_direct direct(const lip_layer *l, bool again) {
  const lip_conv *c = l->state;
  return (lip_direct){.at = c->at,
                      .C = c->C,
                      .OUT = c->OUT,
                      .groups = c->groups,
                      .in = l->x_order,
                      .out = l->y_order,
                      .relu = l->rectify_y,
                      .again = again};
}

/* Direct kernels may take a little more than patches and their product do, and up to 16 MB in any case. */
static size_t scratch_bytes(const lip_layer *l) {
  lip_conv *c = l->state;
  const lip_direct s = direct(l, false);
  const size_t patches = lip_conv_patch_bytes(c) + lip_gemm_scratch();
  size_t bytes = lip_direct_scratch(&s, fmax(2 * (double)patches, 0x1p24));
  c->direct = bytes > 0;
  if (!c->direct) return patches;
  return bytes > lip_gemm_scratch() ? bytes : lip_gemm_scratch(); /* which projections take */
}

/* ---- planning ---- */

/* Places that the kernel spans along a side. */
static size_t span(const conf *o) {
  return (o->kernel - 1) * o->dilation + 1;
}

/* Output places along a side of n inputs, which the kernel fits into. */
static size_t slide(const conf *o, size_t n) {
  return (n + 2 * o->padding - span(o)) / o->stride + 1;
}

static lip_status check_channels(const lip_layer *l, const conf *o, lip_err *err) {
  char shape[64];
  if (l->in.dim[0] % o->groups == 0 && o->channels % o->groups == 0) return LIP_OK;
  return lip_fail(
      err, LIP_SHAPE,
      "%s: %zu groups do not divide both the input %s (%zu channels) and the %zu output channels; "
      "give a number that divides both",
      l->kind->desc.name, o->groups, lip_shape_describe(&l->in, shape, sizeof shape), l->in.dim[0],
      o->channels);
}

/* The kernel has so many sides, and slides along inputs of at least `least` places. */
static lip_status check_kernel(const lip_layer *l, const conf *o, size_t least, int sides, lip_err *err) {
  char shape[64], kernel[64], spans[64];
  if (least + 2 * o->padding >= span(o)) return LIP_OK;
  lip_shape_describe(&l->in, shape, sizeof shape);
  lip_shape_describe(&(lip_shape){sides, {o->kernel, o->kernel}}, kernel, sizeof kernel);
  lip_shape_describe(&(lip_shape){sides, {span(o), span(o)}}, spans, sizeof spans);
  if (o->dilation == 1)
    return lip_fail(err, LIP_SHAPE,
                    "%s: the kernel %s is larger than the input %s with padding %zu; give a smaller kernel "
                    "or more padding",
                    l->kind->desc.name, kernel, shape, o->padding);
  return lip_fail(err, LIP_SHAPE,
                  "%s: the kernel %s with dilation %zu spans %s, larger than the input %s with "
                  "padding %zu; give a smaller dilation or more padding",
                  l->kind->desc.name, kernel, o->dilation, spans, shape, o->padding);
}

/* Everything but l->out and the shape of the weights; `at` is checked against the input. */
static lip_status plan_at(lip_layer *l, const conf *o, const lip_patches *at, lip_plan *p, lip_err *err) {
  const char *name = l->kind->desc.name;
  size_t weights, columns, K = l->in.dim[0] / o->groups * lip_patches_taps(at);
  if (!lip_mul_fits(o->channels, K, &weights) || weights > (size_t)1 << 40 ||
      !lip_mul_fits(K, at->OH * at->OW, &columns) || columns > (size_t)1 << 40)
    return lip_fail(err, LIP_SHAPE, "%s: too many weights or patches", name);
  state *s = lip_alloc(1, sizeof *s);
  if (!s) return lip_fail(err, LIP_MEMORY, "%s: out of memory", name);
  l->state = s; /* released by layer.c from here on */
  l->own = &o->own;
  lip_conv *c = &s->conv;
  c->at = *at;
  c->C = l->in.dim[0];
  c->OUT = o->channels;
  c->groups = o->groups;
  lip_status status = lip_conv_init(c, l->pq, p->method, err);
  if (status) return status;
  l->units = c->OUT;
  l->unit_grain = UNIT_GRAIN;
  l->project_units = lip_conv_project_units(c);
  l->scratch = scratch_bytes(l);
  const lip_direct planes = direct(l, false);
  l->does_planes = c->direct && lip_direct_does_planes(&planes);
  return LIP_OK;
}

static lip_status add_params(lip_layer *l, int ndim, size_t kernel, lip_err *err) {
  const lip_conv *c = l->state;
  const conf *o = l->conf;
  lip_layer_add_param(l, "weight", ndim, (size_t[]){c->OUT, c->Cg, kernel, kernel}, true);
  if (o->bias) lip_layer_add_param(l, "bias", 1, (size_t[]){c->OUT}, false);
  return lip_weight_plan(&((state *)l->state)->weight, l, &o->weight, c, err);
}

static const float *bias_of(const lip_layer *l) {
  const bool computed = ((const state *)l->state)->weight.kind != NULL;
  return l->n_param > (computed ? 2 : 1) ? l->param[1].value : NULL; /* the last is V, if there is one */
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  const conf *o = spec->conf;
  char shape[64];
  if (l->in.ndim != 3)
    return lip_fail(
        err, LIP_SHAPE,
        "conv2d: expects an input of channels x height x width, got %s; give the net input = {channels, "
        "height, width}, or use conv1d on channels x length",
        lip_shape_describe(&l->in, shape, sizeof shape));
  const size_t H = l->in.dim[1], W = l->in.dim[2];
  lip_status status = check_channels(l, o, err);
  if (!status) status = check_kernel(l, o, H < W ? H : W, 2, err);
  if (status) return status;
  const lip_patches at = {H,           W,           o->kernel,   o->stride, o->padding,
                          o->dilation, slide(o, H), slide(o, W), false};
  status = plan_at(l, o, &at, p, err);
  if (status) return status;
  l->out = (lip_shape){3, {o->channels, at.OH, at.OW}};
  return add_params(l, 4, o->kernel, err);
}

static lip_status flat_plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  const conf *o = spec->conf;
  char shape[64];
  if (l->in.ndim < 2)
    return lip_fail(
        err, LIP_SHAPE,
        "conv1d: expects an input of channels x length, got %s; give the net input = {channels, length}",
        lip_shape_describe(&l->in, shape, sizeof shape));
  const size_t H = l->in.ndim == 3 ? l->in.dim[1] : 1, W = l->in.dim[l->in.ndim - 1];
  lip_status status = check_channels(l, o, err);
  if (!status) status = check_kernel(l, o, W, 1, err);
  if (status) return status;
  const lip_patches at = {H, W, o->kernel, o->stride, o->padding, o->dilation, H, slide(o, W), true};
  status = plan_at(l, o, &at, p, err);
  if (status) return status;
  l->out = l->in;
  l->out.dim[0] = o->channels;
  l->out.dim[l->in.ndim - 1] = at.OW;
  return add_params(l, 3, o->kernel, err);
}

static bool borders(const lip_layer *l, size_t *in, size_t *out) {
  const lip_direct s = direct(l, false);
  if (!((const lip_conv *)l->state)->direct || !lip_direct_takes_pixels(&s)) return false;
  *in = lip_direct_border_in(&s);
  *out = lip_direct_border_out(&s);
  return true;
}

/* Floats of the sums of a part, to each of its rows. */
static size_t part_cache(const lip_layer *l) {
  const lip_direct s = direct(l, false);
  return (lip_direct_sums(&s) + LIP_PART - 1) / LIP_PART;
}

/* Sums by parts go over x and dy while they are in a cache. They are not worth it where they are larger than half of what
 * they are made of, and inside an anchor threads do not meet at parts. */
static void ordered(lip_layer *l) {
  const lip_direct s = direct(l, false);
  if (!l->x_order.pixels && !l->y_order.pixels) return;
  l->grad_by_parts = !l->anchored && !l->still && 2 * part_cache(l) <= l->x_row + l->y_row;
  if (l->grad_by_parts) l->cache = part_cache(l);
  const size_t bytes = l->grad_by_parts ? lip_direct_scratch_by_parts(&s) : lip_direct_scratch(&s, INFINITY);
  l->scratch = bytes > lip_gemm_scratch() ? bytes : lip_gemm_scratch();
}

static void release(lip_layer *l) {
  if (!l->state) return;
  lip_weight_release(&((state *)l->state)->weight);
  lip_conv_release(l->state);
  lip_free(l->state);
}

static lip_status reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  lip_weight *w = &((state *)l->state)->weight;
  lip_status status =
      lip_conv_reset(l->state, l->param[0].value, lip_layer_init(l), lip_weight_init_budget(w, l), rng, err);
  return status ? status : lip_weight_reset(w, l, rng, err);
}

static void renew(lip_layer *l, const lip_team *team) {
  lip_weight_renew(&((state *)l->state)->weight, l, team);
}

static void pull(lip_layer *l, const lip_team *team, float accumulate) {
  lip_weight_pull(&((state *)l->state)->weight, l, team, accumulate);
}

static void add_bias(const lip_layer *l, float *y, size_t P) {
  for (size_t o = 0; o < l->units; o++)
    for (size_t i = 0; i < P; i++) y[o * P + i] += l->param[1].value[o];
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const lip_conv *c = l->state;
  const lip_direct s = direct(l, pass->again);
  if (c->direct)
    lip_direct_forward(&s, l->param[0].value, bias_of(l), pass->r1 - pass->r0, l->x + pass->r0 * l->x_row,
                       l->y + pass->r0 * l->y_row, pass->scratch);
  else
    lip_conv_map(c, l->param[0].value, pass->r1 - pass->r0, l->x + pass->r0 * l->n_in,
                 l->y + pass->r0 * l->n_out, pass->scratch);
  for (size_t r = pass->r0; !c->direct && bias_of(l) && r < pass->r1; r++)
    add_bias(l, l->y + r * l->n_out, places(c));
}

/* One output channel of one row: its bias, then tap by tap. */
static void wide_channel(const lip_layer *l, size_t o, const double *x, double *y) {
  const lip_conv *c = l->state;
  const lip_axis v = lip_patches_y(&c->at), h = lip_patches_x(&c->at);
  const size_t k2 = v.kernel * h.kernel, P = places(c);
  for (size_t i = 0; i < P; i++) y[i] = bias_of(l) ? (double)bias_of(l)[o] : 0;
  for (size_t t = 0; t < c->K; t++) {
    const double w = (double)l->param[0].value[o * c->K + t];
    const double *plane = x + (o / c->OUTg * c->Cg + t / k2) * v.n * h.n;
    for (size_t oy = 0; oy < v.out; oy++) {
      size_t iy = oy * v.stride + t % k2 / h.kernel * v.dilation;
      if (iy < v.padding || iy - v.padding >= v.n) continue;
      for (size_t ox = 0; ox < h.out; ox++) {
        size_t ix = ox * h.stride + t % h.kernel * h.dilation;
        if (ix >= h.padding && ix - h.padding < h.n)
          y[oy * h.out + ox] += w * plane[(iy - v.padding) * h.n + ix - h.padding];
      }
    }
  }
}

static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  for (size_t r = 0; r < B; r++)
    for (size_t o = 0; o < l->units; o++)
      wide_channel(l, o, x + r * l->n_in, y + r * l->n_out + o * (l->n_out / l->units));
}

static float *part_of(const lip_layer *l, size_t row) {
  return l->kept + row / LIP_PART * LIP_PART * l->cache;
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  const lip_conv *c = l->state;
  const lip_direct s = direct(l, pass->again);
  const float *dy = lip_layer_dy(l, pass);
  float *dx = lip_layer_dx(l, pass);
  for (size_t r = pass->r0, end; l->grad_by_parts && pass->training && r < pass->r1; r = end) {
    end = (r / LIP_PART + 1) * LIP_PART;
    if (end > pass->r1) end = pass->r1;
    lip_direct_grad_add(&s, end - r, l->x + r * l->x_row, dy + (r - pass->r0) * l->y_row, r % LIP_PART == 0,
                        part_of(l, r), pass->scratch);
  }
  if (!dx) return;
  if (c->direct)
    lip_direct_backward(&s, l->param[0].value, pass->r1 - pass->r0, dy,
                        l->rectify_dx ? l->x + pass->r0 * l->x_row : NULL, dx, pass->scratch);
  else
    lip_conv_map_back(c, l->param[0].value, pass->r1 - pass->r0, dy, dx, pass->scratch);
}

static void patches_grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  const lip_conv *c = l->state;
  const size_t P = places(c), image = c->at.H * c->at.W;
  float *col = pass->scratch, *dw = l->param[0].grad;
  void *rest = (unsigned char *)pass->scratch + lip_conv_patch_bytes(c);
  for (size_t r = 0; r < pass->rows; r++)
    for (size_t g = u0 / c->OUTg; g * c->OUTg < u1; g++) {
      size_t o0 = g * c->OUTg > u0 ? g * c->OUTg : u0, o1 = (g + 1) * c->OUTg < u1 ? (g + 1) * c->OUTg : u1;
      lip_im2col(col, l->x + r * l->n_in + g * c->Cg * image, c->Cg, &c->at);
      lip_gemm(LIP_N, LIP_T, o1 - o0, c->K, P, 1, l->dy + r * l->n_out + o0 * P, P, col, P,
               r > 0 ? 1 : pass->accumulate, dw + o0 * c->K, c->K, rest);
    }
}

static void grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  const lip_conv *c = l->state;
  const lip_direct s = direct(l, false);
  if (l->grad_by_parts)
    lip_direct_grad_take(&s, (pass->rows + LIP_PART - 1) / LIP_PART, l->kept, LIP_PART * l->cache, u0, u1,
                         pass->accumulate, l->param[0].grad, bias_of(l) ? l->param[1].grad : NULL,
                         pass->scratch);
  else if (c->direct)
    lip_direct_grad(&s, pass->rows, l->x, l->dy, u0, u1, pass->accumulate, l->param[0].grad, pass->scratch);
  else
    patches_grad(l, pass, u0, u1);
  if (bias_of(l) && !l->grad_by_parts)
    lip_direct_grad_bias(&s, pass->rows, l->dy, u0, u1, pass->accumulate, l->param[1].grad, pass->scratch);
  if (pass->done) pass->done(pass->done_arg, u0, u1);
}

static void project(lip_layer *l, size_t u0, size_t u1, void *scratch) {
  lip_conv_project(l->state, l->param[0].value, l->budget, u0, u1, scratch);
}

static lip_status project_exact(lip_layer *l, lip_err *err) {
  const state *s = l->state;
  if (s->weight.kind) return lip_weight_project_exact(&s->weight, l, err);
  return lip_conv_project_exact(l->state, l->param[0].value, l->budget, err);
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  return lip_conv_norm_upper(l->state, l->param[0].value, pq, upper, err);
}

/* Row (o, oy, ox) holds the taps that fall inside the image. */
static void matrix(const lip_layer *l, float *W, float *b) {
  const lip_conv *c = l->state;
  const lip_axis v = lip_patches_y(&c->at), h = lip_patches_x(&c->at);
  const size_t P = places(c), k2 = v.kernel * h.kernel;
  memset(W, 0, l->n_out * l->n_in * sizeof *W);
  for (size_t row = 0; row < l->n_out; row++) {
    size_t o = row / P, oy = row % P / h.out, ox = row % h.out, first = o / c->OUTg * c->Cg;
    b[row] = bias_of(l) ? bias_of(l)[o] : 0;
    for (size_t t = 0; t < c->K; t++) {
      size_t y = oy * v.stride + t % k2 / h.kernel * v.dilation,
             x = ox * h.stride + t % h.kernel * h.dilation;
      if (y < v.padding || x < h.padding || y - v.padding >= v.n || x - h.padding >= h.n) continue;
      size_t column = ((first + t / k2) * v.n + y - v.padding) * h.n + x - h.padding;
      W[row * l->n_in + column] = l->param[0].value[o * c->K + t];
    }
  }
}

static bool warm(const lip_layer *l, size_t i, lip_warm *out) {
  return !((const state *)l->state)->weight.kind && lip_conv_warm(l->state, i, out);
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const lip_conv *c = l->state;
  const double u = 0x1p-24, kappa = ((double)c->K + 2) * u, executed = d->size + d->off;
  double norm, bias = 0, spread = lip_conv_abs_norm_upper(c, l->param[0].value, pq);
  if (lip_conv_norm_quick(c, l->param[0].value, pq, &norm, NULL)) norm = spread;
  if (bias_of(l)) bias = lip_norm_upper(bias_of(l), c->OUT, pq.q) * lip_ones_norm(places(c), pq.q);
  double underflow = 2 * ((double)c->K + 2) * (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  bool fits = (spread * executed + bias) * (1 + 2 * kappa) < (double)FLT_MAX / 2;
  d->off = fits ? lip_round_up(norm * d->off + kappa * (spread * executed + bias)) + underflow : INFINITY;
  d->size = lip_round_up(norm * d->size + bias);
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  const lip_conv *c = l->state;
  const lip_axis v = lip_patches_y(&c->at), h = lip_patches_x(&c->at);
  return lip_emit_add(e,
                      &(lip_emit_step){.op = LIP_EMIT_CONV,
                                       .out = l->out,
                                       .u.conv = {.W = l->param[0].value,
                                                  .b = bias_of(l),
                                                  .groups = c->groups,
                                                  .kernel = {v.kernel, h.kernel},
                                                  .stride = {v.stride, h.stride},
                                                  .padding = {v.padding, h.padding},
                                                  .dilation = {v.dilation, h.dilation}}},
                      &x, 1);
}

#define KIND                                                                                                 \
  .flags = LIP_LAYER_WEIGHTED, .release = release, .reset = reset, .forward = forward, .backward = backward, \
  .wide = wide, .grad = grad, .renew = renew, .pull = pull, .project = project,                              \
  .project_exact = project_exact, .warm = warm, .bound = bound, .matrix = matrix, .emit = emit,              \
  .deviate = deviate

const lip_layer_kind lip_layer_conv2d = {
    .desc = {"conv2d", "two-dimensional convolution", options, sizeof(conf)},
    .plan = plan,
    .borders = borders,
    .ordered = ordered,
    KIND,
};

const lip_layer_kind lip_layer_conv1d = {
    .desc = {"conv1d", "convolution along the last dimension of channels x length", flat_options,
             sizeof(conf)},
    .plan = flat_plan,
    KIND,
};
