--- Words of command lines that people are told, as a shell reads them.
local shell = {}

-- What would move a cursor or turn the line around: control characters, C1 controls, marks of direction.
local function is_odd(text)
  return text:find "[%c\x7f]" or not utf8.len(text) or text:find "\xc2[\x80-\x9f]"
    or text:find "\xe2\x80[\x8e\x8f\xaa-\xae]" or text:find "\xe2\x81[\xa6-\xa9]"
end

--- A text as one word.
---@param text string
---@return string
function shell.word(text)
  if text:find "^[%w%._/+-][%w%._/+:,@=-]*$" then return text end
  if not is_odd(text) then return "'" .. text:gsub("'", "'\\''") .. "'" end
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
