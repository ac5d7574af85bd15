-- `lipwb sweep` from outside: results that depend on nothing but the description, failures that cost one trial, exit
-- statuses, changed descriptions.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_sweep"

local T = support.fixture {}

-- A trial that reports three steps and whose result depends on its seed; `odd` is put in by tests.
local SWEEP = [[
local lip = require "lip"
return lip.sweep {
  run = function(config, trial)
    local rng, sum = lip.rng(trial.seed), 0
    for step = 1, 3 do
      sum = sum + rng:uniform()
      trial.report(step, { sum = sum }, 3)
    end
    %s
    return { sum = sum, a = config.a }
  end,
  grid = { a = { 1, 2, 3 }, b = { "x", "y" } }, maximise = "sum", %s
}
]]

function T:describe(odd, more)
  return self:write("s.lua", SWEEP:format(odd or "", more or ""))
end

function T:test_the_table_depends_on_the_description_only()
  self:describe()
  local status, said = self:sweep("s.lua", "-j", "1")
  lu.assertEquals(status, 0, said)
  lu.assertStrContains(said, "6 of 6 done")
  lu.assertStrContains(said, "best: sum = ")
  lu.assertEquals((self:sweep("s.lua", "-j", "2", "--store", "two.db")), 0)
  local one = self:results "s"
  lu.assertEquals(#one, 6)
  lu.assertEquals(self:results("s", "two.db"), one)
  local seen = {}
  for i, r in ipairs(self:records "s") do
    lu.assertEquals(r.number, i)
    lu.assertEquals(r.state, "done")
    lu.assertEquals(r.seed, tonumber(r.key:sub(1, 8), 16))
    lu.assertEquals(r.row.a, r.config.a)
    lu.assertEquals(r.value, r.row.sum)
    local rng = lip.rng(r.seed)
    lu.assertEquals(r.value, rng:uniform() + rng:uniform() + rng:uniform())
    lu.assertNil(seen[r.value])
    seen[r.value] = true
  end
end

-- What a trial does to its own folder costs that trial, whether it lives to tell or not.
function T:test_trials_without_a_folder()
  self:describe [[
    local journal = trial.folder .. "/journal.jsonl"
    if config.a == 1 then lip.file.remove_tree(trial.folder) end
    if config.a == 2 then
      os.remove(journal)
      assert(lip.file.mkdir(journal))
      lip.process.sleep(0.5)
    end
    if config.a == 3 and config.b == "x" then
      lip.file.remove_tree(trial.folder)
      assert(lip.file.write(trial.folder, "a file"))
    end
    if config.b == "y" and config.a < 3 then os.execute("kill -9 " .. lip.process.self().pid) end]]
  local status, said = self:sweep("s.lua", "-j", "2")
  lu.assertEquals(status, 1)
  lu.assertStrContains(said, "1 of 6 done, 5 failed")
  local results = self:results "s"
  for i, r in ipairs(self:records "s") do
    if i < 6 then lu.assertStrContains(r.message, "the folder of the trial was removed or replaced") end
    lu.assertEquals(r.state, i < 6 and "failed" or "done")
  end
  assert(require "lip.sweep.rebuild".store(self.dir .. "/runs.db")):close()
  lu.assertEquals(self:results "s", results)
  -- and may be tried again
  status, said = self:sweep("s.lua", "-j", "2", "--retry", "failed")
  lu.assertEquals(status, 1)
  lu.assertStrContains(said, "1 of 6 done, 5 failed")
end

-- Texts of a configuration, an aim or a message move no cursor and begin no lines.
function T:test_odd_texts_in_what_is_said()
  self:write("s.lua", [[
    return require "lip".sweep { list = {
        { s = "a\nfailed 9", k = 1 }, { s = "b\27[2Jb", k = 2 }, { s = "c\r", k = 3 } },
      maximise = "v\27c", run = function(c)
        if c.k == 3 then error("why\27[31m\7", 0) end
        return { ["v\27c"] = c.k }
      end }]])
  for _, words in ipairs { { "--dry-run" }, { "-j", "1" }, {}, { "--retry", "failed" } } do
    local _, said = self:sweep("s.lua", table.unpack(words))
    lu.assertNil(said:gsub("\n", ""):find "%c", said)
    lu.assertNil(("\n" .. said):find("\nfailed 9", 1, true), said)
  end
  local _, said = self:sweep("s.lua", "--store", "two.db", "-j", "1")
  lu.assertStrContains(said, "start  1  k=1 s=a?failed 9\n")
  lu.assertStrContains(said, "done   2  v?c = 2 (best)")
  lu.assertStrContains(said, "failed 3  k=3 s=c?: why?[31m?")
end

function T:test_again_does_nothing()
  self:describe()
  lu.assertEquals((self:sweep("s.lua", "-j", "2")), 0)
  local before, history = self:results "s", self:history()
  local status, said = self:sweep("s.lua", "-j", "2")
  lu.assertEquals(status, 0)
  lu.assertNotStrContains(said, "start")
  lu.assertStrContains(said, "6 of 6 trials are known: 6 from earlier runs")
  lu.assertEquals(self:results "s", before)
  lu.assertEquals(self:history(), history)
end

function T:test_two_runners_share_the_work()
  self:describe("lip.process.sleep(0.1)")
  local a, b = self:spawn("a", "sweep", "s.lua", "-j", "2"), self:spawn("b", "sweep", "s.lua", "-j", "2")
  lu.assertEquals(a:wait(120).exit, 0)
  lu.assertEquals(b:wait(120).exit, 0)
  local said = lip.file.read(self.dir .. "/a") .. lip.file.read(self.dir .. "/b")
  local _, starts = said:gsub("start  ", "")
  lu.assertEquals(starts, 6)
  for _, seen in pairs(self:history()) do
    lu.assertEquals(seen, { start = 1, done = 1, failed = 0, stopped = 0, pruned = 0 })
  end
end

-- The same trial in two sweeps of a store is computed once, also when both run at the same time.
function T:test_two_sweeps_share_trials()
  self:describe("lip.process.sleep(0.1)")
  local a = self:spawn("a", "sweep", "s.lua", "-j", "2")
  local b = self:spawn("b", "sweep", "s.lua", "--name", "other", "-j", "2")
  lu.assertEquals(a:wait(120).exit, 0)
  lu.assertEquals(b:wait(120).exit, 0)
  lu.assertEquals(self:results "other", self:results "s")
  lu.assertEquals(#self:results "s", 6)
  for _, seen in pairs(self:history()) do lu.assertEquals(seen.start, 1) end
  local _, dry = self:sweep("s.lua", "--name", "third", "--dry-run")
  lu.assertStrContains(dry, "6 of 6 trials are known: 6 from other sweeps of the store")
  lu.assertStrContains(dry, "to do: 0")
  local status, said = self:sweep("s.lua", "--name", "third")
  lu.assertEquals(status, 0, said)
  lu.assertStrContains(said, "6 of 6 trials are known: 6 from other sweeps of the store")
  lu.assertEquals(self:results "third", self:results "s")
  for _, seen in pairs(self:history()) do lu.assertEquals(seen.start, 1) end
end

function T:test_the_figure()
  self:describe("", 'figure = function(trials) return { panels = { { series = { { y = { #trials, 2 } } } } } } end')
  lu.skipIf(not os.execute "gnuplot --version >/dev/null 2>&1", "gnuplot is not installed")
  local status, said = self:sweep("s.lua", "--plot", "f.svg")
  lu.assertEquals(status, 0, said)
  lu.assertStrContains(lip.file.read(self.dir .. "/f.svg"), "<svg")
  self:describe("", 'figure = function(trials) error "no picture" end')
  status, said = self:sweep("s.lua", "--plot", "g.svg", "--name", "g")
  lu.assertEquals(status, 1)
  lu.assertStrContains(said, "no picture")
end

-- Lines that stay name trials as lipwb runs show takes them, and the last ones say the words.
function T:test_what_trials_are_called()
  self:describe 'if config.a == 2 then error "no luck" end'
  local _, said = self:sweep("s.lua", "-j", "1")
  lu.assertStrContains(said, "done   1  sum")
  lu.assertStrContains(said, "failed 3  ")
  lu.assertStrMatches(said, ".*\nbest: sum = %S+  trial (%d)[^\n]*\n  lipwb runs show s/%1\n.*")
  lu.assertStrContains(said, "lipwb runs show s/3 tells")
  self:describe 'if config.a == 2 then error "no luck, again" end'
  _, said = self:sweep("s.lua", "-j", "1", "--name", "t", "--store", "runs.db")
  lu.assertStrContains(said, "done   t/1  sum")
  lu.assertStrMatches(said, ".*\n  lipwb runs show t/%d %-%-store runs.db\n.*")
end

function T:test_messages_name_what_is_wrong()
  self:write("e.lua", 'return require "lip".sweep { run = print,\n  grid = { a = {} } }')
  local status, said = self:sweep "e.lua"
  lu.assertEquals({ status, said },
    { 2, "lipwb sweep: e.lua: grid.a: an empty list leaves nothing to try\n" })
  self:describe 'do return { sum = "high" } end'
  status, said = self:sweep "s.lua"
  lu.assertEquals(status, 2)
  lu.assertStrContains(said, "'sum' in the row is a text ('high')")
end

function T:test_a_sweep_is_no_script()
  self:describe()
  local result = assert(self:spawn("said", "s.lua"):wait(60))
  lu.assertEquals(result.exit, 2)
  lu.assertStrContains(lip.file.read(self.dir .. "/said"), "this file describes a sweep: lipwb sweep s.lua")
end

-- Before the first trial, not after the last.
function T:test_figures_that_cannot_be_drawn()
  local function refused(expected, name)
    for _, more in ipairs { "--dry-run", "--fail-fast" } do
      local status, said = self:sweep("s.lua", "--plot", name, more)
      lu.assertEquals(status, 2)
      lu.assertStrContains(said, expected)
    end
    lu.assertFalse(lip.file.exists(self.dir .. "/runs.db"))
  end
  self:describe()
  refused("describes no figure", "h.svg")
  self:describe("", "figure = function() return {} end")
  refused("must end in .png, .svg or .pdf", "h.jpg")
  refused("there is no folder 'nowhere'", "nowhere/h.svg")
  lip.file.mkdir(self.dir .. "/f.svg")
  refused("it is a folder", "f.svg")
end

function T:test_a_failure_costs_one_trial()
  self:describe [[
    if config.b == "x" then
      if config.a == 1 then error "out of luck" end
      if config.a == 2 then os.exit(7) end
      print "last words"
      os.execute("kill -ABRT " .. lip.process.self().pid)
    end
    if config.a == 3 then sum = 0 / 0 end]]
  local status, said = self:sweep("s.lua", "-j", "2", "--retries", "1")
  lu.assertEquals(status, 1, said)
  lu.assertStrContains(said, "2 of 6 done, 4 failed")
  local records = self:records "s"
  local states, attempts = {}, {}
  for i, r in ipairs(records) do states[i], attempts[i] = r.state, r.attempt end
  lu.assertEquals(states, { "failed", "done", "failed", "done", "failed", "failed" })
  -- crashes are tried again, errors and NaN are not
  lu.assertEquals(attempts, { 1, 1, 1, 1, 2, 1 })
  lu.assertStrContains(records[1].message, "out of luck")
  lu.assertStrContains(records[3].message, "os.exit(7)")
  lu.assertEquals(records[5].signal, 6)
  lu.assertStrContains(records[5].message, "ABRT")
  lu.assertStrContains(records[5].message, "last words")
  lu.assertStrContains(said, "again  5")
  -- failed ones stay failed, until they are asked for
  status, said = self:sweep "s.lua"
  lu.assertEquals(status, 1)
  lu.assertNotStrContains(said, "start")
  lu.assertStrContains(said, "trial 1 failed (a=1 b=x)")
  local done = self:history()[records[2].key]
  status, said = self:sweep("s.lua", "--retry", "failed")
  lu.assertEquals(status, 1)
  lu.assertStrContains(said, "start  1")
  lu.assertNotStrContains(said, "start  2")
  lu.assertEquals(self:history()[records[2].key], done)
end

function T:test_a_crash_that_does_not_come_again()
  self:describe([[
    local mark = trial.folder .. "/seen"
    if config.a == 2 and not lip.file.exists(mark) then
      lip.file.write(mark, "")
      os.execute("kill -KILL " .. lip.process.self().pid)
    end]], "retries = 1")
  local status, said = self:sweep "s.lua"
  lu.assertEquals(status, 0, said)
  lu.assertStrContains(said, "KILL, not sent by the sweep: killed by the system for want of memory? (try 2 of 2)")
  for _, r in ipairs(self:records "s") do lu.assertEquals(r.attempt, r.config.a == 2 and 2 or 1) end
  self:describe()
  lu.assertEquals((self:sweep("s.lua", "--store", "calm.db")), 0)
  -- the file is another, and so are keys and seeds; of the rest nothing
  for i, r in ipairs(self:records("s", "calm.db")) do
    local rng = lip.rng(r.seed)
    lu.assertEquals(r.value, rng:uniform() + rng:uniform() + rng:uniform())
    lu.assertEquals(r.config, self:records "s"[i].config)
  end
end

function T:test_fail_fast()
  self:describe [[if config.a == 1 then error "no" end]]
  local status, said = self:sweep("s.lua", "-j", "1", "--fail-fast")
  lu.assertEquals(status, 1)
  lu.assertStrContains(said, "--fail-fast")
  local _, starts = said:gsub("start  ", "")
  lu.assertEquals(starts, 1)
end

-- ---- signals ----

function T:test_stopped_by_others_again_and_again()
  self:describe [[if config.a == 2 then os.execute("kill -TERM " .. lip.process.self().pid) lip.process.sleep(5) end]]
  local status, said = self:sweep("s.lua", "-j", "2")
  lu.assertEquals(status, 1, said)
  for _, r in ipairs(self:records "s") do
    lu.assertEquals(r.state, r.config.a == 2 and "failed" or "done")
    lu.assertEquals(r.attempt, r.config.a == 2 and 5 or 1)
  end
  lu.assertStrContains(said, "stopped 5 times by signals")
end

-- waits until the text appears in a file
function T:await(name, text)
  local path = self.dir .. "/" .. name
  for _ = 1, 600 do
    if (lip.file.read(path) or ""):find(text, 1, true) then return end
    lip.process.sleep(0.05)
  end
  lu.fail(("'%s' never came:\n%s"):format(text, lip.file.read(path) or ""))
end

function T:test_interrupted_once()
  self:describe [[if not lip.file.exists "go" then for _ = 1, 1000 do lip.process.sleep(0.02) end end]]
  for _, name in ipairs { "INT", "TERM", "HUP" } do
    local process = self:spawn("out", "sweep", "s.lua", "-j", "2")
    self:await("out", "start  2")
    process:signal(name)
    lu.assertEquals(process:wait(60).exit, 130, name)
    lu.assertStrContains(lip.file.read(self.dir .. "/out"), name .. ": workers finish")
    for _, r in ipairs(self:records "s") do lu.assertEquals(r.state, "queued") end
  end
  self:write("go", "")
  lu.assertEquals((self:sweep("s.lua", "-j", "2")), 0)
end

function T:test_interrupted_twice()
  -- a worker that does not listen
  self:describe [[lip.process.signals "hold" print "deaf" io.stdout:flush() while true do end]]
  local process = self:spawn("out", "sweep", "s.lua", "-j", "1")
  self:await("out", "start  1")
  self:await("runs.db.d/trials/" .. lip.file.list(self.dir .. "/runs.db.d/trials")[1] .. "/output.txt", "deaf")
  local worker = self:records "s"[1]
  process:signal "INT"
  self:await("out", "INT: workers finish")
  lu.assertTrue(process:alive())
  process:signal "INT"
  lu.assertEquals(process:wait(30).exit, 130)
  lu.assertFalse(lip.process.alive(worker.pid, worker.pid_start))
  lu.assertEquals(self:records "s"[1].state, "queued")
end

function T:test_killed_runner()
  self:describe [[lip.process.sleep(0.2)]]
  lu.assertEquals((self:sweep("s.lua", "--store", "whole.db")), 0)
  local whole = self:results("s", "whole.db")
  local process = self:spawn("out", "sweep", "s.lua", "-j", "2")
  self:await("out", "start  4")
  process:signal "KILL"
  process:wait(10)
  lu.assertEquals((self:sweep("s.lua", "-j", "1")), 0)
  lu.assertEquals(self:results "s", whole)
  for _, seen in pairs(self:history()) do lu.assertEquals(seen.done, 1) end
end

-- In a terminal: drawn anew in place, no line wider than the window, no plain lines.
function T:test_in_a_terminal()
  lu.skipIf(not os.execute "script --version >/dev/null 2>&1", "the program script (util-linux) is not installed")
  self:describe("lip.process.sleep(0.3)")
  self:write("go.sh", ("stty cols 40; exec '%s' sweep s.lua -j 2 --store runs.db"):format(support.program))
  local result = assert(lip.process.run { "script", "-qec", "sh go.sh", "/dev/null", cwd = self.dir })
  lu.assertEquals(result.exit, 0, result.output)
  lu.assertStrContains(result.output, "\27[J")
  lu.assertStrContains(result.output, "[################] 3/3")
  lu.assertStrContains(result.output, "best: sum")
  lu.assertNotStrContains(result.output, "start  ")
  local drawn = result.output:match "^(.*)s: 6 of 6 done"
  for line in drawn:gsub("\27%[%d*[AJ]", ""):gmatch "[^\r\n]+" do lu.assertTrue(#line < 40, line) end
end

-- ---- exit statuses and words ----

function T:test_wrong_usage()
  self:describe()
  for _, words in ipairs { {}, { "--foo" }, { "s.lua", "-j", "0" }, { "s.lua", "--set", "x" }, { "nowhere.lua" },
    { "s.lua", "--retry", "done" }, { "s.lua", "--set", "quick=true" }, { "s.lua", "--name", "a/b" },
    { "s.lua", "--data", "nowhere" } } do
    local status, said = self:sweep(table.unpack(words))
    lu.assertEquals(status, 2, said)
    lu.assertStrContains(said, "lipwb sweep: ")
    lu.assertNotStrContains(said, "traceback")
  end
  for text, words in pairs { ["return 1"] = "not what lip.sweep{...} makes", ["return lip"] = "undeclared|nothing",
    ["x ="] = "unexpected symbol", ["error 'own words'"] = "own words",
    ["return require 'lip'.sweep { script = 'no.lua', grid = { a = 1 } }"] = "no.lua: no such file" } do
    self:write("bad.lua", text)
    local status, said = self:sweep "bad.lua"
    lu.assertEquals(status, 2, said)
    if not words:find "|" then lu.assertStrContains(said, words) end
  end
  lu.assertEquals((self:sweep "--help"), 0)
  lu.assertFalse(lip.file.exists(self.dir .. "/runs.db"))
end

function T:test_a_store_that_cannot_be()
  self:describe()
  self:write("text.db", ("not a database "):rep(100))
  local status, said = self:sweep("s.lua", "--store", "text.db")
  lu.assertEquals(status, 1, said)
  status, said = self:sweep("s.lua", "--store", "/proc/nowhere/runs.db")
  lu.assertEquals(status, 1, said)
  lu.assertNotStrContains(said, "traceback")
end

function T:test_dry_run()
  self:describe()
  local status, said = self:sweep("s.lua", "-j", "2", "--dry-run")
  lu.assertEquals(status, 0)
  lu.assertStrContains(said, "6 trials, 2 at once")
  lu.assertStrContains(said, "first: a=1 b=x\n")
  lu.assertStrContains(said, "last:  a=3 b=y\n")
  lu.assertStrContains(said, "no finished trial")
  lu.assertFalse(lip.file.exists(self.dir .. "/runs.db"))
  lu.assertFalse(lip.file.exists(self.dir .. "/runs.db.d"))
  lu.assertEquals((self:sweep("s.lua", "-j", "2")), 0)
  status, said = self:sweep("s.lua", "-j", "2", "--dry-run", "--name", "more")
  lu.assertEquals(status, 0)
  lu.assertStrContains(said, "6 finished trials of this script")
  status, said = self:sweep("s.lua", "--dry-run")
  lu.assertEquals(status, 0)
  lu.assertStrContains(said, "finished: 6, to do: 0")
end

return T
