--- A store of results: FILE, an SQLite database, and the folder FILE.d with everything that cannot be made again. The
-- database can be rebuilt from the folder (lip.sweep.rebuild); README.md beside this file describes both.
--
-- What the world refuses comes back as nil, message, code; misuse raises.
local lip = require "lip"
local journal = require "lip.sweep.journal"
local schema = require "lip.sweep.schema"
local ingest = require "lip.sweep.ingest"
local record = require "lip.sweep.record"
local rule_of = require "lip.sweep.rule"

local must = ingest.must
local store = {}
local Store = { __name = "lip.store" }
Store.__index = Store

-- A method that raises what `must` raises as nil, message, code.
local function guarded(f)
  return function(...)
    local result = table.pack(pcall(f, ...))
    if result[1] then return table.unpack(result, 2, result.n) end
    local fault = result[2]
    if type(fault) ~= "table" or not fault.message then error(fault, 0) end
    return nil, fault.message, fault.code
  end
end
store.guarded = guarded

--- What stands behind a symbolic link below the store's folder is not the store's: nothing of it is read, written or
--- removed. Everything below that folder is opened with the option `below` of lip.file (self.below here).
---@return boolean own no part of `path` below `root` is a link
function store.is_own(root, path)
  local part = root
  for name in path:sub(#root + 2):gmatch "[^/]+" do
    part = part .. "/" .. name
    local s = lip.file.stat(part, { follow = false })
    if s and s.kind == "link" then return false end
  end
  return true
end

-- ---- opening ----

local function absolute(path)
  return must(lip.file.absolute(path))
end

--- Opens a store.
---@param path string of the database
---@param options? { create: boolean, readonly: boolean }
---@return table|nil store, string? message, string? code
store.open = guarded(function(path, options)
  options = options or {}
  if type(path) ~= "string" or path == "" then error("store.open: the name of a file expected", 0) end
  for name in pairs(options) do
    if name ~= "create" and name ~= "readonly" then
      error(("store.open: unknown option '%s' (known: create, readonly)"):format(name), 0)
    end
  end
  path = absolute(path)
  if options.create and not lip.file.exists(path) then
    must(lip.file.mkdir(path:match "^(.*)/[^/]*$" .. "/"))
  end
  local db = must(schema.open(path, options))
  local self = setmetatable({ db = db, path = path, root = path .. ".d", below = { below = path .. ".d" }, readonly = options.readonly or false }, Store)
  if options.create then self:make_folders() end
  return self
end)

function Store:make_folders()
  must(lip.file.mkdir(self.root))
  for _, name in ipairs { "/sweeps", "/trials", "/objects" } do must(lip.file.mkdir(self.root .. name, self.below)) end
end

function Store:close()
  self.db:close()
end
Store.__close = Store.close

function Store:__tostring()
  return "lip.store " .. self.path
end

-- f(self, ...) inside a transaction, or as it is when one is under way.
function Store:transaction(f, ...)
  if self.inside then return f(self, ...) end
  local _ <close> = setmetatable({}, { __close = function() self.inside = false end })
  self.inside = true
  return self.db:transaction(f, self, ...)
end

local function writing(f)
  return guarded(function(self, ...)
    local result = table.pack(self:transaction(f, ...))
    if result[1] == nil and result.n >= 2 then must(nil, result[2], result[3]) end
    return table.unpack(result, 1, result.n)
  end)
end

-- ---- sweeps ----

-- What stands in a database may be anything.
local function damaged(self, what)
  must(nil, ("%s: the %s is damaged (lipwb runs rebuild makes it again)"):format(self.path, what), "corrupt")
end

store.is_name = record.is_name

local function check_name(name)
  if not store.is_name(name) then
    error(("a sweep's name is made of letters, digits and _ . @ + - (at most 100), got '%s'"):format(tostring(name)), 0)
  end
  return name
end

function Store:sweep_file(name, ending)
  return self.root .. "/sweeps/" .. check_name(name) .. ending
end

local function write_description(self, row)
  local text = lip.to_json { format = 1, id = row.id, name = row.name, created = row.created,
    description = row.description }
  must(lip.file.write(self:sweep_file(row.name, ".json"), text .. "\n", self.below))
end

--- The description of a sweep, its id and when it was made; false when there is none.
Store.describe = guarded(function(self, name)
  local row = must(self.db:row("SELECT * FROM sweeps WHERE name = ?", name))
  if not row then return false end
  return record.description(row.description), row.id, row.created
end)

--- A new sweep, or the one of that name if its description is the same.
---@return integer|nil id, string? message, string? code "changed": another description stands there
Store.add_sweep = writing(function(self, name, description)
  check_name(name)
  local text = lip.to_json(description)
  local row = must(self.db:row("SELECT id, description FROM sweeps WHERE name = ?", name))
  if row and row.description == text then return row.id end
  if row then return nil, ("the description of sweep '%s' has changed"):format(name), "changed" end
  local created = lip.now()
  local new = must(self.db:row("INSERT INTO sweeps(name, description, created) VALUES(?, ?, ?) RETURNING id",
    name, text, created))
  write_description(self, { id = new.id, name = name, created = created, description = description })
  return new.id
end)

--- Another description for a sweep that is there.
Store.replace_description = writing(function(self, name, description)
  local row = must(self.db:row("UPDATE sweeps SET description = ? WHERE name = ? RETURNING id, created",
    lip.to_json(description), name))
  if not row then return nil, ("there is no sweep '%s'"):format(name), "not_found" end
  write_description(self, { id = row.id, name = name, created = row.created, description = description })
  return row.id
end)

--- All sweeps: { {id=, name=, created=, description=}, ... }, the oldest first.
Store.sweeps = guarded(function(self)
  local rows = must(self.db:rows "SELECT id, name, created, description FROM sweeps ORDER BY id")
  for _, row in ipairs(rows) do
    if not record.is_name(row.name) then damaged(self, "name of a sweep") end
    row.description = record.description(row.description)
  end
  return rows
end)

-- ---- trials in ----

local function check_id(sweep, what)
  if type(sweep) ~= "number" or not math.tointeger(sweep) then
    error(("%s: the id of a sweep expected, got %s"):format(what, tostring(sweep)), 0)
  end
end

--- Adds trials; one whose key is there stays as it is. One whose number is taken by another key gets the next free.
---@param sweep integer id
---@param list { number: integer, key: string, config: table, seed: integer }[]
---@return integer|nil new how many were not there before
Store.enqueue = writing(function(self, sweep, list)
  check_id(sweep, "enqueue")
  local owner = must(self.db:row("SELECT name FROM sweeps WHERE id = ?", sweep))
  if not owner then error(("enqueue: there is no sweep %s"):format(sweep), 0) end
  local last = must(self.db:row("SELECT max(number) AS n FROM trials WHERE sweep = ?", sweep)).n or 0
  for _, trial in ipairs(list) do last = math.max(last, trial.number) end
  local lines = {}
  for _, trial in ipairs(list) do
    if not trial.key:find "^%x+$" then error("enqueue: a key is made of hexadecimal digits", 0) end
    local there = must(self.db:row("SELECT 1 AS yes FROM trials WHERE sweep = ? AND key = ?", sweep, trial.key))
    if not there then
      local number = trial.number
      if must(self.db:row("SELECT 1 AS yes FROM trials WHERE sweep = ? AND number = ?", sweep, number)) then
        last = last + 1
        number = last
      end
      local new = must(self.db:row(
        "INSERT INTO trials(sweep, number, key, config, seed) VALUES(?, ?, ?, ?, ?) RETURNING id", sweep, number,
        trial.key, lip.to_json(trial.config), trial.seed))
      lines[#lines + 1] = lip.to_json { id = new.id, number = number, key = trial.key, config = trial.config,
        seed = trial.seed } .. "\n"
    end
  end
  -- for rebuilding: trials that have not started have no journal. The order of the two does not matter: lines without
  -- a row are rows again after rebuilding, and a row is only there together with its line.
  if #lines > 0 then
    must(lip.file.append(self:sweep_file(owner.name, ".trials.jsonl"), table.concat(lines),
      { sync = true, below = self.root }))
  end
  return #lines
end)

-- ---- trials out ----

-- Rows of the database as records, checked.
local function records_of(self, rows)
  local list, column = record.make(self.db, rows)
  if not list then damaged(self, ("'%s' of a trial"):format(column)) end
  return list
end

local filters = {
  id = "t.id = :id", number = "t.number = :number", key = "t.key = :key", state = "t.state = :state",
  prefix = "substr(t.key, 1, length(:prefix)) = :prefix",
}

--- Records of trials, by sweep and number.
---@param wanted? { sweep: string|integer, state: string, number: integer, key: string, prefix: string, id: integer }
---@return table[]|nil records, string? message, string? code
Store.trials = guarded(function(self, wanted)
  local where, values = {}, {}
  for name, value in pairs(wanted or {}) do
    if name == "sweep" then
      where[#where + 1] = type(value) == "number" and "t.sweep = :sweep" or "s.name = :sweep"
    elseif filters[name] then
      where[#where + 1] = filters[name]
    else
      error(("trials: unknown filter '%s' (known: sweep, state, number, key, prefix, id)"):format(name), 0)
    end
    values[name] = value
  end
  local sql = ("SELECT %s FROM trials t JOIN sweeps s ON s.id = t.sweep %s ORDER BY t.sweep, t.number"):format(record.columns,
    #where > 0 and "WHERE " .. table.concat(where, " AND ") or "")
  return records_of(self, must(self.db:rows(sql, values)))
end)

local function fresh(self, id)
  local row = must(self.db:row(("SELECT %s FROM trials t JOIN sweeps s ON s.id = t.sweep WHERE t.id = ?"):format(
    record.columns), id))
  return row and records_of(self, { row })[1]
end

local function id_of(trial)
  if type(trial) == "table" then return trial.id end
  return trial
end

--- The record of a trial as it is now; false when there is none.
Store.trial = guarded(function(self, id) return fresh(self, id_of(id)) end)

-- Rows of another table, checked.
local function sound(self, rows, what)
  for _, row in ipairs(rows) do
    local column = record.damage(row, what)
    if column then damaged(self, ("'%s' of a trial's %s"):format(column, what)) end
  end
  return rows
end

--- Measurements of a trial: { {name=, step=, value=}, ... } by name and step.
Store.metrics = guarded(function(self, trial)
  local rows = must(self.db:rows("SELECT name, step, value FROM metrics WHERE trial = ? ORDER BY name, step",
    id_of(trial)))
  for _, row in ipairs(rows) do
    if row.value == "nan" then row.value = 0 / 0 end
  end
  return sound(self, rows, "metrics")
end)

--- Scores of a trial at the rungs of the sweep's scheduler: { {rung=, value=}, ... } by rung.
Store.rungs = guarded(function(self, trial)
  return sound(self, must(self.db:rows("SELECT rung, value FROM rungs WHERE trial = ? ORDER BY rung", id_of(trial))),
    "rungs")
end)

--- Files that a trial has noted: { {kind=, path=}, ... }, paths relative to its folder.
Store.files = guarded(function(self, trial)
  return sound(self, must(self.db:rows("SELECT kind, path FROM files WHERE trial = ? ORDER BY kind, path",
    id_of(trial))), "files")
end)

--- Data sets that a trial has read: { {name=, sha256=, samples=}, ... }.
Store.data = guarded(function(self, trial)
  return sound(self, must(self.db:rows("SELECT name, sha256, samples FROM data WHERE trial = ? ORDER BY name",
    id_of(trial))), "data")
end)

--- How many trials of a sweep are in each state.
Store.counts = guarded(function(self, sweep)
  check_id(sweep, "counts")
  local counts = { queued = 0, running = 0, done = 0, failed = 0, pruned = 0 }
  for _, row in ipairs(must(self.db:rows("SELECT state, count(*) AS n FROM trials WHERE sweep = ? GROUP BY state",
    sweep))) do
    counts[row.state] = row.n
  end
  return counts
end)

-- ---- folders and objects ----

--- The folder of a trial (record or key), absolute.
function Store:folder(trial)
  local key = type(trial) == "table" and trial.key or trial
  if not record.is_key(key) then error("folder: a trial or its key expected", 2) end
  return self.root .. "/trials/" .. key
end

-- Of a row of the database, which may be damaged.
local function folder_of(self, key)
  if not record.is_key(key) then must(nil, self.path .. ": the key of a trial is damaged", "corrupt") end
  return self:folder(key)
end

local OBJECT_MAX = 1 << 30

local function object_file(self, sha)
  if type(sha) ~= "string" or not sha:find("^" .. ("%x"):rep(64) .. "$") then
    error("the SHA-256 of an object is expected, as 64 hexadecimal digits", 0)
  end
  return self.root .. "/objects/" .. sha .. ".gz"
end

-- The text of an object, unpacked; nil, message, code.
local function read_object(self, path)
  local packed, message, code = lip.file.read(path, 0, self.below)
  if not packed then return nil, message, code end
  return lip.inflate(packed, OBJECT_MAX)
end

--- Stores a text once per content, and again where that is damaged; returns its SHA-256.
Store.put_object = guarded(function(self, text)
  local sha = lip.sha256(text)
  local path = object_file(self, sha)
  if read_object(self, path) ~= text then
    must(lip.file.mkdir(self.root .. "/objects", self.below))
    must(lip.file.write(path, must(lip.deflate(text)), self.below))
  end
  return sha
end)

--- The text of an object.
Store.object = guarded(function(self, sha)
  local path = object_file(self, sha)
  local text = must(read_object(self, path))
  if lip.sha256(text) ~= sha then must(nil, path .. ": damaged: its SHA-256 is another", "format") end
  return text
end)

-- ---- running ----

--- Applies what is new in the journal of a trial.
---@return table|nil record as it is now, table|string lines that were new, integer|string skipped
Store.ingest = guarded(function(self, trial)
  local id = id_of(trial)
  local row = must(self.db:row("SELECT key, journal_read FROM trials WHERE id = ?", id))
  if not row then error(("ingest: there is no trial %s"):format(tostring(id)), 0) end
  local folder = folder_of(self, row.key)
  local file, message, code = lip.file.stat(journal.path(folder), self.below)
  if not file and code ~= "not_found" then must(nil, message, code) end
  if file and file.kind ~= "file" then file = nil end
  if not file and row.journal_read > 0 then -- another one may grow to the same size
    must(self.db:exec("UPDATE trials SET journal_read = 0 WHERE id = ?", id))
  end
  if not file or file.size == row.journal_read then return fresh(self, id), {}, 0 end
  local state, lines, skipped
  must(self:transaction(function()
    state, lines, skipped = ingest.run(self.db, id, folder)
    return state
  end))
  return fresh(self, id), lines, skipped
end)

-- Seconds without a word from a runner on another host (a container that is gone) after which it counts as dead.
local SILENCE = 300

-- Neither the worker nor the process that gave it the trial lives: nobody will end it. While its owner lives, a dead
-- worker is the owner's to report. Processes of other hosts cannot be seen from here; their runners say that they live
-- (Store:beat), and trials that have no runner (tasks of a cluster) are left alone. Who says no host is damaged.
local function is_dead(row, here)
  local function lives(pid, start) return math.type(pid) == "integer" and lip.process.alive(pid, math.tointeger(start)) end
  if row.host and row.host ~= here then return row.owner and lip.now() - (row.beat or 0) > SILENCE end
  return not lives(row.pid, row.pid_start) and not lives(row.owner, row.owner_start)
end

local RUNNING = "SELECT id, key, pid, pid_start, host, owner, owner_start, beat FROM trials WHERE state = 'running'"

-- Trials that nobody works on any more go back to the queue, unless their journal says how they ended. Only those of
-- one sweep, or all.
local function requeue_dead(self, here, sweep)
  local rows = must(self.db:rows(RUNNING .. " AND ifnull(sweep = ?, 1)", sweep))
  for _, row in ipairs(rows) do
    if is_dead(row, here) and ingest.run(self.db, row.id, folder_of(self, row.key)) == "running" then
      -- the journal may have named a worker that its owner had no time to note
      local now = must(self.db:row(RUNNING .. " AND id = ?", row.id))
      if now and is_dead(now, here) then
        must(self.db:exec("UPDATE trials SET state = 'queued', owner = NULL, owner_start = NULL WHERE id = ?", row.id))
      end
    end
  end
end
store.requeue_dead = requeue_dead

-- The same key may be running for another sweep, in the same folder: its result will count here as well.
local NEXT = [[SELECT id, key FROM trials t WHERE sweep = ? AND state = 'queued' AND number > ? AND NOT EXISTS
  (SELECT 1 FROM trials o WHERE o.key = t.key AND o.state = 'running') ORDER BY number LIMIT 1]]

--- Takes the first trial of the queue for the process `lease` and starts a new attempt.
---@param sweep integer id
---@param lease { pid: integer, start: integer, host: string }
---@param number? integer only the trial of this number
---@return table|false|nil record, string? message, string? code; false: nothing is queued
Store.claim = writing(function(self, sweep, lease, number)
  check_id(sweep, "claim")
  requeue_dead(self, lease.host) -- of all sweeps: a trial of the same key in another one is in the way
  local after = number and number - 1 or math.mininteger
  while true do
    local row = must(self.db:row(NEXT, sweep, after))
    local state = row and ingest.run(self.db, row.id, folder_of(self, row.key)) -- an end nobody has read yet
    local trial = row and fresh(self, row.id)
    if not row or number and trial.number ~= number then return false end
    if state == "queued" then
      local now = lip.now()
      must(self.db:exec([[UPDATE trials SET state = 'running', attempt = attempt + 1, pid = :pid, pid_start = :start,
        host = :host, owner = :pid, owner_start = :start, beat = :now, started = :now WHERE id = :id]],
        { pid = lease.pid, start = lease.start, host = lease.host, now = now, id = row.id }))
      return fresh(self, row.id)
    end
    after = trial.number
  end
end)

--- Notes which process works on a claimed trial.
Store.leased = writing(function(self, trial, lease)
  return must(self.db:exec([[UPDATE trials SET pid = ?, pid_start = ?, host = ?, beat = ?
    WHERE id = ? AND state = 'running']], lease.pid, lease.start, lease.host, lip.now(), id_of(trial))) == 1
end)

--- Says that the runner `lease` lives; to be called a few times in every SILENCE.
---@return integer|nil trials that it has, string? message, string? code
Store.beat = writing(function(self, lease)
  return must(self.db:exec([[UPDATE trials SET beat = ?
    WHERE state = 'running' AND owner = ? AND owner_start = ? AND host = ?]], lip.now(), lease.pid, lease.start,
    lease.host))
end)

-- In the journal first, so that a rebuilt database knows it too.
local function requeue(self, id)
  local row = must(self.db:row([[SELECT t.key, t.attempt, s.name FROM trials t JOIN sweeps s ON s.id = t.sweep
    WHERE t.id = ?]], id))
  if not row then must(nil, ("requeue: there is no trial %s"):format(tostring(id)), "not_found") end
  local folder = folder_of(self, row.key)
  if lip.file.exists(journal.path(folder), self.below) then
    must(journal.append(folder, { event = "queued", sweep = row.name, attempt = row.attempt, time = lip.now() }))
    ingest.run(self.db, id, folder)
  end
  must(self.db:exec("UPDATE trials SET state = 'queued', value = NULL, owner = NULL, owner_start = NULL WHERE id = ?",
    id))
end

--- Puts a trial back into the queue, whatever its state; its folder and measurements stay.
Store.requeue = writing(function(self, trial)
  requeue(self, id_of(trial))
  return true
end)

--- Puts every trial of a sweep that is in `state` back into the queue; returns how many.
Store.retry = writing(function(self, sweep, state)
  check_id(sweep, "retry")
  local rows = must(self.db:rows("SELECT id FROM trials WHERE sweep = ? AND state = ?", sweep, state))
  for _, row in ipairs(rows) do requeue(self, row.id) end
  return #rows
end)

--- Notes the score of a trial at a rung and returns all scores of that rung in the sweep, its own included.
---@param sweep string|integer name or id
---@param key string of the trial
---@param rule? string under which the trial runs; when the sweep has another by now, its score is compared with none
---@return number[]|nil scores, string? message, string? code "not_finite": NaN is no score
Store.rung = writing(function(self, sweep, key, rung, value, rule)
  if value ~= value then return nil, "the score is not a number", "not_finite" end
  local column = type(sweep) == "number" and "s.id" or "s.name"
  local row = must(self.db:row(([[SELECT t.id, t.sweep, s.description FROM trials t JOIN sweeps s ON s.id = t.sweep
    WHERE %s = ? AND t.key = ?]]):format(column), sweep, key))
  if not row then error(("rung: sweep %s has no trial %s"):format(sweep, key), 0) end
  if rule and rule ~= rule_of(record.description(row.description)) then return { value } end
  must(self.db:exec("INSERT OR REPLACE INTO rungs VALUES(?, ?, ?)", row.id, rung, value))
  local scores = {}
  for i, other in ipairs(must(self.db:rows([[SELECT r.value FROM rungs r JOIN trials t ON t.id = r.trial
    WHERE t.sweep = ? AND r.rung = ? ORDER BY t.number]], row.sweep, rung))) do
    scores[i] = type(other.value) == "number" and other.value or -math.huge -- damaged: beaten by all
  end
  return scores
end)

--- Makes the tables again from the folder; see lip.sweep.rebuild.
function Store:rebuild()
  return require "lip.sweep.rebuild".tables(self)
end

return store
