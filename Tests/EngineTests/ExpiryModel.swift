import Engine
import WAL

/// What writes to keys that expire should come to, kept in the plainest way.
struct ExpiryModel {
  /// Gives a key a value, or deletes it.
  struct Operation {
    var key: [UInt8]
    /// Nil for a delete.
    var value: [UInt8]?
    var expiry: UInt64?
  }

  enum Write {
    case single(Operation, Rule)
    case batch([Operation])
  }

  /// The condition of a write.
  enum Rule {
    case none, isNew, exists
    case version(UInt64)

    func holds(for found: Found?) -> Bool {
      switch self {
      case .none: true
      case .isNew: found == nil
      case .exists: found != nil
      case .version(let version): found?.version == version
      }
    }
  }

  private(set) var entries: [[UInt8]: Found] = [:]
  /// The last number that was given.
  private(set) var sequence: UInt64
  /// That before the writes that are being judged.
  private(set) var startSequence: UInt64
  private var frameTime: UInt64 = 0
  /// The clock, and what the writes are judged by.
  private var wall: UInt64 = 0
  private var now: UInt64 = 0

  init(sequence: UInt64) {
    self.sequence = sequence
    startSequence = sequence
  }

  /// The committer takes what waits.
  mutating func begin(now wall: UInt64, sequence: UInt64) {
    self.wall = wall
    now = max(wall, frameTime)
    self.sequence = sequence
    startSequence = sequence
  }

  /// Those of one take are one frame, or none.
  mutating func endFrame(hasRecords: Bool) {
    guard hasRecords else { return }
    frameTime = max(frameTime, wall)
    entries = entries.filter { $0.value.expiry.map { $0 > frameTime } ?? true }
  }

  private func visible(_ key: [UInt8]) -> Found? {
    entries[key].flatMap { $0.expiry.map { $0 > now } ?? true ? $0 : nil }
  }

  /// What becomes of the write.
  mutating func judge(_ write: Write) -> WriteRequest.Outcome {
    switch write {
    case .batch(let operations):
      for operation in operations { store(operation) }
      return .done
    case .single(let operation, let rule):
      let before = visible(operation.key)
      guard rule.holds(for: before) else { return .conditionFailed }
      let isDelete = operation.value == nil
      if isDelete, entries[operation.key] == nil { return .absent }
      store(operation)
      if isDelete { return before == nil ? .absent : .deleted }
      return before == nil ? .created : .replaced
    }
  }

  private mutating func store(_ operation: Operation) {
    sequence += 1
    entries[operation.key] = operation.value.map {
      Found(version: sequence, value: $0, expiry: operation.expiry)
    }
  }
}
