--- What the functions written in Lua take, checked before they run: an error names the function and the argument, and
-- stands on the line that called it.
--
--   return arguments.checked("lip.curve", "report report, data labels, options options?", curve)
local plain = require "lip.shown"

local arguments = {}
local signatures_of = setmetatable({}, { __mode = "k" })

local function type_name(v)
  local meta = type(v) == "userdata" and debug.getmetatable(v)
  return meta and meta.__name or type(v)
end

local function is(name)
  return function(v) return type_name(v) == name end
end

local function list_of(what, v)
  if type(v) ~= "table" then return false end
  for i, one in ipairs(v) do
    if type(one) ~= what then return false, ("element %d that is a %s"):format(i, type_name(one)) end
  end
  return true
end

local function numbers(v)
  if type_name(v) == "lip.tensor" then return true end
  return list_of("number", v)
end

local function is_curve(v)
  return type(v) == "table" and numbers(v.x) and numbers(v.y)
end

-- One curve or a list of them; false stands for one that is not there.
local function curves(v)
  if type(v) ~= "table" then return false end
  if v.x ~= nil or v.y ~= nil then return is_curve(v), "a table without lists x and y" end
  for _, one in ipairs(v) do
    if one and not is_curve(one) then return false, "an element without lists x and y" end
  end
  return true
end

local function report(v)
  local whole = type(v) == "table" and type_name(v.labels) == "lip.tensor" and type_name(v.radii) == "lip.tensor"
  return whole, type(v) == "table" and "a table without tensors labels and radii" or nil
end

local function finite(v)
  return type(v) == "number" and v == v and v ~= math.huge and v ~= -math.huge
end

-- kind = { test, what is expected }; a test may also return what came in better words
local kinds = {
  any = { function() return true end, "anything" },
  something = { function(v) return v ~= nil end, "a value" },
  table = { is "table", "a table" },
  options = { is "table", "a table of options" },
  text = { is "string", "a text" },
  callable = { function(v)
    local meta = debug.getmetatable(v)
    return type(v) == "function" or type(meta) == "table" and rawget(meta, "__call") ~= nil
  end, "a function" },
  number = { finite, "a finite number" },
  limit = { function(v) return type(v) == "number" and v == v end, "a number" },
  float = { is "number", "a number" },
  step = { function(v) return type(v) == "number" and (math.tointeger(v) or -1) >= 0 end, "a whole number >= 0" },
  count = { function(v) return type(v) == "number" and (math.tointeger(v) or 0) >= 1 end, "a whole number >= 1" },
  whole = { function(v) return type(v) == "number" and math.tointeger(v) ~= nil end, "a whole number" },
  boolean = { is "boolean", "true or false" },
  net = { is "lip.net", "a net" },
  dataset = { is "lip.dataset", "a data set" },
  tensor = { is "lip.tensor", "a tensor" },
  numbers = { numbers, "a table or tensor of numbers" },
  labels = { function(v)
    if type_name(v) == "lip.dataset" then return true end
    return numbers(v)
  end, "a data set, or labels as a table or tensor" },
  rows = { function(v) return type_name(v) == "lip.tensor" or type_name(v) == "lip.dataset" end,
    "a data set or a tensor of inputs" },
  question = { function(v)
    return type_name(v) == "lip.tensor" or type_name(v) == "lip.dataset" or require("lip.property").is(v)
  end, "a data set, a tensor of inputs, or a property" },
  tables = { function(v) return list_of("table", v) end, "a list of tables" },
  texts = { function(v) return list_of("string", v) end, "a list of texts" },
  curves = { curves, "a curve {x=, y=}, or a list of curves" },
  report = { report, "what net:certify returned" },
}

local function shown(v)
  if type(v) == "number" then return "number " .. plain(v) end
  if type(v) == "string" then return #v <= 40 and ("%q"):format(v):gsub("\n", "n") or "a text of " .. #v .. " bytes" end
  return type_name(v)
end

-- "a kind, b kind?" as { {name=, kind=, optional=}, ... }
local function parse(signature)
  local list = {}
  for name, kind, mark in signature:gmatch "([%w_]+) ([%w_]+)(%??)" do
    list[#list + 1] = { name = name, is = kind, kind = assert(kinds[kind], kind), optional = mark == "?" }
  end
  return list
end

--- Raises `level` above the caller unless every argument is of its kind.
local function check(name, list, level, ...)
  for i, a in ipairs(list) do
    local v = (select(i, ...))
    if not (v == nil and a.optional) then
      local ok, came = a.kind[1](v)
      if not ok then
        error(("%s: argument %d (%s) expects %s, got %s"):format(name, i, a.name, a.kind[2], came or shown(v)),
          level + 1)
      end
    end
  end
end

--- The same function with its arguments checked. The call in it is a tail call: levels of errors stay what they were.
---@generic F: function
---@param name string as help() prints it
---@param signature string
---@param f F
---@return F
function arguments.checked(name, signature, f)
  local list = parse(signature)
  local function checked(...)
    check(name, list, 2, ...)
    return f(...)
  end
  signatures_of[checked] = list
  return checked
end

--- What a checked function takes: { {name=, is=, optional=}, ... }, or nil.
function arguments.of(f)
  return signatures_of[f]
end

--- The same for the functions of a table: signatures = { name = signature, ... }; returns the table.
function arguments.module(prefix, functions, signatures)
  for name, signature in pairs(signatures) do
    functions[name] = arguments.checked(prefix .. name, signature, assert(functions[name], name))
  end
  return functions
end

--- And for methods: what a method is called on is no argument.
function arguments.methods(prefix, functions, signatures)
  for name, signature in pairs(signatures) do
    local list, f = parse(signature), assert(functions[name], name)
    functions[name] = function(self, ...)
      check(prefix .. name, list, 2, ...)
      return f(self, ...)
    end
    signatures_of[functions[name]] = list
  end
  return functions
end

return arguments
