--- Tree-structured Parzen estimators: tpe(space, { n =, ahead =, ... }) -> a search that suggests configurations.
--
-- Bergstra et al. 2011 ("Algorithms for hyper-parameter optimization", section 4): of the trials so far the best go
-- into a density l(x), the others into g(x); among points drawn from l the one with the largest l(x) / g(x) is tried
-- next, which maximises the expected improvement. Both are Parzen estimators in the unit cube, one dimension at a
-- time: a normal distribution around every trial, as wide as the larger gap to its neighbours (not below 1 / min(100,
-- n + 1)), cut off at 0 and 1, and one wide one in the middle that stands for knowing nothing. Whole numbers get the
-- mass of their cell, choices what was counted of them and one more trial spread over all.
--
-- A suggestion depends on its number and on the results of trials 1 .. i - ahead alone: not on how many run at once. It
-- keeps away from what was suggested before and has no result yet, since it can work that out again.
-- A trial without a value (failed, pruned, NaN) counts as worse than all. The first startup + ahead points are those of
-- a Sobol sequence: those that begin before the results of `startup` trials are in.
local lip = require "lip.core"
local dimension = require "lip.sweep.dimension"
local sobol = require "lip.sweep.sobol"
local shown = require "lip.shown"

-- ---- normal distribution ----

-- erf(x) for x >= 0: its power series, and Lentz's continued fraction of erfc further out.
local function erf(x)
  if x > 6 then return 1 end
  if x < 2.5 then
    local term, sum, k = x, x, 0
    repeat
      k = k + 1
      term = -term * x * x / k
      local add = term / (2 * k + 1)
      sum = sum + add
    until math.abs(add) <= 1e-17 * sum
    return 2 / math.sqrt(math.pi) * sum
  end
  local fraction = 0
  for k = 60, 1, -1 do fraction = k / 2 / (x + fraction) end
  return 1 - math.exp(-x * x) / math.sqrt(math.pi) / (x + fraction)
end

local function normal_cdf(z)
  local x = z / math.sqrt(2)
  return x < 0 and 0.5 * (1 - erf(-x)) or 0.5 * (1 + erf(x))
end

-- ---- Parzen estimators of one dimension ----

-- { {centre, width, mass within [0, 1]}, ... } of positions; the wide one in the middle is among them.
local function kernels(positions)
  local sorted = table.move(positions, 1, #positions, 1, {})
  sorted[#sorted + 1] = 0.5
  table.sort(sorted)
  local least, list, wide = 1 / math.min(100, #sorted), {}, false
  for i, centre in ipairs(sorted) do
    local left, right = centre - (sorted[i - 1] or 0), (sorted[i + 1] or 1) - centre
    local width = math.max(least, math.min(1, math.max(left, right)))
    if centre == 0.5 and not wide then wide, width = true, 1 end
    list[i] = { centre, width, normal_cdf((1 - centre) / width) - normal_cdf(-centre / width) }
  end
  return list
end

-- log of the density at a number, or of the mass of a cell [from, to].
local function log_density(list, from, to)
  local sum = 0
  for _, k in ipairs(list) do
    local centre, width, mass = k[1], k[2], k[3]
    if from == to then
      local z = (from - centre) / width
      sum = sum + math.exp(-z * z / 2) / (width * mass * math.sqrt(2 * math.pi))
    else
      sum = sum + (normal_cdf((to - centre) / width) - normal_cdf((from - centre) / width)) / mass
    end
  end
  return math.log(math.max(sum / #list, 1e-300))
end

local function draw_number(list, rng)
  local k = list[rng:below(#list) + 1]
  while true do
    local u = k[1] + k[2] * rng:normal()
    if u >= 0 and u <= 1 then return u end
  end
end

-- Parts of a choice: (times seen + 1 / how many values) / (trials + 1).
local function shares(d, values)
  local list, n = {}, #d.values
  for i, v in ipairs(d.values) do
    local count = 0
    for _, seen in ipairs(values) do count = count + (seen == v and 1 or 0) end
    list[i] = (count + 1 / n) / (#values + 1)
  end
  return list
end

local function draw_share(list, rng)
  local u = rng:uniform()
  for i = 1, #list - 1 do
    u = u - list[i]
    if u < 0 then return i end
  end
  return #list
end

-- Candidates of one dimension drawn from the good trials, best ratio first: { {value, log l - log g}, ... }.
local function candidates(d, good, bad, count, rng)
  local list, seen = {}, {}
  local function add(value, ratio_of)
    if seen[value] then return end
    seen[value] = true
    list[#list + 1] = { value, ratio_of(value), #list }
  end
  if d.kind == "choice" then
    local l, g = shares(d, good), shares(d, bad)
    for _ = 1, count do
      local i = draw_share(l, rng)
      add(d.values[i], function() return math.log(l[i] / g[i]) end)
    end
  else
    local function positions(values)
      local units = {}
      for i, v in ipairs(values) do units[i] = dimension.to_unit(d, v) end
      return units
    end
    local l, g = kernels(positions(good)), kernels(positions(bad))
    local function ratio(value)
      local from, to = dimension.cell(d, value)
      if d.kind ~= "integer" then to = from end
      return log_density(l, from, to) - log_density(g, from, to)
    end
    for _ = 1, count do add(dimension.from_unit(d, draw_number(l, rng)), ratio) end
  end
  table.sort(list, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return a[3] < b[3]
  end)
  return list
end

-- ---- the search ----

---@class lip.tpe.search
local methods = {}

-- One text for one configuration.
local function key_of(self, config)
  local parts = {}
  for i, name in ipairs(self.names) do
    local v = config[name]
    parts[i] = type(v) == "number" and ("%.17g"):format(v) or type(v) .. tostring(v)
  end
  return table.concat(parts, "\0")
end

local function config_at(self, point)
  local config = {}
  for k, name in ipairs(self.names) do config[name] = dimension.from_unit(self.dimensions[k], point[k]) end
  return config
end

-- The configuration of a space with few of them that stands at `index` (from 0).
local function config_number(self, index)
  local config = {}
  for k = #self.names, 1, -1 do
    local d = self.dimensions[k]
    local count = dimension.count(d)
    local digit = index % count
    index = index // count
    config[self.names[k]] = dimension.from_unit(d, (digit + 0.5) / count)
    if d.kind == "integer" then config[self.names[k]] = d.low + digit end
  end
  return config
end

-- Anything not tried yet, or nil when there is nothing left: random draws, and when these fail the whole list.
local function anything_new(self, tried, rng)
  for _ = 1, 100 do
    local point = {}
    for k = 1, #self.names do point[k] = rng:uniform() end
    local config = config_at(self, point)
    if not tried[key_of(self, config)] then return config end
  end
  local start = self.size < math.huge and rng:below(self.size) or 0
  for step = 0, self.size < 1e6 and self.size - 1 or -1 do
    local config = config_number(self, (start + step) % self.size)
    if not tried[key_of(self, config)] then return config end
  end
end

-- Numbers of the results, best first. Without a value last; ties: the earlier first.
local function ranking(self, results, upto)
  local order, sign = {}, self.minimise and -1 or 1
  local score = {}
  for k = 1, upto do
    local value = results[k].value
    order[k] = k
    score[k] = type(value) == "number" and value == value and sign * value or -math.huge
  end
  table.sort(order, function(a, b)
    if score[a] ~= score[b] then return score[a] > score[b] end
    return a < b
  end)
  return order
end

local function from_model(self, i, results, tried, rng)
  local upto = i - self.ahead
  local order = ranking(self, results, upto)
  local best = math.min(math.ceil(self.gamma * upto), 25)
  local columns = {}
  for k, name in ipairs(self.names) do
    local good, bad = {}, {}
    for place, number in ipairs(order) do
      local list = place <= best and good or bad
      list[#list + 1] = results[number].config[name]
    end
    columns[k] = candidates(self.dimensions[k], good, bad, self.candidates, rng)
  end
  -- the best of every dimension; where that was tried, the next best of one dimension after the other
  local config = {}
  for k, name in ipairs(self.names) do config[name] = columns[k][1][1] end
  if not tried[key_of(self, config)] then return config end
  local chosen, loss
  for k, name in ipairs(self.names) do
    local first = columns[k][1]
    for _, other in ipairs(columns[k]) do
      config[name] = other[1]
      if (not loss or first[2] - other[2] < loss) and not tried[key_of(self, config)] then
        chosen, loss = { name, other[1] }, first[2] - other[2]
      end
    end
    config[name] = first[1]
  end
  if not chosen then return nil end
  config[chosen[1]] = chosen[2]
  return config
end

-- What suggestions were worked out from: forgets those that rest on a result that is another now.
local function remember(self, k, key, value)
  local seen = self.seen[k]
  if seen and seen[1] == key and rawequal(seen[2], value) then return end
  self.seen[k] = { key, value }
  for i in pairs(self.made) do
    if i >= k + self.ahead then self.made[i] = nil end
  end
end

-- The i-th suggestion when `tried` holds all before it.
local function suggest_new(self, i, results, tried)
  if self.made[i] then return self.made[i] end
  local rng = lip.rng((self.seed * 0x9E3779B1 + i) & 0x7FFFFFFF)
  local config
  if i <= self.startup + self.ahead then
    local point = self.points:point(i)
    for k = #point + 1, #self.names do point[k] = rng:uniform() end -- Sobol points end at 32 dimensions
    config = config_at(self, point)
    if tried[key_of(self, config)] then config = nil end
  else
    config = from_model(self, i, results, tried, rng)
  end
  self.made[i] = config or anything_new(self, tried, rng)
  return self.made[i]
end

--- How many of n trials begin with points that no result has a say in.
function methods:fixed()
  return math.min(self.startup + self.ahead, self.n or math.huge)
end

--- The configuration of trial i (from 1), or nil when every one of a finite space has been suggested.
---@param i integer
---@param results table [k] = { config =, value = number or nil } for k = 1 .. i - ahead; more is not looked at
function methods:suggest(i, results)
  local tried = {}
  local known = math.max(0, i - self.ahead)
  for k = 1, known do
    if not results[k] then error(("tpe: suggestion %d needs the result of trial %d"):format(i, k), 2) end
    local key = key_of(self, results[k].config)
    tried[key] = true
    remember(self, k, key, results[k].value)
  end
  -- those under way have no result, but their configurations follow from the same results
  for k = known + 1, i - 1 do
    local config = suggest_new(self, k, results, tried)
    if not config then return nil end
    tried[key_of(self, config)] = true
  end
  local config, copy = suggest_new(self, i, results, tried), nil
  if config then
    copy = {}
    for name, value in pairs(config) do copy[name] = value end
  end
  return copy
end

local function whole(o, name, default, least)
  local v = o[name] == nil and default or o[name]
  local n = math.tointeger(v)
  if not n or n < least then
    error(("tpe: '%s' expects a whole number >= %d, got %s"):format(name, least, shown(v)), 3)
  end
  return n
end

local KNOWN = { n = true, ahead = true, seed = true, startup = true, candidates = true, gamma = true, minimise = true }

--- A search of a space { name = description, ... } (lip.sweep.dimension).
---@param space table
---@param options? table { n = how many trials there will be, ahead = 4, seed = 1, startup = 10 points of a Sobol
--- sequence first, candidates = 24 drawn for each suggestion, gamma = 0.15: the share of good trials, minimise = false}
local function tpe(space, options)
  local o = options or {}
  for key in pairs(o) do
    if not KNOWN[key] then error(("tpe: unknown option '%s'"):format(tostring(key)), 2) end
  end
  local names, dimensions = dimension.space(space)
  local self = { kind = "tpe", names = names, dimensions = dimensions, size = 1, seen = {}, made = {},
    n = o.n ~= nil and whole(o, "n", nil, 1) or nil, ahead = whole(o, "ahead", 4, 1), seed = whole(o, "seed", 1, 0),
    startup = whole(o, "startup", 10, 1), candidates = whole(o, "candidates", 24, 1), gamma = o.gamma or 0.15,
    minimise = o.minimise or false }
  if type(self.gamma) ~= "number" or not (self.gamma > 0 and self.gamma < 1) then
    error(("tpe: 'gamma' expects a number between 0 and 1, got %s"):format(shown(o.gamma)), 2)
  end
  for _, d in ipairs(dimensions) do self.size = self.size * dimension.count(d) end
  self.points = sobol(math.min(#names, 32), self.seed)
  return setmetatable(self, { __index = methods })
end

return tpe
