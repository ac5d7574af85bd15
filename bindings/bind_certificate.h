/* Certificate files: what is in them (core/check/README.md), and the nets they speak of. */
#ifndef LIP_BIND_CERTIFICATE_H
#define LIP_BIND_CERTIFICATE_H

#include "bindings/bind_cert.h"
#include "core/base/str.h"
#include "core/check/check.h"
#include "core/data/sha256.h"
#include "core/io/safetensors.h"

#define LIP_CERTIFICATE_T "lip.certificate"

/* What the claims about float32 assume, as the file states it. */
#define LIP_CERTIFICATE_ROUNDING                                                                             \
  "float32 unit 2^-24 smallest 2^-126, double unit 2^-53, every order of summation"

/* And, where there are such units, about their functions. */
#define LIP_CERTIFICATE_SMOOTH ", tanh 3, sigmoid 3.5, softplus 5 units of the value"

/* The metadata of a certificate; version 1 had no box, which is the last one. */
#define LIP_CERTIFICATE_KEYS(X)                                                                              \
  X(format)                                                                                                  \
  X(format_version)                                                                                          \
  X(lipwb)                                                                                                   \
  X(method) X(path) X(arithmetic) X(rounding) X(kernels) X(layers) X(weights_sha256) X(data_sha256) X(box)

enum {
#define X(name) LIP_KEY_##name,
  LIP_CERTIFICATE_KEYS(X)
#undef X
      LIP_KEYS
};

/* A layer with a norm claim: where in the path the norms before and behind it stand, the same for those in containers. */
typedef struct lipL_claimed {
  const lip_layer *layer; /* of the net the model was made of */
  size_t from, to;
} lipL_claimed;

/* A net as the checker sees it: weights copied. */
typedef struct lipL_model {
  lip_check_net net;
  lip_check_layer *layer;
  void **block;                       /* (blocks) what the layers point to */
  size_t layers, blocks, room, dense; /* dense: layers with a norm claim */
  lipL_claimed *of;                   /* (dense) */
  bool smooth;                        /* tanh, sigmoid or softplus is in it */
  size_t weighted, depth;             /* while it is made: layers of the path so far, containers around */
  lip_sha256 hash;
  lip_str text;    /* "784;dense 128;maxmin;dense 10" */
  char sha256[65]; /* of all weights, in order; zeros for a bias where there is none */
} lipL_model;

/* Everything a file holds, and what belongs to one call; collected as LIP_CERTIFICATE_T. */
typedef struct lipL_certificate {
  lipL_model model;
  lip_check_claims claims; /* points into the arrays below */
  lip_check *check;
  char *key[LIP_KEYS];
  int *path;
  double *norm, *pair, *target, *rho, *lambda, *weight, *radius, *eps, *count, *slope;
  float *label, *truth; /* truth: what the data say, -1 unknown */
  size_t rows, n_eps;
  bool old;     /* read from a file of version 1 */
  lip_net *net; /* loaded for this check */
  lip_safetensors *file;
} lipL_certificate;

/* What claims about this net assume of float32. */
const char *lipL_model_rounding(const lipL_model *m);
/* m all zeros. LIP_UNSUPPORTED names the layer that certificates do not know; LIP_MEMORY. */
lip_status lipL_model_init(lipL_model *m, const lip_net *net, lip_err *err);
void lipL_model_free(lipL_model *m);
/* Points the claims at the arrays and fills the path; evidence and arithmetic from the metadata. LIP_FORMAT. */
lip_status lipL_certificate_claims(lipL_certificate *c, lip_err *err);
/* The method of the files that speak of balls around rows, not of the whole net. */
bool lipL_certificate_is_local(const lipL_certificate *c);
/* Rows of the data that are right and have a radius > 0 of at least eps. */
size_t lipL_certificate_count(const lipL_certificate *c, double eps);
/* Writes the file whole or not at all. */
lip_status lipL_certificate_save(const char *path, const lipL_certificate *c, lip_err *err);
/* Everything but the claims' truth: format, hash over all of the file, shapes. LIP_FORMAT, LIP_IO, ... */
lip_status lipL_certificate_load(const char *path, lipL_certificate *c, lip_err *err);
/* The file at `path` speaks of this net, and the checker confirms its norms and its constants of pairs (c->pair), but looks at
 * no row. LIP_FORMAT: it does not; LIP_UNSUPPORTED, LIP_IO, ... c is new. */
lip_status lipL_certificate_confirm(lipL_certificate *c, const lip_net *net, const char *path, lip_err *err);
/* Method "local". Room for the lines of all rows; c->check is open. LIP_MEMORY. */
lip_status lipL_certificate_reserve_local(lipL_certificate *c, lip_err *err);
/* The largest of the sizes above `radius` that the checker confirms for row r with its label, into the row's radius.
 * LIP_FORMAT: none. LIP_MEMORY. */
lip_status lipL_certificate_settle_local(lipL_certificate *c, const float *x, size_t r, double radius,
                                         lip_err *err);
/* Lines that are the checker's own choice need not stand in the file. */
void lipL_certificate_spare_local(lipL_certificate *c);
/* The option `global`, a method whose constants a file carries; raises. */
const char *lipL_certificate_optglobal(lua_State *L, int idx, bool local);
/* The option `box` of method "local" into the metadata; `local`: that is the method. Raises. */
void lipL_certificate_optbox(lua_State *L, int idx, bool local, char *text, size_t size);
/* Pushes an empty one. */
lipL_certificate *lipL_newcertificate(lua_State *L);

/* Rows of a data set or tensor. */
typedef struct lipL_rows {
  const lip_dataset *data; /* or */
  const float *x;
  const int32_t *labels; /* NULL: none */
  size_t n, width;
} lipL_rows;
/* The value at idx (data set or tensor); raises. */
lipL_rows lipL_checkdata(lua_State *L, int idx, const char *what, const lip_net *net);
/* Rows first .. first+B-1; `index` and `room` have space for B. */
const float *lipL_rows_read(const lipL_rows *rows, size_t first, size_t B, uint32_t *index, float *room);

#endif
