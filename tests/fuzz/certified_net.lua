-- The net and the rows that certificates among the seeds speak of: made by seeds.lua and by the harness. Every sort of step of
-- the checker is in it: matrices dense and sparse, single values, pairs, segments that wait, are joined and summed up.
return function(core)
  local net = core.net { input = { 1, 3 }, norm = "2", budget = math.huge, init = "he", seed = 2,
    core.scale { factor = 0.5, mean = 0.1 }, core.conv1d { channels = 2, kernel = 2 }, core.relu {}, core.flatten {},
    core.residual { core.dense { out = 4 }, core.tanh {} },
    core.concat { core.chain { core.dense { out = 2 }, core.softplus {} }, core.chain {} },
    core.groupsort { size = 3 }, core.dense { out = 3 } }
  return net, core.rand(core.rng(5), 4, 3)
end
