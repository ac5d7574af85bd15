#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_parts.h"

typedef struct entry {
  const char *name;
  size_t at;
} entry;

static int by_name(const void *a, const void *b) {
  const entry *x = a, *y = b;
  int c = strcmp(x->name, y->name);
  return c ? c : x->at < y->at ? -1 : x->at > y->at;
}

lip_status lip_graph_number(const char *const *name, size_t n, size_t *number, size_t *first,
                            size_t *distinct) {
  /* sorted, not hashed: nobody can choose names that are slow */
  entry *e = lip_alloc(n, sizeof *e);
  if (!e) return LIP_MEMORY;
  for (size_t k = 0; k < n; k++) e[k] = (entry){name[k], k};
  qsort(e, n, sizeof *e, by_name);
  for (size_t k = 0, leader = 0; k < n; k++) {
    if (k == 0 || strcmp(e[k].name, e[k - 1].name) != 0) leader = e[k].at;
    number[e[k].at] = leader;
  }
  lip_free(e);
  *distinct = 0;
  for (size_t k = 0; k < n; k++) {
    if (name[k][0] == '\0') {
      number[k] = LIP_GRAPH_NONE;
    } else if (number[k] == k) {
      first[*distinct] = k;
      number[k] = (*distinct)++;
    } else {
      number[k] = number[number[k]]; /* the first of the same name: numbered before */
    }
  }
  return LIP_OK;
}
