-- A running run whose every planned batch is done becomes complete, in one step.
-- Its keys are forgotten after so many seconds.
-- KEYS runs run other keys of the run...   ARGV run_id seconds stage...   Gives 1 when it is complete now.
local runs, run = KEYS[1], KEYS[2]

if redis.call('HGET', run, 'state') ~= 'running' then return 0 end
for place = 3, #ARGV do
  local planned = tonumber(redis.call('HGET', run, ARGV[place] .. '.batches') or 0)  -- not every run has every stage
  local done = tonumber(redis.call('HGET', run, ARGV[place] .. '.batches_done') or 0)
  if done < planned then return 0 end
end
redis.call('HSET', run, 'state', 'complete', 'reason', '')
redis.call('SREM', runs, ARGV[1])
for place = 2, #KEYS do redis.call('EXPIRE', KEYS[place], ARGV[2]) end
return 1
