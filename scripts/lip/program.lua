--- What the program lipwb does in Lua: showing values in a session, and the end of a script.
local core = require "lip.core"

local program = {}

local MAX_ROWS, MAX_DEPTH, MAX_TEXT = 20, 3, 200

local function is_name(key)
  return type(key) == "string" and key:find "^[%a_][%w_]*$" ~= nil
end

local function by_kind_then_value(a, b)
  local ta, tb = type(a), type(b)
  if ta ~= tb then return ta < tb end
  if ta == "number" or ta == "string" then return a < b end
  return tostring(a) < tostring(b)
end

local show_value

local function show_string(v)
  local text = string.format("%q", v:sub(1, MAX_TEXT)):gsub("\\\n", "\\n")
  text = core.plain(text, true) -- what is left: marks beyond ASCII
  return #v > MAX_TEXT and text .. "... (" .. #v .. " bytes)" or text
end

local function show_table(v, depth, seen)
  if seen[v] then return "(this table again)" end
  if next(v) == nil then return "{}" end
  if depth >= MAX_DEPTH then return "{...}" end
  seen[v] = true
  local parts, length, count = {}, 0, 0
  local n = rawlen(v)
  local function add(text)
    count = count + 1
    if count > MAX_ROWS then return false end
    parts[#parts + 1] = text
    length = length + #text
    return true
  end
  for i = 1, n do
    if not add(show_value(rawget(v, i), depth + 1, seen)) then break end
  end
  local keys, total = {}, n
  for key in next, v do
    if not (math.type(key) == "integer" and key >= 1 and key <= n) then
      keys[#keys + 1] = key
      total = total + 1
    end
  end
  table.sort(keys, by_kind_then_value)
  for _, key in ipairs(keys) do
    local name = is_name(key) and key or "[" .. show_value(key, MAX_DEPTH, seen) .. "]"
    if not add(name .. " = " .. show_value(rawget(v, key), depth + 1, seen)) then break end
  end
  seen[v] = nil
  if total > MAX_ROWS then parts[#parts + 1] = string.format("... (%d in all)", total) end
  if length + 2 * #parts + 2 * depth <= 76 and not table.concat(parts):find("\n", 1, true) then
    return "{ " .. table.concat(parts, ", ") .. " }"
  end
  local indent = string.rep("  ", depth + 1)
  return "{\n" .. indent .. table.concat(parts, ",\n" .. indent) .. "\n" .. string.rep("  ", depth) .. "}"
end

function show_value(v, depth, seen)
  local kind = type(v)
  if kind == "string" then return show_string(v) end
  if kind == "table" then
    local meta = getmetatable(v)
    if type(meta) == "table" and meta.__tostring then return tostring(v) end
    return show_table(v, depth, seen)
  end
  return tostring(v)
end

--- One value as text, bounded in depth and length.
function program.text(v)
  return show_value(v, 0, {})
end

--- Prints the values of an expression typed in a session. A string alone is printed as it is.
function program.show(...)
  local parts = table.pack(...)
  if parts.n == 1 and type(parts[1]) == "string" then
    print(parts[1])
    return
  end
  for i = 1, parts.n do parts[i] = program.text(parts[i]) end
  print(table.concat(parts, "\t", 1, parts.n))
end

-- Calls visit(key, value) for every field that indexing `v` would find: its own, and those of the __index tables. The
-- metatables of the engine's objects are hidden from getmetatable, hence debug.
local function each_field(v, visit)
  for _ = 1, 10 do
    if type(v) == "table" then
      for key, value in next, v do visit(key, value) end
    end
    local meta = debug.getmetatable(v)
    if type(meta) ~= "table" then return end
    if type(meta.__names) == "function" then
      for _, name in ipairs(meta.__names()) do visit(name, true) end
    end
    v = meta.__index
    if type(v) == "function" then v = select(2, debug.getupvalue(v, 1)) end -- a C function over a table of methods
    if type(v) ~= "table" then return end
  end
end

-- The value that a chain of names means ("lip.data"), found by indexing only: nothing is called.
local function resolve(chain)
  local v = _G
  for name in chain:gmatch "[%a_][%w_]*" do
    local ok, field = pcall(function() return v[name] end)
    if not ok or field == nil then return nil end
    v = field
  end
  return v
end

local KEYWORDS = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local",
  "nil", "not", "or", "repeat", "return", "then", "true", "until", "while" }

--- Words that could stand at the end of `text`.
---@param text string what is typed up to the cursor
---@return string[] words, integer typed the words, and how many letters of them are there already
function program.complete(text)
  local chain, mark, prefix = text:match "([%a_][%w_%.]*)([%.:])([%a_]?[%w_]*)$"
  local words, found = {}, {}
  local function add(key, value)
    if type(key) == "string" and key:find "^[%a_][%w_]*$" and key:sub(1, #prefix) == prefix and not found[key]
      and (key:sub(1, 2) ~= "__" or prefix:sub(1, 2) == "__") and (mark ~= ":" or type(value) == "function") then
      found[key] = true
      words[#words + 1] = key
    end
  end
  if chain then
    local v = resolve(chain)
    if v == nil then return {}, 0 end
    each_field(v, add)
  else
    prefix = text:match "[%a_][%w_]*$"
    if not prefix then return {}, 0 end
    each_field(_G, add)
    for _, word in ipairs(KEYWORDS) do add(word) end
  end
  table.sort(words)
  return words, #prefix
end

local function write_row(path, row)
  if type(row) ~= "table" then
    error("--json " .. path .. ": the script returned no result row (a table) but " .. type(row), 0)
  end
  -- Results depend on the kernels in their last bits: they stand in the row unless it is a list or says otherwise.
  local full = {}
  if #row == 0 then full.lipwb, full.kernels = core.version, core.arch end
  for key, value in pairs(row) do full[key] = value end
  local text = require "lip.decimal".json(full) .. "\n"
  local there, ok, message = core.file.stat(path), nil, nil
  if path == "-" then
    ok, message = io.stdout:write(text)
  elseif there and there.kind == "other" then -- a pipe, a terminal
    local file
    file, message = io.open(path, "w")
    if file then ok, message = file:write(text) end
    if ok then ok, message = file:close() end
  else
    ok, message = core.file.write(path, text)
  end
  if not ok then error(("--json: %s; the row: %s"):format(message, text), 0) end
end

-- A file for `lipwb sweep`, run as a script: it has done nothing, and that is not what was wanted.
local function refuse_sweep(settings, row)
  local meta = type(row) == "table" and getmetatable(row)
  if type(meta) ~= "table" or meta.__name ~= "lip.sweep" then return end
  settings.wrong_usage = true
  local message = ("this file describes a sweep: lipwb sweep %s"):format(
    settings.script and require "lip.shell".word(settings.script) or "FILE")
  error(setmetatable({}, { __tostring = function() return message end }), 0)
end

--- The end of a script: `row` is what it returned.
function program.finish(row)
  local settings = core.settings
  refuse_sweep(settings, row)
  local name = next(settings.set)
  if name ~= nil and not settings.declared then
    io.stderr:write("lipwb: --set ", core.plain(name), ": the script declares no settings (lip.args), nothing was set\n")
  end
  if settings.plot and not settings.declared then
    io.stderr:write("lipwb: --plot: the script declares no settings (lip.args), no figure was drawn\n")
  end
  if settings.json then write_row(settings.json, row) end
  if settings.tensorboard then require "lip.train_events".finish(settings.values, row) end
end

return program
