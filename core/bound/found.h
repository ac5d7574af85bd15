/* What the table of methods and methods that build on another share. */
#ifndef LIP_BOUND_FOUND_H
#define LIP_BOUND_FOUND_H

#include "core/bound/method.h"

/* Infinity everywhere, the diagonal of the pairs 0. LIP_MEMORY. */
lip_status lip_found_init(const lip_ask *ask, const char *method, lip_found *f, lip_err *err);
/* Runs one method; where it does not take the question, what was begun with. After a failure there is nothing to free. */
lip_status lip_method_apply(const lip_method *m, const lip_ask *ask, lip_found *out, lip_err *err);

/* Puts the product's numbers where they are smaller, or only where out has none (`missing`). LIP_MEMORY; `out` stays owned
 * by the caller then. */
lip_status lip_found_product(const lip_ask *ask, bool missing, lip_found *out, lip_err *err);

/* What the methods say when they give up: printf into LIP_REASON characters, returns false. */
bool lip_because(char *why, const char *format, ...);
/* Whether the net has the form of affine.h; else `why` names the layer. */
bool lip_ask_has_form(const lip_ask *ask, char *why);
/* For a method that came to its deadline with `done` of `total`. */
void lip_out_of_time(const lip_ask *ask, char *why, size_t done, size_t total, const char *what);

extern const lip_method lip_method_product; /* the plainest, which others fall back on */

#endif
