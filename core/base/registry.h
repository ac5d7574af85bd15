/* The two questions that are asked of every table of kinds (layers, losses, optimisers, schedules, bound methods,
 * attacks): which is row i, and which has this name. The rows stand in a .def file, read twice: for the declarations and
 * for the table. */
#ifndef LIP_BASE_REGISTRY_H
#define LIP_BASE_REGISTRY_H

#include <stddef.h>
#include <string.h>

/* Defines prefix_at(i), NULL past the end, and prefix_find(name), NULL for a name that no row has, over
 * `static const row *const table[]`; `key` is the member of a row that holds its name. */
#define LIP_REGISTRY(row, prefix, table, key)                                                                \
  const row *prefix##_at(size_t i) {                                                                         \
    return i < sizeof table / sizeof *table ? table[i] : NULL;                                               \
  }                                                                                                          \
  const row *prefix##_find(const char *name) {                                                               \
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)                                                \
      if (strcmp(table[i]->key, name) == 0) return table[i];                                                 \
    return NULL;                                                                                             \
  }

#endif
