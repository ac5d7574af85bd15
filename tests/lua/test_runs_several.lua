-- Several sweeps in one store, which share trials: every computation counts once, and runs are called SWEEP/NUMBER.
local lu = require "luaunit"
local lip = require "lip"
local store = require "lip.sweep.store"
local records = require "lip.runs.records"
local support = require "support_runs"

local outside = require "support_program"
local program, quote = outside.program, outside.quote
local T = support.fixture {}

-- Two sweeps over x: 1, 2, 3 and 2, 3, 4; the result is 10 x.
function T:made()
  local s = assert(store.open(self.path, { create = true }))
  for k, name in ipairs { "one", "two" } do
    local id, list = assert(s:add_sweep(name, { maximise = "y" })), {}
    for i = 1, 3 do
      local x = i + k - 1
      list[i] = { number = i, key = ("%016x"):format(x), config = { x = x, kind = "k", seed = 1 }, seed = 1 }
    end
    assert(s:enqueue(id, list))
    for _, trial in ipairs(assert(s:trials { sweep = name })) do
      if not s:ingest(trial) or s:trial(trial.id).state == "queued" then
        support.journal(s, trial, name, { state = "done", aim = "y",
          row = { y = 10 * trial.config.x, clean = 100 - trial.config.x } })
      end
    end
  end
  s:close()
end

function T:lipwb(words)
  local out, err = self.folder .. "/out", self.folder .. "/err"
  local _, _, status = os.execute(("COLUMNS= LIPWB_STORE=%s %s %s >%s 2>%s </dev/null"):format(quote(self.path),
    quote(program), words, quote(out), quote(err)))
  return status, assert(lip.file.read(out)), assert(lip.file.read(err))
end

function T:lines(words)
  local status, out, err = self:lipwb(words)
  lu.assertEquals({ status, err }, { 0, "" }, words)
  local lines = {}
  for line in out:gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines, out
end

function T:test_a_run_of_two_sweeps_counts_once()
  self:made()
  local lines, text = self:lines "runs ls --by kind --columns y"
  lu.assertStrMatches(lines[2], "k +4 +25 ±13")
  lu.assertStrContains(text, "2 sweeps taken together: one, two")
  lu.assertStrContains(text, "6 runs: 6 done (4 computed, the others are the same in another sweep)")
  lines, text = self:lines "runs ls --by sweep --columns y" -- parted: each sweep has all of its own
  lu.assertStrMatches(lines[2], "one +3 +20 ±10")
  lu.assertStrMatches(lines[3], "two +3 +30 ±10")
  lu.assertNil(text:find "taken together")
  lu.assertEquals(#self:lines "runs ls --columns y", 1 + 6 + 2) -- a list shows what each sweep has
  lines, text = self:lines "runs best -n 10"
  lu.assertStrContains(text, "largest y of 4")
  lu.assertStrMatches(lines[3], ".* 3 +30 .*")
  lu.assertStrMatches(lines[4], ".* 2 +20 .*")
  lu.assertStrContains(select(2, self:lines "runs pareto y clean"), "4 of 4 runs")
end

function T:test_exports_and_report()
  self:made()
  local lines = self:lines "runs export csv"
  lu.assertEquals(#lines, 5)
  lu.assertStrMatches(lines[1], ".*,also\r")
  lu.assertStrMatches(lines[3], ".*,two/1\r")
  lines = self:lines "runs export jsonl"
  lu.assertEquals(#lines, 4)
  lu.assertEquals(lip.from_json(lines[3]).also, { "two/2" })
  local page = self.folder .. "/report.html"
  self:lines("report -o " .. quote(page))
  local text = assert(lip.file.read(page))
  for _, words in ipairs { "<li><b>4</b><span>runs</span></li>", "<b>40.9 s</b><span>computed in all</span>",
    "2 runs are part of several sweeps and count once" } do -- 10.1 + 10.2 + 10.3 and 10.3
    lu.assertTrue(text:find(words, 1, true) ~= nil, words)
  end
end

function T:test_runs_are_called_by_sweep_and_number()
  self:made()
  local lines, text = self:lines "runs ls --sort -run"
  lu.assertStrMatches(lines[1], "run +.*")
  lu.assertStrMatches(lines[2], "two/3 .*")
  lu.assertStrMatches(lines[3], "two/2 .*")
  lu.assertStrContains(text, "one/1 ")
  lu.assertStrContains(self:lines "runs show two/3"[1], "two/3")
  lu.assertStrContains(select(2, self:lines "runs best -n 1"), "lipwb runs show two/3 tells")
  lu.assertEquals(self:lines [[runs ls --sweep two --where 'run = "two/2"' --columns run,x]], { "run    x", "two/2  3",
    "1 run: 1 done" })
end

function T:test_exports_of_steps_and_into_files()
  self:made()
  local lines = self:lines "runs export csv --metrics"
  lu.assertEquals(#lines, 1 + 4 * 3 * 2) -- runs, steps, names
  lu.assertEquals({ lines[1], lines[2] }, { "run,step,name,value\r", "one/1,1,accuracy,0.5\r" })
  for _, format in ipairs { "csv", "jsonl", "csv --metrics" } do
    local file = self.folder .. "/all"
    local status, out, err = self:lipwb(("runs export %s %s"):format(format, quote(file)))
    lu.assertEquals({ status, out, err }, { 0, "", file .. ": 4 runs\n" }, format)
  end
end

-- Whole numbers are shown whole, words of a command as a shell takes them, and messages as far as there is room.
function T:test_nothing_is_shortened_that_need_not_be()
  local s = assert(store.open(self.path, { create = true }))
  local id = assert(s:add_sweep("only", { maximise = "y" }))
  local message = "ended by signal SEGV in the second epoch, the output tells"
  for i = 1, 2 do
    assert(s:enqueue(id, { { number = i, key = ("%016x"):format(i), config = { seed = 370380000 + i }, seed = 1 } }))
  end
  local argv = support.provenance.argv
  for i, trial in ipairs(s:trials {}) do
    support.provenance.argv = { "lipwb", "sweep", "a very long name of a folder/sweep.lua", "--set", "x=" .. i, "it's" }
    support.journal(s, trial, "only", { state = "failed", exit = 1, message = message })
  end
  support.provenance.argv = argv
  s:close()
  local _, text = self:lines "runs ls"
  lu.assertStrContains(text, "370380001")
  lu.assertStrContains(text, message:sub(1, 40))
  _, text = self:lines "runs show 1"
  lu.assertStrContains(text, "370380001")
  _, text = self:lines "runs show 1 --wide"
  lu.assertStrContains(text, [[lipwb sweep 'a very long name of a folder/sweep.lua' --set x=1 'it'\''s']])
  _, text = self:lines "runs diff 1 2"
  lu.assertStrMatches(text, ".*argv +%.%.%.x=1 'it.*%.%.%.x=2 'it.*")
end

-- Numbers of the only sweep are what tables show, whatever the ids are.
function T:test_the_only_sweep_goes_by_numbers()
  local s = assert(store.open(self.path, { create = true }))
  local id = assert(s:add_sweep("only", { maximise = "y" }))
  assert(s:enqueue(id, { { number = 12, key = ("a"):rep(16), config = { x = 1 }, seed = 1 },
    { number = 11, key = ("b"):rep(16), config = { x = 2 }, seed = 1 },
    { number = 2, key = ("c"):rep(16), config = { x = 3 }, seed = 1 } }))
  local trials = s:trials {}
  s:close()
  local lines = self:lines "runs ls --columns run,x,id"
  local seen = 0
  for _, trial in ipairs(trials) do
    seen = seen + (trial.id ~= trial.number and 1 or 0)
    lu.assertStrContains(self:lines("runs show " .. trial.number)[1], "only/" .. trial.number)
    lu.assertStrContains(self:lines(("runs show '#%d'"):format(trial.id))[1], "only/" .. trial.number)
  end
  lu.assertTrue(seen > 0)
  lu.assertStrMatches(lines[2], " *2 +3 .*")
end

function T:test_a_sweep_that_is_not_there()
  self:made()
  for _, words in ipairs { "runs ls --sweep on", "runs best --sweep on", "runs export csv --sweep on",
    "runs plot --sweep on", "report --sweep on -o " .. quote(self.folder .. "/r.html") } do
    local status, out, err = self:lipwb(words)
    lu.assertEquals({ status, out }, { 2, "" }, words)
    lu.assertStrContains(err, "there is no sweep 'on' (did you mean 'one'?) (there is one, two)")
  end
  lu.assertFalse(lip.file.exists(self.folder .. "/r.html"))
end

-- What is drawn is said, and weighs what the sweep aims at.
function T:test_plot_says_what_it_draws()
  lu.skipIf(not os.execute "command -v gnuplot >/dev/null 2>&1", "gnuplot is not installed")
  self:made()
  local file = self.folder .. "/f.svg"
  lu.assertEquals(self:lines("runs plot -o " .. quote(file)), { ("figure: %s (pareto)"):format(file) })
  local svg = assert(lip.file.read(file))
  lu.assertTrue(svg:find("clean and y", 1, true) ~= nil)
  lu.assertEquals(self:lines("runs plot --x x -o " .. quote(file)), { ("figure: %s (budget)"):format(file) })
  local lines = self:lines "runs plot"
  lu.assertStrContains(lines[#lines], "drawn: pareto")
end

function T.test_distinct_takes_the_one_that_is_done()
  local function r(key, state, sweep) return { key = key, state = state, sweep = sweep, number = 1 } end
  local list, shared = records.distinct { r("a", "pruned", "s"), r("b", "done", "s"), r("a", "done", "t"),
    r("a", "done", "u"), { state = "done" }, { state = "done" } }
  lu.assertEquals({ #list, shared }, { 4, 1 })
  lu.assertEquals({ list[1].sweep, list[1].also }, { "t", { "s/1", "u/1" } })
end

function T:test_time_goes_by_both_names()
  self:made()
  for _, words in ipairs { "--columns number,time", "--columns number,seconds" } do
    local lines = self:lines("runs ls --sweep one --sort -time " .. words)
    lu.assertEquals({ lines[1], lines[2] }, { "number    time", "     3  10.3 s" }, words)
  end
  lu.assertEquals(#self:lines "runs ls --sweep one --where 'time > 10.15' --columns number", 3 + 2)
  lu.assertStrContains(self:lines "runs ls --by x --columns time"[1], "time")
end

return T
