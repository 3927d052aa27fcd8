-- What the owner of a mailbox learns of its members.

-- Whether a process may own mailboxes: it is registered, and its end has not begun.
local function may_own(process)
  local until_when = call('ZSCORE', PREFIX .. 'owners', process)
  return until_when and tonumber(until_when) > 0
end

-- The whole table: {mailbox, 'all', number of the last change, member, until, ...}.
local function whole_table(mailbox)
  call('DEL', PREFIX .. 'changes:' .. mailbox)
  local members = call('ZRANGEBYSCORE', PREFIX .. 'table:' .. mailbox, '(' .. NOW, '+inf',
    'WITHSCORES')
  return {mailbox, 'all', call('GET', PREFIX .. 'number:' .. mailbox) or '0', members}
end

-- The changes since the last take: {mailbox, 'more', 0, changes}.  Whoever takes
-- from a mailbox for the first time becomes its owner: it gets all changes that
-- there ever were, {mailbox, 'new', 0, changes}, since older messages may wait
-- for it; or, where some of them are gone with an owner before it, the table.
local function feed(process, mailbox)
  local key = PREFIX .. 'owner:' .. mailbox
  local owner = call('GET', key)
  if owner ~= process then
    if owner then call('SREM', PREFIX .. 'owns:' .. owner, mailbox) end
    call('SET', key, process)
    call('SADD', PREFIX .. 'owns:' .. process, mailbox)
    local number = tonumber(call('GET', PREFIX .. 'number:' .. mailbox) or 0)
    if call('LLEN', PREFIX .. 'changes:' .. mailbox) ~= number then
      return whole_table(mailbox)
    end
  end
  local changes = call('LRANGE', PREFIX .. 'changes:' .. mailbox, 0, -1)
  -- There were too many to be kept, or they are not what they should be.
  if changes[1] == 'all' then return whole_table(mailbox) end
  if #changes == 0 and owner == process then return nil end
  call('DEL', PREFIX .. 'changes:' .. mailbox)
  return {mailbox, owner == process and 'more' or 'new', '0', changes}
end
