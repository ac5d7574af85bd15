-- lip.grad: gradients against central differences of the same expressions in double (support_grad.lua), every operation
-- by itself, kinks, messages; and the operations of plain tensors that came with it.
local lu = require "luaunit"
local lip = require "lip"
local reference = require "support_grad"

local here = debug.getinfo(1, "S").short_src
local nan, inf = 0 / 0, math.huge
local T = {}

local function is_nan(v) return v ~= v end

local function raises(text, f, ...)
  lu.assertErrorMsgContains(text, f, ...)
end

-- ---- random expressions ----

-- Central differences of `tree`, evaluated in double, in entry k of a leaf: the step H leaves an error of H^2 f''' / 6 and
-- a rounding of about 2^-52 |f| / H, both below 1e-9 for what the generator makes; nil next to a kink, where half the step
-- says something else.
local H = 1e-5
local function difference(tree, leaves, leaf, k)
  local x = leaf.data[k]
  local function at(v)
    leaf.data[k] = v
    local y = reference.value(tree, leaves).data[1]
    leaf.data[k] = x
    return y
  end
  local whole = (at(x + H) - at(x - H)) / (2 * H)
  local half = (at(x + H / 2) - at(x - H / 2)) / H
  if math.abs(whole - half) <= 1e-6 * (1 + math.abs(half)) then return half end
end

-- Two hundred expressions, five operations deep and about sixty long. All intermediate values are float32: each operation
-- rounds by 2^-24, and the largest entry of a gradient sets the scale on which the others cancel. Found: 1.1e-6 of it.
local TOLERANCE = 5e-6

function T.test_random_expressions()
  local used, entries, kinks = {}, 0, 0
  local seeds = os.getenv "LIPWB_GC_STRESS" == "1" and 20 or 200 -- a merciless collector needs fewer
  for seed = 1, seeds do
    local g = reference.generator(lip.rng(seed))
    local tree = reference.expression(g, {}, 5)
    local leaves = {}
    for i, leaf in ipairs(g.leaves) do
      leaves[i] = lip.tensor(leaf.data):reshape(leaf.shape)
      leaf.data = leaves[i]:flatten():totable() -- what float32 has made of them
    end
    local function f(t) return reference.written(tree, t, lip) end
    local value, gradients = lip.grad(f)(leaves)
    local plain = f(leaves)
    if type(plain) ~= "number" then plain = plain:get() end
    local exact = reference.value(tree, g.leaves).data[1]
    lu.assertAlmostEquals(value, exact, TOLERANCE * (1 + math.abs(exact)), "seed " .. seed)
    lu.assertAlmostEquals(plain, exact, TOLERANCE * (1 + math.abs(exact)), "seed " .. seed)
    local found, scale = {}, 1
    for i, leaf in ipairs(g.leaves) do
      local got = gradients[i]:flatten()
      lu.assertEquals(gradients[i]:shape(), leaf.shape)
      for k = 1, #leaf.data do
        local want = difference(tree, g.leaves, leaf, k)
        entries, kinks = entries + 1, kinks + (want and 0 or 1)
        if want then
          found[#found + 1] = { got[k], want }
          scale = math.max(scale, math.abs(want))
        end
      end
    end
    for _, both in ipairs(found) do
      lu.assertAlmostEquals(both[1], both[2], TOLERANCE * scale, "seed " .. seed)
    end
    for op in pairs(g.used) do used[op] = true end
  end
  lu.assertTrue(entries > 25 * seeds and kinks < entries / 100)
  for op in pairs(reference.ops) do lu.assertTrue(used[op], op .. " was never made") end
end

-- ---- one operation at a time ----

local function gradient(f, ...)
  return select(2, lip.grad(f)(...))
end

local function table_of(t) return type(t) == "number" and t or t:totable() end

-- sum of f's elements times 1, 2, 3, ...: each element of the result has another gradient
local function weighed(f)
  return function(...)
    local y = f(...)
    return (y * lip.arange(y:size()):reshape(y:shape())):sum()
  end
end

function T.test_repeated_operands()
  local a, row = lip.arange(6):reshape(2, 3), lip.tensor(1, 2, 3)
  local column, one = lip.tensor { { 10 }, { 20 } }, lip.full({}, 2)
  local mul = weighed(function(x, y) return x * y end)
  local _, da, drow = lip.grad(mul)(a, row)
  lu.assertEquals(da:totable(), { { 1, 4, 9 }, { 4, 10, 18 } })
  lu.assertEquals(drow:totable(), { 1 + 16, 4 + 25, 9 + 36 })
  lu.assertEquals(gradient(mul, column, a):totable(), { { 1 + 4 + 9 }, { 16 + 25 + 36 } })
  lu.assertEquals(gradient(mul, one, a):totable(), 1 + 4 + 9 + 16 + 25 + 36)
  local _, dcolumn, dacross = lip.grad(mul)(column, row:reshape(1, 3)) -- (2, 1) and (1, 3) make (2, 3)
  lu.assertEquals(dcolumn:totable(), { { 14 }, { 4 + 10 + 18 } })
  lu.assertEquals(dacross:totable(), { { 10 + 80, 20 + 100, 30 + 120 } })
  local back = weighed(function(x) return 1 / x - 2 ^ x + x ^ 2 - x:div(4) end)
  local got = gradient(back, lip.tensor(1, 2))
  lu.assertAlmostEquals(got[1], -1 - 2 * math.log(2) + 2 - 0.25, 1e-6)
  lu.assertAlmostEquals(got[2], 2 * (-0.25 - 4 * math.log(2) + 4 - 0.25), 1e-5)
end

function T.test_kinks()
  local zero = lip.tensor(0, -1, 2)
  for name, want in pairs { abs = { 0, -1, 1 }, relu = { 0, 0, 1 }, square = { 0, -2, 4 } } do
    lu.assertEquals(gradient(function(x) return x[name](x):sum() end, zero):totable(), want, name)
  end
  lu.assertEquals(gradient(function(x) return x:clamp(-1, 2):sum() end, lip.tensor(-2, -1, 0, 2, 3)):totable(),
    { 0, 1, 1, 1, 0 })
  local a, b = lip.tensor(1, 2, 3), lip.tensor(1, 3, 2)
  for name, want in pairs { maximum = { { 1, 0, 1 }, { 0, 1, 0 } }, minimum = { { 1, 1, 0 }, { 0, 0, 1 } } } do
    local _, da, db = lip.grad(function(x, y) return x[name](x, y):sum() end)(a, b)
    lu.assertEquals({ da:totable(), db:totable() }, want, name)
  end
  local ties = lip.tensor { { 3, 3, 1 }, { -3, 1, 1 } }
  local function of(f) return gradient(f, ties):totable() end
  lu.assertEquals(of(function(x) return x:max() end), { { 1, 0, 0 }, { 0, 0, 0 } })
  lu.assertEquals(of(function(x) return x:min(2):sum() end), { { 0, 0, 1 }, { 1, 0, 0 } })
  lu.assertEquals(of(function(x) return x:norm(inf) end), { { 1, 0, 0 }, { 0, 0, 0 } })
  lu.assertEquals(of(function(x) return x:norm(inf, 1):sum() end), { { 1, 1, 1 }, { 0, 0, 0 } })
  local sort = weighed(function(x) return (x:sort(2)) end)
  lu.assertEquals(of(sort), { { 2, 3, 1 }, { 4, 5, 6 } }) -- equals keep their order
  lu.assertEquals(gradient(function(x) return x:norm() end, lip.zeros(2)):totable(), { 0, 0 })
  lu.assertEquals(gradient(function(x) return x:norm(2, 2):sum() end, lip.tensor { { 0, 0 }, { 3, 4 } }):totable()[1],
    { 0, 0 })
  lu.assertEquals(gradient(function(x) return x:norm(1) end, zero):totable(), { 0, -1, 1 })
  lu.assertEquals(gradient(function(x) return (x ^ 0):sum() end, zero):totable(), { 0, 0, 0 })
  lu.assertEquals(gradient(function(x) return (x ^ lip.tensor(0, 2, 1)):sum() end, lip.zeros(3)):totable(), { 0, 0, 1 })
  lu.assertEquals(gradient(function(x) return (lip.zeros(2) ^ x):sum() end, lip.tensor(1, 2)):totable(), { 0, 0 })
end

-- What was not chosen gets a gradient of 0, which an infinite or undefined slope behind it turns into NaN.
function T.test_infinities_and_nan()
  local x = lip.tensor(-1, 4)
  local got = gradient(function(t) return t:gt(0):where(t:sqrt(), t):sum() end, x)
  lu.assertTrue(is_nan(got[1])) -- 0 times the slope of sqrt(-1): sqrt was asked there
  lu.assertEquals(got[2], 0.25)
  lu.assertEquals(gradient(function(t) return t:gt(0):where(inf, t):sum() end, x):totable(), { 1, 0 })
  lu.assertEquals(gradient(function(t) return t:relu():sum() * 2 end, lip.tensor(-inf, inf)):totable(), { 0, 2 })
  lu.assertTrue(is_nan(gradient(function(t) return t:max() * t:sum() end, lip.tensor(1, nan))[1]))
  lu.assertTrue(is_nan((lip.grad(function(t) return t:softmax():sum() end)(lip.tensor(nan, 1)))))
end

function T.test_numbers_are_double()
  local value, dx = lip.grad(function(x)
    local s = x:sum()
    return s:exp() + s:log() + s:sqrt() + s:square() + s:tanh() + s:sigmoid() + s:softplus() + s:relu() + s:abs()
      + s:clamp(0, 5) + 2 ^ s + s:maximum(1) - s:minimum(7) + s:pow(3) + -s + s / 3 + (s > 1 and s or 2 * s)
  end)(lip.tensor(1, 0.75))
  local function f(s)
    return math.exp(s) + math.log(s) + math.sqrt(s) + s * s + (math.exp(s) - math.exp(-s)) / (math.exp(s) + math.exp(-s))
      + 1 / (1 + math.exp(-s)) + math.log(1 + math.exp(s)) + s + s + s + 2 ^ s + s - s + s ^ 3 - s + s / 3 + s
  end
  lu.assertAlmostEquals(value, f(1.75), 1e-9) -- but for clamp, which rounds 1.75 to itself
  lu.assertAlmostEquals(dx[1], (f(1.75 + 1e-6) - f(1.75 - 1e-6)) / 2e-6, 1e-5)
  lu.assertEquals(gradient(function(x) return x:sum():gt(5):where(x:sum(), x:sum() ^ 2) end, lip.tensor(1, 2))[1], 6)
end

function T.test_parts()
  local x = lip.arange(6):reshape(2, 3)
  local function of(f) return gradient(f, x):totable() end
  lu.assertEquals(of(function(t) return t[2][-1] * t:get(1, 2) + t[1]:sum() end), { { 1, 7, 1 }, { 0, 0, 2 } })
  lu.assertEquals(of(function(t) return t:select(2, -1):sum() + t:slice(1, 1, 1):sum() end), { { 1, 1, 2 }, { 0, 0, 1 } })
  lu.assertEquals(of(function(t) return t:gather { 2, 0 }:sum() end), { { 0, 0, 1 }, { 1, 0, 0 } })
  lu.assertEquals(of(function(t) return t:gather(t:argmin(2)):sum() end), { { 1, 0, 0 }, { 1, 0, 0 } })
  lu.assertEquals(of(function(t) return (lip.one_hot({ 1, 2 }, 3) * t):sum() end), { { 0, 1, 0 }, { 0, 0, 1 } })
  lu.assertEquals(of(weighed(function(t) return lip.cat({ lip.zeros(1, 3), t, t }, 1) end)),
    { { 4 + 10, 5 + 11, 6 + 12 }, { 7 + 13, 8 + 14, 9 + 15 } })
  lu.assertEquals(of(function(t)
    local sum = 0
    for i, row in pairs(t) do sum = sum + i * row:sum() end
    return sum
  end), { { 1, 1, 1 }, { 2, 2, 2 } })
  local sorted, at
  lip.grad(function(t) sorted, at = t:sort(2, true) return sorted:sum() end)(x)
  lu.assertEquals(at:totable(), { { 3, 2, 1 }, { 3, 2, 1 } }) -- positions are a plain tensor
  local labels = lip.tensor(2, 0)
  local _, _, dlabels = lip.grad(function(t, y) return t:gather(y):sum() end)(x, labels)
  lu.assertEquals(dlabels:totable(), { 0, 0 })
end

-- ---- arguments and results ----

function T.test_arguments()
  local x, w = lip.tensor(1, 2), lip.tensor(3, 4)
  local out = table.pack(lip.grad(function(a, k, b, more)
    lu.assertEquals({ k, more.name }, { 5, "n" })
    return (a * b):sum() * k + more.list[1]:sum()
  end)(x, 5, w, { name = "n", list = { w, w } }))
  lu.assertEquals({ out.n, out[1], out[2]:totable(), out[3], out[4]:totable() }, { 5, 62, { 15, 20 }, nil, { 5, 10 } })
  lu.assertEquals(out[5].list[1]:totable(), { 1, 1 })
  lu.assertEquals(out[5].list[2]:totable(), { 0, 0 }) -- not used
  lu.assertEquals(x:totable(), { 1, 2 })
  -- gradients belong to the caller: neither shared with each other nor with what came in
  local _, a, b = lip.grad(function(p, q) return (p + q):sum() end)(x, w)
  a:fill(7)
  lu.assertEquals(b:totable(), { 1, 1 })
  _, a, b = lip.grad(function(p, q) return p:sum(1) * 3 + (p + q):sum() end)(x, w)
  lu.assertEquals({ a:totable(), b:totable() }, { { 4, 4 }, { 1, 1 } })
  lip.grad(function(p)
    p:detach():fill(9)
    return p:sum()
  end)(x)
  lu.assertEquals(x:totable(), { 1, 2 })
  lu.assertEquals(lip.grad(function(p) return p:matmul(p) end)(x), 5) -- a product of vectors counts as a number
end

function T.test_vjp()
  local x, w = lip.tensor { { 1, 2 }, { 3, 4 } }, lip.tensor { { 1, 0 }, { 2, 1 } }
  local y, pull = lip.grad.vjp(function(a, b) return a:matmul(b:transpose()):relu() end, x, w)
  lu.assertEquals(y:totable(), { { 1, 4 }, { 3, 10 } })
  y:fill(0) -- a copy
  for _ = 1, 2 do
    local dx, dw = pull(lip.tensor { { 1, 0 }, { 0, 1 } })
    lu.assertEquals({ dx:totable(), dw:totable() }, { { { 1, 0 }, { 2, 1 } }, { { 1, 2 }, { 3, 4 } } })
  end
  lu.assertEquals(pull(lip.zeros(2, 2)):totable(), { { 0, 0 }, { 0, 0 } })
  raises("a result of shape 2x2 expected, got shape 2", pull, lip.zeros(2))
  raises("a result of shape 2x2 expected, got number", pull, 1)
  local s, from = lip.grad.vjp(function(a) return a:sum() end, x)
  lu.assertEquals({ s, from(3):totable() }, { 10, { { 3, 3 }, { 3, 3 } } })
  local same, identity = lip.grad.vjp(function(a) return a end, x)
  lu.assertFalse(rawequal(same, x))
  local dy = lip.ones(2, 2)
  lu.assertFalse(rawequal(identity(dy), dy))
end

-- Ctrl-C may come between any two instructions: what the call has left does not count in the next one.
function T.test_a_pull_that_is_interrupted()
  local x = lip.tensor(1, 2, 3)
  local _, pull = lip.grad.vjp(function(t) return (t * t + t:exp()):tanh() * t end, x)
  local want, interrupted = pull(lip.ones(3)):totable(), 0
  for after = 20, 400, 20 do
    debug.sethook(function() error "interrupted" end, "", after)
    local done = pcall(pull, lip.ones(3))
    debug.sethook()
    if not done then interrupted = interrupted + 1 end
    lu.assertEquals(pull(lip.ones(3)):totable(), want)
  end
  lu.assertTrue(interrupted > 3)
end

function T.test_memory_is_given_back()
  local seen = setmetatable({}, { __mode = "k" })
  local df = lip.grad(function(x)
    for _ = 1, 50 do
      x = x * 1.01
      seen[x], seen[x:detach()] = true, true
    end
    return x:sum()
  end)
  df(lip.ones(100))
  collectgarbage()
  collectgarbage()
  lu.assertNil(next(seen))
end

function T.test_calls_inside_of_a_coroutine()
  local co = coroutine.wrap(function()
    return lip.grad(function(x)
      coroutine.yield "in between"
      return x:sum()
    end)(lip.ones(2))
  end)
  lu.assertEquals({ co(), (co()) }, { "in between", 2 })
end

-- ---- what goes wrong ----

-- Messages stand on the script's line, here that of f.
local function complains(text, f, ...)
  local ok, message = pcall(lip.grad(f), ...)
  lu.assertFalse(ok, text)
  lu.assertStrContains(message, text)
  lu.assertEquals(message:sub(1, #here + 1), here .. ":", message)
  lu.assertNil(message:find("lip/grad", 1, true), message)
end

function T.test_messages_about_operations()
  local x = lip.ones(2, 3)
  complains("lip.tensor add: shapes do not match: a 2x3, b 2", function(t) return (t + lip.ones(2)):sum() end, x)
  complains("lip.tensor sub: shapes do not match: a 2x2, b 2x3", function(t) return (lip.ones(2, 2) - t):sum() end, x)
  complains("lip.tensor matmul: shapes do not match: a 2x3, b 2x3", function(t) return t:matmul(t):sum() end, x)
  complains("dot: shapes do not match: a 2x3, b 3x2", function(t) return t:dot(t:transpose()) end, x)
  complains("cat: shapes do not match along dimension 1", function(t) return lip.cat { t, lip.ones(1, 2) }:sum() end, x)
  complains("6x1", function(t) return t:reshape(4, 2):sum() + t:reshape(6, 1):sum() end, x:reshape(6, 1))
  complains("dimension 3 is outside 1..2", function(t) return t:sum(3):sum() end, x)
  complains("number or lip.tensor expected, got", function(t) return (t + io.stdout):sum() end, x)
  complains("add: a number or a tensor expected, got string", function(t) return (t + "1"):sum() end, x)
  complains("add: a number or a tensor expected, got nil", function(t) return (t + nil):sum() end, x)
  complains("reshape: a tensor expected, got a number", function(t) return t:sum():reshape(1) end, x)
  complains("in 0..2 expected, got 3", function(t) return t:gather { 0, 3 }:sum() end, x)
  complains("tensors have no order", function(t) return t < 3 and t:sum() or 0 end, x)
  complains("to_table", function(t) return t.to_table() end, x)
  complains("normal_ would change a traced value in place", function(t) t:normal_() end, x)
  complains("add_ would change a traced value in place", function(t) return t:add_(1):sum() end, x)
  complains("would change a traced value in place", function(t) lip.zeros(2, 3):add_(t) end, x)
  complains("would change a traced value in place", function(t) lip.zeros(2, 3):scatter_add_(lip.zeros(2), t) end, x)
  complains("an assignment would change", function(t) t[1] = 3 end, x)
  complains("cannot be written into a tensor", function(t) lip.zeros(2, 3):copy(t) end, x)
  complains("cannot be written into a tensor", function(t) local u = lip.zeros(1, 3) u[1] = t[1] end, x)
  complains("norm 1, 2 or math.huge", function(t) return t:norm(3) end, x) -- a tail call
  complains("reshape: a tensor expected", function(t) t = t:sum() return t:reshape(1) end, x)
  complains("lip.tensor expected, got lip.traced", function(t)
    return lip.net { input = 3, norm = 2, lip.dense { out = 2 } }:forward(t):sum()
  end, x)
end

-- The check of gradients sees a factor, a sign and a gradient that is missing, in x and in parameters.
function T.test_check()
  local check, x, w = lip.grad.check, lip.randn(1, { 3, 4 }), lip.randn(2, { 4, 2 })
  local function f(a, b, c) return (a:matmul(b.w):tanh() * c):sum() end
  lu.assertTrue(check(f, x, { w = w, name = "w" }, 3) < 0.005)
  lu.assertEquals(check(function(t) return (t * 0):sum() end, x), 0)
  local before = { x:totable(), w:totable() }
  lu.assertTrue(check(f, x, { w = w }, 100) < 0.005)
  lu.assertEquals({ x:totable(), w:totable() }, before) -- nothing of the caller's is moved
  lu.assertTrue(check(function(t) return (t * t:detach()):sum() end, x) > 0.4) -- half of the slope is kept back
  lu.assertEquals(check(function(t) return (t - t:detach()):abs():sqrt():sum() end, lip.ones(2)), inf) -- no number
  -- losses
  local z, y = lip.randn(3, { 5, 3 }), lip.tensor(0, 1, 2, 1, 0)
  lu.assertTrue(check(lip.loss.cross_entropy(), z, y) < 0.005)
  local function explicit(factor)
    return lip.loss.explicit(function(out) return out:square():mean(), out * (factor / out:size()) end)
  end
  lu.assertTrue(check(explicit(2), z, y) < 0.005)
  lu.assertTrue(check(explicit(1), z, y) > 0.4)
  lu.assertTrue(check(explicit(-2), z, y) > 0.9)
  -- layers
  local n = 0
  local function layer(dx, dgain)
    n = n + 1
    return lip.layer { name = "checked" .. n, options = { a = 2 }, parameters = { gain = { 4, init = 0.5 } },
      forward = function(t, p, o) return t:square() * p.gain * o.a end,
      backward = dx and function(t, _, dy, p, o)
        return dy * t * p.gain * (2 * o.a * dx), { gain = (dy * t:square()):sum(1) * (o.a * dgain) }
      end }
  end
  lu.assertTrue(check(layer(), x) < 0.005)
  lu.assertTrue(check(layer(1, 1), x) < 0.005)
  lu.assertTrue(check(layer(1, 1) { a = 3 }, x) < 0.005)
  lu.assertTrue(check(layer(0.5, 1), x) > 0.4)
  lu.assertTrue(check(layer(-1, 1) { a = 3 }, x) > 0.9)
  lu.assertTrue(check(layer(1, 2), x) > 0.4)
  lu.assertTrue(check(layer(1, 0), x) > 0.9)
  raises("lip.grad.check: argument 1 (f) expects a function, a loss or a layer, got number", check, 3)
  raises("lip.grad.check: argument 2 (z) expects a tensor of outputs, got nil", check, lip.loss.mse())
  raises("argument 2 (x) expects a tensor of inputs (rows, shape...), got a tensor of 1 dimensions", check, layer(), lip.ones(3))
end

-- Functions that know nothing of derivatives complain as they do; what to write stands behind it.
function T.test_messages_about_other_functions()
  local x = lip.ones(2, 3)
  complains("(number expected, got lip.traced): math.log cannot be differentiated, the method can: x:sum():log() for "
    .. "math.log(x:sum())", function(t) local s = math.log(t:sum()) return s end, x)
  complains("math.atan cannot be differentiated, methods of its argument can: x:exp()", function(t)
    local s = math.atan(t:sum())
    return s
  end, x)
  local net = lip.net { input = 3, norm = 2, lip.dense { out = 2 } }
  complains("got lip.traced): net:forward cannot be differentiated through; net:backward gives", function(t)
    return net:forward(t):sum()
  end, x)
  complains("got lip.traced): only operators and methods of what is differentiated", function(t)
    return lip.loss.mse():value(t, t)
  end, x)
  complains("bad argument #1 to 'mine' (number expected, got nil)\0", function() -- the end: no word of ours
    error "bad argument #1 to 'mine' (number expected, got nil)\0"
  end, x)
end

function T.test_messages_about_results()
  local x = lip.ones(2, 3)
  local function at(f) return ("lip.grad: f (%s:%d) "):format(here, debug.getinfo(f, "S").linedefined) end
  for text, f in pairs {
    ["must return a number, got a tensor of 2x3"] = function(t) return t * 2 end,
    ["must return a number, got nil"] = function() end, ["must return a number, got string"] = function() return "1" end,
    ["must return a number and nothing else, got 2 values"] = function(t) return t:sum(), t end,
    ["returned a constant: a number that does not depend"] = function() return 3 end,
    ["returned a constant: a lip.tensor that"] = function(t) return t:detach() end,
  } do
    complains(at(f) .. text, f, x)
  end
  local kept
  lip.grad(function(t) kept = t * 2 return kept:sum() end)(x)
  raises("was used after the call", function() return kept + 1 end)
  raises("was used after the call", tostring, kept)
  complains("derivatives of derivatives are not offered", function(t)
    return (lip.grad(function(u) return (u * t):sum() end)(x))
  end, x)
  complains("is itself being differentiated", function(t) return (lip.grad(function(u) return u:sum() end)(t)) end, x)
  complains("derivatives of derivatives are not offered", function(t)
    return (lip.grad(function(u) return lip.cat { u, t }:sum() end)(x))
  end, x)
  local inner = lip.grad(function(t) -- of constants: as anywhere else
    local _, g = lip.grad(function(u) return u:square():sum() end)(lip.ones(2, 3))
    return (t * g):sum()
  end)
  lu.assertEquals(select(2, inner(x)):totable(), { { 2, 2, 2 }, { 2, 2, 2 } })
  local own = {}
  local ok, e = pcall(lip.grad(function() error(own) end), x)
  lu.assertEquals({ ok, rawequal(e, own) }, { false, true })
  raises("lip.grad: argument 1 (f) expects a function, got nil", lip.grad)
  raises("lip.grad.vjp: argument 1 (f) expects a function, got number 3", lip.grad.vjp, 3)
end

return T
