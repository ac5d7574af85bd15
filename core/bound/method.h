/* Methods that bound the Lipschitz constant of a whole net: one file and one row in methods.def each, in order of
 * cost. Every number they give is proved for the stored float32 weights; what a method cannot do is INFINITY. */
#ifndef LIP_BOUND_METHOD_H
#define LIP_BOUND_METHOD_H

#include <stdbool.h>

#include "core/affine/affine.h"
#include "core/base/cancel.h"
#include "core/base/error.h"
#include "core/bound/lmi.h"
#include "core/bound/watch.h"
#include "core/net/net.h"
#include "core/norm/pnorm.h"

typedef struct lip_ask {
  const lip_net *net;
  const lip_affine
      *affine;   /* of the net; n = 0 where it has no such form, then only product takes the question */
  lip_path path; /* norms from layer to layer, as `product` uses them: the net's own, or another */
  lip_p p, q;    /* its ends: norms of the input and of the logits */
  bool pairs;    /* also the table of pairs */
  bool classes;  /* of one output f: pairs are those of the logits 0 and f, affine is of lip_affine_classes */
  const bool *only;    /* (C, C), symmetric: which of them, the others stay INFINITY; NULL: all */
  bool carried;        /* "best" leaves out what a certificate file cannot carry */
  double seconds;      /* what a method may take; INFINITY: until it has settled */
  double known;        /* without pairs: an upper that is not below this is of no use, unless it is 0 */
  double longest;      /* seconds that one pair or row took another method, 0: not known */
  lip_watch *progress; /* who is told how far it is, or NULL */
} lip_ask;

/* C of the table of pairs. */
static inline size_t lip_ask_outputs(const lip_ask *ask) {
  return ask->classes ? lip_net_classes(ask->net) : ask->net->root->n_out;
}
/* Whether a pair i != j is asked for. */
static inline bool lip_ask_wants(const lip_ask *ask, size_t i, size_t j) {
  return ask->pairs && (!ask->only || ask->only[i * lip_ask_outputs(ask) + j]);
}

enum { LIP_REASON = 160, LIP_METHODS = 8 };

/* What "best" has seen of one method. */
typedef struct lip_tried {
  const char *method; /* static */
  double upper, seconds;
  char reason[LIP_REASON]; /* as in lip_found */
} lip_tried;

typedef struct lip_found {
  double upper; /* of ||f(x) - f(x')||_q / ||x - x'||_p; INFINITY = unknown */
  double *
      pair; /* (C, C) of |(z_i - z_j)(x) - (z_i - z_j)(x')| / ||x - x'||_p, symmetric; NULL: not asked. Owned */
  lip_proof
      *proof; /* what the pairs (or, without, the upper) rest on; NULL: nothing beside the weights. Owned */
  const char *method;      /* static */
  char reason[LIP_REASON]; /* for people: why numbers are missing (INFINITY) or the product's; "": none is */
  double longest;          /* seconds that one pair or row took at most, 0: not known */
  size_t n_tried;          /* of "best" */
  lip_tried tried[LIP_METHODS];
} lip_found;

typedef struct lip_method {
  const char *name, *help;
  bool bare; /* neither leaves a proof nor can be repeated by core/check */
  /* false: INFINITY without trying; `why` (LIP_REASON characters) says which layer, norm or size is in the way */
  bool (*takes)(const lip_ask *ask, char *why);
  /* `out` arrives with INFINITY everywhere and `pair` allocated when asked for; what stays so gets out->reason.
   * LIP_MEMORY, LIP_CANCELLED. */
  lip_status (*run)(const lip_ask *ask, lip_found *out, lip_err *err);
} lip_method;

const lip_method *lip_method_at(size_t i); /* NULL past the end */
const lip_method *lip_method_find(const char *name);

/* Runs one method, or "best": all in order of cost until `seconds` are used up, the smallest of each number. An unknown
 * name is LIP_OPTION. */
lip_status lip_method_run(const char *name, const lip_ask *ask, lip_found *out, lip_err *err);
void lip_found_free(lip_found *f);

#endif
