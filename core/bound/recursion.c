/* Multipliers in closed form, layer by layer from the output (ECLipsE-Fast, Xu, Sivaranjani 2024, backwards and for
 * slopes of any sign; formula and proof that the product of norms is never below: eliminate.c), or from the input
 * (eliminate_forward.c), whichever has the smaller rho. In the norm inf the
 * weights of the input are the row sums of the form at the input: diag(d) - Q is then diagonally dominant. */
#include "core/bound/propose.h"

static lip_status recursion_run(const lip_ask *ask, lip_found *out, lip_err *err) {
  return lip_propose_all(ask, lip_propose_closed, out, err);
}

const lip_method lip_method_recursion = {
    .name = "recursion",
    .help = "semidefinite inequality with multipliers in closed form, per pair; norms 2 and inf of the input",
    .takes = lip_propose_takes,
    .run = recursion_run,
};
