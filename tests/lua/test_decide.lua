-- Branch and bound: lip.verify(net, property), beside exact enumeration of tiny nets and nets that hide a counterexample.
local lu = require "luaunit"
local lip = require "lip"

local tests = {}

local D = function(out) return lip.dense { out = out } end

-- A relu net with these layers {{rows of W}, {b}}.
local function net_of(layers)
  local specs = { input = { #layers[1][1][1] }, norm = "inf" }
  for i, l in ipairs(layers) do
    specs[#specs + 1] = D(#l[2])
    if i < #layers then specs[#specs + 1] = lip.relu {} end
  end
  local net = lip.net(specs)
  local p = net:parameters()
  for i, l in ipairs(layers) do
    local flat = {}
    for _, row in ipairs(l[1]) do table.move(row, 1, #row, #flat + 1, flat) end
    local W = p[2 * i - 1].value
    W:copy(lip.tensor(flat):reshape(W:shape()))
    p[2 * i].value:copy(lip.tensor(l[2]))
  end
  return net
end

local function box(low, high)
  return { low = lip.tensor(low), high = lip.tensor(high) }
end

-- ---- exact enumeration: nets of two inputs with whole numbers ----

-- Points are {x, y, w}: (x / w, y / w), w > 0. Forms are {a, b, c}: a x + b y + c.
local function at(f, p)
  local v = f[1] * p[1] + f[2] * p[2] + f[3] * p[3]
  assert(math.abs(v) < 1 << 52)
  return v
end

local function gcd(a, b)
  a, b = math.abs(a), math.abs(b)
  while b ~= 0 do a, b = b, a % b end
  return a
end

-- Between p and q where a form is 0 that has the values fp and fq there, of different signs.
local function between(p, q, fp, fq)
  local s, t, m = math.abs(fq), math.abs(fp), {}
  for c = 1, 3 do m[c] = s * p[c] + t * q[c] end
  local g = gcd(gcd(m[1], m[2]), m[3])
  return { m[1] // g, m[2] // g, m[3] // g }
end

-- The part of a convex polygon where the form is >= 0.
local function clip(polygon, f)
  local out = {}
  for i, p in ipairs(polygon) do
    local q = polygon[i % #polygon + 1]
    local fp, fq = at(f, p), at(f, q)
    if fp >= 0 then out[#out + 1] = p end
    if fp > 0 and fq < 0 or fp < 0 and fq > 0 then out[#out + 1] = between(p, q, fp, fq) end
  end
  return out
end

-- The least value of output 1 over a polygon as a fraction {n, d}; forms: those of the layer's inputs.
local function least(layers, l, forms, polygon)
  local units = {}
  for k, row in ipairs(layers[l][1]) do
    local u = { 0, 0, layers[l][2][k] }
    for j, w in ipairs(row) do
      for c = 1, 3 do u[c] = u[c] + w * forms[j][c] end
    end
    units[k] = u
  end
  if l == #layers then
    local best
    for _, p in ipairs(polygon) do
      local v = at(units[1], p)
      if not best or v * best[2] < best[1] * p[3] then best = { v, p[3] } end
    end
    return best
  end
  local best
  local function pattern(k, part, after)
    if #part == 0 then return end
    if k > #units then
      local v = least(layers, l + 1, after, part)
      if v and (not best or v[1] * best[2] < best[1] * v[2]) then best = v end
      return
    end
    local u = units[k]
    after[k] = u
    pattern(k + 1, clip(part, u), after)
    after[k] = { 0, 0, 0 }
    pattern(k + 1, clip(part, { -u[1], -u[2], -u[3] }), after)
  end
  pattern(1, polygon, {})
  return best
end

local function draw(rng, low, high) return low + rng:below(high - low + 1) end

local function layer(rng, n, m)
  local W, b = {}, {}
  for k = 1, m do
    W[k], b[k] = {}, draw(rng, -4, 4)
    for j = 1, n do W[k][j] = draw(rng, -3, 3) end
  end
  return { W, b }
end

local function beside_enumeration(n, split)
  local rng, seen = lip.rng(7), { verified = 0, violated = 0, unknown = 0 }
  for _ = 1, n do
    local h = draw(rng, 1, 3)
    local layers = draw(rng, 1, 2) == 1 and { layer(rng, 2, h), layer(rng, h, 1) }
      or { layer(rng, 2, h), layer(rng, h, 2), layer(rng, 2, 1) }
    local x, y = draw(rng, -3, 2), draw(rng, -3, 2)
    local X, Y = x + draw(rng, 0, 3), y + draw(rng, 0, 3)
    local low = least(layers, 1, { { 1, 0, 0 }, { 0, 1, 0 } }, { { x, y, 1 }, { X, y, 1 }, { X, Y, 1 }, { x, Y, 1 } })
    -- the bound that is asked for is often the very least value, and just beside it
    local shift = draw(rng, -1, 1) - low[1] // low[2]
    local net = net_of(layers)
    local r = assert(lip.verify(net, lip.property { input = box({ x, y }, { X, Y }), output = { C = { { 1 } }, d = { shift } } },
      { seconds = 20, nodes = 2000, split = split }))
    local holds = low[1] + shift * low[2] > 0
    seen[r.verdict] = seen[r.verdict] + 1
    if r.verdict == "verified" then lu.assertTrue(holds) end
    if r.verdict == "violated" then
      lu.assertFalse(holds)
      local p = r.x:totable()
      lu.assertTrue(p[1] >= x and p[1] <= X and p[2] >= y and p[2] <= Y)
      lu.assertTrue(net:forward(r.x:reshape(1, 2)):get(1, 1) + shift <= 0)
    end
    if r.verdict == "unknown" then lu.assertEquals(low[1] + shift * low[2], 0, r.reason) end -- at a point that is no float
  end
  local counts = ("%d %d %d"):format(seen.verified, seen.violated, seen.unknown)
  lu.assertTrue(seen.verified > 0.3 * n and seen.violated > 0.3 * n, counts)
  return seen, counts
end

function tests.test_tiny_nets_beside_exact_enumeration()
  local seen, counts = beside_enumeration(2000, "input")
  lu.assertTrue(seen.unknown < 20, counts)
end

-- A tie at a point that no bound leads to stays open here: boxes do not close in on it.
function tests.test_units_beside_exact_enumeration()
  local seen, counts = beside_enumeration(2000, "unit")
  lu.assertTrue(seen.unknown < 100, counts)
end

-- ---- planted counterexamples ----

-- f(x) = height - relu(sum of x - (n - depth)) over [0, 1]^n: least at the corner of ones, height - depth. `lift` is added to
-- the hidden unit and taken off again, and eats what float32 has no digits for.
local function spike(n, depth, height, lift)
  local ones = {}
  for i = 1, n do ones[i] = 1 end
  return net_of { { { ones, ones }, { depth - n, lift } }, { { { -1, 1 }, { 0, 1 } }, { 0, 0 } }, { { { 1, -1 } }, { height } } },
    function(x)
      local sum = 0
      for i = 1, n do sum = sum + x[i] end
      return sum
    end
end

function tests.test_planted_counterexamples()
  local asked, verified = 0, 0
  for _, n in ipairs { 1, 2, 3, 5 } do
    local low, high = {}, {}
    for i = 1, n do low[i], high[i] = 0, 1 end
    for _, depth in ipairs { 0.5, 1e-3, 1e-5, 2 ^ -20, 2 ^ -22 } do
      for _, part in ipairs { 1, 1 - 2 ^ -10, 0.5, 1 + 2 ^ -20, 2 } do
        for _, lift in ipairs { 0, 1, 1e3, 1e6 } do
          local height = depth * part
          local net = spike(n, depth, height, lift)
          local r = assert(lip.verify(net, lip.property { input = box(low, high), output = { C = { { 1 } } } },
            { nodes = 3000, attack = lift ~= 1, split = n % 2 == 0 and "unit" or "input" }))
          -- the corner itself, as executed and by the numbers that float32 made of ours
          local corner = net:forward(lip.ones(1, n)):get(1, 1)
          local exact = net:forward(lip.ones(1, n), { arithmetic = "double" })
          asked = asked + 1
          if r.verdict == "verified" then
            verified = verified + 1
            lu.assertTrue(corner > 0, ("%d %g %g %g"):format(n, depth, part, lift))
            lu.assertTrue(exact:get(1, 1) > 0, ("%d %g %g %g"):format(n, depth, part, lift))
          elseif r.verdict == "violated" then
            lu.assertTrue(net:forward(r.x:reshape(1, n)):get(1, 1) <= 0)
          end
          if part <= 0.5 and lift == 0 and depth >= 1e-5 then lu.assertEquals(r.verdict, "violated") end
          if part == 2 and lift == 0 and depth >= 1e-5 then lu.assertEquals(r.verdict, "verified") end
        end
      end
    end
  end
  lu.assertEquals(asked, 400)
  lu.assertTrue(verified > 30, verified)
end

-- ---- queries, and answers of others ----

local data = os.getenv "LIPWB_DATA"

function tests.test_answers_of_others()
  local folder = (data or "") .. "/vnncomp/acasxu/"
  lu.skipIf(not lip.file.exists(folder .. "answers.csv"), "no ACAS Xu nets: LIPWB_DATA is not set")
  local n, counts = 0, { unsat = 0, sat = 0 }
  for line in io.lines(folder .. "answers.csv") do
    local file, property, answer = line:match "^([^,]*%.onnx),([^,]*),[^,]*,([^,]*)"
    n = n + 1
    if file and (n % 6 == 0 or property:find "_[5-9]%.") and property ~= "prop_6.vnnlib" then
      local net = assert(lip.onnx(folder .. file, { norm = "inf" }))
      local query = assert(lip.property.vnnlib(folder .. property))
      local r = assert(lip.verify(net, query, { nodes = 1500 }))
      local found = r.verdict == "verified" and "unsat" or r.verdict == "violated" and "sat" or answer
      lu.assertEquals(found, answer, file .. " " .. property)
      if r.verdict ~= "unknown" then counts[found] = counts[found] + 1 end
      if r.verdict == "violated" then
        lu.assertEquals(query:holds(r.x, r.outputs), "unsafe")
        lu.assertTrue(net:forward(r.x:reshape(1, 5)):equal(r.outputs:reshape(1, 5)))
      end
    end
  end
  lu.assertTrue(counts.unsat >= 20 and counts.sat >= 5, ("%d %d"):format(counts.unsat, counts.sat))
end

function tests.test_the_same_tree_for_any_number_of_threads()
  local net = lip.net { input = { 4 }, norm = "inf", seed = 3, D(24), lip.relu {}, D(24), lip.maxmin {}, D(3) }
  local p = lip.property { input = box({ -1, -1, -1, -1 }, { 1, 1, 1, 1 }), output = { between = { -1.2, 1.2 } } }
  local code = [[local lip = require "lip"
    local net = lip.net { input = { 4 }, norm = "inf", seed = 3, lip.dense { out = 24 }, lip.relu {}, lip.dense { out = 24 }, lip.maxmin {}, lip.dense { out = 3 } }
    local x = lip.tensor { 1, 1, 1, 1 }
    local r = lip.verify(net, lip.property { input = { low = x:clone():mul(-1), high = x }, output = { between = { %s, %s } } }, { nodes = 4000 })
    print(r.verdict, r.nodes, r.leaves, r.deepest, r.least, r.x and table.concat(r.x:totable(), " "))]]
  lu.assertNotNil(net and p)
  for _, side in ipairs { 1.2, 0.9, 0.8, 0.7, 0.6, 0.3 } do
    local seen
    for _, threads in ipairs { 1, 2, 3 } do
      local run = lip.process.run { lip.process.self().program, "--threads=" .. threads, "-e", code:format(-side, side) }
      lu.assertStrContains(run.output, "ed", run.errors)
      seen = seen or run.output
      lu.assertEquals(run.output, seen)
    end
  end
end

-- ---- what is refused, and limits ----

function tests.test_boxes()
  local net = net_of { { { { 1, 1 } }, { 0 } } }
  local function ask(input, d) return assert(lip.verify(net, lip.property { input = input, output = { C = { { 1 } }, d = { d } } })) end
  -- without width
  lu.assertEquals(ask(box({ 1, 1 }, { 1, 1 }), -1.5).verdict, "verified")
  lu.assertEquals(ask(box({ 1, 1 }, { 1, 1 }), -2).verdict, "violated") -- a tie
  lu.assertEquals(ask(box({ 1, 1 }, { 1, 1 }), -2.5).verdict, "violated")
  -- balls, wider than their box; a scale of 0
  local x = lip.tensor { 0.5, 0.5 }
  lu.assertEquals(ask({ x = x, eps = 3, box = { 0, 1 } }, 0.01).verdict, "verified")
  local r = ask({ x = x, eps = 3, box = { 0, 1 } }, -0.01)
  lu.assertEquals(r.verdict, "violated")
  lu.assertTrue(r.x:get(1) >= 0 and r.x:get(2) >= 0)
  lu.assertEquals(ask({ x = x, eps = 1, scale = lip.tensor { 0, 0.25 } }, -0.74).verdict, "verified")
  lu.assertEquals(ask({ x = x, eps = 1, scale = lip.tensor { 0, 0.25 } }, -0.76).verdict, "violated")
  -- several parts: the second is the one
  r = ask({ box({ 1, 1 }, { 2, 2 }), box({ -1, -1 }, { 0, 0 }) }, 0.5)
  lu.assertEquals({ r.verdict, r.case }, { "violated", 2 })
  lu.assertErrorMsgContains("empty", ask, box({ 1, 1 }, { 1, 0 }), 0)
  lu.assertErrorMsgContains("finite", ask, box({ 1, 1 }, { 1, math.huge }), 0)
  lu.assertErrorMsgContains("finite", ask, box({ 1, 0 / 0 }, { 1, 2 }), 0)
  lu.assertErrorMsgContains("eps", ask, { x = x, eps = -1 }, 0)
  lu.assertErrorMsgContains("eps", ask, { x = x, eps = 0 / 0 }, 0)
  lu.assertErrorMsgContains("one input", ask, { x = lip.ones(2, 2), eps = 1 }, 0)
  lu.assertErrorMsgContains("expects 1, 2", ask, { x = x, eps = 1, p = 3 }, 0)
  lu.assertErrorMsgContains("one norm", ask, { { x = x, eps = 1, p = 2 }, { x = x, eps = 1 } }, 0)
  lu.assertErrorMsgContains("middle", ask, { x = x, eps = 1, p = 2, box = { 1, 3 } }, 0)
  lu.assertErrorMsgContains("both", ask, { x = x, low = x, high = x }, 0)
  lu.assertErrorMsgContains("knows", ask, { x = x, eps = 1, radius = 2 }, 0)
end

-- Balls of norm 1 and 2: a row's least value is known.
function tests.test_balls()
  local net = net_of { { { { 3, 4 }, { -3, -4 } }, { 0, 0 } }, { { { 1, -1 } }, { 0 } } } -- 3 x + 4 y
  local function ask(input, d, options)
    return assert(lip.verify(net, lip.property { input = input, output = { C = { { 1 } }, d = { d } } }, options))
  end
  local x = lip.tensor { 1, 1 }
  for _, split in ipairs { "best", "unit" } do
    local o = { split = split, nodes = 200 }
    lu.assertEquals(ask({ x = x, eps = 1, p = 2 }, -1.999, o).verdict, "verified")
    local r = ask({ x = x, eps = 1, p = 2 }, -2.001, o)
    lu.assertEquals(r.verdict, "violated")
    lu.assertTrue((r.x:get(1) - 1) ^ 2 + (r.x:get(2) - 1) ^ 2 <= 1)
    lu.assertEquals(ask({ x = x, eps = 1, p = 1 }, -2.999, o).verdict, "verified")
    r = ask({ x = x, eps = 1, p = 1 }, -3.001, o)
    lu.assertEquals(r.verdict, "violated")
    lu.assertTrue(math.abs(r.x:get(1) - 1) + math.abs(r.x:get(2) - 1) <= 1)
    lu.assertEquals(ask({ x = x, eps = 1, p = 2, box = { 0.5, 2 } }, -3.49, o).verdict, "verified")
    lu.assertEquals(ask({ x = x, eps = 0.1, p = 2, scale = lip.tensor { 0, 10 } }, -2.99, o).verdict, "verified")
    lu.assertEquals(ask({ x = x, eps = 0.1, p = 2, scale = lip.tensor { 0, 10 } }, -3.01, o).verdict, "violated")
  end
  lu.assertErrorMsgContains("cannot be halved", function() assert(lip.verify(net, lip.property { input = { x = x, eps = 1, p = 2 },
    output = { C = { { 1 } }, d = { -100 } } }, { split = "input", attack = false })) end)
end

function tests.test_labels()
  local net = net_of { { { { 1, 0 }, { 0, 1 }, { -1, -1 } }, { 0, 0, 0 } } }
  local x = lip.tensor { 3, 1 }
  local P = lip.property
  lu.assertEquals(assert(lip.verify(net, P.robust(x, 0, 0.99))).verdict, "verified")
  local r = assert(lip.verify(net, P.robust(x, 0, 1.01)))
  lu.assertEquals({ r.verdict, r.label }, { "violated", 1 })
  lu.assertEquals(assert(lip.verify(net, P.robust(x, 1, 0.5))).verdict, "violated")
  lu.assertEquals(assert(lip.verify(net, P.top_k(x, 1, 2, 1.3))).verdict, "verified")
  lu.assertEquals(assert(lip.verify(net, P.top_k(x, 2, 2, 0.5))).verdict, "violated")
  lu.assertEquals(assert(lip.verify(net, P { input = { x = x, eps = 1 }, output = { label = 0, target = 2 } })).verdict, "verified")
  lu.assertEquals(assert(lip.verify(net, P.output_range(box({ 0, 0 }, { 1, 1 }), -2.01, 1.01))).verdict, "verified")
  lu.assertEquals(assert(lip.verify(net, P.output_range(box({ 0, 0 }, { 1, 1 }), -1.99, 1.01))).verdict, "violated")
  lu.assertErrorMsgContains("class from 0 to 2", lip.verify, net, P.robust(x, 3, 1))
  lu.assertErrorMsgContains("label", P, { input = box({ 0 }, { 1 }), output = { label = -1 } })
  lu.assertErrorMsgContains("output expects", P, { input = box({ 0 }, { 1 }) })
  lu.assertErrorMsgContains("expects a table", P, 3)
  lu.assertErrorMsgContains("property", lip.verify, net, 3)
  lu.assertErrorMsgContains("unknown option", lip.verify, net, P.robust(x, 0, 1), { second = 1 })
  -- one output: its sign
  local one = net_of { { { { 1, -1 } }, { 0 } } }
  lu.assertEquals(assert(lip.verify(one, P.robust(x, 1, 0.9))).verdict, "verified")
  lu.assertEquals(assert(lip.verify(one, P.robust(x, 0, 0.9))).verdict, "violated")
end

function tests.test_limits()
  local net = lip.net { input = { 6 }, norm = "inf", seed = 1, D(30), lip.relu {}, D(30), lip.relu {}, D(2) }
  local ones = lip.ones(6)
  local p = lip.property { input = { low = ones:clone():mul(-2), high = ones }, output = { between = { -0.1, 0.1 } } }
  local r = assert(lip.verify(net, p, { nodes = 1, attack = false }))
  lu.assertEquals({ r.verdict, r.reason }, { "unknown", "out of nodes" })
  lu.assertTrue(r.least < 0)
  local told = 0
  r = assert(lip.verify(net, p, { seconds = 1e-9, attack = false }))
  lu.assertEquals({ r.verdict, r.reason }, { "unknown", "out of time" })
  net = lip.net { input = { 16 }, norm = "inf", seed = 1, D(80), lip.relu {}, D(80), lip.relu {}, D(2) }
  ones = lip.ones(16)
  p = lip.property { input = { low = ones:clone():mul(-20), high = ones:clone():mul(20) }, output = { between = { -1, 1 } } }
  lu.assertErrorMsgContains("stop", lip.verify, net, p, { attack = false, nodes = 1e6, seconds = 30, progress = function(t)
    told = told + 1
    lu.assertStrContains(t.method, "nodes")
    error "stop"
  end })
  lu.assertEquals(told, 1)
end

function tests.test_layers_without_bounds()
  local net = lip.net { input = { 2 }, norm = "inf", lip.linf_dist { out = 3 } }
  local x = lip.tensor { 0.5, 0.5 }
  local r = assert(lip.verify(net, lip.property.output_range({ x = x, eps = 0.1 }, -100, 100)))
  lu.assertEquals(r.verdict, "unknown")
  lu.assertStrContains(r.reason, "linf_dist")
end

-- ---- data ----

-- Balls that one look leaves open are decided; verdicts that were there stay.
function tests.test_data()
  local digits = lip.data.digits { n = 460, seed = 3 }
  local train, test = digits:subset(1, 400), digits:subset(401, 460)
  local info = test:info()
  local net = lip.net { input = info.shape, norm = 2, budget = 30, seed = 2, lip.flatten {}, D(24), lip.relu {}, D(24), lip.relu {}, D(10) }
  assert(lip.train(net, train, { epochs = 4, batch = 32, seed = 1 }))
  local left, found = 0, 0
  for _, o in ipairs { { p = 2, eps = 0.5 }, { p = "inf", eps = 0.05 }, { p = 1, eps = 1.5 } } do
    o.box = { 0, 1 }
    local before = assert(lip.verify(net, test, o))
    o.nodes = 200
    local after = assert(lip.verify(net, test, o))
    left = left + before.unproven
    lu.assertTrue(before.unproven == 0 or after.unproven < before.unproven, ("%s %g"):format(o.p, before.unproven))
    local labels, k = test:labels():totable(), 0
    for i, verdict in ipairs(before.verdicts) do
      if verdict ~= "unproven" then lu.assertEquals(after.verdicts[i], verdict) end
    end
    for j, row in ipairs(after.rows) do
      k = k + 1
      lu.assertEquals(after.verdicts[row], "violated")
      lu.assertNotEquals(net:predict(after.adversarial:slice(1, j, j))[1], labels[row])
    end
    found = found + k
  end
  lu.assertTrue(left > 0 and found > 0, ("%g %d"):format(left, found))
end

-- ---- the command ----

function tests.test_command()
  local folder = assert(lip.file.temporary())
  local net = net_of { { { { 1, 1 } }, { 0 } } }
  assert(net:export { onnx = folder .. "/net.onnx" })
  local function query(bound)
    return ("(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(assert (>= X_0 0.1))(assert (<= X_0 0.3))"
      .. "(assert (>= X_1 0.1))(assert (<= X_1 0.3))(assert (<= Y_0 %s))"):format(bound)
  end
  local function run(bound, ...)
    assert(lip.file.write(folder .. "/p.vnnlib", query(bound)))
    local r = lip.process.run { lip.process.self().program, "verify", folder .. "/net.onnx", folder .. "/p.vnnlib", ... }
    return r.output:match "^[^\n]*", r.exit, r.errors
  end
  lu.assertEquals({ run "0.19" }, { "unsat", 0, "" })
  lu.assertEquals({ run("0.21", "--counterexample", folder .. "/ce") }, { "sat", 3, "" })
  lu.assertStrMatches(lip.file.read(folder .. "/ce"), "%(%(X_0 0%.1%d*%)\n %(X_1 0%.1%d*%)\n %(Y_0 0%.2%d*%)%)\n")
  lu.assertEquals({ run("0.19", "--nodes", "0") }, { "", 2, select(3, run("0.19", "--nodes", "0")) })
  local _, exit, errors = run("0.21", "--counterexample", folder .. "/no/where")
  lu.assertEquals(exit, 1)
  lu.assertStrContains(errors, "no/where")
  _, exit, errors = run "abc"
  lu.assertEquals(exit, 1)
  lu.assertStrContains(errors, "p.vnnlib")
  lip.file.remove_tree(folder)
end

return tests
