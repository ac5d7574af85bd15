-- Calls every documented function that is written in Lua with wrong arguments, one at a time, and prints what went
-- wrong with the messages. Runs in a folder of its own: some of the calls are right, and write.
local lip = require "lip"
local arguments = require "lip.arguments"
local sections = require "lip.help_text"

local here = debug.getinfo(1, "S").short_src
local net = lip.net { input = 4, norm = "inf", lip.dense { out = 3 } }
local data = lip.data.tensors(lip.rand(1, { 6, 4 }), { 0, 1, 2, 0, 1, 2 })

-- A right value of each kind.
local right = {
  any = 2, something = 1, table = {}, options = {}, text = "name", number = 1, limit = 1, whole = 2, boolean = true,
  float = 1, step = 1, count = 2, net = net, dataset = data, tensor = lip.rand(1, { 2, 4, 4 }), numbers = { 1, 2 },
  labels = data, rows = data, tables = {}, texts = {}, curves = { x = { 0, 1 }, y = { 1, 0 } }, report = net:certify(data),
  callable = math.abs,
}
local tried = { { nil, n = 1 }, { 7, n = 1 }, { "text", n = 1 }, { {}, n = 1 }, { { 7 }, n = 1 }, { print, n = 1 } }

local calls, wrong = 0, {}
local function complain(label, ...) wrong[#wrong + 1] = label .. ": " .. string.format(...) end

local function try(label, last, f, list, position, value, prefix)
  local given = table.pack(table.unpack(prefix, 1, prefix.n))
  for i, a in ipairs(list) do given[prefix.n + i] = right[a.is] end
  given[prefix.n + position] = value
  local function call()
    local result = f(table.unpack(given, 1, prefix.n + #list)) -- no tail call: this line is the script's
    return result
  end
  local ok, message = pcall(call)
  calls = calls + 1
  if ok then return end
  message = tostring(message)
  if not message:find(last, 1, true) then complain(label, "does not name the function: %s", message) end
  if message:find "attempt to" then complain(label, "is Lua's own: %s", message) end
  if message:sub(1, #here + 1) ~= here .. ":" then complain(label, "stands on another line: %s", message) end
  local named = false
  for _, a in ipairs(list) do named = named or message:find("%f[%w_]" .. a.name .. "%f[^%w_]") ~= nil end
  named = named or value ~= nil and message:find(tostring(value), 1, true)
  if not named and not message:find "option '" then complain(label, "names no argument: %s", message) end
end

local function walk(label, f, prefix)
  local list = arguments.of(f)
  if not list then return complain(label, "checks no arguments (lip.arguments)") end
  for position in ipairs(list) do
    for _, value in ipairs(tried) do
      try(label, label:match "[%w_]+$", f, list, position, value[1], prefix)
    end
  end
end

-- Functions of one table are about its fields, and those that print or take anything have nothing to refuse.
local own = { ["lip.args"] = true, ["lip.sweep"] = true, ["lip.asha"] = true, ["lip.median"] = true,
  ["lip.plot"] = true, ["lip.tensorboard"] = true, ["lip.help"] = true, ["lip.provenance.own"] = true }

local owners = { lip = lip, ["lip.figures"] = lip.figures, ["lip.data"] = lip.data, ["lip.trial"] = lip.trial,
  ["lip.provenance"] = lip.provenance, ["lip.grad"] = lip.grad }
for _, section in ipairs(sections) do
  local owner = owners[section[3]]
  for line in section[4]:gmatch "[^\n]+" do
    local name = line:match "^[%w_]+"
    local f = owner and owner[name]
    local label = section[2] .. name
    if type(f) == "function" and debug.getinfo(f, "S").what ~= "C" and not own[label] then
      walk(label, f, { n = 0 })
    end
  end
end
local writer = lip.tensorboard { dir = "events" }
for _, name in ipairs { "scalar", "histogram", "image", "hparams" } do
  walk("tensorboard:" .. name, writer[name], { writer, n = 1 })
end
for label in pairs(own) do
  local f = lip[label:match "^lip%.([%w_]+)$"]
  if type(f) == "function" and label ~= "lip.plot" then
    for _, value in ipairs { 7, "text" } do
      local ok, message = pcall(function()
        local result = f(value)
        return result
      end)
      calls = calls + 1
      if ok then complain(label, "takes %s", tostring(value)) end
      if not (tostring(message):find(label:match "[%w_]+$", 1, true) and message:sub(1, #here + 1) == here .. ":") then
        complain(label, "%s", tostring(message))
      end
    end
  end
end

table.sort(wrong)
assert(lip.file.write("wrong.json", lip.to_json { calls = calls, wrong = table.concat(wrong, "\n") }))
