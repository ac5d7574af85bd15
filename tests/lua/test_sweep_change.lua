-- Sweeps of scripts: settings, changed descriptions, searches that follow results, schedulers.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_sweep"

local T = support.fixture {}

local SCRIPT = [[
local lip = require "lip"
local args = lip.args { budget = 1.5, norm = { "2", "which", choices = { "1", "2", "inf" } }, widths = { 8 }, seed = 1,
  epochs = 2, quick = false }
local sum = 0
for _, w in ipairs(args.widths) do sum = sum + w end
return { clean = args.budget * sum, norm = args.norm, seed = args.seed, quick = args.quick, epochs = args.epochs }
]]

local SWEEP = [[
return require "lip".sweep { script = "train.lua", maximise = "clean", %s
  grid = { budget = %s, norm = { 1, "inf" }, widths = { { 2, 3 } } } }
]]

function T:describe(budgets, more, script)
  self:write("train.lua", script or SCRIPT)
  self:write("s.lua", SWEEP:format(more or "", budgets or "{1, 2.5}"))
end

function T:test_settings_reach_the_script()
  self:describe(nil, "set = { quick = true },")
  local status, said = self:sweep("s.lua", "--set", "epochs=7")
  lu.assertEquals(status, 0, said)
  local records = self:records "s"
  lu.assertEquals(#records, 4)
  for _, r in ipairs(records) do
    lu.assertEquals(r.config, { budget = r.config.budget, norm = r.config.norm, widths = { 2, 3 }, quick = true,
      epochs = 7 })
    local row = { clean = 5 * r.config.budget, norm = tostring(r.config.norm), seed = r.seed, quick = true, epochs = 7 }
    for name, v in pairs(row) do lu.assertEquals(r.row[name], v, name) end
    lu.assertEquals(r.value, r.row.clean)
  end
  lu.assertEquals(records[2].config.norm, "inf")
  lu.assertStrContains(said, "best: clean = 12.5  trial 3")
end

function T:test_a_seed_in_the_grid()
  self:describe()
  self:write("s.lua", 'return require "lip".sweep { script = "train.lua", grid = { seed = { 5, 6 } } }')
  lu.assertEquals((self:sweep "s.lua"), 0)
  for i, r in ipairs(self:records "s") do
    lu.assertEquals(r.seed, 4 + i)
    lu.assertEquals(r.row.seed, 4 + i)
  end
end

function T:test_settings_that_are_refused()
  self:describe()
  local status, said = self:sweep("s.lua", "--set", "budget=3")
  lu.assertEquals(status, 2)
  lu.assertStrContains(said, "setting 'budget' is fixed, and the sweep varies it")
  self:describe("{1}", "set = { bugdet = 3 },")
  status, said = self:sweep "s.lua"
  lu.assertEquals(status, 2)
  lu.assertStrContains(said, "did you mean 'budget'")
  self:write("s.lua", 'return require "lip".sweep { script = "train.lua", list = { {seed = 1}, {seed = 1.0} } }')
  status, said = self:sweep "s.lua"
  lu.assertEquals(status, 2)
  lu.assertStrContains(said, "trials 1 and 2 are the same")
end

-- Before anything is started or stored; the script is asked, which knows best.
function T:test_values_that_the_script_refuses()
  self:describe()
  for given, expected in pairs {
    ["grid = { budgt = { 1, 2 } }"] = "train.lua: this script has no setting 'budgt', did you mean 'budget'?",
    ["grid = { norm = { 2, 3 } }"] = "setting 'norm': expected one of 1, 2, inf, got '3'",
    ['list = { { epochs = 1 }, { epochs = "many" } }'] = "epochs: expected a number, got 'many'",
    ["random = { norm = { 1, 7 } }, n = 2"] = "got '7'",
    ["sobol = { bugdet = lip.uniform(0, 1) }, n = 2"] = "did you mean 'budget'",
  } do
    self:write("s.lua", ('local lip = require "lip" return lip.sweep { script = "train.lua", %s }'):format(given))
    for _, word in ipairs { "--dry-run", "--retries=0" } do
      local status, said = self:sweep("s.lua", word)
      lu.assertEquals(status, 2, said)
      lu.assertStrContains(said, expected)
    end
    lu.assertFalse(lip.file.exists(self.dir .. "/runs.db"))
  end
end

-- Nothing is known about scripts without lip.args, or that are slow to come to it.
function T:test_scripts_that_cannot_be_asked()
  local settings, plan = require "lip.sweep.settings", require "lip.sweep.plan"
  self:write("s.lua", 'return require "lip".sweep { script = "train.lua", grid = { x = { 1, 2 } } }')
  local function refusal(script)
    self:write("train.lua", script)
    return settings.refusal(plan.load(self.dir .. "/s.lua"))
  end
  lu.assertStrContains(refusal 'require "lip".args{ y = 1 }', "no setting 'x'")
  lu.assertNil(refusal 'require "lip".args{ x = 1 } error "later"')
  lu.assertNil(refusal 'error "at once" require "lip".args{ y = 1 }')
  lu.assertNil(refusal(('io.open(%q, "w"):close()'):format(self.dir .. "/touched")))
  lu.assertFalse(lip.file.exists(self.dir .. "/touched"))
  local patience = settings.patience
  settings.patience = 0.3
  lu.assertNil(refusal 'while true do end require "lip".args{ y = 1 }')
  settings.patience = patience
end

-- the file has settings of its own: they are for it, and it decides what to hand on
function T:test_settings_of_the_sweep_file()
  self:describe()
  self:write("own.lua", [[
    local lip = require "lip"
    local args = lip.args { quick = false }
    return lip.sweep { script = "train.lua", grid = { budget = args.quick and { 1 } or { 1, 2, 3 } },
      set = { quick = args.quick } }]])
  lu.assertEquals((self:sweep("own.lua", "--set", "quick=true")), 0)
  local records = self:records "own"
  lu.assertEquals(#records, 1)
  lu.assertTrue(records[1].row.quick)
  local status, said = self:sweep("own.lua", "--set", "qick=true")
  lu.assertEquals(status, 2)
  lu.assertStrContains(said, "did you mean 'quick'")
  -- and of a function
  self:write("fun.lua", [[
    local lip = require "lip"
    local args = lip.args { factor = 2 }
    return lip.sweep { run = function(config) return { y = args.factor * config.x } end, grid = { x = { 1, 2 } } }]])
  lu.assertEquals((self:sweep("fun.lua", "--set", "factor=5")), 0)
  lu.assertEquals(self:records "fun"[2].row.y, 10)
  local keys = self:results "fun"
  lu.assertEquals((self:sweep("fun.lua", "--name", "plain")), 0)
  lu.assertEquals(self:records "plain"[2].row.y, 4)
  lu.assertNotEquals(self:records "plain"[1].key, self:records "fun"[1].key)
  lu.assertEquals(self:results "fun", keys)
end

function T:test_a_changed_sweep_is_refused()
  self:describe()
  lu.assertEquals((self:sweep "s.lua"), 0)
  local before = self:results "s"
  self:describe "{0.5, 1, 2.5}"
  local status, said = self:sweep "s.lua"
  lu.assertEquals(status, 2)
  lu.assertStrContains(said, "search.space.budget: [1,2.5] -> [0.5,1,2.5]")
  lu.assertStrContains(said, "--accept")
  lu.assertEquals(self:results "s", before)
  status, said = self:sweep("s.lua", "--dry-run")
  lu.assertEquals(status, 0)
  lu.assertStrContains(said, "without --accept this is refused")
  lu.assertStrContains(said, "finished: 4, to do: 2")
  local history = self:history()
  status, said = self:sweep("s.lua", "--accept")
  lu.assertEquals(status, 0, said)
  local records = self:records "s"
  lu.assertEquals(#records, 6)
  for i, r in ipairs(records) do
    lu.assertEquals(r.number, i)
    lu.assertEquals(r.config.budget, ({ 0.5, 1, 2.5 })[(i + 1) // 2])
    lu.assertEquals(r.state, "done")
  end
  for key, seen in pairs(history) do lu.assertEquals(self:history()[key], seen) end -- not run again
  -- the same table as if it had been so from the beginning, and after rebuilding
  lu.assertEquals((self:sweep("s.lua", "--store", "new.db")), 0)
  lu.assertEquals(self:results("s", "new.db"), self:results "s")
  -- fewer: two trials leave
  self:describe "{2.5, 0.5}"
  status, said = self:sweep("s.lua", "--accept")
  lu.assertEquals(status, 0)
  lu.assertStrContains(said, "2 trials left the sweep; the old text with --accept brings them back")
  local fewer = self:results "s"
  lu.assertEquals(#fewer, 4)
  lu.assertEquals(self:records "s"[1].config.budget, 2.5)
  assert(require "lip.sweep.rebuild".store(self.dir .. "/runs.db")):close()
  lu.assertEquals(self:results "s", fewer)
  -- and come back with their results
  self:describe "{0.5, 1, 2.5}"
  history = self:history()
  lu.assertEquals((self:sweep("s.lua", "--accept")), 0)
  lu.assertEquals(self:results "s", self:results("s", "new.db"))
  lu.assertEquals(self:history(), history)
end

function T:test_another_figure_to_look_at()
  local function describe(aim)
    self:write("s.lua", ('return require "lip".sweep { script = "f.lua", grid = { x = { 1, 2, 3 } }, %s }'):format(aim))
  end
  self:write("f.lua", 'local a = require "lip".args { x = 1 } return { up = a.x, down = -a.x * a.x }')
  describe 'maximise = "up"'
  lu.assertEquals((self:sweep "s.lua"), 0)
  describe 'maximise = "sideways"'
  local ended, told = self:sweep("s.lua", "--accept")
  lu.assertEquals(ended, 0)
  lu.assertStrContains(told, "note: the rows of 3 done trials have no figure 'sideways'")
  lu.assertNotStrContains(told, "best")
  local bests = { ['maximise = "down"'] = "down = -1  trial 1", ['minimise = "down"'] = "down = -9  trial 3" }
  for aim, best in pairs(bests) do
    describe(aim)
    local status, said = self:sweep("s.lua", "--accept")
    lu.assertEquals(status, 0)
    lu.assertStrContains(said, best)
    lu.assertNotStrContains(said, "start")
    local results = self:results "s"
    assert(require "lip.sweep.rebuild".store(self.dir .. "/runs.db")):close()
    lu.assertEquals(self:results "s", results)
    for _, r in ipairs(self:records "s") do lu.assertEquals(r.value, r.row.down) end
  end
end

function T:test_a_changed_script_is_shown()
  self:describe()
  lu.assertEquals((self:sweep "s.lua"), 0)
  self:describe(nil, nil, (SCRIPT:gsub("args.budget %* sum", "args.budget + sum")))
  local status, said = self:sweep "s.lua"
  lu.assertEquals(status, 2)
  lu.assertStrContains(said, "script_sha256")
  lu.assertStrContains(said, "-return { clean = args.budget * sum")
  lu.assertStrContains(said, "+return { clean = args.budget + sum")
  lu.assertEquals((self:sweep("s.lua", "--accept")), 0)
  lu.assertEquals(self:records "s"[1].row.clean, 6)
  lu.assertEquals(#self:records "s", 4)
end

-- The stored text runs, not what stands in the file by the time a worker starts.
function T:test_a_script_changed_on_the_way()
  self:describe()
  self:write("train.lua", "local f = io.open('train.lua', 'w') f:write 'return { clean = -1 }' f:close()\n" .. SCRIPT)
  lu.assertEquals((self:sweep("s.lua", "-j", "1")), 0)
  for _, r in ipairs(self:records "s") do lu.assertEquals(r.row.clean, 5 * r.config.budget) end
end

-- ---- searches ----

local SEARCH = [[
local lip = require "lip"
return lip.sweep { run = function(c) %s return { y = (c.x - 0.3) ^ 2 + (c.kind == "a" and 0 or 1) } end, minimise = "y",
  %s = { x = lip.uniform(0, 1), kind = { "a", "b" } }, n = %d }
]]

function T:test_samples()
  for _, kind in ipairs { "random", "sobol" } do
    self:write("s.lua", SEARCH:format("", kind, 8))
    lu.assertEquals((self:sweep("s.lua", "-j", "2", "--name", kind)), 0)
    local least, best = math.huge, nil
    for _, r in ipairs(self:records(kind)) do
      lu.assertAlmostEquals(r.row.y, (r.config.x - 0.3) ^ 2 + (r.config.kind == "a" and 0 or 1), 1e-12)
      if r.row.y < least then least, best = r.row.y, r.number end
    end
    local _, said = self:sweep("s.lua", "--name", kind)
    lu.assertStrContains(said, ("trial %d "):format(best))
  end
end

function T:test_tpe_does_not_depend_on_jobs()
  local pause = 'require "lip".process.sleep(c.x * 0.1)'
  self:write("s.lua", SEARCH:format(pause, "tpe", 24))
  local status, said = self:sweep("s.lua", "-j", "1", "--store", "one.db")
  lu.assertEquals(status, 0, said)
  local one = self:results("s", "one.db")
  lu.assertEquals(#one, 24)
  lu.assertEquals((self:sweep("s.lua", "-j", "4", "--store", "four.db")), 0)
  lu.assertEquals(self:results("s", "four.db"), one)
  -- killed on the way, and by two runners
  local process = self:spawn("out", "sweep", "s.lua", "-j", "3")
  lip.process.sleep(0.7)
  process:signal "KILL"
  process:wait(10)
  local a, b = self:spawn("a", "sweep", "s.lua", "-j", "2"), self:spawn("b", "sweep", "s.lua", "-j", "2")
  lu.assertEquals(a:wait(120).exit, 0)
  lu.assertEquals(b:wait(120).exit, 0)
  lu.assertEquals(self:results "s", one)
end

function T:test_a_longer_tpe_goes_on()
  self:write("t.lua", [[
    local lip = require "lip"
    local args = lip.args { n = 6 }
    return lip.sweep { script = "f.lua", tpe = { x = lip.uniform(0, 1) }, n = args.n, maximise = "y" }]])
  self:write("f.lua", 'local a = require "lip".args { x = 0.5 } return { y = a.x }')
  lu.assertEquals((self:sweep("t.lua", "--set", "n=6")), 0)
  local short = self:results "t"
  lu.assertEquals((self:sweep("t.lua", "--set", "n=9")), 2)
  local _, said = self:sweep("t.lua", "--set", "n=9", "--dry-run")
  lu.assertStrContains(said, "finished: 6, to do: 3")
  lu.assertEquals((self:sweep("t.lua", "--set", "n=9", "--accept")), 0)
  local long = self:results "t"
  lu.assertEquals(#long, 9)
  lu.assertEquals(table.move(long, 1, 6, 1, {}), short)
end

-- ---- schedulers ----

function T:test_trials_that_fall_behind_end_early()
  self:write("s.lua", [[
    local lip = require "lip"
    return lip.sweep { grid = { a = { 9, 1, 8, 2, 7, 3 } }, maximise = "score",
      scheduler = lip.asha { min = 1, max = 9, eta = 3 },
      run = function(config, trial)
        for step = 1, 9 do
          if not trial.report(step, { score = config.a * step }, 9) then return { score = config.a * step } end
        end
        return { score = config.a * 9 }
      end }]])
  local status, said = self:sweep("s.lua", "-j", "1")
  lu.assertEquals(status, 0, said)
  local states = {}
  for i, r in ipairs(self:records "s") do states[i] = r.state end
  lu.assertEquals(states, { "done", "pruned", "pruned", "pruned", "pruned", "pruned" })
  lu.assertStrContains(said, "1 of 6 done, 5 pruned")
end

-- Figures of every step, one to be raised and one to be lowered; both favour other trials.
local RULED = [[
  local lip = require "lip"
  return lip.sweep { script = "f.lua", grid = { a = { 9, 1, 8, 2, 7, 3 } }, %s }]]
local FIGURES = [[
  local lip = require "lip"
  local args = lip.args { a = 1 }
  for step = 1, 9 do
    if not lip.trial.report(step, { up = args.a * step, down = args.a * step }, 9) then return end
  end
  return { up = args.a * 9, down = args.a * 9 }]]

-- States of all trials in order, and their scores, which are the same in the database, rebuilt, and in the journals.
function T:ruled(rule, ...)
  self:write("f.lua", FIGURES)
  self:write("s.lua", RULED:format(rule))
  local status, said = self:sweep("s.lua", "-j", "1", ...)
  lu.assertEquals(status, 0, said)
  local store = require "lip.sweep.store"
  local function scores()
    local s <close> = assert(store.open(self.dir .. "/runs.db"))
    return assert(s.db:rows "SELECT t.number, rung, r.value FROM rungs r JOIN trials t ON t.id = trial ORDER BY 2, 3")
  end
  local list, results, states = scores(), self:results "s", {}
  assert(require "lip.sweep.rebuild".store(self.dir .. "/runs.db")):close()
  lu.assertEquals(scores(), list)
  lu.assertEquals(self:results "s", results)
  local s <close> = assert(store.open(self.dir .. "/runs.db"))
  local folder, now = s:folder(s:trials({})[1]), require "lip.sweep.rule"(s:describe "s")
  local by_rung = {}
  for _, r in ipairs(list) do
    by_rung[r.rung] = by_rung[r.rung] or {}
    table.insert(by_rung[r.rung], r.value)
  end
  for rung = 0, 3 do
    local seen = require "lip.sweep.rungs".scores(folder, "s", rung, now)
    table.sort(seen)
    lu.assertEquals(seen, by_rung[rung] or {}, rung)
  end
  for i, r in ipairs(s:trials {}) do states[i] = r.state:sub(1, 1) .. (r.step or 0) end
  return table.concat(states, " "), by_rung, s:trials {}
end

function T:test_schedulers_after_another_aim()
  local asha = "scheduler = lip.asha { min = 1, max = 9, eta = 3 },"
  local states, scores = self:ruled('maximise = "up", ' .. asha)
  lu.assertEquals(states, "d9 p1 p1 p1 p1 p1")
  lu.assertEquals(scores[0], { 1, 2, 3, 7, 8, 9 })
  -- the first keeps its result; of the others, tried again, all scores at the first rung are known
  local records
  states, scores, records = self:ruled('minimise = "down", ' .. asha, "--accept")
  lu.assertEquals(states, "d9 d9 p1 p3 p1 p1")
  lu.assertEquals(scores[0], { -9, -8, -7, -3, -2, -1 })
  lu.assertEquals(scores[1], { -27, -6, -3 })
  lu.assertEquals({ records[1].value, records[2].value, records[4].value }, { 81, 9, 6 })
  lu.assertEquals({ records[1].attempt, records[2].attempt }, { 1, 2 })
  -- rungs elsewhere
  states, scores = self:ruled('minimise = "down", scheduler = lip.asha { min = 2, max = 9, eta = 3 },', "--accept")
  lu.assertEquals(states, "d9 d9 p2 p2 p2 p2")
  lu.assertEquals(scores, { [0] = { -18, -16, -14, -6, -4, -2 }, { -54, -6 } })
  -- there and back again, and without a scheduler everybody may end
  lu.assertEquals((self:ruled('maximise = "up", ' .. asha, "--accept")), "d9 d9 p3 p1 p1 p1")
  states, scores = self:ruled('maximise = "up",', "--accept")
  lu.assertEquals(states, "d9 d9 d9 d9 d9 d9")
  lu.assertEquals(scores, {})
end

-- A scheduler that comes later knows what was reported before it.
function T:test_a_scheduler_that_comes_later()
  self:ruled('maximise = "up",')
  local _, scores = self:ruled('maximise = "up", scheduler = lip.median { min = 8 },', "--accept")
  lu.assertEquals(scores, { [0] = { 4.5, 9, 13.5, 31.5, 36, 40.5 }, { 5, 10, 15, 35, 40, 45 } })
end

function T:test_no_other_aim_while_a_trial_runs()
  self:ruled('maximise = "up",')
  local s = assert(require "lip.sweep.store".open(self.dir .. "/runs.db"))
  local own = lip.process.self()
  s:requeue(s:trials({})[3])
  lu.assertEquals(s:claim(1, own).number, 3)
  self:write("s.lua", RULED:format 'minimise = "down",')
  local status, said = self:sweep("s.lua", "--accept")
  lu.assertEquals(status, 1)
  lu.assertStrContains(said, "trial 3 is running")
  lu.assertEquals(s:describe("s").maximise, "up")
  s:close()
end

return T
