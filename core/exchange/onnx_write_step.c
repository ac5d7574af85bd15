/* Each kind of step as operators of ONNX. */
#include "core/exchange/onnx_write_parts.h"

/* A constant of the step, by the name that its parameter has in files. */
static const char *array(lip_onnx_steps *s, const lip_emit_step *step, const char *other, int ndim,
                         const int64_t *dim, const float *v) {
  const lip_layer *l = step->layer;
  for (size_t i = 0; l && i < l->n_param; i++)
    if (l->param[i].value == v) other = l->param[i].name;
  return lip_onnx_file_floats(s->file, lip_onnx_file_text(s->file, "%s.%s", s->path, other), ndim, dim, v);
}

static const lip_shape *shape_in(const lip_onnx_steps *s, const lip_emit_step *step) {
  return &s->e->step[step->x[0]].out;
}

static const char *value_in(const lip_onnx_steps *s, const lip_emit_step *step, size_t k) {
  return s->value[step->x[k]];
}

typedef void write_step(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out);

static void constant(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  (void)x;
  int64_t dim[4] = {1}; /* one row, for all of a batch */
  for (int k = 0; k < step->out.ndim; k++) dim[k + 1] = (int64_t)step->out.dim[k];
  lip_onnx_file_floats(s->file, out, step->out.ndim + 1, dim, step->u.constant.v);
}

/* ---- linear steps ---- */

static void dense(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  const int64_t dim[] = {(int64_t)step->out.dim[0], (int64_t)lip_shape_size(shape_in(s, step))};
  const char *in[3] = {x, array(s, step, "weight", 2, dim, step->u.dense.W)};
  if (step->u.dense.b) in[2] = array(s, step, "bias", 1, dim, step->u.dense.b);
  lip_onnx_put(s, "Gemm", "", step->u.dense.b ? 3 : 2, in, out);
  lip_onnx_file_int(s->file, "transB", 1);
}

/* Attributes of windows along the last n sides; kernel NULL and dilation NULL: there is none. */
static void window(lip_onnx_steps *s, size_t n, const size_t *kernel, const size_t *stride,
                   const size_t *padding, const size_t *dilation) {
  const size_t first = 2 - n; /* one side: across */
  int64_t k[2] = {0}, st[2] = {0}, d[2] = {0}, pads[4] = {0};
  for (size_t i = 0; i < n; i++) {
    k[i] = (int64_t)kernel[first + i];
    st[i] = (int64_t)stride[first + i];
    d[i] = dilation ? (int64_t)dilation[first + i] : 1;
    pads[i] = pads[n + i] = padding ? (int64_t)padding[first + i] : 0;
  }
  lip_onnx_file_ints(s->file, "kernel_shape", n, k);
  lip_onnx_file_ints(s->file, "strides", n, st);
  lip_onnx_file_ints(s->file, "pads", 2 * n, pads);
  if (dilation) lip_onnx_file_ints(s->file, "dilations", n, d);
}

static void conv(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  const size_t sides = step->out.ndim == 3 ? 2 : 1;
  const size_t *kernel = step->u.conv.kernel;
  int64_t dim[4] = {(int64_t)step->out.dim[0], (int64_t)(shape_in(s, step)->dim[0] / step->u.conv.groups),
                    (int64_t)kernel[2 - sides], (int64_t)kernel[1]};
  const char *in[3] = {x, array(s, step, "weight", (int)sides + 2, dim, step->u.conv.W)};
  if (step->u.conv.b) in[2] = array(s, step, "bias", 1, dim, step->u.conv.b);
  lip_onnx_put(s, "Conv", "", step->u.conv.b ? 3 : 2, in, out);
  window(s, sides, kernel, step->u.conv.stride, step->u.conv.padding, step->u.conv.dilation);
  lip_onnx_file_int(s->file, "group", (int64_t)step->u.conv.groups);
}

/* The last operation of several is called `out`, those before it by names of their own. */
static void affine(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  const struct {
    const char *op, *part, *name;
    const float *v;
  } rows[] = {{"Sub", ".sub", "mean", step->u.affine.m},
              {"Mul", ".mul", "slope", step->u.affine.a},
              {"Add", ".add", "offset", step->u.affine.b}};
  const int64_t dim[] = {(int64_t)step->out.dim[0], 1, 1};
  size_t left = 0;
  for (size_t i = 0; i < 3; i++) left += rows[i].v != NULL;
  if (left == 0) lip_onnx_put(s, "Identity", "", 1, &x, out);
  for (size_t i = 0; i < 3; i++) {
    if (!rows[i].v) continue;
    const char *c = array(s, step, rows[i].name, step->out.ndim, dim, rows[i].v);
    const bool last = --left == 0;
    x = lip_onnx_put(s, rows[i].op, last ? "" : rows[i].part, 2, (const char *const[]){x, c},
                     last ? out : NULL);
  }
}

static const char *scalar(lip_onnx_steps *s, const char *name, const float *v) {
  return lip_onnx_file_floats(s->file, name, 0, NULL, v);
}

/* From the first on: products where the weight is neither 1 nor -1, sums and differences. */
static void sum(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  for (size_t i = 0; i < step->n_x; i++) {
    const float *w = step->u.sum.weight ? &step->u.sum.weight[i] : NULL;
    const bool last = i + 1 == step->n_x, minus = w && *w == -1 && i > 0;
    const char *term = value_in(s, step, i);
    if (w && *w != 1 && !minus) {
      const char *by = scalar(s, lip_onnx_file_text(s->file, "%s.weight.%zu", s->path, i + 1), w);
      const bool only = step->n_x == 1;
      term = lip_onnx_put(s, "Mul", only ? "" : lip_onnx_file_text(s->file, ".mul.%zu", i + 1), 2,
                          (const char *const[]){term, by}, only ? out : NULL);
    } else if (step->n_x == 1) {
      term = lip_onnx_put(s, "Identity", "", 1, &term, out);
    }
    if (i == 0)
      x = term;
    else
      x = lip_onnx_put(s, minus ? "Sub" : "Add", last ? "" : lip_onnx_file_text(s->file, ".add.%zu", i + 1),
                       2, (const char *const[]){x, term}, last ? out : NULL);
  }
}

static void join(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  (void)x;
  const char **in = lip_onnx_file_take(s->file, step->n_x, sizeof *in);
  if (!in) return;
  for (size_t i = 0; i < step->n_x; i++) in[i] = value_in(s, step, i);
  lip_onnx_put(s, "Concat", "", step->n_x, in, out);
  lip_onnx_file_int(s->file, "axis", 1);
}

static void reshape(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  if (step->out.ndim == 1)
    lip_onnx_put(s, "Flatten", "", 1, &x, out);
  else
    lip_onnx_put_reshape(s, "", x, (size_t)step->out.ndim, step->out.dim, out);
}

/* ---- functions, pools, sorting ---- */

static void map(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  static const char *const op[] = {
      [LIP_EMIT_RELU] = "Relu", [LIP_EMIT_LEAKY_RELU] = "LeakyRelu", [LIP_EMIT_ABS] = "Abs",
      [LIP_EMIT_TANH] = "Tanh", [LIP_EMIT_SIGMOID] = "Sigmoid",      [LIP_EMIT_SOFTPLUS] = "Softplus"};
  const lip_emit_function f = step->u.map.f;
  const float parameter = (float)step->u.map.parameter;
  const bool sharp = f == LIP_EMIT_SOFTPLUS && parameter != 1; /* log(1 + exp(beta x)) / beta */
  if (!sharp) {
    lip_onnx_put(s, op[f], "", 1, &x, out);
    if (f == LIP_EMIT_LEAKY_RELU) lip_onnx_file_float(s->file, "alpha", parameter);
    return;
  }
  float *own = lip_onnx_file_take(s->file, 1, sizeof *own);
  if (!own) return;
  *own = parameter;
  const char *beta = scalar(s, lip_onnx_file_text(s->file, "%s.beta", s->path), own);
  x = lip_onnx_put(s, "Mul", ".mul", 2, (const char *const[]){x, beta}, NULL);
  x = lip_onnx_put(s, op[f], ".softplus", 1, &x, NULL);
  lip_onnx_put(s, "Div", "", 2, (const char *const[]){x, beta}, out);
}

/* Windows that may lie in the zeros altogether get them from a Pad: pools of ONNX have fewer zeros than the kernel. */
static const char *zeros(lip_onnx_steps *s, const size_t *padding, const char *x) {
  const int64_t down = (int64_t)padding[0], across = (int64_t)padding[1];
  const char *pads = lip_onnx_file_whole(s->file, lip_onnx_file_text(s->file, "%s.pads", s->path), 8,
                                         (const int64_t[]){0, 0, down, across, 0, 0, down, across});
  return lip_onnx_put(s, "Pad", ".pad", 2, (const char *const[]){x, pads}, NULL);
}

static void pool(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  const size_t *kernel = step->u.pool.kernel, *padding = step->u.pool.padding;
  if (step->u.pool.how == LIP_EMIT_L2) {
    lip_onnx_file_refuse(s->file, step->layer->kind->desc.name,
                         "it would sum squares in float32, where those of small numbers vanish");
    return;
  }
  if (step->out.ndim == 1) {
    const char *mean = lip_onnx_put(s, "GlobalAveragePool", ".mean", 1, &x, NULL);
    lip_onnx_put(s, "Flatten", "", 1, &mean, out);
    return;
  }
  if (padding[0] >= kernel[0] || padding[1] >= kernel[1]) {
    x = zeros(s, padding, x);
    padding = NULL;
  }
  const bool mean = step->u.pool.how == LIP_EMIT_MEAN;
  lip_onnx_put(s, mean ? "AveragePool" : "MaxPool", "", 1, &x, out);
  window(s, 2, kernel, step->u.pool.stride, padding, NULL);
  if (mean) lip_onnx_file_int(s->file, "count_include_pad", 1);
}

/* Pairs by their larger and smaller value, which need no search. */
static const char *sort_pairs(lip_onnx_steps *s, bool descending, const char *x) {
  const char *side[] = {lip_onnx_file_text(s->file, "%s.split.1", s->name),
                        lip_onnx_file_text(s->file, "%s.split.2", s->name)};
  lip_onnx_file_node(s->file, "Split", lip_onnx_file_text(s->file, "%s.split", s->name), 1, &x, 2, side);
  lip_onnx_file_int(s->file, "axis", 2);
  const char *max = lip_onnx_put(s, "Max", ".max", 2, side, NULL);
  const char *min = lip_onnx_put(s, "Min", ".min", 2, side, NULL);
  const char *y = lip_onnx_put(s, "Concat", ".concat", 2,
                               (const char *const[]){descending ? max : min, descending ? min : max}, NULL);
  lip_onnx_file_int(s->file, "axis", 2);
  return y;
}

static const char *sort_groups(lip_onnx_steps *s, size_t size, bool descending, const char *x) {
  const int64_t k = (int64_t)size;
  const char *out[] = {lip_onnx_file_text(s->file, "%s.values", s->name),
                       lip_onnx_file_text(s->file, "%s.places", s->name)};
  const char *in[] = {x,
                      lip_onnx_file_whole(s->file, lip_onnx_file_text(s->file, "%s.size", s->path), 1, &k)};
  lip_onnx_file_node(s->file, "TopK", lip_onnx_file_text(s->file, "%s.sort", s->name), 2, in, 2, out);
  lip_onnx_file_int(s->file, "axis", 2);
  lip_onnx_file_int(s->file, "largest", descending);
  lip_onnx_file_int(s->file, "sorted", 1);
  return out[0];
}

static void sort(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  const size_t size = step->u.sort.size, C = step->out.dim[0];
  size_t side[] = {C / size, size, lip_shape_size(&step->out) / C};
  if (size == 1) {
    lip_onnx_put(s, "Identity", "", 1, &x, out);
    return;
  }
  x = lip_onnx_put_reshape(s, ".groups", x, step->out.ndim == 1 ? 2 : 3, side, NULL);
  x = size == 2 ? sort_pairs(s, step->u.sort.descending, x)
                : sort_groups(s, size, step->u.sort.descending, x);
  lip_onnx_put_reshape(s, "", x, (size_t)step->out.ndim, step->out.dim, out);
}

static write_step *const writers[] = {
    [LIP_EMIT_CONSTANT] = constant, [LIP_EMIT_DENSE] = dense,
    [LIP_EMIT_CONV] = conv,         [LIP_EMIT_MAP] = map,
    [LIP_EMIT_AFFINE] = affine,     [LIP_EMIT_POOL] = pool,
    [LIP_EMIT_SORT] = sort,         [LIP_EMIT_MOVE] = lip_onnx_put_move,
    [LIP_EMIT_RESHAPE] = reshape,   [LIP_EMIT_SUM] = sum,
    [LIP_EMIT_JOIN] = join,
};

void lip_onnx_put_step(lip_onnx_steps *s, size_t i, const char *out) {
  const lip_emit_step *step = &s->e->step[i];
  writers[step->op](s, step, step->n_x > 0 ? value_in(s, step, 0) : NULL, out);
}
