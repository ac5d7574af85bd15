/* net:certify: radii and certified accuracy. */
#include "bindings/bind_cert.h"
#include "bindings/bind_property.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bound/found.h"

#define LIP_CERTIFIED_T "lip.certified" /* metatable of certified={[eps]=} */

/* One call: where the rows come from and what is counted. */
typedef struct task {
  lip_net *net;
  const lip_dataset *data; /* or */
  const float *x;
  const int32_t *labels; /* (n) of tensors; NULL: none */
  const char *method;    /* of the pair constants; lent by the options */
  lipL_local local;
  const lip_property *property; /* asked in place of the label; NULL: none */
  double seconds;
  int options; /* index of the table */
  lip_watch *progress;
  lip_path path;
  lip_arithmetic arithmetic;
  bool tight;
  size_t n, batch, n_eps;
  const double *eps;
  double *sorted;     /* (n_eps) for "local" */
  uint32_t *index;    /* (batch) */
  lip_radius *radius; /* (batch) */
  lip_radius *plain;  /* (batch) of labels, for a property that is about them; else NULL */
  float *radii, *margins, *found, *reached, *table;
  float *holds;             /* (n) of the property: 1, 0, -1 */
  float *proved;            /* (n, rows) bounds of margins or rows, NULL: not asked for */
  double *bounds;           /* (batch, rows) */
  size_t clean, *certified; /* (n_eps) */
} task;

/* Counts rows first .. first+B-1. A point counts at eps when its label is right and no float32 input at a distance of
 * up to eps, eps included, is given another one: radius > 0 and radius >= eps. */
static void count_rows(task *t, size_t first, size_t B, const int32_t *labels) {
  for (size_t i = 0; i < B; i++) {
    const lip_radius *r = &t->radius[i];
    t->radii[first + i] = lipL_floatbelow(r->radius);
    t->margins[first + i] = (float)r->margin;
    if (!t->property) t->found[first + i] = (float)r->label;
    size_t reached = 0;
    for (size_t k = 0; k < t->n_eps; k++) reached += r->radius > 0 && r->radius >= t->eps[k];
    if (t->reached) t->reached[first + i] = (float)reached;
    bool right = t->property ? r->margin > 0 : labels && r->label >= 0 && r->label == labels[i];
    if (!right) continue;
    t->clean++;
    for (size_t k = 0; k < t->n_eps; k++) t->certified[k] += r->radius > 0 && r->radius >= t->eps[k];
  }
}

/* Margins to every class in the float32 pass, NaN where it gave no label. */
static void fill_table(const task *t, size_t first, size_t B) {
  size_t C = lip_net_classes(t->net), outputs = t->net->root->n_out;
  for (size_t r = 0; r < B; r++) {
    const float *out = t->net->logits + r * outputs, sign[2] = {0, *out}, *z = outputs > 1 ? out : sign;
    int32_t y = t->radius[r].label;
    for (size_t j = 0; j < C; j++) t->table[(first + r) * C + j] = y < 0 ? NAN : z[y] - z[j];
  }
}

/* Rows r0..r1-1 of the batch, by the thread that is about to use them. */
static void fill(void *arg, size_t r0, size_t r1) {
  const task *t = arg;
  size_t n_in = t->net->root->n_in;
  lip_dataset_gather(t->data, t->index + r0, r1 - r0, t->net->input + r0 * n_in, NULL, NULL);
}

static int by_size(const void *a, const void *b) {
  double u = *(const double *)a, v = *(const double *)b;
  return u < v ? -1 : u > v;
}

static lip_status local_new(const task *t, double *eps, lip_local **out, lip_err *err) {
  memcpy(eps, t->eps, t->n_eps * sizeof *eps);
  qsort(eps, t->n_eps, sizeof *eps, by_size);
  lip_local_conf conf = {.p = lip_path_at(&t->path, 0),
                         .eps = eps,
                         .n_eps = t->n_eps,
                         .boxed = t->local.box.given,
                         .from = t->local.box.from,
                         .to = t->local.box.to,
                         .scale = t->local.scale,
                         .halvings = t->local.halvings,
                         .property = t->property};
  if (t->arithmetic != LIP_ARITHMETIC_REAL) conf.executed = LIP_EXECUTED_FLOAT32;
  return lip_local_new(t->net, &conf, out, err);
}

/* Whether the property holds for the rows themselves. */
static lip_status look(task *t, size_t first, size_t B, const int32_t *labels, lip_err *err) {
  lip_net *net = t->net;
  size_t C = net->root->n_out;
  if (t->data) fill(t, 0, B);
  lip_net_forward(net, t->data ? net->input : t->x + first * net->root->n_in, B, false);
  for (size_t i = 0; i < B; i++) {
    const float *z = net->logits + i * C;
    lip_radius *r = &t->radius[i];
    if (lip_cancel_raised(net->engine.cancel)) return lip_fail(err, LIP_CANCELLED, "certify: cancelled");
    lip_local_begin(t->property, z, 1, labels ? labels + i : NULL, r);
    lip_state state = r->margin > 0  ? LIP_HOLDS
                      : r->label < 0 ? LIP_BROKEN
                                     : lip_property_state(t->property, (size_t)r->label, z);
    t->found[first + i] = (float)lip_outputs_answer(z, C);
    t->holds[first + i] = state == LIP_HOLDS ? 1 : state == LIP_BROKEN ? 0 : -1;
  }
  return LIP_OK;
}

/* Within the radius of a label by constants its margins are above 0, and so is what a property asks of them: the radii bound
 * margins from below, and a little further in these bounds are not 0. */
static lip_status lend_radii(task *t, lip_certifier *c, const float *x, size_t B, lip_err *err) {
  lip_status status = lip_certify(c, x, B, t->plain, err);
  for (size_t i = 0; !status && i < B; i++)
    if (t->plain[i].label == t->radius[i].label && t->radius[i].margin > 0 && t->plain[i].radius > 0)
      t->radius[i].radius = t->plain[i].radius * (1 - 0x1p-30);
  return status;
}

/* Margins or rows of the property, for the one size of balls. */
static lip_status prove_rows(task *t, lip_local *local, const float *x, size_t first, size_t B,
                             lip_err *err) {
  size_t m = t->property ? t->property->m : lip_net_classes(t->net);
  lip_status status = lip_local_rows(local, x, B, t->radius, t->bounds, err);
  for (size_t i = 0; !status && i < B * m; i++) t->proved[first * m + i] = lipL_floatbelow(t->bounds[i]);
  return status;
}

static lip_status certify_all(task *t, lip_certifier *c, lip_local *local, lip_err *err) {
  size_t n_in = t->net->root->n_in;
  lip_watch_begin(t->progress, "rows", t->n);
  for (size_t i = 0; i < t->n; i += t->batch) {
    size_t B = t->n - i < t->batch ? t->n - i : t->batch;
    const int32_t *labels = t->labels ? t->labels + i : NULL;
    if (lip_cancel_raised(t->net->engine.cancel) || !lip_watch_tell(t->progress, false))
      return lip_fail(err, LIP_CANCELLED, "certify: cancelled");
    if (t->data) {
      for (size_t r = 0; r < B; r++) t->index[r] = (uint32_t)(i + r);
      if (t->data->labels) labels = t->data->labels + i;
    }
    lip_status status = t->property ? look(t, i, B, labels, err)
                        : t->data   ? lip_certify_stream(c, &(lip_stream){fill, NULL, t}, B, t->radius, err)
                                    : lip_certify(c, t->x + i * n_in, B, t->radius, err);
    const float *x = t->data ? t->net->input : t->x + i * n_in;
    if (!status && t->plain) status = lend_radii(t, c, x, B, err);
    if (!status && t->table) fill_table(t, i, B);
    if (!status && t->proved) status = prove_rows(t, local, x, i, B, err);
    if (!status && local) status = lip_local_certify(local, x, B, t->radius, err);
    if (status) return status;
    count_rows(t, i, B, labels);
    lip_watch_add(t->progress, B);
  }
  return LIP_OK;
}

const double *lipL_opteps(lua_State *L, int idx, const char *what, size_t *n) {
  static const char expected[] = "option 'eps' expects numbers >= 0";
  *n = 0;
  int type = lua_istable(L, idx) ? lua_getfield(L, idx, "eps") : LUA_TNIL;
  if (type == LUA_TNIL) return NULL;
  char got[80];
  if (type != LUA_TNUMBER && type != LUA_TTABLE)
    luaL_error(L, "%s: %s, got %s", what, expected, lipL_typetext(L, -1, got, sizeof got));
  size_t count = type == LUA_TNUMBER ? 1 : lua_rawlen(L, -1);
  int list = lua_gettop(L);
  double *eps = lua_newuserdatauv(L, (count ? count : 1) * sizeof *eps, 0);
  for (size_t i = 0; i < count; i++) {
    if (type == LUA_TTABLE)
      lua_rawgeti(L, list, (lua_Integer)i + 1);
    else
      lua_pushvalue(L, list);
    if (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0))
      luaL_error(L, "%s: %s, element %d is %s", what, expected, (int)i + 1,
                 lipL_typetext(L, -1, got, sizeof got));
    eps[i] = lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  *n = count;
  return eps;
}

/* Values of a layer, those of layers inside it with what waits beside them. One that is told in several steps takes up to
 * twice as many on the way, one that is folded into the next matrix none. */
static size_t widest(const lip_layer *l) {
  if (l->kind->flags & LIP_LAYER_ALIAS || l->kind->diagonal) return 0;
  size_t most = l->kind->form && !l->kind->matrix && l->n_child == 0 ? 2 * l->n_out : l->n_out;
  for (size_t i = 0; i < l->n_child; i++) {
    size_t inside = widest(l->child[i]) + (l->kind->form == lip_chain_form ? 0 : l->n_in);
    if (inside > most) most = inside;
  }
  return most;
}

/* Whether units are put in order, which constants see better than relaxation does. */
static bool has_order(const lip_layer *l) {
  bool found = l->kind->exchange || (l->n_child == 0 && l->kind->form && !l->kind->matrix && !l->kind->range);
  for (size_t i = 0; i < l->n_child; i++) found = found || has_order(l->child[i]);
  return found;
}

/* The method of the constants that come before the relaxation: multipliers as long as they take less time than it does. In
 * norm 2 they prove up to 14 of 100 points more; from the norm inf hardly any, but of nets that sort, and take five times
 * as long (their weights know every input); from the norm 1 there are none. */
static const char *default_global(const lip_net *net, lip_p p) {
  size_t most = p == LIP_P2 ? 1024 : p == LIP_P1 ? 0 : has_order(net->root) ? 512 : 128;
  const lip_layer *chain = net->root;
  for (size_t i = 0; i < chain->n_child; i++)
    if (widest(chain->child[i]) > most) return "product";
  return "recursion";
}

/* Options, where a list would be labels. */
static bool has_names(lua_State *L, int idx) {
  if (!lua_istable(L, idx) || lua_rawlen(L, idx) > 0) return false;
  lua_pushnil(L);
  if (!lua_next(L, idx)) return false;
  bool named = lua_type(L, -2) == LUA_TSTRING;
  lua_pop(L, 2);
  return named;
}

/* Arguments and working memory; userdata stay on the stack for as long as the call lasts. Returns whether the rows
 * have labels. */
static bool prepare(lua_State *L, task *t) {
  static const char *const known[] = {"eps",        "limit", "batch",  "method",   "seconds", "p",
                                      "arithmetic", "tight", "box",    "halvings", "global",  "table",
                                      "progress",   "spec",  "proved", "scale",    NULL};
  size_t rows, C = lip_net_classes(t->net);
  t->data = lipL_testdataset(L, 2);
  if (!t->data && lua_isnoneornil(L, 4) && has_names(L, 3)) { /* options, no labels */
    lua_settop(L, 3);
    lua_pushnil(L);
    lua_insert(L, 3);
  }
  int options = t->data ? 3 : 4;
  t->options = options;
  lua_settop(L, options);
  lipL_checkfields(L, options, "certify", known);
  if (t->data) {
    lipL_checkfeatures(L, "certify", t->data, t->net);
    lipL_checkclasses(L, "certify", t->data, t->net);
    rows = t->data->n;
  } else {
    lipL_keepown(L, 2, t->net);
    t->x = lipL_checkrows(L, 2, t->net, &rows);
  }
  t->property = lipL_optproperty(L, options, "certify", t->net);
  bool labelled = t->data ? t->data->labels != NULL : !lua_isnil(L, 3);
  lipL_optlocal(L, options, "certify", t->net, &t->local);
  t->method = t->local.wanted ? t->local.global : lipL_optmethod(L, options, "certify");
  lipL_optpath(L, options, "certify", t->net, &t->path);
  t->seconds = lipL_optseconds(L, options, "certify", &t->path);
  /* constants of pairs and relaxation prove different points */
  if (!t->method) t->method = default_global(t->net, lip_path_at(&t->path, 0));
  t->arithmetic = lipL_optarithmetic(L, options, "certify", true);
  t->tight = lipL_optfield_bool(L, options, "certify", "tight", false);
  size_t limit = lipL_optfield_size(L, options, "certify", "limit", rows);
  t->n = limit < rows ? limit : rows;
  t->batch = lipL_optfield_size(L, options, "certify", "batch", 512);
  if (t->n == 0 || t->batch == 0)
    luaL_error(L, "certify: nothing to certify (batch or limit is 0, or there are no rows)");
  if (t->batch > t->n) t->batch = t->n;
  static const double one[] = {1};
  t->eps = t->local.whole ? one : lipL_opteps(L, options, "certify", &t->n_eps);
  if (t->local.whole) t->n_eps = 1;
  const lipL_box *box = &t->local.box;
  for (size_t k = 0; box->plain && !t->local.scale && k < t->n_eps; k++) {
    lipL_warn_wide("certify", lip_path_at(&t->path, 0), t->eps[k], *box->from, *box->to);
    if (t->eps[k] > *box->to - *box->from) break;
  }
  if (t->local.wanted && t->arithmetic == LIP_ARITHMETIC_DOUBLE)
    luaL_error(L, "certify: method 'local' is about float32 as executed or \"real\", not \"double\"");
  if (t->local.wanted && t->n_eps == 0)
    luaL_error(L, "certify: method 'local' tries balls of given sizes: option 'eps' expects them");
  bool about_label = t->property && t->property->asked != LIP_ASK_ROWS;
  if (t->property && t->local.global && !about_label)
    luaL_error(L, "certify: option 'global' is about labels, which this 'spec' asks nothing about");
  if (t->property && lipL_optfield_bool(L, options, "certify", "table", false))
    luaL_error(L, "certify: option 'table' is about labels, which 'spec' asks nothing about");
  if (lipL_optfield_bool(L, options, "certify", "proved", false)) {
    size_t bytes, m = t->property ? t->property->m : C;
    if (t->n_eps != 1)
      luaL_error(L, "certify: option 'proved' is about one size of balls: option 'eps' has %d",
                 (int)t->n_eps);
    if (!lip_mul_fits(t->batch * sizeof(double), m, &bytes))
      luaL_error(L, "certify: option 'proved': too many rows");
    t->bounds = lua_newuserdatauv(L, bytes, 0);
  }
  if (t->n_eps > 0 && !labelled && !t->local.wanted)
    luaL_error(L, "certify: 'eps' counts points that are classified correctly: labels are needed");
  if (!t->data && labelled) {
    int32_t *labels = lua_newuserdatauv(L, rows * sizeof *labels, 0);
    lipL_checklabels(L, 3, rows, C, labels);
    t->labels = labels;
  }
  t->index = lua_newuserdatauv(L, t->batch * sizeof *t->index, 0);
  t->radius = lua_newuserdatauv(L, t->batch * sizeof *t->radius, 0);
  if (about_label) t->plain = lua_newuserdatauv(L, t->batch * sizeof *t->plain, 0);
  t->sorted = lua_newuserdatauv(L, (t->n_eps ? t->n_eps : 1) * sizeof *t->sorted, 0);
  t->certified = lua_newuserdatauv(L, (t->n_eps ? t->n_eps : 1) * sizeof *t->certified, 0);
  memset(t->certified, 0, (t->n_eps ? t->n_eps : 1) * sizeof *t->certified);
  return labelled;
}

/* The shortest text that means this number. */
static const char *number_text(double v, char *buf, size_t size) {
  for (int digits = 6; digits <= 17; digits++) {
    snprintf(buf, size, "%.*g", digits, v);
    if (strtod(buf, NULL) == v) break;
  }
  return buf;
}

/* certified[eps] of a radius that nobody asked for: nil would be taken for nothing certified. */
static int certified_index(lua_State *L) {
  char key[80], one[40];
  lua_settop(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lua_type(L, 2) == LUA_TNUMBER)
    number_text(lua_tonumber(L, 2), key, sizeof key);
  else
    lipL_typetext(L, 2, key, sizeof key);
  lua_pushliteral(L, ""); /* at 3: those there are */
  for (lua_pushnil(L); lua_next(L, 1);) {
    bool number = lua_type(L, -2) == LUA_TNUMBER;
    lua_pop(L, 1);
    if (!number) continue;
    lua_pushfstring(L, "%s%s%s", lua_tostring(L, 3), lua_rawlen(L, 3) ? ", " : "",
                    number_text(lua_tonumber(L, -1), one, sizeof one));
    lua_replace(L, 3);
  }
  return luaL_error(L, "certified[%s]: certify was not asked about this radius: option 'eps' was %s", key,
                    lua_rawlen(L, 3) ? lua_tostring(L, 3) : "not given");
}

static void push_fractions(lua_State *L, const task *t) {
  lipL_setnumber(L, "clean", (double)t->clean / (double)t->n);
  lua_createtable(L, 0, (int)t->n_eps);
  for (size_t k = 0; k < t->n_eps; k++) {
    lua_pushnumber(L, t->eps[k]);
    lua_pushnumber(L, (double)t->certified[k] / (double)t->n);
    lua_rawset(L, -3);
  }
  luaL_setmetatable(L, LIP_CERTIFIED_T);
  lua_setfield(L, -2, "certified");
}

/* Of a layer written in Lua without `deviation`. */
static void explain_rounding(const task *t, const lip_layer *l, char *reason) {
  char place[120];
  lip_layer_place(t->net->root, l, place, sizeof place);
  if (t->arithmetic == LIP_ARITHMETIC_REAL)
    lip_because(reason, "%s states no 'deviation': outputs as executed were taken for the exact ones", place);
  else
    lip_because(reason,
                "%s states no 'deviation', so how far it rounds is not known and radii are 0; arithmetic = "
                "\"real\" leaves rounding out",
                place);
}

/* What stands in the way of the method that was asked for; the constants are then the product's. */
static void explain(const task *t, lipL_cert *h) {
  size_t C = lip_net_classes(t->net);
  const double *pairs = h->certifier ? lip_certifier_pairs(h->certifier) : NULL;
  const lip_layer *unrounded = lip_custom_unrounded(t->net->root);
  bool known = true;
  for (size_t i = 0; pairs && i < C * C; i++) known = known && pairs[i] < INFINITY;
  const char *unknown = h->local ? lip_local_unknown(h->local) : NULL;
  if (unknown)
    lip_because(h->found.reason, "%s: %s%s%s",
                lip_local_boxes(h->local) ? "balls are looked at by interval arithmetic alone"
                                          : "no balls can be looked at",
                strcmp(unknown, "size") ? "the layer '" : "",
                strcmp(unknown, "size") ? unknown : "the matrices have more than 2^25 numbers that are not 0",
                strcmp(unknown, "size") ? "' is no matrix and no slopes unit by unit" : "");
  else if (!known && !*h->found.reason)
    lip_because(h->found.reason,
                "a layer states no finite constant for these norms (print(net:bound()) names it): "
                "radii are 0");
  else if (unrounded && !*h->found.reason)
    explain_rounding(t, unrounded, h->found.reason);
}

/* From here to the last radius no finaliser of a script may run: it could change the weights that were measured;
 * what the function `progress` does is looked at. */
static lip_status work(task *t, lipL_cert *h, lip_err *err) {
  bool constants = !t->property || t->plain;
  h->classes = true;
  bool more = constants && strcmp(t->method, "product") != 0; /* the certifier makes that one itself */
  lip_status status = LIP_OK;
  if (more) status = lipL_runmethod(h, t->method, t->net, &t->path, true, t->seconds, t->progress, err);
  lip_certify_conf conf = {&t->path, h->found.pair, t->arithmetic, t->tight};
  if (!status && constants) status = lip_certifier_new(t->net, &conf, &h->certifier, err);
  if (!status && t->local.wanted) status = local_new(t, t->sorted, &h->local, err);
  if (status) return status;
  explain(t, h);
  return certify_all(t, h->certifier, h->local, err);
}

/* What the sizes of "local" are about. */
static void set_region(lua_State *L, const task *t) {
  const lipL_local *l = &t->local;
  char text[160], box[80] = "";
  if (!l->wanted) return;
  if (l->box.plain) snprintf(box, sizeof box, " {%g, %g}", *l->box.from, *l->box.to);
  snprintf(text, sizeof text, "%sl_%s balls%s%s", l->scale ? "scaled " : "",
           lip_p_name(lip_path_at(&t->path, 0)), l->box.given ? " cut with the box" : "", box);
  lipL_settext(L, "region", text);
}

/* net:certify(dataset | x[, y], {eps={...}, method="product", p=, seconds=, limit=, batch=512,
 * arithmetic="float32", tight=false}) -> {n=, clean=, certified={[eps]=fraction}, radii=, margins=, labels=, pairs=,
 * method=, p=, arithmetic=, reason=, tried=} | nil, message, code
 *   radii      (n) rounded down: no float32 input within that distance (in the norm of the net's input or p, the distance
 *              itself included) is given another label by the net as executed; 0 for ties and whatever is not finite
 *   arithmetic what is executed: "float32" net:predict(x), "double" net:predict(x, {arithmetic="double"}), "real"
 *              exact arithmetic, which no program attains
 *   method="local" tries the sizes in eps (with scale, a tensor s, of the balls ||(x' - x) / s||_p <= eps; eps a tensor: of
 *   that scale and size 1) by interval arithmetic and linear relaxation around each point: radii are then
 *   the largest size proved (or the radius that the constants of method `global` give), with `halvings` more tries
 *   between it and the smallest refused; box={from, to}: only inputs in it count
 *   table      (n, C), with table=true: the margin to every class in the float32 pass, 0 at the label
 *   reached    (n) how many of the numbers in eps the radius reaches, whatever the label
 *   certified  fraction of all rows that are classified correctly with radius > 0 and radius >= eps
 *   spec       of "local": what is to hold of the outputs in place of the label (bind_property.h); then clean is the
 *              share of rows that it holds for, holds (n) tells which (1, 0, or -1: the numbers are too small to say),
 *              margins is how far it is from being broken, and there are no pairs
 *   proved     (n, C) with proved=true and one eps: lower bounds of z_y - z_j all over the ball, or (n, m) of the rows of
 *              spec; -inf where nothing is known
 *   clean and certified need labels, or a spec
 * One output f answers with label 1 where f > 0, else 0; C is then 2, of the logits 0 and f. */
static int net_certify(lua_State *L) {
  task t = {.net = lipL_checkidle(L, 1)};
  lip_err err;
  bool labelled = prepare(L, &t);
  if (lip_certify_ready(&err)) return lipL_fail(L, &err);
  size_t before = t.net->capacity;
  if (lip_net_reserve(t.net, t.batch, &err)) return lipL_fault(L, &err);
  if (t.net->capacity != before)
    lipL_account(L, t.net->capacity * (t.net->root->cache + 2 * t.net->root->n_in) * sizeof(float));
  lipL_cert *h = lipL_newobject(L, LIP_CERTIFIER_T, sizeof *h, 0);
  lua_createtable(L, 0, 8);
  t.radii = lipL_newtensor(L, 1, &t.n)->data;
  lua_setfield(L, -2, "radii");
  t.margins = lipL_newtensor(L, 1, &t.n)->data;
  lua_setfield(L, -2, "margins");
  t.found = lipL_newtensor(L, 1, &t.n)->data;
  lipL_mean(L, -1, LIPL_CLASSES);
  lua_setfield(L, -2, "labels");
  if (t.n_eps > 0) {
    t.reached = lipL_newtensor(L, 1, &t.n)->data;
    lua_setfield(L, -2, "reached");
  }
  if (lipL_optfield_bool(L, t.data ? 3 : 4, "certify", "table", false)) {
    t.table = lipL_newtensor(L, 2, (size_t[]){t.n, lip_net_classes(t.net)})->data;
    lua_setfield(L, -2, "table");
  }
  if (t.property) {
    t.holds = lipL_newtensor(L, 1, &t.n)->data;
    lua_setfield(L, -2, "holds");
  }
  if (t.bounds) {
    size_t m = t.property ? t.property->m : lip_net_classes(t.net);
    t.proved = lipL_newtensor(L, 2, (size_t[]){t.n, m})->data;
    lua_setfield(L, -2, "proved");
  }
  int result = lua_gettop(L);
  lipL_watch watch;
  t.progress = lipL_watch_begin(L, t.options, "certify", t.net, &watch);
  const float *weights = lipL_weightsnow(L, t.net);
  const size_t pinned = lipL_pin(t.data);
  lip_status status = work(&t, h, &err);
  lipL_unpin(pinned);
  lipL_watch_end(&watch);
  const int failed = lipL_netfault(L, t.net);
  if (failed) return failed;
  if (status) return lipL_fault(L, &err);
  lipL_checkweights(L, "certify", t.net, weights);
  lua_settop(L, result);
  lua_pushinteger(L, (lua_Integer)t.n);
  lua_setfield(L, -2, "n");
  if (labelled || t.property) push_fractions(L, &t);
  lipL_settext(L, "arithmetic", lip_arithmetic_names[t.arithmetic]);
  lipL_settext(L, "method", t.local.wanted ? "local" : h->found.method ? h->found.method : "product");
  set_region(L, &t);
  lipL_setreasons(L, &h->found);
  lipL_setassumed(L, t.net);
  lipL_settext(L, "p", lip_p_name(lip_path_at(&t.path, 0)));
  if (t.property) return 1;
  lipL_pushpairs(L, lip_certifier_pairs(h->certifier), lip_net_classes(t.net), false);
  lua_setfield(L, -2, "pairs");
  return 1;
}

void lipL_open_certify(lua_State *L) {
  static const luaL_Reg methods[] = {{"certify", net_certify}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__index", certified_index}, {NULL, NULL}};
  lipL_addmethods(L, LIP_NET_T, methods);
  lipL_newtype(L, LIP_CERTIFIED_T, NULL, meta);
}
