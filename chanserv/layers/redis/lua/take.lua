-- Take what waits, or begin to wait.
--
-- ARGV[5]  the process
-- ARGV[6]  the number of this take: 1, 2, ... for each process
-- ARGV[7]  milliseconds that a signature is known without being renewed
-- then for each ask: its signature, how many entries it wants, how many
-- channels it reads, and these, the ones to look at first before the others
-- Returns nothing where the process is not registered; else {time in ms, feeds,
-- the entries of the first ask, of the second, ...}.  An ask without entries has
-- its process among those that wait; one that is answered with 0 was not looked
-- at to the end, and is to be asked again.  What it brought is kept until the next
-- take, for a process whose connection is lost before the answer.
-- Cost: a command for each channel, and some two for each entry.
-- An answer that is longer than this is not made longer still.
local MOST_BYTES = 4194304
-- Entries that are popped at once.
local SLICE = 256

local PROCESS, NUMBER, KNOWN, entries, bytes, leases

-- Take up to that many entries out of one queue; return how many.
local function pop(mailbox, most, into)
  local key, got, expired, slice = PREFIX .. 'queue:' .. mailbox, 0, 0, 1
  while got < most and bytes < MOST_BYTES do
    local popped = call('LPOP', key, math.min(slice, most - got))
    if not popped then break end
    for _, entry in ipairs(popped) do
      local _, deadline, _, receipt, flag = string.match(entry, HEAD)
      if tonumber(deadline) <= NOW then
        expired = expired + 1
        tell(receipt, 'expired')
      else
        if receipt ~= '-' or flag == 'r' then
          leases[#leases + 1] = NUMBER .. ':' .. #entries
          leases[#leases + 1] = flag == 'r' and entry or string.match(entry, '^[^\n]*\n')
        end
        got, bytes = got + 1, bytes + #entry
        entries[#entries + 1] = entry
        into[#into + 1] = entry
      end
    end
    slice = math.max(1, math.min(SLICE, slice * 4, (MOST_BYTES - bytes) * #entries / (bytes + 1)))
    slice = math.floor(slice)
  end
  if expired > 0 then count(mailbox, 'messages_expired_count', expired) end
  if got + expired > 0 then count(nil, 'gone', got + expired) end
  return got
end

local function any_waits(channels)
  for _, mailbox in ipairs(channels) do
    if call('EXISTS', PREFIX .. 'queue:' .. mailbox) == 1 then return true end
  end
  return false
end

-- Take for one ask, an equal share out of each queue that has something.
local function collect(channels, limit)
  local into, found, left = {}, {}, limit
  for _, mailbox in ipairs(channels) do
    if call('EXISTS', PREFIX .. 'queue:' .. mailbox) == 1 then found[#found + 1] = mailbox end
  end
  while left > 0 and #found > 0 and bytes < MOST_BYTES do
    local share, rest = math.max(1, math.floor(left / #found)), {}
    for _, mailbox in ipairs(found) do
      left = left - pop(mailbox, math.min(share, left), into)
      if call('EXISTS', PREFIX .. 'queue:' .. mailbox) == 1 then rest[#rest + 1] = mailbox end
    end
    found = rest
  end
  -- What is left behind is for the next who waits.
  for _, mailbox in ipairs(found) do ring(mailbox) end
  return into
end

local function wait(signature, channels)
  local key = PREFIX .. 'channels:' .. signature
  if call('EXISTS', key) == 0 then
    call_in_parts('SADD', key, channels)
    call('PEXPIRE', key, KNOWN)
    for _, mailbox in ipairs(channels) do
      call('SADD', PREFIX .. 'listeners:' .. mailbox, signature)
      call('PEXPIRE', PREFIX .. 'listeners:' .. mailbox, KNOWN * 2)
    end
  end
  call('SADD', PREFIX .. 'listens:' .. PROCESS, signature)
  call('ZADD', PREFIX .. 'waiting:' .. signature, 'NX', CLOCK, PROCESS)
  for _, mailbox in ipairs(channels) do silent[mailbox] = nil end
end

local function take(ARGV)
  begin(ARGV)
  PROCESS, NUMBER, KNOWN = ARGV[5], ARGV[6], ARGV[7]
  entries, bytes, leases = {}, 0, {}
  if not call('ZSCORE', PREFIX .. 'alive', PROCESS) then return false end
  local at, feeds, answer = 8, {}, {NOW, false}
  while at <= #ARGV do
    local signature, limit, number = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local channels = {}
    for place = at + 3, at + 2 + number do
      local mailbox = ARGV[place]
      channels[#channels + 1] = mailbox
      if string.sub(mailbox, -1) == '!' then feeds[#feeds + 1] = feed(PROCESS, mailbox) end
    end
    at = at + 3 + number
    local before, into = puts, collect(channels, limit)
    if #into == 0 then
      -- The answer may be full; or what has expired has given a receipt here.
      if (bytes >= MOST_BYTES or puts > before) and any_waits(channels) then
        into = 0
      else
        wait(signature, channels)
      end
    end
    answer[#answer + 1] = into
  end
  answer[2] = feeds
  if #leases > 0 then call_in_parts('HSET', PREFIX .. 'leases:' .. PROCESS, leases) end
  if #entries > 0 then
    local key = PREFIX .. 'taken:' .. PROCESS
    call('DEL', key)
    call('RPUSH', key, NUMBER)
    call_in_parts('RPUSH', key, entries)
  end
  write_counts()
  return answer
end
