-- lip.plot: what gnuplot is told and what comes out: SVG as text is looked into, PNG and PDF by their first bytes.
local lu = require "luaunit"
local lip = require "lip"

local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local has_gnuplot = os.execute "command -v gnuplot >/dev/null 2>&1"

local function read(path)
  local f = assert(io.open(path, "rb"))
  local all = f:read "a"
  f:close()
  return all
end

local function drawn(fig)
  lu.skipIf(not has_gnuplot, "gnuplot is not installed")
  fig.inline = true
  local svg, message = lip.plot(fig)
  lu.assertIsString(svg, message)
  return svg
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

-- Tags open and close in order: what a page would need to hold it.
local function check_nesting(svg)
  local open = {}
  for closing, name, rest in svg:gmatch "<(/?)([%a]+)([^>]*)>" do
    if closing == "/" then
      lu.assertEquals(table.remove(open), name)
    elseif not rest:find "/$" then
      open[#open + 1] = name
    end
  end
  lu.assertEquals(open, {})
end

local tests = {}

function tests.test_kinds_of_files()
  lu.skipIf(not has_gnuplot, "gnuplot is not installed")
  local name = os.tmpname()
  os.remove(name)
  for ending, first in pairs { png = "\137PNG", svg = "<?xml", pdf = "%PDF" } do
    local file = ("%s with a ' quote.%s"):format(name, ending)
    lu.assertTrue(lip.plot { file = file, series = { { y = { 1, 3, 2 }, title = "a" } } })
    lu.assertEquals(read(file):sub(1, #first), first)
    lu.assertNil(io.open(file .. ".part"))
    os.remove(file)
  end
end

function tests.test_what_the_world_refuses()
  local function fails(code, words, fig)
    fig.series = { { y = { 1, 2 } } }
    local ok, message, got = lip.plot(fig)
    lu.assertNil(ok)
    lu.assertStrContains(message, words)
    lu.assertEquals(got, code)
  end
  fails("argument", "must end in", { file = "figure.jpeg" })
  fails("argument", "must end in", { file = "figure" })
  lu.skipIf(not has_gnuplot, "gnuplot is not installed")
  fails("io", "cannot write the figure", { file = "/nowhere/at/all.png" })
  local odd = "|touch odd.svg" -- a name is a name
  fails("io", "cannot write the figure", { file = "/nowhere/" .. odd })
  lu.assertNil(io.open "odd.svg")
end

function tests.test_texts_are_texts()
  local words = [[50 % of <b>"it's" & `date` $HOME \n @x ^2 {/Bold y}]]
  local svg = drawn { title = words, panels = { { title = words, xlabel = words, series = {
    { y = { 1, 2 }, title = words, labels = { words } } }, notes = { { x = 1, y = 1, text = "two\nlines" } } } } }
  check_nesting(svg)
  lu.assertNil(svg:find("<b>", 1, true))
  lu.assertStrContains(svg, "two lines")
  local escaped = [[50 %% of &lt;b&gt;&quot;it&#39;s&quot; &amp; `date` %$HOME \n @x %^2 {/Bold y}]]
  lu.assertEquals(count(svg, escaped), 2) -- aria-label and title
end

function tests.test_series_of_every_style()
  for _, style in ipairs { "lines", "points", "linespoints", "steps", "boxes", "impulses", "dots" } do
    local svg = drawn { series = { { x = { 1, 2, 3 }, y = { 1, 3, 2 }, style = style, title = "the " .. style } } }
    lu.assertStrContains(svg, "the " .. style)
    check_nesting(svg)
  end
end

function tests.test_bands_and_bars()
  local s = { x = { 1, 2, 4 }, y = { 1, 2, 3 }, low = { 0, 1, 2 }, high = { 2, 3, 4 } }
  lu.assertEquals(count(drawn { series = { s } }, "fill%-opacity ?= ?['\"]0%.18"), 1)
  s.low[2], s.high[2] = 0 / 0, 0 / 0 -- each side of the gap is a single point: no area, and no error
  drawn { series = { s } }
  s.low, s.high, s.style = { 0, 1, 2 }, { 2, 3, 4 }, "points"
  local bars = drawn { series = { s } }
  lu.assertEquals(count(bars, "fill%-opacity ?= ?['\"]0%.18"), 0)
  local alone = drawn { series = { { low = { 0, 1 }, high = { 1, 2 }, title = "between" } } }
  lu.assertStrContains(alone, "between")
end

-- What is not finite, or not positive on a logarithmic axis, is left out, down to a level alone; nothing at all is no
-- figure.
function tests.test_what_cannot_be_drawn()
  local inf, nan = math.huge, 0 / 0
  for _, y in ipairs { { 1, nan, 2 }, { inf, 1, -inf }, { nan, nan }, {}, { -1, 0 }, { 5 }, { 3, 3, 3 },
    { 1e300, -1e300 }, { 1e-300, 1e-310 } } do
    for _, log in ipairs { false, true } do
      local svg = drawn { logx = log, logy = log, series = { { y = y, low = y, high = y, title = "odd" } },
        levels = { { y = 1 }, { y = nan } }, verticals = { { x = 0 } }, notes = { { x = 0, y = nan, text = "no" } } }
      lu.assertStrContains(svg, "odd")
      lu.assertNil(svg:lower():find "[^%a]nan[^%a]")
    end
  end
  drawn { levels = { { y = 2, title = "alone" } } }
  for _, y in ipairs { {}, { nan, inf }, { -1, 0 } } do
    local svg, message, code = lip.plot { inline = true, logy = true, series = { { y = y } } }
    lu.assertEquals({ svg, code }, { nil, "argument" })
    lu.assertStrContains(message, "nothing to draw")
  end
  -- one of several panels says it
  local two = { panels = { { series = { { y = { 1, 2 } } } }, { series = { { y = {} } } } } }
  lu.assertStrContains(drawn(two), "no values")
end

-- Values that a logarithmic axis leaves out are counted; a point that is left alone is a point.
function tests.test_what_is_left_out_is_said()
  local svg = drawn { logy = true, xlabel = "epoch", series = { { y = { 1, 0, -2, 5 } } } }
  lu.assertStrContains(svg, "epoch (2 values &lt;= 0 are left out)")
  lu.assertEquals(count(svg, "gpPt6'"), 2 + count(drawn { series = { { y = { 1, 2 } } } }, "gpPt6'"))
  lu.assertStrContains(drawn { logx = true, series = { { x = { 0, 1, 2 }, y = { 1, 2, 3 } } } },
    "1 value &lt;= 0 is left out")
  lu.assertNil(drawn { logy = true, series = { { y = { 1, 2 } } } }:find "left out")
end

-- The length of a box is its number.
function tests.test_boxes_begin_at_0()
  local function labels(fig)
    local seen = {}
    for text in drawn(fig):gmatch "<text>%s*(.-)%s*</text>" do seen[text] = true end
    return seen
  end
  local boxes = { { x = { 11, 12, 13 }, y = { 97, 98, 99 }, style = "boxes" } }
  lu.assertTrue(labels { series = boxes }["0"])
  lu.assertTrue(labels { series = { { x = { 11, 12, 13 }, y = { -97, -98, -99 }, style = "boxes" } } }["0"])
  lu.assertNil(labels { series = boxes, yrange = { 96, 100 } }["0"])
  lu.assertNil(labels { series = { { x = { 11, 12, 13 }, y = { 97, 98, 99 } } } }["0"])
end

-- No point is drawn at size 0: renderers refuse a matrix without an inverse.
function tests.test_nothing_is_scaled_to_nothing()
  local svg = drawn { levels = { { y = 2, title = "level" } }, verticals = { { x = 1 } },
    series = { { y = { 1, 2 }, style = "linespoints" },
      { y = { 1, 2 }, low = { 0, 1 }, high = { 2, 3 }, style = "points" } } }
  lu.assertNil(svg:find "scale%(0%.0*%)")
end

-- A line with a gap is drawn in two pieces.
function tests.test_gaps()
  local function pieces(y)
    local plot = drawn { key = false, series = { { y = y } } }
    local path = plot:match "stroke='var%(%-%-lip%-1,#0072b2%)'%s+d='([^']*)'" or ""
    return count(plot, "stroke='var%(%-%-lip%-1,#0072b2%)'"), count(path, "M")
  end
  local _, whole = pieces { 1, 2, 3, 4, 5 }
  local n, first = pieces { 1, 2, 0 / 0, 4, 5 }
  lu.assertEquals(whole, 1)
  lu.assertTrue(n > 1 or first > 1)
end

function tests.test_panels_stand_in_a_grid()
  local panels = {}
  for k = 1, 5 do panels[k] = { title = "panel " .. k, series = { { y = { k, 2 } } } } end
  local function places(columns)
    local svg, at = drawn { panels = panels, columns = columns, width = 1000, height = 1000 }, {}
    for x, y, k in svg:gmatch "translate%(([%d.]+),([%d.]+)%)[^\n]*\n%s*<text>[^\n]-panel (%d)" do
      at[tonumber(k)] = { tonumber(x), tonumber(y) }
    end
    lu.assertEquals(#at, 5)
    return at
  end
  local one, two = places(1), places(2)
  for k = 2, 5 do lu.assertTrue(one[k][2] > one[k - 1][2] + 100) end
  lu.assertAlmostEquals(two[1][2], two[2][2], 1)
  lu.assertTrue(two[2][1] > two[1][1] + 300)
  lu.assertTrue(two[3][2] > two[1][2] + 200)
end

function tests.test_images()
  local signed = { pixels = { { -2, 0 }, { 1, 2 } }, signed = true, title = "difference" }
  local svg = drawn { images = { { lip.rand(1, { 28, 28 }), signed }, { { pixels = lip.rand(2, { 3, 8, 8 }) } } } }
  lu.assertEquals(count(svg, "data:image/png;base64"), 1)
  lu.assertStrContains(svg, "image-rendering:pixelated")
  lu.assertStrContains(svg, "difference")
  local image = require "lip.plot.image"
  local rows = image.rows { images = { { signed, { pixels = { { 0, 0.5, 1, 7, 0 / 0 } } } } } }
  lu.assertEquals({ rows[1][1].rgb(1, 2) }, { 255, 255, 255 })
  lu.assertEquals({ rows[1][1].rgb(1, 1) }, { 0, 90, 181 })
  lu.assertEquals({ rows[1][1].rgb(2, 2) }, { 204, 41, 20 })
  local grey = {}
  for j = 1, 5 do grey[j] = rows[1][2].rgb(1, j) end
  lu.assertEquals(grey, { 0, 128, 255, 255, 0 })
end

function tests.test_inline_for_a_page()
  local fig = { title = "page", series = { { y = { 1, 2 }, title = "a" }, { y = { 2, 1 }, title = "b" } } }
  local svg = drawn(fig)
  lu.assertNil(svg:find "<%?xml")
  lu.assertStrContains(svg, 'class="lip-figure" role="img" aria-label="page"')
  lu.assertStrContains(svg, "<title>page</title>")
  lu.assertStrContains(svg, "var(--lip-1,#0072b2)")
  lu.assertStrContains(svg, "var(--lip-ink,#333333)")
  lu.assertNil(svg:find "rgb%(") -- every colour is a variable or plain
  local ids, other = {}, drawn { series = { { y = { 5, 6, 7 } } } }
  for _, text in ipairs { svg, other } do
    for id in text:gmatch "%sid=['\"]([^'\"]*)" do
      lu.assertNil(ids[id], id .. " stands twice on a page of two figures")
      ids[id] = true
    end
  end
  for target in svg:gmatch "href=['\"]#([^'\"]*)" do lu.assertTrue(ids[target]) end
  lu.assertEquals(drawn(fig), svg) -- the same figure is the same text
end

function tests.test_misuse_names_the_field()
  local function refused(words, fig)
    local ok, message = pcall(lip.plot, fig)
    lu.assertFalse(ok)
    lu.assertStrContains(message, words)
  end
  local s = { { y = { 1, 2 } } }
  refused("series 1 has 1 x and 2 y", { series = { { x = { 1 }, y = { 1, 2 } } } })
  refused("low and high come together", { series = { { y = { 1 }, low = { 1 } } } })
  refused("as many values as y", { series = { { y = { 1 }, low = { 1, 2 }, high = { 1, 2 } } } })
  refused("unknown style 'curve' (known: boxes, dots,", { series = { { y = { 1 }, style = "curve" } } })
  refused("colour is written \"#rrggbb\", got red", { series = { { y = { 1 }, colour = "red" } } })
  refused("level 1: unknown option 'x'", { series = s, levels = { { x = 1 } } })
  refused("key expects words", { series = s, key = "top'; system 'date" })
  refused("columns expects a whole number", { series = s, columns = 0 })
  refused("background expects", { series = s, background = "blue" })
  refused("yrange expects {low, high}", { series = s, yrange = { "a", 1 } })
  refused("width expects a number of pixels", { series = s, width = -1 })
  refused("a figure has no panels", { panels = {} })
  refused("a panel has no series", { panels = { {} } })
  refused("image 1, 1: pixels", { images = { { { 1, 2 } } } })
  refused("1 or 3 channels, got 2", { images = { { lip.zeros(2, 4, 4) } } })
end

function tests.test_misuse_is_reported_where_it_stands()
  local line = debug.getinfo(1, "l").currentline + 1
  local ok, message = pcall(function() lip.plot { series = { { y = { 1 }, style = "curve" } } } end)
  lu.assertFalse(ok)
  lu.assertStrContains(message, ("test_plot.lua:%d: plot: "):format(line))
  lu.assertStrContains(here, "lua")
end

-- The program's own output: images by characters, then gnuplot's text.
function tests.test_terminal()
  lu.skipIf(not has_gnuplot, "gnuplot is not installed")
  local program = assert(io.popen("readlink -f /proc/$PPID/exe")):read "l"
  local code = [[print(lip.plot{panels = {{title = "curve", series = {{y = {1, 2}, low = {0, 1}, high = {2, 3}}}},
    {title = "pixels", images = {{{{0, 1}, {0, 1}}, {pixels = {{1, 1}, {1, 1}}, title = "t"}}}}}})]]
  local pipe = assert(io.popen(("COLUMNS=60 LIPWB_GC_STRESS=0 '%s' -e '%s' 2>&1"):format(program, code)))
  local text = pipe:read "a"
  lu.assertTrue(pipe:close())
  lu.assertStrContains(text, "pixels\n   t\n @ @@\n")
  lu.assertStrContains(text, "curve")
  lu.assertStrContains(text, "true\n")
  for line in text:gmatch "[^\n]+" do lu.assertTrue(utf8.len(line) <= 60) end
end

return tests
