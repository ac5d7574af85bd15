--- What the commands of the program share (`lipwb sweep`, `runs`, `report`, ...): words read by argparse, complaints on
-- standard error, exit statuses. A command is a module whose main(words...) returns a status.
local core = require "lip.core"

local command = {}

command.OK, command.FAILED, command.USAGE, command.INTERRUPTED = 0, 1, 2, 130

--- A text, of several lines perhaps, that moves no cursor of a terminal: names in files may hold what does.
function command.plain(text)
  return core.plain(tostring(text):gsub("\t", "  "), true)
end

--- On standard output, as text that moves no cursor.
function command.say(text)
  print(command.plain(text))
end

--- complain(message, status) of a command: says what went wrong and returns the status (default: failed).
---@param name string as people type it: "lipwb runs"
function command.complainer(name)
  return function(message, status)
    io.stderr:write(name, ": ", command.plain(message), "\n")
    return status or command.FAILED
  end
end

--- What `words` mean to a parser; nil and the exit status when they are wrong, which was said then.
---@param hint? string a last line below the usage
function command.parse(parser, words, complain, hint)
  local ok, args = parser:pparse(words)
  if ok then return args end
  return nil, complain(("%s\n%s%s"):format(args, parser:get_usage(), hint and "\n" .. hint or ""), command.USAGE)
end

--- Prints the help of a parser without commands of its own when a word asks for it, whatever else is missing.
function command.helped(parser, words)
  for _, word in ipairs(words) do
    if word == "--help" or word == "-h" then
      print(parser:get_help())
      return true
    end
  end
  return false
end

--- The exit status of what returned `done`, or nil, message, code; the message was said then.
function command.status(complain, done, message, code)
  if done then return command.OK end
  return complain(message or "failed", code == "usage" and command.USAGE or command.FAILED)
end

return command
