import Sharding
import Synchronization
import WAL

/// The keys of a leaderless shard on one node: what the logs of all its nodes come to.
///
/// A write is a record of the log that it was first written to; its dot is that log and its number there, and
/// its clock says what it replaces. The state is the same whatever the order in which the logs are applied, so
/// long as each of them is applied in its own.
///
/// Readers on any thread read `index`, whose values are those of `KeyVersions`; the threads of several logs
/// write, one frame at a time.
public final class MergedState: Sendable {
  /// So many versions a key has at most where this node writes; what concurrent writers leave is bounded by
  /// that for each of them.
  public static let versionsMax = 32
  private static let sweepNanoseconds: UInt64 = 100_000_000

  public let index: Index
  let clock: LogClock
  private let state: Mutex<Memory>
  private let hybrid = Atomic<UInt64>(0)

  /// What there is beside the keys. Whoever has it is the one who writes.
  struct Memory: Sendable {
    /// Up to where each log is applied.
    var applied = VersionVector()
    /// What writes knew that are not here any more, where that is not all applied: a write that one of them covers
    /// may still come.
    var deletions: [[UInt8]: [VersionVector]] = [:]
    /// Keys that the index cannot let expire by itself, and when the first version of each does.
    var expiring: [[UInt8]: UInt64] = [:]
    var earliestExpiry = UInt64.max
    /// Where the last frame of each that was applied ends.
    var ends: [UInt64: LogPosition] = [:]
    /// As long as a snapshot is being written: what keys had when it was begun that have changed since, by stripe.
    var preimages: [[[UInt8]: KeyVersions]]?
    var sweptAt: UInt64 = 0
    /// Where a key's versions become an entry.
    var scratch: [UInt8] = []
  }

  public init(index: Index, clock: LogClock = .system) {
    self.index = index
    self.clock = clock
    state = Mutex(Memory())
  }

  // MARK: - Looking

  /// Up to where each log is applied. Asked before a key is looked at, it covers all that is missing there.
  public var applied: VersionVector { state.withLock { $0.applied } }

  /// Without the entries of logs that this node does not know: to cover less is safe.
  public func known(_ clock: VersionVector) -> VersionVector {
    let applied = applied
    return clock.filter { applied[$0.origin] > 0 }
  }

  /// Logs that there are, or were.
  public var logCount: Int { state.withLock { $0.applied.entries.count } }

  /// Deletions that still keep writes out.
  public var deletionCount: Int { state.withLock { $0.deletions.count } }

  /// What a key has, hidden or not.
  public func versions(of key: UnsafeRawBufferPointer) -> KeyVersions {
    Self.versions(index, key, index.hasher(key))
  }

  /// What a key has, hidden or not, and what was known to be replaced there and may still come.
  public func held(
    _ key: UnsafeRawBufferPointer
  ) -> (versions: KeyVersions, replaced: [VersionVector]) {
    nonisolated(unsafe) let key = key
    return state.withLock { memory in
      (versions(of: key), memory.deletions.isEmpty ? [] : memory.deletions[Array(key)] ?? [])
    }
  }

  static func versions(
    _ index: Index, _ key: UnsafeRawBufferPointer, _ hash: KeyHash
  ) -> KeyVersions {
    var versions = KeyVersions()
    _ = index.read(key, hash) { versions = Self.parse($0.value) }
    return versions
  }

  private static func parse(_ value: UnsafeRawBufferPointer) -> KeyVersions {
    guard let versions = KeyVersions(parsing: value) else {
      preconditionFailure("an entry of a leaderless shard that is not valid")
    }
    return versions
  }

  // MARK: - Time

  /// A stamp above all that this node has seen: milliseconds since 1970, and 16 bits that count (Kulkarni et
  /// al., Logical Physical Clocks, 2014).
  func nextStamp(now: UInt64) -> UInt64 {
    var last = hybrid.load(ordering: .relaxed)
    while true {
      let next = max(last + 1, now << 16)
      let (isExchanged, found) = hybrid.compareExchange(
        expected: last, desired: next, ordering: .relaxed)
      if isExchanged { return next }
      last = found
    }
  }

  private func saw(_ stamp: UInt64) {
    var last = hybrid.load(ordering: .relaxed)
    while stamp > last {
      let (isExchanged, found) = hybrid.compareExchange(
        expected: last, desired: stamp, ordering: .relaxed)
      if isExchanged { return }
      last = found
    }
  }

  // MARK: - Writing

  /// Applies records in one go: nobody sees one of them without the others, but for readers of single keys.
  func write<R: Sendable>(_ body: (inout Writer) throws(WALError) -> R) throws(WALError) -> R {
    let result = state.withLock { memory -> Result<R, WALError> in
      var writer = Writer(owner: self, memory: memory)
      memory = Memory()
      defer { memory = writer.memory }
      do throws(WALError) { return .success(try body(&writer)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  /// Applies a frame that the log's reader has checked. One that is applied already changes nothing.
  package func apply(
    _ header: FrameHeader, _ records: RawSpan, origin: UInt64
  ) throws(WALError) {
    try records.withUnsafeBytes { (bytes: UnsafeRawBufferPointer) throws(WALError) in
      try write { (writer) throws(WALError) in
        var cursor = RecordCursor(count: header.recordCount)
        var sequence = header.firstSequence
        while true {
          let record: Record?
          do {
            record = try cursor.next(in: bytes.bytes)
          } catch {
            preconditionFailure("the log's reader lets no such record through: \(error)")
          }
          guard let record else { break }
          try writer.apply(record, in: bytes, Dot(origin: origin, sequence: sequence))
          sequence += 1
        }
        writer.endFrame(
          time: header.timeMilliseconds,
          through: LogBase(origin: origin, position: header.position))
      }
    }
  }

  /// When the first of the versions expires that the index does not know of; nil where there is none.
  var earliestExpiry: UInt64? {
    let earliest = state.withLock { $0.earliestExpiry }
    return earliest == .max ? nil : earliest
  }

  /// Up to there a log is applied, whose last frame has that time: what an open writes to it is part of it.
  package func noteApplied(_ end: LogBase, time: UInt64) {
    apply { $0.endFrame(time: time, through: end) }
  }

  /// Whether an expired key waits for a frame that has its time.
  func hasExpired(at time: UInt64) -> Bool {
    state.withLock { $0.earliestExpiry <= time || index.hasExpired(at: time) }
  }

  // MARK: - Snapshots

  /// The state at one moment: where each log is applied up to, and what is to be remembered beside the keys.
  package struct Cut: Sendable {
    /// Ascending origins.
    package var positions: [LogBase]
    var deletions: [[UInt8]: [VersionVector]]
    var frameTime: UInt64
  }

  /// A snapshot of this moment is begun: until `endSnapshot` what changes is kept as it was.
  package func beginSnapshot() -> Cut {
    state.withLock { memory in
      memory.preimages = Array(repeating: [:], count: Index.stripeCount)
      return Cut(
        positions: memory.ends.map { LogBase(origin: $0.key, position: $0.value) }
          .sorted { $0.origin < $1.origin },
        deletions: memory.deletions, frameTime: index.frameTime)
    }
  }

  package func endSnapshot() { state.withLock { $0.preimages = nil } }

  /// What a key had when the snapshot was begun.
  func versionsOfCut(_ key: UnsafeRawBufferPointer) -> KeyVersions {
    nonisolated(unsafe) let key = key
    return state.withLock { memory in
      memory.preimages?[index.stripeNumber(index.hasher(key))][Array(key)] ?? versions(of: key)
    }
  }

  /// The keys of a stripe that have changed since.
  func changedKeys(ofStripe stripe: Int) -> [[UInt8]] {
    state.withLock { $0.preimages.map { Array($0[stripe].keys) } ?? [] }
  }

  /// Who writes, as long as the state is locked.
  struct Writer {
    let owner: MergedState
    fileprivate(set) var memory: Memory
    private var index: Index { owner.index }

    fileprivate init(owner: MergedState, memory: Memory) {
      self.owner = owner
      self.memory = memory
    }

    /// Applies a record as it is in a log.
    ///
    /// - Throws: `setting` for a record that a leaderless log has not.
    mutating func apply(
      _ record: Record, in bytes: UnsafeRawBufferPointer, _ dot: Dot
    ) throws(WALError) {
      // What it has replaced may have been forgotten.
      guard !memory.applied.covers(dot) else { return }
      switch record.type {
      case .put, .delete:
        let key = UnsafeRawBufferPointer(rebasing: bytes[record.key])
        let clock = VersionVector(record: UnsafeRawBufferPointer(rebasing: bytes[record.clock]))
        let stamp = record.metadata.stamp ?? 0
        owner.saw(stamp)
        if record.type == .put {
          let value = UnsafeRawBufferPointer(rebasing: bytes[record.value])
          put(
            key, index.hasher(key), dot, clock, stamp: stamp,
            expiry: record.metadata.expiryMilliseconds, value)
        } else {
          delete(key, index.hasher(key), dot, clock)
        }
      case .epoch, .mark: break
      case .purge, .handoff:
        throw .setting(
          "record \(dot.sequence) of log \(hexadecimal(dot.origin)) is a \(record.type): no leaderless shard has such"
        )
      }
    }

    /// What a write has met.
    struct Effect {
      /// The key had a value that was not hidden.
      var wasVisible = false
      /// Something is left beside it.
      var leavesOthers = false
    }

    /// Takes a write of a value in.
    ///
    /// - Parameter now: when it is judged what was hidden.
    @discardableResult
    mutating func put(
      _ key: UnsafeRawBufferPointer, _ hash: KeyHash, _ dot: Dot, _ clock: VersionVector,
      stamp: UInt64, expiry: UInt64?, _ value: UnsafeRawBufferPointer, now: UInt64 = 0
    ) -> Effect {
      var effect = Effect()
      // The one that has replaced all that is there, as nearly always.
      var isLast = memory.deletions.isEmpty && memory.expiring.isEmpty
      let applied = memory.applied
      _ = index.read(key, hash) { view in
        var cursor = KeyVersionCursor(view.value)
        while let version = cursor.next() {
          if !version.isHidden(at: now) { effect.wasVisible = true }
          isLast =
            isLast && clock.covers(version.dot) && !version.covers(dot)
            && !version.isAhead(of: applied)
        }
      }
      guard isLast, expiry == nil || !isAhead(clock, of: dot) else {
        effect.leavesOthers = putBeside(key, hash, dot, clock, stamp: stamp, expiry: expiry, value)
        return effect
      }
      if memory.preimages != nil { keep(key, hash) }
      memory.scratch.removeAll(keepingCapacity: true)
      KeyVersions.encode(dot, clock, stamp, expiry, value, into: &memory.scratch)
      _ = memory.scratch.withUnsafeBytes {
        index.put(key, $0, hash, version: KeyVersions.tag(of: dot), expiry: expiry)
      }
      if memory.scratch.capacity > 1 << 20 { memory.scratch = [] }
      return effect
    }

    /// - Returns: whether anything is left beside it.
    private mutating func putBeside(
      _ key: UnsafeRawBufferPointer, _ hash: KeyHash, _ dot: Dot, _ clock: VersionVector,
      stamp: UInt64, expiry: UInt64?, _ value: UnsafeRawBufferPointer
    ) -> Bool {
      let before = MergedState.versions(index, key, hash)
      let version = KeyVersion(
        dot: dot, clock: clock, stamp: stamp, expiry: expiry, value: Array(value))
      var versions = before
      let isReplaced =
        !memory.deletions.isEmpty
        && memory.deletions[Array(key)]?.contains { $0.covers(dot) } ?? false
      if isReplaced {
        versions.delete(clock)
      } else {
        versions.put(version)
      }
      if versions != before { store(key, hash, versions) }
      remember(key, of: before.all + [version], besides: versions)
      return versions.all.contains { $0.dot != dot }
    }

    /// What those knew that are not left is remembered, as far as it may still come.
    private mutating func remember(
      _ key: UnsafeRawBufferPointer, of before: [KeyVersion], besides left: KeyVersions
    ) {
      for version in before where !left.all.contains(where: { $0.dot == version.dot }) {
        remember(key, version.clock, of: version.dot)
      }
    }

    private mutating func remember(
      _ key: UnsafeRawBufferPointer, _ clock: VersionVector, of dot: Dot
    ) {
      guard isAhead(clock, of: dot) else { return }
      let known = memory.deletions[Array(key)] ?? []
      guard !known.contains(where: { $0.covers(clock) }) else { return }
      memory.deletions[Array(key)] = known.filter { !clock.covers($0) } + [clock]
    }

    /// Takes a deletion in.
    mutating func delete(
      _ key: UnsafeRawBufferPointer, _ hash: KeyHash, _ dot: Dot, _ clock: VersionVector
    ) {
      let before = MergedState.versions(index, key, hash)
      var versions = before
      versions.delete(clock)
      if versions != before { store(key, hash, versions) }
      remember(key, clock, of: dot)
      remember(key, of: before.all, besides: versions)
    }

    /// Puts versions in from a snapshot, beside those that are there.
    mutating func restore(_ key: UnsafeRawBufferPointer, _ restored: [KeyVersion]) {
      let hash = index.hasher(key)
      var versions = MergedState.versions(index, key, hash)
      for version in restored {
        owner.saw(version.stamp)
        versions.put(version)
      }
      store(key, hash, versions)
    }

    mutating func restore(_ key: UnsafeRawBufferPointer, deletion clock: VersionVector) {
      memory.deletions[Array(key), default: []].append(clock)
    }

    /// Merges what another node has of a key.
    ///
    /// - Parameter theirs: up to where it had applied each log, at least.
    mutating func absorb(
      _ key: UnsafeRawBufferPointer, _ found: MergedSnapshot.Restored?, theirs: VersionVector
    ) {
      let hash = index.hasher(key)
      var versions = MergedState.versions(index, key, hash)
      let before = versions
      let known = memory.deletions[Array(key)] ?? []
      let restored = KeyVersions(
        (found?.versions ?? []).filter { version in !known.contains { $0.covers(version.dot) } })
      versions.merge(restored, known: memory.applied, theirs: theirs)
      for version in restored.all { owner.saw(version.stamp) }
      for clock in found?.deletions ?? [] {
        versions.delete(clock)
        restore(key, deletion: clock)
      }
      if versions != before { store(key, hash, versions) }
      remember(key, of: before.all + restored.all, besides: versions)
    }

    /// Says up to where a log is applied.
    mutating func setApplied(_ end: LogBase) {
      guard end.position.sequence > memory.ends[end.origin]?.sequence ?? 0 else { return }
      memory.ends[end.origin] = end.position
      memory.applied.add(Dot(origin: end.origin, sequence: end.position.sequence))
    }

    /// Whether a clock covers what may still come here.
    private func isAhead(_ clock: VersionVector, of dot: Dot) -> Bool {
      clock.entries.contains {
        $0.origin != dot.origin && memory.applied[$0.origin] < $0.sequence
      }
    }

    /// A key is about to change: whoever writes a snapshot wants it as it was.
    private mutating func keep(_ key: UnsafeRawBufferPointer, _ hash: KeyHash) {
      let stripe = index.stripeNumber(hash)
      let bytes = Array(key)
      guard memory.preimages![stripe][bytes] == nil else { return }
      memory.preimages![stripe][bytes] = MergedState.versions(index, key, hash)
    }

    private mutating func store(
      _ key: UnsafeRawBufferPointer, _ hash: KeyHash, _ versions: KeyVersions
    ) {
      if memory.preimages != nil { keep(key, hash) }
      if !memory.expiring.isEmpty { memory.expiring[Array(key)] = nil }
      guard !versions.isEmpty else {
        _ = index.remove(key, hash)
        return
      }
      var expiry = versions.earliestExpiry
      if let earliest = expiry,
        versions.all.count > 1 || isAhead(versions.all[0].clock, of: versions.all[0].dot)
      {
        // One of several goes; or what goes is still needed for what it has replaced.
        memory.expiring[Array(key)] = earliest
        memory.earliestExpiry = min(memory.earliestExpiry, earliest)
        expiry = nil
      }
      memory.scratch.removeAll(keepingCapacity: true)
      versions.encode(into: &memory.scratch)
      _ = memory.scratch.withUnsafeBytes {
        index.put(key, $0, hash, version: versions.tag, expiry: expiry)
      }
      if memory.scratch.capacity > 1 << 20 { memory.scratch = [] }
    }

    /// Ends a frame, all of whose records have been applied: what has expired at its time goes.
    ///
    /// - Parameter end: where it ends; nil where it is not the end of a frame.
    mutating func endFrame(time: UInt64, through end: LogBase? = nil) {
      if let end { setApplied(end) }
      index.countExpired(index.endFrame(time: time))
      if memory.earliestExpiry <= index.frameTime { expire(at: index.frameTime) }
      if !memory.deletions.isEmpty { sweep() }
    }

    private mutating func expire(at time: UInt64) {
      memory.earliestExpiry = .max
      for (key, earliest) in memory.expiring {
        guard earliest <= time else {
          memory.earliestExpiry = min(memory.earliestExpiry, earliest)
          continue
        }
        key.withUnsafeBytes { key in
          let hash = index.hasher(key)
          var versions = MergedState.versions(index, key, hash)
          let before = versions.all
          versions.expire(at: time)
          store(key, hash, versions)
          remember(key, of: before, besides: versions)
        }
      }
    }

    /// Forgets deletions that nothing can come for any more.
    private mutating func sweep() {
      let now = owner.clock.monotonicNanoseconds()
      guard now >= memory.sweptAt + MergedState.sweepNanoseconds else { return }
      memory.sweptAt = now
      let covered = memory.applied
      for (key, clocks) in memory.deletions {
        let needed = clocks.filter { !covered.covers($0) }
        if needed.count != clocks.count { memory.deletions[key] = needed.isEmpty ? nil : needed }
      }
    }
  }
}
