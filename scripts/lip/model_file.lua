--- Files that hold a net: our checkpoints, and ONNX, told apart by their endings. What `lipwb show`, `convert` and `check`
-- read with.
local core = require "lip.core"

local model_file = {}

local kinds = { -- endings, longest first
  { ".onnx.gz", "onnx" }, { ".onnx", "onnx" }, { ".vnnlib.gz", "vnnlib" }, { ".vnnlib", "vnnlib" },
  { ".safetensors", "safetensors" }, { ".npz", "npz" }, { ".cert", "safetensors" }, { ".py", "torch" },
}

--- What kind of file a name says it is: "onnx", "vnnlib", "safetensors", "npz", "torch", "folder" (NAME/), or nil.
function model_file.kind(path)
  if path:find "/$" then return "folder" end
  for _, row in ipairs(kinds) do
    if path:lower():sub(-#row[1]) == row[1] and #path > #row[1] then return row[2] end
  end
end

--- What was raised, without the place in our scripts where it was.
function model_file.reason(fault)
  return (tostring(fault):gsub("^[^\n:]*:%d+: ", ""))
end

local words = { ["round = true"] = "--round", ["drop_softmax = true"] = "--drop-softmax", ["the option input"] = "--input",
  ["option 'input'"] = "--input" }

--- A message of lip.onnx in the words of the command line.
local function of_the_shell(message)
  for lua, shell in pairs(words) do message = message:gsub(lua:gsub("%p", "%%%0"), (shell:gsub("%%", "%%%%"))) end
  return message
end

--- What a safetensors file holds, by its metadata: "net", "certificate" or "arrays"; nil, message, code.
function model_file.holds(path)
  local found, message, code = core.inspect(path)
  if not found then return nil, message, code end
  local format = found.metadata.format
  return format == "lipwb" and "net" or format == "lipwb certificate" and "certificate" or "arrays", found
end

--- The net in a file, and what was noted on the way (a list of sentences); nil, message, code.
---@param path string
---@param options? table of lip.onnx
function model_file.load(path, options)
  if model_file.kind(path) ~= "onnx" then
    local net, message, code = core.load(path)
    if not net then return nil, message, code end
    return net, {}
  end
  local fine, net, notes, code = pcall(core.onnx, path, options)
  if not fine then return nil, path .. ": " .. of_the_shell(model_file.reason(net)), "unsupported" end
  if not net then return nil, of_the_shell(notes), code end
  return net, type(notes) == "table" and notes or {}
end

return model_file
