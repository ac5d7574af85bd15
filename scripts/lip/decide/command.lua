--- `lipwb verify NET PROP`: a query about a net, decided by branch and bound.
local argparse = require "argparse"
local commands = require "lip.command"
local core = require "lip.core"
local files = require "lip.model_file"
local vnnlib = require "lip.vnnlib"

local command = {}

local complain = commands.complainer "lipwb verify"

--- Exit statuses of answers, beside 1 (failed) and 2 (usage).
command.statuses = { unsat = 0, sat = 3, unknown = 4, timeout = 4 }

local parser = argparse("lipwb verify", "Decides whether a net can be unsafe: whether inputs and outputs as a query describes them exist.")
  :epilog [[
The first line of output is the answer:
  unsat     no: neither for the net as executed in float32, in any order of summation, nor in exact arithmetic
  sat       yes: an input was found that shows it, as executed and in exact arithmetic
  timeout   not decided in time
  unknown   not decided for another reason, which the second line tells
Exit status: 0 unsat, 3 sat, 4 timeout or unknown, 1 a file could not be read or written, 2 wrong usage.]]
parser:argument("net", "an ONNX file (.onnx, .onnx.gz), or a checkpoint"):args "?"
parser:argument("property", "a VNN-LIB file (.vnnlib, .vnnlib.gz)"):args "?"
local function positive(text)
  local v = tonumber(text)
  if not v or not (v > 0) then return nil, ("a number > 0 expected, got '%s'"):format(text) end
  return v
end
parser:option("--timeout", "seconds", nil, positive)
parser:option("--nodes", "most nodes of the tree", nil, function(text)
  local v = math.tointeger(tonumber(text))
  if not v or v < 1 then return nil, ("a whole number > 0 expected, got '%s'"):format(text) end
  return v
end)
parser:option("--counterexample", "file for the inputs and outputs found, ((X_0 0.5) ... (Y_0 1.5))")
parser:option("--input", "the shape of one sample of an ONNX net that leaves it open, 1,28,28 say", nil,
  function(text) return require("lip.show").shape(text) end)
parser:flag("--round", "numbers of an ONNX file that are no float32 are rounded to nearest")
parser:flag("--drop-softmax", "leave out a softmax at the end")
parser:flag("--quiet", "the answer only")
parser:option("--instances", "in place of NET and PROP: a CSV file of lines net,property,timeout[,answer]; stored as a sweep, "
  .. "so that the same command goes on where it was ended")
parser:option("-j --jobs", "with --instances: how many at once")
parser:option("--store", "with --instances: the database of results, as of lipwb sweep")
parser:option("--plot", "with --instances: a figure of answers over time")
parser:option("--run-instance", "in place of NET and PROP: what the competition calls with (v1, category, net, property, file for "
  .. "the result, timeout)"):args(6):argname { "VERSION", "CATEGORY", "ONNX", "VNNLIB", "RESULT", "SECONDS" }

--- The point of a decision as the competition writes it, X in the order of the query.
function command.point_text(decision, order)
  local x, lines = decision.x:flatten():totable(), {}
  local of_file = {}
  for i = 1, #x do of_file[order and order[i] or i] = x[i] end
  for i, v in ipairs(of_file) do lines[#lines + 1] = ("(X_%d %.9g)"):format(i - 1, v) end
  for i, v in ipairs(decision.outputs:flatten():totable()) do lines[#lines + 1] = ("(Y_%d %.9g)"):format(i - 1, v) end
  return "(" .. table.concat(lines, "\n ") .. ")\n"
end

--- What a decision is called: "unsat", "sat", "timeout", "unknown".
function command.answer(decision)
  if decision.verdict == "verified" then return "unsat" end
  if decision.verdict == "violated" then return "sat" end
  return decision.reason == "out of time" and "timeout" or "unknown"
end

--- The decision about two files; nil, message, code.
function command.decide(net_path, property_path, options)
  local started = core.now()
  local net, notes, code = files.load(net_path, { norm = "inf", input = options.input, round = options.round,
    drop_softmax = options.drop_softmax })
  if not net then return nil, notes, code end
  local query, message
  query, message, code = vnnlib(property_path)
  if not query then return nil, message, code end
  local left = options.seconds and math.max(options.seconds - (core.now() - started), 1e-3)
  local fine, decision
  fine, decision, message, code = pcall(net.decide, net, { query = query, order = notes.order },
    { seconds = left, nodes = options.nodes, progress = options.progress })
  if not fine then return nil, files.reason(decision) end
  if not decision then return nil, ("%s: %s"):format(property_path, message), code end
  return decision, notes
end

local function say_more(decision, notes)
  for _, note in ipairs(notes) do commands.say("  " .. tostring(note)) end
  if decision.reason then commands.say(("  %s; lowest bound that is left %.4g"):format(decision.reason, decision.least)) end
  commands.say(("  %d nodes, %d leaves proved, depth %d, %.2f s"):format(decision.nodes, decision.leaves, decision.deepest,
    decision.seconds))
end

-- The sweep over all lines of a CSV file.
local function run_instances(args)
  local file = package.searchpath("lip.decide.instances", package.path)
  local words = { file, "--set", "instances=" .. args.instances }
  for _, name in ipairs { "jobs", "store", "plot" } do
    if args[name] then table.move({ "--" .. name, args[name] }, 1, 2, #words + 1, words) end
  end
  if args.timeout then table.move({ "--set", "timeout=" .. args.timeout }, 1, 2, #words + 1, words) end
  if args.round then table.move({ "--set", "round=true" }, 1, 2, #words + 1, words) end
  return require("lip.sweep.command").main(table.unpack(words))
end

-- The answer goes into a file: "unsat", "sat" and the point, "timeout", "unknown" or "error".
local function run_instance(words)
  local version, _, net, property, result, seconds = table.unpack(words)
  if version ~= "v1" then return complain(("--run-instance knows version v1, got '%s'"):format(version), commands.USAGE) end
  if not tonumber(seconds) then return complain(("--run-instance expects seconds, got '%s'"):format(seconds), commands.USAGE) end
  local decision, notes, code = command.decide(net, property, { seconds = tonumber(seconds), round = true, drop_softmax = false,
    progress = false })
  local answer = decision and command.answer(decision) or "error"
  local text = answer .. "\n" .. (answer == "sat" and command.point_text(decision, notes.order) or "")
  local done, message = core.file.write(result, text)
  if not done then return complain(message) end
  if not decision then return commands.status(complain, nil, notes, code) end
  return commands.OK
end

---@return integer status
function command.main(...)
  local words = { ... }
  if commands.helped(parser, words) then return commands.OK end
  local args, status = commands.parse(parser, words, complain)
  if not args then return status end
  if args.instances and not args.net then return run_instances(args) end
  if args.run_instance and not args.net then return run_instance(args.run_instance) end
  if not args.property or args.instances or args.run_instance then
    return complain("NET and PROP are expected, or --instances FILE alone\n" .. parser:get_usage(), commands.USAGE)
  end
  if files.kind(args.property) ~= "vnnlib" then
    return complain(args.property .. ": a query ends with .vnnlib or .vnnlib.gz", commands.USAGE)
  end
  local decision, notes, code = command.decide(args.net, args.property, { seconds = args.timeout, nodes = args.nodes,
    input = args.input, round = args.round, drop_softmax = args.drop_softmax, progress = args.quiet and false or nil })
  if not decision then return commands.status(complain, nil, notes, code) end
  local answer = command.answer(decision)
  commands.say(answer)
  if not args.quiet then say_more(decision, notes) end
  if args.counterexample and answer == "sat" then
    local done, message
    done, message, code = core.file.write(args.counterexample, command.point_text(decision, notes.order))
    if not done then return commands.status(complain, nil, message, code) end
  end
  return command.statuses[answer]
end

return command
