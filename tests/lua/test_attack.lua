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
  refused("low <= high", { box = { 1, 0 } })
  refused("low <= high", { box = { 0, 0 / 0 } })
  refused("row 1 holds 0, outside of the box", { box = { 0.5, 1 } })
  refused("one step", { method = "fgsm", steps = 2 })
  refused("nothing to attack", { limit = 0 })
  refused("nothing to attack", { batch = 0 })
  refused("restarts", { restarts = 0 })
  raises("do not fit", lip.attack, net, lip.zeros(2, 4), { eps = 1 })
  raises("features", lip.attack, net, lip.dataset_tensors(lip.zeros(2, 4)), { eps = 1 })
  raises("at least 2 classes", lip.attack, lip.net { input = 3, norm = 2, lip.dense { out = 1 } }, x, { eps = 1 })
  for _, bad in ipairs { 1, "x", {}, true, print } do
    lu.assertError(lip.attack, bad, x, { eps = 1 })
    lu.assertError(lip.attack, net, bad, { eps = 1 })
    if type(bad) ~= "table" then lu.assertError(lip.attack, net, x, nil, bad) end
  end
end

return T
