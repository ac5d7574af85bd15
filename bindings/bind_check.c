/* lip.check_certificate: a certificate file against a model and data, by the checker in core/check alone. */
#include "bindings/bind_certificate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 256 };

/* One call, and what has been confirmed so far. */
typedef struct task {
  lipL_certificate *c;
  const lipL_rows *rows; /* NULL: no data at hand */
  uint32_t *index;
  float *room;
  size_t norms, pairs, radii;
} task;

static lip_status refuse(lip_err *err, const char *what) {
  return lip_fail(err, LIP_FORMAT, "%s", what);
}

/* What the data say of every row, whether they are at hand or not. */
static lip_status check_truth(const task *t, lip_err *err) {
  const lipL_certificate *c = t->c;
  for (size_t r = 0; c->truth && r < c->rows; r++)
    if (!(c->truth[r] >= -1 && c->truth[r] < (float)c->model.net.n_out && c->truth[r] == floorf(c->truth[r])))
      return lip_fail(err, LIP_FORMAT, "truth of row %zu: no class", r + 1);
  return LIP_OK;
}

/* The file speaks of this net. */
static lip_status check_model(task *t, lip_err *err) {
  lipL_certificate *c = t->c;
  if (strcmp(c->key[LIP_KEY_layers], c->model.text.text) != 0) return refuse(err, "layers: another net");
  if (strcmp(c->key[LIP_KEY_weights_sha256], c->model.sha256) != 0)
    return refuse(err, "weights_sha256: the weights of the model are others");
  return LIP_OK;
}

static lip_status check_bounds(task *t, lip_err *err) {
  lipL_certificate *c = t->c;
  c->claims.cancel = lipL_cancel();
  lip_status status = lip_check_open(&c->model.net, &c->claims, &c->check, err);
  for (size_t l = 0; !status && l < c->model.dense; l++, t->norms++)
    status = lip_check_claim(c->check, LIP_CHECK_NORM, l, 0, NULL, err);
  for (size_t i = 0; !status && i < c->model.net.n_out; i++)
    for (size_t j = 0; !status && j <= i; j++) {
      if (lip_cancel_raised(lipL_cancel())) return lip_fail(err, LIP_CANCELLED, "check: cancelled");
      status = lip_check_claim(c->check, LIP_CHECK_PAIR, i, j, NULL, err);
      t->pairs += i != j;
    }
  return status;
}

static lip_status check_data(task *t, lip_err *err) {
  lipL_certificate *c = t->c;
  lip_sha256 hash;
  uint8_t digest[LIP_SHA256_BYTES];
  char text[65];
  if (t->rows->n < c->rows) return refuse(err, "radius: more rows than the data have");
  lip_sha256_init(&hash);
  for (int pass = 0; pass < 2; pass++) { /* first whether these are the rows at all */
    for (size_t i = 0; i < c->rows; i += BATCH) {
      size_t B = c->rows - i < BATCH ? c->rows - i : BATCH;
      const float *x = lipL_rows_read(t->rows, i, B, t->index, t->room);
      if (lip_cancel_raised(lipL_cancel())) return lip_fail(err, LIP_CANCELLED, "check: cancelled");
      if (pass == 0) lip_sha256_add(&hash, x, B * t->rows->width * sizeof *x);
      for (size_t r = 0; pass == 1 && r < B; r++, t->radii++) {
        lip_status status = lip_check_claim(c->check, LIP_CHECK_ROW, i + r, 0, x + r * t->rows->width, err);
        if (status) return status;
      }
    }
    if (pass == 1) break;
    lip_sha256_end(&hash, digest);
    lip_sha256_hex(digest, text);
    if (strcmp(text, c->key[LIP_KEY_data_sha256]) != 0)
      return refuse(err, "data_sha256: the data are others");
    for (size_t r = 0; c->truth && t->rows->labels && r < c->rows; r++)
      if (c->truth[r] != (float)t->rows->labels[r])
        return lip_fail(err, LIP_FORMAT, "truth of row %zu: the data say otherwise", r + 1);
  }
  return LIP_OK;
}

static lip_status check_counts(const task *t, lip_err *err) {
  const lipL_certificate *c = t->c;
  for (size_t k = 0; k < c->n_eps; k++)
    if (!(c->eps[k] >= 0 && c->eps[k] < INFINITY) ||
        c->count[k] != (double)lipL_certificate_count(c, c->eps[k]))
      return lip_fail(err, LIP_FORMAT, "certified at eps %.17g: not the number of such rows",
                      lip_plain(c->eps[k]));
  return LIP_OK;
}

static lip_status check_all(task *t, const char *path, lip_err *err) {
  lip_status status = lipL_certificate_load(path, t->c, err);
  if (!status) status = check_model(t, err);
  if (!status) status = check_truth(t, err);
  if (!status) status = check_bounds(t, err);
  if (!status && t->rows && t->c->rows > 0) status = check_data(t, err);
  if (lip_cancel_raised(lipL_cancel())) return lip_fail(err, LIP_CANCELLED, "check: cancelled");
  return status ? status : check_counts(t, err);
}

lip_status lipL_certificate_confirm(lipL_certificate *c, const lip_net *net, const char *path, lip_err *err) {
  task t = {.c = c};
  lip_status status = lipL_model_init(&c->model, net, err);
  if (!status) status = lipL_certificate_load(path, c, err);
  if (!status) status = check_model(&t, err);
  if (!status && !c->pair) status = refuse(err, "pair: the file has no constants of pairs of classes");
  return status ? status : check_bounds(&t, err);
}

static void push_counts(lua_State *L, const lipL_certificate *c) {
  lua_createtable(L, (int)c->n_eps, 0);
  for (size_t k = 0; k < c->n_eps; k++) {
    lua_createtable(L, 0, 2);
    lipL_setnumber(L, "eps", c->eps[k]);
    lipL_setnumber(L, "certified", c->count[k]);
    lua_rawseti(L, -2, (lua_Integer)k + 1);
  }
  lua_setfield(L, -2, "eps");
}

static void push_claims(lua_State *L, const lipL_certificate *c) {
  lipL_settext(L, "method", c->key[LIP_KEY_method]);
  lipL_settext(L, "path", c->key[LIP_KEY_path]);
  lipL_settext(L, "arithmetic", c->key[LIP_KEY_arithmetic]);
  if (*c->key[LIP_KEY_box]) lipL_settext(L, "box", c->key[LIP_KEY_box]);
  lipL_settext(L, "kernels", c->key[LIP_KEY_kernels]);
  lipL_settext(L, "layers", c->key[LIP_KEY_layers]);
  push_counts(L, c);
}

static void set_count(lua_State *L, const char *name, size_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

/* lip.check_certificate(path, net[, data]) -> {accepted=, reason=, norms=, pairs=, radii=, rows=, method=, path=, box=,
 * arithmetic=, kernels=, layers=, eps={{eps=, certified=}, ...}} | nil, message, code
 * norms, pairs, radii: claims confirmed; without data no radius is. */
static int check_certificate(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  const char *path = lipL_checkpath(L, 1);
  lip_net *net = lipL_checkidle(L, 2);
  lip_err err;
  lipL_rows rows;
  lua_settop(L, 3);
  bool data = !lua_isnil(L, 3);
  if (data) rows = lipL_checkdata(L, 3, "check_certificate", net);
  task t = {.c = lipL_newcertificate(L), .rows = data ? &rows : NULL};
  t.index = lua_newuserdatauv(L, BATCH * sizeof *t.index, 0);
  t.room = lua_newuserdatauv(L, BATCH * net->root->n_in * sizeof *t.room, 0);
  lip_status status = lipL_model_init(&t.c->model, net, &err);
  if (!status) status = check_all(&t, path, &err);
  if (status && status != LIP_FORMAT && status != LIP_UNSUPPORTED) return lipL_fault(L, &err);
  lua_createtable(L, 0, 12);
  lua_pushboolean(L, status == LIP_OK);
  lua_setfield(L, -2, "accepted");
  if (status) lipL_settext(L, "reason", err.msg);
  set_count(L, "norms", t.norms);
  set_count(L, "pairs", t.pairs);
  set_count(L, "radii", t.radii);
  set_count(L, "rows", t.c->rows);
  if (status == LIP_OK) push_claims(L, t.c);
  return 1;
}

void lipL_open_check(lua_State *L) {
  static const luaL_Reg functions[] = {{"check_certificate", check_certificate}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
