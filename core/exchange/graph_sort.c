#include <stdint.h>

#include "core/base/mem.h"
#include "core/exchange/graph_parts.h"

/* Depth first, from the first node on: what a node takes comes right before it. With a stack of its own: the depth is
 * the file's to choose. */
enum { NEW, OPEN, DONE };

typedef struct frame {
  size_t node, next; /* its next input to be looked at */
} frame;

typedef struct walk {
  const lip_graph *g;
  const size_t *producer;
  uint8_t *state;
  frame *stack;
  size_t *order, n; /* what is done */
} walk;

/* False: node `*at` takes what comes of itself. */
static bool visit(walk *w, size_t root, size_t *at) {
  size_t depth = 0;
  w->stack[depth++] = (frame){root, 0};
  w->state[root] = OPEN;
  while (depth > 0) {
    frame *f = &w->stack[depth - 1];
    const lip_graph_node *node = &w->g->node[f->node];
    if (f->next == node->n_in) {
      w->state[f->node] = DONE;
      w->order[w->n++] = f->node;
      depth--;
      continue;
    }
    size_t value = node->in[f->next++];
    size_t before = value == LIP_GRAPH_NONE ? LIP_GRAPH_NONE : w->producer[value];
    if (before == LIP_GRAPH_NONE || w->state[before] == DONE) continue;
    if (w->state[before] == OPEN) {
      *at = f->node;
      return false;
    }
    w->state[before] = OPEN;
    w->stack[depth++] = (frame){before, 0}; /* every node is on the stack once at most: it has room */
  }
  return true;
}

static lip_status order(walk *w, const char *path, lip_err *err) {
  size_t at;
  char text[LIP_GRAPH_NODE_TEXT];
  for (size_t i = 0; i < w->g->n_node; i++)
    if (w->state[i] == NEW && !visit(w, i, &at))
      return lip_fail(err, LIP_FORMAT,
                      "%.100s: %s takes what is computed from its own output: a net has no circles", path,
                      lip_graph_node_text(w->g, &w->g->node[at], text));
  return LIP_OK;
}

lip_status lip_graph_sort(lip_graph *g, const size_t *producer, const char *path, lip_err *err) {
  walk w = {.g = g, .producer = producer};
  w.state = lip_alloc(g->n_node, sizeof *w.state);
  w.stack = lip_alloc(g->n_node, sizeof *w.stack);
  w.order = lip_alloc(g->n_node, sizeof *w.order);
  lip_graph_node *copy = lip_alloc(g->n_node, sizeof *copy);
  lip_status s = LIP_OK;
  if (!w.state || !w.stack || !w.order || !copy) s = lip_fail(err, LIP_MEMORY, "%.100s: out of memory", path);
  if (!s) s = order(&w, path, err);
  if (!s) {
    for (size_t i = 0; i < g->n_node; i++) copy[i] = g->node[i];
    for (size_t i = 0; i < g->n_node; i++) g->node[i] = copy[w.order[i]];
  }
  lip_free(w.state);
  lip_free(w.stack);
  lip_free(w.order);
  lip_free(copy);
  return s;
}
