--- Runs that differ only in what does not matter (seeds, mostly), taken together: mean, standard deviation, number.
local field = require "lip.runs.field"
local records = require "lip.runs.records"

local group = {}

--- Mean and sample deviation (n - 1) of a list of numbers; deviation is nil for a single one. In two passes: the
-- one-pass formula loses all digits when the spread is small beside the mean.
function group.statistics(values)
  local n, sum = #values, 0
  if n == 0 then return nil end
  for _, v in ipairs(values) do sum = sum + v end
  local mean = sum / n
  if n == 1 then return mean, nil end
  local squares = 0
  for _, v in ipairs(values) do squares = squares + (v - mean) ^ 2 end
  return mean, math.sqrt(squares / (n - 1))
end

--- The settings to group by when `over` are averaged: all that vary, but these.
function group.without(list, over)
  local away = {}
  for _, name in ipairs(over) do away[name:gsub("^config%.", "")] = true end
  local names = {}
  for _, name in ipairs((records.varying(list))) do
    if not away[name] then names[#names + 1] = name end
  end
  return names
end

local function put(record, name, v)
  local part, rest = name:match "^(%l+)%.(.+)$"
  if part == "row" or part == "config" then
    record[part][rest] = v
  elseif field.is_own[name] then
    record[name] = v
  else
    record.config[name] = v
  end
end

local function collect(list, by)
  local getters, index, groups = {}, {}, {}
  for i, name in ipairs(by) do getters[i] = field.getter(name) end
  for _, record in ipairs(list) do
    local parts, values = {}, {}
    for i, get in ipairs(getters) do
      values[i] = get(record)
      parts[i] = type(values[i]) .. ":" .. field.text(values[i])
    end
    local key = table.concat(parts, "\0")
    local g = index[key]
    if not g then
      g = { config = {}, row = {}, deviation = {}, members = {} }
      for i, name in ipairs(by) do put(g, name, values[i]) end
      index[key] = g
      groups[#groups + 1] = g
    end
    g.members[#g.members + 1] = record
  end
  return groups
end

--- Groups of the records with the same values of the names in `by`, as records of their own: means stand in row and
-- under the run's own names, deviations in `deviation`, numbers of runs in `n`: a run that several sweeps share counts
-- once in a group. Sorted by the names.
function group.make(list, by)
  local groups = collect(list, by)
  local _, row = field.names(list)
  local grouped = {}
  for _, name in ipairs(by) do grouped[name] = true end
  for _, g in ipairs(groups) do
    g.members = records.distinct(g.members)
    g.n = #g.members
    local function average(name, get, into, key)
      local values = {}
      for _, record in ipairs(g.members) do values[#values + 1] = field.number(get(record)) end
      if #values == 0 then return end
      into[key], g.deviation[name] = group.statistics(values)
    end
    for _, name in ipairs(row) do
      if not grouped["row." .. name] then average(name, field.getter("row." .. name), g.row, name) end
    end
    for _, name in ipairs { "seconds", "memory", "value", "step" } do
      if not grouped[name] then average("run." .. name, field.getter(name), g, name) end
    end
  end
  return records.sort(groups, by)
end

--- The deviation that belongs to what field.getter(name) gives of a group.
function group.deviation(g, name)
  if field.is_own[name] then return g.deviation["run." .. name] end
  return g.deviation[(name:gsub("^row%.", ""))]
end

return group
