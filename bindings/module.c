/* The module lip.core: what `require "lip.core"` gives, in lipwb and in the stock lua5.4. */
#include "bindings/bind.h"

LUAMOD_API __attribute__((visibility("default"))) int luaopen_lip_core(lua_State *L) {
  static void (*const open[])(lua_State *) = {
      lipL_open_tensor,   lipL_open_make,    lipL_open_math,         lipL_open_along,
      lipL_open_rng,      lipL_open_npy,     lipL_open_data,         lipL_open_sys,
      lipL_open_norm,     lipL_open_spec,    lipL_open_net,          lipL_open_net_info,
      lipL_open_train,    lipL_open_loss,    lipL_open_update,       lipL_open_cert,
      lipL_open_bound,    lipL_open_certify, lipL_open_certificate,  lipL_open_check,
      lipL_open_io,       lipL_open_json,    lipL_open_unpack,       lipL_open_attack,
      lipL_open_property, lipL_open_enclose, lipL_open_db,           lipL_open_file,
      lipL_open_process,  lipL_open_script,  lipL_open_layer,        lipL_open_projection,
      lipL_open_tensors,  lipL_open_export,  lipL_open_load_weights, lipL_open_vnnlib,
      lipL_open_onnx,     lipL_open_decide,
  };
  luaL_checkversion(L);
  lua_newtable(L);
  for (size_t i = 0; i < sizeof open / sizeof *open; i++) open[i](L);
  lua_pushliteral(L, LIP_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}
