-- Searches and schedulers in sweeps as the program runs them: the table of a search by Parzen estimators does not
-- depend on how many trials run at once; schedulers end trials that fall behind.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_sweep"

local tests = { TestSweepSearch = support.fixture {} }
local T = tests.TestSweepSearch

local header = 'local lip = require "lip"\n'

local function count(records, state)
  local n = 0
  for _, r in ipairs(records) do n = n + (r.state == state and 1 or 0) end
  return n
end

-- A parabola whose trials take unequal times and of which some fail.
function T:test_tpe_gives_one_table()
  local text = header .. [[
    return lip.sweep{
      tpe = { x = lip.uniform(-1, 1), k = lip.integer(1, 4), how = { "a", "b" } }, n = %d, ahead = 3, maximise = "y",
      run = function(c)
        lip.process.sleep(0.02 * (c.k %% 3))
        if c.x > 0.9 then error "too far" end
        return { y = -(c.x - 0.3) ^ 2 - (c.k - 2) ^ 2 - (c.how == "a" and 0 or 1) }
      end }]]
  self:write("s.lua", text:format(18))
  local alone, said = self:sweep("s.lua", "-j", "1", "--store", "one.db")
  lu.assertTrue(alone == 0 or alone == 1, said)
  lu.assertEquals(select(1, self:sweep("s.lua", "-j", "3", "--store", "two.db")), alone)
  local results = self:results("s", "one.db")
  lu.assertEquals(#results, 18)
  lu.assertEquals(self:results("s", "two.db"), results)
  -- the search learnt something: the later half is better than the beginning
  local records, first, second = self:records("s", "one.db"), -math.huge, -math.huge
  for i, r in ipairs(records) do
    if r.value and i <= 9 then first = math.max(first, r.value) end
    if r.value and i > 9 then second = math.max(second, r.value) end
  end
  lu.assertTrue(second > first - 1, ("%g after %g"):format(second, first))
end

-- What a trial returned that failed says nothing good about its place.
function T:test_tpe_is_not_drawn_to_failures()
  self:write("s.lua", header .. [[
    return lip.sweep{ tpe = { x = lip.uniform(0, 1) }, n = 30, startup = 10, maximise = "v", run = function(c, t)
      if c.x > 0.5 then
        t.failed "the loss is no number"
        return { v = 1000 + c.x }
      end
      return { v = c.x }
    end }]])
  self:sweep("s.lua", "-j", "2")
  local records = self:records "s"
  lu.assertEquals(#records, 30)
  local failed = 0
  for _, r in ipairs(records) do
    lu.assertEquals(r.value, r.config.x <= 0.5 and r.config.x or nil)
    if r.number > 15 and r.state == "failed" then failed = failed + 1 end
  end
  lu.assertTrue(failed <= 7, failed)
end

-- Every trial rises to its level, worst last: ends are where the rule says.
local function levels(scheduler, n)
  return header .. ([[
    return lip.sweep{
      grid = { level = { %s } }, maximise = "score", scheduler = %s,
      run = function(c, trial)
        for epoch = 1, 9 do
          if not trial.report(epoch, { score = c.level * (1 - 1 / (epoch + 1)) }, 9) then return end
        end
        return { score = c.level }
      end }]]):format(n, scheduler)
end

function T:test_asha_ends_what_falls_behind()
  self:write("s.lua", levels("lip.asha{ min = 1, max = 9, eta = 3 }", "9, 8, 7, 6, 5, 4, 3, 2, 1"))
  local status, said = self:sweep("s.lua", "-j", "1")
  lu.assertEquals(status, 0, said)
  local records = self:records "s"
  -- falling levels: of k that came, the best floor(k / 3), at least one, go on; the first is among them alone
  lu.assertEquals(count(records, "done"), 1)
  lu.assertEquals(count(records, "pruned"), 8)
  lu.assertEquals(records[1].state, "done")
  lu.assertEquals(records[2].step, 1)
end

function T:test_asha_minimises()
  local text = levels("lip.asha{ min = 1, max = 9, eta = 3 }", "1, 2, 3, 4"):gsub("maximise", "minimise")
  self:write("s.lua", text)
  lu.assertEquals((self:sweep("s.lua", "-j", "1")), 0)
  local states = {}
  for i, r in ipairs(self:records "s") do states[i] = r.state end
  lu.assertEquals(states, { "done", "pruned", "pruned", "pruned" })
end

-- Nobody need wonder why nothing ends early.
function T:test_a_scheduler_that_is_shown_nothing()
  local text = levels("lip.asha{ min = 3, max = 9, eta = 3 }", "9, 8, 7")
  local function notes(changed)
    self:write("s.lua", changed)
    local status, said = self:sweep("s.lua", "-j", "1", "--accept")
    lu.assertEquals(status, 0, said)
    return select(2, said:gsub("note: trial %d has ended without reporting 'score' at a step", "")), said
  end
  lu.assertEquals((notes(text)), 0)
  local n, said = notes((text:gsub("for epoch = 1, 9", "for epoch = 1, 2")))
  lu.assertEquals(n, 1)
  lu.assertStrContains(said, "trial 1 has ended without reporting 'score' at a step where the scheduler (asha, "
    .. "first at step 3) looks")
  lu.assertStrContains(said, "3 of 3 done")
end

-- One after the other from an empty store: the same trials end. However many at once: rows of those that go on are
-- the same.
function T:test_what_a_scheduler_leaves_to_the_order()
  for _, scheduler in ipairs { "lip.asha{ min = 1, max = 9, eta = 3 }", "lip.median{ min = 2, trials = 3 }" } do
    self:write("s.lua", levels(scheduler, "5, 1, 4, 9, 2, 6, 3, 8, 7"))
    local name, all = scheduler:match "%a+%.(%a+)", {}
    for i, jobs in ipairs { "1", "1", "3" } do
      lu.assertEquals((self:sweep("s.lua", "-j", jobs, "--store", name .. i .. ".db")), 0)
      all[i] = self:results("s", name .. i .. ".db")
    end
    lu.assertEquals(all[2], all[1])
    for i, line in ipairs(all[3]) do
      local both = line:find('"state":"done"', 1, true) and all[1][i]:find('"state":"done"', 1, true)
      if both then lu.assertEquals(line, all[1][i]) end
    end
    lu.assertTrue(count(self:records("s", name .. "1.db"), "pruned") > 0)
  end
end

-- A figure that nobody reports is a wrong word of the sweep, not the fault of every trial.
function T:test_a_figure_that_is_never_reported()
  local text = levels("lip.asha{ min = 1, max = 9, eta = 3 }", "9, 8, 7, 6, 5, 4")
  self:write("s.lua", (text:gsub('maximise = "score"', 'maximise = "skore"')))
  local status, said = self:sweep("s.lua", "-j", "2")
  lu.assertEquals(status, 2, said)
  lu.assertStrContains(said, "lipwb sweep: trial: the scheduler looks at 'skore', which is not among the figures "
    .. "reported at step 1 (score)")
  lu.assertEquals(count(self:records "s", "queued"), 6)
  -- one trial among others fails alone
  self:write("s.lua", (text:gsub("{ score = ", '{ [c.level == 8 and "other" or "score"] = ')))
  status = self:sweep("s.lua", "-j", "1", "--name", "t")
  lu.assertEquals(status, 1)
  lu.assertEquals(count(self:records "t", "failed"), 1)
  lu.assertEquals(count(self:records "t", "queued"), 0)
end

function T:test_median_ends_the_lower_half()
  self:write("s.lua", levels("lip.median{ min = 2, trials = 3 }", "5, 6, 7, 1, 8, 2"))
  local status, said = self:sweep("s.lua", "-j", "1")
  lu.assertEquals(status, 0, said)
  local states = {}
  for i, r in ipairs(self:records "s") do states[i] = r.state end
  lu.assertEquals(states, { "done", "done", "done", "pruned", "done", "pruned" })
  lu.assertEquals(self:records("s")[4].step, 2)
end

-- Of a short search, too: a quarter of the trials and those ahead are fixed points, the others follow results.
function T:test_results_choose_in_a_short_search()
  local text = header .. [[
    return lip.sweep{ tpe = { x = lip.uniform(0, 1) }, n = %d, %s maximise = "y",
      run = function(c) return { y = %s } end }]]
  local function configs(y, file)
    self:write("s.lua", text:format(12, "", y))
    lu.assertEquals((self:sweep("s.lua", "-j", "2", "--store", file)), 0)
    local list = {}
    for i, r in ipairs(self:records("s", file)) do list[i] = r.config.x end
    return list
  end
  local up, down = configs("c.x", "up.db"), configs("-c.x", "down.db")
  lu.assertEquals(#up, 12)
  lu.assertEquals(table.move(down, 1, 7, 1, {}), table.move(up, 1, 7, 1, {}))
  for i = 8, 12 do lu.assertNotEquals(down[i], up[i]) end
  local function said(n, more)
    self:write("s.lua", text:format(n, more, "c.x"))
    local status, words = self:sweep("s.lua", "--dry-run", "--store", "none.db")
    lu.assertEquals(status, 0, words)
    return words
  end
  lu.assertStrContains(said(12, ""), "1 to 7 are fixed points; 8 to 12 are chosen by the results before")
  lu.assertStrContains(said(60, ""), "1 to 14 are fixed points; 15 to 60 are")
  lu.assertStrContains(said(8, ""), "1 to 7 are fixed points; 8 is chosen")
  lu.assertStrContains(said(6, ""), "1 to 6 are fixed points; all of them")
  lu.assertStrContains(said(6, "startup = 1, ahead = 1,"), "1 to 2 are fixed points; 3 to 6 are")
  self:write("s.lua", text:format(6, "startup = 0,", "c.x"))
  lu.assertEquals((self:sweep "s.lua"), 2)
end

-- A longer search begins with more fixed points: what is common to both stays.
function T:test_a_search_made_longer()
  local text = header .. [[
    return lip.sweep{ tpe = { x = lip.uniform(0, 1) }, n = %d, maximise = "y",
      run = function(c) return { y = c.x } end }]]
  local function store(n, file, ...)
    self:write("s.lua", text:format(n))
    lu.assertEquals((self:sweep("s.lua", "--name", "t", "--store", file, ...)), 0)
    local list = {}
    for i, r in ipairs(self:records("t", file)) do list[i] = { r.config.x, r.value } end
    return list
  end
  store(12, "grown.db")
  lu.assertEquals(store(30, "grown.db", "--accept"), store(30, "new.db"))
end

function T:test_a_finite_space_ends_the_search()
  self:write("s.lua", header .. [[
    return lip.sweep{ tpe = { k = { 1, 2, 3, 4, 5 } }, n = 12, maximise = "y",
      run = function(c) return { y = -(c.k - 3) ^ 2 } end }]])
  local status, said = self:sweep("s.lua", "-j", "2")
  lu.assertEquals(status, 0, said)
  local records, seen = self:records "s", {}
  lu.assertEquals(#records, 5)
  for _, r in ipairs(records) do seen[r.config.k] = true end
  lu.assertEquals(lip.to_json(seen), "[true,true,true,true,true]")
end

return tests
