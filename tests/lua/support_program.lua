-- For tests that start programs: which one runs them, words for the shell, what a command printed.
local lip = require "lip"

local support = { program = assert(lip.process.self().program) }

--- A text as one word of the shell.
function support.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- All that a command of the shell printed, and whether it ended well.
function support.run(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  return text, (pipe:close())
end

--- All that it printed.
function support.output(command)
  return (support.run(command))
end

return support
