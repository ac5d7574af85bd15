-- Trials as processes: whatever happens to one, its journal tells it, and one that was stopped or killed and started
-- again ends with the row and the checkpoints of one that nobody disturbed, bit for bit.
local lu = require "luaunit"
local lip = require "lip"
local journal = require "lip.sweep.journal"

local file, process = lip.file, lip.process
local program = process.self().program
local here = file.absolute(debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or ".")
local stress = os.getenv "LIPWB_GC_STRESS" ~= nil

local T = {}

function T:setUp()
  self.root = assert(file.temporary())
  self.count = 0
end

function T:tearDown()
  file.remove_tree(self.root)
end

-- A trial's folder with what its worker is told.
function T:trial(config, changes)
  self.count = self.count + 1
  local folder = ("%s/trials/%016x"):format(self.root, self.count)
  local told = {
    format = 1, key = ("%016x"):format(self.count), sweep = "test", number = self.count, config = config, seed = 7,
    attempt = 1, threads = 1, kind = "script", script = here .. "/trial_run.lua", objects = "../../objects",
    maximise = "clean", checkpoint_seconds = 0,
  }
  for name, v in pairs(changes or {}) do told[name] = v end
  told.script_sha256 = told.script_sha256 or lip.sha256(file.read(told.script) or "")
  self:tell(folder, told)
  return folder, told
end

function T:tell(folder, told)
  assert(file.mkdir(folder))
  assert(file.mkdir(self.root .. "/sweeps")) -- where trials without a database look for each other
  assert(file.append(("%s/sweeps/%s.trials.jsonl"):format(self.root, told.sweep), ('{"key": "%s"}\n'):format(told.key)))
  assert(file.write(folder .. "/trial.json", lip.to_json(told)))
end

local function spawn(folder, more)
  local words = { program, "trial", folder, stdout = folder .. "/output.txt", group = true, dies_with_parent = true }
  for name, v in pairs(more or {}) do words[name] = v end
  return assert(process.spawn(words))
end

local function lines(folder, event)
  local found = {}
  for _, line in ipairs((journal.read(folder))) do
    if not event or line.event == event then found[#found + 1] = line end
  end
  return found
end

local function last(folder)
  local all = lines(folder)
  return all[#all]
end

-- Runs a trial to its end: { exit=, signal= } and the last line of its journal.
local function run(folder, more)
  local result = assert(spawn(folder, more):wait(60))
  return result, last(folder)
end

local function output(folder)
  return assert(file.read(folder .. "/output.txt"))
end

local function checkpoints(folder)
  local texts = {}
  for _, name in ipairs(file.list(folder)) do
    if name:find "%.safetensors$" then texts[name] = lip.sha256_packed(folder .. "/" .. name) end
  end
  return texts
end

-- What may not depend on disturbances: the row, the checkpoints, the last figures of every step.
local function outcome(folder)
  local metrics = {}
  for _, line in ipairs(lines(folder, "metrics")) do metrics[line.step .. "/" .. line.total] = line.values end
  return { end_line = last(folder).state, row = last(folder).row, checkpoints = checkpoints(folder), metrics = metrics }
end

-- ---- ways to end ----

function T:test_done()
  local folder = self:trial({ epochs = 3, widths = { 4, 5 } }, { provenance = { argv = { "x" } }, set = { lr = 0.03 } })
  local result, line = run(folder)
  lu.assertEquals({ result.exit, line.event, line.state, line.exit }, { 0, "end", "done", 0 })
  lu.assertEquals(line.row.epochs, 3)
  lu.assertEquals(line.value, line.row.clean)
  lu.assertTrue(line.memory > 1e6 and line.seconds > 0 and line.time > 1.6e9)
  local start = lines(folder)[1]
  lu.assertEquals({ start.event, start.key, start.number, start.seed, start.attempt, start.sweep },
    { "start", ("%016x"):format(1), 1, 7, 1, "test" })
  lu.assertEquals(start.config, { epochs = 3, widths = { 4, 5 } })
  lu.assertEquals(start.provenance.argv, { "x" })
  lu.assertEquals(start.provenance.threads, 1)
  lu.assertEquals(#lines(folder, "metrics"), 6) -- two trainings: steps of the second replace those of the first
  local files = {}
  for _, f in ipairs(lines(folder, "file")) do files[#files + 1] = f.kind .. " " .. f.path end
  lu.assertEquals(files, { "checkpoint train.safetensors", "checkpoint train2.safetensors",
    "figure drawn/by_hand.txt" })
  lu.assertTrue(file.exists(folder .. "/drawn"))
  lu.assertStrContains(output(folder), "threads\t1")
end

function T:test_what_goes_wrong_is_told()
  local cases = {
    error = "this went wrong", object = "an object", exit = "os.exit(3)", nothing = "no figure 'clean'",
    nan = "no number", missing = "no figure 'clean'", bytes = "no text: ",
    diverge = "the loss is nan at update 1", text = "returned a string", refused = "the file is gone",
  }
  for how, message in pairs(cases) do
    local folder = self:trial { how = how }
    local result, line = run(folder)
    lu.assertEquals(result.exit, 1, how)
    lu.assertEquals({ line.event, line.state, line.exit }, { "end", "failed", 1 }, how)
    lu.assertStrContains(line.message, message, false, how)
    lu.assertTrue(utf8.len(line.message) ~= nil, how)
  end
  -- the way to the error stands in the output
  local folder = self:trial { how = "error" }
  run(folder)
  lu.assertStrContains(output(folder), "trial_run.lua")
  lu.assertStrContains(output(folder), "stack traceback")
end

function T:test_a_row_is_not_needed_without_an_aim()
  local _, line = run((self:trial({ how = "leave" }, { maximise = false })))
  lu.assertEquals({ line.state, line.row }, { "done", nil })
  _, line = run((self:trial({ how = "nothing" }, { maximise = false })))
  lu.assertEquals(line.state, "done")
end

-- What counts is what the journal holds: a row that it would bend is refused, with the reason.
function T:test_rows_that_cannot_be_stored()
  self.rows = self.root .. "/rows.lua"
  local function ends(body, changes)
    assert(file.write(self.rows, 'local lip = require "lip"\n' .. body))
    local more = { script = self.rows }
    for name, v in pairs(changes or {}) do more[name] = v end
    local folder = self:trial({}, more)
    local result, line = run(folder)
    lu.assertEquals(line.event, "end", body)
    lu.assertEquals(result.exit, line.state == "done" and 0 or 1, body)
    return line
  end
  for body, message in pairs {
    ["return { clean = 7, [1] = 2 }"] = "stored: it has both names ('clean') and a list",
    ["return { 1, 2 }"] = "stored: it is a list",
    ["return { clean = 1, x = { 1, 2, y = { 3 } } }"] = "stored: 'x' has both names ('y') and a list",
    ["return setmetatable({}, { __index = function() return 15 end })"] = "the row has no figure 'clean'",
    ["return { clean = 1, ['\\xff\\xfe'] = 2 }"] = "stored: the name '??' is no text",
    ["return { clean = 1, ['x\\0y'] = 2 }"] = "stored: the name 'x?y' is no text",
    ["return { clean = 1, f = { g = print } }"] = "stored: 'f.g' is a function",
    ["return { clean = 1, [true] = 2 }"] = "stored: it has a name that is a boolean",
    ["local t = {} t.x = { t } return { clean = 1, t = t }"] = "stored: 't.x.1' is a table that contains itself",
    ["local t = {} for _ = 1, 1e4 do t = { t } end return { clean = 1, t = t }"] = "stored: its tables are nested too",
  } do
    local line = ends(body)
    lu.assertEquals(line.state, "failed", body)
    lu.assertStrContains(line.message, message)
    lu.assertNil(line.value)
    if line.message:find "stored" then lu.assertNil(line.row) end
    lu.assertEquals(ends(body, { maximise = false }).state, body:find "__index" and "done" or "failed")
  end
  -- a name is not all that may be odd
  local line = ends [[local t = { 1 }
    return { clean = 1, a = t, b = t, n = 0 / 0, s = "a\xff", m = { [0.5] = 2 }, e = {} }]]
  lu.assertEquals({ line.state, line.row }, { "done", { clean = 1, a = { 1 }, b = { 1 }, n = "nan", s = "a?",
    m = { ["0.5"] = 2 }, e = {} } })
  lu.assertEquals(ends "return { clean = 'inf' }".state, "failed")
  lu.assertEquals(ends "return { clean = 1 / 0 }".value, "inf")
end

-- A script that takes the library and Lua apart has its row stored all the same.
function T:test_a_script_may_not_saw_off_the_branch()
  local script = self.root .. "/saw.lua"
  assert(file.write(script, [[
    local lip = require "lip"
    for _, t in ipairs { lip.file, lip.process, lip, math, io, utf8, table } do
      for name in pairs(t) do t[name] = nil end
    end
    local row = { clean = 11 }
    local _G, next = _G, next
    for name in next, _G do
      if name ~= "_G" then _G[name] = nil end
    end
    return row]]))
  local result, line = run((self:trial({}, { script = script })))
  lu.assertEquals({ result.exit, line.event, line.state, line.value }, { 0, "end", "done", 11 }, line.message)
end

function T:test_crashes_leave_the_rest_to_the_runner()
  local folder = self:trial { how = "crash" }
  local result = assert(spawn(folder):wait(60))
  lu.assertEquals(result.signal, 6)
  lu.assertEquals(lines(folder)[1].event, "start")
  lu.assertEquals(lines(folder, "end"), {})
end

function T:test_out_of_memory()
  lu.skipIf(file.read(program):find("__asan_init", 1, true) ~= nil, "a sanitizer needs all addresses")
  local folder = self:trial { how = "memory" }
  local result = assert(process.spawn { "sh", "-c", 'ulimit -v 400000 && exec "$0" trial "$1"', program, folder,
    stdout = folder .. "/output.txt" }:wait(60))
  lu.assertEquals(result.exit, 1)
  lu.assertStrContains(last(folder).message, "not enough memory")
end

function T:test_output_has_an_end()
  local folder = self:trial { how = "chatter" }
  local result, line = run(folder)
  lu.assertEquals({ result.exit, line.state }, { 0, "done" })
  local text = output(folder)
  lu.assertTrue(#text > 1.5e7 and #text < 1.8e7, #text)
  lu.assertStrContains(text:sub(-200), "the rest is left out")
end

function T:test_what_is_told_must_be_right()
  local function fails(what, folder)
    local result = assert(spawn(folder):wait(60))
    lu.assertEquals(result.exit, 1, what)
    lu.assertStrContains(output(folder), what)
  end
  local folder, told = self:trial {}
  for _, format in ipairs { 3, 0, 1.5, "2" } do
    told.format = format
    self:tell(folder, told)
    fails(("format %s, this program knows 1 to 2"):format(format), folder)
  end
  assert(file.write(folder .. "/trial.json", "{"))
  fails("bad JSON", folder)
  assert(file.mkdir(folder .. "x"))
  fails("trial.json", folder .. "x")
  folder, told = self:trial {}
  told.script_sha256 = ("0"):rep(64)
  self:tell(folder, told)
  fails("not the script this trial was made for", folder)
  lu.assertStrContains(last(folder).message, "not the script") -- and the journal says so
  fails("no setting 'no_such'", (self:trial { no_such = 1 }))
  for _, words in ipairs { {}, { "a", "b" } } do
    lu.assertEquals(process.run { program, "trial", table.unpack(words) }.exit, 2)
  end
  lu.assertEquals(process.run { program, "trial", "--help" }.exit, 0)
end

-- The text of the store, not the file, is what runs.
function T:test_the_stored_script()
  local text = [[local t = require "lip".trial
    return { clean = 1, n = t.number, active = t.active, s = t.seed }]]
  local sha = lip.sha256(text)
  file.mkdir(self.root .. "/objects")
  assert(file.write(("%s/objects/%s.gz"):format(self.root, sha), lip.deflate(text)))
  local _, line = run((self:trial({}, { script = "/nowhere/x.lua", script_sha256 = sha })))
  lu.assertEquals(line.row, { clean = 1, n = 1, active = true, s = 7 })
end

-- ---- signals ----

-- Until the worker has begun (or something stands in its journal).
local function until_begun(folder, event, count)
  for _ = 1, 1000 do
    if #lines(folder, event or "start") >= (count or 1) then return end
    process.sleep(0.01)
  end
  error "the worker did not begin"
end

function T:test_stopped_by_a_signal()
  for _, name in ipairs { "TERM", "USR1", "INT", "HUP" } do
    local folder = self:trial { pause = 0.02 }
    local worker = spawn(folder)
    until_begun(folder, "metrics")
    worker:signal(name)
    lu.assertEquals(worker:wait(20).exit, 130, name)
    lu.assertEquals({ last(folder).event, last(folder).state }, { "end", "stopped" }, name)
    lu.assertTrue(file.exists(folder .. "/train.safetensors"))
  end
end

function T:test_two_signals_are_one()
  local folder = self:trial { pause = 0.02 }
  local worker = spawn(folder)
  until_begun(folder, "metrics")
  worker:signal "USR1"
  worker:signal "TERM"
  lu.assertEquals(worker:wait(20).exit, 130)
  lu.assertEquals(last(folder).state, "stopped")
end

function T:test_a_worker_ends_with_its_parent()
  local folder = self:trial { pause = 0.02 }
  local code = ([[local p = lip.process.spawn { %q, "trial", %q, stdout = %q, group = true, dies_with_parent = true }
    print(p:pid()) io.stdout:flush() lip.process.sleep(100)]]):format(program, folder, folder .. "/output.txt")
  local parent = assert(process.spawn { program, "-e", code, stdout = self.root .. "/pid" })
  until_begun(folder, "metrics")
  local pid = math.tointeger(tonumber(file.read(self.root .. "/pid")))
  lu.assertTrue(process.alive(pid))
  parent:signal "KILL"
  parent:wait(10)
  for _ = 1, 500 do
    if not process.alive(pid) then break end
    process.sleep(0.02)
  end
  lu.assertFalse(process.alive(pid))
  lu.assertEquals(last(folder).state, "stopped")
  lu.assertTrue(file.exists(folder .. "/train.safetensors"))
end

-- ---- killed and started again ----

-- Starts it again and again until it is done; each attempt but the last is ended by `signal` after a random delay.
function T:disturbed(config, changes, rng, signals)
  local folder, told = self:trial(config, changes)
  local cuts, delay = 0, 0.06
  for attempt = 1, 200 do
    told.attempt = attempt
    self:tell(folder, told)
    local worker = spawn(folder)
    if not worker:wait(delay * rng:uniform()) then
      worker:signal(signals[1 + rng:below(#signals)])
      worker:wait(20)
    end
    local line = last(folder)
    if line and line.state == "done" and line.attempt == attempt then
      -- an interruption after the last line changes nothing
      return folder, cuts
    end
    cuts, delay = cuts + 1, delay * 1.15
  end
  error "never done"
end

function T:compare(config, changes, rounds)
  local rng = lip.rng(os.time())
  local whole = self:trial(config, changes)
  run(whole)
  lu.assertEquals(last(whole).state, "done", last(whole).message)
  local expected = outcome(whole)
  local cuts = 0
  for round = 1, rounds do
    local signals = ({ { "KILL" }, { "TERM" }, { "KILL", "TERM", "USR1" } })[1 + round % 3]
    local folder, n = self:disturbed(config, changes, rng, signals)
    cuts = cuts + n
    lu.assertEquals(outcome(folder), expected, table.concat(signals, " "))
  end
  return cuts
end

local rounds = stress and 1 or tonumber(os.getenv "LIPWB_KILL_ROUNDS") or 2

function T:test_disturbed_scripts_end_the_same()
  local cuts, turns = 0, 0 -- a quick machine may be through before the first signal
  repeat
    cuts, turns = cuts + self:compare({ epochs = 20 }, nil, rounds), turns + 1
  until cuts > 0 or turns == 10
  lu.assertTrue(cuts > 0)
end

function T:test_disturbed_functions_end_the_same()
  self:compare({ lr = 0.02 }, { kind = "run", script = here .. "/trial_sweep.lua", set = { width = "12" } },
    (rounds + 1) // 2)
end

-- A finished training is not done again: the second attempt finds it, and the row is the same.
function T:test_finished_training_is_not_repeated()
  local folder, told = self:trial { epochs = 10, pause = 0.002 }
  run(folder)
  local first = outcome(folder)
  local before = #lines(folder, "metrics")
  told.attempt = 2
  self:tell(folder, told)
  run(folder)
  lu.assertEquals(outcome(folder), first)
  lu.assertEquals(#lines(folder, "metrics"), before)
end

-- ---- schedulers ----

function T:test_a_scheduler_ends_a_trial()
  local rule = { kind = "asha", min = 2, max = 100, eta = 2 }
  local good = self:trial({ epochs = 5 }, { scheduler = rule, maximise = "accuracy" })
  run(good)
  -- its row has no 'accuracy'; the rungs are 2 and 4, twice
  lu.assertEquals({ last(good).state, #lines(good, "rung") }, { "failed", 4 })
  local bad = self:trial({ epochs = 5, lr = 0 }, { scheduler = rule, maximise = "accuracy" })
  local result, line = run(bad)
  lu.assertEquals({ result.exit, line.state, line.message }, { 3, "pruned" })
  lu.assertEquals(lines(bad, "rung")[1].rung, 0)
  lu.assertEquals(line.value, lines(bad, "metrics")[2].values.accuracy)
  lu.assertEquals(#lines(bad, "metrics"), 2)
  -- the sign turns with the aim
  local folder = self:trial({ epochs = 3 }, { scheduler = rule, minimise = "loss", maximise = false, sweep = "other" })
  run(folder)
  lu.assertEquals(lines(folder, "rung")[1].value, -lines(folder, "metrics")[2].values.loss)
end

function T:test_certified_accuracy_at_a_rung()
  local folder = self:trial({ epochs = 2 },
    { scheduler = { kind = "median", min = 2, max = 9 }, maximise = "certified@0.01" })
  run(folder)
  local metrics = lines(folder, "metrics")
  lu.assertNil(metrics[1].values["certified@0.01"])
  lu.assertTrue(metrics[2].values["certified@0.01"] <= metrics[2].values.accuracy)
  lu.assertTrue(metrics[2].values["certified@0.01"] > 0)
  folder = self:trial({ epochs = 2 }, { scheduler = { kind = "median", min = 2 }, maximise = "beauty" })
  local _, line = run(folder)
  lu.assertStrContains(line.message, "the scheduler looks at 'beauty', which is not among the figures")
end

-- ---- outside of a trial ----

function T.test_nothing_happens_outside()
  local trial = lip.trial
  lu.assertFalse(trial.active)
  lu.assertTrue(trial.report(1, { loss = 2 }))
  lu.assertEquals(trial.file("figure", "a.png"), "a.png")
  lu.assertNil(trial.data("x", "y", 3))
  lu.assertNil(trial.wanted(1))
  lu.assertErrorMsgContains("a step is a whole number", trial.report, 0, {})
  lu.assertErrorMsgContains("'loss' expects a number, got a string", trial.report, 1, { loss = "x" })
  lu.assertErrorMsgContains("expects a table", trial.report, 1)
  lu.assertErrorMsgContains("argument 2 (name) expects a text", trial.file, "figure")
end

return T
