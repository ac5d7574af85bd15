-- Sweeps on a real Slurm (cluster.sh starts it): their results are those of one process at a time on this machine, to
-- the bit, whatever happens to jobs on the way.
local lu = require "luaunit"
local lip = require "lip"
package.path = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" .. "/?.lua;" .. package.path
local slurm = require "support_slurm"
local journal = require "lip.sweep.journal"

local first = 0
while arg[first - 1] do first = first - 1 end
local program = lip.file.absolute(arg[first])

-- A small training, `pause` seconds after each of its 6 * 7 updates.
local TRAINING = [[
local lip = require "lip"
local function run(config)
  if config.crash then lip.process.run { "kill", "-SEGV", tostring(lip.process.self().pid) } end
  local rng, x, y = lip.rng(3), lip.zeros(200, 6), {}
  x:normal_(rng, 0, 1)
  for i = 1, 200 do y[i] = x:get(i, 1) * x:get(i, 2) + 0.3 * x:get(i, 3) > 0 and 1 or 0 end
  local net = lip.net { input = 6, norm = "inf", budget = config.budget, seed = lip.trial.seed,
    lip.dense { out = 16 }, lip.relu {}, lip.dropout { rate = 0.2 }, lip.dense { out = 2 } }
  local data = lip.data.tensors(x, y)
  local result = assert(lip.train(net, data, { epochs = 6, batch = 32, seed = lip.trial.seed,
    validation = data, opt = lip.optim.amsgrad { lr = config.rate },
    on_batch = function() lip.process.sleep(%g) end }))
  return { loss = result.loss, accuracy = net:evaluate(data).accuracy, bound = net:bound().upper,
    threads = lip.threads() }
end
]]
local SWEEP = 'return require "lip".sweep { name = "s", maximise = "accuracy", %s, %s }\n'
local SCRIPT = 'return run(lip.args { budget = 1, rate = 0.1 })\n'

local T = {}

function T:setUp()
  self.dir = lip.file.temporary() .. "/a folder"
  assert(lip.file.mkdir(self.dir))
end

function T:tearDown()
  slurm.output "scancel --user=root"
  lu.assertTrue(slurm.wait_empty(15))
  lip.file.remove_tree(self.dir:match "^(.*)/")
end

function T:describe(pause, fields)
  assert(lip.file.write(self.dir .. "/s.lua", TRAINING:format(pause) .. SWEEP:format("run = run", fields)))
end

-- The same with a script for every trial.
function T:describe_script(fields)
  assert(lip.file.write(self.dir .. "/train.lua", TRAINING:format(0) .. SCRIPT))
  assert(lip.file.write(self.dir .. "/s.lua", SWEEP:format('script = "train.lua"', fields)))
end

-- lipwb sweep WORDS in the folder: what it prints, and its status.
function T:sweep(words)
  local text, _, status = slurm.output(("cd %s && %s sweep %s"):format(slurm.quote(self.dir), slurm.quote(program),
    words))
  return text, status
end

function T:store(name)
  return assert(require "lip.sweep.store".open(self.dir .. "/" .. name))
end

function T:collect()
  return slurm.wait(40, function()
    local text, status = self:sweep "collect s.lua"
    return not text:find "queued" and not text:find "running" and { text, status }
  end) or lu.fail("still not finished: " .. self:sweep "status s.lua")
end

function T:trial(number)
  local store <close> = self:store "runs.db"
  local trial = store:trials { sweep = "s", number = number }[1]
  return trial, store:folder(trial)
end

-- What was noted in the journal of a trial under an event.
function T:events(number, event)
  local _, folder = self:trial(number)
  local found = {}
  for _, line in ipairs(journal.read(folder) or {}) do
    if line.event == event then found[#found + 1] = line end
  end
  return found
end

-- The tables of results of two stores are the same, up to times, places and attempts; the weights too.
function T:assert_same(a, b)
  local one <close> = self:store(a)
  local other <close> = self:store(b)
  local left, right = one:trials { sweep = "s" }, other:trials { sweep = "s" }
  lu.assertEquals(#left, #right)
  for i, trial in ipairs(left) do
    local twin = right[i]
    for _, name in ipairs { "number", "key", "seed", "state", "config", "row", "value", "step", "total" } do
      lu.assertEquals(trial[name], twin[name], ("%s of trial %d"):format(name, i))
    end
    lu.assertEquals(one:metrics(trial), other:metrics(twin))
    if trial.state == "done" then
      local function weights(store, t) return assert(lip.file.read(store:folder(t) .. "/train.safetensors")) end
      lu.assertTrue(weights(one, trial) == weights(other, twin), ("other weights in trial %d"):format(i))
    end
  end
end

function T:local_run()
  local _, status = self:sweep "s.lua -j 1 --threads 1 --store local.db"
  return status
end

function T:test_arrays_give_the_same_table_and_a_crash_costs_one_trial()
  self:describe(0, [[list = { { budget = 1, rate = 0.02 }, { budget = 2, rate = 0.02 }, { budget = 3, rate = 0.02 },
    { budget = 4, rate = 0.02 }, { budget = 1, rate = 0.05, crash = true }, { budget = 2, rate = 0.05 },
    { budget = 3, rate = 0.05 }, { budget = 4, rate = 0.05 }, { budget = 1, rate = 0.1 }, { budget = 2, rate = 0.1 },
    { budget = 3, rate = 0.1 }, { budget = 4, rate = 0.1 } }]])
  local text, status = self:sweep "s.lua --slurm --chunk 5 --mem 500M --sbatch=--nice=1"
  lu.assertEquals(status, 0, text)
  lu.assertStrMatches(text, "s: 12 trials submitted as jobs %d+, %d+, %d+\n")
  text, status = self:sweep "collect s.lua --watch --every 0.5"
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, "s: 11 of 12 done, 1 failed\n")
  local crashed = self:trial(5)
  lu.assertEquals(crashed.state, "failed")
  lu.assertStrContains(crashed.message, "without a word")
  lu.assertEquals(self:local_run(), 1)
  self:assert_same("runs.db", "local.db")
  lu.assertEquals(self:trial(1).row.threads, 1)
  -- the same array once more, by whatever mistake: what has ended is left alone
  slurm.output(("cd %s && sbatch runs.db.d/sweeps/s.slurm/*-1.sh"):format(slurm.quote(self.dir)))
  lu.assertTrue(slurm.wait_empty(20))
  for _, number in ipairs { 1, 5 } do
    lu.assertEquals(#self:events(number, "start"), 1)
    local _, folder = self:trial(number)
    lu.assertStrContains(lip.file.read(folder .. "/output.txt"), "this trial has ended")
  end
  -- and the database can be made again from what the nodes wrote
  local pipe = slurm.output(("%s runs rebuild --store %s/runs.db"):format(slurm.quote(program), slurm.quote(self.dir)))
  lu.assertNil(pipe:find "lipwb:", pipe)
  self:assert_same("runs.db", "local.db")
end

-- Waits until a trial has finished so many epochs, asking its journal.
function T:wait_for_step(number, step, attempts)
  lu.assertNotNil(slurm.wait(30, function()
    local metrics = self:events(number, "metrics")
    return #self:events(number, "slurm") >= attempts and #metrics > 0 and metrics[#metrics].step >= step
  end), "no step " .. step)
end

function T:test_stopped_preempted_killed_and_cancelled_trials_go_on_where_they_were()
  self:describe(0.15, "list = { { budget = 2, rate = 0.02 }, { budget = 3, rate = 0.02 } }") -- time to be stopped in
  local job = assert(self:sweep "s.lua --slurm --cpus 1":match "job (%d+)")
  -- both: a minute before the time limit, which is USR1 to the process of the job; they ask to be queued again
  for number = 1, 2 do self:wait_for_step(number, 1, 1) end
  for task = 0, 1 do slurm.output(("scancel --batch --signal=USR1 %s_%d"):format(job, task)) end
  for task = 0, 1 do lu.assertTrue(slurm.start_now(job .. "_" .. task)) end
  for number = 1, 2 do self:wait_for_step(number, 2, 2) end
  local _, folder = self:trial(1) -- a second job for it has nothing to do
  lu.assertEquals(
    slurm.output(("SLURM_JOB_ID=99999 %s sweep task %s"):format(slurm.quote(program), slurm.quote(folder))),
    ("this trial runs as job %s_0\n"):format(job))
  lu.assertStrContains(self:sweep "status s.lua", "2 running")
  lu.assertEquals(self:events(1, "end")[1].state, "stopped")
  -- both: a job with more right to the node
  slurm.output "sbatch --partition=urgent --cpus-per-task=2 --output=/dev/null --wrap 'sleep 1'"
  lu.assertNotNil(slurm.wait(15, function() return #self:events(1, "end") > 1 and #self:events(2, "end") > 1 end))
  for task = 0, 1 do lu.assertTrue(slurm.start_now(job .. "_" .. task)) end
  -- the first: killed without a word; the second: cancelled
  for number = 1, 2 do self:wait_for_step(number, 3, 3) end
  local starts = self:events(1, "start")
  slurm.output("kill -KILL " .. starts[#starts].pid)
  lu.assertEquals(self:sweep "cancel s.lua":match "(%d) tasks" ~= nil, true)
  lu.assertTrue(slurm.wait_empty(15))
  local text = self:sweep "collect s.lua"
  lu.assertStrContains(text, "s: 0 of 2 done, 1 failed, 1 to submit\n")
  lu.assertStrContains(self:trial(1).message, "without a word")
  lu.assertStrContains(self:sweep "s.lua --slurm --retry failed", "2 trials submitted")
  lu.assertEquals(self:collect()[2], 0)
  lu.assertTrue(#self:events(2, "slurm") >= 4)
  self:local_run()
  self:assert_same("runs.db", "local.db")
end

function T:test_schedulers_read_the_journals_of_others()
  self:describe_script([[grid = { budget = { 0.01, 4, 0.02, 3, 0.03, 2 }, rate = 0.05 },
    scheduler = require "lip".asha { min = 1, max = 6, eta = 2 }]])
  lu.assertStrContains(self:sweep "s.lua --slurm -j 1", "6 trials submitted") -- one at a time, in order
  lu.assertEquals(self:collect()[2], 0)
  self:local_run()
  self:assert_same("runs.db", "local.db")
  local store <close> = self:store "runs.db"
  local pruned = store:trials { sweep = "s", state = "pruned" }
  lu.assertTrue(#pruned >= 1 and #pruned < 6, #pruned .. " pruned")
end

function T:test_a_search_is_submitted_as_results_come_in()
  self:describe(0, [[tpe = { budget = lip.loguniform(0.1, 10), rate = lip.choice { 0.02, 0.05 } }, n = 6, ahead = 3]])
  lu.assertStrContains(self:sweep "s.lua --slurm", "3 trials submitted")
  local text, status = self:sweep "collect s.lua --watch --every 0.3"
  lu.assertEquals(status, 0, text)
  lu.assertStrContains(text, "s: 6 of 6 done\n")
  self:local_run()
  self:assert_same("runs.db", "local.db")
end

return T
