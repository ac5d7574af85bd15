--- `lipwb runs show RUN` and `lipwb runs diff A B`: all there is to know of one run, and what sets two apart.
local lip = require "lip"
local field = require "lip.runs.field"
local records = require "lip.runs.records"
local shell = require "lip.shell"
local text_table = require "lip.runs.table"

local show = {}

local function sorted_keys(t)
  local keys = {}
  for key in next, t or {} do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

--- Tables inside tables as one level: { git = { commit = "x" } } gives "git.commit". Lists stay whole, but for the
-- words of a command.
function show.flat(t, into, prefix)
  into = into or {}
  for key, value in next, t or {} do
    local name = (prefix or "") .. tostring(key)
    if type(value) == "table" and #value == 0 and next(value) ~= nil then
      show.flat(value, into, name .. ".")
    else
      into[name] = name == "argv" and type(value) == "table" and shell.line(value) or value
    end
  end
  return into
end

local function value_text(v, name)
  if type(v) == "number" then return text_table.number(v, name) end
  return text_table.plain(v)
end

local function section(out, title, t, width, result)
  local rows = {}
  for _, key in ipairs(sorted_keys(t)) do rows[#rows + 1] = { text_table.plain(key), value_text(t[key], result and key) } end
  if #rows == 0 then return end
  out[#out + 1] = ""
  out[#out + 1] = title
  for _, line in ipairs(text_table.pairs(rows, width)) do out[#out + 1] = line end
end

--- How a run ended, in words.
function show.ending(record)
  local parts = { record.state }
  if record.exit and record.exit ~= 0 then parts[#parts + 1] = "exit status " .. record.exit end
  if record.signal then parts[#parts + 1] = "signal " .. record.signal end
  if record.state == "running" and record.step then
    parts[#parts + 1] = ("step %d%s"):format(record.step, record.total and " of " .. record.total or "")
  end
  if (record.attempt or 1) > 1 then parts[#parts + 1] = "attempt " .. record.attempt end
  return table.concat(parts, ", ")
end

--- The command that runs it again.
function show.command(record, path)
  return shell.line { "lipwb", "reproduce", record.key, "--store", path }
end

--- The lines of a text.
function show.lines(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line:gsub("\t", "  "):gsub("%s+$", "") end
  return lines
end

local function head(record, context)
  local rows = {
    { "key", record.key }, { "state", show.ending(record) }, { "seed", tostring(record.seed) },
  }
  local function add(name, value) rows[#rows + 1] = { name, value } end
  for i, line in ipairs(show.lines(record.message or "")) do
    rows[#rows + 1] = { i == 1 and "message" or "", text_table.plain(line) }
  end
  if record.value then add("value", value_text(record.value)) end
  if record.started then
    local seconds = record.seconds and ", " .. text_table.duration(record.seconds) or ""
    add("time", text_table.date(record.started) .. seconds)
  end
  if record.memory then add("memory", text_table.bytes(record.memory)) end
  if record.state == "running" and record.pid then
    add("process", ("%d on %s"):format(record.pid, tostring(record.host)))
  end
  local folder = context.store:folder(record)
  if folder then add("folder", text_table.plain(folder)) end
  return rows
end

--- Where a run comes from, in one level, and the settings that its configuration does not name.
function show.provenance(record)
  local known, settings = {}, {}
  for key, value in next, record.provenance or {} do
    if key ~= "settings" then known[key] = value end
  end
  for key, value in next, (record.provenance or {}).settings or {} do
    if not record.config or record.config[key] == nil then settings[key] = value end
  end
  return show.flat(known), settings
end

local function data_of(store, record)
  local t = {}
  for _, d in ipairs(store:data(record) or {}) do
    t[d.name] = (d.samples and d.samples .. " samples" or "?") .. (d.sha256 and ", SHA-256 " .. d.sha256 or "")
  end
  return t
end

local function files_of(store, record)
  local t = {}
  for _, f in ipairs(store:files(record) or {}) do t[f.kind] = (t[f.kind] and t[f.kind] .. ", " or "") .. f.path end
  return t
end

-- One line a metric: how it began, how it ended, its least and largest.
local function metric_rows(list)
  local by_name, names = {}, {}
  for _, m in ipairs(list) do
    local v = field.number(m.value)
    if v then
      local s = by_name[m.name]
      if not s then
        s = { name = m.name, n = 0, low = math.huge, high = -math.huge, first = v, from = m.step, to = m.step }
        by_name[m.name] = s
        names[#names + 1] = m.name
      end
      if m.step <= s.from then s.from, s.first = m.step, v end
      if m.step >= s.to then s.to, s.last = m.step, v end
      s.n, s.low, s.high = s.n + 1, math.min(s.low, v), math.max(s.high, v)
    end
  end
  table.sort(names)
  local rows = {}
  for i, name in ipairs(names) do rows[i] = by_name[name] end
  return rows
end

local function get(name)
  return function(t) return t[name] end
end

local function add_metrics(out, list, width)
  local rows = metric_rows(list)
  if #rows == 0 then return end
  out[#out + 1] = ""
  local columns = { { title = "metric", get = get "name" } }
  for _, name in ipairs { "n", "first", "last", "low", "high" } do
    columns[#columns + 1] = { title = name, number = true,
      get = function(row) return text_table.number(row[name], row.name) end }
  end
  for _, line in ipairs((text_table.lines(columns, rows, width - 2))) do out[#out + 1] = "  " .. line end
end

local function add_steps(out, list, width)
  local steps, index, names, seen = {}, {}, {}, {}
  for _, m in ipairs(list) do
    if not index[m.step] then
      index[m.step] = { step = m.step }
      steps[#steps + 1] = index[m.step]
    end
    index[m.step][m.name] = m.value
    if not seen[m.name] then
      seen[m.name] = true
      names[#names + 1] = m.name
    end
  end
  table.sort(names)
  table.sort(steps, function(a, b) return a.step < b.step end)
  local columns = { { title = "step", get = get "step", format = tostring } }
  for _, name in ipairs(names) do columns[#columns + 1] = { title = name, name = "row." .. name, get = get(name) } end
  out[#out + 1] = ""
  for _, line in ipairs((text_table.lines(columns, steps, width))) do out[#out + 1] = line end
end

local MAX_OUTPUT = 1000000

local function add_output(out, store, folder)
  local text, message = lip.file.tail(folder .. "/output.txt", MAX_OUTPUT, store.below)
  out[#out + 1] = ""
  if not text then
    out[#out + 1] = "no output is kept: " .. text_table.plain(message)
    return
  end
  for line in text:gmatch "([^\n]*)\n?" do out[#out + 1] = text_table.plain((line:gsub("\t", "  "))) end
end

function show.show(context, args)
  local record, message, code = records.find(context.store, args.run)
  if not record then return nil, message, code end
  if args.json then
    local text = require "lip.decimal".json(record)
    io.stdout:write(lip.process.terminal() and lip.plain(text) or text, "\n")
    return true
  end
  local width = args.wide and math.huge or context.width
  local out = { ("run %s/%d (#%d)"):format(text_table.plain(record.sweep), record.number, record.id) }
  for _, line in ipairs(text_table.pairs(head(record, context), width)) do out[#out + 1] = line end
  section(out, "configuration", record.config, width)
  section(out, "result", record.row, width, true)
  local metrics = context.store:metrics(record.id)
  if not metrics then metrics = {} end
  if args.metrics then add_steps(out, metrics, width) else add_metrics(out, metrics, math.min(width, 1000)) end
  local known, settings = show.provenance(record)
  section(out, "other settings", settings, width)
  section(out, "data", data_of(context.store, record), width)
  section(out, "files", files_of(context.store, record), width)
  section(out, "provenance", known, width)
  if args.output then add_output(out, context.store, context.store:folder(record)) end
  if record.started then table.move({ "", "again: " .. show.command(record, context.path) }, 1, 2, #out + 1, out) end
  io.stdout:write(lip.plain(table.concat(out, "\n"), true), "\n")
  return true
end

-- ---- diff ----

local function same(a, b)
  if type(a) == "table" and type(b) == "table" then return lip.to_json(a) == lip.to_json(b) end
  return a == b or (a ~= a and b ~= b)
end

-- Rows { name, a, b, change } of what differs.
local function differences(a, b, own, result)
  local both, rows = {}, {}
  for key in next, a do both[key] = true end
  for key in next, b do both[key] = true end
  for _, key in ipairs(sorted_keys(both)) do
    if not same(a[key], b[key]) then
      local x, y = field.number(a[key]), field.number(b[key])
      rows[#rows + 1] = { name = key, a = a[key], b = b[key], change = x and y and y - x or nil, own = own,
        result = result }
    end
  end
  return rows
end

-- Of two long texts what follows the part they share, from the beginning of a word on.
local function from_difference(a, b, most)
  if type(a) ~= "string" or type(b) ~= "string" or math.max(#a, #b) <= most then return a, b end
  local n = 0
  while n < math.min(#a, #b) and a:byte(n + 1) == b:byte(n + 1) do n = n + 1 end
  local start = a:sub(1, n):match "^.*%s()" or 1
  if start < 8 then return a, b end
  return "..." .. a:sub(start), "..." .. b:sub(start)
end

local function one_cell(name)
  return function(row)
    local v, format = row[name], text_table.formats[row.name]
    if v == nil then return "-" end
    if format and type(v) == "number" and row.own then return format(v) end
    return type(v) == "number" and text_table.number(v, row.result and row.name) or v
  end
end

function show.diff(context, args)
  local a, b, message, code
  a, message, code = records.find(context.store, args.a)
  if not a then return nil, message, code end
  b, message, code = records.find(context.store, args.b)
  if not b then return nil, message, code end
  local function name(record) return ("%s/%d"):format(record.sweep, record.number) end
  local out, any = {}, false
  local function own(record)
    local seed = record.config and record.config.seed == nil and record.seed or nil
    return { state = record.state, seed = seed, seconds = record.seconds, memory = record.memory,
      message = record.message, attempt = record.attempt }
  end
  local known_a, settings_a = show.provenance(a)
  local known_b, settings_b = show.provenance(b)
  local parts = {
    { "configuration", a.config or {}, b.config or {} }, { "result", a.row or {}, b.row or {} },
    { "run", own(a), own(b) }, { "other settings", settings_a, settings_b }, { "provenance", known_a, known_b },
  }
  local width = args.wide and math.huge or context.width
  for _, part in ipairs(parts) do
    local rows = differences(part[2], part[3], part[1] == "run", part[1] == "result")
    if #rows > 0 then
      if any then out[#out + 1] = "" end
      any = true
      local most = args.wide and 1000 or 30
      for _, row in ipairs(rows) do row.a, row.b = from_difference(row.a, row.b, most) end
      local columns = { { title = part[1], get = get "name", max = 28 },
        { title = name(a), get = one_cell "a", max = most }, { title = name(b), get = one_cell "b", max = most } }
      if part[1] == "result" or part[1] == "run" then
        columns[4] = { title = "change", get = function(row)
          local change, format = row.change, row.own and text_table.formats[row.name] or text_table.number
          if not change or change ~= change then return nil end
          return change < 0 and "-" .. format(-change) or format(change)
        end }
      end
      for _, line in ipairs((text_table.lines(columns, rows, width))) do out[#out + 1] = line end
    end
  end
  if not any then out[1] = ("%s and %s do not differ"):format(name(a), name(b)) end
  io.stdout:write(lip.plain(table.concat(out, "\n"), true), "\n")
  return true
end

return show
