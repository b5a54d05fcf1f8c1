import CMemory

/// What the process takes of the machine's memory.
public enum ProcessMemory {
  /// Keeps little of what is freed. To be called when the process begins.
  public static func configure() { shiplog_memory_configure() }

  /// Gives back what only the start needed: what its buffers leave in the allocator, and the pages of
  /// the program and its libraries, of which most are never used again. Those that are come back at
  /// their next use, from the page cache. To be called once, when a start is done.
  public static func giveBack() {
    shiplog_memory_trim()
    shiplog_memory_unmap_code()
  }
}
