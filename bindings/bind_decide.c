/* net:decide: properties of nets over boxes, by branch and bound. */
#include <math.h>
#include <string.h>

#include "bindings/bind_cert.h"
#include "bindings/bind_property.h"
#include "bindings/bind_vnnlib.h"
#include "core/affine/rounding.h"
#include "core/cert/decide.h"
#include "core/exchange/vnnlib_question.h"
#include "core/norm/round.h"

#define DECIDE_T "lip.decide"

/* What a call holds; collected should an error be raised. */
typedef struct holder {
  lip_vnnlib_question query;
  bool has_query;
  size_t n_in;
  double *sides; /* (n, 2 n_in) */
  float *points; /* (n, 2 n_in) */
  lip_p p;
  lip_region *ball; /* (n) of norm 1 or 2 */
  double *limits;   /* (n, 3 n_in) their boxes and scales */
  float *x;         /* (n, n_in) */
  const lip_property *property;
  lip_property rows; /* of a label */
  lip_decision decision;
} holder;

static int holder_gc(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, DECIDE_T);
  if (lipL_pinned(h)) return 0;
  if (h->has_query) lip_vnnlib_question_free(&h->query);
  h->has_query = false;
  lip_free(h->sides);
  lip_free(h->points);
  h->sides = NULL;
  h->points = NULL;
  lip_free(h->ball);
  lip_free(h->limits);
  lip_free(h->x);
  h->ball = NULL;
  h->limits = NULL;
  h->x = NULL;
  lip_property_free(&h->rows);
  lip_decision_free(&h->decision);
  return 0;
}

static lip_status box_at(void *arg, size_t i, lip_case *out, lip_err *err) {
  const holder *h = arg;
  const size_t n = h->n_in;
  (void)err;
  double *s = h->sides + 2 * i * n;
  float *p = h->points + 2 * i * n;
  *out = (lip_case){.from = s, .to = s + n, .least = p, .most = p + n, .property = h->property};
  if (h->p != LIP_PINF) out->ball = &h->ball[i];
  return LIP_OK;
}

/* ---- options ---- */

/* Tensor `name` of the table on top of the stack, with the numbers of one input; raises. Leaves it there. */
static const float *input_field(lua_State *L, const char *name, const lip_net *net) {
  char what[64], got[80];
  size_t B;
  lua_getfield(L, -1, name);
  if (!lipL_testtensor(L, -1))
    luaL_error(L, "decide: input: '%s' expects a tensor of one input, got %s", name,
               lipL_typetext(L, -1, got, sizeof got));
  lip_snprintf(what, sizeof what, "decide: input");
  const float *v = lipL_optrows(L, what, name, net, &B);
  if (B != 1) luaL_error(L, "decide: input: '%s' expects one input, got %d of them", name, (int)B);
  return v;
}

/* Numbers of box i, from the first on. */
typedef struct sides {
  double *from, *to; /* (n_in) */
  float *least, *most;
} sides;

static sides sides_of(const holder *h, size_t i) {
  const size_t n = h->n_in;
  double *s = h->sides + 2 * i * n;
  float *p = h->points + 2 * i * n;
  return (sides){s, s + n, p, p + n};
}

static void check_sides(lua_State *L, const sides *s, size_t n) {
  for (size_t k = 0; k < n; k++) {
    if (!isfinite(s->from[k]) || !isfinite(s->to[k]))
      luaL_error(L, "decide: input: a box has finite sides, input %d has %f and %f", (int)k + 1,
                 lip_plain(s->from[k]), lip_plain(s->to[k]));
    if (s->from[k] > s->to[k])
      luaL_error(L, "decide: input: the box is empty: input %d has low %f and high %f", (int)k + 1,
                 lip_plain(s->from[k]), lip_plain(s->to[k]));
  }
}

static float float_above(double v) {
  return -lipL_floatbelow(-v);
}

/* Field p of the table on top of the stack. */
static lip_p read_norm(lua_State *L) {
  char got[80];
  lip_p p = LIP_PINF;
  const int type = lua_getfield(L, -1, "p");
  const lua_Number v = type == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  if (v == 1 || v == 2)
    p = v == 1 ? LIP_P1 : LIP_P2;
  else if (type != LUA_TNIL && v != HUGE_VAL &&
           (type != LUA_TSTRING || lip_p_parse(lua_tostring(L, -1), &p, NULL)))
    luaL_error(L, "decide: input: p expects 1, 2, math.huge or \"inf\", got %s",
               lipL_typetext(L, -1, got, sizeof got));
  lua_pop(L, 1);
  return p;
}

/* Ball i, copied: what is on the stack may be changed by functions of the script. */
static void set_ball(lua_State *L, holder *h, size_t i, lip_region ball) {
  const size_t n = h->n_in;
  double *from = h->limits + 3 * i * n, *to = from + n, *scale = to + n;
  float *x = h->x + i * n;
  for (size_t k = 0; k < n; k++) {
    x[k] = ball.x[k];
    if (ball.boxed) from[k] = ball.from[k], to[k] = ball.to[k];
    if (ball.scale) scale[k] = ball.scale[k];
    if (ball.boxed && !((double)x[k] >= from[k] && (double)x[k] <= to[k]))
      luaL_error(L, "decide: input: the middle of a ball of norm %s lies in its box, input %d does not",
                 lip_p_name(ball.p), (int)k + 1);
  }
  h->ball[i] = ball;
  h->ball[i].x = x;
  h->ball[i].from = from;
  h->ball[i].to = to;
  if (ball.scale) h->ball[i].scale = scale;
}

/* {x =, eps =, p =, scale =, box =} on top of the stack: the ball, or its bounding box, cut with the box. */
static void read_ball(lua_State *L, const lip_net *net, holder *h, size_t i) {
  char got[80];
  lipL_box box;
  bool whole;
  const int top = lua_gettop(L);
  const float *x = input_field(L, "x", net);
  const double *scale = lipL_optscale(L, top, "decide", net, &whole);
  lipL_optbox(L, top, "decide", net, &box);
  const int type = lua_getfield(L, top, "eps");
  const double eps = whole ? 1 : type == LUA_TNUMBER ? lua_tonumber(L, -1) : (double)NAN;
  if (!(eps >= 0) || !isfinite(eps))
    luaL_error(L, "decide: input: eps expects a finite number >= 0, got %s",
               lipL_typetext(L, -1, got, sizeof got));
  sides s = sides_of(h, i);
  fenv_t saved; /* denormal numbers count */
  lip_ieee_enter(&saved);
  for (size_t k = 0; k < h->n_in; k++) {
    const double at = (double)x[k], r = scale ? eps * scale[k] : eps;
    const double far = r > 0 ? lip_step_up(r) : r, near = scale && r > 0 ? lip_step_down(r) : r;
    s.from[k] = r == 0 ? at : lip_step_down(at - far);
    s.to[k] = r == 0 ? at : -lip_step_down(-(at + far));
    s.least[k] = r == 0 ? x[k] : float_above(-lip_step_down(-(at - near)));
    s.most[k] = r == 0 ? x[k] : lipL_floatbelow(lip_step_down(at + near));
    if (s.least[k] > x[k]) s.least[k] = x[k];
    if (s.most[k] < x[k]) s.most[k] = x[k];
    if (!box.given) continue;
    if (s.from[k] < box.from[k])
      s.from[k] = box.from[k], s.least[k] = fmaxf(s.least[k], float_above(box.from[k]));
    if (s.to[k] > box.to[k]) s.to[k] = box.to[k], s.most[k] = fminf(s.most[k], lipL_floatbelow(box.to[k]));
  }
  lip_ieee_leave(&saved);
  check_sides(L, &s, h->n_in);
  if (h->p != LIP_PINF)
    set_ball(L, h, i,
             (lip_region){.x = x,
                          .p = h->p,
                          .eps = eps,
                          .boxed = box.given,
                          .from = box.from,
                          .to = box.to,
                          .scale = scale});
  lua_settop(L, top);
}

/* {low =, high =} on top of the stack. */
static void read_box(lua_State *L, const lip_net *net, holder *h, size_t i) {
  const int top = lua_gettop(L);
  sides s = sides_of(h, i);
  const float *low = input_field(L, "low", net);
  lua_pushvalue(L, top);
  const float *high = input_field(L, "high", net);
  for (size_t k = 0; k < h->n_in; k++) {
    s.from[k] = low[k];
    s.to[k] = high[k];
    s.least[k] = low[k];
    s.most[k] = high[k];
  }
  check_sides(L, &s, h->n_in);
  lua_settop(L, top);
}

/* One part of the input, on top of the stack. */
static void read_part(lua_State *L, const lip_net *net, holder *h, size_t i) {
  static const char *const known[] = {"low", "high", "x", "eps", "p", "scale", "box", NULL};
  lipL_checkfields(L, lua_gettop(L), "decide: input", known);
  const bool ball = lua_getfield(L, -1, "x") != LUA_TNIL;
  lua_pop(L, 1);
  const lip_p p = ball ? read_norm(L) : LIP_PINF;
  if (i > 0 && p != h->p) luaL_error(L, "decide: input: all parts are of one norm, boxes of inf");
  h->p = p;
  if (ball)
    read_ball(L, net, h, i);
  else
    read_box(L, net, h, i);
}

static void read_boxes(lua_State *L, int idx, const lip_net *net, holder *h, size_t *count) {
  char got[80];
  if (lua_getfield(L, idx, "input") != LUA_TTABLE)
    luaL_error(L, "decide: 'input' expects a list of boxes {low =, high =}, got %s",
               lipL_typetext(L, -1, got, sizeof got));
  const int list = lua_gettop(L);
  const size_t n = lua_rawlen(L, list);
  size_t total;
  if (n == 0) luaL_error(L, "decide: 'input' has no boxes");
  if (!lip_mul_fits(n, 3 * h->n_in * sizeof(double), &total)) luaL_error(L, "decide: too many boxes");
  h->sides = lip_alloc(n * 2 * h->n_in, sizeof *h->sides);
  h->points = lip_alloc(n * 2 * h->n_in, sizeof *h->points);
  h->ball = lip_alloc(n, sizeof *h->ball);
  h->limits = lip_alloc(n * 3 * h->n_in, sizeof *h->limits);
  h->x = lip_alloc(n * h->n_in, sizeof *h->x);
  if (!h->sides || !h->points || !h->ball || !h->limits || !h->x)
    luaL_error(L, "decide: out of memory for %d boxes", (int)n);
  for (size_t i = 0; i < n; i++) {
    if (lua_rawgeti(L, list, (lua_Integer)i + 1) != LUA_TTABLE)
      luaL_error(L, "decide: 'input' expects a list of boxes {low =, high =}, element %d is %s", (int)i + 1,
                 lipL_typetext(L, -1, got, sizeof got));
    read_part(L, net, h, i);
    lua_pop(L, 1);
  }
  *count = n;
}

/* The option `order`, a list of all numbers from 1 to n, as the notes of lip.onnx have it; NULL: there is none. Leaves the
 * owner on the stack. */
static const uint32_t *read_order(lua_State *L, size_t n) {
  char got[80];
  const int type = lua_getfield(L, 2, "order");
  if (type == LUA_TNIL) return NULL;
  if (type != LUA_TTABLE || lua_rawlen(L, -1) != n)
    luaL_error(L, "decide: 'order' expects a list of the %d inputs, got %s", (int)n,
               lipL_typetext(L, -1, got, sizeof got));
  const int list = lua_gettop(L);
  uint32_t *order = lua_newuserdatauv(L, 2 * n * sizeof *order, 0), *seen = order + n;
  for (size_t i = 0; i < n; i++) seen[i] = 0;
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    const lua_Integer k = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    if (k < 1 || (size_t)k > n || seen[k - 1]++)
      luaL_error(L, "decide: 'order' expects each number from 1 to %d once, element %d is %s", (int)n,
                 (int)i + 1, lipL_typetext(L, -1, got, sizeof got));
    order[i] = (uint32_t)(k - 1);
    lua_pop(L, 1);
  }
  return order;
}

/* The rows of `spec`, or what `label` and `spec` make of them. */
static lip_status read_property(lua_State *L, const lip_net *net, holder *h, lip_err *err) {
  char got[80];
  const size_t C = lip_net_classes(net);
  const int type = lua_getfield(L, 2, "label");
  h->property = lipL_optproperty(L, 2, "decide", net);
  const bool rows = h->property && h->property->asked == LIP_ASK_ROWS;
  if (type == LUA_TNIL && rows) return LIP_OK;
  if (type == LUA_TNIL || rows)
    luaL_error(L, "decide: %s",
               rows ? "'label' does not go with rows of the outputs"
                    : "'spec' expects rows of the outputs, or 'label' one of the classes");
  lua_getfield(L, 2, "label");
  int whole = 0;
  const lua_Integer y = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
  if (!whole || y < 0 || (size_t)y >= C)
    luaL_error(L, "decide: 'label' expects a class from 0 to %d, got %s", (int)C - 1,
               lipL_typetext(L, -1, got, sizeof got));
  lip_property label = {.asked = LIP_ASK_LABEL, .C = C, .m = C};
  if (h->property) label = *h->property;
  lip_status status = lip_property_rows(&label, (size_t)y, net->root->n_out, &h->rows, err);
  h->property = &h->rows;
  return status;
}

/* ---- the answer ---- */

static void push_tensor(lua_State *L, const float *v, const lip_shape *shape, const char *name) {
  lip_tensor *t = lipL_newtensor(L, shape->ndim, shape->dim);
  for (size_t i = 0, n = lip_tensor_size(t); i < n; i++) t->data[i] = v[i];
  lua_setfield(L, -2, name);
}

static void push_decision(lua_State *L, const lip_decision *d, const lip_net *net) {
  lua_createtable(L, 0, 10);
  lipL_settext(L, "verdict", lip_verdict_names[d->verdict]);
  if (d->verdict != LIP_VERIFIED) {
    lua_pushinteger(L, (lua_Integer)d->case_number + 1);
    lua_setfield(L, -2, "case");
  }
  if (d->verdict == LIP_UNKNOWN) {
    lipL_settext(L, "reason", d->why);
    lipL_setnumber(L, "least", d->least);
  }
  if (d->x && d->z) {
    push_tensor(L, d->x, &net->root->in, "x");
    push_tensor(L, d->z, &net->root->out, "outputs");
    lua_pushinteger(L, lip_outputs_answer(d->z, net->root->n_out));
    lua_setfield(L, -2, "label");
  }
  lua_pushinteger(L, (lua_Integer)d->nodes);
  lua_setfield(L, -2, "nodes");
  lua_pushinteger(L, (lua_Integer)d->leaves);
  lua_setfield(L, -2, "leaves");
  lua_pushinteger(L, (lua_Integer)d->deepest);
  lua_setfield(L, -2, "deepest");
  lipL_setnumber(L, "seconds", d->seconds);
}

static lip_split read_split(lua_State *L) {
  char got[80];
  lip_split split = LIP_SPLIT_BEST;
  if (lua_getfield(L, 3, "split") != LUA_TNIL) {
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    while (lip_split_names[split] && strcmp(lip_split_names[split], name) != 0) split++;
    if (!lip_split_names[split])
      luaL_error(L, "decide: option 'split' expects \"best\", \"input\" or \"unit\", got %s",
                 lipL_typetext(L, -1, got, sizeof got));
  }
  lua_pop(L, 1);
  return split;
}

/* net:decide({query =} or {input = {{low =, high =} or {x =, eps =}, ...}, spec =, label =}, {seconds =, nodes =, split =, attack =, seed =, progress =}) ->
 * {verdict = "verified" | "violated" | "unknown", x =, outputs =, label =, case =, reason =, least =, nodes =, leaves =,
 *  deepest =, seconds =} | nil, message, code */
static int net_decide(lua_State *L) {
  static const char *const fields[] = {"query", "order", "input", "spec", "label", NULL};
  static const char *const known[] = {"seconds", "nodes", "split", "attack", "seed", "progress", NULL};
  lip_err err;
  lip_net *net = lipL_checkidle(L, 1);
  lua_settop(L, 3);
  luaL_checktype(L, 2, LUA_TTABLE);
  lipL_checkfields(L, 2, "decide", fields);
  if (!lua_isnil(L, 3)) luaL_checktype(L, 3, LUA_TTABLE);
  lipL_checkfields(L, 3, "decide", known);
  lip_decide_conf conf = {.attack = true};
  if (lua_istable(L, 3)) {
    conf.seconds = lipL_optfield_number(L, 3, "decide", "seconds", 0);
    if (!(conf.seconds >= 0))
      luaL_error(L, "decide: option 'seconds' expects a number > 0, got %f", conf.seconds);
    if (!isfinite(conf.seconds)) conf.seconds = 0;
    conf.nodes = lipL_optfield_size(L, 3, "decide", "nodes", 0);
    conf.split = read_split(L);
    conf.attack = lipL_optfield_bool(L, 3, "decide", "attack", true);
    conf.seed = lipL_optfield_size(L, 3, "decide", "seed", 1);
  }
  holder *h = lipL_newobject(L, DECIDE_T, sizeof *h, 0);
  h->n_in = net->root->n_in;
  lip_question boxes = {.p = LIP_PINF, .at = box_at, .arg = h};
  const lip_question *ask = &boxes;
  lip_status status = LIP_OK;
  /* functions of the script may run while tables are read: what is lent is asked for last */
  const lip_vnnlib *query = NULL;
  const lip_vnnlib_cases *cases;
  const uint32_t *order = read_order(L, net->root->n_in);
  lipL_watch watch;
  if (lua_getfield(L, 2, "query") == LUA_TNIL) {
    read_boxes(L, 2, net, h, &boxes.n);
    boxes.p = h->p;
    status = read_property(L, net, h, &err);
    if (status) return lipL_fail(L, &err);
  }
  conf.watch = lipL_watch_begin(L, 3, "decide", net, &watch);
  const float *before = lipL_weightsnow(L, net);
  if (lua_getfield(L, 2, "query") != LUA_TNIL) {
    if (!lipL_checkvnnlib(L, -1, "decide", &query, &cases)) return 3;
    status =
        lip_vnnlib_question_init(&h->query, query, cases, order, net->root->n_in, net->root->n_out, &err);
    h->has_query = true;
    ask = &h->query.ask;
    if (status) return lipL_fail(L, &err);
  } else if (!h->property) {
    luaL_error(L, "decide: the question changes while it is read");
  }
  const size_t pinned = lipL_pin(h);
  if (query) lipL_pin(query);
  status = lip_decide(net, ask, &conf, &h->decision, &err);
  lipL_unpin(pinned);
  lipL_watch_end(&watch);
  lipL_checkweights(L, "decide", net, before);
  if (status) return lipL_fail(L, &err);
  const int fault = lipL_netfault(L, net);
  if (fault) return fault;
  push_decision(L, &h->decision, net);
  lip_decision_free(&h->decision);
  return 1;
}

void lipL_open_decide(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", holder_gc}, {NULL, NULL}};
  lipL_newtype(L, DECIDE_T, NULL, meta);
  luaL_getmetatable(L, LIP_NET_T);
  lua_getfield(L, -1, "__index");
  lua_pushcfunction(L, net_decide);
  lua_setfield(L, -2, "decide");
  lua_pop(L, 2);
}
