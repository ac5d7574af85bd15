--- Runs the trials of a sweep on this machine: a process for each, as many at once as wanted, until none is left.
--
-- The loop sleeps in wait_any until a worker ends, a signal comes or it is time to look into the journals again.
-- Whatever happens to a worker, its trial ends with a line in its journal: its own, or one written here. Several
-- runners may share a store: trials are claimed one at a time, and those of a runner that died go back to the queue.
local lip = require "lip"
local aim = require "lip.sweep.aim"
local field = require "lip.runs.field"
local journal = require "lip.sweep.journal"
local rungs = require "lip.sweep.rungs"
local view = require "lip.sweep.view"

local runner = {}

local LOOK = 0.2 -- seconds between two looks at journals
local BEAT = 30 -- seconds between two signs of life
local PATIENCE = 1 -- seconds until the queue is asked again whether another runner has left something
local EXIT = 10 -- seconds a worker has to leave after its last line
local STOPS = 5 -- by signals that were not ours, until a trial counts as failed
local LINES, LINE_BYTES = 20, 8192 -- of a dead worker's output that are kept

local methods = {}

-- The world refuses something that no trial can do without (the disk is full, the store is gone): ends the sweep.
local function must(value, message, code)
  if value == nil then
    local text = tostring(message)
    error(setmetatable({ message = text, code = code }, { __tostring = function() return text end }), 0)
  end
  return value, message, code
end

-- What a trial is called in lines that stay: among other sweeps of the store, as `lipwb runs show` takes it.
function methods:name(record)
  return self.job.several and ("%s/%d"):format(record.sweep, record.number) or tostring(record.number)
end

-- ---- one worker ----

local function last_lines(folder)
  local text = lip.file.tail(folder .. "/output.txt", LINE_BYTES, journal.below(folder)) or ""
  local lines = {}
  for line in text:gmatch "[^\r\n]+" do lines[#lines + 1] = line end
  return table.concat(lines, "\n", math.max(1, #lines - LINES + 1))
end

-- The program itself; its file may have been replaced since it was started.
local function program()
  local own = lip.process.self().program
  return own and lip.file.exists(own) and own or "/proc/self/exe"
end
runner.program = program

local function start_line(slot, lease)
  local r = slot.record
  return { event = "start", format = 1, key = r.key, sweep = r.sweep, number = r.number, config = r.config,
    seed = r.seed, attempt = r.attempt, time = lip.now(), pid = lease.pid, pid_start = lease.start, host = lease.host }
end

-- Whole or not at all, but not waited for (8 ms of a busy disk): should the power fail, the next attempt writes it.
local function write_told(folder, text)
  local path, below = folder .. "/trial.json", journal.below(folder)
  local new = path .. ".new"
  must(lip.file.remove_tree(new, below)) -- of a runner that was killed here
  must(lip.file.append(new, text, below))
  must(lip.file.rename(new, path, below))
end
runner.write_told = write_told

-- What a trial has made of its own folder: when no journal can be in it, it is set aside, and there is an empty one.
-- Whether that was so.
local function put_right(folder)
  local below = journal.below(folder)
  local there, file = lip.file.stat(folder, below), lip.file.stat(journal.path(folder), below)
  if there and there.kind == "folder" and (not file or file.kind == "file") then return false end
  if there then must(lip.file.rename(folder, ("%s.aside-%d"):format(folder, math.floor(lip.now() * 1000)), below)) end
  must(lip.file.mkdir(folder, below))
  return true
end

--- Starts a worker for a claimed trial.
function methods:start(record)
  local job = self.job
  local folder = job.store:folder(record)
  must(lip.file.mkdir(folder, job.store.below))
  if put_right(folder) then
    self.view:say("note: %s held no journal but something else of that name: set aside", self:name(record))
  end
  write_told(folder, lip.to_json(job.plan:trial_file(record, job)) .. "\n")
  local slot = { record = record, folder = folder, started = lip.time(), counted = 0 }
  local process, message = lip.process.spawn { self.program, "trial", folder, stdout = folder .. "/output.txt", below = job.store.root,
    group = true, dies_with_parent = true }
  self.slots[#self.slots + 1] = slot
  if not process then
    self:finish(slot, { message = "the worker could not be started: " .. message })
    return
  end
  slot.process = process
  must(job.store:leased(record.id, { pid = process:pid(), start = process:start(), host = self.lease.host }))
  if not self.view:live() then self.view:say("start  %s  %s", self:name(record), view.config(record.config)) end
end

-- What is new in the journal of a worker: what the view shows, and whether it began and ended.
function methods:look(slot)
  local record, lines = must(self.job.store:ingest(slot.record))
  for _, line in ipairs(lines) do
    if line.event == "start" and line.attempt == slot.record.attempt then slot.began = true end
    if line.event == "end" and line.attempt == slot.record.attempt then slot.ended = line.state end
    if line.event == "metrics" and line.step then
      if not slot.step then slot.first, slot.first_time = line.step, lip.time() end
      slot.step, slot.total, slot.step_time = line.step, line.total, lip.time()
    end
  end
  return record
end

-- Why a worker died without a word.
local function cause(slot, result)
  if result.message then return result.message end
  local text
  if result.signal then
    text = "ended by signal " .. lip.process.signal_name(result.signal)
    if result.signal == 9 and not slot.killed then
      text = text .. ", not sent by the sweep: killed by the system for want of memory?"
    end
  else
    text = ("left with status %d and no result"):format(result.exit or 0)
  end
  local output = last_lines(slot.folder)
  return output == "" and text or text .. "\n" .. output
end

-- The line that a worker owes which is no more; returns why it ended. A trial that is to be tried again never counts as
-- failed, not even until the next line: this process may be killed as well.
function methods:end_line(slot, result, again)
  local record = slot.record
  local stopped = slot.asked or slot.killed
  local message = not stopped and cause(slot, result) or nil
  if put_right(slot.folder) then
    message = message and require "lip.sweep.worker".REMOVED .. "\n" .. message
    slot.began = false
  end
  if not slot.began then must(journal.append(slot.folder, start_line(slot, self.lease))) end
  must(journal.append(slot.folder, { event = "end", state = (stopped or again) and "stopped" or "failed",
    sweep = record.sweep, attempt = record.attempt, message = message, exit = result.exit, signal = result.signal,
    seconds = lip.time() - slot.started, memory = result.memory, time = lip.now() }, { sync = true }))
  return message
end

-- What the whole journal says of this attempt: lines that another runner has brought into the database are not among
-- those that look() gets.
local function read_again(slot)
  for _, line in ipairs(journal.read(slot.folder) or {}) do
    if line.attempt == slot.record.attempt then
      if line.event == "start" then slot.began = true elseif line.event == "end" then slot.ended = line.state end
    end
  end
end

--- After the end of a worker: its journal is closed, its slot free, its trial counted or queued again.
function methods:finish(slot, result)
  for i, other in ipairs(self.slots) do
    if other == slot then table.remove(self.slots, i) break end
  end
  local record = self:look(slot)
  read_again(slot)
  if record.state == "running" and record.attempt == slot.record.attempt then
    local again = not (slot.asked or slot.killed) and self:retry(record)
    local message = self:end_line(slot, result, again)
    record = self:look(slot) -- another runner may have it by now
    if again then
      self.view:say("again  %s  %s (try %d of %d)", self:name(record), view.plain(message:match "^[^\n]*"), again,
        self.job.retries + 1)
      return
    end
  end
  if record.attempt ~= slot.record.attempt then return end -- the other runner's to tell
  if slot.ended == "stopped" and not self.stopping then record = self:stopped(slot, record) end
  self:tell(record)
  self:watch_rungs(record)
  self:watch_aim(record)
end

-- Somebody else asked the worker to stop, so the trial goes on from its checkpoint; but not for ever.
function methods:stopped(slot, record)
  local times = (self.stops[record.key] or 0) + 1
  self.stops[record.key] = times
  if times < STOPS then return record end
  must(journal.append(slot.folder, { event = "end", state = "failed", sweep = record.sweep, attempt = record.attempt,
    message = ("stopped %d times by signals that the sweep did not send"):format(times), time = lip.now() },
    { sync = true }))
  return self:look(slot)
end

-- A crash may be an accident of the machine; an error and a loss that is no number come again. Which try a crashed
-- trial gets now, or false.
function methods:retry(record)
  local done = self.crashes[record.key] or 0
  if self.stopping or done >= self.job.retries then return false end
  self.crashes[record.key] = done + 1
  return done + 2
end

-- ---- results ----

local function better(self, value, than)
  if self.job.plan.sweep.minimise then return value < than end
  return value > than
end

-- Keeps the best and what trials take.
function methods:count(record)
  if record.state == "done" and record.seconds then self.times[#self.times + 1] = record.seconds end
  local value = record.value
  if record.state == "done" and type(value) == "number" and value == value
    and (not self.best or better(self, value, self.best.value)
      or value == self.best.value and record.number < self.best.number) then
    self.best = { value = value, number = record.number, config = record.config }
    return true
  end
end

function methods:tell(record)
  local goal, state = self.goal, record.state
  local is_best = self:count(record)
  self.counts = must(self.job.store:counts(self.job.sweep))
  local totals = view.totals(self.counts, self.total)
  if state == "queued" then
    if not self.stopping then self.view:say("queued %s  stopped by a signal from elsewhere", self:name(record)) end
  elseif state == "failed" then
    self.failed[#self.failed + 1] = record
    local last = view.plain((record.message or "no message"):match "[^\n]*")
    self.view:say("failed %s  %s: %s", self:name(record), view.config(record.config), last)
    if self.job.fail_fast and not self.stopping then
      self.view:say "a trial failed: the others are stopped (--fail-fast)"
      self:stop "fail"
    end
  elseif not self.view:live() then
    local value = record.value and goal and ("  %s = %.6g"):format(view.plain(goal),
      field.shown(goal, record.value, 6)) or ""
    self.view:say("%s %s%s%s  %s  (%s)", state == "done" and "done  " or state, self:name(record), value,
      is_best and " (best)" or "", view.duration(record.seconds), totals)
  end
end

-- A figure that nobody has ever shown would cost every trial: the first ends the sweep. One that a scheduler missed is
-- still to be tried; one that has come to its end keeps its row, which --accept with another figure takes.
function methods:watch_aim(record)
  local message, db = record.state == "failed" and record.message, self.job.store.db
  local other = self.stopping and self.stopping ~= "misuse"
  if not message or other then return end
  local unshown, lacks = message:find(rungs.unshown, 1, true), aim.lacks(message)
  if not unshown and not lacks then return end
  local seen = must(unshown and db:row([[SELECT 1 AS yes FROM metrics m JOIN trials t ON t.id = m.trial
    WHERE t.sweep = ? AND m.name = ? LIMIT 1]], self.job.sweep, self.goal) or lacks and db:row([[SELECT 1 AS yes
    FROM trials WHERE sweep = ? AND state = 'done' AND value IS NOT NULL LIMIT 1]], self.job.sweep))
  if seen then return end
  if unshown then must(self.job.store:requeue(record)) end
  self.misuse = view.plain(message:match "^[^\n]*")
  if not unshown then
    self.misuse = ("trial %d: %s%s"):format(record.number, self.misuse, record.row
      and "; its row is kept: --accept takes it when the sweep file names a figure that it has" or "")
  end
  self:stop "misuse"
end

-- A scheduler that is never shown its figure ends nothing, and nobody would know why: said once.
function methods:watch_rungs(record)
  local scheduler = self.job.plan.sweep.scheduler
  if self.unjudged or not scheduler or record.state ~= "done" then return end
  if #must(self.job.store:rungs(record)) > 0 then return end
  self.unjudged = true
  self.view:say("note: trial %d has ended without reporting '%s' at a step where the scheduler (%s, first at step %d) "
    .. "looks: it can end no such trial early", record.number, self.goal, scheduler.kind, scheduler.min)
end

local function median(list)
  if #list == 0 then return nil end
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local k = #sorted // 2
  return #sorted % 2 == 1 and sorted[k + 1] or (sorted[k] + sorted[k + 1]) / 2
end
runner.median = median

function methods:draw()
  if not self.view:live() then return end
  local workers, now, typical = {}, lip.time(), median(self.times)
  local rest = (self.counts.queued or 0) + math.max(0, self.total - self.known)
  local left = typical and typical * rest
  for i, slot in ipairs(self.slots) do
    local spent = now - slot.started
    workers[i] = { number = slot.record.number, config = slot.record.config, seconds = spent, step = slot.step,
      total = slot.total, first = slot.first, since = slot.first and slot.step_time - slot.first_time }
    if left then left = left + math.max(0, typical - spent) end
  end
  self.view:draw { counts = self.counts, total = self.total, left = left and left / self.job.jobs, best = self.best,
    goal = self.goal, workers = workers, note = self.stopping and "stopping" or self.waiting and "waiting" }
end

-- ---- the queue ----

-- Searches that look at results get their next trials; `ahead` of them may be under way.
function methods:extend()
  local search, plan, store = self.search, self.job.plan, self.job.store
  if not search or self.known >= self.total then return end
  local records, results, new = must(store:trials { sweep = self.job.sweep }), {}, {}
  for _, r in ipairs(records) do
    if r.state ~= "queued" and r.state ~= "running" then
      results[r.number] = { config = r.config, value = r.state ~= "failed" and r.value or nil }
    end
  end
  local finished = 0
  while results[finished + 1] do finished = finished + 1 end
  self.known = #records
  while self.known < self.total and self.known + 1 - search.ahead <= finished do
    local config = search:suggest(self.known + 1, results)
    if not config then self.total = self.known break end
    self.known = self.known + 1
    new[#new + 1] = plan:trial(self.known, config)
  end
  if #new > 0 then must(store:enqueue(self.job.sweep, new)) end
end

--- For trials that run elsewhere: puts into the queue what a search tries next; how many trials there are now.
---@param job table { plan=, store=, sweep= id, search=, total= }
function runner.extend(job)
  local self = setmetatable({ job = job, search = job.search, known = 0, total = job.total }, { __index = methods })
  self:extend()
  return self.known
end

--- Claims trials for the free places. The queue is asked when something has changed, and now and then.
function methods:fill()
  if self.stopping or #self.slots >= self.job.jobs then return end
  if not self.changed and lip.time() < self.ask_at then return end
  self.changed = false
  self:extend()
  while #self.slots < self.job.jobs and not self.stopping do
    local record = must(self.job.store:claim(self.job.sweep, self.lease))
    if not record then break end
    self:start(record)
  end
  self.ask_at = lip.time() + PATIENCE
  self.counts = must(self.job.store:counts(self.job.sweep))
end

--- No more trials; workers are asked to write their checkpoints and go, or killed.
function methods:stop(why, kill)
  self.stopping = self.stopping or why
  for _, slot in ipairs(self.slots) do
    if slot.process then
      slot[kill and "killed" or "asked"] = true
      slot.process:signal(kill and "KILL" or "TERM")
    end
  end
end

-- Ctrl-C, TERM, HUP: once finishes steps and writes checkpoints, twice ends at once.
function methods:signals()
  local count, name = lip.process.pending()
  if count == 0 or count == self.seen then return end
  self.seen = count
  local again = self.stopping == "interrupt"
  if not again and #self.slots > 0 then
    self.view:say("%s: workers finish their step and write checkpoints; once more ends at once", name or "signal")
  end
  self.stopping = nil
  self:stop("interrupt", again or count > 1)
end

local function processes(slots)
  local list = {}
  for i, slot in ipairs(slots) do list[i] = slot.process end
  return list
end

-- Waits for the end of a worker, not longer than until the next look.
function methods:wait()
  if #self.slots == 0 then
    lip.process.sleep(LOOK)
    return
  end
  local ended = lip.process.wait_any(processes(self.slots), LOOK)
  if not ended then return end
  for _, slot in ipairs(self.slots) do
    if slot.process == ended then
      self.changed = true
      self:finish(slot, ended:wait(0))
      return
    end
  end
end

function methods:wait_for_others()
  local waiting = self.counts.running > 0
  if waiting and not self.waiting then
    local n = self.counts.running
    self.view:say(n == 1 and "waiting for 1 trial that runs elsewhere" or "waiting for %d trials that run elsewhere", n)
  end
  self.waiting = waiting
end

-- Runners on other hosts take over what a silent one has left.
function methods:beat()
  if lip.time() < self.beat_at then return end
  self.beat_at = lip.time() + BEAT
  if #self.slots > 0 then must(self.job.store:beat(self.lease)) end
end

-- Into all journals. A trial that stopped is in the queue from its last line on: nobody here takes it while its worker
-- is still on its way out.
function methods:look_around()
  for _, slot in ipairs(table.move(self.slots, 1, #self.slots, 1, {})) do
    self:look(slot)
    if slot.ended == "stopped" then
      local result = slot.process:wait(EXIT)
      if not result then
        slot.process:signal "KILL"
        result = slot.process:wait(EXIT) or {}
      end
      self.changed = true
      self:finish(slot, result)
    end
  end
  self.look_at = lip.time() + LOOK
end

function methods:step()
  self:signals()
  self:beat()
  self:fill()
  if #self.slots == 0 then
    if self.stopping then return false end
    -- what others run may come back to the queue; a search goes on when it has their results
    self:wait_for_others()
    if not self.waiting and self.counts.queued == 0 and self.known >= self.total then return false end
  end
  self:wait()
  if lip.time() >= self.look_at then self:look_around() end
  self:draw()
  return true
end

-- The world let us down: nobody is left running behind our back.
local function abandon(self)
  self:stop("error", true)
  for _, slot in ipairs(self.slots) do
    if slot.process then slot.process:wait(5) end
    pcall(self.job.store.requeue, self.job.store, slot.record)
  end
end

--- Runs until nothing is left to do. Raises when the store refuses.
---@param job table { plan=, store=, sweep= id, jobs=, threads=, retries=, fail_fast=, provenance=, view=, search= }
---@return table result { counts=, failed= records of this run, best=, stopping= nil|"fail"|"interrupt", seconds= }
function runner.run(job)
  local sweep = job.plan.sweep
  local self = setmetatable({ job = job, view = job.view, lease = lip.process.self(), program = program(), slots = {},
    crashes = {}, stops = {}, failed = {}, times = {},
    seen = 0, ask_at = 0, look_at = 0, beat_at = 0, changed = true, search = job.search,
    goal = sweep.maximise or sweep.minimise, total = job.total }, { __index = methods })
  local began, records = lip.time(), must(job.store:trials { sweep = job.sweep })
  self.known = job.search and #records or job.total
  for _, record in ipairs(records) do self:count(record) end
  self.counts = must(job.store:counts(job.sweep))
  lip.process.signals "hold"
  local ok, message = xpcall(function()
    while self:step() do end
  end, function(e) return type(e) == "table" and e or debug.traceback(e, 2) end)
  if not ok then abandon(self) end
  self.view:close()
  lip.process.signals "normal"
  if not ok then error(message, 0) end
  -- other runners have found results too
  for _, record in ipairs(must(job.store:trials { sweep = job.sweep, state = "done" })) do self:count(record) end
  return { counts = must(job.store:counts(job.sweep)), failed = self.failed, best = self.best, stopping = self.stopping,
    misuse = self.misuse,
    total = self.total, seconds = lip.time() - began }
end

return runner
