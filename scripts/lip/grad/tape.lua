--- The tape of lip.grad: every operation on a traced value leaves a node with its result and the rule that carries the
-- gradient of the result back to what it was made of. Nodes stand in the order they were made, so going through them
-- backwards meets every node after all that used it (reverse mode: Linnainmaa 1970).
--
-- A node's value is a number (double) or a lip.tensor (float32); its gradient `g` is of the same kind, false until there
-- is one, and may be added to in place when the node owns it. Nodes are of no use once their tape is closed.
local lip = require "lip.core"

local tape = {}

-- The metatable of traced values; lip.grad.operations fills it. C finds the operations of traced values by __traced.
local meta = { __name = "lip.traced" }
tape.meta = meta

local getmetatable, type = getmetatable, type

-- These files by the names that positions have: errors never stand on their lines.
local own = { [debug.getinfo(1, "S").short_src] = true }

--- Counts the file of the caller among them. The one that calls functions is the boundary: what is on the stack below it
--- has nothing to do with what they do.
local boundary
function tape.own_file(calls_functions)
  local source = debug.getinfo(2, "S").short_src
  own[source] = true
  if calls_functions then boundary = source end
end

-- "script.lua:12: " of the innermost function of the script's on the stack; inside: nil when none lies above the boundary
-- (a function that ends with a call of an operation is not on the stack any more when that raises).
local function script_position(inside)
  local level = 2
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then return "" end
    if inside and info.short_src == boundary then return nil end
    if info.what ~= "C" and not own[info.short_src] then return ("%s:%d: "):format(info.short_src, info.currentline) end
    level = level + 1
  end
end

--- Raises on the line of the script that called lip.grad.
function tape.raise(format, ...)
  error(script_position() .. format:format(...), 0)
end

--- Raises on the line of the operation; without a position where there is none any more (tape.handler has one).
local function fail(format, ...)
  error((script_position(true) or "") .. "lip.grad: " .. format:format(...), 0)
end
tape.fail = fail

local methods_of_numbers = { abs = true, exp = true, log = true, sqrt = true }

-- What to write where a function that knows nothing of derivatives was given a value that has them.
local function hint(message)
  local name, wanted = message:match "bad argument #%d+ to '([%w_.]+)' %((.-) expected, got lip%.traced%)"
  name = name and name:match "[%w_]+$"
  if wanted == "number" and rawget(math, name) then
    return (": math.%s cannot be differentiated, %s"):format(name, methods_of_numbers[name]
      and ("the method can: x:sum():%s() for math.%s(x:sum())"):format(name, name)
      or "methods of its argument can: x:exp(), x:log(), x:sqrt(), x:tanh(), ...; help \"grad\"")
  elseif name == "forward" then
    return ": net:forward cannot be differentiated through; net:backward gives the gradients of a net, its input's too"
  elseif name then
    return ": only operators and methods of what is differentiated can be differentiated; x:detach() is a constant"
  end
  return ""
end

--- What an error in the function that begins at `where` says: what is raised on a line of these files stands on the
--- script's. Called where the error is (xpcall).
function tape.handler(message, where)
  if type(message) ~= "string" or lip.interrupted() then return message end
  local function position() return script_position(true) or where .. ": " end
  if message:find "^attempt to yield" then
    return position() .. "lip.grad: a function that is differentiated cannot yield here: " .. message
  end
  local source, text = message:match "^([^\n]-):%d+: (.*)$"
  if own[source] then return position() .. text end
  return message:find "^lip%.grad: " and where .. ": " .. message or message .. hint(message)
end

function tape.is_traced(x)
  return type(x) == "table" and getmetatable(x) == meta
end

--- "2x3" of a tensor, "a number" of a number.
function tape.shape_text(v)
  if type(v) == "number" then return "a number" end
  local shape = v:shape()
  return #shape == 0 and "scalar" or table.concat(shape, "x")
end

-- ---- recording ----

function tape.new()
  return { n = 0, open = true }
end

--- A new node; pull(d) carries the gradient d of its value on. Leaves have none.
function tape.record(on, value, pull)
  local n = on.n + 1
  local node = setmetatable({ value = value, tape = on, pull = pull or false, g = false, owned = false, at = n }, meta)
  on.n, on[n] = n, node
  return node
end

--- What a traced value holds; anything else is returned as it is.
function tape.value_of(x)
  if type(x) ~= "table" or getmetatable(x) ~= meta then return x end
  if not x.tape.open then
    fail "a traced value was used after the call that it belongs to had ended (keep x:detach() instead)"
  end
  return x.value
end

--- The tape of those of the arguments that are traced; they must have the same.
function tape.of(a, b, c)
  local found = false
  for i = 1, 3 do
    local x = i == 1 and a or i == 2 and b or c
    if type(x) == "table" and getmetatable(x) == meta then
      if found and found ~= x.tape then
        fail "a value that another call of lip.grad differentiates: derivatives of derivatives are not offered"
      end
      found = x.tape
    end
  end
  return found
end

-- ---- gradients ----

local function same_shape(a, b)
  local n = a:dim()
  if n ~= b:dim() then return false end
  for i = 1, n do
    if a:shape(i) ~= b:shape(i) then return false end
  end
  return true
end

--- The gradient d of a result in the shape of an operand that was repeated to make it: sums over what was repeated.
function tape.fit(d, value)
  if type(value) == "number" then return type(d) == "number" and d or d:sum() end
  if type(d) == "number" then return lip.full(value:shape(), d) end
  if same_shape(d, value) then return d end
  while d:dim() > value:dim() do d = d:sum(1) end
  for i = 1, value:dim() do
    if value:shape(i) == 1 and d:shape(i) ~= 1 then
      local shape = d:shape()
      shape[i] = 1
      d = d:sum(i):reshape(shape)
    end
  end
  return d
end
local fit = tape.fit

--- Adds d to the gradient of x, if x is traced. d may be shared: it is not written to.
function tape.give(x, d)
  if type(x) ~= "table" or getmetatable(x) ~= meta then return end
  d = fit(d, x.value)
  if not x.g then
    x.g, x.owned = d, false
  elseif type(d) == "number" then
    x.g = x.g + d
  elseif x.owned then
    x.g:add_(d)
  else
    x.g, x.owned = x.g:add(d), true
  end
end

--- The gradient of the traced tensor x, to be added to in place.
function tape.into(x)
  if not x.g then
    x.g = lip.zeros(x.value:shape())
  elseif not x.owned then
    x.g = x.g:clone()
  end
  x.owned = true
  return x.g
end

--- Forgets all gradients.
function tape.clear(on)
  for i = 1, on.n do on[i].g, on[i].owned = false, false end
end

--- Carries `seed`, the gradient of `result`, back to everything that it was made of. `once`: nodes give up what they
--- hold on the way.
function tape.back(on, result, seed, once)
  result.g, result.owned = seed, false
  for i = result.at, 1, -1 do
    local node = on[i]
    local pull, g = node.pull, node.g
    if pull and g then pull(g) end
    if pull then node.g, node.owned = false, false end
    if pull and once then node.pull, node.value = false, false end
  end
end

--- The gradient of a leaf (zeros where nothing reached it), which then is the caller's own.
function tape.take(leaf)
  local g = leaf.g or lip.zeros(leaf.value:shape())
  if leaf.g and not leaf.owned then g = g:clone() end
  leaf.g, leaf.owned = false, false
  return g
end

return tape
