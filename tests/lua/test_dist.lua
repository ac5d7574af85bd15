-- Neurons that measure distances: their exponent, training, checkpoints, certificates, what is refused.
local lu = require "luaunit"
local lip = require "lip"

local inf = math.huge
local T = {}

local function net_of(...)
  return lip.net { input = 6, norm = "inf", seed = 3, ... }
end

-- Points of three classes around three corners.
local function points(n, seed)
  local rows, y = lip.rand(lip.rng(seed), n, 6):mul_(0.5):totable(), {}
  for i = 1, n do
    y[i] = (i - 1) % 3
    rows[i][y[i] + 1] = rows[i][y[i] + 1] + 0.8
  end
  local x = lip.tensor(rows)
  return lip.data.tensors(x, y), x, y
end

function T.test_the_exponent_is_read_and_set()
  local net = net_of(lip.linf_dist { out = 5, p = 8 }, lip.chain { lip.linf_dist { out = 4 } }, lip.scale { factor = -1 })
  lu.assertEquals(net:power(), 8) -- the smallest
  local at_8 = net:bound().upper
  lu.assertTrue(at_8 >= 6 ^ (1 / 8) and at_8 < 6 ^ (1 / 8) * (1 + 1e-9))
  lu.assertEquals(net:power(1024), 1024)
  lu.assertTrue(net:bound().upper < 1.01)
  lu.assertEquals(net:power(inf), inf)
  lu.assertEquals(net:bound().upper, 1)
  lu.assertEquals(net:power(), inf)
  lu.assertNil(net_of(lip.dense { out = 2 }):power())
  for _, p in ipairs { 3, 1, 0, -8, 8192, 0 / 0, -inf, 7.5 } do
    lu.assertErrorMsgContains("expected 2, 4, 8, ... 4096 or infinity, got", net.power, net, p)
  end
  lu.assertEquals(net:power(), inf)
  lu.assertErrorMsgContains("no layer of this net measures distances", net_of(lip.sort_neuron { out = 2 }).power,
    net_of(lip.sort_neuron { out = 2 }), 8)
  lu.assertErrorMsgContains("number expected, got string", net.power, net, "eight")
  lu.assertErrorMsgContains("option 'p' expects 2, 4, 8", net_of, lip.linf_dist { out = 2, p = 12 })
  lu.assertErrorMsgContains("put a flatten layer before it", lip.net,
    { input = { 1, 2, 2 }, norm = "inf", lip.linf_dist { out = 2 } })
end

-- What the neurons take of the budget, 4 each from 16 inputs at p = 2, the layer behind them has to make up for, whichever
-- way p came about: an option, net:power, a file, net:reset.
function T.test_the_budget_is_met_at_every_exponent()
  local function made(p, weight)
    return lip.net { input = 16, norm = "inf", budget = 2, seed = 3, lip.linf_dist { out = 16, p = p }, lip.chain {
      lip.linf_dist { out = 8, p = p } }, lip.dense { out = 3, weight = weight } }
  end
  local function at(net, p, share)
    assert(net:project())
    lu.assertEquals(net:power(), p)
    lu.assertAlmostEquals(net:info().layers[3].budget, share, 1e-9)
    lu.assertTrue(net:bound().upper <= 2 and net:bound().upper > 0, net:bound().upper)
  end
  local path = os.tmpname()
  for _, weight in ipairs { "projected", "nonnegative" } do
    local net = made(2, weight)
    at(net, 2, 2 / 16)
    net:power(inf)
    at(net, inf, 2)
    net:weights(1):fill(1)
    at(net, inf, 2)
    assert(net:save(path))
    at(assert(lip.load(path)), inf, 2)
    net:power(2)
    at(net, 2, 2 / 16)
    assert(net:save(path))
    at(assert(lip.load(path)), 2, 2 / 16)
    net:power(inf)
    net:reset()
    at(net, 2, 2 / 16)
    local other = made(inf)
    other:power(2)
    at(other, 2, 2 / 16)
  end
  os.remove(path)
end

-- Who takes no share can make a net miss its budget; then the net says so, and whose constants these are.
function T.test_a_budget_that_is_not_met_is_told_of()
  local function told(text, options)
    local net = lip.net(options)
    local done, what = net:project()
    lu.assertTrue(done)
    lu.assertEquals(tostring(net):match "total.-\n?$":find "above the budget" ~= nil, text ~= nil)
    if not text then return lu.assertNil(what) end
    lu.assertStrContains(what, text)
    lu.assertTrue(net:bound().upper > net:info().budget)
    lu.assertNil(select(2, net:project { exact = false })) -- who asks for the cheap one does not wait for the bound
  end
  local D, L = lip.dense, lip.linf_dist
  told("the net has the constant 2.00001, more than its budget 1: layer 1 (linf_dist), step 2->2, has 2.00001 and takes no budget",
    { input = 8, norm = 2, L { out = 4 } })
  told("what helps is a budget of 2.00001, a dense or conv2d layer that makes up for them", { input = 8, norm = 2, L { out = 4 } })
  told("has the constant 4.00001", { input = 8, norm = 1, L { out = 4 } })
  told("the net has the constant 1, more than its budget 0.5 (none of its layers takes a share)",
    { input = 8, norm = "inf", budget = 0.5, L { out = 4 } })
  told("layer 2 (chain), step 2->2, has 2.00001 and takes no budget",
    { input = 8, norm = 2, L { out = 1 }, lip.chain { L { out = 4 } } })
  told(nil, { input = 8, norm = "inf", L { out = 4 } })
  told(nil, { input = 8, norm = 2, L { out = 4 }, D { out = 3 } })
  told(nil, { input = 8, norm = "inf", budget = 0.5, L { out = 4 }, D { out = 3 } })
  told(nil, { input = 8, norm = 2, budget = inf, L { out = 4 } })
  -- a product is rounded up even where it is exact
  local net = lip.net { input = 1, norm = "inf", budgets = { 2, 3 }, D { out = 1 }, D { out = 1 } }
  net:weights(1):fill(2)
  net:weights(2):fill(3)
  lu.assertEquals(select("#", net:project()), 1)
  lu.assertTrue(net:info().budget == 6 and net:bound().upper > 6 and net:bound().upper < 6 + 1e-14)
  lu.assertStrMatches(tostring(net):match "[^\n]*$", " +total +%d+  inf +6 +6[%d.]*")
end

-- Computed weights are K g(V) for the share K that they have now.
function T.test_computed_weights_follow_their_share()
  local net = lip.net { input = 16, norm = "inf", budget = 2, seed = 3, lip.linf_dist { out = 8, p = 2 },
    lip.sandwich { out = 3, activation = "none" } }
  local function size(p)
    net:power(p)
    for _, one in ipairs(net:parameters()) do
      if one.name == "weight" and one.layer > 2 then return one.value:norm() end
    end
  end
  lu.assertAlmostEquals(size(inf) / size(2), 4, 1e-5)
end

-- Where nothing is left of the budget the exponent stays what it was, and so do all shares.
function T.test_an_exponent_that_takes_too_much_is_refused()
  local net = lip.net { input = 16, norm = "inf", budget = 2, lip.linf_dist { out = 16 }, lip.dense { out = 5, budget = 1.5 },
    lip.dense { out = 3, budget = 1 } }
  lu.assertErrorMsgContains("more than the total budget 2", net.power, net, 2)
  lu.assertEquals(net:power(), inf)
  lu.assertEquals(net:info().layers[2].budget, 1.5)
  lu.assertEquals(net:power(1024), 1024)
end

-- With weights of 0 and p infinite a neuron is the norm of its input.
function T.test_values()
  local net = net_of(lip.linf_dist { out = 2, bias = false })
  net:parameters()[1].value:fill(0)
  local x = lip.tensor { { 1, -3, 2, 0, 0.5, 1 } }
  lu.assertEquals(net:forward(x):totable(), { { 3, 3 } })
  net:power(2)
  lu.assertAlmostEquals(net:forward(x):totable()[1][1], math.sqrt(15.25), 1e-6)
  local sorted = net_of(lip.sort_neuron { out = 1, q = 0.5, terms = 2, bias = false })
  sorted:parameters()[1].value:fill(0)
  lu.assertAlmostEquals(sorted:forward(x):totable()[1][1], 3 * 2 / 3 + 2 / 3, 1e-6)
end

function T.test_training_with_a_rising_exponent_certifies()
  local data, x, y = points(90, 1)
  for _, last in ipairs { lip.linf_dist { out = 3 }, lip.sort_neuron { out = 3 } } do
    local net = net_of(lip.linf_dist { out = 16, p = 8, bias = false, shift = true }, last, lip.scale { factor = -1 })
    local seen = {}
    assert(lip.train(net, data, {
      epochs = 40, batch = 30, seed = 1, opt = lip.optim.adam { lr = 0.03 }, loss = lip.loss.multi_margin { margin = 0.4 },
      on_batch = function(info)
        local p = info.step > 100 and inf or 2 ^ (3 + info.step // 15)
        seen[net:power(p)] = true
      end }))
    for _, p in ipairs { 8, 64, 512, inf } do lu.assertTrue(seen[p], p) end
    local report = net:certify(x, y, { eps = { 0.02, 0.1 } })
    lu.assertTrue(report.clean > 0.95)
    lu.assertTrue(report.certified[0.02] > 0.8)
    local balls = net:certify(x, y, { eps = { 0.02, 0.1 }, method = "local", box = { 0, 1.3 } })
    lu.assertStrContains(balls.reason, "interval arithmetic alone: the layer 'linf_dist'")
    for i = 1, 90 do lu.assertTrue(balls.radii:get(i) >= report.radii:get(i)) end
    local more = net:certify(x, y, { eps = 0.3, method = "local", proved = true })
    lu.assertTrue(more.proved:get(1, 2) > -inf)
    local attacked = lip.attack(net, x, lip.tensor(y), { eps = 0.1 })
    lu.assertTrue(attacked.robust >= balls.certified[0.1])
  end
end

-- Exponent and running means are weights: kept by a file, copied back, and no optimiser moves them.
function T.test_checkpoints_keep_the_exponent()
  local data, x = points(30, 2)
  local net = net_of(lip.linf_dist { out = 7, p = 8, shift = true }, lip.linf_dist { out = 3 }, lip.scale { factor = -1 })
  net:power(64)
  assert(lip.train(net, data, { epochs = 2, batch = 10, opt = lip.optim.adamw { lr = 0.01, weight_decay = 0.5 } }))
  lu.assertEquals(net:power(), 64)
  local means = net:parameters()[3]
  lu.assertEquals({ means.name, means.trained }, { "running_mean", false })
  lu.assertTrue(means.value:min() > 0.5)
  local path = os.tmpname()
  assert(net:save(path))
  local again = assert(lip.load(path))
  os.remove(path)
  lu.assertEquals(again:power(), 64)
  lu.assertTrue(again:forward(x):equal(net:forward(x)))
  lu.assertEquals(again:bound().upper, net:bound().upper)
end

-- Rows are independent, so one thread and several come to the same bits.
-- One output answers by its sign, balls included.
function T.test_one_output()
  local net = net_of(lip.linf_dist { out = 8 }, lip.linf_dist { out = 1 })
  net:parameters()[4].value:fill(-2.5)
  local x = lip.rand(lip.rng(8), 40, 6)
  local plain = net:certify(x, net:predict(x), { eps = 0.01 })
  local balls = net:certify(x, net:predict(x), { eps = { 0.01, 0.1 }, method = "local" })
  lu.assertTrue(plain.certified[0.01] > 0.5)
  for i = 1, 40 do lu.assertTrue(balls.radii:get(i) >= plain.radii:get(i)) end
end

function T.test_threads_do_not_matter()
  local data, result, before = points(128, 4), {}, lip.threads()
  for _, threads in ipairs { 1, 3 } do
    lip.threads(threads)
    local net = net_of(lip.linf_dist { out = 900, p = 16, shift = true }, lip.sort_neuron { out = 9 }, lip.linf_dist { out = 3 },
      lip.scale { factor = -1 })
    assert(lip.train(net, data, { epochs = 2, batch = 128, opt = lip.optim.adam { lr = 0.02 } }))
    result[#result + 1] = net:forward(lip.rand(lip.rng(5), 20, 6))
  end
  lip.threads(before)
  lu.assertTrue(result[1]:equal(result[2]))
end

return T
