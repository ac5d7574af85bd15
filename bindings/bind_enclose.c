/* net:ranges and net:jacobian: what values and derivatives a net can come to in a ball. */
#include "bindings/bind_cert.h"

#include <math.h>
#include <string.h>

#define LIP_ENCLOSE_T "lip.enclose"

/* What a call holds; collected should an error be raised. */
typedef struct holder {
  lip_affine affine;
  double *bounds;
} holder;

static int holder_gc(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, LIP_ENCLOSE_T);
  lip_affine_free(&h->affine);
  lip_free(h->bounds);
  h->bounds = NULL;
  return 0;
}

/* One call; what the numbers belong to stays on the stack. */
typedef struct task {
  const char *what;
  lip_net *net;
  lip_region region;
  holder *h;
} task;

/* (net, x, eps, options): the options that both take; `known` lists all. */
static void prepare(lua_State *L, task *t, const char *const *known) {
  size_t B;
  lip_path path;
  lipL_box box;
  char got[80];
  t->net = lipL_checkidle(L, 1);
  lua_settop(L, 4);
  const float *x = lipL_checkrows(L, 2, t->net, &B);
  if (B != 1) luaL_error(L, "%s: takes the ball around one input, got %d", t->what, (int)B);
  double eps = lua_type(L, 3) == LUA_TNUMBER ? lua_tonumber(L, 3) : (double)NAN;
  if (lipL_testtensor(L, 3))
    luaL_error(L, "%s: the size of the ball is one number; a tensor is option 'scale', with size 1", t->what);
  if (!(eps >= 0) || !isfinite(eps))
    luaL_error(L, "%s: the size of the ball is a finite number >= 0, got %s", t->what,
               lipL_typetext(L, 3, got, sizeof got));
  lipL_checkfields(L, 4, t->what, known);
  lipL_optpath(L, 4, t->what, t->net, &path);
  lipL_optbox(L, 4, t->what, t->net, &box);
  bool whole;
  const double *scale = lua_istable(L, 4) ? lipL_optscale(L, 4, t->what, t->net, &whole) : NULL;
  t->region = (lip_region){.x = x,
                           .p = lip_path_at(&path, 0),
                           .eps = eps,
                           .boxed = box.given,
                           .from = box.from,
                           .to = box.to,
                           .scale = scale,
                           .cancel = t->net->engine.cancel};
  t->h = lipL_newobject(L, LIP_ENCLOSE_T, sizeof *t->h, 0);
}

/* The net's form, with room for the numbers that count_numbers asks for. */
static lip_status open_form(task *t, size_t (*count_numbers)(const lip_affine *a), lip_err *err) {
  lip_net_touch(t->net);
  lip_status status = lip_affine_init(&t->h->affine, t->net, err);
  if (status) return status;
  size_t n = count_numbers(&t->h->affine);
  t->h->bounds = lip_alloc(n ? n : 1, sizeof *t->h->bounds);
  return t->h->bounds ? LIP_OK : lip_fail(err, LIP_MEMORY, "%s: out of memory for %zu numbers", t->what, n);
}

/* Two new tensors as fields low and high of the table on top of the stack: bounds rounded outwards. NULL bounds: nothing
 * is known. Numbers are `stride` apart, the highs `high` behind the lows. */
static void set_bounds(lua_State *L, int ndim, const size_t *shape, const double *bounds, size_t stride,
                       size_t high) {
  for (int side = 0; side < 2; side++) {
    lip_tensor *v = lipL_newtensor(L, ndim, shape);
    for (size_t i = 0, n = lip_tensor_size(v); i < n; i++) {
      double b = !bounds ? (side ? INFINITY : -INFINITY) : bounds[i * stride + (side ? high : 0)];
      v->data[i] = side ? -lipL_floatbelow(-b) : lipL_floatbelow(b);
    }
    lua_setfield(L, -2, side ? "high" : "low");
  }
}

/* Fields that both results have. */
static void set_common(lua_State *L, const task *t, bool known) {
  const lip_affine *a = &t->h->affine;
  lipL_setnumber(L, "eps", t->region.eps);
  lipL_settext(L, "p", lip_p_name(t->region.p));
  if (a->unknown) {
    lua_pushfstring(L,
                    a->too_large ? "the matrices of the layer '%s' have too many numbers"
                                 : "the layer '%s' is no matrix and no slopes unit by unit",
                    a->unknown);
    lua_setfield(L, -2, "reason");
  } else if (!known) {
    lipL_settext(L, "reason",
                 "the matrices have more than 2^25 numbers that are not 0, or a number is not finite");
  }
}

static size_t count_values(const lip_affine *a) {
  size_t n = 0;
  for (size_t l = 0; l < a->n; l++) n += 2 * a->block[l].own;
  return n;
}

static size_t count_derivatives(const lip_affine *a) {
  return 2 * a->n_out * a->n_in;
}

static bool any_finite(const double *v, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (isfinite(v[i])) return true;
  return false;
}

/* {layer=, kind=, low=, high=} of every matrix but the last into a list on top of the stack. Returns where the numbers of
 * the last one begin. */
static const double *push_units(lua_State *L, const task *t) {
  const lip_affine *a = &t->h->affine;
  const lip_layer *chain = t->net->root;
  const double *at = t->h->bounds;
  lua_newtable(L);
  for (size_t l = 0; l + 1 < a->n; l++) {
    const lip_block *b = &a->block[l];
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)b->layer + 1);
    lua_setfield(L, -2, "layer");
    lipL_settext(L, "kind", b->layer < chain->n_child ? chain->child[b->layer]->kind->desc.name : "net");
    set_bounds(L, 1, &b->own, at, 2, 1);
    lua_rawseti(L, -2, (lua_Integer)l + 1);
    at += 2 * b->own;
  }
  return at;
}

/* net:ranges(x, eps, {p=, box=, scale=, arithmetic="float32", relaxed=true}) -> {low=, high=, units=, p=, eps=, reason=} |
 * nil, message, code
 *   low, high  (n_out) every output stays between them while the input stays in the ball (and the box)
 *   units      the same before every activation: {layer=, kind=, low=, high=}, layer and kind tell which layer takes these
 *              values, in its order (several entries where a layer works in steps, or is made of others) */
static int net_ranges(lua_State *L) {
  static const char *const known[] = {"p", "box", "scale", "arithmetic", "relaxed", NULL};
  task t = {.what = "ranges"};
  lip_err err;
  prepare(L, &t, known);
  bool relaxed = lipL_optfield_bool(L, 4, "ranges", "relaxed", true);
  lip_arithmetic arithmetic = lipL_optarithmetic(L, 4, "ranges", true);
  if (arithmetic == LIP_ARITHMETIC_DOUBLE)
    luaL_error(L, "ranges: option 'arithmetic' expects \"float32\" or \"real\", got \"double\"");
  t.region.executed = arithmetic == LIP_ARITHMETIC_REAL ? LIP_EXECUTED_EXACT : LIP_EXECUTED_FLOAT32;
  lip_status status = open_form(&t, count_values, &err);
  if (!status) status = lip_enclose_values(&t.h->affine, &t.region, relaxed, t.h->bounds, &err);
  if (status) return lipL_fault(L, &err);
  lua_createtable(L, 0, 6);
  const double *outputs = push_units(L, &t);
  lua_setfield(L, -2, "units");
  const lip_affine *a = &t.h->affine;
  set_bounds(L, 1, &t.net->root->n_out, a->n > 0 ? outputs : NULL, 2, 1);
  set_common(L, &t, any_finite(t.h->bounds, count_values(a)));
  lipL_settext(L, "arithmetic", lip_arithmetic_names[arithmetic]);
  return 1;
}

/* net:jacobian(x, eps, {p=, box=, scale=}) -> {low=, high=, p=, eps=, reason=} | nil, message, code
 *   low, high  (n_out, n_in) between them lies every partial derivative at every point of the ball (and the box), at a kink
 *              all that Clarke's generalised Jacobian holds, and every quotient of two points that differ in one coordinate;
 *              of the exact function of the stored weights */
static int net_jacobian(lua_State *L) {
  static const char *const known[] = {"p", "box", "scale", NULL};
  task t = {.what = "jacobian"};
  lip_err err;
  prepare(L, &t, known);
  size_t all, n_in = t.net->root->n_in, n_out = t.net->root->n_out;
  if (!lip_mul_fits(2 * n_out, n_in, &all)) luaL_error(L, "jacobian: too many derivatives");
  lip_status status = open_form(&t, count_derivatives, &err);
  const lip_affine *a = &t.h->affine;
  double *bounds = t.h->bounds;
  if (!status && a->n > 0) status = lip_enclose_jacobian(a, &t.region, bounds, bounds + n_out * n_in, &err);
  if (status) return lipL_fault(L, &err);
  lua_createtable(L, 0, 5);
  set_bounds(L, 2, (size_t[]){n_out, n_in}, a->n > 0 ? bounds : NULL, 1, n_out * n_in);
  set_common(L, &t, a->n > 0 && any_finite(bounds, all));
  return 1;
}

void lipL_open_enclose(lua_State *L) {
  static const luaL_Reg guard[] = {{"__gc", holder_gc}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"ranges", net_ranges}, {"jacobian", net_jacobian}, {NULL, NULL}};
  lipL_newtype(L, LIP_ENCLOSE_T, NULL, guard);
  lipL_addmethods(L, LIP_NET_T, methods);
}
