--- `lipwb sweep FILE`: the command line of sweeps.
local lip = require "lip"
local argparse = require "argparse"
local callback = require "lip.callback"
local commands = require "lip.command"
local plan = require "lip.sweep.plan"
local shell = require "lip.shell"
local view = require "lip.sweep.view"

local command = {}

local OK, FAILED, USAGE, INTERRUPTED = commands.OK, commands.FAILED, commands.USAGE, commands.INTERRUPTED
local OLD_STARTUP = 10 -- of searches described before that was written down
local MAX_JOBS, MAX_THREADS, MAX_FAILURES = 1024, 64, 5

-- ---- the command line ----

local function whole(low, high)
  return function(text)
    local n = math.tointeger(tonumber(text))
    if n and n >= low and n <= high then return n end
    return nil, ("a whole number from %d to %d is expected, got '%s'"):format(low, high, text)
  end
end

local function setting(text)
  local name, value = text:match "^([%a_][%w_]*)=(.*)$"
  if name then return { name, value } end
  return nil, ("--set expects NAME=VALUE, got '%s'"):format(text)
end
command.setting = setting

local function parser()
  local p = argparse("lipwb sweep", "Runs the trials that a sweep file describes, each in a process of its own.\n"
    .. "The same command again goes on where the last one ended.")
  p:epilog("Ctrl-C once lets workers finish their step and write checkpoints, twice ends at once.\n"
    .. "On a cluster: --slurm submits; lipwb sweep status|collect|cancel FILE looks after what was submitted.\n"
    .. "Exit status: 0 all done, 1 some trials failed, 2 wrong usage, 130 interrupted.")
  p:argument("file", "Lua file that returns lip.sweep{...}.")
  p:option("-j --jobs", "Trials at once (default: processors; on Slurm no limit).", nil, whole(1, MAX_JOBS))
  p:option("--store", "Database of results (default: $LIPWB_STORE, or runs.db); FILE.d beside it holds the rest.")
  p:option("--set", "Setting of the sweep file, or, if it has none, of all trials.", nil, setting):argname "NAME=VALUE"
    :count "*"
  p:option("--name", "Name of the sweep (default: the one it gives itself, or that of its file).")
  p:option("--threads", "Threads of each trial (default: processors / jobs).", nil, whole(1, MAX_JOBS))
  p:option("--retries", "Trials that crash run again, so many times.", nil, whole(0, 1000))
  p:option("--retry", "failed: trials that failed go back to the queue."):choices { "failed" }
  p:option("--data", "Folder of data sets, as of scripts.")
  p:option("--plot", "Draws the sweep's figure at the end."):argname "PICTURE"
  p:option("--tensorboard", "Folder for event files."):argname "DIR"
  p:flag("--accept", "Takes a changed description: trials that are still in it keep their results.")
  p:flag("--dry-run", "Shows what would run, and about how long.")
  p:flag("--fail-fast", "The first failure stops the sweep.")
  p:flag("--slurm", "Submits the trials to Slurm instead of running them here.")
  p:option("--partition", "Slurm: partition.")
  p:option("--time", "Slurm: limit of each trial.")
  p:option("--mem", "Slurm: memory of each trial.")
  p:option("--cpus", "Slurm: processors of each trial.", nil, whole(1, MAX_JOBS))
  p:option("--chunk", "Slurm: most trials in one array of jobs (default: what Slurm allows).", nil, whole(1, 1000000))
  p:option("--sbatch", "Slurm: more options of sbatch, as in --sbatch=--qos=low."):argname "WORDS":count "*"
  return p
end
command.parser = parser

local complain, say = commands.complainer "lipwb sweep", commands.say

-- ---- preparation, shared with what runs elsewhere ----

local function processors()
  return lip.info().processors or 1
end

--- Where results go.
function command.store_path(options)
  local own = os.getenv "LIPWB_STORE"
  return options.store or (own ~= "" and own or nil) or "runs.db"
end

local function set_of(options)
  local set = {}
  for _, pair in ipairs(options.set or {}) do set[pair[1]] = pair[2] end
  return set
end

-- What has changed, on standard error; the exit status.
local function show_difference(job, before)
  local difference = require "lip.sweep.difference"
  local now = job.plan:description()
  local lines = { ("the sweep '%s' in %s is another than this one:"):format(job.plan.name, job.store.path) }
  for _, text in ipairs(difference.fields(before, now)) do lines[#lines + 1] = "  " .. text end
  if before.format ~= now.format then
    lines[#lines + 1] = "  (older programs cut the texts in lists at blanks and commas: such trials are run again)"
  end
  if before.script_sha256 ~= now.script_sha256 then
    local text = job.store:object(before.script_sha256)
    local diff = text
      and difference.texts(text, job.plan.script_text, "stored " .. (before.script or ""), job.plan.script)
    if diff then lines[#lines + 1] = diff:gsub("\n$", "") end
  end
  lines[#lines + 1] = "--accept takes the new description; --name or --store keeps both"
  return complain(table.concat(lines, "\n"), USAGE)
end

-- Trials of the stored description that are still in the new one; of a search that follows results those it would
-- still come to.
local function kept(job, before)
  local trials = job.plan:trials()
  if job.plan.sweep.search.kind ~= "tpe" then return trials end
  local now = lip.from_json(lip.to_json(job.plan:description()))
  local n, startup = now.search.n, now.search.startup
  before.search = before.search or {}
  -- another beginning: what is common to both
  if before.search.startup ~= startup then
    n = math.min(n, now.search.ahead + math.min(startup, before.search.startup or OLD_STARTUP))
  end
  for _, name in ipairs { "n", "startup" } do before.search[name], now.search[name] = nil, nil end
  if lip.to_json(before) ~= lip.to_json(now) then return {} end
  local list = {}
  for _, record in ipairs(job.store:trials { sweep = job.plan.name } or {}) do
    if record.number <= n then
      list[#list + 1] = { number = record.number, key = record.key, config = record.config, seed = record.seed }
    end
  end
  return list
end

-- The sweep's id in the store; nil, status when that is not to be.
local function enter(job, options)
  local store, sweep = job.store, job.plan
  local id, message, code = store:add_sweep(sweep.name, sweep:description())
  if id then
    local new, why = store:enqueue(id, job.trials)
    if not new then return nil, complain(why, FAILED) end
    return id
  end
  if code ~= "changed" then return nil, complain(message, FAILED) end
  local before = store:describe(sweep.name)
  if not options.accept then return nil, show_difference(job, before) end
  local list, left = kept(job, before), {}
  for _, record in ipairs(store:trials { sweep = sweep.name } or {}) do left[record.key] = true end
  for _, trial in ipairs(list) do left[trial.key] = nil end
  id, message = require "lip.sweep.accept".replace(store, sweep.name, sweep:description(), list)
  if not id then return nil, complain(message, FAILED) end
  local gone = 0
  for _ in pairs(left) do gone = gone + 1 end
  if gone > 0 then
    say(("%d trial%s left the sweep; the old text with --accept brings %s back, until lipwb runs gc --delete"):format(
      gone, gone == 1 and "" or "s", gone == 1 and "it" or "them"))
  end
  return id
end

-- Absolute, as a trial may be run again from elsewhere.
local function data_folder(path)
  if not path then return nil end
  local there = lip.file.stat(path)
  if not there or there.kind ~= "folder" then error(("--data expects a folder, got %s"):format(path), 0) end
  return lip.file.absolute(path)
end

--- Everything between the words and the first trial: job = { plan=, trials=, total=, jobs=, threads=, store=,
--- sweep= id, search=, provenance=, data=, tensorboard= }; nil and the exit status when it cannot be.
---@param options table as parsed
---@param dry? boolean nothing is written; job.store only when there is one
function command.prepare(options, dry)
  local job = { jobs = options.jobs or processors(), data = data_folder(options.data or lip.settings.data) }
  job.threads = math.min(options.threads or math.max(1, processors() // job.jobs), MAX_THREADS)
  job.plan = plan.load(options.file, set_of(options), options.name)
  local sweep = job.plan.sweep
  if options.plot and not options.slurm then -- which refuses it by itself
    if not sweep.figure then error("--plot: this sweep describes no figure (lip.sweep{ figure = ... })", 0) end
    local unusable = require "lip.plot.file".refusal(options.plot)
    if unusable then error("--plot: " .. unusable, 0) end
  end
  local refusal, kinds = require "lip.sweep.settings".refusal(job.plan, job.data)
  if refusal then error(refusal, 0) end
  job.plan:learn(kinds)
  job.trials, job.total = job.plan:trials(), job.plan:total()
  job.retries, job.fail_fast = options.retries or sweep.retries, options.fail_fast
  if sweep.search.kind == "tpe" then
    job.search = require "lip.sweep.tpe"(sweep.search.space, { n = sweep.search.n, ahead = sweep.search.ahead,
      startup = sweep.search.startup, seed = sweep.search.seed, minimise = sweep.minimise ~= nil })
  end
  local path = command.store_path(options)
  if dry and not lip.file.exists(path) then return job end
  local store, message = require "lip.sweep.store".open(path, { create = not dry, readonly = dry })
  if not store then return nil, complain(message, FAILED) end
  job.store = store
  if dry then return job end
  for _, text in ipairs { job.plan.script_text, job.plan.file_text } do
    local sha, why = store:put_object(text)
    if not sha then return nil, complain(why, FAILED) end
  end
  local id, status = enter(job, options)
  if not id then return nil, status end
  job.sweep = id
  job.several = #(store:sweeps() or {}) > 1
  if options.retry then store:retry(id, options.retry) end
  job.store_name = store.path:match "[^/]*$"
  job.tensorboard = options.tensorboard and lip.file.absolute(options.tensorboard)
  job.provenance = require "lip.provenance".common { folder = job.plan.script:match "^(.*)/" or ".", store = store }
  return job
end

-- ---- what is known ----

-- How many trials have ended here and would not run again, and how many a finished one of another sweep answers.
local function count_known(job, options)
  local ends, queued, own = { done = true, pruned = true, failed = not options.retry }, {}, 0
  for _, trial in ipairs(job.trials) do queued[trial.key] = true end
  local store = job.store
  for _, record in ipairs(store and store:trials { sweep = job.plan.name } or {}) do
    if ends[record.state] and (job.search or queued[record.key]) then own = own + 1 end
    if record.state ~= "queued" then queued[record.key] = nil end
  end
  local elsewhere = 0
  for _, row in ipairs(store and store.db:rows([[SELECT DISTINCT t.key FROM trials t JOIN sweeps s ON s.id = t.sweep
    WHERE t.state = 'done' AND s.name <> ?]], job.plan.name) or {}) do
    if queued[row.key] then elsewhere = elsewhere + 1 end
  end
  return own, elsewhere
end

local function known_text(own, elsewhere, total)
  local words = {}
  if own > 0 then words[1] = ("%d from earlier runs"):format(own) end
  if elsewhere > 0 then words[#words + 1] = ("%d from other sweeps of the store"):format(elsewhere) end
  return ("%d of %d trials are known: %s"):format(own + elsewhere, total, table.concat(words, ", "))
end

-- ---- dry run ----

-- Seconds of finished trials with the same script, of this sweep when there are some.
local function typical_seconds(job)
  if not job.store then return nil end
  local own, other = {}, {}
  for _, sweep in ipairs(job.store:sweeps() or {}) do
    if sweep.description.script_sha256 == job.plan.script_sha256 then
      local list = sweep.name == job.plan.name and own or other
      for _, record in ipairs(job.store:trials { sweep = sweep.name, state = "done" } or {}) do
        list[#list + 1] = record.seconds
      end
    end
  end
  local list = #own > 0 and own or other
  return require "lip.sweep.runner".median(list), #list
end

local function dry_run(job, options)
  local own, elsewhere = count_known(job, options)
  local finished = own + elsewhere
  if options.slurm then return require "lip.sweep.slurm".dry_run(job, options, job.total - finished) end
  say(("%s: %d trials, %d at once, %d thread%s each"):format(job.plan.name, job.total, job.jobs, job.threads,
    job.threads == 1 and "" or "s"))
  local first, last = job.trials[1], job.trials[#job.trials]
  if first then
    say("first: " .. view.config(first.config))
    say("last:  " .. view.config(last.config))
  else
    say(("first: %s"):format(view.config(job.search:suggest(1, {}))))
    local fixed = job.search:fixed()
    say(("1 to %d are fixed points; %s"):format(fixed, fixed == job.total and
      "all of them: a larger n, a smaller startup or ahead lets results choose"
      or ("%s chosen by the results before"):format(fixed + 1 == job.total and ("%d is"):format(job.total)
        or ("%d to %d are"):format(fixed + 1, job.total))))
  end
  local rest = job.total - finished
  if finished > 0 then
    say(known_text(own, elsewhere, job.total))
    say(("finished: %d, to do: %d"):format(finished, rest))
  end
  local seconds, n = typical_seconds(job)
  if seconds then
    say(("about %s (%d finished trials of this script took %s, the median)"):format(
      view.duration(seconds * math.ceil(rest / job.jobs)), n, view.duration(seconds)))
  else
    say "no finished trial of this script to estimate the time from"
  end
  local before = job.store and job.store:describe(job.plan.name)
  if before and lip.to_json(before) ~= lip.to_json(lip.from_json(lip.to_json(job.plan:description()))) then
    say(("a sweep '%s' of another description is there: without --accept this is refused"):format(job.plan.name))
  end
  return OK
end

-- ---- running ----

local function show_words(job, number, options)
  return shell.line { "lipwb", "runs", "show", ("%s/%d"):format(job.plan.name, number),
    table.unpack(options.store and { "--store", options.store } or {}) }
end

local function summary(job, result, options)
  local counts = result.counts
  say(("%s: %s, %s"):format(job.plan.name, view.totals(counts, result.total), view.duration(result.seconds)))
  if result.best then
    say(view.best(result.best, job.plan.sweep.maximise or job.plan.sweep.minimise))
    say("  " .. show_words(job, result.best.number, options))
  end
  local aim, without = job.plan.sweep.maximise or job.plan.sweep.minimise, {}
  for _, r in ipairs(aim and job.store:trials { sweep = job.sweep, state = "done" } or {}) do
    if r.value == nil then without[#without + 1] = r.number end
  end
  if #without > 0 then
    local text = "note: the rows of %d done trials have no figure '%s', which the sweep looks at (the first: trial %d)"
    say(text:format(#without, view.plain(aim), without[1]))
  end
  if counts.failed > 0 then
    local told, records = {}, {}
    for _, r in ipairs(result.failed) do told[r.key] = true end
    for _, r in ipairs(job.store:trials { sweep = job.sweep, state = "failed" } or {}) do
      if not told[r.key] then records[#records + 1] = r end
    end
    for i = 1, math.min(#records, MAX_FAILURES) do
      local r = records[i]
      io.stderr:write(("trial %d failed (%s): %s\n"):format(r.number, view.config(r.config),
        view.plain((r.message or "no message"):match "^[^\n]*")))
    end
    if #records > MAX_FAILURES then io.stderr:write(("and %d more\n"):format(#records - MAX_FAILURES)) end
    local one = records[1] or result.failed[1]
    if one then io.stderr:write(lip.plain(show_words(job, one.number, options)), " tells what happened to one\n") end
    io.stderr:write "--retry failed runs them again\n"
  end
end

local function draw_figure(job, path)
  local made = callback.call("sweep: figure", job.plan.sweep.figure, job.store:trials { sweep = job.sweep })
  made.file = path
  local ok, message = lip.plot(made)
  if not ok then return complain("--plot: " .. message, FAILED) end
  say("figure: " .. path)
  return OK
end

local function run(job, options)
  job.view = view.new { out = io.stdout, columns = lip.process.terminal, now = lip.time }
  if job.search and job.jobs > job.search.ahead then
    say(("at most %d at once: so many results the search does without (ahead)"):format(job.search.ahead))
  end
  local own, elsewhere = count_known(job, options)
  if own + elsewhere > 0 then say(known_text(own, elsewhere, job.total)) end
  local result = require "lip.sweep.runner".run(job)
  summary(job, result, options)
  if result.misuse then return complain(result.misuse, USAGE) end
  if result.stopping == "interrupt" then return INTERRUPTED end
  local status = (result.counts.failed > 0 or result.stopping) and FAILED or OK
  if options.plot then status = math.max(status, draw_figure(job, options.plot)) end
  return status
end

--- Runs the words after `lipwb sweep`; returns the exit status.
function command.main(...)
  local words = { ... }
  local of_slurm = { status = true, collect = true, cancel = true, task = true }
  if of_slurm[words[1]] then return require "lip.sweep.slurm".main(...) end
  local p = parser()
  if commands.helped(p, words) then return OK end
  local options, wrong = commands.parse(p, words, complain)
  if not options then return wrong end
  for _, name in ipairs { "partition", "time", "mem", "cpus", "chunk", "sbatch" } do
    local given = options[name] ~= nil and (name ~= "sbatch" or #options[name] > 0)
    if given and not options.slurm then return complain(("--%s belongs to --slurm"):format(name), USAGE) end
  end
  local loaded, job, status = pcall(command.prepare, options, options.dry_run)
  if not loaded then
    if lip.interrupted() then error(job, 0) end
    return complain(tostring(job), USAGE)
  end
  if not job then return status end
  if options.dry_run then return dry_run(job, options) end
  if options.slurm then return require "lip.sweep.slurm".submit(job, options) end
  status = require "lip.sweep.slurm".keeps_away(job)
  if status ~= OK then return status end
  local ran, result = pcall(run, job, options)
  if not ran then return complain(tostring(result), FAILED) end
  return result
end

return command
