--- Lipschitz-bounded deep networks by direct parametrisation (Wang, Manchester 2023): layers sandwich{} in a row with a last
-- one without an activation, input and output each scaled by sqrt(gamma). Every value of the parameters gives a net of
-- constant at most gamma in the norm 2, so that training needs no projection; net:project() at its end takes off what
-- rounding has added.
local lip = require "lip"
local own = require("lip.callback").own
local check_options = require("lip.options").check

local function refuse(name, expected, got)
  error(("lbdn: option '%s' expects %s, got %s"):format(name, expected,
    type(got) == "number" and tostring(got) or type(got) == "string" and ("%q"):format(got) or type(got)), 4)
end

-- The float32 number next to x.
local function single(x) return (string.unpack("f", string.pack("f", x))) end

local function check(o)
  for at, v in next, o do
    if type(at) ~= "string" then
      local meta = type(v) == "userdata" and debug.getmetatable(v)
      error(("lbdn: takes options by name and no layers of its own, got %s at %s"):format(meta and meta.__name or type(v),
        type(at) == "number" and tostring(at) or "a " .. type(at)), 3)
    end
  end
  if type(o.widths) ~= "table" then refuse("widths", "a table of whole numbers >= 1", o.widths) end
  for _, width in ipairs(o.widths) do
    if type(width) ~= "number" or (math.tointeger(width) or 0) < 1 then
      refuse("widths", "a table of whole numbers >= 1", width)
    end
  end
  if type(o.outputs) ~= "number" or (math.tointeger(o.outputs) or 0) < 1 then
    refuse("outputs", "a whole number >= 1", o.outputs)
  end
  local gamma = o.gamma == nil and 1 or o.gamma
  if type(gamma) ~= "number" or not (gamma >= 1e-12 and gamma <= 1e12) then
    refuse("gamma", "a number from 1e-12 to 1e12", gamma)
  end
  return gamma
end

-- Bounds of products are rounded up: the last share is a little short, so that theirs stays within gamma.
local function build(o, gamma)
  local factor, widths = single(math.sqrt(gamma)), o.widths
  local net = { input = o.input, norm = 2, seed = o.seed, budget = gamma, budgets = {}, lip.scale { factor = factor } }
  if type(o.input) == "table" and #o.input > 1 then net[2] = lip.flatten() end
  for i, width in ipairs(widths) do
    net[#net + 1] = lip.sandwich { out = width, activation = o.activation }
    net.budgets[i] = 1
  end
  net[#net + 1] = lip.sandwich { out = o.outputs, activation = "none" }
  net.budgets[#widths + 1] = gamma / factor * (1 - 2 ^ -40)
  return lip.net(net)
end

--- A net of constant at most gamma in the norm 2.
---@param given table options; help "lbdn" lists them
---@return lip.net
local function lbdn(given)
  local o = check_options(given, "lip.lbdn")
  local gamma = check(o)
  local net = own("lbdn", 2, build, o, gamma)
  return net
end

return require "lip.arguments".checked("lip.lbdn", "options options", lbdn)
