--- The reference, made from the same tables as help(): `lip.doc()` is a page in Markdown, `lip.doc "stubs"` a file of
-- annotations for the Lua language server. From a shell: lipwb -e 'io.write(lip.doc())' >reference.md
local lip = require "lip"
local help = require "lip.help"
local function_options = require "lip.options"
local notes = require "lip.help_notes"

local function cell(text)
  return (tostring(text):gsub("|", "\\|"))
end

local function add_options(out, options)
  if not options or #options == 0 then return end
  out[#out + 1] = "\n| option | type | default | |\n|---|---|---|---|"
  for _, o in ipairs(options) do
    local text = o.help
    if o.choices then text = text .. ": " .. table.concat(o.choices, ", ") end
    out[#out + 1] = ("| `%s` | %s | %s | %s |"):format(o.name, o.type, cell(help.default_text(o)), cell(text))
  end
end

-- The same for what lip.options knows of a function.
local function add_function_options(out, name)
  local found = function_options.of(name)
  for _, group in ipairs(found or {}) do
    if group.heading then out[#out + 1] = "\n" .. group.heading end
    out[#out + 1] = "\n| option | default | |\n|---|---|---|"
    for _, o in ipairs(group) do
      out[#out + 1] = ("| `%s` | %s | %s |"):format(o.name, cell(o.default), cell(o.help))
    end
  end
  if not found then return end
  out[#out + 1] = found.gives and "\nreturns " .. found.gives .. "\n" or ""
end

local function add_note(out, name)
  local note = notes[name]
  if note then out[#out + 1] = "\n```\n" .. note .. "\n```\n" end
end

local function markdown()
  local out = { "# lipwb " .. lip.version }
  for _, registry in ipairs(help.registries()) do
    out[#out + 1] = "\n## " .. registry[1]
    for _, row in ipairs(registry[3]) do
      out[#out + 1] = ("\n### `%s%s{...}`\n%s"):format(registry[2], row.name, row.help)
      add_options(out, row.options)
      add_note(out, registry[2] .. row.name)
    end
  end
  local last
  help.each_line(function(section, name, arguments, text)
    if section ~= last then
      out[#out + 1] = "\n## " .. section[1] .. "\n"
      last = section
    end
    out[#out + 1] = ("- `%s%s%s` %s"):format(section[2], name, arguments, text)
    if section[3] == "lip" and rawget(lip, name .. "_options") then
      add_options(out, lip[name .. "_options"]())
      out[#out + 1] = ""
    end
    add_function_options(out, section[2] .. name)
    add_note(out, section[2] .. name)
  end)
  return table.concat(out, "\n") .. "\n"
end

-- ---- annotations ----

local function class_of(prefix, name)
  return prefix:gsub("%.$", "") .. "." .. name .. "_options"
end

local function add_class(out, class, options)
  out[#out + 1] = "---@class " .. class
  for _, o in ipairs(options) do
    local kind = o.type
    if o.choices then
      local words = {}
      for i, word in ipairs(o.choices) do words[i] = '"' .. word .. '"' end
      kind = table.concat(words, "|")
    end
    out[#out + 1] = ("---@field %s%s %s %s"):format(o.name, o.required and "" or "?", kind, o.help)
  end
  out[#out + 1] = ""
end

-- The first group of a function's options as a class; its name, or nil.
local function add_function_class(out, name)
  local found = function_options.of(name)
  if not found or found[1].heading then return nil end
  local class, rows = name:gsub(":", ".") .. "_options", {}
  for i, o in ipairs(found[1]) do
    local whether = o.default == "true" or o.default == "false"
    rows[i] = { name = o.name, type = tonumber(o.default) and "number" or whether and "boolean" or "any", help = o.help }
  end
  add_class(out, class, rows)
  return class
end

-- "(d, ...)" and "{options}" as parameter names a Lua parser accepts.
local function parameters(arguments)
  if arguments:sub(1, 1) == "{" then return "options" end
  local names = {}
  for part in arguments:sub(2, -2):gsub("%b{}", "list"):gmatch "[^,]+" do
    names[#names + 1] = part:find("...", 1, true) and "..." or part:match "[%a_][%w_]*"
    if names[#names] == "..." then break end
  end
  return table.concat(names, ", ")
end

local function stubs()
  local out = { "---@meta lip", "", "---@class lip", "local lip = {}", "" }
  local made = {}
  for _, registry in ipairs(help.registries()) do
    local table_name = registry[2]:gsub("%.$", "")
    if not made[table_name] and table_name ~= "lip" then out[#out + 1] = table_name .. " = {}" end
    made[table_name] = true
    for _, row in ipairs(registry[3]) do
      local class = class_of(registry[2], row.name)
      add_class(out, class, row.options)
      out[#out + 1] = "---" .. row.help
      out[#out + 1] = "---@param options? " .. class
      out[#out + 1] = ("function %s%s(options) end\n"):format(registry[2], row.name)
    end
  end
  help.each_line(function(section, name, arguments, text)
    local type_name = section[3]:match "^type:(.*)"
    local owner = type_name and type_name:gsub("%.", "_") or section[3]
    if not made[owner] and owner ~= "lip" then
      out[#out + 1] = type_name and ("---@class %s\nlocal %s = {}\n"):format(type_name, owner) or owner .. " = {}\n"
    end
    made[owner] = true
    local class = add_function_class(out, section[2] .. name)
    out[#out + 1] = "---" .. text
    if class and parameters(arguments):find "options$" then out[#out + 1] = "---@param options? " .. class end
    out[#out + 1] = ("function %s%s%s(%s) end\n"):format(owner, type_name and ":" or ".", name, parameters(arguments))
  end)
  out[#out + 1] = "return lip"
  return table.concat(out, "\n") .. "\n"
end

--- The reference as text.
---@param what? "page"|"stubs"
---@return string
return require "lip.arguments".checked("lip.doc", "what text?", function(what)
  if what == nil or what == "page" then return markdown() end
  if what == "stubs" then return stubs() end
  error("lip.doc: argument 1 (what) expects \"page\" or \"stubs\", got " .. what, 2)
end)
