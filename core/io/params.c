#include "core/io/params.h"

#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

size_t lip_param_size(const lip_param *p) {
  size_t n = 1;
  for (int i = 0; i < p->ndim; i++) n *= p->shape[i];
  return n;
}

static size_t count(const lip_layer *l) {
  size_t n = l->n_param;
  for (size_t i = 0; i < l->n_child; i++) n += count(l->child[i]);
  return n;
}

/* Names what stands below l; `prefix` (room for a whole name) is restored. False when a name does not fit. */
static bool list(const lip_layer *l, char *prefix, lip_named **at) {
  const size_t room = sizeof(*at)->name, len = strlen(prefix);
  for (size_t i = 0; i < l->n_param; i++) {
    lip_named *one = (*at)++;
    int n = snprintf(one->name, room, "%s%s", prefix, l->param[i].name);
    if (n < 0 || (size_t)n >= room) return false;
    one->param = &l->param[i];
  }
  for (size_t i = 0; i < l->n_child; i++) {
    int n = snprintf(prefix + len, room - len, "%zu.%s.", i + 1, l->child[i]->kind->desc.name);
    if (n < 0 || (size_t)n >= room - len || !list(l->child[i], prefix, at)) return false;
    prefix[len] = '\0';
  }
  return true;
}

lip_status lip_params_list(const lip_layer *root, lip_named **out, size_t *n, lip_err *err) {
  char prefix[sizeof((*out)->name)] = "";
  *n = count(root);
  lip_named *named = lip_alloc(*n, sizeof *named), *at = named;
  *out = named;
  if (!named) return lip_fail(err, LIP_MEMORY, "no memory for the names of %zu parameters", *n);
  if (list(root, prefix, &at)) return LIP_OK;
  lip_free(named);
  *out = NULL;
  return lip_fail(err, LIP_UNSUPPORTED,
                  "layers are nested too deep for a file: a name would have over %zu bytes",
                  sizeof prefix - 1);
}
