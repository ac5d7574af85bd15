/* Steps of a net as Python: every step is a line of `forward`, and those that have arrays are modules of a list. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/atomic.h"
#include "core/base/mem.h"
#include "core/base/number.h"
#include "core/exchange/replace.h"
#include "core/exchange/torch.h"
#include "core/layer/emit.h"

enum { PER_STEP = 3, NAME = 48 };

/* What every source begins with. */
#define MARK "\"\"\"A network as PyTorch executes it, written by lipwb"

typedef struct writer {
  const char *path;
  lip_emit e;
  lip_array *array; /* (PER_STEP e.n) */
  char (*name)[NAME];
  size_t n_array;
  size_t n_module;
  lip_str modules, forward;
  bool uses_affine, uses_move, uses_sort, uses_constant;
  lip_status status;
  lip_err *err;
} writer;

/* ---- texts ---- */

/* "3, 4", of sizes that follow one another. */
static void put_sizes(lip_str *s, const size_t *v, int n) {
  for (int i = 0; i < n; i++) lip_str_printf(s, i > 0 ? ", %zu" : "%zu", v[i]);
}

/* "(3,)" */
static void put_tuple(lip_str *s, const size_t *v, int n) {
  lip_str_puts(s, "(");
  put_sizes(s, v, n);
  lip_str_puts(s, n == 1 ? ",)" : ")");
}

/* A float32 number, exactly. */
static void put_number(lip_str *s, double v) {
  char text[40];
  lip_snprintf(text, sizeof text, "%.17g", v);
  lip_str_puts(s, text);
}

/* What makes no line of its own, of any bytes. */
static void put_comment(lip_str *s, const char *text) {
  for (; *text; text++) {
    const char c = (unsigned char)*text < ' ' || (unsigned char)*text >= 127 ? '?' : *text;
    lip_str_add(s, &c, 1);
  }
}

/* Python's b"...", of any bytes. */
static void put_bytes(lip_str *s, const char *text, size_t n) {
  lip_str_puts(s, "b\"");
  for (size_t i = 0; i < n; i++) {
    const unsigned char c = (unsigned char)text[i];
    if (c < ' ' || c >= 127 || c == '"' || c == '\\')
      lip_str_printf(s, "\\x%02x", c);
    else
      lip_str_add(s, &text[i], 1);
  }
  lip_str_puts(s, "\"");
}

/* ---- arrays ---- */

static lip_array *add_array(writer *w, const char *role, int ndim, const size_t *shape, const void *data) {
  char *name = w->name[w->n_array];
  lip_array *a = &w->array[w->n_array++];
  snprintf(name, NAME, "layers.%zu.%s", w->n_module, role);
  *a = (lip_array){.name = name, .ndim = ndim, .data = data};
  memcpy(a->shape, shape, (size_t)ndim * sizeof *shape);
  return a;
}

static void add_floats(writer *w, const char *role, int ndim, const size_t *shape, const float *data) {
  const lip_array *a = add_array(w, role, ndim, shape, data);
  for (size_t i = 0; !w->status && i < lip_array_size(a); i++)
    if (!isfinite(data[i]))
      w->status = lip_fail(w->err, LIP_NOT_FINITE, "%s[%zu] is NaN or infinite: not written", a->name, i);
}

/* Begins an entry of the list of modules; the text of its constructor follows, then end_module. */
static lip_str *begin_module(writer *w) {
  lip_str_puts(&w->modules, "            ");
  return &w->modules;
}

static void end_module(writer *w) {
  lip_str_puts(&w->modules, ",\n");
  w->n_module++;
}

/* Begins the line of value i; the expression follows. */
static lip_str *begin_value(writer *w, size_t i) {
  lip_str_printf(&w->forward, "        v%zu = ", i);
  return &w->forward;
}

/* v3 = self.layers[1](v2) */
static void call_module(writer *w, size_t i, size_t x) {
  lip_str_printf(begin_value(w, i), "self.layers[%zu](v%zu)\n", w->n_module, x);
}

/* ---- steps ---- */

static void put_dense(writer *w, const lip_emit_step *s, size_t i) {
  const size_t M = s->out.dim[0], N = lip_shape_size(&w->e.step[s->x[0]].out);
  lip_str_printf(begin_value(w, i), "self.layers[%zu](v%zu.flatten(1))\n", w->n_module, s->x[0]);
  lip_str_printf(begin_module(w), "nn.Linear(%zu, %zu, bias=%s)", N, M, s->u.dense.b ? "True" : "False");
  add_floats(w, "weight", 2, (size_t[]){M, N}, s->u.dense.W);
  if (s->u.dense.b) add_floats(w, "bias", 1, &M, s->u.dense.b);
  end_module(w);
}

static void put_conv(writer *w, const lip_emit_step *s, size_t i) {
  const lip_shape *in = &w->e.step[s->x[0]].out;
  const bool line = in->ndim == 2;
  const int n = line ? 1 : 2;
  const size_t C = in->dim[0], OUT = s->out.dim[0], Cg = C / s->u.conv.groups, at = line ? 1 : 0;
  lip_str *m = begin_module(w);
  call_module(w, i, s->x[0]);
  lip_str_printf(m, "nn.Conv%dd(%zu, %zu, ", n, C, OUT);
  put_tuple(m, s->u.conv.kernel + at, n);
  lip_str_puts(m, ", stride=");
  put_tuple(m, s->u.conv.stride + at, n);
  lip_str_puts(m, ", padding=");
  put_tuple(m, s->u.conv.padding + at, n);
  lip_str_puts(m, ", dilation=");
  put_tuple(m, s->u.conv.dilation + at, n);
  lip_str_printf(m, ", groups=%zu, bias=%s)", s->u.conv.groups, s->u.conv.b ? "True" : "False");
  const size_t wide[] = {OUT, Cg, s->u.conv.kernel[0], s->u.conv.kernel[1]},
               narrow[] = {OUT, Cg, s->u.conv.kernel[1]};
  add_floats(w, "weight", line ? 3 : 4, line ? narrow : wide, s->u.conv.W);
  if (s->u.conv.b) add_floats(w, "bias", 1, &OUT, s->u.conv.b);
  end_module(w);
}

static void put_map(writer *w, const lip_emit_step *s, size_t i) {
  static const char *const name[] = {
      [LIP_EMIT_RELU] = "torch.relu",       [LIP_EMIT_LEAKY_RELU] = "F.leaky_relu",
      [LIP_EMIT_ABS] = "torch.abs",         [LIP_EMIT_TANH] = "torch.tanh",
      [LIP_EMIT_SIGMOID] = "torch.sigmoid", [LIP_EMIT_SOFTPLUS] = "F.softplus"};
  lip_str *f = begin_value(w, i);
  lip_str_printf(f, "%s(v%zu", name[s->u.map.f], s->x[0]);
  if (s->u.map.f == LIP_EMIT_LEAKY_RELU || s->u.map.f == LIP_EMIT_SOFTPLUS) {
    lip_str_puts(f, s->u.map.f == LIP_EMIT_SOFTPLUS ? ", beta=" : ", ");
    put_number(f, s->u.map.parameter);
  }
  lip_str_puts(f, ")\n");
}

static void put_affine(writer *w, const lip_emit_step *s, size_t i) {
  const size_t shape[3] = {s->out.dim[0], 1, 1};
  const float *part[] = {s->u.affine.m, s->u.affine.a, s->u.affine.b};
  static const char *const role[] = {"mean", "factor", "bias"};
  call_module(w, i, s->x[0]);
  lip_str *m = begin_module(w);
  lip_str_puts(m, "Affine(");
  put_tuple(m, shape, s->out.ndim);
  for (size_t k = 0; k < 3; k++) {
    lip_str_printf(m, ", %s=%s", role[k], part[k] ? "True" : "False");
    if (part[k]) add_floats(w, role[k], s->out.ndim, shape, part[k]);
  }
  lip_str_puts(m, ")");
  end_module(w);
  w->uses_affine = true;
}

/* "v3", with a border of `fill` where there is padding; {C, L} as one row. */
static void put_framed(lip_str *f, const lip_emit_step *s, const lip_shape *in, const char *after,
                       const char *fill) {
  const size_t *p = s->u.pool.padding;
  const bool pad = p[0] > 0 || p[1] > 0;
  lip_str_printf(f, "%sv%zu%s%s", pad ? "F.pad(" : "", s->x[0], in->ndim == 2 ? ".unsqueeze(2)" : "", after);
  if (pad) lip_str_printf(f, ", (%zu, %zu, %zu, %zu), value=%s)", p[1], p[1], p[0], p[0], fill);
}

static void put_pool(writer *w, const lip_emit_step *s, size_t i) {
  const lip_shape *in = &w->e.step[s->x[0]].out;
  const lip_emit_pool how = s->u.pool.how;
  lip_str *f = begin_value(w, i);
  lip_str_puts(f, how == LIP_EMIT_MAX    ? "F.max_pool2d("
                  : how == LIP_EMIT_MEAN ? "F.avg_pool2d("
                                         : "torch.sqrt(F.avg_pool2d(");
  put_framed(f, s, in, how == LIP_EMIT_L2 ? ".double().square()" : "",
             how == LIP_EMIT_MAX ? "-float(\"inf\")" : "0.0");
  lip_str_puts(f, ", ");
  put_tuple(f, s->u.pool.kernel, 2);
  lip_str_puts(f, ", ");
  put_tuple(f, s->u.pool.stride, 2);
  if (how != LIP_EMIT_MAX) lip_str_puts(f, ", divisor_override=1");
  lip_str_puts(f, ")");
  if (how == LIP_EMIT_MEAN) {
    lip_str_puts(f, ".mul(");
    put_number(f, (double)s->u.pool.factor);
    lip_str_puts(f, ")");
  } else if (how == LIP_EMIT_L2) {
    lip_str_puts(f, ").float()");
  }
  lip_str_printf(f, ".reshape(v%zu.shape[0], ", s->x[0]);
  put_sizes(f, s->out.dim, s->out.ndim);
  lip_str_puts(f, ")\n");
}

static void put_sort(writer *w, const lip_emit_step *s, size_t i) {
  lip_str_printf(begin_value(w, i), "sort_groups(v%zu, %zu, %s)\n", s->x[0], s->u.sort.size,
                 s->u.sort.descending ? "True" : "False");
  w->uses_sort = true;
}

static void put_move(writer *w, const lip_emit_step *s, size_t i) {
  const size_t n = lip_shape_size(&s->out), n_in = lip_shape_size(&w->e.step[s->x[0]].out);
  int64_t *index = lip_emit_take(&w->e, n, sizeof *index);
  if (!index) {
    w->status = lip_fail(w->err, LIP_MEMORY, "no memory for %zu places", n);
    return;
  }
  for (size_t k = 0; k < n; k++)
    index[k] = s->u.move.from[k] == LIP_EMIT_ZERO ? (int64_t)n_in : (int64_t)s->u.move.from[k];
  call_module(w, i, s->x[0]);
  lip_str *m = begin_module(w);
  lip_str_puts(m, "Move(");
  put_tuple(m, s->out.dim, s->out.ndim);
  lip_str_puts(m, ")");
  lip_array *a = add_array(w, "index", 1, &n, index);
  a->type = "I64";
  a->item = sizeof *index;
  end_module(w);
  w->uses_move = true;
}

static void put_constant(writer *w, const lip_emit_step *s, size_t i) {
  lip_str *m = begin_module(w);
  lip_str_printf(begin_value(w, i), "self.layers[%zu](v0.shape[0])\n", w->n_module);
  lip_str_puts(m, "Constant(");
  put_tuple(m, s->out.dim, s->out.ndim);
  lip_str_puts(m, ")");
  add_floats(w, "value", s->out.ndim, s->out.dim, s->u.constant.v);
  end_module(w);
  w->uses_constant = true;
}

static void put_sum(writer *w, const lip_emit_step *s, size_t i) {
  lip_str *f = begin_value(w, i);
  for (size_t k = 0; k < s->n_x; k++) {
    const float weight = s->u.sum.weight ? s->u.sum.weight[k] : 1;
    if (!isfinite(weight))
      w->status = lip_fail(w->err, LIP_NOT_FINITE, "a weight of a sum is NaN or infinite");
    if (k > 0) lip_str_puts(f, " + ");
    lip_str_printf(f, "v%zu", s->x[k]);
    if (weight == 1) continue;
    lip_str_puts(f, " * ");
    put_number(f, (double)weight);
  }
  lip_str_puts(f, "\n");
}

static void put_join(writer *w, const lip_emit_step *s, size_t i) {
  lip_str *f = begin_value(w, i);
  lip_str_puts(f, "torch.cat((");
  for (size_t k = 0; k < s->n_x; k++) lip_str_printf(f, "v%zu, ", s->x[k]);
  lip_str_puts(f, "), 1)\n");
}

static void put_reshape(writer *w, const lip_emit_step *s, size_t i) {
  lip_str *f = begin_value(w, i);
  lip_str_printf(f, "v%zu.reshape(v%zu.shape[0], ", s->x[0], s->x[0]);
  put_sizes(f, s->out.dim, s->out.ndim);
  lip_str_puts(f, ")\n");
}

static void put_input(writer *w, const lip_emit_step *s, size_t i) {
  (void)s;
  lip_str_puts(begin_value(w, i), "x.reshape(x.shape[0], *INPUT)\n");
}

static void put_step(writer *w, size_t i) {
  static void (*const put[])(writer *, const lip_emit_step *, size_t) = {
      [LIP_EMIT_INPUT] = put_input,     [LIP_EMIT_CONSTANT] = put_constant, [LIP_EMIT_DENSE] = put_dense,
      [LIP_EMIT_CONV] = put_conv,       [LIP_EMIT_MAP] = put_map,           [LIP_EMIT_AFFINE] = put_affine,
      [LIP_EMIT_POOL] = put_pool,       [LIP_EMIT_SORT] = put_sort,         [LIP_EMIT_MOVE] = put_move,
      [LIP_EMIT_RESHAPE] = put_reshape, [LIP_EMIT_SUM] = put_sum,           [LIP_EMIT_JOIN] = put_join};
  const lip_emit_step *s = &w->e.step[i];
  put[s->op](w, s, i);
}

/* ---- the source ---- */

static const char head[] =
    "import os\n"
    "\n"
    "try:\n"
    "    import torch\n"
    "    import torch.nn as nn\n"
    "    import torch.nn.functional as F\n"
    "    from safetensors.torch import load_file\n"
    "except ImportError as missing:\n"
    "    raise ImportError(\"this network needs the Python packages torch and safetensors: \"\n"
    "                      \"pip install torch safetensors\") from missing\n"
    "\n";

static const char affine[] =
    "\n"
    "class Affine(nn.Module):\n"
    "    \"\"\"factor (x - mean) + bias of every channel.\"\"\"\n"
    "\n"
    "    def __init__(self, shape, mean, factor, bias):\n"
    "        super().__init__()\n"
    "        for name, present in ((\"mean\", mean), (\"factor\", factor), (\"bias\", bias)):\n"
    "            self.register_buffer(name, torch.zeros(shape) if present else None)\n"
    "\n"
    "    def forward(self, x):\n"
    "        if self.mean is not None:\n"
    "            x = x - self.mean\n"
    "        if self.factor is not None:\n"
    "            x = x * self.factor\n"
    "        return x if self.bias is None else x + self.bias\n"
    "\n";

static const char move[] =
    "\n"
    "class Move(nn.Module):\n"
    "    \"\"\"Numbers in other places; the number behind the last one is 0.\"\"\"\n"
    "\n"
    "    def __init__(self, shape):\n"
    "        super().__init__()\n"
    "        self.shape = shape\n"
    "        self.register_buffer(\"index\", torch.zeros(torch.Size(shape).numel(), dtype=torch.int64))\n"
    "\n"
    "    def forward(self, x):\n"
    "        return F.pad(x.flatten(1), (0, 1)).index_select(1, self.index).reshape(x.shape[0], "
    "*self.shape)\n"
    "\n";

static const char constant[] = "\n"
                               "class Constant(nn.Module):\n"
                               "    \"\"\"The same numbers in every row.\"\"\"\n"
                               "\n"
                               "    def __init__(self, shape):\n"
                               "        super().__init__()\n"
                               "        self.register_buffer(\"value\", torch.zeros(shape))\n"
                               "\n"
                               "    def forward(self, rows):\n"
                               "        return self.value.expand(rows, *self.value.shape)\n"
                               "\n";

static const char sort[] =
    "\n"
    "def sort_groups(x, size, descending):\n"
    "    \"\"\"Groups of `size` neighbouring channels in order, place by place.\"\"\"\n"
    "    groups = x.reshape(x.shape[0], x.shape[1] // size, size, *x.shape[2:])\n"
    "    return torch.sort(groups, dim=2, descending=descending).values.reshape(x.shape)\n"
    "\n";

static const char tail[] = "\n"
                           "def load(path=WEIGHTS):\n"
                           "    \"\"\"The network with its arrays, on the CPU, in evaluation mode.\"\"\"\n"
                           "    net = Net()\n"
                           "    net.load_state_dict(load_file(path), strict=True)\n"
                           "    return net.eval()\n"
                           "\n"
                           "\n"
                           "if __name__ == \"__main__\":\n"
                           "    with torch.no_grad():\n"
                           "        print(load()(torch.zeros(1, *INPUT)))\n";

static void put_head(const writer *w, lip_str *s, const char *weights, const lip_pair *meta, size_t n_meta) {
  const char *slash = strrchr(weights, '/');
  const lip_shape *in = &w->e.step[0].out;
  lip_str_puts(s, MARK ": load() returns it with its arrays.\"\"\"\n");
  for (size_t i = 0; i < n_meta; i++) {
    lip_str_puts(s, "# ");
    put_comment(s, meta[i].key);
    lip_str_puts(s, ": ");
    put_comment(s, meta[i].value);
    lip_str_puts(s, "\n");
  }
  lip_str_puts(s, head);
  lip_str_puts(s, "INPUT = ");
  put_tuple(s, in->dim, in->ndim);
  lip_str_puts(s, "  # of one sample; the module takes (rows, *INPUT)\n"
                  "WEIGHTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.fsdecode(");
  slash = slash ? slash + 1 : weights;
  put_bytes(s, slash, strlen(slash));
  lip_str_puts(s, "))\n\n");
  if (w->uses_affine) lip_str_puts(s, affine);
  if (w->uses_move) lip_str_puts(s, move);
  if (w->uses_constant) lip_str_puts(s, constant);
  if (w->uses_sort) lip_str_puts(s, sort);
}

static void put_net(const writer *w, lip_str *s) {
  lip_str_puts(s, "\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                  "        self.layers = nn.ModuleList([\n");
  if (w->modules.len > 0) lip_str_add(s, w->modules.text, w->modules.len);
  lip_str_puts(s, "        ])\n\n    def forward(self, x):\n");
  if (w->forward.len > 0) lip_str_add(s, w->forward.text, w->forward.len);
  lip_str_printf(s, "        return v%zu.flatten(1)\n\n", w->e.out);
  lip_str_puts(s, tail);
  if (w->modules.failed || w->forward.failed) s->failed = true;
}

static lip_status save_text(const char *path, const lip_str *s, lip_err *err) {
  lip_atomic *a = NULL;
  if (s->failed) return lip_fail(err, LIP_MEMORY, "%.200s: no memory to write it", path);
  lip_status status = lip_atomic_open(path, &a, err);
  if (status) return status;
  lip_atomic_write(a, s->text, s->len);
  return lip_atomic_commit(a, err);
}

/* Everything but the files. */
static lip_status compose(writer *w, const lip_net *net) {
  lip_status status = lip_emit_init(&w->e, net->root, w->err);
  if (status) return status;
  w->array = lip_alloc(PER_STEP * w->e.n, sizeof *w->array);
  w->name = lip_alloc(PER_STEP * w->e.n, sizeof *w->name);
  if (!w->array || !w->name) return lip_fail(w->err, LIP_MEMORY, "%.200s: no memory to write it", w->path);
  for (size_t i = 0; !w->status && i < w->e.n; i++) put_step(w, i);
  return w->status;
}

static lip_status save(const writer *w, const lip_pair *meta, size_t n_meta, lip_err *err) {
  const size_t n = strlen(w->path) - 3;
  lip_str weights = {0}, source = {0};
  lip_str_add(&weights, w->path, n);
  lip_str_puts(&weights, ".safetensors");
  if (weights.failed) {
    lip_str_free(&weights);
    return lip_fail(err, LIP_MEMORY, "%.200s: no memory to write it", w->path);
  }
  put_head(w, &source, weights.text, meta, n_meta);
  put_net(w, &source);
  lip_status status =
      source.failed ? lip_fail(err, LIP_MEMORY, "%.200s: no memory to write it", w->path) : LIP_OK;
  if (!status) status = lip_replace_text(w->path, MARK, err);
  if (!status) status = lip_replace_arrays(weights.text, err);
  if (!status) status = lip_safetensors_save(weights.text, w->array, w->n_array, meta, n_meta, err);
  if (!status) status = save_text(w->path, &source, err);
  lip_str_free(&weights);
  lip_str_free(&source);
  return status;
}

bool lip_torch_is_path(const char *path) {
  const size_t n = strlen(path);
  const char *slash = strrchr(path, '/');
  return n > 3 && strcmp(path + n - 3, ".py") == 0 && (!slash || strlen(slash) > 4);
}

lip_status lip_torch_write(const char *path, const lip_net *net, const lip_pair *meta, size_t n_meta,
                           lip_err *err) {
  if (!lip_torch_is_path(path))
    return lip_fail(err, LIP_OPTION, "torch: expected the name of a file that ends in .py, got \"%.200s\"",
                    path);
  writer w = {.path = path, .err = err};
  lip_status status = compose(&w, net);
  if (!status) status = save(&w, meta, n_meta, err);
  lip_emit_free(&w.e);
  lip_free(w.array);
  lip_free(w.name);
  lip_str_free(&w.modules);
  lip_str_free(&w.forward);
  return status;
}
