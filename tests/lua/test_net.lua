-- Nets from Lua: budgets, norm paths, shapes, hand-written loops, the same bits for any number of threads.
local lu = require "luaunit"
local lip = require "lip"

local function small(options)
  local spec = { input = 6, norm = "inf", budget = 4, seed = 2, lip.dense{ out = 8 }, lip.maxmin(),
    lip.dense{ out = 8 }, lip.maxmin(), lip.dense{ out = 3 } }
  for name, v in pairs(options or {}) do spec[name] = v end
  return lip.net(spec)
end

local function budgets(net)
  local t = {}
  for _, layer in ipairs(net:info().layers) do
    if layer.kind == "dense" then t[#t + 1] = layer.budget end
  end
  return t
end

local function batch(rng, n, features, classes)
  local y = {}
  for i = 1, n do y[i] = rng:below(classes) end
  return lip.zeros(n, features):uniform_(rng, 0, 1), lip.tensor(y)
end

local M = {}

function M.test_equal_shares_meet_the_total()
  for _, k in ipairs{ 0.3, 1, 4, 1000 } do
    local net = small{ budget = k }
    for _, b in ipairs(budgets(net)) do lu.assertAlmostEquals(b, k ^ (1 / 3), 1e-9 * k) end
    lu.assertTrue(net:bound().upper <= k)
  end
  lu.assertEquals(budgets(small{ budget = math.huge })[1], math.huge)
end

function M.test_given_shares()
  lu.assertEquals(budgets(small{ budgets = { 1, 2, 2 } }), { 1, 2, 2 })
  lu.assertErrorMsgContains("product of budgets is 8", small, { budgets = { 2, 2, 2 } })
  lu.assertErrorMsgContains("2 entries for 3", small, { budgets = { 1, 2 } })
end

function M.test_shares_by_kind()
  local net = lip.net{ input = { 1, 8, 8 }, norm = "inf", budgets = { conv2d = 3, dense = 2 },
    lip.scale{ factor = 0.5 }, lip.conv2d{ channels = 4, kernel = 3 }, lip.relu(), lip.flatten(), lip.dense{ out = 8 },
    lip.relu(), lip.dense{ out = 3 } }
  lu.assertEquals(budgets(net), { 2, 2 })
  lu.assertAlmostEquals(net:info().budget, 6, 1e-6)
  lu.assertTrue(net:bound().upper <= 6.0001)
  lu.assertErrorMsgContains("needs a number > 0 for the kind 'dense'", small, { budgets = { conv2d = 1 } })
  lu.assertErrorMsgContains("a kind the net does not have", small, { budgets = { dense = 1, conv2d = 1 } })
end

function M.test_preprocessing_takes_its_part_of_the_budget()
  local net = lip.net{ input = 4, norm = "inf", budget = 10, lip.standardise{ mean = { 0.5 }, std = { 0.1 } },
    lip.dense{ out = 2 } }
  lu.assertAlmostEquals(budgets(net)[1], 1, 1e-6)
  lu.assertTrue(net:bound().upper <= 10)
end

function M.test_norm_paths()
  for _, norm in ipairs{ 1, 2, "inf", math.huge, "1->inf", "1->2", "2->inf", "1->2->inf" } do
    local net = small{ norm = norm }
    lu.assertTrue(net:bound().upper <= 4 and net:bound().upper > 0)
  end
  lu.assertTrue(small{ norm = { 1, "inf" } }:bound().upper <= 4)
  lu.assertErrorMsgContains("NP-hard", small, { norm = "inf->2" })
  lu.assertErrorMsgContains("norm", small, { norm = 3 })
  lu.assertErrorMsgContains("steps for 3 weighted layers", small, { norm = "1->1->1->1->1" })
end

function M.test_shapes_are_named()
  local net = small()
  lu.assertErrorMsgContains("rows of 6", net.forward, net, lip.zeros(2, 5))
  lu.assertErrorMsgContains("layer 2 (maxmin)", lip.net,
    { input = 4, norm = 1, lip.dense{ out = 5 }, lip.maxmin(), lip.dense{ out = 2 } })
  lu.assertEquals(net:forward(lip.zeros(6)):shape(), { 1, 3 })
  lu.assertEquals(net:forward(lip.zeros(7, 6)):shape(), { 7, 3 })
end

-- net:step and its pieces are the same numbers.
function M.test_pieces_equal_the_step()
  local rng, loss = lip.rng(5), lip.loss.cross_entropy()
  local x, y = batch(rng, 20, 6, 3)
  local a, b = small(), small()
  local oa, ob = lip.optim.adam{ lr = 0.01 }, lip.optim.adam{ lr = 0.01 }
  for _ = 1, 10 do
    local va = a:step(x, y, oa, loss)
    local z = b:forward(x, true)
    local vb, dz = loss:gradient(z, y)
    b:backward(dz)
    ob:step(b)
    b:project{ exact = false }
    lu.assertEquals(va, vb)
  end
  for i = 1, 3 do lu.assertTrue(a:weights(i):equal(b:weights(i))) end
end

function M.test_accumulated_gradients_add()
  local rng, loss, net = lip.rng(6), lip.loss.cross_entropy(), small()
  local x, y = batch(rng, 8, 6, 3)
  local _, dz = loss:gradient(net:forward(x, true), y)
  net:backward(dz)
  local once = net:parameters()[1].grad:clone()
  net:backward(dz, { accumulate = true })
  lu.assertTrue(net:parameters()[1].grad:allclose(once * 2, 1e-6))
  lu.assertEquals(net:backward(dz, { input_gradient = true }):shape(), { 8, 6 })
  net:forward(x)
  lu.assertErrorMsgContains("training", net.backward, net, dz)
end

function M.test_the_same_bits_for_any_number_of_threads()
  local before, weights = lip.threads(), {}
  for _, threads in ipairs{ 1, 2, 3, 4 } do
    lip.threads(threads)
    local rng, loss, opt = lip.rng(7), lip.loss.cross_entropy(), lip.optim.adam{ lr = 0.01, clip_norm = 0.1 }
    local net = lip.net{ input = 200, norm = 2, budget = 4, lip.dense{ out = 150 }, lip.groupsort{ size = 5 },
      lip.dropout{ rate = 0.2 }, lip.residual{ lip.dense{ out = 150 }, lip.relu() }, lip.dense{ out = 10 } }
    local x, y = batch(rng, 65, 200, 10)
    for _ = 1, 4 do assert(net:step(x, y, opt, loss)) end
    weights[#weights + 1] = { net:weights(1):clone(), net:weights(2):clone(), net:forward(x) }
  end
  lip.threads(before)
  for i = 2, #weights do
    for k = 1, 3 do lu.assertTrue(weights[i][k]:equal(weights[1][k])) end
  end
end

-- After every step the stored weights meet the budget, for every path and method but the approximate 2 -> 2.
function M.test_budget_holds_after_every_step()
  local rng, loss = lip.rng(8), lip.loss.cross_entropy()
  local x, y = batch(rng, 16, 6, 3)
  for _, norm in ipairs{ "1", "inf", "1->inf", "1->2->inf", "2->inf" } do
    for _, method in ipairs{ "euclidean", "rowwise", "radial" } do
      local net, opt = small{ norm = norm, projection = method, budget = 2 }, lip.optim.sgd{ lr = 5 }
      for _ = 1, 5 do
        assert(net:step(x, y, opt, loss))
        lu.assertTrue(net:bound().upper <= 2, norm .. " " .. method)
      end
    end
  end
  local net, opt = small{ norm = 2, budget = 2 }, lip.optim.sgd{ lr = 5 }
  for _ = 1, 5 do assert(net:step(x, y, opt, loss)) end
  net:project()
  lu.assertTrue(net:bound().upper <= 2)
end

function M.test_a_bad_batch_leaves_the_weights()
  local rng, loss, opt, net = lip.rng(9), lip.loss.cross_entropy(), lip.optim.adam{ lr = 0.1 }, small()
  local x, y = batch(rng, 8, 6, 3)
  local before = net:weights(1):clone()
  x:set(3, 2, 0 / 0)
  local value, message, code = net:step(x, y, opt, loss)
  lu.assertNil(value)
  lu.assertEquals(code, "not_finite")
  lu.assertStrContains(message, "weights are as before")
  lu.assertTrue(net:weights(1):equal(before))
  lu.assertErrorMsgContains("label", net.step, net, x, lip.full({ 8 }, 3), opt, loss)
end

-- A step may keep weights in another form for the next one: nothing that changes them in between may be missed.
function M.test_steps_see_every_change_of_the_weights()
  local x, y = batch(lip.rng(11), 40, 6, 3)
  local loss = lip.loss.cross_entropy()
  local function changed(change)
    local net, opt = small(), lip.optim.sgd{ lr = 0.1 }
    for _ = 1, 3 do net:step(x, y, opt, loss) end
    change(net)
    local expected = loss:value(net:forward(x), y)
    lu.assertEquals(net:step(x, y, opt, loss), expected)
    return net
  end
  changed(function() end)
  changed(function(net) net:weights(1):mul_(0.5) end)
  changed(function(net) net:parameters()[3].value:fill(0.25) end)
  changed(function(net) net:reset(9) end)
  changed(function(net)
    local _, dz = loss:gradient(net:forward(x, true), y)
    net:backward(dz)
    lip.optim.sgd{ lr = 3 }:step(net)
  end)
  changed(function(net) net:bias(1):fill(1) net:project() end)
  local view -- taken before the steps, used after
  local net, opt = small(), lip.optim.sgd{ lr = 0.1 }
  view = net:weights(2)
  for _ = 1, 3 do net:step(x, y, opt, loss) end
  view:mul_(-1)
  local expected = loss:value(net:forward(x), y)
  lu.assertEquals(net:step(x, y, opt, loss), expected)
end

function M.test_no_allocation_in_a_step()
  local rng, loss, opt, net = lip.rng(10), lip.loss.cross_entropy(), lip.optim.adam(), small()
  local x, y = batch(rng, 8, 6, 3)
  net:step(x, y, opt, loss)
  local before = lip.allocations()
  for _ = 1, 20 do net:step(x, y, opt, loss) end
  lu.assertEquals(lip.allocations(), before)
end

return M
