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

--- What a file holds, which is removed.
function support.slurp(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  os.remove(path)
  return text
end

--- The name of a new file with that text.
function support.spill(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

--- Exit status, standard output, standard error of a shell command.
function support.shell(command)
  local out, err = os.tmpname(), os.tmpname()
  local _, _, status = os.execute(("{ %s\n} >%s 2>%s"):format(command, out, err))
  return status, support.slurp(out), support.slurp(err)
end

--- The same of the program with these words, `input` on its standard input.
function support.start(words, input)
  local path = support.spill(input or "")
  local status, out, err = support.shell(support.quote(support.program) .. " " .. words .. " <" .. path)
  os.remove(path)
  return status, out, err
end

--- The same with `code` as its script; last, the script's name.
function support.script(code, words, input)
  local path = support.spill(code)
  local status, out, err = support.start(path .. " " .. (words or ""), input)
  os.remove(path)
  return status, out, err, path
end

return support
