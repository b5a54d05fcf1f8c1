-- wrk -t1 -c64 -d5s -s Benchmarks/wrk/set.lua http://127.0.0.1:8080
local value = string.rep("x", 100)
request = function()
  return wrk.format("GET", "/set?key=key" .. math.random(1, 100000) .. "&value=" .. value)
end
