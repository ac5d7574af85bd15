--- Makes the database of a store again from its folder: descriptions of sweeps, lists of their trials, journals.
local lip = require "lip"
local journal = require "lip.sweep.journal"
local record = require "lip.sweep.record"
local schema = require "lip.sweep.schema"
local ingest = require "lip.sweep.ingest"
local store = require "lip.sweep.store"

local must = ingest.must
local rebuild = {}

-- ---- reading the folder ----

-- A file of one JSON object, or nil when it is missing or damaged.
local function object(path, below)
  local text = lip.file.read(path, 0, below)
  local value = text and lip.from_json(text)
  return type(value) == "table" and value or nil
end

-- { id=, name=, created=, description= } for every sweep that has a description, by id.
local function described(root, below)
  local list = {}
  for _, file in ipairs(lip.file.list(root .. "/sweeps", below) or {}) do
    local name = file:match "^(.*)%.json$"
    local sweep = store.is_name(name) and object(root .. "/sweeps/" .. file, below)
    if sweep and sweep.name == name and type(sweep.description) == "table" then list[#list + 1] = sweep end
  end
  table.sort(list, function(a, b) return (math.tointeger(a.id) or math.huge) < (math.tointeger(b.id) or math.huge) end)
  return list
end

-- What enqueue has written, the last line of each key; and the keys of trials that have left the sweep.
local function listed(root, below, name)
  local text = lip.file.read(root .. "/sweeps/" .. name .. ".trials.jsonl", 0, below) or ""
  local list, by_key = {}, {}
  for line in text:gmatch "([^\n]*)\n" do
    local trial = lip.from_json(line)
    local known = type(trial) == "table" and record.is_key(trial.key)
    if known and (trial.left or math.tointeger(trial.number)) then
      by_key[trial.key] = trial
      list[#list + 1] = trial
    end
  end
  local last, left = {}, {}
  for _, trial in ipairs(list) do
    if by_key[trial.key] == trial then
      if trial.left then left[trial.key] = true else last[#last + 1] = trial end
    end
  end
  return last, left
end

-- Trials known by their folder only: what trial.json or the first line of the journal says.
local function found(folder)
  local function tells(t) return t and store.is_name(t.sweep) and record.is_key(t.key) end
  local trial = object(folder .. "/trial.json", journal.below(folder))
  if tells(trial) then return trial end
  for _, line in ipairs(journal.read(folder) or {}) do
    if line.event == "start" and tells(line) then return line end
  end
end

-- ---- writing the tables ----

local function add_sweep(db, sweep)
  local created = type(sweep.created) == "number" and sweep.created or lip.now()
  local text = lip.to_json(sweep.description)
  local id = math.tointeger(sweep.id)
  if id and must(db:row("SELECT 1 AS yes FROM sweeps WHERE id = ?", id)) then id = nil end
  return must(db:row("INSERT INTO sweeps VALUES(?, ?, ?, ?) RETURNING id", id, sweep.name, text, created)).id
end

local function add_trial(db, sweep, trial)
  local id, number = math.tointeger(trial.id), math.tointeger(trial.number)
  if id and must(db:row("SELECT 1 AS yes FROM trials WHERE id = ?", id)) then id = nil end
  if not number or must(db:row("SELECT 1 AS yes FROM trials WHERE sweep = ? AND number = ?", sweep, number)) then
    number = (must(db:row("SELECT max(number) AS n FROM trials WHERE sweep = ?", sweep)).n or 0) + 1
  end
  must(db:exec("INSERT INTO trials(id, sweep, number, key, config, seed) VALUES(?, ?, ?, ?, ?, ?)", id, sweep, number,
    trial.key, lip.to_json(trial.config or {}), math.tointeger(trial.seed)))
end

local function has_trial(db, sweep, key)
  return must(db:row("SELECT 1 AS yes FROM trials WHERE sweep = ? AND key = ?", sweep, key)) ~= false
end

-- A folder whose sweep does not list it (its list was lost): the sweep it names takes it.
local function add_found(db, folder, key, left)
  local trial = found(folder)
  if not trial or trial.key ~= key or left[trial.sweep] and left[trial.sweep][key] then return end
  local row = must(db:row("SELECT id FROM sweeps WHERE name = ?", trial.sweep))
  local sweep = row and row.id or add_sweep(db, { name = trial.sweep, description = {} })
  if not has_trial(db, sweep, key) then
    add_trial(db, sweep, { number = trial.number, key = key, config = trial.config, seed = trial.seed })
  end
end

local RUNNING = [[SELECT s.name, t.key, t.attempt, t.pid, t.pid_start, t.host, t.owner, t.owner_start, t.beat
  FROM trials t JOIN sweeps s ON s.id = t.sweep WHERE t.state = 'running']]

-- Who works on what stands in the database only: a sweep that runs meanwhile keeps its trials.
local function give_back(db, running)
  for _, row in ipairs(running) do
    must(db:exec([[UPDATE trials SET state = 'running', attempt = :attempt, pid = :pid, pid_start = :pid_start,
      host = :host, owner = :owner, owner_start = :owner_start, beat = :beat
      WHERE key = :key AND state IN ('running', 'queued') AND attempt <= :attempt
      AND sweep = (SELECT id FROM sweeps WHERE name = :name)]], row))
  end
end

local function fill(self)
  local db, root = self.db, self.root
  local running = must(db:rows(RUNNING))
  for _, name in ipairs(schema.tables) do must(db:exec("DELETE FROM " .. name)) end
  local left = {}
  for _, sweep in ipairs(described(root, self.below)) do
    local id = add_sweep(db, sweep)
    local list, gone = listed(root, self.below, sweep.name)
    left[sweep.name] = gone
    for _, trial in ipairs(list) do add_trial(db, id, trial) end
  end
  local skipped = 0
  for _, key in ipairs(lip.file.list(root .. "/trials", self.below) or {}) do
    if key:find "^%x+$" then add_found(db, root .. "/trials/" .. key, key, left) end
  end
  local rows = must(db:rows "SELECT id, key FROM trials ORDER BY id")
  for _, row in ipairs(rows) do
    local _, _, bad = ingest.run(db, row.id, self:folder(row.key))
    skipped = skipped + bad
  end
  give_back(db, running)
  store.requeue_dead(self, lip.process.self().host)
  return #rows, skipped
end

--- In the database of an open store, in one transaction.
---@return integer|nil trials, integer|string skipped lines of journals that could not be read
rebuild.tables = store.guarded(function(self) return self:transaction(fill) end)

--- Of a store whose database may be damaged or gone: what stands there is set aside under another name.
---@param path string of the database
---@return table|nil store, integer|string trials, integer|string skipped, string|nil aside its other name
rebuild.store = store.guarded(function(path)
  if not lip.file.exists(path) and not lip.file.exists(path .. ".d") then
    must(nil, ("%s: there is no such store, nor a folder %s.d to rebuild it from"):format(path, path), "not_found")
  end
  local self, message, code = store.open(path, { create = true })
  if self then
    local trials, skipped, kind = rebuild.tables(self)
    if trials then return self, trials, skipped end
    self:close()
    message, code = skipped, kind
  end
  if code ~= "format" and code ~= "corrupt" then must(nil, message, code) end
  local aside = ("%s.damaged-%d"):format(path, math.floor(lip.now()))
  must(lip.file.rename(path, aside))
  for _, ending in ipairs { "-wal", "-shm", "-journal" } do
    if lip.file.exists(path .. ending) then must(lip.file.rename(path .. ending, aside .. ending)) end
  end
  self = must(store.open(path, { create = true }))
  local trials, skipped = rebuild.tables(self)
  return self, must(trials, skipped), skipped, aside
end)

return rebuild
