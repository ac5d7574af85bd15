--- lip.grad(f): gradients of functions that are written forwards only, by reverse-mode differentiation.
--
--   local df = lip.grad(function(x, w) return (x:matmul(w) - 1):square():mean() end)
--   local value, dx, dw = df(x, w)
--
-- f is called with values in place of its tensors that take the same operators and methods (lip.grad.operations) and
-- note down what is done with them (lip.grad.tape). Nothing is kept from one call to the next.
local arguments = require "lip.arguments"
local calls = require "lip.grad.call"
local tape = require "lip.grad.tape"
tape.own_file()

local is_tensor = calls.is_tensor

--- A function of the same arguments: the value of f, and for each argument its gradient: a tensor for a tensor, a table
--- of them for a table, nil for everything else.
---@param f function of tensors, tables of tensors, and others, which are constants; returns a number
---@return function
local function grad(f)
  return function(...) return calls.value_and_gradients(f, "lip.grad: f", math.maxinteger, ...) end
end

--- f(...), a tensor or a number, and a function that carries a gradient of it back to the arguments, as often as it is
--- called: for layers. The arguments must not change in between.
---@param f function
---@return any y
---@return function pull pull(dy) -> gradients in the arguments, as lip.grad has them
local function vjp(f, ...)
  local call = calls.new(f, "lip.grad.vjp: f", math.maxinteger, ...)
  local result = calls.forward(call, "a tensor or a number")
  local value = result.value
  local function pull(dy)
    if type(dy) ~= type(value) or is_tensor(dy) ~= is_tensor(value)
      or tape.shape_text(dy) ~= tape.shape_text(value) then
      error(("lip.grad.vjp: the gradient of a result of shape %s expected, got %s"):format(tape.shape_text(value),
        is_tensor(dy) and "shape " .. tape.shape_text(dy) or type(dy)), 2)
    end
    tape.clear(call.on) -- what a call that was interrupted has left
    tape.back(call.on, result, dy, false)
    return calls.gradients(call)
  end
  return is_tensor(value) and value:clone() or value, pull
end

local checked = arguments.checked("lip.grad", "f callable", grad)

-- Loaded by the first call: it is needed while something is written.
local function check(...) return require "lip.grad.check"(...) end

return setmetatable({ check = arguments.checked("lip.grad.check", "f something", check), vjp = arguments.checked("lip.grad.vjp", "f callable", vjp) }, {
  __call = function(_, ...) return checked(...) end,
})
