--- One call of a function that lip.grad differentiates: its tensors are replaced by leaves of a tape, its result is looked
-- at, and the gradients come back in the form of the arguments.
local lip = require "lip.core"
local callback = require "lip.callback"
local tape = require "lip.grad.tape"
require "lip.grad.operations"
tape.own_file(true)

local calls = {}
local fail = tape.fail
local tensor_meta = debug.getmetatable(lip.zeros(0))

function calls.is_tensor(v)
  return type(v) == "userdata" and debug.getmetatable(v) == tensor_meta
end

local function type_name(v)
  local meta = type(v) == "userdata" and debug.getmetatable(v)
  return meta and meta.__name or type(v)
end

local is_tensor = calls.is_tensor

-- ---- arguments ----

-- What f gets in place of v: tensors, also those in tables, become leaves of the tape.
local function traced(on, v, seen)
  if is_tensor(v) then return tape.record(on, v) end
  if tape.is_traced(v) then
    fail "an argument is itself being differentiated: derivatives of derivatives are not offered"
  end
  if type(v) ~= "table" or getmetatable(v) then return v end
  if seen[v] then return seen[v] end
  local copy = {}
  seen[v] = copy
  for key, inside in next, v do copy[key] = traced(on, inside, seen) end
  return copy
end

-- The gradient in v, which has become `t`: a tensor, a table of them, or nil.
local function gradient_of(v, t, seen)
  if is_tensor(v) then return tape.take(t) end
  if type(v) ~= "table" or t == v then return nil end
  if seen[v] then return seen[v] end
  local copy = {}
  seen[v] = copy
  for key, inside in next, v do copy[key] = gradient_of(inside, t[key], seen) end
  return copy
end

-- ---- calling ----

--- One call: { on = tape, f =, what =, given = arguments, traced = what f gets in their place }. The first `count` of the
-- arguments are differentiated.
function calls.new(f, what, count, ...)
  local call = { on = tape.new(), f = f, what = what, given = table.pack(...), traced = table.pack(...), count = count }
  local seen = {}
  for i = 1, math.min(count, call.given.n) do call.traced[i] = traced(call.on, call.given[i], seen) end
  return call
end

-- f did something else than it should. Of lip.grad the script's line called it; a loss is called by others, and its own
-- place says it all.
local function blame(call, format, ...)
  local text = ("%s (%s) "):format(call.what, callback.where(call.f)) .. format:format(...)
  if call.what:find "^lip%." then tape.raise("%s", text) end
  error(text, 0)
end

--- f forwards; its result, which is traced.
function calls.forward(call, expected)
  local function handler(message) return tape.handler(message, callback.where(call.f)) end
  local got = table.pack(xpcall(call.f, handler, table.unpack(call.traced, 1, call.traced.n)))
  call.on.open = false
  if not got[1] then error(got[2], 0) end
  local result = got[2]
  if got.n > 2 then
    blame(call, "must return %s and nothing else, got %d values", expected, got.n - 1)
  elseif tape.is_traced(result) and result.tape == call.on then
    return result
  elseif type(result) == "number" or is_tensor(result) then
    blame(call, "returned a constant: a %s that does not depend on what is differentiated", type_name(result))
  end
  blame(call, "must return %s, got %s", expected, tape.is_traced(result)
    and "a value of another call of lip.grad" or type_name(result))
end

-- The result of a function of which the gradient is wanted, as a number, and the gradient of the result in itself.
local function number_of(call, result)
  local value = result.value
  if type(value) == "number" then return value, 1.0 end
  if value:dim() == 0 then return value:get(), lip.full({}, 1) end
  blame(call, "must return a number, got a tensor of %s (its sum or mean?)", tape.shape_text(value))
end

--- The gradients in the arguments, after tape.back.
function calls.gradients(call)
  local list, seen = {}, {}
  local n = math.min(call.count, call.given.n)
  for i = 1, n do list[i] = gradient_of(call.given[i], call.traced[i], seen) end
  return table.unpack(list, 1, n)
end

--- f(...) as a number, and its gradients in the first `count` arguments. `what` names f in messages.
function calls.value_and_gradients(f, what, count, ...)
  local call = calls.new(f, what, count, ...)
  local result = calls.forward(call, "a number")
  local value, seed = number_of(call, result)
  tape.back(call.on, result, seed, true)
  return value, calls.gradients(call)
end

--- f(...) as a number, where the first argument is one that could be differentiated.
function calls.value(f, what, ...)
  local call = calls.new(f, what, 1, ...)
  return (number_of(call, calls.forward(call, "a number")))
end

return calls
