-- lip.tensor and lip.rng from the Lua side: creation, views, arithmetic, errors, life time.
local lu = require "luaunit"
local lip = require "lip"

local nan, inf = 0 / 0, math.huge
local T = {}

local function raises(text, f, ...)
  lu.assertErrorMsgContains(text, f, ...)
end

local function is_nan(x) return x ~= x end

-- ---- creation ----

function T.test_from_nested_tables()
  local t = lip.tensor {{1, 2, 3}, {4, 5, 6}}
  lu.assertEquals(t:shape(), {2, 3})
  lu.assertEquals(t:totable(), {{1, 2, 3}, {4, 5, 6}})
  lu.assertEquals({t:size(), t:dim(), #t, t:shape(2), t:shape(-2)}, {6, 2, 2, 3, 2})
  lu.assertEquals(lip.tensor {{{{7}}}}:shape(), {1, 1, 1, 1})
  lu.assertEquals(lip.tensor(3, 4):totable(), {3, 4})
  lu.assertEquals(lip.tensor {}:shape(), {0})
  lu.assertEquals(lip.tensor {{}, {}}:totable(), {{}, {}})
  lu.assertEquals(lip.full({}, 5):totable(), 5)
end

function T.test_ragged_tables_name_the_place()
  raises("element [2] has 1 entries, expected 2", lip.tensor, {{1, 2}, {3}})
  raises("element [2][1]: a number expected, got the string \"x\"", lip.tensor, {{1}, {"x"}})
  raises("element [1][2]: a number expected, got a table", lip.tensor, {{1, {2}}})
  raises("element [2]: a table expected, got the number 2", lip.tensor, {{1}, 2})
  raises("element [2]: a number expected, got nil", lip.tensor, {1, nil, 3})
  raises("nested more than 4 deep", lip.tensor, {{{{{1}}}}})
  local loop = {}
  loop[1] = loop
  raises("nested more than 4 deep", lip.tensor, loop)
end

function T.test_filled()
  lu.assertEquals(lip.zeros(2, 2):totable(), {{0, 0}, {0, 0}})
  lu.assertEquals(lip.ones {2}:totable(), {1, 1})
  lu.assertEquals(lip.full({1, 2}, 2.5):totable(), {{2.5, 2.5}})
  lu.assertEquals(lip.eye(2):totable(), {{1, 0}, {0, 1}})
  lu.assertEquals(lip.eye(1, 3):totable(), {{1, 0, 0}})
  lu.assertEquals(lip.arange(3):totable(), {1, 2, 3})
  lu.assertEquals(lip.arange(0, 1, 0.25):totable(), {0, 0.25, 0.5, 0.75, 1})
  lu.assertEquals(#lip.arange(0, 0.3, 0.1), 4)
  lu.assertEquals(lip.arange(2, 0, -1):totable(), {2, 1, 0})
  lu.assertEquals(#lip.arange(1, 0), 0)
  lu.assertEquals(lip.linspace(-1, 1, 5):totable(), {-1, -0.5, 0, 0.5, 1})
  lu.assertEquals(lip.linspace(3, 9, 1):totable(), {3})
end

function T.test_sizes_that_cannot_be_are_refused()
  raises("too large", lip.zeros, 2 ^ 53, 2 ^ 53)
  raises("too large", lip.zeros, 2 ^ 53, 0)
  raises("too large", lip.eye, 2 ^ 40)
  raises("dimension 2: a whole number >= 0 expected, got the number -1", lip.zeros, 2, -1)
  raises("dimension 1: a whole number >= 0 expected, got the number 0.5", lip.zeros, 0.5)
  raises("got the number nan", lip.zeros, nan)
  raises("at most 4 dimensions, got 5", lip.zeros, 1, 1, 1, 1, 1)
  raises("a shape expected", lip.zeros)
  raises("too many elements", lip.arange, 0, 1e300)
  raises("step other than 0", lip.arange, 0, 1, 0)
end

-- ---- elements and views ----

function T.test_indexing()
  local t = lip.tensor {{1, 2, 3}, {4, 5, 6}}
  lu.assertEquals(t[2]:totable(), {4, 5, 6})
  lu.assertEquals(t[-1][-1], 6)
  lu.assertEquals({t:get(1, 3), t:get(-1, 1)}, {3, 4})
  t[1] = {7, 8, 9}
  t[2][2] = 50
  t:set(2, 3, 60):set(2, 1, 40)
  lu.assertEquals(t:totable(), {{7, 8, 9}, {40, 50, 60}})
  t[1] = t[2]
  t[2] = 0
  lu.assertEquals(t:totable(), {{40, 50, 60}, {0, 0, 0}})
  lu.assertEquals(lip.full({}, 5):get(), 5)
  lu.assertNil(t.no_such_method)
  raises("index 3 is outside 1..2", function() return t[3] end)
  raises("index 0 is outside 1..2", function() return t[0] end)
  raises("index -3 is outside", function() return t[-3] end)
  raises("number has no integer representation", function() return t[1.5] end)
  raises("2 indices expected, one per dimension, got 1", t.get, t, 1)
  raises("only elements can be assigned, by number, got the string", function() t.x = 1 end)
  raises("to 3, from 2", function() t[1] = {1, 2} end)
  raises("number expected", function() t[1][1] = "x" end)
  raises("no length", function() return #lip.full({}, 1) end)
end

function T.test_pairs_visits_every_row()
  local seen = {}
  for i, row in pairs(lip.tensor {{1, 2}, {3, 4}}) do seen[i] = row:sum() end
  lu.assertEquals(seen, {3, 7})
  seen = {}
  for i, v in pairs(lip.tensor {5, 6}) do seen[i] = v end
  lu.assertEquals(seen, {5, 6})
end

function T.test_views_share_memory()
  local t = lip.arange(12):reshape(3, 4)
  local s, c, u = t:slice(1, 2, 3), t:select(2, -1), t:transpose()
  lu.assertEquals(s:totable(), {{5, 6, 7, 8}, {9, 10, 11, 12}})
  lu.assertEquals(c:totable(), {4, 8, 12})
  lu.assertEquals(u[4]:totable(), {4, 8, 12})
  lu.assertEquals(t:slice(2, 1, -1, 2):totable(), {{1, 3}, {5, 7}, {9, 11}})
  lu.assertEquals(t:slice(1, 2, 1):shape(), {0, 4})
  u:set(1, 1, 100)
  c:fill(0)
  lu.assertEquals(t:totable(), {{100, 2, 3, 0}, {5, 6, 7, 0}, {9, 10, 11, 0}})
  lu.assertEquals(t:clone():fill(1):sum(), 12)
  lu.assertEquals(t:get(1, 1), 100)
  raises("range 0..2 is outside 1..3", t.slice, t, 1, 0, 2)
  raises("range 2..4 is outside 1..3", t.slice, t, 1, 2, 4)
  raises("step of at least 1", t.slice, t, 1, 1, 2, 0)
  raises("dimension 3 is outside 1..2", t.slice, t, 3, 1, 1)
end

function T.test_reshape()
  local t = lip.arange(12)
  lu.assertEquals(t:reshape(3, -1):shape(), {3, 4})
  lu.assertEquals(t:reshape {2, 2, 3}:shape(), {2, 2, 3})
  t:reshape(3, 4):set(1, 2, 50)
  lu.assertEquals(t[2], 50) -- a view
  local turned = t:reshape(3, 4):transpose()
  lu.assertFalse(turned:is_contiguous())
  local flat = turned:flatten()
  lu.assertEquals(flat:totable(), {1, 5, 9, 50, 6, 10, 3, 7, 11, 4, 8, 12})
  flat[1] = 99 -- a copy
  lu.assertEquals(t[1], 1)
  raises("5 has another number of elements than 12", t.reshape, t, 5)
  raises("12 elements cannot be split into rows of 5", t.reshape, t, -1, 5)
  raises("got the number -1", t.reshape, t, -1, -1)
  raises("12 elements cannot be split into rows of 0", t.reshape, t, 0, -1)
end

function T.test_copy_between_overlapping_views()
  local t = lip.arange(9):reshape(3, 3)
  t:copy(t:transpose())
  lu.assertEquals(t:totable(), {{1, 4, 7}, {2, 5, 8}, {3, 6, 9}})
  local v = lip.arange(5)
  v:slice(1, 2, 5):copy(v:slice(1, 1, 4))
  lu.assertEquals(v:totable(), {1, 1, 2, 3, 4})
  local w = lip.tensor {{1, 2}, {3, 4}}
  w:add_(w[1])
  lu.assertEquals(w:totable(), {{2, 4}, {4, 6}})
  w:sub_(w:transpose())
  lu.assertEquals(w:totable(), {{0, 0}, {0, 0}})
  raises("to 2x2, from 3x3", w.copy, w, t)
end

-- ---- arithmetic ----

function T.test_operators()
  local a, b = lip.tensor {{1, 2}, {3, 4}}, lip.tensor {{5, 6}, {7, 8}}
  lu.assertEquals((a + b):totable(), {{6, 8}, {10, 12}})
  lu.assertEquals((b - a):totable(), {{4, 4}, {4, 4}})
  lu.assertEquals((a * b):totable(), {{5, 12}, {21, 32}})
  lu.assertEquals((b / 2):totable(), {{2.5, 3}, {3.5, 4}})
  lu.assertEquals((1 - a):totable(), {{0, -1}, {-2, -3}})
  lu.assertEquals((12 / a):totable(), {{12, 6}, {4, 3}})
  lu.assertEquals((-a):totable(), {{-1, -2}, {-3, -4}})
  lu.assertEquals((a + lip.tensor(10, 20)):totable(), {{11, 22}, {13, 24}})
  lu.assertEquals((lip.tensor(10, 20) - a):totable(), {{9, 18}, {7, 16}})
  raises("lip.tensor add: shapes do not match: a 2x2, b 3", function() return a + lip.ones(3) end)
  raises("lip.tensor mul: shapes do not match: a 2x3, b 3x2", function()
    return lip.ones(2, 3) * lip.ones(3, 2)
  end)
  raises("number or lip.tensor expected, got string", function() return a + "1" end)
  raises("number or lip.tensor expected, got nil", function() return a + nil end)
  raises("attempt to concatenate", function() return a .. b end)
end

function T.test_in_place_returns_itself()
  local a = lip.tensor(1, 2, 3)
  lu.assertTrue(rawequal(a:add_(1):mul_(2):axpy_(10, lip.tensor(1, 0, 1)), a))
  lu.assertEquals(a:totable(), {14, 6, 18})
  lu.assertEquals(a:clamp_(7, 15):totable(), {14, 7, 15})
  raises("a cannot grow in place", a.add_, a, lip.ones(2, 3))
  raises("shapes do not match: a 3, b 2", a.add_, a, lip.ones(2))
  raises("low <= high", a.clamp_, a, 2, 1)
  raises("low <= high", a.clamp, a, nan, 1)
end

function T.test_functions_agree_with_lua()
  local x = {-2, -0.5, 0, 0.5, 2}
  local t = lip.tensor(x)
  local pairs_of = {
    abs = math.abs, exp = math.exp,
    tanh = function(v) return (math.exp(2 * v) - 1) / (math.exp(2 * v) + 1) end,
    relu = function(v) return math.max(v, 0) end,
    sign = function(v) return v > 0 and 1 or v < 0 and -1 or 0 end,
  }
  for name, f in pairs(pairs_of) do
    local got = t[name](t)
    for i, v in ipairs(x) do lu.assertAlmostEquals(got[i], f(v), 1e-6, name) end
  end
  lu.assertEquals(lip.tensor(4, 9):sqrt():totable(), {2, 3})
  lu.assertAlmostEquals(lip.tensor(1, 10):log()[2], math.log(10), 1e-6)
  lu.assertEquals(lip.tensor(2, 3):pow(2):totable(), {4, 9})
  lu.assertEquals(t:clamp(-1, 1):totable(), {-1, -0.5, 0, 0.5, 1})
end

function T.test_comparisons()
  local a, b = lip.tensor(1, 2, 3), lip.tensor(1, 3, 2)
  lu.assertEquals(a:eq(b):totable(), {1, 0, 0})
  lu.assertEquals(a:lt(b):totable(), {0, 1, 0})
  lu.assertEquals(a:gt(2):totable(), {0, 0, 1})
  lu.assertEquals(a:ge(2):totable(), {0, 1, 1})
  lu.assertTrue(a == lip.tensor(1, 2, 3))
  lu.assertTrue(a ~= b)
  lu.assertTrue(a ~= lip.tensor {{1, 2, 3}})
  lu.assertFalse(a == lip.rng(1))
  lu.assertTrue(a:equal(a:clone()))
  lu.assertFalse(lip.tensor(nan):equal(lip.tensor(nan)))
  lu.assertTrue(a:allclose(a + 0.01, 0.02))
  lu.assertFalse(a:allclose(a + 0.01, 0.005))
  lu.assertFalse(a:allclose(a + 0.01))
  lu.assertTrue(lip.tensor(inf):allclose(lip.tensor(inf)))
  lu.assertTrue(a:all_finite())
  lu.assertFalse(lip.tensor(1, inf):all_finite())
  lu.assertFalse(lip.tensor(nan, 1):all_finite())
end

-- ---- reductions ----

function T.test_reductions()
  local t = lip.tensor {{1, 5, 3}, {4, 2, 6}}
  lu.assertEquals({t:sum(), t:mean(), t:max(), t:min(), t:argmax(), t:argmin()}, {21, 3.5, 6, 1, 6, 1})
  lu.assertEquals(t:sum(1):totable(), {5, 7, 9})
  lu.assertEquals(t:sum(-1):totable(), {9, 12})
  lu.assertEquals(t:mean(2):totable(), {3, 4})
  lu.assertEquals(t:max(1):totable(), {4, 5, 6})
  lu.assertEquals(t:min(2):totable(), {1, 2})
  lu.assertEquals(t:argmax(2):totable(), {2, 3})
  lu.assertEquals(t:argmin(1):totable(), {1, 2, 1})
  lu.assertEquals(t:transpose():sum(1):totable(), {9, 12})
  local v = lip.tensor(3, -4)
  lu.assertEquals({v:norm(), v:norm(1), v:norm(2), v:norm(inf)}, {5, 7, 5, 4})
  lu.assertEquals(lip.tensor {{3, 4}, {5, 12}}:norm(2, 2):totable(), {5, 13})
  lu.assertEquals(lip.tensor(5):sum(1):totable(), 5)
  raises("a norm 1, 2 or math.huge expected", v.norm, v, 3)
  raises("a norm 1, 2 or math.huge expected", v.norm, v, nan)
  raises("the tensor is empty", function() return lip.zeros(0):max() end)
  raises("the tensor is empty", function() return lip.zeros(0):argmax() end)
  lu.assertEquals(lip.zeros(0):sum(), 0)
  lu.assertEquals(lip.zeros(0, 2):sum(1):totable(), {0, 0})
end

function T.test_nan_propagates_and_sorts_last()
  local t = lip.tensor(3, nan, 1)
  lu.assertTrue(is_nan(t:max()) and is_nan(t:min()) and is_nan(t:sum()) and is_nan(t:norm(inf)))
  lu.assertEquals({t:argmax(), t:argmin()}, {2, 2})
  lu.assertTrue(is_nan(t:relu()[2]) and is_nan(t:clamp(0, 1)[2]) and is_nan(t:sign()[2]))
  local up, at = t:sort()
  lu.assertEquals({up[1], up[2]}, {1, 3})
  lu.assertTrue(is_nan(up[3]))
  lu.assertEquals(at:totable(), {3, 1, 2})
  local down, where = t:sort(1, true)
  lu.assertEquals({down[1], down[2]}, {3, 1})
  lu.assertTrue(is_nan(down[3]))
  lu.assertEquals(where:totable(), {1, 3, 2})
end

function T.test_sort_along_a_dimension()
  local t = lip.tensor {{3, 1}, {1, 2}, {2, 0}}
  local s, i = t:sort(1)
  lu.assertEquals(s:totable(), {{1, 0}, {2, 1}, {3, 2}})
  lu.assertEquals(i:totable(), {{2, 3}, {3, 1}, {1, 2}})
  lu.assertEquals((t:sort(2, true)):totable(), {{3, 1}, {2, 1}, {2, 0}})
  raises("boolean expected", t.sort, t, 1, 1)
end

-- ---- products ----

function T.test_matmul_agrees_with_plain_loops()
  local rng = lip.rng(3)
  local function check(a, b)
    local got = a:matmul(b)
    local M, K, N = a:shape(1), a:shape(2), b:shape(2)
    lu.assertEquals(got:shape(), {M, N})
    for i = 1, M do
      for j = 1, N do
        local sum = 0
        for k = 1, K do sum = sum + a:get(i, k) * b:get(k, j) end
        lu.assertAlmostEquals(got:get(i, j), sum, 1e-4)
      end
    end
  end
  for _ = 1, 10 do
    local M, K, N = rng:below(20) + 1, rng:below(20) + 1, rng:below(20) + 1
    check(lip.randn(rng, M, K), lip.randn(rng, K, N))
    check(lip.randn(rng, K, M):transpose(), lip.randn(rng, N, K):transpose())
    check(lip.randn(rng, M + 3, K + 2):slice(1, 2, M + 1):slice(2, 3, K + 2), lip.randn(rng, K, N))
    check(lip.randn(rng, M, 2 * K):slice(2, 1, -1, 2), lip.randn(rng, 2 * K, N):slice(1, 2, -1, 2))
  end
  local a, v = lip.tensor {{1, 2}, {3, 4}}, lip.tensor(5, 6)
  lu.assertEquals(a:matmul(v):totable(), {17, 39})
  lu.assertEquals(v:matmul(a):totable(), {23, 34})
  lu.assertEquals(v:matmul(v):totable(), 61)
  lu.assertEquals(lip.zeros(2, 0):matmul(lip.zeros(0, 3)):totable(), {{0, 0, 0}, {0, 0, 0}})
  lu.assertEquals({v:dot(v), a:dot(a:transpose())}, {61, 1 + 6 + 6 + 16})
  raises("matmul: shapes do not match: a 2x2, b 3x2", a.matmul, a, lip.ones(3, 2))
  raises("1 or 2 dimensions expected, got 3", a.matmul, a, lip.ones(2, 2, 2))
  raises("dot: shapes do not match: a 2, b 2x2", v.dot, v, a)
end

function T.test_labels_name_what_is_wrong()
  local loss, z = lip.loss.cross_entropy {}, lip.zeros(2, 3)
  lu.assertAlmostEquals(loss:value(z, {0, 2}), math.log(3), 1e-6)
  lu.assertAlmostEquals(loss:value(z, lip.tensor(0, 9, 2):slice(1, 1, 3, 2)), math.log(3), 1e-6)
  raises("label 2: a whole number in 0..2 expected, got the number 3", loss.value, loss, z, {0, 3})
  raises("label 1: a whole number in 0..2 expected, got the number -1", loss.value, loss, z, {-1, 0})
  raises("label 2: a whole number in 0..2 expected, got the string", loss.value, loss, z, {0, "1"})
  raises("label 1: a whole number in 0..2 expected, got the number 0.5", loss.value, loss, z, {0.5, 1})
  raises("label 2: a whole number in 0..2 expected, got the number nan", loss.value, loss, z, lip.tensor(0, nan))
  raises("2 labels expected (one per row of x), got 3", loss.value, loss, z, {0, 1, 2})
end

-- ---- text ----

function T.test_text_is_short_and_tells_the_shape()
  local text = tostring(lip.rand(1, {50, 60, 70}))
  lu.assertStrContains(text, "lip.tensor 50x60x70")
  lu.assertStrContains(text, "mean 0.")
  lu.assertTrue(#text < 1000)
  lu.assertEquals(tostring(lip.full({}, 2)), "lip.tensor scalar 2")
  lu.assertEquals(tostring(lip.zeros(0, 3)), "lip.tensor 0x3 (empty)")
  local text_of_nan = tostring(lip.tensor(1, nan))
  lu.assertStrContains(text_of_nan, "not all finite")
  lu.assertNil(text_of_nan:find "-nan")
  lu.assertStrContains(tostring(lip.arange(1000)), "...")
end

-- ---- life time ----

function T.test_views_keep_their_owner_alive()
  local views = {}
  for i = 1, 50 do
    local owner <close> = lip.full({10, 100}, i)
    views[i] = owner[3]:reshape(10, 10):transpose()[2]
  end
  collectgarbage()
  collectgarbage()
  local ballast = {}
  for i = 1, 50 do ballast[i] = lip.full({10, 100}, -1) end -- would reuse freed blocks
  for i, view in ipairs(views) do lu.assertEquals({view:min(), view:max()}, {i, i}) end
  lu.assertEquals(#ballast, 50)
end

function T.test_dead_tensors_do_not_pile_up()
  collectgarbage()
  local function resident()
    for line in io.lines "/proc/self/status" do
      local kb = line:match "^VmRSS:%s+(%d+)"
      if kb then return tonumber(kb) end
    end
  end
  local file = io.open "/proc/self/status"
  if not file then lu.skip "no /proc here" end
  file:close()
  local before = resident()
  for _ = 1, 1000 do lip.ones(512, 512) end -- 1 MB each
  lu.assertTrue(resident() - before < 600 * 1024, "the collector does not see tensor memory")
end

function T.test_close_and_gc_twice_are_harmless()
  local meta = debug.getmetatable(lip.zeros(1))
  local t = lip.arange(3)
  meta.__close(t)
  lu.assertEquals(t:sum(), 6) -- a view may still need it
  meta.__gc(t)
  meta.__gc(t)
  lu.assertEquals(tostring(t), "lip.tensor 0 (empty)")
  lu.assertEquals(t:sum(), 0)
  lu.assertEquals(getmetatable(t), "lip.tensor")
end

-- ---- random numbers ----

function T.test_rng_is_reproducible_and_resumes()
  local a, b = lip.rng(7), lip.rng(7)
  for _ = 1, 5 do lu.assertEquals(a:uniform(), b:uniform()) end
  local state = a:state()
  local next_values = {a:normal(), a:below(1000), a:uniform(2, 3)}
  lu.assertEquals({b:normal(), b:below(1000), b:uniform(2, 3)}, next_values)
  local c = lip.rng(state)
  lu.assertEquals({c:normal(), c:below(1000), c:uniform(2, 3)}, next_values)
  a:state(state)
  local d = a:clone()
  lu.assertEquals({a:normal(), a:below(1000), a:uniform(2, 3)}, next_values)
  lu.assertEquals(d:normal(), next_values[1])
  lu.assertNotEquals(lip.rng(7, 1):uniform(), lip.rng(7):uniform())
  lu.assertNotEquals(lip.rng(8):uniform(), lip.rng(7):uniform())
  lu.assertStrContains(tostring(a), "lip.rng")
  raises("field 'key' is nil", lip.rng, {})
  raises("unknown option 'seed'", lip.rng, {seed = 1})
end

function T.test_rng_ranges()
  local rng, seen = lip.rng(1), {}
  for _ = 1, 200 do
    local u, n = rng:uniform(-1, 1), rng:below(3)
    lu.assertTrue(u >= -1 and u < 1)
    lu.assertEquals(math.type(n), "integer")
    seen[n] = true
  end
  lu.assertEquals(seen, {[0] = true, [1] = true, [2] = true})
  local p = rng:permutation(20)
  table.sort(p)
  lu.assertEquals(p, lip.arange(20):totable())
  lu.assertEquals(rng:permutation(0), {})
  raises("whole number >= 1", rng.below, rng, 0)
  raises("in 0..2^28", rng.permutation, rng, 2 ^ 53)
  raises("finite", rng.uniform, rng, 0, inf)
end

function T.test_random_tensors()
  local x = lip.rand(lip.rng(4), 100, 50)
  lu.assertTrue(x:min() >= 0 and x:max() < 1)
  lu.assertAlmostEquals(x:mean(), 0.5, 0.02)
  lu.assertTrue(x == lip.rand(4, {100, 50}))
  lu.assertEquals(lip.rand(2, 3):shape(), {2, 3})
  local y = lip.randn(5, {5000})
  lu.assertAlmostEquals(y:mean(), 0, 0.06)
  lu.assertAlmostEquals(y:norm() / math.sqrt(5000), 1, 0.05)
  local view = lip.zeros(50, 100):transpose()
  lu.assertTrue(view:uniform_(lip.rng(4)) == x)
  lu.assertTrue(lip.zeros(10):uniform_(lip.rng(1), 5, 6):min() >= 5)
  lu.assertAlmostEquals(lip.zeros(5000):normal_(lip.rng(1), 10, 0.1):mean(), 10, 0.01)
  raises("low <= high", x.uniform_, x, nil, 1, 0)
  raises("deviation >= 0", x.normal_, x, nil, 0, -1)
end

return T
