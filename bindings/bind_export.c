/* Nets written for other programs: net:export. A format is a row of the table of writers. */
#include "bindings/bind.h"

#include <string.h>

#include "bindings/bind_export_c.h"
#include "bindings/bind_export_torch.h"
#include "core/exchange/npz.h"
#include "core/exchange/onnx_write.h"

/* The text of an option, NULL: absent. It stays in the table at 2, which only this call knows. */
static const char *text_option(lua_State *L, const char *name) {
  const int type = lua_getfield(L, 2, name);
  size_t n = 0;
  const char *text = type == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
  if (type != LUA_TNIL && !text) {
    char got[80];
    luaL_error(L, "export: option '%s' expects the name of a file, got %s", name,
               lipL_typetext(L, -1, got, sizeof got));
  }
  if (text && (n == 0 || strlen(text) != n))
    luaL_error(L, "export: option '%s' expects the name of a file, got %s", name,
               n == 0 ? "an empty text" : "a text with a zero byte inside");
  lua_pop(L, 1);
  return text;
}

static int export_onnx(lua_State *L) {
  const lip_onnx_write_conf conf = {.certificate = text_option(L, "certificate"), .version = LIP_VERSION};
  lip_err err;
  if (lip_onnx_write(lipL_checknet(L, 1), text_option(L, "onnx"), &conf, &err)) return lipL_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int export_npz(lua_State *L) {
  lip_err err;
  if (lip_npz_write(text_option(L, "npz"), lipL_checknet(L, 1), &err)) return lipL_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* Writers find the net at 1 and the options at 2, and return true or nil, message, code. They are called in this order, and
 * raise before they have written anything: one that has much to check comes before those that have little. */
static const struct {
  const char *option;
  int (*write)(lua_State *L);
} writers[] = {
    {"c", lipL_export_c},
    {"torch", lipL_export_torch},
    {"onnx", export_onnx},
    {"npz", export_npz},
};

enum { WRITERS = sizeof writers / sizeof *writers };

/* Formats, then what belongs to one of them or several. */
static const char *const known[] = {"onnx",    "torch",  "npz",         "c", "name",
                                    "weights", "inputs", "certificate", NULL};

/* net:export{onnx = "net.onnx"[, c = ...][, certificate = "net.cert"]} -> true | nil, message, code */
static int net_export(lua_State *L) {
  bool asked[WRITERS], any = false;
  lua_settop(L, 2);
  lipL_checkidle(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lipL_checkfields(L, 2, "export", known);
  (void)text_option(L, "onnx");
  (void)text_option(L, "npz");
  lipL_check_export_torch(L);
  (void)text_option(L, "certificate");
  for (size_t i = 0; i < WRITERS; i++) {
    asked[i] = lua_getfield(L, 2, writers[i].option) != LUA_TNIL;
    any = any || asked[i];
    lua_pop(L, 1);
  }
  if (!any)
    return luaL_error(L, "export: says no format: expects onnx = \"net.onnx\", torch = \"net.py\", npz = "
                         "\"net.npz\", or c = \"folder\" and name = \"net\"");
  for (size_t i = 0; i < WRITERS; i++) {
    if (!asked[i]) continue;
    lua_settop(L, 2);
    const int n = writers[i].write(L);
    if (n != 1) return n;
  }
  return 1;
}

void lipL_open_export(lua_State *L) {
  static const luaL_Reg methods[] = {{"export", net_export}, {NULL, NULL}};
  lipL_addmethods(L, LIP_NET_T, methods);
}
