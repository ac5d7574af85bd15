-- Nets of one output as classifiers by its sign: radii, balls, attacks, verdicts, certificate files, labels -1 and 1.
local lu = require "luaunit"
local lip = require "lip"
local certificate = require "support_certificate"

local inf = math.huge
local T = {}

local function raises(text, f, ...)
  lu.assertErrorMsgContains(text, f, ...)
end

local norms = { [1] = "1", [2] = "2", [inf] = "inf" }

local function net(norm, seed, act)
  act = act or lip.maxmin
  return lip.net { input = 4, norm = norm, budget = 3, seed = seed or 1, lip.dense { out = 8 }, act {},
    lip.dense { out = 6 }, act {}, lip.dense { out = 1 } }
end

local function points(n, seed)
  return lip.rand(lip.rng(seed or 5), n or 12, 4):mul(2):add(-1)
end

-- ||v|| of a table.
local function size(v, p)
  local sum = 0
  for _, a in ipairs(v) do sum = p == inf and math.max(sum, math.abs(a)) or sum + math.abs(a) ^ p end
  return p == 2 and math.sqrt(sum) or sum
end

-- w of f(x) = w x + b, and |w| in the dual norm of p.
local w = { 0.5, -2, 1, 0.25 }
local dual = { [1] = 2, [2] = math.sqrt(0.25 + 4 + 1 + 0.0625), [inf] = 3.75 }
local function linear(p, bias)
  local n = lip.net { input = 4, norm = norms[p], budget = inf, lip.dense { out = 1 } }
  n:weights(1):copy { w }
  n:bias(1):copy { bias or 0.125 }
  return n
end

-- ---- radii ----

function T.test_radius_of_a_linear_output()
  local x = points(20)
  for p in pairs(norms) do
    local n = linear(p)
    local f = n:forward(x)
    for _, arithmetic in ipairs { "float32", "double", "real" } do
      local r = assert(n:certify(x, { arithmetic = arithmetic }))
      lu.assertEquals(r.labels:totable(), n:predict(x))
      lu.assertEquals(r.pairs:shape(), { 2, 2 })
      lu.assertAlmostEquals(r.pairs[1][2], dual[p], 1e-6)
      for i = 1, 20 do
        local want = math.abs(f[i][1]) / dual[p]
        lu.assertEquals(r.labels[i], f[i][1] > 0 and 1 or 0)
        lu.assertAlmostEquals(r.margins[i], math.abs(f[i][1]), 1e-6)
        lu.assertTrue(r.radii[i] <= want * (1 + 1e-6))
        lu.assertTrue(r.radii[i] >= want * (1 - 1e-4) - 1e-6)
      end
    end
    local seen = n:certify(x, n:predict(x), { table = true, eps = 0.01 })
    lu.assertEquals(seen.table:shape(), { 20, 2 })
    for i = 1, 20 do
      local y = seen.labels[i]
      lu.assertEquals(seen.table[i][y + 1], 0)
      lu.assertAlmostEquals(seen.table[i][2 - y], math.abs(f[i][1]), 1e-6)
    end
  end
end

-- Nobody finds another label within a radius, and just outside of one of a linear output somebody does.
function T.test_radii_against_search()
  local x = points()
  local methods = { "product", "best" }
  for p, norm in pairs(norms) do
    for seed = 1, 3 do
      local n = net(norm, seed, seed == 2 and lip.relu or nil)
      local y, f = n:predict(x), n:forward(x)
      for _, method in ipairs(methods) do
        local r = assert(n:certify(x, y, { method = method, seconds = 2 }))
        for i = 1, 12 do
          local at = x:slice(1, i, i)
          lu.assertTrue(r.radii[i] > 0 or f[i][1] == 0)
          local a = assert(lip.attack(n, at, { y[i] }, { eps = r.radii[i], restarts = 3 }))
          lu.assertEquals(a.success, 0)
          lu.assertEquals(assert(lip.attack(n, at, { y[i] }, { eps = 60 * r.radii[i] + 4 })).clean, 1)
        end
      end
    end
    local n = linear(p)
    local r = n:certify(x)
    for i = 1, 12 do
      local at, label = x:slice(1, i, i), { r.labels[i] }
      for _, method in ipairs { "fgsm", "bim", "pgd", "apgd" } do
        lu.assertEquals(assert(lip.attack(n, at, label, { eps = r.radii[i], method = method })).success, 0)
      end
      for _, method in ipairs { "fgsm", "apgd" } do
        local a = assert(lip.attack(n, at, label, { eps = r.radii[i] * 1.01 + 1e-6, method = method }))
        lu.assertEquals(a.success, 1, ("%s from norm %s"):format(method, norms[p]))
        lu.assertEquals(n:predict(a.adversarial)[1], 1 - label[1])
        lu.assertTrue(a.margins[1] <= 0)
      end
    end
  end
end

-- The same net with a row of zeros before its last one: two logits 0 and f.
function T.test_as_two_outputs()
  local x = points()
  for p, norm in pairs(norms) do
    local n = net(norm, 4)
    local two = lip.net { input = 4, norm = norm, budget = inf, lip.dense { out = 8 }, lip.maxmin(), lip.dense { out = 6 },
      lip.maxmin(), lip.dense { out = 2 } }
    for i = 1, 2 do
      two:weights(i):copy(n:weights(i))
      two:bias(i):copy(n:bias(i))
    end
    two:weights(3):fill(0)
    two:weights(3):slice(1, 2, 2):copy(n:weights(3))
    two:bias(3):copy { 0, n:bias(3)[1] }
    for _, method in ipairs { "product", "abs", "recursion", "multiplier", "exact", "local" } do
      local options = { method = method, seconds = 2, eps = { 0.01, 0.1, 0.2, 0.5 } }
      local r, q = n:certify(x, n:predict(x), options), two:certify(x, two:predict(x), options)
      lu.assertEquals(r.labels:totable(), q.labels:totable())
      lu.assertAlmostEquals(r.pairs[1][2], q.pairs[1][2], 1e-5 * q.pairs[1][2])
      for i = 1, 12 do
        lu.assertTrue(r.radii[i] >= q.radii[i] * (1 - 1e-5))
        lu.assertAlmostEquals(r.radii[i], q.radii[i], 1e-4 * q.radii[i])
      end
    end
    local a = lip.attack(n, x, n:predict(x), { eps = 0.3, p = p })
    local b = lip.attack(two, x, two:predict(x), { eps = 0.3, p = p })
    lu.assertEquals(a.broken:totable(), b.broken:totable())
  end
end

function T.test_attacks_stay_in_ball_and_box()
  local x = points():abs():mul(0.5):add(0.25)
  for p, norm in pairs(norms) do
    local n = net(norm, 7)
    local y = n:predict(x)
    for _, method in ipairs { "fgsm", "bim", "pgd", "apgd" } do
      local a = assert(lip.attack(n, x, y, { eps = 0.4, box = { 0, 1 }, method = method, targets = "all" }))
      lu.assertEquals(a.clean, 1)
      local there = n:predict(a.adversarial)
      for i = 1, 12 do
        local d = {}
        for k = 1, 4 do
          local v = a.adversarial[i][k]
          lu.assertTrue(v >= 0 and v <= 1)
          d[k] = v - x[i][k]
        end
        lu.assertTrue(size(d, p) <= 0.4 * (1 + 1e-6))
        lu.assertEquals(a.broken[i], there[i] ~= y[i] and 1 or 0)
      end
    end
  end
end

-- ---- where the sign is in doubt ----

function T.test_ties_and_what_is_not_finite()
  local n = linear(2, 0)
  local tie = lip.tensor { { 0, 0, 0, 0 }, { 2, 0.5, 0, 0 }, { 0 / 0, 0, 0, 0 }, { inf, 0, 0, 0 }, { 1, 0, 0, 0 } }
  for _, arithmetic in ipairs { "float32", "double", "real" } do
    local r = assert(n:certify(tie, { 0, 0, 0, 1, 1 }, { eps = 0, arithmetic = arithmetic }))
    for i = 1, 4 do lu.assertEquals(r.radii[i], 0) end
    lu.assertTrue(r.radii[5] > 0.2)
    lu.assertEquals({ r.labels[1], r.labels[2], r.labels[3], r.labels[4], r.labels[5] }, { 0, 0, -1, -1, 1 })
    lu.assertAlmostEquals(r.certified[0], 0.2, 1e-12)
  end
  lu.assertEquals(n:predict(tie), { 0, 0, -1, 1, 1 })
  lu.assertEquals(n:predict(tie:slice(1, 1, 3), { arithmetic = "double" }), { 0, 0, -1 })
  local minus = lip.net { input = 1, norm = 2, budget = inf, lip.dense { out = 1, bias = false } }
  minus:weights(1):copy { { -1 } }
  lu.assertEquals(minus:certify(lip.tensor { { 0 } }).radii[1], 0) -- f = -0
  lu.assertEquals(minus:predict(lip.tensor { { 0 } }), { 0 })
  lu.assertEquals(minus:certify(lip.tensor { { 0 } }).labels[1], 0)
  local a = lip.attack(n, tie, { 0, 0, 0, 1, 1 }, { eps = 0 })
  lu.assertEquals(a.success, 0)
  local v = lip.verify(n, tie, { 0, 0, 0, 1, 1 }, { eps = 0.01 })
  lu.assertEquals(v.verdicts[5], "verified")
  for i = 1, 4 do lu.assertNotEquals(v.verdicts[i], "verified") end
  lu.assertEquals(v.verdicts[3], "violated")
end

-- f = x: the radius of x is at most x, however small, and no float32 number within it is given the other label.
function T.test_tiny_outputs()
  local n = lip.net { input = 1, norm = 2, budget = inf, lip.dense { out = 1, bias = false } }
  n:weights(1):copy { { 1 } }
  for _, v in ipairs { 1e-45, 1e-40, 1e-38, 1e-30, 1e-10, 1, 1e10, 1e30 } do
    for _, sign in ipairs { 1, -1 } do
      local x = lip.tensor { { sign * v } }
      local there = math.abs(x[1][1])
      for _, arithmetic in ipairs { "float32", "double", "real" } do
        local r = n:certify(x, { arithmetic = arithmetic })
        lu.assertEquals(r.labels[1], sign == 1 and 1 or 0)
        lu.assertTrue(r.radii[1] <= there)
        lu.assertTrue(r.radii[1] < there or r.radii[1] == 0)
        if v >= 1e-10 and v <= 1e10 then lu.assertTrue(r.radii[1] > 0.999 * there) end
      end
    end
  end
end

-- A last layer that is no matrix.
function T.test_other_last_layers()
  for _, last in ipairs { lip.relu(), lip.abs(), lip.tanh(), lip.chain { lip.dense { out = 1 }, lip.tanh() } } do
    local n = lip.net { input = 4, norm = 2, budget = 2, seed = 3, lip.dense { out = 6 }, lip.maxmin(),
      lip.dense { out = 1 }, last }
    local x = points(30, 9)
    local r = assert(n:certify(x, n:predict(x), { method = "best", eps = 0.01, seconds = 2 }))
    local l = assert(n:certify(x, n:predict(x), { method = "local", eps = { 0.01, 0.1, 0.3 } }))
    for i = 1, 30 do
      local far = math.max(r.radii[i], l.radii[i])
      if far > 0 then
        lu.assertEquals(lip.attack(n, x:slice(1, i, i), { r.labels[i] }, { eps = far }).success, 0)
      end
    end
  end
end

-- ---- balls and verdicts ----

function T.test_balls_against_search()
  local x, sizes = points(), { 0.02, 0.05, 0.1, 0.2, 0.4 }
  local better = 0
  for p, norm in pairs(norms) do
    for seed = 1, 4 do
      local n = net(norm, seed, seed % 2 == 0 and lip.relu or nil)
      local y, box = n:predict(x), seed > 2 and { -1, 1 } or nil
      local plain = n:certify(x, y)
      local r = assert(n:certify(x, y, { method = "local", eps = sizes, box = box, halvings = 3, proved = false }))
      for i = 1, 12 do
        better = better + (r.radii[i] > plain.radii[i] and 1 or 0)
        local a = lip.attack(n, x:slice(1, i, i), { y[i] }, { eps = r.radii[i], box = box, restarts = 2 })
        lu.assertEquals(a.success, 0, ("seed %d from norm %s, row %d"):format(seed, norms[p], i))
      end
    end
  end
  lu.assertTrue(better > 60) -- the relaxation takes part
end

function T.test_proved_margins()
  local n, x = linear(inf), points()
  local f = n:forward(x)
  local r = n:certify(x, n:predict(x), { method = "local", eps = 0.01, proved = true })
  lu.assertEquals(r.proved:shape(), { 12, 2 })
  for i = 1, 12 do
    local other = 2 - r.labels[i]
    lu.assertAlmostEquals(r.proved[i][other], math.abs(f[i][1]) - 0.0375, 1e-5)
    lu.assertTrue(r.proved[i][other] <= math.abs(f[i][1]) - 0.0375 + 1e-6)
  end
end

function T.test_verdicts()
  local n, x = linear(inf), points(40)
  local y, f = n:predict(x), n:forward(x)
  y[3] = 1 - y[3]
  local v = lip.verify(n, x, y, { eps = 0.1 })
  lu.assertEquals(v.verdicts[3], "violated")
  for i = 1, 40 do
    local left = math.abs(f[i][1]) - 0.375
    if math.abs(left) > 1e-5 and i ~= 3 then
      lu.assertEquals(v.verdicts[i], left > 0 and "verified" or "violated")
    end
  end
  lu.assertTrue(v.verified > 0 and v.violated > 0.1)
  local spec = lip.verify(n, x, nil, { eps = 0.1, spec = { C = { { 1 } } } }) -- f > 0
  for i = 1, 40 do
    if math.abs(f[i][1] - 0.375) > 1e-5 then
      lu.assertEquals(spec.verdicts[i] == "verified", f[i][1] > 0.375)
    end
  end
  raises("the sign of one output is what is asked without a spec", lip.verify, n, x, y, { eps = 0.1, spec = { top = 1 } })
end

-- ---- certificate files ----

local path = os.tmpname()

local function verdict(n, x)
  local r = assert(lip.check_certificate(path, n, x))
  return r.accepted, r.reason, r
end

function T.test_certificates_of_one_output()
  local x = points(6)
  for p, norm in pairs(norms) do
    for _, method in ipairs { "product", "abs", "recursion", "multiplier", "best", "local" } do
      local n = net(norm, 2, method == "abs" and lip.abs or nil)
      local y = n:predict(x)
      y[1] = 1 - y[1]
      local local_one = method == "local"
      assert(n:certificate(path, x, y, { method = method, eps = { 0.001, 0.05 }, box = local_one and { -2, 2 } or nil,
        seconds = 2 }))
      local ok, reason, r = verdict(n, x)
      lu.assertTrue(ok, reason)
      lu.assertEquals(r.radii, 6)
      lu.assertEquals(r.pairs, 1)
      lu.assertStrContains(r.layers, ";sign")
      local cert = certificate.parse(path)
      local seen = n:certify(x, y, { method = local_one and "recursion" or method, seconds = 2 })
      local radius = certificate.array(cert, "radius")
      for i = 1, 6 do
        lu.assertTrue(radius[i] > (method == "best" and 0.3 or 0.9) * seen.radii[i]) -- which also tries `exact`
        if not local_one then lu.assertTrue(radius[i] <= seen.radii[i] * (1 + 1e-6)) end
      end
      -- another net, whose weights are others
      local other = net(norm, 3, method == "abs" and lip.abs or nil)
      lu.assertFalse(verdict(other, x))
    end
  end
end

-- Under a hash that fits, the mathematics refuses what is not true.
function T.test_certificates_changed_by_hand()
  local x = points(6)
  for _, norm in pairs(norms) do
    for _, method in ipairs { "product", "best" } do
      local n = net(norm, 2)
      assert(n:certificate(path, x, n:predict(x), { method = method, eps = 0.001, seconds = 2 }))
      local function changed(name, change)
        local cert = certificate.parse(path)
        local a = certificate.array(cert, name)
        change(a)
        local kept = certificate.slurp(path)
        certificate.write(cert, path, true)
        local ok, reason = verdict(n, x)
        certificate.spill(kept, path)
        return ok, reason
      end
      lu.assertTrue((changed("radius", function() end)))
      lu.assertTrue((changed("radius", function(a) a[2] = a[2] * 0.5 end)))
      for row = 1, 6 do
        local ok, reason = changed("radius", function(a) a[row] = a[row] * 1.01 end)
        lu.assertFalse(ok)
        lu.assertStrContains(reason, "radius of row " .. row)
        ok, reason = changed("label", function(a) a[row] = 1 - a[row] end)
        lu.assertFalse(ok)
        lu.assertStrContains(reason, "row " .. row)
        lu.assertFalse((changed("label", function(a) a[row] = 2 end)))
        lu.assertFalse((changed("label", function(a) a[row] = -1 end)))
        lu.assertFalse((changed("radius", function(a) a[row] = 0 / 0 end)))
        lu.assertFalse((changed("truth", function(a) a[row] = 2 end)))
      end
      lu.assertFalse((changed("pair", function(a) a[2], a[3] = a[2] * 0.99, a[3] * 0.99 end)))
      lu.assertFalse((changed("pair", function(a) a[2], a[3] = 0, 0 end)))
      lu.assertFalse((changed("norm", function(a) a[3] = a[3] * 0.99 end)))
    end
  end
  local n = net("2", 2)
  assert(n:certificate(path, x, n:predict(x), { method = "local", eps = { 0.05, 0.1, 0.2, 0.4, 0.8 } }))
  lu.assertTrue((verdict(n, x)))
  local cert = certificate.parse(path)
  local label, radius = certificate.array(cert, "label"), certificate.array(cert, "radius")
  for i = 1, 6 do
    label[i] = 1 - label[i]
    certificate.write(cert, path, true)
    lu.assertFalse((verdict(n, x)))
    label[i] = 1 - label[i]
    local was = radius[i]
    radius[i] = 3
    certificate.write(cert, path, true)
    lu.assertFalse((verdict(n, x)))
    radius[i] = was
  end
end

-- ---- labels ----

function T.test_predict_and_evaluate()
  local n, x = net "2", points(50)
  local f, y = n:forward(x), n:predict(x)
  for i = 1, 50 do lu.assertEquals(y[i], f[i][1] > 0 and 1 or 0) end
  lu.assertEquals(n:predict(x, { arithmetic = "double" }), y)
  y[1], y[2] = 1 - y[1], 1 - y[2]
  lu.assertAlmostEquals(n:evaluate(lip.data.tensors(x, y)).accuracy, 0.96, 1e-12)
  lu.assertAlmostEquals(n:certify(x, y, { eps = 0 }).clean, 0.96, 1e-12)
end

function T.test_labels_of_signs()
  local n, x = net "2", points(6)
  local signs, plain = { -1, 1, 1, -1, 1, -1 }, { 0, 1, 1, 0, 1, 0 }
  local d = lip.data.tensors(x, signs)
  lu.assertEquals(d:labels():totable(), plain)
  lu.assertEquals(d:info().classes, 2)
  lu.assertEquals(lip.data.tensors(x, lip.tensor(signs)):labels():totable(), plain)
  lu.assertEquals(lip.data.tensors(x, { -1, -1, -1, -1, -1, -1 }):labels():totable(), { 0, 0, 0, 0, 0, 0 })
  local function same(f) lu.assertEquals(f(signs), f(plain)) end
  same(function(y) return n:certify(x, y, { eps = 0.1 }).certified[0.1] end)
  same(function(y) return n:certify(lip.data.tensors(x, y), { eps = 0.1 }).clean end)
  same(function(y) return lip.attack(n, x, y, { eps = 0.1 }).clean end)
  same(function(y) return lip.verify(n, x, y, { eps = 0.1 }).verdicts end)
  same(function(y) return lip.loss.hinge():value(n:forward(x), y) end)
  same(function(y) return n:evaluate(lip.data.tensors(x, y)).accuracy end)
  same(function(y)
    assert(n:certificate(path, x, y, { eps = 0.1 }))
    return lip.check_certificate(path, n, x).eps[1].certified
  end)
  local opt = lip.optim.sgd { lr = 0.1 }
  lu.assertEquals(type(n:step(x, signs, opt, lip.loss.hinge())), "number")
end

function T.test_labels_that_are_none()
  local n, x = net "2", points(3)
  for _, bad in ipairs { 2, 0.5, -2, 0 / 0, "1", false } do
    raises("a whole number in 0..1 expected, or -1 and 1 alone", n.certify, n, x, { 1, bad, 0 }, { eps = 1 })
    raises("or -1 and 1 alone", lip.attack, n, x, { 1, bad, 1 }, { eps = 1 })
  end
  raises("label 3: -1 or 1 expected, as others are -1, got 0", n.certify, n, x, { 1, -1, 0 }, { eps = 1 })
  raises("as others are -1, got 0", lip.data.tensors, x, { 0, -1, 1 })
  raises("as others are -1, got 2", lip.data.tensors, x, { 2, -1, 1 })
  raises("-1 and 1 alone", lip.data.tensors, x, { 0.5, 0, 1 })
  local three = lip.data.tensors(x, { 0, 1, 2 })
  for _, f in ipairs { n.certify, n.evaluate, function(m, d) return m:certificate(path, d) end,
    function(m, d) return lip.attack(m, d, { eps = 1 }) end } do
    raises("the data set has 3 classes, a net of one output answers with two: labels 0 and 1, or -1 and 1", f, n, three)
  end
  raises("has labels from 0 to 2, a net of one output answers with two: labels 0 and 1, or -1 and 1", lip.train, n, three,
    { loss = lip.loss.hkr() })
  -- nets of more outputs know no signs
  local ten = lip.net { input = 4, norm = 2, lip.dense { out = 10 } }
  raises("a whole number in 0..9 expected, got the number -1", ten.certify, ten, x, { 1, -1, 1 }, { eps = 1 })
end

-- Files, where it is said on stderr.
function T.test_signs_in_files()
  local csv = os.tmpname()
  local function read(text)
    certificate.spill(text, csv)
    return lip.data.csv(csv, { label = "y" })
  end
  lu.assertEquals(assert(read "a,y\n1,-1\n2,1\n3,-1\n"):labels():totable(), { 0, 1, 0 })
  lu.assertEquals(assert(read "a,y\n1,0\n2,1\n"):labels():totable(), { 0, 1 })
  for _, rows in ipairs { "1,-1\n2,0\n", "1,-1\n2,2\n", "1,0.5\n", "1,-2\n" } do
    local set, why = read("a,y\n" .. rows)
    lu.assertNil(set)
    lu.assertStrContains(why, "-1 and 1 alone")
  end
  os.remove(csv)
end

function T.test_training_by_sign()
  local rng = lip.rng(3)
  local x = lip.randn(rng, 200, 4)
  local y = {}
  for i = 1, 200 do y[i] = x[i][1] + 0.5 * x[i][2] > 0 and 1 or -1 end
  local d = lip.data.tensors(x, y)
  local n = lip.net { input = 4, norm = 2, budget = 1, lip.dense { out = 16 }, lip.maxmin(), lip.dense { out = 1 } }
  local done = assert(lip.train(n, d, { epochs = 20, batch = 20, loss = lip.loss.hinge { margin = 0.2 }, validation = d,
    opt = lip.optim.adam { lr = 0.02 } }))
  lu.assertTrue(done.history[20].validation.accuracy > 0.95)
  local r = n:certify(d, { eps = { 0, 0.05 } })
  lu.assertTrue(r.clean > 0.95 and r.certified[0.05] > 0.8)
end

function T.test_the_end()
  os.remove(path)
end

return T
