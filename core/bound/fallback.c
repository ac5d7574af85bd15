/* What methods that build on the product of the norms take from it. */
#include <math.h>
#include <string.h>

#include "core/bound/found.h"

lip_status lip_found_product(const lip_ask *ask, bool missing, lip_found *out, lip_err *err) {
  lip_found product;
  size_t C = lip_ask_outputs(ask), pairs = ask->pairs ? C * C : 0;
  lip_ask plain = *ask;
  plain.progress = NULL;
  lip_status status = lip_method_apply(&lip_method_product, &plain, &product, err);
  if (status) return status;
  if (!*out->reason) memcpy(out->reason, product.reason, sizeof out->reason);
  if (missing ? !(out->upper < INFINITY) : !(out->upper <= product.upper)) out->upper = product.upper;
  for (size_t i = 0; i < pairs; i++)
    if (missing ? !(out->pair[i] < INFINITY) : !(out->pair[i] <= product.pair[i]))
      out->pair[i] = product.pair[i];
  lip_found_free(&product);
  return LIP_OK;
}
