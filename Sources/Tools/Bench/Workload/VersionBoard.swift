import Client
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What is known of each key: the newest version that was acknowledged, which writes are under way, and
/// when the last one was acknowledged. Judges what reads return by that.
///
/// In a leaderless set versions have no order: there it is contexts that are judged, and all that the order
/// tells is whether a key is there.
///
/// `@unchecked Sendable`: the cells are atomics in memory that lives as long as the board.
package final class VersionBoard: @unchecked Sendable {
  /// All zeros is a key of which nothing is known.
  private struct Cell: ~Copyable {
    let acknowledged: Atomic<UInt64>
    /// Writes that have begun, above those that have ended: 32 bits each.
    let writes: Atomic<UInt64>
    let time: Atomic<UInt64>
  }

  /// What was known when a read began.
  package struct Mark: Sendable {
    var acknowledged: UInt64 = 0
    var writes: UInt64 = 0
    var context = KVContext()

    package init() {}
  }

  package enum Verdict: Sendable {
    /// No write was under way, and nothing older was returned than what was acknowledged.
    case fresh
    /// A write of the key was under way meanwhile: its version and the one before are both right.
    case concurrent
    /// Less than a version that was acknowledged before the read began, or nothing.
    case stale
  }

  private let cells: UnsafeMutablePointer<Cell>
  private let bytes: Int
  private let contexts: ContextBoard?

  /// Memory is taken when a key is first touched, 24 bytes, and its context.
  ///
  /// - Parameter judgesContexts: of a leaderless set.
  package init(keys: UInt64, judgesContexts: Bool = false) throws(BenchError) {
    contexts = judgesContexts ? ContextBoard() : nil
    bytes = max(1, Int(keys)) * MemoryLayout<Cell>.stride
    let memory = mmap(
      nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let memory, memory != MAP_FAILED else {
      let reason = String(cString: strerror(errno))
      throw .system("no memory for the versions of \(keys) keys: \(reason)")
    }
    cells = memory.bindMemory(to: Cell.self, capacity: max(1, Int(keys)))
  }

  deinit { munmap(cells, bytes) }

  /// Versions of one history in their order: of a later epoch all are newer. 0 is for absent.
  package static func order(version: UInt64, epoch: UInt64) -> UInt64 {
    min(epoch, 0x7_FFFF) << 44 | min(version, (1 << 44) - 1)
  }

  /// What takes the place of that where versions have none, of a key that is there.
  package static let presence: UInt64 = 1

  package func writeBegan(_ key: UInt64) {
    cells[Int(key)].writes.add(1 << 32, ordering: .acquiringAndReleasing)
  }

  /// - Parameter context: what it was told to have seen; of a leaderless set.
  package func writeAcknowledged(
    _ key: UInt64, order: UInt64, context: KVContext = KVContext(), now: UInt64
  ) {
    cells[Int(key)].time.store(now, ordering: .relaxed)
    contexts?.acknowledged(key, context)
    cells[Int(key)].acknowledged.max(order, ordering: .acquiringAndReleasing)
    cells[Int(key)].writes.add(1, ordering: .acquiringAndReleasing)
  }

  /// It has failed, or nobody knows: it promises nothing.
  package func writeFailed(_ key: UInt64) {
    cells[Int(key)].writes.add(1, ordering: .acquiringAndReleasing)
  }

  /// The key was stored before the run: it has some version.
  package func keyIsPresent(_ key: UInt64) {
    cells[Int(key)].acknowledged.max(1, ordering: .relaxed)
  }

  package func readBegan(_ key: UInt64) -> Mark {
    var mark = Mark()
    // First: a write that is acknowledged between the two looks has ended in the second.
    mark.writes = cells[Int(key)].writes.load(ordering: .acquiring)
    mark.acknowledged = cells[Int(key)].acknowledged.load(ordering: .acquiring)
    if let contexts { mark.context = contexts.context(of: key) }
    return mark
  }

  /// - Parameters:
  ///   - order: of the version that was returned; 0 for an absent key.
  ///   - context: what the answer was told to have seen; of a leaderless set.
  package func judge(
    _ key: UInt64, since mark: Mark, order: UInt64, context: KVContext = KVContext()
  ) -> Verdict {
    if order < mark.acknowledged || !context.covers(mark.context) { return .stale }
    let began = mark.writes >> 32
    let wasUnderWay = began & 0xFFFF_FFFF != mark.writes & 0xFFFF_FFFF
    let hasBegun = cells[Int(key)].writes.load(ordering: .acquiring) >> 32 != began
    return wasUnderWay || hasBegun ? .concurrent : .fresh
  }

  /// - Returns: nanoseconds since the latest acknowledged write of that key; nil where there is none.
  package func nanosecondsSinceWrite(_ key: UInt64, now: UInt64) -> UInt64? {
    let time = cells[Int(key)].time.load(ordering: .relaxed)
    guard time > 0 else { return nil }
    // Another thread may have seen the answer a moment later than this one looked at its clock.
    return now > time ? now - time : 0
  }
}
