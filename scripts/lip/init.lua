--- lipwb: Lipschitz-bounded neural networks. `local lip = require "lip"`.
-- The functions written in C (lip.core) and the Lua modules beside this file in one table; a module is loaded when its
-- name is first used.
local lip = require "lip.core"

-- Lua finds the names of functions for its messages ("bad argument #1 to 'lip.file.read'") in modules only.
for name, value in next, lip do
  if type(value) == "table" then package.loaded["lip." .. name] = package.loaded["lip." .. name] or value end
end

-- Functions that live in a module of another name.
local home = {
  params = "lip.args", asha = "lip.sweep.asha", median = "lip.sweep.median", sobol = "lip.sweep.sobol",
}

-- Functions that are one of several in their module.
local space = "lip.sweep.space"
local member_of = { logspace = space, uniform = space, loguniform = space, integer = space, choice = space }

setmetatable(lip, {
  __index = function(self, name)
    if type(name) ~= "string" then return nil end
    local module = home[name] or member_of[name] or "lip." .. name
    if not home[name] and not member_of[name] and not package.searchpath(module, package.path) then return nil end
    local value = require(module)
    if member_of[name] then value = value[name] end
    rawset(self, name, value)
    return value
  end,
  __name = "lip",
  -- for completion: what may be loaded
  __names = { "args", "asha", "choice", "curve", "data", "doc", "figures", "help", "integer", "logspace",
    "loguniform", "median", "plot", "provenance", "sobol", "sweep", "tensorboard",
    "train", "trial", "uniform", "verify" },
})

return lip
