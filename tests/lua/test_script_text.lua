-- One text means one script wherever it runs: as a file, from standard input, as a sweep file, as the script of trials,
-- again by lipwb reproduce. What it means is told by Lua's own loadfile.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_sweep"

local T = support.fixture {}

local MARK = "\xef\xbb\xbf"

-- Beginnings that a file may have; what follows stands in the line below.
local BEGINNINGS = { "#!/usr/bin/env lipwb\n", MARK, MARK .. "#!/usr/bin/env lipwb\n", "# a remark\n", "#\n", "#!\r\n",
  MARK .. "\n", "", "\n" }

local function outcome(chunk, message)
  if not chunk then return { message = message } end
  local ok, result = pcall(chunk)
  return { ok = ok, result = result }
end

function T:test_as_lua_loads_files()
  local texts = { "", "#", "#!x", MARK, MARK:sub(1, 2), MARK .. MARK .. "return 1", "##\n#\n", "#!x\n#!y\nreturn 1" }
  for _, start in ipairs(BEGINNINGS) do
    for _, rest in ipairs { "return 7", "return 1,\n\n nonsense here", "\nerror 'told'", "\n\n x = = 1", "return debug."
      .. "getinfo(1, 'lS').currentline", string.dump(load "return 5") } do
      texts[#texts + 1] = start .. rest
    end
  end
  local path, compiled = self.dir .. "/t.lua", 0
  for i, text in ipairs(texts) do
    assert(lip.file.write(path, text))
    local ours = outcome(lip.load_script(text, path))
    lu.assertEquals(ours, outcome(loadfile(path)), ("text %d: %q"):format(i, text))
    compiled = compiled + (ours.result == 5 and 1 or 0)
  end
  lu.assertTrue(compiled >= 5, "compiled chunks ran")
end

local SCRIPT = [[
local lip = require "lip"
local a = lip.args { x = 1 }
if a.x == 3 then error "in line five of the file" end
return { v = 2 * a.x, line = debug.getinfo(1, "l").currentline }
]]

local SWEEP = [[
return require "lip".sweep { script = "t.lua", grid = { x = { 1, 2, 3 } }, maximise = "v" }
]]

function T:test_everywhere()
  for i, start in ipairs(BEGINNINGS) do
    local lines = select(2, start:gsub("\n", ""))
    local name = ("s%d"):format(i)
    self:write("t.lua", start .. SCRIPT)
    self:write(name .. ".lua", start .. SWEEP)
    for _, words in ipairs { { "t.lua" }, { "-", input = start .. SCRIPT } } do
      local plain = assert(lip.process.run { support.program, words[1], "--json", "-", cwd = self.dir,
        input = words.input })
      lu.assertEquals(plain.exit, 0, plain.errors)
      lu.assertStrContains(plain.output, ('"line":%d'):format(4 + lines))
    end
    local status, said = self:sweep(name .. ".lua", "-j", "2", "--store", name .. ".db")
    lu.assertEquals(status, 1, said)
    local records = self:records(name, name .. ".db")
    for k = 1, 2 do
      lu.assertEquals({ records[k].state, records[k].row }, { "done", { v = 2 * k, line = 4 + lines } }, said)
    end
    lu.assertStrContains(records[3].message, ("t.lua:%d: in line five"):format(3 + lines))
    local again = assert(lip.process.run { support.program, "reproduce", name .. "/2", "--store", name .. ".db",
      cwd = self.dir })
    lu.assertEquals(again.exit, 0, again.output .. again.errors)
  end
end

-- The function of a sweep file is the file once more, in the trial.
function T:test_functions()
  for i, start in ipairs(BEGINNINGS) do
    local name = ("s%d"):format(i)
    self:write(name .. ".lua", start .. [[
return require "lip".sweep { grid = { x = { 1, 2 } }, run = function(c) return { v = c.x } end }]])
    local status, said = self:sweep(name .. ".lua", "-j", "2")
    lu.assertEquals(status, 0, said)
    local again = assert(lip.process.run { support.program, "reproduce", name .. "/1", cwd = self.dir })
    lu.assertEquals(again.exit, 0, again.output .. again.errors)
  end
end

-- What cannot be loaded costs no trial; the check before hears what lip.args says behind any beginning.
function T:test_before_the_start()
  for _, start in ipairs(BEGINNINGS) do
    local lines = select(2, start:gsub("\n", ""))
    self:write("s.lua", start .. SWEEP)
    self:write("t.lua", start .. "local x\nx = = 1")
    local status, said = self:sweep("s.lua", "-j", "1")
    lu.assertEquals(status, 2, said)
    lu.assertStrContains(said, ("t.lua:%d: unexpected symbol"):format(2 + lines))
    self:write("t.lua", start .. 'require "lip".args { y = 1 }')
    status, said = self:sweep("s.lua", "-j", "1")
    lu.assertEquals(status, 2, said)
    lu.assertStrContains(said, "t.lua: this script has no setting 'x'")
  end
  lu.assertFalse(lip.file.exists(self.dir .. "/runs.db"))
end

function T:test_what_cannot_be_read()
  for name, message in pairs { ["no.lua"] = "cannot open no.lua: No such file", ["."] = "cannot read .: Is a directory" } do
    local result = assert(lip.process.run { support.program, name, cwd = self.dir })
    lu.assertEquals(result.exit, 1)
    lu.assertStrContains(result.errors, message)
  end
end

return T
