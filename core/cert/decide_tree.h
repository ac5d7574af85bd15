/* The tree of branch and bound: what its nodes are is told by a kind.
 *
 * Depth first, LIP_TREE_ROUND nodes at a time: the threads share the nodes of a round, what comes of them is put in order by
 * the caller's thread. A node's fate depends on its numbers alone, so the tree is the same for any number of threads. */
#ifndef LIP_CERT_DECIDE_TREE_H
#define LIP_CERT_DECIDE_TREE_H

#include "core/cert/decide_parts.h"

enum { LIP_TREE_ROUND = 32, LIP_TREE_TRIED = 2 };

/* What a node has come to. */
typedef struct lip_fate {
  bool proved;
  size_t split; /* SIZE_MAX: it cannot be split */
  bool high;    /* its upper half is the likelier one to hold a counterexample */
  double least; /* its bound */
} lip_fate;

typedef struct lip_tree_kind {
  size_t numbers; /* doubles that describe a node */
  /* Thread `id` looks at a node, whose numbers it may make better; points (LIP_TREE_TRIED, n_in) are tried as counterexamples
   * where it is not proved. */
  void (*look)(void *arg, size_t id, double *node, float *points, lip_fate *f);
  /* One half of it. */
  void (*half)(void *arg, const double *node, const lip_fate *f, bool high, double *child);
  void *arg;
  const char *stuck; /* why a node cannot be split */
} lip_tree_kind;

/* Grows the tree from a root until all of it is proved, a counterexample is found or the search is over: the answer's
 * verdict. LIP_MEMORY: before it has begun. */
lip_status lip_tree_grow(lip_search *s, const lip_tree_kind *kind, const double *root, lip_err *err);

#endif
