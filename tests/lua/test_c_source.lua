-- Nets as C source: what compilers make of it answers as the net does, within what the net states of float32.
local lu = require "luaunit"
local lip = require "lip"

local merciless = os.getenv "LIPWB_GC_STRESS" == "1"

local strict = "-std=c99 -Wall -Wextra -Werror -pedantic -Wconversion -Wdouble-promotion -Wshadow -Wstrict-prototypes"
local folder = os.tmpname()
os.remove(folder)
assert(os.execute("mkdir " .. folder))

local function D(n) return lip.dense { out = n } end
local function C(t) return lip.conv2d(t) end

-- ---- files and programs ----

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- What a command prints in the folder, errors too, and whether it succeeded.
local function run(command)
  local pipe = assert(io.popen(("cd %s && { %s; } 2>&1"):format(folder, command)))
  local text = pipe:read "a"
  return text, pipe:close()
end

local function must(command)
  local text, ok = run(command)
  lu.assertTrue(ok, command .. ":\n" .. text:sub(1, 3000))
  return text
end

local function has(program) return (os.execute("command -v " .. program .. " >/dev/null 2>&1")) end

local function needs(...)
  for _, program in ipairs { ... } do
    if not has(program) then lu.skip(program .. " is not installed") end
  end
end

-- The numbers of a tensor as they stand in memory.
local function raw(x)
  assert(lip.save_npy(folder .. "/x.npy", x))
  local bytes = read(folder .. "/x.npy")
  return bytes:sub(11 + string.unpack("<I2", bytes, 9))
end

-- Lines of "label radius outputs...", as NAME_test prints them.
local function rows_of(text)
  local rows = {}
  for line in text:gmatch "[^\n]+" do
    local row = {}
    for word in line:gmatch "%S+" do row[#row + 1] = assert(tonumber(word), "no number: " .. word) end
    rows[#rows + 1] = row
  end
  return rows
end

-- Both are float32 runs of the same net: each may be off by what it states. Labels differ only where that explains it.
local function compare(net, x, rows, what)
  local z, label = net:forward(x), net:predict(x)
  local B = z:shape()[1]
  local n = z:size() // B
  z = z:reshape { B, n }
  lu.assertEquals(#rows, B, what)
  local norm = tonumber(net:info().norm:match "^%d") or math.huge
  local proved = net:certify(x, label).radii
  for i = 1, B do
    lu.assertTrue(rows[i][2] <= proved[i], ("%s: radius of row %d: %.9g, above %.17g"):format(what, i, rows[i][2], proved[i]))
    local size = x[i]:norm(norm)
    local off = 2 * net:deviation(size) + 1e-8
    local close = math.huge
    for j = 1, n do
      local gap = math.abs(rows[i][j + 2] - z[i][j])
      lu.assertTrue(gap <= off + 1e-8 * math.abs(z[i][j]), ("%s: row %d, output %d: %g, not %g"):format(what, i, j, rows[i][j + 2], z[i][j]))
      lu.assertTrue(gap <= 1e-4 * (1 + math.abs(z[i][j])), ("%s: row %d, output %d: %g is far from %g"):format(what, i, j, rows[i][j + 2], z[i][j]))
      for k = 1, n do
        if k ~= j then close = math.min(close, math.abs(z[i][j] - z[i][k])) end
      end
      if n == 1 then close = math.abs(z[i][1]) end
    end
    if rows[i][1] ~= label[i] then lu.assertTrue(close <= 2 * off, what .. ": label of row " .. i) end
  end
end

-- ---- nets ----

local nets = {
  dense = function() return 5, D(7), D(3) end,
  conv2d = function()
    return { 2, 5, 4 }, C { channels = 4, kernel = 3, padding = 1, stride = 2, groups = 2 }, lip.relu {}, C { channels = 6, kernel = 2, dilation = 1, padding = 1 }, lip.flatten {}, D(3)
  end,
  conv1d = function() return { 2, 8 }, lip.conv1d { channels = 3, kernel = 3, padding = 1, dilation = 2 }, lip.relu {}, lip.flatten {}, D(3) end,
  relu = function() return 5, D(6), lip.relu {}, D(1) end,
  leaky_relu = function() return 5, lip.leaky_relu { slope = 0.3 }, D(4), lip.leaky_relu { slope = 1.5 }, D(3) end,
  abs = function() return 5, D(6), lip.abs {}, D(3) end,
  tanh = function() return 5, D(6), lip.scale { factor = 3 }, lip.tanh {}, D(3) end,
  sigmoid = function() return 5, D(6), lip.sigmoid {}, D(3) end,
  softplus = function() return 5, D(6), lip.softplus { beta = 3 }, D(3) end,
  maxmin = function() return { 4, 2, 2 }, C { channels = 4, kernel = 2 }, lip.maxmin {}, lip.flatten {}, D(4), lip.maxmin {}, D(3) end,
  groupsort = function() return 5, D(6), lip.groupsort { size = 3 }, D(3) end,
  fullsort = function() return { 5, 2, 2 }, lip.fullsort {}, lip.flatten {}, D(3), lip.fullsort {} end,
  householder = function() return 4, D(4), lip.householder {}, D(3) end,
  linf_dist = function() return 4, lip.linf_dist { out = 4 }, D(3) end,
  sort_neuron = function() return 4, lip.sort_neuron { out = 4 }, D(3) end,
  flatten = function() return { 1, 2, 3 }, lip.flatten {} end,
  space_to_depth = function() return { 1, 4, 4 }, lip.space_to_depth { block = 2 }, lip.relu {}, lip.flatten {}, D(3) end,
  depth_to_space = function() return { 4, 2, 2 }, lip.depth_to_space { block = 2 }, lip.abs {}, lip.flatten {}, D(3) end,
  shift = function() return { 4, 3, 2 }, lip.shift {}, lip.relu {}, lip.flatten {}, D(3) end,
  pad = function() return 4, lip.pad { channels = 2 }, D(4), lip.relu {}, D(3) end,
  select = function() return 6, lip.select { channels = 4 }, D(4), lip.relu {}, D(3) end,
  dropout = function() return 5, D(6), lip.dropout {}, lip.relu {}, D(3) end,
  avg_pool2d = function() return { 2, 5, 5 }, C { channels = 2, kernel = 2 }, lip.avg_pool2d { kernel = 3, stride = 1, padding = 1 }, lip.flatten {}, D(3) end,
  global_avg_pool = function() return { 2, 4, 3 }, C { channels = 4, kernel = 2 }, lip.global_avg_pool {}, D(3) end,
  max_pool2d = function() return { 1, 5, 5 }, C { channels = 2, kernel = 2 }, lip.max_pool2d { kernel = 2, stride = 1, padding = 1 }, lip.flatten {}, D(3) end,
  l2_pool2d = function() return { 2, 4, 4 }, lip.l2_pool2d { kernel = 3, stride = 1, padding = 1 }, lip.flatten {}, D(3) end,
  scale = function() return 5, lip.scale { factor = 3, mean = 0.25 }, D(6), lip.relu {}, D(3) end,
  standardise = function() return { 3, 2, 2 }, lip.standardise { mean = { 0.3, 0.5, 0.1 }, std = { 0.5, 0.25, 2 } }, lip.flatten {}, D(3) end,
  centre = function() return 5, D(6), lip.centre {}, lip.relu {}, D(3) end,
  batch_norm = function() return { 2, 3, 3 }, C { channels = 4, kernel = 2 }, lip.batch_norm {}, lip.relu {}, lip.flatten {}, D(3) end,
  residual = function() return 5, D(5), lip.residual { D(6), lip.relu {}, D(5) }, lip.residual { mode = "add", D(5), lip.abs {} }, D(3) end,
  concat = function() return 5, lip.concat { lip.chain { D(4), lip.relu {} }, lip.chain {}, lip.chain { D(2), lip.maxmin {} } }, D(3) end,
  sum = function() return 5, lip.sum { lip.chain { D(4), lip.relu {}, D(5) }, lip.chain {}, weights = { 0.5, -2 } }, lip.relu {}, D(3) end,
  anchor = function() return 4, lip.anchor { D(4) }, D(3) end,
  sll = function() return 5, lip.sll { hidden = 4 }, lip.sll {}, D(3) end,
  cpl = function() return 5, lip.cpl { activation = "softplus" }, lip.cpl { hidden = 7 }, D(3) end,
  sandwich = function() return 5, lip.sandwich { out = 6 }, lip.sandwich { out = 4, activation = "tanh" }, lip.sandwich { out = 3, activation = "none" } end,
  chain = function() return 5, lip.chain { D(6), lip.relu {} }, D(3) end,
}

-- The same in other norms, for their radii.
local norms = { "1", "inf", "1->inf" }
for i, norm in ipairs(norms) do
  nets["norm_" .. i] = function() return 5, D(6), lip.maxmin {}, D(i < 3 and 4 or 1) end
end

local function built(kind, seed)
  local parts = { nets[kind]() }
  local norm = (kind == "linf_dist" or kind == "sort_neuron") and "inf" or norms[tonumber(kind:match "norm_(%d)")] or "2"
  local spec = { input = parts[1], norm = norm, budget = math.huge, init = "he", seed = seed }
  for i = 2, #parts do spec[#spec + 1] = parts[i] end
  local net, n = lip.net(spec), 1
  for _, d in ipairs(type(parts[1]) == "table" and parts[1] or { parts[1] }) do n = n * d end
  for _, p in ipairs(net:parameters()) do -- biases, means and variances that are not 0 and 1
    if p.name:find "running" or p.name:find "gamma" or p.name:find "bias" then p.value:add_(0.3) end
  end
  local x = lip.randn(lip.rng(seed), 12, n):mul_(2)
  return net, x
end

-- The source of a program that runs several exported nets on their files: one compile for all.
local function program(names)
  local text = { "#include <stdio.h>\n" }
  for _, name in ipairs(names) do
    text[#text + 1] = ('#include "%s.c"\n'):format(name)
  end
  for _, name in ipairs(names) do
    text[#text + 1] = ([[
static int show_@(void)
{
  static @_scratch s;
  static float x[$_N];
  static float y[$_M];
  size_t j;
  FILE *f = fopen("@.raw", "rb");
  printf("= @ %d\n", @_selftest(&s));
  if (f == NULL) {
    return 1;
  }
  while (fread(x, sizeof x[0], $_N, f) == $_N) {
    (void)@_run(x, y, &s);
    printf("%d %.9g", @_label(y), (double)@_radius(x, y));
    for (j = 0U; j < $_M; j++) {
      printf(" %.9g", (double)y[j]);
    }
    printf("\n");
  }
  return fclose(f);
}
]]):gsub("[@$]", { ["@"] = name, ["$"] = name:upper() })
  end
  text[#text + 1] = "int main(void)\n{\n  int bad = 0;\n"
  for _, name in ipairs(names) do text[#text + 1] = ("  bad |= show_%s();\n"):format(name) end
  text[#text + 1] = "  return bad;\n}\n"
  return table.concat(text)
end

-- Exports those of the kinds that can be; the others are refused with their names. {name, ...}, {name = {net, x}}
local function export_all(kinds)
  local names, made = {}, {}
  for i, kind in ipairs(kinds) do
    local net, x = built(kind, i)
    local name = "k_" .. kind
    local ok, result, message = pcall(net.export, net, { c = folder, name = name })
    if ok and result then
      write(("%s/%s.raw"):format(folder, name), raw(x))
      names[#names + 1] = name
      made[name] = { net, x }
    else
      lu.assertStrContains(ok and message or result, kind)
    end
  end
  return names, made
end

local checked = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=all" -- no step reads or writes beside its values
local flags_of = { cc = { "-O3 -ffp-contract=fast -march=native", checked }, clang = { "-O2 -ffp-contract=fast" } }

-- ---- tests ----

local tests = {}

function tests.test_every_kind_is_written_or_refused()
  needs "cc"
  local kinds = {}
  for i, row in ipairs(lip.layers()) do
    lu.assertNotNil(nets[row.name], "a net with " .. row.name)
    if not merciless or i % 8 == 1 then kinds[#kinds + 1] = row.name end
  end
  for i = 1, #norms do kinds[#kinds + 1] = "norm_" .. i end
  local names, made = export_all(kinds)
  print(("%d of %d kinds are written"):format(#names - #norms, #kinds - #norms))
  lu.assertTrue(#names > 0)
  write(folder .. "/all.c", program(names))
  for compiler, list in pairs(flags_of) do
    for _, flags in ipairs(has(compiler) and list or {}) do
      local said, ok = run(("%s %s %s all.c -o all -lm"):format(compiler, strict, flags))
      if not ok and flags == checked and said:find "cannot find" then
        print "skipped: this compiler has no sanitizers"
        break
      end
      lu.assertTrue(ok, said)
      said = must "./all"
      local seen = 0
      for name, fault, text in said:gmatch "= (%S+) (%d+)\n([^=]*)" do
        lu.assertEquals(fault, "0", ("%s: self-test, %s %s"):format(name, compiler, flags))
        compare(made[name][1], made[name][2], rows_of(text), ("%s, %s %s"):format(name, compiler, flags))
        seen = seen + 1
      end
      lu.assertEquals(seen, #names)
    end
    if not has(compiler) then print("skipped: " .. compiler .. " is not installed") end
  end
end

local function small(options)
  local net = lip.net { input = { 7 }, norm = 2, budget = 4, seed = 1, D(9), lip.relu {}, D(5) }
  local all = { c = folder, name = "small" }
  for k, v in pairs(options or {}) do all[k] = v end
  return net, net:export(all)
end

function tests.test_what_is_written()
  local net = small()
  local header, source = read(folder .. "/small.h"), read(folder .. "/small.c")
  lu.assertStrContains(header, "#define SMALL_N 7U")
  lu.assertStrContains(header, "#define SMALL_M 5U")
  lu.assertStrContains(header, '#define SMALL_NORM "2"')
  lu.assertStrContains(header, "float room[9U];")
  for _, word in ipairs { "malloc", "restrict", "<stdio.h>", "<math.h>", "<string.h>" } do lu.assertNotStrContains(source, word) end
  local hash = header:match 'SHA256[^"]*"(%x+)"'
  lu.assertEquals(#hash, 64)
  net:parameters()[1].value:mul_(2)
  lu.assertTrue(net:export { c = folder, name = "small" })
  lu.assertNotEquals(read(folder .. "/small.h"):match 'SHA256[^"]*"(%x+)"', hash)
end

function tests.test_the_program_beside_it()
  needs "cc"
  local net = small { inputs = lip.ones(2, 7) }
  local x = lip.randn(lip.rng(3), 20, 7)
  write(folder .. "/x.raw", raw(x))
  local said = must(("cc %s -O2 small.c small_test.c -o small && ./small"):format(strict))
  lu.assertStrContains(said, "self-test passed")
  compare(net, x, rows_of(must "./small x.raw"), "small")
end

-- Constants of a certificate file are worked out again, and make radii larger; files that speak of something else are refused.
function tests.test_a_certificate()
  needs "cc"
  local function radii(certificate)
    local net = lip.net { input = { 6 }, norm = 2, seed = 4, D(12), lip.relu {}, D(12), lip.relu {}, D(4) }
    local x = lip.randn(lip.rng(5), 30, 6)
    local proved = net:certify(x, net:predict(x), certificate and { method = "multiplier" } or nil).radii
    if certificate then assert(net:certificate(folder .. "/net.cert", x, net:predict(x), { method = "multiplier" })) end
    lu.assertTrue(net:export { c = folder, name = "proved", certificate = certificate and folder .. "/net.cert" or nil })
    write(folder .. "/x.raw", raw(x))
    must(("cc %s -O2 proved.c proved_test.c -o proved && ./proved"):format(strict))
    local rows, sum = rows_of(must "./proved x.raw"), 0
    for i, row in ipairs(rows) do
      lu.assertTrue(row[2] <= proved[i] and row[2] >= 0.99 * proved[i] - 1e-4, ("row %d: %.9g, %.9g"):format(i, row[2], proved[i]))
      sum = sum + row[2]
    end
    return sum
  end
  lu.assertTrue(radii(true) > 1.05 * radii(false))
  lu.assertNotStrContains(read(folder .. "/proved.h"), "CERTIFICATE")
  radii(true)
  lu.assertStrMatches(read(folder .. "/proved.h"), '.*BOUND "multiplier".*CERTIFICATE_SHA256 \\\n  "%x+".*')
  local function refused(options, why)
    options.c, options.name = folder, "other"
    local result, message, code = small():export(options)
    lu.assertNil(result)
    lu.assertStrContains(message, why)
    lu.assertNil(io.open(folder .. "/other.c"))
    return code
  end
  lu.assertEquals(refused({ certificate = folder .. "/net.cert" }, "fit the net"), "format")
  lu.assertEquals(refused({ certificate = folder .. "/small.c" }, "small.c"), "format")
  lu.assertEquals(refused({ certificate = folder .. "/none" }, "none"), "not_found")
  local net = small()
  assert(net:certificate(folder .. "/inf.cert", lip.ones(1, 7), { 0 }, { p = "inf" }))
  lu.assertEquals(refused({ certificate = folder .. "/inf.cert" }, "norm inf"), "format")
end

-- What is no number has no label and no radius; what overflows is said by run.
function tests.test_nan_and_infinity()
  needs "cc"
  local net = small()
  local x = lip.ones(4, 7)
  x[2][3], x[3][1], x[4][7] = 0 / 0, math.huge, 3e38
  net:parameters()[1].value:mul_(100)
  lu.assertTrue(net:export { c = folder, name = "small" })
  write(folder .. "/x.raw", raw(x))
  must(("cc %s -O2 small.c small_test.c -o small"):format(strict))
  local label, i = net:predict(x), 0
  for line in must("./small x.raw"):gmatch "[^\n]+" do
    i = i + 1
    local got, radius, rest = line:match "^(%-?%d+) (%S+) (.*)$"
    lu.assertEquals(tonumber(got), rest:find "nan" and -1 or label[i], line)
    if i == 1 then lu.assertTrue(tonumber(radius) > 0) else lu.assertEquals(radius, "0") end
  end
  lu.assertEquals(i, 4)
end

-- Inputs of which few are not zero are rounded less, in lipwb as in the program: the radii are close, and never above.
function tests.test_zeros_among_the_inputs()
  needs "cc"
  local x = {}
  for i = 1, 40 do
    x[i] = {}
    for j = 1, 400 do x[i][j] = (j * 7 + i) % 400 < i and (i + j) % 9 - 4 or 0 end
  end
  x = lip.tensor(x)
  local many = {
    lip.net { input = 400, norm = 2, seed = 3, D(5) },
    lip.net { input = 400, norm = "inf", seed = 3, D(20), lip.maxmin {}, D(1) },
    lip.net { input = 400, norm = 1, seed = 3, D(20), lip.relu {}, D(20), lip.abs {}, D(3) },
  }
  local least = { 0.997, 0.975, 0.97 } -- 0.994, 0.961, 0.952 if all inputs counted
  write(folder .. "/x.raw", raw(x))
  for k, net in ipairs(many) do
    lu.assertTrue(net:export { c = folder, name = "small" })
    must(("cc %s -O2 small.c small_test.c -o small"):format(strict))
    must "./small"
    local rows, proved, sum, best = rows_of(must "./small x.raw"), net:certify(x, net:predict(x)).radii, 0, 0
    compare(net, x, rows, "net " .. k)
    for i = 1, #proved do sum, best = sum + rows[i][2], best + proved[i] end
    lu.assertTrue(best > 0)
    lu.assertTrue(sum > least[k] * best, ("net %d: radii: %g of %g"):format(k, sum, best))
  end
end

-- A program whose weights are others, or whose floats are, is found out.
function tests.test_the_self_test_can_fail()
  needs "cc"
  small()
  local source = read(folder .. "/small.c")
  write(folder .. "/small.c", (source:gsub("(small_w3%[45U%] = {)(.-})", function(head, table) return head .. table:gsub("p[%-+]%d+", "p+4") end)))
  must(("cc %s -O2 small.c small_test.c -o small"):format(strict))
  local said, ok = run "./small"
  lu.assertNil(ok)
  lu.assertStrContains(said, "self-test FAILED")
end

function tests.test_arithmetic_that_nothing_is_proved_for_is_refused()
  needs "cc"
  small()
  for flags, why in pairs { ["-ffast-math"] = "not with -ffast-math", ["-Ofast"] = "not with -ffast-math",
    ["-ffinite-math-only"] = "not with -ffinite-math-only" } do
    local said, ok = run(("cc -std=c99 %s -c small.c -o small.o"):format(flags))
    lu.assertNil(ok, flags)
    lu.assertStrContains(said, why)
  end
  if must "uname -m":find "x86_64" then
    local said, ok = run "cc -std=c99 -mfpmath=387 -c small.c -o small.o"
    lu.assertNil(ok)
    lu.assertStrContains(said, "another precision")
  end
end

function tests.test_names_and_options()
  local net = lip.net { input = { 2 }, norm = 2, D(2) }
  for _, name in ipairs { "", "9lives", "a-b", "int", "a b", ("n"):rep(21), "../x", "ä", "math", "Math" } do
    lu.assertErrorMsgContains("name", net.export, net, { c = folder, name = name })
  end
  lu.assertErrorMsgContains("name", net.export, net, { c = folder })
  lu.assertErrorMsgContains("name", net.export, net, { c = folder, name = 3 })
  lu.assertErrorMsgContains("quantised", net.export, net, { c = folder, name = "a", weights = "int8" })
  lu.assertErrorMsgContains("inputs", net.export, net, { c = folder, name = "a", inputs = lip.ones(2, 3) })
  lu.assertErrorMsgContains("inputs", net.export, net, { c = folder, name = "a", inputs = 3 })
  local result, message, code = net:export { c = folder .. "/no/where", name = "a" }
  lu.assertNil(result)
  lu.assertStrContains(message, "no/where")
  lu.assertEquals(code, "not_found")
  lu.assertTrue(net:export { c = folder .. "/new", name = ("n"):rep(20) })
  net:parameters()[1].value:fill(0 / 0)
  result, message, code = net:export { c = folder, name = "nan" }
  lu.assertNil(result)
  lu.assertEquals(code, "not_finite")
  lu.assertStrContains(message, "dense")
  lu.assertNil(io.open(folder .. "/nan.h"))
end

-- The source finds no room, after a header that did: none of the three has changed.
function tests.test_a_full_disk()
  lu.skipIf(lip.process.run { "sh", "-c", "ulimit -f 1" }.exit ~= 0, "no limits here")
  local code = ([[local net = lip.net { input = { %%d }, norm = 2, lip.dense { out = 4 } }
    local ok, message = net:export { c = %q, name = "full" }
    io.stderr:write(ok and "written" or message)]]):format(folder)
  local function export(n_in, limit)
    -- the limit counts blocks of 512 bytes; its signal is ignored
    return lip.process.run({ "sh", "-c", 'trap "" XFSZ; ulimit -f ' .. limit .. '; exec "$0" -e "$1"',
      lip.process.self().program, code:format(n_in) }).errors
  end
  lu.assertEquals(export(3, "unlimited"), "written")
  local before = {}
  for _, name in ipairs { "full.h", "full.c", "full_test.c" } do before[name] = read(folder .. "/" .. name) end
  lu.assertStrContains(export(500, 16), "full.c: cannot write")
  for name, text in pairs(before) do lu.assertEquals(read(folder .. "/" .. name), text, name) end
  lu.assertEquals(export(500, "unlimited"), "written")
  lu.assertNotEquals(read(folder .. "/full.h"), before["full.h"])
  lu.assertNotEquals(read(folder .. "/full.c"), before["full.c"])
end

local avr = [[
#include <avr/io.h>
#include <avr/interrupt.h>
#include <avr/sleep.h>
#include "small.h"
int main(void)
{
  static small_scratch s;
  char text[] = "self-test 0\n";
  const char *c;
  UBRR0 = 8;
  UCSR0B = 1 << TXEN0;
  text[10] = (char)('0' + small_selftest(&s));
  for (c = text; *c != '\0'; c++) {
    while ((UCSR0A & (1 << UDRE0)) == 0) {
    }
    UDR0 = (unsigned char)*c;
  }
  cli();
  sleep_mode();
  return 0;
}
]]

-- Program memory of small processors: every constant is there, and a simulated one passes the self-test.
function tests.test_program_memory()
  needs("avr-gcc", "avr-objdump")
  local net = lip.net { input = { 7 }, norm = 2, seed = 1, D(9), lip.tanh {}, D(6), lip.relu {}, D(5) }
  lu.assertTrue(net:export { c = folder, name = "small", weights = "progmem" })
  must "avr-gcc -std=c99 -mmcu=atmega328p -Os -Wall -Wextra -Werror -pedantic -c small.c -o small.o"
  local bytes = must("avr-objdump -h small.o"):match "progmem%.data%s+(%x+)"
  lu.assertTrue(tonumber(bytes, 16) >= 4 * (7 * 9 + 9 + 9 * 6 + 6 + 6 * 5 + 5 + 3 * 7))
  net = lip.net { input = { 300 }, norm = 2, seed = 1, D(60) }
  lu.assertErrorMsgContains("progmem", function() assert(net:export { c = folder, name = "large", weights = "progmem" }) end)
  if not has "simavr" then lu.skip "compiled, but not run: simavr is not installed" end
  write(folder .. "/avr.c", avr)
  must "avr-gcc -std=c99 -mmcu=atmega328p -Os avr.c small.c -o small.elf -lm"
  lu.assertStrContains(must "timeout 60 simavr -m atmega328p -f 16000000 small.elf", "self-test 0")
end

local start = [[
#include <stdint.h>
extern void _start(void);
static void reset(void)
{
  *(volatile uint32_t *)0xE000ED88U |= 0xFU << 20; /* the floating-point unit is on */
  __asm volatile("dsb\n isb");
  _start();
}
static void fault(void)
{
  for (;;) {
  }
}
__attribute__((section(".vectors"), used)) static const struct {
  uint32_t stack;
  void (*handler[15])(void);
} vectors = {0x20400000U, {reset, fault, fault, fault, fault, fault}};
]]

local script = [[
ENTRY(_start)
MEMORY { code (rx) : ORIGIN = 0, LENGTH = 4M
  ram (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) KEEP(*(.init)) KEEP(*(.fini)) *(.init_array*) *(.fini_array*) } > code
  .ARM.exidx : { *(.ARM.exidx*) } > code
  .data : { *(.data*) } > ram
  .bss : { __bss_start__ = .; *(.bss*) *(COMMON) __bss_end__ = .; } > ram
  end = .; __end__ = .;
}
]]

local function on_a_board()
  return has "arm-none-eabi-gcc" and has "qemu-system-arm" and
    run "echo 'int main(void){return 0;}' > t.c && arm-none-eabi-gcc -mcpu=cortex-m4 --specs=rdimon.specs t.c -o t.elf":find "^$" ~= nil
end

local function for_the_board(files)
  write(folder .. "/start.c", start)
  write(folder .. "/board.ld", script)
  must("arm-none-eabi-gcc -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16 -O2 -ffp-contract=fast --specs=rdimon.specs " ..
    strict .. " -Wno-pedantic -T board.ld start.c " .. files .. " -o all.elf -lm")
end

local function on_the_board(semihosting)
  return must("timeout 300 qemu-system-arm -M mps2-an386 -nographic " .. semihosting .. " -kernel all.elf </dev/null")
end

function tests.test_a_microcontroller()
  needs("arm-none-eabi-gcc", "qemu-system-arm")
  if not on_a_board() then lu.skip "no newlib for arm-none-eabi-gcc" end
  local names, made = export_all(merciless and { "dense" } or { "dense", "conv2d", "tanh", "sigmoid", "softplus", "l2_pool2d", "batch_norm", "concat" })
  write(folder .. "/all.c", program(names))
  for_the_board "all.c"
  local said = on_the_board "-semihosting"
  local seen = 0
  for name, fault, text in said:gmatch "= (%S+) (%d+)\r?\n([^=]*)" do
    lu.assertEquals(fault, "0", name .. ": self-test")
    compare(made[name][1], made[name][2], rows_of(text), name .. ", Cortex-M4")
    seen = seen + 1
  end
  lu.assertEquals(seen, #names)
end

-- Advisory rules that are not met, and why: what is constant stands at file scope, beside its like (8.9); what the header
-- offers is for other files (8.7), and its macros too (2.5); a number and its bits share a union (19.2).
local accepted = { ["8.9"] = true, ["8.7"] = true, ["2.5"] = true, ["19.2"] = true }

function tests.test_misra()
  needs "cppcheck"
  local kinds = { "dense", "conv2d", "relu", "leaky_relu", "abs", "tanh", "sigmoid", "softplus", "maxmin", "groupsort", "batch_norm",
    "max_pool2d", "avg_pool2d", "l2_pool2d", "shift", "concat", "sum", "anchor" } -- every function that there is
  local names = export_all(merciless and { "dense" } or kinds)
  local list = table.concat(names, ".c ") .. ".c"
  local said = must("cppcheck --std=c99 --enable=style --addon=misra --quiet --template='{id} {file}:{line}' " ..
    "-DFLT_RADIX=2 -DFLT_MANT_DIG=24 -DFLT_MAX_EXP=128 -DFLT_MIN_EXP=-125 -DFLT_EVAL_METHOD=0 -DDBL_MANT_DIG=53 -DDBL_MAX_EXP=1024 -D'NULL=((void *)0)' " .. list)
  local found, checked = {}, 0
  for rule, where in said:gmatch "misra%-c2012%-(%S+) (%S+)" do
    checked = checked + 1
    if not accepted[rule] then found[#found + 1] = rule .. " " .. where end
  end
  lu.assertTrue(checked > 0, said)
  lu.assertEquals(found, {})
end

function tests.test_mnist()
  needs "cc"
  if not os.getenv "LIPWB_DATA" then lu.skip "LIPWB_DATA does not say where MNIST is" end
  if merciless then lu.skip "an epoch takes minutes under the merciless collector" end
  local train, test = lip.data.mnist()
  if not train then lu.skip("no MNIST: " .. test) end
  local net = lip.net { input = { 1, 28, 28 }, norm = 2, seed = 1, lip.flatten(), D(32), lip.relu {}, D(10) }
  assert(lip.train(net, train, { epochs = 1, batch = 128, opt = lip.optim.adam { lr = 0.003 } }))
  lu.assertTrue(net:export { c = folder, name = "digits" })
  local x = test:batch(1, 10000)
  write(folder .. "/digits.raw", raw(x))
  local label, proved = net:predict(x), net:certify(test).radii
  local function judge(what, text)
    local wrong, rows, sum, best = 0, rows_of(text), 0, 0
    lu.assertEquals(#rows, 10000, what)
    for i, row in ipairs(rows) do
      if row[1] ~= label[i] or row[2] > proved[i] then wrong = wrong + 1 end
      sum, best = sum + row[2], best + proved[i]
    end
    lu.assertEquals(wrong, 0, what)
    lu.assertTrue(sum > 0.998 * best, ("%s: radii: %g of %g"):format(what, sum, best))
  end
  local compilers = { "cc -Os", "cc -O3 -ffp-contract=fast -march=native" }
  if has "clang" then compilers[3] = "clang -O2" end
  for _, compiler in ipairs(compilers) do
    must(("%s %s digits.c digits_test.c -o digits"):format(compiler, strict))
    lu.assertStrContains(must "./digits", "self-test passed")
    judge(compiler, must "./digits digits.raw")
  end
  if not on_a_board() then return print "Cortex-M4: skipped, no arm-none-eabi-gcc with newlib, or no qemu-system-arm" end
  for_the_board "digits.c digits_test.c"
  judge("Cortex-M4", on_the_board "-semihosting-config enable=on,target=native,arg=digits,arg=digits.raw")
end

function tests.test_zz_clean() os.execute("rm -r " .. folder) end

return tests
