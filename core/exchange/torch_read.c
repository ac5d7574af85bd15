#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/torch.h"

/* ---- the two lists ---- */

static const char *array_name(const lip_torch *t, size_t i) {
  return lip_tensors_at(t->file, i)->name;
}

static const char *role_of(const char *name) {
  const char *point = strrchr(name, '.');
  return point ? point + 1 : name;
}

static bool ignored(const char *name) {
  return strcmp(role_of(name), "num_batches_tracked") == 0;
}

/* Owners of parameters, in the order of lip_params_list. */
static void list_owners(const lip_layer *l, const lip_layer **owner, size_t *n) {
  for (size_t i = 0; i < l->n_param; i++) owner[(*n)++] = l;
  for (size_t i = 0; i < l->n_child; i++) list_owners(l->child[i], owner, n);
}

lip_status lip_torch_init(lip_torch *t, const lip_tensors *file, const char *path, lip_net *net,
                          lip_err *err) {
  size_t all, n = 0;
  *t = (lip_torch){.file = file, .path = path, .net = net, .n_array = lip_tensors_count(file)};
  lip_status status = lip_params_list(net->root, &t->named, &t->n_param, &all, err);
  if (status) return status;
  t->owner = lip_alloc(t->n_param, sizeof *t->owner);
  t->to = lip_alloc(t->n_array, sizeof *t->to);
  t->from = lip_alloc(t->n_param, sizeof *t->from);
  t->fits = lip_alloc(t->n_array, sizeof *t->fits);
  t->rounded = lip_alloc(t->n_array, sizeof *t->rounded);
  if (!t->owner || !t->to || !t->from || !t->fits || !t->rounded)
    return lip_fail(err, LIP_MEMORY, "no memory for the names of %zu arrays", t->n_array);
  list_owners(net->root, t->owner, &n);
  for (size_t i = 0; i < t->n_array; i++)
    t->to[i] = ignored(array_name(t, i)) ? LIP_TORCH_IGNORED : LIP_TORCH_LEFT;
  for (size_t k = 0; k < t->n_param; k++) t->from[k] = LIP_TORCH_LEFT;
  return LIP_OK;
}

void lip_torch_free(lip_torch *t) {
  lip_free(t->named);
  lip_free((void *)t->owner);
  lip_free(t->to);
  lip_free(t->from);
  lip_free(t->fits);
  lip_free(t->rounded);
  *t = (lip_torch){0};
}

lip_status lip_torch_pair(lip_torch *t, size_t i, size_t k, lip_err *err) {
  if (t->from[k] != LIP_TORCH_LEFT)
    return lip_fail(err, LIP_ARGUMENT, "both \"%.100s\" and \"%.100s\" go to %.100s",
                    array_name(t, t->from[k]), array_name(t, i), t->named[k].name);
  const lip_foreign *a = lip_tensors_at(t->file, i);
  const lip_param *p = t->named[k].param;
  bool same = a->ndim == p->ndim;
  for (int d = 0; same && d < p->ndim; d++) same = a->shape[d] == p->shape[d];
  t->to[i] = k;
  t->from[k] = i;
  t->fits[i] = same;
  return LIP_OK;
}

/* ---- modules ---- */

/* What stands before the last point, and what behind it. */
static size_t prefix_length(const char *name) {
  const char *point = strrchr(name, '.');
  return point ? (size_t)(point - name) : 0;
}

/* Whether PyTorch's `role` is what the net calls `own`. */
static bool same_role(const char *role, const char *own) {
  static const char *const other[][2] = {
      {"weight", "gamma"}, {"bias", "beta"}, {"running_var", "running_variance"}};
  if (strcmp(role, own) == 0) return true;
  for (size_t i = 0; i < sizeof other / sizeof *other; i++)
    if (strcmp(role, other[i][0]) == 0 && strcmp(own, other[i][1]) == 0) return true;
  return false;
}

size_t lip_torch_param(const lip_torch *t, const char *name) {
  const size_t n = prefix_length(name);
  for (size_t k = 0; k < t->n_param; k++) {
    const char *own = t->named[k].name;
    if (strcmp(own, name) == 0) return k;
    if (prefix_length(own) == n && strncmp(own, name, n) == 0 && same_role(role_of(name), role_of(own)))
      return k;
  }
  return LIP_TORCH_LEFT;
}

typedef struct entry {
  const char *name;
  size_t len; /* of its prefix */
  size_t i;   /* of the array */
} entry;

/* Arrays first .. first + n - 1 of the entries. */
typedef struct module {
  const entry *first;
  size_t n, at; /* the smallest number among its arrays */
} module;

static int by_prefix(const void *a, const void *b) {
  const entry *x = a, *y = b;
  const size_t n = x->len < y->len ? x->len : y->len;
  const int d = memcmp(x->name, y->name, n);
  if (d != 0) return d;
  if (x->len != y->len) return x->len < y->len ? -1 : 1;
  return strcmp(x->name + x->len, y->name + y->len);
}

static int by_place(const void *a, const void *b) {
  const module *x = a, *y = b;
  return x->at < y->at ? -1 : x->at > y->at;
}

/* Prefixes have no end of their own: names differ before it, or one prefix is the beginning of the other. */
static int by_number(const void *a, const void *b) {
  const module *x = a, *y = b;
  return lip_name_order(x->first->name, y->first->name, NULL);
}

typedef struct modules {
  entry *entry;
  module *list;
  size_t n;
} modules;

static lip_status find_modules(lip_torch *t, modules *m, lip_err *err) {
  size_t n = 0;
  m->entry = lip_alloc(t->n_array, sizeof *m->entry);
  m->list = lip_alloc(t->n_array, sizeof *m->list);
  if (!m->entry || !m->list) return lip_fail(err, LIP_MEMORY, "no memory for %zu names", t->n_array);
  for (size_t i = 0; i < t->n_array; i++) {
    const char *name = array_name(t, i);
    if (!ignored(name)) m->entry[n++] = (entry){name, prefix_length(name), i};
  }
  qsort(m->entry, n, sizeof *m->entry, by_prefix);
  for (size_t i = 0; i < n; i++) {
    const entry *e = &m->entry[i], *before = i > 0 ? e - 1 : NULL;
    if (!before || before->len != e->len || memcmp(before->name, e->name, e->len) != 0)
      m->list[m->n++] = (module){.first = e, .at = e->i};
    module *last = &m->list[m->n - 1];
    last->n++;
    if (e->i < last->at) last->at = e->i;
  }
  qsort(m->list, m->n, sizeof *m->list, lip_tensors_is_archive(t->file) ? by_place : by_number);
  return LIP_OK;
}

/* The same roles in the same shapes. */
static bool alike(const lip_torch *t, const module *x, const module *y) {
  if (x->n != y->n) return false;
  for (size_t i = 0; i < x->n; i++) {
    const lip_foreign *a = lip_tensors_at(t->file, x->first[i].i),
                      *b = lip_tensors_at(t->file, y->first[i].i);
    if (strcmp(role_of(a->name), role_of(b->name)) != 0 || a->ndim != b->ndim) return false;
    for (int d = 0; d < a->ndim; d++)
      if (a->shape[d] != b->shape[d]) return false;
  }
  return true;
}

/* Whether shapes, numbers in the names, or an archive's own order tell the first n modules apart. */
static lip_status check_order(const lip_torch *t, const modules *m, size_t n, lip_err *err) {
  const bool archive = lip_tensors_is_archive(t->file);
  for (size_t i = 0; i < n; i++)
    for (size_t k = i + 1; k < m->n; k++) {
      bool numbers;
      const module *x = &m->list[i], *y = &m->list[k];
      if (!alike(t, x, y)) continue;
      const int d = lip_name_order(x->first->name, y->first->name, &numbers);
      if (!archive && !numbers)
        return lip_fail(
            err, LIP_UNSUPPORTED,
            "%.100s: \"%.80s\" and \"%.80s\" have the same shape, and neither the file nor a number in "
            "their names says which comes first: say it with map",
            t->path, x->first->name, y->first->name);
      if (archive && numbers && d > 0)
        return lip_fail(
            err, LIP_UNSUPPORTED,
            "%.100s: \"%.80s\" and \"%.80s\" have the same shape, and the file has them in another order "
            "than the numbers in their names: say with map where they go",
            t->path, x->first->name, y->first->name);
      if (!archive) break; /* told from the next one like it, it is told from all */
    }
  return LIP_OK;
}

static bool same_layer(const lip_torch *t, size_t k, size_t first) {
  return t->owner[k] == t->owner[first];
}

static lip_status pair_modules(lip_torch *t, const modules *m, lip_err *err) {
  size_t at = 0;
  for (size_t k = 0, next; k < t->n_param && at < m->n; k = next, at++) {
    next = k;
    while (next < t->n_param && same_layer(t, next, k)) next++;
    for (size_t i = 0; i < m->list[at].n; i++)
      for (size_t p = k; p < next; p++) {
        const entry *e = &m->list[at].first[i];
        if (!same_role(role_of(e->name), t->named[p].param->name) || t->from[p] != LIP_TORCH_LEFT) continue;
        lip_status status = lip_torch_pair(t, e->i, p, err);
        if (status) return status;
        break;
      }
  }
  return check_order(t, m, at, err);
}

/* ---- the net's own names ---- */

typedef struct own_name {
  const char *name;
  size_t i;
} own_name;

static int by_text(const void *a, const void *b) {
  const own_name *x = a, *y = b;
  return strcmp(x->name, y->name);
}

/* Pairs by equal names if every parameter has one; *done. */
static lip_status pair_own(lip_torch *t, bool *done, lip_err *err) {
  own_name *list = lip_alloc(t->n_array, sizeof *list);
  size_t found = 0;
  *done = false;
  if (!list) return lip_fail(err, LIP_MEMORY, "no memory for %zu names", t->n_array);
  for (size_t i = 0; i < t->n_array; i++) list[i] = (own_name){array_name(t, i), i};
  qsort(list, t->n_array, sizeof *list, by_text);
  for (size_t k = 0; k < t->n_param; k++) {
    const own_name key = {t->named[k].name, 0}, *hit = bsearch(&key, list, t->n_array, sizeof *list, by_text);
    if (!hit) break;
    t->from[k] = hit->i;
    found++;
  }
  *done = found == t->n_param && found > 0;
  lip_status status = LIP_OK;
  for (size_t k = 0; k < found; k++) {
    const size_t i = t->from[k];
    t->from[k] = LIP_TORCH_LEFT;
    if (*done && !status) status = lip_torch_pair(t, i, k, err);
  }
  lip_free(list);
  return status;
}

lip_status lip_torch_pair_in_order(lip_torch *t, lip_err *err) {
  bool done;
  lip_status status = pair_own(t, &done, err);
  if (status || done) return status;
  modules m = {0};
  status = find_modules(t, &m, err);
  if (!status) status = pair_modules(t, &m, err);
  lip_free(m.entry);
  lip_free(m.list);
  return status;
}

/* ---- what is amiss ---- */

enum { SHOWN = 6 };

/* A list of at most SHOWN things. */
static void begin_item(lip_str *s, size_t n, const char *title) {
  if (n == 0)
    lip_str_printf(s, "%s%s ", s->len > 0 ? "; " : "", title);
  else if (n < SHOWN)
    lip_str_puts(s, ", ");
}

static void end_list(lip_str *s, size_t n) {
  if (n > SHOWN) lip_str_printf(s, " and %zu more", n - SHOWN);
}

static void put_shapes(const lip_torch *t, lip_str *s, size_t i) {
  char have[80], want[80];
  const lip_foreign *a = lip_tensors_at(t->file, i);
  const lip_param *p = t->named[t->to[i]].param;
  lip_str_printf(s, "\"%.100s\" is %s, but %.100s is %s", a->name,
                 lip_shape_text(a->ndim, a->shape, have, sizeof have), t->named[t->to[i]].name,
                 lip_shape_text(p->ndim, p->shape, want, sizeof want));
}

static bool parametrised(const char *name) {
  const char *role = role_of(name);
  return strstr(name, "parametrizations.") || strcmp(role, "weight_g") == 0 ||
         strcmp(role, "weight_v") == 0 || strcmp(role, "weight_orig") == 0;
}

bool lip_torch_whole(const lip_torch *t, lip_str *why) {
  size_t differ = 0, missing = 0, left = 0, parts = 0, computed = 0;
  for (size_t i = 0; i < t->n_array; i++) {
    if (t->to[i] >= LIP_TORCH_IGNORED || t->fits[i]) continue;
    begin_item(why, differ, "shapes differ:");
    if (differ++ < SHOWN) put_shapes(t, why, i);
  }
  end_list(why, differ);
  for (size_t k = 0; k < t->n_param; k++) {
    if (t->from[k] != LIP_TORCH_LEFT) continue;
    computed += t->owner[k]->computed;
    begin_item(why, missing, "no array for");
    if (missing++ < SHOWN) lip_str_printf(why, "%.100s", t->named[k].name);
  }
  end_list(why, missing);
  if (computed > 0)
    lip_str_puts(why, " (weights that are computed from trained numbers are not loaded: describe their "
                      "layers without them)");
  for (size_t i = 0; i < t->n_array; i++) {
    if (t->to[i] != LIP_TORCH_LEFT) continue;
    begin_item(why, left, "left over:");
    if (left++ < SHOWN) lip_str_printf(why, "\"%.100s\"", array_name(t, i));
    parts += parametrised(array_name(t, i));
  }
  end_list(why, left);
  if (parts > 0)
    lip_str_puts(
        why,
        "; these are parts of parametrised weights, whose values in effect are not in the file: before it is "
        "saved call torch.nn.utils.parametrize.remove_parametrizations(module, \"weight\") for each of "
        "those modules (remove_weight_norm or remove_spectral_norm for the older forms)");
  return differ + missing + left == 0;
}

/* ---- numbers ---- */

static lip_status check_numbers(const lip_torch *t, size_t i, const float *value, lip_err *err) {
  const lip_param *p = t->named[t->to[i]].param;
  const size_t n = lip_param_size(p);
  const bool variance = strcmp(p->name, "running_variance") == 0;
  for (size_t k = 0; k < n; k++) {
    if (!isfinite(value[k]))
      return lip_fail(err, LIP_NOT_FINITE,
                      "%.150s: array \"%.100s\" is NaN, infinite or beyond float32 at element %zu", t->path,
                      array_name(t, i), k);
    if (variance && value[k] < 0)
      return lip_fail(err, LIP_FORMAT, "%.150s: array \"%.100s\" has a negative variance at element %zu",
                      t->path, array_name(t, i), k);
  }
  return LIP_OK;
}

static lip_status take(lip_torch *t, float *block, lip_err *err) {
  lip_status status = LIP_OK;
  for (size_t i = 0; !status && i < t->n_array; i++) {
    if (!t->fits[i]) continue;
    const size_t k = t->to[i];
    const lip_layer *l = t->owner[k];
    if (l->computed && strcmp(t->named[k].param->name, "bias") != 0)
      return lip_fail(
          err, LIP_UNSUPPORTED,
          "%.100s: %.100s is computed from trained numbers, which the file does not have: describe the layer "
          "without such a weight (%s takes loaded ones as they are)",
          t->path, t->named[k].name, l->kind->desc.name);
    float *to = block + t->named[k].param->offset;
    status = lip_tensors_read(t->file, i, to, &t->rounded[i], err);
    if (!status) status = check_numbers(t, i, to, err);
  }
  return status;
}

/* The net's numbers become those of `block`, and what follows from them. */
static lip_status put(lip_net *net, const float *block, lip_err *err) {
  memcpy(net->weights, block, net->n_params * sizeof *block);
  lip_net_follow_power(net);
  lip_status status = lip_net_recall(net, err);
  lip_net_touch(net);
  return status;
}

lip_status lip_torch_fill(lip_torch *t, lip_err *err) {
  lip_net *net = t->net;
  const size_t n = net->n_params;
  float *fresh = lip_alloc(n, sizeof *fresh), *old = lip_alloc(n, sizeof *old);
  lip_status status = LIP_OK;
  if (!fresh || !old) status = lip_fail(err, LIP_MEMORY, "no memory for %zu weights", n);
  if (!status) {
    memcpy(fresh, net->weights, n * sizeof *fresh);
    memcpy(old, net->weights, n * sizeof *old);
    status = take(t, fresh, err);
    if (!status && put(net, fresh, err)) {
      status = err->code;
      put(net, old, &(lip_err){0});
    }
  }
  lip_free(fresh);
  lip_free(old);
  return status;
}
