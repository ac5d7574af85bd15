--- lip.layer{...}: a kind of layer written in Lua. What is checked here once, the engine's side (bindings/bind_layer.c)
-- takes for granted; what the functions return is checked there, at every call.
local lip = require "lip.core"
local callback = require "lip.callback"
local nearest = require "lip.nearest"
local shown = require "lip.shown"

local fields = {
  name = "string", help = "string", options = "table", parameters = "table", output = "function",
  forward = "function", backward = "function", lipschitz = "number|function", deviation = "number|function",
}

local function type_name(v)
  local meta = type(v) == "userdata" and debug.getmetatable(v)
  return meta and meta.__name or type(v)
end

local function came(v)
  if type(v) == "number" then return "the number " .. shown(v) end
  return type(v) == "string" and ("%q"):format(v) or type_name(v)
end

-- Raises on the line of the script.
local function refuse(format, ...)
  local here, level = debug.getinfo(1, "S").source, 2
  while (debug.getinfo(level, "S") or {}).source == here do level = level + 1 end
  error(("lip.layer: " .. format):format(...), level)
end

-- Names in order, so that checkpoints and printed options have one.
local function sorted(t, what)
  local names = {}
  for name in pairs(t) do
    if type(name) ~= "string" or not name:find "^[%a_][%w_]*$" or #name > 40 then
      refuse("option '%s' expects names of up to 40 letters, digits and _, got %s", what, came(name))
    end
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function check_fields(d)
  local known = {}
  for name in pairs(fields) do known[#known + 1] = name end
  table.sort(known)
  for name, v in pairs(d) do
    local kinds = fields[name]
    if not kinds then
      refuse("unknown option '%s'%s (known: %s)", tostring(name), nearest.hint(name, known), table.concat(known, ", "))
    end
    if not ("|" .. kinds .. "|"):find("|" .. type(v) .. "|", 1, true) then
      refuse("option '%s' expects a %s, got %s", name, kinds:gsub("|", " or a "), came(v))
    end
  end
  if not d.name or not d.forward then refuse("option '%s' is required", d.name and "forward" or "name") end
  if not d.name:find "^[%a_][%w_]*$" or #d.name > 40 then
    refuse("option 'name' expects up to 40 letters, digits and _, got %q", d.name)
  end
  for _, kind in ipairs(lip.layers()) do
    if kind.name == d.name then refuse("option 'name': '%s' is a layer of the engine", d.name) end
  end
  for _, name in ipairs { "lipschitz", "deviation" } do
    local v = d[name]
    if type(v) == "number" and not (v >= 0) then refuse("option '%s' expects a number >= 0, got %s", name, came(v)) end
  end
  if d.deviation ~= nil and d.lipschitz == nil then
    refuse "option 'deviation' needs 'lipschitz', which tells how errors before the layer grow in it"
  end
end

-- { {name=, default=, help=}, ... }; a list of texts is a choice.
local function option_rows(options)
  local rows = {}
  for i, name in ipairs(sorted(options, "options")) do
    local v = options[name]
    local choice = type(v) == "table" and #v > 0
    for _, word in ipairs(choice and v or {}) do choice = choice and type(word) == "string" end
    if not (type(v) == "number" and v == v or type(v) == "boolean" or choice) then
      refuse("option 'options': the default of '%s' is to be a number, true, false or a list of words, got %s", name,
        came(v))
    end
    rows[i] = { name = name, default = choice and table.move(v, 1, #v, 1, {}) or v, help = "" }
  end
  return rows
end

-- What a parameter is for one layer: {shape..., init=, decay=, trained=}
local function parameter_of(parameters, name, input, o)
  local p = parameters[name]
  if type(p) == "function" then p = p(input, o) end
  if type(p) ~= "table" then error(("'%s' is to be a table {sizes..., init=}, got %s"):format(name, came(p)), 0) end
  return p
end

local known_of_parameter = { init = true, decay = true, trained = true }

local function describe_parameter(parameters, name, input, o)
  local p = parameter_of(parameters, name, input, o)
  for key in pairs(p) do
    if math.type(key) ~= "integer" and not known_of_parameter[key] then
      error(("'%s' has an unknown option '%s'%s (known: decay, init, trained)"):format(name, tostring(key),
        nearest.hint(key, { "decay", "init", "trained" })), 0)
    end
  end
  local sizes = table.move(p, 1, #p, 1, {})
  sizes.decay = p.decay == nil and #sizes > 1 or p.decay
  sizes.trained = p.trained ~= false
  return sizes
end

local function first_values(parameters, name, input, o, seed)
  local p = parameter_of(parameters, name, input, o)
  if type(p.init) ~= "function" then return p.init or 0 end
  return p.init(table.move(p, 1, #p, 1, {}), lip.rng(seed), o)
end

-- The name under which `file` is being required, if it is.
local function module_of(file)
  for level = 3, 40 do
    local info = debug.getinfo(level, "f")
    if not info then return nil end
    if info.func == require then
      local _, name = debug.getlocal(level, 1)
      local found = type(name) == "string" and package.searchpath(name, package.path)
      return found == file and name or nil
    end
  end
end

-- Where people find the definition: no folders, which differ from machine to machine.
local function origin_of(forward)
  local info = debug.getinfo(forward, "S")
  local file = info.source:match "^@(.*)"
  if not file then return info.short_src end
  local name, base = module_of(file), file:match "[^/]*$"
  return name and ("module %q, %s"):format(name, base) or base
end

-- Without backward: what lip.grad makes of forward.
local function differentiated(forward)
  local grad = require "lip.grad"
  local function run(x, w, o, c)
    if not c.gradient then return forward(x, w, o, c) end
    local y
    y, c.pull = grad.vjp(function(x1, w1) return forward(x1, w1, o, c) end, x, w)
    return y
  end
  return run, function(_, _, dy, _, _, c) return c.pull(dy) end
end

local function same(shape) return shape end

local function layer(d)
  check_fields(d)
  local parameters, where, origin = d.parameters or {}, {}, origin_of(d.forward)
  local functions = {
    output = d.output or same, forward = d.forward, backward = d.backward,
    parameters = function(...) return describe_parameter(parameters, ...) end,
    init = function(...) return first_values(parameters, ...) end,
    lipschitz = type(d.lipschitz) == "function" and d.lipschitz or nil,
    deviation = type(d.deviation) == "function" and d.deviation or nil,
  }
  if not d.backward then
    if not package.searchpath("lip.grad", package.path) then refuse "option 'backward' is required" end
    functions.forward, functions.backward = differentiated(d.forward)
  end
  for name, f in pairs(functions) do where[name] = callback.where(d[name] or f) end
  where.backward = callback.where(d.backward or d.forward)
  local here = callback.where(d.forward)
  where.parameters, where.init = here, here
  local ok, made = pcall(lip.layer_kind, {
    name = d.name, help = d.help, origin = origin, options = option_rows(d.options or {}),
    parameters = sorted(parameters, "parameters"), functions = functions, where = where,
    constant = type(d.lipschitz) == "number" and d.lipschitz or nil,
    relative = type(d.deviation) == "number" and d.deviation or nil,
  })
  if not ok then refuse("%s", (tostring(made):gsub("^lip%.layer: ", ""))) end
  return made
end

return require "lip.arguments".checked("lip.layer", "definition options", layer)
