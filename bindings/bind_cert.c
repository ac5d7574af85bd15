/* What net:bound and net:certify share: their options, the rows they take, the run of a method. */
#include "bindings/bind_cert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int holder_gc(lua_State *L) {
  lipL_cert *h = luaL_checkudata(L, 1, LIP_CERTIFIER_T);
  lip_bound_free(&h->bound);
  lip_certifier_free(h->certifier);
  lip_local_free(h->local);
  lip_affine_free(&h->affine);
  lip_found_free(&h->found);
  *h = (lipL_cert){0};
  return 0;
}

void lipL_setnumber(lua_State *L, const char *name, double v) {
  lua_pushnumber(L, v);
  lua_setfield(L, -2, name);
}

void lipL_settext(lua_State *L, const char *name, const char *text) {
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

/* The same sides in the same order; a side of 1 changes no order. */
static bool same_sides(const size_t *a, int na, const size_t *b, int nb) {
  int i = 0, j = 0;
  for (;;) {
    while (i < na && a[i] == 1) i++;
    while (j < nb && b[j] == 1) j++;
    if (i == na || j == nb) return i == na && j == nb;
    if (a[i++] != b[j++]) return false;
  }
}

/* Whether samples of these sides are what the net takes: the same sides, the numbers in one row, or sides of any
 * kind for a net that takes a row. The numbers of another order (H x W x C for C x H x W) fit as well, and would
 * all be wrong. */
static bool fits(const lip_net *net, const size_t *side, int n) {
  const lip_shape *in = &net->root->in;
  size_t size = 1;
  for (int i = 0; i < n; i++)
    if (!lip_mul_fits(size, side[i], &size)) return false;
  return size == net->root->n_in && (n == 1 || in->ndim == 1 || same_sides(side, n, in->dim, in->ndim));
}

/* Rows in the tensor at idx; 0 and a pushed message: they do not fit. */
static size_t count_rows(lua_State *L, const lip_tensor *t, const lip_net *net) {
  const lip_shape *in = &net->root->in;
  size_t B = 0;
  if (t->ndim >= 2 && fits(net, t->shape + 1, t->ndim - 1))
    B = t->shape[0];
  else if (t->ndim == 1 && net->root->n_in == 1)
    B = t->shape[0];
  else if (lip_tensor_size(t) == net->root->n_in && same_sides(t->shape, t->ndim, in->dim, in->ndim))
    B = 1;
  else {
    char want[64], got[64];
    lip_shape_describe(in, want, sizeof want);
    lip_shape_text(t->ndim, t->shape, got, sizeof got);
    lua_pushfstring(L, "inputs do not fit the net: it takes rows of %s (B x %s), got %s", want, want, got);
    return 0;
  }
  if (B == 0) lua_pushliteral(L, "the batch has no rows");
  return B;
}

const float *lipL_checkrows(lua_State *L, int idx, const lip_net *net, size_t *B) {
  *B = count_rows(L, lipL_checktensor(L, idx), net);
  if (*B == 0) luaL_argerror(L, idx, lua_tostring(L, -1));
  return lipL_contiguous(L, idx)->data;
}

const float *lipL_optrows(lua_State *L, const char *what, const char *option, const lip_net *net, size_t *B) {
  *B = count_rows(L, lipL_testtensor(L, -1), net);
  if (*B == 0) luaL_error(L, "%s: option '%s': %s", what, option, lua_tostring(L, -1));
  return lipL_contiguous(L, -1)->data;
}

void lipL_checkfeatures(lua_State *L, const char *what, const lip_dataset *d, const lip_net *net) {
  if (d->features != net->root->n_in)
    luaL_error(L, "%s: the data set has %d features, the net takes %d", what, (int)d->features,
               (int)net->root->n_in);
  char want[64], got[64];
  if (!fits(net, d->shape, d->ndim))
    luaL_error(L, "%s: the data set has samples of %s, the net takes %s: the same numbers in another order",
               what, lip_shape_text(d->ndim, d->shape, got, sizeof got),
               lip_shape_describe(&net->root->in, want, sizeof want));
}

void lipL_checkclasses(lua_State *L, const char *what, const lip_dataset *d, const lip_net *net) {
  const int C = (int)net->root->n_out;
  if (!d->labels || d->classes <= lip_net_classes(net)) return;
  if (C == 1)
    luaL_error(
        L,
        "%s: the data set has %d classes, a net of one output answers with two: labels 0 and 1, or -1 and 1",
        what, (int)d->classes);
  luaL_error(L, "%s: the data set has %d classes, the net %d outputs", what, (int)d->classes, C);
}

float lipL_floatbelow(double v) {
  float f = (float)v;
  return (double)f > v ? nextafterf(f, -INFINITY) : f;
}

static float float_above(double v) {
  float f = (float)v;
  return (double)f < v ? nextafterf(f, INFINITY) : f;
}

/* Field p of the options at idx: 1, 2, math.huge, "inf" or a path. False when it is absent. */
static bool check_path(lua_State *L, int idx, const char *what, lip_path *path) {
  lip_err err;
  char got[80];
  bool given = lua_istable(L, idx) && lua_getfield(L, idx, "p") != LUA_TNIL;
  if (!given) return false;
  const char *text = "inf";
  if (lua_type(L, -1) == LUA_TSTRING)
    text = lua_tostring(L, -1);
  else if (lua_type(L, -1) != LUA_TNUMBER)
    luaL_error(L, "%s: option 'p' expects 1, 2, \"inf\" or a path such as \"1->inf\", got %s", what,
               lipL_typetext(L, -1, got, sizeof got));
  else if (lua_tonumber(L, -1) == 1 || lua_tonumber(L, -1) == 2)
    text = lua_tonumber(L, -1) == 1 ? "1" : "2";
  else if (!isinf(lua_tonumber(L, -1)) || lua_tonumber(L, -1) < 0)
    luaL_error(L, "%s: option 'p' expects 1, 2 or math.huge, got %f", what, lip_plain(lua_tonumber(L, -1)));
  if (lip_path_parse(text, path, &err)) luaL_error(L, "%s: option 'p': %s", what, err.msg);
  lua_pop(L, 1);
  return true;
}

bool lipL_optpath(lua_State *L, int idx, const char *what, const lip_net *net, lip_path *path) {
  bool given = check_path(L, idx, what, path);
  if (!given) *path = net->conf.path;
  if (path->n > lip_net_weighted(net) + 1)
    luaL_error(L, "%s: the path has %d steps for %d weighted layers", what, (int)path->n - 1,
               (int)lip_net_weighted(net));
  return given;
}

const char *lipL_optmethod(lua_State *L, int idx, const char *what) {
  if (!lua_istable(L, idx) || lua_getfield(L, idx, "method") == LUA_TNIL) return "product";
  const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL; /* the table holds it */
  if (name && (strcmp(name, "best") == 0 || lip_method_find(name))) return name;
  char got[80];
  luaL_Buffer b;
  lipL_typetext(L, -1, got, sizeof got);
  luaL_buffinit(L, &b);
  for (size_t i = 0; lip_method_at(i); i++) {
    luaL_addstring(&b, lip_method_at(i)->name);
    luaL_addstring(&b, ", ");
  }
  luaL_addstring(&b, strcmp(what, "certificate") == 0 ? "best"
                                                      : "best, local"); /* a file carries no local proof */
  luaL_pushresult(&b);
  luaL_error(L, "%s: option 'method' is one of %s; got %s", what, lua_tostring(L, -1), name ? name : got);
  return NULL;
}

lip_status lipL_runmethod(lipL_cert *h, const char *name, const lip_net *net, const lip_path *path,
                          bool pairs, double seconds, lip_watch *progress, lip_err *err) {
  bool product = strcmp(name, "product") == 0; /* needs no copy of the matrices */
  lip_status status = product      ? LIP_OK
                      : h->classes ? lip_affine_classes(&h->affine, net, err)
                                   : lip_affine_init(&h->affine, net, err);
  if (status) return status;
  lip_ask ask = {.net = net,
                 .affine = &h->affine,
                 .path = *path,
                 .p = lip_path_at(path, 0),
                 .q = lip_path_at(path, lip_net_weighted(net)),
                 .pairs = pairs,
                 .classes = h->classes,
                 .only = h->only,
                 .carried = h->carried,
                 .seconds = seconds,
                 .progress = progress};
  return lip_method_run(name, &ask, &h->found, err);
}

void lipL_warn_wide(const char *what, lip_p p, double eps, double from, double to) {
  if (p != LIP_PINF || !(eps > to - from) || !isfinite(eps)) return;
  fprintf(stderr, "lipwb: WARNING: %s: eps = %g is wider than the box {%g, %g}%s\n", what, eps, from, to,
          eps == floor(eps) && to - from == 1 && eps < 256 ? ": a step of a pixel is 1/255 there, not 1"
                                                           : "");
}

double lipL_optseconds(lua_State *L, int idx, const char *what, const lip_path *path) {
  /* 10 in all: a proof that has begun runs to its end, and those of a file are looked at again */
  const double patience = strcmp(what, "certificate") == 0 ? 5 : 8, most = 30;
  double seconds = lipL_optfield_number(L, idx, what, "seconds", -1);
  bool given = lua_istable(L, idx) && lua_getfield(L, idx, "seconds") != LUA_TNIL;
  if (lua_istable(L, idx)) lua_pop(L, 1);
  if (!given) return lip_path_at(path, 0) == LIP_PINF ? patience : most;
  if (!(seconds > 0)) luaL_error(L, "%s: option 'seconds' expects a number above 0", what);
  return seconds;
}

void lipL_setreasons(lua_State *L, const lip_found *f) {
  if (*f->reason) lipL_settext(L, "reason", f->reason);
  if (f->n_tried == 0) return;
  lua_createtable(L, (int)f->n_tried, 0);
  for (size_t i = 0; i < f->n_tried; i++) {
    const lip_tried *t = &f->tried[i];
    lua_createtable(L, 0, 4);
    lipL_settext(L, "method", t->method);
    lipL_setnumber(L, "upper", t->upper);
    lipL_setnumber(L, "seconds", t->seconds);
    if (*t->reason) lipL_settext(L, "reason", t->reason);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "tried");
}

void lipL_pushpairs(lua_State *L, const double *pairs, size_t C, bool below) {
  lip_tensor *t = lipL_newtensor(L, 2, (size_t[]){C, C});
  for (size_t i = 0; i < C * C; i++) t->data[i] = below ? lipL_floatbelow(pairs[i]) : float_above(pairs[i]);
}

void lipL_open_cert(lua_State *L) {
  static const luaL_Reg guard[] = {{"__gc", holder_gc}, {NULL, NULL}};
  lipL_newtype(L, LIP_CERTIFIER_T, NULL, guard);
}
