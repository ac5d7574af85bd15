--- The row that a trial gives back, as its journal will hold it: figures and texts by name, in them lists and tables.
-- What JSON would drop or bend (a table with both names and a list, a function, a table inside itself) is refused. Only
-- what stands in the tables counts, not what their metatables would answer.
local lip = require "lip"

-- scripts of trials may change the tables of the library and of Lua
local to_json, from_json = lip.to_json, lip.from_json
local type, next, rawlen, pcall, tostring, length = type, next, rawlen, pcall, tostring, utf8.len
local math_type, error = math.type, error

local MAX_DEPTH = 100

local function fail(format, ...)
  error({ message = format:format(...) }, 0)
end

local function is_text(s)
  return length(s) and not s:find("\0", 1, true)
end

-- "certified.0.1": where in the row
local function below(where, key)
  local name = type(key) == "string" and (is_text(key) and key or "?") or tostring(key)
  return where and where .. "." .. name or name
end

local copy_table

local function copy(v, where, path)
  local kind = type(v)
  if kind == "table" then return copy_table(v, where, path) end
  if kind == "function" or kind == "thread" then fail("'%s' is a %s", where, kind) end
  if kind == "string" and not is_text(v) then return (v:gsub("[\0\x80-\xff]", "?")) end -- as in all of a journal
  return v
end

function copy_table(t, where, path)
  if path[t] then fail("'%s' is a table that contains itself", where) end
  if #path >= MAX_DEPTH then fail("its tables are nested too deeply") end
  path[t], path[#path + 1] = true, t
  local made, n = {}, rawlen(t)
  for key, v in next, t do
    local place = below(where, key)
    local in_list = math_type(key) == "integer" and key >= 1 and key <= n
    if n > 0 and not in_list then
      fail("%s has both names ('%s') and a list", where and "'" .. where .. "'" or "it", below(nil, key))
    elseif type(key) == "string" and not is_text(key) then
      fail("the name '%s' is no text (UTF-8)", (key:gsub("[%c\x80-\xff]", "?")))
    elseif type(key) ~= "string" and type(key) ~= "number" then
      fail("%s has a name that is a %s", where and "'" .. where .. "'" or "it", type(key))
    end
    made[key] = copy(v, place, path)
  end
  path[t], path[#path] = nil, nil
  return made
end

local function stored(given)
  if rawlen(given) > 0 then
    local key = next(given)
    while math_type(key) == "integer" do key = next(given, key) end
    fail(key == nil and "it is a list, not figures by name" or "it has both names ('%s') and a list", below(nil, key))
  end
  local row = copy(given, nil, {})
  local back, why = from_json(to_json(row))
  if type(back) ~= "table" then fail("%s", tostring(why)) end
  return { row = row, back = back }
end

--- A plain copy of the row, and the row as it is read from a journal; nil, message when it cannot be stored.
---@param given table
---@return table|nil row, table|string back
return function(given)
  local ok, result = pcall(stored, given)
  if ok then return result.row, result.back end
  return nil, "the row cannot be stored: " .. tostring(type(result) == "table" and result.message or result)
end
