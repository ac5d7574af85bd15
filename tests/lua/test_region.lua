-- Balls with a scale, and boxes with limits of their own for each input: certify, bound, verify, attack.
local lu = require "luaunit"
local lip = require "lip"

local inf = math.huge
local T = {}

local function raises(text, f, ...)
  lu.assertErrorMsgContains(text, f, ...)
end

local function small(seed, activation)
  return lip.net { input = 4, norm = 2, seed = seed, init = "he", lip.dense { out = 8 }, activation or lip.relu(),
    lip.dense { out = 8 }, activation or lip.relu(), lip.dense { out = 3 } }
end

-- margin 3 a + 4 b
local function line()
  local net = lip.net { input = 2, norm = 2, lip.dense { out = 2, bias = false } }
  net:weights(1):copy { { 3, 4 }, { 0, 0 } }
  return net
end

local function radius(net, x, options)
  options.method, options.halvings = "local", 40
  return net:certify(x, nil, options).radii[1]
end

-- of a linear net: margin 5 at x, which falls by eps times the dual norm of (3 s_1, 4 s_2)
function T.test_scaled_radii_of_a_linear_net()
  local net, x = line(), lip.tensor { { 1, 0.5 } }
  local s = lip.tensor { 0.5, 2 }
  for p, exact in pairs { [1] = 5 / 8, [2] = 5 / math.sqrt(1.5 ^ 2 + 64), [inf] = 5 / 9.5 } do
    local r = radius(net, x, { p = p, eps = { 1e-3, 4 }, scale = s })
    lu.assertTrue(r < exact and r > exact * (1 - 1e-5))
  end
  -- an input that stays where it is
  for p = 1, 2 do
    local r = radius(net, x, { p = p, eps = { 1e-3, 4 }, scale = lip.tensor { 1, 0 } })
    lu.assertTrue(r < 5 / 3 and r > 5 / 3 * (1 - 1e-5))
  end
  -- all stay: any size is proved
  lu.assertEquals(radius(net, x, { eps = 1e6, scale = lip.zeros(2) }), 1e6)
end

-- eps as a tensor is a scale of size 1
function T.test_a_tensor_as_eps()
  local net, x = line(), lip.tensor { { 1, 0.5 } }
  local c = net:certify(x, { 0 }, { method = "local", eps = lip.tensor { 0.7, 0.7 } }) -- slope 5: falls by 3.5
  lu.assertEquals(c.certified[1], 1)
  lu.assertAlmostEquals(c.radii[1], 1 / 0.7, 1e-3) -- what the constants say, in the units of the scale
  c = net:certify(x, { 0 }, { method = "local", eps = lip.tensor { 1.1, 1.1 }, global = "product" })
  lu.assertEquals(c.certified[1], 0)
  lu.assertTrue(c.radii[1] < 1 and c.radii[1] > 0.9)
  lu.assertEquals(c.region, "scaled l_2 balls")
end

-- margin 3 a + 4 b over the ball of 1 around (1, 0.5): with b held at 0.2 at least it falls to 3 (1 - sqrt(1 - 0.09)) + 0.8
function T.test_ball_and_box_together()
  local net, x = line(), lip.tensor { { 1, 0.5 } }
  local from, to = lip.tensor { -10, 0.2 }, lip.tensor { inf, 10 }
  -- the boundary 3 a + 4 b = 0 with b >= 0.2 is nearest at (-0.8 / 3, 0.2)
  local exact = math.sqrt((1 + 0.8 / 3) ^ 2 + 0.3 ^ 2)
  local r = radius(net, x, { eps = { 1e-3, 4 }, box = { from, to } })
  lu.assertTrue(r < exact and r > exact * (1 - 1e-5))
  lu.assertEquals(net:certify(x, nil, { method = "local", eps = 1, box = { from, to } }).region,
    "l_2 balls cut with the box")
  -- numbers and tensors mix
  lu.assertAlmostEquals(radius(net, x, { eps = { 1e-3, 4 }, box = { from, inf } }), r, 1e-6)
  -- in norm 1: 0.3 down along b brings 1.2, the rest along a
  r = radius(net, x, { p = 1, eps = { 1e-3, 4 }, box = { from, to } })
  exact = 0.3 + 3.8 / 3
  lu.assertTrue(r < exact and r > exact * (1 - 1e-5))
end

-- random points of scaled balls in boxes, and attacks, against what is proved
function T.test_nothing_gets_through()
  local rng, proved, beyond = lip.rng(3), 0, 0
  for seed = 1, 6 do
    local net = small(seed, ({ lip.relu(), lip.maxmin(), lip.abs() })[seed % 3 + 1])
    local x = lip.randn(rng, 12, 4)
    local s = { 1, 0.25, 0, 3 }
    local low, high = {}, {}
    for k = 1, 4 do
      low[k], high[k] = -inf, inf
      if k % 2 == 1 then low[k], high[k] = -4, 4 end
    end
    local box = { lip.tensor(low), lip.tensor(high) }
    for _, p in ipairs { 1, 2, inf } do
      local c = net:certify(x, nil, { method = "local", p = p, eps = { 0.05, 0.2 }, halvings = 6, scale = lip.tensor(s),
        box = box })
      local before = net:certify(x, nil, { method = "local", p = p, eps = { 0.05, 0.2 }, halvings = 6,
        scale = lip.tensor(s) })
      for i = 1, 12 do
        local r, one = c.radii[i], x:select(1, i):reshape(1, 4)
        lu.assertTrue(r >= before.radii[i] * (1 - 0.02)) -- other sizes are tried
        proved = proved + (r > 0 and 1 or 0)
        if r > 0 then
          local a = assert(lip.attack(net, one, { eps = r, p = p, scale = lip.tensor(s), box = box, steps = 20 }))
          lu.assertEquals(a.broken[1], 0)
          lu.assertTrue(a.distance[1] <= r)
          -- a good deal farther out some are found
          a = lip.attack(net, one, { eps = 20 * r + 1, p = p, scale = lip.tensor(s), box = box, steps = 20 })
          beyond = beyond + a.broken[1]
          lu.assertEquals(a.adversarial[1][3], x[i][3])
          lu.assertTrue(a.adversarial[1][1] <= 4 and a.adversarial[1][1] >= -4)
        end
      end
    end
  end
  lu.assertTrue(proved > 200 and beyond > 100)
end

-- a scale of one number is another size
function T.test_equal_scales_are_sizes()
  local net, x = small(2), lip.randn(lip.rng(1), 10, 4)
  local two = lip.zeros(4):fill(2)
  for _, p in ipairs { 1, 2, inf } do
    local a = lip.attack(net, x, { eps = 1, p = p, scale = two })
    local b = lip.attack(net, x, { eps = 2, p = p })
    lu.assertAlmostEquals(a.success, b.success, 0.11)
    for i = 1, 10 do lu.assertTrue(a.distance[i] <= 1) end
    local near = net:bound { method = "local", p = p, x = lip.ones(4), eps = 0.1, scale = two }
    local plain = net:bound { method = "local", p = p, x = lip.ones(4), eps = 0.2 }
    lu.assertAlmostEquals(near.upper, plain.upper, 1e-9 * plain.upper)
    lu.assertEquals(net:bound { method = "local", p = p, x = lip.ones(4), eps = lip.zeros(4):fill(0.2) }.upper,
      net:bound { method = "local", p = p, x = lip.ones(4), eps = 1, scale = lip.zeros(4):fill(0.2) }.upper)
  end
end

-- values and derivatives: of an input that is held nothing is lost
function T.test_ranges_and_jacobian_take_both()
  local net, x = line(), lip.tensor { 1, 0.5 }
  local s = lip.tensor { 2, 0 }
  local r = net:ranges(x, 1, { p = 2, scale = s })
  lu.assertAlmostEquals(r.low[1], 5 - 6, 1e-5)
  lu.assertAlmostEquals(r.high[1], 5 + 6, 1e-5)
  r = net:ranges(x, 1, { p = 2, scale = s, box = { 0, lip.tensor { 1.5, 9 } } })
  lu.assertAlmostEquals(r.low[1], 2, 1e-5)
  lu.assertAlmostEquals(r.high[1], 6.5, 1e-5)
  -- relu that is off at x and stays off while only the other input moves
  local bent = lip.net { input = 2, norm = 2, lip.dense { out = 1, bias = false }, lip.relu(),
    lip.dense { out = 1, bias = false } }
  bent:weights(1):copy { { 1, -1 } }
  bent:weights(2):fill(1)
  local j = bent:jacobian(lip.tensor { 0, 1 }, 0.5, { p = 2, scale = lip.tensor { 1, 4 } })
  lu.assertAlmostEquals(j.low[1][1], 0, 1e-6)
  lu.assertAlmostEquals(j.high[1][1], 1, 1e-6)
  j = bent:jacobian(lip.tensor { 0, 1 }, 0.5, { p = 2, scale = lip.tensor { 1, 0 } })
  lu.assertAlmostEquals(j.low[1][1], 0, 1e-6)
  lu.assertAlmostEquals(j.high[1][1], 0, 1e-6)
  raises("ranges: option 'scale' expects finite numbers >= 0", net.ranges, net, x, 1, { scale = lip.tensor { 1, -1 } })
  raises("jacobian: option 'scale' expects a tensor", net.jacobian, net, x, 1, { scale = 2 })
end

function T.test_verify_passes_all_of_it_on()
  local net, x = line(), lip.tensor { { 1, 0.5 }, { -1, 1 } } -- margins 5 and 1
  local s = lip.tensor { 1, 0 }
  local r = assert(lip.verify(net, x, { 0, 0 }, { eps = 0.5, scale = s, box = { -inf, lip.tensor { 9, 9 } } }))
  lu.assertEquals(r.verdicts, { "verified", "violated" })
  lu.assertEquals({ r.adversarial[1][1] < -4 / 3, r.adversarial[1][2] }, { true, 1 })
  lu.assertEquals(r.region, "scaled l_2 balls cut with the box")
  r = assert(lip.verify(net, x, { 0, 0 }, { eps = lip.tensor { 0.3, 0 } }))
  lu.assertEquals({ r.verdicts, r.eps }, { { "verified", "verified" }, 1 })
  -- the box keeps the second from falling
  r = assert(lip.verify(net, x, { 0, 0 }, { eps = 0.5, scale = s, box = { lip.tensor { -1.2, 0 }, 9 } }))
  lu.assertEquals(r.verdicts, { "verified", "verified" })
end

function T.test_misuse_is_named()
  local net, x = small(1), lip.zeros(1, 4)
  local function certify(text, options)
    options.method = options.method or "local"
    raises(text, net.certify, net, x, { 0 }, options)
  end
  local s = lip.ones(4)
  certify("option 'scale' belongs to method=\"local\"", { method = "product", eps = 1, scale = s })
  certify("option 'eps' expects numbers >= 0, got", { method = "product", eps = s })
  certify("option 'scale' expects a tensor of one input, got", { eps = 1, scale = 3 })
  certify("option 'scale' expects a tensor of one input, got", { eps = 1, scale = { 1, 1, 1, 1 } })
  certify("option 'scale': inputs do not fit the net", { eps = 1, scale = lip.ones(3) })
  certify("option 'scale' expects tensors of one input, got 2", { eps = 1, scale = lip.ones(2, 4) })
  certify("options 'eps' and 'scale' are both tensors", { eps = s, scale = s })
  certify("method 'local' tries balls of given sizes", { scale = s })
  for _, bad in ipairs { -1, inf, 0 / 0 } do
    certify("option 'scale' expects finite numbers >= 0, number 2", { eps = 1, scale = lip.tensor { 1, bad, 1, 1 } })
    certify("option 'eps' expects finite numbers >= 0, number 2", { eps = lip.tensor { 1, bad, 1, 1 } })
    raises("attack: option 'scale' expects finite numbers >= 0, number 2", lip.attack, net, x,
      { eps = 1, scale = lip.tensor { 1, bad, 1, 1 } })
  end
  certify("option 'box': inputs do not fit the net", { eps = 1, box = { 0, lip.ones(5) } })
  certify("from <= to, number 3", { eps = 1, box = { 0, lip.tensor { 1, 1, -1, 1 } } })
  certify("option 'box': number 4 of element 1 is nan", { eps = 1, box = { lip.tensor { 0, 0, 0, 0 / 0 }, 1 } })
  raises("outside of the box", function()
    assert(lip.attack(net, x, { eps = 1, box = { lip.tensor { 0, 0, 1, 0 }, 2 } }))
  end)
  raises("bound: option 'scale' belongs to method=\"local\"", net.bound, net, { scale = s })
  raises("option 'eps', a number >= 0 or a tensor", net.bound, net, { method = "local", x = s, scale = s })
  raises("verify: option 'eps' is required", lip.verify, net, x, { 0 }, { scale = s })
end

return T
