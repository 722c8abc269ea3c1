-- More was added to the plan of one stage. Nothing happens where that is known, or where the run is another one.
-- KEYS run done   ARGV submission stage rows batches end, then from and until of batch numbers that stay unused
-- Gives 1 when the stage has grown.
local run, done = unpack(KEYS)
local stage, limit = ARGV[2], tonumber(ARGV[5])

if redis.call('HGET', run, 'submission') ~= ARGV[1] then return 0 end
local known = tonumber(redis.call('HGET', run, stage .. '.end') or 0)
if limit <= known then return 0 end
for place = 6, #ARGV, 2 do
  for batch = math.max(tonumber(ARGV[place]), known), tonumber(ARGV[place + 1]) - 1 do
    redis.call('SETBIT', done, batch, 1)
  end
end
redis.call('HSET', run, stage .. '.rows', ARGV[3], stage .. '.batches', ARGV[4], stage .. '.end', ARGV[5])
return 1
