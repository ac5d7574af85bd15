--- `lipwb show FILE`: what is in a file: a net with its bounds, a state_dict, a certificate, a query, exported C.
local argparse = require "argparse"
local commands = require "lip.command"
local core = require "lip.core"
local vnnlib = require "lip.vnnlib"
local files = require "lip.model_file"

local show = {}

local NORMS = { 1, 2, "inf" }
local LINES = 60 -- of a list, unless all are asked for

local complain = commands.complainer "lipwb show"

local parser = argparse("lipwb show", "Shows what is in a file.")
  :epilog("Exit status: 0 shown, 1 the file could not be read, 2 wrong usage.")
parser:argument("file", "a checkpoint or other .safetensors, .npz, .onnx, .vnnlib (the last two also with .gz), .cert, folder of C")
parser:option("--input", "the shape of one sample of an ONNX net that leaves it open, 1,28,28 say", nil,
  function(text) return show.shape(text) end)
parser:flag("--all", "all arrays and cases, not the first " .. LINES)

--- "1,28,28" as {1, 28, 28}; nil, message.
function show.shape(text)
  local shape = {}
  for word in (text .. ","):gmatch "([^,]*)," do
    local n = word:find "^%d+$" and tonumber(word)
    if not n or n < 1 then return nil, ("a shape like 1,28,28 expected, got '%s'"):format(text) end
    shape[#shape + 1] = n
  end
  return shape
end

local function shape_text(shape)
  return #shape == 0 and "one number" or table.concat(shape, " x ")
end

-- Prints the first lines of a list, and how many more there are.
local function say_list(list, all, line)
  for i, item in ipairs(list) do
    if i > LINES and not all then
      commands.say(("  ... and %d more (--all)"):format(#list - LINES))
      return
    end
    commands.say("  " .. line(item, i))
  end
end

--- A net: its layers, and proved upper bounds of its Lipschitz constant in three norms.
function show.net(net, notes, all)
  commands.say(tostring(net))
  local words = {}
  for _, p in ipairs(NORMS) do
    local fine, bound, message = pcall(net.bound, net, { p = p })
    local text = fine and bound and ("%.8g"):format(core.round_up(bound.upper, 8))
      or ("unknown (%s)"):format(files.reason(not fine and bound or message))
    words[#words + 1] = ("norm %s: %s"):format(p, text)
  end
  commands.say("Lipschitz constant at most   " .. table.concat(words, "   "))
  if #notes > 0 then commands.say "notes" end
  say_list(notes, all, tostring)
end

local function show_arrays(path, all)
  local arrays, info, code = core.tensors(path)
  if not arrays then return nil, info, code end
  local numbers = 0
  for _, name in ipairs(info.order) do numbers = numbers + arrays[name]:size() end
  commands.say(("%d arrays, %d numbers; no net of ours: describe one and fill it with net:load_weights"):format(#info.order,
    numbers))
  say_list(info.order, all, function(name)
    return ("%-40s %-5s %s"):format(name, info.types[name], shape_text(arrays[name]:shape()))
  end)
  return true
end

local function show_certificate(found)
  local m = found.metadata
  commands.say(("certificate: %s, method %s, norms %s, arithmetic %s (lipwb check CERT MODEL verifies it)"):format(
    m.layers or "?", m.method or "?", m.path or "?", m.arithmetic or "?"))
  for _, name in ipairs { "weights_sha256", "data_sha256", "claims_sha256" } do
    if m[name] and m[name] ~= "" then commands.say(("  %-15s %s"):format(name, m[name])) end
  end
  say_list(found.arrays, true, function(a) return ("%-15s %-5s %s"):format(a.name, a.type, shape_text(a.shape)) end)
end

-- How many sides of a box are bounded, and the widest.
local function box_text(low, high, n)
  local bounded, widest = 0, 0
  for k = 1, n do
    local a, b = low:get(k), high:get(k)
    if a > -math.huge and b < math.huge then
      bounded = bounded + 1
      widest = math.max(widest, b - a)
    end
  end
  return ("%d of %d inputs between two numbers, the widest %.6g apart"):format(bounded, n, widest)
end

local function show_query(path, all)
  local q, message, code = vnnlib(path)
  if not q then return nil, message, code end
  commands.say(tostring(q))
  for _, net in ipairs(q:networks()) do
    local words = {}
    for _, side in ipairs { "inputs", "outputs" } do
      for _, t in ipairs(net[side]) do
        words[#words + 1] = ("%s %s %s %s"):format(side:sub(1, -2), t.name, t.type, shape_text(t.shape))
      end
    end
    commands.say(("  %s%s"):format(net.name and net.name .. ": " or "", table.concat(words, ", ")))
  end
  local cases, why = q:cases()
  if not cases then
    commands.say("  " .. why)
    return true
  end
  commands.say(("unsafe: %s"):format(#cases == 1 and "one case" or ("any of %d cases"):format(#cases)))
  say_list(cases, all, function(case, i)
    if case.empty then return ("case %d: its box is empty"):format(i) end
    local low, high = q:box(i)
    return ("case %d: %s; %d inequalities of outputs%s%s"):format(i, box_text(low, high, q.inputs), case.outputs,
      case.inputs > 0 and (", %d between inputs"):format(case.inputs) or "",
      case.mixed > 0 and (", %d of inputs with outputs"):format(case.mixed) or "")
  end)
  return true
end

-- What the header of exported C says of its net.
local function show_header(path)
  local text, message, code = core.file.read(path)
  if not text then return nil, message, code end
  if not text:find "^/%* Written by lipwb" then return false end
  local name = path:match "([^/]*)%.h$"
  local said = {}
  for key, value in text:gsub("\\\n", " "):gmatch("#define " .. name:upper() .. "_([%u%d_]+) +([^\n]*)") do
    said[key] = value:gsub("%s*/%*.*", "")
  end
  local room = tonumber(text:match "float room%[(%d+)U?%]")
  commands.say(("C source %s: %s inputs, %s outputs, norm %s, constants by %s, %s bytes of working memory"):format(name,
    (said.N or "?"):gsub("U$", ""), (said.M or "?"):gsub("U$", ""), said.NORM or "?", said.BOUND or "?",
    room and ("%d"):format(4 * room) or "?"))
  for _, key in ipairs { "WEIGHTS_SHA256", "CERTIFICATE_SHA256" } do
    if said[key] then commands.say(("  %-18s %s"):format(key:lower(), (said[key]:gsub('"', "")))) end
  end
  return true
end

local function show_folder(path)
  local names, message, code = core.file.list(path)
  if not names then return nil, message, code end
  local shown = false
  for _, name in ipairs(names) do
    local found
    if name:find "%.h$" then found, message, code = show_header((path:gsub("/+$", "")) .. "/" .. name) end
    if found == nil and name:find "%.h$" then return nil, message, code end
    shown = shown or found
  end
  if not shown then return nil, path .. ": no C source that lipwb has written", "not_found" end
  return true
end

local function show_file(args)
  local path = args.file
  local kind = files.kind(path)
  local there = core.file.stat(path)
  if kind == "folder" or (there and there.kind == "folder") then return show_folder(path) end
  if kind == "vnnlib" then return show_query(path, args.all) end
  if kind == "npz" then return show_arrays(path, args.all) end
  if kind == "onnx" then
    local net, notes, code = files.load(path, { input = args.input, round = true, drop_softmax = true }) -- the notes say so
    if not net then return nil, notes, code end
    show.net(net, notes, args.all)
    return true
  end
  if kind ~= "safetensors" then
    return nil, ("%s: %s; known are .safetensors, .cert, .npz, .onnx, .onnx.gz, .vnnlib, .vnnlib.gz, folders of C"):format(path,
      kind and "written for other programs to read" or "the ending says nothing"), "usage"
  end
  local holds, found, code = files.holds(path)
  if holds == "certificate" then
    show_certificate(found)
    return true
  elseif holds == "net" then
    local net, message, why = core.load(path)
    if not net then return nil, message, why end
    show.net(net, {}, args.all)
    return true
  end
  if code == "not_found" or code == "io" then return nil, found, code end
  return show_arrays(path, args.all) -- also what inspect does not read: half precision, whole numbers
end

---@return integer status
function show.main(...)
  local words = { ... }
  if commands.helped(parser, words) then return commands.OK end
  local args, status = commands.parse(parser, words, complain)
  if not args then return status end
  return commands.status(complain, show_file(args))
end

return show
