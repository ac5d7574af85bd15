-- Runs test files under LuaUnit: lipwb tests/lua/run.lua FILE... [LuaUnit options, e.g. -v or -p PATTERN]
--
-- A test file returns a table: of functions named test*, of tables named Test* that hold such functions, or
-- both. (Globals with such names are found too.) A file may `require` helpers that stand beside this runner.
-- LIPWB_GC_STRESS=1 runs everything under a merciless collector: it shows objects that were not kept alive.
-- Leaves with success only when at least one test ran and none failed: LuaUnit's own exit code is the number
-- of failures modulo 256, and it is 0 when a pattern matches nothing.

local files = {}
for _, name in ipairs {...} do
  if name:sub(1, 1) == "-" then break end -- LuaUnit reads these from `arg` by itself
  files[#files + 1] = name
end
rawset(_G, "arg", rawget(_G, "arg") or {...})

local here = (debug.getinfo(1, "S").source:match "^@(.*)[/\\][^/\\]*$") or "."
package.path = here .. "/?.lua;" .. package.path
local lu = require "luaunit"

local function is_test_name(name)
  return type(name) == "string" and name:find "^[Tt]est" ~= nil
end

-- strict: a global must be one of Lua's, or a test, or one of the hooks that LuaUnit looks for
local hooks = {setupSuite = true, teardownSuite = true}
setmetatable(_G, {
  __index = function(_, name)
    if not hooks[name] then error(("undeclared global '%s' is read"):format(tostring(name)), 2) end
  end,
  __newindex = function(t, name, value)
    if not is_test_name(name) then
      error(("global '%s' is created: make it local"):format(tostring(name)), 2)
    end
    rawset(t, name, value)
  end,
  __metatable = "strict",
})

-- { {name, function or table}, ... } in a fixed order
local function collect(from, label, into)
  local names, class = {}, {}
  for name, value in pairs(from) do
    if is_test_name(name) then
      if type(value) == "table" then
        names[#names + 1] = name
      elseif type(value) == "function" then
        class[name] = value
      end
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do into[#into + 1] = {name, from[name]} end
  if next(class) then
    -- functions of one file form one class, together with its setUp, tearDown, setupClass, teardownClass
    for name, value in pairs(from) do
      if type(value) == "function" and not is_test_name(name) then class[name] = value end
    end
    into[#into + 1] = {label, class}
  end
end

local function leave(ok, message)
  if message then io.stderr:write("run.lua: ", message, "\n") end
  io.stdout:flush()
  os.exit(ok, true)
end

if #files == 0 then leave(false, "usage: lipwb tests/lua/run.lua FILE... [LuaUnit options]") end
if os.getenv "LIPWB_GC_STRESS" == "1" then collectgarbage("incremental", 1, 1000) end

-- os.tmpname makes the file that it names: whatever is left is a test's fault
local named, tmpname = {}, os.tmpname
function os.tmpname() -- luacheck: ignore 122
  named[#named + 1] = tmpname()
  return named[#named]
end

local suite = {}
for _, file in ipairs(files) do
  local chunk, message = loadfile(file)
  if not chunk then leave(false, message) end
  local ok, result = xpcall(chunk, debug.traceback, file)
  if not ok then leave(false, result) end
  if type(result) == "table" then collect(result, file:match "([^/\\]+)%.lua$" or file, suite) end
end

local globals = {}
for name, value in next, _G do
  if is_test_name(name) then globals[name] = value end
end
collect(globals, "globals", suite)

local runner = lu.LuaUnit.new()
local failures = runner:runSuiteByInstances(suite)
if runner.result.runCount == 0 then leave(false, "no test ran") end
for _, name in ipairs(named) do
  if os.remove(name) then leave(false, "a temporary file is left behind: " .. name) end
end
leave(failures == 0)
