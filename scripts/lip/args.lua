--- Settings of a script: `local args = lip.args{ epochs = 8, widths = {256, 256}, preset = "default" }`.
-- The table declares every setting with its default; `lipwb script.lua --set epochs=20` overrides it. The type is that of
-- the default: number, boolean, string, or a list of numbers or strings. A default may be written
-- `{ 8, "passes over the data", min = 1, whole = true }` or `{ "default", "what to aim at", choices = { ... } }`:
-- the value, one line of help, and what is accepted. A misspelt word of the command line never passes unnoticed.
local core = require "lip.core"
local nearest = require "lip.nearest"

local RULES = { min = true, max = true, choices = true, whole = true }

local function fail(format, ...)
  error(string.format(format, ...), 0)
end

-- Wrong words on the command line: the program prints the message alone and leaves with the status of wrong usage.
local function fail_usage(format, ...)
  local message = string.format(format, ...)
  core.settings.wrong_usage = true
  error(setmetatable({}, { __tostring = function() return message end }), 0)
end

-- A declaration is { value, "help", rule = ... }; a table of plain values is a list.
local function is_declaration(v)
  if type(v) ~= "table" then return false end
  for key in pairs(v) do
    if RULES[key] then return true end
  end
  return #v == 2 and type(v[2]) == "string" and (type(v[1]) ~= "string" or v[2]:find(" ", 1, true) ~= nil)
end

local function declare(name, v)
  if type(name) ~= "string" or not name:find "^[%a_][%w_]*$" then
    fail("lip.args: settings are declared by name, got the key %s", tostring(name))
  end
  local s = { name = name, default = v, help = "" }
  if is_declaration(v) then
    s.default, s.help = v[1], v[2] or ""
    for key, rule in pairs(v) do
      if RULES[key] then
        s[key] = rule
      elseif key ~= 1 and key ~= 2 then
        fail("lip.args: setting '%s': unknown rule '%s' (known: choices, max, min, whole)", name, tostring(key))
      end
    end
  end
  s.type = type(s.default)
  if s.type == "table" then
    s.element = type(s.default[1] == nil and 0 or s.default[1])
  elseif s.type ~= "number" and s.type ~= "string" and s.type ~= "boolean" then
    fail("lip.args: setting '%s' needs a number, boolean, string or list as its default, got %s", name, s.type)
  end
  return s
end

local INFINITE = { inf = math.huge, ["math.huge"] = math.huge, ["-inf"] = -math.huge, ["-math.huge"] = -math.huge }

-- The number a text means, or nil. NaN is never one.
local function number_of(text)
  local v = INFINITE[text] or tonumber(text)
  if v == nil or v ~= v then return nil end
  return math.tointeger(v) or v
end

local TRUE = { ["true"] = true, yes = true, on = true, ["1"] = true }
local FALSE = { ["false"] = true, no = true, off = true, ["0"] = true }

local function convert_one(s, kind, text)
  if kind == "number" then
    local v = number_of(text)
    if v == nil then fail_usage("--set %s: expected a number, got '%s'", s.name, text) end
    return v
  elseif kind == "boolean" then
    if TRUE[text] then return true end
    if FALSE[text] then return false end
    fail_usage("--set %s: expected true or false, got '%s'", s.name, text)
  end
  return text
end

-- A value of a sweep has a type of its own. One that is not the setting's is taken as the word that people would write.
local function convert_value(s, kind, v)
  if type(v) == kind then return v end
  return convert_one(s, kind, type(v) == "number" and require "lip.decimal".text(v) or tostring(v))
end

local function check(s, v, refuse)
  local where = "setting '" .. s.name .. "'"
  refuse = refuse or fail_usage
  if type(v) == "number" then
    if v ~= v then refuse("%s: NaN is not accepted", where) end
    if s.whole and not math.tointeger(v) then refuse("%s: expected a whole number, got %s", where, v) end
    if s.min and v < s.min then refuse("%s: expected at least %s, got %s", where, s.min, v) end
    if s.max and v > s.max then refuse("%s: expected at most %s, got %s", where, s.max, v) end
  end
  if s.choices then
    local words = {}
    for i, word in ipairs(s.choices) do
      if word == v then return v end
      words[i] = tostring(word)
    end
    refuse("%s: expected one of %s, got '%s'", where, table.concat(words, ", "), tostring(v))
  end
  return v
end

-- "256,128" or "{256, 128}" or "256 128" as a list.
local function convert_list(s, text)
  local list = {}
  local inner = text:match "^%s*{(.*)}%s*$" or text
  for word in inner:gmatch "[^%s,;]+" do
    list[#list + 1] = check(s, convert_one(s, s.element, word))
  end
  return list
end

-- `v` is a text, of the command line or of a sweep, or a number, truth value or list of a sweep. Elements of a list are
-- values already: nothing in them separates.
local function convert(s, v)
  if type(v) == "string" and s.type == "table" then return convert_list(s, v) end
  if s.type ~= "table" then
    if type(v) == "table" then fail_usage("--set %s: expected a %s, got a list", s.name, s.type) end
    return check(s, convert_value(s, s.type, v))
  end
  local list = {}
  for i, x in ipairs(type(v) == "table" and v or { v }) do list[i] = check(s, convert_value(s, s.element, x)) end
  return list
end

local function unknown(name, names)
  local near = nearest(name, names)
  local hint = near and ", did you mean '" .. near .. "'?" or ""
  fail_usage("--set: this script has no setting '%s'%s (known: %s)", name, hint, table.concat(names, ", "))
end

local function text_of(v)
  if type(v) ~= "table" then return tostring(v) end
  local words = {}
  for i, x in ipairs(v) do words[i] = tostring(x) end
  return table.concat(words, ",")
end

local function print_help(settings, names)
  io.write("settings of ", core.plain(core.settings.script or "this script"), " (--set NAME=VALUE):\n")
  local width = 0
  for _, name in ipairs(names) do
    width = math.max(width, #name + 1 + #text_of(settings[name].default))
  end
  for _, name in ipairs(names) do
    local s = settings[name]
    local line = string.format("  %-" .. width .. "s  %s", name .. "=" .. text_of(s.default), s.help)
    if s.choices then line = line .. " (" .. text_of(s.choices) .. ")" end
    io.write(core.plain((line:gsub("%s+$", "")), true), "\n")
  end
end

local function copy(v)
  if type(v) ~= "table" then return v end
  return table.move(v, 1, #v, 1, {})
end

-- The program has read the command line; under the stock lua5.4 its words still stand in the global `arg`.
local function read_words(given)
  if given.script or type(rawget(_G, "arg")) ~= "table" or not arg[0] then return end
  local i = 0
  local function value(name)
    local text = arg[i]:sub(1, #name + 1) == name .. "=" and arg[i]:sub(#name + 2)
    if arg[i] == name then
      i = i + 1
      text = arg[i] or fail_usage("this option needs a value: %s", name)
    end
    return text
  end
  given.script = arg[0]
  while i < #arg and arg[i + 1] ~= "--" do
    i = i + 1
    local word = arg[i]
    local set, seed = value "--set", nil
    if not set then seed = value "--seed" end
    local data = not set and not seed and value "--data"
    local plot = not set and not seed and not data and value "--plot"
    local events = not set and not seed and not data and not plot and value "--tensorboard"
    if set then
      local name, text = set:match "^([^=]+)=(.*)$"
      if not name then fail_usage("--set expects NAME=VALUE, got: %s", set) end
      given.set[name] = text
    elseif seed then
      given.seed = math.tointeger(tonumber(seed)) or fail_usage("--seed expects a whole number, got: %s", seed)
    elseif data then
      given.data = data
    elseif plot then
      given.plot = plot
    elseif events then
      given.tensorboard = events
    elseif word == "--help" then
      given.help = true
    elseif word:find "^%-[%a%-]" then
      given.unknown = given.unknown or word
    end
  end
end

-- --epochs=3 or --epochs in place of --set epochs=3
local function refuse_word(word, settings, names)
  local name = word:match "^%-+([%a_][%w_]*)"
  fail_usage("unknown option: %s%s (settings: %s)", word,
    settings[name] and ("; settings are written --set %s=VALUE"):format(name) or "", table.concat(names, ", "))
end

-- For a sweep that asks before it starts anything: { complaint = what is wrong with the first of these values, kinds =
-- { [name] = type of the setting or of its elements }, same = { { name =, first =, second = }: values that are one } }.
local function answer(settings, names, values)
  local wanted, said = {}, { kinds = {}, same = {} }
  for name in pairs(values) do wanted[#wanted + 1] = name end
  table.sort(wanted)
  local ok, message = pcall(function()
    for _, name in ipairs(wanted) do
      if not settings[name] then unknown(name, names) end
    end
    for _, name in ipairs(wanted) do
      local s, seen = settings[name], {}
      said.kinds[name] = s.element or s.type
      for _, v in ipairs(values[name]) do
        local text = core.to_json(convert(s, v))
        if seen[text] == nil then
          seen[text] = v
        else
          said.same[#said.same + 1] = { name = name, first = seen[text], second = v }
        end
      end
    end
  end)
  said.complaint = not ok and tostring(message) or nil
  return said
end

-- The name of a figure that was asked for: refused now, not after an hour of work.
local function check_plot(s, given, value, active)
  local by_set = given.set.plot ~= nil
  local name = by_set and value or given.plot
  if not name or not s or s.type ~= "string" then return end
  local files = require "lip.plot.file"
  if by_set and not files.kind(s.default) then return end -- a setting of another meaning
  local refusal = files.refusal(name, active) -- a trial draws into its own folder
  if refusal then fail_usage("%s: %s", by_set and "--set plot" or "--plot", refusal) end
end

--- Declares the settings and returns their values.
---@param declared table name = default, or name = { default, "help", min=, max=, choices=, whole= }
---@return table values by name
local function args(declared)
  if type(declared) ~= "table" then
    error("lip.args expects a table of settings with their defaults, got " .. type(declared), 2)
  end
  local settings, names, values = {}, {}, {}
  for name, v in pairs(declared) do
    settings[name] = declare(name, v)
    names[#names + 1] = name
  end
  table.sort(names)
  local given = core.settings
  read_words(given)
  given.declared = true
  if given.try then given.try.tell(answer(settings, names, given.try.values)) end
  if given.help then
    print_help(settings, names)
    os.exit(0, true)
  end
  for _, name in ipairs(names) do
    local s = settings[name]
    values[name] = copy(s.type == "table" and s.default or check(s, s.default, fail))
  end
  if given.unknown then refuse_word(given.unknown, settings, names) end
  local set = {}
  for name in pairs(given.set) do set[#set + 1] = name end
  table.sort(set)
  for _, name in ipairs(set) do
    if not settings[name] then unknown(name, names) end
    values[name] = convert(settings[name], given.set[name])
  end
  if given.seed and settings.seed and given.set.seed == nil then
    values.seed = check(settings.seed, given.seed)
  end
  if given.plot then
    if not settings.plot then
      fail_usage("--plot: this script draws no figure (settings: %s)", table.concat(names, ", "))
    end
    if given.set.plot == nil then values.plot = check(settings.plot, given.plot) end
  end
  given.values = values -- as the run began: written down with its result
  local trial = package.loaded["lip.trial"] -- only a worker has loaded it before any script
  check_plot(settings.plot, given, values.plot, trial and trial.active)
  if trial and trial.active then trial.settings(values) end
  return values
end

return args
