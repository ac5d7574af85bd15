/* Layers written in Lua: a definition is a userdata that keeps the functions; the engine knows it as a lip_custom. */
#ifndef LIP_BIND_LAYER_H
#define LIP_BIND_LAYER_H

#include <pthread.h>

#include "bindings/bind.h"

#define LIP_LAYER_T "lip.layer"
#define LIP_PROJECTION_T "lip.projection"

/* What a definition is asked; the names are those of its fields. */
typedef enum lipL_asked {
  LIPL_OUTPUT,
  LIPL_PARAMETER,
  LIPL_INIT,
  LIPL_FORWARD,
  LIPL_BACKWARD,
  LIPL_LIPSCHITZ,
  LIPL_DEVIATION,
  LIPL_ASKED
} lipL_asked;
extern const char *const lipL_asked_names[LIPL_ASKED];

/* What all definitions of one Lua state share. */
typedef struct lipL_host {
  lua_State *L;            /* the coroutine that has called a net last */
  pthread_t thread;        /* and the thread */
  struct lipL_kind *named; /* definitions that files may name, the last of each name */
} lipL_host;

typedef struct lipL_kind {
  lip_custom custom; /* first */
  lipL_host *host;
  struct lipL_kind *next; /* in host->named */
  bool listed;
  bool gone;  /* the userdata has been finalised */
  char *text; /* all names and texts, one behind the other */
  lip_opt *opts;
  size_t n_opts, n_words;
  const char **words;            /* choices of all options, a NULL behind those of each */
  const char *where[LIPL_ASKED]; /* "file.lua:12" of the script's own functions */
  const char *param[LIP_LAYER_MAX_PARAMS];
  size_t n_param;
} lipL_kind;

/* The userdata. */
typedef struct lipL_definition {
  lip_spec *spec; /* with the default options */
  lipL_kind *kind;
} lipL_definition;

/* The functions of the engine's side (bind_layer_run.c). */
extern const lip_custom_ops lipL_layer_ops;

/* Pushes what the userdata registered for `key` (a lipL_kind, a projection) has as its user value, or nil when it is gone. */
void lipL_pushfunctions(lua_State *L, const void *key);
/* Registers the userdata on top of the stack for `key`; does not keep it alive. */
void lipL_keepkind(lua_State *L, const void *key);
/* f(lightuserdata arg) under protection on the thread that has called a net last. What it raises becomes the message "what
 * (where): ..."; LIP_STATE, LIP_CANCELLED after Ctrl-C, LIP_MEMORY. */
lip_status lipL_protect(lipL_host *host, lua_CFunction f, void *arg, const char *what, const char *where,
                        lip_err *err);
/* The numbers of the tensor at idx into `to`; raises, naming it `what`, unless it has that shape. */
void lipL_taketensor(lua_State *L, int idx, const char *what, int ndim, const size_t *shape, float *to);
/* The net that belongs to a plan, pushed, or nil. */
void lipL_pushnetof(lua_State *L, const lip_plan *plan);

/* ---- bind_kind.c ---- */

void lipL_newlayerhost(lua_State *L); /* once, when the module is opened */
/* The definition on top of the stack becomes the one that files mean by its name; the registry keeps it. */
void lipL_listlayer(lua_State *L, lipL_kind *k);
void lipL_unlist(lipL_kind *k);

#endif
