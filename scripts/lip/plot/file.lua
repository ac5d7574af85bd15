--- Names that figures are drawn into: what can be said of one before anything is computed for it.
local core = require "lip.core"

local file = {}

local KINDS = { png = true, svg = true, pdf = true }

--- png, svg, pdf by the ending, or nil.
function file.kind(name)
  local ending = (name:match "%.(%a+)$" or ""):lower()
  return KINDS[ending] and ending or nil
end

--- Why nothing could be drawn under this name, or nil; "" (no figure) and "-" (text) are names, too.
---@param name string
---@param anywhere? boolean its folder does not count
---@return string|nil message
function file.refusal(name, anywhere)
  if name == "" or name == "-" then return nil end
  if not file.kind(name) then return ("cannot draw '%s': the name must end in .png, .svg or .pdf"):format(name) end
  if anywhere or not core.file then return nil end
  local folder = name:match "^(.*)/[^/]*$" or "."
  local there = core.file.stat(folder == "" and "/" or folder)
  if not there or there.kind ~= "folder" then
    return ("cannot draw '%s': there is no folder '%s'"):format(name, folder)
  end
  local before = core.file.stat(name)
  return before and before.kind == "folder" and ("cannot draw '%s': it is a folder"):format(name) or nil
end

return file
