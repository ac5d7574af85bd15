--- `lipwb runs plot`, and the figures of a report: what to draw is read off the runs when nobody says.
local lip = require "lip"
local field = require "lip.runs.field"
local list = require "lip.runs.list"
local pareto = require "lip.runs.pareto"
local records = require "lip.runs.records"

local draw = {}

local MAX_LINES = 6 -- curves of training in one figure
local MAX_PANELS = 6
local MAX_POINTS = 2000

-- ---- what to look at ----

local LIKELY = { "^certified", "^verified", "^attacked", "^robust", "^clean", "accuracy", "^loss" }

local function numeric_results(rows)
  local names = {}
  for _, name in ipairs(records.results(rows)) do
    for _, record in ipairs(rows) do
      local v = record.row and record.row[name]
      if v ~= nil then
        if field.number(v) then names[#names + 1] = name end
        break
      end
    end
  end
  return names
end

local function first_like(names, patterns)
  for _, pattern in ipairs(patterns) do
    for _, name in ipairs(names) do
      if name:find(pattern) then return name end
    end
  end
end

-- What a sweep aims at; when it does not say, the result that most looks like it.
local function aim(context, rows, names)
  local goal, better = records.goal(context.store, rows)
  if goal then return goal, better end
  goal = first_like(names, LIKELY) or names[1]
  if goal then return goal, records.more_is_better(goal) end
end

-- Two results worth weighing against each other.
local function rivals(view)
  local clean = first_like(view.names, { "^clean", "accuracy" })
  local robust = view.goal
  if not robust or robust == clean or robust:find "^loss" then
    robust = first_like(view.names, { "^certified", "^verified", "^attacked", "^robust" })
  end
  if clean and robust and clean ~= robust then return clean, robust end
  local price = first_like(view.names, { "^bound$", "^loss", "^seconds$" })
  if view.goal and price and price ~= view.goal then return price, view.goal end
end

local function distinct(rows, name)
  local get, seen, n, numeric, low, high = field.getter("config." .. name), {}, 0, true, math.huge, -math.huge
  for _, record in ipairs(rows) do
    local v = get(record)
    if type(v) == "number" then low, high = math.min(low, v), math.max(high, v) else numeric = false end
    if type(v) == "table" then v = field.text(v) end
    if v == nil then v = "" end
    if not seen[v] then
      seen[v] = true
      n = n + 1
    end
  end
  return { n = n, numeric = numeric, log = numeric and low > 0 and high >= 8 * low }
end

-- The setting that goes across: budget when it varies, else the numeric one with the most values.
local function across(view)
  local best, most
  for _, name in ipairs(view.varying) do
    local values = distinct(view.done, name)
    if values.numeric and values.n >= 3 and name ~= "seed" then
      if name == "budget" then return name end
      if not best or values.n > most then best, most = name, values.n end
    end
  end
  return best
end

-- The setting whose values have a panel or a colour each: norm when it varies, else one with few values.
local function beside(view, x)
  local best
  for _, name in ipairs(view.varying) do
    if name ~= x and name ~= "seed" and distinct(view.done, name).n <= MAX_PANELS then
      if name == "norm" then return name end
      best = best or name
    end
  end
  return best or false
end

--- What there is to see of some runs: those done, what varies, what they aim at, what goes across and beside.
---@param by? string what the figure is asked to part: a run of several sweeps is one run unless it parts these
function draw.view(context, rows, by)
  local view = { rows = rows, done = records.done(rows) }
  if by ~= "sweep" then view.done = records.distinct(view.done) end
  view.varying, view.constant = records.varying(rows)
  view.names = numeric_results(view.done)
  view.goal, view.better = aim(context, rows, view.names)
  view.x = across(view)
  view.by = beside(view, view.x)
  view.rivals = { rivals(view) }
  return view
end

-- ---- figures ----

local function has_accuracies(view)
  for _, name in ipairs(view.names) do
    if name == "clean" or name == "certified" or name == "attacked" or name:find "^certified@" then return true end
  end
  return false
end

--- Results against a setting, with a band over what is not shown.
function draw.budget(view, options)
  local x = options.x or view.x
  if not x then return nil, "no setting has three numbers or more to draw against: --x NAME" end
  local y = options.y or (not has_accuracies(view) and view.goal and { view.goal }) or nil -- nil: the accuracies
  local by = options.by or (view.by ~= x and view.by) or false
  return lip.figures.budget(view.done, { x = x, y = y, by = by, logx = distinct(view.done, x).log })
end

-- Points that fall on one spot of a picture are one point: of the others nothing would be seen.
local function visible(rows, x, y, by)
  if #rows <= MAX_POINTS then return rows end
  local get_x, get_y, get_by = field.getter(x), field.getter(y), by and field.getter(by)
  local low, high, points = { math.huge, math.huge }, { -math.huge, -math.huge }, {}
  for i, record in ipairs(rows) do
    local p = { field.number(get_x(record)), field.number(get_y(record)) }
    points[i] = p
    for k = 1, 2 do
      local v = p[k]
      if v and v == v and math.abs(v) < math.huge then low[k], high[k] = math.min(low[k], v), math.max(high[k], v) end
    end
  end
  local kept, seen = {}, {}
  local function cell(v, k) return v and (v - low[k]) / (high[k] - low[k]) * 250 // 1 or "none" end
  for i, record in ipairs(rows) do
    local spot = ("%s %s %s"):format(cell(points[i][1], 1), cell(points[i][2], 2),
      get_by and field.text(get_by(record)) or "")
    if not seen[spot] then
      seen[spot] = true
      kept[#kept + 1] = record
    end
  end
  return kept
end

--- Every run as a point of two measures, and the front.
function draw.pareto(view, options)
  local x = options.x or view.rivals[1]
  local y = type(options.y) == "table" and options.y[1] or options.y or view.rivals[2]
  if not x or not y then return nil, "name two measures: lipwb runs plot pareto --x NAME --y NAME" end
  local less, front = {}, pareto.records(view.done, x, y, options.more_x, options.more_y)
  if not options.more_x then less[#less + 1] = x end
  if not options.more_y then less[#less + 1] = y end
  local by = options.by or view.by or nil
  local rows, there = visible(view.done, x, y, by), {}
  if rows ~= view.done then -- the corners of the front stay, whatever they share a spot with
    for _, record in ipairs(rows) do there[record] = true end
    for _, record in ipairs(front) do
      if not there[record] then rows[#rows + 1] = record end
    end
  end
  return lip.figures.pareto(rows, x, y, { minimise = less, by = by })
end

local USUAL = { "loss", "accuracy", "validation.loss", "validation.accuracy" }

--- What the best runs told of their steps.
function draw.losses(context, view, options)
  local rows = view.goal and list.ranked(view.done, view.goal, view.better) or view.done
  local runs, names, told = {}, {}, {}
  for i = 1, math.min(#rows, MAX_LINES) do
    local metrics, message = context.store:metrics(rows[i].id)
    if not metrics then return nil, message end
    if #metrics > 0 then runs[#runs + 1] = { title = "run " .. rows[i].name, metrics = metrics } end
    for _, m in ipairs(metrics) do told[m.name] = true end
  end
  for _, name in ipairs(options.y or USUAL) do
    if told[name] then names[#names + 1] = name end
  end
  if #names == 0 and not options.y then
    for name in next, told do names[#names + 1] = name end
    table.sort(names)
    names = table.move(names, 1, math.min(#names, 4), 1, {})
  end
  if #names == 0 then return nil, "no run that is done has told of its steps" end
  local figure = lip.figures.losses(runs, { names = names })
  for _, panel in ipairs(figure.panels) do panel.key = "below" end
  return figure
end

-- ---- the command ----

local function checked(word, rows, what)
  if not word then return nil end
  local names, message = records.names(word, rows, what)
  if not names then error({ message = message }, 0) end
  return names
end

-- What to draw when nobody says.
local function kind_of(view, args)
  local up = args.x and not args.y and (view.done[1].config or {})[args.x:gsub("^config%.", "")] ~= nil
  for _, name in ipairs(view.varying) do up = up or name == "budget" and not args.x end
  return (up or not view.rivals[1] and not args.y) and "budget" or "pareto"
end

local function figure_of(context, args, view)
  local rows = view.rows
  local x, by = checked(args.x, rows, "--x"), checked(args.by, rows, "--by")
  local options = { x = x and x[1], by = by and by[1] }
  if args.kind == "losses" then
    options.y = args.y and { args.y } or nil
    return draw.losses(context, view, options)
  end
  options.y = checked(args.y, rows, "--y")
  if args.kind == "budget" then return draw.budget(view, options) end
  local across_name, up = options.x or view.rivals[1], options.y and options.y[1] or view.rivals[2]
  options.more_x = across_name and pareto.direction(context, args, rows, across_name)
  options.more_y = up and pareto.direction(context, args, rows, up)
  return draw.pareto(view, options)
end

function draw.run(context, args)
  local rows, message, code = records.load(context.store, args)
  if not rows then return nil, message, code end
  local view = draw.view(context, rows, args.by)
  if #view.done == 0 then return nil, "no run is done yet", "not_found" end
  local chosen = not args.kind
  args.kind = args.kind or kind_of(view, args)
  local ok, figure, why = pcall(figure_of, context, args, view)
  if not ok then
    if type(figure) ~= "table" then error(figure, 0) end
    return nil, figure.message, "usage"
  end
  if not figure then return nil, why, "usage" end
  figure.file = args.file
  if args.title then figure.title = args.title end
  local done
  done, message, code = lip.plot(figure)
  if not done then return nil, message, code end
  if args.file ~= "-" then
    io.stdout:write(("figure: %s (%s)\n"):format(lip.plain(args.file), args.kind))
  elseif chosen then
    io.stdout:write(("drawn: %s, of budget, pareto and losses\n"):format(args.kind))
  end
  return true
end

return draw
