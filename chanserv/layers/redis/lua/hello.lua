-- Register a process, or find it again on a new connection.
--
-- ARGV[5]  the process
-- ARGV[6]  the lease of what it took, in milliseconds
-- ARGV[7]  the lease of its mailboxes, in milliseconds
-- ARGV[8]  the number of a take whose answer it did not get, or 0
-- ARGV[9]  what to tell this store from another by, if it is new
-- Returns {time in ms, whether the process was known as a reader, whether as an
-- owner, what this store is told by, the entries of that take, the tables of the
-- mailboxes that it owns}.
-- Cost: in proportion to what it returns.
local function hello(ARGV)
  begin(ARGV)
  local PROCESS = ARGV[5]

  local known = call('ZSCORE', PREFIX .. 'alive', PROCESS)
  local owner = may_own(PROCESS)
  call('ZADD', PREFIX .. 'alive', NOW + ARGV[6], PROCESS)
  call('ZADD', PREFIX .. 'owners', NOW + ARGV[7], PROCESS)
  call('SET', PREFIX .. 'born', ARGV[9], 'NX')
  local entries = {}
  if owner and ARGV[8] ~= '0' and call('LINDEX', PREFIX .. 'taken:' .. PROCESS, 0) == ARGV[8] then
    entries = call('LRANGE', PREFIX .. 'taken:' .. PROCESS, 1, -1)
  end
  local tables = {}
  for _, mailbox in ipairs(call('SMEMBERS', PREFIX .. 'owns:' .. PROCESS)) do
    if call('GET', PREFIX .. 'owner:' .. mailbox) == PROCESS then
      tables[#tables + 1] = whole_table(mailbox)
    end
  end
  return {NOW, known and 1 or 0, owner and 1 or 0, call('GET', PREFIX .. 'born'), entries, tables}
end
