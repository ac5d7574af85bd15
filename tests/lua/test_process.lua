-- lip.process: programs started, watched, told signals, and waited for; nothing of the parent leaks into them.
local lu = require "luaunit"
local lip = require "lip"

local process, file = lip.process, lip.file
local program = process.self().program

local T = {}

function T:setUp()
  self.dir = assert(file.temporary())
end

function T:tearDown()
  file.remove_tree(self.dir)
end

function T:path(name)
  return self.dir .. "/" .. name
end

local function sh(code, more)
  local words = { "sh", "-c", code }
  for name, v in pairs(more or {}) do words[name] = v end
  return words
end

-- Starts another lipwb on `code`.
local function lipwb(code, more)
  local words = { program, "-e", code }
  for name, v in pairs(more or {}) do words[name] = v end
  return assert(process.spawn(words))
end

-- The state letter of a process, nil when there is none.
local function state_of(pid)
  local text = file.read(("/proc/%d/stat"):format(pid))
  return text and text:match "%) (%a)"
end

local function until_true(f)
  for _ = 1, 1000 do
    if f() then return true end
    process.sleep(0.01)
  end
  return false
end

-- ---- starting and ending ----

function T.test_exit_and_signal()
  lu.assertEquals(process.spawn(sh "exit 7"):wait().exit, 7)
  local sleeper = process.spawn { "sleep", "100" }
  lu.assertTrue(sleeper:alive())
  lu.assertTrue(process.alive(sleeper:pid(), sleeper:start()))
  lu.assertFalse(process.alive(sleeper:pid(), sleeper:start() + 1))
  lu.assertTrue(sleeper:signal "TERM")
  local result = sleeper:wait()
  lu.assertEquals({ result.exit, result.signal }, { nil, 15 })
  lu.assertEquals(process.signal_name(result.signal), "TERM")
  lu.assertNil(process.signal_name(0))
  lu.assertEquals(sleeper:wait(), result) -- as often as wanted
  lu.assertFalse(sleeper:alive())
  lu.assertFalse(sleeper:signal "KILL")
  lu.assertFalse(process.alive(sleeper:pid()))
  lu.assertStrContains(tostring(sleeper), "ended")
  lu.assertTrue(result.memory > 0 and result.seconds >= 0)
end

function T.test_waiting_has_an_end()
  local sleeper = process.spawn { "sleep", "100" }
  local began = lip.time()
  local result, why = sleeper:wait(0.05)
  lu.assertNil(result)
  lu.assertEquals(why, "timeout")
  lu.assertTrue(lip.time() - began >= 0.05)
  lu.assertEquals(select(2, sleeper:wait(0)), "timeout")
  lu.assertEquals(select(2, process.wait_any({ sleeper }, 0.02)), "timeout")
  lu.assertEquals(select(2, process.wait_any({}, 0.02)), "timeout")
  sleeper:signal "SIGKILL"
  lu.assertEquals(process.wait_any { sleeper }, sleeper)
end

function T.test_wait_any_gives_each()
  local list = {}
  for i = 1, 5 do list[i] = process.spawn(sh(("sleep 0.0%d; exit %d"):format(6 - i, i))) end
  local seen = {}
  while #list > 0 do
    local ended = process.wait_any(list, 20)
    lu.assertNotNil(ended)
    for i, p in ipairs(list) do
      if p == ended then table.remove(list, i) end
    end
    seen[#seen + 1] = ended:wait(0).exit
  end
  table.sort(seen)
  lu.assertEquals(seen, { 1, 2, 3, 4, 5 })
end

function T:test_what_cannot_be_started()
  local function refused(code, words)
    local p, message, got = process.spawn(words)
    lu.assertNil(p)
    lu.assertEquals(type(message), "string")
    lu.assertEquals(got, code)
  end
  refused("not_found", { "no such program anywhere" })
  refused("not_found", { "true", cwd = self:path "none" })
  refused("not_found", { "true", stdout = self:path "none/x" })
  refused("io", { self.dir })
  assert(file.write(self:path "plain", ""))
  refused("not_found", { "true", cwd = self:path "plain" })
  lu.assertErrorMsgContains("unknown option 'stdou'", process.spawn, { "true", stdou = "x" })
  lu.assertErrorMsgContains("a program and its arguments", process.spawn, {})
  lu.assertErrorMsgContains("word 2 must be a string", process.spawn, { "echo", 1 })
  lu.assertErrorMsgContains("env expects names", process.spawn, { "true", env = { A = 1 } })
  lu.assertErrorMsgContains("the name of a signal", process.spawn({ "true" }).signal, process.spawn { "true" }, "TEA")
end

function T:test_streams()
  local path = self:path "out"
  process.spawn(sh("echo one; echo two >&2", { stdout = path })):wait()
  lu.assertEquals(file.read(path), "one\ntwo\n")
  process.spawn(sh("echo three", { stdout = path, append = true })):wait()
  lu.assertEquals(file.read(path), "one\ntwo\nthree\n")
  process.spawn(sh("echo four; echo five >&2", { stdout = path, stderr = self:path "err" })):wait()
  lu.assertEquals({ file.read(path), file.read(self:path "err") }, { "four\n", "five\n" })
  process.spawn(sh("wc -c", { stdout = path })):wait() -- nothing to read
  lu.assertEquals(tonumber(file.read(path)), 0)
end

function T:test_environment_and_folder()
  local seen = process.run(sh('echo "$ONE|$HOME|$PATH|$LIPWB_PARENT"; pwd', { env = { ONE = "1 = x", HOME = false },
    cwd = self.dir })).output
  lu.assertEquals(seen, ("1 = x||%s|\n%s\n"):format(os.getenv "PATH", file.absolute(self.dir)))
end

-- Files that the parent holds open, whoever opened them, are closed in the child.
function T:test_no_file_leaks()
  local held = {}
  for i = 1, 20 do held[i] = assert(io.open(self:path("f" .. i), "w")) end
  local db = assert(lip.db.open(self:path "db"))
  db:exec "CREATE TABLE t(x)"
  local pipe = io.popen("sleep 1", "w")
  local seen = process.run { "ls", "/proc/self/fd" }.output
  lu.assertEquals(seen, "0\n1\n2\n3\n") -- 3 is that of ls itself
  pipe:close()
  db:close()
  for _, f in ipairs(held) do f:close() end
end

function T.test_no_zombies()
  local pid
  do
    local forgotten = process.spawn { "true" }
    pid = forgotten:pid()
  end
  collectgarbage()
  collectgarbage()
  lu.assertTrue(until_true(function()
    process.spawn({ "true" }):wait() -- looks after the forgotten
    return state_of(pid) == nil
  end))
  pid = process.spawn({ "sleep", "0.05" }):pid()
  collectgarbage()
  collectgarbage()
  lu.assertNotNil(state_of(pid)) -- it is not killed
  lu.assertTrue(until_true(function()
    process.spawn({ "true" }):wait()
    return state_of(pid) == nil
  end))
end

-- ---- run ----

function T.test_run()
  local text = ("0123456789abcdef"):rep(1 << 17) -- more than any pipe holds
  local result = process.run { "cat", input = text }
  lu.assertEquals({ result.exit, result.errors }, { 0, "" })
  lu.assertTrue(result.output == text)
  lu.assertEquals(#process.run({ "cat", input = text, limit = 1000 }).output, 1000)
  lu.assertEquals(process.run({ "cat", input = "a\0b" }).output, "a\0b")
  result = process.run(sh "echo out; echo err >&2; kill -9 $$")
  lu.assertEquals({ result.output, result.errors, result.signal, result.exit }, { "out\n", "err\n", 9, nil })
  local began = lip.time()
  local none, message, code = process.run { "sleep", "100", timeout = 0.05 }
  lu.assertEquals({ none, message, code }, { nil, "timeout", "timeout" })
  lu.assertTrue(lip.time() - began < 50)
  -- a child left behind does not hold it up
  lu.assertEquals(process.run(sh "sleep 20 & echo done").output, "done\n")
  lu.assertEquals(select(3, process.run { "no such program anywhere" }), "not_found")
end

-- ---- groups and parents ----

function T:test_groups()
  local path = self:path "pid"
  local leader = process.spawn(sh(("sleep 100 & echo $! > %s; wait"):format(path), { group = true }))
  lu.assertTrue(until_true(function() return (file.read(path) or ""):find "\n" end))
  local child = math.tointeger(tonumber(file.read(path)))
  lu.assertTrue(process.alive(child))
  leader:signal("KILL", { group = true })
  leader:wait()
  lu.assertTrue(until_true(function() return not process.alive(child) end))
end

function T:test_following_a_parent()
  local path = self:path "pid"
  local inner = ([[lip.process.follow_parent()
    local f = io.open(%q, "w") f:write(lip.process.self().pid, "\n") f:close()
    lip.process.sleep(100)]]):format(path)
  local outer = lipwb(([[lip.process.spawn { %q, "-e", %q, dies_with_parent = true } lip.process.sleep(100)]])
    :format(program, inner))
  lu.assertTrue(until_true(function() return (file.read(path) or ""):find "\n" end))
  local child = math.tointeger(tonumber(file.read(path)))
  lu.assertTrue(process.alive(child))
  outer:signal "KILL"
  outer:wait()
  lu.assertTrue(until_true(function() return not process.alive(child) end))
  lu.assertFalse(process.follow_parent()) -- nobody asked this one to
end

-- ---- signals ----

function T:test_held_signals()
  local path = self:path "out"
  local code = [[lip.process.signals "hold" print "ready" io.stdout:flush()
    while true do
      local slept = lip.process.sleep(100)
      local n, name = lip.process.pending()
      print(slept, n, name) io.stdout:flush()
    end]]
  local p = lipwb(code, { stdout = path })
  lu.assertTrue(until_true(function() return (file.read(path) or ""):find "ready" end))
  local expected = "ready\n"
  for i, name in ipairs { "TERM", "HUP", "INT" } do
    p:signal(name)
    expected = expected .. ("false\t%d\t%s\n"):format(i, name)
    lu.assertTrue(until_true(function() return file.read(path) == expected end), file.read(path))
  end
  lu.assertTrue(p:alive())
  p:signal "USR1" -- the fourth does not ask
  lu.assertEquals(p:wait(20).exit, 130)
end

function T:test_a_held_signal_ends_waiting()
  local path = self:path "out"
  local p = lipwb([[lip.process.signals "hold"
    local child = lip.process.spawn { "sleep", "100", group = true }
    print "ready" io.stdout:flush()
    print(child:wait()) print(lip.process.wait_any({ child })) print(lip.process.pending())
    print(child:wait(0.01)) child:signal "KILL" print(child:wait().signal)]], { stdout = path })
  lu.assertTrue(until_true(function() return (file.read(path) or ""):find "ready" end))
  p:signal "TERM"
  lu.assertEquals(p:wait(20).exit, 0)
  lu.assertEquals(file.read(path), "ready\nnil\tinterrupted\tcancelled\nnil\tinterrupted\tcancelled\n1\tTERM\n" ..
    "nil\ttimeout\ttimeout\n9\n")
end

-- "stop": what Ctrl-C does, and a second signal does not cut short the tidying up.
function T:test_stopping_signals()
  for _, name in ipairs { "TERM", "USR1", "HUP", "INT" } do
    local path = self:path(name)
    local p = lipwb([[lip.process.signals "stop"
      print(pcall(function() print "ready" io.stdout:flush() while true do end end))
      print "tidy" io.stdout:flush()
      lip.process.sleep(0.2)
      local t = lip.time() while lip.time() < t + 0.2 do end
      print("end", lip.interrupted())]], { stdout = path })
    lu.assertTrue(until_true(function() return (file.read(path) or ""):find "ready" end))
    p:signal(name)
    lu.assertTrue(until_true(function() return (file.read(path) or ""):find "tidy" end))
    p:signal "TERM"
    lu.assertEquals(p:wait(20).exit, 0)
    lu.assertStrContains(file.read(path), "interrupted\ntidy\nend\ttrue")
  end
end

-- Without a word about signals the program is as any other.
function T:test_normal_signals()
  local p = process.spawn { program, "-e", "lip.process.sleep(100)" }
  until_true(function() return (state_of(p:pid()) or "") == "S" end)
  p:signal "TERM"
  lu.assertEquals(p:wait(20).signal, 15)
  local path = self:path "out"
  p = lipwb([[lip.process.signals "stop" lip.process.signals "normal" print "ready" io.stdout:flush()
    lip.process.sleep(100)]], { stdout = path })
  lu.assertTrue(until_true(function() return (file.read(path) or ""):find "ready" end))
  p:signal "TERM"
  lu.assertEquals(p:wait(20).signal, 15)
end

-- ---- about itself ----

function T:test_self()
  local own = process.self()
  lu.assertTrue(process.alive(own.pid, own.start))
  lu.assertEquals(own.host, (process.run({ "uname", "-n" }).output:gsub("\n", "")))
  lu.assertTrue(file.exists(own.program))
  lu.assertFalse(process.alive(0))
  lu.assertFalse(process.alive(-1))
  lu.assertFalse(process.alive(math.maxinteger))
  local usage = process.usage()
  lu.assertTrue(usage.memory > 1e6 and usage.seconds > 0)
  -- a child's own usage does not count its parent's
  local big = ("x"):rep(64 << 20)
  local path = self:path "out"
  lipwb("print(lip.process.usage().memory)", { stdout = path }):wait()
  lu.assertTrue(#big == 64 << 20 and tonumber(file.read(path)) < 60e6 or os.getenv "ASAN_OPTIONS" ~= nil)
  lu.assertTrue(process.usage().memory > 64 << 20)
end

function T.test_sleep()
  local began = lip.time()
  lu.assertTrue(process.sleep(0.02))
  lu.assertTrue(lip.time() - began >= 0.02)
  lu.assertTrue(process.sleep(0))
  lu.assertTrue(process.sleep(-1))
  lu.assertTrue(math.abs(lip.now() - os.time()) < 2)
end

return T
