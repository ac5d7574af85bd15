--- Figures of many trials: values of records, budgets, Pareto fronts.
local lip = require "lip"
local field = require "lip.runs.field"
local panel = require "lip.plot.panel"
local check_options = require("lip.options").check

local records_of = {}

--- Texts that JSON needs for numbers that are not finite, as numbers.
function records_of.number(v)
  if type(v) == "number" then return v end
  if v == "inf" then return math.huge end
  if v == "-inf" then return -math.huge end
  if v == "nan" then return 0 / 0 end
  return nil
end

--- What a record holds under a name, as every look at runs has it.
records_of.value = field.get
local value_of, number_of = records_of.value, records_of.number

local function finite(v)
  return v ~= nil and v == v and v ~= math.huge and v ~= -math.huge
end

local function done(records)
  local list = {}
  for _, r in ipairs(records) do
    if (r.state == nil or r.state == "done") and type(r.row) == "table" then list[#list + 1] = r end
  end
  return list
end

-- numbers before texts, each in order
local function before(a, b)
  local x, y = number_of(a), number_of(b)
  if x and y and x ~= y then return x < y end
  if (x ~= nil) ~= (y ~= nil) then return x ~= nil end
  return tostring(a) < tostring(b)
end

local function text_of(v)
  return math.type(v) == "float" and ("%g"):format(v) or tostring(v)
end

-- The different values of a name, in order; nil where no record has it.
local function distinct(records, name)
  local seen, list = {}, {}
  for _, r in ipairs(records) do
    local v = value_of(r, name)
    if v ~= nil and not seen[v] then
      seen[v] = true
      list[#list + 1] = v
    end
  end
  table.sort(list, before)
  return #list > 0 and list or nil
end

-- A quantity that no record has is a wrong name or a radius nobody asked about, and not an empty figure.
local function check_names(what, records, names)
  for _, name in ipairs(#records > 0 and names or {}) do
    if not distinct(records, name) then
      local seen, list = {}, {}
      for _, r in ipairs(records) do
        for known in pairs(r.row) do
          if type(known) == "string" and not seen[known] then
            seen[known], list[#list + 1] = true, known
          end
        end
      end
      table.sort(list)
      error(("%s: no record has '%s' (their rows have: %s)"):format(what, tostring(name), table.concat(list, ", ")), 3)
    end
  end
end

local function groups(records, by)
  local values = by and distinct(records, by)
  if not values then return { { records = records } } end
  local list, at = {}, {}
  for k, v in ipairs(values) do
    list[k] = { value = v, title = ("%s %s"):format(by, text_of(v)), records = {} }
    at[v] = list[k]
  end
  for _, r in ipairs(records) do
    local v = value_of(r, by)
    if v ~= nil then table.insert(at[v].records, r) end
  end
  return list
end

-- Accuracies are stored as shares and shown in per cent.
local function is_share(name, records)
  local short = name:gsub("^row%.", "")
  if not (short:find "^clean" or short:find "^certified" or short:find "^attacked" or short:find "^robust" or
      short:find "accuracy" or short:find "^verified" or short:find "^violated" or short:find "^unproven") then
    return false
  end
  for _, r in ipairs(records) do
    local v = number_of(value_of(r, name))
    if finite(v) and (v < 0 or v > 1) then return false end
  end
  return true
end

-- { x, mean, low, high, n } over the records with the same x, in the order of x.
local function collect(records, x, y, factor, log)
  local at, list = {}, {}
  for _, r in ipairs(records) do
    local vx, vy = number_of(value_of(r, x)), number_of(value_of(r, y))
    if finite(vx) and finite(vy) and not (log and vx <= 0) then
      local p = at[vx]
      if not p then
        p = { x = vx, sum = 0, n = 0, low = math.huge, high = -math.huge }
        at[vx], list[#list + 1] = p, p
      end
      p.sum, p.n = p.sum + factor * vy, p.n + 1
      p.low, p.high = math.min(p.low, factor * vy), math.max(p.high, factor * vy)
    end
  end
  table.sort(list, function(a, b) return a.x < b.x end)
  return list
end

local roles = { { "^certified", 1 }, { "^verified", 1 }, { "^attacked", 2 }, { "^robust", 2 }, { "^violated", 2 },
  { "^clean", 3 }, { "accuracy", 3 } }

-- The same quantity has the same colour in every figure; a second one of a kind takes what is left.
local function colour_of(name, taken)
  local short = name:gsub("^row%.", "")
  for _, role in ipairs(roles) do
    if short:find(role[1]) and not taken[role[2]] then
      taken[role[2]] = true
      return panel.palette[role[2]]
    end
  end
  for k = 4, #panel.palette do
    if not taken[k] then
      taken[k] = true
      return panel.palette[k]
    end
  end
  return panel.ink
end

-- Accuracies that the rows hold, from the best known to the least.
local function default_names(records)
  local found, names = {}, {}
  for _, r in ipairs(records) do
    for name in pairs(r.row) do found[name] = true end
  end
  for _, name in ipairs { "clean", "attacked", "certified" } do
    if found[name] then names[#names + 1] = name end
  end
  if not found.certified then
    local more = {}
    for name in pairs(found) do
      if type(name) == "string" and name:find "^certified@" then more[#more + 1] = name end
    end
    table.sort(more, function(a, b) return (tonumber(a:match "@(.*)") or 0) < (tonumber(b:match "@(.*)") or 0) end)
    for _, name in ipairs(more) do names[#names + 1] = name end
  end
  return names
end

local function series_of(points, title, colour)
  local s = { x = {}, y = {}, low = {}, high = {}, title = title, colour = colour, style = "linespoints" }
  local several, n = false, math.huge
  for k, p in ipairs(points) do
    s.x[k], s.y[k], s.low[k], s.high[k] = p.x, p.sum / p.n, p.low, p.high
    several, n = several or p.n > 1, math.min(n, p.n)
  end
  if not several then s.low, s.high = nil, nil end
  return s, several, n
end

-- Marks of a logarithmic axis at the values themselves when they are few.
local function marks(records, x, columns)
  local values, list = distinct(records, x) or {}, {}
  for _, v in ipairs(values) do
    v = number_of(v)
    if finite(v) and v > 0 then list[#list + 1] = v end
  end
  if #list < 2 or #list > 12 then return nil end
  local tics, room = {}, (list[#list] / list[1]) ^ 0.04
  local span, last = math.log(list[#list] / list[1]), nil
  for k, v in ipairs(list) do
    local text = ("%.3g"):format(v)
    -- texts of neighbours keep a distance: as many characters as the panel is wide
    local need = (#text + 2) * (columns > 1 and 0.02 * columns / 2 or 0.01) * span
    if not last or math.log(v / last) >= need then
      last = v
    else
      text = ""
    end
    tics[k] = { v, text }
  end
  return tics, { list[1] / room, list[#list] * room }
end

--- Accuracies against the budget on a logarithmic axis: one panel for each value of `by` (or, with panels = "y", for
-- each quantity), the mean as a line and the range over all runs at one budget as a band.
---@param records table
---@param options? table help "figures.budget"
function records_of.budget(records, options)
  local _ <close> = lip.plain_numbers()
  local o = check_options(options, "lip.figures.budget")
  records = done(records)
  local x, by = o.x or "budget", o.by == nil and "norm" or o.by or nil
  local names = type(o.y) == "string" and { o.y } or o.y or default_names(records)
  if o.y then check_names("lip.figures.budget", records, names) end
  local log = o.logx ~= false
  local tics, xrange
  local split, panels, banded, fewest = groups(records, by), {}, false, math.huge
  if log then tics, xrange = marks(records, x, math.min(o.panels == "y" and #names or #split, 3)) end
  local share, all_shares = {}, #names > 0
  for _, name in ipairs(names) do
    share[name] = is_share(name, records)
    all_shares = all_shares and share[name]
  end
  local function frame(title, unit)
    panels[#panels + 1] = { title = title, xlabel = x, ylabel = unit and "%" or nil,
      yrange = unit and { 0, 100 } or nil, logx = log, xtics = tics, xrange = xrange, key = "below", series = {} }
    return panels[#panels].series
  end
  local function add(series, group, name, title, colour)
    local s, several, n = series_of(collect(group.records, x, name, share[name] and 100 or 1, log), title, colour)
    if #s.x > 0 then series[#series + 1] = s end
    banded, fewest = banded or several, math.min(fewest, n)
  end
  if o.panels == "y" then
    for _, name in ipairs(names) do
      local series = frame(name, share[name])
      for k, group in ipairs(split) do
        add(series, group, name, group.title, panel.palette[(k - 1) % #panel.palette + 1])
      end
    end
  else
    for _, group in ipairs(split) do
      local series, taken = frame(group.title, all_shares), {}
      for _, name in ipairs(names) do add(series, group, name, name, colour_of(name, taken)) end
    end
  end
  for _, p in ipairs(panels) do
    if #p.series == 0 then p.series[1] = { y = {} } end
  end
  if #panels == 0 then frame("nothing to show", false)[1] = { y = {} } end
  local over = type(o.over) == "table" and table.concat(o.over, ", ") or o.over or "seed"
  local words = banded and (" (mean and range over %s)"):format(over) or ""
  return { title = (o.title or ("accuracy against %s"):format(x)) .. words, panels = panels,
    columns = math.min(#panels, 3) }
end

--- The points that no other beats in both coordinates, in the order of x. Points are {x, y, ...}; those with a
-- coordinate that is not finite are left out, of equal ones the first stays.
function records_of.front(points, minimise_x, minimise_y)
  local sx, sy = minimise_x and -1 or 1, minimise_y and -1 or 1
  local list = {}
  for k, p in ipairs(points) do
    if finite(p[1]) and finite(p[2]) then list[#list + 1] = { p, k } end
  end
  table.sort(list, function(a, b)
    if a[1][1] ~= b[1][1] then return sx * a[1][1] > sx * b[1][1] end
    if a[1][2] ~= b[1][2] then return sy * a[1][2] > sy * b[1][2] end
    return a[2] < b[2]
  end)
  local front, best = {}, nil
  for _, entry in ipairs(list) do
    local p = entry[1]
    if not best or sy * p[2] > sy * best then
      best = p[2]
      table.insert(front, minimise_x and #front + 1 or 1, p)
    end
  end
  return front
end

local function contains(list, name)
  if type(list) == "string" then return list == name end
  for _, v in ipairs(list or {}) do
    if v == name then return true end
  end
  return false
end

-- The edge of what is beaten: between two points of a front the one that costs less across counts.
local function staircase(front, minimise_x)
  local x, y = {}, {}
  for k, p in ipairs(front) do
    local last = front[k - 1]
    if last then x[#x + 1], y[#y + 1] = minimise_x and p[1] or last[1], minimise_x and last[2] or p[2] end
    x[#x + 1], y[#y + 1] = p[1], p[2]
  end
  return x, y
end

-- Neither depends on how far an input moves.
local free = { "^clean", "accuracy", "^loss", "^seconds$", "^time$", "^memory$", "^step$" }

-- { value =, records = } for each value of a name, in order; last those without.
local function kinds_of(records, name)
  local list = distinct(records, name) and groups(records, name) or {}
  local rest = {}
  for _, r in ipairs(records) do
    if value_of(r, name) == nil then rest[#rest + 1] = r end
  end
  if #rest > 0 then list[#list + 1] = { records = rest } end
  return list
end

--- Runs whose guarantees are about one thing: those of another norm or radius (`eps` in the row, unless the names of
-- the measures say theirs) may be larger and mean less. A list of { title =, records = }, and the names that differ.
function records_of.comparable(records, x, y)
  local names, radius = {}, false
  for _, name in ipairs { x, y } do
    local short, is_free = name:gsub("^row%.", ""), false
    for _, pattern in ipairs(free) do is_free = is_free or short:find(pattern) ~= nil end
    if not is_free then
      radius = radius or not short:find "@"
      names[1] = "norm"
    end
  end
  if radius then names[2] = "row.eps" end
  local parts, differing = { { records = records } }, {}
  for _, name in ipairs(names) do
    local finer, splits, word = {}, false, name:gsub("^row%.", "")
    for _, part in ipairs(parts) do
      local split = kinds_of(part.records, name)
      splits = splits or #split > 1
      for _, g in ipairs(split) do
        local own = #split > 1 and ("%s %s"):format(word, g.value == nil and "unknown" or text_of(g.value)) or nil
        finer[#finer + 1] = { records = g.records,
          title = part.title and own and part.title .. ", " .. own or own or part.title }
      end
    end
    if splits then parts, differing[#differing + 1] = finer, word end
  end
  return parts, differing
end

-- A staircase for each part, in the colour of its runs where they have one colour; the corners of all.
local function fronts(parts, points_of, least_x, least_y)
  local lines, corners = {}, {}
  for k, part in ipairs(parts) do
    local points, colour = {}, nil
    for _, r in ipairs(part.records) do
      local p = points_of[r]
      if p then
        points[#points + 1] = p
        colour = (colour == nil or colour == p.colour) and p.colour or false
      end
    end
    local front = records_of.front(points, least_x, least_y)
    local line = { title = #parts > 1 and "front, " .. part.title or "front", style = "lines",
      colour = #parts > 1 and colour or panel.ink, dash = #parts > 1 and not colour and (k - 1) % 5 + 1 or nil }
    line.x, line.y = staircase(front, least_x)
    if #front > 0 or #parts == 1 then lines[#lines + 1] = line end
    table.move(front, 1, #front, #corners + 1, corners)
  end
  return lines, corners
end

--- Every run as a point, and the front: one for each norm or radius when runs differ in these.
---@param records table
---@param x string name of the value across
---@param y string name of the value upwards
---@param options? table help "figures.pareto"
function records_of.pareto(records, x, y, options)
  local _ <close> = lip.plain_numbers()
  local o = check_options(options, "lip.figures.pareto")
  records = done(records)
  check_names("lip.figures.pareto", records, { x, y })
  local least_x, least_y = contains(o.minimise, x), contains(o.minimise, y)
  local fx, fy = is_share(x, records) and 100 or 1, is_share(y, records) and 100 or 1
  local series, points_of = {}, {}
  for k, group in ipairs(groups(records, o.by)) do
    local s = { x = {}, y = {}, style = "points", title = group.title or "runs",
      colour = panel.palette[(k - 1) % #panel.palette + 1] }
    for _, r in ipairs(group.records) do
      local vx, vy = number_of(value_of(r, x)), number_of(value_of(r, y))
      if finite(vx) and finite(vy) then
        s.x[#s.x + 1], s.y[#s.y + 1] = fx * vx, fy * vy
        points_of[r] = { fx * vx, fy * vy, r, colour = s.colour }
      end
    end
    series[#series + 1] = s
  end
  local parts, differing = records_of.comparable(records, x, y)
  local lines, front = fronts(parts, points_of, least_x, least_y)
  table.move(series, 1, #series, #lines + 1, series)
  table.move(lines, 1, #lines, 1, series)
  local labels = {}
  if o.labels ~= false and #front <= 12 then
    for k, p in ipairs(front) do labels[k] = o.label and text_of(value_of(p[3], o.label)) or "" end
  end
  local corners = { x = {}, y = {}, style = "rings", colour = panel.ink, labels = labels }
  for k, p in ipairs(front) do corners.x[k], corners.y[k] = p[1], p[2] end
  series[#series + 1] = corners
  local words = #differing > 0 and (" (a front for each %s)"):format(table.concat(differing, " and ")) or ""
  return { title = (o.title or ("%s and %s"):format(x, y)) .. words, xlabel = fx == 100 and x .. ", %" or x,
    ylabel = fy == 100 and y .. ", %" or y, logx = o.logx, logy = o.logy, key = "below", series = series }
end

return records_of
