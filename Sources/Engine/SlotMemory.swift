#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The memory of a table's slots. What is large is the system's own pages: tables grow all the time,
/// and what a smaller one leaves in an allocator fits nothing that is asked for later.
enum SlotMemory {
  private static let mappedBytesMin = 16 << 10

  /// - Returns: that many zeros.
  static func allocate(_ count: Int) -> UnsafeMutablePointer<UInt64> {
    guard count * 8 >= mappedBytesMin else {
      let slots = UnsafeMutablePointer<UInt64>.allocate(capacity: count)
      slots.initialize(repeating: 0, count: count)
      return slots
    }
    #if canImport(Darwin)
      let flags = MAP_PRIVATE | MAP_ANON
    #else
      // All of it is used at once. Page by page it would be a fault for each, and two where the first look at a page
      // finds zeros that are not its own yet.
      let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE
    #endif
    guard let pages = mmap(nil, count * 8, PROT_READ | PROT_WRITE, flags, -1, 0),
      pages != UnsafeMutableRawPointer(bitPattern: -1)
    else { fatalError("out of memory: \(count * 8) bytes for a table of keys") }
    return pages.bindMemory(to: UInt64.self, capacity: count)
  }

  /// - Parameter count: as it was allocated.
  static func deallocate(_ slots: UnsafeMutablePointer<UInt64>, _ count: Int) {
    if count * 8 >= mappedBytesMin {
      munmap(slots, count * 8)
    } else {
      slots.deallocate()
    }
  }
}
