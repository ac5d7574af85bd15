-- Nets with branches: built, trained under a budget, saved, loaded, certified; what does not fit is refused on the caller's
-- line. The mathematics is tested in tests/c/test_branches.c.
local lu = require "luaunit"
local lip = require "lip"

local inf = math.huge
local T = {}

local function net_of(norm, budget)
  return lip.net { input = 6, norm = norm, budget = budget, seed = 2, init = "he",
    lip.concat { lip.chain {}, lip.chain { lip.dense { out = 8 }, lip.maxmin {} }, lip.dense { out = 2 } },
    lip.sum { weights = { 0.5, -1 }, lip.dense { out = 10 }, lip.chain { lip.dense { out = 4 }, lip.tanh {}, lip.dense { out = 10 } } },
    lip.dense { out = 3 } }
end

local function anchored(norm, budget)
  return lip.net { input = { 1, 2, 3 }, norm = norm, budget = budget, seed = 2, init = "he",
    lip.anchor { at = lip.full({ 1, 2, 3 }, 0.25), value = { 1, 0, -1 },
      lip.flatten {}, lip.dense { out = 12 }, lip.maxmin {}, lip.dense { out = 3 } } }
end

local function data_of(n)
  local x, y, rows = lip.rand(lip.rng(3), n, 6), {}, nil
  rows = x:totable()
  for i = 1, n do y[i] = rows[i][1] + rows[i][2] > 1 and 0 or rows[i][3] > 0.5 and 1 or 2 end
  return x, lip.tensor(y)
end

local function train(net)
  local x, y = data_of(300)
  local result = assert(lip.train(net, lip.data.tensors(x, y), { epochs = 15, batch = 50, seed = 1,
    opt = lip.optim.adam { lr = 0.02 }, loss = lip.loss.cross_entropy { temperature = 0.2 } }))
  return result.history[1].loss, result.history[15].loss
end

function T.test_they_learn_under_a_budget()
  for norm, budget in pairs { ["1"] = 30, ["2"] = 8, inf = 20, ["1->inf"] = 30, ["2->inf"] = 8, ["1->2->inf"] = 30 } do
    local net = net_of(norm, budget)
    local first, last = train(net)
    lu.assertTrue(last < 0.8 * first, norm)
    local upper = net:bound().upper
    lu.assertTrue(upper <= budget and upper > 0.3 * budget, norm)
    lu.assertTrue(net:bound { lower = true }.lower <= upper, norm)
    local x, y = data_of(60)
    local c = net:certify(x, y, { eps = 1e-3 })
    lu.assertTrue(c.certified[1e-3] > 0.4 and c.certified[1e-3] <= c.clean, norm)
  end
end

function T.test_they_are_saved_and_go_on()
  local path = os.tmpname()
  local a = net_of("2", 8)
  train(a)
  local opt = lip.optim.adam { lr = 0.01 }
  local x, y = data_of(40)
  assert(a:step(x, y, opt, lip.loss.cross_entropy()))
  assert(a:save(path, { optimizer = opt }))
  local b, saved = assert(lip.load(path))
  lu.assertEquals(b:forward(x):totable(), a:forward(x):totable())
  lu.assertEquals(b:bound().upper, a:bound().upper)
  lu.assertEquals(tostring(b), tostring(a))
  for _ = 1, 2 do
    assert(a:step(x, y, opt, lip.loss.cross_entropy()))
    assert(b:step(x, y, saved, lip.loss.cross_entropy()))
  end
  lu.assertEquals(b:forward(x):totable(), a:forward(x):totable())
  local names = {}
  for _, array in ipairs(assert(lip.inspect(path)).arrays) do names[array.name] = array.shape end
  lu.assertEquals(names["1.concat.2.chain.1.dense.weight"], { 8, 6 })
  lu.assertEquals(names["1.concat.3.chain.1.dense.weight"], { 2, 6 }) -- a layer alone is a chain of one
  os.remove(path)
end

function T.test_an_anchor_keeps_its_point_in_training()
  local path = os.tmpname()
  for norm, budget in pairs { ["2"] = 6, inf = 20, ["1->inf"] = 30 } do
    local net = anchored(norm, budget)
    local x, y = data_of(200)
    local history = assert(lip.train(net, lip.data.tensors(x:reshape(200, 1, 2, 3), y), { epochs = 10, batch = 40, seed = 1,
      opt = lip.optim.adam { lr = 0.02 }, loss = lip.loss.cross_entropy { temperature = 0.2 } })).history
    lu.assertTrue(history[10].loss < 0.8 * history[1].loss)
    lu.assertEquals(net:forward(lip.full({ 1, 1, 2, 3 }, 0.25)):totable(), { { 1, 0, -1 } })
    lu.assertTrue(net:bound().upper <= budget)
    assert(net:save(path))
    lu.assertEquals(assert(lip.load(path)):forward(x:reshape(200, 1, 2, 3)):totable(), net:forward(x:reshape(200, 1, 2, 3)):totable())
  end
  os.remove(path)
end

function T.test_an_anchor_certifies_what_it_executes()
  local net = anchored("2", 6)
  local x, y = data_of(80)
  x = x:reshape(80, 1, 2, 3)
  local c = net:certify(x, y, { eps = 0.02 })
  local attack = lip.attack(net, x, y, { eps = 0.02, p = 2 })
  lu.assertTrue(c.certified[0.02] > 0 and c.certified[0.02] <= attack.robust)
  lu.assertTrue(net:bound { lower = true }.lower <= net:bound().upper)
end

-- Nothing inside can shrink: the share goes to those that can.
function T.test_without_weights_they_take_no_share()
  local function upper(budget, ...)
    local net = lip.net { input = 6, norm = "2", budget = budget, seed = 1, init = "he", ... }
    assert(net:project())
    return net:bound().upper, net:weighted()
  end
  for _, layer in ipairs { lip.chain {}, lip.residual { lip.relu {} }, lip.sum { weights = 0.5, lip.relu {}, lip.chain {} },
    lip.anchor { lip.relu {} }, lip.concat { lip.chain { lip.chain {} }, lip.relu {} } } do
    for _, budget in ipairs { 0.1, 1, 16 } do
      local reached, n = upper(budget, layer, lip.dense { out = 6 }, layer, lip.dense { out = 2 })
      lu.assertEquals(n, 2)
      lu.assertTrue(reached <= budget and reached > 0.99 * math.min(budget, 1), ("%g of %g"):format(reached, budget))
    end
  end
end

-- Large enough to be divided; whether it was, tests/lua/test_threads.lua looks at for every kind.
function T.test_threads_change_nothing()
  local before, first = lip.threads(), nil
  local x = lip.randn(lip.rng(1), 203, 1, 8, 8)
  local y = {}
  for i = 1, 203 do y[i] = i % 5 end
  for _, n in ipairs { 1, 2, 4 } do
    lip.threads(n)
    local net = lip.net { input = { 1, 8, 8 }, norm = "2", budget = 30, seed = 3, init = "he",
      lip.anchor { at = 0.5, lip.conv2d { channels = 6, padding = 1 }, lip.relu {}, lip.conv2d { channels = 4 }, lip.flatten {},
        lip.concat { lip.dense { out = 96 }, lip.chain { lip.dense { out = 64 }, lip.maxmin {}, lip.dense { out = 64 } } } },
      lip.sum { lip.chain { lip.dense { out = 160 }, lip.maxmin {} }, lip.chain {} }, lip.dense { out = 5 } }
    local opt, loss, got = lip.optim.adam { lr = 0.01 }, lip.loss.cross_entropy {}, {}
    for _ = 1, 3 do got[#got + 1] = assert(net:step(x, lip.tensor(y), opt, loss)) end
    got[#got + 1] = net:forward(x):totable()
    for _, p in ipairs(net:parameters()) do got[#got + 1] = p.value:flatten():totable() end
    first = first or got
    lu.assertTrue(#got > 12)
    for i, v in ipairs(got) do lu.assertEquals(v, first[i], ("%d threads"):format(n)) end
  end
  lip.threads(before)
end

function T.test_images_are_joined_by_channels()
  local net = lip.net { input = { 2, 4, 4 }, norm = "inf", budget = 4, seed = 1,
    lip.concat { lip.conv2d { channels = 3, padding = 1 }, lip.chain {} }, lip.flatten {}, lip.dense { out = 2 } }
  local joined = lip.net { input = { 2, 4, 4 }, norm = "inf", seed = 1, lip.concat { lip.relu {}, lip.chain {} } }
  lu.assertStrContains(tostring(net), "5x4x4")
  local x = lip.randn(lip.rng(5), 1, 2, 4, 4)
  local y, flat = joined:forward(x):reshape(64):totable(), x:reshape(32):totable()
  for i = 1, 32 do
    lu.assertEquals(y[i], math.max(flat[i], 0))
    lu.assertEquals(y[32 + i], flat[i])
  end
  lu.assertEquals(joined:bound().upper, 1)
end

-- What walks them is recursive, and no stack is endless.
function T.test_nesting_has_an_end()
  local layer, depth, ok, message = lip.dense { out = 4 }, 0, true, nil
  while ok and depth < 2000 do
    local inside = layer
    ok, message = pcall(function() return lip.residual { inside } end)
    if ok then layer, depth = message, depth + 1 end
  end
  lu.assertFalse(ok)
  lu.assertEquals(depth, 1000)
  lu.assertStrContains(message, "residual: cannot hold layers that are nested 1000 deep")
  lu.assertErrorMsgContains("nested 1000 deep", lip.net, { input = 4, norm = "2", seed = 1, layer })
  local net = lip.net { input = 4, norm = "2", seed = 1, budget = 2, layer:children()[1] }
  lu.assertEquals(net:forward(lip.zeros(1, 4)):shape(), { 1, 4 })
  lu.assertTrue(net:bound().upper <= 2)
end

function T.test_what_does_not_fit_is_refused()
  local function refused(text, layer, options)
    local t = { input = 6, norm = "2", seed = 1, layer }
    for k, v in pairs(options or {}) do t[k] = v end
    local ok, message = pcall(lip.net, t)
    lu.assertFalse(ok)
    for _, part in ipairs(text) do lu.assertStrContains(message, part) end
  end
  refused({ "layer 1 (concat)", "no branches", "chain{}" }, lip.concat {})
  refused({ "layer 1 (sum)", "branch 1 gives 6", "branch 2 4" }, lip.sum { lip.chain {}, lip.dense { out = 4 } })
  refused({ "layer 1 (concat)", "2x3x3", "flatten" }, lip.concat { lip.chain {}, lip.flatten {} }, { input = { 2, 3, 3 } })
  refused({ "layer 1 (sum)", "branch 2: layer 1 (conv2d)", "got 6" },
    lip.sum { lip.relu {}, lip.conv2d { channels = 2 } })
  refused({ "layer 1 (sum)", "3 numbers", "2 branches" }, lip.sum { weights = { 1, 2, 3 }, lip.relu {}, lip.abs {} })
  refused({ "layer 1 (sum)", "budget is 1", "fixed constant 1", "raise the budget" },
    lip.sum { lip.chain {}, lip.dense { out = 6 } }, { budget = 1 })
  refused({ "layer 1 (anchor)", "'at' has 4 numbers", "2x3x3 has 18" }, lip.anchor { at = lip.zeros(2, 2), lip.relu {} },
    { input = { 2, 3, 3 } })
  refused({ "layer 1 (anchor)", "no layers" }, lip.anchor { at = 1 })
  refused({ "layer 1 (residual)", "the input alone has 1", "lower alpha" }, lip.residual { alpha = 1, lip.dense { out = 6 } },
    { budget = 0.1 })
  lu.assertErrorMsgContains("element 1 is not a layer but the number 5", lip.concat, { 5 })
  lu.assertErrorMsgContains("weights", lip.concat, { weights = { 1 } })
  lu.assertErrorMsgContains("expects a list of numbers", lip.sum, { weights = "many", lip.relu {} })
end

return T
