-- A script for test_trial.lua: trains twice, with everything that has a memory, or goes wrong as its setting says.
local lip = require "lip"

local args = lip.args{
  how = "well", epochs = 6, lr = 0.02, seed = 1, pause = 0, widths = { 8, 8 },
}

local ways = {}
function ways.error() error "this went wrong" end
function ways.object() error(setmetatable({}, { __tostring = function() return "an object" end })) end
function ways.exit() os.exit(3) end
function ways.leave() os.exit(true) end
function ways.nothing() return "finished" end
function ways.refused() return "finished", nil, "the file is gone", "not_found" end
function ways.text() return "finished", "no row" end
function ways.nan() return "finished", { clean = 0 / 0 } end
function ways.missing() return "finished", { dirty = 1 } end
function ways.bytes() error "no text: \xff\xfe" end
function ways.crash() os.execute("kill -ABRT " .. lip.process.self().pid) end
function ways.memory()
  local all = {}
  for i = 1, 1000 do all[i] = ("x"):rep(1 << 20) .. i end
  error(#all .. " times a megabyte was there")
end
function ways.chatter()
  for _ = 1, 40000 do print(("x"):rep(1000)) end
  io.stderr:write(("y"):rep(1000), "\n")
  return "finished", { clean = 1 }
end
function ways.wait()
  print "waiting"
  while true do lip.process.sleep(10) end
end

local way = ways[args.how]
if way then
  local done, row, message, code = way()
  if done then return row, message, code end
end

local rng, n = lip.rng(3), 200
local x, y = lip.zeros(n, 6), {}
x:normal_(rng, 0, 1)
for i = 1, n do y[i] = x:get(i, 1) * x:get(i, 2) + 0.3 * x:get(i, 3) > 0 and 1 or 0 end
local data = lip.data.tensors(x, y):named "points"

local function train(norm, loss)
  local net = lip.net{
    input = 6, norm = norm, budget = 5, seed = args.seed,
    lip.dense{ out = args.widths[1] }, lip.relu{}, lip.dropout{ rate = 0.2 }, lip.dense{ out = args.widths[2] },
    lip.relu{}, lip.dense{ out = 2 },
  }
  local result = assert(lip.train(net, data, {
    epochs = args.epochs, batch = 32, seed = args.seed, loss = loss, validation = data,
    opt = lip.optim.amsgrad{ lr = args.lr }, schedule = lip.schedule.cosine{},
    on_batch = function() if args.pause > 0 then lip.process.sleep(args.pause) end end,
  }))
  return net, result
end

local function broken(z, labels)
  return 0 / 0, select(2, lip.loss.cross_entropy{}:gradient(z, labels))
end

local first, result = train("inf", args.how == "diverge" and broken or nil)
local second, again = train("2", function(z, labels) return lip.loss.cross_entropy{}:gradient(z, labels) end)
lip.trial.file("figure", "drawn/by_hand.txt")
print("threads", lip.threads())
return {
  clean = first:evaluate(data).accuracy, loss = result.loss, epochs = #result.history, first = result.history[1].loss,
  second_loss = again.loss, upper = second:bound().upper,
}
