/* What the files about tensors share with each other; the other files need bind.h only. */
#ifndef LIP_BIND_TENSOR_H
#define LIP_BIND_TENSOR_H

#include "bindings/bind.h"

/* Pushes the table of tensor methods. */
void lipL_pushmethods(lua_State *L);

/* Position 0..n-1 from a 1-based index; negative ones count from the end; raises naming the range. */
size_t lipL_checkindex(lua_State *L, int idx, size_t n);
/* A dimension of t, likewise; the last one when absent and `last` is set. */
int lipL_checkdimension(lua_State *L, int idx, const lip_tensor *t, bool last);
/* Shape from a table at idx, or from all numbers from idx up to index `top`. Returns the number of dimensions. With
 * `infer`, one entry may be -1 and is worked out from it, the number of elements there must be. */
int lipL_checkshape(lua_State *L, int idx, int top, const size_t *infer, size_t shape[LIP_MAX_DIMS]);
/* Pushes a contiguous copy of the tensor at idx, which means the same. */
lip_tensor *lipL_clone(lua_State *L, int idx);
/* Copies the value at idx (tensor of the same shape, nested table, or number: fills) into t. */
void lipL_assign(lua_State *L, lip_tensor *t, int idx);
/* Pushes a new tensor with the numbers of the nested table at idx. */
lip_tensor *lipL_fromtable(lua_State *L, int idx);
/* Pushes the text of __tostring. */
void lipL_pushtext(lua_State *L, const lip_tensor *t);

/* What lip.grad differentiates stands in place of tensors. When an argument (or an element of a list that is the first
 * argument) is such a value, its own version of the operation `name` is called with all arguments, its results take
 * their place, and true is returned. */
bool lipL_traced(lua_State *L, const char *name);

/* The generator at idx. Lent. */
lip_rng *lipL_checkrng(lua_State *L, int idx);
lip_rng *lipL_testrng(lua_State *L, int idx); /* NULL when it is something else */
/* The generator used where none is given: one per Lua state, always started from seed 0. Lent. */
lip_rng *lipL_defaultrng(lua_State *L);

#endif
