-- The store with many processes at once: nobody is told that it is locked, nothing is given out twice, and whoever is
-- killed leaves it whole.
local lu = require "luaunit"
local lip = require "lip"
local stores = require "lip.sweep.store"
local journal = require "lip.sweep.journal"
local support = require "support_store"

local program = require "support_program".program
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local worker = here .. "/store_worker.lua"
local stressed = os.getenv "LIPWB_GC_STRESS" == "1" -- the collector of this process is slow, not that of the others

local T = {}

function T:setUp()
  self.dir = assert(lip.file.temporary())
  self.path = self.dir .. "/runs.db"
end

function T:tearDown()
  for _, process in ipairs(self.processes or {}) do
    process:signal "KILL"
    process:wait()
  end
  os.execute(("chmod -R u+w '%s'"):format(self.dir))
  assert(lip.file.remove_tree(self.dir))
end

function T:spawn(output, mode, n)
  local name = ("%s/%s"):format(self.dir, output)
  local process = assert(lip.process.spawn { program, worker, mode, self.path, tostring(n or 0), stdout = name,
    stderr = name .. ".err" })
  self.processes = self.processes or {}
  table.insert(self.processes, process)
  return process
end

function T:read(name)
  return lip.file.read(self.dir .. "/" .. name) or ""
end

function T:store(n)
  local store = assert(stores.open(self.path, { create = true }))
  local id = assert(store:add_sweep("budget", {}))
  if n > 0 then assert(store:enqueue(id, support.trials(n))) end
  return store, id
end

function T:assert_ended(process, output)
  local status = process:wait(120)
  lu.assertNotNil(status, output .. " did not end")
  lu.assertEquals({ status.exit, self:read(output .. ".err") }, { 0, "" }, output)
end

function T:test_eight_writers_are_never_refused()
  local store <close> = self:store(0)
  store.db:exec "CREATE TABLE counter(v); INSERT INTO counter VALUES(0)"
  local list = {}
  for i = 1, 8 do list[i] = self:spawn("w" .. i, "write", 100) end
  for i, process in ipairs(list) do self:assert_ended(process, "w" .. i) end
  lu.assertEquals(store.db:row("SELECT v FROM counter").v, 800)
  lu.assertEquals(support.check(store), "ok")
end

-- All eight make the store; only one does.
function T:test_eight_openers_of_a_store_that_is_not_there()
  for round = 1, 3 do
    self.path = ("%s/%d/runs.db"):format(self.dir, round)
    local list = {}
    for i = 1, 8 do list[i] = self:spawn(("o%d.%d"):format(round, i), "write", 0) end
    for i, process in ipairs(list) do self:assert_ended(process, ("o%d.%d"):format(round, i)) end
    local store <close> = assert(stores.open(self.path))
    lu.assertEquals(store:sweeps(), {})
  end
end

function T:test_each_trial_is_given_out_once()
  local store <close>, id = self:store(200)
  local list, seen, most = {}, {}, 0
  for i = 1, 8 do list[i] = self:spawn("c" .. i, "run") end
  for i, process in ipairs(list) do
    self:assert_ended(process, "c" .. i)
    local n = 0
    for number in self:read("c" .. i):gmatch "%d+" do
      lu.assertNil(seen[number], "twice: " .. number)
      seen[number], n = true, n + 1
    end
    most = math.max(most, n)
  end
  lu.assertTrue(most < 200, "only one of them worked")
  lu.assertEquals(store:counts(id).done, 200)
  for _, trial in ipairs(store:trials()) do lu.assertEquals(trial.attempt, 1) end
end

-- Two workers at a time, each killed after a moment; then one that may finish.
function T:test_killed_at_random_moments()
  local kills = tonumber(os.getenv "LIPWB_KILLS" or 50)
  local rng = lip.rng(os.time())
  local store, id = self:store(400)
  for i = 1, kills, 2 do
    local pair = { self:spawn("k" .. i, "run"), self:spawn("k" .. i + 1, "run") }
    for _, process in ipairs(pair) do
      lip.process.sleep(0.06 * rng:uniform())
      process:signal "KILL"
      process:wait()
    end
    if i % 10 == 1 and not stressed then
      store:close()
      store = assert(stores.open(self.path))
      lu.assertEquals(support.check(store), "ok")
    end
  end
  self:assert_ended(self:spawn("rest", "run"), "rest")
  lu.assertEquals(store:counts(id), { queued = 0, running = 0, done = 400, failed = 0, pruned = 0 })
  lu.assertEquals(support.check(store), "ok")
  local again = 0
  for _, trial in ipairs(store:trials()) do
    local ends = 0
    for _, line in ipairs(journal.read(store:folder(trial))) do ends = ends + (line.event == "end" and 1 or 0) end
    lu.assertEquals(ends, 1, "done once")
    lu.assertEquals(#store:metrics(trial), 6)
    again = again + (trial.attempt > 1 and 1 or 0)
  end
  lu.assertTrue(again > 0, "no kill hit a trial")
  local before = support.dump(store)
  lu.assertEquals(store:rebuild(), 400)
  lu.assertEquals(support.dump(store), before)
  store:close()
end

-- As on a full disk: files may not grow beyond a size.
function T:test_no_room()
  for _, kilobytes in ipairs { 300, 600 } do
    local store, id = self:store(0)
    store:close()
    local result = lip.process.run { "sh", "-c", [[trap "" XFSZ; ulimit -f "$1"; shift; exec "$@"]], "sh",
      tostring(kilobytes * 2), program, worker, "fill", self.path }
    lu.assertEquals(result.exit, 0, result.output)
    local code = result.output:match "^(%l+)\n"
    lu.assertTrue(code == "full" or code == "io", result.output)
    store = assert(stores.open(self.path, { create = true }))
    lu.assertEquals(support.check(store), "ok")
    local n = store:counts(id).queued
    lu.assertTrue(n > 10)
    lu.assertEquals(store:enqueue(id, support.trials(n + 1)), 1) -- there is room again
    store:rebuild()
    lu.assertEquals(support.check(store), "ok")
    store:close()
    lip.file.remove_tree(self.path .. ".d")
    for _, ending in ipairs { "", "-wal", "-shm" } do os.remove(self.path .. ending) end
  end
end

-- An archive that nobody may write: by another user, since root may always.
function T:test_a_folder_that_cannot_be_written()
  local store = self:store(2)
  store:close()
  os.execute(("chmod -R a+rX,a-w '%s'"):format(self.dir))
  local words = { program, worker, "read", self.path }
  local id = io.popen "id -u"
  if id:read "l" == "0" then
    local able = os.execute "setpriv --reuid 65534 --clear-groups true 2>/dev/null"
    lu.skipIf(not able, "no setpriv to become another user")
    words = { "setpriv", "--reuid", "65534", "--clear-groups", table.unpack(words) }
  end
  id:close()
  local result = lip.process.run(words)
  lu.assertEquals({ result.exit, result.output }, { 0, "0 budget\n" })
  words[#words - 1] = "write"
  words[#words + 1] = "0"
  result = lip.process.run(words)
  lu.assertEquals(result.exit, 1)
  -- a copy taken while somebody writes: its log can only be taken in where files may be made
  os.execute(("chmod -R u+w '%s'"):format(self.dir))
  local open <close> = self:store(3)
  local copy = self.dir .. "/copy"
  os.execute(("mkdir '%s' && cp '%s' '%s-wal' '%s' && chmod -R a+rX,a-w '%s'"):format(copy, self.path, self.path, copy,
    copy))
  words[#words - 2], words[#words - 1], words[#words] = "read", copy .. "/runs.db", nil
  result = lip.process.run(words)
  lu.assertEquals(result.exit, 1)
  lu.assertStrContains(result.errors, "runs.db-wal must be taken in first")
  lu.assertEquals(#open:trials(), 3)
end

return T
