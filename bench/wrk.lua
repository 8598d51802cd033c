-- What wrk is to ask, by the arguments after `--`, and its figures as one line of JSON.
--   plain                    the URL as it is
--   distinct PREFIX          another id each time: the URL followed by PREFIX and a number, 10 letters in all
--   keys COUNT               COUNT ids in turn
--   headers COUNT            COUNT headers of a usual size
--   upload BYTES             a body
local make

function init(args)
   local kind, value = args[1] or "plain", args[2]
   if kind == "distinct" then
      local number, format = 0, value .. "%0" .. (10 - #value) .. "d"
      make = function()
         number = number + 1
         return wrk.format(nil, wrk.path .. string.format(format, number))
      end
   elseif kind == "keys" then
      local number, ready = 0, {}
      for n = 1, tonumber(value) do
         ready[n] = wrk.format(nil, wrk.path .. string.format("1_%08d", n))
      end
      make = function()
         number = number % #ready + 1
         return ready[number]
      end
   else
      if kind == "headers" then
         for n = 1, tonumber(value) do
            wrk.headers["X-Header-" .. n] = "a value of a usual length"
         end
      elseif kind == "upload" then
         wrk.method = "POST"
         wrk.headers["Content-Type"] = "application/octet-stream"
         wrk.body = string.rep("u", tonumber(value))
      end
      local ready = wrk.format()
      make = function() return ready end
   end
end

function request()
   return make()
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"operations": %d, "seconds": %.6f, "bytes": %d, "p50_us": %d, "p99_us": %d, "errors": %d}\n',
      summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
