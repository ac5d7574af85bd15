-- lip.attack: on linear nets the exact distance to the next class is known, elsewhere a certificate must hold.
local lu = require "luaunit"
local lip = require "lip"

local inf = math.huge
local T = {}

local methods = {}
for i, row in ipairs(lip.attacks()) do methods[i] = row.name end

local function raises(text, f, ...)
  lu.assertErrorMsgContains(text, f, ...)
end

local function dual_norm(v, p)
  local s = 0
  for _, d in ipairs(v) do
    if p == 1 then s = math.max(s, math.abs(d)) elseif p == 2 then s = s + d * d else s = s + math.abs(d) end
  end
  return p == 2 and math.sqrt(s) or s
end

-- for each row the smallest (z_y - z_j) / ||w_y - w_j||: how far it is to another class
local function distances(net, x, p)
  local W, z, out = net:weights(1):totable(), net:forward(x):totable(), {}
  for i, logits in ipairs(z) do
    local y, least = 1, inf
    for j = 2, #logits do if logits[j] > logits[y] then y = j end end
    for j = 1, #logits do
      if j ~= y then
        local d = {}
        for k = 1, #W[y] do d[k] = W[y][k] - W[j][k] end
        least = math.min(least, (logits[y] - logits[j]) / dual_norm(d, p))
      end
    end
    out[i] = least
  end
  return out
end

function T.test_linear_nets_break_just_beyond_the_exact_distance()
  local net = lip.net { input = 20, norm = 2, budget = inf, seed = 3, lip.dense { out = 4 } }
  local x = lip.randn(lip.rng(7), 20, 20)
  for _, p in ipairs { 1, 2, inf } do
    local exact = distances(net, x, p)
    for _, method in ipairs(methods) do
      -- 40 equal steps of 2.5/40 eps on a sphere end within acos(1 - 0.0135) of the top (tan(t/2) shrinks by e^-2.5)
      local beyond = method == "pgd" and p == 2 and 1.1 or 1.01
      for i = 1, 20 do
        local one = x:slice(1, i, i)
        local hit = lip.attack(net, one, { method = method, p = p, eps = exact[i] * beyond })
        lu.assertEquals(hit.success, 1, method .. p)
        lu.assertTrue(hit.distance[1] <= exact[i] * beyond and hit.distance[1] > exact[i] * (1 - 1e-4))
        lu.assertEquals(net:predict(hit.adversarial)[1], hit.found[1])
        lu.assertNotEquals(hit.found[1], hit.labels[1])
        lu.assertEquals(lip.attack(net, one, { method = method, p = p, eps = exact[i] * (1 - 1e-4) }).success, 0)
      end
    end
  end
end

-- a net trained for a moment, and the points it was trained on
local function trained(norm, activation, seed)
  local train = lip.data.digits { n = 200, seed = seed }
  local net = lip.net { input = { 1, 28, 28 }, norm = norm, budget = 4, seed = seed, lip.flatten {},
    lip.dense { out = 32 }, lip[activation] {}, lip.dense { out = 32 }, lip[activation] {}, lip.dense { out = 10 } }
  assert(lip.train(net, train, { epochs = 8, batch = 20, seed = seed, verbose = false,
    loss = lip.loss.cross_entropy { temperature = 0.1 }, opt = lip.optim.adam { lr = 3e-3 } }))
  return net, train
end

local function exact_distance(a, b, p)
  local s, x, y = 0, a:flatten():totable(), b:flatten():totable()
  for k = 1, #x do
    local d = math.abs(x[k] - y[k]) -- float32 numbers of like size: no rounding
    if p == inf then s = math.max(s, d) else s = s + d ^ p end
  end
  return p == 2 and math.sqrt(s) or s
end

-- Each point is attacked at its own certified radius; and at a multiple of it points are found that are what is said.
function T.test_trained_nets_keep_what_is_certified()
  local seed = 0
  for norm, p in pairs { [1] = 1, [2] = 2, inf = inf } do
    for _, activation in ipairs { "relu", "maxmin" } do
      seed = seed + 1
      local net, data = trained(norm, activation, seed)
      local c = net:certify(data, { eps = 0, method = "best", seconds = 0.5, limit = 25 })
      lu.assertTrue(c.clean > 0.6, activation .. norm)
      local tried = 0
      for i = 1, 25 do
        if c.radii[i] > 0 then
          local x = data:batch(i, i)
          for _, method in ipairs { "fgsm", "apgd" } do
            local r = lip.attack(net, x, { method = method, eps = c.radii[i], box = { 0, 1 }, steps = method == "apgd" and 30 or nil })
            lu.assertEquals({ r.clean, r.success, r.robust }, { 1, 0, 1 })
            lu.assertTrue(r.distance[1] <= c.radii[i])
            lu.assertTrue(r.margins[1] <= c.margins[i] and r.margins[1] > 0)
          end
          tried = tried + 1
        end
      end
      lu.assertTrue(tried >= 10)
      local middle = c.radii:sort()[13]
      local last = 1
      for _, method in ipairs(methods) do
        local eps = 4 * middle
        local r = lip.attack(net, data, { method = method, eps = eps, box = { 0, 1 }, limit = 25 })
        lu.assertAlmostEquals(r.robust + r.success, r.clean, 1e-12)
        lu.assertEquals(r.p, p == inf and "inf" or tostring(p))
        local labels, x = net:predict(r.adversarial), data:batch(1, 25)
        for i = 1, 25 do
          local point, distance = r.adversarial:select(1, i), exact_distance(r.adversarial:select(1, i), x:select(1, i), p)
          lu.assertEquals(labels[i], r.found[i])
          lu.assertTrue(distance <= r.distance[i] * (1 + 1e-15) and r.distance[i] <= eps)
          lu.assertTrue(r.distance[i] <= distance * (1 + 1e-12))
          lu.assertTrue(point:min() >= 0 and point:max() <= 1)
          if r.broken[i] == 1 then lu.assertTrue(r.found[i] ~= r.labels[i] and r.margins[i] <= 0 and distance > c.radii[i]) end
        end
        if method == "fgsm" or method == "apgd" then
          lu.assertTrue(r.robust <= last) -- apgd begins with the point of fgsm
          last = r.robust
        end
      end
      lu.assertTrue(last < c.clean)
    end
  end
end

local function report_of(r)
  return { r.adversarial, lip.tensor(r.distance), r.margins, r.found, r.broken }
end

local function same(a, b)
  for i = 1, #a do if not a[i]:equal(b[i]) then return false end end
  return true
end

function T.test_the_same_bits_for_any_threads_and_batches()
  local net, data = trained(2, "maxmin", 9)
  local before, first = lip.threads(), nil
  for _, p in ipairs { 1, 2, inf } do
    local function run(threads, batch, seed, method)
      lip.threads(threads)
      return report_of(lip.attack(net, data, { p = p, eps = p == inf and 0.05 or 1, method = method or "apgd", restarts = 2, targets = 2,
        steps = 12, box = { 0, 1 }, limit = 70, batch = batch, seed = seed }))
    end
    first = run(1, 256)
    lu.assertTrue(same(run(2, 256), first))
    lu.assertTrue(same(run(3, 17), first))
    lu.assertFalse(same(run(2, 256, 5, "pgd"), run(2, 256, 6, "pgd"))) -- random starts
  end
  lip.threads(before)
end

function T.test_what_stands_still_and_what_is_not_a_number()
  local net = lip.net { input = 3, norm = 2, budget = inf, lip.dense { out = 2, bias = false } }
  net:weights(1):copy { { 1, 0, 0 }, { 0, 1, 0 } }
  local x = lip.tensor { { 1, 0.5, 0 }, { 0, 1, 0 }, { 0 / 0, 0, 0 }, { inf, 0, 0 }, { 0.5, 0.5, 0 } }
  for _, p in ipairs { 1, 2, inf } do
    for _, method in ipairs(methods) do
      local r = lip.attack(net, x, { 0, 0, 0, 0, 0 }, { method = method, p = p, eps = 0 })
      lu.assertEquals({ r.n, r.clean, r.success, r.robust }, { 5, 0.4, 0, 0.4 })
      lu.assertEquals(r.distance, { 0, 0, 0, 0, 0 })
      r = lip.attack(net, x, { 0, 0, 0, 0, 0 }, { method = method, p = p, eps = 2 })
      lu.assertEquals({ r.clean, r.success, r.robust }, { 0.4, 0.4, 0 }) -- rows 1 and 5; 2 is wrong, 3 and 4 no numbers
      lu.assertEquals(r.broken:totable(), { 1, 0, 0, 0, 1 })
      lu.assertEquals(r.labels[3], -1)
    end
  end
  -- without labels the executed ones count
  lu.assertEquals(lip.attack(net, x:slice(1, 1, 2), { eps = 1e-3 }).clean, 1)
  -- a net that answers NaN is not robust: relu drops it on the way in, the large weights bring it back
  local wild = lip.net { input = 1, norm = 2, budget = inf, lip.dense { out = 2, bias = false } }
  wild:weights(1):copy { { 3e38 }, { 2e38 } }
  local odd = lip.net { input = 1, norm = 2, budget = inf, lip.dense { out = 2 }, lip.dense { out = 2 } }
  odd:weights(1):copy { { 1e38 }, { -1e38 } }
  odd:weights(2):copy { { 1, 1 }, { -1, -1 } }
  odd:bias(2):copy { 1, 0 }
  for _, n in ipairs { wild, odd } do
    local r = lip.attack(n, lip.tensor { { 1 } }, { 0 }, { eps = 8, p = 2 })
    lu.assertAlmostEquals(r.clean, r.robust + r.success, 0)
    lu.assertEquals(n:predict(r.adversarial)[1], r.found[1])
    lu.assertEquals(r.success, r.found[1] ~= 0 and 1 or 0)
  end
end

-- float32 cannot tell most of these inputs from their neighbours: the ball holds few points, and only those count
function T.test_balls_below_the_spacing_of_floats()
  local net = lip.net { input = 4, norm = 2, budget = inf, seed = 2, lip.dense { out = 3 } }
  local x = lip.randn(lip.rng(3), 30, 4):mul_(1000)
  for _, p in ipairs { 1, 2, inf } do
    for _, eps in ipairs { 1e-9, 1e-5, 1e-4 } do
      local r = lip.attack(net, x, { p = p, eps = eps, steps = 10, restarts = 2 })
      for i = 1, 30 do lu.assertTrue(exact_distance(r.adversarial:select(1, i), x:select(1, i), p) <= eps) end
    end
  end
end

function T.test_dropout_and_training_go_on_undisturbed()
  local function run(with)
    local net = lip.net { input = 5, norm = 2, budget = 3, seed = 4, lip.dense { out = 16 }, lip.relu {},
      lip.dropout { rate = 0.4 }, lip.dense { out = 3 } }
    local opt, loss = lip.optim.adam { lr = 0.01 }, lip.loss.cross_entropy()
    local x, y = lip.randn(lip.rng(1), 12, 5), { 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2 }
    for _ = 1, 5 do
      net:step(x, y, opt, loss)
      if with then
        local r = lip.attack(net, x, y, { eps = 0.5, steps = 5 })
        lu.assertEquals(net:predict(r.adversarial), r.found:totable())
      end
    end
    return net:weights(1):totable()
  end
  lu.assertEquals(run(true), run(false))
end

-- a view may change the weights between two attacks without anybody saying so
function T.test_views_of_weights()
  local net = lip.net { input = 3, norm = 2, budget = inf, seed = 1, lip.dense { out = 3 } }
  local x, w = lip.randn(lip.rng(1), 5, 3), net:weights(1)
  lip.attack(net, x, { eps = 1e-3 })
  w:mul_(-1)
  local r = lip.attack(net, x, { eps = 1e-3 })
  w:mul_(1)
  lu.assertEquals(r.labels:totable(), net:predict(x))
end

function T.test_targets_and_restarts()
  local net, data = trained("inf", "relu", 12)
  local function robust(options)
    options.eps, options.limit, options.steps = 0.15, 60, 8
    return lip.attack(net, data, options)
  end
  local one, all = robust { targets = 1 }, robust { targets = "all" }
  for i = 1, 60 do lu.assertTrue(all.broken[i] >= one.broken[i]) end
  lu.assertTrue(same(report_of(robust { targets = 9 }), report_of(all)))
  lu.assertTrue(same(report_of(robust { targets = 100 }), report_of(all)))
  local more = robust { restarts = 3, targets = "untargeted" }
  local once = robust { restarts = 1, targets = "untargeted" }
  for i = 1, 60 do lu.assertTrue(more.broken[i] >= once.broken[i] and (once.broken[i] == 1 or more.margins[i] <= once.margins[i])) end
  lu.assertTrue(once.success > 0)
end

function T.test_misuse_is_named()
  local net = lip.net { input = 3, norm = 2, lip.dense { out = 2 } }
  local x = lip.zeros(2, 3)
  local function refused(text, options)
    options.eps = options.eps or 0.1
    raises(text, lip.attack, net, x, options)
  end
  raises("option 'eps' is required", lip.attack, net, x, {})
  for _, bad in ipairs { -1, inf, 0 / 0, "a", {} } do refused("option 'eps'", { eps = bad }) end
  for _, bad in ipairs { 0, -1, inf, {} } do refused("option 'step' ", { step = bad }) end
  refused("unknown option 'epsilon'", { epsilon = 1 })
  refused("option 'method' is one of fgsm, bim, pgd, apgd; got cw", { method = "cw" })
  for _, bad in ipairs { 3, "2->inf", {}, -inf } do refused("option 'p'", { p = bad }) end
  for _, bad in ipairs { 0, 1.5, "some", {} } do refused("option 'targets'", { targets = bad }) end
  for _, bad in ipairs { 1, {}, { 0 }, { "0", 1 } } do refused("option 'box'", { box = bad }) end
  refused("from <= to", { box = { 1, 0 } })
  refused("option 'box' expects two numbers or tensors {from, to}, element 2", { box = { 0, 0 / 0 } })
  refused("row 1 holds 0, outside of the box", { box = { 0.5, 1 } })
  refused("one step", { method = "fgsm", steps = 2 })
  refused("nothing to attack", { limit = 0 })
  refused("nothing to attack", { batch = 0 })
  refused("restarts", { restarts = 0 })
  raises("do not fit", lip.attack, net, lip.zeros(2, 4), { eps = 1 })
  raises("features", lip.attack, net, lip.dataset_tensors(lip.zeros(2, 4)), { eps = 1 })
  for _, bad in ipairs { 1, "x", {}, true, print } do
    lu.assertError(lip.attack, bad, x, { eps = 1 })
    lu.assertError(lip.attack, net, bad, { eps = 1 })
    if type(bad) ~= "table" then lu.assertError(lip.attack, net, x, nil, bad) end
  end
end

return T
