--- lipwb: Lipschitz-bounded neural networks. `local lip = require "lip"`.
-- The functions written in C (lip.core) and the Lua modules beside this file in one table; a module is loaded when its
-- name is first used.
local lip = require "lip.core"

-- Lua finds the names of functions for its messages ("bad argument #1 to 'lip.file.read'") in modules only.
for name, value in next, lip do
  if type(value) == "table" then package.loaded["lip." .. name] = package.loaded["lip." .. name] or value end
end

-- A function is its module lip.NAME, but for these: modules of another name, and one that has several functions.
local space = "lip.sweep.space"
local home = {
  params = "lip.args", asha = "lip.sweep.asha", median = "lip.sweep.median", sobol = "lip.sweep.sobol",
  logspace = space, uniform = space, loguniform = space, integer = space, choice = space,
}

-- For completion: what may be loaded. Everything public has its line in help(), or a section.
local function names()
  local list, seen = {}, {}
  local function add(name)
    if not name or seen[name] or rawget(lip, name) ~= nil then return end
    list[#list + 1], seen[name] = name, true
  end
  for _, section in ipairs(require "lip.help_text") do
    local where, lines = section[3], section[4]
    add(where:match "^lip%.(.*)")
    for line in (where == "lip" and lines or ""):gmatch "[^\n]+" do add(line:match "^[%w_]+") end
  end
  return list
end

--- lip.loss.custom(f): see lip.custom_loss.
function lip.loss.custom(...)
  return require "lip.custom_loss"(...)
end

setmetatable(lip, {
  __index = function(self, name)
    if type(name) ~= "string" then return nil end
    local module = home[name] or "lip." .. name
    if not home[name] and not package.searchpath(module, package.path) then return nil end
    local value = require(module)
    if module == space then value = value[name] end
    rawset(self, name, value)
    return value
  end,
  __name = "lip",
  __names = names,
})

return lip
