-- Checkpoints in Lua: net:save, lip.load, lip.inspect; and the same file read by Python's safetensors package.
local lu = require "luaunit"
local lip = require "lip"

local T = {}

function T:setUp()
  self.path = os.tmpname()
end

function T:tearDown()
  os.remove(self.path)
end

local function slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function spill(path, bytes)
  local file <close> = assert(io.open(path, "wb"))
  file:write(bytes)
end

local function new_net(options)
  local t = { input = { 1, 4, 4 }, norm = "1->inf", budget = 3, seed = 2, projection = "rowwise",
    lip.flatten {}, lip.dense { out = 6 }, lip.residual { lip.dense { out = 6 }, lip.relu {} }, lip.dense { out = 3 } }
  for name, value in pairs(options or {}) do t[name] = value end
  return lip.net(t)
end

local function trained(net)
  local opt = lip.optim.adam { lr = 0.01 }
  local x = lip.rand(lip.rng(4), 12, 16)
  for _ = 1, 3 do
    assert(net:step(x, { 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2 }, opt, lip.loss.cross_entropy()))
  end
  return opt
end

local function assert_same(a, b)
  local mine, other = a:parameters(), b:parameters()
  lu.assertEquals(#mine, #other)
  for i, p in ipairs(mine) do
    lu.assertEquals(p.name, other[i].name)
    lu.assertTrue(p.value:equal(other[i].value))
  end
end

function T:test_a_net_comes_back()
  local net = new_net()
  local opt = trained(net)
  lu.assertTrue(net:save(self.path, { optimizer = opt, progress = { step = 3, epoch = 1, next = 2, seed = 9, text = "{}" } }))
  local back, opt_back, progress = lip.load(self.path)
  assert_same(net, back)
  lu.assertEquals(tostring(back), tostring(net))
  lu.assertEquals(back:info(), net:info())
  lu.assertEquals(tostring(opt_back), tostring(opt))
  lu.assertEquals(opt_back:state().updates, 3)
  lu.assertEquals(progress, { step = 3, epoch = 1, next = 2, seed = 9, text = "{}" })
  local x = lip.rand(lip.rng(1), 5, 16)
  lu.assertTrue(net:forward(x):equal(back:forward(x)))
end

function T:test_without_optimizer_and_progress()
  local net = new_net { budget = math.huge, norm = 1 }
  lu.assertTrue(net:save(self.path))
  local back, opt, progress = lip.load(self.path)
  assert_same(net, back)
  lu.assertNil(opt)
  lu.assertNil(progress)
  lu.assertEquals(back:info().budget, math.huge)
end

function T:test_every_kind_of_layer_is_stored()
  local seen = {}
  local function walk(net)
    lu.assertTrue(net:save(self.path))
    local back = assert(lip.load(self.path))
    assert_same(net, back)
    lu.assertEquals(back:info(), net:info())
    for _, l in ipairs(net:info().layers) do seen[l.kind] = true end
  end
  for _, kind in ipairs(lip.layers()) do
    for _, input in ipairs { 16, { 4, 5, 5 } } do -- as small as each kind allows: whatever fails to build is not stored
      local options = {}
      for _, o in ipairs(kind.options) do
        if o.required then options[o.name] = o.choices and o.choices[1] or 4 end
      end
      local ok, net = pcall(function()
        return lip.net { input = input, norm = "inf", budget = math.huge, lip[kind.name](options) }
      end)
      if ok then walk(net) end
    end
  end
  for _, name in ipairs { "dense", "relu", "conv2d", "flatten", "dropout" } do lu.assertTrue(seen[name], name) end
end

function T:test_metadata_can_be_read_without_the_net()
  local net = new_net()
  assert(net:save(self.path))
  local info = lip.inspect(self.path)
  local m = info.metadata
  lu.assertEquals(m.format, "lipwb")
  lu.assertEquals(m.bound_method, "product")
  lu.assertEquals(m.kernels, lip.arch)
  lu.assertEquals(tonumber(m.bound), net:bound().upper)
  lu.assertStrContains(m.net, '"norm":"1->inf"')
  lu.assertStrContains(m.layers, '"kind":"residual"')
  local names = {}
  for _, a in ipairs(info.arrays) do names[a.name] = a end
  lu.assertEquals(names["2.dense.weight"].shape, { 6, 16 })
  lu.assertEquals(names["3.residual.1.dense.bias"].type, "F32")
end

function T:test_the_stored_bound_is_not_believed()
  local net = new_net()
  assert(net:save(self.path))
  local bytes, n = slurp(self.path):gsub('("bound":")([%d.]+)"', function(head, digits)
    return head .. ("0"):rep(#digits) .. '"'
  end)
  lu.assertEquals(n, 1)
  spill(self.path, bytes)
  lu.assertEquals(assert(lip.load(self.path)):bound().upper, net:bound().upper)
end

function T:test_damage_is_an_answer_not_an_error()
  local net = new_net()
  assert(net:save(self.path))
  local good = slurp(self.path)
  local function refused(bytes, code)
    spill(self.path, bytes)
    local back, message, got = lip.load(self.path)
    lu.assertNil(back)
    lu.assertStrContains(message, self.path)
    lu.assertEquals(got, code or "format")
  end
  for n = 0, #good - 1, 37 do refused(good:sub(1, n)) end
  refused(good .. "x")
  refused((good:gsub('"format":"lipwb"', '"format":"other"')))
  refused(good:sub(1, -5) .. "\0\0\xc0\x7f") -- the last weight is NaN
  refused(good:sub(1, -5) .. "\0\0\x80\x7f") -- infinite
  os.remove(self.path)
  local _, _, code = lip.load(self.path)
  lu.assertEquals(code, "not_found")
  local rng = lip.rng(6)
  for _ = 1, 300 do
    local at = 1 + rng:below(#good)
    spill(self.path, good:sub(1, at - 1) .. string.char(rng:below(256)) .. good:sub(at + 1))
    local back, message = lip.load(self.path)
    if not back then lu.assertIsString(message) end
  end
end

function T:test_what_cannot_be_written()
  local net = new_net()
  local ok, message, code, _ = net:save "/nowhere/at/all"
  lu.assertNil(ok)
  lu.assertStrContains(message, "/nowhere/at/all")
  lu.assertEquals(code, "not_found")
  ok, _, code = net:save "/dev/full"
  lu.assertNil(ok)
  lu.assertEquals(code, "io")
  assert(net:save(self.path))
  local before = slurp(self.path)
  net:weights(1):set(1, 1, 0 / 0)
  ok, message, code = net:save(self.path)
  lu.assertNil(ok)
  lu.assertEquals(code, "not_finite")
  lu.assertStrContains(message, "2.dense.weight")
  lu.assertTrue(slurp(self.path) == before)
end

function T:test_misuse_raises()
  local net = new_net()
  lu.assertErrorMsgContains("unknown option 'optimiser'", net.save, net, self.path, { optimiser = 1 })
  lu.assertErrorMsgContains("lip.optim", net.save, net, self.path, { optimizer = 1 })
  lu.assertErrorMsgContains("progress.step", net.save, net, self.path, { progress = { step = -1 } })
  lu.assertErrorMsgContains("progress.text", net.save, net, self.path, { progress = { text = {} } })
  lu.assertErrorMsgContains("another net", net.save, net, self.path,
    { optimizer = trained(new_net { lip.flatten {}, lip.dense { out = 3 }, lip.relu {}, lip.dense { out = 3 } }) })
  lu.assertError(lip.load)
  lu.assertError(lip.inspect, {})
end

-- Python's package reads the file; its copy of it is read here.
function T:test_python_reads_and_writes_the_same_format()
  local python = os.getenv "LIPWB_PYTHON" or "python3"
  if not os.execute(python .. " -c 'import numpy, safetensors.numpy' >/dev/null 2>&1") then
    print "skipped: python3 has no numpy or safetensors (set LIPWB_PYTHON to one that has)"
    return
  end
  local net = new_net()
  assert(net:save(self.path, { optimizer = trained(net) }))
  local script, copy = os.tmpname(), os.tmpname()
  spill(script, [[
import sys
from safetensors import safe_open
from safetensors.numpy import save_file
with safe_open(sys.argv[1], "numpy") as f:
    arrays = {k: f.get_tensor(k) for k in f.keys()}
    meta = f.metadata()
w = arrays["2.dense.weight"]
print(meta["format"], w.dtype, w.shape, float(w[1, 2]).hex())
save_file(arrays, sys.argv[2], metadata=meta)
]])
  local pipe = assert(io.popen(("%s %s %s %s"):format(python, script, self.path, copy)))
  local line = pipe:read "a"
  pipe:close()
  local format, dtype, shape, value = line:match "^(%S+) (%S+) (%b()) (%S+)"
  lu.assertEquals({ format, dtype, shape }, { "lipwb", "float32", "(6, 16)" })
  lu.assertEquals(tonumber(value), net:weights(1):get(2, 3))
  assert_same(net, assert(lip.load(copy)))
  os.remove(script)
  os.remove(copy)
end

return T
