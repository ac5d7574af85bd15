-- lip.onnx: every kind that is exported comes back with the same bits and the same bound; real files, beside onnxruntime
-- and beside plain doubles; what is refused, and how.
local lu = require "luaunit"
local lip = require "lip"

local T = {}
local stress = os.getenv "LIPWB_GC_STRESS" == "1"
local data = os.getenv "LIPWB_DATA"
local folder

function T.setUp()
  folder = assert(lip.file.temporary())
end

function T.tearDown()
  lip.file.remove_tree(folder)
end

local function weights(net)
  local list = {}
  for _, p in ipairs(net:parameters()) do
    for _, v in ipairs(p.value:flatten():totable()) do list[#list + 1] = v end
  end
  return list
end

-- Exports and reads again; the net that came back, and its notes.
local function there_and_back(net, options)
  local path = folder .. "/net.onnx"
  assert(net:export { onnx = path })
  return assert(lip.onnx(path, options))
end

-- ---- round trips ----

local image = { 2, 6, 6 }
local nets = {
  dense = { input = { 5 }, lip.dense { out = 4 }, lip.relu(), lip.dense { out = 3, bias = false } },
  units = { input = { 5 }, lip.dense { out = 6 }, lip.tanh(), lip.dense { out = 6 }, lip.sigmoid(), lip.dense { out = 6 },
    lip.softplus(), lip.dense { out = 6 }, lip.leaky_relu { slope = 0.25 }, lip.abs(), lip.dense { out = 3 } },
  conv = { input = image, lip.conv2d { channels = 3, kernel = 3, padding = 1 }, lip.relu(),
    lip.conv2d { channels = 4, kernel = 3, stride = 2, groups = 1 }, lip.relu(), lip.flatten(), lip.dense { out = 3 } },
  pools = { input = image, lip.conv2d { channels = 3, kernel = 3, padding = 1 }, lip.avg_pool2d { kernel = 2 }, lip.relu(),
    lip.flatten(), lip.dense { out = 3 } },
  sorts = { input = { 5 }, lip.dense { out = 6 }, lip.maxmin(), lip.dense { out = 6 }, lip.groupsort { size = 3 },
    lip.dense { out = 6 }, lip.fullsort(), lip.dense { out = 6 }, lip.groupsort { size = 2 }, lip.dense { out = 3 } },
  planes = { input = image, lip.conv2d { channels = 4, kernel = 3 }, lip.maxmin(), lip.conv2d { channels = 6, kernel = 3 },
    lip.groupsort { size = 3 }, lip.flatten(), lip.dense { out = 3 } },
  scales = { input = { 5 }, lip.scale { factor = -2, mean = { 1, 2, 3, 4, 5 } }, lip.relu(), lip.scale { factor = -1 }, lip.abs(),
    lip.dense { out = 3 } },
  residual = { input = { 5 }, lip.dense { out = 4 }, lip.residual { lip.dense { out = 4 }, lip.relu() }, lip.dense { out = 3 } },
  concat = { input = { 5 }, lip.concat { lip.dense { out = 2 }, lip.dense { out = 3 } }, lip.relu(), lip.dense { out = 3 } },
}

for name, list in pairs(nets) do
  T["test_back_" .. name] = function()
    for _, norm in ipairs(stress and { 2 } or { 2, "inf" }) do
      local options = { norm = norm, seed = 5, budget = math.huge }
      for key, value in pairs(list) do options[key] = value end
      local net = lip.net(options)
      local back, notes = there_and_back(net, { norm = norm })
      lu.assertEquals(notes.opset, 17)
      lu.assertEquals(weights(back), weights(net))
      lu.assertEquals(back:bound().upper, net:bound().upper)
      local n = 1
      for _, d in ipairs(list.input) do n = n * d end
      local x = lip.randn(2, { 7, n })
      local sides = { 7, table.unpack(list.input) }
      local apart = net:forward(x:reshape(sides)):sub(back:forward(x:reshape(sides))):abs():max()
      lu.assertTrue(apart <= 1e-5, apart)
    end
  end
end

-- Weights that are computed are written as the matrix that they make; the bound is then that of the matrix.
function T.test_computed_weights()
  local net = lip.net { input = { 4 }, norm = 2, lip.dense { out = 4, weight = "cayley" }, lip.relu(), lip.dense { out = 2 } }
  local back = there_and_back(net)
  local x = lip.randn(3, { 9, 4 })
  lu.assertTrue(net:forward(x):sub(back:forward(x)):abs():max() <= 1e-5)
  lu.assertAlmostEquals(back:bound().upper, net:bound().upper, 1e-5)
end

function T.test_options()
  local net = lip.net { input = { 1, 2, 2 }, norm = 2, lip.flatten(), lip.dense { out = 2 } }
  local back = there_and_back(net, { input = { 1, 2, 2 }, norm = "1->inf" })
  lu.assertEquals(back:info().norm, "1->inf")
  local path = folder .. "/net.onnx"
  local none, message, code = lip.onnx(path, { input = { 5 } })
  lu.assertEquals({ none, code }, { nil, "shape" })
  lu.assertStrContains(message, "4 numbers")
  lu.assertErrorMsgContains("'norm' expects", lip.onnx, path, { norm = {} })
  lu.assertErrorMsgContains("'input' expects", lip.onnx, path, { input = { 0 } })
  lu.assertErrorMsgContains("unknown option", lip.onnx, path, { inputs = 1 })
end

function T.test_refusals()
  local path = folder .. "/bad.onnx"
  lu.assertEquals(select(3, lip.onnx(path)), "not_found")
  assert(lip.file.write(path, "no protobuf at all"))
  lu.assertEquals(select(3, lip.onnx(path)), "format")
  local net = lip.net { input = { 4 }, norm = 2, lip.dense { out = 3 }, lip.relu(), lip.dense { out = 2 } }
  there_and_back(net)
  local text = assert(lip.file.read(folder .. "/net.onnx"))
  assert(lip.file.write(path, (text:gsub("Relu", "Selu"))))
  local none, message, code = lip.onnx(path)
  lu.assertEquals({ none, code }, { nil, "unsupported" })
  lu.assertStrContains(message, "Selu")
  lu.assertStrContains(message, "unknown operator; known: Abs Add")
  for n = 0, #text - 1, stress and 97 or 7 do -- cut anywhere: an answer, never a crash
    assert(lip.file.write(path, text:sub(1, n)))
    lu.assertNil((lip.onnx(path)))
  end
end

-- ---- real files ----

local function benchmark()
  local names = {}
  for a = 1, 5 do
    for b = 1, 9 do names[#names + 1] = ("acasxu/ACASXU_run2a_%d_%d_batch_2000.onnx"):format(a, b) end
  end
  for _, n in ipairs { 2, 4, 6 } do names[#names + 1] = ("mnist_fc/mnist-net_256x%d.onnx.gz"):format(n) end
  if not data or not lip.file.exists(data .. "/vnncomp/" .. names[1]) then lu.skip "LIPWB_DATA/vnncomp is not there" end
  for i, name in ipairs(names) do names[i] = data .. "/vnncomp/" .. name end
  return names
end

-- Matrices and relu in Lua's doubles: none of the engine's arithmetic.
local function plain(net, x)
  local value, list = x, net:parameters()
  for i = 1, #list, 2 do
    local w, b, out = list[i].value:totable(), list[i + 1].value:totable(), {}
    for r, row in ipairs(w) do
      local sum = b[r]
      for k, v in ipairs(row) do sum = sum + v * value[k] end
      out[r] = i + 1 < #list and math.max(sum, 0) or sum
    end
    value = out
  end
  return value
end

function T.test_benchmarks_beside_doubles()
  local names = benchmark()
  for i = 1, #names, stress and 40 or 1 do
    local net, notes = assert(lip.onnx(names[i]))
    lu.assertFalse(notes.rounded)
    local n = net:info().input[1]
    lu.assertEquals(n, i <= 45 and 5 or 784)
    local x = lip.rand(i, { i <= 45 and 20 or 2, n })
    local y, off = net:forward(x), 0
    for r = 1, y:shape()[1] do
      off = math.max(off, 0)
      local z, sum = plain(net, x[r]:totable()), 0
      for k, v in ipairs(z) do sum = sum + (v - y:get(r, k)) ^ 2 end
      off = math.max(off, math.sqrt(sum))
    end
    lu.assertTrue(off <= net:deviation(math.sqrt(n)), names[i])
  end
end

local runtime = [[
import sys, gzip, struct
import numpy as np, onnxruntime
for path, rows, out in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    b = open(path, "rb").read()
    s = onnxruntime.InferenceSession(gzip.decompress(b) if b[:2] == b"\x1f\x8b" else b, providers=["CPUExecutionProvider"])
    i = s.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in i.shape]
    y = [s.run(None, {i.name: r.reshape(shape)})[0].ravel() for r in np.load(rows).astype(np.float32)]
    np.save(out, np.array(y, dtype=np.float32))
]]

function T.test_benchmarks_beside_onnxruntime()
  if stress then return end
  local names = benchmark()
  local python = os.getenv "LIPWB_PYTHON" or "python3"
  local script = folder .. "/run.py"
  assert(lip.file.write(script, runtime))
  local words, list = {}, {}
  for i, name in ipairs(names) do
    local net = assert(lip.onnx(name))
    local x = lip.rand(i, { 100, net:info().input[1] })
    assert(lip.save_npy(("%s/x%d.npy"):format(folder, i), x))
    list[i] = { net = net, y = net:forward(x) }
    words[#words + 1] = ("'%s' '%s/x%d.npy' '%s/y%d.npy'"):format(name, folder, i, folder, i)
  end
  local pipe = io.popen(("'%s' '%s' %s 2>&1"):format(python, script, table.concat(words, " ")))
  local text = pipe:read "a"
  local good = pipe:close()
  if not good and (text:find "No module named" or text:find "not found") then
    lu.skip(python .. " has no onnxruntime: LIPWB_PYTHON names an interpreter that has it")
  end
  lu.assertTrue(good, text)
  for i, row in ipairs(list) do
    local apart = assert(lip.load_npy(("%s/y%d.npy"):format(folder, i))):sub(row.y)
    local allowed = 2 * row.net:deviation(math.sqrt(row.net:info().input[1])) -- both are rounded
    for r = 1, 100 do lu.assertTrue(apart[r]:norm(2) <= allowed, names[i]) end
  end
end

return T
