--- Functions that a script hands over, called so that an error names them and not the line of lipwb that called them:
-- error(message, 2) and functions written in C would, and so would work on what a callback returned.
local lip = require "lip.core"

local callback = {}

local function pass(...) return ... end

--- Where a callback stands: "file.lua:12".
function callback.where(f)
  local info = type(f) == "function" and debug.getinfo(f, "S")
  if not info then return type(f) == "userdata" and tostring(f) or "an object" end
  return info.what == "C" and "written in C" or ("%s:%d"):format(info.short_src, info.linedefined)
end

-- `message` without its position when that is a line of the function `of`; nil when it has another one.
local function without_position(message, of)
  local source = debug.getinfo(of, "S").short_src .. ":"
  return type(message) == "string" and message:sub(1, #source) == source
    and message:sub(#source + 1):match "^%d+: (.*)$"
end

local function run(f, ...) return pass(f(...)) end -- no tail call: a position in this file can be told

local function check(what, f, of, ok, ...)
  if ok then return ... end
  local message = ...
  local text = not lip.interrupted() and without_position(message, of)
  error(text and ("%s (%s): %s"):format(what, callback.where(f), text) or message, 0)
end

--- f(...); `what` names it in messages.
function callback.call(what, f, ...)
  return check(what, f, run, pcall(run, f, ...))
end

--- work(...), which uses what the callback f returned: an error on a line of `work` is f's.
function callback.blame(what, f, work, ...)
  return check(what, f, work, pcall(work, ...))
end

--- f(...), to which the function `what` of lipwb hands on options of its caller: an error names `what` and stands where
--- error(message, level) would put it.
function callback.own(what, level, f, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local message = results[2]
  if lip.interrupted() or type(message) ~= "string" then error(message, 0) end
  message = without_position(message, f) or message
  error((message:gsub("^%l+: ", what .. ": ", 1)), level + 1)
end

return callback
