-- wrk -t1 -c64 -d5s -s Benchmarks/wrk/rest.lua http://127.0.0.1:8080, after kv bench --load always
request = function()
  return wrk.format("GET", string.format("/kv/key:%012d", math.random(0, 99999)))
end
