--- A store's runs as event files: DIR/SWEEP/NUMBER holds the curves of a trial, its settings and its result.
local tensorboard = require "lip.tensorboard"

local export = {}

local function write_trial(store, trial, dir)
  local metrics, message, code = store:metrics(trial.id)
  if not metrics then return nil, message, code end
  local w <close> = tensorboard { dir = ("%s/%s/%04d"):format(dir, trial.sweep, trial.number) }
  w.time = trial.finished or trial.started -- of the run, not of the export
  table.sort(metrics, function(a, b)
    if a.step ~= b.step then return a.step < b.step end
    return a.name < b.name
  end)
  for _, m in ipairs(metrics) do
    local ok
    ok, message, code = w:scalar(m.name, m.value, m.step)
    if not ok then return nil, message, code end
  end
  if trial.state == "queued" or trial.state == "running" then return true end
  return w:hparams(trial.config, trial.row, { failed = trial.state == "failed", group = trial.sweep .. "/" .. trial.key,
    step = trial.step and math.max(trial.step, 0) })
end

--- Writes all trials that have begun; returns how many, or nil, message, code.
---@param store table
---@param dir string
---@param options? { sweep: string? }
---@return integer? trials, string? message, string? code
function export.write(store, dir, options)
  local sweep = options and options.sweep
  if sweep and not store:describe(sweep) then return nil, ("no sweep '%s' in this store"):format(sweep), "not_found" end
  local trials, message, code = store:trials { sweep = sweep }
  if not trials then return nil, message, code end
  local count = 0
  for _, trial in ipairs(trials) do
    if trial.started then
      local ok
      ok, message, code = write_trial(store, trial, dir)
      if not ok then return nil, message, code end
      count = count + 1
    end
  end
  return count
end

return export
