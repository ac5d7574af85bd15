/* The part of net:export that writes C. */
#ifndef LIP_BIND_EXPORT_C_H
#define LIP_BIND_EXPORT_C_H

#include "bindings/bind.h"

/* net:export{c = folder, name =[, weights = "const"][, inputs =]} -> true | nil, message, code; the net stands at 1, options
 * whose names have been checked at 2. Raises before anything is written. */
int lipL_export_c(lua_State *L);

#endif
