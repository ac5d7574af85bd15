-- Damaged stores: whatever happened to the files, each command answers in words. Copies of a small store are damaged at
-- random and looked at, run on and rebuilt: never a traceback, a crash or a hang.
-- LIPWB_DAMAGE=SEED:FIRST:LAST looks at others than the few of every day.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_sweep"

local SWEEP = [[
local lip = require "lip"
return lip.sweep { name = "s", grid = { a = { 1, 2 }, seed = { 1, 2 } }, maximise = "v", run = function(c, t)
  local a, seed = tonumber(c.a) or 3, tonumber(c.seed) or 3 -- a damaged queue may ask for anything
  for step = 1, 2 do t.report(step, { v = a * step + seed / 10, loss = 1 / (a * step) }, 2) end
  lip.file.write(t.file("checkpoint", "train.safetensors"), "abc")
  return { v = a * 4 + seed / 10, loss = 1 / a, note = "x" }
end }
]]

local COMMANDS = {
  "runs ls", "runs ls --by a --sort -v --where v>3", "runs best", "runs best v --over seed", "runs pareto v loss",
  "runs show 1 --metrics --output", "runs show s/2 --json", "runs diff 1 2", "runs plot -o x.svg",
  "runs plot losses -o x.svg", "runs plot pareto --x a --y v -o x.svg", "report -o x.html",
  "runs export csv", "runs export jsonl --metrics",
  "runs export tensorboard tb", "runs export optuna x.log", "runs gc --checkpoints", "reproduce s/3",
  "sweep s.lua -j 4", "runs rebuild", "runs ls", "report -o x.html", "sweep s.lua -j 4 --retry failed", "runs ls",
  "runs gc --checkpoints --delete",
}

-- Files that say what nobody writes, by the names of the files.
local LIES = {
  [""] = { "null\n", "[]\n", "{}\n", "5\n", '"x"\n', ("["):rep(5000), "\0\0\0\0\n" },
  ["/journal.jsonl"] = {
    '{"event":"end"}\n', '{"event":5}\n', '{"event":"queued","sweep":"s","attempt":9}\n{"event":"slurm","job":{}}\n',
    '{"event":"metrics","step":1e300,"values":{"v":[]}}\n{"event":"end","state":"done","row":5,"attempt":9}\n',
    '{"event":"end","state":"done","row":[1,2],"attempt":9,"seconds":"nan","time":1e300,"memory":-5,"exit":"x"}\n',
    '{"event":"end","state":"failed","row":{"v":{"a":1}},"attempt":9,"seconds":-1,"time":"inf","message":{"a":[]}}\n',
    '{"event":"start","attempt":8,"sweep":"s","pid":"x","pid_start":{},"host":7,"time":"nan","provenance":[1]}\n',
    '{"event":"start","attempt":8,"sweep":"s","pid":-1,"pid_start":0,"provenance":{"git":{"commit":5},"cwd":{}}}\n'
      .. '{"event":"settings","values":[1,2]}\n',
    '{"event":"start","attempt":3,"sweep":["s"],"key":"%s","provenance":{"settings":5,"git":[],"cwd":"a\\nb"}}\n',
    '{"event":"metrics","step":-3,"total":0,"values":{"":1,"v":"nan","a\\nb":"-inf"},"time":"x"}\n',
    '{"event":"file","kind":"figure","path":"../../../../etc/x.png"}\n{"event":"file","kind":3,"path":["x"]}\n',
    '{"event":"data","name":{"a":1},"sha256":4,"samples":"many"}\n{"event":"rung","rung":1,"value":"nan"}\n',
  },
  ["/trial.json"] = {
    '{"format":1,"key":5,"sweep":{},"config":"x","number":"y"}\n',
    '{"format":1,"key":"../../x","sweep":"s","config":[1],"script_sha256":"../../../x","set":3,"threads":"x"}\n',
    '{"format":1,"sweep":"s","config":{"a":1},"script":"s.lua","script_sha256":5}\n',
  },
  [".json"] = {
    '{"format":1,"id":1,"name":"s","created":"x","description":5}\n',
    '{"format":1,"id":-1,"name":"s","created":1e300,"description":{"maximise":5,"search":"x","kind":[]}}\n',
    '{"format":1,"id":1,"name":"s","description":{"maximise":"v","search":{"kind":"grid","space":{"a":5}}}}\n',
    '{"format":1,"id":1,"name":"s","description":{"search":{"kind":"random","space":{"a":{"kind":"uniform"}}}}}\n',
  },
  [".trials.jsonl"] = {
    '{"id":1e9,"number":-5,"key":"../../x","config":[],"seed":"a"}\n',
    '{"id":"x","number":1,"key":"00","config":5,"seed":1e300}\n{"key":"zz","left":true}\n{"number":1}\n',
  },
}

local KINDS = { ".trials.jsonl", "/trial.json", "/journal.jsonl", ".json" }

local function lie(path)
  local lies = LIES[""]
  for i = #KINDS, 1, -1 do
    local kind = KINDS[i]
    if path:sub(-#kind) == kind and math.random(4) > 1 then lies = LIES[kind] end
  end
  return lies[math.random(#lies)]
end

local T = support.fixture {}

local function files_of(folder, list)
  list = list or {}
  for _, name in ipairs(assert(lip.file.list(folder))) do
    local path = folder .. "/" .. name
    if lip.file.stat(path).kind == "folder" then files_of(path, list) else list[#list + 1] = path end
  end
  return list
end

local damages = {}

function damages.cut(text) return text:sub(1, math.random(0, #text)) end
function damages.empty() return "" end
function damages.longer(text) return text:rep(20) end
function damages.lie(_, path) return lie(path) end
function damages.another_lie(text, path) return text .. lie(path) end
function damages.first_lie(text, path) return lie(path) .. text end
function damages.none() return nil end

function damages.noise(text)
  local at, bytes = math.random(0, #text), {}
  for i = 1, math.random(1, 3000) do bytes[i] = string.char(math.random(0, 255)) end
  return text:sub(1, at) .. table.concat(bytes) .. text:sub(at + 51)
end

function damages.flips(text)
  for _ = 1, ({ 1, 3, 20 })[math.random(3)] do
    local at = math.random(1, #text + 1)
    text = text:sub(1, at - 1) .. string.char(math.random(0, 255)) .. text:sub(at + 1)
  end
  return text
end

-- Figures and quotes in JSON and in SQLite's pages alike.
function damages.digits(text)
  return (text:gsub("%d", function(d) return math.random(40) == 1 and math.random(0, 9) .. "" or d end))
end

local names = {}
for name in pairs(damages) do names[#names + 1] = name end
table.sort(names)

-- Damages 1 to 4 files; says how, for whoever has to find out.
local function damage(folder)
  local did, files = {}, files_of(folder .. "/runs.db.d")
  for i = 1, #files do -- what tells of all trials is damaged as often as one of a kind
    if files[i]:find "/sweeps/" then table.move({ files[i], files[i] }, 1, 2, #files + 1, files) end
  end
  for _ = 1, #files // 3 do files[#files + 1] = folder .. "/runs.db" end
  for _ = 1, ({ 1, 1, 2, 4 })[math.random(4)] do
    local path, name = files[math.random(#files)], names[math.random(#names)]
    local text = lip.file.read(path)
    if text then
      text = damages[name](text, path)
      if text then assert(lip.file.write(path, text)) else os.remove(path) end
      did[#did + 1] = name .. " " .. path:sub(#folder + 2)
    end
  end
  return table.concat(did, ", ")
end

function T:test_any_damage()
  self:write("s.lua", SWEEP)
  lu.assertEquals(self:sweep("s.lua", "-j", "4"), 0)
  assert(lip.file.mkdir(self.dir .. "/whole"))
  for _, name in ipairs { "runs.db", "runs.db.d" } do
    assert(lip.file.rename(self.dir .. "/" .. name, self.dir .. "/whole/" .. name))
  end
  local seed, from, to = (os.getenv "LIPWB_DAMAGE" or "2:1:8"):match "^(%d+):(%d+):(%d+)$"
  local wrong = {}
  for copy = tonumber(from), tonumber(to) do
    math.randomseed(tonumber(seed), copy)
    local folder = self.dir .. "/copy"
    assert(lip.file.remove_tree(folder))
    lu.assertEquals(lip.process.run({ "cp", "-r", self.dir .. "/whole", folder }).exit, 0)
    assert(lip.file.write(folder .. "/s.lua", SWEEP))
    local did = damage(folder)
    for _, command in ipairs(COMMANDS) do
      local words = { support.program }
      for word in command:gmatch "%S+" do words[#words + 1] = word end
      words.cwd, words.timeout, words.env = folder, 60, { LIPWB_STORE = false, COLUMNS = false }
      local r, why = lip.process.run(words)
      r = r or { output = why }
      local text = (r.output or "") .. (r.errors or "")
      if r.signal or not r.exit or r.exit > 2 or text:find "traceback" or text:find "attempt to"
        or text:find "bad argument" or text:find "%.lua:%d+:" then
        wrong[#wrong + 1] = ("copy %d, %s; %s: %s\n%s"):format(copy, did, command, lip.to_json { r.exit, r.signal },
          #text > 1500 and text:sub(1, 700) .. "\n...\n" .. text:sub(-700) or text)
      end
    end
  end
  lu.assertEquals(table.concat(wrong, "\n"), "")
end

-- ---- what has been found so ----

function T:made()
  self:write("s.lua", SWEEP)
  lu.assertEquals(self:sweep("s.lua", "-j", "4"), 0)
  self.keys = assert(lip.file.list(self.dir .. "/runs.db.d/trials"))
end

-- Status and all that is said; never in Lua's words.
function T:says(command)
  local words = { support.program, cwd = self.dir, timeout = 60, env = { LIPWB_STORE = false, COLUMNS = false } }
  for word in command:gmatch "%S+" do words[#words + 1] = word end
  local r = assert(lip.process.run(words))
  local text = r.output .. r.errors
  lu.assertNil(text:find "traceback" or text:find "%.lua:%d+:", command .. ": " .. text)
  return r.exit, text
end

function T:test_columns()
  self:made()
  for _, change in ipairs { "key = 'zz'", "state = 'done', attempt = 'x'", "seconds = 'nan'", "number = 'one'" } do
    lu.assertEquals(lip.process.run({ "cp", self.dir .. "/runs.db", self.dir .. "/bad.db" }).exit, 0)
    local db = assert(lip.db.open(self.dir .. "/bad.db"))
    assert(db:exec(("UPDATE trials SET %s WHERE id = 2"):format(change)))
    db:close()
    for _, command in ipairs { "runs ls", "runs show 2", "runs gc", "runs gc --delete", "runs plot -o x.svg", "report",
      "runs export csv", "runs export optuna x.log", "reproduce 2" } do
      local status, text = self:says(command .. " --store bad.db")
      lu.assertEquals(status, 1, command)
      lu.assertStrContains(text, "is damaged (lipwb runs rebuild makes it again)")
    end
  end
  local db = assert(lip.db.open(self.dir .. "/runs.db"))
  assert(db:exec "UPDATE trials SET provenance = '[1]', started = 1e300, row = '5' WHERE id = 2")
  assert(db:exec [[UPDATE sweeps SET description = '{"maximise":5}']])
  db:close()
  for _, command in ipairs { "runs ls", "runs show 2", "runs best v", "runs plot pareto --x v --y loss -o x.svg",
    "report" } do
    local status, text = self:says(command)
    lu.assertEquals(status, 0, command .. ": " .. text)
  end
end

function T:test_lists_of_trials()
  self:made()
  local path = self.dir .. "/runs.db.d/sweeps/s.trials.jsonl"
  assert(lip.file.append(path, '{"number":7,"key":"../../x"}\n{"number":8,"key":"g0"}\n5\n'))
  local folder = self.dir .. "/runs.db.d/trials/00000000000000aa"
  assert(lip.file.mkdir(folder))
  assert(lip.file.write(folder .. "/trial.json", '{"sweep":{},"key":"00000000000000aa"}'))
  os.remove(self.dir .. "/runs.db")
  local status, text = self:says "runs rebuild"
  lu.assertEquals({ status, text }, { 0, "rebuilt runs.db: 4 runs\n" })
  lu.assertEquals(#self:records "s", 4)
end

-- Whoever says no host and is not at work here is not waited for.
function T:test_start_without_a_host()
  self:made()
  assert(lip.file.append(("%s/runs.db.d/trials/%s/journal.jsonl"):format(self.dir, self.keys[1]),
    '{"event":"start","attempt":8,"sweep":"s","pid":-1,"pid_start":0}\n'))
  lu.assertEquals(self:says "runs rebuild", 0)
  lu.assertEquals(self:says "sweep s.lua", 0)
  for _, record in ipairs(self:records "s") do lu.assertEquals(record.state, "done") end
end

-- What a run was told is read from a file: its key names no folder elsewhere.
function T:test_reproduce_of_another_key()
  self:made()
  local path = ("%s/runs.db.d/trials/%s/trial.json"):format(self.dir, self.keys[1])
  local told = lip.from_json(assert(lip.file.read(path)))
  for name, v in pairs { key = "../../../x", script_sha256 = "../x", config = 5, script = 5 } do
    local old = told[name]
    told[name] = v
    assert(lip.file.write(path, lip.to_json(told)))
    local status, text = self:says("reproduce " .. self.keys[1])
    lu.assertEquals(status, 1)
    lu.assertStrContains(text, "trial.json is damaged")
    told[name] = old
  end
end

-- A row may be a list (of a script that stored it so): what has no name is not shown, and everything else is.
function T:test_rows_without_names()
  self:write("s.lua", [[
local lip = require "lip"
return lip.sweep { name = "s", grid = { a = { 1, 2, 3, 4, 5 } }, run = function(c)
  return { v = 5 + c.a, w = { 1, { 2 } } }
end }]])
  lu.assertEquals(self:sweep("s.lua", "-j", "4"), 0)
  for number, row in pairs { "[1,2]", "5", [4] = "[]" } do
    local db <close> = assert(lip.db.open(self.dir .. "/runs.db"))
    assert(db:exec("UPDATE trials SET row = ? WHERE number = ?", row, number))
  end
  local rows = {}
  for i, record in ipairs(self:records "s") do rows[i] = record.row or "none" end
  lu.assertEquals(rows, { {}, "none", { v = 8, w = { 1, { 2 } } }, {}, { v = 10, w = { 1, { 2 } } } })
  for _, command in ipairs(COMMANDS) do
    local fits = command:find "^runs" and not command:find "rebuild"
    for _, word in ipairs { " v", " s/" } do fits = fits and not command:find(word) end
    if fits then
      -- the sweep has no aim, no run has told of its steps
      local usage = command == "runs best" or command:find "losses"
      lu.assertEquals(self:says(command), usage and 2 or 0, command)
    end
  end
  lu.assertEquals(self:says "report -o x.html", 0)
  lu.assertStrContains(select(2, self:says "runs best v --max"), "largest v of 2")
  lu.assertStrMatches(select(2, self:says "runs export csv"):match "^[^\r]*", ".*,config.a,row.v,row.w,also")
  lu.assertEquals(lip.from_json(select(2, self:says "runs export jsonl"):match "^[^\n]*").row, {})
  -- records that a script has made
  local made = { { row = { 1, 2 }, config = { budget = 1 } }, { row = 5, config = 7 }, { config = { budget = 2 } },
    { row = { clean = 0.5, "x" }, config = { budget = 4, "y" } } }
  lu.assertEquals(lip.figures.budget(made, { by = false }).panels[1].series[1].y, { 50 })
  lu.assertEquals(lip.figures.pareto(made, "budget", "clean").series[2].x, { 4 })
end

return { TestDamage = T }
