-- The shortest text of a number: every one reads back to the same number, and none has fewer digits.
local lu = require "luaunit"
local lip = require "lip"
local decimal = require "lip.decimal"

local tests = {}
local MANY = os.getenv "LIPWB_GC_STRESS" and 1000 or 20000 -- a merciless collector takes its time

local function digits(text)
  local count = #text:gsub("e.*", ""):gsub("%D", ""):gsub("^0+", ""):gsub("0+$", "")
  return count
end

local function same(a, b)
  return string.pack("<d", a) == string.pack("<d", b)
end

local function check(x)
  local text = decimal.text(x)
  lu.assertTrue(same(tonumber(text) + 0.0, x) or x == 0, text)
  for n = 1, digits(text) - 1 do
    local shorter = ("%." .. n .. "g"):format(x)
    lu.assertFalse(tonumber(shorter) == x, ("%s, where %s will do"):format(text, shorter))
  end
end

function tests.test_every_kind_of_number()
  for _, x in ipairs { 0.0, 0.1, 0.89, 1 / 3, 2 / 3, 1.0, 100.0, 1e22, 1e23, 5e-324, 1.5e-323, 2.2250738585072014e-308,
    2.225073858507201e-308, 1.7976931348623157e308, 2.0 ^ 53, 2.0 ^ 53 + 2, 4.35, 123456.789 } do
    check(x)
    check(-x)
  end
  local rng = lip.rng(1)
  for _ = 1, MANY do -- any bits
    local x = string.unpack("<d", string.pack("<I4I4", rng:below(1 << 32), rng:below(1 << 32)))
    if x == x and math.abs(x) < math.huge then check(x) end
  end
  for i = 1, MANY // 10 do check(i / 1000) end
end

function tests.test_words()
  for text, x in pairs { ["0.1"] = 0.1, ["0.89"] = 0.89, ["3"] = 3, ["2"] = 2.0, ["1e-5"] = 1e-5, ["1e22"] = 1e22,
    ["5e-324"] = 5e-324, ["-0.25"] = -0.25, ["9223372036854775807"] = math.maxinteger, ["-9223372036854775808"] = math.mininteger,
    inf = math.huge, ["-inf"] = -math.huge, nan = 0 / 0 } do
    lu.assertEquals(decimal.text(x), text)
  end
end

function tests.test_json()
  for text, value in pairs {
    ['{"0.10000000000000001":"0.10000000000000001\\\\","a":0.1}'] =
      { ["0.10000000000000001"] = "0.10000000000000001\\", a = 0.1 },
    ['[0.89,-0.0,1e20,"\\"0.10000000000000001\\"",9223372036854775807,true,"nan"]'] =
      { 0.89, -0.0, 1e20, '"0.10000000000000001"', math.maxinteger, true, 0 / 0 },
    ["0.3"] = 0.3, ['"x"'] = "x", ["{}"] = {}, ["5e-324"] = 5e-324,
  } do
    lu.assertEquals(decimal.json(value), text)
  end
  local rng, list = lip.rng(2), {}
  for i = 1, 2000 do list[i] = (rng:uniform() - 0.5) * 10.0 ^ (rng:below(600) - 300) end
  local text = decimal.json(list)
  lu.assertEquals(lip.from_json(text), list)
  lu.assertTrue(#text < #lip.to_json(list))
end

-- Where a script has asked for another locale, the digits are still those of machines.
function tests.test_locale()
  local before = os.setlocale(nil, "numeric")
  for _, name in ipairs { "de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "de_AT.UTF-8" } do
    if os.setlocale(name, "numeric") then
      local text, json = decimal.text(0.25), decimal.json { 0.1 }
      os.setlocale(before, "numeric")
      lu.assertEquals({ text, json }, { "0.25", "[0.1]" })
      return
    end
  end
  lu.skip "no locale with a decimal comma is installed"
end

return tests
