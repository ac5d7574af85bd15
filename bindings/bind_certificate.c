/* Certificate files: the arrays and texts of a file, and the hash over all of them. */
#include "bindings/bind_certificate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/number.h"

static const char *const keys[] = {
#define X(name) #name,
    LIP_CERTIFICATE_KEYS(X)
#undef X
};

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "out of memory for a certificate");
}

/* ---- arrays ---- */

/* One row per array: its name, its place in the struct, its shape (0: as many as `rows` etc. say, see dims_of). */
typedef struct field {
  const char *name;
  bool wide;
  size_t offset;
  int ndim;
} field;

#define AT(name) offsetof(lipL_certificate, name)
static const field fields[] = {
    {"norm", true, AT(norm), 1},           {"pair", true, AT(pair), 2},
    {"proof.target", true, AT(target), 2}, {"proof.rho", true, AT(rho), 1},
    {"proof.lambda", true, AT(lambda), 2}, {"proof.weight", true, AT(weight), 2},
    {"radius", true, AT(radius), 1},       {"eps", true, AT(eps), 1},
    {"certified", true, AT(count), 1},     {"label", false, AT(label), 1},
    {"truth", false, AT(truth), 1},        {"local.slope", true, AT(slope), 2},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static void **slot(lipL_certificate *c, size_t i) {
  return (void **)(void *)((char *)c + fields[i].offset);
}

bool lipL_certificate_is_local(const lipL_certificate *c) {
  return c->key[LIP_KEY_method] && strcmp(c->key[LIP_KEY_method], "local") == 0;
}

static void dims_of(const lipL_certificate *c, size_t i, size_t dim[2]) {
  const bool local = lipL_certificate_is_local(c);
  size_t T = c->claims.targets, C = c->model.net.n_out;
  const size_t of[FIELDS][2] = {{c->model.dense, 1},
                                {C, C},
                                {T, 2},
                                {T, 1},
                                {T, c->claims.units},
                                {T, c->model.net.n_in},
                                {c->rows, 1},
                                {c->n_eps, 1},
                                {c->n_eps, 1},
                                {c->rows, 1},
                                {c->rows, 1},
                                {local ? c->rows : 0, c->claims.units}};
  dim[0] = of[i][0];
  dim[1] = of[i][1];
}

static int certificate_gc(lua_State *L) {
  lipL_certificate *c = luaL_checkudata(L, 1, LIP_CERTIFICATE_T);
  lip_check_close(c->check);
  lipL_model_free(&c->model);
  for (size_t i = 0; i < FIELDS; i++) lip_free(*slot(c, i));
  for (size_t i = 0; i < LIP_KEYS; i++) lip_free(c->key[i]);
  lip_free(c->path);
  lip_net_free(c->net);
  lip_safetensors_close(c->file);
  *c = (lipL_certificate){0};
  return 0;
}

lipL_certificate *lipL_newcertificate(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", certificate_gc}, {NULL, NULL}};
  if (luaL_getmetatable(L, LIP_CERTIFICATE_T) == LUA_TNIL) lipL_newtype(L, LIP_CERTIFICATE_T, NULL, meta);
  lua_pop(L, 1);
  return lipL_newobject(L, LIP_CERTIFICATE_T, sizeof(lipL_certificate), 0);
}

/* ---- claims ---- */

static lip_status bad(lip_err *err, const char *what) {
  return lip_fail(err, LIP_FORMAT, "%s", what);
}

static bool evidence_of(const char *method, unsigned *evidence) {
  *evidence = LIP_CHECK_ABS | LIP_CHECK_QUADRATIC;
  if (strcmp(method, "best") == 0 || strcmp(method, "local") == 0) return true;
  if (strcmp(method, "product") == 0) return *evidence = 0, true;
  if (strcmp(method, "abs") == 0) return *evidence = LIP_CHECK_ABS, true;
  *evidence = LIP_CHECK_QUADRATIC;
  return strcmp(method, "recursion") == 0 || strcmp(method, "multiplier") == 0;
}

/* "" or "from to". */
static bool box_of(const char *text, double *from, double *to) {
  char *end;
  *from = -INFINITY;
  *to = INFINITY;
  if (!*text) return true;
  lip_number_enter();
  *from = strtod(text, &end);
  bool fine = end != text && *end == ' ';
  if (fine) *to = strtod(text = end + 1, &end);
  lip_number_leave();
  return fine && end != text && !*end && *from <= *to;
}

lip_status lipL_certificate_claims(lipL_certificate *c, lip_err *err) {
  lip_path path;
  lip_check_claims *a = &c->claims;
  if (lip_path_parse(c->key[LIP_KEY_path], &path, err)) return bad(err, "path: not a path of norms");
  if (path.n > c->model.weighted + 1) return bad(err, "path: more norms than layers");
  lip_free(c->path);
  c->path = lip_alloc(c->model.dense + 1, sizeof *c->path);
  if (!c->path) return no_memory(err);
  for (size_t i = 0; i <= c->model.dense; i++) {
    lip_p p = lip_path_at(&path, i > 0 ? c->model.of[i - 1].to : 0);
    c->path[i] = p == LIP_P1 ? 1 : p == LIP_P2 ? 2 : 0;
  }
  if (!evidence_of(c->key[LIP_KEY_method], &a->evidence))
    return lip_fail(err, LIP_UNSUPPORTED, "method: a certificate file cannot carry a proof by '%.40s'",
                    c->key[LIP_KEY_method]);
  a->float32 = strcmp(c->key[LIP_KEY_arithmetic], "float32") == 0;
  if (!a->float32 && strcmp(c->key[LIP_KEY_arithmetic], "real") != 0)
    return bad(err, "arithmetic: neither float32 nor real");
  if (strcmp(c->key[LIP_KEY_rounding], lipL_model_rounding(&c->model)) != 0)
    return bad(err, "rounding: other constants");
  a->local = lipL_certificate_is_local(c);
  if (!box_of(c->key[LIP_KEY_box], &a->from, &a->to) || (!a->local && *c->key[LIP_KEY_box]))
    return bad(err, "box: not two numbers, or of a method that has none");
  a->slope = c->slope;
  a->dense = c->model.dense;
  a->path = c->path;
  a->norm = c->norm;
  a->pair = c->pair;
  a->target = c->target;
  a->rho = c->rho;
  a->lambda = c->lambda;
  a->weight = c->weight;
  a->rows = c->rows;
  a->label = c->label;
  a->radius = c->radius;
  return LIP_OK;
}

size_t lipL_certificate_count(const lipL_certificate *c, double eps) {
  size_t n = 0;
  for (size_t r = 0; c->truth && r < c->rows; r++)
    n += c->truth[r] >= 0 && c->truth[r] == c->label[r] && c->radius[r] > 0 && c->radius[r] >= eps;
  return n;
}

/* ---- the hash over a file: names in order, each with type, shape and bytes; then keys in order with their texts ---- */

static int by_name(const void *a, const void *b) {
  return strcmp(((const lip_array *)a)->name, ((const lip_array *)b)->name);
}

static int by_key(const void *a, const void *b) {
  return strcmp(((const lip_pair *)a)->key, ((const lip_pair *)b)->key);
}

static void hash_number(lip_sha256 *h, uint64_t v) {
  uint8_t bytes[8];
  for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(v >> 8 * i);
  lip_sha256_add(h, bytes, sizeof bytes);
}

static void hash_of(lip_array *array, size_t n, lip_pair *pair, size_t m, char out[65]) {
  lip_sha256 h;
  uint8_t digest[LIP_SHA256_BYTES];
  lip_sha256_init(&h);
  qsort(array, n, sizeof *array, by_name);
  qsort(pair, m, sizeof *pair, by_key);
  for (size_t i = 0; i < n; i++) {
    lip_sha256_add(&h, array[i].name, strlen(array[i].name) + 1);
    hash_number(&h, array[i].wide);
    hash_number(&h, (uint64_t)array[i].ndim);
    for (int k = 0; k < array[i].ndim; k++) hash_number(&h, array[i].shape[k]);
    lip_sha256_add(&h, array[i].data, lip_array_size(&array[i]) * (array[i].wide ? 8 : 4));
  }
  for (size_t i = 0; i < m; i++) {
    lip_sha256_add(&h, pair[i].key, strlen(pair[i].key) + 1);
    lip_sha256_add(&h, pair[i].value, strlen(pair[i].value) + 1);
  }
  lip_sha256_end(&h, digest);
  lip_sha256_hex(digest, out);
}

/* What the struct holds, as arrays and pairs of a file. */
static void list_contents(const lipL_certificate *c, lip_array *array, size_t *n, lip_pair *pair) {
  *n = 0;
  for (size_t i = 0; i < FIELDS; i++) {
    size_t dim[2];
    const void *data = *slot((lipL_certificate *)(uintptr_t)c, i); /* only read */
    dims_of(c, i, dim);
    if (!data || dim[0] == 0 || dim[1] == 0) continue;
    array[(*n)++] = (lip_array){.name = fields[i].name,
                                .wide = fields[i].wide,
                                .ndim = fields[i].ndim,
                                .shape = {dim[0], dim[1]},
                                .data = data};
  }
  for (size_t i = 0; i < LIP_KEYS; i++) pair[i] = (lip_pair){keys[i], c->key[i]};
}

lip_status lipL_certificate_save(const char *path, const lipL_certificate *c, lip_err *err) {
  lip_array array[FIELDS];
  lip_pair pair[LIP_KEYS + 1];
  char sha256[65];
  size_t n;
  list_contents(c, array, &n, pair);
  hash_of(array, n, pair, LIP_KEYS, sha256);
  pair[LIP_KEYS] = (lip_pair){"claims_sha256", sha256};
  return lip_safetensors_save(path, array, n, pair, LIP_KEYS + 1, err);
}

/* ---- reading ---- */

static lip_status read_texts(lipL_certificate *c, lip_err *err) {
  lip_pair pair;
  const char *version = lip_safetensors_meta(c->file, "format_version");
  c->old = version && strcmp(version, "1") == 0;
  for (size_t i = 0; i < LIP_KEYS; i++) {
    const char *text = c->old && i == LIP_KEY_box ? "" : lip_safetensors_meta(c->file, keys[i]);
    if (!text) return lip_fail(err, LIP_FORMAT, "%s: missing", keys[i]);
    c->key[i] = lip_strdup(text);
    if (!c->key[i]) return no_memory(err);
  }
  for (size_t k = 0; lip_safetensors_pair(c->file, k, &pair); k++) {
    bool known = strcmp(pair.key, "claims_sha256") == 0;
    for (size_t i = 0; i < LIP_KEYS && !known; i++)
      known = strcmp(pair.key, keys[i]) == 0 && !(c->old && i == LIP_KEY_box);
    if (!known) return lip_fail(err, LIP_FORMAT, "%.60s: not a claim of this format", pair.key);
  }
  if (strcmp(c->key[LIP_KEY_format], "lipwb certificate") != 0) return bad(err, "format: not a certificate");
  if (!c->old && strcmp(c->key[LIP_KEY_format_version], "2") != 0)
    return bad(err, "format_version: neither 1 nor 2");
  return LIP_OK;
}

static size_t find_field(const char *name) {
  size_t i = 0;
  while (i < FIELDS && strcmp(name, fields[i].name) != 0) i++;
  return i;
}

static lip_status read_arrays(lipL_certificate *c, lip_err *err) {
  for (size_t k = 0; k < lip_safetensors_count(c->file); k++) {
    const lip_array *a = lip_safetensors_at(c->file, k);
    size_t i = find_field(a->name);
    if (i == FIELDS) return lip_fail(err, LIP_FORMAT, "%.60s: not a claim of this format", a->name);
    if (a->wide != fields[i].wide || a->ndim != fields[i].ndim || lip_array_size(a) == 0)
      return lip_fail(err, LIP_FORMAT, "%s: wrong type or shape", fields[i].name);
    void *data = *slot(c, i) = lip_alloc(lip_array_size(a), a->wide ? 8 : 4);
    if (!data) return no_memory(err);
    lip_status status = lip_safetensors_read(c->file, a, data, err);
    if (status) return status;
    if (strcmp(a->name, "radius") == 0) c->rows = a->shape[0];
    if (strcmp(a->name, "eps") == 0) c->n_eps = a->shape[0];
    if (strcmp(a->name, "proof.rho") == 0) c->claims.targets = a->shape[0];
    if (strcmp(a->name, "proof.lambda") == 0) c->claims.units = a->shape[1];
    if (strcmp(a->name, "local.slope") == 0) c->claims.units = a->shape[1];
  }
  return LIP_OK;
}

/* Every array is there that must be, in the shape that net and other arrays ask for. */
static lip_status check_arrays(lipL_certificate *c, lip_err *err) {
  for (size_t i = 0; i < FIELDS; i++) {
    size_t dim[2];
    const lip_array *a = lip_safetensors_find(c->file, fields[i].name);
    const char *name = fields[i].name;
    bool may_lack =
        strcmp(name, "truth") == 0 || strcmp(name, "proof.weight") == 0 || strcmp(name, "local.slope") == 0;
    dims_of(c, i, dim);
    if (!a && !may_lack && dim[0] > 0 && dim[1] > 0)
      return lip_fail(err, LIP_FORMAT, "%s: missing", fields[i].name);
    if (a && (a->shape[0] != dim[0] || (a->ndim == 2 && a->shape[1] != dim[1])))
      return lip_fail(err, LIP_FORMAT, "%s: its shape does not fit the net and the other claims",
                      fields[i].name);
  }
  return LIP_OK;
}

/* Multipliers of version 1 stood at every row of every matrix but the last, those of pairs at the higher index. */
static void from_version_1(lipL_certificate *c) {
  const lip_check_net *net = &c->model.net;
  size_t width = net->n_in, at = 0, n = 0, units = c->claims.units;
  bool open = false; /* a matrix without a nonlinearity behind it */
  for (size_t i = 0; i < net->n; i++) {
    const lip_check_layer *l = &net->layer[i];
    const bool pairs = l->kind == LIP_CHECK_MAXMIN;
    if (l->kind == LIP_CHECK_DENSE) {
      at += open ? width : 0;
      width = l->M;
      open = true;
    } else if (pairs || l->slope != 1) {
      for (size_t k = pairs; k < width && at + k < units; k += 1 + pairs, n++)
        for (size_t t = 0; t < c->claims.targets; t++)
          c->lambda[t * units + n] = c->lambda[t * units + at + k];
      at += width;
      open = false;
    }
  }
  for (size_t t = 1; t < c->claims.targets; t++)
    memmove(c->lambda + t * n, c->lambda + t * units, n * sizeof(double));
  c->claims.units = n;
}

lip_status lipL_certificate_load(const char *path, lipL_certificate *c, lip_err *err) {
  lip_array array[FIELDS];
  lip_pair pair[LIP_KEYS];
  char sha256[65];
  size_t n;
  lip_status status = lip_safetensors_open(path, &c->file, err);
  if (!status) status = read_texts(c, err);
  if (!status) status = read_arrays(c, err);
  if (!status) status = check_arrays(c, err);
  if (status) return status;
  const char *claimed = lip_safetensors_meta(c->file, "claims_sha256");
  list_contents(c, array, &n, pair);
  hash_of(array, n, pair, c->old ? LIP_KEYS - 1 : LIP_KEYS, sha256);
  if (!claimed || strcmp(claimed, sha256) != 0)
    return bad(err, "claims_sha256: the file is not what was written (its hash differs)");
  if (c->old) from_version_1(c);
  return lipL_certificate_claims(c, err);
}

/* ---- rows ---- */

lipL_rows lipL_checkdata(lua_State *L, int idx, const char *what, const lip_net *net) {
  lipL_rows r = {.data = lipL_testdataset(L, idx), .width = net->root->n_in};
  if (r.data) {
    lipL_checkfeatures(L, what, r.data, net);
    r.n = r.data->n;
    r.labels = r.data->labels;
  } else {
    r.x = lipL_checkrows(L, idx, net, &r.n);
  }
  return r;
}

const float *lipL_rows_read(const lipL_rows *rows, size_t first, size_t B, uint32_t *index, float *room) {
  if (rows->x) return rows->x + first * rows->width;
  for (size_t i = 0; i < B; i++) index[i] = (uint32_t)(first + i);
  lip_dataset_gather(rows->data, index, B, room, NULL, NULL);
  return room;
}
