--- What can be done with a value that lip.grad differentiates: the operators and methods of lip.tensor, each with the
-- rule that carries the gradient d of its result back. Where a function has a kink the rule takes one subgradient:
--   abs, norm 1: 0 at 0; relu: 0 at 0; clamp: 1 at both limits; maximum, minimum of equals: all to the first;
--   max, min, norm inf: all to the entry with the lowest index; norm 2: 0 at 0; sort: as the stable sort has put them.
-- Masks (eq, lt, ...), sign, argmax, classes and indices are constants.
local lip = require "lip.core"
local tape = require "lip.grad.tape"

local meta, fail, record, value_of, give, into = tape.meta, tape.fail, tape.record, tape.value_of, tape.give, tape.into
local T = lip.zeros(0) -- T.add is the method
tape.own_file()

local methods = {}

-- ---- numbers and tensors alike ----

local function scalar(name, f)
  return function(x)
    if type(x) == "number" then return f(x) end
    return T[name](x)
  end
end

local exp, log = scalar("exp", math.exp), scalar("log", math.log)
local sign = scalar("sign", function(x) return x > 0 and 1.0 or x < 0 and -1.0 or x end)

-- a where the mask is true (or not 0), else b
local function where(mask, a, b)
  if type(mask) ~= "boolean" then return T.where(mask, a, b) end
  return mask and a or b
end

local function compare(name, f)
  return function(a, b)
    if type(a) == "number" and type(b) == "number" then return f(a, b) end
    return T[name](a, b)
  end
end

local compared = {
  eq = compare("eq", function(a, b) return a == b end), ne = compare("ne", function(a, b) return a ~= b end),
  lt = compare("lt", function(a, b) return a < b end), le = compare("le", function(a, b) return a <= b end),
  gt = compare("gt", function(a, b) return a > b end), ge = compare("ge", function(a, b) return a >= b end),
}
local eq, ge, gt = compared.eq, compared.ge, compared.gt

-- ---- element by element ----

-- name = { result of x, gradient of x from d, x and the result y }
local unary = {
  neg = { function(x) return -x end, function(d) return -d end },
  exp = { exp, function(d, _, y) return d * y end },
  log = { log, function(d, x) return d / x end },
  sqrt = { scalar("sqrt", math.sqrt), function(d, _, y) return d * 0.5 / y end },
  abs = { scalar("abs", math.abs), function(d, x) return d * sign(x) end },
  square = { scalar("square", function(x) return x * x end), function(d, x) return d * 2 * x end },
  tanh = { scalar("tanh", function(x)
    local e = math.exp(-2 * math.abs(x))
    return (x < 0 and -1 or 1) * (1 - e) / (1 + e)
  end), function(d, _, y) return d * (1 - y * y) end },
  sigmoid = { scalar("sigmoid", function(x) return 1 / (1 + math.exp(-x)) end),
    function(d, _, y) return d * y * (1 - y) end },
  relu = { scalar("relu", function(x) return x <= 0 and 0.0 or x end),
    function(d, x) return where(gt(x, 0), d, 0.0) end },
}
local sigmoid = unary.sigmoid[1]
unary.softplus = { scalar("softplus", function(x) return math.max(x, 0) + log(1 + exp(-math.abs(x))) end),
  function(d, x) return d * sigmoid(x) end }

for name, row in pairs(unary) do
  local f, pull = row[1], row[2]
  methods[name] = function(x)
    local v = value_of(x)
    local y = f(v)
    return record(x.tape, y, function(d) give(x, pull(d, v, y)) end)
  end
end

-- a ^ b: a^b, b a^(b-1), a^b log a. Where b is 0 the first derivative is 0 and where a^b is 0 the second is, whatever
-- the other factor.
local function power(a, b)
  if type(a) == "number" and type(b) == "number" then return a ^ b end
  return T.pow(a, b)
end

local function power_base(d, a, b)
  if b == 2 then return d * 2 * a end
  if type(b) == "number" then return b == 0 and d * 0 or d * b * power(a, b - 1) end
  return where(eq(b, 0), 0.0, d * b * power(a, b - 1))
end

local function power_exponent(d, a, _, y)
  return where(eq(y, 0), 0.0, d * y * log(a))
end

-- name = { result of a and b, gradients of both from d, a, b and the result }
local binary = {
  add = { function(a, b) return a + b end, function(d) return d end, function(d) return d end },
  sub = { function(a, b) return a - b end, function(d) return d end, function(d) return -d end },
  mul = { function(a, b) return a * b end, function(d, _, b) return d * b end, function(d, a) return d * a end },
  div = { function(a, b) return a / b end, function(d, _, b) return d / b end,
    function(d, _, b, y) return -(d * y) / b end },
  pow = { power, power_base, power_exponent },
  maximum = { function(a, b)
    if type(a) == "number" and type(b) == "number" then return (a > b or a ~= a) and a or b end
    return T.maximum(a, b)
  end, function(d, a, b) return where(ge(a, b), d, 0.0) end, function(d, a, b) return where(ge(a, b), 0.0, d) end },
  minimum = { function(a, b)
    if type(a) == "number" and type(b) == "number" then return (a < b or a ~= a) and a or b end
    return T.minimum(a, b)
  end, function(d, a, b) return where(ge(b, a), d, 0.0) end, function(d, a, b) return where(ge(b, a), 0.0, d) end },
}

local function is_operand(v)
  return type(v) == "number" or type(v) == "userdata"
end

for name, row in pairs(binary) do
  local f, pull_a, pull_b = row[1], row[2], row[3]
  methods[name] = function(a, b)
    local on, x, y = tape.of(a, b), value_of(a), value_of(b)
    if not is_operand(x) then fail("%s: a number or a tensor expected, got %s", name, type(x)) end
    if not is_operand(y) then fail("%s: a number or a tensor expected, got %s", name, type(y)) end
    local result = f(x, y)
    return record(on, result, function(d)
      if tape.is_traced(a) then give(a, pull_a(d, x, y, result)) end
      if tape.is_traced(b) then give(b, pull_b(d, x, y, result)) end
    end)
  end
end

function methods.axpy(x, p, y)
  if type(p) ~= "number" then fail("axpy: the factor is a number, got %s", type(p)) end
  return methods.add(x, y * p)
end

function methods.clamp(x, low, high)
  local v = value_of(x)
  if type(v) == "number" then v = lip.full({}, v) end
  local y = T.clamp(v, low, high)
  local inside = v:ge(low):mul(v:le(high))
  return record(x.tape, type(x.value) == "number" and y:get() or y, function(d) give(x, inside:where(d, 0)) end)
end

-- ---- masks ----

for name, f in pairs(compared) do
  methods[name] = function(a, b)
    local mask = f(value_of(a), value_of(b))
    return type(mask) == "boolean" and lip.full({}, mask and 1 or 0) or mask
  end
end

function methods.sign(x) return sign(value_of(x)) end

function methods.where(mask, a, b)
  local on, m, x, y = tape.of(a, b, mask), value_of(mask), value_of(a), value_of(b)
  local result = where(m, x, y)
  return record(on, result, function(d)
    give(a, where(m, d, 0.0))
    give(b, where(m, 0.0, d))
  end)
end

-- ---- reductions ----

-- The tensor that x holds; a number is refused: `name` is of tensors only.
local function tensor_of(name, x)
  local v = value_of(x)
  if type(v) == "number" then fail("%s: a tensor expected, got a number (a sum over all elements is one)", name) end
  return v
end

-- d, which has the shape of v without `dim`, as a tensor that repeats along it.
local function along(d, v, dim)
  local shape = v:shape()
  shape[dim < 0 and #shape + 1 + dim or dim] = 1
  return d:reshape(shape)
end

function methods.sum(x, dim)
  local v = tensor_of("sum", x)
  return record(x.tape, v:sum(dim), function(d)
    if dim then into(x):add_(along(d, v, dim)) else give(x, d) end
  end)
end

function methods.mean(x, dim)
  local v = tensor_of("mean", x)
  return record(x.tape, v:mean(dim), function(d)
    if dim then into(x):axpy_(1 / v:shape(dim), along(d, v, dim)) else give(x, d / v:size()) end
  end)
end

-- Adds the number or tensor d where `at` says: a position of all elements, or one for each row along dim.
local function add_at(x, at, d, dim)
  local g = into(x)
  if dim then
    g:scatter_add_(at, d, dim)
  else
    local flat = g:flatten()
    flat[at] = flat[at] + d
  end
end

for name, arg in pairs { max = "argmax", min = "argmin" } do
  methods[name] = function(x, dim)
    local v = tensor_of(name, x)
    return record(x.tape, v[name](v, dim), function(d) add_at(x, v[arg](v, dim), d, dim) end)
  end
end

function methods.logsumexp(x, dim)
  local v = tensor_of("logsumexp", x)
  return record(x.tape, v:logsumexp(dim), function(d)
    if dim then
      into(x):add_(v:softmax(dim):mul_(along(d, v, dim)))
    else
      into(x):axpy_(d, v:flatten():softmax(1):reshape(v:shape()))
    end
  end)
end

function methods.softmax(x, dim)
  local v = tensor_of("softmax", x)
  dim = dim or v:dim()
  local y = v:softmax(dim)
  return record(x.tape, y, function(d)
    local dy = d * y
    into(x):add_(dy - y * along(dy:sum(dim), v, dim))
  end)
end

-- Gradients of norms: x / |x|, 0 where the norm is; signs; the sign of the first of largest magnitude.
local norms = {
  [1] = function(x, v, _, d, dim) into(x):add_(v:sign():mul_(dim and along(d, v, dim) or d)) end,
  [2] = function(x, v, y, d, dim)
    local scale = where(eq(y, 0), 0.0, d / y)
    into(x):add_(v * (dim and along(scale, v, dim) or scale))
  end,
  [math.huge] = function(x, v, _, d, dim)
    local at = v:abs():argmax(dim)
    local s = dim and v:gather(at, dim):sign() or sign(v:flatten()[at])
    add_at(x, at, s * d, dim)
  end,
}

function methods.norm(x, p, dim)
  local v = tensor_of("norm", x)
  local y = v:norm(p, dim)
  return record(x.tape, y, function(d) norms[p or 2](x, v, y, d, dim) end)
end

-- ---- products ----

function methods.dot(a, b)
  local on, x, y = tape.of(a, b), value_of(a), value_of(b)
  return record(on, T.dot(x, y), function(d)
    if tape.is_traced(a) then give(a, d * y) end
    if tape.is_traced(b) then give(b, d * x) end
  end)
end

-- A vector on the left counts as a row, on the right as a column; d as the matrix that the product then is.
local function as_matrices(x, y, d)
  local row, column = x:dim() == 1, y:dim() == 1
  local m = row and x:reshape(1, -1) or x
  local n = column and y:reshape(-1, 1) or y
  return m, n, d:reshape(m:shape(1), n:shape(2))
end

function methods.matmul(a, b)
  local on, x, y = tape.of(a, b), value_of(a), value_of(b)
  return record(on, T.matmul(x, y), function(d)
    local m, n, dy = as_matrices(x, y, d)
    if tape.is_traced(a) then give(a, dy:matmul(n:transpose()):reshape(x:shape())) end
    if tape.is_traced(b) then give(b, m:transpose():matmul(dy):reshape(y:shape())) end
  end)
end

-- ---- entries and parts ----

function methods.sort(x, dim, descending)
  local v = tensor_of("sort", x)
  local sorted, at = v:sort(dim, descending)
  return record(x.tape, sorted, function(d) into(x):scatter_add_(at, d, dim) end), at
end

function methods.gather(x, index, dim)
  local at = value_of(index)
  if not tape.is_traced(x) then return x:gather(at, dim) end
  local v = tensor_of("gather", x)
  return record(x.tape, v:gather(at, dim), function(d)
    if type(at) == "table" then at = lip.tensor(at) end
    into(x):scatter_add_(at, d, dim)
  end)
end

function methods.one_hot(labels, classes) return lip.one_hot(value_of(labels), classes) end

-- A view `name` of the tensor; the gradient goes into the same view of the gradient.
local function view(name)
  methods[name] = function(x, ...)
    local v = tensor_of(name, x)
    local arguments = table.pack(...)
    return record(x.tape, v[name](v, ...), function(d)
      local g = into(x)
      g[name](g, table.unpack(arguments, 1, arguments.n)):add_(d)
    end)
  end
end
view "slice"
view "select"

function methods.transpose(x, a, b)
  local v = tensor_of("transpose", x)
  return record(x.tape, v:transpose(a, b), function(d) give(x, d:transpose(a, b)) end)
end

for _, name in ipairs { "reshape", "flatten" } do
  methods[name] = function(x, ...)
    local v = tensor_of(name, x)
    return record(x.tape, v[name](v, ...), function(d) give(x, d:reshape(v:shape())) end)
  end
end

-- One element, a number.
function methods.get(x, ...)
  local v = tensor_of("get", x)
  local at = table.pack(...)
  return record(x.tape, v:get(...), function(d)
    local g = into(x)
    at[at.n + 1] = g:get(table.unpack(at, 1, at.n)) + d
    g:set(table.unpack(at, 1, at.n + 1))
  end)
end

function methods.cat(list, dim)
  local values, on = {}, false
  for i, x in ipairs(list) do
    values[i] = value_of(x)
    if type(values[i]) == "number" then fail("cat: element %d: a tensor expected, got a number", i) end
    on = on or tape.of(x)
    tape.of(x, list[1])
  end
  local along_dim = dim or 1
  return record(on, lip.cat(values, dim), function(d)
    local at = 1
    for i, x in ipairs(list) do
      local n = values[i]:shape(along_dim)
      give(x, d:slice(along_dim, at, at + n - 1))
      at = at + n
    end
  end)
end

-- Traced values do not change: a copy is the value itself.
function methods.clone(x) return x end
function methods.contiguous(x) return x end

-- ---- what is known of the value: constants ----

function methods.detach(x)
  local v = value_of(x)
  return type(v) == "number" and v or v:clone()
end

for _, name in ipairs { "shape", "size", "dim", "argmax", "argmin", "classes", "equal", "allclose", "all_finite",
  "is_contiguous", "totable" } do
  methods[name] = function(x, ...)
    local v = tensor_of(name, x)
    return v[name](v, ...)
  end
end

-- ---- what would change it ----

local function in_place(name)
  return function()
    fail("%s would change a traced value in place, and its gradient would be lost: write y = x:op(...) and go on with y",
      name)
  end
end
methods.in_place = in_place "this"
methods.scatter_add_ = in_place "scatter_add_"
for _, name in ipairs { "set", "copy", "fill" } do methods[name] = in_place(name) end

-- ---- the metatable ----

function meta.__index(x, key)
  if type(key) == "number" then
    local v = tensor_of("an index", x)
    if v:dim() == 1 then return methods.get(x, key) end
    return methods.select(x, 1, key)
  end
  local found = methods[key]
  if found == nil and type(key) == "string" and T[key] then
    if key:sub(-1) == "_" then return in_place(key) end
    fail("%s: tensors have it, but not values that are differentiated (x:detach() is a plain tensor)", key)
  end
  return found
end

function meta.__newindex()
  in_place "an assignment"()
end

local function ordered(name)
  return function(a, b)
    local x, y = value_of(a), value_of(b)
    if type(x) ~= "number" or type(y) ~= "number" then
      fail("tensors have no order as a whole: take %s, which compares element by element", name)
    end
    return compared[name](x, y)
  end
end

meta.__add, meta.__sub, meta.__mul, meta.__div = methods.add, methods.sub, methods.mul, methods.div
meta.__pow, meta.__unm, meta.__lt, meta.__le = methods.pow, methods.neg, ordered "lt", ordered "le"
function meta.__eq(a, b) return value_of(a) == value_of(b) end
function meta.__len(x) return #tensor_of("the length", x) end
function meta.__tostring(x) return "traced " .. tostring(value_of(x)) end
function meta.__pairs(x)
  local n, i = #x, 0
  return function()
    i = i + 1
    if i <= n then return i, x[i] end
  end
end
meta.__traced = methods

return methods
