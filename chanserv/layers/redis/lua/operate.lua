-- Many operations, in their order: all that one consumer did, in one trip.
--
-- ARGV[5]  the process that asks
-- ARGV[6]  milliseconds that what belongs to groups is kept
-- then for each operation its letter and its arguments:
--   s mailbox capacity rest           send; rest is the entry after its deadline
--   g group payload                   send to all members of a group, all on this shard
--   p mailbox capacity flag group payload  send to a group's members behind one mailbox
--   t lease outcome                   settle
--   j group channel lasts             begin or renew a membership, on the mailbox's side
--   e group channel lasts capacity flag  the same on the group's side
--   l group channel                   end a membership, on the mailbox's side
--   x group channel                   the same on the group's side
--   f channel                         end all memberships of a channel, all on this shard
--   h channel                         the same on the mailbox's side: returns the groups
--   d mailbox                         have the mailbox's owner read its whole table
--   b lease entry                     put an entry back to the front; its lease, or -
--   n signature                       ring the next reader for what waits there
--   u mailbox                         count a message that could not be used
--   o receipt                         tell of a message that was lost with its store
-- Returns a list, empty for the most part: for each operation with something to
-- tell {its place, ...}: of s {place, depth, age in ms} where the mailbox is
-- full; of h {place, group, ...}.
-- Cost: some ten commands for a send; for g, one send for each mailbox reached.
-- Without the part "groups" it knows s, t, b, n, u and o.
local at

local function arguments(ARGV, number)
  local first = at
  at = at + number
  return unpack(ARGV, first, at - 1)
end

local function operate(ARGV)
  begin(ARGV)
  local PROCESS, KEPT = ARGV[5], tonumber(ARGV[6])
  local place, results = 0, {}
  at = 7
  -- No table of functions: to make these would cost more than most operations.
  while at <= #ARGV do
    local letter = ARGV[at]
    at = at + 1
    if letter == 's' then
      local mailbox, capacity, rest = arguments(ARGV, 3)
      if has_room(mailbox, tonumber(capacity)) then
        put(mailbox, 'm', rest)
      else
        results[#results + 1] = {place, call('LLEN', PREFIX .. 'queue:' .. mailbox), age(mailbox)}
      end
    elseif letter == 'g' then
      local group, payload = arguments(ARGV, 2)
      each_mailbox(group, function(mailbox, capacity, flag)
        put_group(mailbox, capacity, flag, group, payload)
      end)
    elseif letter == 'p' then
      local mailbox, capacity, flag, group, payload = arguments(ARGV, 5)
      put_group(mailbox, tonumber(capacity), flag, group, payload)
    elseif letter == 't' then
      local lease, outcome = arguments(ARGV, 2)
      settle(PROCESS, lease, outcome)
    elseif letter == 'j' then
      local group, channel, lasts = arguments(ARGV, 3)
      join(group, channel, tonumber(lasts), KEPT)
    elseif letter == 'e' then
      local group, channel, lasts, capacity, flag = arguments(ARGV, 5)
      enlist(group, channel, tonumber(lasts), capacity, flag)
    elseif letter == 'l' then
      local group, channel = arguments(ARGV, 2)
      leave(group, channel, KEPT)
    elseif letter == 'x' then
      local group, channel = arguments(ARGV, 2)
      strike(group, channel)
    elseif letter == 'f' then
      local channel = arguments(ARGV, 1)
      for _, group in ipairs(forget(channel, KEPT)) do strike(group, channel) end
    elseif letter == 'h' then
      local channel = arguments(ARGV, 1)
      local groups = forget(channel, KEPT)
      table.insert(groups, 1, place)
      results[#results + 1] = groups
    elseif letter == 'd' then
      local mailbox = arguments(ARGV, 1)
      unlist(mailbox)
    elseif letter == 'b' then
      local lease, entry = arguments(ARGV, 2)
      -- Of a lease that has ended, another reader has it, or nobody ever will.
      if lease == '-' or call('HDEL', PREFIX .. 'leases:' .. PROCESS, lease) == 1 then
        put_first(entry)
      end
    elseif letter == 'n' then
      local signature = arguments(ARGV, 1)
      for _, mailbox in ipairs(call('SMEMBERS', PREFIX .. 'channels:' .. signature)) do
        ring_if_any(mailbox)
      end
    elseif letter == 'u' then
      local mailbox = arguments(ARGV, 1)
      count(mailbox, 'messages_lost_count', 1)
    elseif letter == 'o' then
      local receipt = arguments(ARGV, 1)
      count(nil, 'messages_lost_count', 1)
      tell(receipt, 'lost')
    end
    place = place + 1
  end
  write_counts()
  return results
end
