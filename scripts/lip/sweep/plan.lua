--- From a sweep file to what is run: its trials with keys and seeds, the description that resume compares, and the
-- trial.json that a worker is told.
local core = require "lip.core"
local decimal = require "lip.decimal"
local space = require "lip.sweep.space"

local plan = {}

local FORMAT = require "lip.sweep.settings".FORMAT

local methods = {}

-- Raised for what the user can mend: the command prints the message alone.
local function fail(format, ...)
  error(setmetatable({ message = format:format(...) }, { __tostring = function(self) return self.message end }), 0)
end

local function read(path, what)
  local file <close>, message = io.open(path, "rb")
  local text = file and file:read "a"
  if not text then fail("%s: %s", what, message or path .. ": cannot be read") end
  return text
end

local function folder_of(path)
  return path:match "^(.*)/[^/]*$"
end

-- A word of the command line as the value it means in a configuration: a number where the script's setting is one, or
-- where the number has this very text, else the text as it is. 007 is a number for a number, and a name for a text.
local function value_of(text, kind)
  if text == "true" or text == "false" then return text == "true" end
  local number = tonumber(text)
  if not number or number ~= number or math.abs(number) == math.huge then return text end
  number = math.tointeger(number) or number
  return (kind == "number" or decimal.text(number) == text) and number or text
end

--- Runs a sweep file, its settings (lip.args) set from `set`.
---@param path string
---@param set table name = text
---@param text? string the file's text, when it is not to be read from the disk
---@return table sweep what lip.sweep returned
---@return boolean declared whether the file has settings of its own
---@return string text
function plan.run_file(path, set, text)
  text = text or read(path, "sweep")
  local settings = core.settings
  local before = { set = settings.set, script = settings.script, declared = settings.declared }
  settings.set, settings.script, settings.declared = set, path, nil
  local folder = folder_of(path) or "."
  if not (";" .. package.path):find(";" .. folder .. "/?.lua;", 1, true) then
    package.path = folder .. "/?.lua;" .. package.path
  end
  local chunk, message = core.load_script(text, path)
  if not chunk then fail("%s", message) end
  local sweep = chunk(path)
  local declared = settings.declared or false
  settings.set, settings.script, settings.declared = before.set, before.script, before.declared
  local meta = getmetatable(sweep)
  if type(meta) ~= "table" or meta.__name ~= "lip.sweep" then
    fail("%s returned %s, not what lip.sweep{...} makes", path, sweep == nil and "nothing" or "a " .. type(sweep))
  end
  return sweep, declared, text
end

-- A script is named as seen from where the command is given, or from the sweep file.
local function find_script(name, sweep_file)
  local folder = folder_of(sweep_file)
  local beside = folder and name:sub(1, 1) ~= "/" and folder .. "/" .. name
  for _, path in ipairs { name, beside or nil } do
    local file <close> = io.open(path, "rb")
    if file then return path, read(path, "script") end
  end
  fail("script: %s: no such file%s", name, beside and (" (nor %s)"):format(beside) or "")
end

-- Settings of the command line that belong to all trials of a script.
local function fixed_settings(self, set)
  local all, search, varied = {}, self.sweep.search, {}
  for _, config in ipairs(search.list or { search.space }) do
    for name in pairs(config) do varied[name] = true end
  end
  for name, v in pairs(self.sweep.set) do all[name] = v end
  for name, text in pairs(set) do all[name] = value_of(text) end
  for name in pairs(all) do
    if varied[name] then fail("setting '%s' is fixed, and the sweep varies it", name) end
  end
  return all
end

--- Reads a sweep file with all that belongs to it. Raises what the file raises, and a message for the user.
---@param path string
---@param set? table name = text, of the command line: the file's own settings if it has some, else of the script
---@param name? string in place of the sweep's name
function plan.load(path, set, name)
  set = space.config(set or {}, "--set") -- what cannot travel is refused
  local sweep, declared, text = plan.run_file(path, set)
  local self = setmetatable({ sweep = sweep, file = path, file_text = text, settings = {}, fixed = {},
    given = {} }, -- name = text, of the command line: those of `fixed` as they were written
    { __index = methods })
  self.name = name or sweep.name or path:match "([^/]*)$":gsub("%.lua$", "")
  if not self.name:find "^[%w_][%w_.@+-]*$" or #self.name > 100 then
    fail("the name '%s' of the sweep cannot name a file: give name = \"...\"", self.name)
  end
  if declared then self.settings = set end
  if sweep.run then
    self.kind, self.script, self.script_text = "run", path, text
    if not declared and next(set) ~= nil then
      fail("--set %s: %s declares no settings (lip.args)", next(set), path)
    end
  else
    self.kind = "script"
    self.script, self.script_text = find_script(sweep.script, path)
    local loaded, message = core.load_script(self.script_text, self.script)
    if not loaded then fail("%s", message) end -- every trial would end so
    self.given = declared and {} or set
    self.fixed = fixed_settings(self, self.given)
  end
  self.script_sha256 = core.sha256(self.script_text)
  return self
end

--- What is known of the script's settings decides what words of the command line mean; before any trial is asked for.
---@param kinds table { [name] = type }
function methods:learn(kinds)
  for name, text in pairs(self.given) do self.fixed[name] = value_of(text, kinds[name]) end
end

-- ---- trials ----

-- Texts that a worker of format 1 cut into pieces or lost: what it made of them is no result of these trials.
local function was_split(config)
  for _, v in pairs(config) do
    for _, x in ipairs(type(v) == "table" and v or {}) do
      if type(x) == "string" and (x == "" or x:find "[%s,;{}]") then return true end
    end
  end
end

--- One trial: { number=, config=, key=, seed= }.
function methods:trial(number, config)
  local full = {}
  for key, v in pairs(self.fixed) do full[key] = v end
  for key, v in pairs(config) do full[key] = v end
  local identity = { script = self.script_sha256, config = full }
  if self.kind == "script" and was_split(full) then identity.format = FORMAT end
  -- a function sees the settings of its file; a suggestion may come twice and is then another sample
  if self.kind == "run" and next(self.settings) ~= nil then identity.set = self.settings end
  if self.sweep.search.kind == "tpe" then identity.number = number end
  local key = space.key(identity)
  return { number = number, config = full, key = key, seed = space.seed(full, key) }
end

local function configs_of(search)
  if search.kind == "grid" then return space.grid(search.space) end
  if search.kind == "list" then return search.list end
  return space[search.kind](search.space, search.n, search.seed)
end

--- All trials in order; of tpe none, they come one after the other.
function methods:trials()
  local search = self.sweep.search
  if search.kind == "tpe" then return {} end
  local list, seen = {}, {}
  for i, config in ipairs(configs_of(search)) do
    local trial = self:trial(i, config)
    if seen[trial.key] then
      fail("trials %d and %d are the same: %s (a setting such as seed or rep tells them apart)", seen[trial.key], i,
        decimal.json(trial.config))
    end
    seen[trial.key] = i
    list[i] = trial
  end
  return list
end

--- How many trials there will be.
function methods:total()
  local search = self.sweep.search
  if search.kind == "list" then return #search.list end
  if search.kind ~= "grid" then return search.n end
  local count = 1
  for _, values in pairs(search.space) do count = count * #values end
  return count
end

-- ---- the description ----

-- Fields of a scheduler that a file can hold.
local function plain_fields(t)
  if not t then return nil end
  local copy = {}
  for key, v in pairs(t) do
    local kind = type(v)
    if kind == "number" or kind == "string" or kind == "boolean" then copy[key] = v end
  end
  return copy
end

-- Whether some of the trials are not what an older version made of them: the sweep is another then, too.
local function any_split(self)
  local search = self.sweep.search
  for _, config in ipairs(search.list or {}) do
    if was_split(config) then return true end
  end
  for _, values in pairs(search.kind == "grid" and search.space or {}) do
    if was_split(values) then return true end
  end
  return was_split(self.fixed)
end

--- What makes this sweep the same when it is run again.
function methods:description()
  local sweep = self.sweep
  return {
    format = self.kind == "script" and any_split(self) and FORMAT or 1, name = self.name, kind = self.kind, script = self.script:match "[^/]*$",
    script_sha256 = self.script_sha256, search = sweep.search, set = next(self.fixed) and self.fixed or nil,
    settings = next(self.settings) and self.settings or nil,
    maximise = sweep.maximise, minimise = sweep.minimise, scheduler = plain_fields(sweep.scheduler),
  }
end

-- ---- what a worker is told ----

--- trial.json of a record.
---@param record table of the store: key, number, config, seed, attempt
---@param job table { threads=, provenance=, store_name= of the database file, nil: out of reach, tensorboard=, data= }
function methods:trial_file(record, job)
  local sweep = self.sweep
  return {
    format = FORMAT, key = record.key, sweep = self.name, number = record.number, config = record.config,
    seed = record.seed, attempt = record.attempt, threads = job.threads, kind = self.kind, script = self.script,
    script_sha256 = self.script_sha256, set = self.kind == "run" and self.settings or {}, objects = "../../objects",
    data = job.data, provenance = job.provenance, scheduler = plain_fields(sweep.scheduler),
    maximise = sweep.maximise, minimise = sweep.minimise, tensorboard = job.tensorboard,
    store = job.store_name and "../../../" .. job.store_name or nil,
  }
end

return plan
