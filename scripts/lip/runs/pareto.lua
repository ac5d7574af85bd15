--- The runs that no other run beats in two measures at once.
local core = require "lip.core"
local comparable = require "lip.figures.records".comparable
local field = require "lip.runs.field"
local list = require "lip.runs.list"
local records = require "lip.runs.records"
local text_table = require "lip.runs.table"

local pareto = {}

--- Indices of the points { x, y } that no other is at least as good as in both and better in one; along x from the
-- best. Equal points are all kept; points with something missing or not a number are not.
function pareto.front(points, more_x, more_y)
  local order = {}
  for i, p in ipairs(points) do
    if p[1] and p[2] and p[1] == p[1] and p[2] == p[2] then order[#order + 1] = i end
  end
  local sx, sy = more_x and -1 or 1, more_y and -1 or 1 -- from here on less is better
  table.sort(order, function(a, b)
    local p, q = points[a], points[b]
    if p[1] ~= q[1] then return sx * p[1] < sx * q[1] end
    if p[2] ~= q[2] then return sy * p[2] < sy * q[2] end
    return a < b
  end)
  local front, last = {}, nil
  for _, i in ipairs(order) do
    local p = points[i]
    if not last or sy * p[2] < sy * last[2] or (p[1] == last[1] and p[2] == last[2]) then
      front[#front + 1] = i
      last = p
    end
  end
  return front
end

--- The records on the front of two measures: on the fronts, when runs differ in their norm or radius; the second value
-- says then "a front for each norm".
---@return table[] found, string|nil words
function pareto.records(rows, x, y, more_x, more_y)
  local get_x, get_y = field.getter(x), field.getter(y)
  local found = {}
  local parts, differing = comparable(rows, x, y)
  for _, part in ipairs(parts) do
    local points = {}
    for i, r in ipairs(part.records) do points[i] = { field.number(get_x(r)), field.number(get_y(r)) } end
    for _, k in ipairs(pareto.front(points, more_x, more_y)) do found[#found + 1] = part.records[k] end
  end
  return found, #differing > 0 and "a front for each " .. table.concat(differing, " and ") or nil
end

--- Whether more of a measure is better: the words of the command line, else the sweeps, else its name.
function pareto.direction(context, args, rows, name)
  local function among(names)
    for _, given in ipairs(names or {}) do
      if given == name then return true end
    end
    return false
  end
  if among(args.min) then return false end
  if among(args.max) then return true end
  local goal, better = records.goal(context.store, rows)
  if goal == name then return better end
  return records.more_is_better(name)
end

function pareto.run(context, args)
  local all, message, code = records.load(context.store, args)
  if not all then return nil, message, code end
  local done = records.done(all)
  if #done == 0 then return nil, "no run is done yet", "not_found" end
  for _, name in ipairs { args.x, args.y, table.unpack(args.min or {}) } do
    local names
    names, message = records.names("[" .. name .. "]", done, "pareto")
    if not names then return nil, message, "usage" end
  end
  local rows, by = list.grouped(args, done)
  if not rows then return nil, by, "usage" end
  if not by then rows = records.distinct(rows) end
  local more_x = pareto.direction(context, args, done, args.x)
  local more_y = pareto.direction(context, args, done, args.y)
  local front, parted = pareto.records(rows, args.x, args.y, more_x, more_y)
  if #front == 0 then return nil, ("no run has both %s and %s"):format(args.x, args.y), "not_found" end
  local columns
  if by then
    columns = list.group_columns(front, by, nil, { args.x, args.y })
  else
    columns = { list.column("run", { format = tostring, keep = true }) }
    for _, name in ipairs { args.x, args.y } do
      columns[#columns + 1] = { title = name, name = name, get = field.getter(name), keep = true,
        format = text_table.formats[name] }
    end
    for _, name in ipairs((records.varying(front))) do
      if name ~= args.x and name ~= args.y then
        columns[#columns + 1] = { title = name, get = field.getter("config." .. name) }
      end
    end
  end
  local lines, left_out = text_table.lines(columns, front, args.wide and math.huge or context.width)
  lines[#lines + 1] = ("%d of %d %s, %s %s, %s %s"):format(#front, #rows, by and "groups" or "runs",
    more_x and "large" or "small", args.x, more_y and "large" or "small", args.y) .. (parted and ", " .. parted or "")
  lines[#lines + 1] = list.pooled(done, by)
  if #left_out > 0 then lines[#lines + 1] = "not shown: " .. table.concat(left_out, ", ") .. " (--wide)" end
  io.stdout:write(core.plain(table.concat(lines, "\n"), true), "\n")
  return true
end

return pareto
