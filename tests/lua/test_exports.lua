-- What other programs get of a store: a journal of Optuna's, event files of TensorBoard's. Each is read by its own
-- program where a Python has it ($LIPWB_PYTHON, else python3), and by JSON or bytes always.
local lu = require "luaunit"
local lip = require "lip"
local journal = require "lip.sweep.journal"
local stores = require "lip.sweep.store"

local outside = require "support_program"
local program, quote, output = outside.program, outside.quote, outside.output

-- A Python that can import `module`, or the test is skipped with a word.
local function python_with(module)
  local python = quote(os.getenv "LIPWB_PYTHON" or "python3")
  local found = os.execute(("%s -c 'import %s' 2>/dev/null"):format(python, module))
  if not found then print(("\n  no Python with %s (set LIPWB_PYTHON): its own reader is not tried"):format(module)) end
  lu.skipIf(not found, "no " .. module)
  return python
end

local T = {}

-- Two sweeps: one of a space with every kind of dimension and of state, one of a list without an objective.
function T:setUp()
  self.dir = assert(lip.file.temporary())
  local store = assert(stores.open(self.dir .. "/runs.db", { create = true }))
  self.store = store
  local sweep = assert(store:add_sweep("space", { maximise = "clean", search = { kind = "random", n = 5, space = {
    lr = { kind = "loguniform", low = 1e-4, high = 0.1 }, budget = { kind = "uniform", low = 1, high = 8 },
    width = { kind = "integer", low = 4, high = 64 },
    norm = { kind = "choice", values = { 1, "2", "inf", true } } } } }))
  local config = function(i, norm) return { lr = 0.01, budget = i / 2 + 1, width = 8 + i, norm = norm } end
  local trials = {
    { number = 1, key = ("a"):rep(16), config = config(1, "inf"), seed = 5 },
    { number = 2, key = ("b"):rep(16), config = config(2, 1), seed = 6 },
    { number = 3, key = ("c"):rep(16), config = config(3, true), seed = 7 },
    { number = 4, key = ("d"):rep(16), config = config(4, "2"), seed = 8 },
    { number = 5, key = ("e"):rep(16), config = config(5, "2"), seed = 9 },
  }
  assert(store:enqueue(sweep, trials))
  self:play(sweep, trials[1], { state = "done", row = { clean = 0.75, note = "it's" }, value = 0.75 })
  self:play(sweep, trials[2], { state = "pruned", value = 0.5 })
  self:play(sweep, trials[3], { state = "failed", message = "the loss is nan" })
  self:play(sweep, trials[4])
  local list = assert(store:add_sweep("list", { search = { kind = "list", list = {} } }))
  trials = { { number = 1, key = ("1"):rep(16), config = { widths = { 4, 2 }, a = 1 }, seed = 1 },
    { number = 2, key = ("2"):rep(16), config = { widths = { 8 }, a = 2 }, seed = 2 } }
  assert(store:enqueue(list, trials))
  self:play(list, trials[1], { state = "done", row = { clean = 0.25, bound = "inf" } })
end

function T:tearDown()
  self.store:close()
  lip.file.remove_tree(self.dir)
end

-- What a worker would write.
function T:play(sweep, trial, ending)
  local me = lip.process.self()
  local record = assert(self.store:claim(sweep, { pid = me.pid, start = me.start, host = me.host }, trial.number))
  local folder = self.store:folder(record)
  assert(lip.file.mkdir(folder))
  local function add(line)
    self.clock = (self.clock or 1700000000.25) + 0.5
    line.time = self.clock
    assert(journal.append(folder, line))
  end
  add { event = "start", key = trial.key, sweep = record.sweep, attempt = record.attempt, config = trial.config,
    seed = trial.seed, pid = me.pid, pid_start = me.start, host = me.host }
  for step = 1, 3 do
    add { event = "metrics", step = step, total = 3,
      values = { clean = step / 8, loss = step == 3 and 1 / 0 or 1 / step } }
  end
  if ending then
    ending.event = "end"
    add(ending)
  end
  assert(self.store:ingest(record))
end

-- ---- Optuna ----

function T:test_optuna_lines()
  local optuna = require "lip.sweep.optuna"
  lu.assertEquals(optuna.write(self.store, self.dir .. "/j"), 7)
  local lines = {}
  for line in io.lines(self.dir .. "/j") do lines[#lines + 1] = line:gsub("Infinity", '"inf"') end
  for i, line in ipairs(lines) do lines[i] = assert(lip.from_json(line), line) end
  lu.assertEquals(#lines, 10)
  local codes = {}
  for i, line in ipairs(lines) do codes[i] = line.op_code end
  lu.assertEquals(codes, { 0, 2, 4, 4, 4, 4, 4, 0, 4, 4 })
  lu.assertEquals(lines[1].study_name, "space")
  lu.assertEquals(lines[1].directions, { 2 })
  local done = lines[3]
  lu.assertEquals({ done.state, done.value }, { 1, 0.75 })
  lu.assertEquals(done.params, { lr = 0.01, budget = 1.5, width = 9, norm = 2 })
  lu.assertEquals(done.intermediate_values, { ["1"] = 0.125, ["2"] = 0.25, ["3"] = 0.375 })
  lu.assertEquals(done.datetime_complete:sub(1, 4), "2023")
  lu.assertEquals(lip.from_json(done.distributions.norm),
    { name = "CategoricalDistribution", attributes = { choices = { 1, "2", "inf", true } } })
  lu.assertEquals(lip.from_json(done.distributions.lr).attributes, { low = 1e-4, high = 0.1, log = true })
  lu.assertEquals({ lines[4].state, lines[5].state, lines[6].state, lines[7].state }, { 2, 3, 0, 4 })
  lu.assertEquals(lines[7].system_attrs.fixed_params, { lr = 0.01, budget = 3.5, width = 13, norm = "2" })
  -- without an objective a finished trial has no value to compare; one may be named
  lu.assertEquals(lines[9].state, 3)
  lu.assertEquals(lines[9].study_id, 1)
  lu.assertEquals(optuna.write(self.store, self.dir .. "/j", { sweep = "list", minimise = "clean" }), 2)
  local text = assert(lip.file.read(self.dir .. "/j"))
  lu.assertStrContains(text, '"directions":[1]')
  lu.assertStrContains(text, '"value":0.25')
  lu.assertStrContains(text, '"study_id":0')
end

function T:test_optuna_refusals()
  local optuna = require "lip.sweep.optuna"
  local n, message, code = optuna.write(self.store, self.dir .. "/j", { sweep = "none" })
  lu.assertEquals({ n, code }, { nil, "not_found" })
  lu.assertStrContains(message, "'none'")
  lu.assertNil((optuna.write(self.store, self.dir .. "/no/such/j")))
end

-- luacheck: push no max line length
local OPTUNA = [[
import sys, json, warnings; warnings.simplefilter("ignore")
import optuna
from optuna.storages.journal import JournalFileBackend
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = optuna.storages.JournalStorage(JournalFileBackend(sys.argv[1]))
out = {}
for name in optuna.study.get_all_study_names(storage):
  s = optuna.load_study(study_name=name, storage=storage)
  out[name] = dict(direction=s.direction.name, trials=[dict(state=t.state.name, value=t.value, params=t.params,
    kinds={k: type(d).__name__ for k, d in t.distributions.items()}, values=t.intermediate_values, seed=t.user_attrs["seed"],
    seconds=t.duration.total_seconds() if t.duration else None, last_step=t.last_step) for t in s.trials])
s = optuna.load_study(study_name="space", storage=storage)
out["best"] = s.best_trial.number
t = s.ask() # the one that waits
t.suggest_categorical("norm", [1, "2", "inf", True])
out["asked"] = dict(number=t.number, norm=t.params["norm"])
s.tell(t, 0.9)
out["best_after"] = s.best_trial.number
print(json.dumps(out))
]]
-- luacheck: pop

function T:test_read_by_optuna_itself()
  local python = python_with "optuna.storages.journal"
  assert(require "lip.sweep.optuna".write(self.store, self.dir .. "/j"))
  assert(lip.file.write(self.dir .. "/read.py", OPTUNA))
  local text = output(("%s %s %s 2>%s"):format(python, quote(self.dir .. "/read.py"), quote(self.dir .. "/j"),
    quote(self.dir .. "/err")))
  local seen = assert(lip.from_json((text:gsub("Infinity", '"inf"'))), lip.file.read(self.dir .. "/err"))
  local trials = seen.space.trials
  lu.assertEquals(seen.space.direction, "MAXIMIZE")
  local states = {}
  for i, t in ipairs(trials) do states[i] = t.state end
  lu.assertEquals(states, { "COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING" })
  lu.assertEquals(trials[1].params, { lr = 0.01, budget = 1.5, width = 9, norm = "inf" })
  lu.assertEquals(trials[2].params.norm, 1)
  lu.assertEquals(trials[3].params.norm, true)
  lu.assertEquals(trials[1].kinds, { lr = "FloatDistribution", budget = "FloatDistribution",
    width = "IntDistribution", norm = "CategoricalDistribution" })
  lu.assertEquals(trials[1].values, { ["1"] = 0.125, ["2"] = 0.25, ["3"] = 0.375 })
  lu.assertEquals({ trials[1].value, trials[1].last_step, trials[1].seed, trials[1].seconds }, { 0.75, 3, 5, 2.0 })
  lu.assertEquals({ seen.best, seen.best_after }, { 0, 4 })
  lu.assertEquals(seen.asked, { number = 4, norm = "2" })
  lu.assertEquals(seen.list.trials[1].params, { widths = "[4,2]", a = 1 })
end

function T:test_the_command()
  local function export(...)
    return assert(lip.process.run { program, "runs", "--store", self.dir .. "/runs.db", "export", ... })
  end
  local result = export("optuna", self.dir .. "/j", "--sweep", "list", "--minimise", "clean")
  lu.assertEquals(result.exit, 0, result.errors)
  lu.assertStrContains(assert(lip.file.read(self.dir .. "/j")), '"directions":[1]')
  result = export("tensorboard", self.dir .. "/tb")
  lu.assertEquals(result.exit, 0, result.errors)
  lu.assertEquals(lip.file.list(self.dir .. "/tb"), { "list", "space" })
  lu.assertEquals(export "optuna".exit, 2)
  lu.assertEquals(export("optuna", self.dir .. "/j", "--maximise", "a", "--minimise", "b").exit, 2)
  lu.assertEquals(export("tensorboard", self.dir .. "/runs.db").exit, 1)
end

-- ---- TensorBoard ----

function T:test_event_files()
  local export = require "lip.sweep.tensorboard"
  lu.assertEquals(export.write(self.store, self.dir .. "/tb"), 5)
  local folders = output("cd " .. quote(self.dir .. "/tb") .. " && find . -type f | sed 's|/[^/]*$||' | sort -u")
  lu.assertEquals(folders, "./list/0001\n./space/0001\n./space/0002\n./space/0003\n./space/0004\n")
  local n, _, code = export.write(self.store, self.dir .. "/tb", { sweep = "none" })
  lu.assertEquals({ n, code }, { nil, "not_found" })
  n, _, code = export.write(self.store, self.dir .. "/runs.db")
  lu.assertNil(n)
  lu.assertIsString(code)
end

-- luacheck: push no max line length
local EVENTS = [[
import sys, json, logging; logging.disable(logging.CRITICAL)
from tensorboard.backend.event_processing import event_multiplexer as m
from tensorboard.plugins.hparams import plugin_data_pb2 as p
x = m.EventMultiplexer().AddRunsFromDirectory(sys.argv[1]).Reload()
out = {}
for r in x.Runs():
  tags = x.Runs()[r]
  out[r] = {t: [[e.wall_time, e.step, e.value] for e in x.Scalars(r, t)] for t in tags["scalars"]}
  c = x.GetAccumulator(r).SummaryMetadata if "_hparams_/session_end_info" in x.GetAccumulator(r).summary_metadata else None
  if c:
    out[r]["status"] = p.HParamsPluginData.FromString(c("_hparams_/session_end_info").plugin_data.content).session_end_info.status
    h = p.HParamsPluginData.FromString(c("_hparams_/session_start_info").plugin_data.content).session_start_info
    out[r]["hparams"] = {k: getattr(v, v.WhichOneof("kind")) for k, v in h.hparams.items()}
print(json.dumps(out))
]]
-- luacheck: pop

function T:test_read_by_tensorboard_itself()
  local python = python_with "tensorboard.backend.event_processing.event_multiplexer"
  local export = require "lip.sweep.tensorboard"
  assert(export.write(self.store, self.dir .. "/tb"))
  assert(export.write(self.store, self.dir .. "/tb", { sweep = "space" })) -- once more: nothing twice
  assert(lip.file.write(self.dir .. "/read.py", EVENTS))
  local text = output(("%s -W ignore %s %s 2>%s"):format(python, quote(self.dir .. "/read.py"),
    quote(self.dir .. "/tb"), quote(self.dir .. "/err")))
  local seen = assert(lip.from_json((text:gsub("Infinity", '"inf"'))), lip.file.read(self.dir .. "/err"))
  local finished = self.store:trials { key = ("a"):rep(16) }[1].finished
  local run = seen["space/0001"]
  lu.assertEquals(run.clean, { { finished, 1, 0.125 }, { finished, 2, 0.25 }, { finished, 3, 0.375 },
    { finished, 3, 0.75 } })
  lu.assertEquals(run.loss[3][3], "inf")
  lu.assertEquals(run.hparams, { lr = 0.01, budget = 1.5, width = 9.0, norm = "inf" })
  lu.assertEquals(run.status, 1)
  lu.assertEquals(seen["space/0003"].status, 2)
  lu.assertNil(seen["space/0004"].status)
  lu.assertEquals(#seen["space/0004"].clean, 3)
  lu.assertEquals(seen["list/0001"].hparams.widths, "[4,2]")
end

-- A sweep that writes event files while it runs: each trial into a folder named like those of an export.
function T:test_a_sweep_with_event_files()
  assert(lip.file.write(self.dir .. "/s.lua", [[
    local lip = require "lip"
    local args = lip.args { a = 1, seed = 1 }
    local ds = lip.data.digits { n = 32 }
    local net = lip.net { input = ds:info().shape, norm = 2, lip.flatten{}, lip.dense{ out = 10 } }
    assert(lip.train(net, ds, { epochs = 2, seed = args.seed }))
    return { clean = args.a }
  ]]))
  assert(lip.file.write(self.dir .. "/sweep.lua", [[
    return require "lip".sweep { name = "s", script = "s.lua", grid = { a = { 1, 2 } } }
  ]]))
  local result = assert(lip.process.run { program, "sweep", "sweep.lua", "-j", "2",
    "--threads", "1", "--store", "own.db", "--tensorboard", "tb", cwd = self.dir })
  lu.assertEquals(result.exit, 0, result.errors)
  for number = 1, 2 do
    local folder = ("%s/tb/s/%04d"):format(self.dir, number)
    local names = assert(lip.file.list(folder))
    lu.assertEquals(#names, 1)
    local text = assert(lip.file.read(folder .. "/" .. names[1]))
    for _, tag in ipairs { "loss", "lr", "layer2.dense/weight", "_hparams_/session_end_info", "clean" } do
      lu.assertStrContains(text, tag)
    end
  end
end

return { TestExports = T }
