--- lip.grad.check: gradients against central differences, (f(x + h) - f(x - h)) / (2 h) for every element x of every
-- tensor. Tensors are float32: a right gradient of a smooth function comes out some 1e-3 off or better, a wrong factor or
-- sign by the order of 1; kinks within h of a point look like errors.
local lip = require "lip.core"
local grad = require "lip.grad.call"
require "lip.grad.tape".own_file()

local STEP = 2 ^ -7 -- of elements of up to 1, larger ones in proportion

-- A copy of v with tensors of its own, also those in tables, which are noted in `list`.
local function copy_of(v, list, seen)
  if grad.is_tensor(v) then
    local t = v:clone()
    list[#list + 1] = t
    return t
  end
  if type(v) ~= "table" or getmetatable(v) then return v end
  if seen[v] then return seen[v] end
  local copy = {}
  seen[v] = copy
  for key, inside in next, v do copy[key] = copy_of(inside, list, seen) end
  return copy
end

-- The gradients of the tensors in `copy`, by tensor: `g` has the same form.
local function gradients_of(copy, g, list, seen)
  if grad.is_tensor(copy) then
    list[copy] = g
  elseif type(copy) == "table" and not getmetatable(copy) and not seen[copy] then
    seen[copy] = true
    for key, inside in next, copy do gradients_of(inside, g[key], list, seen) end
  end
end

-- The largest difference of g and the slopes of value() in the elements of t, over the largest of both.
local function difference(value, t, g)
  local off, largest = 0, 0
  local x, slopes = t:reshape(t:size()), g:reshape(t:size())
  for i = 1, t:size() do
    local at = x:get(i)
    local h = STEP * math.max(1, math.abs(at))
    x:set(i, at + h)
    local above, up = x:get(i), value()
    x:set(i, at - h)
    local below, down = x:get(i), value()
    x:set(i, at)
    local slope, said = (up - down) / (above - below), slopes:get(i)
    local d = math.abs(slope - said)
    if d ~= d or d == math.huge then return math.huge end
    off, largest = math.max(off, d), math.max(largest, math.abs(slope), math.abs(said))
  end
  return off == 0 and 0 or off / largest
end

-- What is compared: value() of the tensors in `list`, and their gradients.
local function of_function(f, ...)
  local given, list, seen = table.pack(...), {}, {}
  for i = 1, given.n do given[i] = copy_of(given[i], list, seen) end
  local function call()
    return grad.value_and_gradients(f, "lip.grad.check: f", math.maxinteger, table.unpack(given, 1, given.n))
  end
  local got, gradients = table.pack(call()), {}
  seen = {}
  for i = 1, given.n do gradients_of(given[i], got[i + 1], gradients, seen) end
  return function() return (call()) end, list, gradients
end

local function of_loss(loss, z, y)
  local list = {}
  z = copy_of(z, list, {})
  local _, dz = loss:gradient(z, y)
  return function() return loss:value(z, y) end, list, { [z] = dz }
end

-- A layer: of the sum of its outputs, each with a factor of its own.
local function of_layer(spec, x)
  local input = table.move(x:shape(), 2, x:dim(), 1, {})
  local net = lip.net { input = input, norm = 2, spec }
  local list = {}
  x = copy_of(x, list, {})
  local factors = lip.randn(lip.rng(1), net:forward(x, true):shape())
  local gradients = { [x] = net:backward(factors, { input_gradient = true }):clone() }
  for _, p in ipairs(net:parameters()) do
    if p.trained ~= false then
      list[#list + 1], gradients[p.value] = p.value, p.grad:clone()
    end
  end
  return function() return (net:forward(x, true) * factors):sum() end, list, gradients
end

local function type_name(v)
  local meta = type(v) == "userdata" and debug.getmetatable(v)
  return meta and meta.__name or type(v)
end

--- The largest difference of gradients and central differences, each over the largest slope in its tensor.
---@param f any a function as of lip.grad, a loss, a definition made by lip.layer, or a layer with its options
---@param ... any arguments of the function; outputs and targets of the loss; inputs (rows, shape...) of the layer
---@return number
local function check(f, ...)
  local kind = type_name(f)
  local function need(name, expected, v, dim)
    if grad.is_tensor(v) and v:dim() >= dim then return end
    error(("lip.grad.check: argument %d (%s) expects %s, got %s"):format(2, name, expected, grad.is_tensor(v)
      and "a tensor of " .. v:dim() .. " dimensions" or type_name(v)), 3)
  end
  local value, list, gradients
  if kind == "lip.loss" then
    need("z", "a tensor of outputs", (...), 1)
    value, list, gradients = of_loss(f, ...)
  elseif kind == "lip.layer" or kind == "lip.spec" then
    need("x", "a tensor of inputs (rows, shape...)", (...), 2)
    value, list, gradients = of_layer(kind == "lip.layer" and f {} or f, (...))
  else
    local meta = getmetatable(f)
    if kind ~= "function" and not (kind == "table" and type(meta) == "table" and meta.__call) then
      error(("lip.grad.check: argument 1 (f) expects a function, a loss or a layer, got %s"):format(kind), 2)
    end
    value, list, gradients = of_function(f, ...)
  end
  local worst = 0
  for _, t in ipairs(list) do worst = math.max(worst, difference(value, t, gradients[t])) end
  return worst
end

return check
