-- The sign of life of a process, and a sweep.
--
-- ARGV[5]  the process
-- ARGV[6]  the lease of what it took, in milliseconds
-- ARGV[7]  the lease of its mailboxes, in milliseconds
-- ARGV[8]  the number of its last take that was answered
-- ARGV[9]  milliseconds that a signature is known without being renewed
-- ARGV[10] how many signatures to renew; then these; then those to be forgotten
-- Returns nothing where the process is not registered; else {time in ms, 1 where
-- there was more to sweep, the signatures to renew that were not known any more}.
-- Cost: three commands for each channel to be renewed, and what is due.

-- Keep what a signature reads, and drop the signatures that nobody has kept from
-- the listeners there.
local function renew(signature, known)
  local key = PREFIX .. 'channels:' .. signature
  if call('PEXPIRE', key, known) == 0 then return false end
  for _, mailbox in ipairs(call('SMEMBERS', key)) do
    local listeners = PREFIX .. 'listeners:' .. mailbox
    if call('PEXPIRE', listeners, known * 2) == 0 then
      call('DEL', key)
      return false
    end
    for _, other in ipairs(call('SMEMBERS', listeners)) do
      if call('EXISTS', PREFIX .. 'channels:' .. other) == 0 then
        call('SREM', listeners, other)
      end
    end
  end
  return true
end

local function beat(ARGV)
  begin(ARGV)
  local PROCESS, KNOWN, RENEWED = ARGV[5], ARGV[9], tonumber(ARGV[10])

  if not call('ZSCORE', PREFIX .. 'alive', PROCESS) then return false end
  call('ZADD', PREFIX .. 'alive', NOW + ARGV[6], PROCESS)
  call('ZADD', PREFIX .. 'owners', NOW + ARGV[7], PROCESS)
  if call('LINDEX', PREFIX .. 'taken:' .. PROCESS, 0) == ARGV[8] then
    call('DEL', PREFIX .. 'taken:' .. PROCESS)
  end
  local unknown = {}
  for place = 11, #ARGV do
    local signature = ARGV[place]
    if place <= 10 + RENEWED then
      if not renew(signature, KNOWN) then unknown[#unknown + 1] = signature end
    else
      call('ZREM', PREFIX .. 'waiting:' .. signature, PROCESS)
      call('SREM', PREFIX .. 'listens:' .. PROCESS, signature)
    end
  end
  local more = sweep(tonumber(ARGV[6]), tonumber(ARGV[7]))
  write_counts()
  return {NOW, more and 1 or 0, unknown}
end
