/* residual: f = the layers inside, in sequence; n_out of f = n_in.
 *
 *   mode "mix"   y = a x + b f(x), a = alpha, b = 1 - alpha     constant a + b L_f
 *   mode "add"   y = x + f(x), a = b = 1                        constant 1 + L_f
 *
 *   dx = a dy + f'(x)^T (b dy)
 *   constant  by the triangle inequality, for every p -> p (L_f = product of the layers' constants p -> p), and so for
 *             every p -> q with q >= p; unknown where a layer inside is unknown
 *   budget K  L_f <= (K - a) / b, shared out inside
 *   float32   three roundings: u (2 + u) (a |x| + b |f|)
 * (He et al. 2016; the convex mix keeps a bound of 1: Serrurier et al. 2021.) a and b are float32 numbers.
 *
 * The block kept for a batch: what the chain inside keeps, then f, b dy and the gradient that comes out of f. */
#include <float.h>
#include <math.h>

#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/form.h"
#include "core/layer/same_shape.h"

typedef struct conf {
  int mode;
  double alpha;
} conf;

enum { MIX, ADD };

static const lip_opt options[] = {
    {.name = "mode",
     .type = LIP_OPT_ENUM,
     .offset = offsetof(conf, mode),
     .def = MIX,
     .names = (const char *const[]){"mix", "add", NULL},
     .help = "mix: alpha x + (1 - alpha) f(x); add: x + f(x)"},
    {.name = "alpha",
     .type = LIP_OPT_REAL,
     .offset = offsetof(conf, alpha),
     .def = 0.5,
     .low = 0,
     .high = 1,
     .names = (const char *const[]){"mode", "mix", NULL},
     .help = "share of the input in mode mix"},
    {.name = NULL},
};

typedef struct weights {
  float a, b;
} weights;

static weights weights_of(const lip_layer *l) {
  const conf *o = l->conf;
  if (o->mode == ADD) return (weights){1, 1};
  float a = (float)o->alpha;
  return (weights){a, 1 - a};
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  char in[64], out[64];
  if (spec->n_child == 0)
    return lip_fail(err, LIP_OPTION,
                    "residual: has no layers inside: give at least one, as in residual{dense{...}}");
  lip_status status = lip_chain_plan(l, spec->child, spec->n_child, NULL, p, err);
  if (status) return status;
  if (lip_shape_size(&l->out) != l->n_in)
    return lip_fail(
        err, LIP_SHAPE,
        "residual: its layers turn %s into %s; the sizes must be equal (convolutions: stride 1, padding, "
        "as many channels)",
        lip_shape_describe(&l->in, in, sizeof in), lip_shape_describe(&l->out, out, sizeof out));
  l->out = l->in;
  l->cache = lip_chain_cache(l) + 3 * l->n_in;
  return LIP_OK;
}

/* The three blocks of this layer's own. */
static float *block(const lip_layer *l, size_t i) {
  return l->kept + l->capacity * (lip_chain_cache(l) + i * l->n_in);
}

static void bind(lip_layer *l) {
  if (!l->kept) return;
  lip_chain_bind(l, l->x, block(l, 0), block(l, 1), l->dx ? block(l, 2) : NULL, l->kept, l->capacity);
}

/* out = a x + b f; f may be out */
LIP_HOT static void combine(float *out, float a, const float *x, float b, const float *f, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = a * x[i] + b * f[i];
}

LIP_HOT static void scaled(float *restrict out, float a, const float *restrict x, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = a * x[i];
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const weights w = weights_of(l);
  size_t at = pass->r0 * l->n_in, n = (pass->r1 - pass->r0) * l->n_in;
  lip_chain_forward(l, pass);
  combine(l->y + at, w.a, l->x + at, w.b, block(l, 0) + at, n);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  const weights w = weights_of(l);
  size_t at = pass->r0 * l->n_in, n = (pass->r1 - pass->r0) * l->n_in;
  scaled(block(l, 1) + at, w.b, l->dy + at, n);
  lip_chain_backward(l, pass);
  if (l->dx) combine(l->dx + at, w.a, l->dy + at, 1, block(l, 2) + at, n);
}

/* L_f for p -> p, or INFINITY. */
static lip_status inner_bound(const lip_layer *l, lip_p p, double *upper, lip_err *err) {
  double product = 1;
  *upper = INFINITY;
  for (size_t i = 0; i < l->n_child; i++) {
    double k;
    lip_status status = lip_layer_bound(l->child[i], (lip_pq){p, p}, &k, err);
    if (status || isinf(k)) return status;
    product = k == 0 || product == 0 ? 0 : k == 1 ? product : nextafter(product * k, INFINITY);
  }
  *upper = product;
  return LIP_OK;
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  const weights w = weights_of(l);
  double inner;
  *upper = INFINITY;
  if (!lip_pq_tractable(pq)) return LIP_OK;
  lip_status status = inner_bound(l, pq.p, &inner, err);
  if (status || isinf(inner)) return status;
  double scaled_inner = (double)w.b * inner; /* each operation rounded up unless it is exact */
  if (w.b != 1 && w.b != 0.5f && w.b != 0) scaled_inner = nextafter(scaled_inner, INFINITY);
  double sum = (double)w.a + scaled_inner;
  *upper =
      sum - (double)w.a < scaled_inner || sum - scaled_inner < (double)w.a ? nextafter(sum, INFINITY) : sum;
  return LIP_OK;
}

static lip_status set_budget(lip_layer *l, double budget, lip_err *err) {
  const weights w = weights_of(l);
  const bool add = ((const conf *)l->conf)->mode == ADD;
  const char *hint = add ? "; mode \"mix\" has no such limit" : "; lower alpha";
  double a = (double)w.a, rest = (budget - a) / (double)w.b * (1 - 0x1p-48);
  if (isinf(budget) || w.b == 0) rest = INFINITY;
  if (w.b != 0 ? budget <= a : budget < a * (1 - 0x1p-36)) /* at b = 0 nothing is left to make smaller */
    return lip_fail(err, LIP_UNSUPPORTED,
                    "residual: its share of the budget is %g, but the input alone has %g%s", budget, a, hint);
  lip_status status = lip_chain_share_budget(l, rest, err);
  if (status || isinf(rest) || lip_layer_weighted(l)) return status;
  double inner; /* nothing inside can be made smaller */
  status = inner_bound(l, l->pq.p, &inner, err);
  if (!status && isfinite(inner) && inner > rest * (1 + 0x1p-40))
    return lip_fail(
        err, LIP_UNSUPPORTED,
        "residual: its share of the budget is %g, but its layers have the fixed constant %g, %g in all",
        budget, inner, a + (double)w.b * inner);
  return status;
}

static bool form(const lip_layer *l, lip_form *f) {
  const weights w = weights_of(l);
  return f->copy(f, 0) && lip_chain_form(l, f) && f->sum(f, (float[]){w.a, w.b}, 2);
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const weights w = weights_of(l);
  const double u = 0x1p-24, a = (double)w.a, b = (double)w.b;
  lip_deviation f = *d;
  for (size_t i = 0; i < l->n_child; i++) lip_layer_deviate(l->child[i], (lip_pq){pq.p, pq.p}, &f);
  double executed = a * (d->size + d->off) + b * (f.size + f.off);
  double rounding = u * (2 + u) * executed + 3 * (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  d->off = lip_round_up(a * d->off + b * f.off + rounding);
  d->size = lip_round_up(a * d->size + b * f.size);
  lip_check_overflow(d);
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  const weights w = weights_of(l);
  const bool mix = ((const conf *)l->conf)->mode == MIX;
  float *by = mix ? lip_emit_take(e, 2, sizeof *by) : NULL;
  if (by) by[0] = w.a, by[1] = w.b;
  return lip_emit_sum(e, l, (size_t[]){x, lip_emit_chain(l, e, x)}, 2, by);
}

const lip_layer_kind lip_layer_residual = {
    .desc = {"residual",
             "adds or mixes the input to what the layers inside make of it: residual{dense{out = 8}, relu{}}",
             options, sizeof(conf)},
    .flags = LIP_LAYER_CONTAINER | LIP_LAYER_WEIGHTED,
    .plan = plan,
    .bind = bind,
    .forward = forward,
    .backward = backward,
    .set_budget = set_budget,
    .bound = bound,
    .form = form,
    .emit = emit,
    .deviate = deviate,
};
