--- Another description for a sweep that is stored: its trials become those of the new one. A trial that is in both
-- keeps its results and gets the number it has now; one that is only in the old leaves the sweep, its folder stays.
local lip = require "lip"
local ingest = require "lip.sweep.ingest"
local store_module = require "lip.sweep.store"

local must = ingest.must
local accept = {}

local function drop(db, id)
  for _, name in ipairs { "metrics", "rungs", "files", "data" } do
    must(db:exec(("DELETE FROM %s WHERE trial = ?"):format(name), id))
  end
  must(db:exec("DELETE FROM trials WHERE id = ?", id))
end

-- What is looked at may be another figure of the same row.
local function judge_again(db, sweep, aim)
  for _, row in ipairs(must(db:rows("SELECT id, row FROM trials WHERE sweep = ? AND row IS NOT NULL", sweep))) do
    local value = aim and lip.from_json(row.row)[aim]
    if value == "inf" or value == "-inf" then value = value == "inf" and math.huge or -math.huge end
    must(db:exec("UPDATE trials SET value = ? WHERE id = ?", type(value) == "number" and value or nil, row.id))
  end
end

local function replace(store, name, description, list)
  local db, wanted = store.db, {}
  local sweep = must(store:replace_description(name, description))
  for _, trial in ipairs(list) do wanted[trial.key] = trial end
  store_module.requeue_dead(store, lip.process.self().host, sweep)
  local lines = {}
  local function note(line) lines[#lines + 1] = lip.to_json(line) .. "\n" end
  for _, row in ipairs(must(db:rows("SELECT id, number, key, state FROM trials WHERE sweep = ?", sweep))) do
    local trial = wanted[row.key]
    if row.state == "running" and (not trial or trial.number ~= row.number) then
      must(nil, ("trial %d is running: end the other sweep first"):format(row.number), "busy")
    end
    if not trial then
      drop(db, row.id)
      note { key = row.key, left = true }
    elseif trial.number ~= row.number then
      note { id = row.id, number = trial.number, key = trial.key, config = trial.config, seed = trial.seed }
    end
    -- out of the way: numbers are unique
    must(db:exec("UPDATE trials SET number = -number WHERE id = ?", row.id))
  end
  for _, trial in ipairs(list) do
    must(db:exec("UPDATE trials SET number = ? WHERE sweep = ? AND key = ?", trial.number, sweep, trial.key))
  end
  if #lines > 0 then
    must(lip.file.append(store:sweep_file(name, ".trials.jsonl"), table.concat(lines), { sync = true }))
  end
  judge_again(db, sweep, description.maximise or description.minimise)
  must(store:enqueue(sweep, list))
  return sweep
end

--- Takes a new description and the trials that belong to it.
---@param store table
---@param name string of the sweep
---@param description table
---@param list table[] trials as for enqueue
---@return integer|nil id, string? message, string? code
accept.replace = store_module.guarded(function(store, name, description, list)
  return store:transaction(function() return replace(store, name, description, list) end)
end)

return accept
