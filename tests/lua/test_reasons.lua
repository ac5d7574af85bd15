-- A method that gives no number says why: in the result, in print, and in what "best" tells of each.
local lu = require "luaunit"
local lip = require "lip"

local tests = {}
local inf = math.huge

local function dense(norm, ...)
  return lip.net { input = 6, norm = norm, seed = 3, budget = inf, ... }
end

-- The kind of net the README has, untrained; narrower, so that one proof takes little time on a slow machine too.
local function readme(width, classes)
  return lip.net { input = { 1, 8, 8 }, norm = "inf", budget = 16, init = "on_ball", seed = 1,
    lip.flatten(), lip.dense { out = width or 64 }, lip.groupsort { size = 8 }, lip.dense { out = width or 64 },
    lip.groupsort { size = 8 }, lip.dense { out = classes or 60 } }
end

local function residual(norm)
  return dense(norm, lip.dense { out = 6 }, lip.residual { lip.dense { out = 6 }, lip.relu() }, lip.dense { out = 3 })
end

local function by_method(tried)
  local found = {}
  for _, row in ipairs(tried) do found[row.method] = row end
  return found
end

function tests.test_a_layer_without_that_form_is_named()
  for _, norm in ipairs { "2", "inf" } do
    local pooled = lip.residual { lip.conv2d { channels = 1, kernel = 1 }, lip.l2_pool2d { kernel = 1 } }
    local net = lip.net { input = { 1, 2, 3 }, norm = norm, seed = 3, budget = inf,
      lip.conv2d { channels = 1, kernel = 1 }, pooled, lip.flatten(), lip.dense { out = 3 } }
    lu.assertNil(net:bound().reason)
    for _, method in ipairs { "recursion", "multiplier", "exact", "abs" } do
      local b = net:bound { method = method, pairs = true }
      lu.assertEquals(b.upper, inf, method)
      lu.assertStrContains(b.reason, "layer 2 (residual: its l2_pool2d)")
      lu.assertStrContains(tostring(b), "reason: layer 2 (residual: its l2_pool2d)")
    end
    local c = net:certify(lip.rand(1, { 3, 1, 2, 3 }), { 0, 1, 2 }, { method = "multiplier", eps = 0.1 })
    lu.assertStrContains(c.reason, "layer 2 (residual: its l2_pool2d)")
    local l = net:certify(lip.rand(1, { 3, 1, 2, 3 }), { 0, 1, 2 }, { method = "local", eps = 0.1 })
    lu.assertStrContains(l.reason, "'l2_pool2d'")
    lu.assertStrContains(net:bound { method = "local", x = lip.zeros(1, 1, 2, 3), eps = 0.1, global = "recursion" }.reason,
      "layer 2 (residual: its l2_pool2d)")
  end
end

function tests.test_best_is_never_worse_than_the_product_and_lists_all()
  for _, net in ipairs { residual "2", residual "inf",
    dense("inf", lip.dense { out = 30 }, lip.maxmin(), lip.dense { out = 3 }),
    dense(1, lip.dense { out = 5 }, lip.relu(), lip.dense { out = 2 }) } do
    for _, pairs_too in ipairs { false, true } do
      local b, product = net:bound { method = "best", pairs = pairs_too }, net:bound { pairs = pairs_too }
      lu.assertTrue(b.upper <= product.upper)
      lu.assertNil(b.reason)
      lu.assertEquals(#b.tried, #lip.bound_methods() - 1)
      for i, row in ipairs(b.tried) do
        lu.assertEquals(row.method, lip.bound_methods()[i].name)
        lu.assertTrue(row.upper < inf or type(row.reason) == "string", row.method)
        lu.assertStrContains(tostring(b), row.method)
        if row.reason then lu.assertStrContains(tostring(b), row.reason) end
      end
    end
  end
  lu.assertNil(dense("2", lip.dense { out = 3 }):bound().tried)
end

function tests.test_reasons_of_each_kind()
  local wide = dense("2", lip.dense { out = 20 }, lip.relu(), lip.dense { out = 3 })
  lu.assertStrContains(wide:bound { method = "exact" }.reason, "20 units have two slopes, and it takes 16")
  local one = dense("1", lip.dense { out = 4 }, lip.relu(), lip.dense { out = 3 })
  lu.assertStrContains(one:bound { method = "recursion" }.reason, "norms 2 and inf, not 1 of the input")
  lu.assertStrContains(dense("2", lip.dense { out = 3 }):bound { method = "multiplier" }.reason, "single matrix")
  lu.assertTrue(residual "2":bound { p = "inf" }.upper < inf)
  local broken = residual "2"
  for _, w in ipairs(broken:parameters()) do w.value:fill(0 / 0) end
  local inner = broken:bound { p = "inf" }
  lu.assertEquals(inner.upper, inf)
  lu.assertStrContains(inner.reason, "layer 1 (dense) states no finite constant for the norms inf->inf")
  wide:weights(1):fill(0 / 0)
  for _, method in ipairs { "abs", "recursion", "multiplier" } do
    lu.assertStrContains(wide:bound { method = method }.reason, "not finite", false, method)
  end
end

-- The kind of the README's: the semidefinite inequality loses against the product in norm inf.
function tests.test_a_bound_above_the_product_says_so()
  local net = readme(32, 3)
  for _, w in ipairs { 1, 2, 3 } do net:weights(w):fill(0.001) end
  local b = net:bound { method = "recursion" }
  lu.assertTrue(b.upper > net:bound().upper)
  lu.assertStrContains(b.reason, "above the product of the layers' norms")
  local best = net:bound { method = "best" }
  lu.assertEquals(best.upper, net:bound().upper)
  lu.assertStrContains(by_method(best.tried).recursion.reason, "cannot be below")
end

function tests.test_time_that_runs_out_is_a_reason()
  local net = readme()
  for _, method in ipairs { "recursion", "multiplier" } do
    local b = net:bound { method = method, pairs = true, seconds = 0.2 }
    lu.assertStrContains(b.reason, "out of time: ")
    lu.assertStrContains(b.reason, " of 1830 pairs and rows done within 0.2 s")
    local product = net:bound { pairs = true }
    lu.assertTrue(b.upper <= product.upper)
    for i = 1, 60 do
      for j = 1, i - 1 do lu.assertTrue(b.pairs[i][j] < inf) end
    end
    local late = net:bound { method = method, seconds = 1e-9, pairs = true } -- nothing is proved
    lu.assertEquals(late.method, "product")
    lu.assertEquals(late.upper, product.upper)
    lu.assertEquals(late.pairs[1][2], product.pairs[1][2])
  end
  local best = net:bound { method = "best", seconds = 1e-9 }
  lu.assertEquals(best.upper, net:bound().upper)
  lu.assertStrContains(by_method(best.tried).multiplier.reason, "no time is left")
end

-- Numbers that more time would change say so; without a reason they are those of all the time there is.
function tests.test_a_search_that_time_has_cut_is_a_reason()
  local net = dense("inf", lip.dense { out = 120 }, lip.relu(), lip.dense { out = 120 }, lip.relu(),
    lip.dense { out = 120 }, lip.relu(), lip.dense { out = 3 })
  local settled = net:bound { method = "multiplier", seconds = 1e6 }
  lu.assertNil(settled.reason)
  local product = net:bound().upper
  local cut, seconds = 0, 2 ^ -8
  repeat
    local b = net:bound { method = "multiplier", seconds = seconds }
    if not b.reason then
      lu.assertEquals(b.upper, settled.upper)
    elseif b.reason:find("out of time", 1, true) then -- what is missing is the product's
      lu.assertTrue(b.upper <= product)
      lu.assertStrContains(b.reason, "product for the rest")
    else
      lu.assertStrContains(b.reason, "all are proved, but the search for ")
      lu.assertStrContains(b.reason, (" of 3 pairs and rows ended early, within %.3g s"):format(seconds))
      lu.assertTrue(b.upper >= settled.upper * (1 - 1e-6))
      cut = cut + 1
    end
    seconds = seconds * 1.3
  until not b.reason
  lu.assertTrue(cut > 0)
end

-- It took minutes; half of the limit is for a machine that has other things to do.
function tests.test_nothing_in_norm_inf_takes_long_unasked()
  local began = lip.time()
  local b = readme():bound { method = "multiplier", pairs = true }
  lu.assertTrue(lip.time() - began < 2 * 10)
  lu.assertStrContains(b.reason, "within 8 s") -- not all are done, or not all are settled
  lu.assertErrorMsgContains("'seconds' expects a number above 0", function() return readme():bound { seconds = 0 } end)
end

function tests.test_progress_tells_how_far_it_is()
  local net, seen = readme(), {}
  local function progress(t) seen[#seen + 1] = t end
  net:bound { method = "recursion", pairs = true, progress = progress, seconds = 3 }
  lu.assertTrue(#seen >= 2)
  for i, t in ipairs(seen) do
    lu.assertEquals(t.method, "recursion")
    lu.assertEquals(t.total, 1830)
    lu.assertTrue(t.done <= 1830 and t.done >= (seen[i - 1] or t).done and t.seconds >= 0)
  end
end

function tests.test_progress_that_goes_wrong()
  local net = readme()
  local function bound(progress)
    local b = net:bound { method = "multiplier", pairs = true, progress = progress, seconds = 20 }
    return b
  end
  local token = {}
  local ok, message = pcall(bound, function() error(token) end)
  lu.assertFalse(ok)
  lu.assertIs(message, token)
  -- a bound of weights that change holds for nothing
  ok, message = pcall(bound, function() net:weights(1):set(1, 1, 5) end)
  lu.assertFalse(ok)
  lu.assertStrContains(message, "changed the weights")
  -- it may use the net, and even bound it
  local inner
  net:reset()
  local small = { method = "recursion", pairs = true, seconds = 2, progress = function()
    net:forward(lip.rand(1, { 700, 64 }))
    inner = net:bound { method = "recursion", seconds = 1 }
  end }
  lu.assertEquals(type(net:bound(small).upper), "number")
  lu.assertEquals(type(inner.upper), "number")
  for _, wrong in ipairs { true, 1, "x", {} } do
    lu.assertErrorMsgContains("option 'progress' expects a function", net.bound, net, { progress = wrong })
    lu.assertErrorMsgContains("option 'progress' expects a function", net.certify, net, lip.zeros(1, 64), nil,
      { progress = wrong })
  end
end

function tests.test_progress_of_rows()
  local net, rows = dense("2", lip.dense { out = 40 }, lip.relu(), lip.dense { out = 3 }), {}
  net:certify(lip.rand(1, { 40, 6 }), nil, { batch = 1, progress = function(t) rows[#rows + 1] = t.done end })
  for i, done in ipairs(rows) do lu.assertTrue(done >= (rows[i - 1] or 0) and done <= 40) end
end

function tests.test_certificates_say_what_is_missing()
  local path = lip.file.temporary() .. "/a.cert"
  local ok, reason = dense("2", lip.dense { out = 3 }):certificate(path, nil, { method = "multiplier" })
  lu.assertTrue(ok)
  lu.assertStrContains(reason, "single matrix")
  lu.assertEquals({ dense("2", lip.dense { out = 3 }, lip.relu(), lip.dense { out = 3 }):certificate(path, nil,
    { method = "multiplier" }) }, { true })
  lip.file.remove_tree(path:match "(.*)/")
end

return tests
