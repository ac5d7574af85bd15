/* VNN-LIB queries for other functions. */
#ifndef LIP_BIND_VNNLIB_H
#define LIP_BIND_VNNLIB_H

#include "bindings/bind.h"
#include "core/exchange/vnnlib.h"

/* The query at idx and its cases, lent by it; raises when it is none, for `what`. False: nil, message, code are pushed. */
bool lipL_checkvnnlib(lua_State *L, int idx, const char *what, const lip_vnnlib **v, const lip_vnnlib_cases **cases);

#endif
