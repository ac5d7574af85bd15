--- `lipwb runs ls` and `lipwb runs best`: runs as a table whose columns are what varies.
local lip = require "lip"
local field = require "lip.runs.field"
local group = require "lip.runs.group"
local records = require "lip.runs.records"
local text_table = require "lip.runs.table"

local list = {}

--- A column that shows what is called `name`.
local function column(name, extra)
  local c = { title = name == "seconds" and "time" or name:gsub("^config%.", ""):gsub("^row%.", ""), name = name,
    get = field.getter(name), format = text_table.formats[name] }
  for key, value in pairs(extra or {}) do c[key] = value end
  return c
end

list.column = column

local function varies(rows, name)
  local get = field.getter(name)
  local first = rows[1] and get(rows[1])
  for _, row in ipairs(rows) do
    if get(row) ~= first then return true end
  end
  return false
end

-- How far it is; of a process on this machine also whether it is still there.
local function progress(record)
  if record.state ~= "running" then return record.state end
  if record.pid and record.host == lip.process.self().host and not lip.process.alive(record.pid, record.pid_start) then
    return "running, dead"
  end
  if not record.step then return record.state end
  return record.total and ("running %d/%d"):format(record.step, record.total) or ("running %d"):format(record.step)
end

--- The columns for single runs.
function list.columns(rows, goal)
  local columns = { column("run", { keep = true, max = 24, format = tostring }) }
  local function add(...) columns[#columns + 1] = column(...) end
  if varies(rows, "state") or (rows[1] and rows[1].state ~= "done") then
    add("state", { keep = true, get = progress })
  end
  for _, name in ipairs((records.varying(rows))) do add("config." .. name, { keep = true }) end
  if goal then add(goal, { keep = true }) end
  for _, name in ipairs(records.results(rows)) do
    if name ~= goal then add("row." .. name) end
  end
  local function any(name)
    for _, row in ipairs(rows) do
      if row[name] ~= nil then return true end
    end
    return false
  end
  if any "seconds" then add "seconds" end
  if any "message" then add("message", { max = 200 }) end
  return columns
end

-- "97.12 ±0.13": the mean with the decimals of its deviation.
local function with_deviation(g, name, format)
  local mean = field.number(field.get(g, name))
  if not mean then return nil end
  local deviation = group.deviation(g, name)
  if format then return format(mean) end
  if not deviation or deviation ~= deviation or deviation == math.huge or mean ~= mean then
    return text_table.number(mean)
  end
  if deviation == 0 then return text_table.number(mean, name) end
  local decimals = 1 - math.tointeger(tonumber(("%.1e"):format(deviation):match "e(.*)$")) -- two digits of it
  if decimals < 0 then decimals = 0 end
  if deviation < 1e-5 * math.abs(mean) or math.abs(mean) < 1e-4 or math.abs(mean) >= 1e7 then
    return text_table.number(mean) .. " ±" .. ("%.0e"):format(deviation):gsub("e([+-])0+(%d)", "e%1%2"):gsub("e%+", "e")
  end
  return ("%." .. decimals .. "f ±%." .. decimals .. "f"):format(mean, deviation)
end

--- The columns for groups: what they are grouped by, how many runs, means with deviations.
function list.group_columns(groups, by, goal, wanted)
  local members = {}
  for _, g in ipairs(groups) do table.move(g.members, 1, #g.members, #members + 1, members) end
  local columns = {}
  for _, name in ipairs(by) do columns[#columns + 1] = column(name, { keep = true }) end
  columns[#columns + 1] = { title = "n", keep = true, format = tostring, get = function(g) return g.n end }
  local names = wanted
  if not names then
    names = { goal }
    for _, name in ipairs(records.results(members)) do
      local any = false
      for _, g in ipairs(groups) do any = any or g.row[name] ~= nil end
      if any and name ~= goal then names[#names + 1] = "row." .. name end
    end
    names[#names + 1] = "seconds"
  end
  for _, name in ipairs(names) do
    columns[#columns + 1] = column(name, { keep = name == goal, number = true,
      get = function(g) return with_deviation(g, name, text_table.formats[name]) end })
  end
  return columns
end

-- ---- output ----

local function print_lines(lines)
  io.stdout:write(lip.plain(table.concat(lines, "\n"), true), "\n")
end

local function show_count(rows)
  local count, parts = {}, {}
  for _, record in ipairs(rows) do count[record.state] = (count[record.state] or 0) + 1 end
  for _, state in ipairs { "done", "running", "queued", "failed", "pruned" } do
    if count[state] then parts[#parts + 1] = count[state] .. " " .. state end
  end
  local computed = #records.distinct(rows)
  return ("%d run%s: %s"):format(#rows, #rows == 1 and "" or "s", table.concat(parts, ", "))
    .. (computed < #rows and (" (%d computed, the others are the same in another sweep)"):format(computed) or "")
end

--- What to say of groups that take several sweeps together; nil when there is nothing to say.
function list.pooled(source, by)
  for _, name in ipairs(by or { "sweep" }) do
    if name == "sweep" then return nil end
  end
  local names = {}
  for i, part in ipairs(records.by_sweep(source)) do names[i] = text_table.plain(part[1]) end
  if #names < 2 then return nil end
  return ("%d sweeps taken together: %s (--sweep NAME, or sweep among --by, parts them)"):format(#names,
    table.concat(names, ", "))
end

-- What is the same in all runs is said once.
local function constants(rows, width)
  local _, constant = records.varying(rows)
  local parts = {}
  for i, pair in ipairs(constant) do parts[i] = ("%s=%s"):format(pair[1], text_table.plain(pair[2])) end
  if #parts == 0 or #rows < 2 then return nil end
  return text_table.clip("in all: " .. table.concat(parts, " "), 2 * (width or 1000))
end

local function show(columns, rows, width, footer)
  local lines, left_out = text_table.lines(columns, rows, width)
  for _, line in ipairs(footer) do lines[#lines + 1] = line end
  if #left_out > 0 then
    lines[#lines + 1] = "not shown: " .. table.concat(left_out, ", ") .. " (--columns, --wide)"
  end
  print_lines(lines)
end

local function head(rows, limit)
  if not limit or limit >= #rows then return rows end
  return table.move(rows, 1, limit, 1, {})
end

-- { by names } when the words ask for groups, else nil; false and a message when they are wrong.
local function grouping(args, rows)
  if not args.by and not args.over then return nil end
  local over, by, message
  if args.over then
    over, message = records.names(args.over, rows, "--over")
    if not over then return false, message end
  end
  if args.by then
    by, message = records.names(args.by, rows, "--by")
    if not by then return false, message end
    for _, name in ipairs(over or {}) do
      for _, other in ipairs(by) do
        if name == other then return false, ("--by and --over both name '%s'"):format(name) end
      end
    end
    return by
  end
  return group.without(rows, over)
end

--- Groups or the runs themselves, as --by and --over say; the second value is the list of names grouped by.
---@return table[]|nil rows, table|string|nil by
function list.grouped(args, rows)
  local by, message = grouping(args, rows)
  if by == false then return nil, message end
  if not by then return rows, nil end
  return group.make(records.done(rows), by), by
end

local function sort(args, rows, source)
  if not args.sort then return true end
  local names, message = records.names(args.sort, source, "--sort")
  if not names then return nil, message end
  if args.desc then
    for i, name in ipairs(names) do names[i] = name:sub(1, 1) == "-" and name:sub(2) or "-" .. name end
  end
  records.sort(rows, names)
  return true
end

-- One table: of runs, or of groups of them.
local function table_of(context, args, source, wanted)
  local rows, by = list.grouped(args, source)
  if not rows then return nil, by end
  local ok, message = sort(args, rows, source)
  if not ok then return nil, message end
  local shown = head(rows, args.limit)
  local goal = records.goal(context.store, source)
  local columns
  if by then
    columns = list.group_columns(shown, by, goal, wanted)
  elseif wanted then
    columns = {}
    for i, name in ipairs(wanted) do columns[i] = column(name) end
  else
    columns = list.columns(rows, goal)
  end
  local footer = { constants(source, context.width) }
  footer[#footer + 1] = list.pooled(source, by)
  footer[#footer + 1] = show_count(source) .. (#shown < #rows and (", %d of %d rows shown"):format(#shown, #rows) or "")
  show(columns, shown, (args.wide or wanted) and math.huge or context.width, footer)
  return true
end

--- Sweeps that differ in what they vary have a table each, unless the words of the command speak of all together.
function list.ls(context, args)
  local all, message, code = records.load(context.store, args)
  if not all then return nil, message, code end
  if #all == 0 then
    print_lines { "no runs" }
    return true
  end
  local wanted
  if args.columns then
    wanted, message = records.names(args.columns, all, "--columns")
    if not wanted then return nil, message, "usage" end
  end
  local parts = records.by_sweep(all)
  if #parts == 1 or wanted or args.by or args.over or args.sort then parts = { { nil, all } } end
  for i, part in ipairs(parts) do
    if part[1] then print_lines { (i > 1 and "\n" or "") .. "sweep " .. text_table.plain(part[1]) } end
    local ok
    ok, message = table_of(context, args, part[2], wanted)
    if not ok then return nil, message, "usage" end
  end
  return true
end

-- ---- best ----

--- What to rank by: the word given, else what the sweep aims at.
function list.aim(context, args, rows, word)
  local goal, better = records.goal(context.store, rows)
  if word then
    local names, message = records.names(word, rows, "METRIC")
    if not names then return nil, message end
    if names[1] ~= goal then goal, better = names[1], records.more_is_better(names[1]) end
  end
  if not goal then
    return nil, ("sweep %s names no aim: lipwb runs best METRIC"):format(rows[1].sweep)
  end
  if args.min then better = false end
  if args.max then better = true end
  return goal, better
end

--- The rows that have a number under `goal`, the best first.
function list.ranked(rows, goal, better)
  local get, ranked = field.getter(goal), {}
  for _, record in ipairs(rows) do
    local v = field.number(get(record))
    if v and v == v then ranked[#ranked + 1] = record end
  end
  return records.sort(ranked, { (better and "-" or "") .. goal })
end

local function best_of(context, args, done)
  local goal, better = list.aim(context, args, done, args.metric)
  if not goal then return nil, better, "usage" end
  local rows, by = list.grouped(args, done)
  if not rows then return nil, by, "usage" end
  if not by then rows = records.distinct(rows) end
  local ranked = list.ranked(rows, goal, better)
  if #ranked == 0 then return nil, ("no run that is done has a number '%s'"):format(goal), "not_found" end
  local shown = head(ranked, args.limit or 5)
  local columns = by and list.group_columns(shown, by, goal) or list.columns(ranked, goal)
  local footer = { ("%s %s of %d"):format(better and "largest" or "smallest", goal, #ranked) }
  footer[2] = list.pooled(done, by)
  if not by then footer[#footer + 1] = ("lipwb runs show %s tells all about the first"):format(
    require "lip.shell".word(tostring(shown[1].name))) end
  show(columns, shown, args.wide and math.huge or context.width, footer)
  return true
end

--- Sweeps that aim at different things have a table each, unless the command names the metric.
function list.best(context, args)
  local all, message, code = records.load(context.store, args)
  if not all then return nil, message, code end
  local done = records.done(all)
  if #done == 0 then return nil, "no run is done yet", "not_found" end
  local parts = records.by_sweep(done)
  if args.metric or records.goal(context.store, done) then parts = { { nil, done } } end
  for i, part in ipairs(parts) do
    if #parts > 1 then print_lines { (i > 1 and "\n" or "") .. "sweep " .. text_table.plain(part[1]) } end
    local ok
    ok, message, code = best_of(context, args, part[2])
    if not ok then return nil, message, code end
  end
  return true
end

return list
