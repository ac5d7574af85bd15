-- net:load_weights: arrays of a state_dict into a net that has been described.
local lu = require "luaunit"
local lip = require "lip"
local foreign = require "support_foreign"

local T = {}

function T:setUp()
  self.path = os.tmpname()
end

function T:tearDown()
  os.remove(self.path)
end

local function size_of(shape)
  local n = 1
  for _, d in ipairs(shape) do n = n * d end
  return n
end

-- Arrays {name, {sizes}[, first value]}, whose numbers go on by 1/8 from the first; as safetensors sort them, by name.
local function arrays(list, sorted)
  local out = {}
  for i, a in ipairs(list) do
    local bytes = {}
    for k = 1, size_of(a[2]) do bytes[k] = ("<f"):pack((a[3] or i) + k / 8) end
    out[i] = { a[1], "F32", a[2], table.concat(bytes) }
  end
  if sorted ~= false then table.sort(out, function(a, b) return a[1] < b[1] end) end
  return out
end

function T:write(list)
  foreign.spill(self.path, foreign.safetensors(arrays(list)))
end

local function mlp(options)
  local t = { input = 3, norm = 2, seed = 1, lip.dense { out = 3 }, lip.relu {}, lip.dense { out = 3 }, lip.dense { out = 3 } }
  for k, v in pairs(options or {}) do t[k] = v end
  return lip.net(t)
end

local function modules(...)
  local list = {}
  for i, name in ipairs { ... } do
    list[#list + 1] = { name .. ".weight", { 3, 3 }, 10 * i }
    list[#list + 1] = { name .. ".bias", { 3 }, 10 * i + 5 }
  end
  return list
end

-- First weight and bias of every dense layer say which module it has got.
local function firsts(net)
  local list = {}
  for i = 1, 3 do list[i] = net:weights(i):get(1, 1) // 10 * 10 + net:bias(i):get(1) // 10 end
  return list
end

local function unchanged(net, f)
  local before = {}
  for i, p in ipairs(net:parameters()) do before[i] = p.value:clone() end
  local result = table.pack(f())
  for i, p in ipairs(net:parameters()) do lu.assertTrue(p.value:allclose(before[i], 0), p.name) end
  return table.unpack(result, 1, result.n)
end

function T:refused(net, options, pattern, code)
  local report, message, got, more = unchanged(net, function() return net:load_weights(self.path, options) end)
  lu.assertNil(report)
  lu.assertStrContains(message, self.path)
  lu.assertStrMatches(message, ".*" .. pattern .. ".*")
  lu.assertEquals(got, code)
  return more
end

function T:test_modules_by_the_numbers_in_their_names()
  self:write(modules("0", "2", "10"))
  local net = mlp()
  local report = assert(net:load_weights(self.path))
  lu.assertEquals(firsts(net), { 11, 22, 33 })
  lu.assertEquals(#report.used, 6)
  lu.assertEquals(report.used[1], { array = "0.bias", param = "1.dense.bias" })
  for _, list in ipairs { "missing", "left", "differ", "ignored", "rounded" } do lu.assertEquals(report[list], {}) end
  local y = net:forward(lip.tensor { { 0, 0, 0 } })
  lu.assertTrue(y:all_finite())
  self:write(modules("block1.fc2", "block1.fc10", "block2.fc1"))
  assert(net:load_weights(self.path))
  lu.assertEquals(firsts(net), { 11, 22, 33 })
end

-- 12 + 21 of two modules could not be told from 21 + 12.
function T:test_names_without_numbers_need_a_map()
  self:write(modules("head", "body", "tail"))
  local net = mlp()
  self:refused(net, nil, '"body.bias" and "head.bias".*say it with map', "unsupported")
  assert(net:load_weights(self.path, { map = { ["head"] = "1.dense", ["body"] = "3.dense", ["tail.weight"] = "4.dense.weight",
    ["tail.bias"] = "4.dense.bias" } }))
  lu.assertEquals(firsts(net), { 11, 22, 33 })
  assert(net:load_weights(self.path, { map = function(name)
    local module, role = name:match "(.*)%.(.*)"
    return ({ tail = "1", head = "3", body = "4" })[module] .. ".dense." .. role
  end }))
  lu.assertEquals(firsts(net), { 33, 11, 22 })
  -- shapes that fit in one way only need none
  self:write { { "in.weight", { 5, 3 } }, { "in.bias", { 5 } }, { "out.weight", { 2, 5 } }, { "out.bias", { 2 } } }
  assert(lip.net { input = 3, norm = 2, lip.dense { out = 5 }, lip.dense { out = 2 } }:load_weights(self.path))
end

local function archive(...)
  local members = {}
  for i, a in ipairs(arrays(modules(...), false)) do
    members[i] = { a[1] .. ".npy", foreign.npy("<f4", a[3], a[4]), packed = i % 2 == 0 }
  end
  return foreign.zip(members)
end

function T:test_the_order_of_an_archive_counts()
  local net = mlp()
  for _, names in ipairs { { "head", "body", "a" }, { "1", "2", "10" }, { "b2", "a1", "b10" } } do
    foreign.spill(self.path, archive(table.unpack(names)))
    assert(net:load_weights(self.path))
    lu.assertEquals(firsts(net), { 11, 22, 33 })
  end
  for _, names in ipairs { { "1", "10", "2" }, { "b2", "a", "b1" } } do
    foreign.spill(self.path, archive(table.unpack(names)))
    self:refused(net, nil, "another order than the numbers", "unsupported")
  end
end

function T:test_the_nets_own_names()
  local net, other = mlp(), mlp { seed = 2 }
  assert(net:save(self.path))
  assert(other:load_weights(self.path))
  for i, p in ipairs(other:parameters()) do lu.assertTrue(p.value:allclose(net:parameters()[i].value, 0)) end
end

function T:test_batch_norm_and_convolutions()
  local net = lip.net { input = { 2, 6 }, norm = 2, lip.conv1d { channels = 4, kernel = 3, groups = 2 }, lip.batch_norm(),
    lip.flatten(), lip.dense { out = 2, bias = false } }
  self:write { { "0.weight", { 4, 1, 3 } }, { "0.bias", { 4 } }, { "1.weight", { 4 }, 20 }, { "1.bias", { 4 }, 30 },
    { "1.running_mean", { 4 }, 40 }, { "1.running_var", { 4 }, 50 }, { "1.num_batches_tracked", {} }, { "3.weight", { 2, 16 } } }
  local report = assert(net:load_weights(self.path))
  lu.assertEquals(report.ignored, { "1.num_batches_tracked" })
  local got = {}
  for _, p in ipairs(net:parameters()) do
    if p.kind == "batch_norm" then got[p.name] = p.value:get(1) // 10 end
  end
  lu.assertEquals(got, { gamma = 2, beta = 3, running_mean = 4, running_variance = 5 })
  self:write { { "1.running_var", { 4 }, -1 } }
  self:refused(net, { strict = false, map = { ["1"] = "2.batch_norm" } },
    "negative variance", "format")
  net = lip.net { input = { 2, 4, 4 }, norm = 2, lip.conv2d { channels = 2, kernel = 3 }, lip.flatten(), lip.dense { out = 2 } }
  self:write { { "0.weight", { 2, 2, 3, 3 } }, { "0.bias", { 2 } }, { "2.weight", { 2, 8 } }, { "2.bias", { 2 } } }
  assert(net:load_weights(self.path))
end

function T:test_everything_that_does_not_fit_is_said_and_nothing_is_written()
  self:write { { "0.weight", { 3, 4 } }, { "0.bias", { 3, 1 } }, { "1.weight", { 3, 3 } }, { "1.bias", { 3 } }, { "2.weight", { 3, 3 } },
    { "3.weight", { 3, 3 } } }
  local net = mlp()
  local report = self:refused(net, nil, "shapes differ", "shape")
  lu.assertEquals(report.differ, { { array = "0.bias", param = "1.dense.bias", shape = { 3, 1 }, expected = { 3 } },
    { array = "0.weight", param = "1.dense.weight", shape = { 3, 4 }, expected = { 3, 3 } } })
  lu.assertEquals(report.missing, { "4.dense.bias" })
  lu.assertEquals(report.left, { "3.weight" })
  local _, message = net:load_weights(self.path)
  for _, part in ipairs { '"0.weight" is 3x4, but 1.dense.weight is 3x3', '"0.bias" is 3x1', "no array for 4.dense.bias",
    'left over: "3.weight"', "strict = false" } do
    lu.assertStrContains(message, part)
  end
  local old = net:weights(1):clone()
  report = assert(net:load_weights(self.path, { strict = false }))
  lu.assertEquals(#report.used, 3)
  lu.assertEquals(#report.differ, 2)
  lu.assertTrue(net:weights(1):allclose(old, 0))
  lu.assertEquals(net:weights(2):get(1, 1), 3 + 1 / 8)
  -- a file of something else altogether: the message stays short
  local many = {}
  for i = 1, 500 do many[i] = { ("%03d.%s"):format(i, ("x"):rep(150)), { 1 } } end
  self:write(many)
  _, message = net:load_weights(self.path)
  lu.assertStrContains(message, "494 more")
  lu.assertTrue(#message < 4000)
end

function T:test_numbers_that_are_refused_or_rounded()
  local net = lip.net { input = 2, norm = 2, lip.dense { out = 1 } }
  for _, v in ipairs { 0 / 0, 1 / 0, -1 / 0, 1e300 } do
    foreign.spill(self.path, foreign.safetensors { { "bias", "F64", { 1 }, ("<d"):pack(1) },
      { "weight", "F64", { 1, 2 }, ("<dd"):pack(1, v) } })
    self:refused(net, nil, "NaN, infinite or beyond float32 at element 1", "not_finite")
  end
  foreign.spill(self.path, foreign.safetensors { { "bias", "F64", { 1 }, ("<d"):pack(1) },
    { "weight", "F64", { 1, 2 }, ("<dd"):pack(1, 0.1) } })
  lu.assertEquals(assert(net:load_weights(self.path)).rounded, { "weight" })
end

function T:test_parametrised_weights_are_refused()
  local net = lip.net { input = 3, norm = 2, lip.dense { out = 3 } }
  self:write { { "0.bias", { 3 } }, { "0.parametrizations.weight.original0", { 3, 1 } },
    { "0.parametrizations.weight.original1", { 3, 3 } } }
  self:refused(net, nil, "remove_parametrizations", "shape")
  self:write { { "0.bias", { 3 } }, { "0.weight_g", { 3, 1 } }, { "0.weight_v", { 3, 3 } } }
  self:refused(net, nil, "remove_weight_norm", "shape")
end

function T:test_computed_weights_are_not_loaded()
  local net = lip.net { input = 3, norm = 2, lip.dense { out = 3, weight = "cayley" }, lip.dense { out = 3 } }
  self:write(modules("0", "1"))
  self:refused(net, nil, "computed from trained numbers", "shape")
  self:refused(net, { strict = false }, "computed from trained numbers", "unsupported")
  local report = assert(net:load_weights(self.path, { strict = false, map = { ["1"] = "2.dense", ["0"] = false } }))
  lu.assertEquals(#report.used, 2)
  lu.assertEquals(report.ignored, { "0.bias", "0.weight" })
end

-- Loaded weights stay as they are; the report says where that leaves the budget.
function T:test_the_budget()
  self:write(modules("0", "1", "2"))
  local net = mlp { budget = 2 }
  local report = assert(net:load_weights(self.path))
  lu.assertTrue(report.bound > 2)
  lu.assertEquals(report.bound, net:bound().upper)
  lu.assertEquals(report.budget, 2)
  lu.assertFalse(report.within)
  net:project()
  lu.assertTrue(net:bound().upper <= 2 * (1 + 1e-6))
  lu.assertTrue(assert(mlp { budget = math.huge }:load_weights(self.path)).within)
end

-- Layers that compute a weight see that others have changed, and what was prepared from old weights is forgotten.
function T:test_the_net_runs_on_new_weights_at_once()
  self:write(modules("0", "1", "2"))
  local net, x = mlp(), lip.rand(lip.rng(3), 40, 3)
  net:forward(x)
  assert(net:load_weights(self.path))
  local y = net:forward(x)
  local w = {}
  for i = 1, 3 do w[i] = { net:weights(i), net:bias(i) } end
  local z = x:matmul(w[1][1]:transpose()):add(w[1][2]):relu():matmul(w[2][1]:transpose()):add(w[2][2])
    :matmul(w[3][1]:transpose()):add(w[3][2])
  lu.assertTrue(y:sub(z):norm() <= 1e-5 * z:norm())
end

function T:test_misuse()
  self:write(modules("0", "1", "2"))
  local net = mlp()
  lu.assertErrorMsgContains("string expected", net.load_weights, net)
  lu.assertErrorMsgContains("known", net.load_weights, net, self.path, { mapp = {} })
  lu.assertErrorMsgContains("'map' expects a table", net.load_weights, net, self.path, { map = 5 })
  lu.assertErrorMsgContains("the net has no parameter \"1.dens.bias\"", net.load_weights, net, self.path,
    { map = { ["0"] = "1.dens" } })
  lu.assertErrorMsgContains('both "0.bias" and "0.weight" go to', net.load_weights, net, self.path,
    { map = { ["0.bias"] = "1.dense.bias", ["0.weight"] = "1.dense.bias" } })
  lu.assertErrorMsgContains("expects the name of a parameter", net.load_weights, net, self.path, { map = function() return 5 end })
  lu.assertErrorMsgContains("mine", net.load_weights, net, self.path, { map = function() error "mine" end })
  local report, message, code = net:load_weights(self.path .. ".gone")
  lu.assertNil(report)
  lu.assertStrContains(message, "No such file")
  lu.assertEquals(code, "not_found")
end

return T
