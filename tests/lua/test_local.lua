-- What is proved near a point: method="local" of net:certify and net:bound, and lip.verify.
local lu = require "luaunit"
local lip = require "lip"

local inf = math.huge
local T = {}

local function raises(text, f, ...)
  lu.assertErrorMsgContains(text, f, ...)
end

local function small(norm, activation, seed, depth)
  local layers = { input = 6, norm = norm, seed = seed or 1, init = "he" }
  for _ = 1, depth or 2 do
    layers[#layers + 1] = lip.dense { out = 8 }
    layers[#layers + 1] = activation
  end
  layers[#layers + 1] = lip.dense { out = 3 }
  return lip.net(layers)
end

local activations = { lip.relu(), lip.leaky_relu { slope = 0.1 }, lip.abs(), lip.maxmin(), lip.groupsort { size = 4 },
  lip.tanh(), lip.softplus() }

-- a net that has learnt something, so that margins are wide
local trained
local function digits()
  if not trained then
    local train, test = lip.data.digits { n = 1500, seed = 1 }, lip.data.digits { n = 60, seed = 2 }
    trained = { test = test }
    for _, kind in ipairs { "relu", "maxmin" } do
      local net = lip.net { input = train:info().shape or { 1, 28, 28 }, norm = 2, budget = 4, seed = 3,
        lip.flatten(), lip.dense { out = 32 }, lip[kind](), lip.dense { out = 32 }, lip[kind](),
        lip.dense { out = 10 } }
      assert(lip.train(net, train, { epochs = 4, batch = 50, seed = 1, opt = lip.optim.adam { lr = 3e-3 },
        loss = lip.loss.cross_entropy { temperature = 0.2 } }))
      trained[kind] = net
    end
  end
  return trained
end

-- ---- certify ----

function T.test_more_is_proved_than_by_constants()
  local d = digits()
  for _, kind in ipairs { "relu", "maxmin" } do
    for _, p in ipairs { 1, 2, inf } do
      local eps = ({ [1] = { 0.2, 0.8 }, [2] = { 0.05, 0.2 }, [inf] = { 0.002, 0.01 } })[p]
      local before = d[kind]:certify(d.test, { eps = eps, p = p })
      local after = assert(d[kind]:certify(d.test, { eps = eps, p = p, method = "local", box = { 0, 1 } }))
      lu.assertEquals(after.method, "local")
      lu.assertEquals(after.clean, before.clean)
      for _, e in ipairs(eps) do lu.assertTrue(after.certified[e] >= before.certified[e]) end
      if p == inf then lu.assertTrue(after.certified[0.01] > before.certified[0.01] + 0.1) end
      for i = 1, after.n do
        lu.assertTrue(after.radii[i] >= before.radii[i])
        lu.assertTrue(after.reached[i] >= before.reached[i])
      end
    end
  end
end

function T.test_no_attack_gets_through()
  local d = digits()
  for _, kind in ipairs { "relu", "maxmin" } do
    for _, p in ipairs { 1, 2, inf } do
      local eps = ({ [1] = 1, [2] = 0.3, [inf] = 0.02 })[p]
      for _, box in ipairs { false, { 0, 1 } } do
        local c = d[kind]:certify(d.test, { eps = eps, p = p, method = "local", box = box or nil })
        local a = assert(lip.attack(d[kind], d.test, { eps = eps, p = p, box = box or nil, steps = 20 }))
        for i = 1, c.n do lu.assertFalse(c.reached[i] == 1 and a.broken[i] == 1) end
      end
    end
  end
end

function T.test_samples_of_the_ball_keep_the_label()
  local rng = lip.rng(4)
  for k, activation in ipairs(activations) do
    local net = small("inf", activation, k)
    local x = lip.randn(rng, 20, 6)
    local c = net:certify(x, nil, { method = "local", eps = { 0.01, 0.05, 0.2 }, halvings = 4 })
    local some = false
    for i = 1, 20 do
      local r, from, rows = c.radii[i], x:select(1, i):totable(), {}
      some = some or r > 0.01
      for n = 1, 50 do
        rows[n] = {}
        for j = 1, 6 do rows[n][j] = from[j] + (rng:uniform() < 0.5 and -r or r) * (1 - 1e-6) end
      end
      for _, label in ipairs(net:predict(lip.tensor(rows))) do lu.assertEquals(label, c.labels[i]) end
    end
    lu.assertTrue(some)
  end
end

-- one dense layer: the bound is the exact distance to the nearest boundary
function T.test_radius_of_a_linear_net_is_found()
  local net = lip.net { input = 2, norm = 2, lip.dense { out = 2, bias = false } }
  net:weights(1):copy { { 3, 4 }, { 0, 0 } } -- margin 3 a + 4 b, slope 5, 7, 4 in norms 2, inf, 1
  local x = lip.tensor { { 1, 0.5 } }        -- margin 5
  for p, exact in pairs { [1] = 5 / 4, [2] = 1, [inf] = 5 / 7 } do
    local c = net:certify(x, nil, { method = "local", p = p, eps = { 1e-3, 4 }, halvings = 40 })
    lu.assertTrue(c.radii[1] < exact and c.radii[1] > exact * (1 - 1e-5))
    lu.assertEquals(c.reached[1], 1)
  end
  -- with a box the boundary may be out of reach: inputs in [0.5, 2] have a margin of at least 3.5
  local c = net:certify(x, nil, { method = "local", eps = 1e6, box = { 0.5, 2 } })
  lu.assertEquals(c.radii[1], 1e6)
  -- a row outside of the box is not cut by it
  c = net:certify(x, nil, { method = "local", eps = 1e6, box = { 0.6, 2 } })
  lu.assertTrue(c.radii[1] < 1.1)
end

function T.test_ties_and_what_is_not_finite()
  local net = small("2", lip.relu())
  local x = lip.tensor { { 0 / 0, 0, 0, 0, 0, 0 }, { inf, 0, 0, 0, 0, 0 }, { 1, 1, 1, 1, 1, 1 } }
  local c = net:certify(x, nil, { method = "local", eps = { 0, 1e-9, inf } })
  lu.assertEquals({ c.radii[1], c.radii[2] }, { 0, 0 })
  lu.assertEquals({ c.reached[1], c.reached[2] }, { 0, 0 })
  lu.assertTrue(c.reached[3] <= 2) -- never infinity
  local flat = lip.net { input = 2, norm = 2, lip.dense { out = 2 } }
  flat:weights(1):fill(1)
  c = flat:certify(lip.tensor { { 1, 2 } }, nil, { method = "local", eps = { 0, 1e-30 } })
  lu.assertEquals(c.radii[1], 0)
  lu.assertEquals(c.reached[1], 0)
  -- layers without this form: only the constants speak
  local skip = lip.residual { lip.conv2d { channels = 1, kernel = 1 }, lip.l2_pool2d { kernel = 1 } }
  local other = lip.net { input = { 1, 2, 2 }, norm = 2, budget = 1, skip, lip.flatten(), lip.dense { out = 2 } }
  local y = lip.randn(lip.rng(1), 5, 4)
  local near = other:certify(y, nil, { method = "local", eps = 1 })
  lu.assertEquals(near.radii:totable(), other:certify(y).radii:totable())
end

function T.test_batches_do_not_matter()
  local d = digits()
  local a = d.relu:certify(d.test, { method = "local", p = inf, eps = { 0.005, 0.01 }, halvings = 2 })
  local b = d.relu:certify(d.test, { method = "local", p = inf, eps = { 0.01, 0.005 }, halvings = 2, batch = 7 })
  lu.assertEquals(a.radii:totable(), b.radii:totable())
  lu.assertEquals(a.certified, b.certified)
end

-- the sizes that are tried begin at the radius of the constants, so they differ by up to 0.01 / 2^8
function T.test_real_arithmetic_proves_no_less()
  local d = digits()
  local a = d.relu:certify(d.test, { method = "local", p = inf, eps = 0.01, halvings = 8 })
  local b = d.relu:certify(d.test, { method = "local", p = inf, eps = 0.01, halvings = 8, arithmetic = "real" })
  for i = 1, a.n do lu.assertAlmostEquals(b.radii[i], a.radii[i], 1e-4 + 0.05 * a.radii[i]) end
end

-- ---- constants of a ball ----

function T.test_constants_of_a_ball()
  local rng = lip.rng(6)
  for k, activation in ipairs(activations) do
    for _, p in ipairs { 1, 2, inf } do
      local net = small(tostring(p == inf and "inf" or p), activation, k)
      local global = net:bound { method = "best", pairs = true }
      local x = lip.randn(rng, 1, 6)
      local last = 0
      for _, eps in ipairs { 0, 0.01, 0.3, 100 } do
        local b = net:bound { method = "local", x = x, eps = eps, pairs = true }
        lu.assertEquals(b.method, "local")
        lu.assertTrue(b.upper <= global.upper * (1 + 1e-3))
        lu.assertTrue(b.upper >= last * (1 - 1e-3)) -- larger balls, larger constants
        last = b.upper
        -- quotients of pairs in the ball
        local from, rows = x:totable()[1], {}
        for n = 1, 40 do
          rows[n] = {}
          for j = 1, 6 do rows[n][j] = from[j] + (rng:uniform() * 2 - 1) * eps / 6 end
        end
        local z, y = net:forward(lip.tensor(rows)):totable(), lip.tensor(rows):totable()
        for n = 2, eps > 0 and 40 or 0 do
          local num, den, pair = 0, 0, math.abs((z[n][1] - z[n][2]) - (z[n - 1][1] - z[n - 1][2]))
          for j = 1, 3 do
            local v = math.abs(z[n][j] - z[n - 1][j])
            num = p == inf and math.max(num, v) or num + v ^ p
          end
          for j = 1, 6 do
            local v = math.abs(y[n][j] - y[n - 1][j])
            den = p == inf and math.max(den, v) or den + v ^ p
          end
          if p == 2 then num, den = num ^ 0.5, den ^ 0.5 end
          local off = 1e-4 * den + 1e-5 -- float32 forward passes
          lu.assertTrue(num <= b.upper * den + off)
          lu.assertTrue(pair <= b.pairs:get(1, 2) * den + off)
        end
      end
      -- at the point itself it is the slope there, at least when the net is linear around it
      if k <= 3 and p ~= 2 then
        local point = net:bound { method = "local", x = x, eps = 0 }.upper
        lu.assertTrue(point <= global.upper * (1 + 1e-6))
      end
    end
  end
end

-- ---- verify ----

function T.test_three_verdicts()
  local d = digits()
  local x, y = d.test:batch(1, 40)
  for _, kind in ipairs { "relu", "maxmin" } do
    for _, p in ipairs { 1, 2, inf } do
      local eps = ({ [1] = 4, [2] = 0.6, [inf] = 0.04 })[p]
      local net = d[kind]
      local r = assert(lip.verify(net, d.test, { eps = eps, p = p, box = { 0, 1 }, steps = 20, limit = 40 }))
      lu.assertEquals(r.n, 40)
      lu.assertAlmostEquals(r.verified + r.violated + r.unproven, 1, 1e-12)
      lu.assertTrue(r.violated >= 1 - r.clean)
      local count = { verified = 0, violated = 0, unproven = 0 }
      for i = 1, 40 do count[r.verdicts[i]] = count[r.verdicts[i]] + 1 end
      lu.assertAlmostEquals(count.verified / 40, r.verified, 1e-12)
      lu.assertAlmostEquals(count.violated / 40, r.violated, 1e-12)
      for k, row in ipairs(r.rows) do
        lu.assertEquals(r.verdicts[row], "violated")
        lu.assertNotEquals(net:predict(r.adversarial:select(1, k))[1], y[row])
      end
      -- the same from tensors
      local again = lip.verify(net, x, y, { eps = eps, p = p, box = { 0, 1 }, steps = 20 })
      lu.assertEquals(again.verdicts, r.verdicts)
      local listed = lip.verify(net, x, y:totable(), { eps = eps, p = p, box = { 0, 1 }, steps = 20 })
      lu.assertEquals(listed.verdicts, r.verdicts)
      local quick = lip.verify(net, x, y, { eps = eps, p = p, box = { 0, 1 }, attack = false })
      lu.assertEquals(quick.verified, r.verified)
      lu.assertEquals(quick.rows, {})
    end
  end
end

-- ---- misuse ----

function T.test_misuse_is_named()
  local net = small("2", lip.relu())
  local x = lip.zeros(2, 6)
  raises("option 'eps' expects them", net.certify, net, x, nil, { method = "local" })
  raises("belongs to method=\"local\"", net.certify, net, x, nil, { box = { 0, 1 } })
  raises("belongs to method=\"local\"", net.certify, net, x, nil, { halvings = 3 })
  raises("belongs to method=\"local\"", net.bound, net, { eps = 1 })
  raises("belongs to method=\"local\"", net.bound, net, { x = x })
  raises("option 'box' expects", net.certify, net, x, nil, { method = "local", eps = 1, box = 3 })
  raises("element 2", net.certify, net, x, nil, { method = "local", eps = 1, box = { 0 } })
  raises("from <= to", net.certify, net, x, nil, { method = "local", eps = 1, box = { 1, 0 } })
  raises("element 1", net.certify, net, x, nil, { method = "local", eps = 1, box = { 0 / 0, 0 } })
  raises("option 'global'", net.certify, net, x, nil, { method = "local", eps = 1, global = "greedy" })
  raises("at most 60", net.certify, net, x, nil, { method = "local", eps = 1, halvings = 61 })
  raises("option 'x', a tensor", net.bound, net, { method = "local", eps = 1 })
  raises("expects one input", net.bound, net, { method = "local", eps = 1, x = x })
  raises("option 'eps'", net.bound, net, { method = "local", x = lip.zeros(6) })
  raises("option 'eps'", net.bound, net, { method = "local", x = lip.zeros(6), eps = -1 })
  raises("option 'eps' is required", lip.verify, net, x, { 0, 1 }, {})
  raises("has no labels", lip.verify, net, lip.data.tensors(x), { eps = 1 })
  raises("has no labels", lip.verify, net, x, { eps = 1 })
  raises("option 'attack' expects false or one of", lip.verify, net, x, { 0, 1 }, { eps = 0, attack = "typo" })
end

return T
