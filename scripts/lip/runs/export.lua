--- `lipwb runs export FORMAT [TO]`: the runs for other programs.
local lip = require "lip"
local decimal = require "lip.decimal"
local field = require "lip.runs.field"
local records = require "lip.runs.records"

local export = {}

-- RFC 4180; a text that a spreadsheet would take for a formula is not touched: the file is data.
local function cell(v)
  if v == nil then return "" end
  if type(v) == "number" then return decimal.text(v) end
  local s = type(v) == "table" and decimal.json(v) or tostring(v)
  if s:find '[",\r\n]' or s:find "^%s" or s:find "%s$" then return '"' .. s:gsub('"', '""') .. '"' end
  return s
end
export.cell = cell

--- Lines of comma-separated values: own fields, then config.*, then row.*.
function export.csv(list)
  local names = table.move(field.own, 1, #field.own, 1, {})
  local config, row = field.names(list)
  for _, name in ipairs(config) do names[#names + 1] = "config." .. name end
  for _, name in ipairs(row) do names[#names + 1] = "row." .. name end
  names[#names + 1] = "also" -- the other sweeps that share the run
  local getters, titles = {}, {}
  for i, name in ipairs(names) do getters[i], titles[i] = field.getter(name), cell(name) end
  getters[#names] = function(record) return record.also and table.concat(record.also, " ") end
  local lines = { table.concat(titles, ",") }
  for k, record in ipairs(list) do
    local cells = {}
    for i, get in ipairs(getters) do cells[i] = cell(get(record)) end
    lines[k + 1] = table.concat(cells, ",")
  end
  return table.concat(lines, "\r\n") .. "\r\n"
end

--- Lines of comma-separated values, one for each value that a run told of a step: run, step, name, value.
function export.csv_metrics(list, store)
  local lines = { "run,step,name,value" }
  for _, record in ipairs(list) do
    local metrics, message, code = store:metrics(record.id)
    if not metrics then return nil, message, code end
    local run = cell(("%s/%d"):format(record.sweep, record.number))
    for _, m in ipairs(metrics) do
      lines[#lines + 1] = ("%s,%s,%s,%s"):format(run, cell(m.step), cell(m.name), cell(m.value))
    end
  end
  return table.concat(lines, "\r\n") .. "\r\n"
end

--- One JSON object a line, with everything; `metrics` adds the values of every step.
function export.jsonl(list, store)
  local lines = {}
  for i, record in ipairs(list) do
    local full = {}
    for key, value in next, record do full[key] = value end
    full.name = nil -- sweep and number say it
    full.provenance = record.provenance -- read from the database when it is asked for
    if store then full.metrics = store:metrics(record.id) or nil end
    lines[i] = decimal.json(full)
  end
  return table.concat(lines, "\n") .. (#lines > 0 and "\n" or "")
end

-- Formats of other programs: they take whole sweeps.
local others = { tensorboard = "lip.sweep.tensorboard", optuna = "lip.sweep.optuna" }

local function write(text, to, n)
  if not to or to == "-" then
    -- whoever looks at it there wants no byte of it
    io.stdout:write(lip.process.terminal() and lip.plain(text:gsub("\r\n", "\n"), true) or text)
    return true
  end
  local ok, message, code = lip.file.write(to, text)
  if ok then io.stderr:write(("%s: %d run%s\n"):format(lip.plain(to), n, n == 1 and "" or "s")) end
  return ok, message, code
end

function export.run(context, args)
  local list, message, code = records.load(context.store, args)
  if not list then return nil, message, code end
  if not others[args.format] then
    list = records.distinct(list)
    local text
    if args.format == "jsonl" then
      text = export.jsonl(list, args.metrics and context.store or nil)
    elseif args.metrics then
      text, message, code = export.csv_metrics(list, context.store)
    else
      text = export.csv(list)
    end
    if not text then return nil, message, code end
    return write(text, args.to, #list)
  end
  if not args.to then return nil, ("export %s needs a place to write to"):format(args.format), "usage" end
  if args.where or args.state then
    return nil, ("export %s takes whole sweeps: --sweep NAME"):format(args.format), "usage"
  end
  local n
  n, message, code = require(others[args.format]).write(context.store, args.to,
    { sweep = args.sweep, maximise = args.maximise, minimise = args.minimise })
  if not n then return nil, message, code end
  io.stdout:write(("%s: %d runs\n"):format(lip.plain(args.to), n))
  return true
end

return export
