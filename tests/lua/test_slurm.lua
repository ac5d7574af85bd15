-- Sweeps on a cluster, without one: the texts for Slurm and from it, and the program with scripts in Slurm's place that
-- answer from files. tests/slurm has the tests on a real Slurm.
local lu = require "luaunit"
local lip = require "lip"
local batch = require "lip.sweep.batch"

local outside = require "support_program"
local program, quote = outside.program, outside.quote
local Texts = {}

local function script(change)
  local o = batch.options { jobs = 4, time = "1-02:30", mem = "2G", sbatch = { "--qos=low --exclusive" } }
  for key, value in pairs { name = "lipwb-s-1", count = 10, program = "/opt/lipwb", list = "/d/k", trials = "/d/t",
    logs = "/d/logs", folder = "/home/me" } do
    o[key] = value
  end
  for key, value in pairs(change or {}) do o[key] = value end
  return batch.script(o)
end

function Texts.test_script()
  local text = script { after = "77" }
  for _, line in ipairs { "#!/bin/sh", "#SBATCH --array=0-9%4", "#SBATCH --dependency=afterany:77",
    "#SBATCH --time=1-02:30", "#SBATCH --mem=2G", "#SBATCH --cpus-per-task=1", "#SBATCH --requeue",
    "#SBATCH --open-mode=append",
    "#SBATCH --signal=B:USR1@60", "#SBATCH --qos=low --exclusive", "#SBATCH --output=/d/logs/%A_%a.txt",
    "exec '/opt/lipwb' sweep task \"$folder\" >>\"$folder/output.txt\" 2>&1" } do
    lu.assertNotNil(("\n" .. text):find("\n" .. line .. "\n", 1, true), line .. " in\n" .. text)
  end
  lu.assertNil(script { jobs = false }:find("0-9%", 1, true))
  lu.assertNil(script():find "dependency")
end

function Texts.test_names_of_folders_pass_unharmed()
  local text = script { folder = '/a "b" c#d', logs = "/100%/x y", trials = "/it's $HOME", program = "/a b/lipwb" }
  lu.assertStrContains(text, '--chdir="/a \\"b\\" c#d"\n')
  lu.assertStrContains(text, '--output="/100%%/x y/%A_%a.txt"\n')
  lu.assertStrContains(text, "folder='/it'\\''s $HOME'/$key\n")
  lu.assertErrorMsgContains("line break", script, { folder = "/a\nb" })
end

function Texts.test_options()
  for name, value in pairs { time = "soon", mem = "4 GB", partition = "a b", cpus = 0, jobs = 1.5, chunk = "many" } do
    lu.assertErrorMsgContains("--" .. name, batch.options, { [name] = value })
  end
  lu.assertErrorMsgContains("array", batch.options, { sbatch = { "--array=1-3" } })
  lu.assertErrorMsgContains("--sbatch", batch.options, { sbatch = { "qos" } })
  lu.assertErrorMsgContains("--sbatch", batch.options, { sbatch = { "--a\nrm -r x" } })
  lu.assertEquals(batch.options { cpus = "3" }.cpus, 3)
end

function Texts.test_chunks()
  lu.assertEquals(batch.chunks({ 1, 2, 3, 4, 5 }, 2), { { 1, 2 }, { 3, 4 }, { 5 } })
  lu.assertEquals(batch.chunks({}, 2), {})
  lu.assertEquals(batch.array_size "x = 1\nMaxArraySize            = 1001\n", 1001)
  lu.assertNil((batch.array_size "MaxArraySize = 0"))
  lu.assertNil((batch.array_size "nothing"))
end

function Texts.test_what_slurm_says()
  lu.assertEquals(batch.job_id "sbatch: a message of the site\n1234;cluster\n", "1234")
  lu.assertEquals(batch.job_id "12\n", "12")
  lu.assertNil(batch.job_id "12 years\n")
  local tasks = batch.queue "7 0 RUNNING None|lipwb-a b-1\n7 11 PENDING (Job held)|x\n8 N/A RUNNING None|single\n"
  lu.assertEquals(tasks["7_0"], { job = "7", task = 0, state = "RUNNING", reason = "None", name = "lipwb-a b-1" })
  lu.assertEquals(tasks["7_11"].reason, "(Job held)")
  lu.assertNil(tasks["8_N/A"])
  local how = batch.ended("JobId=3 ArrayJobId=1 ArrayTaskId=0 JobName=x JobState=FAILED Reason=NonZeroExitCode "
    .. "ExitCode=127:0\nJobId=1 ArrayJobId=1 ArrayTaskId=4-9 JobState=PENDING Reason=Resources ExitCode=0:0\n")
  lu.assertEquals(how, { [0] = { state = "FAILED", exit = 127, signal = 0, reason = "NonZeroExitCode" } })
  how = batch.ended_accounts "1_0|CANCELLED by 0|0:15\n1_1|OUT_OF_MEMORY|0:125\n1_[2-3]|PENDING|0:0\n"
  lu.assertEquals(how[0].state, "CANCELLED")
  lu.assertEquals(how[1], { state = "OUT_OF_MEMORY", exit = 0, signal = 125 })
  lu.assertNil(how[2])
end

function Texts.test_ends_without_a_word()
  local function ends(how, log, output) return batch.end_line(how, log or "", output or "", 5) end
  local line = ends({ state = "OUT_OF_MEMORY", exit = 0, signal = 125 }, "slurmstepd: killed", "epoch 3")
  lu.assertEquals(line.state, "failed")
  lu.assertEquals(line.signal, 125)
  lu.assertNil(line.exit)
  lu.assertStrContains(line.message, "more memory")
  lu.assertStrContains(line.message, "epoch 3")
  lu.assertStrContains(ends(nil, "slurmstepd: error: Detected 1 oom-kill event(s)").message, "more memory")
  lu.assertStrContains(ends(nil, "JOB 1 CANCELLED DUE TO TIME LIMIT").message, "time limit")
  lu.assertStrContains(ends { state = "FAILED", exit = 1, signal = 0, reason = "NonZeroExitCode" }.message,
    "FAILED without a word (NonZeroExitCode)")
  for _, state in ipairs { "CANCELLED", "PREEMPTED", "NODE_FAIL" } do
    lu.assertEquals(ends { state = state, exit = 0, signal = 0 }.state, "stopped")
  end
  lu.assertEquals(ends(nil).state, "failed")
end

function Texts.test_states()
  local pending, running = { state = "PENDING" }, { state = "RUNNING" }
  lu.assertEquals(batch.state("queued", nil), "missing")
  lu.assertEquals(batch.state("queued", running), "queued")
  lu.assertEquals(batch.state("running", running), "running")
  lu.assertEquals(batch.state("running", pending), "queued")
  lu.assertEquals(batch.state("running", nil), "gone")
  lu.assertEquals(batch.state("done", running), "done")
end

-- ---- scores of others ----

local Rungs = {}

function Rungs:setUp()
  self.root = lip.file.temporary()
  assert(lip.file.mkdir(self.root .. "/sweeps"))
end

function Rungs:tearDown()
  lip.file.remove_tree(self.root)
end

function Rungs:list(text)
  assert(lip.file.append(self.root .. "/sweeps/s.trials.jsonl", text .. "\n"))
end

function Rungs:note(key, text)
  assert(lip.file.mkdir(self.root .. "/trials/" .. key))
  assert(lip.file.append(self.root .. "/trials/" .. key .. "/journal.jsonl", text))
end

function Rungs:scores(rung, rule)
  local list = require "lip.sweep.rungs".scores(self.root .. "/trials/a1", "s", rung, rule)
  table.sort(list)
  return list
end

function Rungs:test_scores()
  for _, key in ipairs { "a1", "a2", "a3", "a4" } do
    self:list(lip.to_json { id = 1, key = key, config = { x = 1 } })
  end
  lu.assertEquals(self:scores(0), {})
  self:note("a1", '{"event":"start","sweep":"s"}\n{"event":"rung","rung":0,"step":1,"value":0.5}\n')
  self:note("a2", '{"event":"start","sweep":"s"}\n{"event":"rung","rung":0,"step":1,"value":"inf"}\n{"event":"ru')
  self:note("a3", '{"event":"start","sweep":"other"}\n{"event":"rung","rung":0,"step":1,"value":7}\n')
  self:note("b1", '{"event":"start","sweep":"s"}\n{"event":"rung","rung":0,"step":1,"value":8}\n') -- not in the list
  lu.assertEquals(self:scores(0), { 0.5, math.huge })
  self:note("a2", 'ng","rung":0,"step":1,"value":3}\n') -- the rest of the line that was being written
  self:note("a2", '{"event":"rung","rung":1,"step":3,"value":0.25}\nnonsense "rung"\n')
  lu.assertEquals(self:scores(0), { 0.5, 3 })
  lu.assertEquals(self:scores(1), { 0.25 })
  self:note("a1", '{"event":"start","sweep":"s"}\n{"event":"rung","rung":0,"step":1,"value":0.75}\n') -- run again
  lu.assertEquals(self:scores(0), { 0.75, 3 })
  self:list '{"key": "a2", "left": true}'
  self:list '{"id": 1, "key": "a1", "number": 9}'
  lu.assertEquals(self:scores(0), { 0.75 })
  lip.file.write(self.root .. "/trials/a1/journal.jsonl", "{}\n") -- another file
  lu.assertEquals(self:scores(0), {})
end

-- Of another aim or scheduler; and lines that name their sweep, written while the trial ran for another one.
function Rungs:test_scores_of_another_rule()
  for _, key in ipairs { "a1", "a2" } do self:list(lip.to_json { id = 1, key = key, config = { x = 1 } }) end
  self:note("a1", '{"event":"start","sweep":"s"}\n{"event":"rung","rule":"old","rung":0,"step":1,"value":0.5}\n')
  self:note("a2", '{"event":"start","sweep":"other"}\n'
    .. '{"event":"rung","rule":"new","rung":0,"step":1,"sweep":"s","value":7}\n')
  lu.assertEquals(self:scores(0, "new"), { 7 })
  self:note("a1", '{"event":"rung","rule":"new","rung":0,"step":1,"value":6}\n')
  lu.assertEquals(self:scores(0, "new"), { 6, 7 })
  self:note("a1", '{"event":"rung","rule":"old","rung":0,"step":1,"value":9}\n')
  lu.assertEquals(self:scores(0, "new"), { 6, 7 })
end

-- ---- the program, with Slurm played by shell scripts over files ----

local FAKES = {
  sbatch = [[
: >busy; trap 'rm -f busy' EXIT
id=$(cat next 2>/dev/null || echo 100); echo $((id + 1)) >next
cp "$2" job$id.sh
[ ! -f refuse ] || [ $id -lt "$(cat refuse)" ] || { echo "sbatch: error: no such partition" >&2; exit 1; }
name=$(sed -n 's/^#SBATCH --job-name=//p' "$2")
last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*/\1/p' "$2")
i=0; while [ $i -le $last ]; do echo "$id $i PENDING Resources|$name" >>queue; i=$((i + 1)); done
[ ! -f silent ] || { echo "sbatch: error: Socket timed out" >&2; exit 1; }
echo $id
]],
  squeue = 'cat queue 2>/dev/null\n[ ! -f down ] || { echo "slurm_load_jobs error" >&2; exit 1; }\n',
  scontrol = 'case "$*" in *config*) echo "MaxArraySize = 3";; *) grep "ArrayJobId=$4 " ended 2>/dev/null;; esac\n',
  sacct = "exit 1\n",
  scancel = 'echo "$@" >>cancelled\n: >queue\n',
}

local Program = {}

function Program:setUp()
  self.dir = lip.file.temporary()
  for name, body in pairs(FAKES) do
    self:write("bin/" .. name, ("#!/bin/sh\ncd %s\n%s"):format(quote(self.dir), body))
  end
  os.execute("chmod +x " .. quote(self.dir) .. "/bin/*")
  self:write("s.lua", [[
local lip = require "lip"
return lip.sweep { run = function() return { y = 1 } end, grid = { a = { 1, 2, 3, 4 } } }
]])
end

function Program:tearDown()
  lip.file.remove_tree(self.dir)
end

function Program:write(name, text)
  local path = self.dir .. "/" .. name
  assert(lip.file.mkdir(path:match "^(.*)/"))
  assert(lip.file.write(path, text))
end

function Program:read(name)
  return lip.file.read(self.dir .. "/" .. name)
end

-- What `lipwb sweep ...` prints, and its exit status.
function Program:sweep(words, environment)
  local pipe = assert(io.popen(("cd %s && PATH=%s/bin:$PATH %s %s sweep %s 2>&1"):format(quote(self.dir),
    quote(self.dir), environment or "", quote(program), words)))
  local text = pipe:read "a"
  local _, _, status = pipe:close()
  return text, status
end

function Program:keys()
  local keys = {}
  for line in self:read "runs.db.d/sweeps/s.trials.jsonl":gmatch "[^\n]+" do
    local trial = lip.from_json(line)
    keys[trial.number] = trial.key
  end
  return keys
end

-- A line in the journal of trial k.
function Program:journal(k, line)
  local path = ("%s/runs.db.d/trials/%s/journal.jsonl"):format(self.dir, self:keys()[k])
  assert(lip.file.append(path, lip.to_json(line) .. "\n"))
end

function Program:begin(k, job)
  self:journal(k, { event = "slurm", job = job, time = 1 })
  self:journal(k, { event = "start", format = 1, key = self:keys()[k], sweep = "s", number = k, config = { a = k },
    seed = 1, attempt = 1, time = 2, host = "node7", pid = 1, pid_start = 1 })
end

function Program:test_submits_in_chunks_and_only_once()
  local text, status = self:sweep "s.lua --slurm -j 2 --mem 1G --partition long"
  lu.assertEquals({ text, status }, { "s: 4 trials submitted as jobs 100, 101\n", 0 })
  local job = self:read "job101.sh"
  lu.assertStrContains(job, "--array=0-0%2\n") -- three and one: MaxArraySize is 3
  lu.assertStrContains(job, "--dependency=afterany:100\n")
  lu.assertStrContains(job, "--partition=long\n")
  lu.assertStrContains(job, program)
  local key = self:keys()[4]
  local told = lip.from_json(self:read("runs.db.d/trials/" .. key .. "/trial.json"))
  lu.assertEquals({ told.key, told.number, told.attempt, told.threads, told.store }, { key, 4, 1 })
  text, status = self:sweep "s.lua --slurm"
  lu.assertEquals({ text, status }, { "s: 4 were in Slurm's queue before\n", 0 })
  text = self:sweep "status s.lua"
  lu.assertStrContains(text, "s: 0 of 4 done, 4 queued\n")
  lu.assertStrContains(text, "queued: 4 (Resources)\n")
end

function Program:test_without_a_limit_arrays_do_not_wait()
  self:sweep "s.lua --slurm"
  lu.assertNil(self:read "job101.sh":find "dependency")
  lu.assertStrContains(self:read "job101.sh", "--array=0-0\n")
end

function Program:test_what_is_finished_is_not_submitted_again()
  self:sweep "s.lua --slurm"
  self:write("queue", "101 0 PENDING Resources|x\n")
  for k = 1, 2 do
    self:begin(k, "100_" .. k - 1)
    self:journal(k, { event = "end", state = "done", row = { y = k }, attempt = 1, seconds = 1, time = 3 })
  end
  self:begin(3, "100_2")
  self:journal(3, { event = "end", state = "stopped", attempt = 1, time = 3 }) -- its time was over
  lu.assertEquals({ self:sweep "collect s.lua" },
    { "s: 2 of 4 done, 1 queued, 1 to submit\nlipwb sweep s.lua --slurm submits what is missing\n", 0 })
  lu.assertEquals(self:sweep "s.lua --slurm", "s: 1 trials submitted as job 102; 1 were in Slurm's queue before\n")
  lu.assertStrContains(self:read "job102.sh", "--array=0-0\n")
  local told = lip.from_json(self:read("runs.db.d/trials/" .. self:keys()[3] .. "/trial.json"))
  lu.assertEquals(told.attempt, 2)
end

function Program:test_refused_in_the_middle()
  self:write("refuse", "101")
  local text, status = self:sweep "s.lua --slurm"
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, "no such partition (3 trials were submitted)")
  os.remove(self.dir .. "/refuse")
  lu.assertEquals(self:sweep "s.lua --slurm", "s: 1 trials submitted as job 102; 3 were in Slurm's queue before\n")
end

function Program:test_submitted_without_an_answer()
  self:write("silent", "")
  local _, status = self:sweep "s.lua --slurm --chunk 2"
  lu.assertEquals(status, 1)
  os.remove(self.dir .. "/silent")
  lu.assertEquals(self:sweep "s.lua --slurm", "s: 2 trials submitted as job 101; 2 were in Slurm's queue before\n")
  self:write("queue", "")
  self:begin(1, "100_0")
  self:write("ended", "JobId=100 ArrayJobId=100 ArrayTaskId=0 JobState=OUT_OF_MEMORY Reason=None ExitCode=0:125\n")
  lu.assertStrContains(self:sweep "collect s.lua", "1 failed")
end

-- Submissions that are killed at any moment: in the end every trial is in the queue, and once.
function Program:test_killed_while_it_submits()
  local rng = lip.rng(os.time())
  for _ = 1, 8 do
    -- an sbatch that was under way goes on
    self:sweep(("s.lua --slurm --chunk 1 & pid=$!; sleep %.3f; kill -KILL $pid; wait $pid; sleep 0.2; "
      .. "while [ -f busy ]; do sleep 0.05; done"):format(0.2 * rng:uniform()))
  end
  lu.assertEquals(select(2, self:sweep "s.lua --slurm --chunk 1"), 0)
  local count = {}
  for job in self:read "queue":gmatch "(%d+) %d+ PENDING" do
    local list = self:read("job" .. job .. ".sh"):match "sed %-n [^\n]* '([^']*)'"
    local key = lip.file.read(list):match "%x+"
    count[key] = (count[key] or 0) + 1
  end
  local expected = {}
  for _, key in ipairs(self:keys()) do expected[key] = 1 end
  lu.assertEquals(count, expected)
end

function Program:test_vanished()
  self:sweep "s.lua --slurm"
  self:write("queue", "")
  self:begin(1, "100_0")
  self:write("runs.db.d/trials/" .. self:keys()[1] .. "/output.txt", "epoch 1\nepoch 2\n")
  self:begin(2, "100_1")
  self:write("runs.db.d/sweeps/s.slurm/100_2.txt", "/bin/sh: lipwb: not found\n") -- never began
  lip.file.remove_tree(self.dir .. "/runs.db.d/trials/" .. self:keys()[3])
  self:write("runs.db.d/sweeps/s.slurm/101_0.txt", "")
  self:write("ended", "JobId=101 ArrayJobId=100 ArrayTaskId=0 JobState=OUT_OF_MEMORY Reason=OutOfMemory "
    .. "ExitCode=0:125\n"
    .. "JobId=102 ArrayJobId=100 ArrayTaskId=1 JobState=NODE_FAIL Reason=NodeDown ExitCode=0:0\n"
    .. "JobId=103 ArrayJobId=100 ArrayTaskId=2 JobState=FAILED Reason=NonZeroExitCode ExitCode=127:0\n")
  local text, status = self:sweep "collect s.lua"
  lu.assertStrContains(text, "s: 0 of 4 done, 2 failed, 2 to submit\n") -- 2: its node failed; 4: never came to run
  lu.assertEquals(status, 1)
  lu.assertNil(lip.file.exists(self.dir .. "/runs.db.d/sweeps/s.slurm/101_0.txt") or nil)
  text = self:sweep "status s.lua"
  lu.assertStrContains(text, "1  a=1: its job needed more memory than it asked for (--mem) (OutOfMemory)\n")
  lu.assertStrContains(text, "3  a=3: its job ended as FAILED without a word (NonZeroExitCode): "
    .. "/bin/sh: lipwb: not found\n")
  local store <close> = require "lip.sweep.store".open(self.dir .. "/runs.db")
  local trials = store:trials { sweep = "s" }
  lu.assertStrContains(trials[1].message, "epoch 2")
  lu.assertEquals({ trials[3].exit, trials[1].signal, trials[2].state }, { 127, 125, "queued" })
  lu.assertEquals(self:sweep "s.lua --slurm --retry failed", "s: 4 trials submitted as jobs 102, 103\n")
end

function Program:test_a_silent_slurm_makes_nothing_fail()
  self:sweep "s.lua --slurm"
  self:begin(1, "100_0")
  self:write("down", "")
  for _, word in ipairs { "status", "collect", "cancel" } do
    local text, status = self:sweep(word .. " s.lua")
    lu.assertEquals(status, 1)
    lu.assertStrContains(text, "slurm_load_jobs error")
  end
  os.remove(self.dir .. "/down")
  self:write("queue", "100 0 RUNNING None|x\n")
  local text = self:sweep "status s"
  lu.assertStrContains(text, "1 running")
  lu.assertStrContains(text, "1  job 100_0  node7  a=1\n")
end

function Program:test_cancel()
  self:sweep "s.lua --slurm"
  lu.assertEquals(self:sweep "cancel s.lua", "s: 4 tasks were asked to end\n")
  lu.assertStrContains(self:read "cancelled", "100")
  lu.assertStrContains(self:read "cancelled", "101")
  lu.assertEquals(self:sweep "cancel s.lua", "s: Slurm's queue holds nothing of it\n")
end

function Program:test_a_task_does_what_is_left_to_do()
  self:sweep "s.lua --slurm"
  local function task(k)
    local text, status = self:sweep(("task runs.db.d/trials/%s"):format(self:keys()[k]), "SLURM_JOB_ID=7")
    return text:gsub("%s+$", ""), status
  end
  self:begin(1, "100_0")
  self:journal(1, { event = "end", state = "failed", sweep = "s", attempt = 1, time = 3 })
  lu.assertEquals({ task(1) }, { "this trial has ended", 0 })
  self:journal(2, { event = "start", sweep = "other", attempt = 4 }) -- of the same key
  self:journal(2, { event = "end", state = "pruned", sweep = "other", attempt = 4, time = 3 })
  self:begin(3, "100_2") -- a job that Slurm knows nothing of
  for k = 2, 3 do lu.assertEquals({ task(k) }, { "", 0 }) end
  self:write("queue", "RUNNING\n") -- what squeue says of the other job
  self:begin(4, "101_0")
  lu.assertEquals({ task(4) }, { "this trial runs as job 101_0", 0 })
  self:write("queue", "")
  lu.assertStrContains(self:sweep "collect s", "2 of 4 done, 2 failed") -- the fourth is gone without a word
end

function Program:test_one_place_at_a_time()
  self:sweep "s.lua --slurm"
  local text, status = self:sweep "s.lua"
  lu.assertEquals({ text, status },
    { "lipwb sweep: 4 of its trials are in Slurm's queue: lipwb sweep cancel FILE ends them\n", 1 })
  self:sweep "cancel s.lua"
  local here = lip.process.self() -- a trial that runs on this machine: this process
  self:journal(2, { event = "start", format = 1, key = self:keys()[2], sweep = "s", number = 2, config = { a = 2 },
    seed = 1, attempt = 1, time = 2, host = here.host, pid = here.pid, pid_start = here.start })
  text, status = self:sweep "s.lua --slurm"
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, ("process %d on this machine runs trial 2"):format(here.pid))
  self:journal(2, { event = "end", state = "done", row = { y = 1 }, attempt = 1, sweep = "s", time = 3 })
  text, status = self:sweep "s.lua -j 1"
  lu.assertEquals(status, 0, text)
  lu.assertStrContains(text, "4 of 4 done")
end

function Program:test_watching_ends_with_the_queue_or_ctrl_c()
  self:sweep "s.lua --slurm"
  local text, status = self:sweep "collect s.lua --watch --every 60 & pid=$!; sleep 0.5; kill -INT $pid; wait $pid"
  lu.assertEquals({ text, status },
    { "s: 0 of 4 done, 4 queued\nthe jobs go on; lipwb sweep cancel s.lua ends them\n", 130 })
  self:write("queue", "101 0 PENDING Resources|x\n")
  for k = 1, 3 do
    self:begin(k, "100_" .. k - 1)
    self:journal(k, { event = "end", state = "done", row = { y = k }, attempt = 1, time = 3 })
  end
  text, status = self:sweep(("collect s.lua --watch --every 0.1 & pid=$!; sleep 0.5; : >%s/queue; wait $pid"):format(
    quote(self.dir)))
  lu.assertEquals({ text, status }, { "s: 3 of 4 done, 1 queued\ns: 3 of 4 done, 1 to submit\n"
    .. "lipwb sweep s.lua --slurm submits what is missing\n", 0 })
end

function Program:test_wrong_words()
  lu.assertEquals(select(2, self:sweep "status"), 2)
  lu.assertEquals({ self:sweep "status s.lua" }, { "lipwb sweep: runs.db: no such store\n", 1 })
  lu.assertEquals(select(2, self:sweep "s.lua --slurm --time never"), 2)
  lu.assertEquals({ self:sweep "s.lua --mem 4G" }, { "lipwb sweep: --mem belongs to --slurm\n", 2 })
  lu.assertEquals({ self:sweep "s.lua --sbatch=--hold" }, { "lipwb sweep: --sbatch belongs to --slurm\n", 2 })
  for _, word in ipairs { "--retries 2", "--fail-fast", "--plot x.svg" } do
    local text, status = self:sweep("s.lua --slurm " .. word)
    lu.assertEquals({ text, status }, { ("lipwb sweep: %s is for sweeps on this machine, not for --slurm\n"):format(
      word:match "%S+"), 2 })
  end
  self:sweep "s.lua --slurm"
  local text, status = self:sweep "status other"
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, "holds no sweep 'other'")
  lu.assertEquals(select(2, self:sweep "collect --help"), 0)
end

function Program:test_dry_run_shows_the_script()
  local text, status = self:sweep "s.lua --slurm --dry-run -j 2 --sbatch=--qos=low"
  lu.assertEquals(status, 0)
  lu.assertStrContains(text, "s: 4 trials in 2 arrays of jobs; the first:\n\n#!/bin/sh\n")
  lu.assertStrContains(text, "#SBATCH --array=0-2%2\n")
  lu.assertStrContains(text, "#SBATCH --qos=low\n")
  lu.assertNil(self:read "next")
  lu.assertFalse(lip.file.exists(self.dir .. "/runs.db"))
end

return { TestTexts = Texts, TestRungs = Rungs, TestProgram = Program }
