/* Values and runs of layers while a graph is read, and what is told about them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"

/* ---- texts ---- */

/* "Conv \"c1\": ..." */
static void about_node(const lip_onnx *o, char *buf, size_t size, const char *fmt, va_list args) {
  const lip_graph_node *n = o->at < o->g->n_node ? lip_onnx_node(o) : NULL; /* behind the last: of them all */
  int used = !n           ? snprintf(buf, size, "onnx: ")
             : n->name[0] ? snprintf(buf, size, "%.40s \"%.80s\": ", n->op, n->name)
                          : snprintf(buf, size, "%.40s (node %zu): ", n->op, o->at + 1);
  if (used > 0 && (size_t)used < size) vsnprintf(buf + used, size - (size_t)used, fmt, args);
}

lip_status lip_onnx_refuse(const lip_onnx *o, const char *fmt, ...) {
  char text[380];
  va_list args;
  va_start(args, fmt);
  about_node(o, text, sizeof text, fmt, args);
  va_end(args);
  return lip_fail(o->err, LIP_UNSUPPORTED, "%s", text);
}

lip_status lip_onnx_no_memory(const lip_onnx *o) {
  return lip_fail(o->err, LIP_MEMORY, "onnx: no memory for the net of this file");
}

lip_status lip_onnx_note(const lip_onnx *o, const char *fmt, ...) {
  lip_onnx_notes *s = o->notes;
  char text[380];
  va_list args;
  va_start(args, fmt);
  about_node(o, text, sizeof text, fmt, args);
  va_end(args);
  if (s->n == s->room) {
    char **more = lip_realloc(s->text, 2 * s->room + 8, sizeof *more);
    if (!more) return lip_onnx_no_memory(o);
    s->text = more;
    s->room = 2 * s->room + 8;
  }
  s->text[s->n] = lip_strdup(text);
  if (!s->text[s->n]) return lip_onnx_no_memory(o);
  s->n++;
  return LIP_OK;
}

void lip_onnx_notes_free(lip_onnx_notes *s) {
  for (size_t i = 0; i < s->n; i++) lip_free(s->text[i]);
  lip_free(s->text);
  lip_free(s->producer);
  lip_free(s->order);
  *s = (lip_onnx_notes){0};
}

const char *lip_dims_text(const int64_t *dim, int ndim, char *buf, size_t size) {
  size_t used = 0;
  snprintf(buf, size, "%s", ndim == 0 ? "one number" : "");
  for (int i = 0; i < ndim && used < size; i++) {
    int n = dim[i] < 0 ? snprintf(buf + used, size - used, "%s?", i ? "x" : "")
                       : snprintf(buf + used, size - used, "%s%lld", i ? "x" : "", (long long)dim[i]);
    if (n > 0) used += (size_t)n;
  }
  return buf;
}

/* ---- pieces ---- */

void lip_piece_free(lip_piece *p) {
  if (!p) return;
  lip_spec_free(p->spec);
  for (size_t i = 0; i < p->n_array; i++) lip_free(p->array[i].v);
  for (size_t i = 0; i < p->n_branch; i++) lip_run_free(&p->branch[i]); /* as deep as specs may be */
  lip_free(p->branch);
  lip_free(p->weight);
  lip_free(p->a);
  lip_free(p->m);
  lip_free(p->b);
  lip_free(p);
}

void lip_run_free(lip_run *r) {
  for (size_t i = 0; i < r->n; i++) lip_piece_free(r->piece[i]);
  lip_free(r->piece);
  *r = (lip_run){0};
}

lip_status lip_run_push(const lip_onnx *o, lip_run *r, lip_piece *p) {
  if (r->n > 0 && r->piece[r->n - 1]->what == LIP_PIECE_PAD) {
    lip_piece_free(p);
    return lip_onnx_refuse(
        o, "stands behind a Pad; only Conv and AveragePool can take its zeros into their own");
  }
  if (r->n == r->room) {
    lip_piece **more = lip_realloc(r->piece, 2 * r->room + 4, sizeof(lip_piece *));
    if (!more) {
      lip_piece_free(p);
      return lip_onnx_no_memory(o);
    }
    r->piece = more;
    r->room = 2 * r->room + 4;
  }
  r->piece[r->n++] = p;
  return LIP_OK;
}

lip_piece *lip_run_last(const lip_run *r) {
  return r->n > 0 ? r->piece[r->n - 1] : NULL;
}

lip_piece *lip_onnx_piece(const lip_onnx *o, lip_run *r, lip_piece_what what) {
  lip_piece *p = lip_alloc(1, sizeof *p);
  if (!p) {
    lip_onnx_no_memory(o);
    return NULL;
  }
  p->what = what;
  return lip_run_push(o, r, p) ? NULL : p;
}

lip_piece *lip_onnx_layer(const lip_onnx *o, lip_val *v, const char *kind) {
  lip_piece *p = lip_alloc(1, sizeof *p);
  if (p) p->spec = lip_spec_new(lip_layer_kind_find(kind));
  if (!p || !p->spec) {
    lip_piece_free(p);
    lip_onnx_no_memory(o);
    return NULL;
  }
  return lip_run_push(o, &v->run, p) ? NULL : p;
}

lip_status lip_onnx_set(const lip_onnx *o, lip_piece *p, const char *option, double v) {
  lip_err why;
  const lip_desc *desc = &p->spec->kind->desc;
  const lip_opt *opt = lip_opt_find(desc, option);
  lip_status status = opt->type == LIP_OPT_BOOL ? lip_conf_set_bool(desc, p->spec->conf, option, v != 0, &why)
                      : opt->type == LIP_OPT_REALS
                          ? lip_conf_set_reals(desc, p->spec->conf, option, &v, 1, &why)
                          : lip_conf_set_number(desc, p->spec->conf, option, v, &why);
  if (!status) return LIP_OK;
  if (status == LIP_MEMORY) return lip_onnx_no_memory(o);
  return lip_onnx_refuse(o, "%.240s", why.msg);
}

float *lip_onnx_array(const lip_onnx *o, lip_piece *p, const char *name, size_t n) {
  float *v = p->n_array < LIP_PIECE_ARRAYS ? lip_alloc(n, sizeof *v) : NULL;
  if (!v) {
    lip_onnx_no_memory(o);
    return NULL;
  }
  p->array[p->n_array].name = name;
  p->array[p->n_array].n = n;
  p->array[p->n_array++].v = v;
  return v;
}

/* ---- values ---- */

void lip_val_free(lip_val *v) {
  lip_run_free(&v->run);
  lip_free(v->map);
  lip_free(v->own);
  *v = (lip_val){0};
}

lip_status lip_val_dims(const lip_onnx *o, lip_val *v, int ndim, const int64_t *dim) {
  char text[120];
  v->ndim = ndim;
  v->n = 1;
  for (int i = 0; i < ndim; i++) {
    v->dim[i] = dim[i];
    if (dim[i] < 1 || (uint64_t)dim[i] > (uint64_t)1 << 30 || !lip_mul_fits(v->n, (size_t)dim[i], &v->n) ||
        v->n > (size_t)1 << 31)
      return lip_onnx_refuse(o, "its result would have the shape %s",
                             lip_dims_text(dim, ndim, text, sizeof text));
  }
  return LIP_OK;
}

lip_val *lip_onnx_in(const lip_onnx *o, size_t k) {
  const lip_graph_node *n = lip_onnx_node(o);
  return k < n->n_in && n->in[k] != LIP_GRAPH_NONE ? &o->val[n->in[k]] : NULL;
}

lip_status lip_onnx_take(lip_onnx *o, size_t value, lip_val *out) {
  lip_val *v = &o->val[value];
  *out = (lip_val){.known = true, .ndim = v->ndim, .n = v->n, .base = v->base, .here = v->here};
  memcpy(out->dim, v->dim, sizeof out->dim);
  if (v->open <= 1) {
    out->run = v->run;
    out->map = v->map;
    v->run = (lip_run){0};
    v->map = NULL;
    return LIP_OK;
  }
  out->base = value;
  if (!v->map) return LIP_OK;
  out->map = lip_alloc(v->n, sizeof *out->map);
  if (!out->map) return lip_onnx_no_memory(o);
  memcpy(out->map, v->map, v->n * sizeof *out->map);
  return LIP_OK;
}

void lip_onnx_give(lip_onnx *o, size_t k, lip_val *v) {
  const lip_graph_node *n = lip_onnx_node(o);
  v->known = true;
  if (k < n->n_out && n->out[k] != LIP_GRAPH_NONE) {
    lip_val *to = &o->val[n->out[k]];
    v->open = to->open; /* counted before the first node is read */
    to->open = 0;
    lip_val_free(to);
    *to = *v;
    *v = (lip_val){0};
  }
  lip_val_free(v);
}

lip_status lip_onnx_take_in(lip_onnx *o, size_t k, lip_val *out) {
  const lip_val *v = lip_onnx_in(o, k);
  if (!v || !lip_val_computed(v))
    return lip_onnx_refuse(o, "input %zu is %s", k + 1,
                           v ? "a constant; nothing is executed while a file is read, also not what "
                               "anchor takes off, which is the same layers at a constant point"
                             : "missing");
  return lip_onnx_take(o, lip_onnx_node(o)->in[k], out);
}

lip_status lip_onnx_end(lip_onnx *o, lip_val *v, lip_status status) {
  if (status)
    lip_val_free(v);
  else
    lip_onnx_give(o, 0, v);
  return status;
}

lip_status lip_onnx_flatten(const lip_onnx *o, lip_val *v) {
  if (v->here.ndim == 1) return LIP_OK;
  if (!lip_onnx_layer(o, v, "flatten")) return LIP_MEMORY;
  v->here = (lip_shape){1, {lip_shape_size(&v->here), 0, 0}};
  return LIP_OK;
}

/* Whether the net's input may still be seen in another shape. */
static bool untouched(const lip_onnx *o, const lip_val *v) {
  bool free = v->base == LIP_GRAPH_NONE && o->conf->input.ndim == 0;
  for (size_t i = 0; free && i < v->run.n; i++) free = v->run.piece[i]->any_shape;
  return free;
}

static bool same_shape(const lip_shape *a, const lip_shape *b) {
  bool same = a->ndim == b->ndim;
  for (int i = 0; same && i < a->ndim; i++) same = a->dim[i] == b->dim[i];
  return same;
}

/* The input of the net is taken in the order of the value. */
static lip_status reorder(lip_onnx *o, lip_val *v, const lip_shape *want) {
  char text[64];
  if (o->notes->order) return lip_onnx_refuse(o, "turns the input round once more");
  o->notes->order = v->map;
  o->notes->n_order = v->n;
  v->map = NULL;
  return lip_onnx_note(
      o, "images have their channels last in the file; the net takes them channels first, as %s",
      lip_shape_describe(want, text, sizeof text));
}

lip_status lip_onnx_shape(lip_onnx *o, lip_val *v) {
  char a[64], b[64];
  const int drop = v->ndim > 1;
  lip_shape want = {v->ndim - drop, {0}};
  if (v->ndim < 1 || want.ndim > 3 || (drop && v->dim[0] != 1))
    return lip_onnx_refuse(
        o, "its input has the shape %s; nets here have 1 to 3 sides beside the batch, which counts as 1",
        lip_dims_text(v->dim, v->ndim, a, sizeof a));
  for (int i = 0; i < want.ndim; i++) want.dim[i] = (size_t)v->dim[i + drop];
  if (v->map && want.ndim > 1 && !untouched(o, v))
    return lip_onnx_refuse(
        o, "its input comes from a Transpose, which only matrices (MatMul, Gemm) behind it can undo");
  lip_status status = LIP_OK;
  if (v->map && want.ndim > 1) status = reorder(o, v, &want);
  if (status || same_shape(&want, &v->here)) return status;
  if (want.ndim == 1) return lip_onnx_flatten(o, v);
  if (!untouched(o, v))
    return lip_onnx_refuse(o, "needs the shape %s, but what is computed before it has the shape %s%s",
                           lip_shape_describe(&want, a, sizeof a), lip_shape_describe(&v->here, b, sizeof b),
                           o->conf->input.ndim ? "; leave out the option input" : "");
  v->here = o->input = want;
  return LIP_OK;
}

/* ---- attributes ---- */

int64_t lip_onnx_int(const lip_onnx *o, const char *name, int64_t absent) {
  const lip_graph_attribute *a = lip_graph_attribute_of(lip_onnx_node(o), name);
  return a && a->type == LIP_GRAPH_INT ? a->i : absent;
}

float lip_onnx_float(const lip_onnx *o, const char *name, float absent) {
  const lip_graph_attribute *a = lip_graph_attribute_of(lip_onnx_node(o), name);
  return a && a->type == LIP_GRAPH_FLOAT ? a->f : absent;
}

const char *lip_onnx_text(const lip_onnx *o, const char *name, const char *absent) {
  const lip_graph_attribute *a = lip_graph_attribute_of(lip_onnx_node(o), name);
  return a && a->type == LIP_GRAPH_TEXT && a->text ? a->text : absent;
}

lip_status lip_onnx_ints(const lip_onnx *o, const char *name, size_t n, int64_t absent, int64_t *out) {
  const lip_graph_attribute *a = lip_graph_attribute_of(lip_onnx_node(o), name);
  for (size_t i = 0; i < n; i++) out[i] = absent;
  if (!a || (a->type == LIP_GRAPH_INTS && a->n == 0)) return LIP_OK;
  if (a->type != LIP_GRAPH_INTS || a->n != n)
    return lip_onnx_refuse(o, "attribute %s should have %zu whole numbers", name, n);
  memcpy(out, a->ints, n * sizeof *out);
  return LIP_OK;
}

lip_status lip_onnx_axis(const lip_onnx *o, int64_t axis, int ndim, int *out) {
  if (axis < -ndim || axis >= ndim)
    return lip_onnx_refuse(o, "axis %lld of a value with %d sides", (long long)axis, ndim);
  *out = (int)(axis < 0 ? axis + ndim : axis);
  return LIP_OK;
}
