/* net:export{c = ...}: C source of a net. */
#include "bindings/bind_export_c.h"

#include <string.h>

#include "bindings/bind_certificate.h"
#include "core/exchange/c_source.h"

/* The text of field `name` of the table at 2, pushed; NULL: absent. Raises for what is no text. */
static const char *text_field(lua_State *L, const char *name) {
  char got[64];
  const int type = lua_getfield(L, 2, name);
  if (type == LUA_TNIL) return NULL;
  if (type != LUA_TSTRING || strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1))
    luaL_error(L, "export: option '%s': a text expected, got %s", name,
               lipL_typetext(L, -1, got, sizeof got));
  return lua_tostring(L, -1);
}

static bool check_place(lua_State *L, const char *text) {
  if (text && strcmp(text, "const") != 0 && strcmp(text, "progmem") != 0)
    luaL_error(L,
               "export: option 'weights': \"const\" or \"progmem\" expected, got \"%s\" (nor int8: a "
               "certificate for "
               "quantised nets is another matter)",
               text);
  return text && strcmp(text, "progmem") == 0;
}

/* Constants of pairs from the file at `path`, worked out again, from the norm of the net's input. c is collected. */
static lip_status read_certificate(lip_net *net, lipL_certificate *c, const char *path, char hash[65],
                                   lip_c_conf *conf, lip_err *err) {
  static const lip_p norm[] = {LIP_PINF, LIP_P1, LIP_P2}; /* as the checker names them: 0, 1, 2 */
  lip_status status = lipL_certificate_confirm(c, net, path, err);
  if (!status) status = lip_sha256_file(path, hash, err);
  if (status == LIP_FORMAT || status == LIP_UNSUPPORTED) {
    lip_err why = *err;
    return lip_fail(err, status, "%s: %s", path, why.msg);
  }
  if (status) return status;
  const lip_p p = lip_path_at(&net->conf.path, 0);
  if (norm[c->path[0]] != p)
    return lip_fail(err, LIP_FORMAT, "%s: speaks of inputs in norm %s, the net's are in norm %s", path,
                    lip_p_name(norm[c->path[0]]), lip_p_name(p));
  conf->pairs = c->pair;
  conf->method = c->key[LIP_KEY_method];
  conf->certificate = hash;
  return LIP_OK;
}

int lipL_export_c(lua_State *L) {
  lip_net *net = lipL_checkidle(L, 1);
  lip_c_conf conf = {0};
  lip_err err;
  lua_settop(L, 2);
  conf.folder = text_field(L, "c");
  conf.name = text_field(L, "name");
  if (!conf.folder || !*conf.folder)
    return luaL_error(L, "export: option 'c': the name of a folder expected");
  if (!conf.name)
    return luaL_error(L, "export: option 'name': expected a C identifier that names the files and functions");
  if (lip_c_name(conf.name, &err)) return luaL_error(L, "export: option %s", err.msg);
  conf.progmem = check_place(L, text_field(L, "weights"));
  if (lua_getfield(L, 2, "inputs") != LUA_TNIL) {
    char got[64];
    if (!lipL_testtensor(L, -1))
      return luaL_error(L, "export: option 'inputs': a tensor expected, got %s",
                        lipL_typetext(L, -1, got, sizeof got));
    conf.sample = lipL_optrows(L, "export", "inputs", net, &conf.n_sample);
  }
  char hash[65];
  const char *path = text_field(L, "certificate");
  if (path && read_certificate(net, lipL_newcertificate(L), path, hash, &conf, &err))
    return lipL_fail(L, &err);
  lipL_reserve(L, net, conf.n_sample > LIP_C_SAMPLES ? conf.n_sample : LIP_C_SAMPLES);
  const lip_status status = lip_c_write(net, &conf, &err);
  const int failed = lipL_netfault(L, net);
  if (failed) return failed;
  if (status) return lipL_fail(L, &err);
  lua_pushboolean(L, true);
  return 1;
}
