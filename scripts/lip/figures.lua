--- Figures as data: each function takes results and returns a table for lip.plot.
--
--   local fig = lip.figures.budget(records, { by = "norm" })
--   fig.file = "budget.svg"
--   lip.plot(fig)
--
-- A record is what a store of sweeps holds of a trial: { config = {...}, row = {...}, seed =, state =, ... }.
local lip = require "lip"
local panel = require "lip.plot.panel"
local arguments = require "lip.arguments"
local check_options = require("lip.options").check
local records_of = require "lip.figures.records"
local nets = require "lip.figures.nets"

local figures = {
  value = records_of.value, budget = records_of.budget, pareto = records_of.pareto, front = records_of.front,
  moment = nets.moment, bounds = nets.bounds, weights = nets.weights, singular = nets.singular,
  histogram = nets.histogram, images = nets.images, fit = nets.fit,
}

local blue, orange = panel.palette[1], panel.palette[2]

-- ---- certified accuracy against radius ----

local function curves_of(given)
  return given.x and { given } or given
end

local function numbers(v)
  return type(v) == "userdata" and v:totable() or v
end

-- The least that a falling curve sampled at x may be at r: its value at the next sample.
local function at_least(curve, r)
  local x, y = numbers(curve.x), numbers(curve.y)
  for k = 1, #x do
    if x[k] >= r then return y[k] end
  end
  return nil
end

--- Certified accuracy against radius, and above it what an attack leaves standing. Both are about the same rows: an
-- attacked accuracy below the certified one contradicts the certificate and is an error.
---@param curve table {x=, y=, title=, dash=} from lip.curve, in per cent, or a list of such
---@param attack? table {x = radii, y = per cent still right, title=} or a list, the k-th belonging to the k-th curve
---@param options? table help "figures.radius"
function figures.radius(curve, attack, options)
  local _ <close> = lip.plain_numbers()
  local o = check_options(options, "lip.figures.radius")
  local curves, attacks = curves_of(curve), attack and curves_of(attack) or {}
  local single = #curves == 1
  local series = {}
  for k, c in ipairs(curves) do
    local colour = single and blue or panel.palette[(k - 1) % #panel.palette + 1]
    series[#series + 1] = { x = c.x, y = c.y, title = c.title or "certified", colour = colour, dash = c.dash }
    local a = attacks[k]
    if a then
      local x, y = numbers(a.x), numbers(a.y)
      for i = 1, #x do
        local least = at_least(c, x[i])
        if least and y[i] < least - 1e-9 then
          error(("figures.radius: at %g the attack leaves %.4f %% right, and %.4f %% are certified: one of them is "
            .. "wrong, or they are about different rows"):format(x[i], y[i], least), 2)
        end
      end
      series[#series + 1] = { x = x, y = y, style = "linespoints", dash = 2, title = a.title or "attacked",
        colour = single and orange or colour }
    end
  end
  return { title = o.title or "certified accuracy", key = "top right", ylabel = "%", yrange = { 0, 100 },
    xlabel = o.xlabel or "radius", xrange = { 0 }, series = series }
end

--- The curve of a report of net:certify; with attack = n also that of the first n rows, and what an attack on them
-- leaves standing at some radii.
---@param net lip.net
---@param data lip.dataset what the report is about
---@param report table
---@param options? table help "figures.certified"
function figures.certified(net, data, report, options)
  local _ <close> = lip.plain_numbers()
  local o = check_options(options, "lip.figures.certified")
  local made, full = pcall(lip.curve, report, data, { max = o.max })
  if not made then error((full:gsub("^.-lip%.curve", "lip.figures.certified")), 2) end
  local curves, attacks, n = { full }, {}, math.min(o.attack or 0, report.n)
  full.title = n > 0 and ("certified, all %d"):format(report.n) or "certified"
  local what = "certified accuracy"
  if n > 0 then
    local part = { labels = report.labels:slice(1, 1, n), radii = report.radii:slice(1, 1, n) }
    local curve = lip.curve(part, data, { max = full.x[#full.x] })
    local hit = { x = {}, y = {}, title = "attacked, the same" }
    curve.title = ("certified, first %d"):format(n)
    for k, share in ipairs { 0.1, 0.2, 0.35, 0.55, 0.8 } do
      local eps = full.x[#full.x] * share
      local found = assert(lip.attack(net, data, { eps = eps, p = report.p, limit = n, box = o.box or { 0, 1 },
        targets = "untargeted", steps = 40 }))
      hit.x[k], hit.y[k] = eps, 100 * found.robust
    end
    curves[2], attacks[1], attacks[2] = curve, false, hit
    what = "certified and attacked accuracy"
  end
  return figures.radius(curves, attacks, { title = o.title and ("%s: %s"):format(o.title, what) or what,
    xlabel = o.xlabel or ("l_%s radius (pixels in [0, 1])"):format(report.p) })
end

-- ---- curves of training ----

-- The values of one name over the steps of a run, from a store's rows or a history of lip.train.
local function metric(run, name)
  local x, y = {}, {}
  if run.metrics then
    local points = {}
    for _, m in ipairs(run.metrics) do
      local value = records_of.number(m.value)
      if m.name == name and value then points[#points + 1] = { m.step, value } end
    end
    table.sort(points, function(a, b) return a[1] < b[1] end)
    for k, point in ipairs(points) do x[k], y[k] = point[1], point[2] end
  end
  for _, info in ipairs(run.history or {}) do
    local value = info[name]
    local inner = name:match "^validation%.(.*)$"
    if inner and info.validation then value = info.validation[inner] end
    if type(value) == "number" then x[#x + 1], y[#y + 1] = info.epoch, value end
  end
  return x, y
end

-- Whole epochs: few marks, and room about a single one.
local function epochs(series)
  local low, high = math.huge, -math.huge
  for _, s in ipairs(series) do
    for _, x in ipairs(s.x) do low, high = math.min(low, x), math.max(high, x) end
  end
  if low ~= math.floor(low) or high ~= math.floor(high) then return nil end
  local step, k, marks = 1, 0, {}
  while (high - low) / step > 10 do
    k = k + 1
    step = ({ 1, 2, 5 })[k % 3 + 1] * 10.0 ^ (k // 3)
  end
  for at = math.ceil(low / step), math.floor(high / step) do
    marks[#marks + 1] = { at * step, ("%.0f"):format(at * step) }
  end
  return marks, low == high and { low - 1, high + 1 } or nil
end

--- Curves of training: one panel for each name, one line for each run.
---@param runs table list of {title=, metrics=} or {title=, history=}
---@param options? table help "figures.losses"
function figures.losses(runs, options)
  local _ <close> = lip.plain_numbers()
  local o = check_options(options, "lip.figures.losses")
  local names = o.names or { "loss" }
  local panels = {}
  for _, name in ipairs(names) do
    local series, positive = {}, true
    for k, run in ipairs(runs) do
      local x, y = metric(run, name)
      for _, v in ipairs(y) do positive = positive and v > 0 end
      if #x > 0 then
        series[#series + 1] = { x = x, y = y, title = #runs <= 8 and run.title or nil,
          style = #x == 1 and "points" or #x <= 40 and "linespoints" or "lines",
          colour = panel.palette[(k - 1) % #panel.palette + 1] }
      end
    end
    local place = #runs > 3 and "below" or name:find "accuracy" and "bottom right" or "top right"
    if #series > 0 then
      panels[#panels + 1] = { title = name, xlabel = "epoch", series = series,
        key = #runs <= 8 and place or false,
        logy = name:find "loss" ~= nil and positive }
      panels[#panels].xtics, panels[#panels].xrange = epochs(series)
    end
  end
  if #panels == 0 then panels[1] = { title = names[1], xlabel = "epoch", series = { { y = {} } } } end
  return { title = o.title, panels = panels, columns = math.min(#panels, 2) }
end

-- ---- drawing ----

--- Draws into a file and says so; inside a trial into the trial's folder. An empty name draws nothing.
---@return boolean|nil drawn
function figures.draw(file, figure)
  if file == nil or file == "" then return nil end
  local fig = {}
  for key, value in pairs(figure) do fig[key] = value end
  fig.file = file
  local in_trial = file ~= "-" and lip.trial.active
  if in_trial then fig.file = lip.trial.folder .. "/" .. file:match "[^/]*$" end
  local drawn, message = lip.plot(fig)
  if not drawn then
    print(lip.plain(message, true))
  elseif file ~= "-" then
    print("figure: " .. lip.plain(fig.file))
    if in_trial then lip.trial.wrote("figure", fig.file) end
  end
  return drawn
end

local dark = { ink = "#d5d8de", grid = "#3a3f47", paper = "#16181d", muted = "#9aa0a8", "#4aa8ea", "#f08a4b", "#35c79a",
  "#e39ac4", "#f0b64a", "#86cdf5", "#c7a468" }

--- Declarations for a style sheet, to stand in a rule such as svg.lip-figure { ... }.
---@param is_dark? boolean
function figures.css(is_dark)
  local light = { ink = panel.ink, grid = panel.grid, paper = "#ffffff", muted = "#777777" }
  for k, colour in ipairs(panel.palette) do light[k] = colour end
  local lines = {}
  for name, colour in pairs(is_dark and dark or light) do lines[#lines + 1] = ("--lip-%s: %s;"):format(name, colour) end
  table.sort(lines)
  return table.concat(lines, " ")
end

return arguments.module("lip.figures.", figures, {
  value = "record table, name text", budget = "records tables, options options?",
  pareto = "records tables, x text, y text, options options?",
  front = "points tables, minimise_x boolean?, minimise_y boolean?",
  moment = "net net, step number?", bounds = "moments tables, options options?",
  weights = "net net, options options?", singular = "net net, options options?",
  histogram = "values numbers, bins whole", images = "x tensor, adversarial tensor, options options?",
  fit = "x numbers, y numbers, net net, slope limit?, options options?",
  radius = "curve curves, attack curves?, options options?",
  certified = "net net, data labels, report report, options options?",
  losses = "runs tables, options options?", draw = "file text?, figure table", css = "dark boolean?",
})
