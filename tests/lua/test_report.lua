-- `lipwb report`: the text of the page, and the page in a browser (Chromium without a window), narrow and wide, light
-- and dark.
local lu = require "luaunit"
local lip = require "lip"
local html = require "lip.report.html"
local support = require "support_runs"

local outside = require "support_program"
local program, quote = outside.program, outside.quote
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."

local function browser()
  for _, name in ipairs { "chromium", "chromium-browser", "google-chrome", "google-chrome-stable" } do
    if os.execute("command -v " .. name .. " >/dev/null 2>&1") then return name end
  end
end

local TestHtml = {}

function TestHtml.test_escape()
  lu.assertEquals(html.escape "<a href='x'>&\"</a>", "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;")
  lu.assertEquals(html.escape "a\0b\27c\xffd\xc3e", "a\u{FFFD}b\u{FFFD}c\u{FFFD}d\u{FFFD}e")
  lu.assertEquals(html.escape "größer\n\t", "größer\n\t")
  lu.assertEquals(html.escape(12), "12")
end

function TestHtml.test_json_cannot_end_its_element()
  local text = html.json(lip.to_json { "</script><!--", "\u{2028}" })
  lu.assertNil(text:find "<")
  lu.assertEquals(lip.from_json(text), { "</script><!--", "\u{2028}" })
end

-- examples of RFC 4648
function TestHtml.test_base64()
  for bytes, text in pairs { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=",
    foobar = "Zm9vYmFy", ["\xff\n\0"] = "/woA" } do
    lu.assertEquals(html.base64(bytes), text)
  end
end

function TestHtml.test_fill()
  lu.assertEquals(html.fill("<b>$a</b>$$b %1", { a = "<", b = "<i>%1</i>" }), "<b>&lt;</b><i>%1</i> %1")
  lu.assertEquals(html.fill("$a", { a = "$b" }), "$b")
  lu.assertErrorMsgContains("no value for 'c'", html.fill, "$c", {})
end

local TestReport = {}

function TestReport:setUp()
  self.folder = assert(lip.file.temporary())
  self.page = self.folder .. "/report.html"
end

function TestReport:tearDown()
  assert(lip.file.remove_tree(self.folder))
end

function TestReport:run(words)
  local out, err = self.folder .. "/out", self.folder .. "/err"
  local _, _, status = os.execute(("%s report %s >%s 2>%s </dev/null"):format(quote(program), words, quote(out),
    quote(err)))
  return status, assert(lip.file.read(out)), assert(lip.file.read(err))
end

-- The page about the made-up store.
function TestReport:made(seeds, words)
  local path = support.made(self.folder .. "/it's.db", seeds or 1)
  local status, _, err = self:run(("%s -o %s %s"):format(quote(path), quote(self.page), words or ""))
  lu.assertEquals({ status, err }, { 0, "" })
  return assert(lip.file.read(self.page))
end

function TestReport:test_nothing_is_fetched_and_nothing_escapes()
  local text = self:made()
  local _, scripts = text:gsub("<script", "")
  lu.assertEquals(scripts, 2, "the data and the program of the page, nothing of a run's")
  lu.assertEquals(select(2, text:gsub("</script>", "")), 2)
  lu.assertNil(text:find("<b>name</b>", 1, true))
  -- the figure of the best run, as an image in which nothing can run; no file from outside of its folder
  lu.assertEquals(select(2, text:gsub("<img", "")), 1)
  local image = '<img alt="fit.svg of run budgets/%d, the best" src="data:image/svg%+xml;base64,([%w+/=]*)">'
  lu.assertEquals(text:match(image), html.base64(support.figure))
  for _, pattern in ipairs { "<link", "src%s*=%s*[\"']?http", "@import", "url%(", "href=\"http" } do
    lu.assertNil(text:find(pattern), pattern)
  end
  -- addresses only name the language of the figures
  for address in text:gmatch "https?://[^%s\"'<]+" do lu.assertStrContains(address, "http://www.w3.org/") end
  lu.assertStrContains(text, "default-src 'none'")
end

function TestReport:test_what_is_there()
  local text = self:made(3)
  for _, words in ipairs { "budgets", "72 runs", "certified@0.1", "Best by", "Provenance", "prefers-color-scheme",
    "lipwb reproduce RUN --store", "the loss is not finite" } do
    lu.assertStrContains(text, words)
  end
  local data = assert(lip.from_json(text:match '<script type="application/json" id="data">(.-)</script>'))
  lu.assertEquals(#data.runs, 74)
  lu.assertStrContains(data.store, "it'\\''s.db'")
  lu.assertEquals(data.config.budgets, { epochs = 3, widths = { 64, 32 } })
  lu.assertEquals(data.runs[1].row["certified@0.1"], support.row { norm = 1, budget = 0.5, seed = 1 }["certified@0.1"])
  lu.assertEquals(data.provenance[tostring(data.runs[1].provenance)].kernels, "haswell")
end

function TestReport:test_filters_and_failures()
  local text = self:made(1, "--where 'norm = 2' --title 'Only <two>'")
  lu.assertStrContains(text, "<title>Only &lt;two&gt;</title>")
  lu.assertStrContains(text, "8 runs")
  local status, _, err = self:run "--nothing"
  lu.assertEquals(status, 2)
  lu.assertStrContains(err, "Usage")
  status, _, err = self:run(quote(self.folder .. "/nothing.db"))
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "there is no store")
  status, _, err = self:run(quote(self.folder .. "/it's.db") .. " --where 'norm ='")
  lu.assertEquals(status, 2)
  lu.assertStrContains(err, "expected a name")
  lu.assertEquals(self:run(quote(self.folder .. "/it's.db") .. " -o /nonexistent/folder/r.html"), 1)
end

function TestReport:test_an_empty_store()
  local path = self.folder .. "/empty.db"
  assert(require "lip.sweep.store".open(path, { create = true })):close()
  lu.assertEquals(self:run(quote(path) .. " -o " .. quote(self.page)), 0)
  lu.assertStrContains(assert(lip.file.read(self.page)), "0 runs")
end

-- ---- in the browser ----

function TestReport:browse(name, page, words)
  local out, err = self.folder .. "/dom", self.folder .. "/log"
  local command = ("HOME=%s timeout 120 %s --headless --no-sandbox --disable-gpu --enable-logging=stderr "
    .. "--user-data-dir=%s --virtual-time-budget=5000 %s --dump-dom %s >%s 2>%s </dev/null"):format(quote(self.folder),
    name, quote(self.folder .. "/browser"), words, quote("file://" .. page), quote(out), quote(err))
  -- a browser that does not start, or is lost on the way, says nothing about the page
  local ok = os.execute(command) or os.execute(command) or os.execute(command)
  lu.assertTrue(ok, assert(lip.file.read(err)))
  local log = assert(lip.file.read(err))
  for line in log:gmatch "[^\n]+" do lu.assertNil(line:find "CONSOLE", line) end
  return assert(lip.file.read(out))
end

-- A window is never narrower than 500 pixels, a frame is.
local frame = [[<!DOCTYPE html><html><script>
addEventListener("message", e => document.documentElement.setAttribute("data-result", e.data));
</script><body style="margin:0"><iframe src="%s" width="%d" height="800" style="border:0"></iframe></body></html>]]

local function sorted(list, before)
  local copy = table.move(list, 1, #list, 1, {})
  table.sort(copy, function(a, b)
    local x, y = tonumber(a), tonumber(b)
    if x and y then return before(x, y) end
    return (x and 1 or 2) < (y and 1 or 2) -- without a number: last
  end)
  return copy
end

local function check(seen, width, dark)
  lu.assertEquals(seen.errors, {})
  lu.assertEquals({ seen.broken, seen.unlabelled }, { 0, 0 })
  lu.assertEquals(seen.images, { { width = 40, height = 30 } })
  lu.assertEquals(seen.twice, {})
  lu.assertEquals(seen.width, width)
  lu.assertTrue(seen.page <= width, "the page scrolls sideways")
  lu.assertEquals(seen.dark, dark)
  for what, contrast in pairs(seen.contrast) do lu.assertTrue(contrast >= 4.5, what .. ": contrast " .. contrast) end
  lu.assertEquals(seen.all, 26)
  -- sorting, both ways; what has no number stands last
  lu.assertEquals({ seen.down.aria, seen.up.aria }, { "descending", "ascending" })
  lu.assertEquals(#seen.up.order, 26)
  lu.assertEquals(seen.up.order, sorted(seen.up.order, function(a, b) return a < b end))
  lu.assertEquals(seen.down.order, sorted(seen.down.order, function(a, b) return a > b end))
  lu.assertNotEquals(seen.up.order[1], seen.down.order[1])
  lu.assertNil(seen.norm.aria, "only one column is marked")
  lu.assertEquals({ seen.norm.order[1], seen.norm.order[9], seen.norm.order[24], seen.norm.order[26] },
    { "1", "2", "inf", "" })
  -- filters
  lu.assertEquals({ seen.word.rows, seen.less.rows, seen.none.rows, seen.again.rows }, { 24, 3, 0, 26 })
  lu.assertEquals(seen.less.said, "3 of 26 runs")
  lu.assertEquals(seen.odd.said, "0 of 26 runs; no column is called budgt: taken as words")
  table.sort(seen.budgets)
  lu.assertEquals(seen.budgets, { "0.5", "1.0", "2.0" })
  lu.assertEquals(seen.html.rows, 3, "the failed one and the two with a nasty name")
  lu.assertEquals(seen.failed, { rows = 1, pressed = "true", states = { "failed" } })
  -- one run
  lu.assertTrue(seen.open.open and seen.open.inside and seen.open.wide and seen.closed)
  for _, words in ipairs { "budgets/5", "failed", "</script><script>window.broken", "lipwb reproduce", "64, 32",
    "haswell" } do
    lu.assertStrContains(seen.open.text, words)
  end
  lu.assertEquals(seen.linked, { open = true, title = "budgets/7" })
end

function TestReport:test_in_a_browser()
  local name = browser()
  lu.skipIf(not name, "no Chromium is installed")
  local text = self:made()
  local dom = self:browse(name, self.page, "--window-size=1280,1000") -- the page as it is
  lu.assertStrContains(dom, '<div class="tools" id="tools">', false, "the policy of the page lets its script run")
  local driver = assert(lip.file.read(here .. "/report_driver.js"))
  local changed = text:gsub('<meta http%-equiv="Content%-Security%-Policy"[^>]*>', "")
  local start = assert(changed:find("</body></html>", 1, true))
  local driven = self.folder .. "/driven.html"
  assert(lip.file.write(driven, changed:sub(1, start - 1) .. "<script>" .. driver .. "</script></body></html>"))
  for _, way in ipairs { { 1280, false }, { 375, true } } do
    local outer = self.folder .. "/outer.html"
    assert(lip.file.write(outer, frame:format("driven.html", way[1])))
    local result
    for _ = 1, 3 do -- on a busy machine the browser's clock may run out before the frame has loaded
      dom = self:browse(name, outer, ("--window-size=1300,900 --blink-settings=preferredColorScheme=%d")
        :format(way[2] and 0 or 1))
      result = dom:match 'data%-result="(.-)"'
      if result then break end
    end
    lu.assertNotNil(result, "the driver did not come to its end")
    result = result:gsub("&quot;", '"'):gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&amp;", "&")
    local seen = assert(lip.from_json(result))
    check(seen, way[1], way[2])
    if os.execute "command -v gnuplot >/dev/null 2>&1" then
      lu.assertTrue(#seen.figures >= 5)
      for _, f in ipairs(seen.figures) do
        lu.assertTrue(f.width > 200 and f.height > 150 and f.shapes >= 10 and f.texts >= 5, lip.to_json(f))
      end
    end
  end
end

return { TestHtml = TestHtml, TestReport = TestReport }
