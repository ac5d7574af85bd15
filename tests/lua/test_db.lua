-- lip.db: values in and out, transactions, what is misuse and what the world refuses.
local lu = require "luaunit"
local lip = require "lip"

local program = require "support_program".program
local T = {}

function T:setUp()
  local pipe <close> = assert(io.popen "mktemp -d")
  self.dir = pipe:read "l"
end

function T:tearDown()
  os.execute("rm -rf '" .. self.dir .. "'")
end

function T:path(name)
  return self.dir .. "/" .. name
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local function memory()
  local db = assert(lip.db.open ":memory:")
  lu.assertEquals(db:exec "CREATE TABLE t(a, b, c)", 0)
  return db
end

function T.test_values_come_back()
  local db = memory()
  local values = { 1, -1, math.maxinteger, math.mininteger, 0.1, -0.0, 5e-324, math.huge, -math.huge, "", "text",
    "a\0b", "\xff\xfe", ("x"):rep(100000), "ümlaut" }
  for i, value in ipairs(values) do lu.assertEquals(db:exec("INSERT INTO t VALUES(?,?,?)", i, value, nil), 1) end
  for i, row in ipairs(db:rows "SELECT a, b, c FROM t ORDER BY a") do
    lu.assertEquals(row.a, i)
    lu.assertEquals(row.b, values[i])
    lu.assertEquals(math.type(row.b), math.type(values[i]))
    lu.assertNil(row.c)
  end
  lu.assertEquals(1 / db:row("SELECT b FROM t WHERE a = 6").b, -math.huge)
  lu.assertEquals(db:row("SELECT ? AS v", true).v, 1)
  lu.assertEquals(db:row("SELECT ? AS v", false).v, 0)
  lu.assertNil(next(db:row("SELECT ? AS v", nil)))
  lu.assertIs(db:row "SELECT a FROM t WHERE a = 0", false)
  lu.assertEquals(db:rows "SELECT a FROM t WHERE a = 0", {})
end

function T.test_names()
  local db = memory()
  db:exec("INSERT INTO t VALUES(:x, :y, :x)", { x = "it's", y = 2.5 })
  lu.assertEquals(db:row "SELECT * FROM t", { a = "it's", b = 2.5, c = "it's" })
  lu.assertEquals(db:row("SELECT :none IS NULL AS v", {}).v, 1)
  lu.assertErrorMsgContains("no parameter :z", db.exec, db, "INSERT INTO t VALUES(:x, 1, 2)", { x = 1, z = 2 })
  lu.assertErrorMsgContains("no parameter", db.exec, db, "INSERT INTO t VALUES(:x, 1, 2)", { 1 })
  lu.assertErrorMsgContains(":name only", db.exec, db, "INSERT INTO t VALUES(?, 1, 2)", { 1 })
  lu.assertEquals(db:row("SELECT count(*) AS n FROM t").n, 1)
end

function T.test_exec_counts_and_runs_scripts()
  local db = memory()
  lu.assertEquals(db:exec [[
    INSERT INTO t(a) VALUES(1), (2), (3); -- three
    UPDATE t SET b = a; ]], 6)
  lu.assertEquals(db:exec "DELETE FROM t WHERE a > 1", 2)
  lu.assertEquals(db:exec "SELECT * FROM t", 0)
  lu.assertEquals(db:exec "-- nothing", 0)
  lu.assertEquals(db:row("INSERT INTO t(a) VALUES(?) RETURNING a + 1 AS next", 9).next, 10)
  lu.assertEquals(db:row("SELECT count(*) AS n FROM t").n, 2)
end

function T.test_misuse_raises()
  local db = memory()
  lu.assertErrorMsgContains("syntax error", db.exec, db, "INSURT")
  lu.assertErrorMsgContains("no such table", db.rows, db, "SELECT * FROM nowhere")
  lu.assertErrorMsgContains("takes 2 values, got 1", db.rows, db, "SELECT ?, ?", 1)
  lu.assertErrorMsgContains("takes 0 values, got 1", db.row, db, "SELECT 1", nil)
  lu.assertErrorMsgContains("one statement", db.rows, db, "SELECT 1; SELECT 2")
  lu.assertErrorMsgContains("several statements", db.exec, db, "SELECT ?; SELECT 2", 1)
  lu.assertErrorMsgContains("no statement", db.row, db, "")
  lu.assertErrorMsgContains("NaN", db.row, db, "SELECT ?", 0 / 0)
  lu.assertErrorMsgContains("got a table", db.row, db, "SELECT ?, ?", 1, {})
  lu.assertErrorMsgContains("unknown option 'x'", lip.db.open, ":memory:", { x = 1 })
  lu.assertErrorMsgContains("name of a file", lip.db.open, "")
  db:close()
  db:close()
  lu.assertErrorMsgContains("closed", db.row, db, "SELECT 1")
  lu.assertStrContains(tostring(db), "(closed)")
end

function T.test_transactions()
  local db = memory()
  local function add(a) return db:exec("INSERT INTO t(a) VALUES(?)", a) end
  local function count() return db:row("SELECT count(*) AS n FROM t").n end
  lu.assertEquals({ db:transaction(function(x, y) add(x) add(y) return x, y, nil, 4 end, 1, 2) }, { 1, 2, nil, 4 })
  lu.assertIs(db:transaction(function() end), true)
  lu.assertEquals(count(), 2)
  lu.assertErrorMsgContains("on purpose", db.transaction, db, function() add(3) error "on purpose" end)
  lu.assertEquals({ db:transaction(function() add(3) return nil, "no", "why" end) }, { nil, "no", "why" })
  lu.assertErrorMsgContains("inside a transaction", db.transaction, db, function() db:transaction(print) end)
  lu.assertErrorMsgContains("ended by", db.transaction, db, function() db:exec "COMMIT" end)
  local thread = coroutine.wrap(function() db:transaction(function() add(3) coroutine.yield() end) end)
  lu.assertErrorMsgContains("yield", thread)
  -- resume, unlike wrap, leaves the variables of a dead coroutine open
  local dead = coroutine.create(function() db:transaction(function() add(3) coroutine.yield() end) end)
  lu.assertFalse((coroutine.resume(dead)))
  lu.assertIs(db:transaction(function() end), true)
  lu.assertEquals(count(), 2)
  lu.assertErrorMsgContains("closed", db.transaction, db, function() db:close() end)
end

function T:test_what_the_world_refuses()
  local db = memory()
  db:exec "CREATE UNIQUE INDEX one ON t(a)"
  db:exec "INSERT INTO t(a) VALUES(1)"
  local nothing, message, code = db:exec "INSERT INTO t(a) VALUES(1)"
  lu.assertNil(nothing)
  lu.assertStrContains(message, "UNIQUE")
  lu.assertEquals(code, "constraint")
  local function refused(expected, ...)
    local got, why, kind = lip.db.open(...)
    lu.assertNil(got)
    lu.assertEquals(type(why), "string")
    lu.assertEquals(kind, expected, why)
  end
  refused("not_found", self:path "none", { readonly = true })
  refused("io", self:path "no/folder")
  refused("io", self.dir)
  write(self:path "text", ("this is no database\n"):rep(100))
  refused("format", self:path "text")
  refused("format", self:path "text", { readonly = true })
  do
    local other <close> = assert(lip.db.open(self:path "later"))
    other:exec "CREATE TABLE t(a)"
  end
  local file <close> = assert(io.open(self:path "later", "r+b"))
  file:seek("set", 47) -- the schema's format number
  file:write "\x63"
  file:flush()
  refused("format", self:path "later")
end

function T:test_damaged_file()
  local path = self:path "db"
  do
    local db <close> = assert(lip.db.open(path))
    db:exec "CREATE TABLE t(a)"
    db:transaction(function()
      for i = 1, 2000 do db:exec("INSERT INTO t VALUES(?)", ("row %d "):format(i):rep(10)) end
    end)
  end
  local file <close> = assert(io.open(path, "r+b"))
  file:seek("set", 4096)
  file:write(("\xa5"):rep(40000))
  file:flush()
  local db <close> = assert(lip.db.open(path))
  local nothing, _, code = db:rows "SELECT * FROM t"
  lu.assertNil(nothing)
  lu.assertEquals(code, "corrupt")
end

function T:test_readonly()
  local path = self:path "file: a%20b?x#y"
  do
    local db <close> = assert(lip.db.open(path))
    db:row "PRAGMA journal_mode = WAL"
    db:exec "CREATE TABLE t(a); INSERT INTO t VALUES(1)"
  end
  local db <close> = assert(lip.db.open(path, { readonly = true }))
  lu.assertEquals(db:row("SELECT a FROM t").a, 1)
  local nothing, message, code = db:exec "INSERT INTO t VALUES(2)"
  lu.assertNil(nothing)
  lu.assertStrContains(message, "readonly")
  lu.assertEquals(code, "readonly")
end

function T:test_busy_until_the_time_is_over()
  local path = self:path "db"
  local one <close> = assert(lip.db.open(path))
  local two <close> = assert(lip.db.open(path, { timeout = 0.05 }))
  one:exec "CREATE TABLE t(a)"
  one:transaction(function()
    local nothing, message, code = two:transaction(function() error "not reached" end)
    lu.assertNil(nothing)
    lu.assertStrContains(message, "locked")
    lu.assertEquals(code, "busy")
  end)
  lu.assertEquals(two:transaction(two.exec, two, "INSERT INTO t VALUES(1)"), 1)
end

-- SQLite's own limit on its memory makes allocations fail, wherever they stand. It can only be lowered: in a process of
-- its own.
local starving = [[
local lip = require "lip"
local limit, path = lip.db.open ":memory:", ...
local function attempt()
  local db <close>, message, code = lip.db.open(path)
  if not db then return nil, message, code end
  local quick, m, c = db:exec "PRAGMA synchronous = OFF"
  if not quick then return nil, m, c end
  local made, why, kind = db:exec "CREATE TABLE IF NOT EXISTS t(a); DELETE FROM t; CREATE INDEX IF NOT EXISTS i ON t(a)"
  if not made then return nil, why, kind end
  return db:transaction(function()
    for i = 1, 50 do
      local ok, m, c = db:exec("INSERT INTO t VALUES(?)", ("x"):rep(200 * i))
      if not ok then return nil, m, c end
    end
    return db:rows "SELECT a || a AS b FROM t ORDER BY a"
  end)
end
for kilobytes = 1200, 20, -7 do
  if not limit:row("PRAGMA hard_heap_limit = " .. kilobytes * 1024) then break end
  local rows, message, code = attempt()
  if rows then assert(#rows == 50) else assert(type(message) == "string") end
  print(rows and "done" or code)
end]]

function T:test_no_memory()
  write(self:path "starving.lua", starving)
  local result = lip.process.run { program, self:path "starving.lua", self:path "db" }
  lu.assertEquals({ result.exit, result.errors }, { 0, "" })
  local seen = {}
  for word in result.output:gmatch "%S+" do seen[word] = (seen[word] or 0) + 1 end
  lu.assertTrue((seen.done or 0) > 10 and (seen.memory or 0) > 10, result.output)
  seen.done, seen.memory = nil, nil
  lu.assertNil(next(seen), result.output)
  local db <close> = assert(lip.db.open(self:path "db"))
  lu.assertEquals(db:row("PRAGMA integrity_check").integrity_check, "ok")
end

-- The same SQL inside its own loop, and a database closed while its rows are read.
function T.test_statements_in_use()
  local db = memory()
  local sql = "SELECT ? AS v"
  local inner
  setmetatable({}, { __gc = function() inner = db:row(sql, 2).v end })
  for i = 1, 200 do
    lu.assertEquals(db:row(sql, i).v, i)
    if inner then break end
    collectgarbage "step"
  end
  collectgarbage()
  lu.assertEquals(inner, 2)
  for i = 1, 200 do lu.assertEquals(db:row(("SELECT %d AS v"):format(i)).v, i) end
  for i = 1, 5000 do db:exec("INSERT INTO t(a) VALUES(?)", i) end
  setmetatable({}, { __gc = function() db:close() end })
  local ok, rows = pcall(db.rows, db, "SELECT a, 'text ' || a AS b FROM t ORDER BY a")
  if ok then
    lu.assertEquals(#rows, 5000)
    lu.assertEquals(rows[5000].b, "text 5000")
  else -- a merciless collector was faster
    lu.assertStrContains(rows, "closed")
  end
  db = nil
  collectgarbage()
end

return T
