/* lip.tensors: arrays that other programs have saved. */
#include "bindings/bind.h"
#include "core/exchange/tensors.h"

#define TENSORS_FILE_T "lip.tensors_file"

typedef struct file_box {
  lip_tensors *file;
} file_box;

static int file_gc(lua_State *L) {
  file_box *box = luaL_checkudata(L, 1, TENSORS_FILE_T);
  lip_tensors_close(box->file);
  box->file = NULL;
  return 0;
}

/* {rounded = names of arrays that were, order = all names as the file has them, types = {name = type}} at `info`. */
static void note(lua_State *L, int info, const lip_foreign *a, size_t i, bool rounded) {
  lua_getfield(L, info, "order");
  lua_pushstring(L, a->name);
  lua_rawseti(L, -2, (lua_Integer)i + 1);
  lua_getfield(L, info, "types");
  lua_pushstring(L, a->type);
  lua_setfield(L, -2, a->name);
  lua_pop(L, 2);
  if (!rounded) return;
  lua_getfield(L, info, "rounded");
  lua_pushstring(L, a->name);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_pop(L, 1);
}

/* lip.tensors(path) -> {name = tensor}, {rounded =, order =, types =} | nil, message, code */
static int tensors(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING); /* a number is no file name */
  const char *path = lipL_checkpath(L, 1);
  lip_err err;
  lua_settop(L, 1);
  file_box *box = lipL_newobject(L, TENSORS_FILE_T, sizeof *box, 0);
  lip_status status = lip_tensors_open(path, &box->file, &err);
  if (status == LIP_MEMORY) { /* dead tensors may hold what is missing */
    lua_gc(L, LUA_GCCOLLECT);
    status = lip_tensors_open(path, &box->file, &err);
  }
  if (status) return lipL_fault(L, &err);
  lua_newtable(L);
  lua_createtable(L, 0, 3);
  const int info = lua_gettop(L);
  static const char *const fields[] = {"rounded", "order", "types"};
  for (size_t k = 0; k < 3; k++) {
    lua_newtable(L);
    lua_setfield(L, info, fields[k]);
  }
  for (size_t i = 0; i < lip_tensors_count(box->file); i++) {
    const lip_foreign *a = lip_tensors_at(box->file, i);
    bool rounded;
    lip_tensor *t = lipL_newtensor(L, a->ndim, a->shape);
    if (lip_tensors_read(box->file, i, t->data, &rounded, &err)) return lipL_fault(L, &err);
    lua_setfield(L, info - 1, a->name);
    note(L, info, a, i, rounded);
  }
  lip_tensors_close(box->file);
  box->file = NULL;
  return 2;
}

void lipL_open_tensors(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", file_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"tensors", tensors}, {NULL, NULL}};
  lipL_newtype(L, TENSORS_FILE_T, NULL, meta);
  luaL_setfuncs(L, functions, 0);
}
