--- Sweeps on a cluster, in the words of the command line: `lipwb sweep FILE --slurm` submits the trials as arrays of
-- jobs, `lipwb sweep collect FILE` brings their journals into the database, `status` shows where they are, `cancel`
-- ends them. `lipwb sweep task FOLDER` is what a job runs: one trial.
local lip = require "lip"
local argparse = require "argparse"
local batch = require "lip.sweep.batch"
local commands = require "lip.command"
local jobs = require "lip.sweep.jobs"
local journal = require "lip.sweep.journal"
local shell = require "lip.shell"

local slurm = {}

local OK, FAILED, USAGE, INTERRUPTED = commands.OK, commands.FAILED, commands.USAGE, commands.INTERRUPTED
local SHOWN = 20 -- trials in one list of `status`

local complain, say = commands.complainer "lipwb sweep", commands.say

local function config_text(config)
  return require "lip.sweep.view".config(config)
end

-- ---- submitting ----

-- What only a process on this machine can do.
local HERE = { "retries", "fail_fast", "plot" }

local function options_of(given)
  for _, name in ipairs(HERE) do
    local word = name:gsub("_", "-")
    if given[name] then error(("--%s is for sweeps on this machine, not for --slurm"):format(word), 0) end
  end
  return batch.options {
    jobs = given.jobs, partition = given.partition, time = given.time, mem = given.mem,
    cpus = given.cpus or given.threads, chunk = given.chunk, sbatch = given.sbatch,
  }
end

local function submit_missing(job, options)
  if job.search then -- trials chosen by the results so far
    local made, why = pcall(require "lip.sweep.runner".extend, job)
    if not made then return nil, tostring(why) end
  end
  local told = {}
  for key, value in pairs(job) do told[key] = value end
  told.threads, told.store_name = nil, nil -- the node's processors; no database there
  return jobs.submit(job.store, job.plan.name, options, function(trial)
    local file = job.plan:trial_file(trial, told)
    file.attempt = trial.attempt + 1
    return file
  end)
end

local function say_submitted(job, result)
  local words = {}
  if result.trials > 0 then
    words[1] = ("%d trials submitted as job%s %s"):format(result.trials, #result.jobs > 1 and "s" or "",
      table.concat(result.jobs, ", "))
  end
  if result.alive > 0 then words[#words + 1] = ("%d were in Slurm's queue before"):format(result.alive) end
  if #words == 0 then words[1] = "nothing to submit" end
  say(("%s: %s"):format(job.plan.name, table.concat(words, "; ")))
end

--- Submits what waits; the exit status. `job` from command.prepare, `given` the options of the command line.
function slurm.submit(job, given)
  local valid, options = pcall(options_of, given)
  if not valid then return complain(options, USAGE) end
  local result, message = submit_missing(job, options)
  if not result then return complain(message, FAILED) end
  say_submitted(job, result)
  if job.search then say "lipwb sweep collect FILE --watch submits the next ones as results come in" end
  return OK
end

--- 0 when trials of the sweep may run here; else says why not and returns the exit status.
function slurm.keeps_away(job)
  local alive, message = jobs.alive(job.store, job.plan.name)
  if alive == 0 then return OK end
  return complain(message or ("%d of its trials are in Slurm's queue: lipwb sweep cancel FILE ends them"):format(alive),
    FAILED)
end

--- Prints what would be submitted; the exit status. `count` trials are to do.
function slurm.dry_run(job, given, count)
  local valid, options = pcall(options_of, given)
  if not valid then return complain(options, USAGE) end
  local path = lip.file.absolute(require "lip.sweep.command".store_path(given))
  local store = { root = path .. ".d", sweep_file = function(_, name, ending)
    return path .. ".d/sweeps/" .. name .. ending
  end }
  if count == 0 then
    say(("%s: nothing to submit"):format(job.plan.name))
    return OK
  end
  local text, arrays, guess = jobs.preview(store, job.plan.name, options, count)
  say(("%s: %d trials in %d array%s of jobs%s; the first:\n"):format(job.plan.name, count, arrays,
    arrays == 1 and "" or "s", guess and (" (a guess: %s)"):format(guess) or ""))
  io.write(lip.process.terminal() and lip.plain(text, true) or text)
  return OK
end

-- ---- looking ----

local function totals(view)
  local c = view.counts
  local words = { ("%d of %d done"):format(c.done, #view.trials) }
  for _, state in ipairs { "failed", "pruned", "running", "queued" } do
    if c[state] > 0 then words[#words + 1] = ("%d %s"):format(c[state], state) end
  end
  if c.missing > 0 then words[#words + 1] = ("%d to submit"):format(c.missing) end
  if view.skipped > 0 then words[#words + 1] = ("%d damaged lines skipped"):format(view.skipped) end
  return table.concat(words, ", ")
end

local function list(view, state, line)
  local n = 0
  for _, seen in ipairs(view.trials) do
    if seen.state == state then
      n = n + 1
      if n <= SHOWN then say(line(seen.record, seen.task)) end
    end
  end
  if n > SHOWN then say(("  ... and %d more"):format(n - SHOWN)) end
end

local function show(view)
  if view.counts.running > 0 then say "running:" end
  list(view, "running", function(trial, task)
    local progress = trial.step and ("  step %d%s"):format(trial.step, trial.total and "/" .. trial.total or "") or ""
    return ("  %d  job %s  %s%s  %s"):format(trial.number, task and ("%s_%d"):format(task.job, task.task) or "none",
      trial.host or "", progress, config_text(trial.config))
  end)
  local reasons = {}
  for reason in pairs(view.waiting) do reasons[#reasons + 1] = reason end
  table.sort(reasons)
  for _, reason in ipairs(reasons) do say(("queued: %d (%s)"):format(view.waiting[reason], reason)) end
  if view.counts.failed > 0 then say "failed:" end
  list(view, "failed", function(trial)
    return ("  %d  %s: %s"):format(trial.number, config_text(trial.config),
      require "lip.sweep.view".plain((trial.message or ""):match "^[^\n]*"))
  end)
end

-- The sweep's file and what else names it, as the words that were given.
local function words_of(options)
  local words = { options.file }
  for _, name in ipairs { "store", "name" } do
    if options[name] then table.move({ "--" .. name, options[name] }, 1, 2, #words + 1, words) end
  end
  for _, pair in ipairs(options.set or {}) do
    table.move({ "--set", pair[1] .. "=" .. pair[2] }, 1, 2, #words + 1, words)
  end
  return shell.line(words)
end

local function advice(view, options)
  local command = "lipwb sweep " .. words_of(options) .. " --slurm"
  if view.counts.missing > 0 then say(command .. " submits what is missing") end
  if view.counts.failed > 0 then say(command .. " --retry failed runs again what failed") end
end

-- ---- words ----

local function parser(word, text)
  local p = argparse("lipwb sweep " .. word, text)
  p:argument("file", "The sweep file, or the name of a stored sweep.")
  p:option("--store", "Database of results (default: $LIPWB_STORE, or runs.db).")
  p:option("--name", "Name of the sweep, where it was given another.")
  local setting = require "lip.sweep.command".setting
  p:option("--set", "Setting of the sweep file.", nil, setting):argname "NAME=VALUE":count "*"
  if word == "collect" then
    p:flag("--watch", "Again and again until Slurm's queue is empty. Ctrl-C leaves the jobs alone.")
    p:option("--every", "Seconds between two looks.", "10", tonumber)
  end
  return p
end

-- The name of the sweep that is meant, its store, and whether it is one whose trials depend on results; nil, message.
local function find(options)
  local name, set, grows = options.name, {}, false
  if lip.file.exists(options.file) then
    for _, pair in ipairs(options.set) do set[pair[1]] = pair[2] end
    local ok, plan = pcall(require "lip.sweep.plan".load, options.file, set, name)
    if not ok then return nil, tostring(plan) end
    name, grows = plan.name, plan.sweep.search.kind == "tpe"
  end
  name = name or options.file
  local path = require "lip.sweep.command".store_path(options)
  if not lip.file.exists(path) then return nil, path .. ": no such store" end
  local store, message = require "lip.sweep.store".open(path)
  if not store then return nil, message end
  local description
  description, message = store:describe(name)
  if not description then return nil, message or ("%s holds no sweep '%s'"):format(path, name) end
  return name, store, grows
end

local words = {}

function words.status(name, store, options)
  local view, message = jobs.look(store, name)
  if not view then return complain(message, FAILED) end
  say(("%s: %s"):format(name, totals(view)))
  show(view)
  advice(view, options)
  return OK
end

-- What a growing sweep tries next is submitted as the first trials were; how many.
local function submit_next(view, options)
  if not view.options then return 0 end
  local job, status = require "lip.sweep.command".prepare(options)
  if not job then return nil, status end
  local _ <close> = job.store
  local result, message = submit_missing(job, view.options)
  if not result then return nil, complain(message, FAILED) end
  if result.trials > 0 then say_submitted(job, result) end
  return result.trials
end

-- Looks until nothing is left in Slurm's queue, or a signal comes; the exit status.
local function watch(name, store, options, grows)
  local before
  while true do
    local view, message = jobs.look(store, name)
    if not view then return complain(message, FAILED) end
    local text, more = totals(view), 0
    local changed = text ~= before
    if changed then say(("%s: %s"):format(name, text)) end
    io.stdout:flush()
    before = text
    if grows and changed then
      more, message = submit_next(view, options)
      if not more then return message end
    end
    if view.alive == 0 and more == 0 then
      advice(view, options)
      return view.counts.failed > 0 and FAILED or OK
    end
    lip.process.sleep(options.every)
    if lip.process.pending() > 0 then
      say(("the jobs go on; lipwb sweep cancel %s ends them"):format(words_of(options)))
      return INTERRUPTED
    end
  end
end

function words.collect(name, store, options, grows)
  if options.watch then
    lip.process.signals "hold"
    local _ <close> = setmetatable({}, { __close = function() lip.process.signals "normal" end })
    return watch(name, store, options, grows)
  end
  local view, message = jobs.look(store, name)
  if not view then return complain(message, FAILED) end
  say(("%s: %s"):format(name, totals(view)))
  advice(view, options)
  return view.counts.failed > 0 and FAILED or OK
end

function words.cancel(name, store)
  local count, message = jobs.cancel(store, name)
  if not count then return complain(message, FAILED) end
  say(("%s: %s"):format(name, count > 0 and ("%d tasks were asked to end"):format(count)
    or "Slurm's queue holds nothing of it"))
  return OK
end

local texts = {
  status = "Shows where the trials are that were submitted to Slurm.",
  collect = "Brings the journals of trials on other nodes into the database. Exit status: 1 when trials failed.",
  cancel = "Ends the jobs of a sweep. What runs writes its checkpoint and goes on when it is submitted again.",
}

-- ---- on a node ----

-- A trial that was asked to stop while its job goes on (USR1, a minute before the time limit) waits in Slurm's queue
-- again and goes on from its checkpoint. Not when Slurm is ending the job by itself (cancelled, preempted: the job is
-- no longer RUNNING then), and not without a checkpoint: that trial would begin again for ever.
local function requeue_self(folder, id)
  local has_checkpoint = false
  for _, name in ipairs(lip.file.list(folder, journal.below(folder)) or {}) do
    has_checkpoint = has_checkpoint or name:find "%.safetensors$" ~= nil
  end
  if not has_checkpoint then return end
  local seen = lip.process.run { "squeue", "-h", "-j", id, "-o", "%T", timeout = 60 }
  if not seen or not seen.output:find "^RUNNING" then return end
  local done = lip.process.run { "scontrol", "requeue", id, timeout = 60 }
  if done and done.exit ~= 0 then io.stderr:write("scontrol requeue ", id, ": ", lip.plain(done.errors, true)) end
end

-- Why this task has nothing to do: its trial has ended (Slurm may start a task again that had already finished), or
-- runs in another job (a submission that broke off and was made again). Nil when it has.
local function needless(folder, id)
  local text = lip.file.read(folder .. "/trial.json", 0, journal.below(folder))
  local told = text and lip.from_json(text)
  if type(told) ~= "table" then told = {} end
  local over, other, running = false, nil, false
  for _, line in ipairs(journal.read(folder) or {}) do
    if line.event == "slurm" then
      other = line.job
    elseif line.event == "start" then
      over, running = false, true
    elseif line.event == "end" then
      local ours = line.sweep == told.sweep and line.state ~= "stopped" and (line.attempt or 0) >= (told.attempt or 0)
      over, running = line.state == "done" or ours, false -- what another sweep calls failed or pruned is not
    elseif line.event == "queued" then
      over = false
    end
  end
  if over then return "this trial has ended" end
  if not running or not other or other == id then return nil end
  local seen = lip.process.run { "squeue", "-h", "-j", other, "-o", "%T", timeout = 60 }
  if seen and seen.output:find "^RUNNING" then return "this trial runs as job " .. other end
end

local function task(folder)
  lip.process.signals "stop"
  local job = os.getenv "SLURM_ARRAY_JOB_ID" or os.getenv "SLURM_JOB_ID"
  local index = os.getenv "SLURM_ARRAY_TASK_ID"
  local id = job and index and job .. "_" .. index or job
  if id then
    local reason = needless(folder, id)
    if reason then
      say(reason)
      return OK
    end
    local ok, message = journal.append(folder, { event = "slurm", job = id, time = lip.now(),
      node = os.getenv "SLURMD_NODENAME", restart = math.tointeger(tonumber(os.getenv "SLURM_RESTART_COUNT" or "0")) })
    if not ok then return complain(message, FAILED) end
  end
  local status = require "lip.sweep.worker".main(folder)
  if id and status == INTERRUPTED then requeue_self(folder, id) end
  return status
end

--- Runs the words after `lipwb sweep` that begin with status, collect, cancel or task; the exit status.
function slurm.main(word, ...)
  if word == "task" and select("#", ...) == 1 then return task(...) end
  if not texts[word] then return complain("task: the folder of a trial expected", USAGE) end
  local p = parser(word, texts[word])
  if commands.helped(p, { ... }) then return OK end
  local options, wrong = commands.parse(p, { ... }, complain)
  if not options then return wrong end
  local name, store, grows = find(options)
  if not name then return complain(store, FAILED) end
  local _ <close> = store
  return words[word](name, store, options, grows)
end

return slurm
