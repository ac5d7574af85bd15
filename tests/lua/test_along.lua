-- Tensors along a dimension and in parts: logsumexp, softmax, where, gather, scatter_add_, one_hot, cat.
local lu = require "luaunit"
local lip = require "lip"
local reference = require "support_grad"

local nan, inf = 0 / 0, math.huge
local T = {}

local function is_nan(v) return v ~= v end

local function raises(text, f, ...)
  lu.assertErrorMsgContains(text, f, ...)
end

local function array(t) return { shape = t:shape(), data = t:flatten():totable() } end

local function close(got, want, tolerance, label)
  lu.assertEquals(got:shape(), want.shape, label)
  for k, v in ipairs(got:flatten():totable()) do
    lu.assertAlmostEquals(v, want.data[k], tolerance * (1 + math.abs(want.data[k])), label)
  end
end

-- Tensors of one to four dimensions, whole and as views whose elements do not follow each other.
local function each_tensor(visit)
  local rng = lip.rng(3)
  for _, shape in ipairs { { 5 }, { 1 }, { 3, 4 }, { 2, 300 }, { 4, 1, 3 }, { 2, 3, 2, 3 } } do
    local t = lip.randn(rng, shape):mul_(3)
    visit(t)
    if #shape > 1 then visit(t:transpose(1, #shape)) end
    visit(t:slice(#shape, 1, -1, 2))
  end
end

function T.test_logsumexp_and_softmax_agree_with_double()
  each_tensor(function(t)
    local a = array(t)
    lu.assertAlmostEquals(t:logsumexp(), reference.ops.logsumexp(a).data[1], 1e-6)
    for dim = 1, t:dim() do
      close(t:logsumexp(dim), reference.ops.logsumexp(a, dim), 1e-6, "logsumexp")
      close(t:softmax(dim), reference.ops.softmax(a, dim), 4e-7, "softmax")
    end
    lu.assertEquals(t:softmax():totable(), t:softmax(-1):totable())
  end)
end

function T.test_sums_of_exponentials_at_the_limits()
  local function lse(...) return lip.tensor(...):logsumexp() end
  lu.assertAlmostEquals(lse(1000, 1000), 1000 + math.log(2), 1e-4)
  lu.assertAlmostEquals(lse(-1000, -1001), -1000 + math.log(1 + math.exp(-1)), 1e-4)
  lu.assertEquals({ lse(-inf, 3), lse(-inf, -inf), lse(inf, 3), lse(inf, -inf) }, { 3, -inf, inf, inf })
  lu.assertTrue(is_nan(lse(nan, 3)) and is_nan(lse(3, nan)) and is_nan(lse(inf, nan)))
  lu.assertEquals(lip.tensor(1e30, -1e30):softmax():totable(), { 1, 0 })
  lu.assertEquals(lip.tensor(-inf, 0, 0):softmax():totable(), { 0, 0.5, 0.5 })
  local rows = lip.tensor { { nan, 1 }, { inf, 1 }, { -inf, -inf }, { 2, 2 } }:softmax(2):totable()
  for i = 1, 3 do lu.assertTrue(is_nan(rows[i][1]) and is_nan(rows[i][2]), i) end
  lu.assertEquals(rows[4], { 0.5, 0.5 })
  raises("nothing to take it of", lip.zeros(0).logsumexp, lip.zeros(0))
  raises("nothing to take it of", lip.zeros(2, 0).logsumexp, lip.zeros(2, 0), 2)
  lu.assertEquals(lip.zeros(0, 2):logsumexp(2):shape(), { 0 })
  lu.assertEquals(lip.zeros(2, 0):softmax(2):shape(), { 2, 0 })
end

function T.test_sigmoid_softplus_square_and_powers()
  local x = lip.tensor(-100, -20, -1, 0, 1, 20, 100)
  for k, v in ipairs(x:totable()) do
    lu.assertAlmostEquals(x:sigmoid()[k], 1 / (1 + math.exp(-v)), 2e-7)
    lu.assertAlmostEquals(x:softplus()[k], math.max(v, 0) + math.log(1 + math.exp(-math.abs(v))), 1e-6)
    lu.assertEquals(x:square()[k], v * v)
  end
  lu.assertEquals(lip.tensor(-inf, inf):sigmoid():totable(), { 0, 1 })
  lu.assertEquals(lip.tensor(-inf, inf):softplus():totable(), { 0, inf })
  lu.assertTrue(is_nan(lip.tensor(nan):softplus()[1]) and is_nan(lip.tensor(nan):sigmoid()[1]))
  lu.assertAlmostEquals(lip.tensor(-30):softplus()[1] / math.exp(-30), 1, 1e-6) -- small, but not 0
  lu.assertEquals((lip.tensor(2, 3) ^ 2):totable(), { 4, 9 })
  lu.assertEquals((2 ^ lip.tensor(2, 3)):totable(), { 4, 8 })
  lu.assertEquals((lip.tensor(2, 3) ^ lip.tensor(3, 2)):totable(), { 8, 9 })
  lu.assertEquals(lip.tensor(2, 3):pow_(lip.full({}, 2)):totable(), { 4, 9 })
end

function T.test_sides_of_one()
  local t, column = lip.tensor { { 1, 2, 3 }, { 4, 5, 6 } }, lip.tensor { { 10 }, { 20 } }
  lu.assertEquals((t + column):totable(), { { 11, 12, 13 }, { 24, 25, 26 } })
  lu.assertEquals((column - t):totable(), { { 9, 8, 7 }, { 16, 15, 14 } })
  lu.assertEquals((column + lip.tensor { { 1, 2 } }):totable(), { { 11, 12 }, { 21, 22 } })
  lu.assertEquals((column + lip.tensor(1)):totable(), { { 11 }, { 21 } })
  lu.assertEquals(t:clone():sub_(t:max(2):reshape(-1, 1)):totable(), { { -2, -1, 0 }, { -2, -1, 0 } })
  lu.assertEquals((lip.zeros(1, 3) + lip.zeros(0, 3)):shape(), { 0, 3 })
  raises("a cannot grow in place", column.add_, column, t)
  -- values in a column beside as many in a vector: not one for each row
  raises("shapes do not match: a 2x1, b 2", column.sub, column, lip.tensor(1, 2))
  raises("shapes do not match: a 2x3, b 1x2", t.add, t, lip.ones(1, 2))
  raises("shapes do not match: a 3, b 1x1x2", lip.ones(3).add, lip.ones(3), lip.ones(1, 1, 2))
end

function T.test_where()
  local x = lip.tensor { { -1, 2 }, { 3, -4 } }
  lu.assertEquals(x:gt(0):where(x, 0):totable(), { { 0, 2 }, { 3, 0 } })
  lu.assertEquals(x:gt(0):where(1, x):totable(), { { -1, 1 }, { 1, -4 } })
  lu.assertEquals(x:gt(0):where(lip.tensor(5, 6), lip.tensor { { 7 }, { 8 } }):totable(), { { 7, 6 }, { 5, 8 } })
  lu.assertEquals(lip.tensor(1, 0):where(x, -x):totable(), { { -1, -2 }, { 3, 4 } })
  lu.assertEquals(x:transpose():gt(0):where(x, 0):totable(), { { 0, 2 }, { 3, 0 } })
  lu.assertEquals(lip.tensor(0, 2, -1):where(nan, 1)[1], 1) -- what is not chosen does not show
  lu.assertTrue(is_nan(lip.tensor(nan):where(1, 2)[1]))
  lu.assertEquals(lip.ones(0):where(1, 2):shape(), { 0 })
  raises("where (mask a, first b): shapes do not match: a 2x2, b 3", x.where, x, lip.ones(3), 0)
  raises("second b): shapes do not match: a 2x2, b 3", x.where, x, 0, lip.ones(3))
  raises("number or lip.tensor expected, got string", x.where, x, "1", 2)
end

function T.test_gather()
  local t = lip.arange(6):reshape(2, 3)
  lu.assertEquals(t:gather { 2, 0 }:totable(), { 3, 4 })
  lu.assertEquals(t:gather(lip.tensor(1, 1)):totable(), { 2, 5 })
  lu.assertEquals(t:gather({ 1, 0, 1 }, 1):totable(), { 4, 2, 6 })
  lu.assertEquals(t:gather(t:argmax(2)):totable(), { 3, 6 }) -- positions count from 1
  lu.assertEquals(t:gather(t:classes()):totable(), { 3, 6 }) -- classes from 0
  local x = lip.randn(lip.rng(1), 4, 5)
  for dim = 1, 2 do
    for _, descending in ipairs { false, true } do
      local sorted, at = x:sort(dim, descending)
      lu.assertEquals(x:gather(at, dim):totable(), sorted:totable())
      lu.assertEquals(lip.zeros(4, 5):scatter_add_(at, sorted, dim):totable(), x:totable())
    end
  end
  lu.assertEquals(t:transpose():gather({ 1, 0 }, 1):shape(), { 2 })
  lu.assertEquals(t:gather { { 0, 0, 2, 1 }, { 2, 2, 2, 2 } }:totable(), { { 1, 1, 3, 2 }, { 6, 6, 6, 6 } })
  raises("entry 2 of the index: a whole number in 0..2 expected, got 3", t.gather, t, { 0, 3 })
  raises("got -1", t.gather, t, { -1, 0 })
  raises("got 0.5", t.gather, t, { 0, 0.5 })
  raises("got nan", t.gather, t, { nan, 0 })
  raises("tensor 2x3, index 3 (one entry for each row along dimension 2", t.gather, t, { 0, 0, 0 })
  raises("index 3x1", t.gather, t, lip.zeros(3, 1))
  raises("a scalar has no dimensions", lip.full({}, 1).gather, lip.full({}, 1), { 0 })
end

function T.test_scatter_add()
  local t = lip.zeros(2, 3)
  lu.assertTrue(rawequal(t:scatter_add_({ 2, 0 }, lip.tensor(5, 6)), t))
  lu.assertEquals(t:totable(), { { 0, 0, 5 }, { 6, 0, 0 } })
  lu.assertEquals(t:scatter_add_({ { 1, 1 }, { 0, 2 } }, lip.ones(2, 2)):totable(), { { 0, 2, 5 }, { 7, 0, 1 } })
  raises("in 0..2 expected, got 7", t.scatter_add_, t, { 1, 7 }, lip.ones(2))
  lu.assertEquals(t:totable(), { { 0, 2, 5 }, { 7, 0, 1 } }) -- nothing has changed
  raises("index 2, values 3", t.scatter_add_, t, { 1, 1 }, lip.ones(3))
  local v = lip.tensor(1, 2, 3)
  lu.assertEquals(v:scatter_add_({ 2, 1, 0 }, v):totable(), { 4, 4, 4 }) -- adds what was there before
  local w = lip.zeros(3):fill(1)
  lu.assertEquals(w:scatter_add_(w, w):totable(), { 1, 4, 1 })
end

function T.test_one_hot()
  lu.assertEquals(lip.one_hot({ 1, 0 }, 3):totable(), { { 0, 1, 0 }, { 1, 0, 0 } })
  lu.assertEquals(lip.one_hot(lip.tensor { { 1 }, { 2 } }, 3):shape(), { 2, 1, 3 })
  local x = lip.tensor { { 1, 5 }, { 7, 2 } }
  lu.assertEquals(lip.one_hot(x:argmax(2), 2):totable(), { { 0, 1 }, { 1, 0 } })
  lu.assertEquals(lip.one_hot(x:classes(), 2):totable(), { { 0, 1 }, { 1, 0 } })
  raises("in 0..2 expected, got 3", lip.one_hot, { 3 }, 3)
  raises("at least one class", lip.one_hot, { 0 }, 0)
  raises("too large", lip.one_hot, { 0 }, 2 ^ 62)
  raises("at most 3 dimensions", lip.one_hot, lip.zeros(1, 1, 1, 1), 2)
end

function T.test_cat()
  local a, b = lip.tensor { { 1, 2 }, { 3, 4 } }, lip.tensor { { 5, 6 } }
  lu.assertEquals(lip.cat { a, b }:totable(), { { 1, 2 }, { 3, 4 }, { 5, 6 } })
  lu.assertEquals(lip.cat({ a, a:transpose() }, 2):totable(), { { 1, 2, 1, 3 }, { 3, 4, 2, 4 } })
  lu.assertEquals(lip.cat({ a, b:transpose() }, -1):totable(), { { 1, 2, 5 }, { 3, 4, 6 } })
  lu.assertEquals(lip.cat({ lip.tensor(1), lip.zeros(0), lip.tensor(2, 3) }):totable(), { 1, 2, 3 })
  raises("element 1 2x2, element 2 1x2", lip.cat, { a, b }, 2)
  raises("element 1 2x2, element 2 2", lip.cat, { a, lip.ones(2) })
  raises("element 2: a lip.tensor expected, got the number 3", lip.cat, { a, 3 })
  raises("at least one tensor", lip.cat, {})
  raises("dimension 3 is outside 1..2", lip.cat, { a }, 3)
  raises("a scalar has no dimensions", lip.cat, { lip.full({}, 1) })
  raises("table expected", lip.cat, a, b)
end

function T.test_detach_is_a_copy()
  local x = lip.ones(2)
  x:detach():fill(3)
  lu.assertEquals(x:totable(), { 1, 1 })
end

return T
