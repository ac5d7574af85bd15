/* The option `spec` of net:certify, lip.verify and lip.attack: what is asked of the outputs. */
#ifndef LIP_BIND_PROPERTY_H
#define LIP_BIND_PROPERTY_H

#include "bindings/bind.h"

#define LIP_PROPERTY_T "lip.property"

/* The option `spec` of the table at idx (one that only this call knows); NULL: absent. Leaves the owner on the stack.
 *   {C = (m, n_out), d = (m) or a number or nothing, any = true or need = k}   rows C z + d > 0: all, one, or k of them
 *   {between = {low, high}}                                                    each output strictly between
 *   {target = j}, {top = k}                                                    of the label (core/net/property.h)
 *   {one, another, ...}                                                        all of them, none about the label */
const lip_property *lipL_optproperty(lua_State *L, int idx, const char *what, const lip_net *net);

#endif
