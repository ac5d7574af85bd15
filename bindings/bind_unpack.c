/* What scripts/lip/unpacked.lua needs to keep unpacked copies of packed files. */
#include "bindings/bind.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/data/gz.h"
#include "core/io/atomic.h"

static int push_digest(lua_State *L, const uint8_t digest[LIP_SHA256_BYTES]) {
  char hex[65];
  lip_sha256_hex(digest, hex);
  lua_pushstring(L, hex);
  return 1;
}

/* sha256_packed(path) -> digest of the file as it lies there, packed or not */
static int hash_packed(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  uint8_t piece[1 << 14], digest[LIP_SHA256_BYTES];
  size_t got;
  lip_err err;
  lip_sha256 hash;
  FILE *file = fopen(path, "rb");
  if (!file) {
    lip_fail(&err, errno == ENOENT ? LIP_NOT_FOUND : LIP_IO, "%s: %s", path, strerror(errno));
    return lipL_fault(L, &err);
  }
  lip_sha256_init(&hash);
  while ((got = fread(piece, 1, sizeof piece, file)) > 0) lip_sha256_add(&hash, piece, got);
  int error = ferror(file) ? errno : 0;
  fclose(file);
  if (error) {
    lip_fail(&err, LIP_IO, "%s: cannot read: %s", path, strerror(error));
    return lipL_fault(L, &err);
  }
  lip_sha256_end(&hash, digest);
  return push_digest(L, digest);
}

/* unpack(path, to) -> digest of what was unpacked; `to` appears in full or not at all */
static int unpack(lua_State *L) {
  const char *path = luaL_checkstring(L, 1), *to = luaL_checkstring(L, 2);
  uint8_t digest[LIP_SHA256_BYTES];
  char *bytes;
  size_t n;
  lip_atomic *file;
  lip_err err;
  lip_status status = lip_read_file(path, SIZE_MAX / 4, &bytes, &n, digest, &err);
  if (status) return lipL_fault(L, &err);
  status = lip_atomic_open(to, &file, &err);
  if (!status) {
    lip_atomic_write(file, bytes, n);
    status = lip_atomic_commit(file, &err);
  }
  lip_free(bytes);
  return status ? lipL_fault(L, &err) : push_digest(L, digest);
}

void lipL_open_unpack(lua_State *L) {
  static const luaL_Reg functions[] = {{"sha256_packed", hash_packed}, {"unpack", unpack}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
