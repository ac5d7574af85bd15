--- `require "lip.strict"`: reading or creating a global that Lua does not have raises an error. For scripts and tests:
--- most mistyped names are found this way.
local known = {}
for name in pairs(_G) do known[name] = true end

local function where(name, what)
  error(string.format("global '%s' is %s: make it local", tostring(name), what), 3)
end

if getmetatable(_G) == nil then
  setmetatable(_G, {
    __index = function(_, name)
      if not known[name] then where(name, "read but was never set") end
    end,
    __newindex = function(t, name, value)
      if not known[name] then where(name, "created") end
      rawset(t, name, value)
    end,
    __metatable = "strict",
  })
end

return true
