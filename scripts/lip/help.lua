--- help(): what there is. help(lip.dense), help "dense", help "net", help(object): one thing with its options.
-- Everything is made from the option tables of the engine and from lip.help_text; only what this build has is shown.
local lip = require "lip"
local sections = require "lip.help_text"
local function_options = require "lip.options"
local notes = require "lip.help_notes"
local field_words = require "lip.help_words"

local help = {}

-- ---- where names are ----

-- The methods of a type by name, or nil.
local function methods_of(type_name)
  local meta = debug.getregistry()[type_name]
  local index = type(meta) == "table" and meta.__index
  if type(index) == "function" then index = select(2, debug.getupvalue(index, 1)) end -- C over a table of methods
  return type(index) == "table" and index or nil
end
help.methods_of = methods_of

local function home_of(where)
  local type_name = where:match "^type:(.*)"
  if type_name then return methods_of(type_name) end
  if where == "lip" then return lip end
  return lip[where:match "^lip%.(.*)"]
end

-- Calls visit(section, name, arguments, text) for every line whose function is there.
local function each_line(visit)
  for _, section in ipairs(sections) do
    local home = home_of(section[3])
    for line in (home and section[4] or ""):gmatch "[^\n]+" do
      local name, arguments, text = line:match "^([%w_]+)(%S?.-) %-%- (.*)$"
      if home[name] ~= nil then visit(section, name, arguments, text) end
      local in_place = name .. "_"
      if home[in_place] ~= nil and not section[4]:find("%f[%w_]" .. in_place .. "%(") then
        visit(section, in_place, arguments, text .. ", in place")
      end
    end
  end
end
help.each_line = each_line

-- The registries of the engine: { title, prefix, rows }.
local function registries()
  local list = {}
  local function add(title, prefix, name)
    local rows = rawget(lip, name)
    if rows then list[#list + 1] = { title, prefix, rows() } end
  end
  add("Layers", "lip.", "layers")
  add("Losses", "lip.loss.", "losses")
  add("Optimisers", "lip.optim.", "optims")
  add("Schedules", "lip.schedule.", "schedules")
  return list
end
help.registries = registries

-- ---- text ----

local function print_columns(rows)
  local width = 0
  for _, row in ipairs(rows) do width = math.max(width, math.min(#row[1], 34)) end
  for _, row in ipairs(rows) do
    print((("  %-" .. width .. "s  %s"):format(row[1], row[2]):gsub("%s+$", "")))
  end
end

local function default_text(option)
  local v = option.default
  if option.required then return "required" end
  if v == nil then return "none" end
  if type(v) == "table" then return #v == 0 and "{}" or "{" .. table.concat(v, ", ") .. "}" end
  if type(v) == "number" then return v == math.huge and "math.huge" or ("%.10g"):format(v) end
  return tostring(v)
end
help.default_text = default_text

-- What each choice of the option weight is.
local function print_weights(choices)
  local rows, known = {}, {}
  for _, w in ipairs(lip.weights()) do known[w.name] = w.help end
  for i, name in ipairs(choices) do rows[i] = { name, known[name] } end
  print "  weights:"
  print_columns(rows)
end

local function print_options(options)
  local rows, weights = {}, nil
  for i, o in ipairs(options or {}) do
    local text = o.help
    if o.choices then text = text .. " (" .. table.concat(o.choices, ", ") .. ")" end
    rows[i] = { ("%s = %s"):format(o.name, default_text(o)), text }
    if o.name == "weight" then weights = o.choices end
  end
  if #rows == 0 then
    print "  no options"
  else
    print_columns(rows)
  end
  if weights then print_weights(weights) end
end

-- What lip.options knows of a function.
local function print_function_options(name)
  local found = function_options.of(name)
  for _, group in ipairs(found or {}) do
    local rows = {}
    for i, o in ipairs(group) do rows[i] = { o.name .. " = " .. o.default, o.help } end
    if group.heading then print("  " .. group.heading) end
    print_columns(rows)
  end
  if found and found.gives then print("  returns " .. found.gives) end
end

local function print_note(name)
  local note = notes[name]
  if note then print("  " .. note:gsub("\n", "\n  ")) end
end

local function print_row(prefix, row)
  print(("%s%s{...}  %s"):format(prefix, row.name, row.help))
  print_options(row.options)
  print_note(prefix .. row.name)
end

-- Prints the section of a type's methods; false when there is none.
local function print_methods(type_name)
  local rows, title = {}, nil
  each_line(function(section, name, arguments, text)
    if section[3] == "type:" .. type_name then
      title = section[1]
      rows[#rows + 1] = { section[2] .. name .. arguments, text }
    end
  end)
  if not title then return false end
  print(title)
  print_columns(rows)
  return true
end

-- Names alone, wrapped: help(object) tells what they do.
local function print_names(prefix, names)
  local line = "  " .. prefix
  for _, name in ipairs(names) do
    if #line + #name > 98 then
      print(line)
      line = "   "
    end
    line = line .. " " .. name
  end
  print(line)
end

local function print_index()
  print("lipwb " .. lip.version .. ": Lipschitz-bounded neural networks. help(lip.dense) or help \"net\" tells more.")
  for _, registry in ipairs(registries()) do
    local rows = {}
    for i, row in ipairs(registry[3]) do rows[i] = { registry[2] .. row.name, row.help } end
    print("\n" .. registry[1])
    print_columns(rows)
  end
  local last, rows = nil, {}
  local function flush()
    if last then
      print("\n" .. last[1])
      if last[3] ~= "lip" then
        print_names(last[2], rows)
      else
        print_columns(rows)
      end
    end
    rows = {}
  end
  each_line(function(section, name, arguments, text)
    if section ~= last then
      flush()
      last = section
    end
    rows[#rows + 1] = section[3] ~= "lip" and name or { section[2] .. name .. arguments, text }
  end)
  flush()
end

-- What stands in a table of the module ("loss", "data"); the number of things found.
local function print_members(name)
  local found = 0
  for _, registry in ipairs(registries()) do
    if registry[2] == "lip." .. name .. "." then
      local rows = {}
      for i, row in ipairs(registry[3]) do rows[i] = { registry[2] .. row.name, row.help } end
      print(registry[1])
      print_columns(rows)
      found = found + #rows
    end
  end
  local rows = {}
  each_line(function(section, member, arguments, text)
    if section[3] == "lip." .. name then rows[#rows + 1] = { section[2] .. member .. arguments, text } end
  end)
  print_columns(rows)
  return found + #rows
end

-- Everything called `word` ("dense", "lip.dense", "net:step", "optim.adam"); the number of things found.
local function print_word(word)
  local path = word:gsub("^lip%.", ""):gsub(":", ".")
  local owner, leaf = path:match "^(.*)%.([^.]*)$"
  leaf = leaf or path
  local found = 0
  for _, registry in ipairs(registries()) do
    for _, row in ipairs(registry[3]) do
      if row.name == leaf and (not owner or registry[2] == "lip." .. owner .. ".") then
        print_row(registry[2], row)
        found = found + 1
      end
    end
  end
  each_line(function(section, name, arguments, text)
    local prefix = section[2]:gsub("^lip%.", ""):sub(1, -2)
    if name == leaf and (not owner or prefix == owner) then
      print(section[2] .. name .. arguments .. "  " .. text)
      found = found + 1
      if section[3] == "lip" and rawget(lip, name .. "_options") then print_options(lip[name .. "_options"]()) end
      print_function_options(section[2] .. name)
      print_note(section[2] .. name)
    end
  end)
  if not owner then
    found = found + print_members(leaf)
    local type_name = leaf == "ds" and "dataset" or leaf
    if print_methods("lip." .. type_name) then found = found + 1 end
  end
  return found
end

-- The name under which a function or table is reached, or nil.
local function name_of(value)
  local function search(t, prefix)
    for name, v in next, t do
      if v == value and type(name) == "string" then return prefix .. name end
    end
  end
  local modules = { "loss", "optim", "schedule" }
  for _, section in ipairs(sections) do modules[#modules + 1] = section[3]:match "^lip%.(.*)" end
  for _, module in ipairs(modules) do
    local t = rawget(lip, module) -- of a module that nobody has loaded nobody has a function
    local name = type(t) == "table" and search(t, module .. ".")
    if name then return name end
  end
  local name = search(lip, "")
  if name then return name end
  for type_name in pairs(debug.getregistry()) do
    local methods = type(type_name) == "string" and type_name:find "^lip%." and methods_of(type_name)
    name = methods and search(methods, type_name:sub(5) .. ".")
    if name then return name end
  end
end

local function unknown(what)
  print("nothing is known about " .. what .. "; help() lists what there is")
end

-- Options called `word` ("tpe") and those whose text is about it, by function; the number found.
local function print_options_about(word)
  local found = 0
  if not word:find "^[%a_][%w_]*$" then return found end
  each_line(function(section, name)
    local rows, named = {}, false
    for _, group in ipairs(function_options.of(section[2] .. name) or {}) do
      for _, o in ipairs(group) do
        named = named or o.name == word
        if o.name == word or o.help:find("%f[%w_]" .. word .. "%f[^%w_]") then
          rows[#rows + 1] = { o.name .. " = " .. o.default, o.help }
        end
      end
    end
    if named then
      print(section[2] .. name .. ", option " .. word)
      print_columns(rows)
      found = found + #rows
    end
  end)
  return found
end

-- What is no function and no option.
local topics = {
  store = "a file (runs.db) and the folder FILE.d beside it with the runs of sweeps; --store FILE and $LIPWB_STORE say "
    .. "where; lipwb sweep --help, lipwb runs --help",
  show = "lipwb show FILE: what is in a net, arrays, a query, a certificate, a folder of C; lipwb show --help",
  convert = "lipwb convert IN OUT: nets as .onnx, .safetensors, .npz, .py, C; lipwb convert --help; help \"export\"",
  check = "lipwb check CERT MODEL [DATA] verifies a certificate file: lipwb check --help; help \"check_certificate\"",
  runs = "what a store holds: lipwb runs --help, lipwb report --help",
}

-- Words of the field that lead to what there is; the number found.
local function print_field_word(word)
  local found = 0
  for _, row in ipairs(field_words) do
    if (" " .. row[1] .. " "):find(" " .. word .. " ", 1, true) then
      print(("%s: %s"):format(word, row[2]))
      print_names("see help of:", row[3])
      found = found + 1
    end
  end
  return found
end

-- What takes the option `word` of the engine ("nesterov"), or `word` as a choice of an option ("bjorck"); the number found.
local function print_taken(word)
  local places, about, found = {}, {}, 0
  for _, w in ipairs(rawget(lip, "weights") and lip.weights() or {}) do about[w.name] = w.help end
  local function visit(owner, options)
    for _, o in ipairs(options) do
      local key = o.name == word and ("option %s: %s"):format(word, o.help)
      for _, choice in ipairs(o.choices or {}) do
        if choice == word then
          key = ("%s = %q: %s"):format(o.name, word, o.name == "weight" and about[word] or "a choice of " .. o.help)
        end
      end
      if key and not places[key] then
        places[key], places[#places + 1] = {}, key
      end
      if key then table.insert(places[key], owner) end
    end
  end
  for _, registry in ipairs(registries()) do
    for _, row in ipairs(registry[3]) do visit(registry[2] .. row.name, row.options) end
  end
  if rawget(lip, "net_options") then visit("lip.net", lip.net_options()) end
  for _, key in ipairs(places) do
    print(key)
    print_names("of:", places[key])
    if key:find "^weight = " then print_note "lip.weights" end
    found = found + 1
  end
  return found
end

-- A method of the bounds or of the attacks ("multiplier", "apgd"), names with the word `word` in them and options; when
-- there is none of these, and nothing was found `before`, names with these letters in them. The number found.
local function print_related(word, before)
  local rows = {}
  if topics[word] then rows[1] = { word, topics[word] } end
  for _, list in ipairs { "bound_methods", "attacks" } do
    for _, row in ipairs(rawget(lip, list) and lip[list]() or {}) do
      if row.name == word then rows[#rows + 1] = { ("%s, one of lip.%s()"):format(word, list), row.help } end
    end
  end
  each_line(function(section, name, arguments, text)
    if ("_" .. name .. "_"):find("_" .. word .. "_", 1, true) then
      rows[#rows + 1] = { section[2] .. name .. arguments, text }
    end
  end)
  print_columns(rows)
  local found = #rows + print_options_about(word)
  if found + before > 0 or #word <= 2 then return found end
  each_line(function(section, name, arguments, text)
    if name:find(word, 1, true) then rows[#rows + 1] = { section[2] .. name .. arguments, text } end
  end)
  print_columns(rows)
  return #rows
end

local function show(what)
  if type(what) == "string" then
    local named = print_word(what)
    if named == 0 and lip[what:gsub("^lip%.", "")] ~= nil then named = print_word(what) end
    local found = named + print_taken(what) + print_field_word(what)
    if named == 0 then found = found + print_related(what, found) end
    if found == 0 then unknown(("'%s'"):format(what)) end
  elseif type(what) == "userdata" then
    local meta = debug.getmetatable(what)
    local type_name = meta and meta.__name or "userdata"
    print(tostring(what))
    if not print_methods(type_name) then unknown(type_name) end
  else
    local name = what == lip and "" or name_of(what)
    if name == "" then
      print_index()
    elseif not name or print_word(name) == 0 then
      unknown(tostring(what))
    end
  end
end

return setmetatable(help, {
  __call = function(_, ...)
    if select("#", ...) == 0 then return print_index() end
    local what = ...
    if what == nil then return unknown "nil" end
    return show(what)
  end,
})
