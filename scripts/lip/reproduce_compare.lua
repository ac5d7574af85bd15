--- Two journals of one trial: what they say, and where their figures differ.
local decimal = require "lip.decimal"

local compare = {}

--- Relative difference allowed between figures of different kernels: training amplifies the order of sums.
compare.TOLERANCE = 1e-3

-- ---- reading ----

--- What a journal says in the end: { state, message, row, metrics = { [step] = { [name] = value } }, data = { [name] =
--- sha256 }, provenance, sweeps = { [name] = true } that had it run, last = last step }.
function compare.read(lines)
  local seen = { metrics = {}, data = {}, provenance = {}, sweeps = {}, last = 0 }
  for _, line in ipairs(lines) do
    if line.event == "start" then
      if type(line.provenance) == "table" then seen.provenance = line.provenance end
      if line.sweep then seen.sweeps[tostring(line.sweep)] = true end
      seen.state, seen.message, seen.row = nil, nil, nil
    elseif line.event == "metrics" and math.type(line.step) == "integer" then
      seen.metrics[line.step] = seen.metrics[line.step] or {}
      for name, value in pairs(type(line.values) == "table" and line.values or {}) do
        seen.metrics[line.step][name] = value
      end
      seen.last = math.max(seen.last, line.step)
    elseif line.event == "data" then
      seen.data[tostring(line.name)] = line.sha256 or "not read from a file"
    elseif line.event == "end" then
      seen.state, seen.message, seen.row = line.state, line.message, line.row
    end
  end
  return seen
end

-- ---- what counts ----

local NO_FIGURE = { seconds = true, time = true, memory = true, path = true, file = true, folder = true, pid = true,
  host = true }

--- Whether an entry of a row says something that must come again. rate is samples per second where seconds stand by it.
function compare.is_figure(name, beside)
  if type(name) ~= "string" then return true end
  if name == "rate" and type(beside) == "table" and beside.seconds ~= nil then return false end
  return not NO_FIGURE[name:lower():match "[%a%d]*$"]
end

local function number(v)
  if v == "inf" then return math.huge elseif v == "-inf" then return -math.huge elseif v == "nan" then return 0 / 0 end
  return type(v) == "number" and v or nil
end

-- nil when they agree, else the relative difference (nan: not to be told).
local function apart(a, b, tolerance)
  if a == b or (a ~= a and b ~= b) then return nil end
  local difference = math.abs(a - b) / math.max(math.abs(a), math.abs(b))
  if difference <= tolerance then return nil end
  return difference
end

local function text(v)
  if v == nil then return "-" end
  if type(v) == "number" then return decimal.text(v) end
  local s = type(v) == "table" and decimal.json(v) or tostring(v)
  s = s:gsub("[%c\x7f]", "?")
  return #s > 40 and s:sub(1, utf8.offset(s, 0, 38) - 1) .. "..." or s
end

local function note(list, name, step, was, now, difference)
  list[#list + 1] = { name = name, step = step, was = text(was), now = text(now),
    difference = difference and difference == difference and ("%.2g"):format(difference) or nil }
end

local function sorted(...)
  local names, seen = {}, {}
  for _, t in ipairs { ... } do
    for name in pairs(t) do
      if not seen[name] then names[#names + 1] = name end
      seen[name] = true
    end
  end
  table.sort(names, function(a, b)
    if type(a) ~= type(b) then return type(a) == "number" end
    return a < b
  end)
  return names
end

-- ---- comparing ----

local comparison = {}
comparison.__index = comparison

-- One value of either run; tables are gone through entry by entry.
function comparison:value(name, step, was, now)
  if type(was) == "table" and type(now) == "table" then
    local count = 0
    for _, key in ipairs(sorted(was, now)) do
      if compare.is_figure(key, was) then
        local inner = math.type(key) == "integer" and ("%s[%d]"):format(name, key) or ("%s.%s"):format(name, key)
        count = count + self:value(inner, step, was[key], now[key])
      end
    end
    return count
  end
  local a, b = number(was), number(now)
  if a and b then
    local difference = apart(a, b, self.tolerance)
    if difference then note(self.list, name, step, a, b, difference) end
  else
    if type(was) == "string" and type(now) == "string" then -- files of the run lie in another folder now
      was, now = self.plain(was, self.was.folder), self.plain(now, self.now.folder)
    end
    if was ~= now then note(self.list, name, step, was, now) end
  end
  return 1
end

function comparison.plain(words, folder)
  local from, to = words:find(folder, 1, true)
  return from and words:sub(1, from - 1) .. "FOLDER" .. words:sub(to + 1) or words
end

-- Names that a run reports at any step.
local function names_of(metrics)
  local names = {}
  for _, values in pairs(metrics) do
    for name in pairs(values) do names[name] = true end
  end
  return names
end

-- Several sweeps have had the trial run, each asking for the figures of its own scheduler: those that the new run was
-- not asked for are named, not compared.
function comparison:metrics(was, now)
  local steps, count, asked = 0, 0, nil
  if next(was.sweeps, (next(was.sweeps))) ~= nil then asked = names_of(now.metrics) end
  for _, step in ipairs(sorted(was.metrics, now.metrics)) do
    -- a run that was ended early is compared as far as it went
    if was.state ~= "pruned" or step <= was.last then
      local a, b = was.metrics[step] or {}, now.metrics[step] or {}
      steps = steps + 1
      for _, name in ipairs(sorted(a, b)) do
        if asked and not asked[name] then
          self.others[name] = true
        elseif compare.is_figure(name, a) then
          count = count + self:value(name, step, a[name], b[name])
        end
      end
    end
  end
  return steps, count
end

--- Compares two runs { seen = what compare.read gives, folder = }.
---@return table[] differences { name=, step=, was=, now=, difference= }
---@return table count of what was compared { metrics=, steps=, row= }, and others = names of figures that were not
function compare.runs(was, now, tolerance)
  local self = setmetatable({ was = was, now = now, tolerance = tolerance, list = {}, others = {} }, comparison)
  local a, b, count = was.seen, now.seen, { row = 0 }
  if a.state ~= b.state then note(self.list, "state", nil, a.state, b.state) end
  for _, name in ipairs(sorted(a.data, b.data)) do
    if a.data[name] ~= b.data[name] then note(self.list, "data set " .. name, nil, a.data[name], b.data[name]) end
  end
  count.steps, count.metrics = self:metrics(a, b)
  count.others = sorted(self.others)
  if a.state == b.state and a.state == "done" then
    count.row = self:value("row", nil, a.row or {}, b.row or {})
  elseif a.state == b.state and a.state == "failed" then
    count.row = self:value("message", nil, a.message or "", b.message or "")
  elseif b.state == "failed" then
    note(self.list, "message", nil, a.message, b.message)
  end
  return self.list, count
end

return compare
