/* Attacks: the search for a point close to an input that the net puts into another class. What they find is a fact,
 * what they do not find is none: only a certificate says that nothing is there.
 *
 * All of them climb the margin z_j - z_y towards classes j != y, one run per class, the strongest first: on nets whose
 * slope is bounded it neither saturates nor depends on the scale of the logits, as cross-entropy does.
 *
 * Of a property (core/net/property.h) every row of a clause that needs all of them is a way to break it, a clause that needs
 * fewer is one, by the row that decides it; one run per way, the nearest first. A point counts when the outputs as executed
 * break it, decided exactly.
 *
 * A point counts when the net as executed (lip_net_forward, not in training) gives it a label other than y, and its
 * exact distance from the input, rounded up, is at most eps, and it lies in the box. With a scale s distances are
 * ||(x' - x) / s||_p, and steps are of that length. Labels are the lowest index among the largest logits, -1 when one is
 * NaN: an answer that is NaN counts against the net. */
#ifndef LIP_ATTACK_ATTACK_H
#define LIP_ATTACK_ATTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/net/net.h"
#include "core/net/property.h"

typedef struct lip_attack_kind lip_attack_kind;

#define LIP_ALL_TARGETS SIZE_MAX
#define LIP_LARGEST_EPS 1e30

typedef struct lip_attack_conf {
  const lip_attack_kind *kind;
  lip_p p;         /* norm of the distance */
  double eps;      /* 0 .. LIP_LARGEST_EPS */
  size_t steps;    /* gradients per run; 0: as the kind does */
  size_t restarts; /* runs per class; 0: as the kind does */
  double step;     /* length of the first step; 0: as the kind does */
  size_t targets; /* how many other classes, the strongest first; 0: one run against whichever is strongest */
  bool boxed;     /* points stay within low_k .. high_k */
  const double *low, *high;     /* (n_in) when `boxed`, copied; infinite: no limit */
  const double *scale;          /* (n_in) >= 0, copied; 0: x_k stays; NULL: 1 everywhere */
  uint64_t seed;                /* of random starts: row i draws from a stream of its own */
  const lip_property *property; /* what is to be broken; NULL: that the label stays. Borrowed */
} lip_attack_conf;

/* What became of one row. */
typedef struct lip_attacked {
  int32_t before, after; /* labels as executed of the input and of the point found */
  bool
      correct; /* the input is finite and `before` is the label it should have (or the property holds): only then it is
                   attacked */
  bool broken;     /* correct, and the point found is not */
  double distance; /* scaled, of the point found, rounded up; 0 where nothing was searched */
  double
      margin; /* z_y - max_{j != y} z_j at the point found, the least seen; NaN where a logit is. Or the value
                      of the property */
} lip_attacked;

typedef struct lip_attack lip_attack;

const lip_attack_kind *lip_attack_kind_at(size_t i); /* NULL after the last */
const lip_attack_kind *lip_attack_kind_find(const char *name);
const char *lip_attack_kind_name(const lip_attack_kind *kind);
const char *lip_attack_kind_help(const lip_attack_kind *kind);

/* Working memory for batches of up to B rows; reserves them in the net. LIP_OPTION names a value out of range,
 * LIP_UNSUPPORTED a net of one output without a property, LIP_MEMORY. Owned: lip_attack_free (accepts NULL). */
lip_status lip_attack_new(lip_net *net, const lip_attack_conf *conf, size_t B, lip_attack **out,
                          lip_err *err);
void lip_attack_free(lip_attack *a);

/* Attacks rows x (B, n_in), which are first, first + 1, ... of the data; labels (B) what they should be (of a property of labels: what it is about), NULL: as
 * executed. found (B, n_in): the point of each row with the least margin, the input itself where none is below its own.
 * Weights, their gradients and x stay as they are; the same bits for any number of threads and any split into batches.
 * LIP_ARGUMENT: a row lies outside of the box, and nothing was done. LIP_CANCELLED: found and out mean nothing. */
lip_status lip_attack_run(lip_attack *a, const float *x, const int32_t *labels, size_t first, size_t B,
                          float *found, lip_attacked *out, lip_err *err);

#endif
