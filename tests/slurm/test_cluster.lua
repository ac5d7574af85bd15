-- The cluster that cluster.sh starts does what the sweeps on Slurm stand on: arrays, signals, requeue.
local lu = require "luaunit"
package.path = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" .. "/?.lua;" .. package.path
local slurm = require "support_slurm"

local T = {}

function T:setUp()
  self.dir = slurm.output "mktemp -d":match "%S+"
end

function T:tearDown()
  slurm.output "scancel --user=root"
  slurm.wait_empty(10)
  os.execute("rm -rf " .. slurm.quote(self.dir))
end

function T:submit(options, body)
  local script = self.dir .. "/job.sh"
  local file <close> = assert(io.open(script, "w"))
  assert(file:write("#!/bin/sh\n", body))
  file:close()
  local text, ok = slurm.output(("cd %s && sbatch --parsable -o out.txt --open-mode=append %s job.sh")
    :format(slurm.quote(self.dir), options))
  lu.assertTrue(ok, text)
  return assert(text:match "^%d+", text)
end

function T:out()
  return (slurm.output("cat " .. slurm.quote(self.dir .. "/out.txt")))
end

function T:test_array()
  self:submit("--array=0-2%2", 'echo "task $SLURM_ARRAY_TASK_ID of job $SLURM_ARRAY_JOB_ID, $SLURM_CPUS_PER_TASK"\n')
  lu.assertTrue(slurm.wait_empty(20))
  local tasks = {}
  for task in self:out():gmatch "task (%d)" do tasks[#tasks + 1] = task end
  table.sort(tasks)
  lu.assertEquals(tasks, { "0", "1", "2" })
end

function T:test_signal_reaches_the_batch_process_and_requeue_starts_it_again()
  local job = self:submit("--requeue", [[
echo "start ${SLURM_RESTART_COUNT:-0}"
[ "${SLURM_RESTART_COUNT:-0}" = 0 ] || exit 0
trap 'echo asked' USR1
while :; do sleep 0.1; done
]])
  lu.assertNotNil(slurm.wait(10, function() return self:out():find "start 0" end))
  lu.assertEquals(slurm.output("scancel --batch --signal=USR1 " .. job), "")
  lu.assertNotNil(slurm.wait(10, function() return self:out():find "asked" end))
  slurm.output("scontrol requeue " .. job)
  lu.assertTrue(slurm.start_now(job))
  lu.assertTrue(slurm.wait_empty(20))
  lu.assertStrContains(self:out(), "start 1")
end

return T
