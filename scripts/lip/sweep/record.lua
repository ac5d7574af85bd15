--- The records of trials as a store gives them. What stands in a database may be damaged, and what a script returned may
-- be anything: whoever gets a record can rely on the types told here.
local lip = require "lip"

local record = {}

--- Columns of `trials` that make a record; t is trials, s is sweeps.
record.columns = [[t.id, s.name AS sweep, t.number, t.key, t.state, t.config, t.row, t.value, t.seed, t.attempt,
  t.started, t.finished, t.seconds, t.exit, t.signal, t.message, t.memory, t.step, t.total, t.pid, t.pid_start, t.host,
  t.beat]]

local function is_text(v) return type(v) == "string" and utf8.len(v) ~= nil end
local function is_whole(v) return math.type(v) == "integer" end
local function is_number(v) return type(v) == "number" end
local function is_key(v) return is_text(v) and v:find "^%x+$" ~= nil end
record.is_key = is_key

--- Whether a sweep may be called so: names become parts of paths.
function record.is_name(v)
  return is_text(v) and v:find "^[%w_][%w_.@+-]*$" ~= nil and #v <= 100
end
local STATE = { queued = true, running = true, done = true, failed = true, pruned = true }
local function is_state(v) return STATE[v] == true end

local required = { id = is_whole, sweep = record.is_name, number = is_whole, key = is_key, state = is_state, config = is_text,
  attempt = is_whole }
local optional = { row = is_text, value = is_number, seed = is_whole, started = is_number, finished = is_number,
  seconds = is_number, exit = is_whole, signal = is_whole, message = is_text, memory = is_whole, step = is_whole,
  total = is_whole, pid = is_whole, pid_start = is_whole, host = is_text, beat = is_number }

-- Tables beside it: columns that must be there, and those that may.
local function is_step(v) return is_whole(v) and v >= 0 end
local tables = {
  trials = { required, optional },
  metrics = { { name = is_text, step = is_step, value = is_number }, {} },
  rungs = { { rung = is_whole, value = is_number }, {} },
  files = { { kind = is_text, path = is_text }, {} },
  data = { { name = is_text }, { sha256 = is_text, samples = is_whole } },
}

--- The name of a column that cannot be what was written there, or nil.
---@param row table
---@param what? string of which table (default: trials)
function record.damage(row, what)
  local must, may = table.unpack(tables[what or "trials"])
  for name, test in next, must do
    if not test(row[name]) then return name end
  end
  for name, test in next, may do
    if row[name] ~= nil and not test(row[name]) then return name end
  end
end

--- The entries of a table that have a text as their name (a list has none); nil for what is no table.
function record.named(t)
  if type(t) ~= "table" then return nil end
  local named = {}
  for name, value in next, t do
    if type(name) == "string" then named[name] = value end
  end
  return named
end

-- Provenance is as large as all the rest and rarely wanted: read when it is first asked for.
local function later(db)
  return {
    __index = function(self, name)
      if name ~= "provenance" then return nil end
      local row = db:row("SELECT provenance FROM trials WHERE id = ?", self.id)
      local value = row and record.provenance(row.provenance) or {}
      rawset(self, "provenance", value)
      return value
    end,
  }
end

--- A stored provenance as a table; its settings, if it has some, are one too.
function record.provenance(text)
  local value = record.named(type(text) == "string" and lip.from_json(text)) or {}
  value.settings = record.named(value.settings)
  return value
end

--- A stored description as a table; what is maximised or minimised is a name.
function record.description(text)
  local value = type(text) == "string" and lip.from_json(text)
  if type(value) ~= "table" then return {} end
  for _, aim in ipairs { "maximise", "minimise" } do
    if not is_text(value[aim]) then value[aim] = nil end
  end
  return value
end

--- Rows of the columns above as records, in place; nil and the name of a damaged column.
---@param db userdata that they come from
function record.make(db, rows)
  local meta = later(db)
  for _, row in ipairs(rows) do
    local damaged = record.damage(row)
    if damaged then return nil, damaged end
    row.config = record.named(lip.from_json(row.config)) or {}
    row.row = record.named(row.row and lip.from_json(row.row))
    setmetatable(row, meta)
  end
  return rows
end

return record
