-- A running run whose every planned batch is done becomes complete, in one step.
-- KEYS run runs   ARGV run_id stage...   Gives 1 when it is complete now.
local run, runs = KEYS[1], KEYS[2]

if redis.call('HGET', run, 'state') ~= 'running' then return 0 end
for place = 2, #ARGV do
  local planned = tonumber(redis.call('HGET', run, ARGV[place] .. '.batches'))
  local done = tonumber(redis.call('HGET', run, ARGV[place] .. '.batches_done') or 0)
  if not planned or done < planned then return 0 end
end
redis.call('HSET', run, 'state', 'complete', 'reason', '')
redis.call('SREM', runs, ARGV[1])
return 1
