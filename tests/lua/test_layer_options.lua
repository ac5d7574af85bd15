-- Options of single layers: init over the net's, a budget of their own, trainable = false; in files, and in files without them.
local lu = require "luaunit"
local lip = require "lip"

local function budgets(net)
  local t = {}
  for _, layer in ipairs(net:info().layers) do
    if layer.trainable ~= nil then t[#t + 1] = layer.budget end
  end
  return t
end

local function batch(n, features)
  local rng, y = lip.rng(3), {}
  for i = 1, n do y[i] = rng:below(3) end
  return lip.zeros(n, features):uniform_(rng, -1, 1), lip.tensor(y)
end

local function values(net)
  local t = {}
  for i, p in ipairs(net:parameters()) do t[i] = p.value:clone() end
  return t
end

local M = {}

function M:setUp() self.path = os.tmpname() end

function M:tearDown() os.remove(self.path) end

-- ---- budget ----

function M.test_others_share_what_remains()
  local net = lip.net{ input = 6, norm = "inf", budget = 8, lip.dense{ out = 6, budget = 0.5 }, lip.relu(),
    lip.dense{ out = 6 }, lip.relu(), lip.dense{ out = 3 } }
  local k = budgets(net)
  lu.assertEquals(k[1], 0.5)
  lu.assertAlmostEquals(k[2], 4, 1e-9)
  lu.assertAlmostEquals(k[3], 4, 1e-9)
  for i = 1, 3 do net:weights(i):mul_(1000) end
  assert(net:project())
  local bound = net:bound()
  lu.assertTrue(bound.upper <= 8 and bound.upper > 7.9)
  lu.assertTrue(bound.layers[1].upper <= 0.5)
end

function M.test_all_have_one()
  local function net(budget, a, b)
    return lip.net{ input = 6, norm = 2, budget = budget, lip.dense{ out = 6, budget = a }, lip.relu(),
      lip.dense{ out = 3, budget = b } }
  end
  lu.assertAlmostEquals(net(nil, 2, 3):info().budget, 6, 1e-9)
  lu.assertEquals(net(10, 2, 3):info().budget, 10)
  lu.assertEquals(budgets(net(10, 2, 3)), { 2, 3 })
  lu.assertErrorMsgContains("product of the layers' budgets is 6, more than the total budget 5", net, 5, 2, 3)
  lu.assertEquals(budgets(net(math.huge, 2)), { 2, math.huge })
  lu.assertErrorMsgContains("layer 1 (dense) has an infinite budget", net, 5, math.huge)
  lu.assertEquals(budgets(net(math.huge, math.huge, 3)), { math.huge, 3 })
end

function M.test_one_place_says_it()
  lu.assertErrorMsgContains("layer 2 (dense) has a budget of its own (2)", lip.net, { input = 6, norm = 2,
    budgets = { 1, 2 }, lip.dense{ out = 6 }, lip.dense{ out = 3, budget = 2 } })
  lu.assertErrorMsgContains("option 'budget' expects a number in [0, ", lip.dense, { out = 3, budget = -1 })
end

function M.test_budgets_inside_of_containers()
  local function residual(K, a)
    return lip.net{ input = 6, norm = 2, budget = K, lip.residual{ lip.dense{ out = 6, budget = a }, lip.relu(),
      lip.dense{ out = 6 } } }
  end
  local net = residual(3, 0.5)
  for i = 1, 2 do net:weights(i):mul_(100) end
  assert(net:project())
  lu.assertTrue(net:bound().upper <= 3 and net:bound().upper > 2.9)
  lu.assertErrorMsgContains("amount to 4, more than the 3 they have", lip.net, { input = 6, norm = 2, budget = 2,
    lip.residual{ lip.dense{ out = 6, budget = 4 } } })
  lu.assertErrorMsgContains("amount to 2, more than the 0.5 they have", lip.net,
    { input = 6, norm = 2, budget = 1, lip.sum{ lip.dense{ out = 6, budget = 2 }, lip.dense{ out = 6 } } })
  local sum = lip.net{ input = 6, norm = 2, budget = 1, lip.sum{ lip.dense{ out = 6, budget = 0.25 }, lip.dense{ out = 6 } } }
  for i = 1, 2 do sum:weights(i):mul_(100) end
  assert(sum:project())
  lu.assertAlmostEquals(sum:bound().upper, 0.75, 1e-4)
end

function M.test_budget_of_convolutions_and_norms()
  local net = lip.net{ input = { 2, 6, 6 }, norm = "inf", budget = 4, lip.conv2d{ channels = 3, budget = 2 },
    lip.batch_norm{ budget = 0.5 }, lip.relu(), lip.flatten(), lip.dense{ out = 3 } }
  lu.assertAlmostEquals(budgets(net)[3], 4, 1e-6)
  for _, p in ipairs(net:parameters()) do if p.trained then p.value:fill(10) end end
  assert(net:project())
  local layers = net:bound().layers
  lu.assertTrue(layers[1].upper <= 2 and layers[2].upper <= 0.5 and net:bound().upper <= 4)
end

-- ---- init ----

function M.test_init_over_the_net()
  local function first(net_init, layer_init)
    return lip.net{ input = 20, norm = "inf", budget = math.huge, seed = 5, init = net_init,
      lip.dense{ out = 20, init = layer_init } }:weights(1)
  end
  for _, init in ipairs{ "orthogonal", "he", "glorot", "lecun" } do
    lu.assertTrue(first("he", init):equal(first(init)))
    lu.assertTrue(first(init, "net"):equal(first(init)))
  end
  lu.assertFalse(first("he", "lecun"):equal(first("he")))
  lu.assertErrorMsgContains("expects one of net, orthogonal", lip.dense, { out = 3, init = "zero" })
  local conv = lip.net{ input = { 1, 5, 5 }, norm = "inf", budget = 3, lip.conv2d{ channels = 2, init = "on_ball" } }
  lu.assertAlmostEquals(conv:bound().upper, 3, 1e-4)
  local norm = lip.net{ input = { 1, 5, 5 }, norm = "inf", budget = 3, lip.batch_norm{ init = "on_ball" } }
  lu.assertAlmostEquals(norm:bound().upper, 3, 1e-4)
end

-- ---- trainable ----

local function fixed_net(where, options, weight)
  local spec = { input = 6, norm = 2, budget = 2, seed = 6 }
  for name, v in pairs(options or {}) do spec[name] = v end
  for i = 1, 3 do
    spec[#spec + 1] = lip.dense{ out = i < 3 and 8 or 3, trainable = i ~= where, weight = i == where and weight or nil }
    if i < 3 then spec[#spec + 1] = lip.maxmin() end
  end
  return lip.net(spec)
end

function M.test_what_is_fixed_stays()
  local x, y = batch(30, 6)
  local loss = lip.loss.cross_entropy()
  local opts = { function(clip) return lip.optim.sgd{ lr = 0.5, momentum = 0.9, weight_decay = 0.1, clip_norm = clip } end,
    function(clip) return lip.optim.adamw{ lr = 0.1, weight_decay = 0.1, clip_norm = clip } end }
  for _, weight in ipairs{ "projected", "aol" } do
    for where = 1, 3 do
      for _, make in ipairs(opts) do
        for _, clip in ipairs{ math.huge, 0.5 } do
          local net, pieces = fixed_net(where, nil, weight), fixed_net(where, nil, weight)
          local before, opt, other = values(net), make(clip), make(clip)
          for _ = 1, 5 do
            assert(net:step(x, y, opt, loss))
            local _, dz = loss:gradient(pieces:forward(x, true), y)
            pieces:backward(dz)
            other:step(pieces, true)
          end
          for i, p in ipairs(net:parameters()) do
            local layer = (p.layer + 1) // 2 -- activations are layers too
            lu.assertTrue(p.value:equal(pieces:parameters()[i].value))
            if layer == where then
              lu.assertFalse(p.trained)
              lu.assertTrue(p.value:equal(before[i]), p.name)
              lu.assertEquals(p.grad:abs():max(), 0)
            elseif p.trained then
              lu.assertFalse(p.value:equal(before[i]), p.name)
            end
          end
        end
      end
    end
  end
end

function M.test_the_gradient_passes_on()
  local x, y = batch(20, 6)
  local free, fixed, loss = fixed_net(0), fixed_net(3), lip.loss.cross_entropy()
  local _, dz = loss:gradient(free:forward(x, true), y)
  local dx = free:backward(dz, { input_gradient = true })
  fixed:forward(x, true)
  lu.assertTrue(fixed:backward(dz, { input_gradient = true }):equal(dx))
  for i = 1, 2 do lu.assertTrue(fixed:parameters()[2 * i].grad:equal(free:parameters()[2 * i].grad)) end
end

function M.test_the_norm_counts_as_it_is()
  local net = fixed_net(2)
  lu.assertTrue(net:bound().upper <= 2)
  net:weights(2):mul_(100)
  local done, what = net:project()
  lu.assertTrue(done)
  lu.assertStrContains(what, "layer 3 (dense) is not trained and has the constant 100")
  lu.assertTrue(net:bound().upper > 50)
  lu.assertStrContains(tostring(net), "fixed")
  lu.assertEquals(net:info().layers[3].trainable, false)
  lu.assertEquals(net:info().layers[1].trainable, true)
  local count = 0
  for _, p in ipairs(net:parameters()) do
    if p.trained then
      local n = 1
      for _, d in ipairs{ p.value:size() } do n = n * d end
      count = count + n
    end
  end
  lu.assertEquals(net:info().parameters, count)
  net:weights(2):mul_(0.001)
  lu.assertEquals(select("#", net:project()), 1)
end

function M.test_convolutions_and_batch_norm()
  local rng, y = lip.rng(2), {}
  for i = 1, 40 do y[i] = rng:below(3) end
  local x, loss = lip.zeros(40, 72):uniform_(rng, 0, 1), lip.loss.cross_entropy()
  local function make(conv, norm)
    return lip.net{ input = { 2, 6, 6 }, norm = 2, budget = 5, lip.conv2d{ channels = 8, padding = 1 }, lip.relu(),
      lip.conv2d{ channels = 8, padding = 1, trainable = conv }, lip.relu(), lip.batch_norm{ trainable = norm },
      lip.conv2d{ channels = 8, stride = 2 }, lip.relu(), lip.flatten(), lip.dense{ out = 3 } }
  end
  for _, conv in ipairs{ true, false } do
    for _, norm in ipairs{ true, false } do
      local net, opt = make(conv, norm), lip.optim.adam{ lr = 0.01 }
      local before = values(net)
      if not norm then -- a batch in training is mapped as used
        lu.assertTrue(net:forward(x, true):equal(net:forward(x)))
      end
      for _ = 1, 3 do assert(net:step(x, y, opt, loss)) end
      for i, p in ipairs(net:parameters()) do
        local still = (p.layer == 3 and not conv) or (p.layer == 5 and not norm)
        lu.assertEquals(p.value:equal(before[i]), still, p.kind .. " " .. p.name)
      end
    end
  end
end

-- Numbers of the layers around one that is fixed: as if its gradient were thrown away.
function M.test_others_learn_the_same()
  local x, y = batch(30, 6)
  local loss, a, b = lip.loss.cross_entropy(), fixed_net(2), fixed_net(0)
  local opt, other = lip.optim.sgd{ lr = 0.2 }, lip.optim.sgd{ lr = 0.2 }
  for _ = 1, 4 do
    assert(a:step(x, y, opt, loss))
    local weight, bias = b:weights(2):clone(), b:bias(2):clone()
    assert(b:step(x, y, other, loss))
    b:weights(2):copy(weight)
    b:bias(2):copy(bias)
  end
  for i, p in ipairs(a:parameters()) do
    lu.assertTrue((p.value - b:parameters()[i].value):abs():max() <= 1e-5, p.name)
  end
end

-- ---- files ----

local function slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

function M:test_files()
  local x, y = batch(20, 6)
  local function make()
    return lip.net{ input = 6, norm = 2, budget = 4, seed = 3, lip.dense{ out = 8, budget = 0.5, init = "he" }, lip.maxmin(),
      lip.dense{ out = 8, trainable = false }, lip.maxmin(), lip.dense{ out = 3, weight = "aol" } }
  end
  local net, opt, loss = make(), lip.optim.adam(), lip.loss.cross_entropy()
  net:weights(2):mul_(3)
  for _ = 1, 3 do assert(net:step(x, y, opt, loss)) end
  assert(net:save(self.path, { optimizer = opt }))
  local back, back_opt = assert(lip.load(self.path))
  lu.assertEquals(tostring(back), tostring(net))
  lu.assertEquals(back:info(), net:info())
  for _ = 1, 3 do
    assert(net:step(x, y, opt, loss))
    assert(back:step(x, y, back_opt, loss))
  end
  for i, p in ipairs(net:parameters()) do lu.assertTrue(p.value:equal(back:parameters()[i].value)) end
end

-- What was written before there were such options: they are left out of a file's text, and count as their defaults.
function M:test_files_without_these_options()
  local net = lip.net{ input = { 2, 5, 5 }, norm = "inf", budget = 2, lip.conv2d{ channels = 3 }, lip.batch_norm(),
    lip.flatten(), lip.dense{ out = 3 } }
  assert(net:save(self.path))
  local bytes = slurp(self.path)
  local length = string.unpack("<I8", bytes)
  local header = bytes:sub(9, 8 + length)
  local cut, n = header, 0
  for _, option in ipairs{ [[weight\":%s*\"projected\"]], [[init\":%s*\"net\"]], [[budget\":%s*0%.?0?]],
    [[trainable\":%s*true]] } do
    local count
    cut, count = cut:gsub([[,%s*\"]] .. option, "")
    n = n + count
    cut, count = cut:gsub([[\"]] .. option .. [[,%s*]], "")
    n = n + count
  end
  lu.assertEquals(n, 3 + 3 + 2 + 3)
  local file <close> = assert(io.open(self.path, "wb"))
  file:write(bytes:sub(1, 8), cut, (" "):rep(#header - #cut), bytes:sub(9 + length))
  file:close()
  local back = assert(lip.load(self.path))
  lu.assertEquals(tostring(back), tostring(net))
  for i, p in ipairs(net:parameters()) do lu.assertTrue(p.value:equal(back:parameters()[i].value)) end
end

return M
