-- Data sets, loaders, readers and NPY as seen from Lua; finding known sets, in child processes with their own settings.
local lu = require "luaunit"
local lip = require "lip"

local T = {}

-- ---- helpers ----

local folder

local function path(name) return folder .. "/" .. name end

local function write(name, bytes)
  local file = assert(io.open(path(name), "wb"))
  file:write(bytes)
  file:close()
  return path(name)
end

function T.setUp()
  local pipe = io.popen "mktemp -d /tmp/lip-data-XXXXXX"
  folder = pipe:read "l"
  pipe:close()
end

function T.tearDown()
  os.execute("rm -rf '" .. folder .. "'")
end

-- IDX files of n images 28 x 28: image i is filled with (i * step) % 256, label i is i % 10 (i from 0).
local function idx_images(n, step)
  local parts = { string.pack(">BBBBI4I4I4", 0, 0, 8, 3, n, 28, 28) }
  for i = 0, n - 1 do parts[#parts + 1] = string.char(i * step % 256):rep(784) end
  return table.concat(parts)
end

local function idx_labels(n)
  local parts = { string.pack(">BBBBI4", 0, 0, 8, 1, n) }
  for i = 0, n - 1 do parts[#parts + 1] = string.char(i % 10) end
  return table.concat(parts)
end

local function write_set(where, dotted)
  os.execute("mkdir -p '" .. path(where) .. "'")
  local images, labels = "-images-idx3-ubyte", "-labels-idx1-ubyte"
  if dotted then images, labels = "-images.idx3-ubyte", "-labels.idx1-ubyte" end
  write(where .. "/train" .. images, idx_images(30, 7))
  write(where .. "/train" .. labels, idx_labels(30))
  write(where .. "/t10k" .. images, idx_images(10, 9))
  write(where .. "/t10k" .. labels, idx_labels(10))
end

-- This program itself.
local program
do
  local pipe = io.popen "readlink -f /proc/$PPID/exe"
  program = pipe:read "l"
  pipe:close()
end

-- Output (both streams) of a piece of Lua in a new process with these variables.
local function child(variables, code, options)
  local command = "cd / && env -u LIPWB_DATA -u LIPWB_OFFLINE LIPWB_GC_STRESS=0 "
  for name, value in pairs(variables) do command = command .. name .. "='" .. value .. "' " end
  write("child.lua", 'local lip = require "lip"\n' .. code)
  local pipe = io.popen(("%s '%s' %s '%s' 2>&1"):format(command, program, options or "", path "child.lua"))
  local text = pipe:read "a"
  pipe:close()
  return text
end

local function contains(text, part)
  if not text:find(part, 1, true) then lu.fail(("'%s' is not in: %s"):format(part, text)) end
end

local function fails(code, ds, message, got)
  lu.assertNil(ds)
  lu.assertEquals(got, code)
  lu.assertIsString(message)
  return message
end

-- ---- data sets and batches ----

function T.test_tensors_are_shared()
  local x = lip.tensor { { 1, 2 }, { 3, 4 }, { 5, 6 } }
  local ds = lip.data.tensors(x, { 2, 0, 1 })
  lu.assertEquals(#ds, 3)
  lu.assertEquals(ds:size(), 3)
  lu.assertEquals(ds:info().shape, { 2 })
  lu.assertEquals(ds:info().classes, 3)
  lu.assertEquals(ds:info().bytes, 0)
  x:set(2, 1, 30)
  local bx, by = ds:batch { 2, 1, 2 }
  lu.assertEquals(bx:totable(), { { 30, 4 }, { 1, 2 }, { 30, 4 } })
  lu.assertEquals(by:totable(), { 0, 2, 0 })
  x = nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  lu.assertEquals((ds:batch(3, 3)):totable(), { { 5, 6 } })
  lu.assertEquals(ds:labels():totable(), { 2, 0, 1 })
  lu.assertNil(ds:targets())
end

function T.test_targets()
  local ds = lip.data.tensors(lip.tensor { 1, 2, 3 }, lip.tensor { { 10, 11 }, { 20, 21 }, { 30, 31 } })
  local x, y = ds:batch { 3, 1 }
  lu.assertEquals(x:totable(), { { 3 }, { 1 } })
  lu.assertEquals(y:totable(), { { 30, 31 }, { 10, 11 } })
  lu.assertEquals(ds:info().targets, 2)
  lu.assertEquals(ds:targets():shape(), { 3, 2 })
  local alone = lip.data.tensors(lip.zeros(4, 3))
  x, y = alone:batch(1, 4)
  lu.assertEquals(x:shape(), { 4, 3 })
  lu.assertNil(y)
  -- a view that steps is copied
  local wide = lip.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
  lu.assertEquals(lip.data.tensors(wide:transpose()):batch(2, 3):totable(), { { 2, 5 }, { 3, 6 } })
end

function T.test_subset_is_a_view_and_keeps_its_parent()
  local view
  do
    local ds = lip.data.digits { n = 50, seed = 3 }
    view = ds:subset(11, 20):subset(2, 3)
  end
  collectgarbage()
  collectgarbage()
  lu.assertEquals(#view, 2)
  lu.assertEquals(view:info().bytes, 0)
  local again = lip.data.digits { n = 50, seed = 3 }
  local a, la = view:batch(1, 2)
  local b, lb = again:batch(12, 13)
  lu.assertTrue(a:equal(b))
  lu.assertTrue(la:equal(lb))
  lu.assertEquals(#again:subset(1, 0), 0)
end

function T.test_misuse_raises()
  local ds = lip.data.digits { n = 5 }
  lu.assertErrorMsgContains("sample", ds.batch, ds, { 6 })
  lu.assertErrorMsgContains("sample", ds.batch, ds, { 0 })
  lu.assertError(ds.batch, ds, { "x" })
  lu.assertErrorMsgContains("samples 1 to 6", ds.batch, ds, 1, 6)
  lu.assertErrorMsgContains("samples 4 to 2", ds.subset, ds, 4, 2)
  lu.assertErrorMsgContains("samples 0 to 2", ds.subset, ds, 0, 2)
  lu.assertError(ds.subset, ds, math.mininteger, math.maxinteger)
  lu.assertError(ds.batch, lip.zeros(2), 1, 1)
  lu.assertErrorMsgContains("unknown option 'sise', did you mean 'size'? (known: ", ds.batches, ds, { sise = 3 })
  lu.assertErrorMsgContains("batch size", ds.batches, ds, { size = 0 })
  lu.assertErrorMsgContains("drop_last", ds.batches, ds, { size = 6, drop_last = true })
  lu.assertErrorMsgContains("unknown option 'm'", lip.data.digits, { m = 1 })
  lu.assertErrorMsgContains("unknown option 'dir'", lip.data.mnist, { dir = "x" })
  lu.assertError(lip.data.tensors, {})
  lu.assertError(lip.data.tensors, lip.zeros(3, 2), { 0, 1 })
  lu.assertError(lip.data.tensors, lip.zeros(3, 2), { 0, 1, -1 })
  lu.assertError(lip.data.tensors, lip.zeros(3, 2), lip.zeros(2, 2))
  lu.assertError(lip.data.tensors, lip.tensor { { 1 } }:select(1, 1):select(1, 1))
  lu.assertError(lip.data.tensors(lip.zeros(3, 2)).batches, lip.data.tensors(lip.zeros(3, 2)), { shift = 1 })
end

-- Every function with every wrong kind of argument: an error or nil, never a crash.
function T.test_wrong_types_are_survived()
  local ds = lip.data.digits { n = 5 }
  local loader = ds:batches { size = 2 }
  local values = { false, 1, -1, 1.5, "x", {}, print, lip.zeros(2), ds, loader, math.huge, { {} }, { a = 1 } }
  local functions = {
    lip.data.idx, lip.data.csv, lip.data.npy, lip.data.tensors, lip.load_npy, lip.save_npy, lip.sha256_unpacked,
    lip.dataset_idx, lip.dataset_cifar, lip.dataset_digits,
  }
  for _, object in ipairs { ds, loader } do
    for _, name in ipairs { "size", "info", "named", "batch", "labels", "targets", "subset", "batches", "next",
      "epoch", "position", "seek" } do
      functions[#functions + 1] = object[name]
    end
  end
  local here = path "x"
  for _, f in ipairs(functions) do
    for _, a in ipairs(values) do
      for _, b in ipairs(values) do
        if a == "x" then a = here end
        pcall(f, a)
        pcall(f, a, b)
        pcall(f, a, b, a)
        pcall(f, a, b, a, b)
      end
    end
  end
  lu.assertEquals(#ds, 5)
end

-- ---- loaders ----

local function walk(loader, into)
  local sizes = {}
  for x, y in loader:epoch() do
    sizes[#sizes + 1] = #x
    lu.assertEquals(#y, #x)
    for i = 1, #x do into[#into + 1] = x:get(i, 1) end
  end
  return sizes
end

function T.test_loader_walks_once_per_epoch()
  local ds = lip.data.tensors(lip.arange(1, 10, 1):reshape(10, 1), lip.zeros(10))
  local plain = ds:batches { size = 4 }
  lu.assertEquals(#plain, 3)
  local seen = {}
  lu.assertEquals(walk(plain, seen), { 4, 4, 2 })
  lu.assertEquals(seen, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 })
  local dropped = ds:batches { size = 4, drop_last = true }
  lu.assertEquals(#dropped, 2)
  lu.assertEquals(walk(dropped, {}), { 4, 4 })
  local loader, first, second = ds:batches { size = 3, shuffle = true, seed = 5 }, {}, {}
  walk(loader, first)
  walk(loader, second)
  lu.assertNotEquals(first, second)
  lu.assertItemsEquals(first, second)
  lu.assertEquals({ loader:position() }, { 2, 0 })
  loader:seek(0)
  local again = {}
  walk(loader, again)
  lu.assertEquals(again, first)
end

function T.test_loader_continues_from_a_position()
  local ds = lip.data.digits { n = 40 }
  local a = ds:batches { size = 7, shuffle = true, seed = 9, shift = 2 }
  local b = ds:batches { size = 7, shuffle = true, seed = 9, shift = 2 }
  for _ = 1, 20 do
    b:seek(a:position())
    local xa, ya = a:next()
    local xb, yb = b:next()
    lu.assertEquals(xa == nil, xb == nil)
    if xa then
      lu.assertTrue(xa:equal(xb))
      lu.assertTrue(ya:equal(yb))
    end
  end
  lu.assertError(a.seek, a, 0, 41)
  lu.assertError(a.seek, a, -1)
end

function T.test_loader_keeps_its_data_alive()
  local loader = lip.data.digits { n = 20 }:batches { size = 8, shuffle = true }
  local kept
  for x, y in loader:epoch() do
    collectgarbage()
    kept = { x, y }
  end
  loader = nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  lu.assertEquals(kept[1]:shape(), { 4, 1, 28, 28 }) -- the short last batch is a view of the buffer
  lu.assertTrue(kept[1]:max() > 0.5)
end

-- ---- readers ----

function T.test_idx()
  local images, labels = write("i", idx_images(12, 20)), write("l", idx_labels(12))
  local ds = lip.data.idx(images, labels)
  lu.assertEquals(ds:info().shape, { 1, 28, 28 })
  lu.assertEquals(ds:info().classes, 10)
  lu.assertEquals(#ds:info().sha256, 64)
  lu.assertEquals(ds:info().name, "i")
  local x, y = ds:batch { 3 }
  lu.assertEquals(x:shape(), { 1, 1, 28, 28 })
  lu.assertEquals(x:get(1, 1, 5, 5), string.unpack("f", string.pack("f", 40 / 255)))
  lu.assertEquals(y:totable(), { 2 })
  contains(tostring(ds), "12 samples of 1x28x28, 10 classes")
  contains(fails("format", lip.data.idx(images, write("short", idx_labels(11)))), "11 labels for 12 samples")
  contains(fails("not_found", lip.data.idx(path "none", labels)), "none")
  fails("format", lip.data.idx(labels .. "", images))
  fails("format", lip.data.idx(write("cut", idx_images(12, 20):sub(1, 5000)), labels))
  fails("io", lip.data.idx(folder, labels))
end

function T.test_gzip()
  write("i", idx_images(12, 20))
  write("l", idx_labels(12))
  local plain = lip.data.idx(path "i", path "l"):info()
  lu.assertTrue(os.execute("gzip -k " .. path "i" .. " " .. path "l"))
  local packed = lip.data.idx(path "i.gz", path "l.gz"):info()
  lu.assertEquals(packed.sha256, plain.sha256)
  lu.assertEquals(lip.sha256_unpacked(path "i"), lip.sha256_unpacked(path "i.gz"))
  local file = assert(io.open(path "i.gz", "rb"))
  local bytes = file:read "a"
  file:close()
  contains(fails("format", lip.data.idx(write("cut.gz", bytes:sub(1, -9)), path "l")), "truncated")
  fails("format", lip.sha256_unpacked(write("cut.gz", bytes:sub(1, -2))))
end

function T.test_csv()
  local file = write("t.csv", "a,kind,b\r\n1,0,2\r\n3,1,\r\n")
  contains(fails("format", lip.data.csv(file)), "line 3, column 3")
  local ds = lip.data.csv(file, { label = "kind", fill = -1 })
  local x, y = ds:batch(1, 2)
  lu.assertEquals(x:totable(), { { 1, 2 }, { 3, -1 } })
  lu.assertEquals(y:totable(), { 0, 1 })
  ds = lip.data.csv(file, { target = { 1, "kind" }, fill = 7, name = "small" })
  x, y = ds:batch(1, 2)
  lu.assertEquals(x:totable(), { { 2 }, { 7 } })
  lu.assertEquals(y:totable(), { { 1, 0 }, { 3, 1 } })
  lu.assertEquals(ds:info().name, "small")
  lu.assertEquals(#lip.data.csv(write("s.csv", "1;2\n3;4\n"), { separator = ";", header = true }), 1)
  lu.assertErrorMsgContains("no column 'c': it is a,kind,b", lip.data.csv, file, { label = "c" })
  lu.assertErrorMsgContains("unknown option 'lable'", lip.data.csv, file, { lable = 1 })
  lu.assertError(lip.data.csv, file, { label = 0 })
  lu.assertError(lip.data.csv, file, { label = {} })
  lu.assertError(lip.data.csv, file, { separator = ",," })
  fails("not_found", lip.data.csv(path "none.csv"))
end

function T.test_npy_files()
  local t = lip.tensor { { 1, 2.5, -3 }, { 4, 1e-30, 6 } }
  lu.assertTrue(lip.save_npy(path "t.npy", t))
  lu.assertTrue(lip.load_npy(path "t.npy"):equal(t))
  lu.assertTrue(lip.save_npy(path "t.npy", t:transpose())) -- a view that steps
  lu.assertEquals(lip.load_npy(path "t.npy"):shape(), { 3, 2 })
  lu.assertTrue(lip.load_npy(path "t.npy"):equal(t:transpose():clone()))
  fails("not_found", lip.load_npy(path "none.npy"))
  fails("format", lip.load_npy(write("bad.npy", "not numpy at all")))
  fails("io", lip.save_npy(path "none/t.npy", t))
  lu.assertError(lip.save_npy, path "t.npy", { 1 })
  lu.assertErrorMsgContains("string expected", lip.save_npy, 1, t)
  -- as a data set
  lip.save_npy(path "x.npy", lip.zeros(4, 2))
  lip.save_npy(path "y.npy", lip.tensor { 1, 2, 3, 4 })
  local ds = lip.data.npy(path "x.npy", path "y.npy")
  lu.assertEquals(ds:targets():totable(), { { 1 }, { 2 }, { 3 }, { 4 } })
  fails("format", lip.data.npy(path "x.npy", path "t.npy"))
end

function T.test_cifar()
  local record = string.char(3) .. ("\127"):rep(3072)
  os.execute("mkdir " .. path "cifar-10-batches-bin")
  contains(fails("not_found", lip.data.cifar10(folder)), "cifar10 not found")
  for i = 1, 5 do write(("cifar-10-batches-bin/data_batch_%d.bin"):format(i), record:rep(2)) end
  write("cifar-10-batches-bin/test_batch.bin", record)
  local train, test = lip.data.cifar10(folder)
  lu.assertEquals(#train, 10)
  lu.assertEquals(#test, 1)
  lu.assertEquals(train:info().shape, { 3, 32, 32 })
  lu.assertEquals(test:labels():totable(), { 3 })
  write("cifar-10-batches-bin/test_batch.bin", record:sub(1, -2))
  fails("format", lip.data.cifar10(folder))
end

function T.test_digits_do_not_change()
  local ds = lip.data.digits { n = 200, seed = 4 }
  local counts = {}
  for _, y in ipairs(ds:labels():totable()) do counts[y] = (counts[y] or 0) + 1 end
  for y = 0, 9 do lu.assertTrue((counts[y] or 0) > 3) end
  lu.assertEquals(ds:info().name, "digits")
  local x = ds:batch(1, 200)
  lu.assertTrue(x:equal((lip.data.digits { n = 300, seed = 4 }:batch(1, 200))))
  lu.assertFalse(x:equal((lip.data.digits { n = 200, seed = 5 }:batch(1, 200))))
end

-- ---- finding ----

function T.test_finds_both_spellings_and_both_places()
  for _, case in ipairs { { "a/mnist", "a" }, { "b", "b" }, { "c/mnist", "c", true }, { "d", "d", true } } do
    write_set(case[1], case[3])
    local text = child({ LIPWB_DATA = path(case[2]), LIPWB_OFFLINE = 1 }, "print(lip.data.mnist())")
    contains(text, "data: MNIST from " .. path(case[1]) .. " (30 + 10 samples)\n")
    contains(text, "WARNING: " .. path(case[1]) .. "/train") -- it is not what was published
    contains(text, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db")
    contains(text, "30 samples of 1x28x28, 10 classes")
  end
  -- the option and the command line
  contains(child({}, ("print(lip.data.mnist { folder = '%s' })"):format(path "a")), "30 samples")
  contains(child({ LIPWB_DATA = path "nowhere", LIPWB_OFFLINE = 1 }, "print(lip.data.mnist())", "--data " .. path "a"),
    "30 samples")
  -- the cache
  write_set "cache/lipwb/mnist"
  contains(child({ XDG_CACHE_HOME = path "cache", LIPWB_OFFLINE = 1 }, "print(lip.data.mnist())"),
    "data: MNIST from " .. path "cache/lipwb/mnist")
end

function T.test_what_is_not_there_or_damaged_says_so()
  local message = fails("not_found", lip.data.mnist { folder = path "empty" })
  contains(message, "MNIST not found: looked in " .. path "empty")
  write_set "half"
  os.remove(path "half/t10k-labels-idx1-ubyte")
  contains(fails("not_found", lip.data.mnist { folder = path "half" }), "lacks t10k-labels-idx1-ubyte")
  write("half/t10k-labels-idx1-ubyte", idx_labels(10):sub(1, -2))
  contains(fails("format", lip.data.mnist { folder = path "half", quiet = true }), "t10k-labels-idx1-ubyte")
  local text = child({ LIPWB_OFFLINE = 1, XDG_CACHE_HOME = path "none", HOME = path "none" },
    "print(select('#', lip.data.mnist()), select(3, lip.data.mnist()))")
  contains(text, "3\tnot_found")
end

function T.test_main_dataset_falls_back_and_says_so()
  local variables = { LIPWB_OFFLINE = 1, XDG_CACHE_HOME = path "none" }
  local code = "local a, b, name = lip.data.main_dataset() print(name, #a, #b)"
  local text = child(variables, code)
  contains(text, "MNIST not found: ")
  contains(text, "LIPWB_OFFLINE=1")
  lu.assertTrue(text:find("\nfashion-mnist\t60000\t10000\n", 1, true) ~= nil
    or text:find("\ndigits\t60000\t10000\n", 1, true) ~= nil)
  write_set "fashion-mnist"
  variables.LIPWB_DATA = folder
  text = child(variables, code)
  contains(text, "; training on Fashion-MNIST instead\n")
  contains(text, "\nfashion-mnist\t30\t10\n")
  write_set "mnist"
  text = child(variables, code)
  contains(text, "\nmnist\t30\t10\n")
  lu.assertNil(text:find("not found", 1, true))
end

function T.test_download_keeps_only_what_is_right()
  if not os.execute "command -v curl >/dev/null 2>&1" then lu.skip "curl is not installed" end
  local source = write("source", idx_labels(10))
  lu.assertTrue(os.execute("gzip -k " .. source))
  local digest = lip.sha256_unpacked(source)
  local urls = { "file://" .. path "none.gz", "file://" .. source .. ".gz" }
  lu.assertTrue(lip.data.download(urls, path "it's here.gz", digest))
  lu.assertEquals(lip.sha256_unpacked(path "it's here.gz"), digest)
  local message = fails("not_found", lip.data.download(urls, path "wrong.gz", ("0"):rep(64)))
  contains(message, "could not be fetched")
  contains(message, "has SHA-256 " .. digest)
  local pipe = io.popen("ls " .. folder)
  local names = pipe:read "a"
  pipe:close()
  lu.assertNil(names:find "wrong")
  lu.assertNil(names:find "part")
end

function T.test_real_mnist()
  local root = os.getenv "LIPWB_DATA"
  if not root or not io.open(root .. "/mnist/train-images-idx3-ubyte.gz") then
    lu.skip "no MNIST: set LIPWB_DATA to the folder that has mnist/train-images-idx3-ubyte.gz"
  end
  local text = child({ LIPWB_DATA = root }, "local a, b, name = lip.data.main_dataset() print(name, #a, #b)")
  contains(text, "data: MNIST from " .. root .. "/mnist (60000 + 10000 samples)\nmnist\t60000\t10000\n")
  lu.assertNil(text:find("WARNING", 1, true))
  -- a folder that holds MNIST's files is not taken for Fashion-MNIST, which has files of the same names
  text = child({ LIPWB_DATA = root .. "/mnist", LIPWB_OFFLINE = 1 }, "print(lip.data.fashion_mnist())")
  lu.assertNil(text:find("from " .. root, 1, true))
end

-- ---- unpacked copies ----

local function packed_set()
  write_set "mnist"
  lu.assertTrue(os.execute("gzip " .. path "mnist" .. "/*"))
end

local function listed(where)
  local pipe = io.popen("ls '" .. path(where) .. "' 2>/dev/null | sort")
  local names = {}
  for name in pipe:lines() do names[#names + 1] = name end
  pipe:close()
  return names
end

local load_set = "local a, b = lip.data.mnist{ quiet = true } print(#a, #b, a:info().sha256, "
  .. "a:batch{ 30 }:sum(), b:batch{ 10 }:sum())"

-- The last line: before it stand warnings that this is not the published MNIST.
local function loaded(variables, code)
  return child(variables, code or load_set):match "[^\n]*\n$"
end

function T.test_unpacked_copies_are_kept_and_checked()
  packed_set()
  local variables = { LIPWB_DATA = folder, LIPWB_OFFLINE = 1, XDG_CACHE_HOME = path "cache" }
  local expected = loaded(variables)
  contains(expected, "\t10\t")
  lu.assertEquals(listed "cache/lipwb/unpacked", {}) -- nobody has asked for copies
  variables.LIPWB_UNPACK = 1
  lu.assertEquals(loaded(variables), expected)
  local names = listed "cache/lipwb/unpacked"
  lu.assertEquals(#names, 8)
  local function slurp(name)
    local file = assert(io.open(path("cache/lipwb/unpacked/" .. name), "rb"))
    local bytes = file:read "a"
    file:close()
    return bytes
  end
  local good = {}
  for _, name in ipairs(names) do good[name] = slurp(name) end
  lu.assertEquals(loaded(variables), expected) -- from the copies
  for _, name in ipairs(names) do
    local bytes = good[name]
    local other = bytes:sub(1, -2) .. string.char(bytes:byte(-1) ~ 1)
    for _, damaged in ipairs { other, bytes:sub(1, -2), bytes .. "x", "" } do
      write("cache/lipwb/unpacked/" .. name, damaged)
      lu.assertEquals(loaded(variables), expected)
      lu.assertEquals(slurp(name), bytes) -- made anew
    end
  end
  lu.assertEquals(listed "cache/lipwb/unpacked", names)
  -- a consistent copy of another file under the name of this one would be believed, so names are the packed digests
  local images = path "mnist/train-images-idx3-ubyte"
  lu.assertNotNil(good[lip.sha256_packed(images .. ".gz")])
  os.remove(images .. ".gz")
  write("mnist/train-images-idx3-ubyte", idx_images(30, 8))
  lu.assertTrue(os.execute("gzip " .. images))
  local changed = loaded(variables)
  lu.assertNotEquals(changed, expected)
  lu.assertEquals(loaded(variables), changed)
end

function T.test_copies_are_really_read()
  packed_set()
  local variables = { LIPWB_DATA = folder, LIPWB_OFFLINE = 1, XDG_CACHE_HOME = path "cache", LIPWB_UNPACK = 1 }
  loaded(variables)
  local text = loaded(variables, [[
    local read, seen = require "lip.core".dataset_idx, {}
    require "lip.core".dataset_idx = function(name, x, y) seen[#seen + 1] = x return read(name, x, y) end
    lip.data.mnist{ quiet = true }
    print(#seen, seen[1], seen[2])]])
  contains(text, "2\t" .. path "cache/lipwb/unpacked/")
  lu.assertNil(text:find(".gz", 1, true))
end

function T.test_copies_need_no_place_and_no_turns()
  packed_set()
  local variables = { LIPWB_DATA = folder, LIPWB_OFFLINE = 1, XDG_CACHE_HOME = path "cache" }
  local expected = loaded(variables)
  variables.LIPWB_UNPACK = 1
  write("cache", "a file where the folder should be")
  lu.assertEquals(loaded(variables), expected)
  os.remove(path "cache")
  write("load.lua", 'local lip = require "lip" ' .. load_set)
  local one = ("LIPWB_UNPACK=1 LIPWB_OFFLINE=1 LIPWB_DATA='%s' XDG_CACHE_HOME='%s' '%s' '%s'"):format(folder, path "cache",
    program, path "load.lua")
  local pipe = io.popen(("for i in 1 2 3 4; do %s 2>/dev/null & done; wait"):format(one))
  local text = pipe:read "a"
  pipe:close()
  lu.assertEquals(text, expected:rep(4))
  lu.assertEquals(#listed "cache/lipwb/unpacked", 8)
  lu.assertEquals(loaded(variables), expected)
end

-- A program named curl that stands in front of the real one.
local function fake_curl(script)
  os.execute("mkdir -p " .. path "bin")
  os.execute("chmod +x " .. write("bin/curl", "#!/bin/sh\n" .. script))
  return path "bin" .. ":" .. os.getenv "PATH"
end

function T.test_download_fills_the_cache()
  local root = os.getenv "LIPWB_DATA"
  if not root or not io.open(root .. "/mnist/train-images-idx3-ubyte.gz") then
    lu.skip "no MNIST: set LIPWB_DATA to the folder that has mnist/train-images-idx3-ubyte.gz"
  end
  -- the first address is down, the second has everything
  local search = fake_curl(([[
while [ "$1" != -o ]; do shift; done
case "$3" in *ossci*) echo broken > "$2"; exit 22;; esac
cp '%s/mnist/'"${3##*/}" "$2"
]]):format(root))
  local variables = { PATH = search, XDG_CACHE_HOME = path "cache" }
  local text = child(variables, "print(lip.data.mnist())")
  contains(text, "downloading MNIST into " .. path "cache/lipwb/mnist")
  contains(text, "data: MNIST from " .. path "cache/lipwb/mnist" .. " (60000 + 10000 samples)")
  lu.assertNil(text:find("WARNING", 1, true))
  variables.LIPWB_OFFLINE = 1 -- now it is there
  text = child(variables, "print(lip.data.mnist())")
  lu.assertNil(text:find("downloading", 1, true))
  contains(text, "(60000 + 10000 samples)")
end

function T.test_download_stops_at_ctrl_c()
  local search = fake_curl "kill -INT $$"
  local text = child({ PATH = search, XDG_CACHE_HOME = path "cache" }, "print(lip.data.main_dataset())")
  contains(text, "nil\tthe download was interrupted\tcancelled")
end

return { TestData = T }
