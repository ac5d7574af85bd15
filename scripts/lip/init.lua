--- lipwb: Lipschitz-bounded neural networks. `local lip = require "lip"`.
-- The functions written in C (lip.core) and the Lua modules beside this file in one table; a module is loaded when its
-- name is first used.
local lip = require "lip.core"

-- Functions that live in a module of another name.
local home = {
  params = "lip.args", asha = "lip.sweep.asha", median = "lip.sweep.median", sobol = "lip.sweep.sobol",
}

setmetatable(lip, {
  __index = function(self, name)
    if type(name) ~= "string" then return nil end
    local module = home[name] or "lip." .. name
    if not home[name] and not package.searchpath(module, package.path) then return nil end
    local value = require(module)
    rawset(self, name, value)
    return value
  end,
  __name = "lip",
  -- for completion: what may be loaded
  __names = { "args", "asha", "curve", "data", "doc", "help", "median", "plot", "provenance", "sobol", "train", "verify" },
})

return lip
