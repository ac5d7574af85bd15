--- Conditions on runs: where.compile('norm = "inf" and budget < 4') gives a function of a record.
--   condition = conjunction { "or" conjunction }        conjunction = negation { "and" negation }
--   negation  = "not" negation | "(" condition ")" | comparison
--   comparison = operand [ ("=" | "==" | "~=" | "!=" | "<" | "<=" | ">" | ">=") operand ]
--   operand   = name | [any name] | number | "text" | 'text' | inf | true | false | nil
-- Nothing is ever executed. A number meets a text that reads as one as a number (inf as well); order between a number
-- and a word, or with something missing, is false. An operand alone holds when it is there and not false.
local field = require "lip.runs.field"

local where = {}

local MAX_DEPTH = 100

local OPERATORS = { ["="] = "=", ["=="] = "=", ["~="] = "~=", ["!="] = "~=", ["<"] = "<", ["<="] = "<=", [">"] = ">",
  [">="] = ">=" }
local WORDS = { ["and"] = true, ["or"] = true, ["not"] = true }
local CONSTANTS = { ["true"] = { true }, ["false"] = { false }, ["nil"] = {}, inf = { math.huge } }

-- ---- words of the text ----

-- Raises a table, which compile() turns into a message.
local function refuse(at, fmt, ...)
  error({ at = at, message = fmt:format(...) }, 0)
end

local function text_token(text, at)
  local quote, parts, i = text:sub(at, at), {}, at + 1
  while true do
    local c = text:sub(i, i)
    if c == "" then refuse(at, "the text that begins here has no end") end
    if c == quote then return { kind = "value", value = table.concat(parts), at = at }, i + 1 end
    if c == "\\" and text:sub(i + 1, i + 1) ~= "" then
      i = i + 1
      c = text:sub(i, i)
    end
    parts[#parts + 1] = c
    i = i + 1
  end
end

local function name_token(text, at)
  local word = text:match("^[%a_][%w_%.]*", at)
  local rest = text:match("^@[%w%.%+%-/]*", at + #word) -- certified@0.1, certified@8/255, certified@1e-3
  while rest do
    word = word .. rest
    rest = text:match("^[%w_%.]+", at + #word)
  end
  return word, at + #word
end

local function token(text, at)
  at = text:find("%S", at)
  if not at then return { kind = "end", at = #text + 1, text = "the end" } end
  local c = text:sub(at, at)
  if c == '"' or c == "'" then return text_token(text, at) end
  if c == "(" or c == ")" then return { kind = c, at = at, text = c }, at + 1 end
  if c == "[" then
    local name = text:match("^%[([^%]]+)%]", at)
    if not name then refuse(at, "the name that begins here has no end: ']' is missing") end
    return { kind = "name", name = name, at = at, text = name }, at + #name + 2
  end
  local operator = OPERATORS[text:sub(at, at + 1)] and text:sub(at, at + 1) or OPERATORS[c] and c
  if operator then
    return { kind = "operator", value = OPERATORS[operator], at = at, text = operator }, at + #operator
  end
  local digits = text:match("^[%+%-]?%.?%d[%w%.]*", at)
  if digits then
    local sign = digits:match "[eE]$" and text:match("^[%+%-]%d+", at + #digits) -- 1e-3
    digits = digits .. (sign or "")
    local value = tonumber(digits)
    if not value then refuse(at, "'%s' is no number", digits) end
    return { kind = "value", value = value, at = at, text = digits }, at + #digits
  end
  if text:match("^%-inf%f[^%w_]", at) then
    return { kind = "value", value = -math.huge, at = at, text = "-inf" }, at + 4
  end
  if not c:find "[%a_]" then refuse(at, "'%s' does not belong here", c:byte() < 0x80 and c or "this character") end
  local word, after = name_token(text, at)
  if WORDS[word] then return { kind = word, at = at, text = word }, after end
  local constant = CONSTANTS[word]
  if constant then return { kind = "value", value = constant[1], at = at, text = word }, after end
  return { kind = "name", name = word, at = at, text = word }, after
end

-- ---- meaning ----

local function both_numbers(a, b)
  if type(a) == "string" and type(b) == "string" then return nil end
  local x, y = field.number(a), field.number(b)
  if x and y then return x, y end
end

local function equal(a, b)
  if type(a) == "table" and b ~= nil then a = field.text(a) end -- widths = "256,256"
  if type(b) == "table" and a ~= nil then b = field.text(b) end
  local x, y = both_numbers(a, b)
  if x then return x == y end
  return a == b
end

local function less(a, b)
  local x, y = both_numbers(a, b)
  if x then return x < y end
  return type(a) == "string" and type(b) == "string" and a < b
end

local function less_equal(a, b)
  local x, y = both_numbers(a, b)
  if x then return x <= y end
  return type(a) == "string" and type(b) == "string" and a <= b
end

local COMPARE = {
  ["="] = equal,
  ["~="] = function(a, b) return not equal(a, b) end,
  ["<"] = less,
  ["<="] = less_equal,
  [">"] = function(a, b) return less(b, a) end,
  [">="] = function(a, b) return less_equal(b, a) end,
}

-- ---- grammar ----

local function parser(text)
  local self = { names = {} }
  local ahead, after = token(text, 1)

  local function next_token()
    local t = ahead
    if t.kind ~= "end" then ahead, after = token(text, after) end
    return t
  end

  local function operand()
    local t = next_token()
    if t.kind == "value" then
      local value = t.value
      return function() return value end
    elseif t.kind == "name" then
      self.names[#self.names + 1] = t
      return field.getter(t.name)
    end
    refuse(t.at, "expected a name or a value, got %s", t.kind == "end" and "the end" or "'" .. t.text .. "'")
  end

  local condition

  local function comparison()
    local a = operand()
    if ahead.kind ~= "operator" then
      return function(record)
        local v = a(record)
        return v ~= nil and v ~= false
      end
    end
    local compare = COMPARE[next_token().value]
    local b = operand()
    if ahead.kind == "operator" then refuse(ahead.at, "one comparison at a time: join two with 'and'") end
    return function(record) return compare(a(record), b(record)) end
  end

  local function negation(depth)
    if depth > MAX_DEPTH then refuse(ahead.at, "more than %d levels of parentheses", MAX_DEPTH) end
    if ahead.kind == "not" then
      next_token()
      local inner = negation(depth + 1)
      return function(record) return not inner(record) end
    elseif ahead.kind == "(" then
      local open = next_token()
      local inner = condition(depth + 1)
      if ahead.kind ~= ")" then
        refuse(ahead.kind == "end" and open.at or ahead.at,
          ahead.kind == "end" and "this parenthesis is never closed" or "expected 'and', 'or' or ')'")
      end
      next_token()
      return inner
    end
    return comparison()
  end

  local function conjunction(depth)
    local parts = { negation(depth) }
    while ahead.kind == "and" do
      next_token()
      parts[#parts + 1] = negation(depth)
    end
    if #parts == 1 then return parts[1] end
    return function(record)
      for i = 1, #parts do
        if not parts[i](record) then return false end
      end
      return true
    end
  end

  function condition(depth)
    local parts = { conjunction(depth) }
    while ahead.kind == "or" do
      next_token()
      parts[#parts + 1] = conjunction(depth)
    end
    if #parts == 1 then return parts[1] end
    return function(record)
      for i = 1, #parts do
        if parts[i](record) then return true end
      end
      return false
    end
  end

  function self.run()
    local test = condition(1)
    if ahead.kind ~= "end" then refuse(ahead.at, "expected 'and', 'or' or the end") end
    return test
  end

  return self
end

-- The message, the text, and a mark under the place; of a long text the part around it.
local function point_at(text, at, message)
  local line = text:gsub("[%c\x7f]", " ")
  local first = math.max(1, at - 60)
  return ("%s\n  %s\n  %s^"):format(message, line:sub(first, first + 75), (" "):rep(at - first))
end

--- A condition as a function of a record. `is_known` and `names` (of field.known) tell which names there are.
---@return function|nil test, string? message
function where.compile(text, is_known, names)
  local ok, result = pcall(function()
    local p = parser(text)
    local test = p.run()
    for _, t in ipairs(is_known and p.names or {}) do
      if not is_known(t.name) then
        refuse(t.at, "no run has a '%s'%s", t.name, field.did_you_mean(t.name, names or {}))
      end
    end
    return test
  end)
  if ok then return result end
  if type(result) ~= "table" then error(result, 0) end
  return nil, point_at(text, result.at, result.message)
end

return where
