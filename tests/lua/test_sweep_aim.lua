-- What a sweep maximises or minimises is a name that people may misspell: found out by the first trial, not by all.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_sweep"

local T = support.fixture {}

-- Six trials; `aim` is the sweep's, `odd` goes before the row.
function T:describe(aim, odd, more)
  self:write("t.lua", ([[
    local lip = require "lip"
    local a = lip.args { x = 1 }
    %s
    return { clean = a.x / 8, loss = -a.x, certified = { [0.1] = 0.5 }, note = "text", top = math.huge }]]):format(
    odd or ""))
  self:write("s.lua", ([[
    local lip = require "lip"
    return lip.sweep { script = "t.lua", grid = { x = { 1, 2, 3, 4, 5, 6 } }, %s%s }]]):format(aim, more or ""))
end

function T:states()
  local states = {}
  for i, r in ipairs(self:records "s") do states[i] = r.state:sub(1, 1) end
  return table.concat(states)
end

function T:starts()
  local n = 0
  for _, seen in pairs(self:history()) do n = n + seen.start end
  return n
end

function T:test_the_first_trial_ends_it()
  for aim, words in pairs {
    ['maximise = "claen"'] = "trial 1: the row has no figure 'claen': the sweep looks at it (did you mean 'clean'? "
      .. "its figures: clean, loss, top)",
    ['minimise = "error rate"'] = "trial 1: the row has no figure 'error rate': the sweep looks at it "
      .. "(its figures: clean, loss, top)",
    ['maximise = "certified"'] = "trial 1: 'certified' in the row is a table: the sweep looks at it as a number "
      .. "(its figures",
    ['minimise = "note"'] = "trial 1: 'note' in the row is a text ('text'): the sweep looks at it as a number",
  } do
    self:describe(aim)
    local status, said = self:sweep("s.lua", "-j", "1")
    lu.assertEquals(status, 2, said)
    lu.assertStrContains(said, "lipwb sweep: " .. words)
    lu.assertStrContains(said, "its row is kept: --accept takes it")
    lu.assertEquals(self:states(), "fqqqqq")
    lu.assertEquals(self:records "s"[1].row.loss, -1)
    lu.assertEquals(self:starts(), 1)
    -- the same again costs one more, no harm is done by asking
    lu.assertEquals((self:sweep("s.lua", "-j", "1")), 2)
    lu.assertEquals(self:states(), "ffqqqq")
    -- with the right name these two are done: nothing is run twice
    self:describe 'maximise = "clean"'
    lu.assertEquals((self:sweep("s.lua", "-j", "1")), 2) -- another description
    status, said = self:sweep("s.lua", "-j", "1", "--accept")
    lu.assertEquals(status, 0, said)
    lu.assertEquals(self:states(), "dddddd")
    lu.assertEquals(self:starts(), 6)
    for i, r in ipairs(self:records "s") do
      lu.assertEquals({ r.value, r.row.clean, r.exit, r.message or "none" }, { i / 8, i / 8, 0, "none" })
    end
    local results = self:results "s"
    assert(require "lip.sweep.rebuild".store(self.dir .. "/runs.db")):close()
    lu.assertEquals(self:results "s", results)
    for _, name in ipairs { "runs.db", "runs.db-wal", "runs.db-shm" } do os.remove(self.dir .. "/" .. name) end
    lip.file.remove_tree(self.dir .. "/runs.db.d")
  end
end

function T:test_infinity_is_a_figure()
  self:describe 'maximise = "tops"'
  lu.assertEquals((self:sweep("s.lua", "-j", "1")), 2)
  self:describe 'maximise = "top"'
  local status, said = self:sweep("s.lua", "-j", "1", "--accept")
  lu.assertEquals(status, 0, said)
  for _, r in ipairs(self:records "s") do lu.assertEquals(r.value, math.huge) end
end

function T:test_no_row_at_all()
  self:describe('maximise = "clean"', "if a.x > 0 then return end")
  local status, said = self:sweep("s.lua", "-j", "1")
  lu.assertEquals(status, 2, said)
  lu.assertStrContains(said, "trial 1: the script returned no row, and so no figure 'clean'")
  lu.assertNotStrContains(said, "row is kept")
end

-- One among others that has none is that trial's failure.
function T:test_a_figure_that_others_have()
  self:describe('maximise = "clean"', "if a.x == 2 or a.x == 5 then return { loss = 1 } end")
  local status, said = self:sweep("s.lua", "-j", "1")
  lu.assertEquals(status, 1, said)
  lu.assertEquals(self:states(), "dfddfd")
  -- also when it is the first that comes to its end: the same again goes on
  self:describe('maximise = "clean"', "if a.x == 1 then return { loss = 1 } end")
  lu.assertEquals((self:sweep("s.lua", "-j", "1", "--name", "t", "--store", "t.db")), 2)
  lu.assertEquals((self:sweep("s.lua", "-j", "1", "--name", "t", "--store", "t.db")), 1)
  lu.assertEquals(self:records("t", "t.db")[1].state, "failed")
  lu.assertEquals(self:records("t", "t.db")[6].state, "done")
end

-- Those that run beside it stop with their checkpoints and wait.
function T:test_others_under_way()
  self:describe('maximise = "claen"', [[
    if a.x == 2 and not lip.file.exists(lip.trial.folder .. "/seen") then
      lip.file.write(lip.trial.folder .. "/seen", "")
      for _ = 1, 1000 do lip.process.sleep(0.02) end
    end
    if a.x == 1 then
      for _ = 1, 1000 do
        if #lip.file.list(lip.trial.folder .. "/..") > 1 then break end
        lip.process.sleep(0.02)
      end
      lip.process.sleep(0.3)
    end]])
  local status, said = self:sweep("s.lua", "-j", "2")
  lu.assertEquals(status, 2, said)
  lu.assertEquals(self:states(), "fqqqqq")
  lu.assertEquals(self:starts(), 2)
end

-- A scheduler sees its figure, and the row has none of that name.
function T:test_of_a_scheduler()
  self:describe('maximise = "score"', [[
    for step = 1, 3 do lip.trial.report(step, { score = a.x }) end]], ", scheduler = lip.asha { max = 9 }")
  local status, said = self:sweep("s.lua", "-j", "1")
  lu.assertEquals(status, 2, said)
  lu.assertStrContains(said, "the row has no figure 'score': the sweep looks at it")
  lu.assertEquals(self:states(), "fqqqqq")
end

return T
