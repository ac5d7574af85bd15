--- What `lipwb verify --instances FILE.csv` runs as a sweep: a trial for each line "net,property,timeout[,answer]", paths
-- relative to the file; a first line of names is passed over. With an answer, sat or unsat, the row says whether ours contradicts.
local lip = require "lip"
local command = require "lip.decide.command"

local args = lip.args {
  instances = { "", "CSV file of instances" }, timeout = { 0, "seconds for each, 0: as the file says", min = 0 },
  limit = { 0, "the first so many only, 0: all", min = 0, whole = true },
  round = { false, "round numbers of ONNX files that are no float32" },
}

local function there(folder, name)
  local path = name:find "^/" and name or folder .. name:gsub("^%./", "")
  for _, try in ipairs { path, path .. ".gz" } do
    if lip.file.exists(try) then return try end
  end
  error(("%s: no such file"):format(path), 0)
end

local function read(path)
  local folder = path:match "^(.*/)" or ""
  local list = {}
  for line in assert(lip.file.read(path)):gmatch "[^\r\n]+" do
    local net, property, timeout, answer = line:match "^([^,]+),([^,]+),([^,]+),?([^,]*)"
    if tonumber(timeout) then
      list[#list + 1] = { net = there(folder, net), property = there(folder, property),
        timeout = args.timeout > 0 and args.timeout or tonumber(timeout), answer = answer ~= "" and answer or "-" }
    end
    if args.limit > 0 and #list == args.limit then break end
  end
  if #list == 0 then error(path .. ": no line net,property,timeout", 0) end
  return list
end

local function run(config)
  local begun = lip.time()
  local decision, message = command.decide(config.net, config.property, { seconds = config.timeout, round = args.round,
    progress = false })
  if not decision then error(message, 0) end
  local answer = command.answer(decision)
  local known = config.answer == "sat" or config.answer == "unsat"
  local decided = answer == "sat" or answer == "unsat"
  return { result = answer, decided = decided and 1 or 0, contradicts = known and decided and answer ~= config.answer and 1 or 0,
    seconds = lip.time() - begun, nodes = decision.nodes, deepest = decision.deepest,
    least = decision.least and decision.least > -math.huge and decision.least or nil }
end

-- How many are decided within so many seconds each.
local function over_time(records)
  local panels = {}
  for _, kind in ipairs { "unsat", "sat" } do
    local times = {}
    for _, r in ipairs(records) do
      if r.row and r.row.result == kind then times[#times + 1] = math.max(r.row.seconds, 1e-3) end
    end
    table.sort(times)
    local y = {}
    for i in ipairs(times) do y[i] = i end
    if #times > 0 then panels[#panels + 1] = { x = times, y = y, title = kind, style = "steps" } end
  end
  return { series = panels, xlabel = "seconds", ylabel = "instances decided", logx = true, title = "answers over time" }
end

if args.instances == "" then error("instances: a CSV file is needed", 0) end
local name = args.instances:match "([^/]*)$":gsub("%.csv$", ""):gsub("[^%w_.@+-]", "_")
return lip.sweep { name = "verify_" .. name, run = run, list = read(args.instances), figure = over_time }
