-- One Ctrl-C stops what takes long inside of the engine's C code, with exit status 130, and soon.
local lu = require "luaunit"
local lip = require "lip"
local program = require "support_program".program

local T = {}

local folder
function T.setUp() folder = assert(lip.file.temporary()) end
function T.tearDown() assert(lip.file.remove_tree(folder)) end

-- Runs `code`, which calls ready() where it should be stopped; sends one SIGINT then. -> how it ended (lip.process), its
-- output, seconds from the signal to the end.
local function interrupt(code)
  local script, output = folder .. "/script.lua", folder .. "/output"
  assert(lip.file.write(script, "local lip = require 'lip'\nlocal folder = ...\n"
    .. "local function ready() print 'ready' io.stdout:flush() end\n" .. code))
  local process = assert(lip.process.spawn { program, script, folder, stdout = output })
  local patience = lip.time() + 100
  while process:alive() and not lip.file.read(output):find "ready" and lip.time() < patience do lip.process.sleep(0.02) end
  lip.process.sleep(0.1) -- into the call
  lu.assertTrue(process:alive(), lip.file.read(output))
  local began = lip.time()
  process:signal "INT"
  local ended, why = process:wait(60)
  if not ended then
    process:signal "KILL"
    process:wait()
    lu.fail("not stopped by one Ctrl-C: " .. why)
  end
  return ended, lip.file.read(output), lip.time() - began
end

local function is_stopped(code)
  local ended, output, seconds = interrupt(code)
  lu.assertEquals(ended.exit, 130, output)
  lu.assertStrContains(output, "ready")
  lu.assertNil(output:find "not stopped", output)
  lu.assertTrue(seconds < 10, seconds)
end

local endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

function T.test_sql_without_an_end()
  for _, method in ipairs { "row", "rows", "exec" } do
    is_stopped(([[local db = lip.db.open ":memory:" ready() db:%s "%s" print "not stopped"]]):format(method, endless))
  end
  is_stopped(([[local db = lip.db.open ":memory:" ready() db:transaction(db.row, db, "%s") print "not stopped"]])
    :format(endless))
end

function T.test_a_query_that_is_stopped_leaves_a_sound_database()
  local ended, output = interrupt(([[
    local db = lip.db.open(folder .. "/a.db")
    db:exec "CREATE TABLE t(a); INSERT INTO t VALUES(1)"
    local none, message, code
    ready()
    pcall(db.transaction, db, function()
      db:exec "INSERT INTO t VALUES(2)"
      none, message, code = db:row "%s"
    end)
    print(db:row("SELECT count(*) AS n FROM t").n, db:exec "INSERT INTO t VALUES(3)")
  ]]):format(endless))
  lu.assertEquals(ended.exit, 130)
  lu.assertStrContains(output, "1\t1") -- the second row was taken back, the third one went in
  local db = assert(lip.db.open(folder .. "/a.db"))
  lu.assertEquals(db:row("SELECT sum(a) AS s FROM t").s, 4)
end

function T.test_waiting_for_another_database_user()
  local db = assert(lip.db.open(folder .. "/a.db"))
  db:exec "CREATE TABLE t(a)"
  db:exec "BEGIN IMMEDIATE"
  is_stopped [[local db = lip.db.open(folder .. "/a.db", { timeout = 1000 })
    ready() db:exec "INSERT INTO t VALUES(1)" print "not stopped"]]
  db:exec "ROLLBACK"
end

-- 16000 keys took 11 seconds: the time must not grow with their square.
function T.test_json_of_many_keys()
  local function seconds(n)
    local row = {}
    for i = 1, n do row["key" .. i * 7919 % n] = i end
    local began = os.clock()
    local text = lip.to_json(row)
    local took = os.clock() - began
    lu.assertEquals(lip.from_json(text), row)
    return took
  end
  seconds(1000)
  lu.assertTrue(seconds(40000) < 5)
end

function T.test_json_keys_are_in_order()
  lu.assertEquals(lip.to_json { b = 1, a = 2, [1.5] = 3, ["1.25"] = 4, B = 5, ["\u{e4}"] = 6, ["a b"] = 7 },
    '{"1.25":4,"1.5":3,"B":5,"a":2,"a b":7,"b":1,"\u{e4}":6}')
  local row, words = {}, {}
  for i = 1, 2000 do
    words[i] = ("%x"):format(i * 7919 % 104729)
    row[words[i]] = 0
  end
  table.sort(words)
  local at = 0
  for word in lip.to_json(row):gmatch '"(%x+)":' do
    at = at + 1
    lu.assertEquals(word, words[at])
  end
  lu.assertEquals(at, 2000)
  -- a zero byte would end the text
  for _, value in ipairs { "a\0b", { "a\0b" }, { ["a\0b"] = 1 } } do
    lu.assertErrorMsgContains("zero byte", lip.to_json, value)
  end
end

function T.test_json_is_interrupted()
  is_stopped [[local row = {} for i = 1, 40000 do row["key" .. i] = i end
    ready() while true do lip.to_json(row) end]]
  is_stopped [[local one, row = {}, {}
    for i = 1, 1000 do one["key" .. i] = i end
    for i = 1, 2000 do row[i] = one end
    ready() while true do lip.to_json(row) end]]
end

return T
