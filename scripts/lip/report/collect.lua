--- What a report says: numbers of the whole store and of every sweep, the best runs, figures, provenance.
local lip = require "lip"
local field = require "lip.runs.field"
local group = require "lip.runs.group"
local list = require "lip.runs.list"
local pareto = require "lip.runs.pareto"
local records = require "lip.runs.records"

local collect = {}

local MAX_LINES = 6 -- curves of training in one figure

-- ---- what to look at ----

local LIKELY = { "^certified", "^verified", "^attacked", "^robust", "^clean", "accuracy", "^loss" }

local function numeric_results(rows)
  local names = {}
  for _, name in ipairs(records.results(rows)) do
    local get = field.getter("row." .. name)
    for _, record in ipairs(rows) do
      local v = get(record)
      if v ~= nil then
        if field.number(v) then names[#names + 1] = name end
        break
      end
    end
  end
  return names
end

-- What a sweep aims at; when it does not say, the result that most looks like it.
local function aim(context, rows, names)
  local goal, better = records.goal(context.store, rows)
  if goal then return goal, better end
  for _, pattern in ipairs(LIKELY) do
    for _, name in ipairs(names) do
      if name:find(pattern) then return name, records.more_is_better(name) end
    end
  end
  if names[1] then return names[1], records.more_is_better(names[1]) end
end

local function first_like(names, ...)
  for _, pattern in ipairs { ... } do
    for _, name in ipairs(names) do
      if name:find(pattern) then return name end
    end
  end
end

-- Two results worth weighing against each other.
local function rivals(names, goal)
  local clean = first_like(names, "^clean", "accuracy")
  local robust = first_like(names, "^certified", "^verified", "^attacked", "^robust")
  if clean and robust and clean ~= robust then return clean, robust end
  local price = first_like(names, "^bound$", "^loss", "^seconds$")
  if goal and price and price ~= goal then return price, goal end
end

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
  local sweep = { name = name, rows = rows, done = records.done(rows), counts = counts(rows) }
  sweep.varying, sweep.constant = records.varying(rows)
  local names = numeric_results(sweep.done)
  sweep.goal, sweep.better = aim(context, rows, names)
  if #sweep.done > 0 and sweep.goal then
    local by, seeds = without_seed(sweep.varying)
    if seeds and #by > 0 then
      local groups = group.make(sweep.done, by)
      sweep.best = best_of(groups, sweep.goal, sweep.better, 5)
      sweep.best_columns = list.group_columns(sweep.best, by, sweep.goal)
    else
      sweep.best = best_of(sweep.done, sweep.goal, sweep.better, 5)
      sweep.best_columns = list.columns(sweep.best, sweep.goal)
    end
    sweep.top = best_of(sweep.done, sweep.goal, sweep.better, 1)[1]
  end
  local x, y = rivals(names, sweep.goal)
  if x then
    local more_x = pareto.direction(context, {}, rows, x)
    local more_y = pareto.direction(context, {}, rows, y)
    sweep.pareto = { x = x, y = y, more_x = more_x, more_y = more_y,
      rows = pareto.records(sweep.done, x, y, more_x, more_y) }
  end
  return sweep
end

-- ---- figures ----

-- The setting that goes across: budget when it varies, else the numeric one with the most values.
local function across(sweep)
  local best, most
  for _, name in ipairs(sweep.varying) do
    local get, seen, n, numeric = field.getter("config." .. name), {}, 0, true
    for _, record in ipairs(sweep.done) do
      local v = get(record)
      if type(v) ~= "number" then
        numeric = false
      elseif not seen[v] then
        seen[v] = true
        n = n + 1
      end
    end
    if numeric and n >= 3 and name ~= "seed" then
      if name == "budget" then return name end
      if not best or n > most then best, most = name, n end
    end
  end
  return best
end

-- The setting whose values have a panel each: norm when it varies, else one with few values.
local function beside(sweep, x)
  local best
  for _, name in ipairs(sweep.varying) do
    if name ~= x and name ~= "seed" then
      local get, seen, n = field.getter("config." .. name), {}, 0
      for _, record in ipairs(sweep.done) do
        local v = get(record)
        v = v == nil and "" or field.text(v)
        if not seen[v] then
          seen[v] = true
          n = n + 1
        end
      end
      if n <= 6 and name == "norm" then return name end
      if n <= 6 and not best then best = name end
    end
  end
  return best or false
end

local function positive(sweep, name)
  local get, low, high = field.getter("config." .. name), math.huge, 0
  for _, record in ipairs(sweep.done) do
    low, high = math.min(low, get(record)), math.max(high, get(record))
  end
  return low > 0 and high >= 8 * low
end

local function accuracies(sweep)
  for _, record in ipairs(sweep.done) do
    for name in next, record.row or {} do
      if name == "clean" or name == "certified" or name == "attacked" or tostring(name):find "^certified@" then
        return nil -- the figure knows which
      end
    end
  end
  return { sweep.goal }
end

-- The best runs that have told of their steps.
local function curves(context, sweep)
  local runs, names = {}, {}
  for _, record in ipairs(best_of(sweep.done, sweep.goal, sweep.better, MAX_LINES)) do
    local metrics = context.store:metrics(record.id)
    if metrics and #metrics > 0 then
      local parts = {}
      for _, name in ipairs(sweep.varying) do parts[#parts + 1] = name .. " " .. field.text(record.config[name]) end
      runs[#runs + 1] = { title = table.concat(parts, ", "), metrics = metrics }
      for _, m in ipairs(metrics) do names[m.name] = true end
    end
  end
  local wanted = {}
  for _, name in ipairs { "loss", "accuracy", "validation.loss", "validation.accuracy" } do
    if names[name] then wanted[#wanted + 1] = name end
  end
  return runs, wanted
end

--- The figures of a sweep: { { caption=, figure= }, ... }; each panel is a figure of its own, so that a narrow page can
-- stack them.
local function plans(context, sweep)
  local found = {}
  local function add(caption, make)
    local ok, figure = pcall(make)
    if not ok then
      found[#found + 1] = { caption = caption, message = tostring(figure) }
      return
    end
    for i, panel in ipairs(figure.panels or { figure }) do
      if not panel.title then panel.title = figure.title end
      local n = #(figure.panels or {})
      found[#found + 1] = { caption = n > 1 and ("%s (%d of %d)"):format(caption, i, n) or caption, figure = panel }
    end
  end
  if #sweep.done < 2 or not sweep.goal then return found end
  local x = across(sweep)
  if x then
    local by, log = beside(sweep, x), positive(sweep, x)
    add(("Results against %s"):format(x), function()
      return lip.figures.budget(sweep.done, { x = x, by = by, y = accuracies(sweep), logx = log })
    end)
  end
  local p = sweep.pareto
  if p and #p.rows > 0 then
    add(("%s and %s: every run, and those that no other beats"):format(p.x, p.y), function()
      local less = {}
      if not p.more_x then less[#less + 1] = p.x end
      if not p.more_y then less[#less + 1] = p.y end
      return lip.figures.pareto(sweep.done, p.x, p.y, { minimise = less, by = x and beside(sweep, x) or nil })
    end)
  end
  local runs, names = curves(context, sweep)
  if #runs > 0 and #names > 0 then
    add("Training of the best runs", function() return lip.figures.losses(runs, { names = names }) end)
  end
  return found
end

local function draw(found)
  for _, f in ipairs(found) do
    if f.figure then
      f.figure.inline, f.figure.width, f.figure.height = true, 480, 360
      local ok, svg, message = pcall(lip.plot, f.figure)
      if ok and svg then f.svg = svg else f.message = ok and message or tostring(svg) end
    end
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
    sweep.figures = draw(plans(context, sweep))
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
