--- The jobs of a sweep in Slurm: submitting them, seeing where they are, ending them. The words of the command line
-- stand in lip.sweep.slurm, the texts in lip.sweep.batch.
--
-- The nodes share a folder with this machine, the store's FILE.d, and never see the database (SQLite's WAL is not for
-- network file systems): a trial reads trial.json and appends to its journal, nothing else. What was submitted stands
-- in FILE.d/sweeps/NAME.slurm.json, written before and after every sbatch, so that a submission that breaks off in the
-- middle is neither lost nor made twice:
--   { "format": 1, "name":, "options":, "chunks": [ { "tag":, "job":, "count":, "time":, "closed": }, ... ] }
-- A chunk is one array; FILE.d/sweeps/NAME.slurm/ holds for each TAG.sh (what sbatch took), TAG.keys (the key of task i
-- in line i + 1) and JOB_TASK.txt (what Slurm itself had to say about a task). A chunk is closed once none of its tasks
-- is in Slurm's queue any more and the trials that said nothing have been looked after.
--
-- Everything here answers nil, message, code when Slurm, the database or a file refuses.
local lip = require "lip"
local batch = require "lip.sweep.batch"
local journal = require "lip.sweep.journal"
local must = require "lip.sweep.ingest".must
local stores = require "lip.sweep.store"
local write_told = require "lip.sweep.runner".write_told
local guarded = stores.guarded

local jobs = {}

-- ---- asking Slurm ----

-- Standard output of a program that ended well; nil, message.
local function ask(words)
  words.timeout = 120
  local done, message, code = lip.process.run(words)
  if not done then return nil, message, code end
  if done.exit == 0 then return done.output end
  local said = (done.errors ~= "" and done.errors or done.output):gsub("%s+$", "")
  return nil, ("%s: %s"):format(words[1], said ~= "" and said or "failed"), "slurm"
end

-- How the tasks of a job ended, as far as Slurm remembers.
local function ended(job)
  local text = ask { "scontrol", "-o", "show", "job", job }
  local tasks = text and batch.ended(text) or {}
  text = ask { "sacct", "-nPX", "-j", job, "-o", "JobID,State,ExitCode" }
  for task, how in pairs(text and batch.ended_accounts(text) or {}) do tasks[task] = tasks[task] or how end
  return tasks
end

-- ---- the record ----

local function record_path(store, name)
  return store:sweep_file(name, ".slurm.json")
end

local function chunk_path(store, name, file)
  return store:sweep_file(name, ".slurm") .. "/" .. file
end

-- What stands in the file becomes words for Slurm and names of files.
local function is_record(record, name)
  local right = type(record) == "table" and record.format == 1 and record.name == name and type(record.chunks) == "table"
  for _, chunk in ipairs(right and record.chunks or {}) do
    right = right and type(chunk) == "table" and type(chunk.tag) == "string" and chunk.tag:find "^[%w-]+$"
      and (chunk.job == nil or type(chunk.job) == "string" and chunk.job:find "^%d+$")
      and (math.tointeger(chunk.count) or -1) >= 0
  end
  return right
end

local function read_record(store, name)
  local path = record_path(store, name)
  if not lip.file.exists(path, store.below) then return { format = 1, name = name, chunks = {} } end
  local record = lip.from_json(must(lip.file.read(path, 0, store.below)))
  if not is_record(record, name) then must(nil, path .. ": not a record of jobs", "format") end
  return record
end

local function write_record(store, record)
  must(lip.file.write(record_path(store, record.name), lip.to_json(record) .. "\n", store.below))
end

local function job_name(record, chunk)
  return ("lipwb-%s-%s"):format(record.name, chunk.tag)
end

-- A submission that broke off between sbatch and its note: the queue knows the job by its name.
local function find_lost(record, tasks)
  local found = false
  for _, chunk in ipairs(record.chunks) do
    if not chunk.job then
      for _, task in pairs(tasks) do
        if task.name == job_name(record, chunk) then chunk.job, found = task.job, true end
      end
    end
  end
  return found
end

-- { [key] = { id = "job_task", index =, task = in the queue or nil, job = } } of the chunks that are not closed. The
-- latest submission of a key counts, unless an earlier one is still in the queue.
local function places_of(store, record, tasks)
  local places = {}
  for _, chunk in ipairs(record.chunks) do
    if chunk.job and not chunk.closed then
      local index = 0
      for key in must(lip.file.read(chunk_path(store, record.name, chunk.tag .. ".keys"), 0,
        store.below)):gmatch "%x+" do
        local id = ("%s_%d"):format(chunk.job, index)
        local before = places[key]
        if not before or not before.task or tasks[id] then
          places[key] = { id = id, index = index, task = tasks[id], job = chunk.job }
        end
        index = index + 1
      end
    end
  end
  return places
end

-- Closes what is over. Slurm's messages about tasks that ended well are empty files: thousands of them go.
local function close_chunks(store, record, tasks)
  local alive, changed = {}, false
  for _, task in pairs(tasks) do alive[task.job] = true end
  for _, chunk in ipairs(record.chunks) do
    if not chunk.closed and not alive[chunk.job] then
      chunk.closed, changed = true, true
      for i = 0, chunk.job and chunk.count - 1 or -1 do
        local path = chunk_path(store, record.name, ("%s_%d.txt"):format(chunk.job, i))
        local file = lip.file.stat(path, store.below)
        if file and file.kind == "file" and file.size == 0 then lip.file.remove_tree(path, store.below) end
      end
    end
  end
  return changed
end

-- ---- looking ----

-- What a task has left: the end of Slurm's own messages, the end of what the trial printed.
local function last_words(store, trial, id)
  local log = lip.file.tail(chunk_path(store, trial.sweep, id .. ".txt"), 2000, store.below) or ""
  local output, lines = lip.file.tail(store:folder(trial) .. "/output.txt", 8000, store.below) or "", {}
  for line in output:gmatch "[^\r\n]+" do lines[#lines + 1] = line end
  return log, table.concat(lines, "\n", math.max(1, #lines - 19))
end

-- Whether the trial has begun in this task, by its journal, and whether its last attempt is that one: a task writes a
-- line before each start, a process of this machine does not.
local function begun_in(store, trial, id)
  local began, place, fresh = false, nil, false
  for _, line in ipairs(must(journal.read(store:folder(trial)))) do
    if line.event == "slurm" then
      began, place, fresh = began or line.job == id, line.job, true
    elseif line.event == "start" then
      place, fresh = fresh and place or nil, false
    end
  end
  return began, place == id
end

-- A trial whose task is gone without an end line gets one; true when it did. `how` its job ended may be unknown.
local function look_after(store, trial, id, how)
  local folder, began = store:folder(trial), trial.state == "running"
  local was_here, is_here = begun_in(store, trial, id)
  -- one that runs may do so elsewhere; one that waits has said so itself, or has been submitted and never began
  if began and not is_here or not began and was_here then return false end
  local log, output = last_words(store, trial, id)
  if not began and not how and log == "" then return false end
  local line = batch.end_line(how, log, began and output or "", lip.now())
  line.sweep, line.attempt = trial.sweep, trial.attempt
  if not began then
    if line.state == "stopped" then return false end
    line.attempt = trial.attempt + 1
    must(lip.file.mkdir(folder, store.below)) -- that it was missing may be why
    must(journal.append(folder, { event = "start", format = 1, key = trial.key, sweep = trial.sweep,
      number = trial.number, config = trial.config, seed = trial.seed, attempt = line.attempt, time = line.time }))
  end
  must(journal.append(folder, line, { sync = true }))
  return true
end

local function new_view()
  return { trials = {}, alive = 0, jobs = {}, skipped = 0, waiting = {},
    counts = { queued = 0, running = 0, done = 0, failed = 0, pruned = 0, missing = 0 } }
end

local function add(view, trial, state, task)
  view.trials[#view.trials + 1] = { record = trial, state = state, task = task }
  view.counts[state] = view.counts[state] + 1
  if not task then return end
  view.alive, view.jobs[task.job] = view.alive + 1, true
  if task.state == "PENDING" then view.waiting[task.reason] = (view.waiting[task.reason] or 0) + 1 end
end

-- One trial: its journal is read, and when Slurm has lost it without a word it is looked after.
local function look_at(store, view, trial, place, endings)
  local task = place and place.task
  if place or trial.state == "running" or trial.state == "queued" then
    local now, _, skipped = store:ingest(trial)
    trial = must(now, _, skipped)
    view.skipped = view.skipped + skipped
  end
  local state = batch.state(trial.state, task)
  if place and (state == "gone" or state == "missing") then
    endings[place.job] = endings[place.job] or ended(place.job)
    if look_after(store, trial, place.id, endings[place.job][place.index]) then
      trial = must(store:ingest(trial))
      state = batch.state(trial.state)
    end
  end
  if state == "gone" then state = "running" end -- no job of ours: some process runs it
  add(view, trial, state, task)
end

--- Brings the database up to date and tells what is where.
---@param store table
---@param name string of the sweep
---@return table|nil view { trials = { { record =, state =, task = }, ... }, counts = by state ("missing": it waits, and
--- Slurm knows nothing of it), waiting = { [reason of Slurm's] = trials }, alive = tasks in Slurm's queue, jobs = their
--- numbers, skipped = lines that could not be read, options = of the last submission }
---@return string? message, string? code
jobs.look = guarded(function(store, name)
  local record, tasks, open, changed = read_record(store, name), {}, false, false
  for _, chunk in ipairs(record.chunks) do open = open or not chunk.closed end
  -- Slurm first: whose task was gone before the journal was read has written all it ever will
  if open then
    tasks = batch.queue(must(ask { table.unpack(batch.QUEUE) }))
    changed = find_lost(record, tasks)
  end
  local places, view, endings = places_of(store, record, tasks), new_view(), {}
  for _, trial in ipairs(must(store:trials { sweep = name })) do
    look_at(store, view, trial, places[trial.key], endings)
  end
  if open then changed = close_chunks(store, record, tasks) or changed end
  if changed then write_record(store, record) end
  view.options = record.options
  return view
end)

--- Whether trials of a sweep may run on this machine: not while some are in Slurm's queue. 0 or how many there are.
jobs.alive = guarded(function(store, name)
  local path = record_path(store, name)
  if not lip.file.exists(path, store.below) then return 0 end
  local view, message = jobs.look(store, name)
  if view then return view.alive end
  return must(nil, ("Slurm, to which this sweep was submitted, does not answer: %s\n(%s remembers it)"):format(message,
    path), "slurm")
end)

-- ---- submitting ----

local function array_size(options)
  local size = must(batch.array_size(must(ask { "scontrol", "show", "config" })))
  return math.min(size, options.chunk or size)
end

-- The script of one chunk.
local function script(store, name, chunk, options, after)
  local o = {}
  for key, value in pairs(options) do o[key] = value end
  o.name, o.count, o.after = job_name({ name = name }, chunk), chunk.count, after
  o.list = chunk_path(store, name, chunk.tag .. ".keys")
  o.trials, o.logs = store.root .. "/trials", store:sweep_file(name, ".slurm")
  o.program, o.folder = lip.process.self().program, lip.file.cwd()
  return batch.script(o)
end

local function submit_chunk(store, record, keys, options, after)
  local chunk = { tag = ("%s-%d"):format(os.date "!%Y%m%dT%H%M%S", #record.chunks + 1), count = #keys,
    time = lip.now() }
  local file = chunk_path(store, record.name, chunk.tag)
  must(lip.file.write(file .. ".keys", table.concat(keys, "\n") .. "\n", store.below))
  must(lip.file.write(file .. ".sh", script(store, record.name, chunk, options, after), store.below))
  record.chunks[#record.chunks + 1] = chunk
  write_record(store, record)
  local text = must(ask { "sbatch", "--parsable", file .. ".sh" })
  chunk.job = must(batch.job_id(text), "sbatch answers: " .. text, "slurm")
  write_record(store, record)
  return chunk.job
end

-- A runner on this machine takes trials from the queue as well: the two would run some of them twice.
local function refuse_a_runner(view)
  local here = lip.process.self().host
  for _, seen in ipairs(view.trials) do
    local r = seen.record
    local ours = seen.state == "running" and not seen.task and r.host == here and r.pid
    if ours and lip.process.alive(r.pid, r.pid_start) then
      must(nil, ("process %d on this machine runs trial %d: wait for it, or stop it"):format(r.pid, r.number), "busy")
    end
  end
end

--- Submits every trial of a sweep that waits and is not in Slurm's queue.
---@param store table
---@param name string of the sweep, whose trials stand in the store
---@param options table from batch.options
---@param trial_file fun(trial: table): table what trial.json says: no threads (they are the job's), no store
---@return table|nil result { jobs = { numbers }, trials = submitted, alive = were there before }
---@return string? message, string? code
jobs.submit = guarded(function(store, name, options, trial_file)
  local view = must(jobs.look(store, name))
  refuse_a_runner(view)
  local result, keys = { jobs = {}, trials = 0, alive = view.alive }, {}
  for _, seen in ipairs(view.trials) do
    if seen.state == "missing" then keys[#keys + 1] = seen.record.key end
  end
  if #keys == 0 then return result end
  local size, record = array_size(options), read_record(store, name)
  must(lip.file.mkdir(store:sweep_file(name, ".slurm"), store.below))
  for _, seen in ipairs(view.trials) do
    if seen.state == "missing" then
      local folder = store:folder(seen.record)
      must(lip.file.mkdir(folder, store.below))
      write_told(folder, lip.to_json(trial_file(seen.record)) .. "\n")
    end
  end
  record.options = options
  for _, piece in ipairs(batch.chunks(keys, size)) do
    -- %P counts within one array: with a limit, an array waits for the one before it
    local after = options.jobs and result.jobs[#result.jobs]
    local ok, job = pcall(submit_chunk, store, record, piece, options, after)
    if not ok then
      if type(job) == "table" and result.trials > 0 then
        job.message = ("%s (%d trials were submitted)"):format(job.message, result.trials)
      end
      error(job, 0)
    end
    result.jobs[#result.jobs + 1], result.trials = job, result.trials + #piece
  end
  return result
end)

--- The script that the first array of `count` trials would be submitted with, how many arrays there would be, and why
-- their size is a guess, if it is.
function jobs.preview(store, name, options, count)
  local ok, size = pcall(array_size, options)
  local guess = not ok and tostring(size.message or size):match "[^\n]*$" or nil
  if not ok then size = math.min(1001, options.chunk or 1001) end -- Slurm's own default
  local chunk = { tag = "TAG", count = math.min(count, size) }
  return script(store, name, chunk, options), (count + size - 1) // size, guess
end

--- Ends all jobs of a sweep; trials that run write their checkpoints and wait to be submitted again.
---@return integer|nil tasks that were asked to end, string? message, string? code
jobs.cancel = guarded(function(store, name)
  local view = must(jobs.look(store, name))
  local list = {}
  for job in pairs(view.jobs) do list[#list + 1] = job end
  if #list > 0 then must(ask { "scancel", table.unpack(list) }) end
  return view.alive
end)

return jobs
