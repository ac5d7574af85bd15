-- The operations of lip.grad a second time, in plain Lua and double precision, forwards only: arrays { shape, data }
-- (row-major; a number has shape {}), and random expressions that are built of both.
local reference = {}

local function size_of(shape)
  local n = 1
  for _, d in ipairs(shape) do n = n * d end
  return n
end
reference.size_of = size_of

-- f(index) for every index of a shape, in row-major order.
local function array(shape, f)
  local data, index, n = {}, {}, size_of(shape)
  for i = 1, #shape do index[i] = 1 end
  for k = 1, n do
    data[k] = f(index, k)
    for d = #shape, 1, -1 do
      index[d] = index[d] + 1
      if index[d] <= shape[d] then break end
      index[d] = 1
    end
  end
  return { shape = shape, data = data }
end
reference.array = array

-- The element of a at an index of a result that a may be repeated in.
local function at(a, index)
  local place, shift = 0, #index - #a.shape
  for d, n in ipairs(a.shape) do place = place * n + (n == 1 and 0 or index[d + shift] - 1) end
  return a.data[place + 1]
end

local function spread_shape(a, b)
  local big, small = a.shape, b.shape
  if #small > #big then big, small = small, big end
  local shape = {}
  for d, n in ipairs(big) do shape[d] = n == 1 and #small == #big and small[d] or n end
  return shape
end

local function map(f)
  return function(a) return array(a.shape, function(_, k) return f(a.data[k]) end) end
end

local function pair(f)
  return function(a, b)
    return array(spread_shape(a, b), function(index) return f(at(a, index), at(b, index)) end)
  end
end

local function without(shape, dim)
  local rest = table.move(shape, 1, #shape, 1, {})
  table.remove(rest, dim)
  return rest
end

local function with(index, dim, i)
  local whole = table.move(index, 1, #index, 1, {})
  table.insert(whole, dim, i)
  return whole
end

-- The entries of a along dim at an index of the other dimensions; all of them without dim.
local function row(a, index, dim)
  if not dim then return a.data end
  local list = {}
  for i = 1, a.shape[dim] do list[i] = at(a, with(index, dim, i)) end
  return list
end

local function reduce(f)
  return function(a, dim)
    return array(dim and without(a.shape, dim) or {}, function(index) return f(row(a, index, dim)) end)
  end
end

local function sum(list, f)
  local s = 0
  for _, v in ipairs(list) do s = s + (f and f(v) or v) end
  return s
end

local function lse(list)
  local m = math.max(table.unpack(list))
  return m + math.log(sum(list, function(v) return math.exp(v - m) end))
end

local function square(v) return v * v end

local norm = {
  [1] = reduce(function(l) return sum(l, math.abs) end),
  [2] = reduce(function(l) return math.sqrt(sum(l, square)) end),
  [math.huge] = reduce(function(l)
    local m = 0
    for _, v in ipairs(l) do m = math.max(m, math.abs(v)) end
    return m
  end),
}

local function two(a, row_vector)
  if #a.shape == 2 then return a end
  return { shape = row_vector and { 1, a.shape[1] } or { a.shape[1], 1 }, data = a.data }
end

local ops = {
  neg = map(function(v) return -v end), exp = map(math.exp), log = map(math.log), sqrt = map(math.sqrt),
  abs = map(math.abs), square = map(square),
  tanh = map(function(v) return (math.exp(v) - math.exp(-v)) / (math.exp(v) + math.exp(-v)) end),
  sigmoid = map(function(v) return 1 / (1 + math.exp(-v)) end),
  softplus = map(function(v) return math.log(1 + math.exp(v)) end),
  relu = map(function(v) return math.max(v, 0) end),
  add = pair(function(x, y) return x + y end), sub = pair(function(x, y) return x - y end),
  mul = pair(function(x, y) return x * y end), div = pair(function(x, y) return x / y end),
  pow = pair(function(x, y) return x ^ y end), maximum = pair(math.max), minimum = pair(math.min),
  sum = reduce(sum), mean = reduce(function(l) return sum(l) / #l end), logsumexp = reduce(lse),
  max = reduce(function(l) return math.max(table.unpack(l)) end),
  min = reduce(function(l) return math.min(table.unpack(l)) end),
}
reference.ops = ops

function ops.clamp(a, low, high) return map(function(v) return math.min(math.max(v, low), high) end)(a) end
function ops.axpy(a, b, p) return ops.add(a, ops.mul(b, { shape = {}, data = { p } })) end
function ops.norm(a, p, dim) return norm[p](a, dim) end
function ops.dot(a, b) return { shape = {}, data = { sum(ops.mul(a, b).data) } } end

function ops.where(limit, c, a, b) -- of c > limit
  local shape = spread_shape({ shape = spread_shape(c, a) }, b)
  return array(shape, function(index) return at(c, index) > limit and at(a, index) or at(b, index) end)
end

function ops.softmax(a, dim)
  return array(a.shape, function(index)
    return math.exp(at(a, index) - lse(row(a, without(index, dim), dim)))
  end)
end

function ops.matmul(a, b)
  local x, y, shape = two(a, true), two(b, false), {}
  if #a.shape == 2 then shape[1] = a.shape[1] end
  if #b.shape == 2 then shape[#shape + 1] = b.shape[2] end
  local n = y.shape[2]
  return array(shape, function(_, k)
    local i, j, s = (k - 1) // n + 1, (k - 1) % n + 1, 0
    for l = 1, x.shape[2] do s = s + at(x, { i, l }) * at(y, { l, j }) end
    return s
  end)
end

function ops.sort(a, dim, descending)
  return array(a.shape, function(index)
    local list = row(a, without(index, dim), dim)
    table.sort(list, descending and function(x, y) return x > y end or nil)
    return list[index[dim]]
  end)
end

-- `labels` from 0: one for each row along dim.
function ops.gather(a, labels, dim)
  return array(without(a.shape, dim), function(index, k) return at(a, with(index, dim, labels[k] + 1)) end)
end

function ops.slice(a, dim, first, last, step)
  local shape = table.move(a.shape, 1, #a.shape, 1, {})
  shape[dim] = (last - first) // step + 1
  return array(shape, function(index)
    local from = table.move(index, 1, #index, 1, {})
    from[dim] = first + (index[dim] - 1) * step
    return at(a, from)
  end)
end

function ops.select(a, dim, i)
  return array(without(a.shape, dim), function(index) return at(a, with(index, dim, i)) end)
end

function ops.transpose(a, d, e)
  local shape = table.move(a.shape, 1, #a.shape, 1, {})
  shape[d], shape[e] = shape[e], shape[d]
  return array(shape, function(index)
    local from = table.move(index, 1, #index, 1, {})
    from[d], from[e] = from[e], from[d]
    return at(a, from)
  end)
end

function ops.reshape(a, shape) return { shape = shape, data = a.data } end
function ops.flatten(a) return { shape = { #a.data }, data = a.data } end

function ops.cat(a, b, dim)
  local shape = table.move(a.shape, 1, #a.shape, 1, {})
  shape[dim] = a.shape[dim] + b.shape[dim]
  return array(shape, function(index)
    if index[dim] <= a.shape[dim] then return at(a, index) end
    local from = table.move(index, 1, #index, 1, {})
    from[dim] = index[dim] - a.shape[dim]
    return at(b, from)
  end)
end

-- ---- expressions ----

-- A node is { op, operands..., parameters } with operands nodes; { "leaf", i } is the i-th tensor.

--- The value of an expression in doubles; leaves are arrays.
function reference.value(node, leaves)
  if node[1] == "leaf" then return leaves[node[2]] end
  local operands = {}
  for i = 1, node.n do operands[i] = reference.value(node[i + 1], leaves) end
  if node[1] == "constant" then return node[2] end
  if node[1] == "where" then return ops.where(node[5], table.unpack(operands)) end
  return ops[node[1]](table.unpack(table.move(node, node.n + 2, #node, node.n + 1, operands)))
end

--- The same with tensors, plain or traced, as a script would write it. `lip` makes the constants.
function reference.written(node, leaves, lip)
  if node[1] == "leaf" then return leaves[node[2]] end
  if node[1] == "constant" then
    local c = node[2]
    return #c.shape == 0 and c.data[1] or lip.tensor(c.data):reshape(c.shape)
  end
  local x, y, z = nil, nil, nil
  if node.n >= 1 then x = reference.written(node[2], leaves, lip) end
  if node.n >= 2 then y = reference.written(node[3], leaves, lip) end
  if node.n >= 3 then z = reference.written(node[4], leaves, lip) end
  local op = node[1]
  if op == "add" then return x + y end
  if op == "sub" then return x - y end
  if op == "mul" then return x * y end
  if op == "div" then return x / y end
  if op == "pow" then return x ^ y end
  if op == "neg" then return -x end
  if type(x) == "number" then x = lip.full({}, x) end -- of plain tensors: numbers have no methods
  if op == "where" then return x:gt(node[5]):where(y, z) end
  if op == "cat" then return lip.cat({ x, y }, node[4]) end
  if op == "axpy" then return x:axpy(node[4], y) end
  if node.n == 2 then return x[op](x, y) end
  return (x[op](x, table.unpack(node, 3)))
end

-- ---- random expressions ----

local make = {}

--- A generator of expressions: rng, and the leaves that it has made.
function reference.generator(rng)
  return { rng = rng, leaves = {}, used = {} }
end

local function below(g, n) return g.rng:below(n) + 1 end
local function pick(g, list) return list[below(g, #list)] end

local function numbers(g, shape)
  return array(shape, function() return (0.3 + 1.2 * g.rng:uniform()) * (g.rng:uniform() < 0.5 and -1 or 1) end)
end

local function node(g, op, n, ...)
  g.used[op] = (g.used[op] or 0) + 1
  return { op, n = n, ... }
end

local function leaf(g, shape)
  if #g.leaves >= 2 and g.rng:uniform() < 0.4 then -- one that is there already, used once more
    local i = below(g, #g.leaves)
    if table.concat(g.leaves[i].shape, "x") == table.concat(shape, "x") then return node(g, "leaf", 0, i) end
  end
  if #shape == 0 then return node(g, "mean", 1, leaf(g, { 3 })) end
  g.leaves[#g.leaves + 1] = numbers(g, shape)
  return node(g, "leaf", 0, #g.leaves)
end

local function constant(g, shape) return node(g, "constant", 0, numbers(g, shape)) end

--- An expression whose value has this shape, `depth` operations deep at most.
local function expression(g, shape, depth)
  if depth == 0 then return leaf(g, shape) end
  while true do
    local made = pick(g, make)(g, shape, depth - 1)
    if made then return made end
  end
end
reference.expression = expression

local function add(weight, f) for _ = 1, weight do make[#make + 1] = f end end

-- x^2 + 0.5, which is away from 0
local function positive(g, x)
  return node(g, "add", 2, node(g, "square", 1, x), node(g, "constant", 0, { shape = {}, data = { 0.5 } }))
end

add(4, function(g, shape, depth)
  local op = pick(g, { "neg", "abs", "square", "tanh", "sigmoid", "softplus", "relu" })
  return node(g, op, 1, expression(g, shape, depth))
end)
add(2, function(g, shape, depth)
  return node(g, pick(g, { "log", "sqrt" }), 1, positive(g, expression(g, shape, depth)))
end)
add(1, function(g, shape, depth) return node(g, "exp", 1, node(g, "tanh", 1, expression(g, shape, depth))) end)
add(1, function(g, shape, depth) return node(g, "clamp", 1, expression(g, shape, depth), -0.7, 0.8) end)
add(1, function(g, shape, depth)
  return node(g, "pow", 2, positive(g, expression(g, shape, depth)), expression(g, shape, depth))
end)
add(1, function(g, shape, depth)
  local exponent = { shape = {}, data = { pick(g, { 2, 3 }) } }
  return node(g, "pow", 2, node(g, "tanh", 1, expression(g, shape, depth)), node(g, "constant", 0, exponent))
end)

-- A shape that is repeated to `shape`: the same, a number, a row, some sides of 1.
local function smaller(g, shape)
  local kind = below(g, 5)
  if kind == 1 then return {} end
  if kind == 2 and #shape > 1 then return { shape[#shape] } end
  local s = table.move(shape, 1, #shape, 1, {})
  if kind == 3 then
    for d = 1, #s do s[d] = g.rng:uniform() < 0.5 and 1 or s[d] end
  end
  return s
end

local function other(g, shape, depth)
  if g.rng:uniform() < 0.25 then return constant(g, shape) end
  return expression(g, shape, depth)
end

add(8, function(g, shape, depth)
  local op = pick(g, { "add", "sub", "mul", "div", "maximum", "minimum", "axpy" })
  local a, b = expression(g, shape, depth), other(g, smaller(g, shape), depth)
  if op == "div" then b = positive(g, b) end
  if op == "axpy" then return node(g, op, 2, a, b, -1.5) end
  local method = op == "maximum" or op == "minimum"
  if g.rng:uniform() < 0.5 and op ~= "div" and not (method and b[1] == "constant") then a, b = b, a end
  return node(g, op, 2, a, b)
end)
add(2, function(g, shape, depth)
  if #shape == 0 then return nil end
  local mask = g.rng:uniform() < 0.5 and constant(g, shape) or expression(g, shape, depth)
  return node(g, "where", 3, mask, expression(g, shape, depth), other(g, smaller(g, shape), depth), 0.1)
end)

-- along a dimension that is not there any more
add(6, function(g, shape, depth)
  if #shape == 3 then return nil end
  local dim = below(g, #shape + 1)
  local inner = expression(g, with(shape, dim, below(g, 3) + 1), depth)
  local op = pick(g, { "sum", "mean", "max", "min", "logsumexp", "norm" })
  if op == "norm" then return node(g, op, 1, inner, pick(g, { 1, 2, math.huge }), dim) end
  return node(g, op, 1, inner, dim)
end)
add(4, function(g, shape, depth)
  if #shape > 0 then return nil end
  local inner = expression(g, pick(g, { { 4 }, { 3, 2 }, { 2, 2, 3 } }), depth)
  local op = pick(g, { "sum", "mean", "max", "min", "logsumexp", "norm" })
  if op == "norm" then return node(g, op, 1, inner, pick(g, { 1, 2, math.huge })) end
  return node(g, op, 1, inner)
end)
add(1, function(g, shape, depth)
  if #shape > 0 then return nil end
  return node(g, "dot", 2, expression(g, { 2, 3 }, depth), expression(g, { 2, 3 }, depth))
end)
add(2, function(g, shape, depth)
  if #shape == 0 then return nil end
  local dim = below(g, #shape)
  if g.rng:uniform() < 0.5 then return node(g, "softmax", 1, expression(g, shape, depth), dim) end
  return node(g, "sort", 1, expression(g, shape, depth), dim, g.rng:uniform() < 0.5)
end)
add(3, function(g, shape, depth)
  local k = below(g, 3) + 1
  if #shape == 2 then
    local a, b = expression(g, { shape[1], k }, depth), expression(g, { k, shape[2] }, depth)
    if g.rng:uniform() < 0.5 then b = node(g, "transpose", 1, expression(g, { shape[2], k }, depth), 1, 2) end
    return node(g, "matmul", 2, a, b)
  elseif #shape == 1 then
    if g.rng:uniform() < 0.5 then
      return node(g, "matmul", 2, expression(g, { shape[1], k }, depth), expression(g, { k }, depth))
    end
    return node(g, "matmul", 2, expression(g, { k }, depth), expression(g, { k, shape[1] }, depth))
  elseif #shape == 0 then
    return node(g, "matmul", 2, expression(g, { k }, depth), expression(g, { k }, depth))
  end
end)

-- parts
add(2, function(g, shape, depth)
  if #shape == 0 then return nil end
  local dim, step = below(g, #shape), below(g, 2)
  local whole = table.move(shape, 1, #shape, 1, {})
  whole[dim] = 1 + step * (shape[dim] - 1) + 1
  return node(g, "slice", 1, expression(g, whole, depth), dim, 2, whole[dim], step)
end)
add(2, function(g, shape, depth)
  if #shape == 3 then return nil end
  local dim, n = below(g, #shape + 1), below(g, 3)
  local inner = expression(g, with(shape, dim, n), depth)
  if g.rng:uniform() < 0.5 then return node(g, "select", 1, inner, dim, below(g, n)) end
  local labels = {}
  for i = 1, size_of(shape) do labels[i] = g.rng:below(n) end
  if #shape ~= 1 then return nil end
  return node(g, "gather", 1, inner, labels, dim)
end)
add(2, function(g, shape, depth)
  if #shape < 2 then return nil end
  local d, e = below(g, #shape), below(g, #shape)
  local from = table.move(shape, 1, #shape, 1, {})
  from[d], from[e] = from[e], from[d]
  return node(g, "transpose", 1, expression(g, from, depth), d, e)
end)
add(1, function(g, shape, depth)
  if #shape == 0 then return nil end
  if #shape == 1 and shape[1] % 2 == 0 then
    return node(g, "flatten", 1, expression(g, { 2, shape[1] // 2 }, depth))
  end
  return node(g, "reshape", 1, expression(g, { size_of(shape) }, depth), shape)
end)
add(2, function(g, shape, depth)
  if #shape == 0 then return nil end
  local dim = below(g, #shape)
  if shape[dim] < 2 then return nil end
  local a, b = table.move(shape, 1, #shape, 1, {}), table.move(shape, 1, #shape, 1, {})
  a[dim], b[dim] = 1, shape[dim] - 1
  return node(g, "cat", 2, expression(g, a, depth), other(g, b, depth), dim)
end)

return reference
