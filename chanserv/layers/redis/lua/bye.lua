-- The end of a process, by its own word.
--
-- ARGV[5]  the process
-- Cost: in proportion to what it has not settled and what waits for it.
local function bye(ARGV)
  begin(ARGV)
  end_reader(ARGV[5])
  end_owner(ARGV[5])
  write_counts()
  return 1
end
