--- What a report says: numbers of the whole store and of every sweep, the best runs, figures, provenance.
local lip = require "lip"
local draw = require "lip.runs.draw"
local group = require "lip.runs.group"
local list = require "lip.runs.list"
local pareto = require "lip.runs.pareto"
local records = require "lip.runs.records"

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
    sweep.pareto = { x = x, y = y, more_x = more_x, more_y = more_y,
      rows = pareto.records(sweep.done, x, y, more_x, more_y) }
  end
  return sweep
end

-- ---- figures ----

-- { { caption=, svg= or message= }, ... }: each panel is a picture of its own, so that a narrow page can stack them.
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
      panel.inline, panel.width, panel.height = true, 480, 380
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
  for _, record in ipairs(best_of(sweep.done, sweep.goal, sweep.better, 1)) do
    if record.step then add("Training of the best runs", draw.losses, context, sweep, {}) end
  end
  return found
end

-- ---- provenance ----

-- Texts are compared as they stand: most runs of a sweep share one.
local function provenance(context)
  local rows, message = context.store.db:rows "SELECT id, provenance FROM trials"
  if not rows then return nil, message end
  local distinct, index, of = {}, {}, {}
  for _, row in ipairs(rows) do
    local text = row.provenance
    if text then
      local p = index[text]
      if not p then
        p = { text = text, n = 0, place = #distinct + 1 }
        index[text] = p
        distinct[p.place] = p
      end
      of[row.id] = p
    end
  end
  return { distinct = distinct, of = of }
end

---@return table|nil report, string? message
function collect.all(context, args)
  local rows, message, code = records.load(context.store, args)
  if not rows then return nil, message, code end
  local report = { rows = rows, counts = counts(rows), sweeps = {} }
  for i, part in ipairs(records.by_sweep(rows)) do
    local sweep = one_sweep(context, part[1], part[2])
    sweep.figures = figures_of(context, sweep)
    report.sweeps[i] = sweep
  end
  report.provenance, message = provenance(context)
  if not report.provenance then return nil, message end
  for _, record in ipairs(rows) do
    local p = report.provenance.of[record.id]
    if p then p.n = p.n + 1 end
  end
  return report
end

return collect
