/* lip.load_npy, lip.save_npy: tensors from and to NumPy's files. */
#include "bindings/bind.h"
#include "core/data/npy.h"

#define NPY_FILE_T "lip.npy_file"

static int npy_gc(lua_State *L) {
  lip_npy_close(luaL_checkudata(L, 1, NPY_FILE_T));
  return 0;
}

/* load_npy(path) -> tensor | nil, message, code */
static int load_npy(lua_State *L) {
  lip_err err;
  const char *path = luaL_checkstring(L, 1);
  lua_settop(L, 1);
  lip_npy *f =
      lipL_newobject(L, NPY_FILE_T, sizeof *f, 0); /* closed by the collector should an error be raised */
  if (lip_npy_open(path, f, &err)) return lipL_fault(L, &err);
  lip_tensor *t = lipL_newtensor(L, f->ndim, f->shape);
  lip_status s = lip_npy_read(f, t->data, &err);
  lip_npy_close(f);
  return s ? lipL_fault(L, &err) : 1;
}

/* save_npy(path, tensor) -> true | nil, message, code */
static int save_npy(lua_State *L) {
  lip_err err;
  luaL_checktype(L, 1, LUA_TSTRING); /* a number is no file name */
  const char *path = luaL_checkstring(L, 1);
  lipL_checktensor(L, 2);
  const lip_tensor *t = lipL_contiguous(L, 2);
  if (lip_npy_save(path, t->ndim, t->shape, t->data, &err)) return lipL_fault(L, &err);
  lua_pushboolean(L, true);
  return 1;
}

void lipL_open_npy(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", npy_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"load_npy", load_npy}, {"save_npy", save_npy}, {NULL, NULL}};
  lipL_newtype(L, NPY_FILE_T, NULL, meta);
  luaL_setfuncs(L, functions, 0);
}
