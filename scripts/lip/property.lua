--- What is asked of a net wherever its input is in some set: lip.property{ input =, output = }, for lip.verify(net, property).
--
--   input   a box {low =, high =}, a ball {x =, eps =, p =, scale =, box =}, or a list of those: anywhere in one of them
--   output  rows of the outputs, as option `spec` of net:certify: {C =, d =}, {between =}; or about a label: {label = y},
--           {label = y, top = k}, {label = y, target = t}
--
-- lip.property.vnnlib(path) reads a query, which says what must not be; lip.verify takes it in place of a property.
local arguments = require "lip.arguments"
local shown = require "lip.shown"

local property = { vnnlib = require "lip.vnnlib" }

local meta = { __name = "lip.property" }

local function type_name(v)
  local m = type(v) == "userdata" and debug.getmetatable(v)
  return m and m.__name or type(v)
end

local function fail(level, text, ...)
  error("lip.property: " .. text:format(...), level + 1)
end

local parts = { low = true, high = true, x = true, eps = true, p = true, scale = true, box = true }

-- One box or ball, copied; raises.
local function part_of(v, level)
  level = level + 1
  if type(v) ~= "table" then fail(level, "input expects a box {low =, high =} or a ball {x =, eps =}, got %s", type_name(v)) end
  local copy = {}
  for name, value in pairs(v) do
    if not parts[name] then fail(level, "input knows low, high, x, eps, p, scale and box, got '%s'", tostring(name)) end
    copy[name] = value
  end
  local ball = copy.x ~= nil
  if ball == (copy.low ~= nil or copy.high ~= nil) then
    fail(level, "input expects either low and high or x and eps, got %s", ball and "both" or "neither")
  end
  for _, name in ipairs(ball and { "x" } or { "low", "high" }) do
    if type_name(copy[name]) ~= "lip.tensor" then
      fail(level, "input: %s expects a tensor of one input, got %s", name, type_name(copy[name]))
    end
    copy[name] = copy[name]:clone()
  end
  if not ball and (copy.p ~= nil or copy.eps ~= nil or copy.scale ~= nil or copy.box ~= nil) then
    fail(level, "input: p, eps, scale and box go with x")
  end
  if not ball then return copy end
  if copy.eps == nil then fail(level, "input: eps is required: the size of the ball") end
  if copy.p ~= nil and copy.p ~= 1 and copy.p ~= 2 and copy.p ~= math.huge and copy.p ~= "inf" then
    fail(level, 'input: p expects 1, 2, math.huge or "inf", got %s', type(copy.p) == "number" and shown(copy.p) or tostring(copy.p))
  end
  return copy
end

local function parts_of(v, level)
  level = level + 1
  if type(v) ~= "table" or v[1] == nil then return { part_of(v, level) } end
  local list = {}
  for i, one in ipairs(v) do list[i] = part_of(one, level) end
  for name in pairs(v) do
    if math.type(name) ~= "integer" or name < 1 or name > #list then fail(level, "input expects a box, a ball, or a list of them") end
  end
  return list
end

-- The spec, and the label that it is about or nil.
local function output_of(v, level)
  level = level + 1
  if type(v) ~= "table" then fail(level, "output expects a table such as {label = 3} or {C =, d =}, got %s", type_name(v)) end
  if v.label == nil then return v end
  local rest = {}
  for name, value in pairs(v) do
    if name ~= "label" and name ~= "top" and name ~= "target" then
      fail(level, "output: label goes with top or target, got '%s'", tostring(name))
    end
    if name ~= "label" then rest[name] = value end
  end
  if math.type(v.label) ~= "integer" and not (type(v.label) == "number" and math.tointeger(v.label)) or v.label < 0 then
    fail(level, "output: label expects a class from 0 on, got %s", type(v.label) == "number" and shown(v.label) or type_name(v.label))
  end
  return next(rest) and rest or nil, math.tointeger(v.label)
end

local function new(o, level)
  level = level + 1
  if type(o) ~= "table" then fail(level, "expects a table {input =, output =}, got %s", type_name(o)) end
  for name in pairs(o) do
    if name ~= "input" and name ~= "output" then fail(level, "knows input and output, got '%s'", tostring(name)) end
  end
  local spec, label = output_of(o.output, level)
  return setmetatable({ input = parts_of(o.input, level), spec = spec, label = label }, meta)
end

function meta.__tostring(self)
  local about = self.label and ("label %d"):format(self.label) or "rows of the outputs"
  return ("property (%s; %d part%s of the inputs)"):format(about, #self.input, #self.input == 1 and "" or "s")
end

--- Whether a value is a property or a query: what lip.verify decides.
function property.is(v)
  return type(v) == "table" and getmetatable(v) == meta or type_name(v) == "lip.vnnlib"
end

--- For net:decide.
function property.question(v)
  if type_name(v) == "lip.vnnlib" then return { query = v } end
  return { input = v.input, spec = v.spec, label = v.label }
end

--- Inputs no farther than eps from x are given the label.
function property.robust(x, label, eps, p)
  return new({ input = { x = x, eps = eps, p = p }, output = { label = label } }, 2)
end

--- The label is among the k largest outputs.
function property.top_k(x, label, k, eps, p)
  return new({ input = { x = x, eps = eps, p = p }, output = { label = label, top = k } }, 2)
end

--- Every output stays between low and high, numbers or one for each output.
function property.output_range(input, low, high)
  return new({ input = input, output = { between = { low, high } } }, 2)
end

arguments.module("lip.property.", property, {
  robust = "x tensor, label whole, eps something, p any?", top_k = "x tensor, label whole, k count, eps something, p any?",
  output_range = "input table, low any, high any",
})

return setmetatable(property, { __call = function(_, o) return new(o, 2) end })
