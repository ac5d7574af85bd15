--- One dimension of a space to search in: what a setting may be, and how [0, 1] is laid over that.
--
--   { kind = "uniform", low=, high= }             a number of the interval
--   { kind = "loguniform", low=, high= }          the same, its logarithm spread evenly; low > 0
--   { kind = "integer", low=, high=, log= }       a whole number, both ends included; log = true spreads its logarithm
--   { kind = "choice", values = { ... } }         one of a list of numbers, texts and booleans
--
-- A list is short for a choice, a single value for a choice among one. Searches work in the unit cube and know nothing
-- of units: whole numbers and choices own an interval each (a cell), numbers own a point.
local shown = require "lip.shown"

local dimension = {}

local KINDS = { uniform = true, loguniform = true, integer = true, choice = true }
local FIELDS = { kind = true, low = true, high = true, values = true, log = true }

local function plain(v)
  local kind = type(v)
  return kind == "string" or kind == "boolean" or (kind == "number" and v == v)
end

local function fail(name, format, ...)
  error(("%s: " .. format):format(name, ...), 0)
end

local function finite(v)
  return type(v) == "number" and v == v and v > -math.huge and v < math.huge
end

local function check_choice(d, name)
  if type(d.values) ~= "table" or #d.values == 0 then fail(name, "a choice needs a list of values") end
  local seen = {}
  for i, v in ipairs(d.values) do
    if not plain(v) then
      fail(name, "value %d of the choice is %s: numbers, texts and booleans only", i, v ~= v and "NaN" or type(v))
    end
    if seen[v] then fail(name, "the choice has %s twice", tostring(v)) end
    seen[v] = true
  end
  if d.low ~= nil or d.high ~= nil or d.log ~= nil then fail(name, "a choice has values, neither low, high nor log") end
end

local function check_range(d, name)
  if not finite(d.low) or not finite(d.high) then
    fail(name, "%s needs two finite numbers, got %s and %s", d.kind, shown(d.low), shown(d.high))
  end
  if d.low > d.high then fail(name, "%s from %s down to %s: the smaller first", d.kind, d.low, d.high) end
  if d.values ~= nil then fail(name, "%s has low and high, no values", d.kind) end
  if d.log ~= nil and d.kind ~= "integer" then fail(name, "log is for whole numbers; take loguniform") end
  if d.log ~= nil and type(d.log) ~= "boolean" then fail(name, "log expects true or false, got %s", shown(d.log)) end
  if d.kind == "integer" and not (math.tointeger(d.low) and math.tointeger(d.high)) then
    fail(name, "integer needs whole numbers, got %s and %s", d.low, d.high)
  end
  -- beyond these, differences of the ends are infinite or wrap around
  if d.kind == "integer" and math.max(math.abs(d.low + 0.0), math.abs(d.high + 0.0)) > 2 ^ 53 then
    fail(name, "integer works with whole numbers up to 2^53, got %d and %d", d.low, d.high)
  elseif d.high - d.low == math.huge then
    fail(name, "%s from %g to %g is too wide: at most 1.79e308", d.kind, d.low, d.high)
  end
  if (d.kind == "loguniform" or d.log) and d.low <= 0 then
    fail(name, "a logarithm needs numbers above 0, got %s", d.low)
  end
end

--- The dimension that `value` stands for, checked: a description, a list, or one value. Raises with `name` in front.
---@param value any
---@param name? string of the setting, for messages
---@return table { kind=, low=, high=, log=, values= }, a table of its own
function dimension.check(value, name)
  name = name or "dimension"
  if plain(value) then return { kind = "choice", values = { value } } end
  if type(value) ~= "table" then
    fail(name, "expected a description such as lip.uniform(0, 1), a list or a value, got %s",
      value ~= value and "NaN" or type(value))
  end
  local d
  if value.kind == nil then
    d = { kind = "choice", values = table.move(value, 1, #value, 1, {}) }
    for key in pairs(value) do
      if math.type(key) ~= "integer" or key < 1 or key > #value then
        fail(name, "a list of values, or a description with a kind; got the key %s", tostring(key))
      end
    end
  else
    if not KINDS[value.kind] then
      fail(name, "unknown kind '%s' (known: choice, integer, loguniform, uniform)", tostring(value.kind))
    end
    d = {}
    for key, v in pairs(value) do
      if not FIELDS[key] then fail(name, "unknown field '%s' of a dimension", tostring(key)) end
      d[key] = v
    end
    if type(d.values) == "table" then d.values = table.move(d.values, 1, #d.values, 1, {}) end
  end
  if d.kind == "choice" then check_choice(d, name) else check_range(d, name) end
  if d.kind == "integer" then d.low, d.high = math.tointeger(d.low), math.tointeger(d.high) end
  return d
end

--- All dimensions of a space { name = description, ... } with their names in order. Raises when it is empty.
---@return string[] names, table[] dimensions in the order of the names
function dimension.space(space)
  if type(space) ~= "table" or next(space) == nil then
    error("a space is a table { name = lip.uniform(0, 1), ... } with at least one entry", 0)
  end
  local names, dimensions = {}, {}
  for name in pairs(space) do
    if type(name) ~= "string" then fail(tostring(name), "settings of a space have names") end
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do dimensions[i] = dimension.check(space[name], name) end
  return names, dimensions
end

local function clamp(v, low, high)
  return v < low and low or v > high and high or v
end

-- The position of x between the ends of a range of whole numbers, whose cells reach from low to high + 1.
local function cell_end(d, x)
  if d.log then return math.log(x / d.low) / math.log((d.high + 1) / d.low) end
  return (x - d.low) / (d.high + 1 - d.low)
end

--- How many values a dimension has, or math.huge.
function dimension.count(d)
  if d.kind == "choice" then return #d.values end
  if d.low == d.high then return 1 end
  return d.kind == "integer" and d.high - d.low + 1 or math.huge
end

--- The value at u of [0, 1]; u outside counts as the nearer end.
function dimension.from_unit(d, u)
  if u ~= u then error("a position in the unit interval is NaN", 2) end
  u = clamp(u, 0, 1)
  if d.kind == "choice" then
    return d.values[math.min(math.floor(u * #d.values), #d.values - 1) + 1]
  elseif d.kind == "integer" then
    local x = d.log and d.low * ((d.high + 1) / d.low) ^ u or d.low + u * (d.high + 1 - d.low)
    return clamp(math.floor(x), d.low, d.high)
  elseif u == 0 or d.low == d.high then
    return d.low + 0.0
  elseif u == 1 then
    return d.high + 0.0
  elseif d.kind == "loguniform" then
    return clamp(math.exp(math.log(d.low) + u * (math.log(d.high) - math.log(d.low))), d.low, d.high)
  end
  return clamp(d.low + u * (d.high - d.low), d.low, d.high)
end

-- Where a value stands among those of a choice, or nil. 2 and 2.0 are the same value.
local function index_of(values, v)
  for i, x in ipairs(values) do
    if x == v then return i end
  end
end

--- The cell that a value owns: [from, to] in [0, 1]; nil when the dimension has no such value. For numbers that are not
--- whole, both are its position.
function dimension.cell(d, v)
  if d.kind == "choice" then
    local i = index_of(d.values, v)
    if not i then return nil end
    return (i - 1) / #d.values, i / #d.values
  end
  if type(v) ~= "number" or not (v >= d.low and v <= d.high) then return nil end
  if d.kind == "integer" then
    if not math.tointeger(v) then return nil end
    return clamp(cell_end(d, v), 0, 1), clamp(cell_end(d, v + 1), 0, 1)
  end
  if d.low == d.high then return 0, 1 end
  local u
  if d.kind == "loguniform" then
    u = (math.log(v) - math.log(d.low)) / (math.log(d.high) - math.log(d.low))
  else
    u = (v - d.low) / (d.high - d.low)
  end
  u = clamp(u, 0, 1)
  return u, u
end

--- Where a value lies in [0, 1]: the middle of its cell; nil when the dimension has no such value.
function dimension.to_unit(d, v)
  local from, to = dimension.cell(d, v)
  return from and (from + to) / 2
end

return dimension
