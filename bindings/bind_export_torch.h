/* The part of net:export that writes PyTorch. */
#ifndef LIP_BIND_EXPORT_TORCH_H
#define LIP_BIND_EXPORT_TORCH_H

#include "bindings/bind.h"

/* Raises where the option `torch` of the table at 2 is there and no name ending in .py. */
void lipL_check_export_torch(lua_State *L);
/* net:export{torch = "net.py"} -> true | nil, message, code: the net at 1, the options at 2. */
int lipL_export_torch(lua_State *L);

#endif
