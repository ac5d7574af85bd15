--- Words of command lines that people are told, as a shell reads them.
local plain = require "lip.core".plain

local shell = {}

--- A text as one word.
---@param text string
---@return string
function shell.word(text)
  if text:find "^[%w%._/+-][%w%._/+:,@=-]*$" then return text end
  if plain(text) == text then return "'" .. text:gsub("'", "'\\''") .. "'" end
  return "$'" .. text:gsub("[%c\x7f-\xff\\']", function(c)
    return (c == "\\" or c == "'") and "\\" .. c or ("\\x%02x"):format(c:byte())
  end) .. "'"
end

--- Words as one line.
---@param words any[]
---@return string
function shell.line(words)
  local parts = {}
  for i, text in ipairs(words) do parts[i] = shell.word(tostring(text)) end
  return table.concat(parts, " ")
end

return shell
