-- net:export{torch =}: what PyTorch makes of the module agrees with the net within what both state of float32; and a module's
-- state_dict comes in by net:load_weights with the same outputs.
local lu = require "luaunit"
local lip = require "lip"
local foreign = require "support_foreign"

local T = {}
local folder

function T:setUp()
  folder = os.tmpname()
  os.remove(folder)
  assert(lip.file.mkdir(folder))
end

function T:tearDown()
  for _, name in ipairs(assert(lip.file.list(folder))) do os.remove(folder .. "/" .. name) end
  os.remove(folder .. "/__pycache__")
  os.remove(folder)
end

local function D(n) return lip.dense { out = n } end
local function C(t) return lip.conv2d(t) end

-- One net or more of every kind that is written: { input, layers... }.
local cases = {
  dense = { 5, D(7), lip.dense { out = 3, bias = false } },
  conv2d = { { 2, 5, 4 }, C { channels = 4, kernel = 3, padding = 1, stride = 2, groups = 2 }, lip.relu {},
    C { channels = 3, kernel = 2, dilation = 2, padding = 1, bias = false } },
  conv1d = { { 4, 9 }, lip.conv1d { channels = 6, kernel = 3, padding = 2, dilation = 2, groups = 2 }, lip.maxmin {},
    lip.conv1d { channels = 2, kernel = 2, stride = 2 } },
  relu = { 5, D(6), lip.relu {}, D(1) },
  leaky_relu = { { 5, 2, 2 }, lip.leaky_relu { slope = 0.3 }, lip.leaky_relu { slope = 1.5 } },
  abs = { 5, D(6), lip.abs {} },
  tanh = { 5, lip.scale { factor = 3 }, lip.tanh {} },
  sigmoid = { 5, D(6), lip.sigmoid {} },
  softplus = { 5, lip.scale { factor = 20 }, lip.softplus { beta = 3 } },
  maxmin = { { 4, 2, 2 }, C { channels = 4, kernel = 2 }, lip.maxmin {}, lip.flatten {}, D(4), lip.maxmin {} },
  groupsort = { { 6, 2, 3 }, lip.groupsort { size = 3 }, lip.flatten {}, lip.groupsort { size = 4 } },
  fullsort = { { 5, 2, 2 }, lip.fullsort {}, lip.flatten {}, D(3), lip.fullsort {} },
  flatten = { { 1, 2, 3 }, lip.flatten {} },
  space_to_depth = { { 1, 4, 4 }, lip.space_to_depth { block = 2 } },
  depth_to_space = { { 4, 2, 2 }, lip.depth_to_space { block = 2 } },
  shift = { { 4, 3, 2 }, lip.shift {} },
  pad = { 4, lip.pad { channels = 2 }, D(4) },
  select = { { 6, 2, 2 }, lip.select { channels = 4 }, lip.flatten {}, D(4) },
  dropout = { 5, lip.dropout { rate = 0.5 }, D(3) },
  avg_pool2d = { { 2, 5, 5 }, lip.avg_pool2d { kernel = 3, stride = 2, padding = 1 } },
  global_avg_pool = { { 2, 4, 3 }, C { channels = 4, kernel = 2 }, lip.global_avg_pool {}, D(3) },
  max_pool2d = { { 1, 5, 5 }, C { channels = 2, kernel = 2 }, lip.scale { factor = 1, mean = 9 },
    lip.max_pool2d { kernel = 2, stride = 1, padding = 1 } },
  l2_pool2d = { { 2, 4, 4 }, lip.l2_pool2d { kernel = 3, stride = 1, padding = 1 } },
  scale = { { 3, 2, 2 }, lip.scale { factor = 3, mean = 0.25 } },
  standardise = { { 3, 2, 2 }, lip.standardise { mean = { 0.3, 0.5, 0.1 }, std = { 0.5, 0.25, 2 } } },
  centre = { 5, D(6), lip.centre {} },
  batch_norm = { { 2, 3, 3 }, C { channels = 4, kernel = 2 }, lip.batch_norm {}, lip.relu {} },
  residual = { 5, lip.residual { D(6), lip.relu {}, D(5) }, lip.residual { mode = "add", D(5), lip.abs {} } },
  concat = { { 2, 4, 4 }, lip.concat { lip.chain {}, C { channels = 3, kernel = 3, padding = 1 } }, lip.relu {} },
  sum = { 5, lip.sum { lip.chain { D(4), lip.relu {}, D(5) }, lip.chain {}, weights = { 0.5, -0.1 } } },
  anchor = { 4, lip.anchor { at = { 1, 2, 3, 4 }, value = -1, lip.pad { channels = 2 }, D(4), lip.maxmin {} }, D(3) },
  sll = { 5, lip.sll { hidden = 4 } }, cpl = { 5, lip.cpl { activation = "softplus" } },
  sandwich = { 5, lip.sandwich { out = 6 }, lip.sandwich { out = 3, activation = "none" } },
  chain = { 5, lip.chain { D(6), lip.relu {} }, D(3) },
  computed = { 6, lip.dense { out = 6, weight = "cayley" }, lip.maxmin {}, lip.dense { out = 3, weight = "bjorck" } },
  householder = { 4, D(4), lip.householder {} }, linf_dist = { 4, lip.linf_dist { out = 4 } },
  sort_neuron = { 4, lip.sort_neuron { out = 4 } },
}


-- A net of the case with biases, means and variances other than those it begins with, and inputs for it.
local function built(name, seed)
  local case = cases[name]
  local norm = (name == "linf_dist" or name == "sort_neuron") and "inf" or "2"
  local net = lip.net { input = case[1], norm = norm, budget = math.huge, init = "he", seed = seed, table.unpack(case, 2) }
  for _, p in ipairs(net:parameters()) do
    if p.name:find "running" or p.name:find "gamma" or p.name:find "bias" then p.value:add_(0.3) end
  end
  local n = 1
  for _, d in ipairs(type(case[1]) == "table" and case[1] or { case[1] }) do n = n * d end
  return net, lip.randn(lip.rng(seed), 7, n):mul_(2)
end

-- Both are float32 runs of the same net: each may be off by what it states.
local function agree(net, x, y, what)
  local z = net:forward(x):reshape(y:shape())
  for i = 1, y:shape()[1] do
    local off = 2 * net:deviation(x[i]:norm(tonumber(net.norm) or math.huge))
    for k = 1, y:shape()[2] do
      local gap = math.abs(y:get(i, k) - z:get(i, k))
      lu.assertTrue(gap <= off + 1e-7 * math.abs(z:get(i, k)), ("%s: %g is not %g"):format(what, y:get(i, k), z:get(i, k)))
      lu.assertTrue(gap <= 1e-4 * (1 + math.abs(z:get(i, k))), ("%s: %g is far from %g"):format(what, y:get(i, k), z:get(i, k)))
    end
  end
end

local refused = { householder = true, linf_dist = true, sort_neuron = true }

function T:test_every_kind_is_written_or_refused_by_its_name()
  local seen = {}
  for _, kind in ipairs(lip.layers()) do
    lu.assertNotNil(cases[kind.name], "no case of layer " .. kind.name)
    local net = built(kind.name, 1)
    local ok, message, code = net:export { torch = folder .. "/a.py" }
    seen[kind.name] = not ok or nil
    if not ok then
      lu.assertStrContains(message, kind.name .. ": cannot be written")
      lu.assertEquals(code, "unsupported")
    end
    os.remove(folder .. "/a.py")
    os.remove(folder .. "/a.safetensors")
  end
  lu.assertEquals(seen, refused)
end

function T:test_outputs_in_torch()
  local names, nets, rows = {}, {}, {}
  for name in pairs(cases) do
    if not refused[name] then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    nets[name], rows[name] = built(name, 3)
    assert(nets[name]:export { torch = ("%s/net_%s.py"):format(folder, name) })
    assert(lip.save_npy(("%s/%s.x.npy"):format(folder, name), rows[name]))
  end
  local text, why = foreign.python("torch, numpy, safetensors.torch", [=[
import importlib.util, sys, numpy as np, torch
torch.set_num_threads(1)
for name in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location(name, f"{sys.argv[1]}/net_{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    x = torch.from_numpy(np.load(f"{sys.argv[1]}/{name}.x.npy"))
    with torch.no_grad():
        y = module.load()(x)
    assert y.dtype == torch.float32
    np.save(f"{sys.argv[1]}/{name}.y.npy", y.numpy())
print("done")
]=], folder, table.unpack(names))
  if not text then return print(why) end
  lu.assertEquals(text, "done\n")
  for _, name in ipairs(names) do
    agree(nets[name], rows[name], assert(lip.load_npy(("%s/%s.y.npy"):format(folder, name))), name)
  end
end

-- Names of files are bytes to Python, whatever they are; run by itself the source prints the outputs of zeros.
function T:test_names_of_files_and_the_source_as_a_program()
  local net = lip.net { input = 4, norm = 2, budget = 1.5, seed = 1, D(6), lip.maxmin {}, D(2) }
  local name = folder .. "/a 'b\" \\x41 \xc3\xa4 {}%s.py"
  assert(net:export { torch = name })
  local arrays = assert(lip.tensors(name:gsub("%.py$", ".safetensors")))
  lu.assertTrue(arrays["layers.0.weight"]:allclose(net:weights(1), 0))
  local meta = assert(lip.inspect(name:gsub("%.py$", ".safetensors"))).metadata
  lu.assertEquals(tonumber(meta.bound), net:bound().upper)
  lu.assertEquals({ meta.format, tonumber(meta.budget), meta.bound_norm }, { "pt", 1.5, "2->2" })
  local text, why = foreign.python("torch, safetensors.torch", [=[
import glob, subprocess, sys
print(subprocess.run([sys.executable, glob.glob(sys.argv[1] + "/*.py")[0]], check=True, capture_output=True, text=True).stdout)
]=], folder)
  if not text then return print(why) end
  local a, b = text:match "tensor%(%[%[%s*(%S+),%s*(%S+)%]%]%)"
  local zero = net:forward(lip.zeros(1, 4))
  lu.assertAlmostEquals(tonumber(a), zero:get(1, 1), 1e-4)
  lu.assertAlmostEquals(tonumber(b), zero:get(1, 2), 1e-4)
end

-- What is written comes back in order, weights and outputs the same to the bit.
function T:test_there_and_back()
  local function fresh(seed)
    return lip.net { input = { 2, 6, 6 }, norm = 2, budget = 3, seed = seed, C { channels = 4, kernel = 3, groups = 2 }, lip.relu {},
      C { channels = 4, kernel = 2, stride = 2 }, lip.maxmin {}, lip.flatten {}, D(16), lip.abs {}, D(16), lip.relu {}, D(16), D(3) }
  end
  local net, other = fresh(1), fresh(2)
  local x = lip.rand(lip.rng(3), 5, 72)
  assert(net:export { torch = folder .. "/net.py" })
  local report = assert(other:load_weights(folder .. "/net.safetensors"))
  lu.assertEquals(#report.used, 12)
  lu.assertTrue(other:forward(x):allclose(net:forward(x), 0))
  lu.assertEquals(other:bound().upper, net:bound().upper)
end

function T:test_a_state_dict_of_torch()
  local text, why = foreign.python("torch, numpy, safetensors.torch", [=[
import sys, numpy as np, torch, torch.nn as nn
from safetensors.torch import save_file
torch.manual_seed(0)
class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(4)
        self.fc10 = nn.Linear(16, 16)
        self.fc2 = nn.Linear(64, 16)
        self.head = nn.Linear(16, 3)
    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x))).flatten(1)
        return self.head(torch.tanh(self.fc10(torch.relu(self.fc2(x)))))
named = Named()
plain = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 16),
    nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.Tanh(), nn.Identity(), nn.Linear(16, 3))
x = torch.randn(8, 2, 4, 4)
np.save(sys.argv[1] + "/x.npy", x.numpy())
for name, m in (("named", named), ("plain", plain)):
    m(torch.randn(50, 2, 4, 4) * 2 + 1)
    m.eval()
    save_file(m.state_dict(), f"{sys.argv[1]}/{name}.safetensors")
    np.savez(f"{sys.argv[1]}/{name}.npz", **{k: v.numpy() for k, v in m.state_dict().items()})
    np.save(f"{sys.argv[1]}/{name}.npy", m(x).detach().numpy())
]=], folder)
  if not text then return print(why) end
  local map = { stem = "1.conv2d", norm = "2.batch_norm", fc2 = "5.dense", fc10 = "7.dense", head = "9.dense" }
  local x = assert(lip.load_npy(folder .. "/x.npy")):reshape(8, 32)
  for _, case in ipairs { { "plain.safetensors" }, { "plain.npz" }, { "named.safetensors", map }, { "named.npz", map } } do
    local net = lip.net { input = { 2, 4, 4 }, norm = 2, budget = math.huge, C { channels = 4, kernel = 3, padding = 1, groups = 2 },
      lip.batch_norm(), lip.relu(), lip.flatten(), D(16), lip.relu(), D(16), lip.tanh(), D(3) }
    local report = assert(net:load_weights(folder .. "/" .. case[1], { map = case[2] }))
    lu.assertEquals(#report.used, 12)
    agree(net, x, assert(lip.load_npy(("%s/%s.npy"):format(folder, case[1]:match "%a+"))), case[1])
  end
end

function T:test_what_cannot_be_written()
  local net = lip.net { input = 4, norm = 2, D(2) }
  lu.assertErrorMsgContains("ends in .py", net.export, net, { torch = folder .. "/net.pt" })
  lu.assertErrorMsgContains("ends in .py", net.export, net, { torch = folder .. "/.py" })
  lu.assertErrorMsgContains("option 'torch' expects", net.export, net, { torch = 5 })
  local ok, _, code = net:export { torch = folder .. "/none/net.py" }
  lu.assertNil(ok)
  lu.assertEquals(code, "not_found")
  net:weights(1):set(1, 1, 0 / 0)
  ok, _, code = net:export { torch = folder .. "/net.py" }
  lu.assertNil(ok)
  lu.assertEquals(code, "not_finite")
  lu.assertEquals(lip.file.list(folder), {})
end

return T
