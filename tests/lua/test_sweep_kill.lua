-- A sweep whose runners (two at a time) and workers are killed with SIGKILL at random moments, again and again, ends
-- like one that was left alone: the same rows, measurements and checkpoints, every trial done once. LIPWB_KILLS: how
-- many kills (50; 10 where programs are slow).
local lu = require "luaunit"
local lip = require "lip"
local stores = require "lip.sweep.store"
local journal = require "lip.sweep.journal"
local support = require "support_store"

local program = require "support_program".program
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local TRIALS = 12

local T = {}

function T:setUp()
  self.dir, self.runners = assert(lip.file.temporary()), {}
  self.host = lip.process.self().host
end

function T:tearDown()
  while #self.runners > 0 do self:kill_runner() end
  assert(lip.file.remove_tree(self.dir))
end

function T:path(name)
  return self.dir .. "/" .. name
end

function T:start(name)
  self.runners[#self.runners + 1] = assert(lip.process.spawn { program, "sweep", here .. "/sweep_kill.lua", "-j", "2",
    "--threads", "1", "--retries", "1000", "--store", self:path(name), stdout = self:path(name .. ".log"),
    append = true, group = true })
end

-- Runs to the end and must get there; so must those that run already.
function T:run(name)
  self:start(name)
  while #self.runners > 0 do
    local ended = self.runners[1]:wait(300)
    lu.assertNotNil(ended, "the sweep does not end")
    lu.assertEquals(ended.exit, 0, lip.file.read(self:path(name .. ".log")))
    table.remove(self.runners, 1)
  end
end

-- The worker that an unfinished journal names, if it lives.
function T:workers(name)
  local list, folders = {}, self:path(name) .. ".d/trials"
  for _, key in ipairs(lip.file.list(folders) or {}) do
    local start
    for _, line in ipairs(journal.read(folders .. "/" .. key) or {}) do
      if line.event == "start" then start = line end
      if line.event == "end" then start = nil end
    end
    if start and start.host == self.host and lip.process.alive(start.pid, start.pid_start) then
      list[#list + 1] = start
    end
  end
  return list
end

function T:kill_runner(i)
  local runner = table.remove(self.runners, i)
  runner:signal "KILL"
  runner:wait()
end

-- Kills one worker, or a runner (whose workers then find out), or all of them. True when something was killed.
function T:strike(name, rng)
  while #self.runners < 1 + rng:below(2) do self:start(name) end
  -- most often while trials run, sometimes in the first moments
  lip.process.sleep((rng:below(4) == 0 and 0.05 or 0.4) * rng:uniform())
  local i, kind = 1 + rng:below(#self.runners), rng:below(3)
  if not self.runners[i]:alive() then
    local ended = table.remove(self.runners, i):wait()
    lu.assertEquals(ended.exit, 0, lip.file.read(self:path(name .. ".log")))
    return false
  end
  if kind == 0 then
    local workers = self:workers(name)
    local worker = workers[1 + rng:below(math.max(1, #workers))]
    if worker then os.execute(("kill -KILL %d 2>/dev/null"):format(worker.pid)) end
    return worker ~= nil
  elseif kind == 1 then
    self:kill_runner(i)
  else
    while #self.runners > 0 do self:kill_runner() end
    for _, worker in ipairs(self:workers(name)) do os.execute(("kill -KILL %d 2>/dev/null"):format(worker.pid)) end
  end
  return true
end

-- What a sweep has found out, trial by trial, as text: no times, no attempts.
local function results(store)
  local lines = {}
  for _, trial in ipairs(store:trials()) do
    local metrics = store:metrics(trial)
    lines[#lines + 1] = lip.to_json { number = trial.number, key = trial.key, config = trial.config, row = trial.row,
      seed = trial.seed, state = trial.state, value = trial.value, metrics = metrics,
      net = lip.sha256(assert(lip.file.read(store:folder(trial) .. "/net.safetensors"))) }
  end
  return lines
end

-- One journal: attempts one after the other, one success, nothing after it.
local function check_journal(lines, what)
  local attempt, done = 0, 0
  for _, line in ipairs(lines) do
    lu.assertEquals(done, 0, what .. ": something after its end")
    if line.event == "start" then
      lu.assertTrue(line.attempt > attempt, what .. ": attempts one after the other")
      attempt = line.attempt
    elseif line.event == "end" and line.state == "done" then
      done = done + 1
    end
  end
  lu.assertEquals(done, 1, what .. ": done once")
  return attempt
end

function T:is_done(name)
  local store <close> = stores.open(self:path(name))
  local counts = store and store:counts(1)
  return counts ~= nil and counts.done == TRIALS
end

function T:check(name, expected)
  local store <close> = assert(stores.open(self:path(name)))
  local again = 0
  lu.assertEquals(store:counts(1), { queued = 0, running = 0, done = TRIALS, failed = 0, pruned = 0 })
  for i, line in ipairs(results(store)) do
    local lines = lip.file.read(journal.path(store:folder(store:trials({ number = i })[1])))
    lu.assertEquals(line, expected[i], "not as in an undisturbed sweep; its journal:\n" .. lines)
  end
  lu.assertEquals(support.check(store), "ok")
  for _, trial in ipairs(store:trials()) do
    local attempts = check_journal((journal.read(store:folder(trial))), ("trial %d"):format(trial.number))
    if attempts > 1 then again = again + 1 end
  end
  lu.assertEquals(self:workers(name), {})
  local before = support.dump(store)
  store:rebuild()
  lu.assertEquals(support.dump(store), before)
  return again
end

function T:test_killed_again_and_again()
  local began = lip.time()
  self:run "whole"
  local slow = lip.time() - began > 4 or os.getenv "LIPWB_GC_STRESS" == "1"
  local wanted = tonumber(os.getenv "LIPWB_KILLS") or slow and 10 or 50
  local store <close> = assert(stores.open(self:path "whole"))
  local expected, rng = results(store), lip.rng(os.time())
  lu.assertEquals(store:counts(1).done, TRIALS)
  local kills, rounds, again = 0, 0, 0
  while kills < wanted do
    rounds = rounds + 1
    local name = ("round%d"):format(rounds)
    repeat
      local hit = self:strike(name, rng)
      if hit then kills = kills + 1 end
    until kills == wanted or self:is_done(name)
    self:run(name)
    again = again + self:check(name, expected)
  end
  lu.assertTrue(again > 0, "no kill hit a trial")
  print(("\n%d kills in %d sweeps, %d of %d trials begun more than once"):format(kills, rounds, again, rounds * TRIALS))
end

return T
