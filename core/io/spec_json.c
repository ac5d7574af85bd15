#include "core/io/spec_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

/* ---- counters ---- */

lip_json *lip_json_new_counter(uint64_t v) {
  char digits[24];
  snprintf(digits, sizeof digits, "%" PRIu64, v);
  return lip_json_new_text(digits);
}

bool lip_json_counter(const lip_json *v, uint64_t *out) {
  const char *text;
  if (!lip_json_text(v, &text) || !*text) return false;
  uint64_t sum = 0;
  for (; *text; text++) {
    if (*text < '0' || *text > '9') return false;
    unsigned digit = (unsigned)(*text - '0');
    if (sum > (UINT64_MAX - digit) / 10) return false;
    sum = sum * 10 + digit;
  }
  *out = sum;
  return true;
}

/* ---- errors ---- */

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "no memory for a description in JSON");
}

/* What a setter or parser refused is here the file's fault. */
static lip_status blame_file(const lip_err *from, lip_err *err) {
  return lip_fail(err, from->code == LIP_MEMORY ? LIP_MEMORY : LIP_FORMAT, "%s", from->msg);
}

/* ---- options ---- */

static lip_json *reals_to_json(const lip_reals *r) {
  lip_json *list = lip_json_new_array();
  for (size_t i = 0; list && i < r->n; i++) {
    if (lip_json_append(list, lip_json_new_number(r->v[i]))) continue;
    lip_json_free(list);
    return NULL;
  }
  return list;
}

static lip_json *option_to_json(const lip_opt *o, const void *conf) {
  const void *m = (const char *)conf + o->offset;
  switch (o->type) {
  case LIP_OPT_SIZE: return lip_json_new_whole(*(const size_t *)m);
  case LIP_OPT_REAL: return lip_json_new_number(*(const double *)m);
  case LIP_OPT_BOOL: return lip_json_new_bool(*(const bool *)m);
  case LIP_OPT_ENUM: return lip_json_new_text(o->names[*(const int *)m]);
  case LIP_OPT_REALS: return reals_to_json(m);
  }
  return NULL;
}

lip_status lip_conf_to_json(const lip_desc *desc, const void *conf, lip_json **out, lip_err *err) {
  lip_json *object = lip_json_new_object();
  bool ok = object != NULL;
  for (const lip_opt *o = desc->opts; ok && o && o->name; o++)
    ok = lip_json_set(object, o->name, option_to_json(o, conf));
  *out = ok ? object : NULL;
  if (ok) return LIP_OK;
  lip_json_free(object);
  return no_memory(err);
}

/* A list of numbers into a block of the caller's: lip_free(r->v). */
static lip_status reals_from_json(const lip_json *v, const char *what, lip_reals *r, lip_err *err) {
  r->n = lip_json_size(v);
  r->v = lip_alloc(r->n, sizeof *r->v);
  if (!r->v) return no_memory(err);
  for (size_t i = 0; i < r->n; i++) {
    const lip_json *e = lip_json_at(v, i);
    if (lip_json_number(e, &r->v[i])) continue;
    lip_free(r->v);
    *r = (lip_reals){0};
    return lip_fail(err, LIP_FORMAT, "%.80s: element %zu is %s, expected a number", what, i + 1,
                    lip_json_typename(e));
  }
  return LIP_OK;
}

static lip_status set_option(const lip_desc *desc, void *conf, const char *name, const lip_json *v,
                             lip_err *err) {
  const lip_opt *o = lip_opt_find(desc, name);
  if (!o) return lip_opt_unknown(desc, NULL, name, err);
  const char *text;
  double number;
  bool flag;
  if (lip_json_bool(v, &flag)) return lip_conf_set_bool(desc, conf, name, flag, err);
  if (o->type == LIP_OPT_ENUM && lip_json_text(v, &text))
    return lip_conf_set_text(desc, conf, name, text, err);
  if (lip_json_number(v, &number)) return lip_conf_set_number(desc, conf, name, number, err);
  if (lip_json_text(v, &text)) return lip_conf_set_text(desc, conf, name, text, err);
  if (lip_json_typeof(v) != LIP_JSON_ARRAY) return lip_opt_wrong_type(desc, o, lip_json_typename(v), err);
  lip_reals list = {0};
  lip_status status = reals_from_json(v, name, &list, err);
  if (!status) status = lip_conf_set_reals(desc, conf, name, list.v, list.n, err);
  lip_free(list.v);
  return status;
}

static lip_status set_options(const lip_desc *desc, void *conf, const lip_json *v, lip_err *err) {
  lip_status status = LIP_OK;
  bool *given = lip_alloc(lip_opt_count(desc), sizeof *given);
  if (!given) return no_memory(err);
  void *iter = NULL;
  const char *name;
  const lip_json *value;
  while (!status && lip_json_next(v, &iter, &name, &value)) {
    status = set_option(desc, conf, name, value, err);
    if (!status) given[lip_opt_find(desc, name) - desc->opts] = true;
  }
  if (!status) status = lip_conf_complete(desc, given, err);
  lip_free(given);
  return status;
}

lip_status lip_conf_from_json(const lip_desc *desc, const lip_json *v, void **conf, lip_err *err) {
  lip_err why;
  *conf = NULL;
  if (!v || lip_json_typeof(v) != LIP_JSON_OBJECT)
    return lip_fail(err, LIP_FORMAT, "%s: its options are %s, expected an object", desc->name,
                    lip_json_typename(v));
  void *made = lip_conf_new(desc);
  if (!made) return no_memory(err);
  if (set_options(desc, made, v, &why)) {
    lip_conf_free(desc, made);
    return blame_file(&why, err);
  }
  *conf = made;
  return LIP_OK;
}

/* ---- specs ---- */

static lip_status specs_to_json(lip_spec *const *specs, size_t n, int depth, lip_json **out, lip_err *err);

static lip_status spec_to_json(const lip_spec *spec, int depth, lip_json **out, lip_err *err) {
  const lip_desc *desc = &spec->kind->desc;
  *out = NULL;
  const char *origin = spec->kind->origin;
  if (!origin && lip_layer_kind_find(desc->name) != spec->kind)
    return lip_fail(err, LIP_UNSUPPORTED,
                    "a layer of kind '%.60s' cannot be stored: it exists in this run only", desc->name);
  lip_json *object = lip_json_new_object(), *options = NULL, *children = NULL;
  bool ok = object && lip_json_set(object, "kind", lip_json_new_text(desc->name));
  if (ok && origin) ok = lip_json_set(object, "origin", lip_json_new_text(origin));
  lip_status status = ok ? lip_conf_to_json(desc, spec->conf, &options, err) : no_memory(err);
  if (!status && !lip_json_set(object, "options", options)) status = no_memory(err);
  if (!status && spec->kind->flags & LIP_LAYER_CONTAINER) {
    status = specs_to_json(spec->child, spec->n_child, depth + 1, &children, err);
    if (!status && !lip_json_set(object, "children", children)) status = no_memory(err);
  }
  if (status)
    lip_json_free(object);
  else
    *out = object;
  return status;
}

static lip_status specs_to_json(lip_spec *const *specs, size_t n, int depth, lip_json **out, lip_err *err) {
  *out = NULL;
  if (depth > LIP_SPEC_MAX_NESTING)
    return lip_fail(err, LIP_UNSUPPORTED, "layers nested more than %d deep cannot be stored",
                    LIP_SPEC_MAX_NESTING);
  lip_json *list = lip_json_new_array(), *one;
  lip_status status = list ? LIP_OK : no_memory(err);
  for (size_t i = 0; !status && i < n; i++) {
    status = spec_to_json(specs[i], depth, &one, err);
    if (!status && !lip_json_append(list, one)) status = no_memory(err);
  }
  if (status)
    lip_json_free(list);
  else
    *out = list;
  return status;
}

lip_status lip_spec_to_json(const lip_spec *spec, lip_json **out, lip_err *err) {
  return spec_to_json(spec, 0, out, err);
}

lip_status lip_specs_to_json(lip_spec *const *specs, size_t n, lip_json **out, lip_err *err) {
  return specs_to_json(specs, n, 0, out, err);
}

static lip_status add_children(lip_spec *spec, const lip_json *list, const lip_engine *engine, lip_err *err) {
  if (!list) return LIP_OK;
  if (lip_json_typeof(list) != LIP_JSON_ARRAY)
    return lip_fail(err, LIP_FORMAT, "%s: its children are %s, expected an array", spec->kind->desc.name,
                    lip_json_typename(list));
  for (size_t i = 0; i < lip_json_size(list); i++) {
    lip_spec *child;
    lip_status status = lip_spec_from_json(lip_json_at(list, i), engine, &child, err);
    if (status) return status;
    lip_err why;
    if (lip_spec_add(spec, child, &why)) {
      lip_spec_free(child);
      return blame_file(&why, err);
    }
  }
  return LIP_OK;
}

static lip_status find_kind(const lip_json *v, const char *name, const lip_engine *engine,
                            const lip_layer_kind **out, lip_err *err) {
  const char *origin;
  const lip_layer_kind *kind = *out = lip_layer_kind_find(name);
  if (kind) return LIP_OK;
  if (engine && engine->find_kind) *out = engine->find_kind(engine->find_arg, name);
  if (*out) return LIP_OK;
  if (!lip_json_text(lip_json_get(v, "origin"), &origin))
    return lip_fail(err, LIP_FORMAT, "unknown kind of layer '%.60s'", name);
  return lip_fail(
      err, LIP_FORMAT,
      "the layer '%.60s' is not defined in this program: it was written in Lua (%.120s), which has "
      "to be run or required before",
      name, origin);
}

/* The depth of the recursion is bounded by that of the JSON. */
lip_status lip_spec_from_json(const lip_json *v, const lip_engine *engine, lip_spec **out, lip_err *err) {
  const char *name;
  *out = NULL;
  if (!v || !lip_json_text(lip_json_get(v, "kind"), &name))
    return lip_fail(err, LIP_FORMAT, "a layer is %s without a kind, expected {\"kind\": ...}",
                    lip_json_typename(v));
  const lip_layer_kind *kind;
  void *conf;
  lip_status status = find_kind(v, name, engine, &kind, err);
  if (!status) status = lip_conf_from_json(&kind->desc, lip_json_get(v, "options"), &conf, err);
  if (status) return status;
  lip_spec *spec = lip_spec_new(kind);
  if (!spec) {
    lip_conf_free(&kind->desc, conf);
    return no_memory(err);
  }
  lip_conf_free(&kind->desc, spec->conf);
  spec->conf = conf;
  status = add_children(spec, lip_json_get(v, "children"), engine, err);
  if (status)
    lip_spec_free(spec);
  else
    *out = spec;
  return status;
}

void lip_specs_free(lip_spec **specs, size_t n) {
  for (size_t i = 0; specs && i < n; i++) lip_spec_free(specs[i]);
  lip_free(specs);
}

lip_status lip_specs_from_json(const lip_json *v, const lip_engine *engine, lip_spec ***out, size_t *n,
                               lip_err *err) {
  *out = NULL;
  *n = 0;
  if (!v || lip_json_typeof(v) != LIP_JSON_ARRAY)
    return lip_fail(err, LIP_FORMAT, "the layers are %s, expected an array", lip_json_typename(v));
  size_t count = lip_json_size(v);
  lip_spec **specs = lip_alloc(count, sizeof *specs);
  if (!specs) return no_memory(err);
  for (size_t i = 0; i < count; i++) {
    lip_err why;
    if (!lip_spec_from_json(lip_json_at(v, i), engine, &specs[i], &why)) continue;
    lip_specs_free(specs, i);
    return lip_fail(err, why.code, "layer %zu: %.300s", i + 1, why.msg);
  }
  *out = specs;
  *n = count;
  return LIP_OK;
}

/* ---- the settings of a net ---- */

static lip_json *shape_to_json(const lip_shape *s) {
  lip_json *list = lip_json_new_array();
  for (int i = 0; list && i < s->ndim; i++) {
    if (lip_json_append(list, lip_json_new_whole(s->dim[i]))) continue;
    lip_json_free(list);
    return NULL;
  }
  return list;
}

lip_status lip_net_conf_to_json(const lip_net_conf *c, lip_json **out, lip_err *err) {
  char norm[LIP_MAX_PATH * 5 + 8];
  lip_json *o = lip_json_new_object();
  *out = NULL;
  lip_path_text(&c->path, norm, sizeof norm);
  bool ok = o && lip_json_set(o, "input", shape_to_json(&c->input)) &&
            lip_json_set(o, "norm", lip_json_new_text(norm)) &&
            lip_json_set(o, "budget", lip_json_new_number(c->budget)) &&
            lip_json_set(o, "layer_budgets", reals_to_json(&c->layer_budgets)) &&
            lip_json_set(o, "projection", lip_json_new_text(lip_project_method_names[c->method])) &&
            lip_json_set(o, "project_every", lip_json_new_whole(c->project_every)) &&
            lip_json_set(o, "init", lip_json_new_text(lip_init_names[c->init])) &&
            lip_json_set(o, "seed", lip_json_new_counter(c->seed));
  if (!ok) {
    lip_json_free(o);
    return no_memory(err);
  }
  *out = o;
  return LIP_OK;
}

static bool shape_from_json(const lip_json *v, lip_shape *s) {
  size_t n = lip_json_size(v), size = 1;
  if (!v || lip_json_typeof(v) != LIP_JSON_ARRAY || n < 1 || n > 3) return false;
  s->ndim = (int)n;
  for (size_t i = 0; i < n; i++) {
    uint64_t d;
    if (!lip_json_whole(lip_json_at(v, i), &d) || d < 1 || d > SIZE_MAX) return false;
    s->dim[i] = (size_t)d;
    if (!lip_mul_fits(size, s->dim[i], &size) || size > (size_t)1 << 48) return false;
  }
  return true;
}

static bool word_from_json(const lip_json *v, const char *const *names, int *out) {
  const char *text;
  if (!lip_json_text(v, &text)) return false;
  for (int i = 0; names[i]; i++)
    if (strcmp(names[i], text) == 0) {
      *out = i;
      return true;
    }
  return false;
}

static lip_status bad_field(const char *name, lip_err *err) {
  return lip_fail(err, LIP_FORMAT, "the net's \"%s\" is missing or not acceptable", name);
}

lip_status lip_net_conf_from_json(const lip_json *v, lip_net_conf *c, lip_err *err) {
  lip_err why;
  const char *norm;
  int method, init;
  uint64_t every;
  *c = (lip_net_conf){0};
  if (!v || lip_json_typeof(v) != LIP_JSON_OBJECT)
    return lip_fail(err, LIP_FORMAT, "the net is %s, expected an object", lip_json_typename(v));
  if (!shape_from_json(lip_json_get(v, "input"), &c->input)) return bad_field("input", err);
  if (!lip_json_text(lip_json_get(v, "norm"), &norm)) return bad_field("norm", err);
  if (lip_path_parse(norm, &c->path, &why)) return blame_file(&why, err);
  if (!lip_json_number(lip_json_get(v, "budget"), &c->budget) || !(c->budget > 0))
    return bad_field("budget", err);
  if (!word_from_json(lip_json_get(v, "projection"), lip_project_method_names, &method))
    return bad_field("projection", err);
  if (!lip_json_whole(lip_json_get(v, "project_every"), &every)) return bad_field("project_every", err);
  if (!word_from_json(lip_json_get(v, "init"), lip_init_names, &init)) return bad_field("init", err);
  if (!lip_json_counter(lip_json_get(v, "seed"), &c->seed)) return bad_field("seed", err);
  c->method = (lip_project_method)method;
  c->init = (lip_init)init;
  c->project_every = (size_t)every;
  const lip_json *budgets = lip_json_get(v, "layer_budgets");
  if (!budgets || lip_json_typeof(budgets) != LIP_JSON_ARRAY) return bad_field("layer_budgets", err);
  return reals_from_json(budgets, "layer_budgets", &c->layer_budgets, err);
}
