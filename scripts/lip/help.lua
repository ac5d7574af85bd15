--- help(): what there is; help "dense" or help(lip.dense): one thing.
local lip = require "lip.core"

local function help()
  print("lipwb " .. lip.version)
end

return help
