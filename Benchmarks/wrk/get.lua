-- wrk -t1 -c64 -d5s -s Benchmarks/wrk/get.lua http://127.0.0.1:8080, after set.lua
request = function()
  return wrk.format("GET", "/get?key=key" .. math.random(1, 100000))
end
