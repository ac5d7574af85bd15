-- net:bound and net:certify from the Lua side: numbers known by hand, counting, misuse, life time.
local lu = require "luaunit"
local lip = require "lip"

local inf = math.huge
local T = {}

local function raises(text, f, ...)
  lu.assertErrorMsgContains(text, f, ...)
end

-- two logits of one dense layer: row differences (2, 2, -4), so the constants are 4, sqrt 24 and 8 for p = 1, 2, inf
local function linear(norm)
  local net = lip.net {input = 3, norm = norm, budget = inf, lip.dense {out = 2, bias = false}}
  net:weights(1):copy {{1, 2, -2}, {-1, 0, 2}}
  return net
end

local function small(norm, seed)
  return lip.net {
    input = 5, norm = norm, budget = 2, seed = seed or 1,
    lip.dense {out = 8}, lip.maxmin {}, lip.dense {out = 4},
  }
end

-- ---- bound ----

function T.test_bound_of_known_weights()
  for norm, want in pairs {["inf"] = 5, ["1"] = 4, ["1->inf"] = 2, ["2->inf"] = 3} do
    local b = linear(norm):bound()
    lu.assertTrue(b.upper >= want)
    lu.assertAlmostEquals(b.upper, want, 1e-12)
    lu.assertEquals(b.method, "product")
    lu.assertNil(b.lower)
    lu.assertNil(b.slack)
    lu.assertNil(b.unknown)
    lu.assertEquals(#b.layers, 1)
    lu.assertEquals(b.layers[1].kind, "dense")
    lu.assertEquals(b.layers[1].budget, inf)
    lu.assertEquals(b.layers[1].step, b.pq)
  end
end

function T.test_bound_keeps_the_budget()
  for _, norm in ipairs {"1", "2", "inf", "1->inf", "1->2", "2->inf"} do
    local net = small(norm)
    local b = net:bound {lower = true}
    lu.assertTrue(b.upper <= 2)
    lu.assertAlmostEquals(b.slack, b.upper / 2, 1e-15)
    lu.assertTrue(b.lower > 0 and b.lower <= b.upper)
    lu.assertEquals(#b.layers, 3)
    local product = 1
    for _, row in ipairs(b.layers) do product = product * row.upper end
    lu.assertAlmostEquals(b.upper, product, 1e-12)
  end
end

function T.test_bound_in_another_norm()
  local net = linear "inf"
  lu.assertAlmostEquals(net:bound {p = 1}.upper, 4, 1e-12)
  lu.assertAlmostEquals(net:bound {p = inf}.upper, 5, 1e-12)
  lu.assertAlmostEquals(net:bound {p = "1->inf"}.upper, 2, 1e-12)
  lu.assertEquals(net:bound {p = "1->inf"}.pq, "1->inf")
  lu.assertTrue(net:bound {p = 2}.upper >= 3)
end

function T.test_lower_bound_from_data()
  local net = linear "2"
  local exact = math.sqrt(7 + math.sqrt(29)) -- W W' = {{9, -5}, {-5, 5}}
  local x = lip.rand(lip.rng(3), 40, 3)
  for _, data in ipairs {x, lip.dataset_tensors(x)} do
    local b = net:bound {lower = true, data = data, points = 20}
    lu.assertTrue(b.lower <= exact and b.lower > 0.99 * exact)
    lu.assertTrue(b.upper >= exact)
  end
end

-- every method, every pair: attained from below, proved from above, rounded outwards on the way to float32
function T.test_methods_enclose_what_is_attained()
  local names = {}
  for _, m in ipairs(lip.bound_methods()) do
    names[#names + 1] = m.name
    lu.assertEquals(type(m.help), "string")
  end
  lu.assertEquals(names[1], "product")
  lu.assertEquals(names[#names], "best")
  for _, norm in ipairs {"1", "2", "inf"} do
    local net = small(norm)
    local x = lip.randn(lip.rng(2), 30, 5)
    local low = net:bound {lower = true, pairs = true, data = x}
    local attained = low.lower_pairs:totable()
    for _, name in ipairs(names) do
      local b = lip.bound(net, {method = name, pairs = true, lower = true, data = x, points = 10})
      lu.assertTrue(b.upper >= low.lower)
      if b.upper < inf then lu.assertEquals(b.tightness, b.lower / b.upper) end
      lu.assertTrue(b.seconds >= 0)
      for i, row in ipairs(b.pairs:totable()) do
        for j, v in ipairs(row) do lu.assertTrue(v >= attained[i][j]) end
      end
      if name == "exact" then lu.assertTrue(low.lower > 0.8 * b.upper) end
    end
    lu.assertNil(net:bound {lower = true}.lower_pairs)
    lu.assertNil(net:bound().pairs)
    lu.assertTrue(net:bound {method = "best"}.upper <= net:bound().upper)
  end
end

function T.test_methods_that_are_not_there()
  local net = small "2"
  for _, name in ipairs {"nothing", "", 5, {}} do
    raises("product, abs, exact", net.bound, net, {method = name})
    raises("best", net.certify, net, lip.zeros(1, 5), nil, {method = name})
  end
  raises("'lower'", net.bound, net, {method = "local", x = lip.zeros(5), eps = 0.1, lower = true})
end

function T.test_bound_prints_a_table()
  local text = tostring(small("inf"):bound {lower = true})
  for _, word in ipairs {"dense", "maxmin", "inf->inf", "of the budget", "attained from below"} do
    lu.assertStrContains(text, word)
  end
  local b = small("inf"):bound()
  b.layers, b.upper, b.pq = 5, "x", {}
  lu.assertEquals(type(tostring(b)), "string")
  b = small("inf"):bound()
  b.layers[1] = {kind = {}, step = false}
  b.layers[2] = 7
  lu.assertStrContains(tostring(b), "?")
end

function T.test_weights_that_are_not_numbers()
  local net = linear "inf"
  net:weights(1):fill(0 / 0)
  local b = net:bound()
  lu.assertEquals(b.upper, inf)
  lu.assertEquals(b.unknown, "dense")
  lu.assertStrContains(tostring(b), "unknown")
  local c = net:certify(lip.zeros(2, 3), {0, 1}, {eps = {0, 0.1}})
  lu.assertEquals(c.labels:totable(), {-1, -1})
  lu.assertEquals(c.radii:totable(), {0, 0})
  lu.assertEquals({c.clean, c.certified[0], c.certified[0.1]}, {0, 0, 0})
end

-- ---- arithmetic ----

function T.test_arithmetics()
  local net, x = small("2", 3), lip.rand(5, {20, 5})
  local plain, tight = net:certify(x), net:certify(x, nil, {tight = true})
  local wide, real = net:certify(x, nil, {arithmetic = "double"}), net:certify(x, nil, {arithmetic = "real"})
  lu.assertEquals({plain.arithmetic, wide.arithmetic, real.arithmetic}, {"float32", "double", "real"})
  lu.assertEquals(wide.labels:totable(), net:predict(x, {arithmetic = "double"}))
  lu.assertEquals(plain.labels:totable(), net:predict(x, {arithmetic = "float32"}))
  for i = 1, 20 do
    lu.assertTrue(plain.radii[i] <= tight.radii[i] and tight.radii[i] <= real.radii[i])
    lu.assertTrue(wide.radii[i] <= real.radii[i] and wide.radii[i] >= real.radii[i] * (1 - 1e-6))
  end
  local z, w = net:forward(x), net:forward(x, {arithmetic = "double"})
  for i = 1, 20 do for j = 1, 4 do lu.assertAlmostEquals(z[i][j], w[i][j], 1e-5) end end
end

function T.test_arithmetic_is_checked()
  local net, x = small "2", lip.zeros(2, 5)
  raises("option 'arithmetic'", net.certify, net, x, nil, {arithmetic = "half"})
  raises("option 'arithmetic'", net.certify, net, x, nil, {arithmetic = 64})
  raises("option 'arithmetic'", net.predict, net, x, {arithmetic = "real"})
  raises("option 'arithmetic'", net.forward, net, x, {arithmetic = "real"})
  raises("training", net.forward, net, x, {arithmetic = "double", training = true})
  raises("unknown option", net.predict, net, x, {arithmetics = "double"})
  raises("table expected", net.predict, net, x, 1)
  raises('not "double"', net.certify, net, x, {0, 1}, {method = "local", eps = 0.1, arithmetic = "double"})
  raises("option 'tight'", net.certify, net, x, nil, {tight = 1})
  local smooth = lip.net {input = 5, norm = 2, lip.dense {out = 4}, lip.tanh(), lip.dense {out = 2}}
  for _, f in ipairs {smooth.predict, smooth.forward} do raises("'tanh' has no double mode", f, smooth, x, {arithmetic = "double"}) end
  raises("'tanh' has no double mode", smooth.certify, smooth, x, nil, {arithmetic = "double"})
end

-- ---- certify ----

function T.test_radius_of_a_linear_net()
  for norm, constant in pairs {["1"] = 4, ["2"] = math.sqrt(24), ["inf"] = 8} do
    local net = linear(norm)
    local c = net:certify(lip.tensor {{1, 0.5, 0.25}, {0, 0, 0}, {-1, -0.5, -0.25}})
    lu.assertEquals(c.n, 3)
    lu.assertEquals(c.labels:totable(), {0, 0, 1})
    lu.assertEquals(c.margins:totable(), {2, 0, 2})
    local r = c.radii:totable()
    lu.assertEquals(r[2], 0)
    for _, i in ipairs {1, 3} do
      lu.assertTrue(r[i] < 2 / constant and r[i] > 2 / constant * (1 - 1e-5))
    end
    local pairs_ = c.pairs:totable()
    lu.assertEquals({pairs_[1][1], pairs_[2][2]}, {0, 0})
    lu.assertTrue(pairs_[1][2] >= constant)
    lu.assertAlmostEquals(pairs_[1][2], constant, 1e-5)
    lu.assertNil(c.clean)
    lu.assertNil(c.certified)
  end
end

function T.test_only_correct_points_count()
  local net = linear "inf" -- radius 0.25 for the first and the last point
  local x = lip.tensor {{1, 0.5, 0.25}, {0, 0, 0}, {-1, -0.5, -0.25}, {1, 0.5, 0.25}}
  local c = net:certify(x, {0, 0, 0, 0}, {eps = {0, 0.1, 0.249, 0.25, inf}})
  lu.assertEquals(c.clean, 0.75)
  lu.assertEquals(c.certified[0], 0.5) -- the tie is correct, but never certified
  lu.assertEquals(c.certified[0.1], 0.5)
  lu.assertEquals(c.certified[0.249], 0.5)
  lu.assertEquals(c.certified[0.25], 0) -- at exactly 0.25 the points tie
  lu.assertEquals(c.certified[inf], 0)
  lu.assertEquals(net:certify(x, {0, 0, 0, 0}, {eps = 0.1}).certified, {[0.1] = 0.5})
end

function T.test_batches_and_limits_agree()
  local net = small "2"
  local x = lip.randn(lip.rng(5), 37, 5)
  local whole = net:certify(x)
  local parts = net:certify(x, nil, {batch = 5})
  lu.assertEquals(parts.radii:totable(), whole.radii:totable())
  local labels = net:predict(x)
  lu.assertEquals(whole.labels:totable(), labels)
  local ds = lip.dataset_tensors(x, labels)
  local c = net:certify(ds, {batch = 8, eps = {1e-6}})
  lu.assertEquals(c.radii:totable(), whole.radii:totable())
  lu.assertEquals(c.clean, 1)
  local few = net:certify(ds, {limit = 10, batch = 4})
  lu.assertEquals(few.n, 10)
  lu.assertEquals(few.radii:totable(), whole.radii:slice(1, 1, 10):totable())
  lu.assertEquals(few.certified, {})
  lu.assertEquals(net:certify(x:select(1, 3)).radii:totable(), {whole.radii[3]})
end

-- steps of the certified size along signs, the worst case of the norm inf
function T.test_no_step_within_the_radius_changes_the_label()
  local net = small("inf", 3)
  local rng = lip.rng(9)
  local x = lip.randn(rng, 20, 5)
  local c = net:certify(x)
  for i = 1, 20 do
    local r, from = c.radii[i], x:select(1, i):totable()
    lu.assertTrue(r > 0)
    for _ = 1, 30 do
      local to = {}
      for k = 1, 5 do to[k] = from[k] + (rng:uniform() < 0.5 and -r or r) * (1 - 1e-6) end
      lu.assertEquals(net:predict(lip.tensor {to})[1], c.labels[i])
    end
  end
end

-- ---- misuse ----

function T.test_margins_to_every_class()
  local net, x = small "2", lip.randn(lip.rng(4), 6, 5)
  local c, z = net:certify(x, nil, { table = true, batch = 4 }), net:forward(x)
  for i = 1, 6 do
    local least = math.huge
    for j = 1, net:forward(x):shape()[2] do
      local margin = c.table:get(i, j)
      lu.assertAlmostEquals(margin, z:get(i, math.tointeger(c.labels[i]) + 1) - z:get(i, j), 1e-6)
      if j ~= c.labels[i] + 1 then least = math.min(least, margin) end
    end
    lu.assertAlmostEquals(least, c.margins[i], 1e-6)
  end
  lu.assertNil(net:certify(x).table)
end

function T.test_misuse_is_named()
  local net = small "inf"
  local x = lip.zeros(3, 5)
  raises("unknown option 'q'", net.bound, net, {q = 1})
  raises("option 'p'", net.bound, net, {p = 3})
  raises("option 'p'", net.bound, net, {p = "inf->1"})
  raises("option 'p'", net.bound, net, {p = {}})
  raises("option 'method' is one of product, ", net.bound, net, {method = "greedy"})
  raises("option 'method' is one of product, ", net.certify, net, x, nil, {method = 1})
  raises("option 'seconds'", net.bound, net, {seconds = 0})
  raises("option 'p'", net.certify, net, x, nil, {p = 3})
  raises("path has 3 steps", net.bound, net, {p = "1->2->2->2"})
  raises("option 'data'", net.bound, net, {lower = true, data = 5})
  raises("do not fit", net.bound, net, {lower = true, data = lip.zeros(3, 4)})
  raises("do not fit", net.certify, net, lip.zeros(3, 4))
  raises("unknown option 'epsilon'", net.certify, net, x, nil, {epsilon = 1})
  raises("labels are needed", net.certify, net, x, nil, {eps = 1})
  raises("option 'eps'", net.certify, net, x, {0, 1, 2}, {eps = -1})
  raises("option 'eps'", net.certify, net, x, {0, 1, 2}, {eps = 0 / 0})
  raises("element 2", net.certify, net, x, {0, 1, 2}, {eps = {1, "a"}})
  raises("option 'eps'", net.certify, net, x, {0, 1, 2}, {eps = true})
  raises("nothing to certify", net.certify, net, x, nil, {limit = 0})
  raises("nothing to certify", net.certify, net, x, nil, {batch = 0})
  raises("features", net.certify, net, lip.dataset_tensors(lip.zeros(3, 4)))
  for _, bad in ipairs {1, "x", {}, true, print} do
    lu.assertError(net.certify, net, bad)
    lu.assertError(net.certify, bad, x)
    lu.assertError(net.bound, bad)
    if type(bad) ~= "table" then
      lu.assertError(net.bound, net, bad)
      lu.assertError(net.certify, net, x, nil, bad)
    end
  end
end

-- relu and tanh turn infinities into finite logits: an input that is not finite has no radius all the same
function T.test_infinite_inputs_have_no_radius()
  local x = lip.tensor {{-inf, 1, 2, 3}, {inf, 1, 2, 3}, {0 / 0, 1, 2, 3}, {0, 1, 2, 3}}
  for _, norm in ipairs {"1", "2", "inf"} do
    local mixed = lip.residual {lip.relu {}, lip.dense {out = 4}}
    for _, first in ipairs {lip.relu {}, lip.tanh {}, lip.sigmoid {}, mixed} do
      local net = lip.net {input = 4, norm = norm, budget = 4, seed = 1, first, lip.relu {}, lip.dense {out = 3}}
      local radii = net:certify(x).radii
      for i = 1, 3 do lu.assertEquals(radii[i], 0) end
      lu.assertTrue(radii[4] > 0)
    end
  end
end

-- A finaliser may run at any allocation; what it does to the weights must not come between the bound and the logits.
function T.test_finalisers_that_change_weights()
  local armed, x, net = true, lip.rand(1, {2000, 5}), small("inf")
  local first, dense = net:weights(1):clone(), net:weights(1)
  local sound = net:certify(x)
  dense:mul_(100)
  local large = net:certify(x)
  local function arm()
    setmetatable({}, {__gc = function()
      if not armed then return end
      if dense:equal(first) then dense:mul_(100) else dense:copy(first) end
      arm()
    end})
  end
  arm()
  local pause, multiplier = collectgarbage("setpause", 0), collectgarbage("setstepmul", 1000)
  for _ = 1, 50 do
    local r = net:certify(x)
    local same = r.pairs:equal(sound.pairs) and sound or large
    lu.assertTrue(r.pairs:equal(same.pairs))
    lu.assertTrue(r.radii:equal(same.radii))
  end
  armed = false
  collectgarbage("setpause", pause)
  collectgarbage("setstepmul", multiplier)
end

-- Also where the constant does not depend on what is learned.
function T.test_weights_that_are_no_numbers_have_no_constant()
  local x, y = lip.rand(lip.rng(1), 4, 2, 3, 3), lip.tensor { 0, 1, 0, 1 }
  for _, kind in ipairs { "conv2d", "conv1d", "batch_norm", "householder", "centre" } do
    for _, value in ipairs { 0 / 0, math.huge } do
      local layer = kind:find "conv" and lip[kind] { channels = 2 } or lip[kind] {}
      local net = lip.net { input = { 2, 3, 3 }, norm = "2", budget = math.huge, seed = 1, layer, lip.flatten {}, lip.dense { out = 2 } }
      local first = net:parameters()[1]
      first.value:fill(value)
      if kind ~= "centre" then lu.assertEquals(net:bound().upper, math.huge, kind) end -- a translation by it is one still
      lu.assertEquals(net:certify(x, y).radii:totable(), { 0, 0, 0, 0 }, kind)
    end
  end
end

return T
