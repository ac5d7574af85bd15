--- Numbers as text for other programs, and for settings that are texts: the fewest decimal digits that read back to the
-- same number. 0.1 is 0.1, where seventeen digits, which always suffice, say 0.10000000000000001.
local core = require "lip.core"

-- scripts of trials may change the tables of the library and of Lua
local to_json, format, tonumber, tostring, math_type, huge = core.to_json, string.format, tonumber, tostring, math.type,
  math.huge
local abs = math.abs

local decimal = {}

local NORMAL = 2.2250738585072014e-308 -- below, numbers have fewer digits of their own

-- Up to fifteen digits of a normal number survive the way to binary and back, so that "%.15g" finds them all.
local function digits_of(x)
  for n = abs(x) < NORMAL and 1 or 15, 16 do
    local text = format("%." .. n .. "g", x)
    if tonumber(text) == x then return text end
  end
  return format("%.17g", x)
end

--- A number as text; "inf", "-inf" and "nan" for those that have no digits.
---@param x number
---@return string
function decimal.text(x)
  if math_type(x) == "integer" then return tostring(x) end
  if x ~= x then return "nan" end
  if x == huge or x == -huge then return x > 0 and "inf" or "-inf" end
  local text = digits_of(x):gsub("[^%de+-]", "."):gsub("e%+?(%-?)0*", "e%1") -- a locale may write a comma
  return text
end

-- JSON has seventeen digits. Shorter ones for a number, anything else as it is.
local function shorter(word)
  if #word < 17 then return word end
  local text = word:find "[.e]" and decimal.text(tonumber(word)) or word
  return #text < #word and text or word
end

--- lip.to_json with numbers as above. (Not for keys and descriptions of sweeps: theirs are compared with older ones.)
---@param value any
---@return string
function decimal.json(value)
  local text, parts, at = to_json(value), {}, 1
  while true do
    local from = text:find('"', at, true) or #text + 1
    parts[#parts + 1] = text:sub(at, from - 1):gsub("%-?%d[%d.e+-]*", shorter)
    if from > #text then return table.concat(parts) end
    local to = from
    repeat -- a quote behind a backslash is none
      to = text:find('["\\]', to + 1)
      local escape = text:sub(to, to) == "\\"
      if escape then to = to + 1 end
    until not escape
    parts[#parts + 1] = text:sub(from, to)
    at = to + 1
  end
end

return decimal
