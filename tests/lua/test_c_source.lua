-- Nets as C source: what compilers make of it answers as the net does, within what the net states of float32.
local lu = require "luaunit"
local lip = require "lip"

local stress = os.getenv "LIPWB_GC_STRESS" == "1"
local strict = "-std=c99 -Wall -Wextra -Werror -pedantic -Wconversion -Wdouble-promotion -Wshadow "

local folder = os.tmpname()
os.remove(folder)
os.execute("mkdir " .. folder)

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- what a command prints, errors too, and whether it succeeded
local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "a"
  return text, pipe:close()
end

local function has(program)
  return (os.execute("command -v " .. program .. " >/dev/null 2>&1"))
end

local function skip_without(program)
  if not has(program) then lu.skip(program .. " is not installed") end
end

-- rows of numbers as the net answers them, from text as NAME_test prints it: label, outputs
local function numbers(text)
  local rows = {}
  for line in text:gmatch "[^\n]+" do
    local row = {}
    for word in line:gmatch "%S+" do row[#row + 1] = tonumber(word) or tonumber((word:gsub("nan", "nan"))) or word end
    rows[#rows + 1] = row
  end
  return rows
end

local function raw(x)
  local n, parts = x:reshape{ -1 }:size(1), {}
  local flat = x:reshape{ -1 }
  for i = 1, n do parts[i] = string.pack("<f", flat[i]) end
  return table.concat(parts)
end

local tests = {}

function tests.test_a_dense_net_runs_in_c()
  skip_without "cc"
  local net = lip.net{ input = { 7 }, norm = 2, budget = 4, seed = 1, lip.dense{ out = 9 }, lip.relu(), lip.dense{ out = 5 } }
  lu.assertTrue(net:export{ c = folder, name = "small" })
  local x = lip.randn(20, 7)
  write(folder .. "/x.raw", raw(x))
  local z, label = net:forward(x), net:predict(x)
  for _, flags in ipairs{ "-Os", "-O3 -ffp-contract=fast" } do
    local said, ok = run(("cd %s && cc %s %s small.c small_test.c -o small && ./small && ./small x.raw"):format(folder, strict, flags))
    lu.assertTrue(ok, said)
    lu.assertStrContains(said, "self-test passed")
    local rows = numbers(said:match "us a run\n(.*)")
    lu.assertEquals(#rows, 20)
    for i, row in ipairs(rows) do
      local off = 2 * net:deviation(x[i]:norm())
      for j = 1, 5 do lu.assertTrue(math.abs(row[j + 1] - z[i][j]) <= off + math.abs(z[i][j]) * 1e-8) end
      lu.assertEquals(row[1], label[i])
    end
  end
  local said, ok = run(("cd %s && cc -std=c99 -ffast-math -c small.c -o small.o"):format(folder))
  lu.assertNil(ok)
  lu.assertStrContains(said, "not with -ffast-math")
end

-- until the method that leads here is part of this program
local _, why = pcall(function() return lip.net{ input = { 1 }, norm = 2, lip.dense{ out = 1 } }:export{} end)
if why:find "nil value" then
  tests = { test_nothing = function() lu.skip "this program has no net:export" end }
end

function tests.test_zz_clean() os.execute("rm -r " .. folder) end

return tests
