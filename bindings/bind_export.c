/* Nets written for other programs: net:export. A format is a row of the table of writers. */
#include "bindings/bind.h"

#include <string.h>

#include "core/exchange/onnx_write.h"

/* What net:export was asked for: its options, a table that only this call knows. */
typedef struct export {
  lua_State *L;
  int options;
  const lip_net *net;
}
export;

/* A text without a zero byte, or NULL; it stays in the table. */
static const char *text_option(const export *x, const char *name, const char *what) {
  const int type = lua_getfield(x->L, x->options, name);
  size_t n = 0;
  const char *text = type == LUA_TSTRING ? lua_tolstring(x->L, -1, &n) : NULL;
  if (type != LUA_TNIL && !text) {
    char got[80];
    luaL_error(x->L, "export: option '%s' expects %s, got %s", name, what,
               lipL_typetext(x->L, -1, got, sizeof got));
  }
  if (text && (n == 0 || strlen(text) != n))
    luaL_error(x->L, "export: option '%s' expects %s, got %s", name, what,
               n == 0 ? "an empty text" : "a text with a zero byte inside");
  lua_pop(x->L, 1);
  return text;
}

static lip_status write_onnx(const export *x, const char *path, lip_err *err) {
  const lip_onnx_write_conf conf = {.certificate = text_option(x, "certificate", "the name of a file"),
                                    .version = LIP_VERSION};
  return lip_onnx_write(x->net, path, &conf, err);
}

/* In the order in which they are written. `write` must not raise once it has begun. */
static const struct {
  const char *option, *expects;
  lip_status (*write)(const export *x, const char *where, lip_err *err);
} writers[] = {
    {"onnx", "the name of a file", write_onnx},
};

enum { WRITERS = sizeof writers / sizeof *writers };

/* Options that belong to several writers, or to one of them. */
static const char *const known[] = {"onnx", "certificate", NULL};

/* net:export{onnx = "net.onnx"[, certificate = "net.cert"]} -> true | nil, message, code */
static int net_export(lua_State *L) {
  export x = {.L = L, .options = 2};
  const char *where[WRITERS];
  lip_err err;
  bool any = false;
  lua_settop(L, 2);
  x.net = lipL_checknet(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lipL_checkfields(L, 2, "export", known);
  (void)text_option(&x, "certificate", "the name of a file");
  for (size_t i = 0; i < WRITERS; i++) {
    where[i] = text_option(&x, writers[i].option, writers[i].expects);
    any = any || where[i];
  }
  if (!any) return luaL_error(L, "export: says no format: expects onnx = \"net.onnx\"");
  for (size_t i = 0; i < WRITERS; i++)
    if (where[i] && writers[i].write(&x, where[i], &err)) return lipL_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

void lipL_open_export(lua_State *L) {
  static const luaL_Reg methods[] = {{"export", net_export}, {NULL, NULL}};
  lipL_addmethods(L, LIP_NET_T, methods);
}
