--- `lipwb runs ...`: looking at the runs of a store.
local argparse = require "argparse"
local commands = require "lip.command"
local lip = require "lip"
local records = require "lip.runs.records"
local text_table = require "lip.runs.table"

local command = {}

local complain = commands.complainer "lipwb runs"

local function whole(text)
  local n = math.tointeger(tonumber(text))
  if not n or n < 1 then return nil, ("expected a whole number of at least 1, got '%s'"):format(text) end
  return n
end

local function add_filters(c)
  c:option("--where", "Only runs for which CONDITION holds: 'norm = \"inf\" and budget < 4'."):argname "CONDITION"
  c:option("--sweep", "Only runs of this sweep."):argname "NAME"
  c:option("--state", "Only runs in this state."):choices { "queued", "running", "done", "failed", "pruned" }
end

local function add_groups(c)
  c:option("--by", "Group by these names: means, deviations, n."):argname "NAMES"
  c:option("--over", "Group by every varying setting but these (seed)."):argname "NAMES"
end

local function add_limit(c, text)
  c:option("-n --limit", text):argname "N":convert(whole)
end

local function define_lists(parser)
  local ls = parser:command("ls", "Runs as a table, or groups of runs.")
  add_filters(ls)
  add_groups(ls)
  ls:option("--sort", "Sort by these names, -NAME downwards."):argname "NAMES"
  ls:flag("--desc", "The other way round.")
  ls:option("--columns", "Show these columns."):argname "NAMES"
  add_limit(ls, "Show so many rows.")
  local best = parser:command("best", "The runs with the best METRIC (default: what the sweep aims at).")
  best:argument("metric", "Name of a result."):args "?"
  add_filters(best)
  add_groups(best)
  best:flag("--min", "Less is better.")
  best:flag("--max", "More is better.")
  add_limit(best, "Show so many (5).")
  local pareto = parser:command("pareto", "Runs that no other beats in X and Y at once.")
  pareto:argument("x", "Name of a result or setting.")
  pareto:argument("y", "Another.")
  add_filters(pareto)
  add_groups(pareto)
  pareto:option("--min", "Less of NAME is better."):argname "NAME":count "*"
  pareto:option("--max", "More of NAME is better."):argname "NAME":count "*"
end

local function define_plot(parser)
  local plot = parser:command("plot", "A figure of the runs.")
  plot:argument("kind", "budget (results against a setting), pareto, or losses (of the best runs). "
    .. "Default: budget when the runs vary `budget` or --x names a setting, else pareto."):args "?"
    :choices { "budget", "pareto", "losses" }
  plot:option("-o --file", "PNG, SVG or PDF by its ending; - draws in the terminal.", "-"):argname "FILE"
  plot:option("--x", "What goes across."):argname "NAME"
  plot:option("--y", "What goes up, one or more."):argname "NAMES"
  plot:option("--by", "A panel or colour for each value of it."):argname "NAME"
  plot:option("--title", "Title of the figure."):argname "TEXT"
  plot:option("--min", "Less of NAME is better (pareto)."):argname "NAME":count "*"
  plot:option("--max", "More of NAME is better (pareto)."):argname "NAME":count "*"
  add_filters(plot)
end

local function define_single(parser)
  local show = parser:command("show", "All about one run.")
  show:argument("run", "As `ls` shows it, SWEEP/NUMBER, an id, or the beginning of a key.")
  show:flag("--metrics", "The metrics of every step.")
  show:flag("--output", "What the run has printed.")
  show:flag("--json", "As one line of JSON.")
  local diff = parser:command("diff", "What sets two runs apart.")
  diff:argument "a"
  diff:argument "b"
end

local function define_files(parser)
  local export = parser:command("export", "Runs for other programs.")
  export:argument("format", "csv, jsonl, tensorboard or optuna."):choices { "csv", "jsonl", "tensorboard", "optuna" }
  export:argument("to", "File or folder (default: standard output)."):args "?"
  add_filters(export)
  export:flag("--metrics", "With the metrics of every step (jsonl), or these alone: run,step,name,value (csv).")
  export:mutex(
    export:option("--maximise", "The result that counts (optuna; default: what the sweep aims at)."):argname "NAME",
    export:option("--minimise", "The same, less of it is better."):argname "NAME")
  local gc = parser:command("gc", "Folders and files that no run needs any more.")
  gc:flag("--checkpoints", "Also what lip.train kept to go on from, of runs that are done.")
  gc:flag("--delete", "Remove them; otherwise only tell.")
  parser:command("rebuild", "Make the database again from the journals of the trials.")
end

local function make_parser()
  local parser = argparse("lipwb runs", "Looks at the runs of a store.")
  parser:option("--store", "The store (default: $LIPWB_STORE, or runs.db)."):argname "FILE"
  parser:flag("--wide", "Lines as long as they come.")
  parser:command_target "command"
  parser:require_command(true)
  define_lists(parser)
  define_single(parser)
  define_files(parser)
  define_plot(parser)
  return parser
end

-- Not with an open store: its database may be damaged or gone.
local function rebuild(given)
  local path = records.path(given)
  local store, n, skipped, aside = require "lip.sweep.rebuild".store(path)
  if not store then return nil, n end
  store:close()
  io.stdout:write(("rebuilt %s: %d runs\n"):format(text_table.plain(path), n))
  if skipped > 0 then io.stdout:write(skipped, " lines of journals could not be read\n") end
  if aside then io.stdout:write("what was there is now ", text_table.plain(aside), "\n") end
  return true
end

local runs = {
  ls = function(...) return require "lip.runs.list".ls(...) end,
  best = function(...) return require "lip.runs.list".best(...) end,
  pareto = function(...) return require "lip.runs.pareto".run(...) end,
  show = function(...) return require "lip.runs.show".show(...) end,
  diff = function(...) return require "lip.runs.show".diff(...) end,
  export = function(...) return require "lip.runs.export".run(...) end,
  plot = function(...) return require "lip.runs.draw".run(...) end,
  gc = function(...) return require "lip.runs.gc".run(...) end,
}

-- "--sort -clean" is what people type, and what would be taken for an option.
local function joined(words)
  local out = {}
  for _, word in ipairs(words) do
    if out[#out] == "--sort" and word:find "^%-[^-]" then out[#out] = "--sort=" .. word else out[#out + 1] = word end
  end
  return out
end

---@return integer status 0 done, 1 failed, 2 wrong usage
function command.main(...)
  local args, status = commands.parse(make_parser(), joined { ... }, complain, "lipwb runs COMMAND --help tells more.")
  if not args then return status end
  if args.command == "rebuild" then return commands.status(complain, rebuild(args.store)) end
  local store, message = records.open(args.store, { readonly = not (args.command == "gc" and args.delete) })
  if not store then return complain(message) end
  local context = { store = store, path = records.path(args.store),
    width = lip.process.terminal() or tonumber(os.getenv "COLUMNS") or 80 }
  local done, code
  done, message, code = runs[args.command](context, args)
  if store.close then store:close() end
  return commands.status(complain, done, message, code)
end

return command
