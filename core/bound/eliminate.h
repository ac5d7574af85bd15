/* The inequality of lmi.h solved from the output backwards, in plain floating point: which rho belongs to given
 * multipliers, and how rho changes with them. Proposals only: lip_lmi_prove decides. */
#ifndef LIP_BOUND_ELIMINATE_H
#define LIP_BOUND_ELIMINATE_H

#include "core/affine/affine.h"
#include "core/base/cancel.h"
#include "core/base/error.h"
#include "core/bound/lmi.h"

typedef struct lip_elim lip_elim;

enum { LIP_ELIM_BLOCKS = 300 }; /* the most matrices of a net */

/* `a` is borrowed, with finite weights and two to LIP_ELIM_BLOCKS matrices. weighted: the input is measured by sum d_k x_k^2 with weights that change
 * (lip_elim_weigh), else by sum x_k^2 for good. LIP_MEMORY. */
lip_status lip_elim_new(const lip_affine *a, bool weighted, lip_elim **out, lip_err *err);
void lip_elim_free(lip_elim *e); /* accepts NULL */

/* Once it is raised no block is begun, and what is asked has no answer (INFINITY, false); NULL: never. */
void lip_elim_watch(lip_elim *e, lip_cancel *cancel);

/* Multipliers are kept in an order and scale of its own: `count` numbers, some of which are padding (1, never read). */
size_t lip_elim_count(const lip_elim *e);
void lip_elim_export(const lip_elim *e, const double *lambda, double *to);
void lip_elim_import(const lip_elim *e, const double *from, double *lambda); /* back from its `to` */

/* The rows that the calls below are about. */
void lip_elim_target(lip_elim *e, lip_rows rows);
/* Weights of the input (n_in), all > 0; before the first evaluation of a weighted one. False: not positive definite. */
bool lip_elim_weigh(lip_elim *e, const double *d);

/* Closed-form multipliers, layer by layer, into lambda, above the limit by at least `room` of it; returns their rho
 * (INFINITY: none). */
#define LIP_ELIM_ROOM 1e-6 /* next to nothing */
double lip_elim_closed(lip_elim *e, double room, double *lambda);
/* The same from the input forwards, for weights of 1 and nets without units of known slope; else INFINITY. */
double lip_elim_forward(lip_elim *e, double *lambda);
/* rho of lambda, to `tolerance` relative, and with `gradient` (count) d rho / d lambda; INFINITY when lambda is not
 * feasible. rho is a largest eigenvalue, and where several are nearly as large it has a kink: with blur > 0 the gradient is
 * the mean over leading eigenvectors with weights exp(-(rho - eigenvalue) / (blur rho)). */
double lip_elim_rho(lip_elim *e, const double *lambda, double tolerance, double blur, double *gradient);
/* The same for multipliers that cannot leave the feasible set where only its border stops them: those of blocks whose
 * slopes are all symmetric about 0 are limit (1 + gap) E, with the limit of their direction E > 0. param (lip_elim_params):
 * multipliers or E, and one gap for each block. lambda (count): the multipliers; gradient: d rho / d log param. */
double lip_elim_follow(lip_elim *e, const double *param, double *lambda, double tolerance, double blur,
                       double *gradient);
size_t lip_elim_params(const lip_elim *e);
bool lip_elim_param(lip_elim *e, const double *lambda, double *param); /* of feasible multipliers */
/* After that: the mean of u_k^2 over the inputs u it has used, each with sum d_k u_k^2 = 1 (n_in). */
void lip_elim_squares(lip_elim *e, double *square);
/* Makes room for rounding: multipliers of the last block times 1 + by, of the one before times (1 + by)^2 and so on leave
 * every block at least by as much of its own above the limit that it had reached. rho grows by about 1 + (blocks) by. */
void lip_elim_slacken(const lip_elim *e, double *lambda, double by);

/* d_k = sum_j |Q_kj| for the form Q that the last multipliers have left at the input, with weights of 1 (n_in). */
void lip_elim_spread(lip_elim *e, double *d);

#endif
