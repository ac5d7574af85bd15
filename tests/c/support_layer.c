#include "support_layer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/tensor/gemm.h"

/* ---- rig ---- */

static size_t param_size(const lip_param *p) {
  size_t n = 1;
  for (int i = 0; i < p->ndim; i++) n *= p->shape[i];
  return n;
}

static void place(rig *r, bool set) {
  r->n_params = 0;
  for (size_t i = 0; i < r->n_leaf; i++)
    for (size_t k = 0; k < r->leaf[i]->n_param; k++) {
      lip_param *p = &r->leaf[i]->param[k];
      if (set) {
        p->offset = r->n_params;
        p->value = r->weights + r->n_params;
        p->grad = r->grads + r->n_params;
      }
      r->n_params += param_size(p);
    }
}

static bool allocate(rig *r) {
  const lip_layer *l = r->l;
  size_t B = r->B;
  r->weights = lip_alloc(r->n_params, sizeof(float));
  r->grads = lip_alloc(r->n_params, sizeof(float));
  r->x = lip_alloc(B * l->n_in, sizeof(float));
  r->y = lip_alloc(B * l->n_out, sizeof(float));
  r->dy = lip_alloc(B * l->n_out, sizeof(float));
  r->dx = lip_alloc(B * l->n_in, sizeof(float));
  r->kept = lip_alloc(r->capacity * l->cache + 1, sizeof(float));
  r->scratch_bytes = l->scratch > lip_gemm_scratch() ? l->scratch + 64 : lip_gemm_scratch();
  r->scratch = lip_alloc(r->scratch_bytes, 1);
  return r->weights && r->grads && r->x && r->y && r->dy && r->dx && r->kept && r->scratch;
}

/* Weights that are computed, from numbers as they are. */
static void renew(rig *r) {
  const lip_team team = {NULL, r->scratch, r->scratch_bytes};
  for (size_t i = 0; i < r->n_leaf; i++)
    if (r->leaf[i]->computed && r->leaf[i]->kind->renew) r->leaf[i]->kind->renew(r->leaf[i], &team);
}

lip_status rig_open(rig *r, const lip_spec *spec, const lip_shape *in, lip_pq pq, lip_project_method method,
                    lip_init init, double budget, size_t B, lip_err *err) {
  *r = (rig){.plan = {.method = method, .init = init, .seed = 7}, .B = B, .capacity = (B + 15) / 16 * 16};
  lip_status status = lip_layer_new(spec, in, pq, &r->plan, &r->l, err);
  if (status) return status;
  r->n_leaf = lip_layer_leaves(r->l, r->leaf, RIG_LEAVES);
  if (r->n_leaf > RIG_LEAVES) abort();
  place(r, false);
  if (!allocate(r)) status = lip_fail(err, LIP_MEMORY, "rig: out of memory");
  if (!status) status = lip_layer_set_budget(r->l, budget, err);
  if (!status) {
    place(r, true);
    lip_layer_bind(r->l, r->x, r->y, r->dy, r->dx, r->kept, r->capacity);
    status = lip_layer_reset(r->l, 7, err);
    if (!status) renew(r);
  }
  if (status) rig_close(r);
  return status;
}

void rig_close(rig *r) {
  lip_layer_free(r->l);
  float *blocks[] = {r->weights, r->grads, r->x, r->y, r->dy, r->dx, r->kept};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) lip_free(blocks[i]);
  lip_free(r->scratch);
  *r = (rig){.B = 0};
}

lip_pass rig_pass(const rig *r, size_t r0, size_t r1) {
  return (lip_pass){.r0 = r0, .r1 = r1, .training = true, .seed = 99, .scratch = r->scratch, .rows = r->B};
}

static bool is_alias(const rig *r) {
  return (r->l->kind->flags & LIP_LAYER_ALIAS) != 0;
}

void rig_forward(rig *r) {
  renew(r);
  lip_pass pass = rig_pass(r, 0, r->B);
  if (is_alias(r))
    memcpy(r->y, r->x, r->B * r->l->n_in * sizeof(float));
  else
    r->l->kind->forward(r->l, &pass);
}

void rig_backward(rig *r) {
  lip_pass pass = rig_pass(r, 0, r->B);
  if (is_alias(r))
    memcpy(r->dx, r->dy, r->B * r->l->n_in * sizeof(float));
  else
    r->l->kind->backward(r->l, &pass);
}

void rig_grad(rig *r, float accumulate) {
  lip_pass pass = rig_pass(r, 0, r->B);
  pass.accumulate = accumulate;
  for (size_t i = 0; i < r->n_leaf; i++)
    if (r->leaf[i]->units > 0) {
      pass.rows = lip_layer_rows(r->leaf[i], r->B);
      r->leaf[i]->kind->grad(r->leaf[i], &pass, 0, r->leaf[i]->units);
    }
  rig_pull(r, accumulate);
}

void rig_pull(rig *r, float accumulate) {
  const lip_team team = {NULL, r->scratch, r->scratch_bytes};
  for (size_t i = r->n_leaf; i-- > 0;)
    if (r->leaf[i]->computed && r->leaf[i]->kind->pull) r->leaf[i]->kind->pull(r->leaf[i], &team, accumulate);
}

lip_spec *spec_by_rule(const lip_layer_kind *kind, size_t width, size_t whole) {
  lip_spec *s = lip_spec_new(kind);
  if (!s) return NULL;
  for (const lip_opt *o = kind->desc.opts; o && o->name; o++)
    if (o->required &&
        lip_conf_set_number(&kind->desc, s->conf, o->name, o->type == LIP_OPT_SIZE ? (double)whole : 1, NULL))
      abort();
  if (!(kind->flags & LIP_LAYER_CONTAINER)) return s;
  lip_spec *dense = lip_spec_new(lip_layer_kind_find("dense"));
  lip_spec *maxmin = lip_spec_new(lip_layer_kind_find("maxmin"));
  bool ok = dense && maxmin &&
            lip_conf_set_number(&dense->kind->desc, dense->conf, "out", (double)width, NULL) == LIP_OK &&
            lip_spec_add(s, dense, NULL) == LIP_OK;
  if (ok) dense = NULL;
  ok = ok && lip_spec_add(s, maxmin, NULL) == LIP_OK;
  if (ok) return s;
  lip_spec_free(dense);
  lip_spec_free(maxmin);
  lip_spec_free(s);
  return NULL;
}

/* ---- definitions in double ---- */

double layer_number(const lip_layer *l, const char *name) {
  const lip_opt *o = lip_opt_find(&l->kind->desc, name);
  const char *at = (const char *)l->conf + o->offset;
  if (o->type == LIP_OPT_SIZE) return (double)*(const size_t *)(const void *)at;
  if (o->type == LIP_OPT_ENUM) return *(const int *)(const void *)at;
  return *(const double *)(const void *)at;
}

double layer_listed(const lip_layer *l, const char *name, size_t c, double absent) {
  const lip_opt *o = lip_opt_find(&l->kind->desc, name);
  const lip_reals *list = (const lip_reals *)(const void *)((const char *)l->conf + o->offset);
  return list->n == 0 ? absent : list->v[list->n == 1 ? 0 : c];
}

static void dense_d(const lip_layer *l, const double *x, double *y) {
  for (size_t o = 0; o < l->n_out; o++) {
    y[o] = l->n_param > 1 ? (double)l->param[1].value[o] : 0;
    for (size_t i = 0; i < l->n_in; i++) y[o] += (double)l->param[0].value[o * l->n_in + i] * x[i];
  }
}

/* Along each row, those of an image by themselves. */
static void conv1d_d(const lip_layer *l, const double *x, double *y) {
  const long k = (long)layer_number(l, "kernel"), s = (long)layer_number(l, "stride"),
             pad = (long)layer_number(l, "padding"), d = (long)layer_number(l, "dilation"),
             n = (long)l->in.dim[l->in.ndim - 1], out = (long)l->out.dim[l->out.ndim - 1],
             H = l->in.ndim == 3 ? (long)l->in.dim[1] : 1;
  const long OUT = (long)l->out.dim[0], groups = (long)layer_number(l, "groups"),
             Cg = (long)l->in.dim[0] / groups;
  for (long at = 0; at < OUT * H * out; at++) {
    const long o = at / (H * out), row = at / out % H, first = o / (OUT / groups) * Cg;
    y[at] = l->n_param > 1 ? (double)l->param[1].value[o] : 0;
    for (long t = 0; t < Cg * k; t++) {
      const long i = at % out * s + t % k * d - pad;
      if (i >= 0 && i < n)
        y[at] += (double)l->param[0].value[o * Cg * k + t] * x[((first + t / k) * H + row) * n + i];
    }
  }
}

static void conv_d(const lip_layer *l, const double *x, double *y) {
  const size_t k = (size_t)layer_number(l, "kernel"), s = (size_t)layer_number(l, "stride"),
               pad = (size_t)layer_number(l, "padding"), d = (size_t)layer_number(l, "dilation");
  const size_t OUT = l->out.dim[0], OH = l->out.dim[1], OW = l->out.dim[2], H = l->in.dim[1],
               W = l->in.dim[2];
  const size_t groups = (size_t)layer_number(l, "groups"), Cg = l->in.dim[0] / groups, OUTg = OUT / groups;
  for (size_t o = 0; o < OUT; o++)
    for (size_t oy = 0; oy < OH; oy++)
      for (size_t ox = 0; ox < OW; ox++) {
        double sum = l->n_param > 1 ? (double)l->param[1].value[o] : 0;
        for (size_t c = 0; c < Cg; c++)
          for (size_t ky = 0; ky < k; ky++)
            for (size_t kx = 0; kx < k; kx++) {
              long iy = (long)(oy * s + ky * d) - (long)pad, ix = (long)(ox * s + kx * d) - (long)pad;
              if (iy < 0 || ix < 0 || iy >= (long)H || ix >= (long)W) continue;
              double w = (double)l->param[0].value[((o * Cg + c) * k + ky) * k + kx];
              sum += w * x[((o / OUTg * Cg + c) * H + (size_t)iy) * W + (size_t)ix];
            }
        y[(o * OH + oy) * OW + ox] = sum;
      }
}

/* avg_pool2d, max_pool2d, l2_pool2d: `how` is their first letter. */
static void pool_d(const lip_layer *l, const double *x, double *y, char how) {
  const long k = (long)layer_number(l, "kernel"), pad = (long)layer_number(l, "padding");
  const long s = layer_number(l, "stride") > 0 ? (long)layer_number(l, "stride") : k;
  const long H = (long)l->in.dim[1], W = (long)l->in.dim[2], OH = (long)l->out.dim[1],
             OW = (long)l->out.dim[2];
  float w = 1 / (float)(k * k);
  if ((double)w * (double)(k * k) > 1) w = nextafterf(w, 0);
  for (long o = 0; o < (long)l->n_out; o++) {
    const double *image = x + o / (OH * OW) * H * W;
    double sum = 0, most = -INFINITY;
    for (long t = 0; t < k * k; t++) {
      long iy = o / OW % OH * s + t / k - pad, ix = o % OW * s + t % k - pad;
      if (iy < 0 || ix < 0 || iy >= H || ix >= W) continue;
      double v = image[iy * W + ix];
      sum += how == 'l' ? v * v : v;
      most = fmax(most, v);
    }
    y[o] = how == 'a' ? (double)w * sum : how == 'm' ? most : sqrt(sum);
  }
}

static void global_avg_pool_d(const lip_layer *l, const double *x, double *y) {
  const size_t S = l->n_in / l->n_out;
  float w = 1 / (float)S;
  if ((double)w * (double)S > 1) w = nextafterf(w, 0);
  for (size_t c = 0; c < l->n_out; c++) {
    y[c] = 0;
    for (size_t i = 0; i < S; i++) y[c] += (double)w * x[c * S + i];
  }
}

/* Blocks of pixels become channels of a block each; back: the other way. */
static void blocks_d(const lip_shape *image, size_t b, const double *x, double *y, bool back) {
  const size_t H = image->dim[1], W = image->dim[2];
  for (size_t k = 0; k < lip_shape_size(image); k++) {
    size_t c = k / (H * W), i = k / W % H, j = k % W;
    size_t deep = ((c * b * b + i % b * b + j % b) * (H / b) + i / b) * (W / b) + j / b;
    y[back ? k : deep] = x[back ? deep : k];
  }
}

static void shift_d(const lip_layer *l, const double *x, double *y) {
  const size_t C = l->in.dim[0], H = l->in.dim[1], W = l->in.dim[2];
  const size_t each = (size_t)(layer_number(l, "share") * (double)C);
  for (size_t c = 0; c < C; c++)
    for (size_t i = 0; i < H; i++)
      for (size_t j = 0; j < W; j++) {
        size_t way = c / each, from = i, at = j;
        if (way == 0) at = (j + 1) % W;
        if (way == 1) at = (j + W - 1) % W;
        if (way == 2) from = (i + 1) % H;
        if (way == 3) from = (i + H - 1) % H;
        y[(c * H + i) * W + j] = x[(c * H + from) * W + at];
      }
}

static bool moves_d(const lip_layer *l, const double *x, double *y) {
  const char *kind = l->kind->desc.name;
  if (strcmp(kind, "space_to_depth") == 0)
    blocks_d(&l->in, (size_t)layer_number(l, "block"), x, y, false);
  else if (strcmp(kind, "depth_to_space") == 0)
    blocks_d(&l->out, (size_t)layer_number(l, "block"), x, y, true);
  else if (strcmp(kind, "shift") == 0)
    shift_d(l, x, y);
  else if (strcmp(kind, "pad") == 0 || strcmp(kind, "select") == 0)
    for (size_t i = 0; i < l->n_out; i++) y[i] = i < l->n_in ? x[i] : 0;
  else
    return false;
  return true;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void sort_d(const lip_layer *l, const double *x, double *y, size_t size, bool descending) {
  size_t C = l->in.dim[0], S = l->n_in / C;
  double *column = malloc(size * sizeof *column);
  for (size_t g = 0; g < C / size; g++)
    for (size_t i = 0; i < S; i++) {
      for (size_t k = 0; k < size; k++) column[k] = x[(g * size + k) * S + i];
      qsort(column, size, sizeof *column, ascending);
      for (size_t k = 0; k < size; k++) y[(g * size + k) * S + i] = column[descending ? size - 1 - k : k];
    }
  free(column);
}

static void householder_d(const lip_layer *l, const double *x, double *y) {
  size_t C = l->in.dim[0], S = l->n_in / C;
  for (size_t k = 0; k < C / 2; k++)
    for (size_t i = 0; i < S; i++) {
      double t = (double)l->param[0].value[k], a = x[2 * k * S + i], b = x[(2 * k + 1) * S + i];
      bool keep = sin(t / 2) * a - cos(t / 2) * b > 0;
      y[2 * k * S + i] = keep ? a : a * cos(t) + b * sin(t);
      y[(2 * k + 1) * S + i] = keep ? b : a * sin(t) - b * cos(t);
    }
}

static void scale_d(const lip_layer *l, const double *x, double *y) {
  size_t S = l->n_in / l->in.dim[0];
  for (size_t i = 0; i < l->n_in; i++) {
    double a = (double)(float)(layer_number(l, "factor") / layer_listed(l, "std", i / S, 1));
    y[i] = a * (x[i] - (double)(float)layer_listed(l, "mean", i / S, 0));
  }
}

static bool chain_d(const lip_layer *l, const double *x, double *y) {
  double *now = malloc(l->n_in * sizeof *now);
  memcpy(now, x, l->n_in * sizeof *now);
  bool ok = true;
  for (size_t i = 0; ok && i < l->n_child; i++) {
    double *next = malloc(l->child[i]->n_out * sizeof *next);
    ok = layer_in_double(l->child[i], now, next);
    free(now);
    now = next;
  }
  if (ok) memcpy(y, now, (l->n_child ? l->child[l->n_child - 1]->n_out : l->n_in) * sizeof *y);
  free(now);
  return ok;
}

static bool residual_d(const lip_layer *l, const double *x, double *y) {
  float alpha = (float)layer_number(l, "alpha");
  double a = layer_number(l, "mode") == 0 ? (double)alpha : 1,
         b = layer_number(l, "mode") == 0 ? (double)(1 - alpha) : 1;
  if (!chain_d(l, x, y)) return false;
  for (size_t i = 0; i < l->n_in; i++) y[i] = a * x[i] + b * y[i];
  return true;
}

/* Joined (concat) or added up with weights (sum). */
static bool branches_d(const lip_layer *l, const double *x, double *y, bool join) {
  size_t at = 0;
  bool ok = true;
  double *f = malloc(l->n_out * sizeof *f);
  for (size_t k = 0; k < l->n_out; k++) y[k] = 0;
  for (size_t i = 0; ok && i < l->n_child; at += join ? l->child[i]->n_out : 0, i++) {
    double w = join ? 1 : (double)(float)layer_listed(l, "weights", i, 1);
    ok = layer_in_double(l->child[i], x, f);
    for (size_t k = 0; ok && k < l->child[i]->n_out; k++) y[at + k] += w * f[k];
  }
  free(f);
  return ok;
}

static bool anchor_d(const lip_layer *l, const double *x, double *y) {
  double *at = malloc((l->n_in + l->n_out) * sizeof *at), *f = at + l->n_in;
  for (size_t i = 0; i < l->n_in; i++) at[i] = (double)(float)layer_listed(l, "at", i, 0);
  bool ok = chain_d(l, at, f) && chain_d(l, x, y);
  for (size_t k = 0; k < l->n_out; k++) y[k] += (double)(float)layer_listed(l, "value", k, 0) - f[k];
  free(at);
  return ok;
}

/* centre and batch_norm outside training: one factor and one offset by channel. */
static void normalise_d(const lip_layer *l, const double *x, double *y, bool whole) {
  const size_t S = l->n_in / l->in.dim[0];
  for (size_t i = 0; i < l->n_in; i++) {
    const double m = (double)l->param[whole ? 2 : 0].value[i / S];
    double a = 1, b = -m;
    if (whole) {
      a = (double)l->param[0].value[i / S] /
          sqrt(fmax((double)l->param[3].value[i / S], 0) + layer_number(l, "eps"));
      float down = (float)a;
      if (fabs((double)down) > fabs(a)) down = nextafterf(down, 0);
      a = (double)down;
      b = (double)(float)((double)l->param[1].value[i / S] - a * m);
    }
    y[i] = a * x[i] + b;
  }
}

static const lip_param *param_named(const lip_layer *l, const char *name) {
  for (size_t i = 0; i < l->n_param; i++)
    if (strcmp(l->param[i].name, name) == 0) return &l->param[i];
  return NULL;
}

/* linf_dist, or (`sorted`) sort_neuron. */
static void distance_d(const lip_layer *l, const double *x, double *y, bool sorted) {
  const size_t n = l->n_in;
  const lip_param *b = param_named(l, "bias"), *m = param_named(l, "running_mean"),
                  *log2_p = param_named(l, "log2_p");
  const double k = log2_p ? round((double)log2_p->value[0]) : 0;
  double *v = malloc(n * sizeof *v);
  for (size_t j = 0; j < l->n_out; j++) {
    const double c = (b ? (double)b->value[j] : 0) - (m ? (double)m->value[j] : 0);
    double sum = 0, weights = 0;
    for (size_t i = 0; i < n; i++) v[i] = fabs(x[i] - (double)l->param[0].value[j * n + i]);
    qsort(v, n, sizeof *v, ascending);
    if (sorted) {
      const double q = layer_number(l, "q"), terms = fmin(layer_number(l, "terms"), (double)n);
      for (double i = 0; i < terms; i++) weights += q * pow(1 - q, i);
      for (double i = 0; i < terms; i++)
        sum += (double)(float)(q * pow(1 - q, i) / weights) * v[n - 1 - (size_t)i];
    } else if (k > 0 && v[n - 1] > 0) {
      for (size_t i = 0; i < n; i++) sum += pow(v[i] / v[n - 1], exp2(k));
      sum = v[n - 1] * pow(sum, exp2(-k));
    } else {
      sum = v[n - 1];
    }
    y[j] = sum + (double)(float)c;
  }
  free(v);
}

static bool element(const lip_layer *l, long double v, long double *y) {
  const char *kind = l->kind->desc.name;
  if (strcmp(kind, "dropout") == 0) {
    *y = v;
  } else if (strcmp(kind, "relu") == 0) {
    *y = v > 0 ? v : 0;
  } else if (strcmp(kind, "abs") == 0) {
    *y = fabsl(v);
  } else if (strcmp(kind, "tanh") == 0) {
    *y = tanhl(v);
  } else if (strcmp(kind, "sigmoid") == 0) {
    *y = 1 / (1 + expl(-v));
  } else if (strcmp(kind, "leaky_relu") == 0) {
    *y = v >= 0 ? v : (long double)(float)layer_number(l, "slope") * v;
  } else if (strcmp(kind, "softplus") == 0) {
    long double beta = (long double)(float)layer_number(l, "beta");
    *y = v * beta > 40 ? v + expl(-beta * v) / beta : log1pl(expl(beta * v)) / beta;
  } else {
    return false;
  }
  return true;
}

bool layer_unit(const lip_layer *l, size_t k, long double v, long double *y, double *error) {
  *error = 1e-18;
  if (element(l, v, y)) return true;
  if (strcmp(l->kind->desc.name, "scale") == 0 || strcmp(l->kind->desc.name, "standardise") == 0) {
    size_t c = k / (l->n_in / l->in.dim[0]);
    long double mean = (long double)(float)layer_listed(l, "mean", c, 0);
    *y = (long double)(float)(layer_number(l, "factor") / layer_listed(l, "std", c, 1)) * (v - mean);
    return true;
  }
  *error = l->kind->wide ? 1e-15 : 1e-13;
  double *x = calloc(2 * l->n_in, sizeof *x);
  if (!x) abort();
  x[k] = (double)v;
  bool known = layer_in_double(l, x, x + l->n_in);
  *y = (long double)x[l->n_in + k];
  free(x);
  return known;
}

/* Of a kind that nobody has written out here: its double mode, or its values on intervals of one point. */
static bool own_word(const lip_layer *l, const double *x, double *y) {
  if (l->kind->wide) {
    l->kind->wide(l, 1, x, y);
  } else if (l->kind->range) {
    for (size_t i = 0; i < l->n_in; i++) {
      lip_range r;
      l->kind->range(l, i, x[i], x[i], &r);
      y[i] = (r.least + r.most) / 2;
    }
  }
  return l->kind->wide || l->kind->range;
}

bool layer_in_double(const lip_layer *l, const double *x, double *y) {
  const char *kind = l->kind->desc.name;
  if (strcmp(kind, "chain") == 0) return chain_d(l, x, y);
  if (strcmp(kind, "sll") == 0 || strcmp(kind, "cpl") == 0 || strcmp(kind, "sandwich") == 0)
    return chain_d(l, x, y); /* what is inside; where its weights come from: test_inner.c */
  if (strcmp(kind, "residual") == 0) return residual_d(l, x, y);
  if (strcmp(kind, "concat") == 0 || strcmp(kind, "sum") == 0) return branches_d(l, x, y, kind[0] == 'c');
  if (strcmp(kind, "anchor") == 0) return anchor_d(l, x, y);
  if (moves_d(l, x, y)) return true;
  if (strcmp(kind, "dense") == 0) {
    dense_d(l, x, y);
  } else if (strcmp(kind, "conv2d") == 0) {
    conv_d(l, x, y);
  } else if (strcmp(kind, "conv1d") == 0) {
    conv1d_d(l, x, y);
  } else if (strcmp(kind, "avg_pool2d") == 0 || strcmp(kind, "max_pool2d") == 0 ||
             strcmp(kind, "l2_pool2d") == 0) {
    pool_d(l, x, y, kind[0]);
  } else if (strcmp(kind, "global_avg_pool") == 0) {
    global_avg_pool_d(l, x, y);
  } else if (strcmp(kind, "maxmin") == 0) {
    sort_d(l, x, y, 2, true);
  } else if (strcmp(kind, "groupsort") == 0) {
    sort_d(l, x, y, (size_t)layer_number(l, "size"), false);
  } else if (strcmp(kind, "fullsort") == 0) {
    sort_d(l, x, y, l->in.dim[0], false);
  } else if (strcmp(kind, "householder") == 0) {
    householder_d(l, x, y);
  } else if (strcmp(kind, "scale") == 0 || strcmp(kind, "standardise") == 0) {
    scale_d(l, x, y);
  } else if (strcmp(kind, "centre") == 0 || strcmp(kind, "batch_norm") == 0) {
    normalise_d(l, x, y, kind[0] == 'b');
  } else if (strcmp(kind, "linf_dist") == 0 || strcmp(kind, "sort_neuron") == 0) {
    distance_d(l, x, y, kind[0] == 's');
  } else if (strcmp(kind, "flatten") == 0) {
    memcpy(y, x, l->n_in * sizeof *y);
  } else {
    long double v;
    if (!element(l, 0.5L, &v)) return own_word(l, x, y);
    for (size_t i = 0; i < l->n_in; i++) {
      element(l, (long double)x[i], &v);
      y[i] = (double)v;
    }
  }
  return true;
}
