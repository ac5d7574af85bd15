--- Applies lines of a trial's journal to the database. The same function serves the running sweep and the rebuilding of
-- the database, so that both give the same tables. Everything here runs inside a transaction.
local lip = require "lip"
local journal = require "lip.sweep.journal"
local record = require "lip.sweep.record"
local rule_of = require "lip.sweep.rule"

local ingest = {}

-- JSON has no infinities and no NaN: they are texts there. SQLite has infinities only.
local function number(v)
  if v == "inf" then return math.huge end
  if v == "-inf" then return -math.huge end
  if v == "nan" then return v end
  return type(v) == "number" and v or nil
end

-- Times and durations.
local function finite(v)
  return type(v) == "number" and v == v and math.abs(v) < math.huge and v or nil
end

local function whole(v)
  return type(v) == "number" and math.tointeger(v) or nil
end

local function text(v)
  if type(v) == "string" then return v end
  return v ~= nil and lip.to_json(v) or nil
end

local function begin_attempt(t, line)
  t.state, t.started, t.beat = "running", finite(line.time), finite(line.time)
  t.attempt = whole(line.attempt) or t.attempt
  t.pid, t.pid_start, t.host = whole(line.pid), whole(line.pid_start), text(line.host)
  t.provenance = type(line.provenance) == "table" and lip.to_json(line.provenance) or nil
  for _, name in ipairs { "finished", "seconds", "exit", "signal", "message", "row", "value", "memory" } do
    t[name] = nil
  end
end

local function description_of(t)
  t.described = t.described or record.description(t.description)
  return t.described
end

-- Whether a line was written under the rule of the sweep as it is now; lines that name none were.
local function same_rule(t, line)
  if line.rule == nil then return true end
  t.rule = t.rule or rule_of(description_of(t))
  return line.rule == t.rule
end

-- What the sweep looks at in a row.
local function value_of(t, row)
  local description = description_of(t)
  local name = description.maximise or description.minimise
  return name and type(row) == "table" and number(row[name]) or nil
end

local function finish(t, line, own)
  -- ended by a rule that is no longer the sweep's: still to be tried
  local waits = line.state == "stopped" or line.state == "pruned" and not same_rule(t, line)
  t.state = waits and "queued" or line.state
  t.row = line.row ~= nil and lip.to_json(line.row) or nil
  -- the figure that the sweep looks at now; the description may have been another when the line was written
  t.value = value_of(t, line.row)
  if t.value == nil and own and line.state ~= "done" then t.value = number(line.value) end
  -- what has failed has no value, whatever it returned
  if t.value == "nan" or t.state == "failed" or t.state == "queued" then t.value = nil end
  t.message, t.exit, t.signal = text(line.message), whole(line.exit), whole(line.signal)
  t.seconds, t.memory = t.spent, whole(line.memory)
  t.finished, t.beat = finite(line.time), finite(line.time)
  t.owner, t.owner_start = nil, nil
end

local ends = { done = true, failed = true, pruned = true, stopped = true }

local function must(value, message, code)
  if value == nil then error({ message = message, code = code }, 0) end
  return value
end
ingest.must = must

-- One function per event. A trial of the same key in another sweep shares folder and journal: its measurements and its
-- success count here too, its failure or early end (a decision of that sweep's scheduler) does not.
local events = {}

function events.start(_, t, line)
  t.journal_sweep, t.journal_attempt = text(line.sweep), whole(line.attempt)
  -- what an earlier attempt wrote late must not undo that the trial has been given to somebody else
  if t.journal_sweep == t.name and (t.journal_attempt or 0) >= t.attempt then begin_attempt(t, line) end
end

-- What the script made of its configuration, defaults and all: part of where the result comes from.
function events.settings(_, t, line)
  local all = t.journal_sweep == t.name and t.provenance and record.provenance(t.provenance)
  if all and type(line.values) == "table" then
    all.settings = line.values
    t.provenance = lip.to_json(all)
  end
end

function events.metrics(db, t, line)
  local step = whole(line.step)
  if not step or step < 0 then return end -- nobody reports so
  for name, value in next, type(line.values) == "table" and line.values or {} do
    local v = number(value)
    if v then must(db:exec("INSERT OR REPLACE INTO metrics VALUES(?, ?, ?, ?)", t.id, tostring(name), step, v)) end
  end
  t.step, t.total, t.beat = step, whole(line.total), finite(line.time) or t.beat
end

function events.rung(db, t, line)
  local rung, value = whole(line.rung), number(line.value)
  if value == "nan" then return end -- no score
  if (text(line.sweep) or t.journal_sweep) == t.name and rung and value and same_rule(t, line) then
    must(db:exec("INSERT OR REPLACE INTO rungs VALUES(?, ?, ?)", t.id, rung, value))
  end
end

function events.data(db, t, line)
  must(db:exec("INSERT OR REPLACE INTO data VALUES(?, ?, ?, ?)", t.id, text(line.name) or "", text(line.sha256),
    whole(line.samples)))
end

function events.file(db, t, line)
  local kind, path = text(line.kind) or "", text(line.path) or ""
  must(db:exec("INSERT OR REPLACE INTO files VALUES(?, ?, ?)", t.id, kind, path))
end

-- "end" is a word of Lua
events["end"] = function(_, t, line)
  local own = (text(line.sweep) or t.journal_sweep) == t.name
  local attempt = whole(line.attempt) or t.journal_attempt or 0
  if not ends[line.state] then return end
  if own and attempt >= t.attempt then
    finish(t, line, true)
  elseif not own and line.state == "done" and t.state ~= "running" then
    finish(t, line, false)
  end
end

-- Written by the store when a finished trial is asked for again.
function events.queued(_, t, line)
  if line.sweep == t.name and (whole(line.attempt) or 0) >= t.attempt then
    t.state, t.value, t.owner, t.owner_start = "queued", nil, nil, nil
  end
end

local COLUMNS = { "state", "attempt", "pid", "pid_start", "host", "owner", "owner_start", "beat", "started",
  "finished", "seconds", "exit", "signal", "message", "row", "value", "memory", "step", "total", "provenance",
  "journal_read", "journal_sweep", "journal_attempt" }
local update = {}
for i, name in ipairs(COLUMNS) do update[i] = name .. " = :" .. name end
local UPDATE = "UPDATE trials SET " .. table.concat(update, ", ") .. " WHERE id = :id"

local SELECT = "SELECT t.id, t.key, s.name, s.description, t." .. table.concat(COLUMNS, ", t.") ..
  " FROM trials t JOIN sweeps s ON s.id = t.sweep WHERE t.id = ?"

local function has_end(lines)
  for _, line in ipairs(lines) do
    if line.event == "end" then return true end
  end
  return false
end

--- Reads what is new in the journal of trial `id` in `folder` and applies it. Raises { message=, code= } when the
-- database or the file refuses.
---@return string state, table lines, integer skipped
function ingest.run(db, id, folder)
  local t = must(db:row(SELECT, id))
  if not t then error(("there is no trial %s"):format(id), 0) end
  local before = t.journal_read
  local lines, offset, skipped = journal.read(folder, before)
  must(lines, offset, skipped)
  if offset == before then return t.state, lines, skipped end
  t.journal_read = offset
  local clock = has_end(lines) and journal.clock(folder, before)
  for _, line in ipairs(lines) do
    local apply = events[line.event]
    if clock then clock:add(line) end
    t.spent = clock and clock.spent
    if apply then apply(db, t, line) end
  end
  local values = { id = id }
  for _, name in ipairs(COLUMNS) do values[name] = t[name] end
  must(db:exec(UPDATE, values))
  return t.state, lines, skipped
end

return ingest
