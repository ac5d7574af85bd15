/* Options as data. Every kind of layer, loss, optimiser, ... describes its options in one table; argument
 * checks, defaults, help, error texts and the stored form of a spec are all made from that table. */
#ifndef LIP_BASE_OPT_H
#define LIP_BASE_OPT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"

typedef enum lip_opt_type {
  LIP_OPT_SIZE, /* size_t member, a whole number */
  LIP_OPT_REAL, /* double member */
  LIP_OPT_BOOL, /* bool member */
  LIP_OPT_ENUM, /* int member: index into `names` */
  LIP_OPT_REALS /* lip_reals member: a list of numbers; a single number is a list of one */
} lip_opt_type;

/* A list of numbers, owned by the conf that holds it. */
typedef struct lip_reals {
  double *v;
  size_t n;
} lip_reals;

/* One row of a table; the table ends with a row whose name is NULL. */
typedef struct lip_opt {
  const char *name;
  lip_opt_type type;
  size_t offset; /* of the member in the conf struct */
  bool required; /* no default: must be given */
  double def;    /* default of SIZE, REAL, BOOL (0/1), ENUM (index); REALS start empty */
  double low,
      high; /* accepted closed range of numbers (each element of REALS); low == high == 0: any number */
  /* ENUM: accepted words, NULL at the end. SIZE and REAL that mean something only beside some words of an ENUM option: its
   * name, those words, NULL. Else NULL */
  const char *const *names;
  const char *help; /* one line */
} lip_opt;

/* Head of every registry row. `opts` may be NULL (no options), then conf_size is 0. */
typedef struct lip_desc {
  const char *name; /* as written in Lua, e.g. "dense" */
  const char *help; /* one line */
  const lip_opt *opts;
  size_t conf_size;
} lip_desc;

/* A conf with every default set, or NULL (no memory). Owned by the caller: lip_conf_free. Never NULL for
 * conf_size 0 unless memory is out. */
void *lip_conf_new(const lip_desc *desc);
void lip_conf_free(const lip_desc *desc, void *conf); /* accepts NULL */
void *lip_conf_copy(const lip_desc *desc, const void *conf);

/* The row of that name, or NULL. */
const lip_opt *lip_opt_find(const lip_desc *desc, const char *name);

/* Setters check the type and the range. Errors LIP_OPTION name the kind, the option, what was expected and
 * what came; an unknown option lists the known ones. NaN is always refused; infinity is in range only where
 * `high` (or `low`) is infinite. */
lip_status lip_conf_set_number(const lip_desc *desc, void *conf, const char *name, double v, lip_err *err);
lip_status lip_conf_set_bool(const lip_desc *desc, void *conf, const char *name, bool v, lip_err *err);
lip_status lip_conf_set_text(const lip_desc *desc, void *conf, const char *name, const char *v, lip_err *err);
lip_status lip_conf_set_reals(const lip_desc *desc, void *conf, const char *name, const double *v, size_t n,
                              lip_err *err);

/* What a misspelt name may have meant: of the options of desc (or NULL) and of `more` (NULL at its end; or NULL) the one
 * with the least edit distance, up to a third of its letters or 2, and below all of them. NULL: none is near. */
const char *lip_opt_nearest(const lip_desc *desc, const char *const *more, const char *name);
/* Writers of the unknown-option and wrong-type messages, for callers that see other types; `more` as above. */
lip_status lip_opt_unknown(const lip_desc *desc, const char *const *more, const char *name, lip_err *err);
lip_status lip_opt_wrong_type(const lip_desc *desc, const lip_opt *opt, const char *got, lip_err *err);

/* A set of names given so far; lip_conf_complete fails naming the first required option that is missing.
 * `given` has one flag per row. */
lip_status lip_conf_complete(const lip_desc *desc, const bool *given, lip_err *err);
/* Fails naming the first option given that means nothing beside another one, unless it is a number and its default. Not for
 * what was written down: there every option stands. */
lip_status lip_conf_relevant(const lip_desc *desc, const void *conf, const bool *given, lip_err *err);
size_t lip_opt_count(const lip_desc *desc);

#endif
