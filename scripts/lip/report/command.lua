--- `lipwb report [STORE] -o report.html`: the runs of a store as one page that loads nothing from anywhere.
local argparse = require "argparse"
local lip = require "lip"
local collect = require "lip.report.collect"
local commands = require "lip.command"
local page = require "lip.report.page"
local records = require "lip.runs.records"

local command = {}

local complain = commands.complainer "lipwb report"

local function make_parser()
  local parser = argparse("lipwb report", "Writes one self-contained page about the runs of a store.")
  parser:argument("store", "The store (default: $LIPWB_STORE, or runs.db)."):args "?"
  parser:option("--store", "The same, as an option."):argname "FILE":target "given"
  parser:option("-o --output", "The page to write.", "report.html"):argname "FILE"
  parser:option("--title", "Title of the page."):argname "TEXT"
  parser:option("--sweep", "Only runs of this sweep."):argname "NAME"
  parser:option("--where", "Only runs for which CONDITION holds: 'norm = \"inf\" and budget < 4'."):argname "CONDITION"
  return parser
end

---@return integer status 0 done, 1 failed, 2 wrong usage
function command.main(...)
  local args, status = commands.parse(make_parser(), { ... }, complain)
  if not args then return status end
  local path = records.path(args.store or args.given)
  local store, message = records.open(path)
  if not store then return complain(message) end
  local context = { store = store, path = path, now = lip.now(),
    title = args.title or args.sweep or path:match "[^/]*$" }
  local report, done, code
  report, message, code = collect.all(context, args)
  if report then
    local text = page.text(report, context)
    done, message, code = lip.file.write(args.output, text)
    if done then io.stdout:write(("%s: %d runs, %d kB\n"):format(lip.plain(args.output), #report.rows, #text // 1000)) end
  end
  store:close()
  return commands.status(complain, done, message, code)
end

return command
