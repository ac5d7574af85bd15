--- lip.loss.custom(f): a loss from a function that is written forwards only.
--
--   local focal = lip.loss.custom(function(z, y)
--     local log_p = z:gather(y) - z:logsumexp(2)
--     return ((1 - log_p:exp()) ^ 2 * -log_p):mean()
--   end)
--   lip.train(net, data, { loss = focal })
--
-- f(z, y, x, net) gets the outputs (B, C), which are what is differentiated, and the labels (B) or values, the inputs and
-- the net as they are; it returns the mean over the rows. The net must not run in it: see lip.loss.explicit, which a
-- custom loss is made of.
local lip = require "lip.core"
local arguments = require "lip.arguments"
local callback = require "lip.callback"
local calls = require "lip.grad.call"

local function custom(f)
  return lip.loss.explicit(function(z, y, x, net, gradient)
    if not gradient then return calls.value(f, "the loss", z, y, x, net) end
    return calls.value_and_gradients(f, "the loss", 1, z, y, x, net)
  end, ("custom (%s)"):format(callback.where(f)))
end

return arguments.checked("lip.loss.custom", "f callable", custom)
