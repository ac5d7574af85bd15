--- `lipwb convert IN OUT`: a net, or a query, from one format into another; the endings of the names say which.
local argparse = require "argparse"
local commands = require "lip.command"
local core = require "lip.core"
local vnnlib = require "lip.vnnlib"
local files = require "lip.model_file"
local show = require "lip.show"

local convert = {}

local complain = commands.complainer "lipwb convert"

local parser = argparse("lipwb convert", "Writes a net in another format.")
  :epilog [[
IN   .onnx, .onnx.gz, or a checkpoint of ours (.safetensors)
OUT  .onnx (opset 17), .safetensors (a checkpoint of ours), .py (PyTorch, with its arrays beside it), .npz (the arrays
     alone), FOLDER/ (C99 source)
or from .vnnlib (.vnnlib.gz) to .vnnlib, in the canonical form of --version.
Weights stay bit for bit; what is executed in another form than IN has it is said.
Exit status: 0 written, 1 it cannot be read or written (and why), 2 wrong usage.]]
parser:argument("from", "the file that is read"):argname "IN"
parser:argument("to", "the file or folder/ that is written"):argname "OUT"
parser:option("--norm", "ONNX: the norm path of the net: 1, 2, inf, 1->inf, ...")
parser:option("--input", "ONNX: the shape of one sample, 1,28,28 say", nil, show.shape)
parser:flag("--round", "ONNX: numbers that are no float32 are rounded to nearest")
parser:flag("--drop-softmax", "ONNX: a softmax at the end is left out (same label, other outputs)")
parser:option("--name", "C: what files and functions are called; without it the name of the folder")
parser:option("--certificate", "a certificate of this net (net:certificate), for OUT to speak of")
parser:option("--version", "VNN-LIB: 1 or 2; without it that of IN"):choices { "1", "2" }

-- ---- in ----

local function read_net(args)
  local path, kind = args.from, files.kind(args.from)
  if kind == "onnx" then
    return files.load(path, { norm = tonumber(args.norm) or args.norm, input = args.input, round = args.round or nil,
      drop_softmax = args.drop_softmax or nil })
  end
  for _, option in ipairs { "norm", "input", "round", "drop_softmax" } do
    if args[option] then return nil, ("--%s goes with an ONNX file"):format((option:gsub("_", "-"))), "usage" end
  end
  if kind == "npz" or (kind == "safetensors" and files.holds(path) ~= "net") then
    local arrays, message, code = core.tensors(path)
    if not arrays then return nil, message, code end
    return nil, ([[%s has arrays but not the net that they belong to. Describe it in Lua and fill it:
  local net = lip.net{input = {...}, norm = 2, lip.dense{out = ...}, ...}
  assert(net:load_weights("%s"))
  assert(net:save "net.safetensors")      -- or net:export{onnx = "net.onnx"}
`lipwb show %s` lists names and shapes]]):format(path, path, path), "unsupported"
  end
  if kind ~= "safetensors" then
    return nil, ("%s: IN ends with .onnx, .onnx.gz, .safetensors or .vnnlib"):format(path), "usage"
  end
  return files.load(path)
end

-- ---- out ----

-- A C identifier from the name of a folder.
local function c_name(folder)
  local name = folder:match "([^/]*)/*$":gsub("[^%w_]", "_")
  return name:find "^%a" and name or "net_" .. name
end

local writers = {
  onnx = function(net, args) return net:export { onnx = args.to, certificate = args.certificate } end,
  torch = function(net, args) return net:export { torch = args.to } end,
  npz = function(net, args) return net:export { npz = args.to } end,
  safetensors = function(net, args) return net:save(args.to) end,
  folder = function(net, args)
    return net:export { c = args.to:match "^(.-)/+$", name = args.name or c_name(args.to), certificate = args.certificate }
  end,
}

local takes = { certificate = { onnx = true, folder = true }, name = { folder = true } }

-- The kind of OUT, or nil, message, code.
local function check_out(args)
  local kind = files.kind(args.to)
  if not writers[kind] or args.to:lower():find "%.gz$" or args.to:lower():find "%.cert$" then
    return nil, ("%s: OUT ends with .onnx, .safetensors, .py, .npz, a slash (a folder of C), or .vnnlib"):format(args.to), "usage"
  end
  for option, kinds in pairs(takes) do
    if args[option] and not kinds[kind] then return nil, ("--%s does not go with %s"):format(option, args.to), "usage" end
  end
  if args.version then return nil, "--version goes with VNN-LIB files", "usage" end
  return kind
end

local function convert_net(args)
  local kind, message, code = check_out(args)
  if not kind then return nil, message, code end
  local net, notes
  net, notes, code = read_net(args)
  if not net then return nil, notes, code end
  local fine, done
  fine, done, message, code = pcall(writers[kind], net, args) -- raises for layers that the format has no words for
  if not fine then return nil, ("%s: %s"):format(args.to, files.reason(done)) end
  if not done then return nil, message, code end
  local info = net:info()
  commands.say(("%s: %d layers, %d parameters"):format(args.to, #info.layers, info.parameters))
  for _, note in ipairs(notes) do commands.say("  " .. tostring(note)) end
  return true
end

local function convert_query(args)
  for _, option in ipairs { "norm", "input", "round", "drop_softmax", "name", "certificate" } do
    if args[option] then return nil, ("--%s does not go with VNN-LIB files"):format((option:gsub("_", "-"))), "usage" end
  end
  if files.kind(args.to) ~= "vnnlib" then return nil, args.to .. ": a query becomes a .vnnlib file", "usage" end
  local q, message, code = vnnlib(args.from)
  if not q then return nil, message, code end
  local text
  text, message, code = q:text { version = tonumber(args.version) }
  if not text then return nil, message, code end
  q = assert(vnnlib { text = text }) -- what is written is what is spoken of
  if args.to:lower():find "%.gz$" then text = core.deflate(text) end
  local done
  done, message, code = core.file.write(args.to, text)
  if not done then return nil, message, code end
  commands.say(("%s: %s"):format(args.to, tostring(q)))
  return true
end

---@return integer status
function convert.main(...)
  local words = { ... }
  if commands.helped(parser, words) then return commands.OK end
  local args, status = commands.parse(parser, words, complain)
  if not args then return status end
  local work = files.kind(args.from) == "vnnlib" and convert_query or convert_net
  return commands.status(complain, work(args))
end

return convert
