--- Data sets: the readers, and finding, downloading and verifying the well-known ones.
local core = require "lip.core"
local arguments = require "lip.arguments"
local check_options = require("lip.options").check
local unpacked = require "lip.unpacked"

local data = {}

-- ---- the well-known sets ----

-- SHA-256 of the unpacked files: images and labels of both parts.
local sets = {
  mnist = {
    name = "mnist", title = "MNIST",
    folders = { "mnist", "MNIST", "MNIST/raw" },
    urls = {
      "https://ossci-datasets.s3.amazonaws.com/mnist/",
      "https://storage.googleapis.com/cvdf-datasets/mnist/",
    },
    train = {
      "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
      "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    },
    t10k = {
      "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
      "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
  },
  fashion_mnist = {
    name = "fashion-mnist", title = "Fashion-MNIST",
    folders = { "fashion-mnist", "fashion_mnist", "FashionMNIST", "FashionMNIST/raw" },
    urls = {
      "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
      "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    },
    train = {
      "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
      "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    },
    t10k = {
      "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
      "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
  },
}

-- images and labels, with the two spellings in use
local kinds = {
  { "%s-images-idx3-ubyte", "%s-images.idx3-ubyte" },
  { "%s-labels-idx1-ubyte", "%s-labels.idx1-ubyte" },
}

-- ---- small helpers ----

local function readable(path)
  local found = path ~= "" and not path:find "\0" and core.file.stat(path)
  if not found or found.kind ~= "file" then return false end -- a pipe would wait for its other end
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function run(command)
  return os.execute(command) == true
end

local function warn_loudly(format, ...)
  io.stderr:write("lipwb: WARNING: ", core.plain(string.format(format, ...)), "\n")
end

-- The folder given on the command line (--data) or in the environment, or nil.
local function user_folder()
  local settings = core.settings
  return settings and settings.data or environment "LIPWB_DATA"
end

local function cache_folder(set)
  local base = environment "XDG_CACHE_HOME"
  if not base and environment "HOME" then base = os.getenv "HOME" .. "/.cache" end
  return base and base .. "/lipwb/" .. set.name
end

-- ---- finding ----

-- Where a set may be, best first: { {path, own = true when the folder is named after the set, cache = true when what is
-- there can be had again}, ... }
local function places(set, folder)
  local list = {}
  local function add(path, own, cache) list[#list + 1] = { path = path, own = own, cache = cache } end
  local user = folder or user_folder()
  if user then
    user = #user > 1 and user:gsub("/+$", "") or user
    for _, name in ipairs(set.folders) do add(user .. "/" .. name, true) end
    add(user, false)
  end
  if not folder then
    local cache = cache_folder(set)
    if cache then add(cache, true, true) end
    add("/usr/share/datasets/" .. set.name, true)
    add("/usr/share/" .. set.name, true)
  end
  return list
end

local function find_file(folder, part, kind)
  for _, pattern in ipairs(kinds[kind]) do
    for _, ending in ipairs { "", ".gz" } do
      local path = folder .. "/" .. pattern:format(part) .. ending
      if readable(path) then return path end
    end
  end
end

-- The four files of a folder, or nil and the first one that is missing.
local function find_files(folder)
  local files, found, missing = {}, 0, nil
  for _, part in ipairs { "train", "t10k" } do
    files[part] = {}
    for kind = 1, 2 do
      local path = find_file(folder, part, kind)
      files[part][kind] = path
      if path then found = found + 1 else missing = missing or kinds[kind][1]:format(part) end
    end
  end
  if missing then return nil, found > 0 and missing or nil end
  return files
end

local function same_digests(digests, expected)
  return digests[1] == expected[1] and digests[2] == expected[2]
end

-- Another well-known set whose files bear the same names.
local function belongs_to_other(set, digests)
  for _, other in pairs(sets) do
    if other ~= set and same_digests(digests, other.train) then return true end
  end
  return false
end

-- train, test | nil, message, code; nil alone when the folder is not this set's.
local function load_folder(set, place, files)
  local parts, digests = {}, {}
  for _, part in ipairs { "train", "t10k" } do
    local ds, message, code = unpacked.read(files[part], function(paths)
      return core.dataset_idx(set.name, paths[1], paths[2])
    end)
    if not ds then return nil, message, code end
    parts[part], digests[part] = ds, message
    if part == "train" and not place.own and belongs_to_other(set, message) then return nil end
  end
  for part, got in pairs(digests) do
    for kind = 1, 2 do
      if got[kind] ~= set[part][kind] then
        warn_loudly("%s is not the published file of %s: its SHA-256 is %s, expected %s; it is used as it is",
          files[part][kind], set.title, got[kind], set[part][kind])
      end
    end
  end
  return parts.train, parts.t10k
end

-- ---- downloading ----

--- Fetches a file with curl from the first address that gives what is expected; the file appears only when it
--- is complete and right. `sha256` is that of the unpacked file.
---@return boolean? ok, string? message, string? code
function data.download(urls, path, sha256)
  if not run "command -v curl >/dev/null 2>&1" then return nil, "curl is not installed", "not_found" end
  local temporary = ("%s.%d-%d.part"):format(path, os.time(), math.random(1 << 30))
  local reasons = {}
  for _, url in ipairs(urls) do
    local command = "curl -fsSL --connect-timeout 5 --retry 1 --max-time 300 -o %s %s 2>/dev/null"
    local ok, how, status = os.execute(command:format(quoted(temporary), quoted(url)))
    if how == "signal" or status == 130 then -- Ctrl-C reached curl
      os.remove(temporary)
      return nil, "the download was interrupted", "cancelled"
    end
    local digest, message = nil, "could not be fetched"
    if ok then digest, message = core.sha256_unpacked(temporary) end
    if digest == sha256 then
      local renamed, why = os.rename(temporary, path)
      if renamed then return true end
      message = why
    elseif digest then
      message = "has SHA-256 " .. digest .. ", expected " .. sha256
    end
    os.remove(temporary)
    reasons[#reasons + 1] = url .. ": " .. tostring(message)
  end
  return nil, table.concat(reasons, "; "), "not_found"
end

local function download_set(set)
  local folder = cache_folder(set)
  if not folder then return nil, "no HOME and no XDG_CACHE_HOME to keep a download in", "not_found" end
  if not run("mkdir -p " .. quoted(folder)) then return nil, folder .. ": cannot be made", "io" end
  io.stderr:write("downloading ", set.title, " into ", core.plain(folder), "\n")
  for _, part in ipairs { "train", "t10k" } do
    for kind = 1, 2 do
      local file = kinds[kind][1]:format(part) .. ".gz"
      local urls = {}
      for i, base in ipairs(set.urls) do urls[i] = base .. file end
      if not readable(folder .. "/" .. file) then
        local ok, message, code = data.download(urls, folder .. "/" .. file, set[part][kind])
        if not ok then return nil, message, code end
      end
    end
  end
  return folder
end

-- ---- MNIST and Fashion-MNIST ----

-- A damaged file of the cache is no error: it is set aside, and fetched again where that may be. Whether it was one.
local function set_aside(files, message)
  for _, part in pairs(files) do
    for _, path in ipairs(part) do
      if message:sub(1, #path + 1) == path .. ":" and os.rename(path, path .. ".damaged") then
        io.stderr:write("lipwb: ", core.plain(("%s; set aside as %s.damaged"):format(message, path)), "\n")
        return true
      end
    end
  end
  return false
end

local function load_set(set, options)
  local looked, partial = {}, {}
  local function try(place)
    local files, missing = find_files(place.path)
    looked[#looked + 1] = place.path
    if missing then partial[#partial + 1] = place.path .. " lacks " .. missing end
    if not files then return nil end
    local train, test, code = load_folder(set, place, files)
    if code == "format" and place.cache and set_aside(files, test) then return nil end
    if train and not options.quiet then
      print(core.plain(("data: %s from %s (%d + %d samples)"):format(set.title, place.path, #train, #test)))
    end
    return train, test, code
  end
  for _, place in ipairs(places(set, options.folder)) do
    local train, test, code = try(place)
    if train then return train, test end
    if code then return nil, test, code end -- damaged: never look elsewhere in silence
  end
  local reason
  if options.folder then
    reason = "no other place was asked for"
  elseif os.getenv "LIPWB_OFFLINE" == "1" then
    reason = "not downloaded, because LIPWB_OFFLINE=1"
  else
    local folder, message, code = download_set(set)
    if folder then return try { path = folder, own = true } end
    if code == "cancelled" then return nil, message, code end
    reason = "the download failed: " .. message
  end
  if #partial > 0 then reason = table.concat(partial, "; ") .. "; " .. reason end
  return nil, ("%s not found: looked in %s; %s"):format(set.title, table.concat(looked, ", "), reason), "not_found"
end

--- MNIST: 60000 + 10000 images 1 x 28 x 28. Looked for in --data or LIPWB_DATA, the cache, /usr/share; then
--- downloaded.
---@param options? {folder: string?, quiet: boolean?} folder: look only there
---@return lip.dataset? train, lip.dataset|string test, string? code
function data.mnist(options)
  return load_set(sets.mnist, check_options(options, "lip.data.mnist"))
end

--- Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), in the same places and the same format.
---@param options? {folder: string?, quiet: boolean?}
---@return lip.dataset? train, lip.dataset|string test, string? code
function data.fashion_mnist(options)
  return load_set(sets.fashion_mnist, check_options(options, "lip.data.fashion_mnist"))
end

-- The first `limit` samples, all for 0 or nil.
local function first(set, limit)
  return limit and limit > 0 and limit < #set and set:subset(1, limit) or set
end

local function digits_pair(limit)
  local function some(n, seed)
    return data.digits { n = limit and limit > 0 and math.min(limit, n) or n, seed = seed }
  end
  return some(60000, 1), some(10000, 2), "digits"
end

local makers = { mnist = "mnist", ["fashion-mnist"] = "fashion_mnist" }

--- What the main experiments train on: MNIST; without it Fashion-MNIST; without that procedural digits. Says so.
---@param options? {quiet: boolean?, set: string?, limit: integer?}
---@return lip.dataset? train, lip.dataset|string test, string name (nil, message, "cancelled" after Ctrl-C)
function data.main_dataset(options)
  options = check_options(options, "lip.data.main_dataset")
  local set, limit = options.set ~= "any" and options.set or nil, options.limit
  if set == "digits" then return digits_pair(limit) end
  if set and not makers[set] then
    error(("lip.data.main_dataset: no set '%s' (known: any, digits, fashion-mnist, mnist)"):format(tostring(set)), 2)
  end
  local train, test, code = data[makers[set] or "mnist"] { quiet = options.quiet }
  if train then return first(train, limit), first(test, limit), set or "mnist" end
  if code == "cancelled" or set then return nil, test, code end
  local reason = test:find "^MNIST not found" and test or "MNIST not found: " .. test
  train, test = data.fashion_mnist { quiet = options.quiet }
  if train then
    print(core.plain(reason) .. "; training on Fashion-MNIST instead")
    return first(train, limit), first(test, limit), "fashion-mnist"
  end
  print(core.plain(reason) .. "; no Fashion-MNIST either; training on built-in procedural digits instead")
  return digits_pair(limit)
end

-- ---- other sets: the engine's own functions, so that an error names the line of the script ----

--- Procedural digits: strokes drawn with random distortion, 1 x 28 x 28, 10 classes. Sample i depends on
--- (seed, i) only.
---@param options? {n: integer?, seed: integer?}
---@return lip.dataset
function data.digits(options)
  options = check_options(options, "lip.data.digits")
  return assert(core.dataset_digits(options.n or 10000, options.seed or 1))
end

-- Bytes are pixels in every data set, whatever file they come from: x/255. lip.load_npy alone reads an array and not
-- samples, and gives the numbers as they stand.

--- Any IDX files, plain or gzip. channels: "first" or "last" in arrays of four sides, when it is not as it looks.
---@param options? {channels: string?}
---@return lip.dataset? set, string? message, string? code
function data.idx(images, labels, options)
  local ds, message, code = core.dataset_idx(tostring(images):match "[^/]*$", images, labels, options)
  if not ds then return nil, message, code end
  return ds
end

--- A table of numbers. label, target: columns by name or number (target may be a list); fill: what replaces missing
--- values (an error without it); header: true, false, or guessed (a first line 0,1,2,... is a sample, with a warning).
---@type fun(path: string, options: table?): lip.dataset?, string?, string?
data.csv = core.dataset_csv

--- Samples and labels (whole numbers) or targets (floats) from NPY files. Bytes (uint8) of x are pixels and become
--- x/255; all other types, and y, are taken as they are. (N, H, W) are images of one channel, (N, C, H, W) images;
--- (N, H, W, C) are recognised by C = 1, 3 or 4 and larger H and W; channels = "first" or "last" says it.
---@type fun(x: string, y: string?, options: table?): lip.dataset?, string?, string?
data.npy = core.dataset_npy

--- A data set over tensors, which it shares: x (N, ...), shapes as in lip.data.npy (images whose channels stand last
--- are copied); y labels (a list, or a tensor of one dimension; -1 and 1 alone become 0 and 1), targets (N, T), or nothing.
---@type fun(x: lip.tensor, y: table|lip.tensor|nil, options: table?): lip.dataset
data.tensors = core.dataset_tensors

-- The folder itself, or a usual one inside it, that has all the files.
local function load_cifar(what, folder, inner, label_bytes, classes, train_files, test_files)
  local base = folder or user_folder()
  if not base then
    return nil, what .. " not found: give its folder, --data or LIPWB_DATA", "not_found"
  end
  for _, path in ipairs { base, base .. "/" .. inner, base .. "/" .. what .. "/" .. inner, base .. "/" .. what } do
    local function full(names)
      local list, all = {}, true
      for i, name in ipairs(names) do
        local file = path .. "/" .. name
        list[i] = readable(file) and file or file .. ".gz"
        all = all and readable(list[i])
      end
      return all and list
    end
    local train_paths, test_paths = full(train_files), full(test_files)
    if train_paths and test_paths then
      local train, message, code = core.dataset_cifar(what, train_paths, label_bytes, classes)
      if not train then return nil, message, code end
      local test
      test, message, code = core.dataset_cifar(what, test_paths, label_bytes, classes)
      if not test then return nil, message, code end
      return train, test
    end
  end
  return nil, ("%s not found in %s (the binary version: %s, ...)"):format(what, base, train_files[1]), "not_found"
end

--- CIFAR-10, binary version: 50000 + 10000 images 3 x 32 x 32.
---@param folder? string the folder of the .bin files (or one above it); --data and LIPWB_DATA otherwise
---@return lip.dataset? train, lip.dataset|string test, string? code
function data.cifar10(folder)
  local train = {}
  for i = 1, 5 do train[i] = ("data_batch_%d.bin"):format(i) end
  return load_cifar("cifar10", folder, "cifar-10-batches-bin", 1, 10, train, { "test_batch.bin" })
end

--- CIFAR-100, binary version, with its 100 fine labels.
---@param folder? string
---@return lip.dataset? train, lip.dataset|string test, string? code
function data.cifar100(folder)
  return load_cifar("cifar100", folder, "cifar-100-binary", 2, 100, { "train.bin" }, { "test.bin" })
end

return arguments.module("lip.data.", data, {
  mnist = "options options?", fashion_mnist = "options options?", main_dataset = "options options?",
  digits = "options options?", idx = "images text, labels text?", cifar10 = "folder text?", cifar100 = "folder text?",
  download = "urls texts, path text, sha256 text",
})
