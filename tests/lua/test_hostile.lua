-- Stores that somebody else has made: links and pipes where files should be, names that lead elsewhere, figures that
-- are none, texts that would move a terminal's cursor. Each command answers in words, and touches nothing outside.
local lu = require "luaunit"
local lip = require "lip"
local store = require "lip.sweep.store"
local support = require "support_sweep"

local T = support.fixture {}

local SWEEP = [[
local lip = require "lip"
return lip.sweep { name = "s", grid = { a = { 1, 2 } }, maximise = "v", run = function(c, t)
  t.report(1, { v = c.a }, 1)
  lip.file.write(t.file("figure", "x.png"), "PNG")
  print "printed"
  return { v = c.a }
end }
]]

local function sh(...)
  assert(os.execute(string.format(...)))
end

function T:made()
  self:write("s.lua", SWEEP)
  lu.assertEquals(self:sweep("s.lua", "-j", "2"), 0)
  self.root = self.dir .. "/runs.db.d"
  self.best = self:records "s"[2].key -- the largest v
  self.trial = ("%s/trials/%s"):format(self.root, self.best)
  self.out = self.dir .. "/outside"
  assert(lip.file.mkdir(self.out))
end

-- Status and all that is said; never in Lua's words, and always in time.
function T:says(command)
  local words = { support.program, cwd = self.dir, timeout = 20, env = { LIPWB_STORE = false, COLUMNS = false } }
  for word in command:gmatch "%S+" do words[#words + 1] = word end
  local r = assert(lip.process.run(words))
  local text = r.output .. r.errors
  lu.assertNil(r.signal, command .. " did not end: " .. text)
  lu.assertNil(text:find "traceback" or text:find "%.lua:%d+:" or text:find "attempt to", command .. ": " .. text)
  return r.exit, text
end

local LOOKS = { "runs ls", "runs show 2 --output", "runs gc", "runs gc --checkpoints", "report -o page.html",
  "reproduce s/2", "runs export csv", "runs export tensorboard tb", "runs plot -o x.svg",
  "runs gc --checkpoints --delete",
  "sweep s.lua --retry failed", "runs rebuild" }

-- ---- lip.file below a folder ----

function T:test_files_below()
  local file, root = lip.file, self.dir .. "/store"
  local outside = { ["self.txt"] = "secret", ["deep/self.txt"] = "secret" }
  for name, text in pairs(outside) do
    assert(file.mkdir((self.dir .. "/out/" .. name):match "^(.*)/"))
    assert(file.write(self.dir .. "/out/" .. name, text))
  end
  assert(file.mkdir(root .. "/a/b"))
  assert(file.write(root .. "/a/own", "own"))
  sh("cd %s && ln -s ../out linked && ln -s ../out/self.txt link && mkfifo pipe && ln -s own a/link", root)
  sh("ln -s %s %s/through", root, self.dir)
  local o = { below = root }
  local function refused(text, value, message, code)
    lu.assertNil(value)
    lu.assertStrContains(message, text)
    lu.assertEquals(code, "io", message)
  end
  local calls = {
    read = function(path) return file.read(path, 0, o) end, tail = function(path) return file.tail(path, 5, o) end,
    write = function(path) return file.write(path, "x", o) end,
    append = function(path) return file.append(path, "x", { sync = true, below = root }) end,
    from = function(path) return file.rename(path, root .. "/new", o) end,
    to = function(path) return file.rename(root .. "/a/own", path, o) end,
    list = function(path) return file.list(path, o) end, stat = function(path) return file.stat(path, o) end,
    mkdir = function(path) return file.mkdir(path, o) end,
    remove_tree = function(path) return file.remove_tree(path, o) end,
  }
  for name, call in pairs(calls) do
    refused("symbolic link", call(root .. "/linked/self.txt"))
    refused("symbolic link", call(root .. "/linked/deep/self.txt"))
    refused("symbolic link", call(root .. "//linked/deep"))
    refused("leads out", call(root .. "/a/../../out/self.txt"))
    if name ~= "remove_tree" then refused("leads out", call(root .. "/..")) end
    refused("leads out", call(self.dir .. "/storeroom"))
    refused("leads out", call "elsewhere")
    if name ~= "from" and name ~= "to" and name ~= "stat" and name ~= "remove_tree" then
      refused("symbolic link", call(root .. "/link"))
      refused("symbolic link", call(root .. "/a/link"))
    end
    if name == "read" or name == "tail" or name == "append" or name == "write" then
      refused("not a regular file", call(root .. "/pipe"))
    end
  end
  lu.assertEquals(file.stat(root .. "/link", o).kind, "link")
  lu.assertTrue(file.exists(root .. "/link", o))
  lu.assertFalse(file.exists(root .. "/linked/self.txt", o))
  for name, text in pairs(outside) do lu.assertEquals(file.read(self.dir .. "/out/" .. name), text) end
  -- what is right works, by whichever way the folder itself is reached
  for _, top in ipairs { root, self.dir .. "/through", root .. "/" } do
    local by = { below = top }
    lu.assertEquals(file.read(top .. "/a/./own", 0, by), "own")
    lu.assertEquals(file.list(top .. "/a", by), { "b", "link", "own" })
    lu.assertTrue(file.mkdir(top .. "/a/c//d/", by))
    lu.assertTrue(file.mkdir(top, by))
    lu.assertTrue(file.write(top .. "/a/c/d/x", "123", by))
    lu.assertTrue(file.append(top .. "/a/c/d/x", "45", by))
    lu.assertEquals(file.tail(top .. "/a/c/d/x", 2, by), "45")
    lu.assertEquals(file.stat(top .. "/a/c/d/x", by).size, 5)
    lu.assertTrue(file.rename(top .. "/a/c/d/x", top .. "/a/y", by))
    lu.assertTrue(file.remove_tree(top .. "/a/y", by))
    lu.assertTrue(file.remove_tree(top .. "/a/c", by))
    lu.assertTrue(file.remove_tree(top .. "/a/none", by))
    lu.assertEquals({ file.read(top .. "/none", 0, by) },
      { nil, top .. "/none: cannot open it: No such file or directory", "not_found" })
  end
  lu.assertErrorMsgContains("'below' expects a folder", file.read, "x", 0, { below = 5 })
  lu.assertErrorMsgContains("unknown option 'above'", file.read, "x", 0, { above = "." })
  lu.assertErrorMsgContains("never removed as a whole", file.remove_tree, root .. "/.", o)
  lu.assertErrorMsgContains("never removed as a whole", file.remove_tree, root, o)
end

function T:test_streams_below()
  assert(lip.file.mkdir(self.dir .. "/store"))
  self:write("target", "as it was")
  sh("cd %s/store && ln -s ../target link && mkfifo pipe", self.dir)
  for _, name in ipairs { "link", "pipe" } do
    for _, stream in ipairs { "stdout", "stderr" } do
      local process, message, code = lip.process.spawn { "true", [stream] = self.dir .. "/store/" .. name,
        below = self.dir .. "/store" }
      lu.assertNil(process)
      lu.assertStrContains(message, name == "link" and "symbolic link" or "not a regular file")
      lu.assertEquals(code, "io")
    end
  end
  lu.assertEquals(lip.file.read(self.dir .. "/target"), "as it was")
end

-- ---- links and pipes in a store ----

function T:test_pipes_are_not_waited_for()
  for _, name in ipairs { "journal.jsonl", "trial.json", "output.txt", "x.png" } do
    self:made()
    sh("cd %s && rm %s && mkfifo %s", self.trial, name, name)
    for _, command in ipairs(LOOKS) do self:says(command) end
    assert(lip.file.remove_tree(self.root))
    os.remove(self.dir .. "/runs.db")
  end
  self:made()
  sh("cd %s/sweeps && rm s.json s.trials.jsonl && mkfifo s.json s.trials.jsonl s.slurm.json", self.root)
  for _, command in ipairs(LOOKS) do self:says(command) end
  self:says "sweep status s.lua"
end

function T:test_nothing_behind_a_link_is_shown()
  self:made()
  for _, name in ipairs { "x.png", "output.txt", "trial.json" } do
    self:write("outside/secret", "SECRET of somebody")
    sh("cd %s && rm %s && ln -s ../../../outside/secret %s", self.trial, name, name)
  end
  for _, command in ipairs(LOOKS) do
    local _, text = self:says(command)
    lu.assertNil(text:find "SECRET", command)
  end
  local page = assert(lip.file.read(self.dir .. "/page.html"))
  lu.assertNil(page:find "SECRET")
  lu.assertNil(page:find(lip.version and "U0VDUkVU", 1, true)) -- its first six letters in base 64
  lu.assertEquals(lip.file.read(self.out .. "/secret"), "SECRET of somebody")
end

-- A sweep that goes on in a store whose parts are links writes nothing behind them.
function T:test_sweeps_write_through_no_link()
  local function all(folder)
    return lip.process.run({ "sh", "-c", "cd $0 && find . -type f | sort | xargs cat", folder }).output
  end
  for _, part in ipairs { "trials", "sweeps", "objects", "trials/KEY", "trials/KEY/journal.jsonl",
    "trials/KEY/output.txt", "trials/KEY/trial.json" } do
    self:made()
    local again = assert(store.open(self.dir .. "/runs.db", {}))
    assert(again:requeue(again:trials { number = 2 }[1]))
    again:close()
    local path = ("%s/%s"):format(self.root, (part:gsub("KEY", self.best)))
    sh("mv %s %s/kept && ln -s %s/kept %s", path, self.out, self.out, path)
    local before = all(self.out)
    local status, text = self:says "sweep s.lua -j 1"
    lu.assertEquals(all(self.out), before, part)
    local whole = part == "trials/KEY/trial.json" -- replaced: what is told there is ours
    if part:find "journal" then whole = true end -- the folder is set aside, or a new journal is begun
    if not whole then lu.assertEquals({ part, status }, { part, 1 }, text) end
    if not whole then lu.assertStrContains(text, "symbolic link") end
    for _, command in ipairs(LOOKS) do self:says(command) end
    lu.assertEquals(all(self.out), before, part)
    assert(lip.file.remove_tree(self.out))
    assert(lip.file.remove_tree(self.root))
    os.remove(self.dir .. "/runs.db")
  end
end

function T:test_the_store_itself_may_be_a_link()
  self:made()
  sh("cd %s && mkdir big && mv runs.db.d big/store && ln -s big/store runs.db.d && rm runs.db", self.dir)
  lu.assertEquals(self:says "runs rebuild", 0)
  lu.assertEquals(self:says "sweep s.lua", 0)
  lu.assertEquals(self:says "runs show 2 --output", 0)
end

-- ---- odd values in the database ----

local ODD = { -3, 1e308, -1e308, math.mininteger, "x", "", "nan", "inf", "[1,2]", '{"a":{"b":1}}',
  '{"v":"nan","loss":[1]}', '{"v":true}', "../../x", "\xff\xfe", '{"maximise":"a"}',
  '{"maximise":"v","search":{"space":{"a":{"kind":"integer","low":"x"},"seed":{"kind":"choice"}}}}' }
local EXPORTS = { "runs export tensorboard tb", "runs export optuna x.log", "runs export csv",
  "runs export csv --metrics",
  "runs export jsonl --metrics", "runs plot pareto --x a --y v -o x.svg", "runs plot losses -o x.svg",
  "runs pareto a v",
  "report -o x.html", "runs show s/2 --metrics", "runs ls --wide" }

-- Every column holds every odd value once; each time a few of the commands look at it.
function T:test_odd_values()
  self:made()
  local n, wrong = 0, {}
  for _, place in ipairs { "trials", "metrics", "files", "data", "sweeps" } do
    local names = {}
    do
      local db <close> = assert(lip.db.open(self.dir .. "/runs.db"))
      for _, row in ipairs(assert(db:rows(("PRAGMA table_info(%s)"):format(place)))) do names[#names + 1] = row.name end
    end
    for _, column in ipairs(names) do
      for _, value in ipairs(ODD) do
        sh("cd %s && cp runs.db bad.db && rm -f bad.db-wal bad.db-shm", self.dir)
        local db <close> = assert(lip.db.open(self.dir .. "/bad.db"))
        db:exec "PRAGMA ignore_check_constraints = ON"
        db:exec("INSERT OR IGNORE INTO data VALUES(2, 'set', 'ab', 5)")
        n = n + 1
        if pcall(db.exec, db, ("UPDATE OR IGNORE %s SET %s = ?"):format(place, column), value) then
          db:close()
          local command = EXPORTS[n % #EXPORTS + 1]
          local fine, why = pcall(self.says, self, command .. " --store bad.db")
          if not fine then wrong[#wrong + 1] = ("%s.%s = %s: %s"):format(place, column, value, tostring(why)) end
        end
      end
    end
  end
  lu.assertEquals(table.concat(wrong, "\n"), "")
end

-- What broke the exports, one by one, and what is said now.
function T:test_exports()
  self:made()
  local function with(change, command, status, text)
    sh("cd %s && cp runs.db bad.db && rm -rf bad.db-wal bad.db-shm tb x.log", self.dir)
    local db = assert(lip.db.open(self.dir .. "/bad.db"))
    assert(db:exec(change))
    db:close()
    local got, said = self:says(command .. " --store bad.db")
    lu.assertEquals({ command, change, got }, { command, change, status }, said)
    lu.assertStrContains(said, text)
  end
  with("UPDATE metrics SET step = -3", "runs export tensorboard tb", 1, "'step' of a trial's metrics is damaged")
  with("UPDATE metrics SET step = 'x'", "runs show 2 --metrics", 0, "run s/2")
  with("UPDATE metrics SET value = 'x'", "runs export tensorboard tb", 1, "'value' of a trial's metrics is damaged")
  with("UPDATE metrics SET value = 'x'", "runs export csv --metrics", 1, "'value' of a trial's metrics is damaged")
  with("UPDATE trials SET started = 1e308, finished = 1e308", "runs export optuna x.log", 0, "2 runs")
  lu.assertStrContains(lip.file.read(self.dir .. "/x.log"), '"datetime_start":null')
  with("UPDATE trials SET started = 1e308, finished = -1e308, seconds = 1e308", "report -o x.html", 0, "2 runs")
  with("UPDATE trials SET step = -5", "runs export tensorboard tb", 0, "2 runs")
  with("UPDATE trials SET config = '{\"a\":\"text\"}'", "runs export optuna x.log", 0, "2 runs")
  with([[UPDATE sweeps SET description = '{"search":{"space":{"a":{"kind":"integer","low":"x"}}}}']],
    "runs export optuna x.log", 0, "2 runs")
  for _, command in ipairs { "runs export tensorboard tb", "runs ls", "report -o x.html", "runs show 2" } do
    with("UPDATE sweeps SET name = '../../x'", command, 1, "is damaged (lipwb runs rebuild makes it again)")
  end
  lu.assertFalse(lip.file.exists(self.dir .. "/../x"))
  lu.assertFalse(lip.file.exists(self.dir .. "/tb"))
end

-- ---- what a terminal would obey ----

local EVIL = "a\27[2J\7\r\u{9b}31m\u{85}\u{202e}\u{2066}\u{61c}\u{200f}\u{2028}\x9b\xffz"

-- Characters of `text` that are not to be shown.
local function obeyed(text)
  local found = {}
  for _, pattern in ipairs { "[\0-\8\11-\31\127]", "\xc2[\x80-\x9f]", "\xd8\x9c", "\xe2\x80[\x8e\x8f\xa8-\xae]",
    "\xe2\x81[\xa6-\xa9]" } do
    for c in text:gmatch(pattern) do found[#found + 1] = ("%q"):format(c) end
  end
  if not utf8.len(text) then found[#found + 1] = "no UTF-8" end
  return table.concat(found, " ")
end

function T:test_plain()
  lu.assertEquals(lip.plain "", "")
  lu.assertEquals(lip.plain "It costs 5 \u{20ac}, \u{e4}\u{1f600}\u{5d0}", "It costs 5 \u{20ac}, \u{e4}\u{1f600}\u{5d0}")
  lu.assertEquals(lip.plain(EVIL), "a?[2J???31m????????z")
  lu.assertEquals(lip.plain "a\n\tb\r\0", "a??b??")
  lu.assertEquals(lip.plain("a\n\tb\r\0", true), "a\n\tb??")
  lu.assertEquals(lip.plain "\xc0\x80 \xe0\x80\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82", "?? ??? ??? ???? ??")
  for c = 0, 0x2100 do
    local one = (c < 0xd800 or c > 0xdfff) and utf8.char(c)
    lu.assertEquals(obeyed(lip.plain(one)), "")
    lu.assertEquals(lip.plain(one) == "?", c == 63 or c == 9 or c == 10 or obeyed(one) ~= "" or c == 0x2029, c)
  end
end

function T:test_stores_move_no_cursor()
  self:made()
  local evil = lip.plain(EVIL) -- only to see that it is changed
  lu.assertNotEquals(evil, EVIL)
  local text = EVIL:gsub("\x9b\xff", "") -- UTF-8, as all texts of a store
  local entry = lip.to_json { [text] = 1, a = text, v = 2 }
  local db = assert(lip.db.open(self.dir .. "/runs.db"))
  assert(db:exec("UPDATE trials SET message = ?, host = ?, config = ?, row = ?, provenance = ?", text, text, entry, entry,
    lip.to_json { git = { [text] = text }, argv = { text }, settings = { [text] = text } }))
  assert(db:exec("UPDATE metrics SET name = ?", text))
  assert(db:exec("INSERT INTO data VALUES(2, ?, ?, 5)", text, text))
  assert(db:exec("UPDATE files SET kind = ?, path = ?", text, text))
  assert(db:exec("UPDATE sweeps SET description = ?", lip.to_json { maximise = text, script = text, kind = text }))
  db:close()
  assert(lip.file.write(self.trial .. "/output.txt", EVIL .. "\n" .. EVIL))
  local path = self.trial .. "/trial.json"
  local told = lip.from_json(assert(lip.file.read(path)))
  told.script, told.config = "/none/" .. text, { [text] = text }
  assert(lip.file.write(path, lip.to_json(told)))
  for _, command in ipairs { "runs ls", "runs ls --wide", "runs best", "runs best v", "runs show 2 --output --metrics",
    "runs diff 1 2", "runs pareto v " .. text, "runs plot pareto --x v --y " .. text, "runs plot losses", "runs gc",
    "report -o page.html", "reproduce s/2", "sweep s.lua", "sweep s.lua --dry-run", "sweep s.lua --accept",
    "sweep status s.lua", "runs export tensorboard tb", "runs export optuna x.log", "runs rebuild" } do
    local _, said = self:says(command)
    lu.assertEquals({ command, obeyed(said) }, { command, "" }, said)
  end
end

-- Names of files and of scripts come from elsewhere, too.
function T:test_names_move_no_cursor()
  self:made()
  local name = EVIL:gsub("%s", "") -- one word
  self:write(name .. ".lua", "local x = nil + 1")
  self:write("row" .. name .. ".lua", SWEEP)
  for _, command in ipairs { "none" .. name, name .. ".lua", "--" .. name, "-e error([[" .. name .. "]])",
    "--set " .. name, "sweep none" .. name, "sweep " .. name .. ".lua", "sweep row" .. name .. ".lua --dry-run",
    "sweep row" .. name .. ".lua", "sweep s.lua --name " .. name, "sweep s.lua --store none/" .. name, "sweep --" .. name,
    "sweep s.lua --data " .. name, "runs ls --store " .. name, "runs ls --where " .. name, "runs ls --sweep " .. name,
    "runs ls --sort " .. name, "runs show " .. name, "runs show s/" .. name, "runs plot -o " .. name,
    "runs export csv none/" .. name, "runs export tensorboard s.lua/" .. name, "runs " .. name, "report --store " .. name,
    "report -o none/" .. name, "report -o " .. name .. ".html", "report --" .. name, "reproduce " .. name,
    "reproduce 1 --store " .. name, "check " .. name .. " " .. name, "check s.lua s.lua", "trial " .. name,
    "s.lua --data " .. name, "sweep status " .. name, "runs rebuild --store " .. name } do
    local words = { support.program, cwd = self.dir, timeout = 20, env = { LIPWB_STORE = false, COLUMNS = false } }
    for word in command:gmatch "%S+" do words[#words + 1] = word end
    local r = assert(lip.process.run(words))
    lu.assertEquals({ lip.plain(command), obeyed(r.output .. r.errors) }, { lip.plain(command), "" }, r.output .. r.errors)
  end
end

-- ---- what killed writers left ----

function T:test_gc_removes_what_killed_writers_left()
  self:made()
  local code = ([[local lip = require "lip"
    local text = ("x"):rep(1 << 28)
    for _, path in ipairs { "sweeps/s.json", "trials/%s/net.safetensors", "objects/a.gz" } do
      lip.file.write(%q .. "/" .. path, text)
    end]]):format(self.best, self.root)
  self:write("writer.lua", code)
  local function left()
    local r = lip.process.run { "find", self.root, "-name", ".*.part" }
    local list = {}
    for path in r.output:gmatch "[^\n]+" do list[#list + 1] = path end
    return list
  end
  local seen = 0
  for _ = 1, 3 do
    local process = assert(lip.process.spawn { support.program, self.dir .. "/writer.lua" })
    local until_ = lip.time() + 20
    repeat until #left() > seen or lip.time() > until_
    process:signal "KILL"
    process:wait(10)
    seen = #left()
    if seen > 0 then break end
  end
  lu.assertTrue(seen > 0, "no writer was met at work")
  lu.assertTrue(lip.file.is_left(left()[1]))
  lu.assertFalse(lip.file.is_left(self.root .. "/sweeps/s.trials.jsonl"))
  local status, text = self:says "runs gc"
  lu.assertEquals(status, 0)
  lu.assertStrContains(text, "left by a killed writer")
  lu.assertEquals(#left(), seen)
  lu.assertEquals(self:says "runs gc --delete", 0)
  lu.assertEquals(left(), {})
end

return { TestHostile = T }
