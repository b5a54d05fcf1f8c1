import Synchronization
import WAL

/// Splits a snapshot whose children's keys stand together: after a doubling, or a multiple of that.
///
/// Every block is decoded, for the digests of the children, and to find damage before anybody relies on
/// it; but what is written of a block that belongs to one child as a whole are its bytes as they are.
/// A thread has one child at a time.
final class RangeSplit: Sendable {
  /// A part of the order, and whose it is; nobody's where keys of other shards may be.
  private struct Piece {
    var orders: ClosedRange<UInt64>
    var child: Int?
  }

  private struct State {
    var next = 0
    var error: WALError?
    var result: SplitResult
  }

  private let source: SnapshotFile
  private let rule: SplitRule
  private let plans: [SplitChild.Plan]
  private let fileSystem: any FileSystem
  private let pace: Pace
  private let pieces: [Piece]
  private let state: Mutex<State>

  private init(
    _ source: SnapshotFile, _ rule: SplitRule, _ plans: [SplitChild.Plan],
    _ fileSystem: any FileSystem, _ pace: Pace
  ) {
    self.source = source
    self.rule = rule
    self.plans = plans
    self.fileSystem = fileSystem
    self.pace = pace
    pieces = Self.pieces(rule)
    state = Mutex(State(result: SplitResult(children: rule.children)))
  }

  /// - Parameter threads: at most so many.
  /// - Throws: `invalidFile` when the snapshot is damaged; `cancelled`; that of a system call.
  static func run(
    _ source: SnapshotFile, _ rule: SplitRule, _ plans: [SplitChild.Plan],
    fileSystem: any FileSystem, pace: Pace, threads: Int
  ) throws(WALError) -> SplitResult {
    let split = RangeSplit(source, rule, plans, fileSystem, pace)
    // One that the system does not give is done without.
    let handles = (1..<max(1, min(threads, split.pieces.count))).compactMap { _ in
      ThreadHandle.started { split.work() }
    }
    split.work()
    for handle in handles { handle.join() }
    let state = split.state.withLock { $0 }
    if let error = state.error { throw error }
    return state.result
  }

  /// The children's parts of the order, and what is between them.
  private static func pieces(_ rule: SplitRule) -> [Piece] {
    let parts = (0..<rule.children).map { Piece(orders: rule.orders(of: $0), child: $0) }
      .sorted { $0.orders.lowerBound < $1.orders.lowerBound }
    var gaps: [Piece] = []
    var next: UInt64? = 0
    for part in parts {
      if let next, next < part.orders.lowerBound {
        gaps.append(Piece(orders: next...part.orders.lowerBound - 1))
      }
      next = part.orders.upperBound == .max ? nil : part.orders.upperBound + 1
    }
    if let next { gaps.append(Piece(orders: next...UInt64.max)) }
    return parts + gaps
  }

  private func work() {
    while let piece = take() {
      do throws(WALError) {
        try split(piece)
      } catch {
        state.withLock { if $0.error == nil { $0.error = error } }
      }
    }
  }

  private func take() -> Piece? {
    state.withLock { state in
      guard state.error == nil, state.next < pieces.count else { return nil }
      state.next += 1
      return pieces[state.next - 1]
    }
  }

  private func split(_ piece: Piece) throws(WALError) {
    guard let child = piece.child else {
      var result = SplitResult(children: rule.children)
      try scan(piece, to: nil, &result)
      return state.withLock { $0.result.add(result) }
    }
    let writer = try SnapshotWriter(
      plans[child].header, path: plans[child].path, fileSystem: fileSystem, pace: pace)
    do throws(WALError) {
      var result = SplitResult(children: rule.children)
      try scan(piece, to: writer, &result)
      result.footers[child] = try writer.finish()
      state.withLock { $0.result.add(result) }
    } catch {
      writer.discard()
      throw error
    }
  }

  private func scan(
    _ piece: Piece, to writer: SnapshotWriter?, _ result: inout SplitResult
  ) throws(WALError) {
    // Where the number of shards is a power of two, the part of the order says it all.
    let isAllOwn = piece.child != nil && rule.count.nonzeroBitCount == 1
    var blocks = SnapshotBlocks(source)
    var kept: [SnapshotWriter.CopiedEntry] = []
    for number in blockNumbers(piece.orders) {
      try blocks.load(number)
      let block = source.footer.blocks[number]
      try pace.spent(Int(block.fileBytes))
      kept.removeAll(keepingCapacity: true)
      while let entry = try blocks.next() {
        guard piece.orders.contains(entry.order.number) else { continue }
        let isForeign =
          !isAllOwn && (piece.child == nil || rule.child(of: entry.order) != piece.child)
        let hasExpired = rule.hasExpired(entry.record)
        guard !isForeign, !hasExpired else {
          result.leftOut.add(entry, hasExpired: hasExpired)
          continue
        }
        kept.append(SnapshotWriter.CopiedEntry(entry))
      }
      guard let writer else { continue }
      if kept.count == Int(block.entries) {
        try writer.append(block, blocks.fileBytes, kept)
        result.copiedBlocks += 1
      } else if !kept.isEmpty {
        let bytes = blocks.bytes
        for entry in kept { try writer.append(entry, in: bytes) }
        result.writtenBlocks += 1
      }
    }
  }

  /// The blocks that may have entries in that part of the order. Keys of one hash can be on both sides
  /// of a border between blocks.
  private func blockNumbers(_ orders: ClosedRange<UInt64>) -> Range<Int> {
    let blocks = source.footer.blocks
    var (first, end) = (0, blocks.count)
    while first < end {
      let middle = (first + end) / 2
      let isBefore =
        middle + 1 < blocks.count && blocks[middle + 1].firstOrder.number < orders.lowerBound
      if isBefore { first = middle + 1 } else { end = middle }
    }
    let rest = blocks[first...]
    return first..<(rest.firstIndex { $0.firstOrder.number > orders.upperBound } ?? blocks.count)
  }
}

/// What of a snapshot went where.
struct SplitResult: Sendable {
  /// Of the children's snapshots, once they are written.
  var footers: [SnapshotFooter?]
  var leftOut = LeftOut()
  var copiedBlocks = 0
  var writtenBlocks = 0

  init(children: Int) { footers = [SnapshotFooter?](repeating: nil, count: children) }

  mutating func add(_ other: SplitResult) {
    for (child, footer) in other.footers.enumerated() where footer != nil {
      footers[child] = footer
    }
    leftOut.add(other.leftOut)
    copiedBlocks += other.copiedBlocks
    writtenBlocks += other.writtenBlocks
  }

  /// Whether what was written and what was left out are together what the source's footer says.
  func isWhole(_ source: SnapshotFooter) -> Bool {
    var entries = leftOut.entries
    var dataBytes = leftOut.dataBytes
    var digest = leftOut.digest
    for footer in footers {
      guard let footer else { return false }
      entries += footer.entries
      dataBytes += footer.dataBytes
      digest.add(footer.digest)
    }
    return entries == source.entries && dataBytes == source.dataBytes && digest == source.digest
  }
}
