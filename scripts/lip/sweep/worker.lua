--- lipwb trial FOLDER: runs the trial that FOLDER/trial.json describes, in this process, and closes its journal.
-- Status: 0 done, 1 failed, 2 wrong usage, 3 ended by the scheduler, 130 stopped by a signal (checkpoints are written).
local lip = require "lip"
local journal = require "lip.sweep.journal"
local is_name = require "lip.sweep.record".is_name
local settings_of = require "lip.sweep.settings"
local stored = require "lip.sweep.row"
local value_of = require "lip.sweep.aim".value

-- A script may change the tables of the library and of Lua; what comes after it does not look there.
local append, below, now, time = journal.append, journal.below, lip.now, lip.time
local interrupted, plain = lip.interrupted, lip.plain
local signals, usage, exists, mkdir = lip.process.signals, lip.process.usage, lip.file.exists, lip.file.mkdir
local stdout, stderr, settings, os, debug, select = io.stdout, io.stderr, lip.settings, os, debug, select
local type, next, tostring, tonumber = type, next, tostring, tonumber
local pcall, error, assert = pcall, error, assert

local worker = {}

local STATUS = { done = 0, failed = 1, pruned = 3, stopped = 130 }
local FORMAT, OLDEST, JOURNAL = settings_of.FORMAT, settings_of.OLDEST, 1 -- of trial.json, and of what is written here
worker.REMOVED = "the folder of the trial was removed or replaced while it ran"
local OUTPUT_MAX = 16 * 1024 * 1024 -- bytes that a trial may print

local function fail(format, ...)
  error(format:format(...), 0)
end

-- ---- what is told ----

local function read_told(folder)
  local text, message = lip.file.read(folder .. "/trial.json", 0, below(folder))
  if not text then fail("%s", message) end
  local told, why = lip.from_json(text)
  if type(told) ~= "table" then fail("%s/trial.json: %s", folder, why or "not an object") end
  if math.type(told.format) ~= "integer" or told.format < OLDEST or told.format > FORMAT then
    fail("%s/trial.json has format %s, this program knows %d to %d", folder, tostring(told.format), OLDEST, FORMAT)
  end
  if told.sweep ~= nil and not is_name(told.sweep) then fail("%s/trial.json: no name of a sweep", folder) end
  told.config, told.set = told.config or {}, told.set or {}
  return told
end

-- The text that the sweep was started with: from the store, else the file itself as long as it is the same.
local function script_text(told, folder)
  local text
  local packed
  if told.objects == "../../objects" then
    local where = below(folder)
    packed = lip.file.read(("%s/objects/%s.gz"):format(where.below, told.script_sha256), 0, where)
  end
  if packed then text = lip.inflate(packed) end
  if not text then
    local message
    text, message = lip.file.read(told.script)
    if not text then fail("%s", message) end
  end
  if told.script_sha256 and lip.sha256(text) ~= told.script_sha256 then
    fail("%s is not the script this trial was made for (its SHA-256 is another)", told.script)
  end
  return text
end

-- The settings of the program, as if they had come from the command line.
local function apply(told)
  settings.script, settings.set, settings.declared, settings.seed = told.script, {}, nil, told.seed
  if told.data then settings.data = told.data end
  if told.tensorboard then settings.tensorboard = ("%s/%s/%04d"):format(told.tensorboard, told.sweep, told.number) end
  if told.threads then lip.threads(told.threads) end
  if told.kind ~= "run" then
    -- what ran under an older format runs again as it did
    local as_told = told.format == OLDEST and settings_of.old_text or function(v) return v end
    for name, v in pairs(told.set) do settings.set[name] = as_told(v) end
    for name, v in pairs(told.config) do settings.set[name] = as_told(v) end
  end
  local first = 0
  while arg[first - 1] do first = first - 1 end
  arg = { [-1] = arg[first], [0] = told.script } -- luacheck: ignore 111 121
  local beside = told.script:match "^(.*)/[^/]*$" or "."
  local ours, rest = package.path:match "^([^;]*;[^;]*;)(.*)$"
  package.path = (ours or "") .. beside .. "/?.lua;" .. (rest or package.path)
end

-- ---- output ----

-- A disk is smaller than the patience of a loop that prints. What the engine and the library print goes through here.
local function limit_output()
  local left, meta = OUTPUT_MAX, getmetatable(io.stdout)
  local write, default = meta.__index.write, io.write
  io.stdout:setvbuf "line" -- the last lines count should the process be killed
  local function room(file, ...)
    if file ~= stdout and file ~= stderr then return true end
    if left <= 0 then return false end
    for i = 1, select("#", ...) do left = left - #tostring((select(i, ...))) end
    if left <= 0 then
      write(stderr, "\nlipwb: more than ", OUTPUT_MAX, " bytes of output: the rest is left out\n")
    end
    return left > 0
  end
  local index = {}
  for name, f in pairs(meta.__index) do index[name] = f end
  function index.write(file, ...)
    if room(file, ...) then return write(file, ...) end
    return file
  end
  meta.__index = index
  function io.write(...) -- luacheck: ignore 122
    local file = io.output()
    if room(file, ...) then return default(...) end
    return file
  end
  function print(...) -- luacheck: ignore 121
    local words = table.pack(...)
    for i = 1, words.n do words[i] = tostring(words[i]) end
    words[words.n + 1] = "\n"
    io.stdout:write(table.concat(words, "\t", 1, words.n), "\n")
  end
end

-- ---- the run ----

local function run_script(told, text)
  local chunk, message = lip.load_script(text, told.script)
  if not chunk then fail("%s", message) end
  local row, why = chunk()
  if next(told.config) ~= nil and not settings.declared then
    io.stderr:write("lipwb: the script declares no settings (lip.args): only lip.trial.config tells it its ",
      "configuration\n")
  end
  return row, why
end

local function run_function(told, text)
  local sweep = require("lip.sweep.plan").run_file(told.script, told.set, text)
  if not sweep.run then fail("%s: the sweep has no function 'run'", told.script) end
  settings.declared = true
  return sweep.run(lip.trial.config, lip.trial)
end

-- How the trial ends, from what the script gave back: state, message, value, and the row as it is stored. `aim` is the
-- figure of the row that the sweep looks at.
local function judge(noted, row, aim)
  local back
  if row ~= nil and type(row) ~= "table" then
    return "failed", ("a trial returns a row of figures (a table), this one returned a %s"):format(type(row))
  end
  if row then
    row, back = stored(row)
    if not row then return "failed", back end
  end
  if noted.fault then return "failed", noted.fault, nil, row end
  if noted.pruned then return "pruned", nil, nil, row end
  if not aim then return "done", nil, nil, row end
  local value, message = value_of(row, back, aim)
  if not value then return "failed", message, nil, row end
  if value ~= value then return "failed", ("'%s' is no number (NaN)"):format(aim), nil, row end
  return "done", nil, value, row
end

local run = {}
run.__index = run

function run:begin()
  local told, own = self.told, lip.process.self()
  local provenance = package.searchpath("lip.provenance", package.path)
    and require("lip.provenance").together(told.provenance, told) or told.provenance
  self.seconds = lip.time()
  assert(journal.append(self.folder, { event = "start", format = JOURNAL, key = told.key, sweep = told.sweep,
    number = told.number, config = told.config, seed = told.seed, attempt = told.attempt, time = lip.now(),
    pid = own.pid, pid_start = own.start, host = own.host, provenance = provenance }))
  self.begun = true
end

-- Everything a signal may interrupt; the last thing it does is to have signals held.
function run:body()
  local told = self.told
  apply(told)
  self:begin()
  self.noted = lip.trial.begin(told, self.folder)
  local text = script_text(told, self.folder)
  local exit = os.exit
  function os.exit(code, close) -- luacheck: ignore 122
    local status = code == nil or code == true or code == 0
    self.left = not status and ("the script left with os.exit(%s)"):format(tostring(code)) or nil
    self:close(status, nil)
    io.stdout:flush()
    exit(STATUS[self.state], close)
  end
  local ok, row, why = xpcall(told.kind == "run" and run_function or run_script, function(e)
    return { message = tostring(e), traceback = debug.traceback(tostring(e), 2) }
  end, told, text)
  os.exit = exit -- luacheck: ignore 122
  if not ok and type(row) ~= "table" then row = { message = tostring(row) } end -- no memory for the handler
  -- nil and a message: what the world outside has refused
  if ok and row == nil and type(why) == "string" then self.left = why end
  self.ok, self.row = ok, row
  signals "hold"
end

-- An interrupt may have come between the first line and the note that it is written.
local function start_written(self)
  local pid = lip.process.self().pid
  for _, line in ipairs(journal.read(self.folder) or {}) do
    if line.event == "start" and line.attempt == self.told.attempt and line.pid == pid then return true end
  end
  return false
end

-- The state and the last line of the journal.
function run:close(ok, row)
  if self.state then return end
  local told, noted = self.told, self.noted or {}
  local state, message, value
  local aim = told.maximise or told.minimise
  if ok and not self.left then
    state, message, value, row = judge(noted, row, aim)
  else
    state, message, row = "failed", self.left or row.message, nil
    if noted.pruned then state, message = "pruned", nil end
  end
  if interrupted() then state, message, row, value = "stopped", nil, nil, nil end
  if state ~= "stopped" and not exists(self.folder, below(self.folder)) then
    state, message, row, value = "failed", worker.REMOVED, nil, nil
  end
  if state == "pruned" then value = type(row) == "table" and tonumber(row[aim]) or noted.last end
  self.state, self.message = state, message
  if not exists(self.folder, below(self.folder)) then
    assert(mkdir(self.folder, below(self.folder)))
    self.begun = false
  end
  if not self.begun and not start_written(self) then self:begin() end
  local line = { event = "end", state = state, sweep = told.sweep, attempt = told.attempt,
    row = type(row) == "table" and row or nil, value = value, message = message, exit = STATUS[state],
    rule = state == "pruned" and noted.rule or nil, seconds = time() - self.seconds, memory = usage().memory,
    time = now() }
  local written, why = append(self.folder, line, { sync = true })
  if not written then fail("%s", why) end
  if settings.tensorboard and state ~= "stopped" then
    require("lip.train_events").finish(told.config, line.row, state == "failed")
  end
end

local function complain(message)
  stderr:write("lipwb trial: ", plain(message, true), "\n")
end

-- The reason in a line or two on standard error, with the place for errors of a script.
function run:tell()
  stdout:flush()
  if self.state == "failed" then complain(not self.ok and self.row and self.row.traceback or self.message) end
end

-- lipwb trial --check FOLDER: no trial, see lip.sweep.settings.
local function check(folder)
  lip.process.follow_parent()
  local told = read_told(folder)
  apply(told)
  return require "lip.sweep.settings".answer(folder, told)
end

-- The folder from the root. The store may be reached through links, what lies in it may not.
local function from_root(folder)
  local root = below(folder).below
  return assert(lip.file.absolute(root)) .. folder:sub(#root + 1):gsub("/+$", "")
end

--- lipwb trial FOLDER
---@return integer status
function worker.main(...)
  local folder, second = ...
  if folder == "--check" and select("#", ...) == 2 then return check(second) end
  if select("#", ...) ~= 1 or folder == "--help" or folder == "-h" then
    (folder and select("#", ...) == 1 and io.stdout or io.stderr):write(
      "usage: lipwb trial FOLDER\nRuns the trial that FOLDER/trial.json describes; lipwb sweep does so by itself.\n")
    return (folder == "--help" or folder == "-h") and 0 or 2
  end
  signals "stop"
  lip.process.follow_parent()
  limit_output()
  local ok, told = pcall(read_told, folder)
  if not ok then
    if lip.interrupted() then return STATUS.stopped end
    complain(tostring(told))
    return STATUS.failed
  end
  local self = setmetatable({ folder = from_root(folder), told = told, seconds = lip.time() }, run)
  -- an interrupt arrives as an error, once; after this line none does
  local calm, message = pcall(self.body, self)
  if not calm then self.ok, self.row = false, { message = tostring(message) } end
  local closed, why = pcall(self.close, self, self.ok, self.row)
  if not closed then
    complain(tostring(why))
    return STATUS.failed
  end
  self:tell()
  return STATUS[self.state]
end

return worker
