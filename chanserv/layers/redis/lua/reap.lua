-- The end of a process, and what falls due.

-- The part of a reader's lease, two signs of life long, after which a sweep takes it
-- that the server was stopped or everybody away: then nobody is dead before he has
-- had time to say otherwise.
local LONG_AGO = 4 / 7
-- What one sweep looks at of each kind, so that none takes more than some milliseconds;
-- and the messages that it drops in all.
local PROCESSES, QUEUES, ENTRIES, GATHERINGS = 10, 100, 1000, 100

local function before(one, other)
  if one[1] == other[1] then return one[2] < other[2] end
  return one[1] < other[1]
end

-- Keep of the last take what is not leased: answers and receipts, say, that nobody
-- else can use.  Should the process come back before its mailboxes end, it may not
-- have had them.
local function keep_unleased(key)
  local taken = call('LRANGE', key, 0, -1)
  if #taken == 0 then return end
  local kept = {taken[1]}
  for place = 2, #taken do
    local _, _, _, receipt, flag = string.match(taken[place], HEAD)
    if receipt == '-' and flag ~= 'r' then kept[#kept + 1] = taken[place] end
  end
  call('DEL', key)
  call_in_parts('RPUSH', key, kept)
end

-- Its leases are lost, and others read what it waited for.
local function end_reader(process)
  local key = PREFIX .. 'leases:' .. process
  local found, leases = call('HGETALL', key), {}
  for place = 1, #found, 2 do
    local take, index = string.match(found[place], '^(%d+):(%d+)$')
    leases[#leases + 1] = {tonumber(take), tonumber(index), found[place + 1]}
  end
  table.sort(leases, before)
  -- The last first: each is put before the others.
  for place = #leases, 1, -1 do lose(leases[place][3]) end
  call('DEL', key)
  keep_unleased(PREFIX .. 'taken:' .. process)
  local signatures = call('SMEMBERS', PREFIX .. 'listens:' .. process)
  for _, signature in ipairs(signatures) do
    call('ZREM', PREFIX .. 'waiting:' .. signature, process)
  end
  for _, signature in ipairs(signatures) do
    for _, mailbox in ipairs(call('SMEMBERS', PREFIX .. 'channels:' .. signature)) do
      ring_if_any(mailbox)
    end
  end
  call('DEL', PREFIX .. 'listens:' .. process)
  call('ZREM', PREFIX .. 'alive', process)
end

-- Its mailboxes end, and with them the memberships; return whether that is over.
-- Until it is, the process is no owner any more: see may_own.
local function end_owner(process)
  local key = PREFIX .. 'owns:' .. process
  for _, mailbox in ipairs(call('SMEMBERS', key)) do
    if call('GET', PREFIX .. 'owner:' .. mailbox) == process and not end_mailbox(mailbox) then
      call('ZADD', PREFIX .. 'owners', 0, process)
      return false
    end
  end
  call('DEL', key, PREFIX .. 'taken:' .. process)
  call('ZREM', PREFIX .. 'owners', process)
  return true
end

-- Drop what is due; return whether there is more.
local function drop_queues()
  local due = call('ZRANGEBYSCORE', PREFIX .. 'due', '-inf', NOW, 'LIMIT', 0, QUEUES)
  local left = ENTRIES
  for _, mailbox in ipairs(due) do
    left = left - drop_due(mailbox, left)
    if left == 0 then return true end
    local first = call('LINDEX', PREFIX .. 'queue:' .. mailbox, 0)
    if first then
      local _, deadline = string.match(first, HEAD)
      call('ZADD', PREFIX .. 'due', deadline, mailbox)
    else
      call('ZREM', PREFIX .. 'due', mailbox)
    end
  end
  return #due == QUEUES
end

local function drop_members()
  local leaving = PREFIX .. 'leaving'
  local due = call('ZRANGEBYSCORE', leaving, '-inf', NOW, 'LIMIT', 0, GATHERINGS)
  for _, gathering in ipairs(due) do
    local group, mailbox = string.match(gathering, '^(%S+) (%S+)$')
    local key = PREFIX .. 'members:' .. group .. ':' .. mailbox
    call('ZREMRANGEBYSCORE', key, '-inf', NOW)
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[2] then
      call('ZADD', leaving, first[2], gathering)
    else
      forget_mailbox(group, mailbox)
    end
  end
  call('ZREMRANGEBYSCORE', PREFIX .. 'tables', '-inf', NOW)
  return #due == GATHERINGS
end

local function bear_with(key, lease)
  for _, process in ipairs(call('ZRANGEBYSCORE', key, '(0', NOW + lease)) do
    call('ZADD', key, NOW + lease, process)
  end
end

-- End who is dead and drop what is due; return whether there is more.
local function sweep(reader_lease, owner_lease)
  local alive, owners = PREFIX .. 'alive', PREFIX .. 'owners'
  local last = tonumber(call('GET', PREFIX .. 'swept') or 0)
  call('SET', PREFIX .. 'swept', string.format('%d', NOW))
  if NOW - last > LONG_AGO * reader_lease then
    bear_with(alive, reader_lease)
    bear_with(owners, owner_lease)
  end
  local dead = call('ZRANGEBYSCORE', alive, '-inf', NOW, 'LIMIT', 0, PROCESSES)
  for _, process in ipairs(dead) do end_reader(process) end
  local gone = call('ZRANGEBYSCORE', owners, '-inf', NOW, 'LIMIT', 0, PROCESSES)
  local owners_left = #gone == PROCESSES
  for _, process in ipairs(gone) do
    if not end_owner(process) then
      owners_left = true
      break
    end
  end
  local queues, members = drop_queues(), drop_members()
  return #dead == PROCESSES or owners_left or queues or members
end
