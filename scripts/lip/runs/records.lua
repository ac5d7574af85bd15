--- The runs of a store as the commands want them: opened, filtered, sorted, found by what people type.
local field = require "lip.runs.field"
local where = require "lip.runs.where"

local records = {}

--- The store that a command speaks of: --store, else $LIPWB_STORE, else runs.db.
function records.path(given)
  local path = given or os.getenv "LIPWB_STORE"
  return path and path ~= "" and path or "runs.db"
end

--- Opens the store; it must be there already.
---@return table|nil store, string? message, string? code
function records.open(given, options)
  local path = records.path(given)
  local opts = { create = false, readonly = true }
  for key, value in pairs(options or {}) do opts[key] = value end
  local store, message, code = require "lip.sweep.store".open(path, opts)
  if store then return store end
  if code == "not_found" then
    message = ("there is no store %s: --store FILE or $LIPWB_STORE says where it is"):format(path)
  end
  return nil, message, code
end

--- Names the records as tables and figures show them: SWEEP/NUMBER, in a store of one sweep the number alone.
function records.call(list, sweeps)
  for _, record in ipairs(list) do
    record.name = sweeps == 1 and record.number or ("%s/%d"):format(record.sweep, record.number)
  end
end

--- The runs that --sweep, --state and --where leave.
---@return table[]|nil list, string? message
function records.load(store, filter)
  filter = filter or {}
  local sweeps, message, code = store:sweeps()
  if not sweeps then return nil, message, code end
  if filter.sweep then
    local names, there = {}, false
    for i, sweep in ipairs(sweeps) do
      names[i] = sweep.name
      there = there or sweep.name == filter.sweep
    end
    if not there then
      local all = #names == 0 and "there is none" or "there is " .. table.concat(names, ", ")
      return nil, ("--sweep: there is no sweep '%s'%s (%s)"):format(filter.sweep,
        field.did_you_mean(filter.sweep, names), all), "usage"
    end
  end
  local list
  list, message, code = store:trials { sweep = filter.sweep, state = filter.state }
  if not list then return nil, message, code end
  records.call(list, #sweeps)
  if filter.where then
    local is_known, names = field.known(list)
    local test, wrong = where.compile(filter.where, #list > 0 and is_known or nil, names)
    if not test then return nil, "--where: " .. wrong, "usage" end
    local kept = {}
    for _, record in ipairs(list) do
      if test(record) then kept[#kept + 1] = record end
    end
    list = kept
  end
  return list
end

--- Those that have ended well.
function records.done(list)
  local kept = {}
  for _, record in ipairs(list) do
    if record.state == "done" then kept[#kept + 1] = record end
  end
  return kept
end

--- Each computation once: a trial that is part of several sweeps has one key, one folder and one result. A run that is
-- done stands for it, else the first; `also` names its other places. The second value is how many are in several.
---@return table[] list, integer shared
function records.distinct(list)
  local at, kept, shared = {}, {}, 0
  for _, record in ipairs(list) do
    local i = record.key and at[record.key]
    if not i then
      kept[#kept + 1] = record
      record.also = nil
      if record.key then at[record.key] = #kept end
    else
      local first = kept[i]
      local also, other = first.also or {}, record
      if not first.also then shared = shared + 1 end
      if record.state == "done" and first.state ~= "done" then kept[i], other, first.also = record, first, nil end
      also[#also + 1] = ("%s/%d"):format(other.sweep, other.number)
      kept[i].also = also
    end
  end
  return kept, shared
end

--- "a,b,c" as a list of names that some run has, or nil and a message. Names may stand in brackets: [a, b],c
function records.names(text, list, what)
  local is_known, known = field.known(list)
  local names, at = {}, 1
  while at <= #text + 1 do
    local name, after = text:match("^%s*%[([^%]]+)%]%s*,?()", at)
    if not name then name, after = text:match("^%s*([^,]-)%s*,()", at) end
    if not name then name, after = text:match("^%s*(.-)%s*$", at), #text + 2 end
    at = after
    if name ~= "" then
      local bare = name:gsub("^%-", "")
      if #list > 0 and not is_known(bare) and bare ~= "n" then
        return nil, ("%s: no run has a '%s'%s"):format(what, bare, field.did_you_mean(bare, known)), "usage"
      end
      if field.is_duration(bare, list) then name = name:gsub("time$", "seconds") end
      names[#names + 1] = name
    end
  end
  if #names == 0 then return nil, what .. " expects names, as in budget,seed", "usage" end
  return names
end

-- Numbers before texts before what is missing, whichever the direction; texts by their bytes.
local function rank(v)
  if v == nil then return 3 end
  local number = field.number(v)
  if number and number == number then return 1, number end
  return 2, field.text(v)
end

--- Sorts in place by names; "-name" downwards. Equal ones keep their order.
function records.sort(list, names)
  local keys = {}
  for i, record in ipairs(list) do keys[record] = { n = i } end
  for i, name in ipairs(names) do
    name = name:gsub("^%-", "")
    local get = field.getter(name == "run" and "id" or name)
    for _, record in ipairs(list) do
      local key = keys[record]
      key[2 * i - 1], key[2 * i] = rank(get(record))
    end
  end
  table.sort(list, function(a, b)
    local x, y = keys[a], keys[b]
    for i = 1, #names do
      local kind, other = x[2 * i - 1], y[2 * i - 1]
      if kind ~= other then return kind < other end
      local p, q = x[2 * i], y[2 * i]
      if p ~= q then
        if names[i]:sub(1, 1) == "-" then p, q = q, p end
        return p < q
      end
    end
    return x.n < y.n
  end)
  return list
end

--- The settings that differ between the records, and those that are the same in all (name and value), sorted.
function records.varying(list)
  local config = field.names(list)
  local varying, constant = {}, {}
  for _, name in ipairs(config) do
    local first, same = list[1].config and list[1].config[name], true
    for _, record in ipairs(list) do
      local v = record.config and record.config[name]
      if v ~= first and not (type(v) == "table" and type(first) == "table" and field.text(v) == field.text(first)) then
        same = false
        break
      end
    end
    if same then
      constant[#constant + 1] = { name, list[1].config[name] }
    else
      varying[#varying + 1] = name
    end
  end
  return varying, constant
end

--- The results that say something about these records: not the same in all, not what a setting says already.
function records.results(list)
  local _, row = field.names(list)
  local names = {}
  for _, name in ipairs(row) do
    local first, differs, echo, plain = nil, false, true, true
    for _, record in ipairs(list) do
      if record.row then
        local v = record.row[name]
        if first == nil then first = v end
        if v ~= first and (v == v or first == first) then differs = true end
        if type(v) == "table" then plain = false end
        local setting = record.config and record.config[name]
        if echo and v ~= nil and v ~= setting then echo = setting ~= nil and field.text(setting) == field.text(v) end
      end
    end
    if plain and not echo and (differs or #list == 1) then names[#names + 1] = name end
  end
  return names
end

-- ---- what is better ----

local SMALLER = { loss = true, error = true, bound = true, budget = true, seconds = true, memory = true }

--- Whether more of it is better, unless the sweep or the command line says so: less of loss, error, bound, budget,
-- seconds and memory is.
function records.more_is_better(name)
  return not SMALLER[name:gsub("^.*%.", "")]
end

--- The records of each sweep: { { name, list }, ... } in the order of their first.
function records.by_sweep(list)
  local found, index = {}, {}
  for _, record in ipairs(list) do
    local part = index[record.sweep]
    if not part then
      part = { record.sweep, {} }
      index[record.sweep] = part
      found[#found + 1] = part
    end
    table.insert(part[2], record)
  end
  return found
end

--- What the sweeps of these records aim at: the name and whether more is better; nil when they do not agree.
function records.goal(store, list)
  local goal, better
  local seen = {}
  for _, record in ipairs(list) do
    if not seen[record.sweep] then
      seen[record.sweep] = true
      local description = store:describe(record.sweep)
      local name = description and (description.maximise or description.minimise)
      if not name or (goal and name ~= goal) then return nil end
      goal, better = name, description.maximise ~= nil
    end
  end
  return goal, better
end

-- ---- one run ----

local function first_of(list, test)
  local found = {}
  for _, record in ipairs(list) do
    if test(record) then found[#found + 1] = record end
  end
  return found
end

local function listed(found)
  local parts = {}
  for i = 1, math.min(#found, 6) do
    parts[i] = ("%s/%d (%s)"):format(found[i].sweep, found[i].number, found[i].key:sub(1, 10))
  end
  if #found > 6 then parts[7] = ("... (%d in all)"):format(#found) end
  return table.concat(parts, ", ")
end

-- A number alone is one of the only sweep, as tables show it; else, and with #, an id.
local function numbered(list, word)
  local mark, digits = word:match "^(#?)(%d+)$"
  if not digits or #digits >= 16 then return nil end
  local n = math.tointeger(digits)
  local own = mark == "" and #records.by_sweep(list) == 1 and first_of(list, function(r) return r.number == n end)[1]
  return own or first_of(list, function(r) return r.id == n end)[1]
end

--- The run that a word means: what the first column of `ls` shows, SWEEP/NUMBER, an id, or the beginning of a key.
---@return table|nil record, string? message
function records.find(store, word)
  local sweep, number = word:match "^(.*)/(%d+)$"
  local list, message, code = store:trials(sweep and { sweep = sweep, number = math.tointeger(number) } or {})
  if not list then return nil, message, code end
  if sweep then
    if list[1] then return list[1] end
    return nil, ("there is no run %s"):format(word), "not_found"
  end
  local id = word:match "^#?(%d+)$"
  local run = numbered(list, word)
  if run then return run end
  local prefix = word:lower()
  if not prefix:find "^%x+$" or (#prefix < 4 and id) then
    return nil, ("there is no run %s: it is SWEEP/NUMBER, an id, or the beginning of a key"):format(word), "not_found"
  end
  local found = first_of(list, function(r) return r.key:sub(1, #prefix) == prefix end)
  if #found == 0 then return nil, ("there is no run %s"):format(word), "not_found" end
  for _, record in ipairs(found) do
    if record.key ~= found[1].key then
      return nil, ("%s is more than one run: %s"):format(word, listed(found)), "usage"
    end
  end
  local done = first_of(found, function(r) return r.state == "done" end) -- the same trial in several sweeps
  return done[1] or found[1]
end

return records
