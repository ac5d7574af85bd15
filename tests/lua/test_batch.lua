-- Nets with layers that see the whole batch in training: centre and batch_norm. Statistics are part of the net, bounds hold
-- for the net as used, and nothing but a step moves them.
local lu = require "luaunit"
local lip = require "lip"

local T = {}

local function net_of(norm, budget)
  return lip.net { input = 6, norm = norm, budget = budget, seed = 2, init = "he",
    lip.centre {}, lip.dense { out = 12 }, lip.batch_norm { momentum = 0.2 }, lip.maxmin {},
    lip.concat { lip.chain {}, lip.chain { lip.dense { out = 4 }, lip.batch_norm {}, lip.relu {} } },
    lip.dense { out = 3 } }
end

local function data_of(n, seed)
  local x, y = lip.randn(lip.rng(seed or 3), n, 6), {}
  local rows = x:totable()
  for i = 1, n do y[i] = rows[i][1] + rows[i][2] > 0 and 0 or rows[i][3] > 0 and 1 or 2 end
  return x, lip.tensor(y)
end

local function train(net, epochs)
  local x, y = data_of(400)
  return assert(lip.train(net, lip.data.tensors(x, y), { epochs = epochs or 12, batch = 50, seed = 1,
    opt = lip.optim.adam { lr = 0.02 }, loss = lip.loss.cross_entropy { temperature = 0.3 } })).history
end

local function statistics(net)
  local found = {}
  for _, p in ipairs(net:parameters()) do
    lu.assertEquals(p.trained, not p.name:find "^running_")
    if not p.trained then found[#found + 1] = p.value:totable() end
  end
  lu.assertEquals(#found, 5)
  return found
end

function T.test_they_learn_under_a_budget()
  for norm, budget in pairs { ["1"] = 30, ["2"] = 8, inf = 20, ["1->inf"] = 40, ["2->inf"] = 10 } do
    local net = net_of(norm, budget)
    local history = train(net)
    lu.assertTrue(history[#history].loss < 0.8 * history[1].loss, norm)
    lu.assertTrue(net:bound().upper <= budget, norm)
    lu.assertTrue(net:bound { lower = true }.lower <= net:bound().upper, norm)
    local x, y = data_of(60, 9)
    local c = net:certify(x, y, { eps = 0.01 })
    local p = tonumber(norm:match "^%d") or math.huge
    lu.assertTrue(c.certified[0.01] > 0.3, norm)
    lu.assertTrue(c.certified[0.01] <= lip.attack(net, x, y, { eps = 0.01, p = p }).robust, norm)
  end
end

function T.test_only_steps_move_the_statistics()
  local net = net_of("2", 8)
  train(net, 1)
  local before = statistics(net)
  local x, y = data_of(30)
  net:forward(x)
  net:forward(x, true)
  net:bound { lower = true, data = x }
  net:certify(x, y, { eps = 0.1 })
  lip.attack(net, x, y, { eps = 0.1 })
  lu.assertEquals(statistics(net), before)
  local opt = lip.optim.sgd { lr = 0.1 }
  local ok, _, code = net:step(lip.full({ 30, 6 }, 0 / 0), y, opt, lip.loss.cross_entropy {})
  lu.assertNil(ok)
  lu.assertEquals(code, "not_finite")
  lu.assertEquals(statistics(net), before)
  assert(net:step(x, y, opt, lip.loss.cross_entropy {}))
  local after = statistics(net)
  for i = 1, #before do lu.assertNotEquals(after[i], before[i]) end
end

-- An update by hand is refused only after `backward` has seen the batch.
function T.test_batches_that_are_not_finite_move_nothing()
  local net, opt = net_of("2", 8), lip.optim.sgd { lr = 0.1 }
  train(net, 1)
  local before, x = statistics(net), data_of(30)
  for _, value in ipairs { 0 / 0, math.huge, -math.huge } do
    x:set(17, 2, value)
    net:forward(x, true)
    net:backward(lip.full({ 30, 3 }, 1))
    local ok, _, code = net:update(opt)
    lu.assertNil(ok)
    lu.assertEquals(code, "not_finite")
    for i, row in ipairs(statistics(net)) do
      for k, v in ipairs(row) do lu.assertTrue(v == v and math.abs(v) < math.huge, ("%d, %d"):format(i, k)) end
    end
    lu.assertEquals(statistics(net)[1][2], before[1][2])
    before = statistics(net)
  end
  local wide = lip.net { input = 2, norm = "2", seed = 1, lip.batch_norm {}, lip.dense { out = 2 } }
  wide:forward(lip.tensor { { 1e25, 1 }, { -1e25, 2 } }, true) -- its variance is no float32
  wide:backward(lip.full({ 2, 2 }, 1))
  lu.assertEquals(wide:parameters()[4].value:totable(), { 1, lip.tensor { 0.9 + 0.1 * 0.5 }:totable()[1] })
end

function T.test_as_used_rows_do_not_see_each_other()
  local net = net_of("2", 8)
  train(net, 2)
  local x = data_of(37)
  local all = net:forward(x):totable()
  for i, row in ipairs(x:totable()) do lu.assertEquals(net:forward(lip.tensor { row }):totable()[1], all[i]) end
end

function T.test_statistics_are_saved_and_a_run_goes_on()
  local path = os.tmpname()
  local a, opt = net_of("2", 8), lip.optim.adam { lr = 0.01 }
  local x, y = data_of(80)
  for _ = 1, 3 do assert(a:step(x, y, opt, lip.loss.cross_entropy {})) end
  for _, with in ipairs { false, true } do -- without an optimiser too: they belong to the net
    assert(a:save(path, { optimizer = with and opt or nil }))
    local b, saved = assert(lip.load(path))
    lu.assertEquals(statistics(b), statistics(a))
    lu.assertEquals(b:forward(x):totable(), a:forward(x):totable())
    lu.assertEquals(b:bound().upper, a:bound().upper)
    if with then
      for _ = 1, 2 do
        assert(a:step(x, y, opt, lip.loss.cross_entropy {}))
        assert(b:step(x, y, saved, lip.loss.cross_entropy {}))
      end
      lu.assertEquals(b:forward(x):totable(), a:forward(x):totable())
      lu.assertEquals(statistics(b), statistics(a))
    end
  end
  os.remove(path)
end

function T.test_pieces_are_the_step()
  local x, y = data_of(64)
  local a, b = net_of("2", 8), net_of("2", 8)
  local loss = lip.loss.cross_entropy {}
  local opt_a, opt_b = lip.optim.sgd { lr = 0.1, momentum = 0.9 }, lip.optim.sgd { lr = 0.1, momentum = 0.9 }
  for _ = 1, 3 do
    assert(a:step(x, y, opt_a, loss))
    local _, dz = loss:gradient(b:forward(x, true), y)
    b:backward(dz)
    assert(opt_b:step(b))
    b:project()
  end
  lu.assertAlmostEquals(a:forward(x):totable()[1][1], b:forward(x):totable()[1][1], 1e-3)
  for i, row in ipairs(statistics(a)) do
    for k, v in ipairs(row) do lu.assertAlmostEquals(v, statistics(b)[i][k], 1e-4) end
  end
end

function T.test_statistics_are_no_parameters_to_train()
  local net = lip.net { input = { 3, 4, 4 }, norm = "inf", seed = 1, lip.centre {}, lip.batch_norm {}, lip.flatten {},
    lip.dense { out = 2 }, lip.centre { mode = "trained" } }
  lu.assertEquals(net:info().parameters, 2 * 3 + 2 * 48 + 2 + 2)
  lu.assertErrorMsgContains("sees the whole batch", lip.net,
    { input = 4, norm = "2", lip.anchor { lip.dense { out = 4 }, lip.batch_norm {} } })
  lu.assertErrorMsgContains("momentum", lip.batch_norm, { momentum = 2 })
  lu.assertErrorMsgContains("running", lip.centre, { mode = "median" })
end

return T
