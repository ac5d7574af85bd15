-- Training that is killed with SIGKILL, wherever it stands, and started again ends with the very bits of a run that was
-- left alone: the files of the two finished nets are equal byte by byte.
local lu = require "luaunit"
local lip = require "lip"

local outside = require "support_program"
local program, quote = outside.program, outside.quote
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."

local STEPS = 28 -- 4 epochs of 7 batches
local norms = { "inf", "2", "1->inf->inf->inf" }

local function slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local T = {}

function T:setUp()
  local pipe <close> = assert(io.popen "mktemp -d")
  self.dir = pipe:read "l"
end

function T:tearDown()
  os.execute("rm -rf " .. quote(self.dir))
end

function T:path(name)
  return self.dir .. "/" .. name
end

function T:command(norm, name, die_at)
  return ("%s %s %s %s %s %s"):format(quote(program), quote(here .. "/resume_run.lua"), quote(norm),
    quote(self:path(name)), quote(self:path(name .. ".final")), die_at or "")
end

-- The finished net of a run that nobody disturbs.
function T:undisturbed(norm)
  lu.assertTrue(os.execute(self:command(norm, "whole")))
  return slurp(self:path "whole.final")
end

function T:test_killed_at_random_updates()
  local rng = lip.rng(os.time())
  for _, norm in ipairs(norms) do
    local whole = self:undisturbed(norm)
    for _ = 1, 2 do
      os.remove(self:path "cut")
      os.remove(self:path "cut.final")
      local died, seen = 0, {}
      while died < STEPS do
        died = math.min(died + 1 + rng:below(14), STEPS)
        seen[#seen + 1] = died
        local ok, _, status = os.execute(self:command(norm, "cut", died) .. " 2>/dev/null")
        lu.assertNil(ok)
        lu.assertTrue(status == 9 or status == 137, "killed, not failed: " .. tostring(status))
        lu.assertFalse(exists(self:path "cut.final"))
      end
      lu.assertTrue(os.execute(self:command(norm, "cut")))
      lu.assertTrue(slurp(self:path "cut.final") == whole,
        ("norm %s, killed after updates %s: other weights"):format(norm, table.concat(seen, ", ")))
    end
    os.remove(self:path "whole")
  end
end

-- From outside, at any moment: while reading, computing, or writing the checkpoint. Delays grow until a run gets through.
function T:test_killed_at_random_moments()
  local rng = lip.rng(os.time() + 1)
  local whole = self:undisturbed "2"
  local tries = 0
  repeat
    tries = tries + 1
    local delay = 0.02 * tries * rng:uniform()
    os.execute(("sh -c %s 2>/dev/null"):format(quote(("%s 2>/dev/null & pid=$!; sleep %.3f; kill -KILL $pid; wait $pid")
      :format(self:command("2", "cut"), delay))))
    if exists(self:path "cut") then -- whatever stands there is whole
      local net, opt, progress = lip.load(self:path "cut")
      lu.assertNotNil(net, opt)
      lu.assertEquals(opt:state().updates, progress.step)
    end
  until exists(self:path "cut.final") or tries == 200
  -- the last kill may have come after the end, or in the middle of the final save: then it runs again from the end
  lu.assertTrue(os.execute(self:command("2", "cut")))
  lu.assertTrue(slurp(self:path "cut.final") == whole, "other weights after " .. tries .. " kills")
end

return T
