--- What a report says: numbers of the whole store and of every sweep, the best runs, figures, provenance.
local lip = require "lip"
local draw = require "lip.runs.draw"
local group = require "lip.runs.group"
local list = require "lip.runs.list"
local pareto = require "lip.runs.pareto"
local records = require "lip.runs.records"
local stored = require "lip.sweep.record"

local collect = {}

-- ---- sweeps ----

local function best_of(rows, goal, better, limit)
  local ranked = list.ranked(rows, goal, better)
  return table.move(ranked, 1, math.min(limit, #ranked), 1, {})
end

local function counts(rows)
  local n = { done = 0, running = 0, queued = 0, failed = 0, pruned = 0 }
  local seconds, first, last = 0, nil, nil
  for _, record in ipairs(rows) do
    n[record.state] = n[record.state] + 1
    seconds = seconds + (record.seconds or 0)
    if record.started then first = math.min(first or record.started, record.started) end
    if record.finished then last = math.max(last or record.finished, record.finished) end
  end
  return { all = #rows, states = n, seconds = seconds, first = first, last = last }
end

local function without_seed(varying)
  local rest, seed = {}, false
  for _, name in ipairs(varying) do
    if name == "seed" then seed = true else rest[#rest + 1] = name end
  end
  return rest, seed
end

local function one_sweep(context, name, rows)
  local sweep = draw.view(context, rows)
  sweep.name, sweep.counts = name, counts(rows)
  if #sweep.done > 0 and sweep.goal then
    local by, seeds = without_seed(sweep.varying)
    if seeds and #by > 0 then
      sweep.best = best_of(group.make(sweep.done, by), sweep.goal, sweep.better, 5)
      sweep.best_columns = list.group_columns(sweep.best, by, sweep.goal)
    else
      sweep.best = best_of(sweep.done, sweep.goal, sweep.better, 5)
      sweep.best_columns = list.columns(sweep.best, sweep.goal)
    end
    sweep.top = best_of(sweep.done, sweep.goal, sweep.better, 1)[1]
  end
  local x, y = sweep.rivals[1], sweep.rivals[2]
  if x then
    local more_x = pareto.direction(context, {}, rows, x)
    local more_y = pareto.direction(context, {}, rows, y)
    sweep.pareto = { x = x, y = y, more_x = more_x, more_y = more_y }
    sweep.pareto.rows, sweep.pareto.parted = pareto.records(sweep.done, x, y, more_x, more_y)
  end
  return sweep
end

-- ---- figures ----

local IMAGES = { png = "image/png", svg = "image/svg+xml" }
local MAX_IMAGES, MAX_BYTES = 6, 1500000

-- Figures that the best run has drawn itself, as images: nothing in them can act.
local function drawn_by(context, record, found)
  local n = 0
  for _, f in ipairs(record and context.store:files(record) or {}) do
    local ending = f.kind == "figure" and f.path:lower():match "%.(%w+)$"
    local path = context.store:folder(record) .. "/" .. f.path
    local below = context.store.below
    local s = ending and IMAGES[ending] and lip.file.stat(path, below)
    local image = s and s.kind == "file" and s.size <= MAX_BYTES and n < MAX_IMAGES and lip.file.read(path, 0, below)
    if image then
      n = n + 1
      found[#found + 1] = { caption = ("%s of run %s, the best"):format(f.path, record.name), kind = IMAGES[ending],
        image = image }
    end
  end
end

-- { { caption=, svg= or image= or message= }, ... }: each panel is a picture of its own: a narrow page can stack
-- them.
local function figures_of(context, sweep)
  local found = {}
  local function add(caption, make, ...)
    local ok, figure, why = pcall(make, ...)
    if not ok or not figure then
      found[#found + 1] = { caption = caption, message = tostring(ok and why or figure) }
      return
    end
    local panels = figure.panels or { figure }
    for i, panel in ipairs(panels) do
      panel.title = panel.title or figure.title
      panel.inline, panel.width, panel.height = true, 430, 350
      local drawn, svg, message = pcall(lip.plot, panel)
      local f = { caption = #panels > 1 and ("%s (%d of %d)"):format(caption, i, #panels) or caption }
      if drawn and svg then f.svg = svg else f.message = tostring(drawn and message or svg) end
      found[#found + 1] = f
    end
  end
  if #sweep.done < 2 or not sweep.goal then return found end
  if sweep.x then add("Results against " .. sweep.x, draw.budget, sweep, {}) end
  local p = sweep.pareto
  if p and #p.rows > 0 then
    add(("%s and %s: every run, and those that no other beats"):format(p.x, p.y), draw.pareto, sweep, p)
  end
  if sweep.top and sweep.top.step then add("Training of the best runs", draw.losses, context, sweep, {}) end
  drawn_by(context, sweep.top, found)
  return found
end

-- ---- provenance ----

-- { [trial] = { "NAME" = "60000 samples, SHA-256 ..." } }
local function data_sets(context)
  local rows, message = context.store.db:rows "SELECT trial, name, sha256, samples FROM data"
  if not rows then return nil, message end
  local of = {}
  for _, row in ipairs(rows) do
    local column = stored.damage(row, "data")
    if column then return nil, ("%s: the '%s' of a trial's data is damaged"):format(context.path, column) end
    of[row.trial] = of[row.trial] or {}
    of[row.trial][row.name] = ("%s samples, SHA-256 %s"):format(row.samples or "?", row.sha256 or "?")
  end
  return of
end

-- What most runs share, each kind once: all but the settings, which differ from run to run.
local function provenance(context, rows)
  local texts, message = context.store.db:rows "SELECT id, provenance FROM trials WHERE provenance IS NOT NULL"
  if not texts then return nil, message end
  local data
  data, message = data_sets(context)
  if not data then return nil, message end
  local wanted, parsed, distinct, index, result = {}, {}, {}, {}, { of = {}, settings = {} }
  for _, record in ipairs(rows) do wanted[record.id] = record end
  for _, row in ipairs(texts) do
    local record = wanted[row.id]
    if record then
      local known = parsed[row.provenance] or stored.provenance(row.provenance)
      parsed[row.provenance] = known
      local facts = {}
      for key, value in next, known do
        if key ~= "settings" then facts[key] = value end
      end
      facts.data = data[row.id]
      local key = lip.to_json(facts)
      local p = index[key] or { facts = facts, n = 0, place = #distinct + 1 }
      index[key], distinct[p.place] = p, p
      p.n = p.n + 1
      result.of[row.id], result.settings[row.id] = p, known.settings
    end
  end
  result.distinct = distinct
  return result
end

---@return table|nil report, string? message
function collect.all(context, args)
  local rows, message, code = records.load(context.store, args)
  if not rows then return nil, message, code end
  local distinct, shared = records.distinct(rows)
  local report = { rows = rows, counts = counts(distinct), shared = shared, states = counts(rows).states, sweeps = {} }
  for i, part in ipairs(records.by_sweep(rows)) do
    local sweep = one_sweep(context, part[1], part[2])
    sweep.figures = figures_of(context, sweep)
    report.sweeps[i] = sweep
  end
  report.provenance, message = provenance(context, rows)
  if not report.provenance then return nil, message end
  return report
end

return collect
