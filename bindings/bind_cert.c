/* Bounds and certified radii in Lua: net:bound and net:certify (methods of lip.net, registered in bind_net.c). */
#include "bindings/bind.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BOUND_T "lip.bound" /* metatable of the tables that net:bound returns */

/* What a call holds while it builds its result; collected should an error be raised. */
typedef struct holder {
  lip_bound bound;
  lip_certifier *certifier;
  lip_affine affine;
  lip_found found;
} holder;

static int holder_gc(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, LIP_CERTIFIER_T);
  lip_bound_free(&h->bound);
  lip_certifier_free(h->certifier);
  lip_affine_free(&h->affine);
  lip_found_free(&h->found);
  *h = (holder){0};
  return 0;
}

static void set_number(lua_State *L, const char *name, double v) {
  lua_pushnumber(L, v);
  lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *text) {
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

/* Rows of inputs: (B, n_in), (B, dims of one sample...), or one sample alone. */
static const float *check_rows(lua_State *L, int idx, const lip_net *net, size_t *B) {
  const lip_tensor *t = lipL_checktensor(L, idx);
  size_t size = lip_tensor_size(t), n_in = net->root->n_in;
  if (t->ndim >= 1 && t->shape[0] > 0 && size / t->shape[0] == n_in && size % n_in == 0)
    *B = t->shape[0];
  else if (size == n_in)
    *B = 1;
  else {
    char want[64], got[64];
    luaL_argerror(L, idx,
                  lua_pushfstring(L, "inputs do not fit the net: it takes rows of %s, got %s",
                                  lip_shape_describe(&net->root->in, want, sizeof want),
                                  lip_shape_text(t->ndim, t->shape, got, sizeof got)));
  }
  return lipL_contiguous(L, idx)->data;
}

static void check_features(lua_State *L, const char *what, const lip_dataset *d, const lip_net *net) {
  if (d->features != net->root->n_in)
    luaL_error(L, "%s: the data set has %d features, the net takes %d", what, (int)d->features,
               (int)net->root->n_in);
}

/* Rows first .. first+B-1 of a data set, in order. */
static void gather(const lip_dataset *d, size_t first, size_t B, uint32_t *index, float *x) {
  for (size_t i = 0; i < B; i++) index[i] = (uint32_t)(first + i);
  lip_dataset_gather(d, index, B, x, NULL, NULL);
}

static float float_below(double v) {
  float f = (float)v;
  return (double)f > v ? nextafterf(f, -INFINITY) : f;
}

static float float_above(double v) {
  float f = (float)v;
  return (double)f < v ? nextafterf(f, INFINITY) : f;
}

/* ---- net:bound ---- */

static void push_layers(lua_State *L, const lip_bound *b) {
  lua_createtable(L, (int)b->n, 0);
  for (size_t i = 0; i < b->n; i++) {
    lua_createtable(L, 0, 4);
    set_text(L, "kind", b->row[i].kind);
    set_text(L, "step", lip_pq_name(b->row[i].pq));
    set_number(L, "upper", b->row[i].upper);
    set_number(L, "budget", b->row[i].budget);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static double field_number(lua_State *L, int idx, const char *name) {
  lua_getfield(L, idx, name);
  double v = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : NAN;
  lua_pop(L, 1);
  return v;
}

static void add_cell(luaL_Buffer *b, const char *fmt, double v) {
  char text[64];
  if (isnan(v))
    snprintf(text, sizeof text, " %14s", "-");
  else
    snprintf(text, sizeof text, fmt, v);
  luaL_addstring(b, text);
}

/* One line per layer, the interval below; works on whatever a script has made of the table. */
static int bound_tostring(lua_State *L) {
  char line[200];
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "layers");
  lua_Integer n = lua_istable(L, 2) ? luaL_len(L, 2) : 0;
  luaL_Buffer b;
  lua_settop(L, 6); /* fixed slots 3..6 below the buffer */
  luaL_buffinit(L, &b);
  snprintf(line, sizeof line, "%3s  %-12s %-10s %14s %14s\n", "", "layer", "step", "upper", "budget");
  luaL_addstring(&b, line);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_geti(L, 2, i);
    lua_replace(L, 3);
    if (!lua_istable(L, 3)) continue;
    lua_getfield(L, 3, "kind");
    lua_replace(L, 4);
    lua_getfield(L, 3, "step");
    lua_replace(L, 5);
    const char *kind = lua_type(L, 4) == LUA_TSTRING ? lua_tostring(L, 4) : "?";
    const char *step = lua_type(L, 5) == LUA_TSTRING ? lua_tostring(L, 5) : "?";
    double budget = field_number(L, 3, "budget");
    snprintf(line, sizeof line, "%3d  %-12.40s %-10.20s", (int)i, kind, step);
    luaL_addstring(&b, line);
    add_cell(&b, " %14.9g", field_number(L, 3, "upper"));
    add_cell(&b, " %14.9g\n", isinf(budget) ? (double)NAN : budget);
    if (isinf(budget)) luaL_addchar(&b, '\n');
  }
  lua_getfield(L, 1, "pq");
  lua_replace(L, 4);
  lua_getfield(L, 1, "unknown");
  lua_replace(L, 5);
  snprintf(line, sizeof line, "%3s  %-12s %-10.20s", "", "net",
           lua_type(L, 4) == LUA_TSTRING ? lua_tostring(L, 4) : "");
  luaL_addstring(&b, line);
  add_cell(&b, " %14.9g", field_number(L, 1, "upper"));
  double lower = field_number(L, 1, "lower"), slack = field_number(L, 1, "slack");
  if (!isnan(slack)) add_cell(&b, "  (%.6g of the budget)", slack);
  if (!isnan(lower)) add_cell(&b, "\n     attained from below: %.9g", lower);
  if (lua_type(L, 5) == LUA_TSTRING) {
    snprintf(line, sizeof line, "\n     unknown: the layer '%.60s' states no constant for this norm",
             lua_tostring(L, 5));
    luaL_addstring(&b, line);
  }
  luaL_pushresult(&b);
  return 1;
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
    luaL_error(L, "%s: option 'p' expects 1, 2 or math.huge, got %f", what, lua_tonumber(L, -1));
  if (lip_path_parse(text, path, &err)) luaL_error(L, "%s: option 'p': %s", what, err.msg);
  lua_pop(L, 1);
  return true;
}

/* The option `p` as a path that the net can follow; false: the net's own. */
static bool path_of(lua_State *L, int idx, const char *what, const lip_net *net, lip_path *path) {
  bool given = check_path(L, idx, what, path);
  if (!given) *path = net->conf.path;
  if (path->n > lip_net_weighted(net) + 1)
    luaL_error(L, "%s: the path has %d steps for %d weighted layers", what, (int)path->n - 1,
               (int)lip_net_weighted(net));
  return given;
}

/* The option `method`: a row of the table of methods, or "best"; raises with the list of those there are. */
static const char *check_method(lua_State *L, int idx, const char *what) {
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
  luaL_addstring(&b, "best");
  luaL_pushresult(&b);
  luaL_error(L, "%s: option 'method' is one of %s; got %s", what, lua_tostring(L, -1), name ? name : got);
  return NULL;
}

/* Runs a method; what it holds belongs to h. */
static lip_status run_method(holder *h, const char *name, const lip_net *net, const lip_path *path,
                             bool pairs, double seconds, lip_err *err) {
  bool product = strcmp(name, "product") == 0; /* needs no copy of the matrices */
  lip_status status = product ? LIP_OK : lip_affine_init(&h->affine, net, err);
  if (status) return status;
  lip_ask ask = {.net = net,
                 .affine = &h->affine,
                 .path = *path,
                 .p = lip_path_at(path, 0),
                 .q = lip_path_at(path, lip_net_weighted(net)),
                 .pairs = pairs,
                 .seconds = seconds};
  return lip_method_run(name, &ask, &h->found, err);
}

static double check_seconds(lua_State *L, int idx, const char *what) {
  double seconds = lipL_optfield_number(L, idx, what, "seconds", INFINITY);
  if (!(seconds > 0)) luaL_error(L, "%s: option 'seconds' expects a number above 0", what);
  return seconds;
}

/* Points to search from: the option `data` (tensor or data set, at most `points` rows), else uniform in [0, 1).
 * Leaves what owns them on the stack. */
static const float *search_points(lua_State *L, int idx, const lip_net *net, size_t points, size_t *B) {
  size_t n_in = net->root->n_in;
  lua_getfield(L, idx, "data");
  lip_dataset *d = lipL_testdataset(L, -1);
  if (!d && !lua_isnil(L, -1)) {
    if (!lipL_testtensor(L, -1)) {
      char got[80];
      luaL_error(L, "bound: option 'data' expects a tensor or a data set, got %s",
                 lipL_typetext(L, -1, got, sizeof got));
    }
    const float *x = check_rows(L, lua_gettop(L), net, B);
    if (*B > points) *B = points;
    return x;
  }
  if (d) check_features(L, "bound", d, net);
  *B = d && d->n < points ? d->n : points;
  size_t room = *B ? *B : 1;
  float *x = lua_newuserdatauv(L, room * n_in * sizeof *x, 0);
  if (d) {
    uint32_t *index = lua_newuserdatauv(L, room * sizeof *index, 0);
    gather(d, 0, *B, index, x);
  } else {
    lip_rng rng = lip_rng_new(1, LIP_RNG_ATTACK, 0);
    lip_rng_fill_uniform(&rng, x, *B * n_in, 0, 1);
  }
  return x;
}

/* (C, C) constants of differences of two logits, never rounded down. */
static void push_pairs(lua_State *L, const double *pairs, size_t C) {
  lip_tensor *t = lipL_newtensor(L, 2, (size_t[]){C, C});
  for (size_t i = 0; i < C * C; i++) t->data[i] = float_above(pairs[i]);
}

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* net:bound([{method="product", p=, pairs=false, seconds=, lower=false, data=, points=256}]) -> {upper=, lower=,
 * tightness=, slack=, method=, seconds=, unknown=, pq=, pairs=, layers={...}}
 *   upper      of the Lipschitz constant by the method, along the norm path (p: along another one), rounded up
 *   pairs      (C, C) the same for z_i - z_j
 *   lower      a quotient that two points attain, rounded down; tightness = lower / upper */
int lipL_net_bound(lua_State *L) {
  static const char *const known[] = {"p", "lower", "data", "points", "method", "pairs", "seconds", NULL};
  lip_net *net = lipL_checknet(L, 1);
  lip_path path;
  lip_err err;
  double lower = NAN, began = seconds_now();
  lua_settop(L, 2);
  lipL_checkfields(L, 2, "bound", known);
  bool search = lipL_optfield_bool(L, 2, "bound", "lower", false);
  bool pairs = lipL_optfield_bool(L, 2, "bound", "pairs", false);
  double seconds = check_seconds(L, 2, "bound");
  size_t points = lipL_optfield_size(L, 2, "bound", "points", 256), B;
  bool other = path_of(L, 2, "bound", net, &path);
  const char *method = check_method(L, 2, "bound");
  holder *h = lipL_newobject(L, LIP_CERTIFIER_T, sizeof *h, 0);
  if (other ? lip_bound_along(net, &path, &h->bound, &err) : lip_bound_product(net, &h->bound, &err))
    return lipL_fault(L, &err);
  if (run_method(h, method, net, &path, pairs, seconds, &err)) return lipL_fault(L, &err);
  if (search) {
    const float *x = search_points(L, 2, net, points, &B);
    if (lip_bound_lower(net, &path, x, B, &lower, &err)) return lipL_fault(L, &err);
  }
  lua_createtable(L, 0, 10);
  set_number(L, "upper", h->found.upper);
  if (search) {
    set_number(L, "lower", lower);
    set_number(L, "tightness", h->found.upper > 0 && isfinite(h->found.upper) ? lower / h->found.upper : 0);
  }
  if (!other && net->conf.budget < INFINITY) set_number(L, "slack", h->found.upper / net->conf.budget);
  set_text(L, "method", h->found.method);
  set_number(L, "seconds", seconds_now() - began);
  set_text(L, "pq", lip_pq_name(h->bound.pq));
  if (h->found.upper == INFINITY && h->bound.unknown) set_text(L, "unknown", h->bound.unknown);
  if (pairs) {
    push_pairs(L, h->found.pair, net->root->n_out);
    lua_setfield(L, -2, "pairs");
  }
  push_layers(L, &h->bound);
  lua_setfield(L, -2, "layers");
  luaL_setmetatable(L, BOUND_T);
  return 1;
}

/* lip.bound_methods() -> {{name=, help=}, ...} in order of cost, "best" last */
static int bound_methods(lua_State *L) {
  lua_newtable(L);
  lua_Integer n = 0;
  for (size_t i = 0; lip_method_at(i); i++) {
    lua_createtable(L, 0, 2);
    set_text(L, "name", lip_method_at(i)->name);
    set_text(L, "help", lip_method_at(i)->help);
    lua_rawseti(L, -2, ++n);
  }
  lua_createtable(L, 0, 2);
  set_text(L, "name", "best");
  set_text(L, "help", "all of them until `seconds` are used up; the smallest of each number");
  lua_rawseti(L, -2, ++n);
  return 1;
}

/* ---- net:certify ---- */

/* One call: where the rows come from and what is counted. */
typedef struct task {
  lip_net *net;
  const lip_dataset *data; /* or */
  const float *x;
  const int32_t *labels; /* (n) of tensors; NULL: none */
  const char *method;    /* of the pair constants; lent by the options */
  double seconds;
  lip_path path;
  size_t n, batch, n_eps;
  const double *eps;
  uint32_t *index;    /* (batch) */
  lip_radius *radius; /* (batch) */
  float *radii, *margins, *found;
  size_t clean, *certified; /* (n_eps) */
} task;

/* Counts rows first .. first+B-1. A point counts at eps when its label is right and no float32 input at a distance of
 * up to eps, eps included, is given another one: radius > 0 and radius >= eps. */
static void count_rows(task *t, size_t first, size_t B, const int32_t *labels) {
  for (size_t i = 0; i < B; i++) {
    const lip_radius *r = &t->radius[i];
    t->radii[first + i] = float_below(r->radius);
    t->margins[first + i] = (float)r->margin;
    t->found[first + i] = (float)r->label;
    if (!labels || r->label < 0 || r->label != labels[i]) continue;
    t->clean++;
    for (size_t k = 0; k < t->n_eps; k++) t->certified[k] += r->radius > 0 && r->radius >= t->eps[k];
  }
}

/* Rows r0..r1-1 of the batch, by the thread that is about to use them. */
static void fill(void *arg, size_t r0, size_t r1) {
  const task *t = arg;
  size_t n_in = t->net->root->n_in;
  lip_dataset_gather(t->data, t->index + r0, r1 - r0, t->net->input + r0 * n_in, NULL, NULL);
}

static lip_status certify_all(task *t, lip_certifier *c, lip_err *err) {
  size_t n_in = t->net->root->n_in;
  for (size_t i = 0; i < t->n; i += t->batch) {
    size_t B = t->n - i < t->batch ? t->n - i : t->batch;
    const int32_t *labels = t->labels ? t->labels + i : NULL;
    if (lip_cancel_raised(t->net->engine.cancel)) return lip_fail(err, LIP_CANCELLED, "certify: cancelled");
    if (t->data) {
      for (size_t r = 0; r < B; r++) t->index[r] = (uint32_t)(i + r);
      if (t->data->labels) labels = t->data->labels + i;
    }
    lip_status status = t->data ? lip_certify_stream(c, &(lip_stream){fill, NULL, t}, B, t->radius, err)
                                : lip_certify(c, t->x + i * n_in, B, t->radius, err);
    if (status) return status;
    count_rows(t, i, B, labels);
  }
  return LIP_OK;
}

/* The option eps: a number or a list of numbers >= 0. Leaves the list's owner on the stack. */
static const double *check_eps(lua_State *L, int idx, size_t *n) {
  static const char expected[] = "certify: option 'eps' expects numbers >= 0";
  *n = 0;
  int type = lua_istable(L, idx) ? lua_getfield(L, idx, "eps") : LUA_TNIL;
  if (type == LUA_TNIL) return NULL;
  char got[80];
  if (type != LUA_TNUMBER && type != LUA_TTABLE)
    luaL_error(L, "%s, got %s", expected, lipL_typetext(L, -1, got, sizeof got));
  size_t count = type == LUA_TNUMBER ? 1 : lua_rawlen(L, -1);
  int list = lua_gettop(L);
  double *eps = lua_newuserdatauv(L, (count ? count : 1) * sizeof *eps, 0);
  for (size_t i = 0; i < count; i++) {
    if (type == LUA_TTABLE)
      lua_rawgeti(L, list, (lua_Integer)i + 1);
    else
      lua_pushvalue(L, list);
    if (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0))
      luaL_error(L, "%s, element %d is %s", expected, (int)i + 1, lipL_typetext(L, -1, got, sizeof got));
    eps[i] = lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  *n = count;
  return eps;
}

/* Arguments and working memory; userdata stay on the stack for as long as the call lasts. Returns whether the rows
 * have labels. */
static bool prepare(lua_State *L, task *t) {
  static const char *const known[] = {"eps", "limit", "batch", "method", "seconds", "p", NULL};
  size_t rows, C = t->net->root->n_out;
  t->data = lipL_testdataset(L, 2);
  int options = t->data ? 3 : 4;
  lua_settop(L, options);
  lipL_checkfields(L, options, "certify", known);
  if (t->data) {
    check_features(L, "certify", t->data, t->net);
    rows = t->data->n;
  } else {
    t->x = check_rows(L, 2, t->net, &rows);
  }
  bool labelled = t->data ? t->data->labels != NULL : !lua_isnil(L, 3);
  t->method = check_method(L, options, "certify");
  t->seconds = check_seconds(L, options, "certify");
  path_of(L, options, "certify", t->net, &t->path);
  size_t limit = lipL_optfield_size(L, options, "certify", "limit", rows);
  t->n = limit < rows ? limit : rows;
  t->batch = lipL_optfield_size(L, options, "certify", "batch", 512);
  if (t->n == 0 || t->batch == 0)
    luaL_error(L, "certify: nothing to certify (batch or limit is 0, or there are no rows)");
  if (t->batch > t->n) t->batch = t->n;
  t->eps = check_eps(L, options, &t->n_eps);
  if (t->n_eps > 0 && !labelled)
    luaL_error(L, "certify: 'eps' counts points that are classified correctly: labels are needed");
  if (!t->data && labelled) {
    int32_t *labels = lua_newuserdatauv(L, rows * sizeof *labels, 0);
    lipL_checklabels(L, 3, rows, C > 1 ? C : 2, labels);
    t->labels = labels;
  }
  t->index = lua_newuserdatauv(L, t->batch * sizeof *t->index, 0);
  t->radius = lua_newuserdatauv(L, t->batch * sizeof *t->radius, 0);
  t->certified = lua_newuserdatauv(L, (t->n_eps ? t->n_eps : 1) * sizeof *t->certified, 0);
  memset(t->certified, 0, (t->n_eps ? t->n_eps : 1) * sizeof *t->certified);
  return labelled;
}

static void push_fractions(lua_State *L, const task *t) {
  set_number(L, "clean", (double)t->clean / (double)t->n);
  lua_createtable(L, 0, (int)t->n_eps);
  for (size_t k = 0; k < t->n_eps; k++) {
    lua_pushnumber(L, t->eps[k]);
    lua_pushnumber(L, (double)t->certified[k] / (double)t->n);
    lua_rawset(L, -3);
  }
  lua_setfield(L, -2, "certified");
}

/* net:certify(dataset | x[, y], {eps={...}, method="product", p=, seconds=, limit=, batch=512}) -> {n=, clean=,
 * certified={[eps]=fraction}, radii=, margins=, labels=, pairs=, method=, p=} | nil, message, code
 *   radii      (n) rounded down: no float32 input within that distance (in the norm of the net's input or p, the distance
 *              itself included) is given another label by the net as executed; 0 for ties and whatever is not finite
 *   certified  fraction of all rows that are classified correctly with radius > 0 and radius >= eps
 *   clean and certified need labels */
int lipL_net_certify(lua_State *L) {
  task t = {.net = lipL_checknet(L, 1)};
  lip_err err;
  bool labelled = prepare(L, &t);
  size_t before = t.net->capacity;
  if (lip_net_reserve(t.net, t.batch, &err)) return lipL_fault(L, &err);
  if (t.net->capacity != before)
    lipL_account(L, t.net->capacity * (t.net->root->cache + 2 * t.net->root->n_in) * sizeof(float));
  holder *h = lipL_newobject(L, LIP_CERTIFIER_T, sizeof *h, 0);
  lua_createtable(L, 0, 8);
  t.radii = lipL_newtensor(L, 1, &t.n)->data;
  lua_setfield(L, -2, "radii");
  t.margins = lipL_newtensor(L, 1, &t.n)->data;
  lua_setfield(L, -2, "margins");
  t.found = lipL_newtensor(L, 1, &t.n)->data;
  lua_setfield(L, -2, "labels");
  /* from here to the last radius no finaliser of a script may run: it could change the weights that were measured */
  bool more = strcmp(t.method, "product") != 0; /* the certifier makes that one itself */
  if (more && run_method(h, t.method, t.net, &t.path, true, t.seconds, &err)) return lipL_fault(L, &err);
  lip_certify_conf conf = {&t.path, h->found.pair};
  if (lip_certifier_new(t.net, &conf, &h->certifier, &err)) return lipL_fault(L, &err);
  if (certify_all(&t, h->certifier, &err)) return lipL_fault(L, &err);
  lua_pushinteger(L, (lua_Integer)t.n);
  lua_setfield(L, -2, "n");
  if (labelled) push_fractions(L, &t);
  set_text(L, "method", more ? h->found.method : "product");
  set_text(L, "p", lip_p_name(lip_path_at(&t.path, 0)));
  push_pairs(L, lip_certifier_pairs(h->certifier), t.net->root->n_out);
  lua_setfield(L, -2, "pairs");
  return 1;
}

/* The two methods net:bound and net:certify belong to lip.net. */
void lipL_open_cert(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"bound", lipL_net_bound}, {"bound_methods", bound_methods}, {NULL, NULL}};
  static const luaL_Reg guard[] = {{"__gc", holder_gc}, {NULL, NULL}};
  static const luaL_Reg bound[] = {{"__tostring", bound_tostring}, {NULL, NULL}};
  lipL_newtype(L, LIP_CERTIFIER_T, NULL, guard);
  lipL_newtype(L, BOUND_T, NULL, bound);
  luaL_setfuncs(L, functions, 0);
}
