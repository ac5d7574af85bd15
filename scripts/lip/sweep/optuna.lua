--- A store's sweeps as a journal of Optuna: each sweep a study, each trial with its parameters, values per epoch, state
-- and times. `optuna.storages.JournalStorage(JournalFileBackend(FILE))` reads it, and may go on from there.
-- The journal holds one JSON object a line, { op_code, worker_id, ... } (optuna/storages/journal/_storage.py, 3.1 to
-- 5.0).
local core = require "lip.core"
local decimal = require "lip.decimal"

local export = {}

local CREATE_STUDY, SET_STUDY_USER_ATTR, CREATE_TRIAL = 0, 2, 4
local STATES = { running = 0, done = 1, pruned = 2, failed = 3, queued = 4 }
local MINIMISE, MAXIMISE = 1, 2

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- JSON as Python's reader takes it: numbers that are not finite have names of their own.
local function json(v)
  if v == nil then return "null" end
  if type(v) == "number" and v - v ~= 0 then
    return v ~= v and "NaN" or v > 0 and "Infinity" or "-Infinity"
  end
  return decimal.json(v)
end

-- An object with its keys in order; values that are already JSON come in `raw`.
local function object(fields, raw)
  local parts = {}
  for name, v in pairs(fields) do parts[#parts + 1] = core.to_json(name) .. ":" .. json(v) end
  for name, text in pairs(raw or {}) do parts[#parts + 1] = core.to_json(name) .. ":" .. text end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

local function list(values)
  local parts = {}
  for i, v in ipairs(values) do parts[i] = json(v) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function line(op, fields, raw)
  fields.op_code, fields.worker_id = op, "lipwb"
  return object(fields, raw) .. "\n"
end

-- nil for what is no time that a calendar has
local LAST = 253402300800 -- the year 10000
local function iso(seconds)
  if not (seconds and seconds >= 0 and seconds < LAST) then return nil end
  local whole = seconds // 1
  return os.date("!%Y-%m-%dT%H:%M:%S", math.tointeger(whole)) ..
    (".%06d+00:00"):format(math.min(999999, (seconds - whole) * 1e6 // 1))
end

-- ---- distributions ----

-- Optuna's choices are numbers, texts and booleans; a list is written as its JSON.
local function choice(v)
  return type(v) == "table" and core.to_json(v) or v
end

local function categorical()
  return { choices = {}, at = {} }
end

local function add_choice(d, v)
  v = choice(v)
  if not d.at[v] then
    d.choices[#d.choices + 1] = v
    d.at[v] = #d.choices - 1
  end
end

local RANGES = { uniform = true, loguniform = true, integer = true }

-- Whether a setting is a number in every trial that has it.
local function numeric(trials, name)
  for _, trial in ipairs(trials) do
    local v = trial.config[name]
    if v ~= nil and type(v) ~= "number" then return false end
  end
  return true
end

-- The dimensions of a description: those of a space as they stand there, those of a grid its lists.
local function described(description)
  local search, all = type(description.search) == "table" and description.search or {}, {}
  for name, d in pairs(type(search.space) == "table" and search.space or {}) do
    local choice_of = type(d) == "table" and (d.kind == nil and d or d.kind == "choice" and d.values)
    if type(choice_of) == "table" then
      all[name] = { kind = "choice", values = choice_of }
    elseif type(d) == "table" and RANGES[d.kind] and type(d.low) == "number" and type(d.high) == "number" then
      all[name] = d
    end
  end
  return all
end

local function range(d)
  local logarithmic = d.kind == "loguniform" or d.log == true
  return {
    internal = function(v) return v end,
    text = object({ name = d.kind == "integer" and "IntDistribution" or "FloatDistribution" }, {
      attributes = object({ low = d.low, high = d.high, log = logarithmic },
        { step = d.kind == "integer" and "1" or "null" }),
    }),
  }
end

--- For each setting how its values are numbered, and its distribution as JSON. What a description does not tell (a
-- list of
--- configurations) is a choice among the values that occur.
local function distributions(description, trials)
  local known, all, choices = described(description), {}, {}
  for name, d in pairs(known) do
    if d.kind == "choice" then
      choices[name] = categorical()
      for _, v in ipairs(d.values) do add_choice(choices[name], v) end
    elseif numeric(trials, name) then
      all[name] = range(d)
    end
  end
  for _, trial in ipairs(trials) do
    for _, name in ipairs(sorted_keys(trial.config)) do
      if not all[name] then
        choices[name] = choices[name] or categorical()
        add_choice(choices[name], trial.config[name])
      end
    end
  end
  for name, d in pairs(choices) do
    all[name] = {
      internal = function(v) return d.at[choice(v)] end,
      text = object({ name = "CategoricalDistribution" },
        { attributes = object({}, { choices = list(d.choices) }) }),
    }
  end
  return all
end

-- ---- trials ----

-- The curve of the objective, or of the measure that stands for it: { [step] = value }.
local function curve(metrics, name)
  local values = {}
  for _, m in ipairs(metrics) do
    if m.name == name then values[tostring(m.step)] = json(m.value) end
  end
  return values
end

local function number(v) -- texts such as "inf" are numbers that JSON has no word for
  if v == "inf" then return math.huge elseif v == "-inf" then return -math.huge elseif v == "nan" then return 0 / 0 end
  return type(v) == "number" and v or nil
end

local function trial_line(study, trial, metrics, dist, options)
  local row = trial.row or {}
  local value = number(trial.value)
  if options.objective and value == nil then value = number(row[options.objective]) end
  local state = STATES[trial.state]
  -- a finished trial of Optuna's has a value; without one it cannot be compared with others
  if trial.state == "done" and (value == nil or value ~= value) then state = STATES.failed end
  local params, texts = {}, {}
  for name, v in pairs(trial.config) do
    params[name], texts[name] = json(dist[name].internal(v)), core.to_json(dist[name].text)
  end
  local attrs = { key = json(trial.key), seed = json(trial.seed), lipwb_state = json(trial.state) }
  for name, v in pairs(row) do attrs[name] = json(v) end
  if trial.message then attrs.message = json(trial.message) end
  local raw = {
    state = json(state), distributions = object({}, texts), params = object({}, params),
    user_attrs = object({}, attrs),
    intermediate_values = object({}, curve(metrics, options.curve or options.objective)),
    system_attrs = "{}", values = "null", value = value and state ~= STATES.failed and json(value) or "null",
    datetime_start = json(iso(trial.started)),
  }
  if trial.state == "queued" then -- as study.enqueue_trial leaves them: to be run with these parameters
    local fixed = {}
    for name, v in pairs(trial.config) do fixed[name] = json(choice(v)) end
    raw.params, raw.distributions = "{}", "{}"
    raw.system_attrs = object({}, { fixed_params = object({}, fixed) })
    raw.datetime_start, raw.value = "null", "null"
  elseif trial.state ~= "running" then
    raw.datetime_complete = json(iso(trial.finished) or iso(trial.started) or iso(0))
  end
  return line(CREATE_TRIAL, { study_id = study }, raw)
end

--- Writes the sweeps of a store; returns the number of trials, or nil, message, code.
---@param store table
---@param path string
---@param options? { sweep: string?, maximise: string?, minimise: string?, curve: string? } curve: the measure per epoch
---@return integer? trials, string? message, string? code
function export.write(store, path, options)
  options = options or {}
  local sweeps, message, code = store:sweeps()
  if not sweeps then return nil, message, code end
  local parts, study, count = {}, 0, 0
  for _, sweep in ipairs(sweeps) do
    if not options.sweep or options.sweep == sweep.name then
      local description = sweep.description or {}
      local trials
      trials, message, code = store:trials { sweep = sweep.name }
      if not trials then return nil, message, code end
      local maximise = options.maximise or not options.minimise and description.maximise or nil
      local objective = maximise or options.minimise or description.minimise
      local dist = distributions(description, trials)
      parts[#parts + 1] = line(CREATE_STUDY, { study_name = sweep.name },
        { directions = list { objective and not maximise and MINIMISE or MAXIMISE } })
      if objective then
        parts[#parts + 1] = line(SET_STUDY_USER_ATTR, { study_id = study },
          { user_attr = object { objective = objective } })
      end
      for _, trial in ipairs(trials) do
        local metrics
        metrics, message, code = store:metrics(trial.id)
        if not metrics then return nil, message, code end
        parts[#parts + 1] = trial_line(study, trial, metrics, dist, { objective = objective, curve = options.curve })
      end
      study, count = study + 1, count + #trials
    end
  end
  if options.sweep and study == 0 then
    return nil, ("no sweep '%s' in this store"):format(options.sweep), "not_found"
  end
  local ok
  ok, message, code = core.file.write(path, table.concat(parts))
  if not ok then return nil, message, code end
  return count
end

return export
