/* What net:bound and net:certify share. */
#ifndef LIP_BIND_CERT_H
#define LIP_BIND_CERT_H

#include "bindings/bind.h"

/* What a call holds while it builds its result; collected should an error be raised. Pushed as LIP_CERTIFIER_T. */
typedef struct lipL_cert {
  lip_bound bound;
  lip_certifier *certifier;
  lip_local *local;
  lip_affine affine;
  lip_found found;
  const bool *only; /* (C, C) pairs that are asked for, lent by the caller; NULL: all */
  bool classes;     /* pairs are of the net's classes, of one output two (lip_net_classes) */
  bool carried;     /* "best" leaves out what a certificate file cannot carry */
} lipL_cert;

/* Fields of the table on top of the stack. */
void lipL_setnumber(lua_State *L, const char *name, double v);
void lipL_settext(lua_State *L, const char *name, const char *text);

/* Rows of inputs: (B, n_in), (B, dims of one sample...), one sample alone, or (B) for nets of one input. */
const float *lipL_checkrows(lua_State *L, int idx, const lip_net *net, size_t *B);
/* The same for an option, a tensor on top of the stack. */
const float *lipL_optrows(lua_State *L, const char *what, const char *option, const lip_net *net, size_t *B);
/* Raises unless the data set has as many features as the net takes, in its order. */
void lipL_checkfeatures(lua_State *L, const char *what, const lip_dataset *d, const lip_net *net);
/* Raises when its labels name classes that the net cannot answer; one output separates two. */
void lipL_checkclasses(lua_State *L, const char *what, const lip_dataset *d, const lip_net *net);
/* The option `p` as a path that the net can follow; false: absent, and the path is the net's own. */
bool lipL_optpath(lua_State *L, int idx, const char *what, const lip_net *net, lip_path *path);
/* The option `method`: a row of the table of methods, or "best"; raises with the list of those there are. */
const char *lipL_optmethod(lua_State *L, int idx, const char *what);
/* The option `eps`: a number or a list of numbers >= 0, n of them; NULL: absent. Leaves the owner on the stack. */
const double *lipL_opteps(lua_State *L, int idx, const char *what, size_t *n);
/* Says on stderr that a ball from l_inf is wider than the box: eps in steps of 1/255, most likely. */
void lipL_warn_wide(const char *what, lip_p p, double eps, double from, double to);
/* The option `seconds`, > 0. Absent: nothing takes long without being asked, from the norm inf 10 seconds in all. */
double lipL_optseconds(lua_State *L, int idx, const char *what, const lip_path *path);

/* The option `progress`, for the time of one call; it lives where the call's other variables do. */
typedef struct lipL_watch {
  lip_watch progress;
  const char *what;
  lua_State *L;
  const lip_net *net;
  int slot;      /* of the function, later of what it raised */
  float *before; /* (n_params) the weights, for a function that could change them */
  bool failed, shown;
} lipL_watch;
/* Leaves the function and more on the stack, where they must stay. NULL: nobody is told. */
lip_watch *lipL_watch_begin(lua_State *L, int idx, const char *what, const lip_net *net, lipL_watch *w);
/* When the method is over, however that went: raises what the function raised. */
void lipL_watch_end(lipL_watch *w);
/* Fields `reason` and `tried` of the table on top of the stack, as far as there is something to say. */
void lipL_setreasons(lua_State *L, const lip_found *f);

/* The option `box` = {from, to}, each a number for all inputs or a tensor with one for each. */
typedef struct lipL_box {
  bool given;
  bool plain;              /* two numbers */
  const double *from, *to; /* (n_in) */
} lipL_box;
/* Leaves the owner on the stack, as the next one does. */
void lipL_optbox(lua_State *L, int idx, const char *what, const lip_net *net, lipL_box *box);

/* The option `scale`, a tensor of one input: s of the balls ||(x' - x) / s||_p <= eps, (n_in); a tensor as `eps` is the
 * same, of the one size 1 (*whole). NULL: neither. */
const double *lipL_optscale(lua_State *L, int idx, const char *what, const lip_net *net, bool *whole);

/* The options of method "local": verdicts and constants for balls. */
typedef struct lipL_local {
  bool wanted;
  lipL_box box;
  const double *scale; /* (n_in) or NULL */
  bool whole;          /* eps is the scale, of size 1 */
  size_t halvings;
  const char *global; /* the method that comes first, of the whole net; NULL: the usual one */
} lipL_local;
/* Raises when an option stands there that only "local" takes, and the method is another one. Leaves what owns
 * the box on the stack. */
void lipL_optlocal(lua_State *L, int idx, const char *what, const lip_net *net, lipL_local *local);
/* method = "local" of net:bound: the ball of `eps` around `x`. */
lip_status lipL_runlocal(lua_State *L, lipL_cert *h, const lipL_local *local, const lip_net *net,
                         const lip_path *path, bool pairs, double seconds, lip_watch *progress, lip_err *err);

/* Runs a method; what it holds belongs to h. */
lip_status lipL_runmethod(lipL_cert *h, const char *name, const lip_net *net, const lip_path *path,
                          bool pairs, double seconds, lip_watch *progress, lip_err *err);
/* Pushes (C, C) constants of differences of two logits, never rounded down; or, `below`, never up. */
void lipL_pushpairs(lua_State *L, const double *pairs, size_t C, bool below);
float lipL_floatbelow(double v);

#endif
