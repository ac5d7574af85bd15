-- lipwb reproduce on runs of real sweeps, then on journals in which one figure was changed; and what a trial notes
-- about its data and files.
local lu = require "luaunit"
local lip = require "lip"
local compare = require "lip.reproduce_compare"
local stores = require "lip.sweep.store"

local program = require "support_program".program
local SCRIPT = [[
local lip = require "lip"
local args = lip.args { width = 4, seed = 1, bad = false }
local ds = lip.data.digits { n = 64 }
local x = assert(lip.data.csv("x.csv", { label = "y" }))
local net = lip.net { input = ds:info().shape, norm = "inf", budget = 4, seed = args.seed, lip.flatten{},
  lip.dense{ out = args.width }, lip.relu{}, lip.dense{ out = 10 } }
local result = assert(lip.train(net, ds, { epochs = 3, batch = 16, validation = ds, seed = args.seed }))
if args.bad then error "it broke" end
assert(net:certificate(lip.trial.folder .. "/c.cert", ds))
local path = lip.trial.file("checkpoint", "final.safetensors")
assert(net:save(path))
return { clean = net:evaluate(ds).accuracy, bound = net:bound().upper, seconds = lip.time(), final_path = lip.trial.folder .. lip.time(),
  note = "in " .. path, history = result.history, rows = #x }
]]

local SWEEP = [[
local lip = require "lip"
return lip.sweep { name = "s", script = "s.lua",
  list = { { width = 3 }, { width = 5, seed = 4 }, { width = 3, bad = true } } }
]]

local FUNCTION = [[
local lip = require "lip"
return lip.sweep { name = "f", grid = { a = { 1, 2 } }, maximise = "score", run = function(config, trial)
  for step = 1, 3 do trial.report(step, { score = config.a * step + trial.seed / 7 }, 3) end
  return { score = config.a / 3 + trial.seed / 7, inf = 1 / 0 }
end }
]]

local PRUNED = [[
local lip = require "lip"
return lip.sweep { name = "p", list = { { score = 9, steps = 4 }, { score = 1, steps = 1000 } }, maximise = "score",
  scheduler = lip.asha { min = 2, max = 1000, eta = 2 }, run = function(config, trial)
    for step = 1, config.steps do
      if not trial.report(step, { score = config.score + 1 / step }) then break end
      if config.steps == 1000 then lip.process.sleep(0.05) end
    end
    return { score = config.score }
  end }
]]

local T = {}

function T:run(words, env)
  local list = { program }
  for word in words:gmatch "%S+" do list[#list + 1] = word end
  list.cwd, list.env = self.dir, env or {}
  list.env.TMPDIR = self.dir .. "/tmp"
  return assert(lip.process.run(list))
end

function T:sweep(name, text)
  assert(lip.file.write(("%s/%s.lua"):format(self.dir, name), text))
  return self:run(("sweep %s.lua -j 2 --threads 1"):format(name))
end

function T:setUp()
  self.dir = assert(lip.file.temporary())
  assert(lip.file.mkdir(self.dir .. "/tmp"))
  assert(lip.file.write(self.dir .. "/s.lua", SCRIPT))
  assert(lip.file.write(self.dir .. "/x.csv", "a,y\n1,0\n2,1\n"))
end

function T:tearDown()
  lip.file.remove_tree(self.dir)
end

-- status, output and errors of `lipwb reproduce`; nothing may be left behind
function T:reproduce(words, env)
  local result = self:run("reproduce " .. words, env)
  lu.assertEquals(lip.file.list(self.dir .. "/tmp"), {})
  return result.exit, result.output, result.errors
end

function T:record(sweep, number)
  local store <close> = assert(stores.open(self.dir .. "/runs.db", { readonly = true }))
  local record = store:trials { sweep = sweep, number = number }[1]
  assert(record.provenance) -- read from the store while it is open
  return record, store:folder(record), store:data(record), store:files(record)
end

-- Changes a trial's journal: the last place where `from` fits becomes `to`, as gsub would have it.
function T:tamper(number, from, to)
  local _, folder = self:record("s", number)
  local text = assert(lip.file.read(folder .. "/journal.jsonl"))
  local at, stop
  repeat
    local a, b = text:find(from, (stop or 0) + 1)
    if a then at, stop = a, b end
  until not a
  assert(at, from)
  assert(lip.file.write(folder .. "/journal.jsonl", text:sub(1, at - 1)
    .. text:sub(at, stop):gsub(from, to) .. text:sub(stop + 1)))
end

function T:test_a_script()
  local result = self:sweep("sw", SWEEP)
  lu.assertEquals(result.exit, 1, result.errors) -- one of the trials fails
  -- what the trial noted without being asked
  local record, folder, data, files = self:record("s", 1)
  local names = {}
  for i, d in ipairs(data) do names[i] = ("%s %d"):format(d.name, d.samples) end
  lu.assertItemsEquals(names, { "digits 64", "x.csv 2" })
  local sum = lip.data.csv(self.dir .. "/x.csv", { label = "y" }):info().sha256
  lu.assertIsString(sum)
  lu.assertEquals(data[1].sha256 or data[2].sha256, sum)
  local noted = {}
  for i, f in ipairs(files) do noted[i] = f.kind .. " " .. f.path end
  lu.assertItemsEquals(noted, { "certificate c.cert", "checkpoint final.safetensors", "checkpoint train.safetensors" })
  lu.assertTrue(lip.file.exists(folder .. "/c.cert"))
  lu.assertEquals(record.provenance.cwd, lip.file.absolute(self.dir))
  lu.assertEquals(record.provenance.kernels, lip.arch)
  lu.assertIsTable(record.provenance.git)
  lu.assertEquals(record.provenance.settings, { width = 3, seed = record.seed, bad = false })
  lu.assertEquals(record.provenance.script_sha256, lip.sha256(SCRIPT))
  -- once more, from the stored text: the file has changed
  assert(lip.file.write(self.dir .. "/s.lua", "error 'another script'"))
  local exit, output, errors = self:reproduce "s/1"
  lu.assertEquals(errors, "")
  lu.assertEquals(exit, 0)
  lu.assertStrContains(output, "as then: compared bit for bit")
  -- 3 epochs of loss, rate, accuracy and validation loss; clean, bound, note, rows and the history of 3 epochs
  lu.assertStrMatches(output, ".*equal: 12 values of 3 epochs and %d+ of the result %(done%)\n")
  lu.assertEquals(self:reproduce(record.key:sub(1, 8)), 0)
  lu.assertEquals(self:reproduce "s/2 --threads 2", 0)
  -- a failure comes again, too
  exit, output = self:reproduce "s/3"
  lu.assertEquals(exit, 0)
  lu.assertStrContains(output, "1 of the result (failed)")
  self:check_other_kernels()
  self:check_changed()
  -- without what it reads nothing can be compared
  os.remove(self.dir .. "/x.csv")
  exit, output = self:reproduce "s/1"
  lu.assertEquals(exit, 1)
  lu.assertStrContains(output, "could not be run: ")
  lu.assertStrContains(output, "x.csv")
  lu.assertNotStrContains(output, "different:")
end

function T:check_other_kernels()
  if lip.arch == "plain" or lip.arch == "ref" then return end
  local exit, output = self:reproduce("s/1", { LIPWB_KERNELS = "plain" })
  lu.assertEquals(exit, 0, output)
  lu.assertStrMatches(output, ".*\n  kernels: then " .. lip.arch:gsub("%p", "%%%0") .. ", now [^\n]+\n.*")
  lu.assertStrContains(output, "other kernels than then: compared to a relative 0.001")
end

-- The last bit of one figure is enough.
function T:check_changed()
  local record = self:record("s", 1)
  local decimal = require "lip.decimal"
  local was = decimal.text(record.row.bound)
  local next_up = string.unpack("<d", string.pack("<i8", string.unpack("<i8", string.pack("<d", record.row.bound)) + 1))
  self:tamper(1, '"bound":[%d.]+', ('"bound":%.17g'):format(next_up))
  local exit, output = self:reproduce "s/1"
  lu.assertEquals(exit, 1)
  lu.assertStrContains(output, "different: 1 value\n")
  lu.assertStrMatches(output, ".*\n  row.bound +" .. decimal.text(next_up):gsub("%p", "%%%0") .. "  +"
    .. was:gsub("%p", "%%%0") .. "  +%S+\n")
  lu.assertEquals(self:reproduce "s/1 --tolerance 1e-12", 0)
  self:tamper(2, '("values":{"accuracy":[%d.]+,"loss":)[%d.]+', "%15")
  exit, output = self:reproduce "s/2"
  lu.assertEquals(exit, 1)
  lu.assertStrMatches(output, ".*\n  loss +3 +5 .*")
  -- other data
  assert(lip.file.write(self.dir .. "/x.csv", "a,y\n1,0\n2,0\n"))
  exit, output = self:reproduce "s/2 --tolerance 10"
  lu.assertEquals(exit, 1)
  lu.assertStrContains(output, "data set x.csv")
  -- ended early: as far as it went, and no further
  self:tamper(2, '{"event":"metrics","step":3[^\n]*\n', "")
  self:tamper(2, '"state":"done"', '"state":"pruned"')
  assert(lip.file.write(self.dir .. "/x.csv", "a,y\n1,0\n2,1\n"))
  exit, output = self:reproduce "s/2"
  lu.assertEquals(exit, 0, output)
  lu.assertStrContains(output, "equal: 8 values of 2 epochs and 0 of the result (pruned)")
  -- without its text there is nothing to run
  local sha = lip.from_json(assert(lip.file.read(select(2, self:record("s", 1)) .. "/trial.json"))).script_sha256
  assert(os.remove(("%s/runs.db.d/objects/%s.gz"):format(self.dir, sha)))
  local _, errors
  exit, _, errors = self:reproduce "s/1"
  lu.assertEquals(exit, 1)
  lu.assertStrContains(errors, "the text of the script is lost")
  assert(lip.file.write(self.dir .. "/s.lua", SCRIPT)) -- the file itself serves as long as it is the same
  lu.assertEquals(self:run("reproduce s/2", {}).exit, 0)
end

function T:test_a_function()
  local result = self:sweep("f", FUNCTION)
  lu.assertEquals(result.exit, 0, result.errors)
  os.remove(self.dir .. "/f.lua")
  local exit, output, errors = self:reproduce "f/2"
  lu.assertEquals(errors, "")
  lu.assertEquals(exit, 0)
  lu.assertStrContains(output, "equal: 3 values of 3 epochs and 2 of the result (done)")
end

-- Alone it would go on for a minute: it is stopped where the scheduler had ended it.
function T:test_a_pruned_trial()
  assert(lip.file.write(self.dir .. "/p.lua", PRUNED))
  local result = self:run "sweep p.lua -j 1 --threads 1"
  lu.assertEquals(result.exit, 0, result.errors)
  lu.assertEquals(self:record("p", 2).state, "pruned")
  local again = self:run "reproduce p/2 --keep"
  lu.assertEquals(again.exit, 0, again.output)
  lu.assertStrContains(again.output, "equal: 2 values of 2 epochs and 0 of the result (pruned)")
  local folder = again.output:match "the new run is in ([^\n]+)"
  local text = assert(lip.file.read(folder .. "/journal.jsonl"))
  lu.assertNil(text:find '"step":1000')
  lu.assertStrContains(text, '"state":"stopped"')
end

-- Interrupted, it takes its worker with it and leaves nothing.
function T:test_interrupted()
  assert(lip.file.write(self.dir .. "/p.lua", (PRUNED:gsub("score = 1, steps = 1000", "score = 99, steps = 3"))))
  lu.assertEquals(self:run("sweep p.lua -j 1 --threads 1").exit, 0)
  local record, folder = self:record("p", 2)
  lu.assertEquals(record.state, "done")
  local told = assert(lip.file.read(folder .. "/trial.json"))
  assert(lip.file.write(folder .. "/trial.json", (told:gsub('"steps":3', '"steps":1000'))))
  local process = assert(lip.process.spawn { program, "reproduce", "p/2", cwd = self.dir,
    env = { TMPDIR = self.dir .. "/tmp" }, stdout = self.dir .. "/out", group = true })
  local text
  repeat -- until the new run is under way
    lip.process.sleep(0.02)
    local root = lip.file.list(self.dir .. "/tmp")[1]
    text = root and lip.file.read(("%s/tmp/%s/trials/%s/journal.jsonl"):format(self.dir, root, record.key)) or ""
  until text:find '"step":2' or not process:alive()
  local worker = assert(math.tointeger(tonumber(text:match '"pid":(%d+)')), lip.file.read(self.dir .. "/out"))
  local start = math.tointeger(tonumber(text:match '"pid_start":(%d+)'))
  lu.assertTrue(lip.process.alive(worker, start))
  process:signal "INT"
  lu.assertEquals(assert(process:wait(60)).exit, 130)
  lu.assertFalse(lip.process.alive(worker, start))
  lu.assertEquals(lip.file.list(self.dir .. "/tmp"), {})
end

function T:test_refusals()
  local exit, _, errors = self:reproduce ""
  lu.assertEquals(exit, 2)
  lu.assertStrContains(errors, "Usage")
  lu.assertEquals(self:reproduce "a/1 --tolerance -1", 2)
  lu.assertEquals(self:reproduce "a/1 --threads 0", 2)
  exit, _, errors = self:reproduce "a/1"
  lu.assertEquals(exit, 1)
  lu.assertStrContains(errors, "runs.db")
  local store = assert(stores.open(self.dir .. "/runs.db", { create = true }))
  local sweep = assert(store:add_sweep("q", { search = {} }))
  assert(store:enqueue(sweep, { { number = 1, key = ("ab"):rep(8), config = {}, seed = 1 } }))
  store:close()
  exit, _, errors = self:reproduce "q/1"
  lu.assertEquals(exit, 1)
  lu.assertStrContains(errors, "trial.json")
end

-- What is a figure and what is not, on rows made up here.
-- A figure that only the scheduler of another sweep asked for is named; without another sweep it counts as missing.
function T.test_figures_of_another_sweep()
  local function compared(sweeps)
    local lines = {}
    for _, name in ipairs(sweeps) do lines[#lines + 1] = { event = "start", sweep = name } end
    lines[#lines + 1] = { event = "metrics", step = 1, values = { loss = 1, ["certified@0.2"] = 0.5 } }
    lines[#lines + 1] = { event = "metrics", step = 2, values = { loss = 0.5 } }
    lines[#lines + 1] = { event = "end", state = "done", row = { f = 1 } }
    local now = compare.read { { event = "start", sweep = "b" }, { event = "metrics", step = 1, values = { loss = 1 } },
      { event = "metrics", step = 2, values = { loss = 0.25 } }, { event = "end", state = "done", row = { f = 1 } } }
    local list, count = compare.runs({ seen = compare.read(lines), folder = "/a" }, { seen = now, folder = "/b" }, 0)
    local names = {}
    for i, d in ipairs(list) do names[i] = d.name end
    return names, count.others
  end
  lu.assertEquals({ compared { "a", "b" } }, { { "loss" }, { "certified@0.2" } })
  lu.assertEquals({ compared { "b", "b" } }, { { "certified@0.2", "loss" }, {} })
end

function T.test_comparison()
  local function runs(a, b, tolerance)
    local was = { seen = compare.read { { event = "end", state = "done", row = a } }, folder = "/old/run" }
    local now = { seen = compare.read { { event = "end", state = "done", row = b } }, folder = "/new/run" }
    local names = {}
    for i, d in ipairs((compare.runs(was, now, tolerance or 0))) do names[i] = d.name end
    return names
  end
  lu.assertEquals(runs({ a = 1 }, { a = 1.0 }), {})
  lu.assertEquals(runs({ a = 1 }, { a = 2 }), { "row.a" })
  lu.assertEquals(runs({ a = 1 }, {}), { "row.a" })
  lu.assertEquals(runs({}, { a = 1 }), { "row.a" })
  lu.assertEquals(runs({ a = "nan", b = "inf" }, { a = "nan", b = "inf" }), {})
  lu.assertEquals(runs({ a = "nan" }, { a = 1 }), { "row.a" })
  lu.assertEquals(runs({ a = "inf" }, { a = 1e308 }, 0.5), { "row.a" })
  lu.assertEquals(runs({ a = "inf" }, { a = "-inf" }, 100), { "row.a" })
  lu.assertEquals(runs({ a = 0.0 }, { a = -0.0 }), {})
  lu.assertEquals(runs({ a = 1 }, { a = 1.0005 }, 1e-3), {})
  lu.assertEquals(runs({ a = 1 }, { a = 1.002 }, 1e-3), { "row.a" })
  lu.assertEquals(runs({ a = 0 }, { a = 1e-300 }, 1e-3), { "row.a" })
  lu.assertEquals(runs(
    { seconds = 1, train_seconds = 1, Memory = 5, t = { time = 3, rate = 1, seconds = 2 }, log_file = "a" },
    { seconds = 2, train_seconds = 3, Memory = 7, t = { time = 4, rate = 2, seconds = 2 }, log_file = "b" }), {})
  lu.assertEquals(runs({ rate = 1, times = 3, certified = { ["0.1"] = 1 } },
    { rate = 2, times = 4, certified = { ["0.1"] = 2 } }),
    { "row.certified.0.1", "row.rate", "row.times" })
  lu.assertEquals(runs({ a = { 1, 2, { b = 3 } } }, { a = { 1, 2, { b = 4 } } }), { "row.a[3].b" })
  lu.assertEquals(runs({ a = "see /old/run/x" }, { a = "see /new/run/x" }), {})
  lu.assertEquals(runs({ a = true }, { a = "true" }), { "row.a" })
end

return { TestReproduce = T }
