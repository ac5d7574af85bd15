-- lip.file, and the texts that go into files: JSON read back, checksums, packing.
local lu = require "luaunit"
local lip = require "lip"

local file = lip.file

local T = {}

function T:setUp()
  self.dir = assert(file.temporary())
end

function T:tearDown()
  file.remove_tree(self.dir)
end

function T:path(name)
  return self.dir .. "/" .. name
end

local function refused(code, ...)
  local value, message, got = ...
  lu.assertNil(value)
  lu.assertEquals(type(message), "string")
  lu.assertEquals(got, code, message)
end

local function link(to, path)
  lu.assertEquals(lip.process.run({ "ln", "-s", to, path }).exit, 0)
end

function T:test_folders()
  lu.assertTrue(file.mkdir(self:path "a/b//c/"))
  lu.assertTrue(file.mkdir(self:path "a/b"))
  lu.assertEquals(file.stat(self:path "a/b/c").kind, "folder")
  for _, name in ipairs { "z", "B", "a10", "a9", ".hidden" } do assert(file.write(self:path("a/b/" .. name), name)) end
  lu.assertEquals(file.list(self:path "a/b"), { ".hidden", "B", "a10", "a9", "c", "z" })
  lu.assertEquals(file.list(self:path "a/b/c"), {})
  refused("not_found", file.list(self:path "none"))
  refused("not_found", file.list(self:path "a/b/z"))
  refused("io", file.mkdir(self:path "a/b/z"))
  refused("io", file.mkdir(self:path "a/b/z/below")) -- a file is in the way
end

function T:test_links()
  assert(file.write(self:path "x", "12345"))
  link("x", self:path "to_x")
  link("none", self:path "to_nothing")
  lu.assertEquals(file.stat(self:path "to_x").kind, "file")
  lu.assertEquals(file.stat(self:path "to_x", { follow = true }).size, 5)
  lu.assertEquals(file.stat(self:path "to_x", { follow = false }).kind, "link")
  lu.assertEquals(file.stat(self:path "x", { follow = false }).kind, "file")
  lu.assertEquals(file.stat(self.dir, { follow = false }).kind, "folder")
  lu.assertEquals(file.stat(self:path "to_nothing", { follow = false }).kind, "link")
  refused("not_found", file.stat(self:path "to_nothing"))
  refused("not_found", file.stat(self:path "nothing", { follow = false }))
end

function T:test_contents()
  local path = self:path "x"
  local text = "one\0two\n\xff" .. ("long "):rep(20000)
  lu.assertTrue(file.write(path, text))
  lu.assertTrue(file.read(path) == text)
  lu.assertTrue(file.read(path, 5) == text:sub(6))
  lu.assertEquals(file.read(path, #text + 10), "")
  lu.assertEquals(file.tail(path, 5), "long ")
  lu.assertTrue(file.tail(path, #text + 5) == text)
  lu.assertTrue(file.append(path, "end"))
  lu.assertTrue(file.append(path, "!", { sync = true }))
  lu.assertEquals(file.tail(path, 4), "end!")
  lu.assertTrue(file.append(self:path "new", "first"))
  lu.assertEquals(file.read(self:path "new"), "first")
  local seen = file.stat(path)
  lu.assertEquals({ seen.kind, seen.size }, { "file", #text + 4 })
  lu.assertTrue(math.abs(seen.modified - lip.now()) < 60)
  lu.assertEquals(file.list(self.dir), { "new", "x" }) -- nothing temporary stays
  lu.assertEquals(file.stat("/dev/null").kind, "other")
  lu.assertStrContains(file.read "/proc/self/status", "VmHWM") -- a file whose size is not known
  for _, f in ipairs { file.read, file.stat } do refused("not_found", f(self:path "none")) end
  refused("not_found", file.tail(self:path "none", 1))
  refused("not_found", file.write(self:path "none/x", ""))
  refused("not_found", file.append(self:path "none/x", ""))
  refused("io", file.read(self.dir))
  refused("io", file.write(self.dir, ""))
  refused("io", file.append(self.dir, ""))
end

function T:test_names()
  local path = self:path "x"
  lu.assertFalse(file.exists(path))
  file.write(path, "x")
  lu.assertTrue(file.exists(path))
  lu.assertTrue(file.rename(path, self:path "y"))
  lu.assertFalse(file.exists(path))
  refused("not_found", file.rename(path, self:path "z"))
  local cwd = file.cwd()
  lu.assertEquals(cwd:sub(1, 1), "/")
  lu.assertEquals(file.absolute ".", cwd)
  lu.assertEquals(file.absolute(self:path "none/../y"), self:path "none/../y") -- there is no "none"
  lu.assertEquals(file.absolute(self:path "../"), (file.absolute(self.dir):gsub("/[^/]*$", "")))
  lu.assertEquals(file.absolute "no such file", cwd .. "/no such file")
  for _, f in ipairs { file.read, file.exists, file.stat, file.mkdir, file.list, file.absolute, file.remove_tree } do
    lu.assertErrorMsgContains("empty path", f, "")
    lu.assertErrorMsgContains("zero byte", f, "a\0b")
  end
  lu.assertErrorMsgContains("unknown option 'sink'", file.append, path, "x", { sink = true })
end

function T:test_remove_tree()
  local other = assert(file.temporary())
  assert(file.write(other .. "/precious", "x"))
  assert(file.mkdir(self:path "a/b/c"))
  for i = 1, 30 do assert(file.write(self:path("a/b/f" .. i), "")) end
  link(other, self:path "a/b/link")
  link(self:path "nowhere", self:path "a/dangling")
  link(other, self:path "link")
  lu.assertTrue(file.remove_tree(self:path "a"))
  lu.assertFalse(file.exists(self:path "a"))
  lu.assertTrue(file.remove_tree(self:path "link/")) -- the link, not what it names
  lu.assertEquals(file.list(self.dir), {})
  lu.assertTrue(file.remove_tree(self:path "a")) -- nothing to do
  file.write(self:path "plain", "")
  lu.assertTrue(file.remove_tree(self:path "plain"))
  lu.assertEquals(file.read(other .. "/precious"), "x")
  for _, path in ipairs { "/", "//", ".", "..", "a/..", "a/.", "../" } do
    lu.assertErrorMsgContains("never removed", file.remove_tree, path)
  end
  assert(file.mkdir(self:path(("d/"):rep(190))))
  lu.assertTrue(file.remove_tree(self:path "d"))
  lu.assertTrue(file.remove_tree(other))
end

-- Lines of eight writers at once are whole.
function T:test_appending_together()
  local path, list = self:path "log", {}
  local code = [[for i = 1, 200 do assert(lip.file.append(%q, ("%d:%%d:%%s\n"):format(i, ("x"):rep(i * 7)))) end]]
  for k = 1, 8 do
    list[k] = assert(lip.process.spawn { lip.process.self().program, "-e", code:format(path, k) })
  end
  for _, p in ipairs(list) do lu.assertEquals(p:wait(60).exit, 0) end
  local next_of, n = {}, 0
  for line in io.lines(path) do
    local k, i, rest = line:match "^(%d):(%d+):(x+)$"
    lu.assertNotNil(k, line)
    i = tonumber(i)
    lu.assertEquals({ i, #rest }, { (next_of[k] or 0) + 1, 7 * i })
    next_of[k], n = i, n + 1
  end
  lu.assertEquals(n, 1600)
end

function T:test_a_full_disk()
  lu.skipIf(lip.process.run { "sh", "-c", "ulimit -f 1" }.exit ~= 0, "no limits here")
  local code = ([[io.stderr:setvbuf "no" local path = %q
    print(lip.file.append(path, ("x"):rep(3000))) print(lip.file.write(path, ("y"):rep(9000)))]]):format(self:path "x")
  -- the limit counts blocks of 512 bytes; its signal is ignored
  local seen = lip.process.run { "sh", "-c", 'trap "" XFSZ; ulimit -f 4; exec "$0" -e "$1"',
    lip.process.self().program, code }
  local first, second = seen.output:match "^([^\n]*)\n([^\n]*)\n"
  lu.assertStrContains(first or seen.errors, "cannot append to it")
  lu.assertStrContains(second, "cannot write")
  lu.assertStrContains(second, "\tio")
  lu.assertEquals(file.list(self.dir), { "x" })
end

-- ---- texts ----

function T.test_sha256_and_crc32()
  -- FIPS 180-4 examples; the check value of the CRC catalogue
  lu.assertEquals(lip.sha256 "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
  lu.assertEquals(lip.sha256 "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  lu.assertEquals(lip.sha256(("a"):rep(1000000)), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
  lu.assertEquals(lip.crc32 "123456789", 0xcbf43926)
  lu.assertEquals(lip.crc32("6789", lip.crc32 "12345"), 0xcbf43926)
  lu.assertEquals(lip.crc32 "", 0)
  lu.assertErrorMsgContains("a checksum", lip.crc32, "", -1)
end

function T:test_packing()
  local rng = lip.rng(4)
  local noise = {}
  for i = 1, 5000 do noise[i] = string.char(rng:below(256)) end
  for _, format in ipairs { "gzip", "zlib" } do
    for _, text in ipairs { "", "a", ("ab"):rep(500000), table.concat(noise), "\0\0\0" } do
      local packed = lip.deflate(text, format)
      lu.assertTrue(lip.inflate(packed) == text)
      lu.assertTrue(lip.inflate(packed, #text) == text)
      if #text > 0 then refused("format", lip.inflate(packed, #text - 1)) end
      lu.assertEquals(packed, lip.deflate(text, format)) -- no times in it
      for cut = 0, #packed - 1, math.max(1, #packed // 50) do refused("format", lip.inflate(packed:sub(1, cut))) end
      refused("format", lip.inflate(packed .. "x"))
      local wrong = packed:sub(1, -3) .. string.char(packed:byte(-2) ~ 1) .. packed:sub(-1)
      refused("format", lip.inflate(wrong)) -- the checksum
    end
  end
  lu.assertEquals(lip.inflate(lip.deflate "one " .. lip.deflate "two"), "one two") -- members of a gzip file
  refused("format", lip.inflate(lip.deflate "one " .. "two"))
  refused("format", lip.inflate "plain text")
  local path = self:path "x.gz"
  file.write(path, lip.deflate "for gzip\n")
  local gzip = lip.process.run { "gzip", "-dc", path }
  if gzip then lu.assertEquals(gzip.output, "for gzip\n") end
  lu.assertErrorMsgContains("invalid option", lip.deflate, "x", "rar")
  lu.assertErrorMsgContains("number of bytes", lip.inflate, "x", -1)
end

function T.test_from_json()
  local text = '{"a": [1, 2.5, -3, true, false, "x", {}], "b": {"c": "\\u00e4\\n"}, "inf": "inf", "n": null}'
  local v = lip.from_json(text)
  lu.assertEquals(v, { a = { 1, 2.5, -3, true, false, "x", {} }, b = { c = "ä\n" }, inf = "inf" })
  lu.assertEquals({ math.type(v.a[1]), math.type(v.a[2]), math.type(v.a[3]) }, { "integer", "float", "integer" })
  for _, x in ipairs { 0.1, 1e300, -1e-300, 2 ^ 53, 1 / 3, 123456789012345678, 5e-324, -7, true, "text", "" } do
    local back = lip.from_json(lip.to_json(x))
    lu.assertTrue(back == x, tostring(x))
  end
  lu.assertEquals(lip.from_json(lip.to_json(math.maxinteger)), math.maxinteger)
  lu.assertNil(lip.from_json "null")
  lu.assertEquals(lip.from_json " [ ] ", {})
  for _, wrong in ipairs { "", "{", "[1,]", "{\"a\":1,\"a\":2}", "1 2", "nul", "'x'", "{a:1}", "[1]]", "\"\xff\"",
    "NaN", "[" .. ("["):rep(100) .. ("]"):rep(101), "[1e999]", "[\"\\u0000\"]", "1,2" } do
    refused("format", lip.from_json(wrong))
  end
end

function T.test_utf8()
  lu.assertEquals(lip.utf8 "plain äöü € 𝄞", "plain äöü € 𝄞")
  lu.assertEquals(lip.utf8 "a\xff\xc3(\0\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80é", "a\\xff\\xc3(\\x00\\xed\\xa0\\x80" ..
    "\\xf4\\x90\\x80\\x80\\xc0\\x80é")
  lu.assertEquals(lip.utf8 "cut \xe2\x82", "cut \\xe2\\x82")
  local rng = lip.rng(9)
  for _ = 1, 300 do
    local bytes = {}
    for i = 1, rng:below(12) do bytes[i] = string.char(rng:below(2) == 0 and rng:below(256) or 0xc0 + rng:below(64)) end
    local text = table.concat(bytes)
    local clean = lip.utf8(text)
    lu.assertNotNil(utf8.len(clean))
    lu.assertEquals(lip.from_json(lip.to_json { clean })[1], clean)
    if utf8.len(text) and not text:find "\0" then lu.assertEquals(clean, text) end
  end
end

-- ---- every writer ----

local function writers()
  local x = lip.rand(lip.rng(1), 6, 4)
  local net = lip.net { input = 4, norm = "2", budget = 2, seed = 1, lip.dense { out = 3 } }
  local data = lip.data.tensors(x, { 0, 1, 2, 0, 1, 2 })
  return {
    { ".x", function(path) return net:save(path) end },
    { ".cert", function(path) return net:certificate(path, data, { eps = 0.1 }) end },
    { ".npy", function(path) return lip.save_npy(path, x) end },
    { ".svg", function(path) return lip.plot { file = path, series = { { x = { 1, 2 }, y = { 1, 2 } } } } end },
    { ".json", function(path) return file.write(path, "{}") end },
    { ".log", function(path) return file.append(path, "{}") end },
    { ".trained", function(path)
      return lip.train(net, data, { epochs = 1, checkpoint = path, opt = lip.optim.sgd() })
    end },
  }
end

-- Through a link its target is written, beside which the temporary file was; the link stays.
function T:test_writers_follow_links()
  assert(file.mkdir(self:path "to"))
  for i, writer in ipairs(writers()) do
    local ending, write = table.unpack(writer)
    local path, target = self:path("link" .. ending), self:path("to/target" .. ending)
    link("to/target" .. ending, path)
    for _ = 1, 2 do -- a link to nothing, then to a file
      assert(write(path))
      lu.assertEquals(file.stat(path, { follow = false }).kind, "link", ending)
      lu.assertEquals(file.stat(target, { follow = false }).kind, "file", ending)
    end
    lu.assertEquals(#file.list(self:path "to"), i)
  end
end

function T:test_writers_have_room_for_names()
  for _, writer in ipairs(writers()) do
    local ending, write = table.unpack(writer)
    for _, n in ipairs { 200, 244, 245, 250, 255 } do
      local path = self:path(("n"):rep(n - #ending) .. ending)
      local ok, message = write(path)
      lu.assertNotNil(ok, ("%s %d: %s"):format(ending, n, tostring(message)))
      lu.assertTrue(file.exists(path))
      os.remove(path)
    end
    local ok, message = write(self:path(("n"):rep(256 - #ending) .. ending))
    lu.assertTrue(not ok, message)
  end
  lu.assertEquals(file.list(self.dir), {})
end

-- A store that a link leads to has one name before and after it is made.
function T.test_a_link_to_what_is_not_there_yet()
  local folder = assert(lip.file.absolute(assert(lip.file.temporary())))
  assert(lip.file.mkdir(folder .. "/real"))
  os.execute(("cd '%s' && ln -s real/runs.db near && ln -s near far && ln -s '%s/real/runs.db' whole && ln -s loop loop")
    :format(folder, folder))
  for _, name in ipairs { "near", "far", "whole" } do
    lu.assertEquals(lip.file.absolute(folder .. "/" .. name), folder .. "/real/runs.db", name)
  end
  lu.assertEquals(lip.file.absolute(folder .. "/loop"), folder .. "/loop")
  assert(lip.file.write(folder .. "/real/runs.db", ""))
  lu.assertEquals(lip.file.absolute(folder .. "/far"), folder .. "/real/runs.db")
  assert(lip.file.remove_tree(folder))
end

return T
