/* Data sets and loaders. The readers here take exact file names; scripts/lip/data.lua finds the files. */
#include "bindings/bind.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/data/cifar.h"
#include "core/data/csv.h"
#include "core/data/idx.h"
#include "core/data/npy.h"
#include "core/data/synth.h"

/* ---- data sets ---- */

/* User value 1 keeps alive what a data set without arrays of its own looks at. */
typedef struct dataset_box {
  lip_dataset *d;
} dataset_box;

/* The data set at idx; NULL when it, or an object whose memory it shows, has been finalised. */
static lip_dataset *living(lua_State *L, int idx) {
  const dataset_box *box = luaL_testudata(L, idx, LIP_DATASET_T);
  if (!box || !box->d) return NULL;
  int lender = lua_getiuservalue(L, idx, 1), top = lua_gettop(L);
  bool alive = lender != LUA_TUSERDATA || living(L, top);
  for (int i = 1; lender == LUA_TTABLE && i <= 2; i++) {
    lua_rawgeti(L, top, i);
    alive = alive && (!luaL_testudata(L, -1, LIP_TENSOR_T) || lipL_tensor_alive(L, -1));
  }
  lua_settop(L, top - 1);
  return alive ? box->d : NULL;
}

lip_dataset *lipL_testdataset(lua_State *L, int idx) {
  return living(L, lua_absindex(L, idx));
}

lip_dataset *lipL_checkdataset(lua_State *L, int idx) {
  luaL_checkudata(L, idx, LIP_DATASET_T);
  lip_dataset *d = lipL_testdataset(L, idx);
  luaL_argcheck(L, d, idx, "this data set is empty: it failed to load, or its memory is gone");
  return d;
}

static int dataset_gc(lua_State *L) {
  dataset_box *box = luaL_checkudata(L, 1, LIP_DATASET_T);
  if (lipL_pinned(box->d)) return 0;
  lip_dataset_free(box->d);
  box->d = NULL;
  return 0;
}

static dataset_box *new_box(lua_State *L) {
  return lipL_newobject(L, LIP_DATASET_T, sizeof(dataset_box), 1);
}

/* Leaves the data set whose box is on top, or nil, message, code. */
static int finish(lua_State *L, const dataset_box *box, lip_status s, const lip_err *err) {
  if (s) return lipL_fault(L, err);
  lipL_account(L, lip_dataset_bytes(box->d));
  return 1;
}

/* The same for a data set that was read: what its reader decided by itself is said on the standard error. */
static int finish_read(lua_State *L, const dataset_box *box, lip_status s, const lip_err *err) {
  if (s == LIP_OK && box->d->note[0]) {
    for (char *p = box->d->note; *p; p++)
      if (iscntrl((unsigned char)*p)) *p = '?'; /* a name may hold what moves a terminal's cursor */
    fprintf(stderr, "lipwb: WARNING: %s\n", box->d->note);
    box->d->note[0] = '\0';
  }
  return finish(L, box, s, err);
}

/* Option `channels` of the options at idx: where they stand in an array of four sides. */
static lip_channels check_channels(lua_State *L, int idx, const char *what) {
  static const char *const known[] = {"channels", NULL};
  char got[80];
  lipL_checkfields(L, idx, what, known);
  if (!lua_istable(L, idx) || lua_getfield(L, idx, "channels") == LUA_TNIL) return LIP_CHANNELS_GUESS;
  const char *word = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  if (strcmp(word, "first") == 0) return LIP_CHANNELS_FIRST;
  if (strcmp(word, "last") == 0) return LIP_CHANNELS_LAST;
  luaL_error(L, "%s: option 'channels' expects \"first\" or \"last\", got %s", what,
             lipL_typetext(L, -1, got, sizeof got));
  return LIP_CHANNELS_GUESS;
}

static int dataset_size(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lipL_checkdataset(L, 1)->n);
  return 1;
}

static const char *shape_text(const lip_dataset *d, char *buf, size_t size) {
  return lip_shape_text(d->ndim, d->shape, buf, size);
}

static int dataset_tostring(lua_State *L) {
  luaL_checkudata(L, 1, LIP_DATASET_T);
  const lip_dataset *d = lipL_testdataset(L, 1);
  char shape[64], labels[64] = "";
  if (!d) {
    lua_pushliteral(L, "data set (empty)");
    return 1;
  }
  if (d->labels) snprintf(labels, sizeof labels, ", %zu classes", d->classes);
  if (d->targets)
    snprintf(labels, sizeof labels, ", %zu target%s", d->target_width, d->target_width == 1 ? "" : "s");
  lua_pushfstring(L, "data set %s: %I samples of %s%s", d->name, (LUAI_UACINT)d->n,
                  shape_text(d, shape, sizeof shape), labels);
  return 1;
}

static void set_number(lua_State *L, const char *name, size_t v) {
  lua_pushinteger(L, (lua_Integer)v);
  lua_setfield(L, -2, name);
}

/* ds:info() -> {name=, n=, shape=, features=, classes=, targets=, sha256=, bytes=} */
static int dataset_info(lua_State *L) {
  const lip_dataset *d = lipL_checkdataset(L, 1);
  lua_newtable(L);
  lua_pushstring(L, d->name);
  lua_setfield(L, -2, "name");
  set_number(L, "n", d->n);
  set_number(L, "features", d->features);
  set_number(L, "bytes", lip_dataset_bytes(d));
  if (d->labels) set_number(L, "classes", d->classes);
  if (d->targets) set_number(L, "targets", d->target_width);
  lua_createtable(L, d->ndim, 0);
  for (int i = 0; i < d->ndim; i++) {
    lua_pushinteger(L, (lua_Integer)d->shape[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "shape");
  if (d->sha256[0]) {
    lua_pushstring(L, d->sha256);
    lua_setfield(L, -2, "sha256");
  }
  return 1;
}

/* ds:named(name): gives the data set another name; returns it. */
static int dataset_named(lua_State *L) {
  lip_dataset *d = lipL_checkdataset(L, 1);
  snprintf(d->name, sizeof d->name, "%s", luaL_checkstring(L, 2));
  lua_settop(L, 1);
  return 1;
}

/* The whole number 1..n on top of the stack, element `at` of a list, as an index from 0. */
static size_t check_index(lua_State *L, size_t at, size_t n) {
  int whole = 0;
  char got[80];
  lua_Integer i = lua_tointegerx(L, -1, &whole);
  if (!whole)
    luaL_error(L, "batch: element %I is no number of a sample but %s", (LUAI_UACINT)at,
               lipL_typetext(L, -1, got, sizeof got));
  if (i < 1 || (size_t)i > n)
    luaL_error(L, "batch: %I is not a sample (1 to %I)", (LUAI_UACINT)i, (LUAI_UACINT)n);
  return (size_t)i - 1;
}

/* [first, last] at idx and idx + 1, 1-based and inclusive; last may be first - 1 (nothing). */
static size_t check_range(lua_State *L, int idx, size_t n, size_t *first) {
  lua_Integer a = luaL_checkinteger(L, idx), b = luaL_optinteger(L, idx + 1, a);
  if (a < 1 || b < a - 1 || (size_t)b > n)
    luaL_error(L, "samples %I to %I are not inside a data set of %I", (LUAI_UACINT)a, (LUAI_UACINT)b,
               (LUAI_UACINT)n);
  *first = (size_t)a - 1;
  return (size_t)(b - a + 1);
}

/* The sample numbers of ds:batch's arguments from idx on, in a userdata that is pushed. */
static uint32_t *check_samples(lua_State *L, int idx, size_t n, size_t *count) {
  uint32_t *index;
  size_t first = 0;
  bool list = lua_istable(L, idx);
  *count = list ? lua_rawlen(L, idx) : check_range(L, idx, n, &first);
  index = lua_newuserdatauv(L, (*count + 1) * sizeof *index, 0);
  for (size_t i = 0; i < *count; i++) {
    if (list) {
      lua_rawgeti(L, idx, (lua_Integer)i + 1);
      index[i] = (uint32_t)check_index(L, i + 1, n);
      lua_pop(L, 1);
    } else {
      index[i] = (uint32_t)(first + i);
    }
  }
  return index;
}

/* Pushes x (B, shape...) and y: labels (B) as numbers, targets (B, T), or nil. */
static void push_batch_tensors(lua_State *L, const lip_dataset *d, size_t B) {
  size_t shape[4] = {B};
  memcpy(shape + 1, d->shape, (size_t)d->ndim * sizeof *shape);
  lipL_newtensor(L, d->ndim + 1, shape);
  shape[1] = d->target_width;
  if (d->targets)
    lipL_newtensor(L, 2, shape);
  else if (d->labels) {
    lipL_newtensor(L, 1, shape);
    lipL_mean(L, -1, LIPL_CLASSES);
  } else
    lua_pushnil(L);
}

/* Fills the tensors made by push_batch_tensors (y may be NULL); labels become numbers. */
static void fill_batch(const lip_dataset *d, const uint32_t *index, size_t B, lip_tensor *x, lip_tensor *y) {
  lip_dataset_gather(d, index, B, x->data, NULL, y && d->targets ? y->data : NULL);
  for (size_t b = 0; y && !d->targets && b < B; b++) y->data[b] = (float)d->labels[index[b]];
}

/* ds:batch{i, ...} or ds:batch(first, last) -> x, y */
static int dataset_batch(lua_State *L) {
  const lip_dataset *d = lipL_checkdataset(L, 1);
  size_t B;
  uint32_t *index = check_samples(L, 2, d->n, &B);
  push_batch_tensors(L, d, B);
  fill_batch(d, index, B, lipL_checktensor(L, -2), lipL_testtensor(L, -1));
  return 2;
}

/* ds:labels() -> tensor (n) | nil; ds:targets() -> tensor (n, T) | nil */
static int dataset_labels(lua_State *L) {
  const lip_dataset *d = lipL_checkdataset(L, 1);
  if (!d->labels) return 0;
  lip_tensor *t = lipL_newtensor(L, 1, &d->n);
  for (size_t i = 0; i < d->n; i++) t->data[i] = (float)d->labels[i];
  lipL_mean(L, -1, LIPL_CLASSES);
  return 1;
}

static int dataset_targets(lua_State *L) {
  const lip_dataset *d = lipL_checkdataset(L, 1);
  if (!d->targets) return 0;
  const size_t shape[2] = {d->n, d->target_width};
  lip_tensor *t = lipL_newtensor(L, 2, shape);
  memcpy(t->data, d->targets, d->n * d->target_width * sizeof *t->data);
  return 1;
}

/* ds:subset(first, last): a view; keeps ds alive. */
static int dataset_subset(lua_State *L) {
  const lip_dataset *d = lipL_checkdataset(L, 1);
  lip_err err;
  size_t first, count = check_range(L, 2, d->n, &first);
  dataset_box *box = new_box(L);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return finish(L, box, lip_dataset_view(d, first, count, &box->d, &err), &err);
}

/* ---- readers ---- */

/* dataset_idx(name, images[, labels[, {channels=}]]) -> ds, {sha256 of images, of labels} */
static int open_idx(lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *images = lipL_checkpath(L, 2),
             *labels = lua_isnoneornil(L, 3) ? NULL : lipL_checkpath(L, 3);
  lip_channels as = check_channels(L, 4, "idx");
  uint8_t digests[2 * LIP_SHA256_BYTES];
  lip_err err;
  dataset_box *box = new_box(L);
  lip_status s = lip_idx_load_as(name, images, labels, as, &box->d, digests, &err);
  int results = finish_read(L, box, s, &err);
  if (s) return results;
  lua_createtable(L, 2, 0);
  for (int i = 0; i < (labels ? 2 : 1); i++) {
    char hex[65];
    lip_sha256_hex(digests + i * LIP_SHA256_BYTES, hex);
    lua_pushstring(L, hex);
    lua_rawseti(L, -2, i + 1);
  }
  return 2;
}

/* dataset_cifar(name, {path, ...}, label_bytes, classes) */
static int open_cifar(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_Integer label_bytes = luaL_checkinteger(L, 3), classes = luaL_checkinteger(L, 4);
  luaL_argcheck(L, label_bytes == 1 || label_bytes == 2, 3, "1 or 2 expected");
  luaL_argcheck(L, classes >= 1 && classes <= 256, 4, "1 to 256 expected");
  size_t files = lua_rawlen(L, 2);
  luaL_argcheck(L, files >= 1 && files <= 64, 2, "a list of 1 to 64 file names expected");
  const char *paths[64];
  lua_settop(L, 4);
  luaL_checkstack(L, (int)files + 8, "file names");
  for (size_t i = 0; i < files; i++) { /* the names stay on the stack while they are used */
    if (lua_rawgeti(L, 2, (lua_Integer)i + 1) != LUA_TSTRING)
      return luaL_error(L, "file name %d is a %s", (int)i + 1, luaL_typename(L, -1));
    paths[i] = lua_tostring(L, -1);
    luaL_argcheck(L, strlen(paths[i]) == lua_rawlen(L, -1), 2, "a zero byte in the name of a file");
  }
  lip_err err;
  dataset_box *box = new_box(L);
  return finish(
      L, box, lip_cifar_load(name, paths, files, (size_t)label_bytes, (size_t)classes, &box->d, &err), &err);
}

/* A column at the top of the stack: a name, or a number from 1. The string stays alive in the options table. */
static lip_csv_column check_column(lua_State *L, const char *option) {
  lip_csv_column c = {NULL, 0};
  if (lua_type(L, -1) == LUA_TSTRING) {
    c.name = lua_tostring(L, -1);
  } else if (lua_type(L, -1) == LUA_TNUMBER && lua_tointeger(L, -1) >= 1) { /* 0 for what is not whole */
    c.index = (size_t)lua_tointeger(L, -1) - 1;
  } else {
    char got[80];
    luaL_error(L, "csv: option '%s' expects a column's name or number from 1, got %s", option,
               lipL_typetext(L, -1, got, sizeof got));
  }
  return c;
}

/* Columns of option `target`: one, or a list; in a userdata that is pushed (or nil), with their names in a table below
 * it: a list of the script's may change before the file is read. */
static void check_targets(lua_State *L, int options, lip_csv_conf *conf) {
  if (lua_getfield(L, options, "target") == LUA_TNIL) return;
  static const char *const none[] = {NULL};
  bool list = lua_istable(L, -1);
  if (list) lipL_owntable(L, -1, none);
  size_t n = list ? lua_rawlen(L, -1) : 1;
  lip_csv_column *c = lua_newuserdatauv(L, (n + 1) * sizeof *c, 0);
  for (size_t i = 0; i < n; i++) {
    if (list)
      lua_rawgeti(L, -2, (lua_Integer)i + 1);
    else
      lua_pushvalue(L, -2);
    c[i] = check_column(L, "target");
    lua_pop(L, 1);
  }
  conf->targets = c;
  conf->target_count = n;
}

/* dataset_csv(path[, {label=, target=, header=, separator=, fill=, name=}]) */
static int open_csv(lua_State *L) {
  static const char *const known[] = {"label", "target", "header", "separator", "fill", "name", NULL};
  const char *path = lipL_checkpath(L, 1), *name = path;
  lip_csv_conf conf = {.header = LIP_CSV_GUESS};
  lip_csv_column label;
  lua_settop(L, 2);
  lipL_checkfields(L, 2, "csv", known);
  if (lua_istable(L, 2)) {
    if (lua_getfield(L, 2, "label") != LUA_TNIL) {
      label = check_column(L, "label");
      conf.label = &label;
    }
    if (lua_getfield(L, 2, "header") != LUA_TNIL)
      conf.header = lipL_optfield_bool(L, 2, "csv", "header", false) ? LIP_CSV_YES : LIP_CSV_NO;
    if (lua_getfield(L, 2, "fill") != LUA_TNIL) {
      conf.fill = true;
      conf.fill_value = (float)lipL_optfield_number(L, 2, "csv", "fill", 0);
    }
    if (lua_getfield(L, 2, "separator") != LUA_TNIL) {
      if (lua_type(L, -1) != LUA_TSTRING || lua_rawlen(L, -1) != 1 || strchr("\"\r\n", *lua_tostring(L, -1)))
        return luaL_error(L, "csv: option 'separator' expects one character");
      conf.separator = *lua_tostring(L, -1);
    }
    if (lua_getfield(L, 2, "name") == LUA_TSTRING) name = lua_tostring(L, -1);
    check_targets(L, 2, &conf);
  }
  lip_err err;
  dataset_box *box = new_box(L);
  return finish_read(L, box, lip_csv_load(name, path, &conf, &box->d, &err), &err);
}

/* dataset_npy(x[, y[, {channels=}]]) */
static int open_npy(lua_State *L) {
  const char *x = lipL_checkpath(L, 1), *y = lua_isnoneornil(L, 2) ? NULL : lipL_checkpath(L, 2);
  lip_channels as = check_channels(L, 3, "npy");
  lip_err err;
  dataset_box *box = new_box(L);
  return finish_read(L, box, lip_npy_dataset_as(x, x, y, as, &box->d, &err), &err);
}

/* dataset_digits(n, seed) */
static int open_digits(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1), seed = luaL_optinteger(L, 2, 1);
  luaL_argcheck(L, n >= 0 && n <= UINT32_MAX, 1, "number of samples expected");
  lip_err err;
  dataset_box *box = new_box(L);
  return finish(L, box, lip_synth_digits((size_t)n, (uint64_t)seed, &box->d, &err), &err);
}

/* The tensor at 1 as samples, contiguous and with its channels first: a view that steps, or images whose channels stand
 * last, are copied. */
static const lip_tensor *check_samples_tensor(lua_State *L, lip_channels as, lip_layout *layout, char *note) {
  lip_err err;
  const lip_tensor *x = lipL_checktensor(L, 1);
  lip_status s = lip_layout_of("tensors", x->ndim, x->shape, as, layout, note, &err);
  if (s) luaL_argerror(L, 1, err.msg);
  if (layout->turn) {
    const lip_tensor row_first = lip_tensor_transpose(x, 2, 3); /* (N, H, C, W) */
    const lip_tensor turned = lip_tensor_transpose(&row_first, 1, 2);
    lipL_pushview(L, &turned, 1);
    lua_replace(L, 1);
  }
  return lipL_contiguous(L, 1);
}

/* dataset_tensors(x[, y[, {channels=}]]): shares the tensors' memory. y: labels (a table, or a tensor of one dimension)
 * or a tensor (N, T) of targets. Labels -1 and 1 become 0 and 1. */
static int open_tensors(lua_State *L) {
  lip_layout layout;
  char note[256];
  lip_err err;
  lua_settop(L, 3);
  lipL_checktensor(L, 1);
  lip_channels as = check_channels(L, 3, "tensors");
  lua_settop(L, 2);
  const lip_tensor *x = check_samples_tensor(L, as, &layout, note);
  dataset_box *box = new_box(L);
  if (lip_dataset_new("tensors", x->shape[0], layout.ndim, layout.shape, &box->d, &err))
    return lipL_fault(L, &err);
  lip_dataset *d = box->d;
  d->borrowed = true;
  d->values = x->data;
  memcpy(d->note, note, sizeof note);
  lua_createtable(L, 2, 0); /* what must stay alive */
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  lip_tensor *y = lipL_testtensor(L, 2);
  if (y && y->ndim == 2) {
    y = (lip_tensor *)lipL_contiguous(L, 2);
    luaL_argcheck(L, y->shape[0] == d->n, 2, "as many targets as samples expected");
    luaL_argcheck(L, y->shape[1] > 0, 2, "targets of at least one value expected");
    d->targets = y->data;
    d->target_width = y->shape[1];
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 2);
  } else if (!lua_isnil(L, 2)) {
    int32_t *labels = lua_newuserdatauv(L, (d->n + 1) * sizeof *labels, 0);
    lipL_checklabels(L, 2, d->n, LIP_MAX_CLASSES, labels);
    d->labels = labels;
    lua_rawseti(L, -2, 2);
    if (lip_dataset_count_classes(d, 0, &err)) return lipL_raise(L, &err);
  }
  lua_setiuservalue(L, -2, 1);
  return finish_read(L, box, LIP_OK, NULL);
}

/* ---- loaders ---- */

/* User values: 1 the data set, 2 x and 3 y of a full batch, used again for every batch. */
typedef struct loader_box {
  lip_loader *l;
  size_t shift;
} loader_box;

/* Whether the loader at idx and what it reads from are there; leaves the stack as it was. */
static bool usable(lua_State *L, int idx, const loader_box *box) {
  if (!box->l) return false;
  lua_getiuservalue(L, idx, 1);
  bool alive = lipL_testdataset(L, -1) != NULL;
  lua_pop(L, 1);
  return alive;
}

static loader_box *check_loader(lua_State *L, int idx) {
  loader_box *box = luaL_checkudata(L, idx, LIP_LOADER_T);
  luaL_argcheck(L, usable(L, idx, box), idx, "this loader is closed");
  return box;
}

static int loader_gc(lua_State *L) {
  loader_box *box = luaL_checkudata(L, 1, LIP_LOADER_T);
  lip_loader_free(box->l);
  box->l = NULL;
  return 0;
}

/* ds:batches{size=, shuffle=, seed=, drop_last=, shift=} -> loader */
static int dataset_batches(lua_State *L) {
  static const char *const known[] = {"size", "shuffle", "seed", "drop_last", "shift", NULL};
  const char *what = "batches";
  const lip_dataset *d = lipL_checkdataset(L, 1);
  lip_err err;
  lua_settop(L, 2);
  lipL_checkfields(L, 2, what, known);
  size_t size = lipL_optfield_size(L, 2, what, "size", 128), seed = lipL_optfield_size(L, 2, what, "seed", 1);
  bool shuffle = lipL_optfield_bool(L, 2, what, "shuffle", false);
  bool drop_last = lipL_optfield_bool(L, 2, what, "drop_last", false);
  size_t shift = lipL_optfield_size(L, 2, what, "shift", 0);
  if (shift > 0 && d->ndim != 3) return luaL_error(L, "batches: option 'shift' is for images (C x H x W)");
  loader_box *box = lipL_newobject(L, LIP_LOADER_T, sizeof *box, 3);
  if (lip_loader_new(d, size, shuffle, drop_last, seed, &box->l, &err)) return lipL_fault(L, &err);
  box->shift = shift;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, 1);
  push_batch_tensors(L, d, size < d->n ? size : d->n);
  lua_setiuservalue(L, 3, 3);
  lua_setiuservalue(L, 3, 2);
  return 1;
}

/* Pushes the first B rows of the tensor in user value `slot` of the loader at 1 (all of it: the tensor itself). */
static lip_tensor *push_rows(lua_State *L, int slot, size_t B) {
  if (lua_getiuservalue(L, 1, slot) == LUA_TNIL) return NULL;
  lip_tensor *all = lipL_checktensor(L, -1);
  if (!all->data) luaL_error(L, "the loader's tensors are gone");
  if (all->shape[0] == B) return all;
  const lip_tensor part = lip_tensor_slice(all, 0, 0, B, 1);
  lip_tensor *view = lipL_pushview(L, &part, -1);
  lua_remove(L, -2);
  return view;
}

/* loader:next() -> x, y; nil at the end of the epoch. Also the iterator of loader:epoch(). */
static int loader_next(lua_State *L) {
  loader_box *box = check_loader(L, 1);
  const lip_dataset *d = box->l->data;
  const uint32_t *index;
  uint64_t draw = box->l->epoch << 32 | box->l->next;
  lua_settop(L, 1);
  size_t B = lip_loader_next(box->l, &index);
  if (B == 0) {
    lua_pushnil(L);
    return 1;
  }
  lip_tensor *x = push_rows(L, 2, B), *y = push_rows(L, 3, B);
  fill_batch(d, index, B, x, y);
  if (box->shift)
    lip_augment_shift(x->data, B, d->shape[0], d->shape[1], d->shape[2], box->shift, box->l->seed, draw);
  return 2;
}

static int loader_epoch(lua_State *L) {
  check_loader(L, 1);
  lua_settop(L, 1);
  lua_pushcfunction(L, loader_next);
  lua_insert(L, 1);
  return 2;
}

/* loader:position() -> epoch, next (both from 0; next counts samples) */
static int loader_position(lua_State *L) {
  const loader_box *box = check_loader(L, 1);
  lua_pushinteger(L, (lua_Integer)box->l->epoch);
  lua_pushinteger(L, (lua_Integer)box->l->next);
  return 2;
}

static int loader_seek(lua_State *L) {
  loader_box *box = check_loader(L, 1);
  lip_err err;
  lua_Integer epoch = luaL_checkinteger(L, 2), next = luaL_optinteger(L, 3, 0);
  luaL_argcheck(L, epoch >= 0, 2, "the epoch counts from 0");
  luaL_argcheck(L, next >= 0, 3, "the position counts from 0");
  if (lip_loader_seek(box->l, (uint64_t)epoch, (size_t)next, &err)) return lipL_raise(L, &err);
  return 0;
}

/* Batches in one epoch. */
static int loader_size(lua_State *L) {
  const lip_loader *l = check_loader(L, 1)->l;
  size_t whole = l->data->n / l->batch;
  lua_pushinteger(L, (lua_Integer)(whole + (!l->drop_last && l->data->n % l->batch ? 1 : 0)));
  return 1;
}

static int loader_tostring(lua_State *L) {
  const loader_box *box = luaL_checkudata(L, 1, LIP_LOADER_T);
  if (usable(L, 1, box))
    lua_pushfstring(L, "loader of %s: batches of %I, epoch %I, sample %I of %I", box->l->data->name,
                    (LUAI_UACINT)box->l->batch, (LUAI_UACINT)box->l->epoch, (LUAI_UACINT)box->l->next,
                    (LUAI_UACINT)box->l->data->n);
  else
    lua_pushliteral(L, "loader (closed)");
  return 1;
}

void lipL_open_data(lua_State *L) {
  static const luaL_Reg dataset_methods[] = {
      {"size", dataset_size},     {"info", dataset_info},       {"named", dataset_named},
      {"batch", dataset_batch},   {"labels", dataset_labels},   {"targets", dataset_targets},
      {"subset", dataset_subset}, {"batches", dataset_batches}, {NULL, NULL}};
  static const luaL_Reg dataset_meta[] = {
      {"__gc", dataset_gc}, {"__len", dataset_size}, {"__tostring", dataset_tostring}, {NULL, NULL}};
  static const luaL_Reg loader_methods[] = {{"next", loader_next},         {"epoch", loader_epoch},
                                            {"position", loader_position}, {"seek", loader_seek},
                                            {"size", loader_size},         {NULL, NULL}};
  static const luaL_Reg loader_meta[] = {
      {"__gc", loader_gc}, {"__len", loader_size}, {"__tostring", loader_tostring}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"dataset_idx", open_idx},
                                       {"dataset_cifar", open_cifar},
                                       {"dataset_csv", open_csv},
                                       {"dataset_npy", open_npy},
                                       {"dataset_digits", open_digits},
                                       {"dataset_tensors", open_tensors},
                                       {NULL, NULL}};
  lipL_newtype(L, LIP_DATASET_T, dataset_methods, dataset_meta);
  lipL_newtype(L, LIP_LOADER_T, loader_methods, loader_meta);
  luaL_setfuncs(L, functions, 0);
}
