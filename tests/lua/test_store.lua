-- The store of sweeps: sweeps and trials in and out, journals applied, claims, leases, rebuilding, what the disk does.
local lu = require "luaunit"
local lip = require "lip"
local stores = require "lip.sweep.store"
local journal = require "lip.sweep.journal"
local rebuild = require "lip.sweep.rebuild"
local support = require "support_store"

local here = lip.process.self()
local T = {}

function T:setUp()
  self.dir = assert(lip.file.temporary())
end

function T:tearDown()
  assert(lip.file.remove_tree(self.dir))
end

function T:path(name)
  return self.dir .. "/" .. (name or "runs.db")
end

-- A store with one sweep of n queued trials.
function T:store(n, name)
  local store = assert(stores.open(self:path(name), { create = true }))
  local id = assert(store:add_sweep("budget", { grid = { budget = { 1, 2 } }, maximise = "clean" }))
  lu.assertEquals(store:enqueue(id, support.trials(n or 3)), n or 3)
  return store, id
end

-- ---- sweeps and trials ----

function T:test_sweeps()
  local store <close>, id = self:store(0)
  lu.assertEquals(store:add_sweep("budget", { maximise = "clean", grid = { budget = { 1, 2 } } }), id)
  local nothing, message, code = store:add_sweep("budget", { grid = {} })
  lu.assertNil(nothing)
  lu.assertStrContains(message, "'budget' has changed")
  lu.assertEquals(code, "changed")
  local description, found, created = store:describe "budget"
  lu.assertEquals(description, { grid = { budget = { 1, 2 } }, maximise = "clean" })
  lu.assertEquals(found, id)
  lu.assertTrue(math.abs(created - lip.now()) < 1000)
  lu.assertEquals(store:replace_description("budget", { other = true }), id)
  lu.assertEquals(store:describe "budget", { other = true })
  lu.assertIs(store:describe "none", false)
  lu.assertEquals(select(3, store:replace_description("none", {})), "not_found")
  lu.assertEquals(#store:sweeps(), 1)
  for _, name in ipairs { "", "a/b", "../x", ".hidden", "a b", ("x"):rep(101) } do
    lu.assertErrorMsgContains("a sweep's name", store.add_sweep, store, name, {})
  end
end

function T:test_trials()
  local store <close>, id = self:store(5)
  lu.assertEquals(store:enqueue(id, support.trials(7)), 2) -- those that are there stay
  lu.assertEquals(#store:trials(), 7)
  local trial = store:trials { number = 4, sweep = id }[1]
  lu.assertEquals(trial.config, { budget = 2, norm = "inf" })
  lu.assertEquals({ trial.key, trial.seed, trial.state, trial.attempt, trial.sweep },
    { support.key(4), 4, "queued", 0, "budget" })
  lu.assertEquals(trial.provenance, {})
  lu.assertEquals(store:trials { prefix = trial.key:sub(1, 9) }[1].number, 4)
  lu.assertEquals(#store:trials { sweep = "budget", state = "queued" }, 7)
  lu.assertEquals(#store:trials { key = "" }, 0)
  lu.assertErrorMsgContains("unknown filter 'x'", store.trials, store, { x = 1 })
  lu.assertEquals(store:counts(id), { queued = 7, running = 0, done = 0, failed = 0, pruned = 0 })
  -- another description may give a number to another key
  lu.assertEquals(store:enqueue(id, { { number = 2, key = "abcdef", config = {}, seed = 1 } }), 1)
  lu.assertEquals(store:trials { key = "abcdef" }[1].number, 8)
  lu.assertErrorMsgContains("hexadecimal", store.enqueue, store, id, { { number = 1, key = "../x", config = {} } })
  lu.assertErrorMsgContains("no sweep 99", store.enqueue, store, 99, {})
  lu.assertEquals(#store:trials(), 8)
end

function T:test_objects()
  local store <close> = self:store(0)
  local text = ("a script\n"):rep(1000)
  local sha = store:put_object(text)
  lu.assertEquals(sha, lip.sha256(text))
  lu.assertEquals(store:put_object(text), sha)
  lu.assertEquals(#lip.file.list(store.root .. "/objects"), 1)
  lu.assertTrue(lip.file.stat(store.root .. "/objects/" .. sha .. ".gz").size < 1000)
  lu.assertEquals(store:object(sha), text)
  lu.assertEquals(select(3, store:object(("0"):rep(64))), "not_found")
  lu.assertErrorMsgContains("64 hexadecimal", store.object, store, "../../x")
  lip.file.write(store.root .. "/objects/" .. sha .. ".gz", lip.deflate "something else")
  lu.assertStrContains(select(2, store:object(sha)), "damaged")
end

-- ---- journals ----

function T:test_journal()
  local folder = self.dir
  lu.assertEquals({ journal.read(folder) }, { {}, 0, 0 })
  lu.assertTrue(journal.append(folder, { event = "a", n = 1 }))
  local wild = { event = "b", text = "not UTF-8: \xff\xfe, a zero: \0", inf = 1 / 0 }
  lu.assertTrue(journal.append(folder, wild, { sync = true }))
  local lines, offset, skipped = journal.read(folder)
  lu.assertEquals(lines, { { event = "a", n = 1 }, { event = "b", text = "not UTF-8: ??, a zero: ?", inf = "inf" } })
  lu.assertEquals(skipped, 0)
  lu.assertEquals({ journal.read(folder, offset) }, { {}, offset, 0 })
  -- torn: left alone until it is whole, and never glued to the next line
  lip.file.append(journal.path(folder), '{"event":"to')
  lu.assertEquals({ journal.read(folder, offset) }, { {}, offset, 0 })
  journal.append(folder, { event = "c" })
  lines, offset, skipped = journal.read(folder, offset)
  lu.assertEquals({ lines, skipped }, { { { event = "c" } }, 1 })
  lip.file.append(journal.path(folder), 'no json\n[1]\n{"no":"event"}\n"text"\n\n{"event":"d"}\n')
  lines, offset, skipped = journal.read(folder, offset)
  lu.assertEquals({ lines, skipped }, { { { event = "d" } }, 4 })
  lip.file.write(journal.path(folder), '{"event":"new"}\n') -- shorter: another file
  lu.assertEquals({ journal.read(folder, offset) }, { { { event = "new" } }, 16, 0 })
end

function T:test_a_run_from_start_to_end()
  local store <close>, id = self:store(2)
  local trial = store:claim(id, here)
  lu.assertEquals({ trial.number, trial.state, trial.attempt, trial.pid }, { 1, "running", 1, here.pid })
  support.start(store, trial)
  support.steps(store, trial, 2)
  local record, lines, skipped = store:ingest(trial)
  lu.assertEquals({ record.state, record.step, record.total, #lines, skipped }, { "running", 2, 2, 3, 0 })
  lu.assertEquals(record.host, "elsewhere")
  journal.append(store:folder(trial), { event = "metrics", step = 2, total = 2, time = 5,
    values = { loss = 0 / 0, up = 1 / 0 } })
  journal.append(store:folder(trial), { event = "rung", rung = 0, step = 1, value = 0.25 })
  journal.append(store:folder(trial), { event = "data", name = "mnist", sha256 = "ab", samples = 60000 })
  journal.append(store:folder(trial), { event = "file", kind = "checkpoint", path = "train.safetensors" })
  journal.append(store:folder(trial), { event = "of another version", x = 1 })
  support.finish(store, trial)
  record = store:ingest(trial.id)
  lu.assertEquals({ record.state, record.value, record.seconds, record.memory, record.exit, record.finished },
    { "done", 0.125, 2.25, 1 << 20, 0, 1010.75 })
  lu.assertEquals(record.row, { clean = 0.125, note = "it's" })
  lu.assertEquals(record.provenance.flags, "-O3")
  local metrics = store:metrics(trial)
  lu.assertEquals(#metrics, 5)
  lu.assertEquals(metrics[1], { name = "accuracy", step = 1, value = 0.5 })
  lu.assertEquals(metrics[3], { name = "loss", step = 1, value = 1 })
  lu.assertTrue(metrics[4].value ~= metrics[4].value) -- the second step came again, as after a resume
  lu.assertEquals(metrics[5].value, math.huge)
  lu.assertEquals(store:files(trial), { { kind = "checkpoint", path = "train.safetensors" } })
  lu.assertEquals(store:data(trial), { { name = "mnist", sha256 = "ab", samples = 60000 } })
  lu.assertEquals(select(2, store:ingest(trial)), {})
  lu.assertEquals(store:counts(id), { queued = 1, running = 0, done = 1, failed = 0, pruned = 0 })
end

-- Stopped, killed without a word, crashed, done: the time of all of them, however the journal is read.
function T:test_seconds_of_all_attempts()
  local store <close>, id = self:store(2)
  local trial
  local function begin(attempt, time)
    store:requeue(trial or 1)
    trial = store:claim(id, here)
    support.start(store, trial, attempt, { time = time })
  end
  local function finish(state, seconds, time)
    support.finish(store, trial, state, { seconds = seconds, time = time })
    return store:ingest(trial).seconds
  end
  begin(1, 100)
  store:ingest(trial)
  lu.assertEquals(finish("stopped", 5, 105), 5)
  begin(2, 200)
  journal.append(store:folder(trial), { event = "metrics", step = 1, values = { loss = 1 }, time = 207 })
  store:ingest(trial) -- and no more is heard of it
  begin(3, 300)
  lu.assertEquals(finish("failed", nil, 311), 5 + 7 + 2.25)
  begin(4, 400)
  lu.assertNil(store:ingest(trial).seconds)
  support.finish(store, trial, "stopped", { attempt = 2, seconds = 1000 }) -- late, of one thought dead
  lu.assertEquals(finish("done", 3, 403), 17.25)
  local before = support.dump(store)
  assert(store:rebuild())
  lu.assertEquals(support.dump(store), before)
  lu.assertEquals(store:trial(trial).seconds, 17.25)
end

-- Whatever stands in a journal, it is read without an error and the rest of the store is as before.
function T:test_damaged_journals()
  local store <close>, id = self:store(2)
  local trial = store:claim(id, here)
  support.start(store, trial)
  support.steps(store, trial, 3)
  journal.append(store:folder(trial), { event = "rung", rung = 0, step = 1, value = 0.25 })
  journal.append(store:folder(trial), { event = "data", name = "mnist", sha256 = "ab", samples = 60000 })
  journal.append(store:folder(trial), { event = "file", kind = "figure", path = "a.svg" })
  support.finish(store, trial)
  local path = journal.path(store:folder(trial))
  local text, rng = lip.file.read(path), lip.rng(os.time())
  local words = { "{}", "[]", "null", "-1", "1e300", '"x"', "true", "9223372036854775807", '{"a":[1]}', ",", "\n" }
  for _ = 1, 200 do
    local damaged = text
    for _ = 1, 1 + rng:below(6) do
      local at = 1 + rng:below(#damaged)
      if rng:below(2) == 0 then
        damaged = damaged:sub(1, at - 1) .. words[1 + rng:below(#words)] .. damaged:sub(at + rng:below(9))
      else -- a value of another kind where one is expected
        local colon = damaged:find('":[^,}]*', at)
        if colon then
          local rest = damaged:find("[,}]", colon + 2) or #damaged
          damaged = damaged:sub(1, colon + 1) .. words[1 + rng:below(9)] .. damaged:sub(rest)
        end
      end
    end
    lip.file.write(path, damaged)
    store.db:exec("UPDATE trials SET journal_read = 0, state = 'queued', attempt = 0 WHERE id = ?", trial.id)
    local record, message = store:ingest(trial)
    lu.assertTrue(record and record.id == trial.id, message)
    for _, metric in ipairs(store:metrics(trial)) do lu.assertEquals(type(metric.value), "number") end
  end
  lu.assertEquals(store:trials({ number = 2 })[1].state, "queued")
  lu.assertEquals(support.check(store), "ok")
end

function T:test_states()
  local store <close>, id = self:store(4)
  for _, state in ipairs { "failed", "pruned", "stopped" } do
    local trial = store:claim(id, here)
    support.start(store, trial)
    support.finish(store, trial, state, { message = "why", signal = state == "failed" and 11 or nil })
    local record = store:ingest(trial)
    lu.assertEquals(record.state, state == "stopped" and "queued" or state)
    lu.assertEquals(record.message, "why")
  end
  lu.assertEquals(store:trials({ number = 1 })[1].signal, 11)
  local again = store:claim(id, here) -- the one that was stopped, before the fourth
  lu.assertEquals({ again.number, again.attempt }, { 3, 2 })
  lu.assertEquals(store:claim(id, here).number, 4)
  lu.assertIs(store:claim(id, here), false)
  lu.assertEquals(store:retry(id, "failed"), 1)
  lu.assertEquals(store:claim(id, here, 2), false)
  lu.assertEquals(store:claim(id, here, 1).attempt, 2)
  store:requeue(again)
  lu.assertEquals(store:claim(id, here).number, 3)
end

-- What failed has no value, whatever it returned, or says that it has.
function T:test_values_of_the_failed()
  local store <close>, id = self:store(3)
  store:replace_description("budget", { maximise = "clean" })
  for i, state in ipairs { "done", "failed", "failed" } do
    local trial = store:claim(id, here)
    support.start(store, trial)
    support.finish(store, trial, state, { row = { clean = i < 3 and 1000 or "inf" }, value = i > 1 and 7 or nil })
    lu.assertEquals(store:ingest(trial).value, i == 1 and 1000 or nil)
  end
  require "lip.sweep.accept".replace(store, "budget", { minimise = "clean" }, support.trials(3))
  local values = {}
  for i, r in ipairs(store:trials {}) do values[i] = r.value or false end
  lu.assertEquals(values, { 1000, false, false })
end

-- A straggler that was ended by a rule the sweep no longer has is still to be tried, and its score is none.
function T:test_ends_by_another_rule()
  local store <close>, id = self:store(2)
  local now = { maximise = "accuracy", scheduler = { kind = "asha", min = 1, max = 9, eta = 3 } }
  local rule = require "lip.sweep.rule"
  store:replace_description("budget", now)
  for i, written in ipairs { rule(now), rule { minimise = "loss", scheduler = now.scheduler } } do
    local trial = store:claim(id, here)
    support.start(store, trial)
    journal.append(store:folder(trial), { event = "rung", rung = 0, step = 1, value = i, rule = written })
    support.finish(store, trial, "pruned", { value = 0.5, rule = written })
    local record = store:ingest(trial)
    lu.assertEquals({ record.state, record.value }, i == 1 and { "pruned", 0.5 } or { "queued" })
  end
  lu.assertEquals(store.db:row "SELECT count(*) AS n, sum(value) AS sum FROM rungs", { n = 1, sum = 1 })
  lu.assertEquals(store:rung(id, support.key(2), 0, 5, "another"), { 5 })
  lu.assertEquals(store:rung(id, support.key(2), 0, 5, rule(now)), { 1, 5 })
  local before = support.dump(store)
  store:rebuild()
  lu.assertStrContains(before, '"value":5')
  lu.assertEquals(store:trials({})[2].state, "queued")
end

-- What a worker that was thought dead writes late does not touch the attempt that runs now.
function T:test_late_lines()
  local store <close>, id = self:store(1)
  local trial = store:claim(id, here)
  support.start(store, trial)
  store:requeue(trial)
  local again = store:claim(id, here)
  lu.assertEquals({ again.attempt, again.pid }, { 2, here.pid })
  support.start(store, trial, 1)
  support.finish(store, trial, "failed", { attempt = 1 })
  local record = store:ingest(trial)
  lu.assertEquals({ record.state, record.attempt, record.pid }, { "running", 2, here.pid })
  support.start(store, again)
  support.finish(store, again)
  lu.assertEquals(store:ingest(trial).state, "done")
end

-- ---- leases ----

local function dead()
  local process = assert(lip.process.spawn { "true" })
  local lease = { pid = process:pid(), start = process:start() or 1, host = here.host }
  process:wait()
  return lease
end

function T:test_the_dead_go_back_to_the_queue()
  local store <close>, id = self:store(3)
  local gone = dead()
  local first = store:claim(id, gone)
  lu.assertEquals(store:claim(id, here).number, 1) -- taken from the dead
  -- the worker is dead, but not who has to say so
  lu.assertTrue(store:leased(first, gone))
  lu.assertEquals(store:claim(id, here).number, 2)
  -- on another host processes cannot be seen
  local lease = { pid = gone.pid, start = gone.start, host = "far" }
  lu.assertEquals(store:claim(id, lease).number, 3)
  lu.assertIs(store:claim(id, here), false)
  store.db:exec "UPDATE trials SET beat = beat - 299.0 WHERE number = 3"
  lu.assertIs(store:claim(id, here), false)
  lu.assertEquals(store:beat(lease), 1)
  store.db:exec "UPDATE trials SET beat = beat - 299.0 WHERE number = 3"
  lu.assertIs(store:claim(id, here), false)
  store.db:exec "UPDATE trials SET beat = beat - 2.0 WHERE number = 3"
  lu.assertEquals(store:claim(id, here).number, 3)
  -- a task of a cluster has no runner
  store.db:exec "UPDATE trials SET beat = 0, host = 'far', owner = NULL WHERE number = 3"
  lu.assertIs(store:claim(id, here), false)
end

function T:test_an_end_that_nobody_read_counts()
  local store <close>, id = self:store(2)
  local trial = store:claim(id, dead())
  support.start(store, trial)
  support.finish(store, trial)
  lu.assertEquals(store:claim(id, here).number, 2)
  lu.assertEquals(store:trial(trial).state, "done")
end

-- A worker that outlives its owner, started but not yet noted.
function T:test_a_living_worker_keeps_its_trial()
  local store <close>, id = self:store(1)
  local trial = store:claim(id, dead())
  support.start(store, trial, 1, { pid = here.pid, pid_start = here.start, host = here.host })
  lu.assertIs(store:claim(id, here), false)
  lu.assertEquals(store:trial(trial).state, "running")
end

-- ---- two sweeps with a trial in common ----

function T:test_a_result_counts_for_every_sweep()
  local store <close>, first = self:store(3)
  local second = store:add_sweep("more", { maximise = "clean" })
  store:enqueue(second, support.trials(4))
  local trial = store:claim(first, here)
  lu.assertEquals(store:claim(second, here).number, 2) -- the first is running already
  support.start(store, trial)
  support.finish(store, trial)
  store:ingest(trial)
  lu.assertEquals(store:claim(second, here).number, 3)
  local same = store:trials({ sweep = "more", number = 1 })[1]
  lu.assertEquals({ same.state, same.value, same.row }, { "done", 0.125, { clean = 0.125, note = "it's" } })
  -- a failure does not
  trial = store:claim(first, here)
  lu.assertFalse(trial)
  local two = store:trials({ sweep = "more", number = 2 })[1]
  support.start(store, two)
  support.finish(store, two, "pruned")
  lu.assertEquals(store:ingest(two).state, "pruned")
  lu.assertEquals(store:claim(first, here).number, 2)
end

-- The other sweep died with the trial and nobody takes it up again.
function T:test_the_dead_of_another_sweep()
  local store <close>, first = self:store(1)
  local second = store:add_sweep("more", {})
  store:enqueue(second, support.trials(1))
  lu.assertEquals(store:claim(first, dead()).number, 1)
  lu.assertEquals(store:claim(second, here).sweep, "more")
  lu.assertIs(store:claim(first, here), false)
end

function T:test_rungs()
  local store <close>, id = self:store(3)
  lu.assertEquals(store:rung("budget", support.key(2), 0, 0.5), { 0.5 })
  lu.assertEquals(store:rung(id, support.key(1), 0, 0.75), { 0.75, 0.5 })
  lu.assertEquals(store:rung("budget", support.key(1), 1, 9), { 9 })
  lu.assertEquals(store:rung("budget", support.key(2), 0, 0.25), { 0.75, 0.25 })
  lu.assertErrorMsgContains("no trial", store.rung, store, "none", support.key(1), 0, 1)
  lu.assertEquals(select(3, store:rung(id, support.key(1), 1, 0 / 0)), "not_finite")
  lu.assertEquals(store:rung(id, support.key(3), 0, -math.huge), { 0.75, 0.25, -math.huge })
end

-- ---- rebuilding ----

-- Trials in every state, with attempts, retries and torn lines.
local function live(store, id)
  for i = 1, 6 do
    local trial = store:claim(id, here) -- the one that was stopped comes again
    if not trial then break end
    support.start(store, trial)
    support.steps(store, trial, i)
    journal.append(store:folder(trial), { event = "rung", rung = 0, step = 1, value = i })
    lip.file.append(journal.path(store:folder(trial)), '{"event":"metrics","step":')
    support.finish(store, trial, ({ "done", "failed", "pruned", "stopped", "done", "failed" })[i])
    store:ingest(trial)
  end
  store:requeue(store:trials({ number = 2 })[1])
end

function T:test_rebuild_gives_the_same_tables()
  local store <close>, id = self:store(9)
  local other = store:add_sweep("other", { list = {} })
  store:enqueue(other, { { number = 1, key = support.key(1), config = {}, seed = 1 } })
  store:enqueue(id, support.trials(10))
  live(store, id)
  lu.assertIs(store:claim(other, here), false)
  local before = support.dump(store)
  local trials, skipped = store:rebuild()
  lu.assertEquals({ trials, skipped }, { 11, 7 }) -- the first journal is read for two sweeps
  lu.assertEquals(support.dump(store), before)
  -- without a database at all, and with one that is none
  store:close()
  for _, text in ipairs { "", ("garbage "):rep(1000) } do
    os.remove(self:path())
    os.remove(self:path "runs.db-wal")
    os.remove(self:path "runs.db-shm")
    if text ~= "" then
      lip.file.write(self:path(), text)
      lu.assertEquals(select(3, stores.open(self:path())), "format")
    end
    local again <close> = assert(rebuild.store(self:path()))
    lu.assertEquals(support.dump(again), before)
    lu.assertEquals(support.check(again), "ok")
  end
  local aside = 0
  for _, name in ipairs(lip.file.list(self.dir)) do aside = aside + (name:find "%.damaged%-%d+$" and 1 or 0) end
  lu.assertEquals(aside, 1)
end

-- While a sweep runs: its trials stay with it, also one that has not begun to write.
function T:test_rebuild_leaves_running_trials_alone()
  local store <close>, id = self:store(3)
  local first, second = store:claim(id, here), store:claim(id, here)
  support.start(store, first, 1, { pid = here.pid, pid_start = here.start, host = here.host })
  store:ingest(first)
  store:rebuild()
  lu.assertEquals(store:trial(second).attempt, 1)
  lu.assertEquals(store:claim(id, here).number, 3)
  lu.assertIs(store:claim(id, here), false)
  support.finish(store, first)
  store:rebuild()
  lu.assertEquals(store:counts(id), { queued = 0, running = 2, done = 1, failed = 0, pruned = 0 })
end

function T:test_rebuild_of_nothing()
  lu.assertEquals(select(3, rebuild.store(self:path "none")), "not_found")
end

function T:test_rebuild_from_trial_folders_alone()
  local store <close>, id = self:store(4)
  live(store, id)
  os.remove(store.root .. "/sweeps/budget.json")
  os.remove(store.root .. "/sweeps/budget.trials.jsonl")
  lu.assertEquals(store:rebuild(), 4)
  local states = {}
  for i, trial in ipairs(store:trials { sweep = "budget" }) do states[i] = trial.state end
  lu.assertEquals(states, { "done", "queued", "pruned", "done" })
end

-- ---- files and disks ----

function T:test_a_store_can_be_moved()
  local store, id = self:store(2)
  live(store, id)
  local before, sha = support.dump(store), store:put_object "text"
  store:close()
  lip.file.mkdir(self:path "elsewhere")
  lip.file.rename(self:path(), self:path "elsewhere/other.db")
  lip.file.rename(self:path "runs.db.d", self:path "elsewhere/other.db.d")
  local moved <close> = assert(stores.open(self:path "elsewhere/other.db"))
  lu.assertEquals(support.dump(moved), before)
  lu.assertEquals(moved:object(sha), "text")
  lu.assertEquals(moved:folder "ab", self:path "elsewhere/other.db.d/trials/ab")
  moved:rebuild()
  lu.assertEquals(support.dump(moved), before)
end

function T:test_two_stores()
  local first <close>, a = self:store(2, "a/b/one.db")
  local second <close>, b = self:store(3, "two.db")
  live(first, a)
  lu.assertEquals(first:counts(a).done, 1)
  lu.assertEquals(second:counts(b).queued, 3)
end

function T:test_what_cannot_be_opened()
  local function refused(expected, ...)
    local store, message, code = stores.open(...)
    lu.assertNil(store)
    lu.assertEquals({ type(message), code }, { "string", expected }, message)
    return message
  end
  refused("not_found", self:path())
  refused("not_found", self:path(), { readonly = true })
  lip.file.write(self:path "text", ("no database\n"):rep(99))
  refused("format", self:path "text", { create = true })
  lip.file.write(self:path "empty", "")
  refused("format", self:path "empty", { readonly = true })
  local db = lip.db.open(self:path "foreign")
  db:exec "CREATE TABLE addresses(name)"
  db:close()
  refused("format", self:path "foreign", { create = true })
  self:store(0, "newer"):close()
  db = lip.db.open(self:path "newer")
  db:exec "PRAGMA user_version = 2"
  db:close()
  lu.assertStrContains(refused("version", self:path "newer", { create = true }), "newer lipwb (format 2")
  self:store(2, "changed"):close()
  db = lip.db.open(self:path "changed")
  db:exec "CREATE VIEW mine AS SELECT * FROM trials"
  assert(stores.open(self:path "changed")):close()
  db:exec "ALTER TABLE trials DROP COLUMN memory"
  db:close()
  lu.assertStrContains(refused("corrupt", self:path "changed"), "'trials' is missing or damaged")
  local again <close> = assert(rebuild.store(self:path "changed"))
  lu.assertEquals(#again:trials(), 2)
  lu.assertErrorMsgContains("unknown option", stores.open, self:path(), { reedonly = true })
end

return T
