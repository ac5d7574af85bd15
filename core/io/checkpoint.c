#include "core/io/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/io/json.h"
#include "core/io/params.h"
#include "core/io/safetensors.h"
#include "core/io/spec_json.h"
#include "core/tensor/gemm.h"

#define FORMAT "lipwb"
#define FORMAT_VERSION "1"

void lip_progress_free(lip_progress *p) {
  lip_free(p->text);
  *p = (lip_progress){0};
}

/* Index of the first element that is not finite, or n. */
static size_t first_bad(const void *data, bool wide, size_t n) {
  const float *f = data;
  const double *d = data;
  size_t i = 0;
  while (i < n && isfinite(wide ? d[i] : (double)f[i])) i++;
  return i;
}

static void slot_name(char *out, size_t size, size_t slot, const char *name) {
  snprintf(out, size, "optim.%zu.%s", slot, name);
}

/* ---- writing ---- */

enum { KEYS = 10, MAX_EXTRA = 24, PAIR_ARRAYS = 2 };
static const char *const pair_names[PAIR_ARRAYS] = {"pairs.0", "pairs.1"};

/* Everything a file will hold, gathered before it is opened. */
typedef struct draft {
  lip_named *named;
  size_t n_param, n_named;
  lip_array *array;
  size_t n_array;
  char (*slot_names)[LIP_SAFETENSORS_MAX_NAME + 1];
  lip_pair pair[KEYS + MAX_EXTRA];
  size_t n_pair;
  lip_str text[KEYS]; /* values that are made here */
  size_t n_text;
} draft;

static void draft_free(draft *d) {
  lip_free(d->named);
  lip_free(d->array);
  lip_free(d->slot_names);
  for (size_t i = 0; i < KEYS; i++) lip_str_free(&d->text[i]);
}

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "no memory to write a checkpoint");
}

static lip_status put_array(draft *d, lip_array a, lip_err *err) {
  size_t n = lip_array_size(&a), bad = first_bad(a.data, a.wide, n);
  d->array[d->n_array++] = a;
  if (bad == n) return LIP_OK;
  return lip_fail(err, LIP_NOT_FINITE, "%s[%zu] is NaN or infinite: not saved", a.name, bad);
}

static lip_status put_param(draft *d, const char *name, const lip_param *p, const float *data, lip_err *err) {
  lip_array a = {.name = name, .ndim = p->ndim, .data = data};
  memcpy(a.shape, p->shape, sizeof a.shape);
  return put_array(d, a, err);
}

static lip_status put_warm(draft *d, const lip_named *named, lip_err *err) {
  const lip_warm *w = &named->warm;
  lip_array a = {.name = named->name, .wide = w->wide, .ndim = 1, .shape = {w->n}, .data = w->data};
  return put_array(d, a, err);
}

/* Bounds that a loss takes: where their iterations stand. */
static lip_status put_pairs(draft *d, const lip_net *net, lip_err *err) {
  lip_status status = LIP_OK;
  lip_warm w;
  for (size_t i = 0; !status && net->pairs && lip_pairs_warm(net->pairs, i, &w); i++)
    status = put_array(
        d, (lip_array){.name = pair_names[i], .wide = w.wide, .ndim = 1, .shape = {w.n}, .data = w.data},
        err);
  return status;
}

static lip_status put_arrays(draft *d, const lip_net *net, const lip_optim *opt, lip_err *err) {
  size_t slots = opt && opt->state ? opt->kind->slots : 0, extra = 0;
  lip_status status = lip_params_list(net->root, &d->named, &d->n_param, &d->n_named, err);
  if (status) return status;
  if (slots > 0 && opt->n != net->n_params)
    return lip_fail(err, LIP_STATE, "%s: this optimiser holds the state of another net",
                    opt->kind->desc.name);
  if (!lip_mul_fits(d->n_param, slots, &extra)) return no_memory(err);
  d->array = lip_alloc(d->n_named + extra + PAIR_ARRAYS, sizeof *d->array);
  d->slot_names = lip_alloc(extra, sizeof *d->slot_names);
  if (!d->array || !d->slot_names) return no_memory(err);
  for (size_t i = 0; !status && i < d->n_param; i++)
    status = put_param(d, d->named[i].name, d->named[i].param, d->named[i].param->value, err);
  for (size_t i = d->n_param; opt && !status && i < d->n_named; i++) status = put_warm(d, &d->named[i], err);
  if (opt && !status) status = put_pairs(d, net, err);
  for (size_t k = 0; k < slots; k++)
    for (size_t i = 0; !status && i < d->n_param; i++) {
      char *name = d->slot_names[k * d->n_param + i];
      slot_name(name, sizeof *d->slot_names, k, d->named[i].name);
      status =
          put_param(d, name, d->named[i].param, opt->state + k * opt->n + d->named[i].param->offset, err);
    }
  return status;
}

static void put(draft *d, const char *key, const char *value) {
  d->pair[d->n_pair++] = (lip_pair){key, value};
}

/* Takes the value. */
static lip_status put_json(draft *d, const char *key, lip_json *v, lip_err *err) {
  lip_str *text = &d->text[d->n_text++];
  bool ok = v && lip_json_print(v, text);
  lip_json_free(v);
  if (!ok) return no_memory(err);
  put(d, key, text->text);
  return LIP_OK;
}

static lip_status put_net(draft *d, const lip_net *net, lip_err *err) {
  lip_json *v;
  lip_status status = lip_net_conf_to_json(&net->conf, &v, err);
  if (!status) status = put_json(d, "net", v, err);
  if (!status) status = lip_specs_to_json(net->spec->child, net->spec->n_child, &v, err);
  if (!status) status = put_json(d, "layers", v, err);
  if (status) return status;
  lip_str *step = &d->text[d->n_text++];
  lip_str_printf(step, "%llu", (unsigned long long)net->step);
  if (step->failed) return no_memory(err);
  put(d, "step", step->text);
  return LIP_OK;
}

static lip_status put_optim(draft *d, const lip_optim *opt, lip_err *err) {
  lip_json *conf, *o;
  if (!opt) return LIP_OK;
  lip_status status = lip_conf_to_json(&opt->kind->desc, opt->conf, &conf, err);
  if (status) return status;
  o = lip_json_new_object();
  if (!o) {
    lip_json_free(conf);
    return no_memory(err);
  }
  bool ok = lip_json_set(o, "options", conf) &&
            lip_json_set(o, "kind", lip_json_new_text(opt->kind->desc.name)) &&
            lip_json_set(o, "lr", lip_json_new_number(opt->lr)) &&
            lip_json_set(o, "clip_norm", lip_json_new_number(opt->clip_norm)) &&
            lip_json_set(o, "updates", lip_json_new_counter(opt->t)) &&
            lip_json_set(o, "state", lip_json_new_bool(opt->state != NULL));
  if (ok) return put_json(d, "optim", o, err);
  lip_json_free(o);
  return no_memory(err);
}

static lip_status put_pair_conf(draft *d, const lip_net *net, const lip_optim *opt, lip_err *err) {
  if (!opt || !net->pairs) return LIP_OK;
  const lip_pair_conf *conf = lip_pairs_conf(net->pairs);
  lip_json *o = lip_json_new_object();
  bool ok = o && lip_json_set(o, "method", lip_json_new_text(lip_pair_method_names[conf->method])) &&
            lip_json_set(o, "refresh", lip_json_new_whole(conf->refresh));
  if (ok) return put_json(d, "pairs", o, err);
  lip_json_free(o);
  return no_memory(err);
}

static lip_status put_progress(draft *d, const lip_progress *p, lip_err *err) {
  if (!p || !p->present) return LIP_OK;
  lip_json *o = lip_json_new_object();
  bool ok = o && lip_json_set(o, "step", lip_json_new_counter(p->step)) &&
            lip_json_set(o, "epoch", lip_json_new_counter(p->epoch)) &&
            lip_json_set(o, "next", lip_json_new_counter(p->next)) &&
            lip_json_set(o, "seed", lip_json_new_counter(p->seed)) &&
            (!p->training || lip_json_set(o, "training", lip_json_new_bool(true)));
  if (!ok) {
    lip_json_free(o);
    return no_memory(err);
  }
  if (p->text) put(d, "progress_text", p->text);
  return put_json(d, "progress", o, err);
}

static lip_status put_extra(draft *d, const char *const *extra, lip_err *err) {
  for (size_t i = 0; extra && extra[2 * i]; i++) {
    if (i == MAX_EXTRA) return lip_fail(err, LIP_ARGUMENT, "more than %d pairs of metadata", MAX_EXTRA);
    put(d, extra[2 * i], extra[2 * i + 1]);
  }
  return LIP_OK;
}

lip_status lip_checkpoint_save(const char *path, const lip_net *net, const lip_optim *opt,
                               const lip_progress *progress, const char *const *extra, lip_err *err) {
  draft d = {0};
  lip_status status = put_arrays(&d, net, opt, err);
  put(&d, "format", FORMAT);
  put(&d, "format_version", FORMAT_VERSION);
  put(&d, "kernels", lip_gemm_backend());
  if (!status) status = put_net(&d, net, err);
  if (!status) status = put_optim(&d, opt, err);
  if (!status) status = put_pair_conf(&d, net, opt, err);
  if (!status) status = put_progress(&d, progress, err);
  if (!status) status = put_extra(&d, extra, err);
  if (!status) status = lip_safetensors_save(path, d.array, d.n_array, d.pair, d.n_pair, err);
  draft_free(&d);
  return status;
}

/* ---- reading ---- */

/* What a file of this size may make us allocate: every number of it in up to 64 bytes (weights, gradients, double
 * copies), and the working buffers of a net, which its size says nothing about. */
static size_t warranted(const lip_safetensors *f) {
  const uint64_t buffers = (uint64_t)1 << 30, each = 64;
  uint64_t bytes = lip_safetensors_bytes(f);
  return bytes < (SIZE_MAX / 2 - buffers) / each ? (size_t)(bytes * each + buffers) : SIZE_MAX / 2;
}

/* Everything read, owned until it is handed over. */
typedef struct reading {
  const char *path;
  lip_safetensors *file;
  lip_net_conf conf;
  lip_spec **specs;
  size_t n_specs;
  lip_net *net;
  lip_named *named;
  size_t n_param, n_named;
  lip_optim *opt;
  size_t used; /* arrays of the file that have a place in the net or optimiser */
  lip_progress progress;
} reading;

static void reading_free(reading *r) {
  lip_safetensors_close(r->file);
  lip_free(r->conf.layer_budgets.v);
  lip_specs_free(r->specs, r->n_specs);
  lip_net_free(r->net);
  lip_free(r->named);
  lip_optim_free(r->opt);
  lip_progress_free(&r->progress);
}

/* Puts the path before a message and blames the file for whatever its contents made others refuse. */
static lip_status blame(const reading *r, const lip_err *why, lip_err *err) {
  bool ours = why->code == LIP_MEMORY || why->code == LIP_IO;
  return lip_fail(err, ours ? why->code : LIP_FORMAT, "%.150s: %.240s", r->path, why->msg);
}

/* The JSON of a metadata key, which must be there. */
static lip_status meta_json(const reading *r, const char *key, lip_json **out, lip_err *err) {
  char what[260];
  const char *text = lip_safetensors_meta(r->file, key);
  *out = NULL;
  if (!text) return lip_fail(err, LIP_FORMAT, "%.200s: metadata \"%s\" is missing", r->path, key);
  snprintf(what, sizeof what, "%.200s: metadata \"%s\"", r->path, key);
  return lip_json_parse(text, strlen(text), what, out, err);
}

static lip_status check_version(const reading *r, lip_err *err) {
  const char *format = lip_safetensors_meta(r->file, "format");
  const char *version = lip_safetensors_meta(r->file, "format_version");
  if (!format || strcmp(format, FORMAT) != 0)
    return lip_fail(err, LIP_FORMAT, "%.200s: not a lipwb checkpoint (its format is \"%.40s\")", r->path,
                    format ? format : "");
  if (!version || strcmp(version, FORMAT_VERSION) != 0)
    return lip_fail(err, LIP_FORMAT, "%.200s: checkpoint of version \"%.20s\", this program reads %s",
                    r->path, version ? version : "", FORMAT_VERSION);
  return LIP_OK;
}

static lip_status read_spec(reading *r, const lip_engine *engine, lip_err *err) {
  lip_json *v;
  lip_err why;
  lip_status status = meta_json(r, "net", &v, err);
  if (status) return status;
  status = lip_net_conf_from_json(v, &r->conf, &why);
  lip_json_free(v);
  if (status) return blame(r, &why, err);
  status = meta_json(r, "layers", &v, err);
  if (status) return status;
  status = lip_specs_from_json(v, engine, &r->specs, &r->n_specs, &why);
  lip_json_free(v);
  return status ? blame(r, &why, err) : LIP_OK;
}

static lip_status bad_array(const reading *r, const char *name, const char *what, lip_err *err) {
  return lip_fail(err, LIP_FORMAT, "%.150s: array \"%.150s\" %s", r->path, name, what);
}

/* The array of that name with the shape of p, or a refusal. */
static lip_status match(const reading *r, const char *name, const lip_param *p, const lip_array **out,
                        lip_err *err) {
  const lip_array *a = *out = lip_safetensors_find(r->file, name);
  if (!a) return bad_array(r, name, "is missing", err);
  bool same = !a->wide && a->ndim == p->ndim;
  for (int i = 0; same && i < p->ndim; i++) same = a->shape[i] == p->shape[i];
  return same ? LIP_OK : bad_array(r, name, "has another shape or type than its layer", err);
}

/* Plans the layers without laying out a net, so that the arrays a spec asks for are known before they are allocated. */
static lip_status check_plan(const reading *r, lip_err *err) {
  lip_err why;
  lip_named *named = NULL;
  size_t n = 0, all = 0;
  const lip_array *a;
  lip_plan plan = {.method = r->conf.method, .init = r->conf.init, .seed = r->conf.seed};
  lip_p first = lip_path_at(&r->conf.path, 0);
  lip_layer root = {.kind = lip_layer_kind_find("chain"),
                    .plan = &plan,
                    .in = r->conf.input,
                    .pq = {first, first},
                    .budget = INFINITY};
  root.n_in = lip_shape_size(&root.in);
  lip_status status = lip_chain_plan(&root, r->specs, r->n_specs, &r->conf.path, &plan, &why);
  if (!status) status = lip_params_list(&root, &named, &n, &all, &why);
  if (status) status = blame(r, &why, err);
  for (size_t i = 0; !status && i < n; i++) status = match(r, named[i].name, named[i].param, &a, err);
  lip_free(named);
  for (size_t i = 0; i < root.n_child; i++) lip_layer_free(root.child[i]);
  lip_free(root.child);
  return status;
}

static lip_status build(reading *r, const lip_engine *engine, lip_err *err) {
  lip_err why;
  lip_net_conf conf = r->conf;
  conf.init = LIP_INIT_LECUN; /* any: the weights are replaced, and this needs no factorisation */
  if (lip_net_new(&conf, r->specs, r->n_specs, engine, &r->net, &why)) return blame(r, &why, err);
  r->net->conf.init = r->net->plan.init = r->conf.init;
  lip_status status = lip_params_list(r->net->root, &r->named, &r->n_param, &r->n_named, &why);
  return status ? blame(r, &why, err) : LIP_OK;
}

static lip_status take_in(reading *r, const lip_array *a, void *data, lip_err *err) {
  lip_status status = lip_safetensors_read(r->file, a, data, err);
  if (status) return status;
  r->used++;
  size_t n = lip_array_size(a), bad = first_bad(data, a->wide, n);
  if (bad == n) return LIP_OK;
  char what[64];
  snprintf(what, sizeof what, "is NaN or infinite at element %zu", bad);
  return bad_array(r, a->name, what, err);
}

static lip_status fill(reading *r, const char *name, const lip_param *p, float *data, lip_err *err) {
  const lip_array *a;
  lip_status status = match(r, name, p, &a, err);
  return status ? status : take_in(r, a, data, err);
}

/* Warm starts are there when the file is for resuming; without one the projection begins afresh. */
static lip_status read_warms(reading *r, lip_err *err) {
  lip_status status = LIP_OK;
  for (size_t i = r->n_param; !status && i < r->n_named; i++) {
    const lip_warm *w = &r->named[i].warm;
    const lip_array *a = lip_safetensors_find(r->file, r->named[i].name);
    if (!a) continue;
    if (a->wide != w->wide || a->ndim != 1 || a->shape[0] != w->n)
      return bad_array(r, a->name, "has another shape or type than its layer", err);
    status = take_in(r, a, w->data, err);
  }
  return status;
}

static bool pair_conf_of(const lip_json *v, lip_pair_conf *conf) {
  const char *name;
  uint64_t refresh;
  if (!lip_json_text(lip_json_get(v, "method"), &name)) return false;
  if (!lip_json_whole(lip_json_get(v, "refresh"), &refresh)) return false;
  conf->method = 0;
  conf->refresh = (size_t)refresh;
  while (conf->method < LIP_PAIR_METHODS && strcmp(lip_pair_method_names[conf->method], name) != 0)
    conf->method++;
  return conf->method < LIP_PAIR_METHODS;
}

static lip_status read_pairs(reading *r, lip_err *err) {
  lip_json *v;
  lip_err why;
  lip_warm w;
  lip_pair_conf conf = {0};
  if (!lip_safetensors_meta(r->file, "pairs")) return LIP_OK;
  lip_status status = meta_json(r, "pairs", &v, err);
  if (status) return status;
  bool known = pair_conf_of(v, &conf);
  lip_json_free(v);
  if (!known) return lip_fail(err, LIP_FORMAT, "%.200s: metadata \"pairs\" names no method", r->path);
  if (lip_net_want_pairs(r->net, &conf, &why)) return blame(r, &why, err);
  for (size_t i = 0; !status && lip_pairs_warm(r->net->pairs, i, &w); i++) {
    const lip_array *a = lip_safetensors_find(r->file, pair_names[i]);
    if (!a) return lip_fail(err, LIP_FORMAT, "%.200s: array %s is missing", r->path, pair_names[i]);
    if (a->wide != w.wide || a->ndim != 1 || a->shape[0] != w.n)
      return bad_array(r, a->name, "has another shape or type than the net's bounds", err);
    status = take_in(r, a, w.data, err);
  }
  return status;
}

static lip_status read_weights(reading *r, lip_err *err) {
  uint64_t step = 0;
  lip_json *text = NULL;
  lip_status status = LIP_OK;
  for (size_t i = 0; !status && i < r->n_param; i++)
    status = fill(r, r->named[i].name, r->named[i].param, r->named[i].param->value, err);
  if (!status) lip_net_follow_power(r->net);
  if (!status) status = lip_net_recall(r->net, err);
  if (!status) status = read_warms(r, err);
  if (!status) status = read_pairs(r, err);
  if (status) return status;
  const char *digits = lip_safetensors_meta(r->file, "step");
  text = lip_json_new_text(digits ? digits : "");
  if (!text) return lip_fail(err, LIP_MEMORY, "%.200s: no memory", r->path);
  bool ok = lip_json_counter(text, &step);
  lip_json_free(text);
  if (!ok) return lip_fail(err, LIP_FORMAT, "%.200s: metadata \"step\" is not a whole number", r->path);
  r->net->step = step;
  return LIP_OK;
}

/* The optimiser itself, without state; *has_state says whether its arrays are in the file. */
static lip_status make_optim(reading *r, const lip_json *v, bool *has_state, lip_err *err) {
  const char *name;
  void *conf;
  double lr, clip;
  uint64_t t;
  if (!lip_json_text(lip_json_get(v, "kind"), &name) || !lip_json_number(lip_json_get(v, "lr"), &lr) ||
      !lip_json_number(lip_json_get(v, "clip_norm"), &clip) ||
      !lip_json_counter(lip_json_get(v, "updates"), &t) ||
      !lip_json_bool(lip_json_get(v, "state"), has_state))
    return lip_fail(err, LIP_FORMAT, "the optimiser's description is not complete");
  if (!isfinite(lr) || !(clip > 0))
    return lip_fail(err, LIP_FORMAT, "the optimiser's rate or clip_norm is out of range");
  const lip_optim_kind *kind = lip_optim_kind_find(name);
  if (!kind) return lip_fail(err, LIP_FORMAT, "unknown optimiser '%.60s'", name);
  lip_status status = lip_conf_from_json(&kind->desc, lip_json_get(v, "options"), &conf, err);
  if (status) return status;
  status = lip_optim_new(kind, conf, &r->opt, err);
  lip_conf_free(&kind->desc, conf);
  if (status) return status;
  r->opt->lr = lr;
  r->opt->clip_norm = clip;
  r->opt->t = t;
  return *has_state ? lip_optim_reserve(r->opt, r->net->n_params, err) : LIP_OK;
}

static lip_status read_optim(reading *r, lip_err *err) {
  lip_json *v;
  lip_err why;
  bool has_state = false;
  if (!lip_safetensors_meta(r->file, "optim")) return LIP_OK;
  lip_status status = meta_json(r, "optim", &v, err);
  if (status) return status;
  status = make_optim(r, v, &has_state, &why);
  lip_json_free(v);
  if (status) return blame(r, &why, err);
  for (size_t k = 0; has_state && k < r->opt->kind->slots; k++)
    for (size_t i = 0; !status && i < r->n_param; i++) {
      char name[LIP_SAFETENSORS_MAX_NAME + 1];
      const lip_param *p = r->named[i].param;
      slot_name(name, sizeof name, k, r->named[i].name);
      status = fill(r, name, p, r->opt->state + k * r->opt->n + p->offset, err);
    }
  return status;
}

static lip_status read_progress(reading *r, lip_err *err) {
  lip_json *v;
  lip_progress *p = &r->progress;
  if (!lip_safetensors_meta(r->file, "progress")) return LIP_OK;
  lip_status status = meta_json(r, "progress", &v, err);
  if (status) return status;
  p->present = lip_json_counter(lip_json_get(v, "step"), &p->step) &&
               lip_json_counter(lip_json_get(v, "epoch"), &p->epoch) &&
               lip_json_counter(lip_json_get(v, "next"), &p->next) &&
               lip_json_counter(lip_json_get(v, "seed"), &p->seed);
  const lip_json *training = lip_json_get(v, "training"); /* not in every file */
  p->present = p->present && (!training || lip_json_bool(training, &p->training));
  lip_json_free(v);
  if (!p->present) return lip_fail(err, LIP_FORMAT, "%.200s: its progress is not complete", r->path);
  const char *text = lip_safetensors_meta(r->file, "progress_text");
  if (!text) return LIP_OK;
  p->text = lip_strdup(text);
  return p->text ? LIP_OK : lip_fail(err, LIP_MEMORY, "%.200s: no memory for its progress", r->path);
}

static lip_status read_all(reading *r, const lip_engine *engine, lip_err *err) {
  lip_status status = check_version(r, err);
  if (!status) status = read_spec(r, engine, err);
  if (!status) status = check_plan(r, err);
  if (!status) status = build(r, engine, err);
  if (!status) status = read_weights(r, err);
  if (!status) status = read_optim(r, err);
  if (!status) status = read_progress(r, err);
  if (!status && r->used != lip_safetensors_count(r->file))
    return lip_fail(err, LIP_FORMAT, "%.200s: %zu of its %zu arrays belong to no layer", r->path,
                    lip_safetensors_count(r->file) - r->used, lip_safetensors_count(r->file));
  return status;
}

static lip_status load(const char *path, const lip_engine *engine, bool project, lip_net **net,
                       lip_optim **opt, lip_progress *progress, lip_err *err) {
  reading r = {.path = path};
  *net = NULL;
  if (opt) *opt = NULL;
  if (progress) *progress = (lip_progress){0};
  lip_status status = lip_safetensors_open(path, &r.file, err);
  if (!status) {
    size_t before = lip_mem_limit(warranted(r.file));
    status = read_all(&r, engine, err);
    lip_mem_limit(before);
  }
  if (!status && project && r.progress.training) status = lip_net_project_exact(r.net, err);
  if (!status) {
    *net = r.net;
    r.net = NULL;
    if (opt) {
      *opt = r.opt;
      r.opt = NULL;
    }
    if (progress) {
      *progress = r.progress;
      r.progress = (lip_progress){0};
    }
  }
  reading_free(&r);
  return status;
}

lip_status lip_checkpoint_load(const char *path, const lip_engine *engine, lip_net **net, lip_optim **opt,
                               lip_progress *progress, lip_err *err) {
  return load(path, engine, true, net, opt, progress, err);
}

lip_status lip_checkpoint_resume(const char *path, const lip_engine *engine, lip_net **net, lip_optim **opt,
                                 lip_progress *progress, lip_err *err) {
  return load(path, engine, false, net, opt, progress, err);
}
