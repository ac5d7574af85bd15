/* Pieces become specs, specs a net, and its parameters the numbers of the file. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"
#include "core/io/params.h"

/* What the net is made of: the layers' specs, and the pieces that have arrays, in the order of depth. */
typedef struct plan {
  lip_spec *root; /* a chain */
  size_t n, room;
  const lip_piece **piece; /* lent */
} plan;

static lip_status add_arrays(const lip_onnx *o, plan *p, const lip_piece *piece) {
  if (p->n == p->room) {
    const lip_piece **more = lip_realloc(p->piece, 2 * p->room + 8, sizeof *more);
    if (!more) return lip_onnx_no_memory(o);
    p->piece = more;
    p->room = 2 * p->room + 8;
  }
  p->piece[p->n++] = piece;
  return LIP_OK;
}

/* ---- maps become layers ---- */

/* As deep as branches may be nested. */
static lip_status settle(const lip_onnx *o, lip_run *r) {
  lip_run out = {0};
  lip_status status = LIP_OK;
  for (size_t i = 0; !status && i < r->n; i++) {
    lip_piece *p = r->piece[i];
    for (size_t k = 0; !status && k < p->n_branch; k++) status = settle(o, &p->branch[k]);
    if (status) break;
    if (p->what == LIP_PIECE_MAP) {
      status = lip_fold_settle(o, p, &out);
      continue;
    }
    r->piece[i] = NULL;
    status = lip_run_push(o, &out, p);
  }
  lip_run_free(r);
  *r = out;
  return status;
}

/* ---- specs ---- */

/* A new spec inside of `in`. NULL: no memory, or too deep. */
static lip_spec *new_child(const lip_onnx *o, lip_spec *in, const char *kind) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  if (!s)
    lip_onnx_no_memory(o);
  else if (!lip_spec_add(in, s, o->err))
    return s;
  lip_spec_free(s);
  return NULL;
}

/* a x + b f(x) with a + b = 1, or x + f(x): the branch f. The share a where it is asked for. */
static const lip_run *residual_of(const lip_piece *p, float *a) {
  if (p->what != LIP_PIECE_SUM || p->n_branch != 2) return NULL;
  for (size_t i = 0; i < 2; i++) {
    const float w = p->weight[i], rest = p->weight[1 - i];
    if (p->branch[i].n > 0 || p->branch[1 - i].n == 0) continue;
    *a = w;
    if ((w == 1 && rest == 1) || (w > 0 && w < 1 && rest == 1 - w)) return &p->branch[1 - i];
  }
  return NULL;
}

static lip_status set_weights(const lip_onnx *o, const lip_piece *p, lip_spec *s) {
  lip_err why;
  bool ones = true;
  for (size_t i = 0; i < p->n_branch; i++) ones = ones && p->weight[i] == 1;
  if (ones) return LIP_OK;
  double *list = lip_alloc(p->n_branch, sizeof *list);
  if (!list) return lip_onnx_no_memory(o);
  for (size_t i = 0; i < p->n_branch; i++) list[i] = (double)p->weight[i];
  lip_status status = lip_conf_set_reals(&s->kind->desc, s->conf, "weights", list, p->n_branch, &why);
  lip_free(list);
  return status == LIP_MEMORY ? lip_onnx_no_memory(o)
         : status             ? lip_onnx_refuse(o, "%.240s", why.msg)
                              : LIP_OK;
}

static lip_status set_mix(const lip_onnx *o, lip_spec *s, float a) {
  lip_err why;
  lip_status status = lip_conf_set_text(&s->kind->desc, s->conf, "mode", a == 1 ? "add" : "mix", &why);
  if (!status && a != 1) status = lip_conf_set_number(&s->kind->desc, s->conf, "alpha", (double)a, &why);
  return status ? lip_onnx_refuse(o, "%.240s", why.msg) : LIP_OK;
}

static lip_status add_run(const lip_onnx *o, plan *p, lip_spec *in, const lip_run *r);

static lip_status add_container(const lip_onnx *o, plan *p, lip_spec *in, const lip_piece *piece) {
  float a = 1;
  const lip_run *f = residual_of(piece, &a);
  lip_spec *s = new_child(o, in, f ? "residual" : piece->what == LIP_PIECE_SUM ? "sum" : "concat");
  if (!s) return LIP_MEMORY;
  lip_status status = f ? set_mix(o, s, a) : piece->what == LIP_PIECE_SUM ? set_weights(o, piece, s) : LIP_OK;
  if (f) return status ? status : add_run(o, p, s, f);
  for (size_t i = 0; !status && i < piece->n_branch; i++) {
    lip_spec *chain = new_child(o, s, "chain");
    status = chain ? add_run(o, p, chain, &piece->branch[i]) : LIP_MEMORY;
  }
  return status;
}

/* As deep as branches may be nested. */
static lip_status add_run(const lip_onnx *o, plan *p, lip_spec *in, const lip_run *r) {
  lip_status status = LIP_OK;
  for (size_t i = 0; !status && i < r->n; i++) {
    lip_piece *piece = r->piece[i];
    if (piece->what == LIP_PIECE_PAD)
      return lip_fail(o->err, LIP_UNSUPPORTED,
                      "Pad: only Conv and AveragePool can take its zeros into their own");
    if (piece->what != LIP_PIECE_LAYER) {
      status = add_container(o, p, in, piece);
      continue;
    }
    status = lip_spec_add(in, piece->spec, o->err);
    if (status) break;
    piece->spec = NULL;
    if (piece->n_array > 0) status = add_arrays(o, p, piece);
  }
  return status;
}

/* ---- the net ---- */

/* Parameters in the order of depth are the pieces' arrays in theirs. */
static lip_status fill(const lip_onnx *o, const plan *p, lip_net *net) {
  lip_named *named = NULL;
  size_t n = 0, all = 0, k = 0;
  lip_status status = lip_params_list(net->root, &named, &n, &all, o->err);
  for (size_t i = 0; !status && i < p->n; i++)
    for (size_t j = 0; !status && j < p->piece[i]->n_array; j++, k++) {
      const lip_param *to = k < n ? named[k].param : NULL;
      if (!to || strcmp(to->name, p->piece[i]->array[j].name) != 0 ||
          lip_param_size(to) != p->piece[i]->array[j].n)
        status = lip_fail(o->err, LIP_STATE, "onnx: array %zu does not fit its layer", k + 1);
      else
        memcpy(to->value, p->piece[i]->array[j].v, p->piece[i]->array[j].n * sizeof(float));
    }
  if (!status && k != n) status = lip_fail(o->err, LIP_STATE, "onnx: %zu arrays for %zu parameters", k, n);
  lip_free(named);
  return status;
}

static lip_status make(const lip_onnx *o, const plan *p, const lip_engine *engine, lip_net **out) {
  lip_err why;
  lip_net_conf conf = {.input = o->input, .path = o->conf->path, .budget = INFINITY};
  conf.init = LIP_INIT_LECUN; /* any: the weights are replaced, and this needs no factorisation */
  conf.seed = 1;
  if (conf.path.n == 0) conf.path = (lip_path){1, {LIP_P2}};
  lip_net *net = NULL;
  lip_status status = lip_net_new(&conf, p->root->child, p->root->n_child, engine, &net, &why);
  if (status)
    return lip_fail(o->err, status == LIP_SHAPE ? LIP_UNSUPPORTED : status, "onnx: %.300s", why.msg);
  net->conf.init = net->plan.init = LIP_INIT_ORTHOGONAL;
  status = fill(o, p, net);
  lip_net_touch(net);
  if (status)
    lip_net_free(net);
  else
    *out = net;
  return status;
}

lip_status lip_onnx_build(lip_onnx *o, lip_run *run, const lip_engine *engine, lip_net **out) {
  plan p = {.root = lip_spec_new(lip_layer_kind_find("chain"))};
  lip_status status = p.root ? settle(o, run) : lip_onnx_no_memory(o);
  if (!status) status = add_run(o, &p, p.root, run);
  if (!status && p.root->n_child == 0) { /* nothing changes the numbers: neither does this */
    lip_spec *s = new_child(o, p.root, "flatten");
    if (!s) status = o->err->code;
  }
  if (!status) status = make(o, &p, engine, out);
  lip_spec_free(p.root);
  lip_free(p.piece);
  return status;
}
