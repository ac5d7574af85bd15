--- Another description for a sweep that is stored: its trials become those of the new one. A trial that is in both
-- keeps its results and gets the number it has now; one that is only in the old leaves the sweep, its folder stays.
local lip = require "lip"
local aim = require "lip.sweep.aim"
local ingest = require "lip.sweep.ingest"
local journal = require "lip.sweep.journal"
local record = require "lip.sweep.record"
local rule_of = require "lip.sweep.rule"
local store_module = require "lip.sweep.store"

local must = ingest.must
local accept = {}

local function drop(db, id)
  for _, name in ipairs { "metrics", "rungs", "files", "data" } do
    must(db:exec(("DELETE FROM %s WHERE trial = ?"):format(name), id))
  end
  must(db:exec("DELETE FROM trials WHERE id = ?", id))
end

-- A trial that failed because its row has no such figure has come to its end: when the row has the one that is looked at
-- now, it is done. The journal says so as well.
local function finish_again(store, sweep, name, figure)
  for _, r in ipairs(must(store:trials { sweep = sweep, state = "failed" })) do
    local value = r.row and figure and r.row[figure]
    if aim.lacks(r.message) and (type(value) == "number" or value == "inf" or value == "-inf") then
      local folder = store:folder(r)
      must(journal.append(folder, { event = "end", state = "done", sweep = name, attempt = r.attempt, row = r.row,
        value = value, exit = 0, memory = r.memory, time = lip.now() }, { sync = true }))
      ingest.run(store.db, r.id, folder)
    end
  end
end

-- What is looked at may be another figure of the same row.
local function judge_again(db, sweep, figure)
  for _, row in ipairs(must(db:rows([[SELECT id, row FROM trials WHERE sweep = ? AND row IS NOT NULL
    AND state IN ('done', 'pruned')]], sweep))) do
    local value = figure and (record.named(lip.from_json(row.row)) or {})[figure]
    if value == "inf" or value == "-inf" then value = value == "inf" and math.huge or -math.huge end
    must(db:exec("UPDATE trials SET value = ? WHERE id = ?", type(value) == "number" and value or nil, row.id))
  end
end

-- Scores under a rule, of figures that a trial has reported: lines for its journal.
local function scores_of(store, id, name, description)
  local fields, figure = description.scheduler, description.maximise or description.minimise
  local lines, values = {}, {}
  if not fields then return lines end
  local scheduler, rule = require("lip.sweep." .. fields.kind)(fields), rule_of(description)
  for _, m in ipairs(must(store:metrics(id))) do -- by name and step
    if m.name == figure then
      values[#values + 1] = description.minimise and -m.value or m.value
      local rung = scheduler:rung_of(m.step)
      local score = rung and (scheduler.score and scheduler:score(values) or values[#values])
      if score and score == score then
        lines[#lines + 1] = { event = "rung", sweep = name, rung = rung, step = m.step, value = score, rule = rule }
      end
    end
  end
  return lines
end

-- Another aim or scheduler: scores are those of the figures that were reported, and who ended early by the old rule is
-- still to be tried. Both stand in the journals too.
local function rule_again(store, sweep, name, description)
  local db = store.db
  local running = must(db:row("SELECT abs(number) AS n FROM trials WHERE sweep = ? AND state = 'running'", sweep))
  if running then must(nil, ("trial %d is running: end the other sweep first"):format(running.n), "busy") end
  for _, row in ipairs(must(db:rows("SELECT id, key FROM trials WHERE sweep = ?", sweep))) do
    must(db:exec("DELETE FROM rungs WHERE trial = ?", row.id))
    local folder = store:folder(row.key)
    if lip.file.exists(journal.path(folder), store.below) then
      ingest.run(db, row.id, folder)
      for _, line in ipairs(scores_of(store, row.id, name, description)) do must(journal.append(folder, line)) end
      ingest.run(db, row.id, folder)
    end
    if must(store:trial(row.id)).state == "pruned" then must(store:requeue(row.id)) end
  end
end

local function replace(store, name, description, list)
  local db, wanted = store.db, {}
  local old = must(store:describe(name)) or {}
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
    must(lip.file.append(store:sweep_file(name, ".trials.jsonl"), table.concat(lines),
      { sync = true, below = store.root }))
  end
  if rule_of(old) ~= rule_of(description) then rule_again(store, sweep, name, description) end
  local figure = description.maximise or description.minimise
  finish_again(store, sweep, name, figure)
  judge_again(db, sweep, figure)
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
