--- A report as one page that needs nothing else: text, tables, figures, the style and the script.
local lip = require "lip"
local decimal = require "lip.decimal"
local html = require "lip.report.html"
local list = require "lip.runs.list"
local shell = require "lip.shell"
local show = require "lip.runs.show"
local style = require "lip.report.style"
local script = require "lip.report.script"
local text_table = require "lip.runs.table"

local page = {}

local fill, escape = html.fill, html.escape
local STATES = { "done", "running", "queued", "failed", "pruned" }

local function plural(n, word)
  return ("%d %s%s"):format(n, word, n == 1 and "" or "s")
end

local function anchor(name)
  return "sweep-" .. name:gsub("[^%w_-]", function(c) return ("_%02x"):format(c:byte()) end)
end

-- ---- summary ----

local function tile(value, name)
  return fill("<li><b>$value</b><span>$name</span></li>", { value = value, name = name })
end

-- How many are in each state, as a bar and in words.
local function states(counts)
  local bar, legend = {}, {}
  for _, state in ipairs(STATES) do
    local n = counts.states[state]
    if n > 0 then
      bar[#bar + 1] = ('<i style="flex:%d;background:var(--%s)"></i>'):format(n, state)
      legend[#legend + 1] = fill('<li class="s-$state">$n $state</li>', { state = state, n = n })
    end
  end
  return ('<div class="bar" aria-hidden="true">%s</div><ul class="legend">%s</ul>'):format(table.concat(bar),
    table.concat(legend))
end

local function summary(report)
  local c = report.counts
  local tiles = { tile(c.all, c.all == 1 and "run" or "runs"), tile(c.states.done, "done") }
  if c.states.failed > 0 then tiles[#tiles + 1] = tile(c.states.failed, "failed") end
  if c.states.running + c.states.queued > 0 then
    tiles[#tiles + 1] = tile(c.states.running + c.states.queued, "still to come")
  end
  tiles[#tiles + 1] = tile(text_table.duration(c.seconds), "computed in all")
  local only = #report.sweeps == 1 and report.sweeps[1]
  if only and only.top then
    tiles[#tiles + 1] = tile(text_table.number(require "lip.runs.field".number(
      require "lip.runs.field".get(only.top, only.goal)), only.goal), (only.better and "largest " or "smallest ") .. only.goal)
  elseif #report.sweeps > 1 then
    tiles[#tiles + 1] = tile(#report.sweeps, "sweeps")
  end
  return '<section id="summary" aria-label="Summary"><ul class="tiles">' .. table.concat(tiles) .. "</ul>"
    .. states(c) .. (report.shared > 0 and fill('<p class="soft">$n part of several sweeps and count once.</p>',
      { n = report.shared == 1 and "1 run is" or report.shared .. " runs are" }) or "") .. "</section>\n"
end

-- ---- a sweep ----

local function constants(sweep)
  local parts = {}
  for i, pair in ipairs(sweep.constant) do
    parts[i] = fill("<code>$name = $value</code>", { name = pair[1], value = text_table.plain(pair[2]) })
  end
  if #parts == 0 or #sweep.rows < 2 then return "" end
  return '<p class="soft">The same in all runs: ' .. table.concat(parts, ", ") .. ".</p>"
end

local function intro(sweep)
  local c, names = sweep.counts, {}
  for i, name in ipairs(sweep.varying) do names[i] = fill("<code>$name</code>", { name = name }) end
  local words = plural(c.all, "run")
  if #names > 0 then words = words .. " over " .. table.concat(names, ", ") end
  if sweep.goal then
    words = words .. fill("; the aim is a $size <code>$goal</code>", { size = sweep.better and "large" or "small",
      goal = sweep.goal })
  end
  if c.first then words = words .. escape(("; begun %s"):format(text_table.date(c.first))) end
  return "<p>" .. words .. ".</p>"
end

local function figures(sweep)
  local parts = {}
  for _, f in ipairs(sweep.figures) do
    local picture = f.svg
    if f.image then
      picture = fill('<img alt="$caption" src="data:$kind;base64,$data">',
        { caption = f.caption, kind = f.kind, data = html.base64(f.image) })
    end
    picture = picture or fill('<p class="soft">No figure: $message</p>', { message = f.message or "nothing to draw" })
    parts[#parts + 1] = fill("<figure>$$picture<figcaption>$caption</figcaption></figure>",
      { picture = picture, caption = f.caption })
  end
  if #parts == 0 then return "" end
  return '<h3>Figures</h3><div class="figures">' .. table.concat(parts, "\n") .. "</div>"
end

local function link(row)
  return row.id and "#run-" .. row.id or nil
end

local function sweep_section(sweep)
  local out = { fill('<section id="$id"><h2>$name</h2>', { id = anchor(sweep.name), name = sweep.name }), intro(sweep),
    constants(sweep) }
  if sweep.best and #sweep.best > 0 then
    local grouped = sweep.best[1].members ~= nil
    out[#out + 1] = fill("<h3>Best by $goal$$note</h3>", { goal = sweep.goal,
      note = grouped and ' <span class="soft">(mean ± deviation over seeds)</span>' or "" })
    out[#out + 1] = html.table("Best by " .. sweep.goal, sweep.best_columns, sweep.best, link)
    if grouped and sweep.top then
      out[#out + 1] = fill('<p>The best single run is <a href="#run-$id">$sweep/$number</a>.</p>', sweep.top)
    end
  elseif #sweep.done == 0 then
    out[#out + 1] = '<p class="soft">No run is done yet.</p>'
  end
  local p = sweep.pareto
  if p and #p.rows > 1 then
    local title = ("No other run beats these in %s and %s"):format(p.x, p.y) .. (p.parted and ", " .. p.parted or "")
    local limit = table.move(p.rows, 1, math.min(#p.rows, p.parted and 60 or 12), 1, {})
    out[#out + 1] = fill("<h3>$title</h3>", { title = title })
    local columns = { list.column("run", { format = tostring }), list.column(p.x), list.column(p.y) }
    for _, name in ipairs(sweep.varying) do columns[#columns + 1] = list.column("config." .. name) end
    out[#out + 1] = html.table(title, columns, limit, link)
    if #limit < #p.rows then
      out[#out + 1] = fill('<p class="soft">The first $shown of $n.</p>', { shown = #limit, n = #p.rows })
    end
  end
  out[#out + 1] = figures(sweep)
  out[#out + 1] = "</section>\n"
  return table.concat(out, "\n")
end

-- ---- all runs ----

-- Results begin with the largest when they are sorted, settings with the smallest.
local function heads(columns, right, goal)
  local parts = {}
  for i, column in ipairs(columns) do
    local down = right[i] and (column.name == goal or column.name:find "^row%.")
    parts[i] = fill('<th scope="col"$$class$$first><button type="button">$title</button></th>',
      { class = right[i] and ' class="n"' or "", first = down and ' data-first="down"' or "", title = column.title })
  end
  return table.concat(parts)
end

-- A number with all its digits, when the cell shows fewer.
local function exact(v, cell)
  if type(v) ~= "number" then return "" end
  local text = decimal.text(v)
  return text ~= cell and v == v and math.abs(v) < math.huge and ' data-v="' .. text .. '"' or ""
end

local function cell_of(column, record, cell, right)
  if column.name == "run" and not right then -- a name; sorted by its sweep and number
    return ('<td data-s="%d"><a class="run" href="#run-%d">%s</a></td>'):format(record.id, record.id, escape(cell))
  elseif column.name == "run" then
    return ('<td class="n"><a class="run" href="#run-%d">%s</a></td>'):format(record.id, escape(cell))
  elseif column.name == "state" then
    local state = escape(record.state)
    return ('<td data-v="%s"><span class="state s-%s">%s</span></td>'):format(state, state, escape(cell))
  end
  local class = right and ' class="n"' or #cell > 40 and ' class="long"' or ""
  return "<td" .. class .. exact(column.get(record), cell) .. ">" .. escape(cell) .. "</td>"
end

local function rows_of(columns, rows)
  local cells, right = html.cells(columns, rows)
  local out = {}
  for r, record in ipairs(rows) do
    local parts = { ('<tr data-id="%d" data-state="%s">'):format(record.id, escape(record.state)) }
    for i, column in ipairs(columns) do parts[#parts + 1] = cell_of(column, record, cells[i][r], right[i]) end
    parts[#parts + 1] = "</tr>"
    out[r] = table.concat(parts)
  end
  return table.concat(out, "\n"), right
end

local function chips(report)
  local parts = {}
  for _, state in ipairs(STATES) do
    local n = report.states[state]
    if n > 0 and n < #report.rows then
      parts[#parts + 1] = fill('<button type="button" aria-pressed="false" data-state="$state">$state ($n)</button>',
        { state = state, n = n })
    end
  end
  return table.concat(parts)
end

local function run_table(report, context)
  local goal = #report.sweeps == 1 and report.sweeps[1].goal or nil
  local columns = list.columns(report.rows, goal)
  local has_state = false
  for _, column in ipairs(columns) do
    if column.name == "message" then column.max = 80 end
    has_state = has_state or column.name == "state"
  end
  if not has_state then table.insert(columns, 2, list.column "state") end
  local body, right = rows_of(columns, report.rows)
  return fill([[
<section id="table"><h2>All runs</h2>
<p>A run opens with all that is known of it and the command that does the same again,
<code>lipwb reproduce RUN --store $store</code>.</p>
<div class="tools" id="tools" hidden>
<label><span>Filter: words, or <code>column&lt;value</code> (also = != &lt;= &gt; &gt;=)</span>
<input type="search" id="search" autocomplete="off" spellcheck="false"></label>
<div class="chips" role="group" aria-label="States">$$chips</div></div>
<p class="soft" id="count" role="status">$n</p>
<div class="scroll" tabindex="0" role="region" aria-label="All runs"><table id="runs"><caption>All runs</caption>
<thead><tr>$$heads</tr></thead><tbody>
$$body
</tbody></table></div>
<p><button type="button" class="button" id="more" hidden>Show all</button></p></section>
]], { store = shell.word(context.path), chips = chips(report), n = plural(#report.rows, "run"),
    heads = heads(columns, right, goal), body = body })
end

-- ---- provenance ----

local function facts_of(t)
  local flat, rows = show.flat(t), {}
  for name, value in next, flat do rows[#rows + 1] = { name, text_table.plain(value) } end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  return html.list(rows)
end

local MAX_SHOWN = 20

local function provenance_section(report)
  local out, shown = { '<section id="provenance"><h2>Provenance</h2>' }, 0
  for _, p in ipairs(report.provenance.distinct) do
    shown = shown + 1
    if shown <= MAX_SHOWN then
      out[#out + 1] = fill("<details$$open><summary>$n</summary>$$facts</details>", { n = plural(p.n, "run"),
        open = shown == 1 and " open" or "", facts = facts_of(p.facts) })
    end
  end
  if shown == 0 then out[#out + 1] = '<p class="soft">Nothing is known yet.</p>' end
  if shown > MAX_SHOWN then
    out[#out + 1] = fill('<p class="soft">And $n more.</p>', { n = plural(shown - MAX_SHOWN, "kind") })
  end
  out[#out + 1] = "</section>\n"
  return table.concat(out, "\n")
end

-- ---- what the script reads ----

local function about(record)
  local parts = {}
  if record.exit and record.exit ~= 0 then parts[#parts + 1] = "exit status " .. record.exit end
  if record.signal then parts[#parts + 1] = "signal " .. record.signal end
  if record.started then parts[#parts + 1] = text_table.date(record.started) end
  if record.seconds then parts[#parts + 1] = text_table.duration(record.seconds) end
  if record.memory then parts[#parts + 1] = text_table.bytes(record.memory) end
  if record.seed then parts[#parts + 1] = "seed " .. tostring(record.seed) end
  if (record.attempt or 1) > 1 then parts[#parts + 1] = "attempt " .. record.attempt end
  return table.concat(parts, " · ")
end

-- The settings that nobody chose for the sweep and that are the same in all its runs.
local function shared_settings(report, sweep)
  local common
  for _, record in ipairs(sweep.rows) do
    local settings = report.provenance.settings[record.id]
    if settings and not common then
      common = {}
      for name, value in next, settings do
        if (record.config or {})[name] == nil then common[name] = value end
      end
    elseif settings then
      for name, value in next, common do
        local other = settings[name]
        local same = other == value or (other ~= nil and lip.to_json { other } == lip.to_json { value })
        if not same then common[name] = nil end
      end
    end
  end
  return common or {}
end

-- Each run without the settings that all runs of its sweep share.
local function data_of(report, context)
  local data = { store = shell.word(context.path), config = {}, provenance = {}, runs = {} }
  local shared = {}
  for _, sweep in ipairs(report.sweeps) do
    local common = {}
    for _, pair in ipairs(sweep.constant) do common[pair[1]] = pair[2] end
    shared[sweep.name], data.config[sweep.name] = common, common
  end
  local common_settings = {}
  for _, sweep in ipairs(report.sweeps) do
    common_settings[sweep.name] = shared_settings(report, sweep)
    for name, value in next, common_settings[sweep.name] do shared[sweep.name][name] = value end
  end
  for i, p in ipairs(report.provenance.distinct) do data.provenance[tostring(i)] = show.flat(p.facts) end
  for i, record in ipairs(report.rows) do
    local own, p = {}, report.provenance.of[record.id]
    for name, value in next, record.config or {} do
      if shared[record.sweep][name] == nil then own[name] = value end
    end
    for name, value in next, report.provenance.settings[record.id] or {} do
      local told = (record.config or {})[name] ~= nil or common_settings[record.sweep][name] ~= nil
      if not told then own[name] = value end
    end
    data.runs[i] = { id = record.id, key = record.key, sweep = record.sweep, number = record.number,
      state = record.state, config = own, row = record.row, message = record.message, about = about(record),
      provenance = p and p.place or nil }
  end
  return html.json(lip.to_json(data))
end

-- ---- the whole ----

-- The hash of the script as a content policy names it.
local function policy_hash()
  return html.base64((lip.sha256(script):gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end)))
end

local function links(report)
  local parts = {}
  for i, sweep in ipairs(report.sweeps) do
    if i <= 12 then parts[i] = fill('<a href="#$id">$name</a>', { id = anchor(sweep.name), name = sweep.name }) end
  end
  return table.concat(parts)
end

--- The page as text.
---@param report table of lip.report.collect
---@param context table { path=, title=, now= }
function page.text(report, context)
  local sections = {}
  for i, sweep in ipairs(report.sweeps) do sections[i] = sweep_section(sweep) end
  local dark, light = lip.figures.css(true), lip.figures.css(false)
  return table.concat {
    fill([[
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; ]]
      .. [[script-src 'sha256-$hash'">
<style>$$style
.lip-figure{$$light}
@media (prefers-color-scheme:dark){.lip-figure{$$dark}}
figure .lip-figure{--lip-paper:var(--card)}
</style></head><body>
<a class="skip" href="#table">To the table of runs</a>
<header><h1>$title</h1><p class="soft">$words</p>
<nav aria-label="Parts">$$links<a href="#table">All runs</a><a href="#provenance">Provenance</a></nav></header>
<main>
]], { title = context.title, hash = policy_hash(), style = style, light = light, dark = dark,
      words = ("%s, written %s by lipwb %s"):format(plural(report.counts.all, "run"), text_table.date(context.now),
        lip.version),
      links = links(report) }),
    summary(report), table.concat(sections), run_table(report, context), provenance_section(report),
    [[
</main>
<footer><p>Made by <code>lipwb report</code>; this page loads nothing from anywhere.</p></footer>
<dialog id="run" aria-labelledby="which"><div class="top"><h2 id="which">Run</h2>
<button type="button" class="button" id="close">Close</button></div><div id="inside"></div></dialog>
<script type="application/json" id="data">]], data_of(report, context), "</script>\n<script>", script,
    "</script>\n</body></html>\n" }
end

return page
