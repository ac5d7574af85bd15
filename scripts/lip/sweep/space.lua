--- Which configurations a sweep tries: the descriptions that its tables are written with, and the lists made from them.
--
-- The order is fixed and part of the description: a grid runs through its settings in alphabetical order, the last one
-- fastest; a list stays as written; random and sobol give a longer sweep the same beginning.
local core = require "lip.core"
local dimension = require "lip.sweep.dimension"
local shown = require "lip.shown"

local space = {}

local MOST = 1000000 -- trials in one sweep

local function fail(format, ...)
  error(format:format(...), 0)
end

-- Twelve digits: what mathematical libraries answer differs in the last ones, and keys must not.
local function rounded(x, low, high)
  return math.min(math.max(tonumber(("%.12g"):format(x)), low), high)
end

local function finite(x)
  return type(x) == "number" and x == x and math.abs(x) < math.huge
end

-- ---- descriptions ----

--- n numbers from a to b, evenly spread on a logarithmic axis; both ends are exact.
---@param a number above 0
---@param b number above 0
---@param n integer at least 2, or 1 when a equals b
---@return number[]
function space.logspace(a, b, n)
  if not (finite(a) and finite(b) and a > 0 and b > 0) then
    error(("logspace expects two finite numbers above 0, got %s and %s"):format(shown(a), shown(b)), 2)
  end
  n = math.tointeger(n)
  if not n or n < 1 or n > MOST or (n == 1 and a ~= b) then
    error("logspace expects how many numbers: a whole number, at least 2", 2)
  end
  local list = {}
  for i = 1, n do
    local t = (i - 1) / math.max(n - 1, 1)
    list[i] = rounded(a * (b / a) ^ t, math.min(a, b), math.max(a, b))
  end
  list[1], list[n] = a, b
  return list
end

local function range(kind)
  return function(low, high)
    local ok, d = pcall(dimension.check, { kind = kind, low = low, high = high }, "lip." .. kind)
    if not ok then error(d, 2) end
    return d
  end
end

--- A number from low to high.
space.uniform = range "uniform"

--- A number from low to high, its logarithm spread evenly.
space.loguniform = range "loguniform"

--- A whole number from low to high, both included.
space.integer = range "integer"

--- One of a list of values.
function space.choice(values)
  local ok, d = pcall(dimension.check, { kind = "choice", values = values }, "lip.choice")
  if not ok then error(d, 2) end
  return d
end

-- ---- values ----

-- A value as configurations hold it: a number, text, boolean, or a list of such. Infinity is the word "inf", as
-- settings and JSON write it.
local function plain(v, where, depth)
  local kind = type(v)
  if kind == "number" then
    if v ~= v then fail("%s: NaN is no value to try", where) end
    if v == math.huge then return "inf" elseif v == -math.huge then return "-inf" end
    return math.tointeger(v) or v
  elseif kind == "string" then
    if not utf8.len(v) then fail("%s: a text that is not UTF-8", where) end
    if v:find("\0", 1, true) then fail("%s: a text with a zero byte", where) end
    return v
  elseif kind == "boolean" then
    return v
  elseif kind == "table" and depth < 1 then
    local list, n = {}, rawlen(v)
    for key, x in next, v do -- what stands in it, not what a metatable would answer
      if math.type(key) ~= "integer" or key < 1 or key > n then
        fail("%s: expected a list of values, got the key %s", where, tostring(key))
      end
      list[key] = plain(x, where, depth + 1)
    end
    for i = 1, n do
      if list[i] == nil then fail("%s: the list has a gap: no value %d", where, i) end
    end
    return list
  end
  fail("%s: expected a number, a text, true, false or a list of these, got a %s", where, kind)
end

local function check_name(name, where)
  if type(name) ~= "string" or not name:find "^[%a_][%w_]*$" then
    fail("%s: settings have names such as 'budget', got %s", where, tostring(name))
  end
end

--- A configuration checked and copied.
---@param config table name = value
---@param where string for messages
function space.config(config, where)
  if type(config) ~= "table" then fail("%s: expected a table of settings, got a %s", where, type(config)) end
  local copy = {}
  for name, v in next, config do
    check_name(name, where)
    copy[name] = plain(v, where .. "." .. name, 0)
  end
  return copy
end

local function sorted_names(t, where)
  if type(t) ~= "table" or next(t) == nil then
    fail("%s: expected a table { name = values, ... } with at least one entry", where)
  end
  local names = {}
  for name in pairs(t) do
    check_name(name, where)
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- ---- lists of configurations ----

--- { name = { values, ... } or value, ... } with its values checked.
function space.check_grid(grid)
  local checked, count = {}, 1
  for _, name in ipairs(sorted_names(grid, "grid")) do
    local values, where = grid[name], "grid." .. name
    if type(values) ~= "table" then values = { values } end
    if values.kind then fail("%s: a grid needs a list of values; ranges are for random, sobol and tpe", where) end
    values = plain(values, where, -1)
    if #values == 0 then fail("%s: an empty list leaves nothing to try", where) end
    checked[name], count = values, count * #values
    if count > MOST then fail("grid: more than %d trials", MOST) end
  end
  return checked
end

--- Every combination of a checked grid.
function space.grid(grid)
  local names, configs, point = sorted_names(grid, "grid"), {}, {}
  local function fill(k)
    local name = names[k]
    if not name then
      local config = {}
      for key, v in pairs(point) do config[key] = v end
      configs[#configs + 1] = config
      return
    end
    for _, v in ipairs(grid[name]) do
      point[name] = v
      fill(k + 1)
    end
  end
  fill(1)
  return configs
end

--- A space of dimensions by name, checked: values as configurations hold them.
function space.check(given, where)
  sorted_names(given, where)
  local checked = {}
  for name, v in pairs(given) do
    local d = dimension.check(v, where .. "." .. name)
    if d.values then d.values = plain(d.values, where .. "." .. name, 0) end
    checked[name] = d
  end
  return checked
end

--- The configuration at a point of the unit cube, whose sides are the names of a checked space in order.
function space.at(names, checked, point)
  local config = {}
  for i, name in ipairs(names) do
    local d = checked[name]
    local v = dimension.from_unit(d, point[i])
    if d.kind == "uniform" or d.kind == "loguniform" then v = math.tointeger(v) or rounded(v, d.low, d.high) end
    config[name] = v
  end
  return config
end

--- The number of different configurations of a checked space, at most math.huge.
function space.count(checked)
  local count = 1.0 -- not whole: products of large spaces would wrap around
  for _, d in pairs(checked) do count = count * dimension.count(d) end
  return count
end

-- n different configurations from a source of points.
local function distinct(checked, n, next_point, where)
  local all = space.count(checked)
  if all < n then fail("%s: the space has %d different configurations, n = %d", where, all, n) end
  local names, configs, seen, tries = sorted_names(checked, where), {}, {}, 0
  while #configs < n do
    local config = space.at(names, checked, next_point(#names))
    local text = core.to_json(config)
    if not seen[text] then
      seen[text] = true
      configs[#configs + 1] = config
    end
    tries = tries + 1
    if tries > 1000 * n + 1000 then fail("%s: too few different configurations for n = %d", where, n) end
  end
  return configs
end

--- n different points of a checked space, drawn independently.
function space.random(checked, n, seed)
  local rng = core.rng(seed)
  return distinct(checked, n, function(dims)
    local point = {}
    for i = 1, dims do point[i] = rng:uniform() end
    return point
  end, "random")
end

--- n different points of a checked space that fill it evenly.
function space.sobol(checked, n, seed)
  local names, i = sorted_names(checked, "sobol"), 0
  local generator = require "lip.sweep.sobol"(#names, seed)
  return distinct(checked, n, function()
    i = i + 1
    return generator:point(i)
  end, "sobol")
end

-- ---- identity ----

--- What a trial is known by: 16 hexadecimal digits, made of the script's text and the configuration alone.
---@param identity table what the trial is, for JSON
function space.key(identity)
  return core.sha256(core.to_json(identity)):sub(1, 16)
end

--- The seed of a trial: that of its configuration, or one made from its key.
function space.seed(config, key)
  local own = config.seed
  if own == nil then return tonumber(key:sub(1, 8), 16) end
  if not math.tointeger(own) or own < 0 then
    fail("seed: expected a whole number, at least 0, got %s", shown(own))
  end
  return math.tointeger(own)
end

return require "lip.arguments".module("lip.", space, {
  logspace = "a float, b float, n float", uniform = "a number, b number", loguniform = "a number, b number",
  integer = "a number, b number", choice = "values table",
})
