-- The changes to the members behind the mailboxes of a process.
--
-- ARGV[5]  the process
-- Returns the changes of each mailbox that it took from last: see feed.lua.
-- Cost: two commands for each mailbox.
local feeds = {}
for _, mailbox in ipairs(call('SMEMBERS', PREFIX .. 'owns:' .. ARGV[5])) do
  if call('GET', PREFIX .. 'owner:' .. mailbox) == ARGV[5] then
    feeds[#feeds + 1] = feed(ARGV[5], mailbox)
  end
end
return feeds
