--- Figures through gnuplot: PNG, SVG, PDF by the file's ending, text in the terminal for "-".
--
--   lip.plot{file = "fit.png", title = "...", width = 900, height = 500, columns = 1, panels = {
--     {title = "...", xlabel = "x", ylabel = "y", logx = false, logy = false, yrange = {0, 1}, key = "bottom right",
--      series = {{x = {...}, y = {...}, low = {...}, high = {...}, title = "...", style = "lines"}, ...},
--      levels = {{y = 2, title = "bound"}}, verticals = {{x = 1}}, notes = {{x = 1, y = 1, text = "here"}}},
--     {images = {{pixels, {pixels = difference, title = "difference", signed = true}}}}}}
--
-- x and y are tables or 1-D tensors of the same length; a series without x is drawn against 1, 2, ... Values that are
-- not finite, or not positive on a logarithmic axis, leave a gap (the latter are counted below the panel); a figure
-- without any is refused. `low` and `high` draw a band around lines and bars at
-- points; without y the band alone. Returns true, or nil, message, code; with inline = true the text of an SVG whose
-- colours a page may set (lip.plot.svg, figures.css).
local core = require "lip.core"
local check = require "lip.plot.check"
local names = require "lip.plot.file"
local panels_of = require "lip.plot.panel"
local svg = require "lip.plot.svg"
local text = require "lip.plot.text"

local terminals = {
  png = "pngcairo noenhanced size %d,%d font 'sans,11'",
  svg = "svg noenhanced size %d,%d font 'sans,12'",
  pdf = "pdfcairo noenhanced size %.2f,%.2f font 'sans,10'",
}

local function fail(code, fmt, ...)
  return nil, fmt:format(...), code
end

-- How many columns the terminal has; a file or a pipe is taken for a wide one.
local function terminal_columns()
  local columns = tonumber(os.getenv "COLUMNS") or core.process and core.process.terminal() or 100
  return math.min(math.max(math.floor(columns), 40), 400)
end

-- The kind of output and gnuplot's line for it; nil when the ending is unknown.
local function terminal(fig, panels)
  local columns = math.min(fig.columns or 1, #panels)
  local rows = (#panels + columns - 1) // columns
  local width, height = fig.width or (columns > 1 and 1200 or 900), fig.height or 420 * rows
  if fig.inline then return "svg", "set terminal " .. terminals.svg:format(width, height) .. " dynamic" end
  local file = fig.file or "-"
  if file == "-" then
    return "text", ("set terminal dumb noenhanced size %d,%d"):format(terminal_columns(), 24 * rows)
  end
  local kind = names.kind(file)
  if not kind then return nil end
  if kind == "pdf" then width, height = width / 100, height / 100 end
  local background = fig.background == "none" and (kind == "png" and " transparent" or "") or " background '#ffffff'"
  return kind, "set terminal " .. terminals[kind]:format(width, height) .. background
end

-- Everything gnuplot is told, after the line of the terminal.
local function script(fig, panels, kind, out)
  out[#out + 1] = "set encoding utf8"
  local columns = math.min(fig.columns or 1, #panels)
  local several = #panels > 1
  if several then
    out[#out + 1] = ("set multiplot layout %d,%d rowsfirst"):format((#panels + columns - 1) // columns, columns) ..
      (fig.title and " title " .. check.quote(fig.title) .. " font ',13'" or "")
  end
  local n, any = 0, false
  for _, panel in ipairs(panels) do
    local something
    n, something = panels_of.script(panel, n, kind, out, columns > 1)
    any = any or something ~= false
  end
  if not any then return nil end
  if several then out[#out + 1] = "unset multiplot" end
  return table.concat(out, "\n") .. "\n"
end

-- The file appears whole or not at all.
local function write_all(path, contents)
  local ok, message = core.file.write(path, contents)
  if ok then return true end
  return fail("io", "plot: cannot write the figure: %s", message)
end

-- Runs gnuplot on a text in the folder: what it drew.
-- Through files: writing to a program that is not there, or has left, would end this one.
local function run_in(folder, commands)
  local input, complaints = folder .. "/commands", folder .. "/complaints"
  local ok, message = core.file.write(input, "set output 'figure'\n" .. commands)
  if not ok then return fail("io", "plot: %s", message) end
  -- -d: what the user's or the system's own settings would change is left out
  local how, status
  ok, how, status = os.execute(("cd '%s' && exec gnuplot -d commands 2>complaints"):format(folder:gsub("'", "'\\''")))
  if not ok and how == "exit" and status == 127 then
    return fail("not_found", "plot: gnuplot is not installed (package gnuplot-nox)")
  elseif not ok then
    local words = (core.file.read(complaints) or ""):gsub("%s+", " ")
    return fail("io", "plot: gnuplot ended with %s %d: %s", how == "signal" and "signal" or "status", status,
      words:sub(-300))
  end
  local drawn
  drawn, message = core.file.read(folder .. "/figure")
  if not drawn then return fail("io", "plot: %s", message) end
  return drawn
end

local function run(commands)
  local folder, message = core.file.temporary() -- in TMPDIR, or /tmp
  if not folder then return fail("io", "plot: %s", message) end
  local function finish(...)
    core.file.remove_tree(folder)
    return ...
  end
  return finish(run_in(folder, commands))
end

--- Draws a figure.
---@param fig table help "plot" lists the fields
---@return boolean|string|nil done true, or the text of an inline SVG
---@return string|nil message
---@return string|nil code "argument", "io", "not_found"
local function plot(fig)
  local _ <close> = core.plain_numbers() -- gnuplot reads points, whatever the locale
  if type(fig) ~= "table" then error("plot: expects a table, as in lip.plot{file=..., panels=...}", 2) end
  check.fields(fig)
  local panels = fig.panels or { fig }
  local kind, setting = terminal(fig, panels)
  if not kind then
    return fail("argument", "plot: %s", names.refusal(fig.file))
  end
  local drawn = panels
  if kind == "text" then -- gnuplot knows no grey in a terminal
    drawn = {}
    for _, panel in ipairs(panels) do
      if not panel.images then drawn[#drawn + 1] = panel end
    end
  end
  local commands = #drawn > 0 and script(fig, drawn, kind, { setting })
  if #drawn > 0 and not commands then
    return fail("argument", "plot: nothing to draw: no value is a finite number (above 0 on a logarithmic axis)")
  end
  if kind == "text" then
    for _, panel in ipairs(panels) do
      if panel.images then text.images(panel, terminal_columns()) end
    end
    if not commands then return true end
  end
  local result, message, code = run(commands)
  if not result then return nil, message, code end
  if kind == "text" then
    result = result:gsub("\f", ""):gsub(" +\n", "\n"):gsub("^\n+", "")
    io.write(core.plain(result, true))
    return true
  end
  if kind == "svg" then result = svg.finish(result, fig, panels) end
  if fig.inline then return result end
  return write_all(fig.file, result)
end

return plot
