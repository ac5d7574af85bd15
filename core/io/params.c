#include "core/io/params.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

/* One walk of the tree: counting while `named` is NULL, filling it otherwise. */
typedef struct walk {
  lip_named *named;
  size_t n;
  bool warms;    /* the warm starts, or the parameters */
  bool too_long; /* a name did not fit */
  char prefix[sizeof((lip_named *)NULL)->name];
} walk;

static void visit(walk *w, const char *kind, size_t i, const lip_param *p, const lip_warm *warm) {
  if (w->named) {
    lip_named *one = &w->named[w->n];
    const size_t room = sizeof one->name;
    int n = p ? snprintf(one->name, room, "%s%s", w->prefix, kind)
              : snprintf(one->name, room, "%s%s.%zu", w->prefix, kind, i);
    w->too_long = w->too_long || n < 0 || (size_t)n >= room;
    one->param = p;
    if (warm) one->warm = *warm;
  }
  w->n++;
}

static void walk_layer(walk *w, const lip_layer *l) {
  const size_t room = sizeof w->prefix, len = strlen(w->prefix);
  lip_warm warm;
  for (size_t i = 0; !w->warms && i < l->n_param; i++) visit(w, l->param[i].name, i, &l->param[i], NULL);
  for (size_t i = 0; w->warms && l->kind->warm && l->kind->warm(l, i, &warm); i++)
    visit(w, "warm", i, NULL, &warm);
  for (size_t i = 0; i < l->n_child; i++) {
    int n = snprintf(w->prefix + len, room - len, "%zu.%s.", i + 1, l->child[i]->kind->desc.name);
    w->too_long = w->too_long || n < 0 || (size_t)n >= room - len;
    walk_layer(w, l->child[i]);
    w->prefix[len] = '\0';
  }
}

static void walk_both(walk *w, const lip_layer *root, size_t *n_param) {
  walk_layer(w, root);
  *n_param = w->n;
  w->warms = true;
  walk_layer(w, root);
}

lip_status lip_params_list(const lip_layer *root, lip_named **out, size_t *n_param, size_t *n, lip_err *err) {
  walk count = {0}, fill = {0};
  walk_both(&count, root, n_param);
  *n = count.n;
  *out = fill.named = lip_alloc(*n, sizeof *fill.named);
  if (!fill.named) return lip_fail(err, LIP_MEMORY, "no memory for the names of %zu parameters", *n_param);
  walk_both(&fill, root, n_param);
  if (!fill.too_long) return LIP_OK;
  lip_free(fill.named);
  *out = NULL;
  return lip_fail(err, LIP_UNSUPPORTED,
                  "layers are nested too deep for a file: a name would have over %zu bytes",
                  sizeof fill.prefix - 1);
}
