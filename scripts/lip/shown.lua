--- A value in a message: as print shows it, but NaN without its sign, which means nothing.
---@return string
return function(v)
  return v ~= v and "nan" or tostring(v)
end
