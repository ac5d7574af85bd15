-- Nets written for other programs (net:export), kind by kind over the registry: each is written, or refused by its name.
-- ONNX: what a Python with onnx and onnxruntime makes of the files ($LIPWB_PYTHON, else python3), where there is one.
local lu = require "luaunit"
local lip = require "lip"

local outside = require "support_program"
local quote = outside.quote

local image = { 4, 6, 6 }

-- By kind: the input, and layers with it. Kinds that no format can hold are here too.
local cases = {
  dense = { { 6 }, function() return lip.dense{ out = 5 } end },
  conv2d = { image, function() return lip.conv2d{ channels = 6, kernel = 3, stride = 2, padding = 1, groups = 2 },
    lip.conv2d{ channels = 2, kernel = 2, dilation = 2, bias = false } end },
  conv1d = { { 3, 11 }, function() return lip.conv1d{ channels = 4, kernel = 3, stride = 2, dilation = 2, padding = 1 } end },
  relu = { { 6 }, function() return lip.relu() end },
  leaky_relu = { { 6 }, function() return lip.leaky_relu{ slope = 0.3 } end },
  abs = { { 6 }, function() return lip.abs() end },
  tanh = { { 6 }, function() return lip.tanh() end },
  sigmoid = { { 6 }, function() return lip.sigmoid() end },
  softplus = { { 6 }, function() return lip.softplus(), lip.softplus{ beta = 3 } end },
  maxmin = { image, function() return lip.maxmin(), lip.flatten(), lip.maxmin() end },
  groupsort = { image, function() return lip.groupsort{ size = 4 }, lip.flatten(), lip.groupsort{ size = 3 },
    lip.groupsort{ size = 2 }, lip.groupsort{ size = 1 } end },
  fullsort = { image, function() return lip.fullsort(), lip.flatten(), lip.fullsort() end },
  householder = { { 6 }, function() return lip.householder() end },
  linf_dist = { { 6 }, function() return lip.linf_dist{ out = 4 } end },
  sort_neuron = { { 6 }, function() return lip.sort_neuron{ out = 4 } end },
  flatten = { image, function() return lip.flatten(), lip.dense{ out = 2 } end },
  space_to_depth = { image, function() return lip.space_to_depth{ block = 2 } end },
  depth_to_space = { image, function() return lip.depth_to_space{ block = 2 } end },
  shift = { image, function() return lip.shift() end },
  pad = { image, function() return lip.pad{ channels = 3 }, lip.flatten(), lip.pad{ channels = 2 } end },
  select = { image, function() return lip.select{ channels = 3 }, lip.flatten(), lip.select{ channels = 20 } end },
  dropout = { { 6 }, function() return lip.dropout{ rate = 0.5 }, lip.dense{ out = 3 } end },
  avg_pool2d = { image, function() return lip.avg_pool2d{ kernel = 3, stride = 1, padding = 1 },
    lip.avg_pool2d{ kernel = 2, padding = 2 } end },
  global_avg_pool = { image, function() return lip.global_avg_pool() end },
  max_pool2d = { image, function() return lip.max_pool2d{ kernel = 3, stride = 2, padding = 1 } end },
  l2_pool2d = { image, function() return lip.l2_pool2d{ kernel = 2 } end },
  scale = { image, function() return lip.scale{ factor = -2 } end },
  standardise = { image, function() return lip.standardise{ mean = { 0.1, 0.2, 0.3, 0 }, std = { 2, 3, 0.7, 1 } } end },
  centre = { image, function() return lip.centre(), lip.flatten(), lip.centre{ mode = "trained" } end },
  batch_norm = { image, function() return lip.batch_norm(), lip.flatten(), lip.batch_norm() end },
  residual = { image, function() return lip.residual{ lip.conv2d{ channels = 4, kernel = 3, padding = 1 }, lip.relu() },
    lip.residual{ mode = "add", lip.flatten(), lip.dense{ out = 144 } } end },
  concat = { { 6 }, function() return lip.concat{ lip.chain{}, lip.dense{ out = 3 } } end },
  sum = { { 6 }, function() return lip.sum{ weights = { 0.5, -1, 3 }, lip.dense{ out = 4 }, lip.dense{ out = 4 },
    lip.chain{ lip.dense{ out = 4 }, lip.relu() } }, lip.sum{ lip.chain{}, lip.abs() } end },
  anchor = { { 6 }, function() return lip.anchor{ at = 0.25, value = { 1, 2 }, lip.dense{ out = 4 }, lip.maxmin(),
    lip.dense{ out = 2 } } end },
  sll = { { 6 }, function() return lip.sll() end },
  cpl = { { 6 }, function() return lip.cpl{ hidden = 9 } end },
  sandwich = { { 6 }, function() return lip.sandwich{ out = 5 }, lip.sandwich{ out = 3, activation = "none" } end },
  chain = { { 6 }, function() return lip.chain{ lip.dense{ out = 4 }, lip.relu() } end },
}

local refused = { householder = true, linf_dist = true, sort_neuron = true, l2_pool2d = true }

local moved = { bias = true, mean = true, running_mean = true, beta = true }

local function make(kind)
  local input, layers = table.unpack(cases[kind])
  local conf = { layers() }
  conf.input, conf.norm, conf.budget, conf.seed = input, 2, 9, 3
  local net = lip.net(conf)
  for _, block in ipairs(net:parameters()) do -- biases and means that are not 0
    if moved[block.name] then block.value:copy(lip.rand(7, block.value:shape()) * 0.3 - 0.1) end
  end
  return net, input
end

local T = {}

function T:setUp() self.dir = assert(lip.file.temporary()) end
function T:tearDown() lip.file.remove_tree(self.dir) end

function T:test_every_kind_is_written_or_refused_by_name()
  for _, row in ipairs(lip.layers()) do
    local kind = row.name
    lu.assertNotNil(cases[kind], "a case for " .. kind)
    local path = self.dir .. "/" .. kind .. ".onnx"
    local ok, message, code = make(kind):export{ onnx = path }
    if refused[kind] then
      lu.assertNil(ok, kind)
      lu.assertEquals(code, "unsupported")
      lu.assertStrContains(message, kind .. ": cannot be written")
      lu.assertNil(io.open(path))
    else
      lu.assertTrue(ok, message)
      lu.assertTrue(#outside.slurp(path) > 100)
    end
  end
end

-- The weights are those that run: computed ones too, and those of a net that was loaded; one output or many.
function T:test_nets_of_all_origins()
  local net = lip.net{ input = { 5 }, norm = 2, budget = 3, lip.dense{ out = 5, weight = "bjorck" }, lip.relu(),
    lip.dense{ out = 1, weight = "aol" } }
  assert(net:save(self.dir .. "/a.safetensors"))
  local again = assert(lip.load(self.dir .. "/a.safetensors"))
  for name, n in pairs{ one = net, other = again } do assert(n:export{ onnx = self.dir .. "/" .. name }) end
  local text = outside.slurp(self.dir .. "/one")
  lu.assertEquals(text, outside.slurp(self.dir .. "/other"))
  for i = 1, 2 do
    local bytes = {}
    for k, v in ipairs(net:weights(i):flatten():totable()) do bytes[k] = ("<f"):pack(v) end
    lu.assertStrContains(text, table.concat(bytes))
  end
  lu.assertStrContains(text, "3.dense.weight")
  lu.assertStrContains(text, "lipwb.bound")
  lu.assertNotStrContains(text, "free")
  local empty = lip.net{ input = { 3 }, norm = 2, lip.chain{} }
  lu.assertTrue(empty:export{ onnx = self.dir .. "/empty" })
end

function T:test_the_certificate_is_noted()
  local net = lip.net{ input = { 3 }, norm = 2, budget = 1, lip.dense{ out = 2 } }
  local cert = self.dir .. "/net.cert"
  assert(net:certificate(cert, lip.rand(3, { 4, 3 }), { 0, 1, 0, 1 }))
  assert(net:export{ onnx = self.dir .. "/a", certificate = cert })
  local file = assert(io.open(cert, "rb"))
  local hash = lip.sha256(file:read "a")
  file:close()
  lu.assertStrContains(outside.slurp(self.dir .. "/a"), hash)
  local ok, message, code = net:export{ onnx = self.dir .. "/a", certificate = self.dir .. "/none" }
  lu.assertNil(ok)
  lu.assertEquals(code, "not_found")
  lu.assertStrContains(message, "none")
  lu.assertNil(io.open(self.dir .. "/a"))
end

function T:test_several_formats_at_once()
  local net = lip.net{ input = { 3 }, norm = 2, lip.dense{ out = 2 } }
  assert(net:export{ onnx = self.dir .. "/a", c = self.dir .. "/c", name = "net" })
  lu.assertStrContains(outside.slurp(self.dir .. "/a"), "1.dense.weight")
  lu.assertStrContains(outside.slurp(self.dir .. "/c/net.h"), "net_run")
end

function T:test_what_is_asked()
  local net = lip.net{ input = { 3 }, norm = 2, lip.dense{ out = 2 } }
  local function raises(text, ...) lu.assertErrorMsgContains(text, net.export, net, ...) end
  raises("unknown option 'onx'", { onx = "a" })
  raises("onnx", {})
  raises("option 'name'", { onnx = self.dir .. "/a", c = self.dir .. "/c" })
  raises("table expected", "a.onnx")
  raises("option 'onnx' expects the name of a file, got", { onnx = 3 })
  raises("option 'onnx' expects the name of a file, got an empty text", { onnx = "" })
  raises("zero byte", { onnx = "a\0b" })
  raises("option 'certificate' expects the name of a file, got", { onnx = self.dir .. "/a", certificate = {} })
  lu.assertNil(io.open(self.dir .. "/a"))
end

function T:test_the_outside_world()
  local net = lip.net{ input = { 3 }, norm = 2, lip.dense{ out = 2 } }
  local ok, message, code = net:export{ onnx = self.dir .. "/none/a.onnx" }
  lu.assertEquals({ ok, code }, { nil, "not_found" })
  lu.assertStrContains(message, "none/a.onnx")
  for _, path in ipairs{ "/dev/null", self.dir } do -- no regular files: left as they are
    ok, message, code = net:export{ onnx = path }
    lu.assertEquals({ ok, code }, { nil, "io" }, message)
    lu.assertStrContains(message, path)
  end
  local custom = lip.layer{ name = "softsign", lipschitz = 1, forward = function(x) return x / (1 + x:abs()) end }
  ok, message, code = lip.net{ input = { 3 }, norm = 2, lip.dense{ out = 2 }, custom() }:export{ onnx = self.dir .. "/a" }
  lu.assertEquals({ ok, code }, { nil, "unsupported" })
  lu.assertStrContains(message, "softsign")
  lu.assertNil(io.open(self.dir .. "/a"))
end

-- ---- back again ----

-- Read back as layers that are bounded as what they are made of: what these kinds know of themselves is no part of ONNX.
local looser = { sll = true, cpl = true, sandwich = true }
-- Layers inside stand in other chains then, whose bounds are rounded in another order.
local nested = { chain = true, concat = true, residual = true, sum = true }
-- Written, but refused by lip.onnx: f at the point stands there as operators over constants, and nothing is executed there.
local one_way = { anchor = "anchor takes off" }

-- { bits of an array = how often } of the weights and biases.
local function arrays(net)
  local set = {}
  for _, block in ipairs(net:parameters()) do
    if block.name == "weight" or block.name == "bias" then
      local bytes = {}
      for k, v in ipairs(block.value:flatten():totable()) do bytes[k] = ("<f"):pack(v) end
      local text = table.concat(bytes)
      set[text] = (set[text] or 0) + 1
    end
  end
  return set
end

-- Every kind that is written: the same bits of weights and the same bound, or a reason.
function T:test_round_trips()
  for kind in pairs(cases) do
    local net, input = make(kind)
    local path = self.dir .. "/" .. kind .. ".onnx"
    if not refused[kind] then
      assert(net:export{ onnx = path })
      local again, message, code = lip.onnx(path, { norm = 2 })
      if one_way[kind] then
        lu.assertNil(again, kind)
        lu.assertEquals(code, "unsupported", kind)
        lu.assertStrContains(message, one_way[kind])
      else
        lu.assertNotNil(again, ("%s: %s"):format(kind, message))
        local x = lip.rand(5, { 7, table.unpack(input) }) * 4 - 2
        local y, z = net:forward(x), again:forward(x)
        local allowed = 2 * net:deviation(x:reshape(7, x:size() // 7):norm(2, 2):max())
        lu.assertTrue((y - z):abs():max() <= allowed, kind)
        local got = arrays(again)
        for text, n in pairs(arrays(net)) do lu.assertTrue((got[text] or 0) >= n, kind .. ": other bits") end
        local before, after = net:bound().upper, again:bound().upper
        lu.assertEquals(z:shape(), y:shape(), kind)
        if looser[kind] then
          lu.assertTrue(after >= before, kind)
        else
          lu.assertAlmostEquals(after / before, 1, nested[kind] and 1e-14 or 0, kind)
        end
      end
    end
  end
end

-- All shares of the channels, and images of one row, of one column, of one pixel.
function T:test_shifts_come_back()
  for _, sides in ipairs{ { 3, 5 }, { 1, 4 }, { 4, 1 }, { 2, 2 }, { 1, 1 } } do
    for each = 1, 2 do
      for channels = 4 * each, 4 * each + 3 do
        local input = { channels, table.unpack(sides) }
        local net = lip.net{ input = input, norm = 2, lip.shift{ share = math.min(0.25, (each + 0.5) / channels) } }
        assert(net:export{ onnx = self.dir .. "/shift" })
        local again = assert(lip.onnx(self.dir .. "/shift"))
        local x = lip.rand(1, { 2, table.unpack(input) })
        lu.assertEquals(again:forward(x):flatten():totable(), net:forward(x):flatten():totable())
        lu.assertEquals(again:bound().upper, 1)
      end
    end
  end
end

-- A flatten at the end, and nets that change nothing.
function T:test_only_shapes_come_back()
  local image = { 2, 3, 4 }
  for _, layers in ipairs{ { lip.relu(), lip.flatten() }, { lip.flatten() }, { lip.chain{} } } do
    local net = lip.net{ input = image, norm = 2, table.unpack(layers) }
    assert(net:export{ onnx = self.dir .. "/shape" })
    local again = assert(lip.onnx(self.dir .. "/shape"))
    local x = lip.rand(1, { 2, 2, 3, 4 }) - 0.5
    lu.assertEquals(again:info().input, image)
    lu.assertEquals(again:forward(x):shape(), { 2, 24 })
    lu.assertEquals(again:forward(x):flatten():totable(), net:forward(x):flatten():totable())
    lu.assertEquals(again:bound().upper, 1)
  end
end

-- ---- what other programs make of the files ----

local judge = [[
import sys, numpy, onnx, onnxruntime
folder, failed = sys.argv[1], 0
for line in open(folder + "/list"):
    kind, allowed = line.split()
    path = folder + "/" + kind
    model = onnx.load(path + ".onnx")
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    x, y = numpy.load(path + ".x.npy"), numpy.load(path + ".y.npy")
    for rows in (len(x), 1): # the batch is open
        z = onnxruntime.InferenceSession(path + ".onnx", providers=["CPUExecutionProvider"]).run(None, {"input": x[:rows]})[0]
        z = z.reshape(rows, -1)
        if z.shape != y[:rows].shape or not abs(z - y[:rows]).max() <= float(allowed):
            failed += 1
            print(kind, z.shape, y.shape, abs(z - y[:rows]).max() if z.shape == y[:rows].shape else None, allowed)
print("failed", failed)
]]

-- These functions are approximations of onnxruntime's own, of an accuracy that it does not state.
local approximate = { tanh = true, sigmoid = true, softplus = true }

function T:test_onnxruntime_agrees()
  local python = quote(os.getenv "LIPWB_PYTHON" or "python3")
  local found = os.getenv "LIPWB_GC_STRESS" ~= "1" -- once is enough
    and os.execute(python .. " -c 'import numpy, onnx, onnxruntime' 2>/dev/null")
  if not found then print "\n  no Python with numpy, onnx and onnxruntime (set LIPWB_PYTHON): ONNX files are not run" end
  lu.skipIf(not found, "no onnxruntime")
  local list = assert(io.open(self.dir .. "/list", "w"))
  for kind in pairs(cases) do
    local net, input = make(kind)
    local path = self.dir .. "/" .. kind
    if not refused[kind] then
      assert(net:export{ onnx = path .. ".onnx" })
      local x = lip.rand(5, { 7, table.unpack(input) }) * 4 - 2
      local size = x:reshape(7, x:size() // 7):norm(2, 2):max()
      -- both programs are that far from the exact net at most
      local allowed = 2 * net:deviation(size) + (approximate[kind] and 1e-6 or 0)
      lu.assertTrue(allowed < 1e-2, kind)
      lip.save_npy(path .. ".x.npy", x)
      lip.save_npy(path .. ".y.npy", net:forward(x))
      list:write(("%s %.17g\n"):format(kind, allowed))
    end
  end
  list:close()
  local script = assert(io.open(self.dir .. "/judge.py", "w"))
  script:write(judge)
  script:close()
  local said, ended = outside.run(("%s %s %s 2>&1"):format(python, quote(self.dir .. "/judge.py"), quote(self.dir)))
  lu.assertTrue(ended, said)
  lu.assertEquals(said, "failed 0\n")
end

return { TestExport = T }
