-- Groups.  A membership stands in two places, perhaps on two shards: in the
-- table of its mailbox, whose owner is told of each change by a number, and in
-- the index of its group, by which a sender finds the mailboxes.

-- Changes that are kept for an owner; with more, it gets the whole table.
local MOST_CHANGES = 10000

-- Have the owner of a mailbox read the whole table, the next time.
local function unlist(mailbox)
  local key = PREFIX .. 'changes:' .. mailbox
  local kept = call('PTTL', PREFIX .. 'number:' .. mailbox)
  call('DEL', key)
  call('RPUSH', key, 'all')
  if kept > 0 then call('PEXPIRE', key, kept) end
end

-- Tell the owner of a mailbox of a change to its members.
local function change(mailbox, deadline, group, channel, kept)
  if string.sub(mailbox, -1) ~= '!' then return end
  local number = call('INCR', PREFIX .. 'number:' .. mailbox)
  call('PEXPIRE', PREFIX .. 'number:' .. mailbox, kept)
  local key = PREFIX .. 'changes:' .. mailbox
  local length = call('RPUSH', key, string.format('%d %d %s %s', number, deadline, group, channel))
  if length > MOST_CHANGES then
    unlist(mailbox)
    return
  end
  call('PEXPIRE', key, kept)
  if length == 1 then
    -- The owner asks at once: should this store be lost, it knows its members.
    local owner = call('GET', PREFIX .. 'owner:' .. mailbox)
    if owner then call('PUBLISH', PREFIX .. 'bell:' .. owner, 'members') end
  end
end

-- The side of the mailbox.

local function join(group, channel, lasts, kept)
  local mailbox, deadline = mailbox_of(channel), NOW + lasts
  local key = PREFIX .. 'table:' .. mailbox
  call('ZREMRANGEBYSCORE', key, '-inf', NOW)
  call('ZADD', key, deadline, group .. ' ' .. channel)
  call('PEXPIRE', key, kept)
  call('ZADD', PREFIX .. 'tables', NOW + kept, mailbox)
  call('SADD', PREFIX .. 'in:' .. channel, group)
  call('PEXPIRE', PREFIX .. 'in:' .. channel, kept)
  change(mailbox, deadline, group, channel, kept)
end

local function leave(group, channel, kept)
  local mailbox = mailbox_of(channel)
  call('SREM', PREFIX .. 'in:' .. channel, group)
  if call('ZREM', PREFIX .. 'table:' .. mailbox, group .. ' ' .. channel) == 1 then
    change(mailbox, 0, group, channel, kept)
  end
end

-- End all memberships of a channel; return its groups.
local function forget(channel, kept)
  local mailbox, key = mailbox_of(channel), PREFIX .. 'in:' .. channel
  local groups = call('SMEMBERS', key)
  if #groups == 0 then return groups end
  call('DEL', key)
  for _, group in ipairs(groups) do
    call('ZREM', PREFIX .. 'table:' .. mailbox, group .. ' ' .. channel)
  end
  change(mailbox, 0, '*', channel, kept)
  return groups
end

-- The side of the group.

local function forget_mailbox(group, mailbox)
  call('UNLINK', PREFIX .. 'members:' .. group .. ':' .. mailbox)
  call('HDEL', PREFIX .. 'group:' .. group, mailbox)
  call('ZREM', PREFIX .. 'leaving', group .. ' ' .. mailbox)
  call('SREM', PREFIX .. 'reach:' .. mailbox, group)
end

local function enlist(group, channel, lasts, capacity, flag)
  local mailbox, deadline = mailbox_of(channel), NOW + lasts
  local key = PREFIX .. 'members:' .. group .. ':' .. mailbox
  call('ZADD', key, deadline, channel)
  local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  call('HSET', PREFIX .. 'group:' .. group, mailbox, last .. ' ' .. capacity .. ' ' .. flag)
  call('SADD', PREFIX .. 'reach:' .. mailbox, group)
  call('ZADD', PREFIX .. 'leaving', 'LT', deadline, group .. ' ' .. mailbox)
end

local function strike(group, channel)
  local mailbox = mailbox_of(channel)
  local key = PREFIX .. 'members:' .. group .. ':' .. mailbox
  if call('ZREM', key, channel) == 1 and call('EXISTS', key) == 0 then
    forget_mailbox(group, mailbox)
  end
end

-- Call visit with each mailbox that has members, its capacity and its flag.
local function each_mailbox(group, visit)
  local found = call('HGETALL', PREFIX .. 'group:' .. group)
  for place = 1, #found, 2 do
    local last, capacity, flag = string.match(found[place + 1], '^(%S+) (%S+) (%S+)')
    if tonumber(last) > NOW then visit(found[place], tonumber(capacity), flag) end
  end
end

-- One entry for all members behind a mailbox; a full one misses it.
local function put_group(mailbox, capacity, flag, group, payload)
  if not has_room(mailbox, capacity) then return end
  local head = mailbox .. ' - ' .. flag .. '\n'
  if string.sub(mailbox, -1) == '!' then
    local number = call('GET', PREFIX .. 'number:' .. mailbox) or '0'
    put(mailbox, 'g', head .. group .. ' ' .. number .. '\n' .. payload)
  else
    put(mailbox, 'm', head .. payload)
  end
end

-- Members, and groups, that the end of a mailbox removes in one call: some
-- milliseconds, when a server with ten thousand sockets is gone.
local MOST_ENDED = 1000

-- The end of a mailbox, whose owner is gone; return whether it is over.
local function end_mailbox(mailbox)
  local key, lost = PREFIX .. 'queue:' .. mailbox, 0
  while true do
    local entries = call('LPOP', key, 100)
    if not entries then break end
    for _, entry in ipairs(entries) do
      local _, _, _, receipt = string.match(entry, HEAD)
      lost = lost + 1
      tell(receipt, 'lost')
    end
  end
  if lost > 0 then
    count(mailbox, 'messages_lost_count', lost)
    count(nil, 'gone', lost)
  end
  local members = call('ZPOPMIN', PREFIX .. 'table:' .. mailbox, MOST_ENDED)
  for place = 1, #members, 2 do
    call('DEL', PREFIX .. 'in:' .. string.match(members[place], ' (.*)$'))
  end
  local groups = call('SPOP', PREFIX .. 'reach:' .. mailbox, MOST_ENDED)
  for _, group in ipairs(groups) do forget_mailbox(group, mailbox) end
  if #members == MOST_ENDED * 2 or #groups == MOST_ENDED then return false end
  call('DEL', PREFIX .. 'table:' .. mailbox, PREFIX .. 'changes:' .. mailbox,
    PREFIX .. 'number:' .. mailbox, PREFIX .. 'owner:' .. mailbox)
  call('ZREM', PREFIX .. 'tables', mailbox)
  return true
end
