#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_parts.h"

struct lip_graph_block {
  lip_graph_block *next;
};

enum { HEAD = LIP_ALIGN }; /* so that what follows is as well aligned */

void *lip_graph_take(lip_graph_block **list, size_t n, size_t size) {
  size_t bytes;
  if (!lip_mul_fits(n, size, &bytes) || !lip_add_fits(bytes, HEAD, &bytes)) return NULL;
  lip_graph_block *b = lip_alloc(bytes, 1);
  if (!b) return NULL;
  b->next = *list;
  *list = b;
  return (unsigned char *)b + HEAD;
}

void lip_graph_give_back(lip_graph_block **list) {
  while (*list) {
    lip_graph_block *b = *list;
    *list = b->next;
    lip_free(b);
  }
}

const char *lip_graph_node_text(const lip_graph *g, const lip_graph_node *n, char text[LIP_GRAPH_NODE_TEXT]) {
  size_t out = n->n_out > 0 && n->out ? n->out[0] : LIP_GRAPH_NONE;
  if (n->name[0] || out == LIP_GRAPH_NONE)
    snprintf(text, LIP_GRAPH_NODE_TEXT, "node '%.80s' (%.40s)", n->name, n->op);
  else
    snprintf(text, LIP_GRAPH_NODE_TEXT, "node (%.40s) of '%.80s'", n->op, g->value[out].name);
  return text;
}

const lip_graph_attribute *lip_graph_attribute_of(const lip_graph_node *n, const char *name) {
  for (size_t k = 0; k < n->n_attribute; k++)
    if (strcmp(n->attribute[k].name, name) == 0) return &n->attribute[k];
  return NULL;
}
