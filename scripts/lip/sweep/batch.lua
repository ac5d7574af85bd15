--- Texts for Slurm and from Slurm: the script that sbatch takes, what squeue and scontrol print, what a trial's state
-- is when both Slurm and its journal have been asked. Nothing here starts a program or touches a file.
local batch = {}

local function fail(format, ...)
  error(format:format(...), 0)
end

-- ---- what the user may say ----

-- Options that become one #SBATCH line each, with the words that are taken for them.
local ACCEPTED = {
  { "partition", "^[%w_.,@+-]+$", "a partition, or several with commas" },
  { "time", "^%d[%d:-]*$", "a time limit as Slurm writes it: minutes, H:MM:SS or D-HH:MM" },
  { "mem", "^%d+[KMGTkmgt]?$", "memory for a trial, such as 4G" },
}

local function whole(o, name, low, high)
  local v = o[name]
  if v == nil then return nil end
  local n = math.tointeger(v) or math.tointeger(tonumber(v))
  if not n or n < low or n > high then fail("--%s expects a whole number from %d to %d, got %s", name, low, high, v) end
  return n
end

--- Checks what was said on the command line; raises a message for the user.
---@param given table jobs=, partition=, time=, mem=, cpus=, chunk=, sbatch= (a list of further words for sbatch)
---@return table options
function batch.options(given)
  local o = {
    jobs = whole(given, "jobs", 1, 1000000), cpus = whole(given, "cpus", 1, 1024) or 1,
    chunk = whole(given, "chunk", 1, 1000000), extra = {},
  }
  for _, row in ipairs(ACCEPTED) do
    local name, pattern, what = table.unpack(row)
    local v = given[name]
    if v ~= nil and not tostring(v):find(pattern) then fail("--%s expects %s, got '%s'", name, what, v) end
    o[name] = v
  end
  for _, words in ipairs(given.sbatch or {}) do
    if words:find "[\r\n]" or not words:find "^%s*%-" then
      fail("--sbatch expects options of sbatch, got '%s'", words)
    end
    if words:find "%-%-array" or words:find "%-a%f[%s=%d]" then fail "--sbatch: the array is made by lipwb" end
    o.extra[#o.extra + 1] = words
  end
  return o
end

-- ---- the script ----

local function shell(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- A value in a #SBATCH line. Slurm reads quotes and backslashes there, and ends a line at a # outside of quotes.
local function quoted(text)
  if text:find "[\r\n]" then fail("a folder with a line break in its name: %q", text) end
  if not text:find "[^%w_/.,:@%%+=-]" then return text end
  return '"' .. text:gsub('[\\"]', "\\%0") .. '"'
end

-- In file names Slurm replaces %A and the like.
local function literal(path)
  return (path:gsub("%%", "%%%%"))
end

--- The script of one array of jobs.
---@param o table name= of the job, count= tasks, jobs= at once (or nil), after= job to wait for (or nil), program=
--- lipwb, list= file with one trial's key a line, trials= folder of trials, logs= folder for Slurm's own messages,
--- folder= to work in, and what batch.options returned
function batch.script(o)
  local lines = { "#!/bin/sh" }
  local function say(format, ...) lines[#lines + 1] = format:format(...) end
  local function option(name, value) say("#SBATCH --%s=%s", name, value) end
  option("job-name", quoted(o.name))
  option("array", ("0-%d%s"):format(o.count - 1, o.jobs and "%" .. o.jobs or ""))
  if o.after then option("dependency", "afterany:" .. o.after) end
  option("cpus-per-task", o.cpus)
  for _, name in ipairs { "partition", "time", "mem" } do
    if o[name] then option(name, o[name]) end
  end
  say "#SBATCH --ntasks=1"
  say "#SBATCH --requeue" -- what is preempted, or whose node fails, runs again and goes on from its checkpoint
  say "#SBATCH --open-mode=append"
  say "#SBATCH --signal=B:USR1@60" -- a minute before the time limit
  option("chdir", quoted(o.folder))
  option("output", quoted(literal(o.logs) .. "/%A_%a.txt"))
  for _, words in ipairs(o.extra) do say("#SBATCH %s", words) end
  say ""
  say "# One trial for each task. exec: signals must reach the trial itself, which then writes its checkpoint."
  say("key=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" %s)", shell(o.list))
  say("folder=%s/$key", shell(o.trials))
  say '[ -n "$key" ] && [ -d "$folder" ] || { echo "no trial $SLURM_ARRAY_TASK_ID"; exit 1; }'
  say('for part in %s "$folder" "$folder/output.txt"; do', shell(o.trials))
  say '  [ ! -L "$part" ] || { echo "$part: a symbolic link, none is followed below a store"; exit 1; }'
  say "done"
  say '[ ! -e "$folder/output.txt" ] || [ -f "$folder/output.txt" ] || { echo "$part: not a regular file"; exit 1; }'
  say '[ "${SLURM_RESTART_COUNT:-0}" != 0 ] || : >"$folder/output.txt"'
  say "trap '' USR1 # until lipwb listens"
  say "unset LIPWB_THREADS # threads are SLURM_CPUS_PER_TASK"
  say('exec %s sweep task "$folder" >>"$folder/output.txt" 2>&1', shell(o.program))
  return table.concat(lines, "\n") .. "\n"
end

--- Cuts a list into pieces of at most `size`.
function batch.chunks(list, size)
  local pieces = {}
  for i = 1, #list, size do pieces[#pieces + 1] = table.move(list, i, math.min(i + size - 1, #list), 1, {}) end
  return pieces
end

-- ---- what Slurm says ----

--- The largest number of tasks in one array, from `scontrol show config`; nil, message when it has none.
function batch.array_size(text)
  local size = math.tointeger(tonumber(text:match "MaxArraySize%s*=%s*(%d+)"))
  if not size then return nil, "scontrol show config says nothing of MaxArraySize" end
  if size < 2 then return nil, "this Slurm has arrays of jobs switched off (MaxArraySize)" end
  return size
end

--- The job's number, from `sbatch --parsable`, before which messages may stand.
function batch.job_id(text)
  local id
  for line in text:gmatch "[^\n]+" do id = line:match "^(%d+)%s*$" or line:match "^(%d+);%S*%s*$" or id end
  return id
end

--- How squeue is asked: every task on a line of its own, the job's name last as it may hold anything.
batch.QUEUE = { "squeue", "--me", "-h", "-r", "-o", "%F %K %T %r|%j" }

--- What it answers: { ["job_task"] = { job=, task=, state=, reason=, name= } }
function batch.queue(text)
  local tasks = {}
  for line in text:gmatch "[^\n]+" do
    local job, task, state, reason, name = line:match "^(%d+) (%d+) (%S+) (.-)|(.*)$"
    if job then
      tasks[job .. "_" .. task] = { job = job, task = tonumber(task), state = state, reason = reason, name = name }
    end
  end
  return tasks
end

local function ended(state, code, reason)
  local exit, signal = code:match "(%d+):(%d+)"
  return { state = state, exit = tonumber(exit), signal = tonumber(signal),
    reason = reason ~= "None" and reason or nil }
end

--- How the tasks of an array ended, by number, from `scontrol -o show job` (a line for each; only those it still
--- remembers): { state=, exit=, signal=, reason= }
function batch.ended(text)
  local tasks = {}
  for line in text:gmatch "[^\n]+" do
    local task, state = line:match " ArrayTaskId=(%d+) ", line:match " JobState=(%u[%u_]*)"
    if task and state then
      tasks[tonumber(task)] = ended(state, line:match " ExitCode=(%d+:%d+)" or "0:0", line:match " Reason=(%S+)")
    end
  end
  return tasks
end

--- The same from `sacct -nPX -o JobID,State,ExitCode`, which remembers longer, where there is accounting.
function batch.ended_accounts(text)
  local tasks = {}
  for line in text:gmatch "[^\n]+" do
    local task, state, code = line:match "^%d+_(%d+)|(%u[%u_]*)[^|]*|(%d+:%d+)"
    if task then tasks[tonumber(task)] = ended(state, code) end
  end
  return tasks
end

-- Endings that are nobody's fault: the trial is back in the queue and goes on when it is submitted again.
local INNOCENT = { CANCELLED = true, PREEMPTED = true, NODE_FAIL = true, BOOT_FAIL = true, REVOKED = true }

local WORDS = {
  OUT_OF_MEMORY = "its job needed more memory than it asked for (--mem)",
  TIMEOUT = "its job ran into the time limit (--time)",
  CANCELLED = "its job was cancelled", PREEMPTED = "its job was preempted", NODE_FAIL = "its node failed",
  BOOT_FAIL = "its node did not start", DEADLINE = "its job missed its deadline",
}

--- The end line of a journal for a trial whose job is gone without a word.
---@param how table|nil its job's end, as batch.ended tells
---@param log string Slurm's own messages about the job
---@param output string the end of what the trial printed
---@param now number
function batch.end_line(how, log, output, now)
  local message = how and WORDS[how.state]
  if not message and (log:find "[Oo]ut [Oo]f [Mm]emory" or log:find "oom[-_ ]kill" or log:find "memory limit") then
    message = WORDS.OUT_OF_MEMORY
  elseif not message and log:find "DUE TO TIME LIMIT" then
    message = WORDS.TIMEOUT
  end
  message = message or how and ("its job ended as %s without a word"):format(how.state)
    or "its job is gone without a word"
  if how and how.reason then message = ("%s (%s)"):format(message, how.reason) end
  local stopped = how ~= nil and INNOCENT[how.state] == true
  if not stopped then
    local said = (log .. output):gsub("%s+$", "")
    if said ~= "" then message = message .. (said:find "\n" and "\n" or ": ") .. said end
  end
  local function number(name) -- 0: not that
    return how and how[name] ~= 0 and how[name] or nil
  end
  return {
    event = "end", state = stopped and "stopped" or "failed", message = message, exit = number "exit",
    signal = number "signal", time = now,
  }
end

--- The state to show for a trial: what its journal says, joined with what Slurm says of its task.
---@param state string queued, running, done, failed or pruned
---@param task table|nil the task in Slurm's queue
---@return string state queued, running, done, failed, pruned; "missing": queued, and Slurm knows nothing of it; "gone":
--- running, and Slurm knows nothing of it
function batch.state(state, task)
  if state == "queued" and not task then return "missing" end
  if state == "running" and not task then return "gone" end
  if state == "running" and task.state == "PENDING" then return "queued" end -- requeued before it could say so
  return state
end

return batch
