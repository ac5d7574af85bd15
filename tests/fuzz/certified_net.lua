-- The net and the rows that certificates among the seeds speak of: made by seeds.lua and by the harness.
return function(core)
  local net = core.net { input = 3, norm = "2", budget = 3, init = "he", seed = 2,
    core.dense { out = 4 }, core.relu {}, core.dense { out = 4 }, core.maxmin {}, core.dense { out = 3 } }
  return net, core.rand(core.rng(5), 4, 3)
end
