-- Specifications of outputs in net:certify, lip.verify and lip.attack; proved margins; net:ranges and net:jacobian.
local lu = require "luaunit"
local lip = require "lip"
local tests = {}

local function small(seed, out)
  return lip.net { input = { 5 }, norm = "inf", seed = seed, lip.dense { out = 12 }, lip.relu(), lip.dense { out = 12 },
    lip.maxmin(), lip.dense { out = out or 4 } }
end

-- Rows z_y - z_j, one for each other class.
local function margins_of(y, classes)
  local C = {}
  for j = 0, classes - 1 do
    if j ~= y then
      local row = {}
      for k = 0, classes - 1 do row[k + 1] = k == y and 1 or k == j and -1 or 0 end
      C[#C + 1] = row
    end
  end
  return C
end

function tests.test_margins_as_rows_give_the_label()
  local net, x = small(3), lip.rand(lip.rng(1), 30, 5)
  local eps = { 0.003, 0.01, 0.03, 0.1 }
  for _, p in ipairs { 1, 2, "inf" } do
    local labels = net:predict(x)
    local top = net:certify(x, nil, { method = "local", p = p, eps = eps, global = "product", spec = { top = 1 } })
    local plain = net:certify(x, nil, { method = "local", p = p, eps = eps, global = "product" })
    for i = 1, 30 do
      local rows = net:certify(x:select(1, i), nil, { method = "local", p = p, eps = eps,
        spec = { C = margins_of(labels[i], 4) } })
      lu.assertEquals(top.reached:totable()[i], plain.reached:totable()[i])
      lu.assertTrue(rows.reached:totable()[1] <= top.reached:totable()[i]) -- constants may add to it
      lu.assertNil(rows.pairs)
    end
    lu.assertTrue(top.certified[0.003] > 0.5 and top.clean == 1)
  end
end

-- Brute force over a grid of a net of two inputs: no verdict contradicts it.
function tests.test_verdicts_against_a_grid()
  local function inputs(x, eps)
    local rows = {}
    for i = 0, 20 do
      for k = 0, 20 do rows[#rows + 1] = { x[1] + eps * (i / 10 - 1) * 0.9999, x[2] + eps * (k / 10 - 1) * 0.9999 } end
    end
    return lip.tensor(rows)
  end
  local specs = {
    { holds = function(z) return z[1] - z[2] + 0.1 > 0 and z[3] + 0.4 > 0 end,
      spec = { C = { { 1, -1, 0 }, { 0, 0, 1 } }, d = { 0.1, 0.4 } } },
    { holds = function(z) return z[1] > 0 or z[2] > 0.1 end,
      spec = { C = { { 1, 0, 0 }, { 0, 1, 0 } }, d = { 0, -0.1 }, any = true } },
    { holds = function(z)
      for k = 1, 3 do if not (z[k] > -0.3 and z[k] < 0.35) then return false end end
      return true
    end, spec = { between = { -0.3, 0.35 } } },
    { holds = function(z) return z[2] < 0.3 and (z[1] > 0 and 1 or 0) + (z[2] > 0 and 1 or 0) + (z[3] > 0 and 1 or 0) >= 2 end,
      spec = { { between = { { -math.huge, -math.huge, -math.huge }, { math.huge, 0.3, math.huge } } },
        { C = { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } }, need = 2 } } },
  }
  local seen = {}
  for seed = 1, 6 do
    local net = lip.net { input = { 2 }, norm = 2, seed = seed, init = "on_ball", budget = 3, lip.dense { out = 10 },
      lip.relu(), lip.dense { out = 3 } }
    local points = lip.rand(lip.rng(seed), 12, 2)
    for s, one in ipairs(specs) do
      for _, eps in ipairs { 0.02, 0.1, 0.3 } do
        local v = lip.verify(net, points, { eps = eps, p = "inf", spec = one.spec })
        lu.assertAlmostEquals(v.verified + v.violated + v.unproven, 1, 1e-12)
        for i, x in ipairs(points:totable()) do
          local all = true
          for _, z in ipairs(net:forward(inputs(x, eps)):totable()) do all = all and one.holds(z) end
          local verdict = v.verdicts[i]
          seen[verdict] = (seen[verdict] or 0) + 1
          if verdict == "verified" then lu.assertTrue(all, ("spec %d, seed %d, row %d, eps %g"):format(s, seed, i, eps)) end
          if not all then lu.assertNotEquals(verdict, "verified") end
        end
        for k, row in ipairs(v.rows) do
          local point = v.adversarial:select(1, k):totable()
          lu.assertFalse(one.holds(net:forward(v.adversarial):totable()[k]))
          for c, value in ipairs(point) do
            lu.assertTrue(math.abs(value - points:totable()[row][c]) <= eps)
          end
        end
      end
    end
  end
  for _, verdict in ipairs { "verified", "violated" } do lu.assertTrue((seen[verdict] or 0) > 100, verdict) end
end

function tests.test_labels_and_targets()
  local net, x = small(5), lip.rand(lip.rng(2), 60, 5)
  local y = net:predict(x)
  local function verdicts(spec, labels)
    return lip.verify(net, x, labels or y, { eps = 0.05, spec = spec })
  end
  local label, last = verdicts(nil), 0
  for k = 1, 3 do -- the more that may be above, the more is verified
    local top = verdicts { top = k }
    if k == 1 then lu.assertEquals(top.verdicts, label.verdicts) end
    lu.assertTrue(top.verified >= last)
    last = top.verified
  end
  for j = 0, 3 do
    local target = verdicts { target = j }
    for i, one in ipairs(target.verdicts) do
      if label.verdicts[i] == "verified" then lu.assertEquals(one, "verified") end
      if y[i] == j then lu.assertEquals(one, label.verdicts[i]) end
    end
  end
  -- about the label of the data, not the net's
  local wrong = {}
  for i, label_ in ipairs(y) do wrong[i] = (label_ + 1) % 4 end
  lu.assertEquals(verdicts({ top = 1 }, wrong).violated, 1)
  lu.assertEquals(verdicts({ top = 1 }, wrong).clean, 0)
end

function tests.test_one_output()
  local net = lip.net { input = { 3 }, norm = 2, seed = 1, lip.dense { out = 8 }, lip.relu(), lip.dense { out = 1 } }
  local x = lip.rand(lip.rng(3), 20, 3)
  local z = net:forward(x):totable()
  local least, most = math.huge, -math.huge
  for _, row in ipairs(z) do least, most = math.min(least, row[1]), math.max(most, row[1]) end
  local wide = lip.verify(net, x, { eps = 0.01, spec = { between = { least - 1, most + 1 } } })
  lu.assertEquals(wide.verified, 1)
  local narrow = lip.verify(net, x, { eps = 0.01, spec = { between = { least, most } } }) -- both ends are attained
  lu.assertTrue(narrow.violated >= 2 / 20 and narrow.clean < 1)
  local hit = lip.attack(net, x, nil, { eps = 1, spec = { C = { { -1 } }, d = most + 0.01 } })
  lu.assertEquals(hit.clean, 1)
  lu.assertTrue(hit.success > 0)
end

function tests.test_proved_margins()
  local net, x = small(7), lip.rand(lip.rng(4), 20, 5)
  local report = net:certify(x, nil, { method = "local", eps = 0.05, proved = true, global = "product" })
  lu.assertEquals(report.proved:shape(), { 20, 4 })
  local labels, low = report.labels:totable(), report.proved:totable()
  for i, row in ipairs(low) do
    local all = true
    for j = 0, 3 do
      if j == labels[i] then lu.assertEquals(row[j + 1], 0) else all = all and row[j + 1] > 0 end
    end
    if all then lu.assertEquals(report.reached:totable()[i], 1) end
    local shifted = lip.rand(lip.rng(i), 50, 5):mul(0.0998):add(-0.0499)
    for k = 1, 50 do shifted:select(1, k):add_(x:select(1, i)) end
    for _, z in ipairs(net:forward(shifted):totable()) do
      for j = 0, 3 do lu.assertTrue(row[j + 1] <= z[labels[i] + 1] - z[j + 1] + 1e-6) end
    end
  end
  local rows = net:certify(x, nil, { method = "local", eps = 0.05, proved = true, spec = { C = lip.zeros(130, 4), d = 1 } })
  lu.assertEquals(rows.proved:shape(), { 20, 130 })
  lu.assertEquals(rows.reached:totable()[1], 1)
  lu.assertAlmostEquals(rows.proved:min(), 1, 1e-6)
end

function tests.test_ranges_hold_what_is_sampled()
  local net = small(9, 3)
  local x = lip.rand(lip.rng(5), 1, 5)
  local r, plain = net:ranges(x, 0.1, { box = { 0, 1 } }), net:ranges(x, 0.1, { box = { 0, 1 }, relaxed = false })
  lu.assertEquals({ r.units[1].layer, r.units[1].kind, r.units[2].layer, r.units[2].kind }, { 2, "relu", 4, "maxmin" })
  lu.assertEquals(r.units[1].low:shape(), { 12 })
  lu.assertEquals(r.low:shape(), { 3 })
  local low, high, wide = r.low:totable(), r.high:totable(), plain.low:totable()
  for k = 1, 3 do lu.assertTrue(wide[k] <= low[k] and low[k] < high[k]) end
  local still = net:ranges(x, 0.1, { scale = lip.zeros(1, 5) }) -- one point alone
  local z = net:forward(x):totable()[1]
  for k = 1, 3 do
    lu.assertTrue(still.low:totable()[k] <= z[k] and z[k] <= still.high:totable()[k])
    lu.assertTrue(still.high:totable()[k] - still.low:totable()[k] < 1e-4)
  end
  local points = lip.rand(lip.rng(6), 400, 5):mul(0.2):add(-0.1)
  for k = 1, 400 do points:select(1, k):add_(x:select(1, 1)) end
  points = points:clamp(0, 1)
  for _, z in ipairs(net:forward(points):totable()) do
    for k = 1, 3 do lu.assertTrue(low[k] <= z[k] and z[k] <= high[k]) end
  end
end

-- Every entry says which layer takes its values; what is folded away is not listed.
function tests.test_units_name_their_layers()
  local function named(x, layers)
    layers.norm, layers.budget, layers.seed = 2, 8, 1
    local list = {}
    for i, u in ipairs(lip.net(layers):ranges(x, 0.1).units) do
      list[i] = ("%d %s %d"):format(u.layer, u.kind, u.low:shape()[1])
      lu.assertTrue((u.high - u.low):min() >= 0)
    end
    return table.concat(list, ", ")
  end
  local x = lip.rand(lip.rng(12), 1, 4)
  lu.assertEquals(named(x, { input = { 4 }, lip.dense { out = 3 } }), "")
  lu.assertEquals(named(x, { input = { 4 }, lip.dense { out = 3 }, lip.tanh() }), "2 tanh 3")
  lu.assertEquals(named(x, { input = { 4 }, lip.standardise { mean = 0.3, std = 0.4 }, lip.dense { out = 6 }, lip.relu(),
    lip.dense { out = 2 } }), "3 relu 6")
  lu.assertEquals(named(lip.rand(lip.rng(13), 1, 1, 6, 6), { input = { 1, 6, 6 }, lip.conv2d { channels = 3, kernel = 3 },
    lip.relu(), lip.max_pool2d { kernel = 2 }, lip.flatten(), lip.dense { out = 3 } }),
    "2 relu 48, 3 max_pool2d 48, 3 max_pool2d 24")
  lu.assertEquals(named(x, { input = { 4 }, lip.concat { lip.chain { lip.dense { out = 3 }, lip.relu() }, lip.chain {} },
    lip.dense { out = 4 }, lip.maxmin(), lip.dense { out = 2 } }), "1 concat 3, 3 maxmin 4")
end

function tests.test_jacobian_holds_gradients_and_signs()
  local net = small(11, 2)
  local x = lip.rand(lip.rng(7), 1, 5)
  local j = net:jacobian(x, 0.05)
  lu.assertEquals(j.low:shape(), { 2, 5 })
  local low, high = j.low:totable(), j.high:totable()
  local points = lip.rand(lip.rng(8), 100, 5):mul(0.0998):add(-0.0499)
  for k = 1, 100 do points:select(1, k):add_(x:select(1, 1)) end
  for o = 1, 2 do
    net:forward(points, { training = true })
    local dz = lip.zeros(100, 2)
    dz:select(2, o):fill(1)
    for _, g in ipairs(net:backward(dz, { input_gradient = true }):totable()) do
      for k = 1, 5 do lu.assertTrue(low[o][k] - 1e-6 <= g[k] and g[k] <= high[o][k] + 1e-6) end
    end
  end
  local still, here = net:jacobian(x, 0.05, { scale = lip.zeros(1, 5) }), net:jacobian(x, 0)
  lu.assertEquals({ still.low:totable(), still.high:totable() }, { here.low:totable(), here.high:totable() })
  for i = 1, 3 do net:weights(i):copy(net:weights(i):abs()) end
  local rises = net:jacobian(x, 10)
  lu.assertTrue(rises.low:min() >= -1e-6 and rises.high:max() < math.huge)
end

function tests.test_layers_without_a_form_say_so()
  local net = lip.net { input = { 1, 4, 4 }, norm = 2, lip.l2_pool2d { kernel = 2 }, lip.flatten(), lip.dense { out = 2 } }
  local x = lip.rand(1, 4, 4)
  for _, r in ipairs { net:ranges(x, 0.1), net:jacobian(x, 0.1) } do
    lu.assertStrContains(r.reason, "l2_pool2d")
    lu.assertEquals({ r.low:max(), r.high:min() }, { -math.huge, math.huge })
  end
  local report = net:certify(x, nil, { method = "local", eps = 0.1, proved = true, spec = { between = { -1e9, 1e9 } } })
  lu.assertStrContains(report.reason, "l2_pool2d")
  lu.assertEquals(report.proved:max(), -math.huge)
  lu.assertEquals(report.certified[0.1], 0)
end

function tests.test_misuse()
  local net, x = small(1), lip.rand(lip.rng(9), 3, 5)
  local row = { 1, 2, 3, 4 }
  local cases = {
    { { C = {} }, "C has no rows" }, { { C = lip.zeros(2, 3) }, "(m, 4), got 2x3" },
    { { C = { { 1, 2, 3, 0 / 0 } } }, "C expects finite numbers, number 4" }, { { C = { { 1, 2, 3 } } }, "expects 4 numbers, got 3" },
    { { C = { { 1, 2, 3, "4" } } }, "element 4 is the string" }, { { C = 3 }, "got the number 3" },
    { { C = row, d = { 1, 2 } }, "d expects 1 number, got 2" }, { { C = row, d = 0 / 0 }, "d expects finite numbers" },
    { { C = row, need = 2 }, "need expects" }, { { C = row, need = 0 }, "need expects" },
    { { C = row, any = true, need = 1 }, "give one of them" }, { { C = row, any = 1 }, "any" },
    { { top = 0 }, "top is a whole number from 1 to 3" }, { { top = 4 }, "from 1 to 3" }, { { top = 1.5 }, "top" },
    { { target = 4 }, "target is a class from 0 to 3" }, { { target = -1 }, "target" },
    { { target = 1, top = 1 }, "several" }, { {}, "none" }, { { top = 1, d = 3 }, "d goes with C" },
    { { between = 3 }, "between expects {low, high}" }, { { between = { 1, 0 } }, "low < high" },
    { { between = { 0 / 0, 1 } }, "low < high" }, { { between = { -math.huge, math.huge } }, "no finite side" },
    { { between = { { 1 }, 2 } }, "expects 4 numbers" }, { { foo = 1 }, "unknown option 'foo'" },
    { { { C = row }, { top = 1 } }, "stand alone" }, { { { C = row }, d = 2 }, "a list with 'd'" }, { 3, "got the number 3" },
    { { { C = row }, 4 }, "got the number 4" },
  }
  for i, case in ipairs(cases) do
    for _, call in ipairs {
      function(spec) return net:certify(x, nil, { method = "local", eps = 0.1, spec = spec }) end,
      function(spec) return lip.attack(net, x, nil, { eps = 0.1, spec = spec }) end,
      function(spec) return lip.verify(net, x, { 0, 0, 0 }, { eps = 0.1, spec = spec }) end,
    } do
      local ok, message = pcall(call, case[1])
      lu.assertFalse(ok, i)
      lu.assertStrContains(message, case[2])
    end
  end
  for _, case in ipairs {
    { { eps = 0.1, spec = { top = 1 } }, "'spec' belongs to method=\"local\"" },
    { { eps = 0.1, proved = true }, "'proved' belongs to method=\"local\"" },
    { { method = "local", eps = { 0.1, 0.2 }, proved = true }, "one size of balls" },
    { { method = "local", eps = 0.1, spec = { C = { { 1, -1, 0, 0 } } }, global = "product" }, "'global'" },
    { { method = "local", eps = 0.1, spec = { top = 1 }, table = true }, "'table'" },
  } do
    lu.assertErrorMsgContains(case[2], net.certify, net, x, nil, case[1])
  end
  lu.assertErrorMsgContains("no labels", lip.verify, net, x, { eps = 0.1, spec = { top = 1 } })
  for _, f in ipairs { "ranges", "jacobian" } do
    for _, eps in ipairs { -1, 0 / 0, math.huge, "x" } do
      lu.assertErrorMsgContains("size of the ball is a finite number", net[f], net, x:select(1, 1), eps)
    end
    lu.assertErrorMsgContains("one input, got 3", net[f], net, x, 1)
    lu.assertErrorMsgContains("'scale'", net[f], net, x:select(1, 1), 1, { scale = lip.zeros(4) })
    lu.assertErrorMsgContains("'scale'", net[f], net, x:select(1, 1), 1, { scale = 2 })
    lu.assertErrorMsgContains("from <= to", net[f], net, x:select(1, 1), 1, { box = { 1, 0 } })
  end
  lu.assertErrorMsgContains("'arithmetic'", net.ranges, net, x:select(1, 1), 1, { arithmetic = "double" })
end

-- The same numbers for any number of threads, batch and way to hand over the rows.
function tests.test_threads_and_batches()
  local net, x = small(13), lip.rand(lip.rng(10), 40, 5)
  local spec = { { C = { { 1, -1, 0, 0 }, { 0, 0, 1, -1 } }, d = { 0.02, 0.01 }, any = true }, { between = { -1, 1 } } }
  local before, all = lip.threads(), {}
  for _, n in ipairs { 1, 2, 3 } do
    lip.threads(n)
    local fresh = small(13)
    for _, batch in ipairs { 7, 512 } do
      local r = fresh:certify(lip.data.tensors(x, lip.zeros(40, 1)), { method = "local", eps = { 0.01, 0.05 }, spec = spec,
        batch = batch })
      local hit = lip.attack(fresh, x, nil, { eps = 0.05, spec = spec, batch = batch })
      all[#all + 1] = { r.radii:totable(), r.margins:totable(), r.holds:totable(), hit.margins:totable(), hit.distance }
    end
  end
  lip.threads(before)
  for i = 2, #all do lu.assertEquals(all[i], all[1]) end
  lu.assertEquals(net:certify(x, nil, { method = "local", eps = { 0.01, 0.05 }, spec = spec }).radii:totable(), all[1][1])
end

-- A NaN that gets into the weights later proves nothing, and an answer that is none breaks everything.
function tests.test_nan_never_certifies()
  local net, x = small(1), lip.rand(lip.rng(9), 3, 5)
  net:weights(3):select(1, 1):fill(0 / 0)
  for _, spec in ipairs { { between = { -1e9, 1e9 } }, { C = { 1, 0, 0, 0 }, d = 1e9 } } do
    local v = lip.verify(net, x, { eps = 0.01, spec = spec })
    lu.assertEquals({ v.verified, v.violated }, { 0, 1 })
  end
  local r = net:ranges(x:select(1, 1), 0.1)
  lu.assertEquals({ r.low:totable()[1], r.high:totable()[1] }, { -math.huge, math.huge })
end

-- The constants of the label prove what a spec asks of its margins.
function tests.test_constants_count_for_specs_about_the_label()
  local net = lip.net{ input = 6, norm = 2, budget = 1, seed = 3, lip.dense{ out = 16 }, lip.maxmin(), lip.dense{ out = 16 },
    lip.maxmin(), lip.dense{ out = 4 } }
  local x = lip.rand(lip.rng(5), 60, 6)
  local y = net:predict(x)
  local more = 0
  for _, eps in ipairs{ 0.02, 0.1, 0.3 } do
    local function certified(spec)
      return net:certify(x, y, { method = "local", global = "recursion", eps = eps, spec = spec }).certified[eps]
    end
    local label, first, second = certified(), certified{ top = 1 }, certified{ top = 2 }
    lu.assertEquals(first, label)
    lu.assertTrue(second >= first)
    more = more + second
  end
  lu.assertTrue(more > 0)
end

-- Values that no label stands for are of no interest to a spec of the outputs.
function tests.test_data_of_values()
  local net = lip.net{ input = 2, norm = 2, budget = 2, seed = 1, lip.dense{ out = 8 }, lip.relu(), lip.dense{ out = 1 } }
  local x = lip.rand(lip.rng(1), 50, 2)
  local data = lip.data.tensors(x, net:forward(x):clone())
  for _, half in ipairs{ 0.1, 0.3 } do
    local v = lip.verify(net, data, { eps = 0.2, spec = { between = { -half, half } } })
    local w = lip.verify(net, x, { eps = 0.2, spec = { between = { -half, half } } })
    lu.assertEquals(v.verdicts, w.verdicts)
  end
end

function tests.test_options_without_labels()
  local net = lip.net{ input = 2, norm = 2, seed = 1, lip.dense{ out = 3 } }
  local x = lip.rand(lip.rng(1), 5, 2)
  lu.assertEquals(net:certify(x, { method = "product" }).radii:totable(), net:certify(x, nil, { method = "product" }).radii:totable())
  lu.assertErrorMsgContains("table of 3", net.certify, net, x, { method = "local", eps = 1, box = { 0, 1, 2 } })
  lu.assertErrorMsgContains("option 'scale'", net.ranges, net, x:select(1, 1), lip.ones(2))
  lu.assertErrorMsgContains("verify: option 'steps' expects a whole number", lip.verify, net, x, net:predict(x),
    { eps = 1e-6, steps = "x" })
  lu.assertErrorMsgContains("(5 labels expected", lip.verify, net, x, lip.tensor{ 1, 0 }, { eps = 1 })
end

return tests
