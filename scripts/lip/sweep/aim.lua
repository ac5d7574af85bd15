--- The figure of a row that a sweep looks at, and what is said of rows that have none of that name.
local nearest = require "lip.nearest"

-- scripts of trials may change the tables of Lua
local type, next, concat, sort, utf8_len = type, next, table.concat, table.sort, utf8.len

local aim = {}

local SHOWN = 20 -- names of figures in one message
local LOOKS = "the sweep looks at it"

-- " (did you mean 'clean'?; its figures: clean, loss)"
local function figures(row, name)
  local names = {}
  for key, v in next, row do
    if type(key) == "string" and type(v) == "number" and utf8_len(key) then names[#names + 1] = key end
  end
  if #names == 0 then return " (it has no figures)" end
  sort(names)
  local near = nearest(name, names)
  local more = #names > SHOWN and (", and %d more"):format(#names - SHOWN) or ""
  return (" (%sits figures: %s%s)"):format(near and ("did you mean '%s'? "):format(near) or "",
    concat(names, ", ", 1, #names > SHOWN and SHOWN or #names), more)
end

--- The value of a row; nil and why it has none.
---@param row table|nil as the script gave it
---@param back table|nil the same as it is read from a journal
---@param name string of the figure
---@return number|nil value, string? message
function aim.value(row, back, name)
  if not row then return nil, ("the script returned no row, and so no figure '%s': %s"):format(name, LOOKS) end
  local v = back[name] ~= nil and row[name] or nil
  if type(v) == "number" then return v end
  if not v then return nil, ("the row has no figure '%s': %s%s"):format(name, LOOKS, figures(row, name)) end
  local kind = type(v) == "string" and ("a text ('%s')"):format(v:sub(1, 40)) or "a " .. type(v)
  return nil, ("'%s' in the row is %s: %s as a number%s"):format(name, kind, LOOKS, figures(row, name))
end

--- Whether a trial failed for want of that value, and for nothing else.
---@param message any of the trial
function aim.lacks(message)
  return type(message) == "string" and message:find(": " .. LOOKS, 1, true) ~= nil
end

return aim
