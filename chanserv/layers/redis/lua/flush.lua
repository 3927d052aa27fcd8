-- Forget all messages, groups and counts; readers wait on.
--
-- Returns nothing.  Every process is told, by a bell that says "flush", to
-- forget what it knows of its members.
-- The counts of single channels are left, for the caller to remove by SCAN.
-- Cost: in proportion to all that there is; flush is for tests and operators.
local function members_of(key) return call('ZRANGE', PREFIX .. key, 0, -1) end

local function flush(ARGV)
  begin(ARGV)
  for _, mailbox in ipairs(members_of('due')) do
    call('UNLINK', PREFIX .. 'queue:' .. mailbox, STATS .. 'of:' .. mailbox)
  end
  for _, gathering in ipairs(members_of('leaving')) do
    local group, mailbox = string.match(gathering, '^(%S+) (%S+)$')
    call('UNLINK', PREFIX .. 'members:' .. group .. ':' .. mailbox, PREFIX .. 'group:' .. group,
      PREFIX .. 'reach:' .. mailbox)
  end
  for _, mailbox in ipairs(members_of('tables')) do
    for _, member in ipairs(members_of('table:' .. mailbox)) do
      call('UNLINK', PREFIX .. 'in:' .. string.match(member, ' (.*)$'))
    end
    call('UNLINK', PREFIX .. 'table:' .. mailbox, PREFIX .. 'changes:' .. mailbox,
      PREFIX .. 'number:' .. mailbox, PREFIX .. 'owner:' .. mailbox)
  end
  for _, process in ipairs(members_of('owners')) do
    for _, mailbox in ipairs(call('SMEMBERS', PREFIX .. 'owns:' .. process)) do
      call('UNLINK', PREFIX .. 'owner:' .. mailbox, PREFIX .. 'changes:' .. mailbox)
    end
    call('UNLINK', PREFIX .. 'leases:' .. process, PREFIX .. 'taken:' .. process)
    call('PUBLISH', PREFIX .. 'bell:' .. process, 'flush')
  end
  call('UNLINK', PREFIX .. 'due', PREFIX .. 'leaving', PREFIX .. 'tables', STATS .. 'all')
end
