/* net:certificate: what the methods and the certifier found, written so that the checker confirms it. Its formulas are
 * not those of the finders, so a claim may have to give way a little: it is then weakened until the checker agrees. */
#include "bindings/bind_certificate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 256 };

/* One call. */
typedef struct maker {
  lip_net *net;
  lipL_certificate *c;
  lipL_cert *found;
  lipL_rows rows;
  const char *method, *global, *arithmetic; /* global: with "local" the method of the constants */
  bool local;
  char box[64];
  double seconds;
  int options; /* index of the table */
  lip_watch *progress;
  lip_path path;
  uint32_t *index;    /* (BATCH) */
  lip_radius *radius; /* (BATCH) */
  float *room;        /* (BATCH, n_in) */
} maker;

/* ---- texts and numbers of the file ---- */

static lip_status set_key(lipL_certificate *c, int key, const char *text, lip_err *err) {
  lip_free(c->key[key]);
  c->key[key] = lip_strdup(text);
  return c->key[key] ? LIP_OK : lip_fail(err, LIP_MEMORY, "out of memory for a certificate");
}

static lip_status set_keys(maker *m, lip_err *err) {
  char path[LIP_MAX_PATH * 6];
  const struct {
    int key;
    const char *text;
  } row[] = {
      {LIP_KEY_format, "lipwb certificate"},
      {LIP_KEY_format_version, "2"},
      {LIP_KEY_lipwb, LIP_VERSION},
      {LIP_KEY_method, m->method},
      {LIP_KEY_path, lip_path_text(&m->path, path, sizeof path)},
      {LIP_KEY_arithmetic, m->arithmetic},
      {LIP_KEY_rounding, lipL_model_rounding(&m->c->model)},
      {LIP_KEY_kernels, lip_gemm_backend()},
      {LIP_KEY_layers, m->c->model.text.text},
      {LIP_KEY_weights_sha256, m->c->model.sha256},
      {LIP_KEY_data_sha256, ""},
      {LIP_KEY_box, m->box},
  };
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    lip_status status = set_key(m->c, row[i].key, row[i].text, err);
    if (status) return status;
  }
  return LIP_OK;
}

static double *doubles(size_t a, size_t b) {
  size_t n;
  return lip_mul_fits(a, b, &n) ? lip_alloc(n, sizeof(double)) : NULL;
}

/* Places of the multipliers that the checker asks for: units of two slopes, and of every pair its difference. */
static size_t free_units(const lip_affine *a, size_t *at) {
  size_t n = 0, before = 0;
  for (size_t l = 0; l + 1 < a->n; before += a->block[l++].M)
    for (size_t i = 0; i < a->block[l].M; i++) {
      const lip_block *b = &a->block[l];
      const size_t mate = b->mate ? b->mate[i] : i;
      if (mate > i || (mate == i && b->low[i] == b->high[i])) continue;
      if (at) at[n] = before + i;
      n++;
    }
  return n;
}

static bool carries(const lip_multipliers *p) {
  return p->rows.i != LIP_NO_ROW && p->rows.j != LIP_NO_ROW && p->rho < INFINITY;
}

/* Every proof of a pair; multipliers that are 0 or out of the checker's range become the nearest it takes. */
static lip_status take_proof(lipL_certificate *c, const lip_proof *proof, const lip_affine *affine,
                             lip_err *err) {
  size_t n = 0, n_in = c->model.net.n_in, units = proof ? free_units(affine, NULL) : 0;
  bool weighted = false;
  for (size_t t = 0; proof && t < proof->n; t++) {
    n += carries(&proof->item[t]);
    weighted = weighted || (carries(&proof->item[t]) && proof->item[t].d);
  }
  if (n == 0 || proof->units != lip_affine_units(affine)) return LIP_OK;
  size_t *at = lip_alloc(units, sizeof *at);
  c->claims.units = units;
  c->target = doubles(n, 2);
  c->rho = doubles(n, 1);
  c->lambda = doubles(n, units);
  if (weighted) c->weight = doubles(n, n_in);
  if (!at || !c->target || !c->rho || !c->lambda || (weighted && !c->weight)) {
    lip_free(at);
    return lip_fail(err, LIP_MEMORY, "out of memory for the proofs of %zu pairs", n);
  }
  free_units(affine, at);
  for (size_t t = 0, k = 0; t < proof->n; t++) {
    const lip_multipliers *p = &proof->item[t];
    if (!carries(p)) continue;
    double top = 0;
    for (size_t i = 0; i < units; i++) top = p->lambda[at[i]] > top ? p->lambda[at[i]] : top;
    for (size_t i = 0; i < units; i++)
      c->lambda[k * units + i] = fmin(fmax(fmax(p->lambda[at[i]], top * 0x1p-40), 0x1p-199), 0x1p199);
    for (size_t i = 0; weighted && i < n_in; i++) c->weight[k * n_in + i] = p->d ? p->d[i] : 1;
    c->target[2 * k] = (double)p->rows.i;
    c->target[2 * k + 1] = (double)p->rows.j;
    c->rho[k++] = p->rho;
  }
  c->claims.targets = n;
  lip_free(at);
  return LIP_OK;
}

static lip_status reserve(maker *m, lip_err *err) {
  lipL_certificate *c = m->c;
  size_t C = c->model.net.n_out;
  c->norm = doubles(c->model.dense, 1);
  c->pair = doubles(C, C);
  c->rows = m->rows.n;
  c->radius = doubles(c->rows, 1);
  c->label = lip_alloc(c->rows, sizeof *c->label);
  if (m->rows.labels) c->truth = lip_alloc(c->rows, sizeof *c->truth);
  if (!c->norm || !c->pair || !c->radius || !c->label || (m->rows.labels && !c->truth))
    return lip_fail(err, LIP_MEMORY, "out of memory for a certificate of %zu rows", c->rows);
  for (size_t r = 0; c->truth && r < c->rows; r++) c->truth[r] = (float)m->rows.labels[r];
  return LIP_OK;
}

/* ---- claims the checker confirms ---- */

/* Raises *claim from `first` a little, then more, until `confirms` says so; INFINITY, which claims nothing, in the end. */
static lip_status raise(lip_check *check, double *claim, double *mirror,
                        lip_status (*confirms)(lip_check *, size_t, size_t, lip_err *), size_t i, size_t j,
                        lip_err *err) {
  double first = *claim;
  lip_status status = confirms(check, i, j, err);
  for (int k = 0; status == LIP_FORMAT && k < 80; k++) {
    double more = k < 14 ? 1 + 1e-13 * exp2(3 * k) : exp2((k - 13) / 4.0);
    *claim = k == 79 ? (double)INFINITY : first * more + 0x1p-800;
    if (mirror) *mirror = *claim;
    status = confirms(check, i, j, err);
  }
  return status;
}

static lip_status confirm_pair(lip_check *check, size_t i, size_t j, lip_err *err) {
  return lip_check_claim(check, LIP_CHECK_PAIR, i, j, NULL, err);
}

static lip_status confirm_norm(lip_check *check, size_t i, size_t j, lip_err *err) {
  (void)j;
  return lip_check_claim(check, LIP_CHECK_NORM, i, 0, NULL, err);
}

static lip_status settle_norms(maker *m, lip_err *err) {
  for (size_t l = 0; l < m->c->model.dense; l++) {
    const lipL_claimed *of = &m->c->model.of[l];
    lip_pq pq = {lip_path_at(&m->path, of->from), lip_path_at(&m->path, of->to)};
    lip_status status = lip_layer_bound(of->layer, pq, &m->c->norm[l], err);
    if (status) return status;
  }
  for (size_t l = 0; l < m->c->model.dense; l++) {
    lip_status status = raise(m->c->check, &m->c->norm[l], NULL, confirm_norm, l, 0, err);
    if (status) return status;
  }
  return LIP_OK;
}

/* The largest x' diag(d) x of the unit ball, rounded up. */
static double weight_of(const lipL_certificate *c, size_t t) {
  size_t n = c->model.net.n_in;
  double most = 0, sum = 0;
  for (size_t k = 0; k < n; k++) {
    double d = c->weight ? c->weight[t * n + k] : 1;
    sum += d;
    most = d > most ? d : most;
  }
  return c->path[0] == 0 ? sum : most;
}

static void drop_row(double *rows, size_t width, size_t t, size_t n) {
  if (rows) memmove(rows + t * width, rows + (t + 1) * width, (n - t - 1) * width * sizeof *rows);
}

/* A proof that gains nothing. */
static void drop_proof(lipL_certificate *c, size_t t) {
  size_t n = c->claims.targets--;
  drop_row(c->target, 2, t, n);
  drop_row(c->rho, 1, t, n);
  drop_row(c->lambda, c->claims.units, t, n);
  drop_row(c->weight, c->model.net.n_in, t, n);
}

/* Proof t with the smallest rho near its own that the checker confirms, for a pair constant near `found`. LIP_FORMAT: none. */
static lip_status settle_proof(lipL_certificate *c, size_t t, double found, double *pair, double *mirror,
                               lip_err *err) {
  size_t i = (size_t)c->target[2 * t], j = (size_t)c->target[2 * t + 1];
  double rho = c->rho[t], weight = weight_of(c, t);
  for (int k = -1; k < 9; k++) {
    c->rho[t] = k < 0 ? rho : rho * (1 + 1e-9 * exp2(3 * k));
    *pair = *mirror = sqrt(c->rho[t] * weight * (1 + 0x1p-40));
    if (!(*pair < found * (k < 0 ? 1 + 1e-9 : 1.2))) break;
    lip_status status = lip_check_claim(c->check, LIP_CHECK_PAIR, i, j, NULL, err);
    if (status != LIP_FORMAT) return status;
  }
  return LIP_FORMAT;
}

/* What a proof has to come below to be of use: `found`, unless that is the smaller number and rests on constants of layers
 * that the checker does not know (sll): then what it confirms without any proof. */
static lip_status limit_of(lipL_certificate *c, size_t t, double *found, double *pair, double *mirror,
                           size_t i, size_t j, lip_err *err) {
  const size_t targets = c->claims.targets;
  const double first = *pair;
  lip_status status = LIP_OK;
  *found = first;
  if (sqrt(c->rho[t] * weight_of(c, t)) < first) return LIP_OK;
  c->claims.targets = 0;
  status = raise(c->check, pair, mirror, confirm_pair, i, j, err);
  c->claims.targets = targets;
  *found = *pair;
  *pair = *mirror = first;
  return status == LIP_FORMAT ? LIP_OK : status;
}

static lip_status settle_pair(lipL_certificate *c, size_t i, size_t j, lip_err *err) {
  size_t C = c->model.net.n_out;
  double *pair = &c->pair[i * C + j], *mirror = &c->pair[j * C + i], y = (double)i, z = (double)j;
  for (size_t t = c->claims.targets; t-- > 0;) {
    if (!((c->target[2 * t] == y && c->target[2 * t + 1] == z) ||
          (c->target[2 * t] == z && c->target[2 * t + 1] == y)))
      continue;
    const double first = *pair;
    double limit;
    lip_status status = limit_of(c, t, &limit, pair, mirror, i, j, err);
    if (!status) status = settle_proof(c, t, limit, pair, mirror, err);
    if (status != LIP_FORMAT) return status;
    *pair = *mirror = first;
    drop_proof(c, t);
  }
  return raise(c->check, pair, mirror, confirm_pair, i, j, err);
}

static lip_status settle_pairs(maker *m, lip_err *err) {
  size_t C = m->c->model.net.n_out;
  const double *found = lip_certifier_pairs(m->found->certifier);
  for (size_t i = 0; i < C; i++)
    for (size_t j = 0; j < C; j++)
      m->c->pair[i * C + j] = i == j ? 0 : fmax(found[i * C + j], found[j * C + i]);
  for (size_t i = 0; i < C; i++)
    for (size_t j = 0; j < i; j++) {
      if (lip_cancel_raised(m->net->engine.cancel))
        return lip_fail(err, LIP_CANCELLED, "certificate: cancelled");
      lip_status status = settle_pair(m->c, i, j, err);
      if (status) return status;
    }
  return LIP_OK;
}

/* The radius of exact arithmetic, from the executed logits. */
static double plain_radius(const maker *m, const float *z, int32_t label) {
  size_t C = m->c->model.net.n_out;
  double r = 0x1p100;
  const float sign[2] = {0, *z};
  if (m->net->root->n_out == 1) z = sign;
  for (size_t j = 0; j < C; j++) {
    if (label < 0 || j == (size_t)label) continue;
    double margin = (double)z[label] - (double)z[j], L = m->c->pair[(size_t)label * C + j];
    if (!(margin > 0) || !(L < INFINITY)) return 0;
    if (margin < r * L) r = margin / L;
  }
  return label < 0 ? 0 : r;
}

static lip_status settle_row(maker *m, size_t r, const float *x, const float *z, const lip_radius *found,
                             lip_err *err) {
  static const double part[] = {0,       0x1p-40, 0x1p-30, 0x1p-24, 0x1p-20, 0x1p-16, 0x1p-13,
                                0x1p-11, 0x1p-9,  0x1p-7,  0x1p-5,  0x1p-3,  0.5,     0.75,
                                0.9375,  0.99,    0.999,   0.9999,  1};
  double first = m->c->claims.float32 ? found->radius : plain_radius(m, z, found->label);
  lip_status status = LIP_FORMAT;
  for (size_t k = 0; status == LIP_FORMAT && k < sizeof part / sizeof *part; k++) {
    m->c->radius[r] = first * (1 - part[k]);
    status = lip_check_claim(m->c->check, LIP_CHECK_ROW, r, 0, x, err);
  }
  return status;
}

static lip_status settle_rows(maker *m, lip_err *err) {
  lip_sha256 hash;
  uint8_t digest[LIP_SHA256_BYTES];
  char text[65];
  lip_sha256_init(&hash);
  for (size_t i = 0; i < m->rows.n; i += BATCH) {
    size_t B = m->rows.n - i < BATCH ? m->rows.n - i : BATCH;
    const float *x = lipL_rows_read(&m->rows, i, B, m->index, m->room);
    lip_sha256_add(&hash, x, B * m->rows.width * sizeof *x);
    lip_status status = lip_certify(m->found->certifier, x, B, m->radius, err);
    for (size_t r = 0; !status && r < B; r++) {
      const float *row = x + r * m->rows.width;
      m->c->label[i + r] = (float)m->radius[r].label;
      if (lip_cancel_raised(m->net->engine.cancel))
        return lip_fail(err, LIP_CANCELLED, "certificate: cancelled");
      status =
          m->local ? lipL_certificate_settle_local(m->c, row, i + r, m->radius[r].radius, err) : LIP_FORMAT;
      if (status == LIP_FORMAT)
        status = settle_row(m, i + r, row, m->net->logits + r * m->net->root->n_out, &m->radius[r], err);
    }
    if (status) return status;
  }
  lip_sha256_end(&hash, digest);
  lip_sha256_hex(digest, text);
  return set_key(m->c, LIP_KEY_data_sha256, text, err);
}

/* Multipliers that do not fit what the checker makes of the net prove nothing: then there are none. */
static lip_status open_checker(lipL_certificate *c, lip_err *err) {
  lip_status status = lip_check_open(&c->model.net, &c->claims, &c->check, err);
  if (status != LIP_FORMAT || c->claims.targets == 0) return status;
  c->claims.targets = 0;
  return lip_check_open(&c->model.net, &c->claims, &c->check, err);
}

static lip_status make(maker *m, lip_err *err) {
  lipL_certificate *c = m->c;
  lipL_cert *f = m->found;
  const char *method = m->local ? m->global : m->method;
  bool more = strcmp(method, "product") != 0;
  f->carried = f->classes = true;
  lip_status status = lipL_model_init(&c->model, m->net, err);
  if (!status) status = lip_bound_along(m->net, &m->path, &f->bound, err);
  if (!status && more)
    status = lipL_runmethod(f, method, m->net, &m->path, true, m->seconds, m->progress, err);
  lip_certify_conf conf = {.path = &m->path, .pairs = f->found.pair};
  if (!status) status = lip_certifier_new(m->net, &conf, &f->certifier, err);
  if (!status) status = take_proof(c, f->found.proof, &f->affine, err);
  if (!status) status = reserve(m, err);
  if (!status) status = set_keys(m, err);
  if (!status) status = lipL_certificate_claims(c, err);
  c->claims.cancel = m->net->engine.cancel;
  if (!status) status = open_checker(c, err);
  if (!status) status = settle_norms(m, err);
  if (!status) status = settle_pairs(m, err);
  if (!status && m->local) status = lipL_certificate_reserve_local(c, err);
  if (!status && m->rows.n > 0) status = settle_rows(m, err);
  if (!status && m->local) lipL_certificate_spare_local(c);
  if (!status && lip_cancel_raised(m->net->engine.cancel))
    return lip_fail(err, LIP_CANCELLED, "certificate: cancelled");
  for (size_t k = 0; !status && k < c->n_eps; k++) c->count[k] = (double)lipL_certificate_count(c, c->eps[k]);
  return status;
}

/* ---- arguments ---- */

static const char *check_arithmetic(lua_State *L, int idx) {
  if (!lua_istable(L, idx) || lua_getfield(L, idx, "arithmetic") == LUA_TNIL) return "float32";
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : ""; /* the table holds it */
  if (strcmp(text, "float32") != 0 && strcmp(text, "real") != 0) {
    char got[80];
    luaL_error(L, "certificate: option 'arithmetic' is \"float32\" or \"real\", got %s",
               lipL_typetext(L, -1, got, sizeof got));
  }
  return text;
}

static void check_eps(lua_State *L, int idx, maker *m) {
  size_t n;
  const double *eps = lipL_opteps(L, idx, "certificate", &n);
  if (n > 0 && !m->rows.labels)
    luaL_error(L, "certificate: 'eps' counts points that are classified correctly: labels are needed");
  m->c->eps = lip_alloc(n, sizeof *eps);
  m->c->count = lip_alloc(n, sizeof *eps);
  if (!m->c->eps || !m->c->count) luaL_error(L, "certificate: out of memory");
  for (size_t k = 0; k < n; k++) m->c->eps[k] = eps[k];
  m->c->n_eps = n;
}

static bool wants_local(lua_State *L, int idx) {
  bool local = lua_istable(L, idx) && lua_getfield(L, idx, "method") == LUA_TSTRING &&
               strcmp(lua_tostring(L, -1), "local") == 0;
  if (lua_istable(L, idx)) lua_pop(L, 1);
  return local;
}

static void check_arguments(lua_State *L, maker *m) {
  static const char *const known[] = {"eps",        "limit",    "method", "seconds", "p",
                                      "arithmetic", "progress", "box",    "global",  NULL};
  bool set = lipL_testdataset(L, 3) != NULL || lua_isnoneornil(L, 3);
  int options = set ? 4 : 5;
  m->options = options;
  lua_settop(L, options);
  lipL_checkfields(L, options, "certificate", known);
  m->rows = (lipL_rows){.width = m->net->root->n_in};
  if (!lua_isnil(L, 3)) m->rows = lipL_checkdata(L, 3, "certificate", m->net);
  if (m->rows.data) lipL_checkclasses(L, "certificate", m->rows.data, m->net);
  m->local = wants_local(L, options);
  m->method = m->local ? "local" : lipL_optmethod(L, options, "certificate");
  m->global = lipL_certificate_optglobal(L, options, m->local);
  lipL_certificate_optbox(L, options, m->local, m->box, sizeof m->box);
  m->arithmetic = check_arithmetic(L, options);
  lipL_optpath(L, options, "certificate", m->net, &m->path);
  m->seconds = lipL_optseconds(L, options, "certificate", &m->path);
  if (!set && !lua_isnil(L, 4)) {
    int32_t *labels = lua_newuserdatauv(L, (m->rows.n ? m->rows.n : 1) * sizeof *labels, 0);
    lipL_checklabels(L, 4, m->rows.n, lip_net_classes(m->net), labels);
    m->rows.labels = labels;
  }
  size_t limit = lipL_optfield_size(L, options, "certificate", "limit", m->rows.n);
  if (limit == 0 && m->rows.n > 0)
    luaL_error(L, "certificate: option 'limit' is 0: leave the data out for a file without radii");
  if (limit < m->rows.n) m->rows.n = limit;
  m->c = lipL_newcertificate(L);
  check_eps(L, options, m);
  if (m->local && (m->c->n_eps == 0 || m->rows.n == 0))
    luaL_error(L, "certificate: method \"local\" needs rows and 'eps', the sizes of balls around them");
  if (m->local && strcmp(m->arithmetic, "real") == 0)
    luaL_error(L, "certificate: method \"local\" speaks of float32, not of arithmetic \"real\"");
  m->index = lua_newuserdatauv(L, BATCH * sizeof *m->index, 0);
  m->radius = lua_newuserdatauv(L, BATCH * sizeof *m->radius, 0);
  m->room = lua_newuserdatauv(L, BATCH * m->rows.width * sizeof *m->room, 0);
}

/* net:certificate(path[, dataset | x[, y]], {method="product", p=, eps=, seconds=, limit=, arithmetic="float32"}) ->
 * true[, what the method could not do] | nil, message, code */
static int net_certificate(lua_State *L) {
  maker m = {.net = lipL_checkidle(L, 1)};
  lip_err err;
  luaL_checktype(L, 2, LUA_TSTRING);
  const char *path = lipL_checkpath(L, 2);
  check_arguments(L, &m);
  size_t before = m.net->capacity;
  if (lip_net_reserve(m.net, BATCH, &err)) return lipL_fault(L, &err);
  if (m.net->capacity != before)
    lipL_account(L, m.net->capacity * (m.net->root->cache + 2 * m.net->root->n_in) * sizeof(float));
  m.found = lipL_newobject(L, LIP_CERTIFIER_T, sizeof *m.found, 0);
  lipL_watch watch;
  m.progress = lipL_watch_begin(L, m.options, "certificate", m.net, &watch);
  lip_status status = make(&m, &err);
  lipL_watch_end(&watch);
  if (status || lipL_certificate_save(path, m.c, &err)) return lipL_fault(L, &err);
  lua_pushboolean(L, 1);
  if (!*m.found->found.reason) return 1;
  lua_pushstring(L, m.found->found.reason); /* made all the same: what is missing is the product's */
  return 2;
}

void lipL_open_certificate(lua_State *L) {
  static const luaL_Reg methods[] = {{"certificate", net_certificate}, {NULL, NULL}};
  lipL_addmethods(L, LIP_NET_T, methods);
}
