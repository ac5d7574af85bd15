-- One Ctrl-C stops every long operation of the engine within about two seconds. Each case is a program of its own: it says
-- "ready", is sent SIGINT in the midst of what would take many seconds, and must end soon with the usual status.
local lu = require "luaunit"
local lip = require "lip"

local outside = require "support_program"
local file, process = lip.file, lip.process

-- From the signal to the end, of processor time: the machine may be busy with other tests.
local LATEST = 2.5 * lip.threads()

-- What every program begins with.
local HEAD = [[
local lip = require "lip"
local function dense(n, depth, norm, out)
  local list = { input = n, norm = norm or "2", init = "he", seed = 1 }
  for _ = 1, depth do list[#list + 1] = lip.dense { out = n } list[#list + 1] = lip.relu {} end
  list[#list + 1] = lip.dense { out = out or 10 }
  return lip.net(list)
end
local function data(rows, n, classes)
  local y = {}
  for i = 1, rows do y[i] = i % (classes or 10) end
  return lip.data.tensors(lip.zeros(rows, n):uniform_(lip.rng(1), 0, 1), lip.tensor(y))
end
local function ready() print "ready" io.stdout:flush() end
]]

local cases = {
  -- drawing data
  digits = [[ready() lip.data.digits { n = 2000000 }]],
  -- decompositions and norms
  orthogonal = [[ready() lip.net { input = 4000, norm = "2", init = "orthogonal", lip.dense { out = 4000 } }]],
  project_large = [[local net = lip.net { input = 1500, norm = "2", budget = 1, init = "he", lip.dense { out = 1500 } }
    net:parameters()[1].value:normal_(lip.rng(1), 0, 1) ready() net:project()]],
  project_tensor = [[local w = lip.zeros(1500, 1500):normal_(lip.rng(1), 0, 1) ready() lip.project_(w, "2", 1)]],
  singular_values = [[local w = lip.zeros(2500, 2500):normal_(lip.rng(1), 0, 1) ready() lip.singular_values(w)]],
  opnorm_upper = [[local w = lip.zeros(6000, 6000):normal_(lip.rng(1), 0, 1) ready() lip.opnorm_upper(w, "2")]],
  opnorm_lower = [[local w = lip.zeros(8000, 8000):normal_(lip.rng(1), 0, 1) ready() for _ = 1, 9 do lip.opnorm_lower(w, "2") end]],
  conv_norm = [[local net = lip.net { input = { 64, 64, 64 }, norm = "2", init = "he", lip.conv2d { channels = 128, kernel = 5, padding = 2 } }
    ready() for _ = 1, 50 do net:bound() end]],
  -- bounds of nets
  product = [[local net = dense(6000, 1) ready() net:bound()]],
}
for _, method in ipairs { "abs", "recursion", "multiplier", "best" } do
  cases["bound_" .. method] = ([[local net = dense(1200, 3, %s) ready() net:bound { method = %q, pairs = true }]]):format(
    method == "recursion" and '"inf"' or '"2"', method)
end
cases.bound_exact = [[local net = lip.net { input = 20, norm = "2", init = "he", lip.dense { out = 16 }, lip.relu {}, lip.dense { out = 3 } }
  ready() for _ = 1, 999 do net:bound { method = "exact", pairs = true } end]]
cases.bound_local = [[local net = dense(1500, 3) ready()
  net:bound { method = "local", x = lip.zeros(1500), eps = 0.1, pairs = true }]]
cases.bound_lower = [[local net = dense(1500, 4, "2", 100) ready() net:bound { lower = true, pairs = true }]]
cases.bound_lower_sorted = [[local net = lip.net { input = 2000, norm = "inf", init = "he", lip.dense { out = 2000 },
  lip.groupsort { size = 8 }, lip.dense { out = 2000 }, lip.groupsort { size = 8 }, lip.dense { out = 10 } }
  ready() net:bound { lower = true, points = 4096 }]]
-- points and data sets
cases.certify = [[local net = dense(400, 3) local ds = data(20000, 400) ready()
  for _ = 1, 99 do net:certify(ds, { method = "best", eps = { 0.01 } }) end]]
cases.certify_local = [[local net = dense(300, 3) local ds = data(20000, 300) ready()
  net:certify(ds, { method = "local", eps = { 0.01 }, box = { 0, 1 } })]]
cases.attack = [[local net = dense(400, 3) local ds = data(20000, 400) ready() lip.attack(net, ds, { eps = 0.1, steps = 1000, method = "pgd" })]]
cases.evaluate = [[local net = dense(2000, 3) local ds = data(20000, 2000) ready() for _ = 1, 99 do net:evaluate(ds) end]]
cases.evaluate_double = [[local net = dense(1500, 3) local ds = data(20000, 1500) ready()
  for _ = 1, 9 do net:predict(ds:batch(1, 5000), { arithmetic = "double" }) end]]
cases.train = [[local net = lip.net { input = 600, norm = "2", budget = 1, lip.dense { out = 600 }, lip.relu {}, lip.dense { out = 10 } }
  local ds = data(3000, 600) ready() lip.train(net, ds, { epochs = 1000 })]]

-- Processor time that a process has used so far (proc(5), stat: utime and stime).
local function used(pid)
  local text = file.read(("/proc/%d/stat"):format(pid)):match "%) (.*)"
  local fields = {}
  for word in text:gmatch "%S+" do fields[#fields + 1] = word end
  return (tonumber(fields[12]) + tonumber(fields[13])) / 100
end

local T = {}

function T:setUp()
  local pipe <close> = assert(io.popen "mktemp -d")
  self.dir = pipe:read "l"
end

function T:tearDown()
  os.execute("rm -rf " .. outside.quote(self.dir))
end

function T:stop(name, code, delay)
  local out, err = self.dir .. "/out", self.dir .. "/err"
  local p = process.spawn { outside.program, "-e", HEAD .. code, stdout = out, stderr = err }
  local finish = lip.time() + 60
  repeat process.sleep(0.01) until (file.read(out) or ""):find "ready" or not p:alive() or lip.time() > finish
  process.sleep(delay or 0.4)
  lu.assertTrue(p:alive(), name .. ": over before it was interrupted: " .. (file.read(err) or ""))
  local before = used(p:pid())
  p:signal "INT"
  local ended = p:wait(60)
  if not ended then p:signal "KILL" p:wait() end
  lu.assertTable(ended, name .. ": goes on a minute after the signal")
  return ended.seconds - before, ended.exit, file.read(err) or ""
end

for name, code in pairs(cases) do
  T["test_" .. name] = function(self)
    lu.skipIf(name ~= "digits" and lip.info().flags:find "-fsanitize",
      "a sanitizer makes what comes between two looks at the flag ten times as long")
    local seconds, status, err = self:stop(name, code)
    lu.assertTrue(seconds < LATEST, ("%s: %.1f s of processor time after the signal"):format(name, seconds))
    if name == "train" then return lu.assertEquals(status, 0, err) end -- it came back with nil, message, "cancelled"
    lu.assertEquals(status, 130, err)
    lu.assertStrContains(err, "interrupted")
  end
end

return T
