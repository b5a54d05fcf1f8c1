import Sharding
import WAL

/// Who gets a submission back. Called on the committer's thread, or, once that has ended, within
/// `submit`: hand it over, and return.
public protocol SubmissionOwner: AnyObject, Sendable {
  func completed(_ submission: Submission)
}

/// What writes wait for besides this node.
public struct WriteQuorum: Hashable, Sendable {
  /// Members, this node included, that are to have them durable and applied.
  public var members: Int
  public var timeoutMilliseconds: UInt64

  public init(members: Int, timeoutMilliseconds: UInt64) {
    self.members = members
    self.timeoutMilliseconds = timeoutMilliseconds
  }

  /// Nothing.
  public static let alone = WriteQuorum(members: 1, timeoutMilliseconds: 0)
}

/// Writes on their way to the committer and back: what one event loop gathered in one turn.
///
/// Its owner fills it, submits it, gets it back with every request's outcome, and uses it again, so
/// that a steady stream of writes allocates nothing. `@unchecked Sendable`: one thread at a time has
/// it, and it changes hands under a lock.
public final class Submission: @unchecked Sendable {
  /// Memory above this is given back when it is emptied.
  private static let keptBytesMax = 1 << 20

  /// In the order in which they were added.
  public internal(set) var requests: [WriteRequest] = []
  /// What conditions refer to.
  public private(set) var versions: [UInt64] = []
  /// What clients have seen, in a leaderless shard.
  private(set) var contexts: [VersionVector] = []
  /// True when a request's outcome depends on what is there already.
  private(set) var isConditional = false
  unowned let owner: any SubmissionOwner

  /// What its requests wait for behind the commit. The committer does not look at it.
  public var quorum = WriteQuorum.alone

  // Invariant: `end` <= `buffer.count`; the bytes below `end` are whole records.
  private var buffer: UnsafeMutableRawBufferPointer
  private var end = 0
  private var batchStart: Int?
  private var batchCount: UInt32 = 0
  private var batchHasPuts = false

  /// - Parameter owner: outlives the submission.
  public init(owner: any SubmissionOwner) {
    self.owner = owner
    buffer = .allocate(byteCount: 16 << 10, alignment: 16)
  }

  deinit {
    buffer.deallocate()
  }

  public var isEmpty: Bool { requests.isEmpty }
  /// Bytes of the records.
  public var bytes: Int { end }

  /// Empties it, of a batch that was begun as well.
  public func removeAll() {
    requests.removeAll(keepingCapacity: true)
    versions.removeAll(keepingCapacity: true)
    contexts.removeAll()
    isConditional = false
    batchStart = nil
    end = 0
    if buffer.count > Self.keptBytesMax {
      buffer.deallocate()
      buffer = .allocate(byteCount: 16 << 10, alignment: 16)
    }
  }

  // MARK: - Filling

  /// Adds versions that a condition refers to.
  public func add(versions new: some Sequence<UInt64>) -> Range<Int> {
    let start = versions.count
    versions.append(contentsOf: new)
    return start..<versions.count
  }

  private func add(context: VersionVector?) -> Int? {
    guard let context else { return nil }
    contexts.append(context)
    return contexts.count - 1
  }

  /// - Parameter context: what the client has seen, in a leaderless shard: the write replaces that. Nil where
  ///   it replaces what is there.
  public func put(
    _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ hash: KeyHash,
    expiry: UInt64? = nil, condition: WriteCondition = .always, context: VersionVector? = nil,
    token: UInt
  ) {
    precondition(batchStart == nil)
    let start = end
    encode(.put, key, value, expiry: expiry)
    if condition != .always { isConditional = true }
    requests.append(
      WriteRequest(
        kind: .put, token: token, hasPuts: true, condition: condition, hash: hash,
        context: add(context: context), records: start..<end, recordCount: 1))
  }

  /// - Parameter context: as in `put`.
  public func delete(
    _ key: UnsafeRawBufferPointer, _ hash: KeyHash, condition: WriteCondition = .always,
    context: VersionVector? = nil, token: UInt
  ) {
    precondition(batchStart == nil)
    let start = end
    encode(.delete, key, UnsafeRawBufferPointer(start: nil, count: 0), expiry: nil)
    isConditional = true
    requests.append(
      WriteRequest(
        kind: .delete, token: token, hasPuts: false, condition: condition, hash: hash,
        context: add(context: context), records: start..<end, recordCount: 1))
  }

  /// Begins a request of several operations, which `addPut` and `addDelete` add.
  public func beginBatch() {
    precondition(batchStart == nil)
    batchStart = end
    batchCount = 0
    batchHasPuts = false
  }

  public func addPut(
    _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, expiry: UInt64? = nil
  ) {
    encode(.put, key, value, expiry: expiry)
    batchCount += 1
    batchHasPuts = true
  }

  public func addDelete(_ key: UnsafeRawBufferPointer) {
    encode(.delete, key, UnsafeRawBufferPointer(start: nil, count: 0), expiry: nil)
    batchCount += 1
  }

  /// Ends the batch, which has at least one operation.
  public func endBatch(token: UInt) {
    precondition(batchCount > 0)
    requests.append(
      WriteRequest(
        kind: .batch, token: token, hasPuts: batchHasPuts, condition: .always,
        hash: KeyHash(shard: 0, slot: 0), records: batchStart!..<end, recordCount: batchCount))
    batchStart = nil
  }

  /// Drops the batch that was begun.
  public func abandonBatch() {
    end = batchStart!
    batchStart = nil
  }

  /// - Parameter checkedThrough: the purge happens only if no key that it would remove was written behind
  ///   that number; nil for in any case.
  /// - Precondition: the range is by a hash that there is; with a number, by the index's own.
  public func purge(keeping range: ShardRange, checkedThrough: UInt64? = nil, token: UInt) {
    precondition(batchStart == nil && ShardHash(rawValue: range.hash) != nil)
    let start = end
    let content = range.encoded
    content.withUnsafeBytes {
      encode(.purge, UnsafeRawBufferPointer(start: nil, count: 0), $0, expiry: nil)
    }
    requests.append(
      WriteRequest(
        kind: .purge, token: token, hasPuts: false,
        condition: checkedThrough.map {
          WriteCondition(ifMatch: .versions(add(versions: CollectionOfOne($0))))
        } ?? .always,
        hash: KeyHash(shard: 0, slot: 0), records: start..<end, recordCount: 1))
  }

  private func encode(
    _ type: RecordType, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer,
    expiry: UInt64?
  ) {
    let metadata = RecordMetadata(expiryMilliseconds: expiry)
    let bytes = Record.encodedBytes(metadata: metadata, key: key.count, value: value.count)
    if end + bytes > buffer.count { grow(toHold: end + bytes) }
    Record.encode(
      type, metadata: metadata, key: key.bytes, value: value.bytes,
      into: UnsafeMutableRawBufferPointer(rebasing: buffer[end..<end + bytes]))
    end += bytes
  }

  private func grow(toHold bytes: Int) {
    let larger = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(bytes, 2 * buffer.count), alignment: 16)
    larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[..<end]))
    buffer.deallocate()
    buffer = larger
  }

  // MARK: - For the committer

  /// All records of the submission. Stays where it is until the submission is emptied or added to.
  var recordBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[..<end]) }
}

extension Submission {
  /// The key of the request at `index`, a put or a delete; valid until the submission is emptied.
  public func key(of index: Int) -> UnsafeRawBufferPointer { part(of: index, \.key) }

  /// The value of the request at `index`, a put; empty for the others.
  public func value(of index: Int) -> UnsafeRawBufferPointer { part(of: index, \.value) }

  private func part(
    of index: Int, _ range: (Record) -> Range<Int>
  ) -> UnsafeRawBufferPointer {
    let request = requests[index]
    guard request.recordCount == 1, request.kind != .purge else {
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    do {
      let record = try Record(parsing: recordBytes.bytes, at: request.records.lowerBound)
      return UnsafeRawBufferPointer(rebasing: recordBytes[range(record)])
    } catch {
      preconditionFailure("a submission holds a record that is not valid: \(error)")
    }
  }
}
