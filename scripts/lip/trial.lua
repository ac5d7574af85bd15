--- lip.trial: what a script sees of the trial it is. Outside of one `lip.trial.active` is false, report says go on, and
-- a file is the name itself, so that a script need not ask.
--
-- Everything is a line in the trial's journal (sweep/README.md); nothing here is kept in memory only.
local lip = require "lip"
local shown = require "lip.shown"

---@class lip.trial
---@field active boolean whether this process runs a trial
---@field key string
---@field number integer
---@field config table
---@field seed integer
---@field folder string
local trial = { active = false }

-- What the worker was told, and what has been noted so far; not for scripts.
local told, noted

local function write(line, options)
  local ok, message = require("lip.sweep.journal").append(trial.folder, line, options)
  if not ok then error("trial: " .. message, 0) end
end

-- ---- schedulers ----

local function aim()
  return told.maximise or told.minimise
end

-- Schedulers maximise: what is minimised has its sign turned.
local function score_of(value)
  return told.minimise and -value or value
end

-- All scores of a rung, this trial's own (noted in the journal before) among them.
local function scores_of(rung, own)
  -- other machines of a cluster see no database, only journals
  if not told.store then return require("lip.sweep.rungs").scores(trial.folder, told.sweep, rung, noted.rule) end
  local store <close> = assert(require("lip.sweep.store").open(trial.folder .. "/" .. told.store))
  return assert(store:rung(told.sweep, trial.key, rung, own, noted.rule))
end

-- The values of the aim at the steps so far, those of earlier attempts included.
local function values_so_far(step)
  local list = {}
  for at, value in pairs(noted.values) do
    if at <= step then list[#list + 1] = { at, value } end
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  for i, pair in ipairs(list) do list[i] = pair[2] end
  return list
end

-- Whether the scheduler lets the trial go on after this step.
local function goes_on(step, reported)
  local scheduler = noted.scheduler
  local rung = scheduler and scheduler:rung_of(step)
  if not rung then return true end
  if not noted.values[step] then
    local names = {}
    for name in pairs(reported) do names[#names + 1] = name end
    table.sort(names)
    error(("trial: %s '%s', which is not among the figures reported at step %d (%s)"):format(
      require("lip.sweep.rungs").unshown, aim(), step, #names > 0 and table.concat(names, ", ") or "none"), 0)
  end
  local values = values_so_far(step)
  local own = scheduler.score and scheduler:score(values) or values[#values]
  if own ~= own then return false end
  write { event = "rung", rung = rung, step = step, value = own, rule = noted.rule }
  return scheduler:decide(scores_of(rung, own), own, values)
end

--- The name of the figure that the scheduler will compare at this step, nil when it does not look.
function trial.wanted(step)
  local scheduler = trial.active and noted.scheduler
  return scheduler and scheduler:rung_of(step) and aim() or nil
end

-- ---- what scripts call ----

--- Notes figures of a step (an epoch); false when the trial should end here.
---@param step integer 1, 2, ...; a step that is reported again replaces the earlier one
---@param values table name = number
---@param total? integer how many steps there will be
---@return boolean go_on
function trial.report(step, values, total)
  local n = math.tointeger(step)
  if not n or n < 1 then error("trial.report: a step is a whole number from 1 on, got " .. shown(step), 2) end
  if type(values) ~= "table" then error("trial.report: expects a table of numbers by name, got " .. type(values), 2) end
  for name, v in pairs(values) do
    if type(name) ~= "string" or type(v) ~= "number" then
      error(type(name) ~= "string" and "trial.report: argument 2 (values) expects numbers by name, got a list"
        or ("trial.report: '%s' expects a number, got a %s"):format(shown(name), type(v)), 2)
    end
  end
  if not trial.active then return true end
  write { event = "metrics", step = n, total = total, values = values, time = lip.now() }
  local value = aim() and values[aim()]
  if value then noted.values[n], noted.last = score_of(value), value end
  if goes_on(n, values) then return true end
  noted.pruned = true
  return false
end

-- What stands under a file's name and is no file (a link, a pipe) came with the store or from an earlier attempt: it is
-- set aside, so that nothing is written behind it. The folders above are made.
local function make_room(path)
  local below = require("lip.sweep.journal").below(trial.folder)
  local function need(value, message)
    if value == nil then error("trial.file: " .. message, 0) end
    return value
  end
  local above = path:match "^(.*)/"
  if above ~= trial.folder then need(lip.file.mkdir(above, below)) end
  local there = lip.file.stat(path, below)
  if there and there.kind ~= "file" and there.kind ~= "folder" then
    local aside = ("%s.aside-%d"):format(path, math.floor(lip.now() * 1000))
    need(lip.file.rename(path, aside, below))
    io.stderr:write(lip.plain(("lipwb: %s: not a regular file; set aside as %s"):format(path, aside)), "\n")
  end
end

--- A name for a file of the trial, noted in its journal.
---@param kind "checkpoint"|"certificate"|"figure"|string
---@param name string
---@return string path in the trial's folder; outside of a trial the name itself
function trial.file(kind, name)
  if type(kind) ~= "string" or type(name) ~= "string" then error("trial.file: expects a kind and a name", 2) end
  if not trial.active then return name end
  if name == "" or name:sub(1, 1) == "/" or ("/" .. name .. "/"):find("/../", 1, true) then
    error(("trial.file: '%s' is not a name inside of the trial's folder"):format(name), 2)
  end
  local path = trial.folder .. "/" .. name
  make_room(path)
  local id = kind .. "\0" .. name
  if not noted.files[id] then
    noted.files[id] = true
    write { event = "file", kind = kind, path = name }
  end
  return path
end

--- Notes a file that was written under a name of the script's own, when it lies in the trial's folder.
function trial.wrote(kind, path)
  local prefix = trial.active and trial.folder .. "/"
  if prefix and path:sub(1, #prefix) == prefix then trial.file(kind, path:sub(#prefix + 1)) end
end

--- Notes a data set that was read.
function trial.data(name, sha256, samples)
  if not trial.active then return end
  local id = tostring(name) .. "\0" .. tostring(sha256)
  if noted.data[id] then return end
  noted.data[id] = true
  write { event = "data", name = tostring(name), sha256 = sha256, samples = samples }
end

-- ---- for lip.train, lip.args and the worker ----

--- Notes the settings of the script, defaults and all.
function trial.settings(values)
  write { event = "settings", values = values }
end

--- Where training keeps its checkpoint when the script named none: a name for each call in turn, and the seconds
--- between two writings.
function trial.checkpoint()
  noted.trainings = noted.trainings + 1
  local name = ("train%s.safetensors"):format(noted.trainings > 1 and noted.trainings or "")
  return trial.file("checkpoint", name), told.checkpoint_seconds or 2
end

--- Notes why training failed: a script may not have looked.
function trial.failed(message)
  if trial.active then noted.fault = message end
end

-- Figures of earlier attempts, for schedulers that look back.
local function recall()
  for _, line in ipairs(require("lip.sweep.journal").read(trial.folder) or {}) do
    local value = line.event == "metrics" and type(line.values) == "table" and tonumber(line.values[aim()])
    if value and line.step then noted.values[line.step] = score_of(value) end
  end
end

--- Makes this process the trial described in trial.json.
---@param told_ table trial.json
---@param folder string
---@return table noted what has happened: pruned, fault, last (value of the aim), rule
function trial.begin(told_, folder)
  told = told_
  noted = { values = {}, files = {}, data = {}, trainings = 0 }
  noted.rule = require "lip.sweep.rule"(told)
  trial.active, trial.key, trial.number, trial.config = true, told.key, told.number, told.config
  trial.seed, trial.folder = told.seed, folder
  if told.scheduler then
    local kind = told.scheduler.kind
    if kind ~= "asha" and kind ~= "median" then error(("trial: unknown scheduler '%s'"):format(tostring(kind)), 0) end
    noted.scheduler = require("lip.sweep." .. kind)(told.scheduler)
    if (told.attempt or 1) > 1 then recall() end
  end
  require "lip.trial_notes".install(trial)
  return noted
end

return require "lip.arguments".module("lip.trial.", trial, {
  report = "step whole, values table, total whole?", file = "kind text, name text", wrote = "kind text, path text",
  data = "name text, sha256 text?, samples whole?", wanted = "step whole",
})
