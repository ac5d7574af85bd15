/* lip.load_npy, lip.save_npy: tensors from and to NumPy's files. */
#include "bindings/bind.h"
#include "core/data/npy.h"

#define NPY_FILE_T "lip.npy_file"

static int npy_gc(lua_State *L) {
  lip_npy_close(luaL_checkudata(L, 1, NPY_FILE_T));
  return 0;
}

/* One attempt at the file's values as the tensor *t, which is harmless until then. */
static lip_status read_array(lua_State *L, const char *path, lip_tensor *t, lip_err *err) {
  lip_npy *f =
      lipL_newobject(L, NPY_FILE_T, sizeof *f, 0); /* closed by the collector should an error be raised */
  float *values = NULL;
  lip_status s = lip_npy_open(path, f, err);
  if (s == LIP_OK) s = lip_npy_take(f, &values, err);
  if (s == LIP_OK) {
    lip_tensor_free(t);
    *t = lip_tensor_wrap(values, f->ndim, f->shape);
    t->owner = true;
  }
  lip_npy_close(f);
  lua_pop(L, 1);
  return s;
}

/* load_npy(path) -> tensor | nil, message, code: the numbers as they stand in the file, as numpy.load gives them. Unlike a
 * data set, where bytes are pixels and become x/255: a tensor may be anything. */
static int load_npy(lua_State *L) {
  lip_err err;
  const char *path = lipL_checkpath(L, 1);
  lua_settop(L, 1);
  const size_t none = 0;
  lip_tensor *t = lipL_newtensor(L, 1, &none); /* takes over the reader's block when that is full */
  lip_status s = read_array(L, path, t, &err);
  if (s == LIP_MEMORY) { /* dead tensors may hold what is missing */
    lua_gc(L, LUA_GCCOLLECT);
    s = read_array(L, path, t, &err);
  }
  if (s) return lipL_fault(L, &err);
  lipL_account(L, lip_tensor_size(t) * sizeof(float));
  return 1;
}

/* save_npy(path, tensor) -> true | nil, message, code */
static int save_npy(lua_State *L) {
  lip_err err;
  luaL_checktype(L, 1, LUA_TSTRING); /* a number is no file name */
  const char *path = lipL_checkpath(L, 1);
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
