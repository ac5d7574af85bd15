--- The values of a run by name: what filters, columns, groups and figures speak about.
-- "row.NAME" is a result, "config.NAME" a setting. A bare NAME is one of the run's own (below) if it has that, else a
-- setting, else a result, so that `state` and `seconds` mean the same in every store.
local core = require "lip.core"
local nearest = require "lip.nearest"

local field = {}

field.own = { "id", "sweep", "number", "key", "state", "seed", "attempt", "value", "seconds", "memory", "step", "total",
  "started", "finished", "exit", "signal", "message", "host", "pid" }

local is_own = {}
for _, name in ipairs(field.own) do is_own[name] = true end
field.is_own = is_own

-- JSON has no numbers for these: they are kept as texts.
local SPECIAL = { inf = math.huge, ["-inf"] = -math.huge, nan = 0 / 0 }

--- The number a value means, or nil.
function field.number(v)
  if type(v) == "number" then return v end
  if type(v) == "string" then return SPECIAL[v] or tonumber(v) end
  return nil
end

-- What a number of that name bounds: shown with few digits it must not say more than is known.
local SIDES = { bound = core.round_up, upper = core.round_up, lower = core.round_down, attained = core.round_down,
  radius = core.round_down, certified = core.round_down, verified = core.round_down }

--- The number that is shown for the result `name` with so many digits, or decimals when `fixed`: bounds upwards, what is
-- attained, certified or verified downwards, anything else as it is.
function field.shown(name, v, digits, fixed)
  local own = type(name) == "string" and not name:find "^config%." and name:gsub("^row%.", "")
  local round = own and (SIDES[own:match "^%a+"] or SIDES[own:match "%a+$"])
  return round and round(v, digits, fixed) or v
end

--- A value as one word: lists as "256,256", nested tables as JSON.
function field.text(v)
  if type(v) ~= "table" then return tostring(v) end
  local parts = {}
  for i = 1, #v do
    if type(v[i]) == "table" then return core.to_json(v) end
    parts[i] = tostring(v[i])
  end
  if #parts == 0 and next(v) ~= nil then return core.to_json(v) end
  return table.concat(parts, ",")
end

-- An entry of the record's settings or results; those of records that a script has made may be anything.
local function entry(record, part, name)
  local values = record[part]
  if type(values) ~= "table" then return nil end
  return values[name]
end

-- Shown and asked for by these names too, unless a script calls something of its own so.
local also_called = { time = "seconds", run = "name" }

local function aliased(record, name)
  local v = entry(record, "config", name)
  if v == nil then v = entry(record, "row", name) end
  if v == nil then v = record[also_called[name]] end
  return v
end

--- A function of a record that gives the value called `name` (nil: it has none).
function field.getter(name)
  if also_called[name] then
    return function(record) return aliased(record, name) end
  end
  local part, rest = name:match "^(%l+)%.(.+)$"
  if part == "row" or part == "config" then
    return function(record) return entry(record, part, rest) end
  end
  local own = is_own[name]
  return function(record)
    if own and record[name] ~= nil then return record[name] end
    local v = entry(record, "config", name)
    if v == nil then v = entry(record, "row", name) end
    return v
  end
end

--- The value of a record that is called `name`.
function field.get(record, name)
  if also_called[name] then return aliased(record, name) end
  local part, rest = name:match "^(%l+)%.(.+)$"
  if part == "row" or part == "config" then
    return entry(record, part, rest)
  end
  if is_own[name] and record[name] ~= nil then return record[name] end
  local v = entry(record, "config", name)
  if v == nil then v = entry(record, "row", name) end
  return v
end

--- The names of the settings and of the results that the records have, each as a sorted list. Entries of lists have
-- no names.
function field.names(records)
  local function sorted(part)
    local seen, list = {}, {}
    for _, record in ipairs(records) do
      for name in next, type(record[part]) == "table" and record[part] or {} do
        if type(name) == "string" and not seen[name] then
          seen[name] = true
          list[#list + 1] = name
        end
      end
    end
    table.sort(list)
    return list
  end
  return sorted "config", sorted "row"
end

--- " (did you mean 'x'?)" for the nearest of `names`, or an empty text.
function field.did_you_mean(name, names)
  local best = nearest(name, names)
  return best and (" (did you mean '%s'?)"):format(best) or ""
end

--- Whether `time` is what a run took: no script has a setting or a result of that name.
function field.is_duration(name, records)
  if name ~= "time" then return false end
  for _, record in ipairs(records) do
    if (record.config or {}).time ~= nil or (record.row or {}).time ~= nil then return false end
  end
  return true
end

--- A function that tells whether a name is known to any of the records, and the list of what is.
function field.known(records)
  local list, seen = {}, {}
  local config, row = field.names(records)
  for _, names in ipairs { field.own, config, row } do
    for _, name in ipairs(names) do
      if not seen[name] then
        seen[name] = true
        list[#list + 1] = name
      end
    end
  end
  for part, names in next, { config = config, row = row } do
    for _, name in ipairs(names) do seen[part .. "." .. name] = true end
  end
  for name, own in next, also_called do
    if not seen[name] then list[#list + 1], seen[name] = name, own end
  end
  return function(name) return seen[name] ~= nil end, list
end

return field
