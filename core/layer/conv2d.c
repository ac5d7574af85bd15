/* conv2d: y[o, oy, ox] = b[o] + sum over c, ky, kx of w[o, c, ky, kx] x[c, oy s + ky d - pad, ox s + kx d - pad],
 * the cross-correlation that deep learning calls convolution; groups split input and output channels into blocks.
 * As a matrix product of each sample's patches: y = W col(x), W (OUT, IN/groups * kernel^2). That is what plain loops
 * do, and what is done where direct kernels (tensor/conv.h) would need too much memory.
 *
 *   dx = col^T(W' dy)      dW = sum over samples of dy col(x)'      db = sum over samples and places of dy
 *   constant  exact for 1->q and p->inf, with stride and borders; 2->2 rigorous, not tight (conv_norm.c)
 *   float32   as for dense with K = IN/groups * kernel^2 terms: |error| <= (K + 2) u (|W||x| + |b|) */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/conv_norm.h"
#include "core/layer/same_shape.h"
#include "core/tensor/conv.h"
#include "core/tensor/gemm.h"

/* Output channels a thread takes at least for their gradient: each has many products to sum. */
enum { UNIT_GRAIN = 16 };

typedef struct conf {
  size_t channels, kernel, stride, padding, dilation, groups;
  bool bias;
} conf;

static const lip_opt options[] = {
    {.name = "channels",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(conf, channels),
     .required = true,
     .low = 1,
     .high = 1 << 20,
     .help = "number of output channels"},
    {.name = "kernel",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(conf, kernel),
     .def = 3,
     .low = 1,
     .high = LIP_CONV_MAX_KERNEL,
     .help = "height and width of the kernel"},
    {.name = "stride",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(conf, stride),
     .def = 1,
     .low = 1,
     .high = 1024,
     .help = "step from one output place to the next"},
    {.name = "padding",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(conf, padding),
     .low = 0,
     .high = 1024,
     .help = "zeros around the image"},
    {.name = "dilation",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(conf, dilation),
     .def = 1,
     .low = 1,
     .high = 1024,
     .help = "places from one tap of the kernel to the next; it spans (kernel - 1) dilation + 1"},
    {.name = "groups",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(conf, groups),
     .def = 1,
     .low = 1,
     .high = 1 << 20,
     .help = "blocks of channels that do not see each other"},
    {.name = "bias",
     .type = LIP_OPT_BOOL,
     .offset = offsetof(conf, bias),
     .def = 1,
     .help = "add a trained offset to every output channel"},
    {.name = NULL},
};

static size_t places(const lip_conv *c) {
  return c->at.OH * c->at.OW;
}

/* Bytes of one group's patches, rounded so that the product's scratch behind it is aligned. */
static size_t patch_bytes(const lip_conv *c) {
  return (c->K * places(c) * sizeof(float) + LIP_ALIGN - 1) / LIP_ALIGN * LIP_ALIGN;
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
  const size_t patches = patch_bytes(c) + lip_gemm_scratch();
  size_t bytes = lip_direct_scratch(&s, fmax(2 * (double)patches, 0x1p24));
  c->direct = bytes > 0;
  if (!c->direct) return patches;
  return bytes > lip_gemm_scratch() ? bytes : lip_gemm_scratch(); /* which projections take */
}

/* Places that the kernel spans along a side. */
static size_t span(const conf *o) {
  return (o->kernel - 1) * o->dilation + 1;
}

static lip_status check(const lip_layer *l, const conf *o, lip_err *err) {
  char shape[64];
  lip_shape_describe(&l->in, shape, sizeof shape);
  if (l->in.ndim != 3)
    return lip_fail(err, LIP_SHAPE, "conv2d: expects an input of channels x height x width, got %s", shape);
  if (l->in.dim[0] % o->groups != 0 || o->channels % o->groups != 0)
    return lip_fail(err, LIP_SHAPE,
                    "conv2d: %zu groups do not divide the input %s and the %zu output channels", o->groups,
                    shape, o->channels);
  const size_t side = span(o), least = l->in.dim[1] < l->in.dim[2] ? l->in.dim[1] : l->in.dim[2];
  if (least + 2 * o->padding >= side) return LIP_OK;
  if (o->dilation == 1)
    return lip_fail(err, LIP_SHAPE, "conv2d: the kernel %zux%zu is larger than the input %s with padding %zu",
                    side, side, shape, o->padding);
  return lip_fail(err, LIP_SHAPE,
                  "conv2d: the kernel %zux%zu with dilation %zu spans %zux%zu, larger than the input %s with "
                  "padding %zu; give a smaller dilation or more padding",
                  o->kernel, o->kernel, o->dilation, side, side, shape, o->padding);
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  const conf *o = spec->conf;
  lip_status status = check(l, o, err);
  if (status) return status;
  const size_t H = l->in.dim[1], W = l->in.dim[2], k = o->kernel, s = o->stride;
  const size_t OH = (H + 2 * o->padding - span(o)) / s + 1, OW = (W + 2 * o->padding - span(o)) / s + 1;
  size_t weights, columns;
  if (!lip_mul_fits(o->channels, l->in.dim[0] / o->groups * k * k, &weights) || weights > (size_t)1 << 40 ||
      !lip_mul_fits(l->in.dim[0] / o->groups * k * k, OH * OW, &columns) || columns > (size_t)1 << 40)
    return lip_fail(err, LIP_SHAPE, "conv2d: too many weights or patches");
  lip_conv *c = lip_alloc(1, sizeof *c);
  if (!c) return lip_fail(err, LIP_MEMORY, "conv2d: out of memory");
  l->state = c; /* released by layer.c from here on */
  c->at = (lip_patches){H, W, k, s, o->padding, o->dilation, OH, OW};
  c->C = l->in.dim[0];
  c->OUT = o->channels;
  c->groups = o->groups;
  status = lip_conv_init(c, l->pq, p->method, err);
  if (status) return status;
  l->out = (lip_shape){3, {o->channels, OH, OW}};
  lip_layer_add_param(l, "weight", 4, (size_t[]){c->OUT, c->Cg, k, k}, true);
  if (o->bias) lip_layer_add_param(l, "bias", 1, (size_t[]){c->OUT}, false);
  l->units = c->OUT;
  l->unit_grain = UNIT_GRAIN;
  l->project_units = lip_conv_project_units(c);
  l->scratch = scratch_bytes(l);
  return LIP_OK;
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
  l->scratch = scratch_bytes(l);
  if (!l->x_order.pixels && !l->y_order.pixels) return;
  l->grad_by_parts = !l->anchored && 2 * part_cache(l) <= l->x_row + l->y_row;
  if (!l->grad_by_parts) return;
  l->cache = part_cache(l);
  const size_t bytes = lip_direct_scratch_by_parts(&s);
  l->scratch = bytes > lip_gemm_scratch() ? bytes : lip_gemm_scratch();
}

static void release(lip_layer *l) {
  if (!l->state) return;
  lip_conv_release(l->state);
  lip_free(l->state);
}

static lip_status reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  return lip_conv_reset(l->state, l->param[0].value, l->plan->init, l->budget, rng, err);
}

static void add_bias(const lip_layer *l, float *y, size_t P) {
  for (size_t o = 0; o < l->units; o++)
    for (size_t i = 0; i < P; i++) y[o * P + i] += l->param[1].value[o];
}

static void patches_forward(const lip_layer *l, const lip_pass *pass) {
  const lip_conv *c = l->state;
  const size_t P = places(c), image = c->at.H * c->at.W;
  float *col = pass->scratch;
  void *rest = (unsigned char *)pass->scratch + patch_bytes(c);
  for (size_t r = pass->r0; r < pass->r1; r++) {
    float *y = l->y + r * l->n_out;
    for (size_t g = 0; g < c->groups; g++) {
      lip_im2col(col, l->x + r * l->n_in + g * c->Cg * image, c->Cg, &c->at);
      lip_gemm(LIP_N, LIP_N, c->OUTg, P, c->K, 1, l->param[0].value + g * c->OUTg * c->K, c->K, col, P, 0,
               y + g * c->OUTg * P, P, rest);
    }
    if (l->n_param > 1) add_bias(l, y, P);
  }
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const lip_conv *c = l->state;
  const lip_direct s = direct(l, pass->again);
  if (c->direct)
    lip_direct_forward(&s, l->param[0].value, l->n_param > 1 ? l->param[1].value : NULL, pass->r1 - pass->r0,
                       l->x + pass->r0 * l->x_row, l->y + pass->r0 * l->y_row, pass->scratch);
  else
    patches_forward(l, pass);
}

/* One output channel of one row: its bias, then tap by tap. */
static void wide_channel(const lip_layer *l, size_t o, const double *x, double *y) {
  const lip_conv *c = l->state;
  const size_t k = c->at.kernel, s = c->at.stride, pad = c->at.padding, H = c->at.H, W = c->at.W;
  const size_t OW = c->at.OW, P = places(c), d = c->at.dilation;
  for (size_t i = 0; i < P; i++) y[i] = l->n_param > 1 ? (double)l->param[1].value[o] : 0;
  for (size_t t = 0; t < c->K; t++) {
    const double w = (double)l->param[0].value[o * c->K + t];
    const double *plane = x + (o / c->OUTg * c->Cg + t / (k * k)) * H * W;
    for (size_t oy = 0; oy < c->at.OH; oy++) {
      size_t iy = oy * s + t / k % k * d;
      if (iy < pad || iy - pad >= H) continue;
      for (size_t ox = 0; ox < OW; ox++) {
        size_t ix = ox * s + t % k * d;
        if (ix >= pad && ix - pad < W) y[oy * OW + ox] += w * plane[(iy - pad) * W + ix - pad];
      }
    }
  }
}

static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  for (size_t r = 0; r < B; r++)
    for (size_t o = 0; o < l->units; o++)
      wide_channel(l, o, x + r * l->n_in, y + r * l->n_out + o * (l->n_out / l->units));
}

static void patches_backward(const lip_layer *l, const lip_pass *pass) {
  const lip_conv *c = l->state;
  const size_t P = places(c), image = c->at.H * c->at.W;
  float *col = pass->scratch;
  void *rest = (unsigned char *)pass->scratch + patch_bytes(c);
  for (size_t r = pass->r0; r < pass->r1; r++) {
    float *dx = l->dx + r * l->n_in;
    for (size_t i = 0; i < l->n_in; i++) dx[i] = 0;
    for (size_t g = 0; g < c->groups; g++) {
      lip_gemm(LIP_T, LIP_N, c->K, P, c->OUTg, 1, l->param[0].value + g * c->OUTg * c->K, c->K,
               l->dy + r * l->n_out + g * c->OUTg * P, P, 0, col, P, rest);
      lip_col2im_add(dx + g * c->Cg * image, col, c->Cg, &c->at);
    }
  }
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
    patches_backward(l, pass);
}

static void patches_grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  const lip_conv *c = l->state;
  const size_t P = places(c), image = c->at.H * c->at.W;
  float *col = pass->scratch, *dw = l->param[0].grad;
  void *rest = (unsigned char *)pass->scratch + patch_bytes(c);
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
                         pass->accumulate, l->param[0].grad, l->n_param > 1 ? l->param[1].grad : NULL,
                         pass->scratch);
  else if (c->direct)
    lip_direct_grad(&s, pass->rows, l->x, l->dy, u0, u1, pass->accumulate, l->param[0].grad, pass->scratch);
  else
    patches_grad(l, pass, u0, u1);
  if (l->n_param > 1 && !l->grad_by_parts)
    lip_direct_grad_bias(&s, pass->rows, l->dy, u0, u1, pass->accumulate, l->param[1].grad, pass->scratch);
  if (pass->done) pass->done(pass->done_arg, u0, u1);
}

static void project(lip_layer *l, size_t u0, size_t u1, void *scratch) {
  lip_conv_project(l->state, l->param[0].value, l->budget, u0, u1, scratch);
}

static lip_status project_exact(lip_layer *l, lip_err *err) {
  return lip_conv_project_exact(l->state, l->param[0].value, l->budget, err);
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  return lip_conv_norm_upper(l->state, l->param[0].value, pq, upper, err);
}

/* Row (o, oy, ox) holds the taps that fall inside the image. */
static void matrix(const lip_layer *l, float *W, float *b) {
  const lip_conv *c = l->state;
  const size_t P = places(c), k = c->at.kernel, H = c->at.H, width = c->at.W;
  memset(W, 0, l->n_out * l->n_in * sizeof *W);
  for (size_t row = 0; row < l->n_out; row++) {
    size_t o = row / P, oy = row % P / c->at.OW, ox = row % c->at.OW, first = o / c->OUTg * c->Cg;
    b[row] = l->n_param > 1 ? l->param[1].value[o] : 0;
    for (size_t t = 0; t < c->K; t++) {
      size_t y = oy * c->at.stride + t / k % k * c->at.dilation, pad = c->at.padding;
      size_t x = ox * c->at.stride + t % k * c->at.dilation;
      if (y < pad || x < pad || y - pad >= H || x - pad >= width) continue;
      size_t column = ((first + t / (k * k)) * H + y - pad) * width + x - pad;
      W[row * l->n_in + column] = l->param[0].value[o * c->K + t];
    }
  }
}

static bool warm(const lip_layer *l, size_t i, lip_warm *out) {
  return lip_conv_warm(l->state, i, out);
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const lip_conv *c = l->state;
  const double u = 0x1p-24, kappa = ((double)c->K + 2) * u, executed = d->size + d->off;
  double norm, bias = 0, spread = lip_conv_abs_norm_upper(c, l->param[0].value, pq);
  if (lip_conv_norm_quick(c, l->param[0].value, pq, &norm, NULL)) norm = spread;
  if (l->n_param > 1) bias = lip_norm_upper(l->param[1].value, c->OUT, pq.q) * lip_ones_norm(places(c), pq.q);
  double underflow = 2 * ((double)c->K + 2) * (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  bool fits = (spread * executed + bias) * (1 + 2 * kappa) < (double)FLT_MAX / 2;
  d->off = fits ? lip_round_up(norm * d->off + kappa * (spread * executed + bias)) + underflow : INFINITY;
  d->size = lip_round_up(norm * d->size + bias);
}

const lip_layer_kind lip_layer_conv2d = {
    .desc = {"conv2d", "two-dimensional convolution", options, sizeof(conf)},
    .flags = LIP_LAYER_WEIGHTED,
    .plan = plan,
    .borders = borders,
    .ordered = ordered,
    .release = release,
    .reset = reset,
    .forward = forward,
    .backward = backward,
    .wide = wide,
    .grad = grad,
    .project = project,
    .project_exact = project_exact,
    .warm = warm,
    .bound = bound,
    .matrix = matrix,
    .deviate = deviate,
};
