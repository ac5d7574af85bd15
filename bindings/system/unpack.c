/* Checksums and packing: of files (what scripts/lip/unpacked.lua needs to keep unpacked copies) and of texts. */
#include "bindings/bind.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "core/base/atomic.h"
#include "core/base/file.h"
#include "core/data/gz.h"

static int push_digest(lua_State *L, const uint8_t digest[LIP_SHA256_BYTES]) {
  char hex[65];
  lip_sha256_hex(digest, hex);
  lua_pushstring(L, hex);
  return 1;
}

/* sha256_packed(path) -> digest of the file as it lies there, packed or not */
static int hash_packed(lua_State *L) {
  const char *path = lipL_checkpath(L, 1);
  uint8_t piece[1 << 14], digest[LIP_SHA256_BYTES];
  lip_err err;
  lip_sha256 hash;
  int fd;
  if (lip_file_open(path, &fd, NULL, &err)) return lipL_fault(L, &err);
  lip_sha256_init(&hash);
  ssize_t got;
  while ((got = read(fd, piece, sizeof piece)) > 0 || (got < 0 && errno == EINTR))
    if (got > 0) lip_sha256_add(&hash, piece, (size_t)got);
  int error = got < 0 ? errno : 0;
  close(fd);
  if (error) {
    lip_file_refuse(path, "read", error, &err);
    return lipL_fault(L, &err);
  }
  lip_sha256_end(&hash, digest);
  return push_digest(L, digest);
}

/* sha256_unpacked(path) -> digest of the unpacked file */
static int hash_unpacked(lua_State *L) {
  const char *path = lipL_checkpath(L, 1);
  lip_err err;
  lip_reader *r;
  uint8_t piece[1 << 14], digest[LIP_SHA256_BYTES];
  size_t got;
  lip_status s = lip_reader_open(path, &r, &err);
  if (s) return lipL_fault(L, &err);
  do s = lip_reader_read(r, piece, sizeof piece, &got, &err);
  while (s == LIP_OK && got == sizeof piece);
  lip_reader_digest(r, digest);
  lip_reader_close(r);
  if (s) return lipL_fault(L, &err);
  return push_digest(L, digest);
}

/* All of r through a small buffer, so that no file is held in memory. */
static lip_status copy_unpacked(lip_reader *r, lip_atomic *to, lip_err *err) {
  uint8_t piece[1 << 14];
  size_t got;
  lip_status s;
  do {
    s = lip_reader_read(r, piece, sizeof piece, &got, err);
    if (s == LIP_OK) lip_atomic_write(to, piece, got);
  } while (s == LIP_OK && got == sizeof piece);
  return s;
}

/* unpack(path, to) -> digest of what was unpacked; `to` appears in full or not at all */
static int unpack(lua_State *L) {
  const char *path = lipL_checkpath(L, 1), *to = lipL_checkpath(L, 2);
  uint8_t digest[LIP_SHA256_BYTES];
  lip_reader *r;
  lip_atomic *file;
  lip_err err;
  lip_status status = lip_reader_open(path, &r, &err);
  if (status) return lipL_fault(L, &err);
  status = lip_atomic_open(to, &file, &err);
  if (!status) {
    status = copy_unpacked(r, file, &err);
    if (status)
      lip_atomic_abandon(file);
    else
      status = lip_atomic_commit(file, &err);
  }
  lip_reader_digest(r, digest);
  lip_reader_close(r);
  return status ? lipL_fault(L, &err) : push_digest(L, digest);
}

/* ---- texts ---- */

/* sha256(text) -> 64 hexadecimal digits */
static int hash_text(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  uint8_t digest[LIP_SHA256_BYTES];
  lip_sha256 hash;
  lip_sha256_init(&hash);
  lip_sha256_add(&hash, text, n);
  lip_sha256_end(&hash, digest);
  return push_digest(L, digest);
}

/* crc32(text [, crc of what came before]) */
static int crc(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  lua_Integer before = luaL_optinteger(L, 2, 0);
  luaL_argcheck(L, before >= 0 && before <= UINT32_MAX, 2, "a checksum from 0 to 2^32 - 1 expected");
  lua_pushinteger(L, (lua_Integer)lip_crc32((uint32_t)before, text, n));
  return 1;
}

/* Owns a block of the engine until it is a Lua text. */
#define BLOCK_T "lip.block"

static int block_gc(lua_State *L) {
  char **block = luaL_checkudata(L, 1, BLOCK_T);
  lip_free(*block);
  *block = NULL;
  return 0;
}

static int finish_text(lua_State *L, char **block, size_t n, lip_status s, const lip_err *err) {
  if (s) return lipL_fault(L, err);
  lua_pushlstring(L, *block, n);
  lip_free(*block);
  *block = NULL;
  return 1;
}

/* deflate(text [, "gzip" | "zlib"]) -> packed text */
static int pack_text(lua_State *L) {
  static const char *const formats[] = {"gzip", "zlib", NULL};
  size_t n, size;
  const char *text = luaL_checklstring(L, 1, &n);
  lip_packing as = luaL_checkoption(L, 2, "gzip", formats) == 0 ? LIP_GZIP : LIP_ZLIB;
  char **block = lipL_newobject(L, BLOCK_T, sizeof *block, 0);
  lip_err err;
  lip_status s = lip_deflate(text, n, as, block, &size, &err);
  return finish_text(L, block, size, s, &err);
}

/* inflate(text [, cap]) -> text; either format. More than `cap` bytes (a gigabyte) are refused. */
static int unpack_text(lua_State *L) {
  size_t n, size;
  const char *text = luaL_checklstring(L, 1, &n);
  lua_Integer cap = luaL_optinteger(L, 2, 1 << 30);
  luaL_argcheck(L, cap >= 0, 2, "a number of bytes expected");
  char **block = lipL_newobject(L, BLOCK_T, sizeof *block, 0);
  lip_err err;
  lip_status s = lip_inflate(text, n, (size_t)cap, block, &size, &err);
  return finish_text(L, block, size, s, &err);
}

void lipL_open_unpack(lua_State *L) {
  static const luaL_Reg functions[] = {{"sha256_packed", hash_packed},
                                       {"sha256_unpacked", hash_unpacked},
                                       {"unpack", unpack},
                                       {"sha256", hash_text},
                                       {"crc32", crc},
                                       {"deflate", pack_text},
                                       {"inflate", unpack_text},
                                       {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", block_gc}, {NULL, NULL}};
  lipL_newtype(L, BLOCK_T, NULL, meta);
  luaL_setfuncs(L, functions, 0);
}
